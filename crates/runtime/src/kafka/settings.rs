//! The librdkafka settings of each kind of client, measured on Apache Kafka 4.3.1 with librdkafka 2.12.1.

use std::collections::BTreeMap;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaConfRes;

use crate::broker::{BrokerError, BrokerErrorKind, Isolation, MemberOptions, ProducerOptions, Result};
use crate::kafka::wire::producer::batch::Compression;
use crate::kafka::wire::reader::FetchLimits;

/// Exactly-once, fencing and the order of records rest on these; a value of the user's is refused.
pub(super) const OWNED_PROPERTIES: &[&str] = &[
    "acks",
    "allow.auto.create.topics",
    "auto.commit.enable",
    "auto.offset.reset",
    "bootstrap.servers",
    "delivery.report.only.error",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "group.remote.assignor",
    "heartbeat.interval.ms",
    "isolation.level",
    "log.queue",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    "max.poll.interval.ms",
    "message.send.max.retries",
    "metadata.broker.list",
    "partition.assignment.strategy",
    "partitioner",
    "request.required.acks",
    "retries",
    "session.timeout.ms",
    "transaction.timeout.ms",
    "transactional.id",
];

/// librdkafka wants a group for assigned partitions too. Nothing is ever committed under this one.
const READER_GROUP: &str = "tidemill-reader";

/// A member learns of a rebalance with its next heartbeat, so a task that moves stands still for about two of these.
const HEARTBEAT_INTERVAL_MS: &str = "250";

/// The client's own thread keeps the session alive, also for a worker that is stuck. This many session time-outs without
/// a poll and it gives the tasks up; a commit that waits out its deadline is shorter.
const SILENT_SESSIONS_MAX: u32 = 3;

/// How to reach the cluster, and what the user set.
#[derive(Clone)]
pub(super) struct Settings {
    bootstrap: String,
    properties: BTreeMap<String, String>,
}

