//! The suite for brokers. It asserts what Kafka and the embedded broker both guarantee: offsets of transactional records
//! rise but may have gaps, a commit may take a moment to be seen, and an error of a send may come with the flush.

mod groups;
mod records;
mod topics;
mod transactions;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::broker::{
    Broker, BrokerErrorKind, Isolation, MemberOptions, NewTopic, Outgoing, Producer, ProducerOptions, Reader,
    RecordBatch, Result, TopicPartition,
};
use crate::conformance::{Check, checks, eventually, run_checks};

const POLL: Duration = Duration::from_millis(20);

/// A broker to be checked.
pub struct BrokerUnderTest {
    pub broker: Arc<dyn Broker>,
    /// Begins every name of a topic, group or transactional id. Must be new in every run against a broker that keeps them.
    pub prefix: String,
    /// Of the members that checks open; the shortest that the broker allows makes the suite fast.
    pub session_timeout: Duration,
    /// How long anything may take that is not a time-out.
    pub deadline: Duration,
}

/// Runs the whole suite; `open` is called once per check.
///
/// # Panics
/// If a check failed, naming all that did.
pub fn run(open: &dyn Fn() -> BrokerUnderTest) {
    run_checks(&suites(), &|name| Environment { under_test: open(), check: name });
}

fn suites() -> [&'static [Check<Environment>]; 4] {
    [
        checks!(topics: creates_topics_of_any_width, refuses_a_topic_that_exists, a_topic_created_anew_is_empty,
            names_what_does_not_exist),
        checks!(records: keeps_order_and_leaves_no_gap, keeps_every_part_of_a_record, carries_large_records,
            refuses_a_record_that_is_too_large, reads_from_the_middle_of_a_batch, resumes_where_it_stopped,
            assigns_and_unassigns, waits_for_records_that_come_later, refuses_a_position_past_the_end,
            finds_offsets_by_time, deletes_what_is_before_an_offset, four_producers_on_one_partition),
        checks!(transactions: a_commit_is_visible, an_abort_is_not, an_open_transaction_is_not,
            interleaved_producers_do_not_mix, aborts_and_commits_alternate, every_offset_is_accounted_for,
            a_commit_spans_partitions,
            offsets_move_with_a_commit, offsets_stay_with_an_abort, an_unknown_group_has_no_positions,
            a_zombie_cannot_commit, a_zombie_cannot_send, opening_aborts_what_a_predecessor_left,
            a_transaction_that_times_out_is_gone, what_holds_readers_back_is_known),
        checks!(groups: the_first_member_gets_every_task, tasks_move_only_after_the_revocation_is_acknowledged,
            tasks_of_a_member_that_leaves_come_back,
            tasks_of_a_member_that_leaves_for_good_come_back, a_slow_leaver_does_not_throw_its_successor_out,
            a_silent_member_loses_its_tasks, a_slot_taken_again_fences,
            a_removed_member_cannot_commit_offsets, a_member_commits_offsets, members_beyond_the_tasks_stay_idle),
    ]
}

/// What one check works with: names of its own on the broker.
pub struct Environment {
    under_test: BrokerUnderTest,
    check: &'static str,
}

