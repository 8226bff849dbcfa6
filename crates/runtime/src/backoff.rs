//! How long to wait before a dependency is asked again: twice as long with each failure in a row up to a limit, and
//! scattered, so that those who failed together do not ask again together.
//!
//! Where a wait lies in its range follows from who waits and how often it has failed: the same run waits the same.

use std::time::Duration;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    seed: u64,
}

impl Backoff {
    /// `waiter` is a name that nobody else has: a slot, a task.
    pub(crate) fn new(min: Duration, max: Duration, waiter: &str) -> Self {
        Self { min, max, seed: u64::from(crc32fast::hash(waiter.as_bytes())) }
    }

    /// The wait after the so many-th failure in a row: between half of what it doubles to and all of it. None before the
    /// first.
    pub(crate) fn after(&self, failures: u32) -> Duration {
        if failures == 0 {
            return Duration::ZERO;
        }
        let whole = self.min.saturating_mul(1 << (failures - 1).min(20)).min(self.max);
        let part = mixed(self.seed.wrapping_add(u64::from(failures))) >> 32;
        let scattered = (whole.as_nanos() / 2 * u128::from(part)) >> 32;
        whole / 2 + Duration::from_nanos(u64::try_from(scattered).unwrap_or(u64::MAX))
    }
}

/// SplitMix64: neighbours have nothing in common afterwards.
fn mixed(seed: u64) -> u64 {
    let mut mixed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const MIN: Duration = Duration::from_millis(100);
    const MAX: Duration = Duration::from_secs(5);

    #[test]
    fn waits_double_up_to_the_limit_and_never_more() {
        let backoff = Backoff::new(MIN, MAX, "payments-main-a-0");
        assert_eq!(backoff.after(0), Duration::ZERO);
        for failures in 1..=100 {
            let whole = MIN.saturating_mul(1 << (failures - 1).min(10)).min(MAX);
            let wait = backoff.after(failures);
            assert!((whole / 2..=whole).contains(&wait), "{failures}: {wait:?} of {whole:?}");
        }
        assert_eq!(backoff.after(u32::MAX).max(MAX), MAX);
    }

    #[test]
    fn a_waiter_waits_the_same_each_time_and_another_differently() {
        let waits = |waiter: &str| {
            let backoff = Backoff::new(MIN, MAX, waiter);
            (1..20).map(|failures| backoff.after(failures)).collect::<Vec<_>>()
        };
        assert_eq!(waits("a"), waits("a"));
        let together: BTreeSet<Duration> =
            (0..100).map(|slot| Backoff::new(MIN, MAX, &format!("s-{slot}")).after(8)).collect();
        assert!(together.len() > 90, "{} waits for 100 who failed together", together.len());
        let (first, last) = (together.first().expect("some"), together.last().expect("some"));
        assert!(*last - *first > MAX / 4, "they lie between {first:?} and {last:?}");
    }
}
