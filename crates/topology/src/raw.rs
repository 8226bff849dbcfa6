//! The topology file as it is written. The doc comments are the reference documentation and the JSON Schema's texts.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

/// One pipeline: what it reads, how records are processed, where results go.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Raw {
    pub(crate) pipeline: RawPipeline,
    #[serde(default)]
    pub(crate) broker: RawBroker,
    /// The Confluent-compatible schema registry. Needed with `kind = "kafka"`; the embedded broker keeps schemas itself.
    pub(crate) registry: Option<RawRegistry>,
    /// Stages deployed together: one consumer group, one set of tasks, one transaction.
    pub(crate) unit: Vec<RawUnit>,
    /// Chains of processors with their inputs and outputs.
    pub(crate) stage: Vec<RawStage>,
    /// What cannot be inferred about topics, by topic name. Most topics need no entry.
    #[serde(default)]
    pub(crate) topics: BTreeMap<String, RawTopic>,
    /// Connectors that build read models from topics.
    #[serde(default)]
    pub(crate) sink: Vec<RawSink>,
    #[serde(default)]
    pub(crate) dead_letters: RawDeadLetters,
}

/// What dead letters carry.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawDeadLetters {
    /// Also write the headers of `connect` (Kafka Connect) or `spring` (Spring for Apache Kafka), for tools that read those.
    pub(crate) compatible_headers: Vec<RawHeaderStyle>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RawHeaderStyle {
    Connect,
    Spring,
}

/// The pipeline as a whole.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawPipeline {
    /// Prefix of consumer groups and internal topics. Cannot change once records have been processed.
    pub(crate) name: String,
    /// Written into every record; raise it when the meaning of the pipeline changes.
    pub(crate) version: String,
    /// Folder of the local stores. May be deleted at any time: it is rebuilt from the state log.
    #[serde(default = "default_state_dir")]
    pub(crate) state_dir: String,
    /// Where `/metrics`, `/livez` and `/readyz` are served.
    #[serde(default = "default_http_address")]
    pub(crate) http_address: String,
    /// Where everything that operators do is written down. A chain cannot be shared: two pipelines need a topic each.
    #[serde(default = "default_audit_topic")]
    pub(crate) audit_topic: String,
    /// Memory that one process may take, in MiB: stores, caches and client queues get their shares of it.
    #[schemars(range(min = 128, max = 1_048_576))]
    #[serde(default = "default_memory_mib_max")]
    pub(crate) memory_mib_max: u64,
}

/// Where records are kept.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawBroker {
    /// `embedded` (one process, durable on local disk) or `kafka`.
    pub(crate) kind: String,
    /// Folder of the embedded broker.
    pub(crate) data_dir: String,
    /// Kafka: `host:port,host:port`. Required with `kind = "kafka"`.
    pub(crate) bootstrap_servers: Option<String>,
    /// Kafka: replication factor of the topics that `tidemill apply` creates.
    #[schemars(range(min = 1, max = 15))]
    pub(crate) replication: u16,
    /// Kafka: librdkafka properties of every client, TLS and SASL among them. Values are never shown. Over `PLAINTEXT`, of
    /// transactions and reads only `compression.type`, `fetch.wait.max.ms`, `max.partition.fetch.bytes` and
    /// `queued.max.messages.kbytes` count.
    pub(crate) properties: BTreeMap<String, String>,
}

impl Default for RawBroker {
    fn default() -> Self {
        Self {
            kind: "embedded".to_owned(),
            data_dir: "data/broker".to_owned(),
            bootstrap_servers: None,
            replication: 1,
            properties: BTreeMap::new(),
        }
    }
}

/// Where schemas are registered.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawRegistry {
    /// Base address of the registry's Confluent-compatible interface.
    pub(crate) url: String,
}

/// Stages deployed together.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawUnit {
    /// Part of the names of the unit's group and internal topics.
    pub(crate) name: String,
    /// Number of tasks, and so of partitions of every topic its stages read. Part of the data model: it cannot change.
    #[schemars(range(min = 1, max = 256))]
    pub(crate) tasks: u32,
    /// So many further instances follow the state log of each task into a local store of their own, so that a take-over begins with one that is nearly caught up. Kafka only.
    #[serde(default)]
    #[schemars(range(max = 8))]
    pub(crate) standbys: u32,
    /// A drained input is committed, but not sooner than this after the last commit.
    #[serde(default = "default_commit_gap_ms_min")]
    #[schemars(range(min = 1, max = 60_000))]
    pub(crate) commit_gap_ms_min: u64,
    /// Under load, commit at the latest after this time.
    #[serde(default = "default_commit_interval_ms_max")]
    #[schemars(range(min = 1, max = 60_000))]
    pub(crate) commit_interval_ms_max: u64,
    /// Under load, commit at the latest after this many records.
    #[serde(default = "default_commit_records_max")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(crate) commit_records_max: u64,
    /// Under load, commit at the latest after this many bytes of output and state.
    #[serde(default = "default_commit_bytes_max")]
    #[schemars(range(min = 65_536, max = 1_073_741_824))]
    pub(crate) commit_bytes_max: u64,
    /// After this time the broker aborts a transaction whose worker is gone. Brokers allow 15 minutes at most.
    #[serde(default = "default_transaction_timeout_ms")]
    #[schemars(range(min = 1_000, max = 900_000))]
    pub(crate) transaction_timeout_ms: u64,
    /// After this time without a sign of life a worker loses its tasks.
    #[serde(default = "default_session_timeout_ms")]
    #[schemars(range(min = 1_000, max = 1_800_000))]
    pub(crate) session_timeout_ms: u64,
}

