//! How far everything is, asked from outside: works on any broker, whether workers run or not.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use serde::Serialize;
use tidemill_topology::Topology;
use tidemill_topology::plan::{SinkPlan, Unit};

use crate::broker::{
    Broker, BrokerError, BrokerErrorKind, Isolation, Reader, TopicPartition, read_range, read_range_with,
};
use crate::state_log::LogRecord;
use crate::task::checkpoint::{Checkpoint, Figures};

/// A checkpoint is looked for this far behind the end of the log first; only then from its beginning.
const LOOK_BACK: u64 = 20;

/// One input partition of a unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InputStatus {
    pub unit: String,
    pub topic: String,
    pub partition: u32,
    /// Slot of the owner, `-` when the task was given up, empty when it never ran.
    pub owner: String,
    pub next_offset: u64,
    pub end_offset: u64,
    pub lag_records: u64,
    /// Offsets behind the first transaction that is still open: written, and not readable yet.
    pub unstable_offsets: u64,
    /// Age of the oldest record that waits, by the record's own timestamp.
    pub lag_seconds: Option<i64>,
}

/// The last committed checkpoint of a task; the default if there is none.
pub fn checkpoint(broker: &dyn Broker, log: &TopicPartition) -> Result<Checkpoint, BrokerError> {
    last_checkpoint_with(broker, broker.reader(Isolation::ReadCommitted)?.as_mut(), log)
}

/// [`checkpoint`] with a reader that reads nothing else, for those who ask often.
pub(crate) fn last_checkpoint_with(
    broker: &dyn Broker,
    reader: &mut dyn Reader,
    log: &TopicPartition,
) -> Result<Checkpoint, BrokerError> {
    let watermarks = broker.watermarks(log, Isolation::ReadCommitted)?;
    let near = watermarks.high.saturating_sub(LOOK_BACK).max(watermarks.low);
    for from in [near, watermarks.low] {
        if let Some(checkpoint) = last_checkpoint(reader, log, from..watermarks.high)? {
            return Ok(checkpoint);
        }
        if from == watermarks.low {
            break;
        }
    }
    Ok(Checkpoint::default())
}

/// Positions of every input of the unit against the ends of its topics.
pub fn unit_status(
    broker: &dyn Broker,
    topology: &Topology,
    unit: &Unit,
    now_ms: i64,
) -> Result<Vec<InputStatus>, BrokerError> {
    let state_topic: Arc<str> = Arc::from(unit.state_topic(&topology.pipeline));
    let mut rows = Vec::new();
    for task in 0..unit.tasks {
        let checkpoint = checkpoint(broker, &TopicPartition::new(Arc::clone(&state_topic), task))?;
        let inputs = unit.stages.iter().flat_map(|stage| &stage.inputs).map(|input| input.topic.clone());
        let redrive = unit.redrive_topic(&topology.pipeline);
        let redrive = topology.topics.contains_key(&redrive).then_some(redrive);
        for topic in inputs.chain(redrive) {
            let partition = TopicPartition::new(topic.as_str(), task);
            let watermarks = broker.watermarks(&partition, Isolation::ReadCommitted)?;
            let written = broker.watermarks(&partition, Isolation::ReadUncommitted)?.high;
            let next_offset = checkpoint.positions.get(&topic).copied().unwrap_or(watermarks.low);
            let waiting =
                if next_offset < watermarks.high { first_timestamp(broker, &partition, next_offset)? } else { None };
            rows.push(InputStatus {
                unit: unit.name.clone(),
                topic,
                partition: task,
                owner: checkpoint.owner.clone(),
                next_offset,
                end_offset: watermarks.high,
                // Without a record behind the position only markers are left, and nothing waits.
                unstable_offsets: written.saturating_sub(watermarks.high),
                lag_records: waiting.map_or(0, |_| watermarks.high - next_offset),
                lag_seconds: waiting.map(|timestamp_ms| (now_ms - timestamp_ms).max(0) / 1_000),
            });
        }
    }
    Ok(rows)
}

/// Figures of all tasks of a unit together: `stage/topic` to outcome to count.
pub fn figures(broker: &dyn Broker, topology: &Topology, unit: &Unit) -> Result<Figures, BrokerError> {
    let state_topic: Arc<str> = Arc::from(unit.state_topic(&topology.pipeline));
    let mut total: Figures = BTreeMap::new();
    for task in 0..unit.tasks {
        let checkpoint = checkpoint(broker, &TopicPartition::new(Arc::clone(&state_topic), task))?;
        for (input, outcomes) in checkpoint.figures {
            let of_input = total.entry(input).or_default();
            for (outcome, count) in outcomes {
                *of_input.entry(outcome).or_default() += count;
            }
        }
    }
    Ok(total)
}

/// Offsets that a sink has not written yet, given where it stands.
pub fn sink_lag(
    broker: &dyn Broker,
    topology: &Topology,
    sink: &SinkPlan,
    next_offset: impl Fn(&TopicPartition) -> u64,
) -> Result<u64, BrokerError> {
    let mut lag = 0;
    for topic in &sink.topics {
        let partitions = topology.topics.get(topic).map_or(0, |topic| topic.partitions);
        for partition in (0..partitions).map(|partition| TopicPartition::new(topic.as_str(), partition)) {
            let watermarks = broker.watermarks(&partition, Isolation::ReadCommitted)?;
            let position = next_offset(&partition).max(watermarks.low);
            if position < watermarks.high && first_timestamp(broker, &partition, position)?.is_some() {
                lag += watermarks.high - position;
            }
        }
    }
    Ok(lag)
}

fn last_checkpoint(
    reader: &mut dyn Reader,
    log: &TopicPartition,
    offsets: Range<u64>,
) -> Result<Option<Checkpoint>, BrokerError> {
    let mut last = None;
    read_range_with(reader, log, offsets, |record| {
        let checkpoint = LogRecord::decode(record.key, record.value).and_then(|record| record.decode_checkpoint());
        let unreadable = |error| {
            let message = format!("{}: {error}", record.origin);
            BrokerError::new(BrokerErrorKind::Misconfigured, "read a checkpoint", message)
        };
        last = checkpoint.map_err(unreadable)?.or(last.take());
        Ok::<_, BrokerError>(ControlFlow::Continue(()))
    })?;
    reader.unassign(log)?;
    Ok(last)
}

/// Timestamp of the first record that can be read at or after `offset`.
pub(crate) fn first_timestamp(
    broker: &dyn Broker,
    partition: &TopicPartition,
    offset: u64,
) -> Result<Option<i64>, BrokerError> {
    let high = broker.watermarks(partition, Isolation::ReadCommitted)?.high;
    let mut first = None;
    read_range(broker, partition, offset..high, |record| {
        first = Some(record.event_time.millis());
        Ok::<_, BrokerError>(ControlFlow::Break(()))
    })?;
    Ok(first)
}
