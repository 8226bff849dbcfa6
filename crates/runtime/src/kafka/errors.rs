//! The closed table: every error of librdkafka falls in exactly one kind, and nothing is decided by its text.

use rdkafka::error::{KafkaError, RDKafkaError, RDKafkaErrorCode as Code};

use crate::broker::{BrokerError, BrokerErrorKind as Kind};

/// What librdkafka says about an error of a transactional call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Verdict {
    pub(super) code: Code,
    pub(super) is_fatal: bool,
    pub(super) is_retriable: bool,
    pub(super) requires_abort: bool,
}

impl Verdict {
    fn of(error: &RDKafkaError) -> Self {
        Self {
            code: error.code(),
            is_fatal: error.is_fatal(),
            is_retriable: error.is_retriable(),
            requires_abort: error.txn_requires_abort(),
        }
    }

    /// librdkafka's `INTRODUCTION.md`: an error that is neither retriable nor abortable is to be treated as fatal. A
    /// transaction that the broker timed out is reported as fenced, like a real successor.
    pub(super) fn kind(self) -> Kind {
        match self.code {
            Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch => return Kind::Fenced,
            code if is_refusal(code) => return Kind::Misconfigured,
            _ => {}
        }
        if self.is_fatal {
            Kind::Fatal
        } else if self.is_retriable {
            Kind::Retriable
        } else if self.requires_abort {
            Kind::Abortable
        } else {
            Kind::Fatal
        }
    }
}

/// The kind of an error outside transactional calls: of reading, of a question, of administration.
pub(super) fn kind_of_code(code: Code) -> Kind {
    match code {
        // With `auto.offset.reset=error` librdkafka reports a position outside the log as the first of these.
        Code::AutoOffsetReset | Code::OffsetOutOfRange | Code::LogTruncation => Kind::OffsetOutOfRange,
        Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition => Kind::NotFound,
        Code::TopicAlreadyExists => Kind::AlreadyExists,
        Code::MessageSizeTooLarge
        | Code::MessageBatchTooLarge
        | Code::InvalidMessageSize
        | Code::InvalidRecord
        | Code::InvalidTimestamp => Kind::RecordRefused,
        Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch => Kind::Fenced,
        Code::UnknownMemberId | Code::IllegalGeneration | Code::FencedInstanceId => Kind::MemberLost,
        code if is_refusal(code) => Kind::Misconfigured,
        code if is_passing(code) => Kind::Retriable,
        _ => Kind::Fatal,
    }
}

/// Missing permission or settings that the cluster does not accept: trying again does not help.
fn is_refusal(code: Code) -> bool {
    matches!(
        code,
        Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
            | Code::Authentication
            | Code::SaslAuthenticationFailed
            | Code::UnsupportedSASLMechanism
            | Code::SecurityDisabled
            | Code::UnsupportedVersion
            | Code::UnsupportedFeature
            | Code::InvalidTopic
            | Code::InvalidPartitions
            | Code::InvalidReplicationFactor
            | Code::InvalidConfig
            | Code::InvalidRequest
            | Code::InvalidGroupId
            | Code::InvalidSessionTimeout
            | Code::InvalidTransactionTimeout
            | Code::InconsistentGroupProtocol
            | Code::PolicyViolation
            | Code::UnsupportedCompressionType
    )
}

/// A broker or leader that is away or moving, or an answer that is late: the same call may succeed later.
fn is_passing(code: Code) -> bool {
    matches!(
        code,
        Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::Resolve
            | Code::OperationTimedOut
            | Code::RequestTimedOut
            | Code::TimedOutQueue
            | Code::QueueFull
            | Code::WaitingForCoordinator
            | Code::WaitCache
            | Code::Retry
            | Code::InProgress
            | Code::NodeUpdate
            | Code::UnknownBroker
            | Code::LeaderNotAvailable
            | Code::NotLeaderForPartition
            | Code::BrokerNotAvailable
            | Code::ReplicaNotAvailable
            | Code::NetworkException
            | Code::CoordinatorLoadInProgress
            | Code::CoordinatorNotAvailable
            | Code::NotCoordinator
            | Code::RebalanceInProgress
            | Code::NotController
            | Code::NotEnoughReplicas
            | Code::NotEnoughReplicasAfterAppend
            | Code::ConcurrentTransactions
            | Code::KafkaStorageError
            | Code::PreferredLeaderNotAvailable
            | Code::FencedLeaderEpoch
            | Code::UnknownLeaderEpoch
            | Code::OffsetNotAvailable
            | Code::UnstableOffsetCommit
            | Code::ThrottlingQuotaExceeded
    )
}

pub(super) fn kind_of(error: &KafkaError) -> Kind {
    match error {
        KafkaError::Transaction(error) => Verdict::of(error).kind(),
        KafkaError::MessageConsumptionFatal(_) => Kind::Fatal,
        KafkaError::ClientConfig(..) | KafkaError::ClientCreation(_) | KafkaError::Nul(_) => Kind::Misconfigured,
        other => other.rdkafka_error_code().map_or(Kind::Fatal, kind_of_code),
    }
}

