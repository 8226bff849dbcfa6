//! Producers. What they are sent is encoded at once and waits here; one frame makes it visible.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::broker::{
    BrokerError, BrokerErrorKind, Member, Outgoing, Producer, ProducerOptions, Result, TopicPartition,
};
use crate::embedded::block::encoded_length;
use crate::embedded::core::{Core, Fence, ProducerEpoch, Staged};
use crate::embedded::frame::GroupPosition;
use crate::embedded::member::EmbeddedMember;
use crate::embedded::shared::Shared;

/// Single records are written out when this much waits, flush or not.
const UNFLUSHED_BYTES_MAX: usize = 1024 * 1024;

#[derive(Debug)]
enum Mode {
    Single,
    Transactional { producer: ProducerEpoch, phase: Phase },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    Open,
    /// A part of the transaction was refused, so the rest must not be committed.
    MustAbort,
}

/// What sending needs to know of a topic.
#[derive(Clone, Copy, Debug)]
struct TopicFacts {
    id: u32,
    partitions: u32,
    record_bytes_max: usize,
}

#[derive(Debug)]
pub(crate) struct EmbeddedProducer {
    shared: Arc<Shared>,
    mode: Mode,
    staged: Staged,
    /// Forgotten with every transaction, so that a topic that was created anew is noticed.
    topics: HashMap<String, TopicFacts>,
    acknowledged: BTreeMap<TopicPartition, u64>,
}

impl EmbeddedProducer {
    pub(crate) fn open(shared: &Arc<Shared>, options: &ProducerOptions) -> Result<Self> {
        let mut core = shared.lock_to_write("producer")?;
        let mode = match options {
            ProducerOptions::Idempotent => Mode::Single,
            ProducerOptions::Transactional { id, timeout } => {
                Mode::Transactional { producer: core.open_producer(id, *timeout), phase: Phase::Idle }
            }
        };
        Ok(Self {
            shared: Arc::clone(shared),
            mode,
            staged: Staged::default(),
            topics: HashMap::new(),
            acknowledged: BTreeMap::new(),
        })
    }

    fn topic_facts(&mut self, name: &str) -> Result<TopicFacts> {
        if let Some(facts) = self.topics.get(name) {
            return Ok(*facts);
        }
        let core = self.shared.lock("send")?;
        let id = core.topic_id(name, "send")?;
        let topic = core.catalog.topic(id);
        let facts = TopicFacts {
            id,
            partitions: topic.map_or(0, |topic| topic.partitions.len() as u32),
            record_bytes_max: topic.map_or(0, |topic| topic.record_bytes_max),
        };
        self.topics.insert(name.to_owned(), facts);
        Ok(facts)
    }

    fn discard(&mut self) {
        self.staged = Staged::default();
        self.topics.clear();
    }

    /// Notes where the staged records have come to lie.
    fn note_acknowledged(&mut self, core: &Core) {
        for (topic, number) in self.staged.blocks.keys() {
            let Some(name) = core.catalog.topic(*topic).map(|topic| Arc::clone(&topic.name)) else { continue };
            let end = core.catalog.partition(*topic, *number).map_or(0, |partition| partition.end);
            self.acknowledged.insert(TopicPartition::new(name, *number), end);
        }
    }

    fn write_singles(&mut self) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        let mut core = shared.lock_to_write("flush")?;
        let written = core.write(&mut self.staged, BrokerErrorKind::NotFound, "flush");
        if written.is_ok() {
            self.note_acknowledged(&core);
        }
        drop(core);
        if !matches!(&written, Err(error) if error.kind == BrokerErrorKind::Retriable) {
            self.discard();
            shared.notify();
        }
        written
    }

    /// The producer's epoch, if a transaction is open in which everything has gone well.
    fn open_transaction(&self, during: &'static str) -> Result<&ProducerEpoch> {
        match &self.mode {
            Mode::Transactional { producer, phase: Phase::Open } => Ok(producer),
            Mode::Transactional { phase: Phase::MustAbort, .. } => {
                let message = "an earlier call of this transaction failed, abort it";
                Err(BrokerError::new(BrokerErrorKind::Abortable, during, message))
            }
            Mode::Transactional { phase: Phase::Idle, .. } => Err(misused(during, "no transaction is open")),
            Mode::Single => Err(misused(during, "the producer is not transactional")),
        }
    }

    fn set_phase(&mut self, new: Phase) {
        if let Mode::Transactional { phase, .. } = &mut self.mode {
            *phase = new;
        }
    }

    /// A transaction that was refused a part can only be aborted.
    fn note_refusal<T>(&mut self, result: Result<T>) -> Result<T> {
        if matches!(&result, Err(error) if error.kind == BrokerErrorKind::Abortable) {
            self.set_phase(Phase::MustAbort);
        }
        result
    }

    fn add_positions(
        &mut self,
        group: &str,
        offsets: &[(TopicPartition, u64)],
        fence: Option<Fence>,
        during: &'static str,
    ) -> Result<()> {
        let producer = self.open_transaction(during)?.clone();
        let shared = Arc::clone(&self.shared);
        let mut core = shared.lock_to_write(during)?;
        core.check_producer(&producer, during)?;
        let located = offsets.iter().try_for_each(|(partition, _)| core.locate(partition, during).map(|_| ()));
        let fenced = fence.as_ref().map_or(Ok(()), |fence| core.check_fence(fence, during));
        drop(core);
        self.note_refusal(located.and(fenced))?;
        self.staged.positions.extend(offsets.iter().map(|(partition, next_offset)| GroupPosition {
            group: group.to_owned(),
            topic: partition.topic.to_string(),
            partition: partition.partition,
            next_offset: *next_offset,
        }));
        self.staged.fences.extend(fence);
        Ok(())
    }
}

