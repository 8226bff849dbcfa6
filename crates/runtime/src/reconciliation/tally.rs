//! What is counted beside the figures of a checkpoint, and never from them: by offsets, by what was written, by the state.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Since the task's first transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// By topic that the task reads.
    pub taken: BTreeMap<String, Taken>,
    /// Records written into topics that stages read, by topic and partition. One task of a transaction counts for all of
    /// them, so only the sum over all tasks says anything.
    pub written: BTreeMap<String, BTreeMap<u32, u64>>,
    /// By `stage/topic`, where anything ever failed.
    pub set_aside: BTreeMap<String, SetAside>,
}

/// What was read of a topic, by its offsets: positions passed, less the offsets in between that hold no record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    pub records: u64,
    /// Those among them that say what is to be done with another record, and have no outcome.
    pub decisions: u64,
    /// Where a record was first passed without being processed: offset, and the offset behind it.
    pub missed: Option<(u64, u64)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetAside {
    /// Records written into the topic of dead letters.
    pub dead_letters: u64,
    /// Records written into the topic of those that wait.
    pub parked: u64,
    /// How many wait, as the state of the task says.
    pub waiting: u64,
}

impl Taken {
    /// Goes on from `position` behind the record at `offset`, of which `passed_over` offsets before it hold none.
    pub(crate) fn pass(&mut self, position: u64, offset: u64, passed_over: u64) {
        let missed = offset.saturating_sub(position).saturating_sub(passed_over);
        self.records += missed + 1;
        if missed > 0 && self.missed.is_none() {
            self.missed = Some((position, offset));
        }
    }

    pub(crate) fn add(&mut self, more: &Self) {
        self.records += more.records;
        self.decisions += more.decisions;
        self.missed = self.missed.or(more.missed);
    }
}

impl SetAside {
    pub(crate) fn add(&mut self, more: Self) {
        self.dead_letters += more.dead_letters;
        self.parked += more.parked;
    }
}

impl Tally {
    pub(crate) fn add_written(&mut self, topic: &str, by_partition: &[u64]) {
        if by_partition.iter().all(|count| *count == 0) {
            return;
        }
        let written = self.written.entry(topic.to_owned()).or_default();
        for (partition, count) in (0..).zip(by_partition).filter(|(_, count)| **count > 0) {
            *written.entry(partition).or_default() += count;
        }
    }
}
