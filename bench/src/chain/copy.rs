//! The limit: a plain copy by the client library alone, in transactions, without a step of the job. It reads the payments
//! and writes as many records, of the same size, as the job's outputs are; there is no state and nothing is computed.
//!
//! It speaks to the client library and not to the engine's broker, so that it stays where it is whatever the engine does.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::{ClientContext, Timestamp};

use crate::chain::topics::Place;
use crate::failure::{During, Result};

/// What the job writes for a thousand payments: entries, instructions, rejections and balances, without any state.
const RECORDS_PER_THOUSAND: u64 = 4_925;
const VALUE_BYTES: usize = 92;
const DEADLINE: Duration = Duration::from_secs(30);
const POLL_WAIT: Duration = Duration::from_millis(10);
const QUEUE_FULL_WAIT: Duration = Duration::from_millis(1);

#[derive(Args)]
pub(crate) struct CopyOptions {
    #[command(flatten)]
    place: Place,
    #[arg(long, default_value_t = 2)]
    threads: u32,
    /// Longest time between two commits, in milliseconds
    #[arg(long, default_value_t = 100)]
    commit_ms: u64,
}

/// When the first record was read and the last commit was acknowledged, over all threads.
#[derive(Debug)]
struct Span {
    first_read_at: Option<Instant>,
    last_commit_at: Instant,
    payments: u64,
}

pub(crate) fn run(options: &CopyOptions) -> Result<()> {
    let broker = options.place.broker()?;
    options.place.create_copy(broker.as_ref())?;
    let span = Mutex::new(Span { first_read_at: None, last_commit_at: Instant::now(), payments: 0 });
    thread::scope(|scope| {
        let threads: Vec<_> = (0..options.threads)
            .map(|number| {
                let span = &span;
                scope.spawn(move || Copier::open(options, number)?.run(span))
            })
            .collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|_| Err("a thread panicked".into())))
    })?;
    let span = span.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let first_read_at = span.first_read_at.ok_or("there was nothing to copy")?;
    let seconds = span.last_commit_at.duration_since(first_read_at).as_secs_f64();
    let payments = span.payments;
    println!("RESULT payments={payments} seconds={seconds:.3} payments_per_s={:.0}", payments as f64 / seconds);
    Ok(())
}

/// Notes that a record was not written.
#[derive(Default)]
struct Failures {
    has_failed: AtomicBool,
}

impl ClientContext for Failures {}

impl ProducerContext for Failures {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _opaque: ()) {
        self.has_failed.fetch_or(result.is_err(), Ordering::Relaxed);
    }
}

struct Copier {
    consumer: BaseConsumer,
    producer: BaseProducer<Failures>,
    output: String,
    input: String,
    commit_interval: Duration,
    /// Offset after the last record, by partition, of those that are not copied to the end yet.
    ends: HashMap<i32, i64>,
    next_offsets: HashMap<i32, i64>,
    read: u64,
}

impl Copier {
    fn open(options: &CopyOptions, number: u32) -> Result<Self> {
        let place = &options.place;
        let consumer: BaseConsumer = consumer_config(place).create().during("open a consumer")?;
        let producer: BaseProducer<Failures> =
            producer_config(place, number).create_with_context(Failures::default()).during("open a producer")?;
        producer.init_transactions(DEADLINE).during("open the producer's first transaction")?;
        let mut ends = HashMap::new();
        let mut assignment = TopicPartitionList::new();
        for partition in
            (0..place.input.partitions as i32).filter(|partition| *partition as u32 % options.threads == number)
        {
            let (low, high) =
                consumer.fetch_watermarks(&place.input.topic, partition, DEADLINE).during("find the end")?;
            assignment.add_partition_offset(&place.input.topic, partition, Offset::Offset(low)).during("assign")?;
            if low < high {
                ends.insert(partition, high);
            }
        }
        consumer.assign(&assignment).during("assign")?;
        let (output, input) = (place.copy(), place.input.topic.clone());
        let commit_interval = Duration::from_millis(options.commit_ms);
        Ok(Self { consumer, producer, output, input, commit_interval, ends, next_offsets: HashMap::new(), read: 0 })
    }

