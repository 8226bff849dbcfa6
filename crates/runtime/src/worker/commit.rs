//! When a transaction ends, and what of its tasks goes into it: state, checkpoints, positions.

use std::sync::Arc;
use std::time::Duration;

use crate::broker::{Broker, BrokerError, BrokerErrorKind, Outgoing, TopicPartition};
use crate::state_log::{RecordWriter, StateLogPolicy};
use crate::task::Task;
use crate::task::checkpoint::{Checkpoint, RELEASED};
use crate::threads::Threads;
use crate::transaction::{CommitEnd, Transaction};
use crate::worker::{Worker, WorkerError};

/// A task in the transaction that is being committed.
pub(super) struct Committing {
    pub(super) task: u32,
    pub(super) checkpoint: Checkpoint,
    /// The checkpoint as it is written.
    pub(super) bytes: Vec<u8>,
}

impl Worker {
    pub(super) fn commit_if_due(&mut self) -> Result<(), WorkerError> {
        let transaction = &self.output.transaction;
        if !transaction.is_open() {
            return Ok(());
        }
        let age = transaction.age();
        let is_late = age >= Duration::from_millis(self.policy().interval_ms_max);
        if is_late || (self.is_drained && age >= self.gap()) { self.commit() } else { Ok(()) }
    }

    /// Commits everything that is staged.
    pub(super) fn commit(&mut self) -> Result<(), WorkerError> {
        self.commit_releasing(&[])
    }

    /// Commits, and says in the checkpoints of `released` tasks that nobody owns them.
    pub(super) fn commit_releasing(&mut self, released: &[u32]) -> Result<(), WorkerError> {
        let started_at = self.shared.clock.now();
        self.output.write_latest()?;
        let produced_by = self.shared.topology.pipeline.produced_by();
        let mut committing = Vec::new();
        let mut offsets = Vec::new();
        let mut log = StateLog {
            topic: &self.state_topic,
            policy: &self.shared.state_log,
            timestamp_ms: self.shared.clock.unix_ms(),
            records: &mut self.state_records,
            transaction: &mut self.output.transaction,
        };
        for task in self.tasks.values_mut().filter(|task| task.is_touched()) {
            let owner = if released.contains(&task.number) { RELEASED } else { &self.slot };
            let mut checkpoint = task.checkpoint(owner, &produced_by, &self.program.names);
            for ((topic, _), written) in self.program.counted.iter().zip(&mut self.output.written) {
                checkpoint.tally.add_written(topic, written);
                written.fill(0);
            }
            task.note_waiting(&self.program.inputs, &mut checkpoint)?;
            committing.push(log.write(task, checkpoint)?);
            for (topic, position) in task.positions() {
                offsets.push((TopicPartition::new(Arc::clone(topic), task.number), position));
            }
        }
        let Some(member) = &self.member else {
            return Err(BrokerError::new(BrokerErrorKind::MemberLost, "commit", "not a member of the group").into());
        };
        if sabotaged!(ApplyBeforeCommit) {
            for Committing { task, bytes, .. } in &committing {
                if let Some(task) = self.tasks.get_mut(task) {
                    task.state.apply(bytes, task.state.next_offset())?;
                }
            }
        }
        match self.output.transaction.commit(&offsets, member.as_ref()) {
            CommitEnd::Committed => self.committed(committing, started_at),
            CommitEnd::Aborted(error) => self.aborted(error),
            CommitEnd::Unknown(error) => self.recycle(&error),
        }
    }
}

const NOT_CLEANED: &str = "records_not_deleted";

/// Has the broker delete what is dead in a state log or a parked topic, on a thread of its own. Should that fail, the next
/// start of the task or the end of the next pass makes up for it.
pub(crate) fn delete_dead(broker: Arc<dyn Broker>, threads: &dyn Threads, log: TopicPartition, before: u64) {
    let number = log.partition;
    let body = move || match broker.delete_records(&log, before) {
        Ok(()) => tracing::debug!(topic = %log.topic, task = number, before, "what is dead was deleted"),
        Err(error) => {
            tracing::warn!(code = NOT_CLEANED, topic = %log.topic, task = number, before, %error, "it stays longer");
        }
    };
    if let Err(error) = threads.spawn(format!("clean-{number}"), Box::new(body)) {
        tracing::warn!(code = NOT_CLEANED, task = number, before, %error, "what is dead stays longer");
    }
}

/// Where the open transaction's state records go.
struct StateLog<'a> {
    topic: &'a str,
    policy: &'a StateLogPolicy,
    timestamp_ms: i64,
    records: &'a mut RecordWriter,
    transaction: &'a mut Transaction,
}

impl StateLog<'_> {
    /// Writes what the transaction has changed in the task's state, and `checkpoint` behind it.
    fn write(&mut self, task: &mut Task, mut checkpoint: Checkpoint) -> Result<Committing, WorkerError> {
        let Self { topic, policy, timestamp_ms, records, transaction } = self;
        let partition = task.number;
        let mut send = |record: &[u8]| {
            transaction.send(&Outgoing {
                topic,
                partition,
                timestamp_ms: *timestamp_ms,
                key: None,
                value: Some(record),
                headers: &[],
            })
        };
        records.begin(policy.record_bytes_max);
        task.state.carry(&mut checkpoint.cleaning, policy, |change| {
            Ok(records.push(change, &mut send)?) as Result<(), WorkerError>
        })?;
        for change in task.state.changes() {
            records.push(change, &mut send)?;
        }
        checkpoint.cleaning.written_bytes += task.committed_bytes() + records.written_bytes();
        let bytes = checkpoint.encode()?;
        records.finish(&bytes, &mut send)?;
        Ok(Committing { task: task.number, checkpoint, bytes })
    }
}
