//! The transaction of a worker: sole owner of begin, commit and abort.
//!
//! Commit order: flush, check the acknowledgements, send the offsets, commit. Any other order costs ten times as much,
//! and offsets that are sent before the state log is flushed would not be fenced by it.

use std::sync::Arc;
use std::time::Duration;

use crate::broker::{BrokerError, BrokerErrorKind, Decision, Member, Outgoing, Producer, Result, TopicPartition};
use crate::clock::Clock;
use crate::succession::{Opened, Succession};

/// Between two questions whether somebody has ended what keeps a producer from being opened.
const REFUSED_WAIT: Duration = Duration::from_secs(5);

/// How a commit ended.
#[derive(Debug)]
pub(crate) enum CommitEnd {
    Committed,
    /// Nothing of it can ever be read. Rewind and go on.
    Aborted(BrokerError),
    /// Fenced, or nobody knows: the producer is gone and only the state log can tell what is committed.
    Unknown(BrokerError),
}

pub(crate) struct Transaction {
    succession: Arc<Succession>,
    clock: Arc<dyn Clock>,
    id: String,
    timeout: Duration,
    /// `None` after an error that a producer does not survive.
    producer: Option<Box<dyn Producer>>,
    opened_at: Option<Duration>,
    bytes: u64,
    records: u64,
    standing: Standing,
    /// How the last transaction ended, as far as the worker knows and acts on it.
    ended: Option<Decision>,
    refused_until: Option<Duration>,
}

/// Whether the producer may begin another transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Good,
    /// An end was asked for more than once: the first request may still be under way, and with Kafka's first protocol it
    /// would end whatever transaction it finds. Or a broker went away and may have left the end undone on partitions, or
    /// the end was an abort, which must be the last of its epoch. Only another epoch keeps these apart from what follows.
    Retired,
}

impl Transaction {
    pub(crate) fn new(succession: Arc<Succession>, clock: Arc<dyn Clock>, id: String, timeout: Duration) -> Self {
        Self {
            succession,
            clock,
            id,
            timeout,
            producer: None,
            opened_at: None,
            bytes: 0,
            records: 0,
            standing: Standing::Good,
            ended: None,
            refused_until: None,
        }
    }

    /// Opens a producer if there is none, or none that may begin a transaction: also for a worker that has nothing to do,
    /// because what its last transaction left open holds others back. Settles what a predecessor of this slot left open;
    /// where that cannot be, there is no producer afterwards, and the next calls try again.
    pub(crate) fn prepare(&mut self) -> Result<()> {
        if !self.is_open() {
            self.note_doubt();
            if self.standing == Standing::Retired {
                self.producer = None;
                self.standing = Standing::Good;
            }
        }
        if self.producer.is_some() || self.refused_until.is_some_and(|until| self.clock.now() < until) {
            return Ok(());
        }
        let finished = match self.succession.open(&self.id, self.timeout)? {
            Opened::Producer(producer, finished) => {
                self.producer = Some(producer);
                self.refused_until = None;
                finished
            }
            Opened::Refused => {
                self.refused_until = Some(self.clock.now() + REFUSED_WAIT);
                return Ok(());
            }
        };
        match (self.ended, finished) {
            (Some(ended), Some(finished)) if ended != finished => Err(BrokerError::new(
                BrokerErrorKind::Fatal,
                "open a producer",
                format!("the last transaction is known here as a {}, and was a {}", ended.name(), finished.name()),
            )),
            _ => Ok(()),
        }
    }

    pub(crate) fn is_prepared(&self) -> bool {
        self.producer.is_some()
    }

    pub(crate) fn is_open(&self) -> bool {
        self.opened_at.is_some()
    }

    pub(crate) fn age(&self) -> Duration {
        self.opened_at.map_or(Duration::ZERO, |opened_at| self.clock.now().saturating_sub(opened_at))
    }

    /// Bytes of keys and values written so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Begins, unless a transaction is open.
    pub(crate) fn open(&mut self) -> Result<()> {
        if self.opened_at.is_none() {
            self.prepare()?;
            self.producer()?.begin()?;
            self.opened_at = Some(self.clock.now());
        }
        Ok(())
    }

