//! The circuit breaker: stops a stage where so much fails that something other than the records must be wrong.
//!
//! Counts live with the worker, not with the task: after a restart, which is how it is closed again, they begin anew.

use tidemill_core::Outcome;
use tidemill_topology::plan::CircuitBreaker;

#[derive(Debug, Default)]
pub(super) struct Circuit {
    consecutive: u64,
    failed: u64,
    seen: u64,
}

impl Circuit {
    /// Counts a record. Says how it failed, in words, when the circuit opens with it.
    pub(super) fn note(&mut self, breaker: CircuitBreaker, outcome: Outcome) -> Option<String> {
        let has_failed = matches!(outcome, Outcome::Dead(_));
        self.seen += 1;
        self.failed += u64::from(has_failed);
        self.consecutive = if has_failed { self.consecutive + 1 } else { 0 };
        if self.consecutive >= breaker.consecutive_max {
            return Some(format!("{} records in a row failed", self.consecutive));
        }
        if self.seen < breaker.window_records {
            return None;
        }
        let (failed, seen) = (self.failed, self.seen);
        (self.failed, self.seen) = (0, 0);
        let is_too_much = failed.saturating_mul(100) >= breaker.failed_percent_max.saturating_mul(seen);
        is_too_much.then(|| format!("{failed} of {seen} records failed"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BREAKER: CircuitBreaker = CircuitBreaker { consecutive_max: 4, failed_percent_max: 50, window_records: 10 };

    /// `x` fails, anything else does not. The number of the record that opens the circuit.
    fn opens_at(records: &str) -> Option<usize> {
        let mut circuit = Circuit::default();
        let outcome = |record| if record == 'x' { Outcome::Dead("bug") } else { Outcome::Posted };
        records.chars().position(|record| circuit.note(BREAKER, outcome(record)).is_some())
    }

    #[test]
    fn opens_after_many_in_a_row_and_after_many_of_a_window() {
        for (records, expected) in [
            ("xxxx", Some(3)),
            ("xxx.xxx.", None),
            ("x.x.x.x.x.", Some(9)),
            ("x.x.x.x...x.", None),
            ("....x.....x.x.x.x.x.", Some(19)),
        ] {
            assert_eq!(opens_at(records), expected, "{records}");
        }
    }
}
