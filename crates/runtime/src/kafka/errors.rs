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
    use rdkafka::types::RDKafkaRespErr;

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

    /// Errors that no call of ours is known to meet, or after which a client is of no use: it is dropped and opened anew,
    /// which is right for whatever they mean. By name, so that a code of a new librdkafka is in no list.
    const FATAL: &str = "
        BadMessage BadCompression BrokerDestroy Fail CriticalSystemResource MessageTimedOut PartitionEOF FileSystem
        InvalidArgument ISRInsufficient SSL UnknownGroup PreviousInProgress ExistingSubscription AssignPartitions
        RevokePartitions Conflict State UnknownProtocol NotImplemented NoOffset Outdated Interrupted KeySerialization
        ValueSerialization KeyDeserialization ValueDeserialization Partial ReadOnly NoEnt Underflow InvalidType
        PurgeQueue PurgeInflight Fatal Inconsistent GaplessGuarantee PollExceeded NotConfigured Application
        AssignmentLost Noop InvalidDifferentRecord DestroyBroker Unknown InvalidMessage StaleControllerEpoch
        OffsetMetadataTooLarge InvalidRequiredAcks InvalidCommitOffsetSize IllegalSASLState InvalidReplicaAssignment
        UnsupportedForMessageFormat OutOfOrderSequenceNumber DuplicateSequenceNumber InvalidTransactionalState
        InvalidProducerIdMapping TransactionCoordinatorFenced OperationNotAttempted LogDirNotFound UnknownProducerId
        ReassignmentInProgress DelegationTokenAuthDisabled DelegationTokenNotFound DelegationTokenOwnerMismatch
        DelegationTokenRequestNotAllowed DelegationTokenAuthorizationFailed DelegationTokenExpired InvalidPrincipalType
        NonEmptyGroup GroupIdNotFound FetchSessionIdNotFound InvalidFetchSessionEpoch ListenerNotFound
        TopicDeletionDisabled StaleBrokerEpoch MemberIdRequired GroupMaxSizeReached EligibleLeadersNotAvailable
        ElectionNotNeeded NoReassignmentInProgress GroupSubscribedToTopic ResourceNotFound DuplicateResource
        UnacceptableCredential InconsistentVoterSet InvalidUpdateVersion FeatureUpdateFailed
        PrincipalDeserializationFailure UnknownTopicId FencedMemberEpoch UnreleasedInstanceId UnsupportedAssignor
        StaleMemberEpoch UnknownSubscriptionId TelemetryTooLarge RebootstrapRequired
    ";
    /// No errors, but marks within librdkafka's list.
    const MARKS: [&str; 4] = ["Begin", "End", "NoError", "EndAll"];

    /// All codes that this librdkafka has.
    fn codes() -> Vec<Code> {
        let natives = (-1_000..1_000).filter_map(|number| RDKafkaRespErr::try_from(number).ok());
        natives.map(Code::from).filter(|code| !MARKS.contains(&format!("{code:?}").as_str())).collect()
    }

    #[test]
    fn every_code_of_librdkafka_has_a_kind_that_somebody_chose() {
        let codes = codes();
        assert!(codes.len() > 150, "{} codes", codes.len());
        let fatal: Vec<&str> = FATAL.split_whitespace().collect();
        for code in &codes {
            let is_listed = fatal.contains(&format!("{code:?}").as_str());
            assert_eq!(is_listed, kind_of_code(*code) == Kind::Fatal, "{code:?} has a kind, or is fatal by the list");
        }
        let names: Vec<String> = codes.iter().map(|code| format!("{code:?}")).collect();
        for name in &fatal {
            assert_eq!(names.iter().filter(|known| known == name).count(), 1, "{name} is one code of librdkafka");
            assert_eq!(fatal.iter().filter(|other| *other == name).count(), 1, "{name} is listed once");
        }
    }

    /// Whatever librdkafka says beside a code, the verdict follows the code or what is said, in one fixed order.
    #[test]
    fn every_code_has_one_verdict_in_a_transaction() {
        for code in codes() {
            for bits in 0..8 {
                let [is_fatal, is_retriable, requires_abort] = [1, 2, 4].map(|bit| bits & bit != 0);
                let kind = Verdict { code, is_fatal, is_retriable, requires_abort }.kind();
                let by_code = match kind_of_code(code) {
                    kind @ (Kind::Fenced | Kind::Misconfigured) => Some(kind),
                    _ => None,
                };
                let by_word = match (is_fatal, is_retriable, requires_abort) {
                    (true, _, _) | (false, false, false) => Kind::Fatal,
                    (false, true, _) => Kind::Retriable,
                    (false, false, true) => Kind::Abortable,
                };
                assert_eq!(kind, by_code.unwrap_or(by_word), "{code:?} {bits:03b}");
            }
        }
    }

    #[test]
    fn a_fatal_consumption_error_is_fatal_whatever_its_code() {
        let error = KafkaError::MessageConsumptionFatal(Code::BrokerTransportFailure);
        assert_eq!(kind_of(&error), Kind::Fatal);
    }
}
