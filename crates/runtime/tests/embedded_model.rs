//! Random operations on the embedded broker against a naive model: every reader sees what the model says, at every moment,
//! over transactions, zombies, time-outs, members and reopenings. The clock stands still unless the test turns it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tidemill_runtime::broker::{
    Broker, BrokerErrorKind, Isolation, Member, MemberEvent, MemberOptions, NewTopic, Outgoing, Producer,
    ProducerOptions, Reader, RecordBatch, Result, TopicPartition,
};
use tidemill_runtime::clock::Clock;
use tidemill_runtime::conformance::Random;
use tidemill_runtime::embedded::{EmbeddedBroker, EmbeddedOptions, Waiting};

const STEPS: usize = 6_000;
const PARTITIONS: u32 = 3;
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(10);
const SESSION_TIMEOUT: Duration = Duration::from_secs(6);
const ANY: Duration = Duration::ZERO;

#[derive(Default)]
struct TurnedClock(AtomicU64);

impl Clock for TurnedClock {
    fn now(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }

    fn unix_ms(&self) -> i64 {
        0
    }

    fn sleep(&self, duration: Duration) {
        self.0.fetch_add(duration.as_millis() as u64, Ordering::Relaxed);
    }
}

/// A producer and what the model knows of it.
struct ModelProducer {
    id: usize,
    epoch: u64,
    producer: Box<dyn Producer>,
    open: Option<OpenTransaction>,
}

#[derive(Default)]
struct OpenTransaction {
    since: Duration,
    records: Vec<(u32, String)>,
    positions: Vec<(u32, u64)>,
}

struct World {
    random: Random,
    clock: Arc<TurnedClock>,
    broker: Arc<EmbeddedBroker>,
    producers: Vec<ModelProducer>,
    epochs: BTreeMap<usize, u64>,
    committed: Vec<Vec<String>>,
    positions: BTreeMap<u32, u64>,
    /// A reader that goes on from step to step, and what it has seen.
    follower: Box<dyn Reader>,
    followed: Vec<Vec<String>>,
    sent: u64,
    outcomes: BTreeMap<&'static str, u64>,
}

fn partition(number: u32) -> TopicPartition {
    TopicPartition::new("out", number)
}

fn open(directory: &Path, clock: &Arc<TurnedClock>) -> Arc<EmbeddedBroker> {
    let options = EmbeddedOptions {
        segment_bytes_max: 8_192,
        waiting: Waiting::ReturnsAtOnce,
        clock: Arc::clone(clock) as Arc<dyn Clock>,
        ..EmbeddedOptions::default()
    };
    EmbeddedBroker::open(directory, options).expect("the broker opens")
}

fn follower(broker: &EmbeddedBroker, followed: &[Vec<String>]) -> Box<dyn Reader> {
    let mut reader = broker.reader(Isolation::ReadCommitted).expect("a reader opens");
    for (number, seen) in followed.iter().enumerate() {
        reader.assign(&partition(number as u32), seen.len() as u64).expect("the partition exists");
    }
    reader
}

impl World {
    fn count(&mut self, outcome: &'static str) {
        *self.outcomes.entry(outcome).or_default() += 1;
    }

    fn open_producer(&mut self) {
        let id = self.random.below(3);
        let options = ProducerOptions::Transactional { id: format!("id-{id}"), timeout: TRANSACTION_TIMEOUT };
        let producer = self.broker.producer(&options).expect("a producer opens");
        let epoch = self.epochs.entry(id).or_default();
        *epoch += 1;
        self.producers.push(ModelProducer { id, epoch: *epoch, producer, open: None });
        if self.producers.len() > 6 {
            let index = self.random.below(self.producers.len());
            drop(self.producers.swap_remove(index));
        }
    }

