//! Rolling counts and sums by event time, in whole buckets, in a bounded amount of state.
//!
//! A [`Resolution`] cuts time into buckets of one width, aligned to 1970-01-01T00:00:00Z, and keeps the newest few of
//! them. A window of `n` buckets at time `t` is the bucket of `t` and the `n - 1` before it: everything in it is
//! younger than `n` widths, and what is younger than `n - 1` widths is certainly in it.
//!
//! Order of arrival does not matter within the buckets that are kept. An event older than all of them is not counted,
//! and no window reaches behind them: a late event sees the part of its window that is still kept.

use serde::{Deserialize, Serialize};
use tidemill_core::EventTime;

const MINUTE_US: i64 = 60_000_000;
const HOUR_US: i64 = 60 * MINUTE_US;
pub(crate) const DAY_US: i64 = 24 * HOUR_US;

/// How finely time is cut, and how much of it is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resolution {
    width_us: i64,
    kept_buckets: u8,
}

/// One hour.
pub(crate) const FIVE_MINUTES: Resolution = Resolution { width_us: 5 * MINUTE_US, kept_buckets: 12 };
/// One day.
pub(crate) const HOURS: Resolution = Resolution { width_us: HOUR_US, kept_buckets: 24 };
/// Thirty days.
pub(crate) const DAYS: Resolution = Resolution { width_us: DAY_US, kept_buckets: 30 };
/// Seven days.
pub(crate) const DAYS_OF_A_WEEK: Resolution = Resolution { width_us: DAY_US, kept_buckets: 7 };

impl Resolution {
    fn bucket_of(self, at: EventTime) -> i64 {
        at.micros().div_euclid(self.width_us)
    }

    pub(crate) fn kept(self) -> u8 {
        self.kept_buckets
    }
}

/// What a window holds. Both figures stop at their largest value instead of wrapping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) payments: i64,
    pub(crate) amount_minor: i64,
}

impl Totals {
    pub(crate) fn plus(self, amount_minor: i64) -> Self {
        Self { payments: self.payments.saturating_add(1), amount_minor: self.amount_minor.saturating_add(amount_minor) }
    }
}

/// Payments per bucket. Holds at most [`Resolution::kept`] buckets, and only those that are not empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Buckets {
    /// Number of the newest bucket that has been seen.
    newest: i64,
    /// Newest first.
    list: Vec<Bucket>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Bucket {
    /// How many buckets it lies behind the newest.
    age: u8,
    payments: u32,
    amount_minor: i64,
}

impl Buckets {
    pub(crate) fn add(&mut self, resolution: Resolution, at: EventTime, amount_minor: i64) {
        let bucket = resolution.bucket_of(at);
        if self.list.is_empty() {
            self.newest = bucket;
        }
        if bucket > self.newest {
            let ages = self.list.iter_mut().map(|bucket| &mut bucket.age);
            advance(ages, bucket - self.newest);
            self.list.retain(|bucket| bucket.age < resolution.kept_buckets);
            self.newest = bucket;
        }
        let Some(age) = age_within(self.newest - bucket, resolution) else { return };
        let index = self.list.partition_point(|bucket| bucket.age < age);
        match self.list.get_mut(index).filter(|bucket| bucket.age == age) {
            Some(bucket) => {
                bucket.payments = bucket.payments.saturating_add(1);
                bucket.amount_minor = bucket.amount_minor.saturating_add(amount_minor);
            }
            None => self.list.insert(index, Bucket { age, payments: 1, amount_minor }),
        }
    }

    /// The window of `buckets` buckets that ends with the bucket of `at`.
    pub(crate) fn totals(&self, resolution: Resolution, at: EventTime, buckets: u8) -> Totals {
        let end_age = self.newest.saturating_sub(resolution.bucket_of(at));
        let window = end_age..end_age.saturating_add(i64::from(buckets));
        let in_window = self.list.iter().filter(|bucket| window.contains(&i64::from(bucket.age)));
        in_window.fold(Totals::default(), |sum, bucket| Totals {
            payments: sum.payments.saturating_add(i64::from(bucket.payments)),
            amount_minor: sum.amount_minor.saturating_add(bucket.amount_minor),
        })
    }
}

/// Which names have been seen, and in which bucket last. Holds at most [`Distinct::NAMES_MAX`] names.
///
/// A name is kept as the first 8 bytes of its SHA-256. When the set is full of names younger than the resolution
/// keeps, a further name is not taken in, so that the count stops at the maximum.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Distinct {
    newest: i64,
    seen: Vec<Seen>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    hash: [u8; 8],
    age: u8,
}

