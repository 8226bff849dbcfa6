//! Producers, with librdkafka's part in it: the queue, what was registered with the coordinator, and the states in which a
//! call is refused without asking the broker.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tidemill_runtime::broker::{
    BrokerError, BrokerErrorKind, Member, Outgoing, Producer, ProducerOptions, Result, TopicPartition,
};

use super::coordinator::Identity;
use super::core::{Core, stored};
use super::log::{StoredRecord, TransactionEnd};
use super::member::ModelMember;
use super::options::{Sending, Waiting};
use super::refusal::Refusal;
use super::topics::PartitionId;
use super::{OPEN_DEADLINE, Shared, about};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    Open,
    /// A part of the transaction was refused, so the rest must not be committed.
    MustAbort,
    /// The end was asked for and not answered: only the same call takes it up again.
    Ending(TransactionEnd),
}

/// Records for one partition, in the order in which they were sent.
struct Queue {
    partition: TopicPartition,
    records: Vec<StoredRecord>,
}

pub(super) struct ModelProducer {
    shared: Arc<Shared>,
    /// `None` writes without transactions.
    identity: Option<Identity>,
    phase: Phase,
    queues: Vec<Queue>,
    /// What the coordinator was told of this transaction. A transaction of which it was told nothing ends without it.
    registered: BTreeSet<PartitionId>,
    is_registered: bool,
    /// The coordinator has taken something into this transaction, so the one before had been ended everywhere.
    is_joined: bool,
    acknowledged: BTreeMap<TopicPartition, u64>,
    /// The life of the broker in which the last transaction ended, or the producer opened.
    ended_in: u64,
    /// The life of the broker that the worker was told of last.
    told_of: AtomicU64,
    /// What went wrong with a record that was written before the flush.
    failure: Option<BrokerError>,
    /// An error that the client does not survive: the answer to everything from then on.
    fatal: Option<BrokerError>,
}

impl ModelProducer {
    pub(super) fn open(shared: &Arc<Shared>, options: &ProducerOptions) -> Result<Self> {
        let identity = match options {
            ProducerOptions::Idempotent => None,
            ProducerOptions::Transactional { id, timeout } => {
                let opened = shared.until(OPEN_DEADLINE, |core| core.open_producer(id, *timeout));
                Some(opened.map_err(|refusal| about("open a producer", refusal, id))?)
            }
        };
        let incarnation = shared.lock().incarnation;
        Ok(Self {
            shared: Arc::clone(shared),
            ended_in: incarnation,
            told_of: AtomicU64::new(incarnation),
            identity,
            phase: Phase::Idle,
            queues: Vec::new(),
            registered: BTreeSet::new(),
            is_registered: false,
            is_joined: false,
            acknowledged: BTreeMap::new(),
            failure: None,
            fatal: None,
        })
    }

    fn check_alive(&self) -> Result<()> {
        self.fatal.clone().map_or(Ok(()), Err)
    }

    /// The calls of a transaction are for transactional producers.
    fn identity(&self, during: &'static str) -> Result<Identity> {
        self.check_alive()?;
        let message = "the producer is not transactional";
        self.identity.clone().ok_or_else(|| BrokerError::new(BrokerErrorKind::Misconfigured, during, message))
    }

    /// A transaction in which everything has gone well so far.
    fn check_open(&self, during: &'static str) -> Result<()> {
        match self.phase {
            Phase::Open => Ok(()),
            Phase::MustAbort => {
                let message = "an earlier call of this transaction failed, abort it";
                Err(BrokerError::new(BrokerErrorKind::Abortable, during, message))
            }
            Phase::Idle | Phase::Ending(_) => Err(self.misplaced(during)),
        }
    }

    /// librdkafka's `_STATE` and `_CONFLICT`, which say neither retry nor abort.
    fn misplaced(&self, during: &'static str) -> BrokerError {
        BrokerError::new(BrokerErrorKind::Fatal, during, format!("not in this state: {:?}", self.phase))
    }

    /// What an error leaves of the transaction and of the client.
    fn note<T>(&mut self, result: Result<T>) -> Result<T> {
        if let Err(error) = &result {
            match error.kind {
                BrokerErrorKind::Retriable => {}
                BrokerErrorKind::Fenced | BrokerErrorKind::Fatal => self.fatal = Some(error.clone()),
                _ if self.identity.is_some() => self.phase = Phase::MustAbort,
                _ => {}
            }
        }
        result
    }