    /// Fences in the model whose transactions took too long, as the broker does at its next call.
    fn time_out(&mut self) {
        let now = self.clock.now();
        for producer in &mut self.producers {
            let is_late = producer.open.as_ref().is_some_and(|open| now - open.since > TRANSACTION_TIMEOUT);
            if is_late && self.epochs[&producer.id] == producer.epoch {
                *self.epochs.entry(producer.id).or_default() += 1;
            }
        }
    }

    /// A producer that takes part, outside of the world while it acts.
    fn with_producer(&mut self, act: impl FnOnce(&mut Self, &mut ModelProducer, bool)) {
        if self.producers.is_empty() {
            return;
        }
        let index = self.random.below(self.producers.len());
        let mut producer = self.producers.swap_remove(index);
        let is_fenced = self.epochs[&producer.id] != producer.epoch;
        act(self, &mut producer, is_fenced);
        self.producers.push(producer);
    }

    fn write(&mut self) {
        let now = self.clock.now();
        self.with_producer(|world, producer, is_fenced| {
            if producer.open.is_none() {
                let begun = producer.producer.begin();
                assert_eq!(fenced(&begun), is_fenced, "begin: {begun:?}");
                if begun.is_err() {
                    return;
                }
                producer.open = Some(OpenTransaction { since: now, ..OpenTransaction::default() });
            }
            let Some(open) = &mut producer.open else { return };
            for _ in 0..world.random.below(5) {
                let number = world.random.below(PARTITIONS as usize) as u32;
                let length = if world.random.below(100) == 0 { 70_000 } else { 1 + world.random.below(30) };
                let value = format!("{}-{}", world.sent, "x".repeat(length));
                world.sent += 1;
                let bytes = Some(value.as_bytes());
                let (topic, key, headers) = ("out", None, &[][..]);
                let record = Outgoing { topic, partition: number, timestamp_ms: 0, key, value: bytes, headers };
                producer.producer.send(&record).expect("the record is taken");
                open.records.push((number, value));
            }
            let flushed = producer.producer.flush(ANY);
            assert_eq!(fenced(&flushed), is_fenced, "flush: {flushed:?}");
        });
    }

    fn add_position(&mut self) {
        self.with_producer(|world, producer, is_fenced| {
            let Some(open) = &mut producer.open else { return };
            let position = (world.random.below(PARTITIONS as usize) as u32, world.random.number() % 1_000);
            let offsets = [(partition(position.0), position.1)];
            let sent = producer.producer.send_group_offsets("group", &offsets, ANY);
            assert_eq!(fenced(&sent), is_fenced, "send_group_offsets: {sent:?}");
            if sent.is_ok() {
                open.positions.push(position);
            }
        });
    }

    fn end(&mut self) {
        let commits = self.random.below(3) > 0;
        self.with_producer(|world, producer, is_fenced| {
            let Some(open) = producer.open.take() else { return };
            let ended = if commits { producer.producer.commit(ANY) } else { producer.producer.abort(ANY) };
            assert_eq!(fenced(&ended), is_fenced, "end: {ended:?}");
            match (commits, is_fenced) {
                // A producer that was fenced is of no further use.
                (_, true) => {
                    producer.open = Some(open);
                    world.count("fenced");
                }
                (false, false) => world.count("aborted"),
                (true, false) => {
                    world.count("committed");
                    for (number, value) in open.records {
                        world.committed[number as usize].push(value);
                    }
                    world.positions.extend(open.positions);
                }
            }
        });
    }

    /// Everything that lived in the process is gone, everything committed is there.
    fn reopen(&mut self, directory: &Path) {
        self.producers.clear();
        let elsewhere = tempfile::tempdir().expect("a directory");
        // Nothing may hold the old broker, or its lock would still be held.
        self.broker = open(elsewhere.path(), &self.clock);
        self.follower = self.broker.reader(Isolation::ReadCommitted).expect("a reader opens");
        self.broker = open(directory, &self.clock);
        self.follower = follower(&self.broker, &self.followed);
        self.count("reopened");
    }

