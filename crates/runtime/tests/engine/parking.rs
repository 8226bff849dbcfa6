//! Guards that stop a worker: too much that waits, too much that fails, and keys that nobody would release.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidemill_core::partition::partition_of;
use tidemill_runtime::broker::{
    Broker, BrokerError, BrokerErrorKind, Isolation, NewTopic, Outgoing, ProducerOptions, TopicPartition, read_all,
};
use tidemill_runtime::dead_letter::sent_back;
use tidemill_runtime::embedded::{EmbeddedBroker, EmbeddedOptions};
use tidemill_runtime::store::disk::DiskStores;
use tidemill_runtime::supervise::{self, RunError};
use tidemill_runtime::worker::{Decision, Shared, WorkerError};
use tidemill_topology::Topology;
use tidemill_topology::plan::{CircuitBreaker, Cleanup, OnError, ParkingLimits, Role, Stage, Topic, parked_of};

use crate::words::{DEAD_LETTERS, IN, PATIENCE, POISON, TASKS, options, shared, topology};

const PARKED: &str = "words.requested.v1.parked";
const REDRIVE: &str = "words.main.redrive";

/// The pipeline with its one stage changed.
fn changed(folder: &Path, broker: &Arc<EmbeddedBroker>, change: impl Fn(&mut Stage)) -> Arc<Shared> {
    let mut topology: Topology = topology(folder);
    change(&mut topology.units[0].stages[0]);
    for (name, role) in [(PARKED, Role::Parked), (REDRIVE, Role::Redrive)] {
        let topic = Topic {
            name: name.to_owned(),
            role,
            kind: None,
            partitions: TASKS,
            cleanup: Cleanup::Delete,
            config: Default::default(),
        };
        topology.topics.insert(name.to_owned(), topic);
    }
    for topic in topology.topics.values() {
        let new = NewTopic { name: topic.name.clone(), partitions: TASKS, replication: 1, config: Default::default() };
        match broker.create_topic(&new) {
            Err(BrokerError { kind: BrokerErrorKind::AlreadyExists, .. }) => {}
            created => created.expect("a new topic"),
        }
    }
    let broker: Arc<dyn Broker> = broker.clone();
    let plain = shared(folder, broker, Arc::new(DiskStores::default()));
    Arc::new(Shared { topology: Arc::new(topology), ..(*plain).clone() })
}

fn parks(stage: &mut Stage, records_per_key_max: u64) {
    stage.on_error = OnError::Park;
    stage.parking = ParkingLimits { keys_max: 10, records_per_key_max, age_s_max: 3_600 };
    stage.inputs[0].parked = Some(parked_of(IN));
}

fn write(broker: &dyn Broker, words: &[&[u8]]) {
    let mut producer = broker.producer(&ProducerOptions::Idempotent).expect("a producer");
    for word in words {
        let partition = partition_of(word, TASKS);
        let record =
            Outgoing { topic: IN, partition, timestamp_ms: 1, key: Some(word), value: Some(b"x"), headers: &[] };
        producer.send(&record).expect("the record is taken");
    }
    producer.flush(PATIENCE).expect("the records are written");
}

/// Gives the last dead letter of the poisonous word up.
fn discard_last(broker: &dyn Broker) {
    let partition = partition_of(POISON, TASKS);
    let mut id = Vec::new();
    read_all(broker, &TopicPartition::new(DEAD_LETTERS, partition), |letter| {
        id = letter.headers.text("x-dlq-id").expect("an id").as_bytes().to_vec();
        Ok::<_, BrokerError>(ControlFlow::Continue(()))
    })
    .expect("the dead letters can be read");
    let headers = [
        (sent_back::INPUT, Some(IN.as_bytes())),
        (sent_back::REPLAY_OF, Some(id.as_slice())),
        (sent_back::RESOLVE, Some(Decision::Discard.name().as_bytes())),
    ];
    let mut producer = broker.producer(&ProducerOptions::Idempotent).expect("a producer");
    let record =
        Outgoing { topic: REDRIVE, partition, timestamp_ms: 1, key: Some(POISON), value: None, headers: &headers };
    producer.send(&record).expect("the decision is taken");
    producer.flush(PATIENCE).expect("the decision is written");
}

/// The first offset of the parked topic that is still there.
fn first_parked(broker: &dyn Broker) -> u64 {
    let partition = TopicPartition::new(PARKED, partition_of(POISON, TASKS));
    broker.watermarks(&partition, Isolation::ReadCommitted).expect("it exists").low
}

fn count(broker: &dyn Broker, topic: &str) -> u64 {
    let end = |number| {
        broker.watermarks(&TopicPartition::new(topic, number), Isolation::ReadCommitted).expect("it exists").high
    };
    (0..TASKS).map(end).sum()
}

/// Runs until a worker ends by itself, and says why.
fn ends(shared: &Arc<Shared>) -> WorkerError {
    let running = supervise::start(shared, &options(1)).expect("workers start");
    let ended = running.wait(PATIENCE).expect("a worker ends");
    // The same error once more, or none from those that stopped in good order.
    let _same = running.join();
    match ended {
        Err(RunError::Worker { error, .. }) => error,
        other => panic!("{other:?}"),
    }
}

