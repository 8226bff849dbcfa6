//! A reader that loses a record, and the books that show it: with the commit that goes on behind it, and for good.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tidemill_runtime::broker::{
    Broker, Isolation, Member, MemberOptions, NewTopic, Producer, ProducerOptions, Reader, RecordBatch, Result,
    TopicInfo, TopicPartition, Watermarks,
};
use tidemill_runtime::embedded::{EmbeddedBroker, EmbeddedOptions};
use tidemill_runtime::reconciliation::{Balance, ReconciliationWatch};
use tidemill_runtime::store::disk::DiskStores;
use tidemill_runtime::supervise;
use tidemill_runtime::worker::Shared;

use crate::words::{IN, PATIENCE, TASKS, create_topics, options, read_counts, shared, write};

/// So few that they fit into one transaction.
const RECORDS: u64 = 40;
const WORD: &str = "ebb";
const LOST: u64 = 17;

struct LossyBroker {
    broker: Arc<EmbeddedBroker>,
    is_lost: Arc<AtomicBool>,
}

struct LossyReader {
    reader: Box<dyn Reader>,
    is_lost: Arc<AtomicBool>,
}

impl Reader for LossyReader {
    fn assign(&mut self, partition: &TopicPartition, offset: u64) -> Result<()> {
        self.reader.assign(partition, offset)
    }

    fn unassign(&mut self, partition: &TopicPartition) -> Result<()> {
        self.reader.unassign(partition)
    }

    fn poll(&mut self, batch: &mut RecordBatch, records_max: usize, timeout: Duration) -> Result<()> {
        let mut whole = RecordBatch::default();
        self.reader.poll(&mut whole, records_max, timeout)?;
        batch.clear();
        for (index, meta) in whole.metas().iter().enumerate() {
            if *meta.topic == *IN && meta.offset == LOST && !self.is_lost.swap(true, Ordering::Relaxed) {
                continue;
            }
            let headers = whole.headers(index);
            let view = whole.view(index, &headers);
            let (key, value) = (view.key, view.value);
            let headers = headers.iter().copied();
            batch.push(
                &meta.topic,
                meta.partition,
                meta.offset,
                meta.passed_over,
                meta.timestamp_ms,
                key,
                value,
                headers,
            );
        }
        Ok(())
    }

    fn reached_end(&self, partition: &TopicPartition) -> bool {
        self.reader.reached_end(partition)
    }
}

impl Broker for LossyBroker {
    fn member(&self, options: &MemberOptions) -> Result<Box<dyn Member>> {
        self.broker.member(options)
    }

    fn reader(&self, isolation: Isolation) -> Result<Box<dyn Reader>> {
        let reader = self.broker.reader(isolation)?;
        Ok(Box::new(LossyReader { reader, is_lost: Arc::clone(&self.is_lost) }))
    }

    fn producer(&self, options: &ProducerOptions) -> Result<Box<dyn Producer>> {
        self.broker.producer(options)
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
        "a broker that loses a record".to_owned()
    }
}

fn alarm(shared: &Shared, partition: u32) -> i64 {
    shared.telemetry.reconciliation.imbalance.with_label_values(&[IN, &partition.to_string(), "total"]).get()
}

/// What the books say of the partition that holds the word.
fn balance(shared: &Shared, broker: &Arc<EmbeddedBroker>) -> Balance {
    let mut watch = ReconciliationWatch::new(Arc::clone(&shared.topology), Arc::clone(broker) as Arc<dyn Broker>);
    watch.look().expect("the checkpoints can be read");
    let look = watch.look().expect("the checkpoints can be read");
    look.balances.into_iter().find(|balance| balance.topic == IN && balance.taken > 0).expect("it was read")
}

#[test]
fn a_record_that_is_lost_is_missed_with_the_commit_behind_it_and_ever_after() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let broker = EmbeddedBroker::open(&folder.path().join("broker"), EmbeddedOptions::default()).expect("a new broker");
    create_topics(broker.as_ref(), folder.path());
    let lossy = LossyBroker { broker: Arc::clone(&broker), is_lost: Arc::default() };
    let first = shared(folder.path(), Arc::new(lossy), Arc::new(DiskStores::default()));
    write(broker.as_ref(), RECORDS, &[WORD]);
    let running = supervise::start(&first, &options(1)).expect("a worker starts");
    let started_at = Instant::now();
    // Nothing is written any more, so no later commit could be what raises the alarm.
    while alarm(&first, 0) + alarm(&first, 1) == 0 {
        assert!(running.wait(Duration::from_millis(5)).is_none(), "the worker ended");
        assert!(started_at.elapsed() < PATIENCE, "no alarm");
    }
    let commits = first.telemetry.txn_commits.get();
    assert!(commits <= u64::from(TASKS) + 1, "{commits}: beside the claims of the tasks only that with the records");
    running.join().expect("the worker stops in good order");
    let found = balance(&first, &broker);
    assert_eq!((found.taken, found.applied, found.unaccounted), (RECORDS, RECORDS - 1, 1));
    assert_eq!(found.findings, ["1 records were read and have no outcome, the first of them from offset 17 to 17"]);

    // Another process, with nothing in its memory.
    let second = shared(folder.path(), Arc::clone(&broker) as Arc<dyn Broker>, Arc::new(DiskStores::default()));
    let running = supervise::start(&second, &options(1)).expect("a worker starts");
    write(broker.as_ref(), RECORDS, &[WORD]);
    read_counts(broker.as_ref(), 2 * RECORDS - 1, || assert!(running.wait(Duration::ZERO).is_none(), "it ended"));
    running.join().expect("the worker stops in good order");
    let found = balance(&second, &broker);
    assert_eq!((found.taken, found.applied, found.unaccounted), (2 * RECORDS, 2 * RECORDS - 1, 1));
    assert_eq!(alarm(&second, 0) + alarm(&second, 1), 0, "what is old is not raised by a commit that adds up");
}
