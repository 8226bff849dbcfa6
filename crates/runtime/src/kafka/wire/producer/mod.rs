//! A transactional producer that speaks Kafka's second transaction protocol (KIP-890), which librdkafka does not.
//!
//! - Every end of a transaction begins another epoch, so a request that comes late can never end the one after it.
//! - Partitions and offsets add themselves to the transaction: it costs three answers, however many it writes to.
//! - Records become batches as they come. Nothing is copied, queued or acknowledged record by record.
//!
//! Disposable: whatever a leader or coordinator refuses for the moment is asked for again until a deadline, and after
//! anything else, a lost connection first of all, the transaction is over and another producer has to be opened. Sends and
//! waits on the thread of whoever calls it; large transactions are sent while they are still written.

pub(in crate::kafka) mod batch;
mod lane;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    EndTxnRequest, GroupId, InitProducerIdRequest, ProduceRequest, TopicName, TransactionalId, TxnOffsetCommitRequest,
};
use kafka_protocol::protocol::StrBytes;
use rdkafka::error::RDKafkaErrorCode as Code;

use self::batch::{Compression, Identity};
use self::lane::Lane;
use crate::broker::{
    BrokerError, BrokerErrorKind, Decision, Member, Outgoing, Producer, Result, TopicPartition, TransactionProtocol,
};
use crate::kafka::errors::kind_of_code;
use crate::kafka::member::KafkaMember;
use crate::kafka::partitions::{Numbering, partition_number};
use crate::kafka::wire::cluster::{Cluster, error_of};
use crate::kafka::wire::connection::{Sent, Until};

/// A coordinator may have to end what a predecessor left open, and a fresh cluster makes its transaction log first.
const OPEN_DEADLINE: Duration = Duration::from_secs(60);
/// While records are written no longer than this is waited for a leader.
const SEND_DEADLINE: Duration = Duration::from_secs(10);
/// The feature of the cluster that stands for the protocol, and its level.
const FEATURE: &str = "transaction.version";
const FEATURE_LEVEL: i16 = 2;
/// So much is gathered before it is sent while the transaction goes on.
const GATHERED_BYTES_MAX: usize = 512 * 1024;
/// A leader keeps the last five batches of a producer, to know those that come again.
const AWAITED_MAX: usize = 5;
const RETRY_PAUSE: Duration = Duration::from_millis(2);
/// `TRANSACTION_ABORTABLE`, which librdkafka has no name for.
const TRANSACTION_ABORTABLE: i16 = 120;
const ALL_REPLICAS: i16 = -1;

/// What the cluster speaks, as this broker of it says.
pub(super) fn protocol_of(cluster: &mut Cluster, broker: &str) -> Result<TransactionProtocol> {
    let until = cluster.until();
    let level = cluster.with(broker, |connection| connection.feature_level(FEATURE, until))?;
    Ok(if level < FEATURE_LEVEL { TransactionProtocol::First } else { TransactionProtocol::Second })
}

/// Who sends offsets: a member of the group, or nobody where the group has no members.
pub(in crate::kafka) struct Fence {
    pub(in crate::kafka) group: String,
    pub(in crate::kafka) generation: i32,
    pub(in crate::kafka) member: String,
    pub(in crate::kafka) instance: Option<String>,
}

pub(in crate::kafka) struct TransactionalProducer {
    /// For questions that are answered at once, and the end of the transaction.
    cluster: Cluster,
    /// For records, of which several requests may be under way.
    lines: Cluster,
    id: TransactionalId,
    compression: Compression,
    identity: Identity,
    coordinator: String,
    /// Coordinators of groups.
    group_coordinators: BTreeMap<String, String>,
    leaders: BTreeMap<TopicPartition, String>,
    numbering: Numbering,
    lanes: Vec<Lane>,
    awaited: BTreeMap<String, VecDeque<Awaited>>,
    gathered_bytes: usize,
    /// The coordinator may know of the transaction.
    is_announced: bool,
    /// What the transaction failed of.
    failure: Option<BrokerError>,
    lost_before: u32,
}

/// An answer that is still to come, and the partitions whose batches the request held.
struct Awaited {
    sent: Sent<ProduceRequest>,
    lanes: Vec<usize>,
}

/// What a code in an answer means for the request.
enum Verdict {
    Done,
    /// The same request again.
    Again(BrokerError),
    /// The same request again, to whoever is responsible now.
    Moved(BrokerError),
    Failed(BrokerError),
}

