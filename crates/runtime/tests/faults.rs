//! A broker that fails at every step of a transaction, and the worker that must not show it: every record is counted
//! exactly once and in order, whatever went wrong on the way.

use std::any::Any;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tidemill_core::processor::{MovesMoney, Signature};
use tidemill_core::{
    AnyEvent, Context, DecodeError, Event, EventCodec, EventKind, EventTime, Flow, KeySpace, Outcome, PortSpec,
    Processor, ProcessorSpec, RawEvent, Reject, Settings, StateValue, Store, StoreSpec,
};
use tidemill_runtime::broker::{
    Broker, BrokerError, BrokerErrorKind, Isolation, Member, MemberOptions, NewTopic, Outgoing, Producer,
    ProducerOptions, Reader, RecordBatch, Result, TopicInfo, TopicPartition, Watermarks,
};
use tidemill_runtime::clock::SystemClock;
use tidemill_runtime::conformance::Random;
use tidemill_runtime::embedded::{EmbeddedBroker, EmbeddedOptions};
use tidemill_runtime::registry::{LocalRegistry, SchemaRegistry};
use tidemill_runtime::status;
use tidemill_runtime::store::disk::DiskStores;
use tidemill_runtime::supervise::{self, RunOptions, RunSinks};
use tidemill_runtime::telemetry::Telemetry;
use tidemill_runtime::worker::{OnStop, Shared};
use tidemill_topology::Topology;
use tidemill_topology::plan::{self, Cleanup, CommitPolicy, Input, Link, OnError, Pipeline, Role, Stage, Topic, Unit};

const IN: &str = "words.requested.v1";
const OUT: &str = "words.counted.v1";
const TASKS: u32 = 2;
const WORDS: [&str; 5] = ["ebb", "flood", "neap", "spring", "slack"];
const RECORDS: u64 = 2_000;
const PATIENCE: Duration = Duration::from_secs(90);

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
    schema: "\"bytes\"",
    version: 1,
    compatibility: "NONE",
    summary: "A count.",
    decoder: |_| Err(DecodeError::new("nobody reads it here")),
}];

/// When the producers of a [`FaultyBroker`] fail. Every call draws a number, so the same seed gives the same faults to a
/// single worker.
struct Faults {
    random: Mutex<Random>,
    injected: AtomicU64,
}

/// What a call is made to do.
enum Fault {
    None,
    /// Not done, and said so.
    Refused(BrokerErrorKind),
    /// Done, but the answer is lost.
    AnswerLost,
}

impl Faults {
    fn draw(&self) -> Fault {
        let number = self.random.lock().expect("no thread panics here").below(24);
        let fault = match number {
            0 => Fault::Refused(BrokerErrorKind::Abortable),
            1 => Fault::Refused(BrokerErrorKind::Fenced),
            2 => Fault::Refused(BrokerErrorKind::Retriable),
            3 => Fault::AnswerLost,
            _ => Fault::None,
        };
        if !matches!(fault, Fault::None) {
            self.injected.fetch_add(1, Ordering::Relaxed);
        }
        fault
    }

    fn around(&self, during: &'static str, call: impl FnOnce() -> Result<()>) -> Result<()> {
        match self.draw() {
            Fault::None => call(),
            Fault::Refused(kind) => Err(BrokerError::new(kind, during, "made up by the test")),
            Fault::AnswerLost => {
                call()?;
                Err(BrokerError::new(BrokerErrorKind::Fatal, during, "the answer was lost by the test"))
            }
        }
    }
}

struct FaultyBroker {
    broker: Arc<EmbeddedBroker>,
    faults: Arc<Faults>,
}

struct FaultyProducer {
    producer: Box<dyn Producer>,
    faults: Arc<Faults>,
}

impl Producer for FaultyProducer {
    fn send(&mut self, record: &Outgoing<'_>) -> Result<()> {
        self.producer.send(record)
    }

    fn flush(&mut self, deadline: Duration) -> Result<()> {
        self.faults.around("flush", || self.producer.flush(deadline))
    }

    fn begin(&mut self) -> Result<()> {
        self.producer.begin()
    }

    fn send_offsets(
        &mut self,
        offsets: &[(TopicPartition, u64)],
        member: &dyn Member,
        deadline: Duration,
    ) -> Result<()> {
        self.faults.around("send offsets", || self.producer.send_offsets(offsets, member, deadline))
    }

    fn send_group_offsets(&mut self, group: &str, offsets: &[(TopicPartition, u64)], deadline: Duration) -> Result<()> {
        self.producer.send_group_offsets(group, offsets, deadline)
    }

    fn commit(&mut self, deadline: Duration) -> Result<()> {
        self.faults.around("commit", || self.producer.commit(deadline))
    }

    fn abort(&mut self, deadline: Duration) -> Result<()> {
        self.producer.abort(deadline)
    }

    fn acknowledged(&self, partition: &TopicPartition) -> Option<u64> {
        self.producer.acknowledged(partition)
    }
}

impl Broker for FaultyBroker {
    fn member(&self, options: &MemberOptions) -> Result<Box<dyn Member>> {
        self.broker.member(options)
    }

    fn reader(&self, isolation: Isolation) -> Result<Box<dyn Reader>> {
        self.broker.reader(isolation)
    }

    fn producer(&self, options: &ProducerOptions) -> Result<Box<dyn Producer>> {
        let producer = self.broker.producer(options)?;
        Ok(Box::new(FaultyProducer { producer, faults: Arc::clone(&self.faults) }))
    }

