//! A second pipeline over the same inputs, and how it takes over from the first.
//!
//! Both read the same ingest topics; everything else, the new one, of another colour, has for itself: groups, slots, state
//! logs, topics, read models. A [`Note`] in a topic that they share says which of them is live and how far a reprocess has
//! come. Until the new one is live it is run only up to what the live one has processed, and asks nobody outside for
//! anything ([`Rehearsal`]).
//!
//! Invariant: what both have processed of the inputs is the same when the new one becomes live, to the record. So what the
//! live one has asked outsiders for is exactly what the new one has withheld.

mod note;
mod progress;
mod removal;
mod retirement;

use tidemill_core::{EventKind, Origin};

pub use note::{Note, Phase, Replaced, Run, StartFrom};
pub use progress::{Limits, Standing, processed, shared_inputs, sinks_left, standing};
pub use removal::{RemovalError, Removed, remove};
pub(crate) use retirement::write_checkpoint;
pub use retirement::{Retirement, begin, enter, retire, unretire};

use crate::broker::TopicPartition;

/// Another pipeline has taken over from this one.
pub const PIPELINE_RETIRED: &str = "pipeline_retired";

/// How a pipeline runs that is not live: not yet, or not any more.
#[derive(Clone, Debug)]
pub struct Rehearsal {
    /// The topics that it shares with others are read up to here. What has no limit is not read.
    pub limits: Limits,
    /// Kinds of events that ask somebody outside to act. None is written.
    pub withheld: &'static [EventKind],
    pub retired: Retired,
}

/// Whether tasks are started that are retired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retired {
    Refused,
    /// To bring what is under way to its end.
    Finished,
}

impl Rehearsal {
    /// Whether the record has to wait for another run.
    pub(crate) fn is_beyond(&self, origin: &Origin<'_>) -> bool {
        if !self.limits.topics.contains(origin.topic) {
            return false;
        }
        let partition = TopicPartition::new(origin.topic, origin.partition);
        self.limits.offsets.get(&partition).is_none_or(|limit| origin.offset >= *limit)
    }
}