    pub(crate) fn send(&mut self, record: &Outgoing<'_>) -> Result<()> {
        self.open()?;
        self.bytes += (record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len)) as u64;
        self.records += 1;
        #[cfg(feature = "sabotage")]
        if crate::sabotage::hold(&self.id, record) {
            return Ok(());
        }
        #[cfg(feature = "sabotage")]
        if crate::sabotage::loses(record, self.records) {
            return Ok(());
        }
        self.producer()?.send(record)
    }

    pub(crate) fn records(&self) -> u64 {
        self.records
    }

    /// Ends the transaction with these input positions, fenced by the membership.
    pub(crate) fn commit(&mut self, offsets: &[(TopicPartition, u64)], member: &dyn Member) -> CommitEnd {
        let end = match self.try_commit(offsets, member) {
            Ok(()) => CommitEnd::Committed,
            Err(error) => self.give_up(error),
        };
        self.close(&end);
        end
    }

    /// Ends the transaction without a trace. `Aborted` if that is certain.
    pub(crate) fn abort(&mut self, cause: BrokerError) -> CommitEnd {
        let end = self.give_up(cause);
        self.close(&end);
        end
    }

    /// The offset after the last acknowledged record of the partition.
    pub(crate) fn acknowledged(&self, partition: &TopicPartition) -> Option<u64> {
        self.producer.as_ref()?.acknowledged(partition)
    }

    fn close(&mut self, end: &CommitEnd) {
        if self.is_open() {
            self.ended = match end {
                CommitEnd::Committed => Some(Decision::Commit),
                CommitEnd::Aborted(_) => Some(Decision::Abort),
                CommitEnd::Unknown(_) => None,
            };
            if matches!(end, CommitEnd::Aborted(_)) && !sabotaged!(ReuseProducer) {
                self.standing = Standing::Retired;
            }
        }
        if matches!(end, CommitEnd::Unknown(_)) {
            self.ended = None;
        }
        self.opened_at = None;
        self.bytes = 0;
        self.records = 0;
    }

    fn producer(&mut self) -> Result<&mut Box<dyn Producer>> {
        self.producer.as_mut().ok_or_else(|| {
            BrokerError::new(BrokerErrorKind::Fatal, "send", "the producer is gone; it is opened again after a restart")
        })
    }

    fn try_commit(&mut self, offsets: &[(TopicPartition, u64)], member: &dyn Member) -> Result<()> {
        let deadline = self.timeout;
        self.retry(|producer| producer.flush(deadline))?;
        self.retry(|producer| send_offsets(producer, offsets, member, deadline))?;
        // A commit that did not answer in time may have happened, so from here on only the state log knows.
        self.end(|producer| producer.commit(deadline))?;
        #[cfg(feature = "sabotage")]
        crate::sabotage::write_held(&self.id.clone(), self.producer()?.as_mut(), deadline)?;
        Ok(())
    }

    /// Asks for the end of the transaction. Where that took more than one request, the producer has had its last one.
    fn end(&mut self, mut call: impl FnMut(&mut dyn Producer) -> Result<()>) -> Result<()> {
        let mut calls = 0_u32;
        let answer = self.retry(|producer| {
            calls += 1;
            call(producer)
        });
        self.note_doubt();
        if calls > 1 && !sabotaged!(ReuseProducer) {
            self.standing = Standing::Retired;
        }
        answer
    }

    /// Whether the transaction is known to be aborted. After a lost connection it is not even asked for: a broker that came
    /// back may hold data of the transaction before, which was committed, and this would be the last that its coordinator
    /// remembers.
    fn try_abort(&mut self) -> bool {
        let deadline = self.timeout;
        (self.standing == Standing::Good || sabotaged!(AbortInDoubt))
            && self.end(|producer| producer.abort(deadline)).is_ok()
    }

    fn note_doubt(&mut self) {
        let is_doubtful = self.producer.as_mut().is_some_and(|producer| producer.is_doubtful());
        if is_doubtful && !sabotaged!(ReuseProducer) {
            self.standing = Standing::Retired;
        }
    }

    /// The same call again until it answers or the deadline has passed.
    fn retry(&mut self, mut call: impl FnMut(&mut dyn Producer) -> Result<()>) -> Result<()> {
        let started_at = self.clock.now();
        loop {
            match call(self.producer()?.as_mut()) {
                Err(error) if error.kind == BrokerErrorKind::Retriable => {
                    if self.clock.now().saturating_sub(started_at) > self.timeout {
                        return Err(BrokerError { kind: BrokerErrorKind::Fatal, ..error });
                    }
                    self.clock.sleep(Duration::from_millis(20));
                }
                answer => return answer,
            }
        }
    }

    fn give_up(&mut self, error: BrokerError) -> CommitEnd {
        let is_certain = match error.kind {
            BrokerErrorKind::Fenced | BrokerErrorKind::Fatal | BrokerErrorKind::Retriable => false,
            BrokerErrorKind::Abortable
            | BrokerErrorKind::MemberLost
            | BrokerErrorKind::NotFound
            | BrokerErrorKind::AlreadyExists
            | BrokerErrorKind::OffsetOutOfRange
            | BrokerErrorKind::RecordRefused
            | BrokerErrorKind::Misconfigured => {
                self.note_doubt();
                !self.is_open() || self.try_abort()
            }
        };
        #[cfg(feature = "sabotage")]
        crate::sabotage::forget_held(&self.id);
        if is_certain {
            return CommitEnd::Aborted(error);
        }
        if sabotaged!(ReuseProducer) {
            return CommitEnd::Unknown(error);
        }
        self.producer = None;
        if sabotaged!(UnknownIsAborted) {
            return CommitEnd::Aborted(error);
        }
        if sabotaged!(UnknownIsCommitted) {
            return CommitEnd::Committed;
        }
        CommitEnd::Unknown(error)
    }
}

fn send_offsets(
    producer: &mut dyn Producer,
    offsets: &[(TopicPartition, u64)],
    member: &dyn Member,
    deadline: Duration,
) -> Result<()> {
    #[cfg(feature = "sabotage")]
    if sabotaged!(SkipFence) {
        return crate::sabotage::send_unfenced(producer, offsets, deadline);
    }
    producer.send_offsets(offsets, member, deadline)
}
