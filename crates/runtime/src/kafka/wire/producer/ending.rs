//! The offsets of a transaction, and its end.

use std::collections::BTreeMap;

use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::{EndTxnRequest, GroupId, TopicName, TxnOffsetCommitRequest};
use kafka_protocol::protocol::StrBytes;

use super::batch::Identity;
use super::lane::Lane;
use super::verdict::{Verdict, again, lost, of_delivery, pause, verdict};
use super::{Fence, TransactionalProducer};
use crate::broker::{BrokerError, BrokerErrorKind, Decision, Result, TopicPartition};
use crate::kafka::partitions::partition_number;

impl TransactionalProducer {
    pub(super) fn send_offsets_of(&mut self, offsets: &[(TopicPartition, u64)], fence: &Fence) -> Result<()> {
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
    pub(super) fn end(&mut self, decision: Decision) -> Result<()> {
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
}