impl Distinct {
    pub(crate) const NAMES_MAX: usize = 64;

    pub(crate) fn add(&mut self, resolution: Resolution, at: EventTime, name: &str) {
        let bucket = resolution.bucket_of(at);
        if self.seen.is_empty() {
            self.newest = bucket;
        }
        if bucket > self.newest {
            advance(self.seen.iter_mut().map(|seen| &mut seen.age), bucket - self.newest);
            self.seen.retain(|seen| seen.age < resolution.kept_buckets);
            self.newest = bucket;
        }
        let Some(age) = age_within(self.newest - bucket, resolution) else { return };
        let hash = hash_of(name);
        if let Some(seen) = self.seen.iter_mut().find(|seen| seen.hash == hash) {
            seen.age = seen.age.min(age);
        } else if self.seen.len() < Self::NAMES_MAX {
            self.seen.push(Seen { hash, age });
        }
    }

    /// Number of names last seen in the bucket of `at` or in those the resolution keeps before it.
    pub(crate) fn count(&self, resolution: Resolution, at: EventTime) -> i64 {
        let end_age = self.newest.saturating_sub(resolution.bucket_of(at));
        let window = end_age..end_age.saturating_add(i64::from(resolution.kept_buckets));
        let count = self.seen.iter().filter(|seen| window.contains(&i64::from(seen.age))).count();
        i64::try_from(count).unwrap_or(i64::MAX)
    }
}

fn advance<'a>(ages: impl Iterator<Item = &'a mut u8>, buckets: i64) {
    let buckets = u8::try_from(buckets).unwrap_or(u8::MAX);
    for age in ages {
        *age = age.saturating_add(buckets);
    }
}

fn age_within(age: i64, resolution: Resolution) -> Option<u8> {
    u8::try_from(age).ok().filter(|age| *age < resolution.kept_buckets)
}

