//! What the journal amounts to: topics, where their records lie, and the positions of groups. Changes only by frames, so
//! that running and opening again come to the same.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::broker::{TopicInfo, TopicPartition};
use crate::embedded::frame::{Frame, FrameBlock, GroupPosition};
use crate::embedded::journal::Place;

/// Kafka's name and default for the size of the largest record.
const RECORD_BYTES_MAX_KEY: &str = "max.message.bytes";
const RECORD_BYTES_MAX_DEFAULT: usize = 1_048_588;

/// Where a block lies. One of these is all that is kept in memory for up to 64 KiB of records.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockIndex {
    pub(crate) first_offset: u64,
    pub(crate) timestamp_max: i64,
    pub(crate) segment: u32,
    pub(crate) position: u32,
    pub(crate) length: u32,
    pub(crate) checksum: u32,
}

#[derive(Debug, Default)]
pub(crate) struct PartitionIndex {
    pub(crate) blocks: Vec<BlockIndex>,
    /// The first offset that was not deleted.
    pub(crate) low: u64,
    /// The offset that the next record will get.
    pub(crate) end: u64,
}

impl PartitionIndex {
    /// Index of the block that holds `offset`, which must be below the end.
    pub(crate) fn block_of(&self, offset: u64) -> usize {
        self.blocks.partition_point(|block| block.first_offset <= offset).saturating_sub(1)
    }

    /// Offset after the last record of block `index`.
    pub(crate) fn block_end(&self, index: usize) -> u64 {
        self.blocks.get(index + 1).map_or(self.end, |next| next.first_offset)
    }
}

#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: Arc<str>,
    pub(crate) record_bytes_max: usize,
    pub(crate) partitions: Vec<PartitionIndex>,
}

#[derive(Debug, Default)]
pub(crate) struct Catalog {
    topics: HashMap<u32, Topic>,
    ids: BTreeMap<Arc<str>, u32>,
    next_topic: u32,
    positions: HashMap<String, BTreeMap<TopicPartition, u64>>,
}

impl Catalog {
    /// Applies a frame whose body lies at `place`. An error means that the frame does not follow from those before it.
    pub(crate) fn apply(&mut self, frame: Frame, place: Place) -> Result<(), String> {
        match frame {
            Frame::TopicCreated { id, name, partitions, config } => self.create(id, name, partitions, &config),
            Frame::TopicDeleted { id } => self.delete(id),
            Frame::Transaction { blocks, positions } => self.commit(&blocks, positions, place),
            Frame::RecordsDeleted { topic, partition, before } => self.delete_records(topic, partition, before),
            Frame::GroupDeleted { group } => {
                self.positions.remove(&group);
                Ok(())
            }
        }
    }

    pub(crate) fn topics(&self) -> Vec<TopicInfo> {
        let info = |(name, id): (&Arc<str>, &u32)| TopicInfo {
            name: name.to_string(),
            partitions: self.topics.get(id).map_or(0, |topic| topic.partitions.len() as u32),
        };
        self.ids.iter().map(info).collect()
    }

    pub(crate) fn next_topic(&self) -> u32 {
        self.next_topic
    }

    pub(crate) fn topic_id(&self, name: &str) -> Option<u32> {
        self.ids.get(name).copied()
    }

    pub(crate) fn topic(&self, id: u32) -> Option<&Topic> {
        self.topics.get(&id)
    }

    pub(crate) fn partition(&self, topic: u32, partition: u32) -> Option<&PartitionIndex> {
        self.topics.get(&topic)?.partitions.get(partition as usize)
    }

    pub(crate) fn position(&self, group: &str, partition: &TopicPartition) -> Option<u64> {
        self.positions.get(group)?.get(partition).copied()
    }

    pub(crate) fn has_positions(&self, group: &str) -> bool {
        self.positions.contains_key(group)
    }

    fn create(
        &mut self,
        id: u32,
        name: String,
        partitions: u32,
        config: &BTreeMap<String, String>,
    ) -> Result<(), String> {
        let name: Arc<str> = Arc::from(name);
        if self.ids.contains_key(&name) || self.topics.contains_key(&id) {
            return Err(format!("topic `{name}` is created twice"));
        }
        let record_bytes_max = record_bytes_max(config)?;
        let partitions = (0..partitions).map(|_| PartitionIndex::default()).collect();
        self.ids.insert(Arc::clone(&name), id);
        self.topics.insert(id, Topic { name, record_bytes_max, partitions });
        self.next_topic = self.next_topic.max(id.saturating_add(1));
        Ok(())
    }

    fn delete(&mut self, id: u32) -> Result<(), String> {
        let topic = self.topics.remove(&id).ok_or_else(|| format!("topic number {id} does not exist"))?;
        self.ids.remove(&topic.name);
        for positions in self.positions.values_mut() {
            positions.retain(|partition, _| partition.topic != topic.name);
        }
        Ok(())
    }

    /// Blocks that hold nothing else are forgotten.
    fn delete_records(&mut self, topic: u32, number: u32, before: u64) -> Result<(), String> {
        let partition = self.topics.get_mut(&topic).and_then(|topic| topic.partitions.get_mut(number as usize));
        let partition = partition.ok_or_else(|| format!("topic number {topic} has no partition {number}"))?;
        if before > partition.end {
            return Err(format!("partition {number} of topic number {topic} ends before {before}"));
        }
        partition.low = partition.low.max(before);
        let dead = (0..partition.blocks.len()).take_while(|index| partition.block_end(*index) <= partition.low).count();
        partition.blocks.drain(..dead);
        Ok(())
    }

    fn commit(&mut self, blocks: &[FrameBlock], positions: Vec<GroupPosition>, place: Place) -> Result<(), String> {
        let mut position = place.position;
        for block in blocks {
            let partition = self
                .topics
                .get_mut(&block.topic)
                .and_then(|topic| topic.partitions.get_mut(block.partition as usize))
                .ok_or_else(|| format!("topic number {} has no partition {}", block.topic, block.partition))?;
            partition.blocks.push(BlockIndex {
                first_offset: partition.end,
                timestamp_max: block.timestamp_max,
                segment: place.segment,
                position,
                length: block.length,
                checksum: block.checksum,
            });
            partition.end += u64::from(block.records);
            position = position.checked_add(block.length).ok_or("the segment is too long")?;
        }
        for GroupPosition { group, topic, partition, next_offset } in positions {
            self.positions.entry(group).or_default().insert(TopicPartition::new(topic, partition), next_offset);
        }
        Ok(())
    }
}

/// The size of the largest record, as the configuration of a topic says it.
pub(crate) fn record_bytes_max(config: &BTreeMap<String, String>) -> Result<usize, String> {
    match config.get(RECORD_BYTES_MAX_KEY) {
        None => Ok(RECORD_BYTES_MAX_DEFAULT),
        Some(text) => text.parse().map_err(|_| format!("{RECORD_BYTES_MAX_KEY} = `{text}` is not a number of bytes")),
    }
}