/// A record as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    offset: u64,
    timestamp_ms: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Environment {
    fn broker(&self) -> &dyn Broker {
        self.under_test.broker.as_ref()
    }

    fn deadline(&self) -> Duration {
        self.under_test.deadline
    }

    fn name(&self, name: &str) -> String {
        format!("{}.{}.{name}", self.under_test.prefix, self.check)
    }

    /// Creates a topic and waits until it is known.
    fn topic(&self, name: &str, partitions: u32) -> String {
        self.topic_with(name, partitions, &[])
    }

    fn topic_with(&self, name: &str, partitions: u32, config: &[(&str, &str)]) -> String {
        let name = self.name(name);
        // The records of the suite are dated long ago, and retention goes by their date.
        let config = config.iter().chain(&[("retention.ms", "-1")]);
        let config = config.map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let topic = NewTopic { name: name.clone(), partitions, replication: 1, config };
        self.broker().create_topic(&topic).expect("the topic is new");
        self.await_topic(&name, Some(partitions));
        name
    }

    fn await_topic(&self, name: &str, partitions: Option<u32>) {
        eventually(&format!("topic {name} has {partitions:?} partitions"), self.deadline(), || {
            let topics = self.broker().topics().expect("topics are listed");
            topics.iter().find(|topic| topic.name == name).map(|topic| topic.partitions) == partitions
        });
    }

    fn transactional(&self, id: &str) -> Box<dyn Producer> {
        self.open_transactional(id, Duration::from_secs(30)).expect("a transactional producer opens")
    }

    fn open_transactional(&self, id: &str, timeout: Duration) -> Result<Box<dyn Producer>> {
        self.broker().producer(&ProducerOptions::Transactional { id: self.name(id), timeout })
    }

    fn idempotent(&self) -> Box<dyn Producer> {
        self.broker().producer(&ProducerOptions::Idempotent).expect("an idempotent producer opens")
    }

    fn member_options(&self, tasks_topic: &str, slot: &str) -> MemberOptions {
        MemberOptions {
            group: self.name("group"),
            tasks_topic: tasks_topic.to_owned(),
            slot: self.name(slot),
            session_timeout: self.under_test.session_timeout,
        }
    }

    /// Writes values without a transaction.
    fn write(&self, partition: &TopicPartition, values: &[&str]) {
        let mut producer = self.idempotent();
        for value in values {
            send(producer.as_mut(), partition, value).expect("the record is taken");
        }
        producer.flush(self.deadline()).expect("the records are acknowledged");
    }

    fn reader(&self, partition: &TopicPartition, offset: u64) -> Box<dyn Reader> {
        let mut reader = self.broker().reader(Isolation::ReadCommitted).expect("a reader opens");
        reader.assign(partition, offset).expect("the partition is assigned");
        reader
    }

    /// Polls until there are `count` records, and asserts that no poll returns more than `records_max`.
    fn read(&self, reader: &mut dyn Reader, count: usize, records_max: usize) -> Vec<Seen> {
        let mut seen = Vec::new();
        let started_at = Instant::now();
        while seen.len() < count {
            let polled = poll(reader, records_max);
            assert!(polled.len() <= records_max, "{} records from a poll for {records_max}", polled.len());
            seen.extend(polled);
            assert!(started_at.elapsed() < self.deadline(), "{} of {count} records arrived", seen.len());
        }
        seen
    }

    /// Everything that can be read now, in one partition.
    fn readable(&self, partition: &TopicPartition) -> Vec<String> {
        let mut reader = self.reader(partition, 0);
        let mut seen = Vec::new();
        eventually("the reader reaches the end", self.deadline(), || {
            let polled = poll(reader.as_mut(), 10_000);
            seen.extend(polled.iter().map(value_text));
            polled.is_empty() && reader.reached_end(partition)
        });
        seen
    }

    /// Everything in one partition in which no transaction is open: a last record marks the end, so that a commit that
    /// takes a moment is waited for.
    fn settled(&self, partition: &TopicPartition) -> Vec<String> {
        const END: &str = "the end";
        let mut producer = self.idempotent();
        send(producer.as_mut(), partition, END).expect("the record is taken");
        producer.flush(self.deadline()).expect("the record is acknowledged");
        // By its offset, because an earlier call may have left a record like it.
        let end = producer.acknowledged(partition);
        let mut reader = self.reader(partition, 0);
        let mut seen: Vec<Seen> = Vec::new();
        eventually("the last record arrives", self.deadline(), || {
            seen.extend(poll(reader.as_mut(), 10_000));
            seen.last().is_some_and(|last| Some(last.offset + 1) == end)
        });
        assert!(seen.is_sorted_by(|one, next| one.offset < next.offset), "offsets rise");
        seen.iter().map(value_text).filter(|value| value != END).collect()
    }

    fn committed(&self, partition: &TopicPartition) -> Option<u64> {
        let partitions = [partition.clone()];
        let committed = self.broker().committed(&self.name("group"), &partitions).expect("positions are told");
        committed.first().map(|(_, offset)| *offset)
    }
}

fn send(producer: &mut dyn Producer, partition: &TopicPartition, value: &str) -> Result<()> {
    producer.send(&Outgoing {
        topic: &partition.topic,
        partition: partition.partition,
        timestamp_ms: 1_767_225_600_000,
        key: Some(b"key"),
        value: Some(value.as_bytes()),
        headers: &[],
    })
}

/// Begins a transaction and sends values in it.
fn begin_with(producer: &mut dyn Producer, partition: &TopicPartition, values: &[&str], deadline: Duration) {
    producer.begin().expect("a transaction begins");
    for value in values {
        send(producer, partition, value).expect("the record is taken");
    }
    producer.flush(deadline).expect("the records are acknowledged");
}

fn poll(reader: &mut dyn Reader, records_max: usize) -> Vec<Seen> {
    let mut batch = RecordBatch::default();
    reader.poll(&mut batch, records_max, POLL).expect("the poll works");
    let seen = |index: usize| {
        let headers = batch.headers(index);
        let view = batch.view(index, &headers);
        Seen {
            offset: view.origin.offset,
            timestamp_ms: view.event_time.millis(),
            key: view.key.map(<[u8]>::to_vec),
            value: view.value.map(<[u8]>::to_vec),
            headers: headers.iter().map(|(name, value)| (name.to_string(), value.map(<[u8]>::to_vec))).collect(),
        }
    };
    (0..batch.len()).map(seen).collect()
}

fn value_text(seen: &Seen) -> String {
    String::from_utf8_lossy(seen.value.as_deref().unwrap_or_default()).into_owned()
}

fn kind<T>(result: Result<T>) -> Option<BrokerErrorKind> {
    result.err().map(|error| error.kind)
}
