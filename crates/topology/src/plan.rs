//! The compiled topology: what the runtime builds from. Only the compiler makes one, so whoever holds it can rely on it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use tidemill_core::{EventKind, ProcessorSpec, ReferenceSpec, Settings, SinkSpec};

use crate::colour::Colour;

/// A topology that has passed every check.
#[derive(Clone, Debug)]
pub struct Topology {
    pub pipeline: Pipeline,
    pub broker: Broker,
    /// `None`: the embedded broker keeps the schemas itself.
    pub registry_url: Option<String>,
    /// Folder of the workers' local stores. Can be deleted at any time: it is rebuilt from the state log.
    pub state_dir: PathBuf,
    /// `127.0.0.1:9464`: where `/metrics`, `/livez` and `/readyz` are served.
    pub http_address: String,
    /// Mebibytes that one process may take.
    pub memory_mib_max: u64,
    /// In the order of the file.
    pub units: Vec<Unit>,
    /// Every topic of the pipeline, internal ones included.
    pub topics: BTreeMap<String, Topic>,
    /// Those that are active with this broker.
    pub sinks: Vec<SinkPlan>,
    /// Whose names dead letters carry beside our own.
    pub dead_letter_headers: Vec<HeaderStyle>,
}

/// Names of headers that other frameworks give to the origin and cause of a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderStyle {
    /// Kafka Connect: `__connect.errors.…`, as text.
    Connect,
    /// Spring for Apache Kafka: `kafka_dlt-…`, numbers as big-endian bytes.
    Spring,
}

#[derive(Clone, Debug)]
pub struct Pipeline {
    pub name: String,
    pub version: String,
    /// First 8 hexadecimal digits of SHA-256 over the resolved file, secrets left out.
    pub config_hash: String,
    /// Where everything that operators do is written down.
    pub audit_topic: String,
    /// Which of several pipelines over the same inputs this is. The first has none.
    pub colour: Option<Colour>,
}

impl Pipeline {
    /// What the names of groups, slots and internal topics begin with: `payments`, or `payments.green`. No name holds a
    /// full stop, so nothing of one is taken for something of the other.
    pub fn scope(&self) -> String {
        match &self.colour {
            None => self.name.clone(),
            Some(colour) => format!("{}.{colour}", self.name),
        }
    }

    /// Which pipeline over these inputs is the live one, and how far a reprocess has come. All of them share it.
    pub fn reprocess_topic(&self) -> String {
        format!("{}.reprocess", self.name)
    }

    /// `name@version+hash`, as it stands in `Meta::produced_by`.
    pub fn produced_by(&self) -> String {
        format!("{}@{}+{}", self.name, self.version, self.config_hash)
    }
}

#[derive(Clone, Debug)]
pub enum Broker {
    /// One process, durable on local disk.
    Embedded { data_dir: PathBuf },
    Kafka {
        bootstrap_servers: String,
        /// Replication factor of the topics that `apply` creates.
        replication: u16,
        /// librdkafka properties for every client, TLS and SASL among them. Values are secret.
        properties: BTreeMap<String, String>,
    },
}

/// Stages deployed together: one consumer group, one set of tasks and workers, one transaction.
#[derive(Clone, Debug)]
pub struct Unit {
    pub name: String,
    /// Number of tasks, and so of partitions of every topic its stages read. Part of the data model: it cannot change.
    pub tasks: u32,
    /// Further instances that keep a copy of each task's stores.
    pub standbys: u32,
    pub commit: CommitPolicy,
    pub stages: Vec<Stage>,
}

/// When a worker commits: once its input is drained, but not sooner than the gap; at a cap under load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitPolicy {
    pub gap_ms_min: u64,
    pub interval_ms_max: u64,
    pub records_max: u64,
    pub bytes_max: u64,
    pub transaction_timeout_ms: u64,
    pub session_timeout_ms: u64,
}

#[derive(Clone, Debug)]
pub struct Stage {
    pub name: String,
    pub on_error: OnError,
    pub parking: ParkingLimits,
    pub circuit: Option<CircuitBreaker>,
    pub inputs: Vec<Input>,
    /// Port name to topic.
    pub ports: BTreeMap<String, String>,
    /// Reference tables of its processors, once each.
    pub references: Vec<ReferencePlan>,
}

/// What happens to a record that fails for no fault of the dependency: unreadable, or a processor's bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// Write it to the dead letters and go on.
    DeadLetter,
    /// Like `DeadLetter`, and later records of its key wait in order until it is resolved.
    Park,
    /// Unreadable records go to the dead letters; a bug stops the worker.
    Stop,
}

/// How much may wait behind failed records of one task, per input. Beyond that the worker stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParkingLimits {
    pub keys_max: u64,
    pub records_per_key_max: u64,
    /// Seconds that a key may wait. Counted by the clock of the engine; looked at when a record of the key arrives.
    pub age_s_max: u64,
}

/// When a worker stops instead of writing still more dead letters. Counts begin anew with the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CircuitBreaker {
    /// So many records in a row that fail.
    pub consecutive_max: u64,
    /// So many of a hundred that fail, over `window_records`.
    pub failed_percent_max: u64,
    pub window_records: u64,
}

#[derive(Clone, Debug)]
pub struct Input {
    pub topic: String,
    pub chain: Vec<Link>,
    /// Topic for what the last processor passes on.
    pub output: Option<String>,
    /// Topic for records of this input that fail.
    pub dead_letters: String,
    /// Topic for records that wait behind a failed one of their key.
    pub parked: Option<String>,
}