impl Settings {
    pub(super) fn new(bootstrap: &str, properties: &BTreeMap<String, String>) -> Result<Self> {
        let owned = properties.keys().find(|name| OWNED_PROPERTIES.contains(&name.as_str()));
        if let Some(name) = owned {
            return Err(misconfigured(format!(
                "property `{name}` is set by the engine, because exactly-once depends on it; remove it"
            )));
        }
        let settings = Self { bootstrap: bootstrap.to_owned(), properties: properties.clone() };
        // Values are secret and librdkafka repeats them in its errors, so only the name is passed on.
        match settings.base().create_native_config() {
            Ok(_) => Ok(settings),
            Err(KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, _, name, _)) => {
                Err(misconfigured(format!("property `{name}` does not exist in this build of librdkafka")))
            }
            Err(KafkaError::ClientConfig(_, _, name, _)) => {
                Err(misconfigured(format!("the value of property `{name}` is not one that librdkafka accepts")))
            }
            Err(_) => Err(misconfigured("a property holds a zero byte".to_owned())),
        }
    }

    pub(super) fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// A property that the user set.
    pub(super) fn property(&self, name: &str) -> Option<&str> {
        self.properties.get(name).map(String::as_str)
    }

    /// `None` for a codec that only librdkafka brings.
    pub(super) fn compression(&self) -> Option<Compression> {
        match self.base().get("compression.type") {
            Some("lz4") => Some(Compression::Lz4),
            Some("none") => Some(Compression::None),
            _ => None,
        }
    }

    /// What the same properties mean to a reader that is not librdkafka's.
    pub(super) fn fetch_limits(&self) -> FetchLimits {
        let base = self.base();
        let number = |name: &str, default: i32| base.get(name).and_then(|text| text.parse().ok()).unwrap_or(default);
        let waiting_kib_max = number("queued.max.messages.kbytes", 8192);
        FetchLimits {
            partition_bytes_max: number("max.partition.fetch.bytes", 1024 * 1024),
            waiting_bytes_max: usize::try_from(waiting_kib_max).unwrap_or_default() * 1024,
            wait_ms_max: number("fetch.wait.max.ms", 10),
        }
    }

    pub(super) fn member(&self, options: &MemberOptions) -> ClientConfig {
        let mut config = self.group(&options.group);
        let silence_max = options.session_timeout.saturating_mul(SILENT_SESSIONS_MAX);
        config
            .set("max.poll.interval.ms", silence_max.as_millis().to_string())
            .set("group.instance.id", &options.slot)
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", options.session_timeout.as_millis().to_string())
            .set("heartbeat.interval.ms", HEARTBEAT_INTERVAL_MS);
        config
    }

    pub(super) fn reader(&self, isolation: Isolation) -> ClientConfig {
        let mut config = self.group(READER_GROUP);
        config.set("isolation.level", isolation_level(isolation)).set("enable.partition.eof", "true");
        config
    }

    /// For questions about partitions. Without a group: it has none to ask about.
    pub(super) fn inquiry(&self, isolation: Isolation) -> ClientConfig {
        let mut config = self.base();
        config.set("isolation.level", isolation_level(isolation));
        config
    }

    /// For questions about a group, and the base of every consumer. With `read_committed` the broker answers with stable
    /// positions only: it waits for the transaction that is about to move them.
    pub(super) fn group(&self, group: &str) -> ClientConfig {
        let mut config = self.base();
        // An unknown position must be an error and never a guess: `earliest` once turned a broker's fault into 383,335
        // duplicates in silence.
        config
            .set("group.id", group)
            .set("isolation.level", isolation_level(Isolation::ReadCommitted))
            .set("auto.offset.reset", "error")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("allow.auto.create.topics", "false");
        config
    }

    pub(super) fn producer(&self, options: &ProducerOptions) -> ClientConfig {
        let mut config = self.base();
        config.set("enable.idempotence", "true").set("acks", "all");
        if let ProducerOptions::Transactional { id, timeout } = options {
            config.set("transactional.id", id).set("transaction.timeout.ms", timeout.as_millis().to_string());
        }
        config
    }

    /// What every client shares: defaults that were measured, then the user's properties over them.
    fn base(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap).set("client.id", "tidemill");
        // Left at their defaults, reconnecting after a broker's restart takes up to 10 s.
        config.set("reconnect.backoff.max.ms", "500").set("socket.nagle.disable", "true");
        // The next fetch of a partition whose local queue is full is put off by this. Its default of 1 s halves throughput.
        config.set("fetch.queue.backoff.ms", "2");
        // A waiting fetch holds the connection for all other partitions: at 500 ms the 99th percentile is 4 to 7 times as high.
        config.set("fetch.wait.max.ms", "10");
        // zstd doubles the client's CPU time for a third less volume.
        config.set("compression.type", "lz4").set("linger.ms", "5");
        config.set("batch.size", "1000000").set("batch.num.messages", "10000");
        config.set("queue.buffering.max.messages", "1000000").set("queue.buffering.max.kbytes", "262144");
        // Per partition, and a worker reads some thirty: at the defaults a backlog fills a gigabyte of memory.
        config.set("queued.min.messages", "10000").set("queued.max.messages.kbytes", "8192");
        // How large a record may be is for the topic to say. The client's own limit of 1 MB would refuse the dead letter of a
        // record that the broker has taken.
        config.set("message.max.bytes", "100000000");
        // The first offsets of a transaction meet the end of the one before; they are tried again after this.
        config.set("retry.backoff.ms", "5");
        for (name, value) in &self.properties {
            config.set(name, value);
        }
        config.set_log_level(RDKafkaLogLevel::Warning);
        config
    }
}

fn isolation_level(isolation: Isolation) -> &'static str {
    match isolation {
        Isolation::ReadCommitted => "read_committed",
        Isolation::ReadUncommitted => "read_uncommitted",
    }
}

fn misconfigured(message: String) -> BrokerError {
    BrokerError::new(BrokerErrorKind::Misconfigured, "connect", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connect(name: &str, value: &str) -> Result<Settings> {
        Settings::new("localhost:9092", &BTreeMap::from([(name.to_owned(), value.to_owned())]))
    }

    #[test]
    fn owned_properties_are_refused() {
        for name in OWNED_PROPERTIES {
            let error = connect(name, "s3cret").err().expect("an owned property is refused");
            assert_eq!(error.kind, BrokerErrorKind::Misconfigured, "{name}");
            assert!(error.message.contains(name), "{error}");
        }
    }

    #[test]
    fn a_property_that_librdkafka_refuses_is_named_and_its_value_is_not() {
        for (name, value) in [("no.such.property", "s3cret"), ("linger.ms", "s3cret"), ("client.id", "s3\0cret")] {
            let error = connect(name, value).err().expect("librdkafka refuses the property");
            assert_eq!(error.kind, BrokerErrorKind::Misconfigured, "{name}");
            assert!(!error.to_string().contains("cret"), "{error}");
        }
    }

    #[test]
    fn what_the_user_sets_wins_over_a_default() {
        let settings = connect("linger.ms", "0").expect("linger is the user's to choose");
        assert_eq!(settings.producer(&ProducerOptions::Idempotent).get("linger.ms"), Some("0"));
    }
}
