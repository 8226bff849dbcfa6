//! A pipeline of one stage that counts words, small enough to see by eye whether each record counted once.

use std::any::Any;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidemill_core::processor::{MovesMoney, Signature};
use tidemill_core::{
    AnyEvent, Context, DecodeError, Event, EventCodec, EventKind, EventTime, Flow, Framing, KeySpace, Outcome,
    PortSpec, Processor, ProcessorSpec, RawEvent, Reject, Settings, StateValue, Store, StoreSpec,
};
use tidemill_runtime::broker::{Broker, Isolation, NewTopic, Outgoing, ProducerOptions, RecordBatch, TopicPartition};
use tidemill_runtime::clock::SystemClock;
use tidemill_runtime::registry::{LocalRegistry, SchemaRegistry};
use tidemill_runtime::state_log::StateLogPolicy;
use tidemill_runtime::store::StoreFactory;
use tidemill_runtime::supervise::{RunOptions, RunSinks};
use tidemill_runtime::telemetry::Telemetry;
use tidemill_runtime::threads::SystemThreads;
use tidemill_runtime::worker::{OnStop, Shared};
use tidemill_topology::Topology;
use tidemill_topology::plan::{
    self, Cleanup, CommitPolicy, Input, Link, OnError, ParkingLimits, Pipeline, Role, Stage, Topic, Unit,
};

pub(crate) const IN: &str = "words.requested.v1";
pub(crate) const DEAD_LETTERS: &str = "words.requested.v1.dlq";
/// The counting processor panics on it.
pub(crate) const POISON: &[u8] = b"rock";
pub(crate) const OUT: &str = "words.counted.v1";
pub(crate) const TASKS: u32 = 2;
pub(crate) const WORDS: [&str; 5] = ["ebb", "flood", "neap", "spring", "slack"];
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// One word and how often it has been seen, this time included.
#[derive(Debug)]
struct Counted {
    word: Vec<u8>,
    count: u64,
}

impl Counted {
    const KIND: EventKind = EventKind { name: "counted", keyed_by: KeySpace::Named("word") };
}

impl Event for Counted {
    fn kind(&self) -> EventKind {
        Self::KIND
    }

    fn key(&self, out: &mut Vec<u8>) -> bool {
        out.extend_from_slice(&self.word);
        true
    }

    fn event_time(&self) -> EventTime {
        EventTime::from_millis(1)
    }

