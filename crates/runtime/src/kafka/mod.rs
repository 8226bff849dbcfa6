//! Apache Kafka behind the broker contract. Membership, administration and writing outside of transactions go through
//! librdkafka; reading and transactions go over the [`wire`] by hand, where the cluster allows it.
//!
//! - No call waits without a deadline.
//! - Every error of the client falls in the closed table of [`errors`]; nothing is decided by its text.
//! - A property that correctness depends on cannot be overridden; see [`settings::OWNED_PROPERTIES`].
//! - Values of properties are never shown, logged or put in an error.

mod admin;
mod context;
mod errors;
mod member;
#[allow(unsafe_code, reason = "calls of librdkafka that rdkafka does not offer; the module says which and why")]
mod native;
mod partitions;
mod producer;
mod reader;
mod settings;
#[cfg(not(feature = "conformance"))]
mod wire;
#[cfg(feature = "conformance")]
pub mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::broker::{
    Broker, Decision, Isolation, LastTransaction, Member, MemberOptions, NewTopic, OpenTransaction, Producer,
    ProducerOptions, Reader, Result, Roster, TopicInfo, TopicPartition, Watermarks, held_back,
};
use crate::kafka::admin::Admin;
use crate::kafka::member::KafkaMember;
use crate::kafka::producer::KafkaProducer;
use crate::kafka::reader::KafkaReader;
use crate::kafka::settings::Settings;
use crate::kafka::wire::Wire;

/// A Kafka cluster. Clients are opened when they are asked for.
pub struct KafkaBroker {
    settings: Settings,
    admin: Admin,
    wire: Wire,
    records: Records,
}

/// How records are read, and written in transactions.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Records {
    /// By hand; through librdkafka what cannot be.
    OverTheWire,
    #[cfg(feature = "conformance")]
    ThroughLibrdkafka,
}

impl KafkaBroker {
    /// `bootstrap` is a list `host:port,…`; `properties` are librdkafka's and hold for every client. Talks to nobody
    /// yet: only properties that do not exist or are the engine's own are an error, of kind `Misconfigured`.
    pub fn connect(bootstrap: &str, properties: &BTreeMap<String, String>) -> Result<Arc<Self>> {
        let settings = Settings::new(bootstrap, properties)?;
        let (admin, wire) = (Admin::new(settings.clone()), Wire::new(&settings));
        Ok(Arc::new(Self { admin, wire, records: Records::OverTheWire, settings }))
    }

    /// As on a cluster that asks for more than `plaintext`: records go through librdkafka.
    #[cfg(feature = "conformance")]
    pub fn connect_through_librdkafka(bootstrap: &str) -> Result<Arc<Self>> {
        let settings = Settings::new(bootstrap, &BTreeMap::new())?;
        let (admin, wire) = (Admin::new(settings.clone()), Wire::new(&settings));
        Ok(Arc::new(Self { admin, wire, records: Records::ThroughLibrdkafka, settings }))
    }
}

impl Broker for KafkaBroker {
    fn member(&self, options: &MemberOptions) -> Result<Box<dyn Member>> {
        Ok(Box::new(KafkaMember::join(&self.settings, self.wire.clone(), options)?))
    }

    fn reader(&self, isolation: Isolation) -> Result<Box<dyn Reader>> {
        if self.records == Records::OverTheWire
            && let Some(reader) = self.wire.reader(isolation)
        {
            return Ok(Box::new(reader));
        }
        Ok(Box::new(KafkaReader::open(&self.settings, isolation)?))
    }

    fn producer(&self, options: &ProducerOptions) -> Result<Box<dyn Producer>> {
        if self.records == Records::OverTheWire
            && let ProducerOptions::Transactional { id, timeout } = options
            && let Some(producer) = self.wire.producer(id, *timeout)?
        {
            return Ok(Box::new(producer));
        }
        Ok(Box::new(KafkaProducer::open(&self.settings, options)?))
    }

    fn topics(&self) -> Result<Vec<TopicInfo>> {
        self.admin.topics()
    }

    fn create_topic(&self, topic: &NewTopic) -> Result<()> {
        self.admin.create_topic(topic)
    }

    fn delete_topic(&self, name: &str) -> Result<()> {
        self.admin.delete_topic(name)
    }

    fn delete_records(&self, partition: &TopicPartition, before: u64) -> Result<()> {
        self.admin.delete_records(partition, before)
    }

    fn watermarks(&self, partition: &TopicPartition, isolation: Isolation) -> Result<Watermarks> {
        self.admin.watermarks(partition, isolation)
    }

    fn offset_for_time(&self, partition: &TopicPartition, timestamp_ms: i64) -> Result<Option<u64>> {
        self.admin.offset_for_time(partition, timestamp_ms)
    }

    fn committed(&self, group: &str, partitions: &[TopicPartition]) -> Result<Vec<(TopicPartition, u64)>> {
        self.admin.committed(group, partitions)
    }

    fn delete_group(&self, group: &str) -> Result<()> {
        self.admin.delete_group(group)
    }

    fn roster(&self, group: &str, tasks_topic: &str) -> Result<Option<Roster>> {
        self.wire.roster(group, tasks_topic)
    }

    /// One request per broker; by the watermarks, two per partition, where that request cannot be made.
    fn held_back(&self, partitions: &[TopicPartition]) -> Result<Vec<(TopicPartition, u64)>> {
        if self.wire.is_available() { self.wire.held_back(partitions) } else { held_back(self, partitions) }
    }

    fn open_transactions(&self, partitions: &[TopicPartition]) -> Result<Vec<OpenTransaction>> {
        self.wire.open_transactions(partitions)
    }

    fn abort_transactions(&self, transactions: &[OpenTransaction]) -> Result<()> {
        self.wire.end_transactions(transactions, Decision::Abort)
    }

    fn last_transaction(&self, transactional_id: &str) -> Result<Option<LastTransaction>> {
        if self.wire.is_available() {
            return self.wire.last_transaction(transactional_id);
        }
        tracing::debug!(
            transactional_id,
            "what it left open cannot be looked for: the cluster does not speak plaintext"
        );
        Ok(None)
    }

    fn abort_running(&self, transactional_id: &str) -> Result<()> {
        self.wire.abort_running(transactional_id)
    }

    fn check_leaders(&self, transactional_id: &str, topics: &[String]) -> Result<()> {
        if self.wire.is_available() { self.wire.check_leaders(transactional_id, topics) } else { Ok(()) }
    }

    fn open_of_producer(&self, producer_id: i64, topics: &[String]) -> Result<Vec<OpenTransaction>> {
        self.wire.open_of_producer(producer_id, topics)
    }

    fn finish_transactions(&self, transactions: &[OpenTransaction], decision: Decision) -> Result<()> {
        self.wire.end_transactions(transactions, decision)
    }

    fn describe(&self) -> String {
        format!("Kafka at {}", self.settings.bootstrap())
    }
}
