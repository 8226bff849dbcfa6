//! Reads partitions that it is told to read, at offsets that it is told; in no group.
//!
//! - Each leader always has one question: it prepares the next answer while the last one is worked on.
//! - What leaders send is kept as they store it, and unpacked record by record into the caller's batch.
//! - Brokers that are away are looked for again and again; a position that its log does not hold is an error.

mod cursor;
mod records;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::{BrokerId, FetchRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use rdkafka::error::RDKafkaErrorCode as Code;

use self::cursor::Cursor;
use self::records::Unreadable;
use crate::broker::{BrokerError, BrokerErrorKind, Isolation, Reader, RecordBatch, Result, TopicPartition};
use crate::kafka::errors::{code_error, kind_of_code};
use crate::kafka::partitions::partition_number;
use crate::kafka::wire::cluster::{Cluster, error_of};
use crate::kafka::wire::connection::{Sent, Until};

/// How much is asked for and kept.
#[derive(Clone, Copy, Debug)]
pub(in crate::kafka) struct FetchLimits {
    pub(in crate::kafka) partition_bytes_max: i32,
    /// No more is asked for of a partition that has this much waiting.
    pub(in crate::kafka) waiting_bytes_max: usize,
    /// A leader without news answers after this.
    pub(in crate::kafka) wait_ms_max: i32,
}

/// One poll takes no more records once it has this much, however large they are.
const POLL_BYTES_MAX: usize = 16 * 1024 * 1024;
const ANSWER_BYTES_MAX: i32 = 32 * 1024 * 1024;
/// A leader that has said nothing for so long is asked on another connection.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);
/// What a new topic takes until every broker knows it.
const UNKNOWN_MAX: Duration = Duration::from_secs(10);
const RECONNECT_PAUSE: Duration = Duration::from_millis(100);
/// No leader, no follower: a client.
const CLIENT: i32 = -1;
const NO_SESSION: i32 = 0;
const NO_SESSION_EPOCH: i32 = -1;
const DURING: &str = "poll a reader";

pub(in crate::kafka) struct WireReader {
    /// For questions that are answered at once. A fetch that waits for news would hold them up.
    cluster: Cluster,
    /// For fetches.
    lines: Cluster,
    isolation: Isolation,
    limits: FetchLimits,
    cursors: Vec<Cursor>,
    leaders: BTreeMap<TopicPartition, String>,
    /// The question that each leader has.
    asked: BTreeMap<String, Asked>,
    /// Counts assignments: an answer to an earlier question is not about a later one.
    assignments: u64,
    /// The cursor whose records are handed out first.
    turn: usize,
    /// Brokers are not asked again before this.
    paused_until: Option<Instant>,
    /// Since when a partition has not been found.
    unknown_since: Option<Instant>,
    /// An error that came behind records of the same poll: those are handed over first.
    error: Option<BrokerError>,
}

struct Asked {
    sent: Sent<FetchRequest>,
    at: Instant,
    /// Assignments up to this are meant.
    assignments: u64,
}

impl WireReader {
    pub(in crate::kafka) fn new(bootstrap: &[String], isolation: Isolation, limits: FetchLimits) -> Self {
        let cluster = || Cluster::new(bootstrap, Until::within(DURING, ANSWER_DEADLINE));
        Self {
            cluster: cluster(),
            lines: cluster(),
            isolation,
            limits,
            cursors: Vec::new(),
            leaders: BTreeMap::new(),
            asked: BTreeMap::new(),
            assignments: 0,
            turn: 0,
            paused_until: None,
            unknown_since: None,
            error: None,
        }
    }

    fn remove(&mut self, partition: &TopicPartition) {
        self.cursors.retain(|cursor| cursor.partition != *partition);
    }

    /// Asks every leader that has no question.
    fn ask(&mut self) -> Result<()> {
        if self.paused_until.is_some_and(|until| Instant::now() < until) {
            return Ok(());
        }
        self.paused_until = None;
        self.learn_leaders()?;
        let mut by_leader: BTreeMap<&str, BTreeMap<&str, Vec<FetchPartition>>> = BTreeMap::new();
        for cursor in &self.cursors {
            let Some(leader) = self.leaders.get(&cursor.partition) else { continue };
            if self.asked.contains_key(leader) || cursor.waiting_bytes() >= self.limits.waiting_bytes_max {
                continue;
            }
            let fetch = FetchPartition::default()
                .with_partition(cursor.number)
                .with_fetch_offset(cursor.fetch_offset)
                .with_partition_max_bytes(self.limits.partition_bytes_max);
            by_leader.entry(leader).or_default().entry(&cursor.partition.topic).or_default().push(fetch);
        }
        let requests: Vec<(String, FetchRequest)> =
            by_leader.into_iter().map(|(leader, topics)| (leader.to_owned(), self.request(topics))).collect();
        for (leader, request) in requests {
            let until = Until::within(DURING, ANSWER_DEADLINE);
            self.lines.renew(until);
            match self.lines.with(&leader, |connection| connection.send(&request, until)) {
                Ok(sent) => {
                    let asked = Asked { sent, at: Instant::now(), assignments: self.assignments };
                    self.asked.insert(leader, asked);
                }
                Err(error) => self.lose(&leader, error)?,
            }
        }
        Ok(())
    }