    fn encode(&self, out: &mut Vec<u8>) -> std::result::Result<(), DecodeError> {
        out.extend_from_slice(&self.count.to_be_bytes());
        Ok(())
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[derive(Default, serde::Serialize, serde::Deserialize)]
struct Count(u64);

impl StateValue for Count {
    const VERSION: u8 = 1;
}

const COUNTS: Store<Count> = Store::new("counts");

struct CountWord;

impl Processor for CountWord {
    fn process(&self, _event: AnyEvent, context: &mut Context<'_>) -> std::result::Result<Flow, Reject> {
        let word = context.record.key.unwrap_or_default().to_vec();
        assert_ne!(word, POISON, "the word that this processor does not survive");
        let Count(before) = COUNTS.get(context.state, &word)?.unwrap_or_default();
        COUNTS.put(context.state, &word, &Count(before + 1))?;
        context.effects.emit("counted", Box::new(Counted { word, count: before + 1 }) as AnyEvent);
        Ok(Flow::Done(Outcome::Applied))
    }
}

static COUNT_WORD: ProcessorSpec = ProcessorSpec {
    name: "count_word",
    summary: "Counts words.",
    signatures: &[Signature { takes: RawEvent::KIND, gives: None }],
    stores: &[StoreSpec { name: "counts", keyed_by: KeySpace::Named("word"), summary: "Count of each word." }],
    ports: &[PortSpec { name: "counted", kind: Counted::KIND, summary: "Each count." }],
    references: &[],
    codes: &[],
    decodes: None,
    moves_money: MovesMoney::No,
    example: "",
    build: |_| Ok(Box::new(CountWord)),
};

static CODECS: [EventCodec; 1] = [EventCodec {
    kind: Counted::KIND,
    framing: Framing::Confluent,
    schema: "\"bytes\"",
    version: 1,
    compatibility: "NONE",
    summary: "A count.",
    decoder: |_| Err(DecodeError::new("nobody reads it here")),
}];

/// What the workers of this pipeline share. The topics must exist.
pub(crate) fn shared(folder: &Path, broker: Arc<dyn Broker>, stores: Arc<dyn StoreFactory>) -> Arc<Shared> {
    shared_with(folder, broker, stores, StateLogPolicy::default())
}

pub(crate) fn shared_with(
    folder: &Path,
    broker: Arc<dyn Broker>,
    stores: Arc<dyn StoreFactory>,
    state_log: StateLogPolicy,
) -> Arc<Shared> {
    let registry = LocalRegistry::open(folder).expect("a registry");
    registry.register(&format!("{OUT}-value"), "\"bytes\"").expect("a schema");
    Arc::new(Shared {
        topology: Arc::new(topology(folder)),
        broker,
        registry: Arc::new(registry),
        codecs: &CODECS,
        stores,
        clock: Arc::new(SystemClock::default()),
        threads: Arc::new(SystemThreads),
        telemetry: Telemetry::new("words", "test", "00000000").expect("metric names are unique"),
        state_log,
        state_dir: folder.join("state"),
        rehearsal: None,
    })
}

/// So many workers in one process, without sinks.
pub(crate) fn options(workers: u32) -> RunOptions {
    RunOptions { instance: "a".to_owned(), workers, units: Vec::new(), sinks: RunSinks::None, on_stop: OnStop::Leave }
}

/// Creates the topics of this pipeline.
pub(crate) fn create_topics(broker: &dyn Broker, folder: &Path) {
    for topic in topology(folder).topics.into_values() {
        let config = BTreeMap::from([("max.message.bytes".to_owned(), "12000000".to_owned())]);
        let new = NewTopic { name: topic.name, partitions: TASKS, replication: 1, config };
        broker.create_topic(&new).expect("a new topic");
    }
}

/// Writes the words and returns the counts that must come out of them.
pub(crate) fn write_words(broker: &dyn Broker, records: u64) -> BTreeMap<String, Vec<u64>> {
    write(broker, records, &WORDS)
}

/// Writes each of these words in turn.
pub(crate) fn write(broker: &dyn Broker, records: u64, words: &[&str]) -> BTreeMap<String, Vec<u64>> {
    let mut producer = broker.producer(&ProducerOptions::Idempotent).expect("a producer");
    let mut expected: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for (number, word) in (0..records).zip(words.iter().cycle()) {
        let counts = expected.entry((*word).to_owned()).or_default();
        counts.push(counts.len() as u64 + 1);
        let partition = tidemill_core::partition::partition_of(word.as_bytes(), TASKS);
        let value = number.to_be_bytes();
        let record = Outgoing {
            topic: IN,
            partition,
            timestamp_ms: 1,
            key: Some(word.as_bytes()),
            value: Some(&value),
            headers: &[],
        };
        producer.send(&record).expect("the record is taken");
    }
    producer.flush(PATIENCE).expect("the records are written");
    expected
}

/// Reads counts until there are as many as records, in the order of each partition.
pub(crate) fn read_counts(broker: &dyn Broker, records: u64, check: impl Fn()) -> BTreeMap<String, Vec<u64>> {
    let mut reader = broker.reader(Isolation::ReadCommitted).expect("a reader");
    for partition in 0..TASKS {
        reader.assign(&TopicPartition::new(OUT, partition), 0).expect("the partition exists");
    }
    let mut seen: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut batch = RecordBatch::default();
    let started_at = Instant::now();
    while seen.values().map(|counts| counts.len() as u64).sum::<u64>() < records {
        assert!(started_at.elapsed() < PATIENCE, "no progress: {:?}", seen.values().map(Vec::len).collect::<Vec<_>>());
        check();
        reader.poll(&mut batch, 1_000, Duration::from_millis(50)).expect("records can be read");
        for index in 0..batch.len() {
            let view = batch.view(index, &[]);
            let word = String::from_utf8(view.key.expect("a key").to_vec()).expect("a word");
            let count = view.value.and_then(|value| value.get(5..13)).expect("the frame and a count");
            seen.entry(word).or_default().push(u64::from_be_bytes(count.try_into().expect("eight bytes")));
        }
    }
    seen
}

pub(crate) fn topology(folder: &Path) -> Topology {
    let topic = |name: &str, role, kind, cleanup| Topic {
        name: name.to_owned(),
        role,
        kind,
        partitions: TASKS,
        cleanup,
        config: BTreeMap::new(),
    };
    let topics = [
        topic(IN, Role::Ingest, None, Cleanup::Delete),
        topic(OUT, Role::Curated, Some(Counted::KIND), Cleanup::Delete),
        topic(DEAD_LETTERS, Role::DeadLetters, None, Cleanup::Delete),
        topic("words.main.tasks", Role::Tasks, None, Cleanup::Delete),
        topic("words.main.state", Role::StateLog, None, Cleanup::Delete),
    ];
    let input = Input {
        topic: IN.to_owned(),
        chain: vec![Link { processor: &COUNT_WORD, settings: Settings::default() }],
        output: None,
        dead_letters: DEAD_LETTERS.to_owned(),
        parked: None,
    };
    let stage = Stage {
        name: "count".to_owned(),
        on_error: OnError::DeadLetter,
        inputs: vec![input],
        ports: BTreeMap::from([("counted".to_owned(), OUT.to_owned())]),
        references: Vec::new(),
        parking: ParkingLimits { keys_max: 100, records_per_key_max: 1_000, age_s_max: 3_600 },
        circuit: None,
    };
    // So few records to a transaction that many end in the middle of a batch, where a rewind must not skip the rest.
    let commit = CommitPolicy {
        gap_ms_min: 1,
        interval_ms_max: 50,
        records_max: 60,
        bytes_max: 1 << 20,
        transaction_timeout_ms: 2_000,
        session_timeout_ms: 6_000,
    };
    Topology {
        pipeline: Pipeline {
            name: "words".to_owned(),
            version: "1".to_owned(),
            config_hash: "00000000".to_owned(),
            audit_topic: "ops.audit.v1".to_owned(),
            colour: None,
        },
        broker: plan::Broker::Embedded { data_dir: folder.join("broker") },
        registry_url: None,
        state_dir: folder.join("state"),
        http_address: "127.0.0.1:0".to_owned(),
        memory_mib_max: 1_024,
        units: vec![Unit { name: "main".to_owned(), tasks: TASKS, standbys: 0, commit, stages: vec![stage] }],
        topics: topics.into_iter().map(|topic| (topic.name.clone(), topic)).collect(),
        sinks: Vec::new(),
        dead_letter_headers: Vec::new(),
    }
}
