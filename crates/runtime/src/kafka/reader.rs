//! Reads partitions that it is told to read, at offsets that it is told; never subscribed, never in a group.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::topic_partition_list::Offset;

use crate::broker::{BrokerError, BrokerErrorKind, Isolation, Reader, RecordBatch, Result, TopicPartition};
use crate::kafka::context::{LogContext, log};
use crate::kafka::errors::{broker_error, code_error, kind_of_code};
use crate::kafka::native::{Event, EventQueue, Record, Severity};
use crate::kafka::partitions::list_of;
use crate::kafka::settings::Settings;

/// One poll takes no more records once it has this much, however large they are.
const POLL_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A partition that is being read.
struct Cursor {
    partition: TopicPartition,
    reached_end: bool,
    next_offset: u64,
}

pub(super) struct KafkaReader {
    /// Dropped before the consumer that it belongs to.
    queue: EventQueue,
    consumer: BaseConsumer<LogContext>,
    cursors: Vec<Cursor>,
    /// Where the last record's cursor lies: records come in runs of one partition.
    last_cursor: usize,
    /// An error that came behind records of the same poll: those are handed over first.
    error: Option<BrokerError>,
}

/// What the rest of a poll makes of an event.
enum Step {
    Record,
    End,
    Nothing,
    Failed(BrokerError),
}

impl KafkaReader {
    pub(super) fn open(settings: &Settings, isolation: Isolation) -> Result<Self> {
        let consumer: BaseConsumer<LogContext> = settings
            .reader(isolation)
            .create_with_context(LogContext)
            .map_err(|error| broker_error("open a reader", &error))?;
        let queue = EventQueue::of(&consumer).ok_or_else(|| {
            BrokerError::new(BrokerErrorKind::Fatal, "open a reader", "librdkafka has no queue for this consumer")
        })?;
        Ok(Self { queue, consumer, cursors: Vec::new(), last_cursor: 0, error: None })
    }

    fn position_of(&self, partition: &TopicPartition) -> Option<usize> {
        self.cursors.iter().position(|cursor| cursor.partition == *partition)
    }

    fn remove(&mut self, index: usize) -> Result<()> {
        let cursor = self.cursors.swap_remove(index);
        let list = list_of(&cursor.partition, Offset::Invalid)?;
        self.consumer.incremental_unassign(&list).map_err(|error| broker_error("unassign", &error))
    }
}

impl Reader for KafkaReader {
    fn assign(&mut self, partition: &TopicPartition, offset: u64) -> Result<()> {
        if let Some(index) = self.position_of(partition) {
            self.remove(index)?;
        }
        let signed = i64::try_from(offset).map_err(|_| {
            BrokerError::new(BrokerErrorKind::OffsetOutOfRange, "assign", format!("no log has an offset {offset}"))
        })?;
        let list = list_of(partition, Offset::Offset(signed))?;
        self.consumer.incremental_assign(&list).map_err(|error| broker_error("assign", &error))?;
        self.cursors.push(Cursor { partition: partition.clone(), reached_end: false, next_offset: offset });
        Ok(())
    }

    fn unassign(&mut self, partition: &TopicPartition) -> Result<()> {
        self.position_of(partition).map_or(Ok(()), |index| self.remove(index))
    }

    fn poll(&mut self, batch: &mut RecordBatch, records_max: usize, timeout: Duration) -> Result<()> {
        batch.clear();
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        let deadline = Instant::now() + timeout;
        let mut wait = timeout;
        while batch.len() < records_max && batch.bytes() < POLL_BYTES_MAX {
            let Self { queue, cursors, last_cursor, .. } = self;
            let Some(step) = queue.poll(wait, |event| take(event, cursors, last_cursor, batch)) else { break };
            match step {
                Step::Record | Step::End => wait = Duration::ZERO,
                Step::Nothing if wait.is_zero() => {}
                Step::Nothing => wait = deadline.saturating_duration_since(Instant::now()),
                Step::Failed(error) if batch.is_empty() => return Err(error),
                Step::Failed(error) => {
                    self.error = Some(error);
                    break;
                }
            }
        }
        Ok(())
    }

    fn reached_end(&self, partition: &TopicPartition) -> bool {
        self.cursors.iter().any(|cursor| cursor.partition == *partition && cursor.reached_end)
    }
}

fn take(event: Event<'_>, cursors: &mut [Cursor], last_cursor: &mut usize, batch: &mut RecordBatch) -> Step {
    match event {
        Event::Record(record) => take_record(&record, cursors, last_cursor, batch),
        Event::Error { code: RDKafkaErrorCode::PartitionEOF, partition: Some((topic, number)), .. } => {
            if let Some(cursor) = find(cursors, &topic, number).and_then(|index| cursors.get_mut(index)) {
                cursor.reached_end = true;
            }
            Step::End
        }
        Event::Error { code, severity: Severity::Fatal, reason, .. } => {
            Step::Failed(BrokerError::new(BrokerErrorKind::Fatal, "poll a reader", format!("{code}: {reason}")))
        }
        // The client goes on by itself once brokers can be reached again: information, not an error.
        Event::Error { code, reason, .. } if kind_of_code(code) == BrokerErrorKind::Retriable => {
            tracing::warn!(target: "librdkafka", %code, "{reason}");
            Step::Nothing
        }
        Event::Error { code, partition, reason, .. } => {
            let place = partition.map(|(topic, number)| format!("{topic}-{number}: ")).unwrap_or_default();
            Step::Failed(code_error("poll a reader", code, format_args!("{place}{reason}")))
        }
        Event::Log { level, facility, message } => {
            log(level, &facility, &message);
            Step::Nothing
        }
        Event::Other => Step::Nothing,
    }
}

fn take_record(record: &Record<'_>, cursors: &mut [Cursor], last_cursor: &mut usize, batch: &mut RecordBatch) -> Step {
    let is_last = cursors.get(*last_cursor).is_some_and(|cursor| is_at(cursor, record.topic, record.partition));
    if !is_last {
        // librdkafka drops what is left in its queue of a partition that was unassigned.
        let Some(index) = find(cursors, record.topic, record.partition) else { return Step::Nothing };
        *last_cursor = index;
    }
    let cursor = &mut cursors[*last_cursor];
    cursor.reached_end = false;
    let TopicPartition { topic, partition } = &cursor.partition;
    let Ok(offset) = u64::try_from(record.offset) else { return Step::Nothing };
    let headers = record.headers.iter().copied();
    // The client does not say what it leaves out, so what it has lost could not be told from markers.
    let passed_over = offset.saturating_sub(cursor.next_offset);
    cursor.next_offset = offset + 1;
    batch.push(topic, *partition, offset, passed_over, record.timestamp_ms, record.key, record.value, headers);
    Step::Record
}

fn find(cursors: &[Cursor], topic: &str, partition: i32) -> Option<usize> {
    cursors.iter().position(|cursor| is_at(cursor, topic, partition))
}

fn is_at(cursor: &Cursor, topic: &str, partition: i32) -> bool {
    i64::from(cursor.partition.partition) == i64::from(partition) && *cursor.partition.topic == *topic
}
