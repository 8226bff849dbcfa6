//! One task: partition number p of a unit, with its stores, its positions and its figures.

pub mod checkpoint;
pub(crate) mod follow;
pub mod restore;
pub mod state;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidemill_core::Outcome;

use crate::parking::Flags;
use crate::task::checkpoint::{Checkpoint, Figures, outcome_name};
use crate::task::state::TaskState;

/// A task that this worker owns and whose state is caught up.
pub(crate) struct Task {
    pub(crate) number: u32,
    pub(crate) state: TaskState,
    committed: Checkpoint,
    /// How long it is in the log.
    committed_bytes: u64,
    /// Topics whose position is one that was committed, and not the beginning of a topic that was never read.
    resumed: BTreeSet<Arc<str>>,
    /// Next offset per topic, after what the open transaction has processed.
    positions: BTreeMap<Arc<str>, u64>,
    /// What the open transaction adds to the figures, by number of the input. There are a handful.
    added: Vec<((usize, Outcome), u64)>,
    is_touched: bool,
    /// The state log names this worker as the owner, so that a successor knows whom to settle.
    is_claimed: bool,
    pub(crate) parking: Flags,
}

impl Task {
    /// `begun` are topics that this task has not read before, with their first offsets.
    pub(crate) fn new(number: u32, state: TaskState, mut committed: Checkpoint, begun: BTreeMap<String, u64>) -> Self {
        let committed_bytes = committed.encode().map_or(0, |bytes| bytes.len() as u64);
        let resumed = positions_of(&committed).into_keys().collect();
        committed.positions.extend(begun);
        let positions = positions_of(&committed);
        Self {
            number,
            state,
            committed,
            committed_bytes,
            resumed,
            positions,
            added: Vec::new(),
            is_touched: false,
            is_claimed: false,
            parking: Flags { is_holding: true, is_releasing: true },
        }
    }

    /// Topics that are read on where an earlier owner stopped.
    pub(crate) fn resumed(&self) -> impl Iterator<Item = &Arc<str>> {
        self.resumed.iter()
    }

    /// Next offset to process of `topic`; `None` for a topic that is not an input.
    pub(crate) fn position(&self, topic: &str) -> Option<u64> {
        self.positions.get(topic).copied()
    }

    pub(crate) fn positions(&self) -> &BTreeMap<Arc<str>, u64> {
        &self.positions
    }

    pub(crate) fn figures(&self) -> &Figures {
        &self.committed.figures
    }

    /// Whether the open transaction holds anything of this task.
    pub(crate) fn is_touched(&self) -> bool {
        self.is_touched
    }

    pub(crate) fn is_claimed(&self) -> bool {
        self.is_claimed
    }

    /// Makes the next transaction write a checkpoint of this task, although nothing was processed.
    pub(crate) fn touch(&mut self) {
        self.is_touched = true;
    }

    /// Notes that the record at `offset` ended as `outcome`.
    pub(crate) fn advance(&mut self, topic: &Arc<str>, offset: u64, input: usize, outcome: Outcome) {
        self.pass_over(topic, offset);
        self.count(input, outcome);
    }

    /// Notes how a record ended that no position stands for.
    pub(crate) fn count(&mut self, input: usize, outcome: Outcome) {
        self.is_touched = true;
        match self.added.iter_mut().find(|(ended, _)| *ended == (input, outcome)) {
            Some((_, count)) => *count += 1,
            None => self.added.push(((input, outcome), 1)),
        }
    }

    /// Goes on behind the record at `offset`.
    pub(crate) fn pass_over(&mut self, topic: &Arc<str>, offset: u64) {
        self.is_touched = true;
        match self.positions.get_mut(topic) {
            Some(position) => *position = offset + 1,
            None => {
                self.positions.insert(Arc::clone(topic), offset + 1);
            }
        }
    }

    /// Everything in the log before this offset is dead.
    pub(crate) fn dead_before(&self) -> u64 {
        self.committed.cleaning.dead_before
    }

    /// Bytes of the committed checkpoint in the log.
    pub(crate) fn committed_bytes(&self) -> u64 {
        self.committed_bytes
    }

    /// The checkpoint that the open transaction would make true. `inputs` names the inputs by number.
    pub(crate) fn checkpoint(&self, owner: &str, produced_by: &str, inputs: &[String]) -> Checkpoint {
        let mut figures = self.committed.figures.clone();
        for ((input, outcome), count) in &self.added {
            let Some(name) = inputs.get(*input) else { continue };
            let input_figures = figures.entry(name.clone()).or_default();
            *input_figures.entry(outcome_name(*outcome)).or_default() += count;
        }
        Checkpoint {
            log_id: self.committed.log_id.clone(),
            owner: owner.to_owned(),
            produced_by: produced_by.to_owned(),
            positions: self.positions.iter().map(|(topic, offset)| (topic.to_string(), *offset)).collect(),
            figures,
            cleaning: self.committed.cleaning.clone(),
            retired_for: self.committed.retired_for.clone(),
        }
    }

    /// The transaction that held `checkpoint` was committed. In the log it is so long.
    pub(crate) fn committed(&mut self, checkpoint: Checkpoint, bytes: u64) {
        self.committed = checkpoint;
        self.committed_bytes = bytes;
        self.added.clear();
        self.is_touched = false;
        self.is_claimed = true;
    }

    /// The same task, but with the positions of the group.
    #[cfg(feature = "sabotage")]
    pub(crate) fn trusting(mut self, committed: &[(crate::broker::TopicPartition, u64)]) -> Self {
        for (partition, offset) in committed {
            self.committed.positions.insert(partition.topic.to_string(), *offset);
        }
        Self::new(self.number, self.state, self.committed, BTreeMap::new())
    }

    /// The transaction was aborted: back to what is committed.
    pub(crate) fn rewind(&mut self) {
        self.positions = positions_of(&self.committed);
        self.added.clear();
        if !sabotaged!(KeepStagedState) {
            self.state.discard();
        }
        self.is_touched = false;
    }
}

fn positions_of(checkpoint: &Checkpoint) -> BTreeMap<Arc<str>, u64> {
    checkpoint.positions.iter().map(|(topic, offset)| (Arc::from(topic.as_str()), *offset)).collect()
}
