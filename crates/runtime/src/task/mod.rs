//! One task: partition number p of a unit, with its stores, its positions and its figures.

pub mod checkpoint;
pub(crate) mod follow;
pub mod restore;
pub mod state;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidemill_core::Outcome;

use crate::parking::Flags;
use crate::reconciliation::{SetAside, Taken};
use crate::task::checkpoint::{Checkpoint, Figures, outcome_name};
use crate::task::state::TaskState;
use crate::worker::program::InputProgram;

/// A task that this worker owns and whose state is caught up.
pub(crate) struct Task {
    pub(crate) number: u32,
    pub(crate) state: TaskState,
    committed: Checkpoint,
    /// How long it is in the log.
    committed_bytes: u64,
    /// Topics whose position is one that was committed, and not the beginning of a topic that was never read.
    resumed: BTreeSet<Arc<str>>,
    /// By topic, after what the open transaction has processed.
    readings: BTreeMap<Arc<str>, Reading>,
    /// What the open transaction adds to the figures, by number of the input. There are a handful.
    added: Vec<((usize, Outcome), u64)>,
    /// What the open transaction has written of each input, by its number, into dead letters and those that wait.
    set_aside: BTreeMap<usize, SetAside>,
    /// What was deleted of parked topics, by number of the input: everything before these offsets.
    deleted_before: BTreeMap<usize, u64>,
    /// Records that do not add up, as far as that has been reported.
    reported: u64,
    is_touched: bool,
    /// The state log names this worker as the owner, so that a successor knows whom to settle.
    is_claimed: bool,
    pub(crate) parking: Flags,
}

/// How far a topic has been read.
#[derive(Clone, Debug, Default)]
struct Reading {
    next_offset: u64,
    /// What the open transaction has taken of it.
    added: Taken,
}