/// Turns an error of the client into ours. What is being done is named; the client's own words follow.
pub(super) fn broker_error(during: &'static str, error: &KafkaError) -> BrokerError {
    // The text of a refused setting repeats its value, which may be a secret.
    let message = match error {
        KafkaError::ClientConfig(_, _, name, _) => format!("librdkafka refuses the setting `{name}`"),
        other => other.to_string(),
    };
    BrokerError::new(kind_of(error), during, message)
}

pub(super) fn code_error(during: &'static str, code: Code, about: impl std::fmt::Display) -> BrokerError {
    BrokerError::new(kind_of_code(code), during, format!("{about}: {code}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every error that was seen at, or is documented for, a transactional call.
    #[test]
    fn transactional_errors() {
        const SAYS_FATAL: (bool, bool, bool) = (true, false, false);
        const SAYS_RETRIABLE: (bool, bool, bool) = (false, true, false);
        const SAYS_ABORT: (bool, bool, bool) = (false, false, true);
        const SAYS_NOTHING: (bool, bool, bool) = (false, false, false);
        let table = [
            (Code::Fenced, SAYS_FATAL, Kind::Fenced),
            (Code::Fenced, SAYS_NOTHING, Kind::Fenced),
            (Code::ProducerFenced, SAYS_FATAL, Kind::Fenced),
            (Code::InvalidProducerEpoch, SAYS_ABORT, Kind::Fenced),
            (Code::InvalidTransactionalState, SAYS_FATAL, Kind::Fatal),
            (Code::InvalidProducerIdMapping, SAYS_FATAL, Kind::Fatal),
            (Code::OutOfOrderSequenceNumber, SAYS_FATAL, Kind::Fatal),
            (Code::TransactionalIdAuthorizationFailed, SAYS_FATAL, Kind::Misconfigured),
            (Code::ClusterAuthorizationFailed, SAYS_FATAL, Kind::Misconfigured),
            (Code::InvalidTransactionTimeout, SAYS_FATAL, Kind::Misconfigured),
            (Code::OperationTimedOut, SAYS_RETRIABLE, Kind::Retriable),
            (Code::BrokerTransportFailure, SAYS_RETRIABLE, Kind::Retriable),
            (Code::ConcurrentTransactions, SAYS_RETRIABLE, Kind::Retriable),
            (Code::CoordinatorNotAvailable, SAYS_RETRIABLE, Kind::Retriable),
            (Code::NotCoordinator, SAYS_ABORT, Kind::Abortable),
            (Code::CoordinatorLoadInProgress, SAYS_ABORT, Kind::Abortable),
            (Code::UnknownMemberId, SAYS_ABORT, Kind::Abortable),
            (Code::IllegalGeneration, SAYS_ABORT, Kind::Abortable),
            (Code::FencedInstanceId, SAYS_ABORT, Kind::Abortable),
            (Code::MessageTimedOut, SAYS_ABORT, Kind::Abortable),
            (Code::Unknown, SAYS_ABORT, Kind::Abortable),
            (Code::TopicAuthorizationFailed, SAYS_ABORT, Kind::Misconfigured),
            (Code::GroupAuthorizationFailed, SAYS_ABORT, Kind::Misconfigured),
            (Code::State, SAYS_NOTHING, Kind::Fatal),
            (Code::Conflict, SAYS_NOTHING, Kind::Fatal),
            (Code::PreviousInProgress, SAYS_NOTHING, Kind::Fatal),
        ];
        for (code, (is_fatal, is_retriable, requires_abort), expected) in table {
            let verdict = Verdict { code, is_fatal, is_retriable, requires_abort };
            assert_eq!(verdict.kind(), expected, "{verdict:?}");
        }
    }

    #[test]
    fn errors_of_other_calls() {
        let table = [
            (Code::AutoOffsetReset, Kind::OffsetOutOfRange),
            (Code::OffsetOutOfRange, Kind::OffsetOutOfRange),
            (Code::UnknownTopicOrPartition, Kind::NotFound),
            (Code::UnknownPartition, Kind::NotFound),
            (Code::TopicAlreadyExists, Kind::AlreadyExists),
            (Code::MessageSizeTooLarge, Kind::RecordRefused),
            (Code::InvalidTimestamp, Kind::RecordRefused),
            (Code::InvalidProducerEpoch, Kind::Fenced),
            (Code::FencedInstanceId, Kind::MemberLost),
            (Code::GroupAuthorizationFailed, Kind::Misconfigured),
            (Code::InvalidReplicationFactor, Kind::Misconfigured),
            (Code::AllBrokersDown, Kind::Retriable),
            (Code::BrokerTransportFailure, Kind::Retriable),
            (Code::NotLeaderForPartition, Kind::Retriable),
            (Code::UnstableOffsetCommit, Kind::Retriable),
            (Code::BadMessage, Kind::Fatal),
            (Code::Unknown, Kind::Fatal),
        ];
        for (code, expected) in table {
            assert_eq!(kind_of_code(code), expected, "{code:?}");
        }
    }

    #[test]
    fn a_fatal_consumption_error_is_fatal_whatever_its_code() {
        let error = KafkaError::MessageConsumptionFatal(Code::BrokerTransportFailure);
        assert_eq!(kind_of(&error), Kind::Fatal);
    }
}
