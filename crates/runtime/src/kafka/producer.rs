//! Writes records through librdkafka: singly, and in transactions where [`wire::producer`](crate::kafka::wire::producer) cannot.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{DeliveryResult, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::topic_partition_list::Offset;

use crate::broker::{
    BrokerError, BrokerErrorKind, Member, Outgoing, Producer, ProducerOptions, Result, TopicPartition,
};
use crate::kafka::context::{LogContext, background_error, log};
use crate::kafka::errors::{broker_error, code_error, kind_of_code};
use crate::kafka::member::KafkaMember;
use crate::kafka::native;
use crate::kafka::partitions::{Numbering, list, partition_number};
use crate::kafka::settings::Settings;

/// Settling what a predecessor left open takes half a second, and a fresh cluster makes its transaction log first.
const OPEN_DEADLINE: Duration = Duration::from_secs(60);
/// The queue is full while brokers are away; longer than this is for the worker to know.
const QUEUE_FULL_DEADLINE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(1);

/// What the acknowledgements say, written by the client's polling thread. The lock is all but uncontended: the worker
/// takes it once per flush.
#[derive(Default)]
struct Deliveries {
    /// The offset after the last acknowledged record of each partition, by the number [`Numbering`] gave it.
    next_offsets: Vec<u64>,
    /// The first failure since the last flush.
    failure: Option<Code>,
}

#[derive(Default)]
struct DeliveryContext {
    deliveries: Mutex<Deliveries>,
    /// A connection broke, or an answer did not come, since the worker looked last.
    is_doubtful: AtomicBool,
}

impl DeliveryContext {
    fn lock(&self) -> MutexGuard<'_, Deliveries> {
        self.deliveries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for DeliveryContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level as i32, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.is_doubtful.store(true, Ordering::Relaxed);
        background_error(&error, reason);
    }
}

