//! A model of what Apache Kafka does for transactional clients of either protocol, in memory and in one process, for the
//! simulation to run the production engine on.
//!
//! What is modelled, and rests on measurements on a real broker: offsets that markers and aborted records occupy, the
//! last stable offset, markers that are written partition by partition, epochs and fencing, time-outs that look like
//! fencing, ends that come late and (in the first protocol) hit a later transaction, static members and generations,
//! pending offsets, and transactions that hang or are left open on some partitions by a restart. What is not: leaders and
//! replicas, compaction and retention, sequence numbers, quotas. A member is heard of only when it polls; librdkafka also
//! has a thread for that.
//!
//! Invariant: deterministic. No threads, no time but the clock's, no order that a hash decides; every call returns at
//! once unless [`Waiting`] says otherwise.
//! Invariant: dropping a client does nothing at the broker, as if its process had been killed.

mod coordinator;
mod core;
mod faults;
mod group;
mod inspection;
mod log;
mod member;
mod offsets;
mod options;
mod producer;
mod reader;
mod refusal;
mod succession;
mod topics;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidemill_runtime::broker::{
    Broker, BrokerError, BrokerErrorKind, Decision, Isolation, LastTransaction, Member, MemberOptions, NewTopic,
    OpenTransaction, Producer, ProducerOptions, Reader, Result, Roster, TopicInfo, TopicPartition, Watermarks,
};
use tidemill_runtime::clock::Clock;

pub use coordinator::TransactionState;
pub use faults::{EndFault, Hang, HeldOutcome};
pub use inspection::{MarkerView, OpenAt, Place, TransactionView};
pub use log::{ProducerId, TransactionEnd};
pub use options::{Markers, ModelOptions, Sending, Waiting};
pub use refusal::Refusal;

use core::Core;
use member::ModelMember;
use producer::ModelProducer;
use reader::ModelReader;

/// How long an inquiry or the opening of a producer waits, if the model waits at all: what `kafka/` has.
const OPEN_DEADLINE: Duration = Duration::from_secs(60);
const INQUIRY_DEADLINE: Duration = Duration::from_secs(30);

/// What clients and the simulation share.
struct Shared {
    core: Mutex<Core>,
    clock: Arc<dyn Clock>,
    options: ModelOptions,
}

impl Shared {
    /// The broker, at the present time.
    fn lock(&self) -> MutexGuard<'_, Core> {
        // The clock may be the simulation's and have a lock of its own.
        let now = self.clock.now();
        let mut core = self.core.lock().unwrap_or_else(PoisonError::into_inner);
        core.tick(now);
        core
    }

    /// Asks once, or again until the deadline, as the options say.
    fn until<T>(
        &self,
        deadline: Duration,
        mut call: impl FnMut(&mut Core) -> std::result::Result<T, Refusal>,
    ) -> std::result::Result<T, Refusal> {
        let started_at = self.clock.now();
        loop {
            let answer = call(&mut self.lock());
            let Waiting::Sleeping(pause) = self.options.waiting else { return answer };
            let is_late = self.clock.now().saturating_sub(started_at) >= deadline;
            match &answer {
                Err(refusal) if refusal.kind() == BrokerErrorKind::Retriable && !is_late => self.clock.sleep(pause),
                _ => return answer,
            }
        }
    }
}

/// The broker, and the hand of the adversary on it.
pub struct ModelKafka {
    shared: Arc<Shared>,
}

impl ModelKafka {
    pub fn new(clock: Arc<dyn Clock>, options: ModelOptions) -> Arc<Self> {
        let core = Mutex::new(Core::new(options));
        Arc::new(Self { shared: Arc::new(Shared { core, clock, options }) })
    }
}

impl Broker for ModelKafka {
    fn member(&self, options: &MemberOptions) -> Result<Box<dyn Member>> {
        Ok(Box::new(ModelMember::join(&self.shared, options)?))
    }

    fn reader(&self, isolation: Isolation) -> Result<Box<dyn Reader>> {
        Ok(Box::new(ModelReader::new(&self.shared, isolation)))
    }

