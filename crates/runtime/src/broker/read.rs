//! Reads a partition from one offset to another, once: for everything that is not the pipeline's own work.

use std::ops::{ControlFlow, Range};
use std::time::Duration;

use tidemill_core::RecordView;

use crate::broker::{Broker, BrokerError, BrokerErrorKind, Isolation, Reader, RecordBatch, RecordMeta, TopicPartition};

const BATCH_RECORDS_MAX: usize = 5_000;
const POLL_WAIT: Duration = Duration::from_millis(50);
/// Half a minute without a record and without an end: the broker is away.
const EMPTY_POLLS_MAX: u32 = 600;

/// Shows `visit` every committed record of the partition whose offset is in `range`, until it breaks. Returns the offset
/// after the last record that was shown, or the end of the range where no record is left in it.
pub fn read_range<E: From<BrokerError>>(
    broker: &dyn Broker,
    partition: &TopicPartition,
    range: Range<u64>,
    visit: impl FnMut(&RecordView<'_>) -> Result<ControlFlow<()>, E>,
) -> Result<u64, E> {
    if range.is_empty() {
        return Ok(range.end);
    }
    let mut reader = broker.reader(Isolation::ReadCommitted)?;
    read_range_with(reader.as_mut(), partition, range, visit)
}

/// [`read_range`] with a reader that reads nothing else, for those who read often.
pub(crate) fn read_range_with<E: From<BrokerError>>(
    reader: &mut dyn Reader,
    partition: &TopicPartition,
    range: Range<u64>,
    mut visit: impl FnMut(&RecordView<'_>) -> Result<ControlFlow<()>, E>,
) -> Result<u64, E> {
    if range.is_empty() {
        return Ok(range.end);
    }
    reader.assign(partition, range.start)?;
    let mut batch = RecordBatch::default();
    let mut empty_polls = 0;
    loop {
        reader.poll(&mut batch, BATCH_RECORDS_MAX, POLL_WAIT)?;
        let is_ours = |meta: &RecordMeta| meta.topic == partition.topic && meta.partition == partition.partition;
        // What is on its way of a partition that was read before may still arrive.
        for index in (0..batch.len()).filter(|index| is_ours(&batch.metas()[*index])) {
            let headers = batch.headers(index);
            let record = batch.view(index, &headers);
            if record.origin.offset >= range.end {
                return Ok(range.end);
            }
            if visit(&record)?.is_break() {
                return Ok(record.origin.offset + 1);
            }
        }
        let is_past = batch.metas().last().is_some_and(|last| is_ours(last) && last.offset + 1 >= range.end);
        if is_past || (batch.is_empty() && reader.reached_end(partition)) {
            return Ok(range.end);
        }
        empty_polls = if batch.is_empty() { empty_polls + 1 } else { 0 };
        if empty_polls > EMPTY_POLLS_MAX {
            let message = format!("nothing of {}-{} came for half a minute", partition.topic, partition.partition);
            return Err(BrokerError::new(BrokerErrorKind::Retriable, "read a partition", message).into());
        }
    }
}

/// [`read_range`] over everything that can be read now.
pub fn read_all<E: From<BrokerError>>(
    broker: &dyn Broker,
    partition: &TopicPartition,
    visit: impl FnMut(&RecordView<'_>) -> Result<ControlFlow<()>, E>,
) -> Result<u64, E> {
    let watermarks = broker.watermarks(partition, Isolation::ReadCommitted)?;
    read_range(broker, partition, watermarks.low..watermarks.high, visit)
}
