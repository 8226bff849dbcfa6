//! What the engine asks of a broker. Two implementations pass one conformance suite: `kafka` and `embedded`.

mod batch;
mod error;
mod open_transaction;
mod read;
mod roster;

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub use batch::{RecordBatch, RecordMeta};
pub use error::{BrokerError, BrokerErrorKind};
pub use open_transaction::{
    Decision, LastTransaction, OpenTransaction, Standing, TransactionPhase, TransactionProtocol,
};
pub(crate) use read::read_range_with;
pub use read::{read_all, read_range};
pub use roster::{Roster, RosterMember};

pub type Result<T> = std::result::Result<T, BrokerError>;

/// A topic and one of its partitions.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    pub topic: Arc<str>,
    pub partition: u32,
}

impl TopicPartition {
    pub fn new(topic: impl Into<Arc<str>>, partition: u32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

/// A record to be written.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    pub topic: &'a str,
    pub partition: u32,
    pub timestamp_ms: i64,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    pub name: String,
    pub partitions: u32,
    pub replication: u16,
    /// By Kafka's names: `cleanup.policy`, `retention.ms`, …
    pub config: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    pub name: String,
    pub partitions: u32,
}

/// First offset that exists and the offset after the last that does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermarks {
    pub low: u64,
    pub high: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    ReadCommitted,
    ReadUncommitted,
}

/// What a member of a unit's group is told. Every event must be answered with [`Member::acknowledge`] after the worker
/// has acted on it; until then the group waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberEvent {
    /// These tasks are now ours, in addition to those we had.
    Assigned(Vec<u32>),
    /// These tasks are to be given up. Commit first, then acknowledge.
    Revoked(Vec<u32>),
    /// These tasks are somebody else's already. Abort; never commit.
    Lost(Vec<u32>),
}

/// Membership in the group of one unit: who owns which task. Never reads a record.
///
/// Dropping a member ends it here. Its slot may stay in the group for a session, so that a successor of the same name
/// finds its tasks where they were.
pub trait Member: Send {
    /// Keeps the membership alive and returns the next event, if there is one. Must be called at least every second.
    fn poll(&mut self, timeout: Duration) -> Result<Option<MemberEvent>>;

    /// Says that the worker has acted on the event.
    fn acknowledge(&mut self, event: &MemberEvent) -> Result<()>;

    /// Ends the membership and takes the slot out of the group, so that others get its tasks at once. Where that fails
    /// they get them when the session has run out.
    fn leave(self: Box<Self>) -> Result<()> {
        drop(self);
        Ok(())
    }

    /// For the producer of the same implementation, which needs to know whose membership fences its offsets.
    fn as_any(&self) -> &dyn Any;
}

/// Reads partitions that it is told to read.
pub trait Reader: Send {
    /// Adds a partition, to be read from `offset`. Replaces the position if it is being read already.
    fn assign(&mut self, partition: &TopicPartition, offset: u64) -> Result<()>;
    fn unassign(&mut self, partition: &TopicPartition) -> Result<()>;

    /// Replaces the content of `batch` by the next records, at most `records_max`, waiting up to `timeout` for the first.
    /// Where a partition is not compacted, offset and [`RecordMeta::passed_over`] account for every offset.
    fn poll(&mut self, batch: &mut RecordBatch, records_max: usize, timeout: Duration) -> Result<()>;

    /// Whether polls have returned everything of this partition that can be read, as of the last time they found nothing
    /// more: so that a restore knows its end although markers and aborted records leave gaps. `assign` resets it.
    fn reached_end(&self, partition: &TopicPartition) -> bool;
}

/// Writes records, in transactions or singly. Disposable: after a fatal error it is dropped and a new one opened.
pub trait Producer: Send {
    /// Puts the record in the queue. It lies in the topic only after a successful [`Producer::flush`].
    fn send(&mut self, record: &Outgoing<'_>) -> Result<()>;

    /// Waits until every record is acknowledged; an error if any was not.
    fn flush(&mut self, deadline: Duration) -> Result<()>;

    fn begin(&mut self) -> Result<()>;

    /// Adds the group's new positions to the transaction, fenced by the membership: an error if the member has been
    /// removed or its generation is past. Call after [`Producer::flush`].
    fn send_offsets(
        &mut self,
        offsets: &[(TopicPartition, u64)],
        member: &dyn Member,
        deadline: Duration,
    ) -> Result<()>;

    /// Like [`Producer::send_offsets`] for a group without members.
    fn send_group_offsets(&mut self, group: &str, offsets: &[(TopicPartition, u64)], deadline: Duration) -> Result<()>;

    fn commit(&mut self, deadline: Duration) -> Result<()>;
    fn abort(&mut self, deadline: Duration) -> Result<()>;

    /// Whether the client has lost a connection or an answer since this was asked last, and may have sent something a second
    /// time by itself.
    fn is_doubtful(&mut self) -> bool {
        false
    }

    /// The offset after the last record of this partition that was acknowledged since the producer was opened.
    fn acknowledged(&self, partition: &TopicPartition) -> Option<u64>;
}

/// How a slot takes part in its unit's group.
#[derive(Clone, Debug)]
pub struct MemberOptions {
    pub group: String,
    /// The unit's tasks topic.
    pub tasks_topic: String,
    /// `group.instance.id`: the slot's stable name.
    pub slot: String,
    pub session_timeout: Duration,
}

#[derive(Clone, Debug)]
pub enum ProducerOptions {
    /// Opening settles what a predecessor of this id left behind, and fences it.
    Transactional {
        id: String,
        timeout: Duration,
    },
    Idempotent,
}

pub trait Broker: Send + Sync {
    fn member(&self, options: &MemberOptions) -> Result<Box<dyn Member>>;
    fn reader(&self, isolation: Isolation) -> Result<Box<dyn Reader>>;
    fn producer(&self, options: &ProducerOptions) -> Result<Box<dyn Producer>>;