    fn follow(&mut self) {
        let records_max = 1 + self.random.below(7);
        let mut batch = RecordBatch::default();
        self.follower.poll(&mut batch, records_max, ANY).expect("the poll works");
        assert!(batch.len() <= records_max);
        for index in 0..batch.len() {
            let view = batch.view(index, &[]);
            let seen = &mut self.followed[view.origin.partition as usize];
            assert_eq!(view.origin.offset, seen.len() as u64, "offsets are dense");
            seen.push(String::from_utf8_lossy(view.value.unwrap_or_default()).into_owned());
            let committed = &self.committed[view.origin.partition as usize];
            assert_eq!(seen.last(), committed.get(seen.len() - 1), "only what is committed is read");
        }
    }

    fn check(&self) {
        for (number, committed) in self.committed.iter().enumerate() {
            let partition = partition(number as u32);
            let high = self.broker.watermarks(&partition, Isolation::ReadCommitted).expect("it exists").high;
            assert_eq!(high, committed.len() as u64);
            let position = self.broker.committed("group", &[partition]).expect("positions are told");
            let position = position.first().map(|(_, offset)| *offset);
            assert_eq!(position, self.positions.get(&(number as u32)).copied());
        }
    }
}

fn fenced<T: std::fmt::Debug>(result: &Result<T>) -> bool {
    match result {
        Ok(_) => false,
        Err(error) => {
            assert_eq!(error.kind, BrokerErrorKind::Fenced, "{error}");
            true
        }
    }
}

#[test]
fn readers_see_what_the_model_says() {
    let directory = tempfile::tempdir().expect("a directory");
    let clock = Arc::new(TurnedClock::default());
    let broker = open(directory.path(), &clock);
    let topic = NewTopic { name: "out".to_owned(), partitions: PARTITIONS, replication: 1, config: BTreeMap::new() };
    broker.create_topic(&topic).expect("the topic is new");
    let none = vec![Vec::new(); PARTITIONS as usize];
    let mut world = World {
        random: Random::printed(),
        follower: follower(&broker, &none),
        clock,
        broker,
        producers: Vec::new(),
        epochs: BTreeMap::new(),
        committed: none.clone(),
        positions: BTreeMap::new(),
        followed: none,
        sent: 0,
        outcomes: BTreeMap::new(),
    };
    for _ in 0..STEPS {
        match world.random.below(100) {
            0..8 => world.open_producer(),
            8..45 => world.write(),
            45..50 => world.add_position(),
            50..80 => world.end(),
            80..98 => world.follow(),
            98 => world.reopen(directory.path()),
            _ => world.clock.sleep(Duration::from_secs(4)),
        }
        world.time_out();
        world.check();
    }
    while world.followed != world.committed {
        let before: usize = world.followed.iter().map(Vec::len).sum();
        world.follow();
        assert!(world.followed.iter().map(Vec::len).sum::<usize>() > before, "the follower stopped early");
    }
    println!("{:?}", world.outcomes);
    assert_eq!(world.outcomes.len(), 4, "every outcome occurs: {:?}", world.outcomes);
}

struct Worker {
    member: Box<dyn Member>,
    tasks: BTreeSet<u32>,
    told: Option<MemberEvent>,
    polled_at: Duration,
}

