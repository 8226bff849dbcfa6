//! Questions about topics, partitions and groups, and the making of topics. Off the hot path.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic as NativeTopic, TopicReplication, TopicResult};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::Offset;

use crate::broker::{BrokerError, BrokerErrorKind, Isolation, NewTopic, Result, TopicInfo, TopicPartition, Watermarks};
use crate::kafka::context::LogContext;
use crate::kafka::errors::{broker_error, code_error};
use crate::kafka::partitions::{list, list_of, partition_number};
use crate::kafka::settings::Settings;

/// Long enough for a broker that restarts to come back.
const DEADLINE: Duration = Duration::from_secs(30);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(20);

/// Kafka refuses records that are more than an hour ahead of its clock unless told otherwise. The time of a record is the
/// producer's event time, and one wrong clock upstream must not stop a task for good.
const FUTURE_MAX: &str = "message.timestamp.after.max.ms";
const ANY_TIME: &str = "9223372036854775807";

type Client = Arc<BaseConsumer<LogContext>>;

/// Clients are opened at the first question and kept.
pub(super) struct Admin {
    settings: Settings,
    committed: Mutex<Option<Client>>,
    uncommitted: Mutex<Option<Client>>,
}

impl Admin {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, committed: Mutex::new(None), uncommitted: Mutex::new(None) }
    }

    pub(super) fn topics(&self) -> Result<Vec<TopicInfo>> {
        let client = self.client(Isolation::ReadCommitted)?;
        let metadata = until_deadline("list topics", || client.fetch_metadata(None, REQUEST_TIMEOUT))?;
        Ok(metadata
            .topics()
            .iter()
            .map(|topic| TopicInfo { name: topic.name().to_owned(), partitions: topic.partitions().len() as u32 })
            .collect())
    }

    /// Returns once every partition has a leader that the brokers agree on: asked sooner, they do not know the topic.
    pub(super) fn create_topic(&self, topic: &NewTopic) -> Result<()> {
        const DURING: &str = "create a topic";
        let partitions = partition_number(topic.partitions)?;
        let mut native =
            NativeTopic::new(&topic.name, partitions, TopicReplication::Fixed(i32::from(topic.replication)));
        if !topic.config.contains_key(FUTURE_MAX) {
            native = native.set(FUTURE_MAX, ANY_TIME);
        }
        for (name, value) in &topic.config {
            native = native.set(name, value);
        }
        let admin = self.admin_client()?;
        let results = block_on(admin.create_topics([&native], &admin_options()));
        only_result(DURING, results)?;
        let client = self.client(Isolation::ReadCommitted)?;
        let started_at = Instant::now();
        while !has_leaders(&client, topic) {
            if started_at.elapsed() > DEADLINE {
                let message = format!("topic `{}` exists, but its partitions have no leader yet", topic.name);
                return Err(BrokerError::new(BrokerErrorKind::Retriable, DURING, message));
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    pub(super) fn delete_topic(&self, name: &str) -> Result<()> {
        let admin = self.admin_client()?;
        only_result("delete a topic", block_on(admin.delete_topics(&[name], &admin_options())))
    }

    /// One that does not exist is as good as deleted.
    pub(super) fn delete_group(&self, group: &str) -> Result<()> {
        const DURING: &str = "delete a group";
        let admin = self.admin_client()?;
        let deleted = block_on(admin.delete_groups(&[group], &admin_options()));
        match deleted.map_err(|error| broker_error(DURING, &error))?.into_iter().next() {
            None | Some(Ok(_) | Err((_, RDKafkaErrorCode::GroupIdNotFound))) => Ok(()),
            Some(Err((name, code))) => Err(code_error(DURING, code, format_args!("group `{name}`"))),
        }
    }

    pub(super) fn delete_records(&self, partition: &TopicPartition, before: u64) -> Result<()> {
        const DURING: &str = "delete records";
        if before <= self.watermarks(partition, Isolation::ReadUncommitted)?.low {
            return Ok(());
        }
        let before = i64::try_from(before).map_err(|_| {
            BrokerError::new(BrokerErrorKind::OffsetOutOfRange, DURING, format!("no log has an offset {before}"))
        })?;
        let wanted = list_of(partition, Offset::Offset(before))?;
        let admin = self.admin_client()?;
        let deleted = block_on(admin.delete_records(&wanted, &admin_options()));
        let deleted = deleted.map_err(|error| broker_error(DURING, &error))?;
        let refused = deleted.elements().iter().find_map(|one| one.error().err());
        refused.map_or(Ok(()), |error| Err(broker_error(DURING, &error)))
    }

    /// The high watermark that librdkafka gives follows the isolation of the consumer that asks: the true end of the log
    /// needs a `read_uncommitted` one.
    pub(super) fn watermarks(&self, partition: &TopicPartition, isolation: Isolation) -> Result<Watermarks> {
        const DURING: &str = "ask for watermarks";
        let number = partition_number(partition.partition)?;
        let (low, high) =
            self.ask(isolation, DURING, |client| client.fetch_watermarks(&partition.topic, number, REQUEST_TIMEOUT))?;
        match (u64::try_from(low), u64::try_from(high)) {
            (Ok(low), Ok(high)) => Ok(Watermarks { low, high }),
            _ => Err(BrokerError::new(BrokerErrorKind::Retriable, DURING, format!("not known yet: {low} to {high}"))),
        }
    }

    pub(super) fn offset_for_time(&self, partition: &TopicPartition, timestamp_ms: i64) -> Result<Option<u64>> {
        const DURING: &str = "look for a time";
        // A time before 1970 would be read as one of librdkafka's names for positions.
        let wanted = list_of(partition, Offset::Offset(timestamp_ms.max(0)))?;
        let found = self.ask(Isolation::ReadCommitted, DURING, |client| {
            let found = client.offsets_for_times(wanted.clone(), REQUEST_TIMEOUT)?;
            found.elements().iter().try_for_each(|one| one.error()).map(|()| found.clone())
        })?;
        Ok(found.elements().iter().find_map(|one| position(one.offset())))
    }

    pub(super) fn committed(&self, group: &str, partitions: &[TopicPartition]) -> Result<Vec<(TopicPartition, u64)>> {
        const DURING: &str = "ask for committed positions";
        let client: BaseConsumer<LogContext> =
            self.settings.group(group).create_with_context(LogContext).map_err(|error| broker_error(DURING, &error))?;
        let wanted = list(partitions.iter().map(|partition| (partition, Offset::Invalid)))?;
        let found = until_deadline(DURING, || {
            let found = client.committed_offsets(wanted.clone(), REQUEST_TIMEOUT)?;
            found.elements().iter().try_for_each(|one| one.error()).map(|()| found.clone())
        })?;
        // A missing position means "not known" and never 0.
        let found = found.elements().into_iter().zip(partitions);
        Ok(found.filter_map(|(one, partition)| Some((partition.clone(), position(one.offset())?))).collect())
    }

    /// A client keeps for minutes what it once heard of a topic, also that a partition does not exist, from a broker that
    /// had just come back and did not know better. So a client that says so is replaced, and the new one is believed.
    fn ask<T>(
        &self,
        isolation: Isolation,
        during: &'static str,
        question: impl Fn(&BaseConsumer<LogContext>) -> std::result::Result<T, KafkaError>,
    ) -> Result<T> {
        let client = self.client(isolation)?;
        match until_deadline(during, || question(&client)) {
            Err(error) if error.kind == BrokerErrorKind::NotFound => {
                self.forget(isolation, &client);
                let client = self.client(isolation)?;
                until_deadline(during, || question(&client))
            }
            answer => answer,
        }
    }

    /// Unless somebody else has replaced it already.
    fn forget(&self, isolation: Isolation, client: &Client) {
        let mut slot = self.slot(isolation).lock().unwrap_or_else(PoisonError::into_inner);
        if slot.as_ref().is_some_and(|kept| Arc::ptr_eq(kept, client)) {
            *slot = None;
        }
    }

    fn slot(&self, isolation: Isolation) -> &Mutex<Option<Client>> {
        match isolation {
            Isolation::ReadCommitted => &self.committed,
            Isolation::ReadUncommitted => &self.uncommitted,
        }
    }

    fn client(&self, isolation: Isolation) -> Result<Client> {
        let slot = self.slot(isolation);
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = slot.as_ref() {
            return Ok(Arc::clone(client));
        }
        let client = self.settings.inquiry(isolation).create_with_context(LogContext);
        let client = Arc::new(client.map_err(|error| broker_error("connect", &error))?);
        *slot = Some(Arc::clone(&client));
        Ok(client)
    }

    fn admin_client(&self) -> Result<AdminClient<LogContext>> {
        let client = self.settings.inquiry(Isolation::ReadCommitted).create_with_context(LogContext);
        client.map_err(|error| broker_error("connect", &error))
    }
}

/// Calls again while the error is one that passes.
fn until_deadline<T>(during: &'static str, call: impl Fn() -> std::result::Result<T, KafkaError>) -> Result<T> {
    let started_at = Instant::now();
    loop {
        let error = match call() {
            Ok(value) => return Ok(value),
            Err(error) => broker_error(during, &error),
        };
        if error.kind != BrokerErrorKind::Retriable || started_at.elapsed() > DEADLINE {
            return Err(error);
        }
        std::thread::sleep(PAUSE);
    }
}

fn has_leaders(client: &BaseConsumer<LogContext>, topic: &NewTopic) -> bool {
    let Ok(metadata) = client.fetch_metadata(Some(&topic.name), REQUEST_TIMEOUT) else { return false };
    metadata.topics().iter().any(|found| {
        found.error().is_none()
            && found.partitions().len() == topic.partitions as usize
            && found.partitions().iter().all(|partition| partition.error().is_none() && partition.leader() >= 0)
    })
}

fn admin_options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(DEADLINE)).operation_timeout(Some(DEADLINE))
}

fn only_result(during: &'static str, results: std::result::Result<Vec<TopicResult>, KafkaError>) -> Result<()> {
    let results = results.map_err(|error| broker_error(during, &error))?;
    match results.into_iter().next() {
        Some(Ok(_)) => Ok(()),
        Some(Err((name, code))) => Err(code_error(during, code, format_args!("topic `{name}`"))),
        None => Err(code_error(during, RDKafkaErrorCode::Unknown, "no answer")),
    }
}

fn position(offset: Offset) -> Option<u64> {
    match offset {
        Offset::Offset(offset) => u64::try_from(offset).ok(),
        _ => None,
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The administration of rdkafka is asynchronous, and completed by a thread of its own: no runtime is needed to wait for
/// it, and none is disturbed.
fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}
