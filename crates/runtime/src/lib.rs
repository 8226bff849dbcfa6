//! The engine: units, tasks, workers, transactions, stores, and the two brokers.
//!
//! Invariant: no other crate uses rdkafka.

pub mod broker;
pub mod clock;
pub mod codecs;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod dead_letter;
pub mod embedded;
pub mod kafka;
pub mod lag;
pub mod provision;
pub mod registry;
pub mod sink_worker;
pub mod stable_offset;
pub mod status;
pub mod store;
pub mod supervise;
pub mod task;
pub mod telemetry;
mod transaction;
pub mod worker;
