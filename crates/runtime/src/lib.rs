//! The engine: units, tasks, workers, transactions, stores, and the two brokers.
//!
//! Invariant: no other crate uses rdkafka.

pub mod broker;
pub mod store;
