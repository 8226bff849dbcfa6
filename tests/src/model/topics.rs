//! Topics by name, and the logs of their partitions. A topic that is created anew has another number.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidemill_runtime::broker::{NewTopic, TopicInfo, TopicPartition};

use super::log::PartitionLog;
use super::refusal::Refusal;

/// Kafka's name and default for the size of the largest record.
const RECORD_BYTES_MAX_KEY: &str = "max.message.bytes";
const RECORD_BYTES_MAX_DEFAULT: usize = 1_048_588;

/// Number of the topic, and of the partition in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PartitionId {
    pub(super) topic: u32,
    pub(super) partition: u32,
}

#[derive(Debug)]
struct Topic {
    name: Arc<str>,
    record_bytes_max: usize,
    logs: Vec<PartitionLog>,
}

#[derive(Debug, Default)]
pub(super) struct Topics {
    topics: BTreeMap<u32, Topic>,
    numbers: BTreeMap<Arc<str>, u32>,
    next_number: u32,
}

impl Topics {
    pub(super) fn create(&mut self, new: &NewTopic) -> Result<(), Refusal> {
        let name: Arc<str> = new.name.as_str().into();
        if self.numbers.contains_key(&name) {
            return Err(Refusal::TopicAlreadyExists);
        }
        let given = new.config.get(RECORD_BYTES_MAX_KEY).and_then(|text| text.parse().ok());
        let topic = Topic {
            name: Arc::clone(&name),
            record_bytes_max: given.unwrap_or(RECORD_BYTES_MAX_DEFAULT),
            logs: (0..new.partitions).map(|_| PartitionLog::default()).collect(),
        };
        self.numbers.insert(name, self.next_number);
        self.topics.insert(self.next_number, topic);
        self.next_number += 1;
        Ok(())
    }

    pub(super) fn delete(&mut self, name: &str) -> Result<(), Refusal> {
        let number = self.numbers.remove(name).ok_or(Refusal::UnknownTopicOrPartition)?;
        self.topics.remove(&number);
        Ok(())
    }

    pub(super) fn list(&self) -> Vec<TopicInfo> {
        let count = |number| self.topics.get(number).map_or(0, |topic| topic.logs.len() as u32);
        self.numbers
            .iter()
            .map(|(name, number)| TopicInfo { name: name.to_string(), partitions: count(number) })
            .collect()
    }

    pub(super) fn partitions(&self, name: &str) -> Result<u32, Refusal> {
        let topic = self.numbers.get(name).and_then(|number| self.topics.get(number));
        topic.map(|topic| topic.logs.len() as u32).ok_or(Refusal::UnknownTopicOrPartition)
    }

    pub(super) fn locate(&self, partition: &TopicPartition) -> Result<PartitionId, Refusal> {
        let topic = self.numbers.get(&partition.topic).copied().ok_or(Refusal::UnknownTopicOrPartition)?;
        let id = PartitionId { topic, partition: partition.partition };
        self.log(id).map(|_| id)
    }

    pub(super) fn name(&self, id: PartitionId) -> Option<TopicPartition> {
        let topic = self.topics.get(&id.topic)?;
        Some(TopicPartition::new(Arc::clone(&topic.name), id.partition))
    }

    pub(super) fn record_bytes_max(&self, id: PartitionId) -> usize {
        self.topics.get(&id.topic).map_or(0, |topic| topic.record_bytes_max)
    }

    pub(super) fn log(&self, id: PartitionId) -> Result<&PartitionLog, Refusal> {
        let log = self.topics.get(&id.topic).and_then(|topic| topic.logs.get(id.partition as usize));
        log.ok_or(Refusal::UnknownTopicOrPartition)
    }

    pub(super) fn log_mut(&mut self, id: PartitionId) -> Result<&mut PartitionLog, Refusal> {
        let log = self.topics.get_mut(&id.topic).and_then(|topic| topic.logs.get_mut(id.partition as usize));
        log.ok_or(Refusal::UnknownTopicOrPartition)
    }

    pub(super) fn logs(&self) -> impl Iterator<Item = (PartitionId, &PartitionLog)> {
        self.topics.iter().flat_map(|(number, topic)| {
            let id = |partition| PartitionId { topic: *number, partition };
            (0..).map(id).zip(&topic.logs)
        })
    }
}