    fn producer(&self, options: &ProducerOptions) -> Result<Box<dyn Producer>> {
        Ok(Box::new(ModelProducer::open(&self.shared, options)?))
    }

    fn topics(&self) -> Result<Vec<TopicInfo>> {
        Ok(self.shared.lock().topics.list())
    }

    fn create_topic(&self, topic: &NewTopic) -> Result<()> {
        self.shared.lock().topics.create(topic).map_err(|refusal| about("create a topic", refusal, &topic.name))
    }

    fn delete_topic(&self, name: &str) -> Result<()> {
        self.shared.lock().topics.delete(name).map_err(|refusal| about("delete a topic", refusal, name))
    }

    fn delete_records(&self, partition: &TopicPartition, before: u64) -> Result<()> {
        let mut core = self.shared.lock();
        let id = core.topics.locate(partition);
        let deleted = id.and_then(|id| core.topics.log_mut(id)?.delete_before(before));
        deleted.map_err(|refusal| about("delete records", refusal, &partition.topic))
    }

    fn watermarks(&self, partition: &TopicPartition, isolation: Isolation) -> Result<Watermarks> {
        let core = self.shared.lock();
        let log = core.topics.locate(partition).and_then(|id| core.topics.log(id));
        let log = log.map_err(|refusal| about("ask for watermarks", refusal, &partition.topic))?;
        Ok(Watermarks { low: log.low(), high: log.readable_end(isolation) })
    }

    fn offset_for_time(&self, partition: &TopicPartition, timestamp_ms: i64) -> Result<Option<u64>> {
        let core = self.shared.lock();
        let log = core.topics.locate(partition).and_then(|id| core.topics.log(id));
        let log = log.map_err(|refusal| about("look for a time", refusal, &partition.topic))?;
        Ok(log.offset_for_time(timestamp_ms))
    }

    fn committed(&self, group: &str, partitions: &[TopicPartition]) -> Result<Vec<(TopicPartition, u64)>> {
        let committed = self.shared.until(INQUIRY_DEADLINE, |core| core.committed(group, partitions));
        committed.map_err(|refusal| about("ask for committed positions", refusal, group))
    }

    fn open_transactions(&self, partitions: &[TopicPartition]) -> Result<Vec<OpenTransaction>> {
        Ok(self.shared.lock().open_in(partitions))
    }

    fn last_transaction(&self, transactional_id: &str) -> Result<Option<LastTransaction>> {
        Ok(self.shared.lock().last_transaction(transactional_id))
    }

    fn abort_running(&self, transactional_id: &str) -> Result<()> {
        let aborted = self.shared.until(INQUIRY_DEADLINE, |core| core.abort_running(transactional_id));
        aborted.map_err(|refusal| about("abort a running transaction", refusal, transactional_id))
    }

    fn check_leaders(&self, transactional_id: &str, _topics: &[String]) -> Result<()> {
        let seen = self.shared.until(INQUIRY_DEADLINE, |core| core.check_sight());
        seen.map_err(|refusal| about("ask a coordinator for the leaders", refusal, transactional_id))
    }

    fn open_of_producer(&self, producer_id: i64, topics: &[String]) -> Result<Vec<OpenTransaction>> {
        let open = self.shared.until(INQUIRY_DEADLINE, |core| core.open_of_producer(producer_id, topics));
        open.map_err(|refusal| about("look for what a producer left open", refusal, &producer_id.to_string()))
    }

    fn finish_transactions(&self, transactions: &[OpenTransaction], decision: Decision) -> Result<()> {
        let finished = self.shared.until(INQUIRY_DEADLINE, |core| core.finish(transactions, decision));
        finished.map_err(|refusal| about("finish transactions", refusal, decision.name()))
    }

    fn roster(&self, group: &str, _tasks_topic: &str) -> Result<Option<Roster>> {
        Ok(self.shared.lock().groups().get(group).and_then(group::Group::roster))
    }

    fn describe(&self) -> String {
        "model of Kafka".to_owned()
    }
}

fn about(during: &'static str, refusal: Refusal, name: &str) -> BrokerError {
    BrokerError::new(refusal.kind(), during, format!("`{name}`: {refusal:?}"))
}
