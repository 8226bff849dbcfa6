//! Tests of the whole: embedded, real Kafka, documentation. The library is what they share.

pub mod model;