#[derive(Clone, Debug)]
pub struct Link {
    pub processor: &'static ProcessorSpec,
    pub settings: Settings,
}

#[derive(Clone, Debug)]
pub struct ReferencePlan {
    pub spec: &'static ReferenceSpec,
    pub topic: String,
    /// Settings of the processor that reads it.
    pub settings: Settings,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    pub name: String,
    pub role: Role,
    /// What lies in it; `None` for bytes that only the engine or the sender understands.
    pub kind: Option<EventKind>,
    pub partitions: u32,
    pub cleanup: Cleanup,
    /// Further topic settings, by Kafka's names.
    pub config: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Written by upstream systems, in what form they send.
    Ingest,
    /// Between stages.
    Internal,
    /// Written for others to read.
    Curated,
    Reference,
    DeadLetters,
    /// `<pipeline>.<unit>.tasks`: membership only, never written.
    Tasks,
    /// `<pipeline>.<unit>.state`.
    StateLog,
    /// `<pipeline>.replays`: which dead letters are resolved, and which replays run.
    Replays,
    /// `<pipeline>.<unit>.redrive`: dead letters on their way back to the stage that failed.
    Redrive,
    /// `<topic>.parked`.
    Parked,
    /// What operators did: [`Pipeline::audit_topic`].
    Audit,
    /// [`Pipeline::reprocess_topic`].
    Reprocess,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cleanup {
    Delete,
    Compact,
}

#[derive(Clone, Debug)]
pub struct SinkPlan {
    pub name: String,
    pub spec: &'static SinkSpec,
    pub settings: Settings,
    /// Topics it reads, dead-letter topics among them where it asks for them.
    pub topics: Vec<String>,
    /// Number of the sink's own tasks: the most partitions among its topics.
    pub tasks: u32,
}

impl Unit {
    pub fn tasks_topic(&self, pipeline: &Pipeline) -> String {
        format!("{}.{}.tasks", pipeline.scope(), self.name)
    }

    pub fn state_topic(&self, pipeline: &Pipeline) -> String {
        format!("{}.{}.state", pipeline.scope(), self.name)
    }

    pub fn redrive_topic(&self, pipeline: &Pipeline) -> String {
        format!("{}.{}.redrive", pipeline.scope(), self.name)
    }

    /// Consumer group, as operators' usual tools show it.
    pub fn group(&self, pipeline: &Pipeline) -> String {
        format!("{}.{}", pipeline.scope(), self.name)
    }

    /// Whose the local store of a task is, as the store itself notes it.
    pub fn store_identity(&self, pipeline: &Pipeline, task: u32) -> String {
        format!("{}/{}/{task}", pipeline.scope(), self.name)
    }
}

impl Stage {
    /// Topics that the chain of `input` writes to: its ports in the order of the chain, then its output. Each once.
    pub fn topics_written<'a>(&'a self, input: &'a Input) -> Vec<&'a str> {
        let ports = input.chain.iter().flat_map(|link| link.processor.ports);
        let by_ports = ports.filter_map(|port| self.ports.get(port.name)).map(String::as_str);
        let mut topics = Vec::new();
        for topic in by_ports.chain(input.output.as_deref()) {
            if !topics.contains(&topic) {
                topics.push(topic);
            }
        }
        topics
    }
}

impl SinkPlan {
    pub fn tasks_topic(&self, pipeline: &Pipeline) -> String {
        format!("{}.sink-{}.tasks", pipeline.scope(), self.name)
    }

    pub fn group(&self, pipeline: &Pipeline) -> String {
        format!("{}.sink-{}", pipeline.scope(), self.name)
    }
}

impl Topology {
    /// The unit, the stage and the input that read `topic`.
    pub fn reader_of(&self, topic: &str) -> Option<(&Unit, &Stage, &Input)> {
        let stages = self.units.iter().flat_map(|unit| unit.stages.iter().map(move |stage| (unit, stage)));
        let mut inputs = stages.flat_map(|(unit, stage)| stage.inputs.iter().map(move |input| (unit, stage, input)));
        inputs.find(|(_, _, input)| input.topic == topic)
    }

    /// Topics that stages read, each with how it is read.
    pub fn inputs(&self) -> impl Iterator<Item = &Input> {
        self.units.iter().flat_map(|unit| &unit.stages).flat_map(|stage| &stage.inputs)
    }
}

/// Where records of `topic` wait behind a failed one of their key.
pub fn parked_of(topic: &str) -> String {
    format!("{topic}.parked")
}

/// Where records of `topic` go that cannot be processed.
pub fn dead_letters_of(topic: &str) -> String {
    format!("{topic}.dlq")
}

impl Pipeline {
    pub fn replays_topic(&self) -> String {
        format!("{}.replays", self.scope())
    }
}

impl Role {
    pub fn name(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Internal => "internal",
            Self::Curated => "curated",
            Self::Reference => "reference",
            Self::DeadLetters => "dead_letters",
            Self::Tasks => "tasks",
            Self::StateLog => "state_log",
            Self::Replays => "replays",
            Self::Redrive => "redrive",
            Self::Parked => "parked",
            Self::Audit => "audit",
            Self::Reprocess => "reprocess",
        }
    }
}

impl OnError {
    pub fn name(self) -> &'static str {
        match self {
            Self::DeadLetter => "dlq",
            Self::Park => "park",
            Self::Stop => "stop",
        }
    }
}
