//! What a code in an answer means for a transaction. Nothing is decided by text.

use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode as Code;

use crate::broker::{BrokerError, BrokerErrorKind, Result};
use crate::kafka::errors::kind_of_code;
use crate::kafka::wire::cluster::{Cluster, error_of};
use crate::kafka::wire::connection::Until;

pub(super) const RETRY_PAUSE: Duration = Duration::from_millis(2);
/// `TRANSACTION_ABORTABLE`, which librdkafka has no name for.
const TRANSACTION_ABORTABLE: i16 = 120;

/// What a code in an answer means for the request.
#[derive(Debug)]
pub(super) enum Verdict {
    Done,
    /// The same request again.
    Again(BrokerError),
    /// The same request again, to whoever is responsible now.
    Moved(BrokerError),
    Failed(BrokerError),
}

/// Asks again while the error is one that passes, until the deadline.
pub(super) fn again<T>(cluster: &mut Cluster, mut act: impl FnMut(&mut Cluster) -> Result<T>) -> Result<T> {
    loop {
        match act(cluster) {
            Err(error) if error.kind == BrokerErrorKind::Retriable => pause(cluster.until(), error)?,
            answer => return answer,
        }
    }
}

/// Waits before the next attempt; past the deadline the cause of the last one is the error.
pub(super) fn pause(until: Until, cause: BrokerError) -> Result<()> {
    if until.left().is_err() {
        return Err(cause);
    }
    std::thread::sleep(RETRY_PAUSE);
    Ok(())
}

pub(super) fn verdict(until: Until, code: i16, about: impl std::fmt::Display) -> Verdict {
    let Some(known) = error_of(code) else { return Verdict::Done };
    let error = |kind| BrokerError::new(kind, until.during, format!("{about}: {known} ({code})"));
    match known {
        _ if code == TRANSACTION_ABORTABLE => Verdict::Failed(error(BrokerErrorKind::Abortable)),
        Code::NotLeaderForPartition
        | Code::NotCoordinator
        | Code::CoordinatorNotAvailable
        | Code::LeaderNotAvailable
        | Code::UnknownTopicOrPartition
        | Code::FencedLeaderEpoch
        | Code::UnknownLeaderEpoch
        | Code::KafkaStorageError => Verdict::Moved(error(BrokerErrorKind::Retriable)),
        known => match kind_of_code(known) {
            BrokerErrorKind::Retriable => Verdict::Again(error(BrokerErrorKind::Retriable)),
            kind => Verdict::Failed(error(kind)),
        },
    }
}

/// Nobody knows what became of a request whose answer was lost; of a record's or an offset's it need not be known,
/// because its transaction is aborted.
pub(super) fn lost(error: BrokerError) -> BrokerError {
    match error.kind {
        BrokerErrorKind::Retriable => BrokerError { kind: BrokerErrorKind::Abortable, ..error },
        _ => error,
    }
}

/// What was refused for good is lost to this transaction only.
pub(super) fn of_delivery(error: BrokerError) -> BrokerError {
    match error.kind {
        BrokerErrorKind::Fenced
        | BrokerErrorKind::Misconfigured
        | BrokerErrorKind::RecordRefused
        | BrokerErrorKind::NotFound => error,
        _ => BrokerError { kind: BrokerErrorKind::Abortable, ..error },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_an_answer_has_one_consequence() {
        let table = [
            (0, "Done"),
            (51, "Again Retriable"),
            (14, "Again Retriable"),
            (7, "Again Retriable"),
            (19, "Again Retriable"),
            (6, "Moved Retriable"),
            (16, "Moved Retriable"),
            (15, "Moved Retriable"),
            (3, "Moved Retriable"),
            (47, "Failed Fenced"),
            (90, "Failed Fenced"),
            (10, "Failed RecordRefused"),
            (22, "Failed MemberLost"),
            (25, "Failed MemberLost"),
            (82, "Failed MemberLost"),
            (29, "Failed Misconfigured"),
            (53, "Failed Misconfigured"),
            (48, "Failed Fatal"),
            (49, "Failed Fatal"),
            (TRANSACTION_ABORTABLE, "Failed Abortable"),
            (999, "Failed Fatal"),
        ];
        for (code, expected) in table {
            let found = match verdict(Until::within("test", Duration::from_secs(1)), code, "a test") {
                Verdict::Done => "Done".to_owned(),
                Verdict::Again(error) => format!("Again {:?}", error.kind),
                Verdict::Moved(error) => format!("Moved {:?}", error.kind),
                Verdict::Failed(error) => format!("Failed {:?}", error.kind),
            };
            assert_eq!(found, expected, "{code}");
        }
    }

    #[test]
    fn what_a_record_or_an_offset_fails_of_ends_its_transaction_and_no_more() {
        let table = [
            (BrokerErrorKind::MemberLost, BrokerErrorKind::Abortable),
            (BrokerErrorKind::Fatal, BrokerErrorKind::Abortable),
            (BrokerErrorKind::Fenced, BrokerErrorKind::Fenced),
            (BrokerErrorKind::RecordRefused, BrokerErrorKind::RecordRefused),
        ];
        for (kind, expected) in table {
            assert_eq!(of_delivery(BrokerError::new(kind, "test", "")).kind, expected);
        }
        assert_eq!(lost(BrokerError::new(BrokerErrorKind::Retriable, "test", "")).kind, BrokerErrorKind::Abortable);
    }
}