    /// Writes what is queued, as far as the broker takes it.
    fn push(&mut self, deadline: Duration) -> std::result::Result<(), Refusal> {
        if self.queues.is_empty() {
            return Ok(());
        }
        let Self { shared, identity, queues, registered, is_registered, is_joined, acknowledged, ended_in, .. } = self;
        let pushed = shared.until(deadline, |core| match identity {
            Some(identity) => {
                check_connection(core, *is_joined, *ended_in)?;
                *is_registered = true;
                write_in_transaction(core, identity, queues, registered, acknowledged)?;
                *is_joined = true;
                Ok(())
            }
            None => write_singly(core, queues, acknowledged),
        });
        if !matches!(&pushed, Err(refusal) if refusal.kind() == BrokerErrorKind::Retriable) {
            self.queues.clear();
        }
        pushed
    }

    fn flush_queue(&mut self, deadline: Duration) -> Result<()> {
        const DURING: &str = "flush";
        if let Some(error) = self.failure.take() {
            return self.note(Err(error));
        }
        let pushed = self.push(deadline).map_err(|refusal| match (refusal.kind(), self.shared.options.waiting) {
            // librdkafka asks again by itself, and a flush that does not end in time spoils the transaction.
            (BrokerErrorKind::Retriable, Waiting::Sleeping(_)) => Refusal::NotAcknowledged,
            _ => refusal,
        });
        self.note(pushed.map_err(|refusal| refusal.during(DURING)))
    }

    fn add_positions(
        &mut self,
        group: &str,
        offsets: &[(TopicPartition, u64)],
        member: Option<&ModelMember>,
        deadline: Duration,
    ) -> Result<()> {
        const DURING: &str = "send offsets";
        let identity = self.identity(DURING)?;
        self.check_open(DURING)?;
        let known = member.map_or(Ok(()), ModelMember::check);
        self.note(known)?;
        self.is_registered = true;
        let Self { shared, is_joined, ended_in, .. } = self;
        let sent = shared.until(deadline, |core| {
            check_connection(core, *is_joined, *ended_in)?;
            core.add_offsets(&identity, group)?;
            *is_joined = true;
            // The membership is asked now and never again: a commit after this succeeds whatever becomes of the member.
            member.map_or(Ok(()), |member| member.fence(core))?;
            core.offsets_mut(group).add_pending(identity.producer, identity.epoch, offsets);
            Ok(())
        });
        self.note(sent.map_err(|refusal| refusal.during(DURING)))
    }

    fn end(&mut self, end: TransactionEnd, during: &'static str, deadline: Duration) -> Result<()> {
        let identity = self.identity(during)?;
        if self.is_registered {
            self.phase = Phase::Ending(end);
            let ended = self.shared.until(deadline, |core| core.request_end(&identity, end).map(|()| core.incarnation));
            self.ended_in = self.note(ended.map_err(|refusal| refusal.during(during)))?;
        }
        self.close();
        Ok(())
    }

    fn close(&mut self) {
        self.phase = Phase::Idle;
        self.queues.clear();
        self.registered.clear();
        self.is_registered = false;
        self.is_joined = false;
        self.failure = None;
    }
}

impl Producer for ModelProducer {
    fn send(&mut self, record: &Outgoing<'_>) -> Result<()> {
        self.check_alive()?;
        if self.identity.is_some() && self.phase != Phase::Open {
            return Err(self.misplaced("send"));
        }
        let is_for =
            |queue: &Queue| queue.partition.partition == record.partition && *queue.partition.topic == *record.topic;
        let index = self.queues.iter().position(is_for).unwrap_or_else(|| {
            let partition = TopicPartition::new(record.topic, record.partition);
            self.queues.push(Queue { partition, records: Vec::new() });
            self.queues.len() - 1
        });
        self.queues[index].records.push(stored(record));
        if self.shared.options.sending == Sending::AtOnce {
            let pushed = self.push(Duration::ZERO);
            if let Err(refusal) = pushed
                && refusal.kind() != BrokerErrorKind::Retriable
            {
                self.failure.get_or_insert(refusal.during("send"));
            }
        }
        Ok(())
    }

