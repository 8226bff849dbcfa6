//! Apache Kafka behind the broker contract: the suite that every broker passes, and what only Kafka can show.
//!
//! Needs the broker of `dev/stack up`, at `TIDEMILL_BOOTSTRAP`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tidemill_runtime::broker::{
    Broker, BrokerErrorKind, Isolation, Member, MemberEvent, MemberOptions, NewTopic, Outgoing, Producer,
    ProducerOptions, Reader, RecordBatch, TopicPartition, Watermarks,
};
use tidemill_runtime::conformance::broker::{BrokerUnderTest, run};
use tidemill_runtime::kafka::KafkaBroker;

const DEADLINE: Duration = Duration::from_secs(30);
const TICK: Duration = Duration::from_millis(50);
/// The shortest that Kafka allows by default.
const SESSION_TIMEOUT: Duration = Duration::from_secs(6);

fn bootstrap() -> String {
    std::env::var("TIDEMILL_BOOTSTRAP").expect("TIDEMILL_BOOTSTRAP is set by `dev/stack up`")
}

fn broker() -> Arc<KafkaBroker> {
    KafkaBroker::connect(&bootstrap(), &BTreeMap::new()).expect("no property can be wrong")
}

/// A name that no other test and no earlier run uses.
fn unique(name: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_nanos();
    format!("{name}-{nanos}-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

fn topic(broker: &KafkaBroker, name: &str, config: &[(&str, &str)]) -> TopicPartition {
    let name = unique(name);
    // Records of these tests are old by their own time, and retention would remove them while the tests run.
    let config = config.iter().chain(&[("retention.ms", "-1")]);
    let config = config.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    broker.create_topic(&NewTopic { name: name.clone(), partitions: 1, replication: 1, config }).expect("a new topic");
    TopicPartition::new(name, 0)
}

fn transactional(broker: &KafkaBroker) -> Box<dyn Producer> {
    let options = ProducerOptions::Transactional { id: unique("id"), timeout: Duration::from_secs(10) };
    broker.producer(&options).expect("a transactional producer opens")
}

fn record<'a>(partition: &'a TopicPartition, value: &'a [u8]) -> Outgoing<'a> {
    let TopicPartition { topic, partition } = partition;
    let value = Some(value);
    Outgoing { topic, partition: *partition, timestamp_ms: 1_700_000_000_000, key: Some(b"key"), value, headers: &[] }
}

fn begin_with(producer: &mut dyn Producer, partition: &TopicPartition, count: usize) {
    producer.begin().expect("a transaction begins");
    for _ in 0..count {
        producer.send(&record(partition, b"value")).expect("the record is taken");
    }
    producer.flush(DEADLINE).expect("the records are acknowledged");
}

fn join(broker: &KafkaBroker, group: &str, tasks: &TopicPartition, slot: &str) -> Box<dyn Member> {
    let options = MemberOptions {
        group: group.to_owned(),
        tasks_topic: tasks.topic.to_string(),
        slot: slot.to_owned(),
        session_timeout: SESSION_TIMEOUT,
    };
    broker.member(&options).expect("a member joins")
}

fn next_event(member: &mut dyn Member) -> MemberEvent {
    let started_at = Instant::now();
    loop {
        if let Some(event) = member.poll(TICK).expect("the membership holds") {
            return event;
        }
        assert!(started_at.elapsed() < DEADLINE, "the group said nothing");
    }
}

/// Polls until the reader says that it reached the end, and counts.
fn count_to_end(reader: &mut dyn Reader, partition: &TopicPartition) -> usize {
    let (started_at, mut count, mut batch) = (Instant::now(), 0, RecordBatch::default());
    while !reader.reached_end(partition) {
        reader.poll(&mut batch, 100, TICK).expect("the poll works");
        count += batch.len();
        assert!(started_at.elapsed() < DEADLINE, "the end of the partition was not reached");
    }
    count
}

fn check(connect: fn() -> Arc<KafkaBroker>) {
    let prefix = unique("conformance");
    run(&|| BrokerUnderTest {
        broker: connect(),
        prefix: prefix.clone(),
        session_timeout: SESSION_TIMEOUT,
        deadline: DEADLINE,
    });
}

#[test]
fn conforms() {
    check(broker);
}

/// What a cluster gets that asks for more than plain text.
#[test]
fn conforms_through_librdkafka() {
    check(|| KafkaBroker::connect_through_librdkafka(&bootstrap()).expect("no property can be wrong"));
}

/// Both topics have a partition 0, and librdkafka's end of partition has to be told apart by topic.
#[test]
fn the_end_is_known_by_topic_and_behind_aborted_records_and_markers() {
    let broker = broker();
    let [full, empty] = ["full", "empty"].map(|name| topic(&broker, name, &[]));
    let mut producer = transactional(&broker);
    for end in [Producer::commit, Producer::abort] {
        begin_with(producer.as_mut(), &full, 3);
        end(producer.as_mut(), DEADLINE).expect("the transaction ends");
    }
    let mut reader = broker.reader(Isolation::ReadCommitted).expect("a reader opens");
    reader.assign(&empty, 0).expect("the partition is assigned");
    assert_eq!(count_to_end(reader.as_mut(), &empty), 0);
    for _ in 0..2 {
        reader.assign(&full, 0).expect("the partition is assigned");
        assert!(!reader.reached_end(&full), "neither the other topic's end nor an earlier one counts");
        assert_eq!(count_to_end(reader.as_mut(), &full), 3);
    }
    // Three records, a marker, three aborted records, a marker.
    let ends = Watermarks { low: 0, high: 8 };
    assert_eq!(broker.watermarks(&full, Isolation::ReadCommitted).expect("the topic exists"), ends);
}

#[test]
fn the_true_end_of_the_log_lies_behind_an_open_transaction() {
    let broker = broker();
    let log = topic(&broker, "log", &[]);
    let ends = || {
        [Isolation::ReadCommitted, Isolation::ReadUncommitted]
            .map(|isolation| broker.watermarks(&log, isolation).expect("the topic exists").high)
    };
    let mut producer = transactional(&broker);
    begin_with(producer.as_mut(), &log, 5);
    assert_eq!(producer.acknowledged(&log), Some(5));
    assert_eq!(ends(), [0, 5]);
    let mut reader = broker.reader(Isolation::ReadUncommitted).expect("a reader opens");
    reader.assign(&log, 0).expect("the partition is assigned");
    assert_eq!(count_to_end(reader.as_mut(), &log), 5);
    producer.commit(DEADLINE).expect("the transaction commits");
    let started_at = Instant::now();
    while ends() != [6, 6] {
        assert!(started_at.elapsed() < DEADLINE, "the marker was not written");
    }
}

#[test]
fn a_record_that_the_topic_does_not_take_is_refused_alone() {
    let broker = broker();
    let small = topic(&broker, "small", &[("max.message.bytes", "1000")]);
    let mut producer = broker.producer(&ProducerOptions::Idempotent).expect("a producer opens");
    let incompressible: Vec<u8> = (0..5_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    producer.send(&record(&small, &incompressible)).expect("the client takes it");
    let error = producer.flush(DEADLINE).expect_err("the broker does not");
    assert_eq!(error.kind, BrokerErrorKind::RecordRefused, "{error}");
    producer.send(&record(&small, b"fits")).expect("the client takes it");
    producer.flush(DEADLINE).expect("the broker too");
}

#[test]
fn a_member_that_owns_no_task_cannot_move_positions() {
    let broker = broker();
    let [tasks, input] = ["tasks", "input"].map(|name| topic(&broker, name, &[]));
    let (group, position) = (unique("unit"), [(input.clone(), 7)]);
    let mut owner = join(&broker, &group, &tasks, "slot-0");
    let event = next_event(owner.as_mut());
    assert_eq!(event, MemberEvent::Assigned(vec![0]));
    owner.acknowledge(&event).expect("the assignment is acknowledged");
    let newcomer = join(&broker, &group, &tasks, "slot-1");

    let mut producer = transactional(&broker);
    producer.begin().expect("a transaction begins");
    let error = producer.send_offsets(&position, newcomer.as_ref(), DEADLINE).expect_err("it has not joined");
    assert_eq!(error.kind, BrokerErrorKind::Abortable, "{error}");
    producer.abort(DEADLINE).expect("the transaction is aborted");

    producer.begin().expect("a transaction begins");
    producer.send_offsets(&position, owner.as_ref(), DEADLINE).expect("the owner may");
    producer.commit(DEADLINE).expect("the transaction commits");
    assert_eq!(broker.committed(&group, &[input]).expect("the group has positions"), position);
}

/// rdkafka's own flush has a floor of 100 ms, and so has an order of the calls that meets the end of the transaction before.
#[test]
fn a_commit_costs_milliseconds() {
    let broker = broker();
    let log = topic(&broker, "log", &[]);
    let mut producer = transactional(&broker);
    let fastest = (0..20)
        .map(|_| {
            let started_at = Instant::now();
            begin_with(producer.as_mut(), &log, 10);
            producer.send_group_offsets("quick", &[(log.clone(), 1)], DEADLINE).expect("positions are taken");
            producer.commit(DEADLINE).expect("the transaction commits");
            started_at.elapsed()
        })
        .min();
    assert!(fastest < Some(Duration::from_millis(80)), "the fastest of 20 transactions took {fastest:?}");
}

#[test]
fn brokers_that_cannot_be_reached_are_not_an_error_of_reading() {
    let nobody = KafkaBroker::connect("127.0.0.1:1", &BTreeMap::new()).expect("connecting talks to nobody");
    let mut reader = nobody.reader(Isolation::ReadCommitted).expect("a reader opens");
    reader.assign(&TopicPartition::new("topic", 0), 0).expect("the partition is assigned");
    let mut batch = RecordBatch::default();
    reader.poll(&mut batch, 10, Duration::from_secs(2)).expect("the client goes on trying by itself");
    assert!(batch.is_empty());
}