    fn topics(&self) -> Result<Vec<TopicInfo>> {
        self.broker.topics()
    }

    fn create_topic(&self, topic: &NewTopic) -> Result<()> {
        self.broker.create_topic(topic)
    }

    fn delete_topic(&self, name: &str) -> Result<()> {
        self.broker.delete_topic(name)
    }

    fn watermarks(&self, partition: &TopicPartition, isolation: Isolation) -> Result<Watermarks> {
        self.broker.watermarks(partition, isolation)
    }

    fn offset_for_time(&self, partition: &TopicPartition, timestamp_ms: i64) -> Result<Option<u64>> {
        self.broker.offset_for_time(partition, timestamp_ms)
    }

    fn committed(&self, group: &str, partitions: &[TopicPartition]) -> Result<Vec<(TopicPartition, u64)>> {
        self.broker.committed(group, partitions)
    }

    fn describe(&self) -> String {
        "a faulty broker".to_owned()
    }
}

#[test]
fn every_record_counts_once_although_transactions_fail() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let broker = EmbeddedBroker::open(&folder.path().join("broker"), EmbeddedOptions::default()).expect("a new broker");
    let topology = Arc::new(topology(folder.path()));
    for topic in topology.topics.values() {
        let new = NewTopic { name: topic.name.clone(), partitions: TASKS, replication: 1, config: BTreeMap::new() };
        broker.create_topic(&new).expect("a new topic");
    }
    let registry = LocalRegistry::open(folder.path()).expect("a new registry");
    registry.register(&format!("{OUT}-value"), "\"bytes\"").expect("a new schema");
    let faults = Arc::new(Faults { random: Mutex::new(Random::printed()), injected: AtomicU64::new(0) });
    let shared = Arc::new(Shared {
        topology: Arc::clone(&topology),
        broker: Arc::new(FaultyBroker { broker: Arc::clone(&broker), faults: Arc::clone(&faults) }),
        registry: Arc::new(registry),
        codecs: &CODECS,
        stores: Arc::new(DiskStores::default()),
        clock: Arc::new(SystemClock::default()),
        telemetry: Telemetry::new("words", "test", "00000000").expect("metric names are unique"),
        state_dir: folder.path().join("state"),
    });
    let expected = write_words(broker.as_ref());
    let options = RunOptions {
        instance: "a".to_owned(),
        workers: 2,
        units: Vec::new(),
        sinks: RunSinks::None,
        on_stop: OnStop::Leave,
    };
    let running = supervise::start(&shared, &options).expect("workers start");
    let seen = read_counts(broker.as_ref(), || {
        if let Some(ended) = running.wait(Duration::ZERO) {
            panic!("a worker ended: {ended:?}");
        }
    });
    running.join().expect("workers stop in good order");
    assert_eq!(seen, expected, "each word is counted from 1 without a gap and without a repeat");
    assert!(faults.injected.load(Ordering::Relaxed) > 10, "too few faults to prove anything");
    let figures = status::figures(broker.as_ref(), &topology, &topology.units[0]).expect("checkpoints can be read");
    assert_eq!(figures[&format!("count/{IN}")]["applied"], RECORDS);
}

/// Writes the words and returns the counts that must come out of them.
fn write_words(broker: &dyn Broker) -> BTreeMap<String, Vec<u64>> {
    let mut producer = broker.producer(&ProducerOptions::Idempotent).expect("a producer");
    let mut expected: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for (number, word) in (0..RECORDS).zip(WORDS.iter().cycle()) {
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
fn read_counts(broker: &dyn Broker, check: impl Fn()) -> BTreeMap<String, Vec<u64>> {
    let mut reader = broker.reader(Isolation::ReadCommitted).expect("a reader");
    for partition in 0..TASKS {
        reader.assign(&TopicPartition::new(OUT, partition), 0).expect("the partition exists");
    }
    let mut seen: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut batch = RecordBatch::default();
    let started_at = Instant::now();
    while seen.values().map(|counts| counts.len() as u64).sum::<u64>() < RECORDS {
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

fn topology(folder: &Path) -> Topology {
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
        topic("words.requested.v1.dlq", Role::DeadLetters, None, Cleanup::Delete),
        topic("words.main.tasks", Role::Tasks, None, Cleanup::Delete),
        topic("words.main.state", Role::StateLog, None, Cleanup::Compact),
    ];
    let input = Input {
        topic: IN.to_owned(),
        chain: vec![Link { processor: &COUNT_WORD, settings: Settings::default() }],
        output: None,
        dead_letters: "words.requested.v1.dlq".to_owned(),
    };
    let stage = Stage {
        name: "count".to_owned(),
        on_error: OnError::DeadLetter,
        inputs: vec![input],
        ports: BTreeMap::from([("counted".to_owned(), OUT.to_owned())]),
        references: Vec::new(),
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
        pipeline: Pipeline { name: "words".to_owned(), version: "1".to_owned(), config_hash: "00000000".to_owned() },
        broker: plan::Broker::Embedded { data_dir: folder.join("broker") },
        registry_url: None,
        state_dir: folder.join("state"),
        http_address: "127.0.0.1:0".to_owned(),
        units: vec![Unit { name: "main".to_owned(), tasks: TASKS, commit, stages: vec![stage] }],
        topics: topics.into_iter().map(|topic| (topic.name.clone(), topic)).collect(),
        sinks: Vec::new(),
    }
}
