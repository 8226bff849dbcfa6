//! Transactions that hold the readers of a partition back, and whether anybody will end them.

use crate::broker::TopicPartition;

/// A transaction that is open on one partition: nothing behind its start can be read with `read_committed`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenTransaction {
    pub partition: TopicPartition,
    pub producer_id: i64,
    pub producer_epoch: i16,
    /// Of the coordinator that last ended a transaction of this producer here; −1 if none has yet.
    pub coordinator_epoch: i32,
    pub start_offset: u64,
    /// Timestamp of the producer's last record here. Its own word: event time where records carry that.
    pub last_timestamp_ms: i64,
    /// As far as a coordinator knows the producer.
    pub transactional_id: Option<String>,
    pub standing: Standing,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The coordinator has it on its list for this partition and will end it: when its owner says so, or when its time
    /// is up.
    Running { state: String, started_at_ms: i64, timeout_ms: i64 },
    /// No coordinator knows it here, so nothing will ever end it but an operator.
    Hanging,
}

/// How a transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    Commit,
    Abort,
}

/// What the coordinator of a transactional id knows of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastTransaction {
    /// What producers that are opened here speak.
    pub protocol: TransactionProtocol,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub phase: TransactionPhase,
}

/// How epochs and transactions of a producer go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionProtocol {
    /// An epoch lasts as long as its producer.
    First,
    /// Every end of a transaction begins another epoch.
    Second,
}

/// How far an id's last transaction has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionPhase {
    /// A producer has opened since, and the coordinator has forgotten how the one before ended.
    Forgotten,
    Running,
    /// Decided, and not yet written on all partitions.
    Ending,
    /// Written on all partitions, as far as the coordinator knows.
    Ended(Decision),
}

impl Decision {
    pub fn name(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Abort => "abort",
        }
    }
}

impl OpenTransaction {
    pub fn is_hanging(&self) -> bool {
        self.standing == Standing::Hanging
    }

    /// Since when, in milliseconds since 1970: as the coordinator says, or as the producer did.
    pub fn since_ms(&self) -> i64 {
        match self.standing {
            Standing::Running { started_at_ms, .. } => started_at_ms,
            Standing::Hanging => self.last_timestamp_ms,
        }
    }

    /// Whether `other` is the same transaction on the same partition, seen at another time.
    pub fn is_same(&self, other: &Self) -> bool {
        let identity = |one: &Self| (one.partition.clone(), one.producer_id, one.producer_epoch, one.start_offset);
        identity(self) == identity(other)
    }
}
