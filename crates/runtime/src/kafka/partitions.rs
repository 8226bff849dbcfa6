//! Topics and partitions in librdkafka's terms.

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
