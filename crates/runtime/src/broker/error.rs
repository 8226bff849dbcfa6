//! The closed table of broker errors: every error of a client falls in exactly one kind, and each kind has one action.

/// What the engine does about an error. Sources: the project's measurements on Apache Kafka 4.3.1 with librdkafka 2.12.1,
/// and librdkafka's `INTRODUCTION.md` on transactional errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BrokerErrorKind {
    /// Call the same function again until the deadline.
    Retriable,
    /// Abort the transaction, rewind, discard what was staged, go on.
    Abortable,
    /// Another producer took the id, or the transaction timed out: drop the producer, make sure that the tasks are still
    /// ours, open a new one.
    Fenced,
    /// The outcome is unknown, or the client is beyond use: drop it, open a new one, and ask the state log.
    Fatal,
    /// The membership is gone: drop all tasks, open a new member.
    MemberLost,
    /// The topic or partition does not exist.
    NotFound,
    AlreadyExists,
    /// A position that no longer exists in the log.
    OffsetOutOfRange,
    /// The record can never be written: too large.
    RecordRefused,
    /// Wrong set-up or missing permission: stop and say so.
    Misconfigured,
}

impl BrokerErrorKind {
    /// Whether a broker that is away answers like this, or one that has just come back: it ends without anybody's doing.
    pub fn may_pass(self) -> bool {
        match self {
            Self::Retriable | Self::Abortable | Self::Fenced | Self::Fatal | Self::MemberLost => true,
            Self::NotFound
            | Self::AlreadyExists
            | Self::OffsetOutOfRange
            | Self::RecordRefused
            | Self::Misconfigured => false,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{during}: {message} ({kind:?})")]
pub struct BrokerError {
    pub kind: BrokerErrorKind,
    /// The call that failed.
    pub during: &'static str,
    pub message: String,
}

impl BrokerError {
    pub fn new(kind: BrokerErrorKind, during: &'static str, message: impl Into<String>) -> Self {
        Self { kind, during, message: message.into() }
    }
}
