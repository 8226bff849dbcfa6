//! Reads partitions from the logs. Never waits: a poll returns what there is.

use std::sync::Arc;
use std::time::Duration;

use tidemill_runtime::broker::{Isolation, Reader, RecordBatch, Result, TopicPartition};

use super::refusal::Refusal;
use super::topics::PartitionId;
use super::{Shared, about};

struct Cursor {
    partition: TopicPartition,
    id: PartitionId,
    position: u64,
    /// Offsets since the last record that hold nothing to read.
    passed_over: u64,
    reached_end: bool,
}

pub(super) struct ModelReader {
    shared: Arc<Shared>,
    isolation: Isolation,
    cursors: Vec<Cursor>,
    /// Where the next poll begins, so that one full partition does not starve the others.
    first: usize,
}

impl ModelReader {
    pub(super) fn new(shared: &Arc<Shared>, isolation: Isolation) -> Self {
        Self { shared: Arc::clone(shared), isolation, cursors: Vec::new(), first: 0 }
    }
}

impl Reader for ModelReader {
    fn assign(&mut self, partition: &TopicPartition, offset: u64) -> Result<()> {
        let id = self.shared.lock().topics.locate(partition);
        let id = id.map_err(|refusal| about("assign", refusal, &partition.topic))?;
        let cursor = Cursor { partition: partition.clone(), id, position: offset, passed_over: 0, reached_end: false };
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

    fn poll(&mut self, batch: &mut RecordBatch, records_max: usize, _timeout: Duration) -> Result<()> {
        batch.clear();
        let core = self.shared.lock();
        let count = self.cursors.len();
        self.first = self.first.checked_rem(count).unwrap_or(0);
        for index in (0..count).map(|index| (self.first + index) % count) {
            let cursor = &mut self.cursors[index];
            let refuse = |refusal| about("poll a reader", refusal, &cursor.partition.topic);
            let log = core.topics.log(cursor.id).map_err(refuse)?;
            if !(log.low()..=log.end()).contains(&cursor.position) {
                return Err(refuse(Refusal::OffsetOutOfRange));
            }
            let rest = records_max - batch.len();
            let TopicPartition { topic, partition } = &cursor.partition;
            let position = cursor.position;
            let passed_over = &mut cursor.passed_over;
            cursor.position = log.read(position, self.isolation, rest, passed_over, |offset, passed_over, record| {
                let headers = record.headers.iter().map(|(name, value)| (&**name, value.as_deref()));
                let (key, value) = (record.key.as_deref(), record.value.as_deref());
                batch.push(topic, *partition, offset, passed_over, record.timestamp_ms, key, value, headers);
            });
            cursor.reached_end = cursor.position >= log.readable_end(self.isolation);
        }
        self.first += 1;
        Ok(())
    }

    fn reached_end(&self, partition: &TopicPartition) -> bool {
        self.cursors.iter().any(|cursor| cursor.partition == *partition && cursor.reached_end)
    }
}
