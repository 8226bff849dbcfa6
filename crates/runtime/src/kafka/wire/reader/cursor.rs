//! One partition that is being read: what its leader has sent, and how far it has been handed out.

use std::collections::{HashSet, VecDeque};

use bytes::Bytes;
use kafka_protocol::messages::fetch_response::PartitionData;

use crate::broker::{RecordBatch, TopicPartition};
use crate::kafka::wire::reader::records::{Batch, Control, Fields, Unreadable};

pub(super) struct Cursor {
    pub(super) partition: TopicPartition,
    /// As the protocol counts.
    pub(super) number: i32,
    /// What was asked for before this has nothing to say about the cursor.
    pub(super) since: u64,
    /// Of the next record to hand out.
    next_offset: i64,
    /// Of the next record to ask for.
    pub(super) fetch_offset: i64,
    chunks: VecDeque<Chunk>,
    /// Records of the first batch of the first chunk, unpacked, once that has begun.
    plain: Vec<u8>,
    /// How far in `plain`, and how many records are left; `None` before the batch has begun.
    open: Option<(usize, i32)>,
    /// Where what can be read ended when the leader was last asked.
    end: Option<i64>,
}

/// Batches of one answer.
struct Chunk {
    bytes: Bytes,
    transactions: AbortedTransactions,
}

/// What nobody may read of a chunk.
struct AbortedTransactions {
    /// By producer and first offset, the latest first.
    ahead: Vec<(i64, i64)>,
    /// Producers whose records are being left out.
    skipped: HashSet<i64>,
}

impl Cursor {
    pub(super) fn new(partition: TopicPartition, number: i32, offset: i64, since: u64) -> Self {
        Self {
            partition,
            number,
            since,
            next_offset: offset,
            fetch_offset: offset,
            chunks: VecDeque::new(),
            plain: Vec::new(),
            open: None,
            end: None,
        }
    }

    /// Bytes that wait to be handed out, as they are stored.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.bytes.len()).sum()
    }

    pub(super) fn reached_end(&self) -> bool {
        self.chunks.is_empty() && self.end.is_some_and(|end| self.next_offset >= end)
    }

    /// Takes what the leader has sent. `end` is where what can be read ends.
    pub(super) fn take(&mut self, data: PartitionData, end: i64) -> Result<(), Unreadable> {
        self.end = Some(end);
        let Some(mut bytes) = data.records.filter(|bytes| !bytes.is_empty()) else { return Ok(()) };
        let mut whole = 0;
        while let Some((batch, size)) = Batch::first(&bytes[whole..])? {
            Batch::check(&bytes[whole..whole + size])?;
            whole += size;
            self.fetch_offset = batch.last_offset() + 1;
        }
        bytes.truncate(whole);
        let aborted = data.aborted_transactions.unwrap_or_default();
        let mut aborted: Vec<(i64, i64)> =
            aborted.iter().map(|aborted| (aborted.producer_id.0, aborted.first_offset)).collect();
        aborted.sort_unstable_by_key(|(_, first_offset)| std::cmp::Reverse(*first_offset));
        if whole > 0 {
            let transactions = AbortedTransactions { ahead: aborted, skipped: HashSet::new() };
            self.chunks.push_back(Chunk { bytes, transactions });
        }
        Ok(())
    }

    /// Hands out records until `batch` holds `records_max`, or `bytes_max` of them.
    pub(super) fn pull(
        &mut self,
        batch: &mut RecordBatch,
        records_max: usize,
        bytes_max: usize,
    ) -> Result<(), Unreadable> {
        while let Some(Chunk { bytes, transactions }) = self.chunks.front_mut() {
            let Some((head, size)) = Batch::first(bytes)? else {
                self.chunks.pop_front();
                continue;
            };
            if self.open.is_none() {
                if transactions.leave_out(&head)? || head.last_offset() < self.next_offset {
                    self.next_offset = self.next_offset.max(head.last_offset() + 1);
                    let _handed_out = bytes.split_to(size);
                    continue;
                }
                head.unpack(&mut self.plain)?;
                self.open = Some((0, head.count));
            }
            let Some((at, mut left)) = self.open else { continue };
            let mut fields = Fields(self.plain.get(at..).unwrap_or_default());
            while left > 0 && batch.len() < records_max && batch.bytes() < bytes_max {
                let record = head.record(&mut fields)?;
                left -= 1;
                if record.offset < self.next_offset {
                    continue;
                }
                let Ok(offset) = u64::try_from(record.offset) else { return Err(Unreadable("a negative offset")) };
                self.next_offset = record.offset + 1;
                let TopicPartition { topic, partition } = &self.partition;
                let mut headers = record.headers;
                let headers = (0..record.header_count).map_while(|_| headers.header().ok());
                batch.push(topic, *partition, offset, record.timestamp_ms, record.key, record.value, headers);
            }
            if left > 0 {
                self.open = Some((self.plain.len() - fields.0.len(), left));
                return Ok(());
            }
            // Compaction may have removed the last records of the batch.
            self.next_offset = self.next_offset.max(head.last_offset() + 1);
            self.open = None;
            let _handed_out = bytes.split_to(size);
        }
        Ok(())
    }
}

impl AbortedTransactions {
    /// Whether the batch is nobody's: a marker, or part of an aborted transaction.
    fn leave_out(&mut self, batch: &Batch<'_>) -> Result<bool, Unreadable> {
        while let Some((producer, _)) = self.ahead.pop_if(|(_, first_offset)| *first_offset <= batch.last_offset()) {
            self.skipped.insert(producer);
        }
        if batch.is_control() {
            if batch.control()? == Control::Abort {
                self.skipped.remove(&batch.producer_id);
            }
            return Ok(true);
        }
        Ok(batch.is_transactional() && self.skipped.contains(&batch.producer_id))
    }
}
