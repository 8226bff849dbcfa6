//! Reads a partition from one offset to another, once: for everything that is not the pipeline's own work.

use std::ops::{ControlFlow, Range};
use std::time::Duration;

use tidemill_core::RecordView;

use crate::broker::{Broker, BrokerError, BrokerErrorKind, Isolation, RecordBatch, TopicPartition};

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
    mut visit: impl FnMut(&RecordView<'_>) -> Result<ControlFlow<()>, E>,
) -> Result<u64, E> {
    if range.is_empty() {
        return Ok(range.end);
    }
    let mut reader = broker.reader(Isolation::ReadCommitted)?;
    reader.assign(partition, range.start)?;
    let mut batch = RecordBatch::default();
    let mut empty_polls = 0;
    loop {
        reader.poll(&mut batch, BATCH_RECORDS_MAX, POLL_WAIT)?;
        for index in 0..batch.len() {
            let headers = batch.headers(index);
            let record = batch.view(index, &headers);
            if record.origin.offset >= range.end {
                return Ok(range.end);
            }
            if visit(&record)?.is_break() {
                return Ok(record.origin.offset + 1);
            }
        }
        let is_past = batch.metas().last().is_some_and(|last| last.offset + 1 >= range.end);
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
