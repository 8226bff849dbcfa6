//! What a killed broker leaves open of a transaction that has ended, made by hand on real Kafka, and the producer that
//! opens next.
//!
//! Needs the servers of `dev/stack up`. Every run has topics and ids of its own.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidemill_runtime::broker::{
    Broker, BrokerError, Decision, Isolation, NewTopic, OpenTransaction, Outgoing, Producer, ProducerOptions,
    TopicPartition, read_all,
};
use tidemill_runtime::clock::SystemClock;
use tidemill_runtime::kafka::KafkaBroker;
use tidemill_runtime::kafka::wire::damage::Damage;
use tidemill_runtime::succession::{Opened, Settled, Succession};
use tidemill_runtime::supervise::slot_name;
use tidemill_runtime::telemetry::Telemetry;

use crate::kafka::{DEADLINE, Pipeline, TICK};

const TIMEOUT: Duration = Duration::from_secs(10);
/// Where transactions of good will write.
const WRITTEN: u32 = 0;
/// Where data is left open.
const LEFT: u32 = 1;

struct Scene {
    /// Its topics go when this is dropped.
    _pipeline: Pipeline,
    broker: Arc<KafkaBroker>,
    succession: Succession,
    telemetry: Telemetry,
    damage: Damage,
    topic: String,
    id: String,
}

impl Scene {
    fn new(name: &str) -> Self {
        let pipeline = Pipeline::new();
        let (broker, topic) = (pipeline.broker(), format!("{}-{name}", pipeline.name));
        let new = NewTopic { name: topic.clone(), partitions: 2, replication: 1, config: BTreeMap::new() };
        broker.create_topic(&new).expect("a new topic");
        let telemetry = Telemetry::new(&pipeline.name, "test", "test").expect("names are unique");
        let as_broker: Arc<dyn Broker> = broker.clone();
        Self {
            succession: Succession::new(
                as_broker,
                Arc::new(SystemClock::default()),
                telemetry.clone(),
                vec![topic.clone()],
            ),
            damage: Damage::new(&pipeline.bootstrap).expect("an address"),
            id: format!("{topic}-writer"),
            _pipeline: pipeline,
            broker,
            telemetry,
            topic,
        }
    }

    fn partition(&self, number: u32) -> TopicPartition {
        TopicPartition::new(self.topic.as_str(), number)
    }

    fn open(&self, id: &str) -> (Box<dyn Producer>, Option<Decision>) {
        match self.succession.open(id, TIMEOUT).expect("the broker answers") {
            Opened::Producer(producer, finished) => (producer, finished),
            Opened::Refused => panic!("{id} is refused"),
        }
    }

    fn write(&self, producer: &mut dyn Producer, partition: u32) {
        producer.begin().expect("a transaction begins");
        let record =
            Outgoing { topic: &self.topic, partition, timestamp_ms: 1, key: None, value: Some(b"a"), headers: &[] };
        producer.send(&record).expect("the record is taken");
        producer.flush(DEADLINE).expect("the record is acknowledged");
    }

    /// `epochs_before` the one that the coordinator is in: in Kafka's second protocol, every end begins another.
    fn leave_open(&self, epochs_before: i16) -> String {
        self.damage.leave_open(&self.id, epochs_before, &[self.partition(LEFT)]).expect("the broker takes it")
    }

    /// Records that can be read, after a check that nothing holds readers back.
    fn readable(&self, partition: u32) -> u32 {
        let partition = self.partition(partition);
        let end = |isolation| self.broker.watermarks(&partition, isolation).expect("the broker answers").high;
        assert_eq!(end(Isolation::ReadCommitted), end(Isolation::ReadUncommitted), "readers are held back");
        let mut count = 0;
        let read = read_all::<BrokerError>(self.broker.as_ref(), &partition, |_| {
            count += 1;
            Ok(ControlFlow::Continue(()))
        });
        read.expect("can be read");
        count
    }

    fn finished(&self, decision: Decision) -> u64 {
        self.telemetry.txn_finished.with_label_values(&[decision.name()]).get()
    }
}

/// How the transaction ends that leaves something open.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Committed,
    Aborted,
    /// By the coordinator, for a successor.
    Fenced,
    /// By the coordinator, because it took too long.
    TimedOut,
}