/// Members come, go, stall and answer late; no task ever has two members that may commit for it, and when all have
/// answered the tasks are shared evenly.
#[test]
fn a_task_never_has_two_owners() {
    const TASKS: u32 = 7;
    let mut random = Random::printed();
    let directory = tempfile::tempdir().expect("a directory");
    let clock = Arc::new(TurnedClock::default());
    let broker = open(directory.path(), &clock);
    for name in ["tasks", "out"] {
        let topic = NewTopic { name: name.to_owned(), partitions: TASKS, replication: 1, config: BTreeMap::new() };
        broker.create_topic(&topic).expect("the topic is new");
    }
    let mut workers: Vec<Worker> = Vec::new();
    let mut slots = 0;
    for step in 0..STEPS {
        match random.below(100) {
            0..3 if workers.len() < 5 => {
                slots += 1;
                workers.push(join(&broker, &clock, slots));
            }
            3..5 if !workers.is_empty() => drop(workers.swap_remove(random.below(workers.len()))),
            5..8 => clock.sleep(Duration::from_secs(1)),
            _ if workers.is_empty() => {}
            8..60 => poll(&clock, &mut random, &mut workers),
            _ => answer(&mut random, &mut workers),
        }
        let able: Vec<u32> = workers.iter().flat_map(|worker| able_to_commit(&broker, worker, TASKS)).collect();
        let distinct: BTreeSet<u32> = able.iter().copied().collect();
        assert_eq!(able.len(), distinct.len(), "step {step}: a task has two owners");
    }
    if workers.is_empty() {
        workers.push(join(&broker, &clock, slots + 1));
    }
    for _ in 0..100 {
        for worker in &mut workers {
            poll_one(&clock, worker);
            answer_one(worker);
        }
    }
    let shares: Vec<usize> = workers.iter().map(|worker| worker.tasks.len()).collect();
    assert_eq!(shares.iter().sum::<usize>(), TASKS as usize);
    assert!(shares.iter().max() <= shares.iter().min().map(|least| least + 1).as_ref(), "{shares:?}");
}

fn join(broker: &EmbeddedBroker, clock: &TurnedClock, slot: usize) -> Worker {
    let options = MemberOptions {
        group: "group".to_owned(),
        tasks_topic: "tasks".to_owned(),
        slot: format!("slot-{slot}"),
        session_timeout: SESSION_TIMEOUT,
    };
    let member = broker.member(&options).expect("a member joins");
    Worker { member, tasks: BTreeSet::new(), told: None, polled_at: clock.now() }
}

fn poll(clock: &TurnedClock, random: &mut Random, workers: &mut [Worker]) {
    let index = random.below(workers.len());
    poll_one(clock, &mut workers[index]);
}

fn poll_one(clock: &TurnedClock, worker: &mut Worker) {
    let was_silent = clock.now() - worker.polled_at > SESSION_TIMEOUT;
    worker.polled_at = clock.now();
    let event = worker.member.poll(ANY).expect("the membership holds");
    if was_silent && !worker.tasks.is_empty() {
        assert!(matches!(event, Some(MemberEvent::Lost(_))), "{event:?} after a silence");
    }
    if let Some(event) = event {
        if let MemberEvent::Assigned(tasks) = &event {
            worker.tasks.extend(tasks);
        }
        worker.told = Some(event);
    }
}

fn answer(random: &mut Random, workers: &mut [Worker]) {
    let index = random.below(workers.len());
    answer_one(&mut workers[index]);
}

fn answer_one(worker: &mut Worker) {
    let Some(event) = worker.told.take() else { return };
    if let MemberEvent::Revoked(tasks) | MemberEvent::Lost(tasks) = &event {
        worker.tasks.retain(|task| !tasks.contains(task));
    }
    worker.member.acknowledge(&event).expect("the answer is taken");
}

/// The tasks for which the broker takes a position from this member.
fn able_to_commit(broker: &EmbeddedBroker, worker: &Worker, tasks: u32) -> Vec<u32> {
    let mut producer = broker
        .producer(&ProducerOptions::Transactional { id: "probe".to_owned(), timeout: TRANSACTION_TIMEOUT })
        .expect("a producer opens");
    let mut is_able = |task: &u32| {
        producer.begin().expect("a transaction begins");
        let sent = producer.send_offsets(&[(partition(*task), 0)], worker.member.as_ref(), ANY);
        producer.abort(ANY).expect("it is aborted");
        sent.is_ok()
    };
    (0..tasks).filter(|task| is_able(task)).collect()
}
