//! Topics and partitions in the terms of the client.

use rdkafka::TopicPartitionList;
use rdkafka::topic_partition_list::Offset;

use crate::broker::{BrokerError, BrokerErrorKind, Result, TopicPartition};
use crate::kafka::errors::broker_error;

/// One partition in librdkafka's terms.
pub(super) fn list_of(partition: &TopicPartition, offset: Offset) -> Result<TopicPartitionList> {
    list([(partition, offset)].into_iter())
}

pub(super) fn list<'a>(partitions: impl Iterator<Item = (&'a TopicPartition, Offset)>) -> Result<TopicPartitionList> {
    let mut list = TopicPartitionList::new();
    for (TopicPartition { topic, partition }, offset) in partitions {
        let number = partition_number(*partition)?;
        list.add_partition_offset(topic, number, offset).map_err(|error| broker_error("name a partition", &error))?;
    }
    Ok(list)
}

pub(super) fn partition_number(partition: u32) -> Result<i32> {
    i32::try_from(partition).map_err(|_| {
        BrokerError::new(BrokerErrorKind::NotFound, "name a partition", format!("no topic has a partition {partition}"))
    })
}

/// Numbers for the partitions written to: few topics, so they are found faster by looking than by hashing.
#[derive(Default)]
pub(super) struct Numbering {
    topics: Vec<(Box<str>, Vec<Option<usize>>)>,
    count: usize,
}

impl Numbering {
    pub(super) fn number(&self, topic: &str, partition: u32) -> Option<usize> {
        let (_, numbers) = self.topics.iter().find(|(name, _)| **name == *topic)?;
        *numbers.get(partition as usize)?
    }

    pub(super) fn number_or_add(&mut self, topic: &str, partition: u32) -> usize {
        if let Some(number) = self.number(topic, partition) {
            return number;
        }
        let index = self.topics.iter().position(|(name, _)| **name == *topic).unwrap_or_else(|| {
            self.topics.push((topic.into(), Vec::new()));
            self.topics.len() - 1
        });
        let numbers = &mut self.topics[index].1;
        if numbers.len() <= partition as usize {
            numbers.resize(partition as usize + 1, None);
        }
        numbers[partition as usize] = Some(self.count);
        self.count += 1;
        self.count - 1
    }
}