/// Inputs, each with a chain of processors, that share state and ports.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawStage {
    /// Shown in metrics, dead letters and `explain`.
    pub(crate) name: String,
    /// The unit it is deployed with.
    pub(crate) unit: String,
    /// What happens to a record that fails: `dlq` writes it to the dead letters, `park` does so and holds back later records of its key in order until it is resolved, `stop` stops the worker where the fault is a processor's. Must be stated where money moves; `dlq` elsewhere.
    pub(crate) on_error: Option<RawOnError>,
    /// With `on_error = "park"`: how much may wait. Beyond that the worker stops.
    #[serde(default)]
    pub(crate) parking: RawParking,
    /// Stops the worker where so much fails that something other than the records must be wrong. Never when absent.
    pub(crate) circuit: Option<RawCircuit>,
    /// What the stage reads.
    #[schemars(length(min = 1))]
    pub(crate) input: Vec<RawInput>,
    /// Topic of every port of the stage's processors.
    #[serde(default)]
    pub(crate) ports: BTreeMap<String, String>,
    /// Topic of every reference table of the stage's processors.
    #[serde(default)]
    pub(crate) references: BTreeMap<String, String>,
    /// Settings of the stage's processors, by processor. Each processor's page says what it takes.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, serde_json::Map<String, serde_json::Value>>")]
    pub(crate) settings: BTreeMap<String, toml::Table>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RawOnError {
    Dlq,
    Park,
    Stop,
}

/// How much may wait behind failed records.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawParking {
    /// Keys that are held back at the same time, per input and task.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub(crate) keys_max: u64,
    /// Records that wait behind one failed record.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub(crate) records_per_key_max: u64,
    /// Seconds that a key may have been parked when another record of it arrives. Less than dead letters are kept.
    #[schemars(range(min = 1, max = 31_536_000))]
    pub(crate) age_s_max: u64,
}

impl Default for RawParking {
    fn default() -> Self {
        Self { keys_max: 100_000, records_per_key_max: 100_000, age_s_max: 604_800 }
    }
}

/// When so much fails that the worker stops.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawCircuit {
    /// So many records of the stage that fail in a row.
    #[serde(default = "default_consecutive_max")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub(crate) consecutive_max: u64,
    /// So many of a hundred records that fail, over a window.
    #[serde(default = "default_failed_percent_max")]
    #[schemars(range(min = 1, max = 100))]
    pub(crate) failed_percent_max: u64,
    /// Records of a window.
    #[serde(default = "default_window_records")]
    #[schemars(range(min = 10, max = 1_000_000))]
    pub(crate) window_records: u64,
}

/// One topic and what is done with its records.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawInput {
    /// The topic that is read.
    pub(crate) topic: String,
    /// Processors, in order. They run on the same event in memory: decoded once, encoded once.
    #[schemars(length(min = 1))]
    pub(crate) chain: Vec<String>,
    /// Topic for what the last processor passes on.
    pub(crate) output: Option<String>,
}

/// What cannot be inferred about a topic.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawTopic {
    /// Kind of its events. Only needed for topics that upstream systems write in a registered schema.
    pub(crate) kind: Option<String>,
    /// What upstream systems key its records by, where state depends on it: `account`, `counterparty`, `customer`.
    pub(crate) keyed_by: Option<String>,
    /// Follows from the tasks of the readers, or of the writers where nobody reads it.
    #[schemars(range(min = 1, max = 256))]
    pub(crate) partitions: Option<u32>,
    /// `delete`, or `compact` to keep the latest record of every key. `compact` for reference tables, else `delete`.
    pub(crate) cleanup: Option<RawCleanup>,
    /// How long records are kept, counted from the time of the event. For ever when absent.
    #[schemars(range(min = 1, max = 36_500))]
    pub(crate) retention_days: Option<u64>,
    /// Further topic settings, by Kafka's names.
    pub(crate) config: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RawCleanup {
    Delete,
    Compact,
}

/// One read model.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawSink {
    /// Part of the name of the sink's group; key of its positions in the read model.
    pub(crate) name: String,
    /// `postgres`, `redis`, `sqlite`, …
    pub(crate) kind: String,
    /// Only active with this broker, `embedded` or `kafka`; always when absent.
    pub(crate) broker: Option<RawBrokerKind>,
    /// Topics it reads; `*` stands for any characters, as in `*.dlq` for all dead letters.
    #[schemars(length(min = 1))]
    pub(crate) topics: Vec<String>,
    /// The connector's page says what it takes.
    #[serde(default)]
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    pub(crate) settings: toml::Table,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RawBrokerKind {
    Embedded,
    Kafka,
}

fn default_consecutive_max() -> u64 {
    1_000
}

fn default_failed_percent_max() -> u64 {
    50
}

fn default_window_records() -> u64 {
    10_000
}

fn default_state_dir() -> String {
    "data/state".to_owned()
}

fn default_http_address() -> String {
    "127.0.0.1:9464".to_owned()
}

fn default_audit_topic() -> String {
    "ops.audit.v1".to_owned()
}

fn default_memory_mib_max() -> u64 {
    1_024
}

/// An idle hop costs at least this; the broker pays for every transaction.
fn default_commit_gap_ms_min() -> u64 {
    5
}

fn default_commit_interval_ms_max() -> u64 {
    100
}

fn default_commit_records_max() -> u64 {
    20_000
}

fn default_commit_bytes_max() -> u64 {
    16 << 20
}

fn default_transaction_timeout_ms() -> u64 {
    10_000
}

/// Shorter than the transaction timeout: a successor aborts the dead worker's transaction itself.
fn default_session_timeout_ms() -> u64 {
    6_000
}
