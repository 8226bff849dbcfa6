//! Records on their way to the leaders: requests that are under way, and answers to them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{ProduceRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use rdkafka::error::RDKafkaErrorCode as Code;

use super::TransactionalProducer;
use super::lane::Lane;
use super::verdict::{RETRY_PAUSE, Verdict, again, lost, of_delivery, verdict};
use crate::broker::{BrokerError, BrokerErrorKind, Result};
use crate::kafka::wire::cluster::error_of;
use crate::kafka::wire::connection::Sent;

/// A leader keeps the last five batches of a producer, to know those that come again.
const AWAITED_MAX: usize = 5;
const ALL_REPLICAS: i16 = -1;

/// An answer that is still to come, and the partitions whose batches the request held.
pub(super) struct Awaited {
    sent: Sent<ProduceRequest>,
    lanes: Vec<usize>,
}

impl TransactionalProducer {
    /// Takes an answer from each leader that can be sent nothing more before it.
    pub(super) fn make_room(&mut self) -> Result<()> {
        let is_full = |(_, awaited): &(&String, &VecDeque<Awaited>)| awaited.len() >= AWAITED_MAX;
        let full: Vec<String> = self.awaited.iter().filter(is_full).map(|(leader, _)| leader.clone()).collect();
        full.iter().try_for_each(|leader| self.receive(leader))
    }

    /// Seals and sends whatever waits, as far as leaders take it without an answer.
    pub(super) fn send_gathered(&mut self) -> Result<()> {
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
    pub(super) fn drain(&mut self) -> Result<()> {
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

    /// Gives up the answers that are still under way, so that none of them is taken for another.
    pub(super) fn forget_awaited(&mut self) {
        for leader in std::mem::take(&mut self.awaited).into_keys() {
            self.lines.hang_up(&leader);
        }
    }
}
