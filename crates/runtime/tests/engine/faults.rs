//! A broker that fails at every step of a transaction, and the worker that must not show it: every record is counted
//! exactly once and in order, whatever went wrong on the way.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tidemill_runtime::broker::{
    Broker, BrokerError, BrokerErrorKind, Isolation, Member, MemberOptions, NewTopic, Outgoing, Producer,
    ProducerOptions, Reader, Result, TopicInfo, TopicPartition, Watermarks,
};
use tidemill_runtime::clock::Clock;
use tidemill_runtime::conformance::Random;
use tidemill_runtime::embedded::{EmbeddedBroker, EmbeddedOptions};
use tidemill_runtime::reconciliation::ReconciliationWatch;
use tidemill_runtime::status;
use tidemill_runtime::store::disk::DiskStores;
use tidemill_runtime::supervise;
use tidemill_runtime::worker::Shared;

use crate::words::{IN, create_topics, options, read_counts, shared, write_words};

const RECORDS: u64 = 2_000;

/// When the producers of a [`FaultyBroker`] fail. Every call draws a number, so the same seed gives the same faults to a
/// single worker.
struct Faults {
    random: Mutex<Random>,
    injected: AtomicU64,
    is_away: AtomicBool,
}

impl Faults {
    fn printed() -> Arc<Self> {
        let random = Mutex::new(Random::printed());
        Arc::new(Self { random, injected: AtomicU64::new(0), is_away: AtomicBool::new(false) })
    }
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
        if self.is_away.load(Ordering::Relaxed) {
            self.injected.fetch_add(1, Ordering::Relaxed);
            return Err(BrokerError::new(BrokerErrorKind::Abortable, during, "the connection was closed by the test"));
        }
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

    fn delete_records(&self, partition: &TopicPartition, before: u64) -> Result<()> {
        self.broker.delete_records(partition, before)
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
    create_topics(broker.as_ref(), folder.path());
    let faults = Faults::printed();
    let faulty = FaultyBroker { broker: Arc::clone(&broker), faults: Arc::clone(&faults) };
    let shared = shared(folder.path(), Arc::new(faulty), Arc::new(DiskStores::default()));
    let expected = write_words(broker.as_ref(), RECORDS);
    let options = options(2);
    let running = supervise::start(&shared, &options).expect("workers start");
    let seen = read_counts(broker.as_ref(), RECORDS, || {
        if let Some(ended) = running.wait(Duration::ZERO) {
            panic!("a worker ended: {ended:?}");
        }
    });
    running.join().expect("workers stop in good order");
    assert_eq!(seen, expected, "each word is counted from 1 without a gap and without a repeat");
    assert!(faults.injected.load(Ordering::Relaxed) > 10, "too few faults to prove anything");
    let topology = &shared.topology;
    let figures = status::figures(broker.as_ref(), topology, &topology.units[0]).expect("checkpoints can be read");
    assert_eq!(figures[&format!("count/{IN}")]["applied"], RECORDS);
    let mut watch = ReconciliationWatch::new(Arc::clone(topology), Arc::clone(&broker) as Arc<dyn Broker>);
    let look = watch.look().expect("checkpoints can be read");
    assert_eq!(look.findings().collect::<Vec<_>>(), [""; 0]);
}

/// Time passes this many times faster than it does.
const HASTE: u32 = 50;

struct HastyClock(Instant);

impl Clock for HastyClock {
    fn now(&self) -> Duration {
        self.0.elapsed() * HASTE
    }

    fn unix_ms(&self) -> i64 {
        1_700_000_000_000
    }

    fn sleep(&self, duration: Duration) {
        std::thread::sleep(duration / HASTE);
    }
}

/// Far more failures in a row than the 20 after which a worker gives up for failures of its own.
#[test]
fn a_worker_outlives_an_outage_and_can_be_stopped_in_one() {
    const FAILURES: u64 = 60;
    const DEADLINE: Duration = Duration::from_secs(60);
    let folder = tempfile::tempdir().expect("a folder for the test");
    let broker = EmbeddedBroker::open(&folder.path().join("broker"), EmbeddedOptions::default()).expect("a new broker");
    create_topics(broker.as_ref(), folder.path());
    let faults = Faults::printed();
    let faulty = FaultyBroker { broker: Arc::clone(&broker), faults: Arc::clone(&faults) };
    let shared = shared(folder.path(), Arc::new(faulty), Arc::new(DiskStores::default()));
    let shared = Arc::new(Shared { clock: Arc::new(HastyClock(Instant::now())), ..shared.as_ref().clone() });
    let expected = write_words(broker.as_ref(), RECORDS);
    faults.is_away.store(true, Ordering::Relaxed);
    let running = supervise::start(&shared, &options(1)).expect("a worker starts");
    let wait_for_failures = |count| {
        let (started_at, before) = (Instant::now(), faults.injected.load(Ordering::Relaxed));
        while faults.injected.load(Ordering::Relaxed) < before + count {
            assert!(running.wait(Duration::from_millis(10)).is_none(), "the worker ended for a broker that is away");
            assert!(started_at.elapsed() < DEADLINE, "the worker does not try again");
        }
    };
    wait_for_failures(FAILURES);
    faults.is_away.store(false, Ordering::Relaxed);
    let seen = read_counts(broker.as_ref(), RECORDS, || {
        assert!(running.wait(Duration::ZERO).is_none(), "the worker ended");
    });
    assert_eq!(seen, expected, "each word is counted from 1 without a gap and without a repeat");

    faults.is_away.store(true, Ordering::Relaxed);
    write_words(broker.as_ref(), 10);
    wait_for_failures(3);
    let started_at = Instant::now();
    running.join().expect("the worker stops");
    assert!(started_at.elapsed() < Duration::from_secs(10), "it took {:?} to stop", started_at.elapsed());
}