    fn flush(&mut self, deadline: Duration) -> Result<()> {
        self.check_alive()?;
        self.flush_queue(deadline)
    }

    fn begin(&mut self) -> Result<()> {
        self.identity("begin")?;
        if self.phase != Phase::Idle {
            return Err(self.misplaced("begin"));
        }
        self.close();
        self.phase = Phase::Open;
        Ok(())
    }

    fn send_offsets(
        &mut self,
        offsets: &[(TopicPartition, u64)],
        member: &dyn Member,
        deadline: Duration,
    ) -> Result<()> {
        let Some(member) = member.as_any().downcast_ref::<ModelMember>() else {
            let message = "the member belongs to another broker";
            return Err(BrokerError::new(BrokerErrorKind::Misconfigured, "send offsets", message));
        };
        self.add_positions(&member.group, offsets, Some(member), deadline)
    }

    fn send_group_offsets(&mut self, group: &str, offsets: &[(TopicPartition, u64)], deadline: Duration) -> Result<()> {
        self.add_positions(group, offsets, None, deadline)
    }

    fn commit(&mut self, deadline: Duration) -> Result<()> {
        self.identity("commit")?;
        if self.phase != Phase::Ending(TransactionEnd::Commit) {
            self.check_open("commit")?;
            self.flush_queue(deadline)?;
        }
        self.end(TransactionEnd::Commit, "commit", deadline)
    }

    fn abort(&mut self, deadline: Duration) -> Result<()> {
        self.identity("abort")?;
        if !matches!(self.phase, Phase::Open | Phase::MustAbort | Phase::Ending(TransactionEnd::Abort)) {
            return Err(self.misplaced("abort"));
        }
        self.queues.clear();
        self.end(TransactionEnd::Abort, "abort", deadline)
    }

    fn is_doubtful(&mut self) -> bool {
        let incarnation = self.shared.lock().incarnation;
        self.told_of.swap(incarnation, Ordering::Relaxed) != incarnation
    }

    fn acknowledged(&self, partition: &TopicPartition) -> Option<u64> {
        self.acknowledged.get(partition).copied()
    }
}

/// Until the coordinator has taken something into a transaction, its requests go over the connection that the last one
/// ended on, or not at all: a coordinator that came back may have left that open where this one would write.
fn check_connection(core: &Core, is_joined: bool, ended_in: u64) -> std::result::Result<(), Refusal> {
    if is_joined || core.incarnation == ended_in { Ok(()) } else { Err(Refusal::ConnectionLost) }
}

fn write_in_transaction(
    core: &mut Core,
    identity: &Identity,
    queues: &mut [Queue],
    registered: &mut BTreeSet<PartitionId>,
    acknowledged: &mut BTreeMap<TopicPartition, u64>,
) -> std::result::Result<(), Refusal> {
    let partitions: Vec<PartitionId> =
        queues.iter().map(|queue| core.topics.locate(&queue.partition)).collect::<std::result::Result<_, _>>()?;
    let new: Vec<PartitionId> = partitions.iter().copied().filter(|id| !registered.contains(id)).collect();
    if !new.is_empty() {
        core.add_partitions(identity, &new)?;
        registered.extend(new);
    }
    for (queue, id) in queues.iter_mut().zip(partitions) {
        let next_offset = core.append(identity, id, &mut queue.records)?;
        acknowledged.insert(queue.partition.clone(), next_offset);
    }
    Ok(())
}

/// A record that is refused does not hold the others back; the first refusal is the answer.
fn write_singly(
    core: &mut Core,
    queues: &mut [Queue],
    acknowledged: &mut BTreeMap<TopicPartition, u64>,
) -> std::result::Result<(), Refusal> {
    let mut answer = Ok(());
    for queue in queues {
        let located = core.topics.locate(&queue.partition);
        match located.and_then(|id| core.append_plain(id, &mut queue.records)) {
            Ok(next_offset) => {
                acknowledged.insert(queue.partition.clone(), next_offset);
            }
            Err(refusal) => answer = answer.and(Err(refusal)),
        }
    }
    answer
}