impl Task {
    /// `begun` are topics that this task has not read before, with their first offsets.
    pub(crate) fn new(number: u32, state: TaskState, mut committed: Checkpoint, begun: BTreeMap<String, u64>) -> Self {
        let committed_bytes = committed.encode().map_or(0, |bytes| bytes.len() as u64);
        let resumed = readings_of(&committed).into_keys().collect();
        committed.positions.extend(begun);
        let readings = readings_of(&committed);
        Self {
            number,
            state,
            committed,
            committed_bytes,
            resumed,
            readings,
            added: Vec::new(),
            set_aside: BTreeMap::new(),
            deleted_before: BTreeMap::new(),
            reported: 0,
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
        self.readings.get(topic).map(|reading| reading.next_offset)
    }

    /// Every topic that it reads, with the next offset.
    pub(crate) fn positions(&self) -> impl Iterator<Item = (&Arc<str>, u64)> {
        self.readings.iter().map(|(topic, reading)| (topic, reading.next_offset))
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

    /// Notes that the record ended as `outcome`.
    pub(crate) fn advance(&mut self, place: Place<'_>, input: usize, outcome: Outcome) {
        self.pass(place);
        self.count(input, outcome);
    }

    /// Notes that the record said what is to be done with another one.
    pub(crate) fn obey(&mut self, place: Place<'_>) {
        self.pass(place).decisions += 1;
    }

    /// Notes how a record ended that no position stands for.
    pub(crate) fn count(&mut self, input: usize, outcome: Outcome) {
        self.is_touched = true;
        match self.added.iter_mut().find(|(ended, _)| *ended == (input, outcome)) {
            Some((_, count)) => *count += 1,
            None => self.added.push(((input, outcome), 1)),
        }
    }

    /// Goes on behind the record.
    fn pass(&mut self, place: Place<'_>) -> &mut Taken {
        self.is_touched = true;
        let Place { topic, offset, passed_over } = place;
        let first = || Reading { next_offset: offset, added: Taken::default() };
        let Reading { next_offset, added } = self.readings.entry(Arc::clone(topic)).or_insert_with(first);
        added.pass(*next_offset, offset, passed_over);
        *next_offset = offset + 1;
        added
    }

    /// Notes what was written of a record that failed, or that waits behind one.
    pub(crate) fn set_aside(&mut self, input: usize, written: SetAside) {
        self.set_aside.entry(input).or_default().add(written);
    }

    /// Whether what the open transaction has read is what it has found outcomes for, and what it has written of that is
    /// what these outcomes say: by numbers that are at hand, so that it can be asked with every commit.
    pub(crate) fn adds_up(&self, inputs: &[InputProgram], redrive: Option<&str>) -> bool {
        let taken = |topic: &str| self.readings.get(topic).map(|reading| &reading.added);
        let records = |topic: &str| taken(topic).map_or(0, |added| added.records - added.decisions);
        let (mut redriven, mut all_agree) = (0, true);
        for (number, input) in inputs.iter().enumerate() {
            let (mut first, mut dead, mut parked) = (0, 0, 0);
            for ((input_way, outcome), count) in &self.added {
                if input_way % inputs.len() != number {
                    continue;
                }
                match input_way / inputs.len() {
                    0 => first += count,
                    1 => redriven += count,
                    _ => {}
                }
                match outcome {
                    Outcome::Dead(_) => dead += count,
                    Outcome::Parked => parked += count,
                    _ => {}
                }
            }
            let aside = self.set_aside.get(&number).copied().unwrap_or_default();
            all_agree &= first == records(&input.topic) && dead == aside.dead_letters && parked == aside.parked;
        }
        all_agree && redrive.is_none_or(|topic| redriven == records(topic))
    }

    /// Up to which offset nobody needs the parked topic of the input any more, if that has not been said before.
    pub(crate) fn is_dead_before(&mut self, input: usize, before: u64) -> bool {
        let deleted = self.deleted_before.entry(input).or_default();
        std::mem::replace(deleted, before.max(*deleted)) < before
    }

    /// Notes that so many records do not add up. Whether that is news.
    pub(crate) fn is_news(&mut self, unaccounted: u64) -> bool {
        std::mem::replace(&mut self.reported, unaccounted) != unaccounted
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
        let mut tally = self.committed.tally.clone();
        for (topic, Reading { added, .. }) in self.readings.iter().filter(|(_, reading)| reading.added.records > 0) {
            match tally.taken.get_mut(topic.as_ref()) {
                Some(taken) => taken.add(added),
                None => {
                    tally.taken.insert(topic.to_string(), added.clone());
                }
            }
        }
        for (input, written) in &self.set_aside {
            let Some(name) = inputs.get(*input) else { continue };
            tally.set_aside.entry(name.clone()).or_default().add(*written);
        }
        Checkpoint {
            log_id: self.committed.log_id.clone(),
            owner: owner.to_owned(),
            produced_by: produced_by.to_owned(),
            positions: self.positions().map(|(topic, offset)| (topic.to_string(), offset)).collect(),
            figures,
            tally,
            cleaning: self.committed.cleaning.clone(),
            retired_for: self.committed.retired_for.clone(),
        }
    }

    /// The transaction that held `checkpoint` was committed. In the log it is so long.
    pub(crate) fn committed(&mut self, checkpoint: Checkpoint, bytes: u64) {
        self.committed = checkpoint;
        self.committed_bytes = bytes;
        self.forget_added();
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
        self.readings = readings_of(&self.committed);
        self.forget_added();
        if !sabotaged!(KeepStagedState) {
            self.state.discard();
        }
        self.is_touched = false;
    }

    fn forget_added(&mut self) {
        self.added.clear();
        self.set_aside.clear();
        for reading in self.readings.values_mut() {
            reading.added = Taken::default();
        }
    }
}

/// Where a record was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) topic: &'a Arc<str>,
    pub(crate) offset: u64,
    /// Offsets before it that hold no record.
    pub(crate) passed_over: u64,
}

impl Place<'_> {
    /// Where compaction takes records away, every offset without one is as it should be.
    pub(crate) fn in_compacted(self, task: &Task) -> Self {
        let position = task.position(self.topic).unwrap_or(self.offset);
        Self { passed_over: self.offset.saturating_sub(position), ..self }
    }
}

fn readings_of(checkpoint: &Checkpoint) -> BTreeMap<Arc<str>, Reading> {
    let positions = checkpoint.positions.iter();
    positions
        .map(|(topic, offset)| (Arc::from(topic.as_str()), Reading { next_offset: *offset, added: Taken::default() }))
        .collect()
}
