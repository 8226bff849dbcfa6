//! Reads partitions. The lock is held only to look up where blocks lie; the disk is read without it.

use std::sync::Arc;
use std::time::Duration;

use crate::broker::{BrokerError, BrokerErrorKind, Reader, RecordBatch, Result, TopicPartition};
use crate::embedded::block::BlockRecord;
use crate::embedded::catalog::BlockIndex;
use crate::embedded::core::Core;
use crate::embedded::journal::Segment;
use crate::embedded::shared::Shared;

/// One poll takes no more blocks once it has this much.
const POLL_BYTES_MAX: usize = 64 * 1024 * 1024;

#[derive(Debug)]
struct Cursor {
    partition: TopicPartition,
    topic: u32,
    position: u64,
    reached_end: bool,
    /// The block read last, so that a poll that stops in its middle does not read it again.
    block: Option<LoadedBlock>,
}

#[derive(Debug, Default)]
struct LoadedBlock {
    first_offset: u64,
    bytes: Vec<u8>,
    /// Offset of the record at `position`.
    next_offset: u64,
    position: usize,
}

/// Records that a poll is going to take from one block.
struct Portion {
    cursor: usize,
    block: BlockIndex,
    segment: Arc<Segment>,
    from: u64,
    until: u64,
}

#[derive(Debug)]
pub(crate) struct EmbeddedReader {
    shared: Arc<Shared>,
    cursors: Vec<Cursor>,
    /// Where the next poll begins, so that one full partition does not starve the others.
    first: usize,
}

impl EmbeddedReader {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::clone(shared), cursors: Vec::new(), first: 0 }
    }

    /// Where the next records lie.
    fn plan(&mut self, core: &Core, records_max: usize) -> Result<Vec<Portion>> {
        let mut portions = Vec::new();
        let mut remaining = records_max as u64;
        let mut bytes = 0;
        let count = self.cursors.len();
        self.first = self.first.checked_rem(count).unwrap_or(0);
        for index in (0..count).map(|index| (self.first + index) % count) {
            let cursor = &mut self.cursors[index];
            let partition = core.catalog.partition(cursor.topic, cursor.partition.partition).ok_or_else(|| {
                let message = format!("topic `{}` was deleted", cursor.partition.topic);
                BrokerError::new(BrokerErrorKind::NotFound, "poll", message)
            })?;
            if !(partition.low..=partition.end).contains(&cursor.position) {
                let TopicPartition { topic, partition: number } = &cursor.partition;
                let (low, end, position) = (partition.low, partition.end, cursor.position);
                let message = format!("{topic}-{number} has offsets from {low} to {end}, and not {position}");
                return Err(BrokerError::new(BrokerErrorKind::OffsetOutOfRange, "poll", message));
            }
            let mut from = cursor.position;
            let mut block_index = partition.block_of(from);
            while from < partition.end && remaining > 0 && bytes < POLL_BYTES_MAX {
                let block = partition.blocks[block_index];
                let until = partition.block_end(block_index).min(from.saturating_add(remaining));
                let segment = core.journal.segment(block.segment).ok_or_else(|| damaged("its segment is gone"))?;
                portions.push(Portion { cursor: index, block, segment, from, until });
                remaining -= until - from;
                bytes += block.length as usize;
                from = until;
                block_index += 1;
            }
            cursor.reached_end = from == partition.end;
        }
        self.first += 1;
        Ok(portions)
    }

    fn take(&mut self, portion: &Portion, batch: &mut RecordBatch) -> Result<()> {
        let cursor = &mut self.cursors[portion.cursor];
        let mut loaded = match cursor.block.take() {
            Some(loaded) if loaded.first_offset == portion.block.first_offset && loaded.next_offset <= portion.from => {
                loaded
            }
            old => load(portion, old.map(|loaded| loaded.bytes).unwrap_or_default())?,
        };
        while loaded.next_offset < portion.until {
            let (record, next) =
                BlockRecord::at(&loaded.bytes, loaded.position).ok_or_else(|| damaged("a record cannot be read"))?;
            if loaded.next_offset >= portion.from {
                record.push_to(batch, &cursor.partition.topic, cursor.partition.partition, loaded.next_offset);
            }
            loaded.next_offset += 1;
            loaded.position = next;
        }
        cursor.position = portion.until;
        cursor.block = Some(loaded);
        Ok(())
    }
}

impl Reader for EmbeddedReader {
    fn assign(&mut self, partition: &TopicPartition, offset: u64) -> Result<()> {
        let (topic, _) = self.shared.lock("assign")?.locate(partition, "assign")?;
        let cursor = Cursor { partition: partition.clone(), topic, position: offset, reached_end: false, block: None };
        match self.cursors.iter_mut().find(|cursor| cursor.partition == *partition) {
            Some(assigned) => *assigned = cursor,
            None => self.cursors.push(cursor),
        }
        Ok(())
    }

    fn unassign(&mut self, partition: &TopicPartition) -> Result<()> {
        self.cursors.retain(|cursor| cursor.partition != *partition);
        Ok(())
    }

    fn poll(&mut self, batch: &mut RecordBatch, records_max: usize, timeout: Duration) -> Result<()> {
        batch.clear();
        let shared = Arc::clone(&self.shared);
        let deadline = shared.now().saturating_add(timeout);
        let portions = loop {
            let core = shared.lock("poll")?;
            let portions = self.plan(&core, records_max)?;
            if !portions.is_empty() || !shared.wait(core, deadline) {
                break portions;
            }
        };
        portions.iter().try_for_each(|portion| self.take(portion, batch))
    }

    fn reached_end(&self, partition: &TopicPartition) -> bool {
        self.cursors.iter().any(|cursor| cursor.partition == *partition && cursor.reached_end)
    }
}

fn load(portion: &Portion, mut bytes: Vec<u8>) -> Result<LoadedBlock> {
    let BlockIndex { first_offset, position, length, checksum, .. } = portion.block;
    read_block(&portion.segment, position, length, checksum, &mut bytes)?;
    Ok(LoadedBlock { first_offset, bytes, next_offset: first_offset, position: 0 })
}

/// Replaces `bytes` by the block.
pub(crate) fn read_block(
    segment: &Segment,
    position: u32,
    length: u32,
    checksum: u32,
    bytes: &mut Vec<u8>,
) -> Result<()> {
    bytes.resize(length as usize, 0);
    segment
        .read_exact_at(bytes, position)
        .map_err(|error| damaged(&format!("{} at {position}: {error}", segment.path.display())))?;
    if crc32fast::hash(bytes) != checksum {
        return Err(damaged(&format!("{} at {position}: the checksum of a block is wrong", segment.path.display())));
    }
    Ok(())
}

fn damaged(message: &str) -> BrokerError {
    let message = format!("journal_damaged: {message}; restore the broker's directory from a copy, or wipe it");
    BrokerError::new(BrokerErrorKind::Fatal, "poll", message)
}
