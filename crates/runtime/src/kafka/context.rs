//! What every client of librdkafka does with its logs and background errors.

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;

/// Puts logs of librdkafka among ours.
pub(super) struct LogContext;

impl ClientContext for LogContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level as i32, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        background_error(&error, reason);
    }
}

impl ConsumerContext for LogContext {}

/// `level` counts as syslog does: 0 is an emergency, 7 is for debugging.
pub(super) fn log(level: i32, facility: &str, message: &str) {
    match level {
        ..=3 => tracing::error!(target: "librdkafka", facility, "{message}"),
        4 => tracing::warn!(target: "librdkafka", facility, "{message}"),
        5 | 6 => tracing::info!(target: "librdkafka", facility, "{message}"),
        7.. => tracing::debug!(target: "librdkafka", facility, "{message}"),
    }
}

/// Errors that no call returns: brokers that cannot be reached, and the like. The client goes on trying by itself.
pub(super) fn background_error(error: &KafkaError, reason: &str) {
    tracing::warn!(target: "librdkafka", %error, "{reason}");
}