fn hash_of(name: &str) -> [u8; 8] {
    use sha2::Digest;
    let digest = sha2::Sha256::digest(name.as_bytes());
    let mut hash = [0; 8];
    hash.copy_from_slice(&digest[..8]);
    hash
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tidemill_testkit::rows;

    use super::*;

    fn time(text: &str) -> EventTime {
        EventTime::parse(text).expect("an RFC 3339 time")
    }

    /// Two payments, of 1 and of 10 minor units: the sum names those that the window holds.
    #[test]
    fn windows_end_with_the_bucket_of_the_event() {
        let table = "
            first                       | second                      | asked at                    | minutes | hours | days
            2026-01-31T12:00:00Z        | 2026-01-31T12:59:59.999999Z | 2026-01-31T12:59:59.999999Z | 11      | 11    | 11
            2026-01-31T11:59:59.999999Z | 2026-01-31T12:55:00Z        | 2026-01-31T12:55:00Z        | 10      | 11    | 11
            2026-01-31T00:00:00Z        | 2026-01-31T23:00:00Z        | 2026-01-31T23:59:59.999999Z | 10      | 11    | 11
            2026-01-30T23:59:59.999999Z | 2026-01-31T23:00:00Z        | 2026-01-31T23:00:00Z        | 10      | 10    | 11
            2026-01-01T23:59:59.999999Z | 2026-01-31T00:00:00Z        | 2026-01-31T00:00:00Z        | 10      | 10    | 10
            2026-01-02T00:00:00Z        | 2026-01-31T00:00:00Z        | 2026-01-31T00:00:00Z        | 10      | 10    | 11
            # arrives late, within the window, and is not part of the future of an earlier one
            2026-01-31T12:00:00Z        | 2026-01-31T11:58:00Z        | 2026-01-31T12:00:00Z        | 11      | 11    | 11
            2026-01-31T12:00:00Z        | 2026-01-31T11:58:00Z        | 2026-01-31T11:59:00Z        | 10      | 10    | 11
            # arrives later than everything that is kept
            2026-01-31T12:00:00Z        | 2026-01-01T12:00:00Z        | 2026-01-31T12:00:00Z        | 1       | 1     | 1
            2026-01-31T12:00:00Z        | 2026-01-01T12:00:00Z        | 2026-01-01T12:00:00Z        | 0       | 0     | 0
            # a silence longer than the window
            2020-01-31T12:00:00Z        | 2026-01-31T12:00:00Z        | 2026-01-31T12:00:00Z        | 10      | 10    | 10
        ";
        for row in rows(table) {
            for (column, resolution) in [("minutes", FIVE_MINUTES), ("hours", HOURS), ("days", DAYS)] {
                let mut buckets = Buckets::default();
                buckets.add(resolution, time(row["first"]), 1);
                buckets.add(resolution, time(row["second"]), 10);
                let totals = buckets.totals(resolution, time(row["asked at"]), resolution.kept());
                assert_eq!(totals.amount_minor.to_string(), row[column], "{column} of {row:?}");
            }
        }
    }

    #[test]
    fn extreme_times_and_amounts_stop_at_their_bounds() {
        let mut buckets = Buckets::default();
        for micros in [i64::MIN, 0, i64::MAX, i64::MIN] {
            buckets.add(FIVE_MINUTES, EventTime(micros), i64::MAX);
            buckets.add(FIVE_MINUTES, EventTime(micros), i64::MAX);
        }
        let totals = buckets.totals(FIVE_MINUTES, EventTime(i64::MAX), 12);
        assert_eq!(totals, Totals { payments: 2, amount_minor: i64::MAX });
        assert_eq!(buckets.totals(FIVE_MINUTES, EventTime(i64::MIN), 12), Totals::default());
    }

    #[test]
    fn distinct_names_stop_at_the_maximum_and_leave_with_their_bucket() {
        let start = time("2026-01-31T12:00:00Z");
        let later = |hours: i64| EventTime(start.micros() + hours * HOUR_US);
        let mut distinct = Distinct::default();
        for name in 0..100 {
            distinct.add(HOURS, start, &name.to_string());
        }
        assert_eq!(distinct.count(HOURS, start), 64);
        distinct.add(HOURS, later(23), "0");
        assert_eq!(distinct.count(HOURS, later(23)), 64);
        distinct.add(HOURS, later(24), "100");
        assert_eq!(distinct.count(HOURS, later(24)), 2, "0 was seen again one hour before");
        distinct.add(HOURS, start, "101");
        assert_eq!(distinct.count(HOURS, later(24)), 2, "too late to be counted");
        assert_eq!(distinct.seen.len(), 2);
    }

    proptest! {
        /// Against a list of all names so far, each where it was seen last.
        #[test]
        fn distinct_names_equal_a_recount(steps in prop::collection::vec((-150i64..160, 0u8..40), 1..200)) {
            let mut distinct = Distinct::default();
            let mut last_seen = std::collections::BTreeMap::new();
            let mut now = 0;
            for (step, name) in steps {
                now += step * 7 * MINUTE_US;
                let at = EventTime(now);
                distinct.add(HOURS, at, &name.to_string());
                let end = HOURS.bucket_of(at);
                let last = last_seen.entry(name).or_insert(end);
                *last = end.max(*last);

                let newest = last_seen.values().max().copied().unwrap_or_default();
                let window = (end - 23).max(newest - 23)..=end;
                let expected = last_seen.values().filter(|last| window.contains(last)).count();
                prop_assert_eq!(distinct.count(HOURS, at), expected as i64);
            }
        }

        /// Against a list of all payments so far, counted again in whole buckets for each one.
        #[test]
        fn bucketed_counts_equal_a_recount(steps in prop::collection::vec((-150i64..160, 0i64..1_000), 1..200)) {
            const STEP_US: i64 = 7 * MINUTE_US;
            let mut buckets = Buckets::default();
            let mut all: Vec<(i64, i64)> = Vec::new();
            let mut now = 0;
            for (step, amount_minor) in steps {
                now += step * STEP_US;
                let at = EventTime(now);
                buckets.add(HOURS, at, amount_minor);
                all.push((HOURS.bucket_of(at), amount_minor));

                let newest = all.iter().map(|(bucket, _)| *bucket).max().unwrap_or_default();
                let end = HOURS.bucket_of(at);
                let first = (end - 23).max(newest - 23);
                let within = all.iter().filter(|(bucket, _)| (first..=end).contains(bucket));
                let expected = within.fold(Totals::default(), |sum, (_, amount_minor)| sum.plus(*amount_minor));
                prop_assert_eq!(buckets.totals(HOURS, at, 24), expected);
                prop_assert!(buckets.list.len() <= 24);
                prop_assert!(buckets.list.is_sorted_by(|one, next| one.age < next.age));
            }
        }
    }
}