    fn topics(&self) -> Result<Vec<TopicInfo>>;
    /// An existing topic of that name is an error of kind `AlreadyExists`.
    fn create_topic(&self, topic: &NewTopic) -> Result<()>;
    fn delete_topic(&self, name: &str) -> Result<()>;

    /// Removes the records before offset `before` for good. What is gone already is no error.
    fn delete_records(&self, partition: &TopicPartition, before: u64) -> Result<()>;

    /// With `ReadUncommitted` the true end of the log; with `ReadCommitted` the end of what can be read: they differ
    /// while a transaction is open.
    fn watermarks(&self, partition: &TopicPartition, isolation: Isolation) -> Result<Watermarks>;

    /// The first offset whose record is not older than `timestamp_ms`; `None` past the end.
    fn offset_for_time(&self, partition: &TopicPartition, timestamp_ms: i64) -> Result<Option<u64>>;

    /// The group's committed positions; partitions without one are left out.
    fn committed(&self, group: &str, partitions: &[TopicPartition]) -> Result<Vec<(TopicPartition, u64)>>;

    /// Forgets the group's committed positions. A group with members is an error, one that does not exist is none.
    fn delete_group(&self, _group: &str) -> Result<()> {
        let message = "this broker does not forget groups".to_owned();
        Err(BrokerError::new(BrokerErrorKind::Misconfigured, "delete a group", message))
    }

    /// Who is in the group, and who owns which task of `tasks_topic`. `None` while the group has not agreed on that.
    fn roster(&self, _group: &str, _tasks_topic: &str) -> Result<Option<Roster>> {
        let message = "this broker does not say who is in a group".to_owned();
        Err(BrokerError::new(BrokerErrorKind::Misconfigured, "ask who is in the group", message))
    }

    /// Those of the partitions whose readers are held back by an open transaction, with the offset at which.
    fn held_back(&self, partitions: &[TopicPartition]) -> Result<Vec<(TopicPartition, u64)>> {
        held_back(self, partitions)
    }

    /// The transactions that are open on these partitions, and whether anybody will end them. None on a broker that
    /// leaves nothing open.
    fn open_transactions(&self, _partitions: &[TopicPartition]) -> Result<Vec<OpenTransaction>> {
        Ok(Vec::new())
    }

    /// Aborts these, each on its partition, over the head of whoever runs it. A transaction is one thing: give all of its
    /// partitions, or what it wrote is there in part.
    fn abort_transactions(&self, transactions: &[OpenTransaction]) -> Result<()> {
        match transactions {
            [] => Ok(()),
            _ => Err(BrokerError::new(
                BrokerErrorKind::Misconfigured,
                "abort transactions",
                "this broker leaves no transaction open",
            )),
        }
    }

    /// What the coordinator knows of the id. Nothing of one that it does not know, and on a broker that leaves nothing open.
    /// To be asked before a producer of the id opens, because that makes the coordinator forget.
    fn last_transaction(&self, _transactional_id: &str) -> Result<Option<LastTransaction>> {
        Ok(None)
    }

    /// Has the coordinator abort what the id has running, over the head of its producer, and does not wait for it. Does
    /// nothing where nothing runs, and never makes the coordinator forget how a transaction ended.
    fn abort_running(&self, _transactional_id: &str) -> Result<()> {
        Ok(())
    }

    /// Fails with an error that passes while the coordinator of the id does not know who leads a partition of these topics:
    /// of what it ends meanwhile, it skips the markers there.
    fn check_leaders(&self, _transactional_id: &str, _topics: &[String]) -> Result<()> {
        Ok(())
    }

    /// What this producer has open on partitions of these topics, or on the group offsets, as their leaders say.
    fn open_of_producer(&self, _producer_id: i64, _topics: &[String]) -> Result<Vec<OpenTransaction>> {
        Ok(Vec::new())
    }

    /// Ends these on their partitions as their coordinator has ended them everywhere else.
    fn finish_transactions(&self, transactions: &[OpenTransaction], _decision: Decision) -> Result<()> {
        self.abort_transactions(transactions)
    }

    /// What this is and where, for people: `Kafka at 127.0.0.1:9092`.
    fn describe(&self) -> String;
}

/// By the watermarks, which every broker has.
pub(crate) fn held_back<B: Broker + ?Sized>(
    broker: &B,
    partitions: &[TopicPartition],
) -> Result<Vec<(TopicPartition, u64)>> {
    let mut held = Vec::new();
    for partition in partitions {
        // The true end is asked for last: if anything ended in between, it is the lower bound that is stale.
        let stable = broker.watermarks(partition, Isolation::ReadCommitted)?.high;
        if stable < broker.watermarks(partition, Isolation::ReadUncommitted)?.high {
            held.push((partition.clone(), stable));
        }
    }
    Ok(held)
}