#[test]
fn what_was_decided_is_finished_before_a_producer_opens() {
    let table = [
        (End::Committed, "CompleteCommit", Decision::Commit),
        (End::Aborted, "CompleteAbort", Decision::Abort),
        (End::Fenced, "Ongoing", Decision::Abort),
        (End::TimedOut, "Ongoing", Decision::Abort),
    ];
    for (end, state, decision) in table {
        let scene = Scene::new("decided");
        let (mut first, finished) = scene.open(&scene.id);
        assert_eq!(finished, None, "{end:?}");
        scene.write(first.as_mut(), WRITTEN);
        match end {
            End::Committed => first.commit(DEADLINE).expect("it commits"),
            End::Aborted => first.abort(DEADLINE).expect("it aborts"),
            End::Fenced | End::TimedOut => {}
        }
        let epochs_before = i16::from(matches!(end, End::Committed | End::Aborted));
        assert_eq!(scene.leave_open(epochs_before), state, "{end:?}");
        let started_at = Instant::now();
        while end == End::TimedOut
            && !scene.broker.held_back(&[scene.partition(WRITTEN)]).expect("the broker answers").is_empty()
        {
            assert!(started_at.elapsed() < DEADLINE, "the coordinator does not end it");
            std::thread::sleep(TICK);
        }
        drop(first);

        let started_at = Instant::now();
        let (mut second, finished) = scene.open(&scene.id);
        println!("{end:?}: opened after {:?}", started_at.elapsed());
        assert_eq!(finished, Some(decision), "{end:?}");
        assert_eq!(scene.finished(decision), 1, "{end:?}");
        let kept = u32::from(decision == Decision::Commit);
        assert_eq!((scene.readable(WRITTEN), scene.readable(LEFT)), (kept, kept), "{end:?}");
        // What the successor does to the same partition no longer touches it.
        scene.write(second.as_mut(), LEFT);
        match decision {
            Decision::Commit => second.abort(DEADLINE).expect("it aborts"),
            Decision::Abort => second.commit(DEADLINE).expect("it commits"),
        }
        drop(second);
        assert_eq!(scene.open(&scene.id).1, None, "{end:?}");
        assert_eq!(scene.readable(LEFT), 1, "{end:?}");
    }
}

#[test]
fn what_nobody_knows_is_not_guessed() {
    let scene = Scene::new("unknown");
    drop(scene.open(&scene.id));
    assert_eq!(scene.leave_open(0), "Empty");
    assert!(matches!(scene.succession.open(&scene.id, TIMEOUT), Ok(Opened::Refused)));
    assert_eq!(scene.succession.settle(&scene.id).expect("the broker answers"), Settled::LeftOpen);
    let (mut other, finished) = scene.open(&format!("{}-other", scene.id));
    assert_eq!(finished, None);
    scene.write(other.as_mut(), LEFT);
    other.commit(DEADLINE).expect("it commits");
    let mut open = scene.broker.open_transactions(&[scene.partition(LEFT)]).expect("the broker answers");
    // The other's marker may be on its way.
    open.retain(OpenTransaction::is_hanging);
    assert_eq!(open.len(), 1, "{open:?}");
    scene.broker.abort_transactions(&open).expect("it is aborted");
    assert_eq!(scene.open(&scene.id).1, None);
    assert_eq!(scene.readable(LEFT), 1, "only what the other wrote");
}

#[test]
fn a_slot_writes_nothing_while_its_own_data_is_undecided() {
    let mut pipeline = Pipeline::new();
    pipeline.tidemill.set_variable("TIDEMILL_INSTANCE", "undecided");
    let tidemill = &pipeline.tidemill;
    tidemill.run("apply --yes").text();
    pipeline.produce("generate accounts --accounts 50", "accounts.requested.v1", "account");
    tidemill.run("run --until-idle").text();
    let id = slot_name(&pipeline.name, "main", "undecided", 0);
    // Forgets that the last transaction was committed.
    drop(pipeline.broker().producer(&ProducerOptions::Transactional { id: id.clone(), timeout: TIMEOUT }));
    let stuck = pipeline.topic("ledger.entries.v1");
    let damage = Damage::new(&pipeline.bootstrap).expect("an address");
    damage.leave_open(&id, 0, &[TopicPartition::new(stuck.as_str(), 1)]).expect("the broker takes it");
    let records = pipeline.produce("generate -n 100 --accounts 50", "payments.requested.v1", "debit_account");

    let mut running = tidemill.start("run --log info");
    running.wait_for_all(&["transaction_left_open".to_owned(), format!("{stuck}-1@")]);
    tidemill.run(&format!("txn abort --partition {stuck}-1 --reason test --yes")).text();
    running.wait_for("task is caught up");
    running.signal("TERM");
    assert_eq!(running.ended().code, Some(0));
    tidemill.run("run --until-idle").text();
    pipeline.assert_exact(records.lines().count() as u64);
}
