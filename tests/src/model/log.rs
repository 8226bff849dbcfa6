//! The log of one partition: batches and markers with their offsets, and whose transaction is open in it.

use std::collections::BTreeMap;

use tidemill_runtime::broker::Isolation;

use super::refusal::Refusal;

pub type ProducerId = u64;

/// How a transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionEnd {
    Commit,
    Abort,
}

#[derive(Clone, Debug)]
pub(super) struct StoredRecord {
    pub(super) timestamp_ms: i64,
    pub(super) key: Option<Box<[u8]>>,
    pub(super) value: Option<Box<[u8]>>,
    pub(super) headers: Vec<StoredHeader>,
}

/// Name and value.
pub(super) type StoredHeader = (Box<str>, Option<Box<[u8]>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Written without a transaction.
    Plain,
    Open(ProducerId),
    Committed,
    Aborted,
    /// Ends a transaction in this partition; occupies one offset.
    Marker,
}

#[derive(Debug)]
struct Batch {
    first_offset: u64,
    standing: Standing,
    records: Vec<StoredRecord>,
}

/// What the partition knows of a producer.
#[derive(Clone, Copy, Debug)]
struct Writer {
    epoch: u32,
    /// First offset of its open transaction here.
    open_from: Option<u64>,
}

#[derive(Debug, Default)]
pub(super) struct PartitionLog {
    batches: Vec<Batch>,
    end: u64,
    /// The first offset that was not deleted.
    low: u64,
    writers: BTreeMap<ProducerId, Writer>,
}

impl PartitionLog {
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    pub(super) fn low(&self) -> u64 {
        self.low
    }

    pub(super) fn delete_before(&mut self, before: u64) -> Result<(), Refusal> {
        if before > self.end {
            return Err(Refusal::OffsetOutOfRange);
        }
        self.low = self.low.max(before);
        Ok(())
    }

    /// The last stable offset: the first offset of the earliest open transaction.
    pub(super) fn stable_end(&self) -> u64 {
        self.writers.values().filter_map(|writer| writer.open_from).min().unwrap_or(self.end)
    }

    pub(super) fn readable_end(&self, isolation: Isolation) -> u64 {
        match isolation {
            Isolation::ReadCommitted => self.stable_end(),
            Isolation::ReadUncommitted => self.end,
        }
    }

    /// Producers with an open transaction: id, epoch, first offset.
    pub(super) fn open(&self) -> impl Iterator<Item = (ProducerId, u32, u64)> + '_ {
        self.writers.iter().filter_map(|(id, writer)| Some((*id, writer.epoch, writer.open_from?)))
    }

    pub(super) fn append_plain(&mut self, records: Vec<StoredRecord>) {
        self.append(Standing::Plain, records);
    }

    /// Adds records to the producer's transaction. One that is open already goes on, also at a later epoch: the log
    /// does not know where the coordinator draws the line.
    pub(super) fn append_open(
        &mut self,
        producer: ProducerId,
        epoch: u32,
        records: Vec<StoredRecord>,
    ) -> Result<(), Refusal> {
        let first = self.end;
        let writer = self.writers.entry(producer).or_insert(Writer { epoch, open_from: None });
        if epoch < writer.epoch {
            return Err(Refusal::ProducerFenced);
        }
        writer.epoch = epoch;
        if !records.is_empty() {
            writer.open_from.get_or_insert(first);
            self.append(Standing::Open(producer), records);
        }
        Ok(())
    }

    /// Writes a marker, which decides everything of the producer that is open here.
    pub(super) fn write_marker(&mut self, producer: ProducerId, epoch: u32, end: TransactionEnd) {
        let writer = self.writers.entry(producer).or_insert(Writer { epoch, open_from: None });
        writer.epoch = epoch.max(writer.epoch);
        if let Some(first) = writer.open_from.take() {
            let decided = match end {
                TransactionEnd::Commit => Standing::Committed,
                TransactionEnd::Abort => Standing::Aborted,
            };
            let index = self.batches.partition_point(|batch| batch.first_offset < first);
            let open = self.batches[index..].iter_mut().filter(|batch| batch.standing == Standing::Open(producer));
            open.for_each(|batch| batch.standing = decided);
        }
        self.append(Standing::Marker, Vec::new());
    }

    fn append(&mut self, standing: Standing, records: Vec<StoredRecord>) {
        let first_offset = self.end;
        let count = match standing {
            Standing::Marker => 1,
            _ => records.len() as u64,
        };
        if count > 0 {
            self.batches.push(Batch { first_offset, standing, records });
            self.end += count;
        }
    }

    /// Hands over at most `records_max` records from `offset` on that can be read, each with the offsets before it that hold
    /// nothing to read, and says where the next read begins. `passed_over` is handed on from read to read.
    pub(super) fn read(
        &self,
        offset: u64,
        isolation: Isolation,
        records_max: usize,
        passed_over: &mut u64,
        mut take: impl FnMut(u64, u64, &StoredRecord),
    ) -> u64 {
        let (end, mut next, mut remaining) = (self.readable_end(isolation), offset, records_max);
        let index = self.batches.partition_point(|batch| batch.first_offset <= offset).saturating_sub(1);
        for batch in &self.batches[index.min(self.batches.len())..] {
            if batch.first_offset >= end {
                return next;
            }
            if is_readable(batch.standing, isolation) {
                let skipped = next.saturating_sub(batch.first_offset) as usize;
                for (index, record) in batch.records.iter().enumerate().skip(skipped) {
                    if remaining == 0 {
                        return next;
                    }
                    remaining -= 1;
                    take(batch.first_offset + index as u64, std::mem::take(passed_over), record);
                    next = batch.first_offset + index as u64 + 1;
                }
            } else {
                let end = batch.first_offset + (batch.records.len() as u64).max(1);
                *passed_over += end.saturating_sub(next.max(batch.first_offset));
                next = next.max(end);
            }
        }
        next
    }

    /// The first offset below the stable end whose record is not older than `timestamp_ms`.
    pub(super) fn offset_for_time(&self, timestamp_ms: i64) -> Option<u64> {
        let records = self.batches.iter().flat_map(|batch| (batch.first_offset..).zip(&batch.records));
        let stable_end = self.stable_end();
        let mut found =
            records.filter(|(offset, _)| *offset >= self.low).take_while(|(offset, _)| *offset < stable_end);
        found.find(|(_, record)| record.timestamp_ms >= timestamp_ms).map(|(offset, _)| offset)
    }
}

fn is_readable(standing: Standing, isolation: Isolation) -> bool {
    match (standing, isolation) {
        (Standing::Plain | Standing::Committed, _) => true,
        (Standing::Open(_) | Standing::Aborted, Isolation::ReadUncommitted) => true,
        (Standing::Open(_) | Standing::Aborted, Isolation::ReadCommitted) | (Standing::Marker, _) => false,
    }
}