impl Producer for EmbeddedProducer {
    fn send(&mut self, record: &Outgoing<'_>) -> Result<()> {
        if matches!(self.mode, Mode::Transactional { .. }) {
            self.open_transaction("send")?;
        }
        let refused = |kind, message: String| Err(BrokerError::new(kind, "send", message));
        let facts = self.topic_facts(record.topic)?;
        if record.partition >= facts.partitions {
            let message = format!("topic `{}` has no partition {}", record.topic, record.partition);
            return refused(BrokerErrorKind::NotFound, message);
        }
        let length = encoded_length(record);
        if length > facts.record_bytes_max {
            let limit = facts.record_bytes_max;
            let message =
                format!("a record of {length} bytes exceeds max.message.bytes = {limit} of topic `{}`", record.topic);
            return refused(BrokerErrorKind::RecordRefused, message);
        }
        let limit = self.shared.transaction_bytes_max;
        if self.staged.bytes.saturating_add(length) > limit {
            let message = format!("the transaction exceeds transaction_bytes_max = {limit}; commit sooner or raise it");
            return refused(BrokerErrorKind::Misconfigured, message);
        }
        self.staged.bytes += length;
        self.staged.blocks.entry((facts.id, record.partition)).or_default().push(record);
        match self.mode {
            Mode::Single if self.staged.bytes >= UNFLUSHED_BYTES_MAX => self.write_singles(),
            _ => Ok(()),
        }
    }

    fn flush(&mut self, _deadline: Duration) -> Result<()> {
        match &self.mode {
            Mode::Single => self.write_singles(),
            Mode::Transactional { producer, .. } => {
                self.shared.lock_to_write("flush")?.check_producer(producer, "flush")
            }
        }
    }

    fn begin(&mut self) -> Result<()> {
        match &self.mode {
            Mode::Single => return Err(misused("begin", "the producer is not transactional")),
            Mode::Transactional { producer, phase: Phase::Idle } => {
                self.shared.lock_to_write("begin")?.begin(producer, self.shared.now())?;
            }
            Mode::Transactional { .. } => return Err(misused("begin", "a transaction is open already")),
        }
        self.discard();
        self.set_phase(Phase::Open);
        Ok(())
    }

    fn send_offsets(
        &mut self,
        offsets: &[(TopicPartition, u64)],
        member: &dyn Member,
        _deadline: Duration,
    ) -> Result<()> {
        let Some(member) = member.as_any().downcast_ref::<EmbeddedMember>() else {
            return Err(misused("send_offsets", "the member belongs to another broker"));
        };
        let tasks = offsets.iter().map(|(partition, _)| partition.partition).collect();
        let tenure = self.shared.lock("send_offsets")?.groups.group(&member.group).tenure(member.id);
        let fence = Fence { group: member.group.clone(), member: member.id, tenure, tasks };
        self.add_positions(&member.group, offsets, Some(fence), "send_offsets")
    }

    fn send_group_offsets(
        &mut self,
        group: &str,
        offsets: &[(TopicPartition, u64)],
        _deadline: Duration,
    ) -> Result<()> {
        self.add_positions(group, offsets, None, "send_group_offsets")
    }

    fn commit(&mut self, _deadline: Duration) -> Result<()> {
        let producer = self.open_transaction("commit")?.clone();
        let shared = Arc::clone(&self.shared);
        let mut core = shared.lock_to_write("commit")?;
        let committed = core.commit(&producer, &mut self.staged);
        if committed.is_ok() {
            self.note_acknowledged(&core);
        }
        drop(core);
        self.note_refusal(committed)?;
        shared.notify();
        self.discard();
        self.set_phase(Phase::Idle);
        Ok(())
    }

    fn abort(&mut self, _deadline: Duration) -> Result<()> {
        match &self.mode {
            Mode::Single => return Err(misused("abort", "the producer is not transactional")),
            Mode::Transactional { phase: Phase::Idle, .. } => return Err(misused("abort", "no transaction is open")),
            Mode::Transactional { producer, .. } => self.shared.lock_to_write("abort")?.abort(producer)?,
        }
        self.discard();
        self.set_phase(Phase::Idle);
        Ok(())
    }

    fn acknowledged(&self, partition: &TopicPartition) -> Option<u64> {
        self.acknowledged.get(partition).copied()
    }
}

impl Drop for EmbeddedProducer {
    fn drop(&mut self) {
        // What is staged vanishes with the producer; only the clock of the open transaction has to be stopped.
        if let Mode::Transactional { producer, phase: Phase::Open | Phase::MustAbort } = &self.mode
            && let Ok(mut core) = self.shared.lock("drop producer")
        {
            let _stale = core.abort(producer);
        }
    }
}

fn misused(during: &'static str, message: &str) -> BrokerError {
    BrokerError::new(BrokerErrorKind::Misconfigured, during, message)
}
