//! The rule that keeps a state log in proportion to the state: carry live entries forward, then delete what is behind.
//!
//! When the log has grown to a multiple of what is live, a *pass* begins. Each transaction carries forward some entries of
//! the store, in key order, beside its own changes. When the pass has come to the end of the keys, every entry that is
//! live has been written since the pass began, and everything before its start is dead.
//!
//! The pass goes over the store on disk, and starts at the offset that the disk stands for: an entry was changed last
//! before the start, and then it is on the disk until it is changed again; or after the start, and then the log holds it
//! behind the start anyway. What is in memory and not on the disk is of the second kind, and is left out.
//!
//! Invariant: a change and the carrying of its key are never in one transaction, nor is a value carried that is not the
//! last. The last record of a key behind the start is therefore its value.
//! Invariant: nothing is deleted before the transaction is committed with which its pass ended. How far a pass has come is
//! part of the checkpoint, so that whoever owns the task next goes on with it.

use serde::{Deserialize, Serialize};

use crate::state_log::StateLogPolicy;
use crate::store::Pair;
use crate::task::checkpoint::CHECKPOINT_KEY;

/// A pass begins when the log has more bytes than the live entries so many times over. It ends before the log has half as
/// many again, because it carries twice what is written meanwhile, and leaves one and a half times the live entries.
const LOG_PER_LIVE_MAX: u64 = 3;
const CARRIED_PER_WRITTEN: u64 = 2;

/// Where the cleaning of a log stands. Part of the checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cleaning {
    /// Bytes that were ever committed to this log, up to this checkpoint.
    pub written_bytes: u64,
    /// Everything before this offset is dead.
    pub dead_before: u64,
    /// How many bytes that is, of those written.
    pub dead_bytes: u64,
    /// Bytes of the live entries, as the last pass found them.
    pub live_bytes: u64,
    pub pass: Option<Pass>,
}

/// A pass under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pass {
    /// Everything before this offset is dead when the pass has ended.
    pub start: u64,
    /// [`Cleaning::written_bytes`] at its start.
    pub start_bytes: u64,
    /// The last key that was looked at, with the name of its store in front.
    pub after: Vec<u8>,
    /// Bytes of the entries that were looked at.
    pub live_bytes: u64,
}

impl Cleaning {
    /// Bytes between the first record that is not dead and the end.
    pub fn log_bytes(&self) -> u64 {
        self.written_bytes.saturating_sub(self.dead_bytes)
    }

    /// Begins a pass if it is time. `durable_offset` is the offset that the store on disk stands for.
    pub fn begin_if_due(&mut self, policy: &StateLogPolicy, durable_offset: u64) {
        let log_bytes_max = policy.log_bytes_min.max(self.live_bytes.saturating_mul(LOG_PER_LIVE_MAX));
        if self.pass.is_none() && self.log_bytes() > log_bytes_max {
            let after = CHECKPOINT_KEY.to_vec();
            self.pass = Some(Pass { start: durable_offset, start_bytes: self.written_bytes, after, live_bytes: 0 });
        }
    }

    /// Bytes that a transaction with so many bytes of changes should carry.
    pub fn carried_bytes(&self, policy: &StateLogPolicy, changed_bytes: u64) -> u64 {
        let share = changed_bytes.saturating_mul(CARRIED_PER_WRITTEN);
        share.clamp(policy.carried_bytes_min, policy.carried_bytes_max.max(policy.carried_bytes_min))
    }

    /// The pass has looked at this entry.
    pub fn looked_at(&mut self, (key, value): &Pair) {
        if let Some(pass) = &mut self.pass {
            pass.live_bytes += (key.len() + value.len()) as u64;
            pass.after.clone_from(key);
        }
    }

    /// The pass has come to the end of the keys.
    pub fn end_pass(&mut self) {
        if let Some(pass) = self.pass.take() {
            self.dead_before = pass.start;
            self.dead_bytes = pass.start_bytes;
            self.live_bytes = pass.live_bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: StateLogPolicy = StateLogPolicy {
        record_bytes_max: 1_000,
        log_bytes_min: 100,
        scanned_entries: 9,
        carried_bytes_min: 10,
        carried_bytes_max: 50,
    };

    #[test]
    fn a_pass_begins_when_the_log_is_a_multiple_of_what_is_live() {
        // written | dead | live | begins
        let table = [(100, 0, 0, false), (101, 0, 0, true), (300, 100, 70, false), (311, 100, 70, true)];
        for (written_bytes, dead_bytes, live_bytes, begins) in table {
            let mut cleaning = Cleaning { written_bytes, dead_bytes, live_bytes, ..Cleaning::default() };
            cleaning.begin_if_due(&POLICY, 7);
            assert_eq!(cleaning.pass.as_ref().map(|pass| pass.start), begins.then_some(7), "{written_bytes}");
        }
    }

    #[test]
    fn a_pass_that_has_ended_says_what_is_dead() {
        let mut cleaning = Cleaning { written_bytes: 101, ..Cleaning::default() };
        cleaning.begin_if_due(&POLICY, 7);
        cleaning.looked_at(&(b"a\0key".to_vec(), b"value".to_vec()));
        cleaning.written_bytes = 150;
        cleaning.begin_if_due(&POLICY, 9);
        assert_eq!(cleaning.pass.as_ref().map(|pass| (pass.start, pass.after.as_slice())), Some((7, &b"a\0key"[..])));
        cleaning.end_pass();
        assert_eq!((cleaning.dead_before, cleaning.live_bytes, cleaning.log_bytes()), (7, 10, 49));
        assert_eq!(cleaning.pass, None);
    }

    #[test]
    fn a_transaction_carries_in_proportion_and_within_bounds() {
        let table = [(0, 10), (4, 10), (11, 22), (1_000, 50)];
        for (changed, carried) in table {
            assert_eq!(Cleaning::default().carried_bytes(&POLICY, changed), carried);
        }
    }
}
