//! Looks at the checkpoints of all tasks from outside, whether workers run or not, and at what lies between two stages.
//!
//! What a stage writes and another reads is counted on both sides, in checkpoints that are committed at different times. So
//! each side is read when it cannot be ahead of the other: what was read before what was written. What a partition still
//! holds for its reader is known exactly when that is at its end, and otherwise only that it is not more than there are
//! offsets: something that was lost on the way shows then when the reader has caught up.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tidemill_topology::Topology;
use tidemill_topology::plan::Unit;

use crate::broker::{Broker, BrokerError, Isolation, Reader, Result, TopicPartition, read_range_with};
use crate::reconciliation::{Balance, balances};
use crate::status::last_checkpoint_with;
use crate::task::checkpoint::Checkpoint;

pub struct ReconciliationWatch {
    topology: Arc<Topology>,
    broker: Arc<dyn Broker>,
    reader: Option<Box<dyn Reader>>,
    /// Topics that stages both write and read.
    between: BTreeSet<String>,
    /// Records of these that had been taken at the last look.
    taken_before: BTreeMap<(String, u32), u64>,
}

/// What one look has found, by input partition.
#[derive(Clone, Debug, Default)]
pub struct Look {
    pub balances: Vec<Balance>,
}

impl Look {
    /// What does not add up, in words, with its place.
    pub fn findings(&self) -> impl Iterator<Item = String> + '_ {
        self.balances.iter().flat_map(|balance| {
            let Balance { topic, partition, findings, .. } = balance;
            findings.iter().map(move |finding| format!("{topic} partition {partition}: {finding}"))
        })
    }
}

/// What a checkpoint says of one partition between two stages.
struct Side {
    next_offset: u64,
    taken: u64,
}

impl std::fmt::Debug for ReconciliationWatch {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "ReconciliationWatch({})", self.topology.pipeline.name)
    }
}

impl ReconciliationWatch {
    /// Between two looks.
    pub const INTERVAL: Duration = Duration::from_secs(1);

    pub fn new(topology: Arc<Topology>, broker: Arc<dyn Broker>) -> Self {
        let stages = || topology.units.iter().flat_map(|unit| &unit.stages);
        let written = stages().flat_map(|stage| stage.inputs.iter().flat_map(|input| stage.topics_written(input)));
        let between = written.filter(|topic| topology.reader_of(topic).is_some()).map(ToOwned::to_owned).collect();
        Self { topology, broker, reader: None, between, taken_before: BTreeMap::new() }
    }

    /// Draws everything up. That more was read than was written is found by the second look at the earliest.
    pub fn look(&mut self) -> Result<Look> {
        let mut reader = match self.reader.take() {
            Some(reader) => reader,
            None => self.broker.reader(Isolation::ReadCommitted)?,
        };
        let look = self.look_with(reader.as_mut())?;
        self.reader = Some(reader);
        Ok(look)
    }

    fn look_with(&mut self, reader: &mut dyn Reader) -> Result<Look> {
        let topology = Arc::clone(&self.topology);
        let mut look = Look::default();
        let mut sides: BTreeMap<(String, u32), Side> = BTreeMap::new();
        for (unit, task) in tasks(&topology) {
            let checkpoint = self.checkpoint(reader, unit, task)?;
            for (topic, taken) in checkpoint.tally.taken.iter().filter(|(topic, _)| self.between.contains(*topic)) {
                let next_offset = checkpoint.positions.get(topic).copied().unwrap_or(0);
                sides.insert((topic.clone(), task), Side { next_offset, taken: taken.records });
            }
            let redrive = unit.redrive_topic(&topology.pipeline);
            look.balances.extend(balances(unit, &redrive, task, &checkpoint));
        }
        let mut written: BTreeMap<(String, u32), u64> = BTreeMap::new();
        for (unit, task) in tasks(&topology) {
            for (topic, partitions) in self.checkpoint(reader, unit, task)?.tally.written {
                for (partition, count) in partitions {
                    *written.entry((topic.clone(), partition)).or_default() += count;
                }
            }
        }
        for balance in look.balances.iter_mut().filter(|balance| self.between.contains(&balance.topic)) {
            let place = (balance.topic.clone(), balance.partition);
            let written = written.get(&place).copied().unwrap_or(0);
            let side = sides.remove(&place).unwrap_or(Side { next_offset: 0, taken: 0 });
            self.compare(reader, balance, written, &side)?;
            self.taken_before.insert(place, side.taken);
        }
        Ok(look)
    }

    fn compare(&self, reader: &mut dyn Reader, balance: &mut Balance, written: u64, side: &Side) -> Result<()> {
        let before = self.taken_before.get(&(balance.topic.clone(), balance.partition)).copied().unwrap_or(0);
        // What was committed a look ago can be read by now, unless somebody's transaction hides it.
        if before > written && self.broker.held_back(&self.state_logs())?.is_empty() {
            let count = before - written;
            balance.find(count, format!("{count} records were read that no stage has written"));
        }
        let under_way = written.saturating_sub(side.taken);
        balance.under_way = Some(under_way);
        if under_way == 0 {
            return Ok(());
        }
        let partition = TopicPartition::new(balance.topic.as_str(), balance.partition);
        let end = self.broker.watermarks(&partition, Isolation::ReadUncommitted)?.high;
        let readable = self.broker.watermarks(&partition, Isolation::ReadCommitted)?;
        let next_offset = side.next_offset.max(readable.low);
        let is_at_end = readable.high == end && !has_record(reader, &partition, next_offset..end)?;
        let there = if is_at_end { 0 } else { end.saturating_sub(next_offset) };
        if let Some(lost) = under_way.checked_sub(there).filter(|lost| *lost > 0) {
            balance.find(lost, format!("{lost} records that stages have written are not there"));
        }
        Ok(())
    }

    fn checkpoint(&self, reader: &mut dyn Reader, unit: &Unit, task: u32) -> Result<Checkpoint> {
        let log = TopicPartition::new(unit.state_topic(&self.topology.pipeline), task);
        last_checkpoint_with(self.broker.as_ref(), reader, &log)
    }

    fn state_logs(&self) -> Vec<TopicPartition> {
        let logs = tasks(&self.topology);
        logs.map(|(unit, task)| TopicPartition::new(unit.state_topic(&self.topology.pipeline), task)).collect()
    }
}

fn tasks(topology: &Topology) -> impl Iterator<Item = (&Unit, u32)> {
    topology.units.iter().flat_map(|unit| (0..unit.tasks).map(move |task| (unit, task)))
}

fn has_record(reader: &mut dyn Reader, partition: &TopicPartition, range: std::ops::Range<u64>) -> Result<bool> {
    let mut has_record = false;
    read_range_with(reader, partition, range, |_| {
        has_record = true;
        Ok::<_, BrokerError>(ControlFlow::Break(()))
    })?;
    reader.unassign(partition)?;
    Ok(has_record)
}