impl ProducerContext for DeliveryContext {
    /// The partition's number.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let mut deliveries = self.lock();
        match result {
            Ok(message) => {
                let next_offset = u64::try_from(message.offset()).map_or(0, |offset| offset + 1);
                if deliveries.next_offsets.len() <= number {
                    deliveries.next_offsets.resize(number + 1, 0);
                }
                let known = &mut deliveries.next_offsets[number];
                *known = next_offset.max(*known);
            }
            Err((error, _)) => {
                let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
                deliveries.failure.get_or_insert(code);
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Transactional,
    Idempotent,
}

pub(super) struct KafkaProducer {
    native: ThreadedProducer<DeliveryContext>,
    mode: Mode,
    settings: Settings,
    numbering: Numbering,
    /// Metadata of groups without members, which never changes.
    groups: HashMap<String, ConsumerGroupMetadata>,
}

impl KafkaProducer {
    pub(super) fn open(settings: &Settings, options: &ProducerOptions) -> Result<Self> {
        const DURING: &str = "open a producer";
        let native: ThreadedProducer<DeliveryContext> = settings
            .producer(options)
            .create_with_context(DeliveryContext::default())
            .map_err(|error| broker_error(DURING, &error))?;
        let mode = match options {
            ProducerOptions::Transactional { .. } => Mode::Transactional,
            ProducerOptions::Idempotent => Mode::Idempotent,
        };
        if mode == Mode::Transactional {
            until(OPEN_DEADLINE, DURING, |rest| native.init_transactions(rest))?;
        }
        let (numbering, groups) = (Numbering::default(), HashMap::new());
        Ok(Self { native, mode, settings: settings.clone(), numbering, groups })
    }

    fn send_offsets_of(
        &self,
        offsets: &[(TopicPartition, u64)],
        metadata: &ConsumerGroupMetadata,
        deadline: Duration,
    ) -> Result<()> {
        const DURING: &str = "send offsets";
        let offsets = list(
            offsets
                .iter()
                .map(|(partition, next)| (partition, Offset::Offset(i64::try_from(*next).unwrap_or(i64::MAX)))),
        )?;
        until(deadline, DURING, |rest| self.native.send_offsets_to_transaction(&offsets, metadata, rest))
    }

    /// The code of one call does not tell that the client as a whole is beyond use.
    fn fatal_error(&self, during: &'static str) -> Option<BrokerError> {
        let (code, reason) = self.native.client().fatal_error()?;
        let kind = match kind_of_code(code) {
            kind @ (BrokerErrorKind::Fenced | BrokerErrorKind::Misconfigured) => kind,
            _ => BrokerErrorKind::Fatal,
        };
        Some(BrokerError::new(kind, during, format!("{code}: {reason}")))
    }

    /// A record that was not written is lost to this transaction, or to this producer: another flush does not bring it
    /// back.
    fn delivery_error(&self, during: &'static str, code: Code) -> BrokerError {
        if let Some(error) = self.fatal_error(during) {
            return error;
        }
        let error = code_error(during, code, "a record was not written");
        let kind = match (error.kind, self.mode) {
            (
                BrokerErrorKind::Fenced
                | BrokerErrorKind::Misconfigured
                | BrokerErrorKind::RecordRefused
                | BrokerErrorKind::NotFound,
                _,
            ) => error.kind,
            (_, Mode::Transactional) => BrokerErrorKind::Abortable,
            (_, Mode::Idempotent) => BrokerErrorKind::Fatal,
        };
        BrokerError { kind, ..error }
    }
}

impl Producer for KafkaProducer {
    fn send(&mut self, record: &Outgoing<'_>) -> Result<()> {
        const DURING: &str = "send";
        let partition = partition_number(record.partition)?;
        let number = self.numbering.number_or_add(record.topic, record.partition);
        let mut native = BaseRecord::<[u8], [u8], usize>::with_opaque_to(record.topic, number)
            .partition(partition)
            // librdkafka takes 0 for "now", and a record must be a function of its input alone.
            .timestamp(if record.timestamp_ms == 0 { 1 } else { record.timestamp_ms });
        native.key = record.key;
        native.payload = record.value;
        native.headers = owned_headers(record.headers);
        let started_at = Instant::now();
        loop {
            let (error, refused) = match self.native.send(native) {
                Ok(()) => return Ok(()),
                Err(refused) => refused,
            };
            let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
            if code != Code::QueueFull || started_at.elapsed() > QUEUE_FULL_DEADLINE {
                let place = format_args!("{}-{}", record.topic, record.partition);
                return Err(self.fatal_error(DURING).unwrap_or_else(|| code_error(DURING, code, place)));
            }
            native = refused;
            thread::sleep(PAUSE);
        }
    }

    fn flush(&mut self, deadline: Duration) -> Result<()> {
        const DURING: &str = "flush";
        let is_complete = native::flush(&self.native, deadline);
        // A flush succeeds also when records failed: only the acknowledgements tell.
        let failure = self.native.context().lock().failure.take();
        if let Some(code) = failure {
            return Err(self.delivery_error(DURING, code));
        }
        if is_complete {
            return Ok(());
        }
        let kind = match self.mode {
            Mode::Transactional => BrokerErrorKind::Abortable,
            Mode::Idempotent => BrokerErrorKind::Retriable,
        };
        Err(BrokerError::new(kind, DURING, format!("not everything was acknowledged within {deadline:?}")))
    }

    fn begin(&mut self) -> Result<()> {
        self.native.begin_transaction().map_err(|error| broker_error("begin", &error))
    }

    fn send_offsets(
        &mut self,
        offsets: &[(TopicPartition, u64)],
        member: &dyn Member,
        deadline: Duration,
    ) -> Result<()> {
        let Some(member) = member.as_any().downcast_ref::<KafkaMember>() else {
            let message = "the member belongs to another broker";
            return Err(BrokerError::new(BrokerErrorKind::Misconfigured, "send offsets", message));
        };
        self.send_offsets_of(offsets, &member.fence()?, deadline)
    }

    fn send_group_offsets(&mut self, group: &str, offsets: &[(TopicPartition, u64)], deadline: Duration) -> Result<()> {
        const DURING: &str = "send offsets";
        if !self.groups.contains_key(group) {
            let consumer: BaseConsumer<LogContext> = self
                .settings
                .group(group)
                .create_with_context(LogContext)
                .map_err(|error| broker_error(DURING, &error))?;
            let metadata = consumer.group_metadata().ok_or_else(|| {
                BrokerError::new(BrokerErrorKind::Fatal, DURING, "librdkafka has no metadata for this group")
            })?;
            self.groups.insert(group.to_owned(), metadata);
        }
        self.send_offsets_of(offsets, &self.groups[group], deadline)
    }

    fn commit(&mut self, deadline: Duration) -> Result<()> {
        until(deadline, "commit", |rest| self.native.commit_transaction(rest))
    }

    fn abort(&mut self, deadline: Duration) -> Result<()> {
        let started_at = Instant::now();
        until(deadline, "abort", |rest| self.native.abort_transaction(rest))?;
        // Records that were thrown away are reported as failures. Wait for those reports, so that the next transaction
        // does not take them for its own.
        native::flush(&self.native, deadline.saturating_sub(started_at.elapsed()));
        self.native.context().lock().failure = None;
        Ok(())
    }

    fn is_doubtful(&mut self) -> bool {
        self.native.context().is_doubtful.swap(false, Ordering::Relaxed)
    }

    fn acknowledged(&self, partition: &TopicPartition) -> Option<u64> {
        let number = self.numbering.number(&partition.topic, partition.partition)?;
        let next_offset = self.native.context().lock().next_offsets.get(number).copied()?;
        (next_offset > 0).then_some(next_offset)
    }
}

/// librdkafka goes on with a call that it reports as retriable in the background; the same call takes it up again.
fn until(
    deadline: Duration,
    during: &'static str,
    call: impl Fn(Duration) -> std::result::Result<(), KafkaError>,
) -> Result<()> {
    let started_at = Instant::now();
    loop {
        let rest = deadline.saturating_sub(started_at.elapsed());
        let error = match call(rest) {
            Ok(()) => return Ok(()),
            Err(error) => broker_error(during, &error),
        };
        if error.kind != BrokerErrorKind::Retriable || started_at.elapsed() >= deadline {
            return Err(error);
        }
        thread::sleep(PAUSE);
    }
}

fn owned_headers(headers: &[(&str, Option<&[u8]>)]) -> Option<OwnedHeaders> {
    if headers.is_empty() {
        return None;
    }
    let empty = OwnedHeaders::new_with_capacity(headers.len());
    Some(headers.iter().fold(empty, |owned, (key, value)| owned.insert(Header { key, value: *value })))
}
