//! Stops a pipeline for good: nobody who works for it can commit any more, however long they were away.
//!
//! A worker learns from the checkpoint of a task that it is retired, when it starts the task. One that has started it
//! before is fenced: it starts its tasks again. Both together leave no gap: whoever is not in the group when it is asked
//! starts its tasks after the checkpoints were written.

use std::collections::BTreeSet;
use std::time::Duration;

use tidemill_audit::Action;
use tidemill_topology::{Colour, Topology};

use crate::broker::{BrokerErrorKind, Outgoing, Producer, Result as BrokerResult, TopicPartition};
use crate::operator::{Operator, OperatorError};
use crate::reprocess::{Note, StartFrom};
use crate::state_log::RecordWriter;
use crate::status;
use crate::succession::{Opened, Succession};
use crate::task::checkpoint::{Checkpoint, RELEASED};

const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(30);
/// Each round fences everybody there was in the round before, so that two are the rule.
const ROUNDS_MAX: u32 = 20;

/// A pipeline and who takes over from it.
#[derive(Clone, Copy, Debug)]
pub struct Retirement<'a> {
    pub topology: &'a Topology,
    pub by: &'a Colour,
}

/// Retires every task of the pipeline and fences everybody who works for it. `action` makes the audit entries. Idempotent.
pub fn retire(
    operator: &mut Operator,
    succession: &Succession,
    retirement: Retirement<'_>,
    action: impl Fn() -> Action,
) -> Result<u64, OperatorError> {
    let Retirement { topology, by } = retirement;
    let mut fenced: BTreeSet<String> = BTreeSet::new();
    for _ in 0..ROUNDS_MAX {
        let open: Vec<(TopicPartition, Checkpoint)> = checkpoints(operator, topology)?
            .into_iter()
            .filter(|(_, checkpoint)| checkpoint.retired_for.as_ref() != Some(by))
            .collect();
        if !open.is_empty() {
            let at_ms = operator.clock().unix_ms();
            operator.act(action(), |producer| {
                for (log, checkpoint) in &open {
                    let checkpoint = Checkpoint { retired_for: Some(by.clone()), ..checkpoint.clone() };
                    write_checkpoint(producer, log, &checkpoint, at_ms)?;
                }
                Ok(())
            })?;
        }
        let slots = slots(operator, topology)?;
        for slot in &slots {
            if let Opened::Refused = succession.open(slot, TRANSACTION_TIMEOUT)? {
                return Err(OperatorError::LeftOpen);
            }
        }
        fenced.extend(slots);
        if checkpoints(operator, topology)?.iter().all(|(_, checkpoint)| checkpoint.retired_for.as_ref() == Some(by)) {
            return Ok(fenced.len() as u64);
        }
    }
    Err(OperatorError::TakenOver)
}

/// Makes `note` true, with an audit entry.
pub fn enter(operator: &mut Operator, note: &Note, action: Action) -> Result<(), OperatorError> {
    let (topology, at_ms) = (operator.topology().clone(), operator.clock().unix_ms());
    operator.act(action, |producer| note.write(producer, &topology.pipeline, at_ms))?;
    Ok(())
}

/// Makes `note` true, and has the new pipeline begin where it says.
pub fn begin(operator: &mut Operator, green: &Topology, note: &Note, action: Action) -> Result<(), OperatorError> {
    let offsets = match note.run.as_ref().map(|run| &run.from) {
        Some(StartFrom::Offsets(offsets)) => offsets.clone(),
        Some(StartFrom::Beginning) | None => return enter(operator, note, action),
    };
    let (topology, at_ms) = (operator.topology().clone(), operator.clock().unix_ms());
    operator.act(action, |producer| {
        for unit in &green.units {
            let inputs = || unit.stages.iter().flat_map(|stage| &stage.inputs);
            for task in 0..unit.tasks {
                let first = |topic: &String| Some((topic.clone(), *offsets.get(topic)?.get(&task)?));
                let positions = inputs().filter_map(|input| first(&input.topic)).collect();
                let log = TopicPartition::new(unit.state_topic(&green.pipeline), task);
                write_checkpoint(producer, &log, &Checkpoint { positions, ..Checkpoint::default() }, at_ms)?;
            }
        }
        note.write(producer, &topology.pipeline, at_ms)
    })?;
    Ok(())
}

/// Has the pipeline go on where it was stopped. `note` is what is true after that.
pub fn unretire(
    operator: &mut Operator,
    topology: &Topology,
    note: &Note,
    action: Action,
) -> Result<(), OperatorError> {
    let retired: Vec<(TopicPartition, Checkpoint)> = checkpoints(operator, topology)?
        .into_iter()
        .filter(|(_, checkpoint)| checkpoint.retired_for.is_some())
        .collect();
    let at_ms = operator.clock().unix_ms();
    operator.act(action, |producer| {
        for (log, checkpoint) in &retired {
            let checkpoint = Checkpoint { retired_for: None, ..checkpoint.clone() };
            write_checkpoint(producer, log, &checkpoint, at_ms)?;
        }
        note.write(producer, &topology.pipeline, at_ms)
    })?;
    Ok(())
}

/// The last checkpoint of every task.
fn checkpoints(operator: &Operator, topology: &Topology) -> BrokerResult<Vec<(TopicPartition, Checkpoint)>> {
    let mut all = Vec::new();
    for unit in &topology.units {
        let topic = unit.state_topic(&topology.pipeline);
        for task in 0..unit.tasks {
            let log = TopicPartition::new(topic.as_str(), task);
            let checkpoint = status::checkpoint(operator.broker().as_ref(), &log)?;
            all.push((log, checkpoint));
        }
    }
    Ok(all)
}

/// Slots that may have a transaction open: everybody in the groups, and whom the state logs name. A cluster that does not
/// say who is in a group leaves the latter.
fn slots(operator: &Operator, topology: &Topology) -> BrokerResult<BTreeSet<String>> {
    let mut slots: BTreeSet<String> =
        checkpoints(operator, topology)?.into_iter().map(|(_, checkpoint)| checkpoint.owner).collect();
    slots.retain(|owner| !owner.is_empty() && owner != RELEASED);
    for unit in &topology.units {
        let (group, tasks) = (unit.group(&topology.pipeline), unit.tasks_topic(&topology.pipeline));
        match operator.broker().roster(&group, &tasks) {
            Ok(roster) => slots.extend(roster.into_iter().flatten().map(|member| member.slot)),
            Err(error) if error.kind == BrokerErrorKind::Misconfigured => {}
            Err(error) => return Err(error),
        }
    }
    Ok(slots)
}

/// Ends a transaction of the task's state log that changes nothing but the checkpoint.
pub(crate) fn write_checkpoint(
    producer: &mut dyn Producer,
    log: &TopicPartition,
    checkpoint: &Checkpoint,
    timestamp_ms: i64,
) -> BrokerResult<()> {
    let bytes = checkpoint.encode().map_err(|error| {
        crate::broker::BrokerError::new(BrokerErrorKind::Misconfigured, "write a checkpoint", error.to_string())
    })?;
    let mut writer = RecordWriter::default();
    writer.begin(usize::MAX);
    writer.finish(&bytes, &mut |record: &[u8]| {
        producer.send(&Outgoing {
            topic: &log.topic,
            partition: log.partition,
            timestamp_ms,
            key: None,
            value: Some(record),
            headers: &[],
        })
    })
}