    fn run(mut self, span: &Mutex<Span>) -> Result<()> {
        let mut opened_at: Option<Instant> = None;
        while !self.ends.is_empty() || opened_at.is_some() {
            if let Some(message) = self.consumer.poll(POLL_WAIT).transpose().during("read")? {
                let now = Instant::now();
                if opened_at.is_none() {
                    self.producer.begin_transaction().during("begin")?;
                    opened_at = Some(now);
                    let mut span = lock(span);
                    span.first_read_at.get_or_insert(now);
                }
                // The message borrows the consumer, which nothing below changes.
                let (partition, next) = (message.partition(), message.offset() + 1);
                self.read += 1;
                write(&self.producer, &self.output, &message, self.read)?;
                self.next_offsets.insert(partition, next);
                if self.ends.get(&partition).is_some_and(|end| next >= *end) {
                    self.ends.remove(&partition);
                }
            }
            let is_due = opened_at.is_some_and(|at| at.elapsed() >= self.commit_interval || self.ends.is_empty());
            if is_due {
                self.commit()?;
                opened_at = None;
            }
        }
        let mut span = lock(span);
        span.last_commit_at = span.last_commit_at.max(Instant::now());
        span.payments += self.read;
        Ok(())
    }

    /// Everything acknowledged first: offsets that are sent before cost ten times as much.
    fn commit(&mut self) -> Result<()> {
        while self.producer.in_flight_count() > 0 {
            self.producer.poll(POLL_WAIT / 10);
        }
        if self.producer.context().has_failed.load(Ordering::Relaxed) {
            return Err("a record was not written".into());
        }
        let mut offsets = TopicPartitionList::new();
        for (partition, next) in self.next_offsets.drain() {
            offsets.add_partition_offset(&self.input, partition, Offset::Offset(next)).during("name an offset")?;
        }
        let metadata = self.consumer.group_metadata().ok_or("the consumer has no group")?;
        self.producer.send_offsets_to_transaction(&offsets, &metadata, DEADLINE).during("send the offsets")?;
        self.producer.commit_transaction(DEADLINE).during("commit")
    }
}

/// Writes what belongs to one payment: the same number for every one but for a fraction that adds up.
fn write(producer: &BaseProducer<Failures>, topic: &str, message: &BorrowedMessage<'_>, number: u64) -> Result<()> {
    let count = number * RECORDS_PER_THOUSAND / 1_000 - (number - 1) * RECORDS_PER_THOUSAND / 1_000;
    let payload = message.payload().unwrap_or_default();
    let value = &payload[..VALUE_BYTES.min(payload.len())];
    let timestamp = match message.timestamp() {
        Timestamp::CreateTime(millis) | Timestamp::LogAppendTime(millis) => millis,
        Timestamp::NotAvailable => 0,
    };
    for _ in 0..count {
        let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic)
            .partition(message.partition())
            .key(message.key().unwrap_or_default())
            .payload(value)
            .timestamp(timestamp);
        while let Err((error, refused)) = producer.send(record) {
            if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                return Err(error).during("write");
            }
            producer.poll(QUEUE_FULL_WAIT);
            record = refused;
        }
    }
    Ok(())
}

/// The settings of the engine's own clients, and reports of failures only.
fn base_config(place: &Place) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &place.bootstrap)
        .set("socket.nagle.disable", "true")
        .set("fetch.queue.backoff.ms", "2")
        .set("fetch.wait.max.ms", "10")
        .set("compression.type", "lz4")
        .set("linger.ms", "5")
        .set("batch.size", "1000000")
        .set("batch.num.messages", "10000")
        .set("queue.buffering.max.messages", "1000000")
        .set("queue.buffering.max.kbytes", "262144")
        .set("retry.backoff.ms", "5");
    config
}

fn consumer_config(place: &Place) -> ClientConfig {
    let mut config = base_config(place);
    config
        .set("group.id", format!("{}.copy", place.prefix))
        .set("isolation.level", "read_committed")
        .set("auto.offset.reset", "error")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false");
    config
}

fn producer_config(place: &Place, number: u32) -> ClientConfig {
    let mut config = base_config(place);
    config
        .set("transactional.id", format!("{}.copy-{number}", place.prefix))
        .set("transaction.timeout.ms", "10000")
        .set("delivery.report.only.error", "true");
    config
}

fn lock(span: &Mutex<Span>) -> std::sync::MutexGuard<'_, Span> {
    span.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
