//! The way from a process to its broker: every call takes time, may get lost, and may be the last that the process makes.

use std::any::Any;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidemill_runtime::broker::{
    Broker, BrokerError, BrokerErrorKind, Decision, Isolation, LastTransaction, Member, MemberEvent, MemberOptions,
    NewTopic, OpenTransaction, Producer, ProducerOptions, Reader, RecordBatch, Result, Roster, TopicInfo,
    TopicPartition, Watermarks,
};

use crate::faults::Fault;
use crate::process::Process;
use crate::producer::SimProducer;

const LATENCY_MAX: Duration = Duration::from_millis(16);
pub(crate) const SLOW_MAX: Duration = Duration::from_secs(5);
/// Calls that are made many times a second are struck so many times more rarely.
const POLL: u64 = 60;
pub(crate) const CALL: u64 = 1;

/// What processes that were killed have left behind: nobody closes it in good order, and nobody may use it again.
#[derive(Default)]
pub(crate) struct Graveyard {
    producers: Mutex<Vec<Box<dyn Producer>>>,
    members: Mutex<Vec<Box<dyn Member>>>,
}

impl Graveyard {
    pub(crate) fn bury_producer(&self, producer: Box<dyn Producer>) {
        self.producers.lock().unwrap_or_else(PoisonError::into_inner).push(producer);
    }

    fn bury_member(&self, member: Box<dyn Member>) {
        self.members.lock().unwrap_or_else(PoisonError::into_inner).push(member);
    }
}

/// What processes want deleted. Carried out when the observer has read it.
#[derive(Default)]
pub(crate) struct Deletions(Mutex<Vec<(TopicPartition, u64)>>);

impl Deletions {
    fn ask(&self, partition: &TopicPartition, before: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((partition.clone(), before));
    }

    /// To be called when the observer has read what there is.
    pub(crate) fn carry_out(&self, broker: &dyn Broker) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|(partition, before)| {
            let readable = broker.watermarks(partition, Isolation::ReadCommitted).expect("watermarks").high;
            if readable >= *before {
                broker.delete_records(partition, *before).expect("records can be deleted");
            }
            readable < *before
        });
    }
}

/// What becomes of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Done,
    RequestLost,
    AnswerLost,
}

pub(crate) fn lost(call: &'static str, kind: BrokerErrorKind) -> BrokerError {
    BrokerError::new(kind, call, "no answer in time")
}

impl Process {
    /// Makes a call over the network.
    pub(crate) fn call<T>(&self, call: &'static str, rarity: u64, act: impl FnOnce() -> Result<T>) -> Result<T> {
        let sim = &self.sim;
        let fate = if sim.strikes(Fault::RequestLost, rarity) {
            Fate::RequestLost
        } else if sim.strikes(Fault::AnswerLost, rarity) {
            Fate::AnswerLost
        } else {
            Fate::Done
        };
        self.danger(call, rarity);
        if fate == Fate::RequestLost {
            sim.pause(call, SLOW_MAX / 4);
            return Err(self.timed_out(call));
        }
        let answer = act();
        sim.note(call, || match &answer {
            Ok(_) => "ok".to_owned(),
            Err(error) => error.to_string(),
        });
        self.danger(call, rarity);
        if fate == Fate::AnswerLost {
            sim.pause(call, SLOW_MAX / 4);
            return Err(self.timed_out(call));
        }
        answer
    }

    pub(crate) fn timed_out(&self, call: &'static str) -> BrokerError {
        let kinds = [BrokerErrorKind::Retriable, BrokerErrorKind::Fatal];
        lost(call, kinds[self.sim.below(2) as usize])
    }

    /// A moment in which anything can happen to the process.
    pub(crate) fn danger(&self, call: &'static str, rarity: u64) {
        let sim = &self.sim;
        if sim.strikes(Fault::Kill, rarity) {
            self.kill();
        } else if sim.strikes(Fault::Freeze, rarity) {
            self.freeze();
        }
        let longest = if sim.strikes(Fault::Slow, rarity) { SLOW_MAX } else { LATENCY_MAX };
        sim.pause(call, sim.span(longest));
    }
}

/// The broker as one process sees it.
pub(crate) struct SimBroker {
    pub(crate) process: Arc<Process>,
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) deletions: Arc<Deletions>,
}

impl Broker for SimBroker {
    fn member(&self, options: &MemberOptions) -> Result<Box<dyn Member>> {
        let mut joined = None;
        let answer = self.process.call("join", CALL, || {
            joined = Some(self.broker.member(options)?);
            Ok(())
        });
        let member = joined.map(|inner| SimMember { process: Arc::clone(&self.process), inner: Some(inner) });
        match (answer, member) {
            (Ok(()), Some(member)) => Ok(Box::new(member)),
            (Err(error), _) => Err(error),
            (Ok(()), None) => Err(lost("join", BrokerErrorKind::Fatal)),
        }
    }

