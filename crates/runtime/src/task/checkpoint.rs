//! The checkpoint: the end of every transaction in a task's state log. It says who owned the task, how far the inputs
//! were processed and what became of them, and it commits with everything else or not at all.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tidemill_core::Outcome;
use tidemill_topology::Colour;

use crate::reconciliation::Tally;
use crate::state_log::Cleaning;
use crate::store::write_behind::WriteBehind;

/// Key of the checkpoint in the local store. No store name is empty, so every other key is greater.
pub const CHECKPOINT_KEY: &[u8] = b"\0checkpoint";

/// Owner of a task that was given up in good order.
pub const RELEASED: &str = "-";

const VERSION: u8 = 4;

/// Behind `stage/topic`: the figures of records that were sent back.
pub const REDRIVEN: &str = "#redrive";
/// Behind `stage/topic`: the figures of records that were parked and released.
pub const RELEASED_RECORDS: &str = "#released";

/// `stage/topic` to outcome to count of records. The outcomes are those of [`outcome_name`].
pub type Figures = BTreeMap<String, BTreeMap<String, u64>>;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Names this state log: made with its first checkpoint and handed on. A store that has followed another log of the
    /// same name is known by it.
    pub log_id: String,
    /// Slot of the worker that wrote it, which is also its transactional id; [`RELEASED`] when it let go.
    pub owner: String,
    pub produced_by: String,
    /// Next offset to read, by topic.
    pub positions: BTreeMap<String, u64>,
    pub figures: Figures,
    /// What the figures must agree with.
    pub tally: Tally,
    pub cleaning: Cleaning,
    /// Colour of the pipeline that takes over from this one. Nobody works for this task any more, unless to bring what is
    /// under way to its end.
    pub retired_for: Option<Colour>,
}

#[derive(Debug, thiserror::Error)]
#[error("a checkpoint cannot be read: {0}")]
pub struct CheckpointError(String);

impl Checkpoint {
    pub fn encode(&self) -> Result<Vec<u8>, CheckpointError> {
        postcard::to_extend(self, vec![VERSION]).map_err(|error| CheckpointError(error.to_string()))
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, CheckpointError> {
        match bytes.split_first() {
            Some((&VERSION, rest)) => postcard::from_bytes(rest).map_err(|error| CheckpointError(error.to_string())),
            Some((version, _)) => Err(CheckpointError(format!("version {version} is not known"))),
            None => Err(CheckpointError("it is empty".to_owned())),
        }
    }

    /// The checkpoint that the store has come to; the default for a task that never committed.
    pub fn of_store(store: &WriteBehind) -> Result<Self, crate::task::restore::StartError> {
        match store.get(CHECKPOINT_KEY)? {
            Some(bytes) => Ok(Self::decode(&bytes)?),
            None => Ok(Self::default()),
        }
    }

    /// Whether it stands for a task that never committed.
    pub fn is_first(&self) -> bool {
        self.owner.is_empty()
    }

    /// Records that this task has read, over all its inputs.
    pub fn records(&self) -> u64 {
        self.figures.values().flat_map(BTreeMap::values).sum()
    }
}

/// `passed`, `posted`, `applied`, `duplicate`, `parked`, `discarded`, `rejected:<code>`, `dead:<code>`.
pub fn outcome_name(outcome: Outcome) -> String {
    match outcome {
        Outcome::Passed => "passed".to_owned(),
        Outcome::Posted => "posted".to_owned(),
        Outcome::Applied => "applied".to_owned(),
        Outcome::Duplicate => "duplicate".to_owned(),
        Outcome::Parked => "parked".to_owned(),
        Outcome::Discarded => "discarded".to_owned(),
        Outcome::Rejected(code) => format!("rejected:{code}"),
        Outcome::Dead(code) => format!("dead:{code}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconciliation::Taken;

    #[test]
    fn reads_what_it_wrote_and_refuses_the_rest() {
        let figures = BTreeMap::from([("passed".to_owned(), 7), (outcome_name(Outcome::Dead("bug")), 1)]);
        let checkpoint = Checkpoint {
            log_id: "payments-main-a-0@1".to_owned(),
            owner: "payments-main-a-0".to_owned(),
            produced_by: "payments@1+00000000".to_owned(),
            positions: BTreeMap::from([("payments.requested.v1".to_owned(), 8)]),
            figures: BTreeMap::from([("ingest/payments.requested.v1".to_owned(), figures)]),
            tally: Tally {
                taken: BTreeMap::from([("payments.requested.v1".to_owned(), Taken { records: 8, ..Taken::default() })]),
                written: BTreeMap::from([("payments.validated.v1".to_owned(), BTreeMap::from([(2, 7)]))]),
                ..Tally::default()
            },
            cleaning: Cleaning { written_bytes: 300, live_bytes: 200, ..Cleaning::default() },
            retired_for: Colour::parse("green"),
        };
        let bytes = checkpoint.encode().expect("it can be encoded");
        assert_eq!(Checkpoint::decode(&bytes).expect("it can be decoded"), checkpoint);
        assert_eq!(checkpoint.records(), 8);
        for damaged in [&[][..], &[1, 1, 2], &bytes[..bytes.len() - 1]] {
            assert!(Checkpoint::decode(damaged).is_err(), "{damaged:?}");
        }
    }
}
