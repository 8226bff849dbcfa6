//! What the model refuses, by Kafka's names, and what the engine sees of it: the kinds that `kafka/errors.rs` gives the
//! same answers of a real broker.

use tidemill_runtime::broker::{BrokerError, BrokerErrorKind};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Another producer took the id, or the transaction timed out: with protocol v1 the client cannot tell them apart.
    ProducerFenced,
    /// The markers of the transaction before are still being written.
    ConcurrentTransactions,
    /// The coordinator knows of no transaction that could be ended like this. The client does not survive it.
    InvalidTxnState,
    /// The request, or the answer to it, is late.
    RequestTimedOut,
    /// The broker has come back and does not know the leaders of its partitions yet.
    LeaderNotAvailable,
    /// The broker went away since the producer's last transaction ended, and may have left that undone.
    ConnectionLost,
    /// The partition takes no records of this producer, so the flush runs into its deadline.
    NotAcknowledged,
    UnknownTopicOrPartition,
    TopicAlreadyExists,
    RecordTooLarge,
    OffsetOutOfRange,
    UnknownMemberId,
    IllegalGeneration,
    FencedInstanceId,
    /// A member that owns no task is not fenced by the broker, so the client does not even ask.
    OwnsNoTask,
    /// A transaction that may move this position has not ended.
    UnstableOffsetCommit,
}

impl Refusal {
    pub fn kind(self) -> BrokerErrorKind {
        match self {
            Self::ProducerFenced => BrokerErrorKind::Fenced,
            Self::ConcurrentTransactions
            | Self::RequestTimedOut
            | Self::LeaderNotAvailable
            | Self::UnstableOffsetCommit => BrokerErrorKind::Retriable,
            Self::InvalidTxnState | Self::ConnectionLost => BrokerErrorKind::Fatal,
            Self::NotAcknowledged
            | Self::UnknownMemberId
            | Self::IllegalGeneration
            | Self::FencedInstanceId
            | Self::OwnsNoTask => BrokerErrorKind::Abortable,
            Self::UnknownTopicOrPartition => BrokerErrorKind::NotFound,
            Self::TopicAlreadyExists => BrokerErrorKind::AlreadyExists,
            Self::RecordTooLarge => BrokerErrorKind::RecordRefused,
            Self::OffsetOutOfRange => BrokerErrorKind::OffsetOutOfRange,
        }
    }

    pub(super) fn during(self, during: &'static str) -> BrokerError {
        BrokerError::new(self.kind(), during, format!("{self:?}"))
    }
}