    fn reader(&self, isolation: Isolation) -> Result<Box<dyn Reader>> {
        let inner = self.broker.reader(isolation)?;
        let is_for_start = self.process.sim.is_in_start();
        let process = Arc::clone(&self.process);
        Ok(Box::new(SimReader { process, inner, is_for_start, delivered: Vec::new(), unassigning: BTreeSet::new() }))
    }

    fn producer(&self, options: &ProducerOptions) -> Result<Box<dyn Producer>> {
        let mut opened = None;
        let answer = self.process.call("open producer", CALL, || {
            opened = Some(self.broker.producer(options)?);
            Ok(())
        });
        let producer = opened.map(|inner| SimProducer::new(&self.process, inner));
        match (answer, producer) {
            (Ok(()), Some(producer)) => Ok(Box::new(producer)),
            (Err(error), _) => Err(error),
            (Ok(()), None) => Err(lost("open producer", BrokerErrorKind::Fatal)),
        }
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
        self.process.call("delete records", CALL, || {
            self.deletions.ask(partition, before);
            Ok(())
        })
    }

    fn watermarks(&self, partition: &TopicPartition, isolation: Isolation) -> Result<Watermarks> {
        self.process.call("watermarks", CALL * 4, || self.broker.watermarks(partition, isolation))
    }

    fn offset_for_time(&self, partition: &TopicPartition, timestamp_ms: i64) -> Result<Option<u64>> {
        self.process.call("offset for time", CALL, || self.broker.offset_for_time(partition, timestamp_ms))
    }

    fn committed(&self, group: &str, partitions: &[TopicPartition]) -> Result<Vec<(TopicPartition, u64)>> {
        let mut committed = self.process.call("committed", CALL, || self.broker.committed(group, partitions))?;
        if self.process.sim.strikes(Fault::OffsetsForgotten, 1) {
            for (_, offset) in &mut committed {
                *offset = self.process.sim.below(*offset + 1);
            }
        }
        Ok(committed)
    }

    fn last_transaction(&self, transactional_id: &str) -> Result<Option<LastTransaction>> {
        self.process.call("last transaction", CALL, || self.broker.last_transaction(transactional_id))
    }

    fn abort_running(&self, transactional_id: &str) -> Result<()> {
        self.process.call("abort running", CALL, || self.broker.abort_running(transactional_id))
    }

    fn check_leaders(&self, transactional_id: &str, topics: &[String]) -> Result<()> {
        self.process.call("check leaders", CALL, || self.broker.check_leaders(transactional_id, topics))
    }

    fn open_of_producer(&self, producer_id: i64, topics: &[String]) -> Result<Vec<OpenTransaction>> {
        self.process.call("open of producer", CALL, || self.broker.open_of_producer(producer_id, topics))
    }

    fn held_back(&self, partitions: &[TopicPartition]) -> Result<Vec<(TopicPartition, u64)>> {
        self.process.call("held back", CALL, || self.broker.held_back(partitions))
    }

    fn open_transactions(&self, partitions: &[TopicPartition]) -> Result<Vec<OpenTransaction>> {
        self.process.call("open transactions", CALL, || self.broker.open_transactions(partitions))
    }

    fn finish_transactions(&self, transactions: &[OpenTransaction], decision: Decision) -> Result<()> {
        self.process.call("finish transactions", CALL, || self.broker.finish_transactions(transactions, decision))
    }

    fn roster(&self, group: &str, tasks_topic: &str) -> Result<Option<Roster>> {
        self.process.call("roster", CALL * 4, || self.broker.roster(group, tasks_topic))
    }

    fn describe(&self) -> String {
        format!("{}, simulated", self.broker.describe())
    }
}

pub(crate) struct SimMember {
    process: Arc<Process>,
    /// `None` once the group has forgotten it.
    inner: Option<Box<dyn Member>>,
}

impl SimMember {
    fn gone() -> BrokerError {
        BrokerError::new(BrokerErrorKind::MemberLost, "member", "the group does not know this member")
    }
}

impl Member for SimMember {
    fn poll(&mut self, _timeout: Duration) -> Result<Option<MemberEvent>> {
        self.process.danger("member poll", POLL);
        if self.process.sim.strikes(Fault::MemberLost, POLL)
            && let Some(inner) = self.inner.take()
        {
            self.process.graveyard.bury_member(inner);
        }
        let event = self.inner.as_mut().ok_or_else(Self::gone)?.poll(Duration::ZERO)?;
        if let Some(event) = &event {
            self.process.sim.note("told", || format!("{event:?}"));
        }
        Ok(event)
    }