impl TransactionalProducer {
    /// `None` where the cluster does not speak this protocol.
    pub(in crate::kafka) fn open(
        bootstrap: &[String],
        id: &str,
        timeout: Duration,
        compression: Compression,
    ) -> Result<Option<Self>> {
        let mut cluster = Cluster::new(bootstrap, Until::within("open a producer", OPEN_DEADLINE));
        let id = TransactionalId(StrBytes::from_string(id.to_owned()));
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(id.clone()))
            .with_transaction_timeout_ms(i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX))
            .with_producer_id((-1).into())
            .with_producer_epoch(-1);
        let opened = again(&mut cluster, |cluster| {
            let coordinator = cluster.coordinator_of_transactions(&id)?;
            if protocol_of(cluster, &coordinator)? == TransactionProtocol::First {
                return Ok(None);
            }
            let answer = cluster.call(&coordinator, &request)?;
            cluster.check(answer.error_code, format_args!("transactional id `{}`", id.as_str()))?;
            Ok(Some((coordinator, Identity { producer_id: answer.producer_id.0, epoch: answer.producer_epoch })))
        })?;
        let Some((coordinator, identity)) = opened else { return Ok(None) };
        Ok(Some(Self {
            lines: Cluster::new(bootstrap, cluster.until()),
            lost_before: cluster.lost(),
            cluster,
            id,
            compression,
            identity,
            coordinator,
            group_coordinators: BTreeMap::new(),
            leaders: BTreeMap::new(),
            numbering: Numbering::default(),
            lanes: Vec::new(),
            awaited: BTreeMap::new(),
            gathered_bytes: 0,
            is_announced: false,
            failure: None,
        }))
    }

    /// Seals and sends whatever waits, as far as leaders take it without an answer.
    fn send_gathered(&mut self) -> Result<()> {
        for lane in &mut self.lanes {
            lane.seal(self.identity, self.compression);
        }
        self.gathered_bytes = 0;
        self.send_unsent()
    }

    fn send_unsent(&mut self) -> Result<()> {
        self.learn_leaders()?;
        loop {
            let mut by_leader: BTreeMap<&str, Vec<(usize, PartitionProduceData)>> = BTreeMap::new();
            for (index, lane) in self.lanes.iter_mut().enumerate() {
                let Some(leader) = self.leaders.get(&lane.partition) else { continue };
                if self.awaited.get(leader).is_some_and(|awaited| awaited.len() >= AWAITED_MAX) {
                    continue;
                }
                let Some(batch) = lane.take_unsent() else { continue };
                let data = PartitionProduceData::default().with_index(lane.number).with_records(Some(batch.bytes));
                by_leader.entry(leader).or_default().push((index, data));
            }
            if by_leader.is_empty() {
                return Ok(());
            }
            let requests: Vec<_> = by_leader.into_iter().map(|(leader, data)| (leader.to_owned(), data)).collect();
            for (leader, data) in requests {
                self.send_request(leader, data)?;
            }
        }
    }

    fn send_request(&mut self, leader: String, data: Vec<(usize, PartitionProduceData)>) -> Result<()> {
        let lanes: Vec<usize> = data.iter().map(|(lane, _)| *lane).collect();
        let mut topics: BTreeMap<&str, Vec<PartitionProduceData>> = BTreeMap::new();
        for (lane, data) in data {
            topics.entry(&self.lanes[lane].partition.topic).or_default().push(data);
        }
        let topics = topics.into_iter().map(|(name, data)| {
            let name = TopicName(StrBytes::from_string(name.to_owned()));
            TopicProduceData::default().with_name(name).with_partition_data(data)
        });
        let until = self.cluster.until();
        let timeout_ms = i32::try_from(until.left()?.as_millis()).unwrap_or(i32::MAX);
        let request = ProduceRequest::default()
            .with_transactional_id(Some(self.id.clone()))
            .with_acks(ALL_REPLICAS)
            .with_timeout_ms(timeout_ms)
            .with_topic_data(topics.collect());
        self.is_announced = true;
        self.lines.renew(until);
        let sent = self.lines.with(&leader, |connection| connection.send(&request, until)).map_err(lost)?;
        self.awaited.entry(leader).or_default().push_back(Awaited { sent, lanes });
        Ok(())
    }

    fn learn_leaders(&mut self) -> Result<()> {
        let unknown: BTreeSet<&str> = self
            .lanes
            .iter()
            .filter(|lane| !lane.is_idle() && !self.leaders.contains_key(&lane.partition))
            .map(|lane| &*lane.partition.topic)
            .collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let layout = again(&mut self.cluster, |cluster| cluster.layout(&unknown))?;
        self.leaders.extend(layout.leaders);
        match self.lanes.iter().find(|lane| !lane.is_idle() && !self.leaders.contains_key(&lane.partition)) {
            None => Ok(()),
            Some(Lane { partition, .. }) => Err(BrokerError::new(
                BrokerErrorKind::NotFound,
                self.cluster.until().during,
                format!("{}-{} does not exist", partition.topic, partition.partition),
            )),
        }
    }

    /// Takes the oldest answer of this leader.
    fn receive(&mut self, leader: &str) -> Result<()> {
        let Some(Awaited { sent, lanes }) = self.awaited.get_mut(leader).and_then(VecDeque::pop_front) else {
            return Ok(());
        };
        let until = self.cluster.until();
        let answer = self.lines.with(leader, |connection| connection.receive(sent, until)).map_err(lost)?;
        for lane in &lanes {
            self.lanes[*lane].awaited -= 1;
        }
        for topic in answer.responses {
            for partition in topic.partition_responses {
                let number = u32::try_from(partition.index).unwrap_or(u32::MAX);
                let Some(lane) = self.numbering.number(&topic.name, number) else { continue };
                self.take_answer(lane, &partition)?;
            }
        }
        Ok(())
    }

    fn take_answer(&mut self, lane: usize, answer: &PartitionProduceResponse) -> Result<()> {
        let lane = &mut self.lanes[lane];
        let place = format_args!("{}-{}", lane.partition.topic, lane.partition.partition);
        let code = error_of(answer.error_code);
        let is_behind_refused = lane.is_refused() && code == Some(Code::OutOfOrderSequenceNumber);
        match verdict(self.cluster.until(), answer.error_code, place) {
            _ if code == Some(Code::DuplicateSequenceNumber) => lane.acknowledge(None),
            Verdict::Done => lane.acknowledge(u64::try_from(answer.base_offset).ok()),
            _ if is_behind_refused => {}
            Verdict::Again(_) => lane.refuse(),
            Verdict::Moved(_) => {
                self.leaders.remove(&lane.partition);
                lane.refuse();
            }
            Verdict::Failed(error) => return Err(of_delivery(error)),
        }
        Ok(())
    }

    /// Until every record is acknowledged, or one cannot be.
    fn drain(&mut self) -> Result<()> {
        loop {
            self.send_gathered()?;
            let leaders: Vec<String> = self
                .awaited
                .iter()
                .filter(|(_, awaited)| !awaited.is_empty())
                .map(|(leader, _)| leader.clone())
                .collect();
            if leaders.is_empty() {
                return Ok(());
            }
            for leader in &leaders {
                self.receive(leader)?;
            }
            if self.lanes.iter().any(Lane::is_refused) {
                self.cluster.until().left()?;
                std::thread::sleep(RETRY_PAUSE);
            }
        }
    }

    /// After a failure there is nothing to be done with the transaction but to abort it.
    fn guard<T>(&mut self, act: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        act(self).inspect_err(|error| self.failure = Some(error.clone()))
    }

    fn send_offsets_of(&mut self, offsets: &[(TopicPartition, u64)], fence: &Fence) -> Result<()> {
        let text = |text: &str| StrBytes::from_string(text.to_owned());
        let mut topics: BTreeMap<&str, Vec<TxnOffsetCommitRequestPartition>> = BTreeMap::new();
        for (TopicPartition { topic, partition }, next) in offsets {
            let position = TxnOffsetCommitRequestPartition::default()
                .with_partition_index(partition_number(*partition)?)
                .with_committed_offset(i64::try_from(*next).unwrap_or(i64::MAX))
                .with_committed_metadata(Some(StrBytes::default()));
            topics.entry(topic).or_default().push(position);
        }
        let topics = topics.into_iter().map(|(name, partitions)| {
            TxnOffsetCommitRequestTopic::default().with_name(TopicName(text(name))).with_partitions(partitions)
        });
        let request = TxnOffsetCommitRequest::default()
            .with_transactional_id(self.id.clone())
            .with_group_id(GroupId(text(&fence.group)))
            .with_producer_id(self.identity.producer_id.into())
            .with_producer_epoch(self.identity.epoch)
            .with_generation_id(fence.generation)
            .with_member_id(text(&fence.member))
            .with_group_instance_id(fence.instance.as_deref().map(text))
            .with_topics(topics.collect());
        self.is_announced = true;
        loop {
            let coordinator = self.group_coordinator(&fence.group)?;
            let answer = self.cluster.call(&coordinator, &request).map_err(lost)?;
            let codes = answer.topics.iter().flat_map(|topic| &topic.partitions).map(|partition| partition.error_code);
            let about = format_args!("group `{}`", fence.group);
            let until = self.cluster.until();
            match codes.map(|code| verdict(until, code, about)).find(|verdict| !matches!(verdict, Verdict::Done)) {
                None | Some(Verdict::Done) => return Ok(()),
                Some(Verdict::Failed(error)) => return Err(of_delivery(error)),
                Some(Verdict::Again(error)) => pause(until, error)?,
                Some(Verdict::Moved(error)) => {
                    self.group_coordinators.remove(&fence.group);
                    pause(until, error)?;
                }
            }
        }
    }

    fn group_coordinator(&mut self, group: &str) -> Result<String> {
        if let Some(known) = self.group_coordinators.get(group) {
            return Ok(known.clone());
        }
        let found = again(&mut self.cluster, |cluster| cluster.coordinator_of_group(group))?;
        self.group_coordinators.insert(group.to_owned(), found.clone());
        Ok(found)
    }

    /// The same request may be made again after its answer was lost: the coordinator knows by the epoch that it has done
    /// what is asked for, and tells the epoch that began with it.
    fn end(&mut self, decision: Decision) -> Result<()> {
        let request = EndTxnRequest::default()
            .with_transactional_id(self.id.clone())
            .with_producer_id(self.identity.producer_id.into())
            .with_producer_epoch(self.identity.epoch)
            .with_committed(decision == Decision::Commit);
        while self.is_announced {
            let until = self.cluster.until();
            let answer = match self.cluster.call(&self.coordinator, &request) {
                Ok(answer) => answer,
                Err(error) if error.kind == BrokerErrorKind::Retriable => {
                    self.find_coordinator(error)?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            match verdict(until, answer.error_code, format_args!("transactional id `{}`", self.id.as_str())) {
                Verdict::Done => {
                    self.identity = Identity { producer_id: answer.producer_id.0, epoch: answer.producer_epoch };
                    self.is_announced = false;
                }
                Verdict::Again(error) => pause(until, error)?,
                Verdict::Moved(error) => self.find_coordinator(error)?,
                Verdict::Failed(error) => return Err(error),
            }
        }
        self.lanes.iter_mut().for_each(Lane::reset);
        self.gathered_bytes = 0;
        Ok(())
    }

    fn find_coordinator(&mut self, cause: BrokerError) -> Result<()> {
        pause(self.cluster.until(), cause)?;
        let id = self.id.clone();
        self.coordinator = again(&mut self.cluster, |cluster| cluster.coordinator_of_transactions(&id))?;
        Ok(())
    }

    /// Gives up the answers that are still under way, so that none of them is taken for another.
    fn forget_awaited(&mut self) {
        for leader in std::mem::take(&mut self.awaited).into_keys() {
            self.lines.hang_up(&leader);
        }
    }
}

impl Producer for TransactionalProducer {
    fn send(&mut self, record: &Outgoing<'_>) -> Result<()> {
        let number = partition_number(record.partition)?;
        let index = self.numbering.number_or_add(record.topic, record.partition);
        if index == self.lanes.len() {
            self.lanes.push(Lane::new(TopicPartition::new(record.topic, record.partition), number));
        }
        self.gathered_bytes += self.lanes[index].push(record, self.identity, self.compression);
        if self.gathered_bytes < GATHERED_BYTES_MAX {
            return Ok(());
        }
        self.cluster.renew(Until::within("send", SEND_DEADLINE));
        self.guard(|producer| {
            let full: Vec<String> = producer
                .awaited
                .iter()
                .filter(|(_, awaited)| awaited.len() >= AWAITED_MAX)
                .map(|(leader, _)| leader.clone())
                .collect();
            for leader in full {
                producer.receive(&leader)?;
            }
            producer.send_gathered()
        })
    }

    fn flush(&mut self, deadline: Duration) -> Result<()> {
        self.cluster.renew(Until::within("flush", deadline));
        self.guard(Self::drain).map_err(abortable)
    }

    fn begin(&mut self) -> Result<()> {
        self.failure = None;
        Ok(())
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
        self.cluster.renew(Until::within("send offsets", deadline));
        self.guard(|producer| producer.send_offsets_of(offsets, &member.fence_by_name()?)).map_err(abortable)
    }

    fn send_group_offsets(&mut self, group: &str, offsets: &[(TopicPartition, u64)], deadline: Duration) -> Result<()> {
        let fence = Fence { group: group.to_owned(), generation: -1, member: String::new(), instance: None };
        self.cluster.renew(Until::within("send offsets", deadline));
        self.guard(|producer| producer.send_offsets_of(offsets, &fence)).map_err(abortable)
    }

    fn commit(&mut self, deadline: Duration) -> Result<()> {
        self.cluster.renew(Until::within("commit", deadline));
        self.guard(|producer| {
            producer.drain()?;
            producer.end(Decision::Commit)
        })
    }

    fn abort(&mut self, deadline: Duration) -> Result<()> {
        self.cluster.renew(Until::within("abort", deadline));
        self.forget_awaited();
        self.failure = None;
        self.end(Decision::Abort)
    }

    fn is_doubtful(&mut self) -> bool {
        self.cluster.lost() + self.lines.lost() != self.lost_before
    }

    fn acknowledged(&self, partition: &TopicPartition) -> Option<u64> {
        let number = self.numbering.number(&partition.topic, partition.partition)?;
        self.lanes.get(number)?.next_offset
    }
}

/// Asks again while the error is one that passes, until the deadline.
fn again<T>(cluster: &mut Cluster, mut act: impl FnMut(&mut Cluster) -> Result<T>) -> Result<T> {
    loop {
        match act(cluster) {
            Err(error) if error.kind == BrokerErrorKind::Retriable => pause(cluster.until(), error)?,
            answer => return answer,
        }
    }
}

/// Waits before the next attempt; past the deadline the cause of the last one is the error.
fn pause(until: Until, cause: BrokerError) -> Result<()> {
    if until.left().is_err() {
        return Err(cause);
    }
    std::thread::sleep(RETRY_PAUSE);
    Ok(())
}

fn verdict(until: Until, code: i16, about: impl std::fmt::Display) -> Verdict {
    let Some(known) = error_of(code) else { return Verdict::Done };
    let error = |kind| BrokerError::new(kind, until.during, format!("{about}: {known} ({code})"));
    match known {
        _ if code == TRANSACTION_ABORTABLE => Verdict::Failed(error(BrokerErrorKind::Abortable)),
        Code::NotLeaderForPartition
        | Code::NotCoordinator
        | Code::CoordinatorNotAvailable
        | Code::LeaderNotAvailable
        | Code::UnknownTopicOrPartition
        | Code::FencedLeaderEpoch
        | Code::UnknownLeaderEpoch
        | Code::KafkaStorageError => Verdict::Moved(error(BrokerErrorKind::Retriable)),
        known => match kind_of_code(known) {
            BrokerErrorKind::Retriable => Verdict::Again(error(BrokerErrorKind::Retriable)),
            kind => Verdict::Failed(error(kind)),
        },
    }
}

/// Nobody knows what became of a request whose answer was lost; of a record's or an offset's it need not be known,
/// because its transaction is aborted.
fn lost(error: BrokerError) -> BrokerError {
    match error.kind {
        BrokerErrorKind::Retriable => BrokerError { kind: BrokerErrorKind::Abortable, ..error },
        _ => error,
    }
}

/// What was refused for good is lost to this transaction only.
fn of_delivery(error: BrokerError) -> BrokerError {
    match error.kind {
        BrokerErrorKind::Fenced
        | BrokerErrorKind::Misconfigured
        | BrokerErrorKind::RecordRefused
        | BrokerErrorKind::NotFound => error,
        _ => BrokerError { kind: BrokerErrorKind::Abortable, ..error },
    }
}

/// Past its deadline a flush has failed, and with it the transaction.
fn abortable(error: BrokerError) -> BrokerError {
    lost(error)
}