    fn request(&self, topics: BTreeMap<&str, Vec<FetchPartition>>) -> FetchRequest {
        let topics = topics.into_iter().map(|(name, partitions)| {
            let name = TopicName(StrBytes::from_string(name.to_owned()));
            FetchTopic::default().with_topic(name).with_partitions(partitions)
        });
        FetchRequest::default()
            .with_replica_id(BrokerId(CLIENT))
            .with_max_wait_ms(self.limits.wait_ms_max)
            .with_min_bytes(1)
            .with_max_bytes(ANSWER_BYTES_MAX)
            .with_isolation_level(match self.isolation {
                Isolation::ReadUncommitted => 0,
                Isolation::ReadCommitted => 1,
            })
            .with_session_id(NO_SESSION)
            .with_session_epoch(NO_SESSION_EPOCH)
            .with_topics(topics.collect())
    }

    fn learn_leaders(&mut self) -> Result<()> {
        let is_unknown = |cursor: &&Cursor| !self.leaders.contains_key(&cursor.partition);
        let topics: BTreeSet<&str> =
            self.cursors.iter().filter(is_unknown).map(|cursor| &*cursor.partition.topic).collect();
        if topics.is_empty() {
            self.unknown_since = None;
            return Ok(());
        }
        self.cluster.renew(Until::within(DURING, ANSWER_DEADLINE));
        match self.cluster.layout(&topics) {
            Ok(layout) => self.leaders.extend(layout.leaders),
            Err(error) if error.kind == BrokerErrorKind::Retriable => {
                tracing::warn!(%error, "a reader looks for brokers");
                self.paused_until = Some(Instant::now() + RECONNECT_PAUSE);
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        let Some(missing) = self.cursors.iter().find(|cursor| !self.leaders.contains_key(&cursor.partition)) else {
            return Ok(());
        };
        let since = *self.unknown_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= UNKNOWN_MAX {
            let TopicPartition { topic, partition } = &missing.partition;
            let message = format!("{topic}-{partition} does not exist");
            return Err(BrokerError::new(BrokerErrorKind::NotFound, DURING, message));
        }
        self.paused_until = Some(Instant::now() + RECONNECT_PAUSE);
        Ok(())
    }

    /// A broker that is away is information, not an error: its partitions are looked for anew.
    fn lose(&mut self, leader: &str, error: BrokerError) -> Result<()> {
        self.asked.remove(leader);
        self.leaders.retain(|_, known| known != leader);
        if error.kind != BrokerErrorKind::Retriable {
            return Err(error);
        }
        tracing::warn!(%error, "a reader looks for brokers");
        self.paused_until = Some(Instant::now() + RECONNECT_PAUSE);
        Ok(())
    }

    /// Waits for answers until `deadline`, and takes those that are there.
    fn take_answers(&mut self, deadline: Instant) -> Result<()> {
        let addresses: Vec<&str> = self.asked.keys().map(String::as_str).collect();
        let ready = self.lines.wait_readable(&addresses, deadline.saturating_duration_since(Instant::now()))?;
        let now = Instant::now();
        for leader in ready {
            let Some(Asked { sent, assignments, .. }) = self.asked.remove(&leader) else { continue };
            let until = Until::within(DURING, ANSWER_DEADLINE);
            match self.lines.with(&leader, |connection| connection.receive(sent, until)) {
                Ok(answer) => {
                    self.lines.check(answer.error_code, "a fetch")?;
                    for topic in answer.responses {
                        for data in topic.partitions {
                            self.take_answer(&topic.topic, data, assignments)?;
                        }
                    }
                }
                Err(error) => self.lose(&leader, error)?,
            }
        }
        let silent = self.asked.iter().find(|(_, asked)| now.duration_since(asked.at) >= ANSWER_DEADLINE);
        if let Some(leader) = silent.map(|(leader, _)| leader.clone()) {
            self.lines.hang_up(&leader);
            let error = self.lines.until().passing(format!("{leader} does not answer"));
            self.lose(&leader, error)?;
        }
        Ok(())
    }

    fn take_answer(&mut self, topic: &str, data: PartitionData, assignments: u64) -> Result<()> {
        let is_meant = |cursor: &&mut Cursor| {
            cursor.since <= assignments && cursor.number == data.partition_index && *cursor.partition.topic == *topic
        };
        let Some(cursor) = self.cursors.iter_mut().find(is_meant) else { return Ok(()) };
        let number = data.partition_index;
        let place = format_args!("{topic}-{number}");
        match error_of(data.error_code) {
            None => {
                let end = match self.isolation {
                    Isolation::ReadUncommitted => data.high_watermark,
                    Isolation::ReadCommitted => data.last_stable_offset,
                };
                cursor.take(data, end).map_err(|why| unreadable(place, &why))
            }
            Some(Code::UnknownTopicOrPartition) => {
                self.leaders.remove(&cursor.partition);
                self.paused_until = Some(Instant::now() + RECONNECT_PAUSE);
                Ok(())
            }
            Some(code) if kind_of_code(code) == BrokerErrorKind::Retriable => {
                tracing::debug!(%place, %code, "a partition is looked for anew");
                self.leaders.remove(&cursor.partition);
                self.paused_until = Some(Instant::now() + RECONNECT_PAUSE);
                Ok(())
            }
            Some(code) => Err(code_error(DURING, code, place)),
        }
    }

    /// Hands out what waits, beginning with another partition each time.
    fn pull(&mut self, batch: &mut RecordBatch, records_max: usize) -> Result<()> {
        let count = self.cursors.len();
        for step in 0..count {
            let index = (self.turn + step) % count;
            let cursor = &mut self.cursors[index];
            let pulled = cursor.pull(batch, records_max, POLL_BYTES_MAX);
            let TopicPartition { topic, partition } = &cursor.partition;
            pulled.map_err(|why| unreadable(format_args!("{topic}-{partition}"), &why))?;
            if batch.len() >= records_max || batch.bytes() >= POLL_BYTES_MAX {
                self.turn = (index + 1) % count;
                return Ok(());
            }
        }
        Ok(())
    }

    fn fill(&mut self, batch: &mut RecordBatch, records_max: usize, deadline: Instant) -> Result<()> {
        let mut wait_until = Instant::now();
        loop {
            self.ask()?;
            self.take_answers(wait_until)?;
            self.pull(batch, records_max)?;
            if !batch.is_empty() {
                return self.ask();
            }
            let now = Instant::now();
            if now >= deadline {
                return Ok(());
            }
            wait_until = match self.paused_until {
                Some(until) if self.asked.is_empty() => {
                    std::thread::sleep(until.min(deadline).saturating_duration_since(now));
                    now
                }
                _ => deadline,
            };
            if self.asked.is_empty() && self.paused_until.is_none() {
                std::thread::sleep(deadline.saturating_duration_since(now));
            }
        }
    }
}

impl Reader for WireReader {
    fn assign(&mut self, partition: &TopicPartition, offset: u64) -> Result<()> {
        let offset = i64::try_from(offset).map_err(|_| {
            BrokerError::new(BrokerErrorKind::OffsetOutOfRange, "assign", format!("no log has an offset {offset}"))
        })?;
        let number = partition_number(partition.partition)?;
        self.remove(partition);
        self.assignments += 1;
        self.cursors.push(Cursor::new(partition.clone(), number, offset, self.assignments));
        Ok(())
    }

    fn unassign(&mut self, partition: &TopicPartition) -> Result<()> {
        self.remove(partition);
        Ok(())
    }

    fn poll(&mut self, batch: &mut RecordBatch, records_max: usize, timeout: Duration) -> Result<()> {
        batch.clear();
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        let deadline = Instant::now() + timeout;
        match self.fill(batch, records_max, deadline) {
            Err(error) if batch.is_empty() => Err(error),
            Err(error) => {
                self.error = Some(error);
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn reached_end(&self, partition: &TopicPartition) -> bool {
        self.cursors.iter().any(|cursor| cursor.partition == *partition && cursor.reached_end())
    }
}

fn unreadable(place: impl std::fmt::Display, why: &Unreadable) -> BrokerError {
    BrokerError::new(BrokerErrorKind::Fatal, DURING, format!("{place} holds {}", why.0))
}