/// Runs until `is_done`, then stops in good order.
fn runs(shared: &Arc<Shared>, is_done: impl Fn() -> bool) {
    let running = supervise::start(shared, &options(1)).expect("workers start");
    let started_at = Instant::now();
    while !is_done() {
        assert!(running.wait(Duration::from_millis(10)).is_none(), "a worker ended");
        assert!(started_at.elapsed() < PATIENCE, "it does not come to its end");
    }
    running.join().expect("workers stop in good order");
}

fn broker(folder: &Path) -> Arc<EmbeddedBroker> {
    EmbeddedBroker::open(&folder.join("broker"), EmbeddedOptions::default()).expect("a new broker")
}

#[test]
fn a_key_with_too_much_behind_it_stops_the_worker_and_loses_nothing() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let broker = broker(folder.path());
    let tight = changed(folder.path(), &broker, |stage| parks(stage, 4));
    write(broker.as_ref(), &[POISON; 8]);
    let error = ends(&tight);
    assert!(error.is_refusal() && matches!(error, WorkerError::ParkingFull { max: 4, .. }), "{error}");
    let wide = changed(folder.path(), &broker, |stage| parks(stage, 100));
    runs(&wide, || count(broker.as_ref(), PARKED) >= 7);
    assert_eq!([count(broker.as_ref(), DEAD_LETTERS), count(broker.as_ref(), PARKED)], [1, 7]);

    let unparked = changed(folder.path(), &broker, |_| {});
    let error = ends(&unparked);
    assert!(matches!(error, WorkerError::ParkedLeft { keys: 1, .. }), "{error}");
}

#[test]
fn a_circuit_opens_before_the_dead_letters_are_full_and_goes_on_where_it_was() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let broker = broker(folder.path());
    let breaker = CircuitBreaker { consecutive_max: 50, failed_percent_max: 100, window_records: 1_000 };
    let guarded = changed(folder.path(), &broker, |stage| stage.circuit = Some(breaker));
    write(broker.as_ref(), &[POISON; 500]);
    let error = ends(&guarded);
    assert!(error.is_refusal() && matches!(error, WorkerError::CircuitOpen { .. }), "{error}");
    let before = count(broker.as_ref(), DEAD_LETTERS);
    assert!(before < 500, "the topic was not buried: {before}");
    let open = changed(folder.path(), &broker, |_| {});
    runs(&open, || count(broker.as_ref(), DEAD_LETTERS) >= 500);
    assert_eq!(count(broker.as_ref(), DEAD_LETTERS), 500);
}

/// Whoever resolves a head makes room behind it, also when the worker that is to take that in is at its limit at once.
#[test]
fn what_is_resolved_is_taken_in_although_no_more_may_wait() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let broker = broker(folder.path());
    let tight = changed(folder.path(), &broker, |stage| parks(stage, 4));
    write(broker.as_ref(), &[POISON; 12]);
    for letters in 1..=7 {
        assert!(matches!(ends(&tight), WorkerError::ParkingFull { max: 4, .. }), "with {letters} dead letters");
        assert_eq!(count(broker.as_ref(), DEAD_LETTERS), letters);
        discard_last(broker.as_ref());
    }
    // The last four fit.
    runs(&tight, || count(broker.as_ref(), DEAD_LETTERS) == 8 && count(broker.as_ref(), PARKED) == 11);
}

#[test]
fn what_nobody_waits_for_any_more_is_deleted_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let broker = broker(folder.path());
    let shared = changed(folder.path(), &broker, |stage| parks(stage, 100));
    write(broker.as_ref(), &[POISON; 4]);
    runs(&shared, || count(broker.as_ref(), PARKED) == 3);
    assert_eq!(first_parked(broker.as_ref()), 0);
    for released in 1..=3 {
        discard_last(broker.as_ref());
        runs(&shared, || first_parked(broker.as_ref()) == released);
        assert_eq!(count(broker.as_ref(), DEAD_LETTERS), 1 + released, "each that was released failed and waits");
    }
}

#[test]
fn a_key_that_has_waited_too_long_stops_the_worker_when_a_record_of_it_arrives() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let broker = broker(folder.path());
    let hasty = changed(folder.path(), &broker, |stage| {
        parks(stage, 100);
        stage.parking.age_s_max = 0;
    });
    write(broker.as_ref(), &[POISON]);
    runs(&hasty, || count(broker.as_ref(), DEAD_LETTERS) == 1);
    write(broker.as_ref(), &[POISON]);
    let error = ends(&hasty);
    assert!(error.is_refusal() && matches!(error, WorkerError::ParkedTooLong { age_s_max: 0, .. }), "{error}");
    let patient = changed(folder.path(), &broker, |stage| parks(stage, 100));
    runs(&patient, || count(broker.as_ref(), PARKED) == 1);
}