    fn acknowledge(&mut self, event: &MemberEvent) -> Result<()> {
        // A call of the client library upon itself: it can be the last, but it cannot get lost.
        self.process.danger("acknowledge", CALL * 4);
        self.inner.as_mut().ok_or_else(Self::gone)?.acknowledge(event)
    }

    fn leave(mut self: Box<Self>) -> Result<()> {
        self.process.danger("leave", CALL * 4);
        let Some(inner) = self.inner.take() else { return Ok(()) };
        if self.process.sim.strikes(Fault::LeaveLost, 1) {
            self.process.graveyard.bury_member(inner);
            return Err(lost("leave", BrokerErrorKind::Retriable));
        }
        inner.leave()
    }

    fn as_any(&self) -> &dyn Any {
        match &self.inner {
            Some(inner) => inner.as_any(),
            None => self,
        }
    }
}

impl Drop for SimMember {
    fn drop(&mut self) {
        let Some(inner) = self.inner.take() else { return };
        if std::thread::panicking() || self.process.sim.strikes(Fault::LeaveLost, 1) {
            self.process.graveyard.bury_member(inner);
        }
    }
}

struct SimReader {
    process: Arc<Process>,
    inner: Box<dyn Reader>,
    is_for_start: bool,
    /// What was read last of each partition, to be read again.
    delivered: Vec<(TopicPartition, u64)>,
    unassigning: BTreeSet<TopicPartition>,
}

impl SimReader {
    fn again(&mut self) -> Result<()> {
        let count = self.delivered.len() as u64;
        if count == 0 {
            return Ok(());
        }
        let (partition, from) = self.delivered[self.process.sim.below(count) as usize].clone();
        self.process.sim.note("reread", || format!("{}-{} from {from}", partition.topic, partition.partition));
        self.inner.assign(&partition, from)
    }

    fn read(&mut self, batch: &mut RecordBatch, records_max: usize) -> Result<()> {
        self.inner.poll(batch, records_max, Duration::ZERO)?;
        if self.is_for_start {
            return Ok(());
        }
        for meta in batch.metas() {
            let same = |(partition, _): &&mut (TopicPartition, u64)| {
                partition.topic == meta.topic && partition.partition == meta.partition
            };
            match self.delivered.iter_mut().find(same) {
                Some((_, from)) if self.process.sim.below(8) == 0 => *from = meta.offset,
                Some(_) => {}
                None => {
                    let partition = TopicPartition::new(Arc::clone(&meta.topic), meta.partition);
                    self.delivered.push((partition, meta.offset));
                }
            }
        }
        Ok(())
    }
}

impl Reader for SimReader {
    fn assign(&mut self, partition: &TopicPartition, offset: u64) -> Result<()> {
        self.unassigning.remove(partition);
        self.delivered.retain(|(delivered, _)| delivered != partition);
        self.process.sim.note("assign", || format!("{}-{} at {offset}", partition.topic, partition.partition));
        if self.process.sim.strikes(Fault::RequestLost, 8) {
            return Err(lost("assign", BrokerErrorKind::Retriable));
        }
        self.inner.assign(partition, offset)
    }

    fn unassign(&mut self, partition: &TopicPartition) -> Result<()> {
        self.delivered.retain(|(delivered, _)| delivered != partition);
        // What is on its way already arrives all the same.
        if self.process.sim.strikes(Fault::Reread, 1) {
            self.unassigning.insert(partition.clone());
            return Ok(());
        }
        self.inner.unassign(partition)
    }

    fn poll(&mut self, batch: &mut RecordBatch, records_max: usize, timeout: Duration) -> Result<()> {
        let sim = Arc::clone(&self.process.sim);
        batch.clear();
        self.process.danger("poll", POLL);
        if sim.strikes(Fault::RequestLost, POLL) {
            return Err(lost("poll", BrokerErrorKind::Retriable));
        }
        if !self.is_for_start && sim.strikes(Fault::Reread, POLL / 4) {
            self.again()?;
        }
        let records_max =
            if sim.strikes(Fault::ShortRead, 1) { records_max.min(1 + sim.below(4) as usize) } else { records_max };
        self.read(batch, records_max)?;
        if batch.is_empty() && !timeout.is_zero() {
            sim.pause("wait for records", timeout);
            self.read(batch, records_max)?;
        }
        for partition in std::mem::take(&mut self.unassigning) {
            self.inner.unassign(&partition)?;
        }
        if !batch.is_empty() {
            sim.note("read", || {
                let place = |meta: &tidemill_runtime::broker::RecordMeta| {
                    format!("{}-{}@{}", meta.topic, meta.partition, meta.offset)
                };
                batch.metas().iter().map(place).collect::<Vec<_>>().join(" ")
            });
        }
        Ok(())
    }

    fn reached_end(&self, partition: &TopicPartition) -> bool {
        self.inner.reached_end(partition)
    }
}
