//! What every broker and every store has to do, as suites that run on any implementation.
//!
//! A suite is a list of named checks. Each check panics with what it saw and what it expected; the runner goes through all
//! of them and reports every failure by name.

pub mod broker;
pub mod store;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// One behaviour.
#[derive(Clone, Copy, Debug)]
pub struct Check<E: ?Sized> {
    pub name: &'static str,
    pub run: fn(&E),
}

/// Runs every check of all suites in an environment of its own.
///
/// # Panics
/// If a check failed, naming all that did.
pub fn run_checks<E>(suites: &[&[Check<E>]], environment: &dyn Fn(&'static str) -> E) {
    let mut failed = Vec::new();
    let count = suites.iter().map(|checks| checks.len()).sum::<usize>();
    for Check { name, run } in suites.iter().copied().flatten() {
        let started_at = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| run(&environment(name))));
        let verdict = if outcome.is_ok() { "ok" } else { "FAILED" };
        println!("{verdict:6} {name} ({} ms)", started_at.elapsed().as_millis());
        if outcome.is_err() {
            failed.push(*name);
        }
    }
    assert!(failed.is_empty(), "{} of {} checks failed: {}", failed.len(), count, failed.join(", "));
}

/// Looks until `condition` holds.
///
/// # Panics
/// If it does not hold within `deadline`.
pub(crate) fn eventually(what: &str, deadline: Duration, mut condition: impl FnMut() -> bool) {
    let started_at = Instant::now();
    while !condition() {
        assert!(started_at.elapsed() < deadline, "not within {deadline:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Reproducible choices: SplitMix64.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Starts from `TIDEMILL_SEED`, or else from the time; prints the seed, so that a failure can be repeated.
    pub fn printed() -> Self {
        Self::new(printed_seed())
    }

    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.number() % bound.max(1) as u64) as usize
    }
}

/// `TIDEMILL_SEED`, or else the time. Printed, so that a failure can be repeated.
pub fn printed_seed() -> u64 {
    let given = std::env::var("TIDEMILL_SEED").ok().and_then(|text| text.parse().ok());
    let time = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
    let seed = given.unwrap_or_else(time);
    println!("TIDEMILL_SEED={seed}");
    seed
}

/// Names each function of a module as a check.
macro_rules! checks {
    ($module:ident: $($name:ident),+ $(,)?) => {
        &[$($crate::conformance::Check { name: stringify!($name), run: $module::$name }),+]
    };
}
pub(crate) use checks;
