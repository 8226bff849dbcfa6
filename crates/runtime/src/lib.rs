//! The engine: units, tasks, workers, transactions, stores, and the two brokers.
//!
//! Invariant: no other crate uses rdkafka.

/// Whether a test has switched one of these bugs on: never, in a program that is not built for such tests.
#[cfg(feature = "sabotage")]
macro_rules! sabotaged {
    ($($bug:ident)|+) => {
        $($crate::sabotage::is_on($crate::sabotage::Bug::$bug))||+
    };
}
#[cfg(not(feature = "sabotage"))]
macro_rules! sabotaged {
    ($($bug:ident)|+) => {
        false
    };
}

mod backoff;
pub mod broker;
pub mod clock;
pub mod codecs;
pub mod conditions;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod dead_letter;
pub mod embedded;
pub mod health;
pub mod inspection;
pub mod kafka;
pub mod lag;
pub mod memory;
pub mod operator;
pub mod parking;
pub mod provision;
pub mod reconciliation;
mod redaction;
pub mod registry;
pub mod replay;
pub mod reprocess;
pub mod rewind;
#[cfg(feature = "sabotage")]
pub mod sabotage;
mod sealed;
pub mod sink_worker;
pub mod stable_offset;
pub mod standby;
pub mod state_log;
pub mod status;
pub mod store;
pub mod succession;
pub mod supervise;
pub mod task;
pub mod telemetry;
pub mod threads;
mod transaction;
pub mod worker;
