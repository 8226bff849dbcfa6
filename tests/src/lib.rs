//! Tests of the whole: embedded, real Kafka, documentation.
