//! Follows a state log: brings a store on by what is read of it, transaction by transaction.

use std::time::Duration;

use crate::broker::{Broker, BrokerError, BrokerErrorKind, Isolation, RecordBatch, TopicPartition};
use crate::state_log::LogRecord;
use crate::store::write_behind::WriteBehind;
use crate::task::restore::StartError;

/// A record may have half a megabyte.
pub(crate) const BATCH_RECORDS_MAX: usize = 64;
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Applies the records of one partition of a state log to its store.
///
/// Invariant: the store never stands in the middle of a transaction.
pub(crate) struct Follower {
    partition: u32,
    /// Next offset of the log to read: behind that of the store where a transaction is read half.
    next_offset: u64,
    /// Records whose checkpoint is still to come.
    unfinished: Vec<Vec<u8>>,
}

/// What records have brought.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Applied {
    /// Changes that the store has taken, with the checkpoints.
    pub(crate) changes: u64,
    /// Bytes of records that were read.
    pub(crate) bytes: u64,
}

impl Follower {
    pub(crate) fn new(partition: u32, next_offset: u64) -> Self {
        Self { partition, next_offset, unfinished: Vec::new() }
    }

    pub(crate) fn next_offset(&self) -> u64 {
        self.next_offset
    }

    /// Applies what the batch holds of this partition. What was read before is passed over: a reader may give it once
    /// more. After an error neither the store nor this is of any use.
    pub(crate) fn apply(&mut self, batch: &RecordBatch, store: &mut WriteBehind) -> Result<Applied, StartError> {
        let mut applied = Applied::default();
        for (index, meta) in batch.metas().iter().enumerate() {
            if meta.partition != self.partition || meta.offset < self.next_offset {
                continue;
            }
            let view = batch.view(index, &[]);
            let record = LogRecord::decode(view.key, view.value)?;
            let value = view.value.unwrap_or_default();
            match record.checkpoint {
                Some(checkpoint) => {
                    for earlier in self.unfinished.drain(..) {
                        applied.changes += apply(&LogRecord::decode(None, Some(&earlier))?, store)?;
                    }
                    applied.changes += apply(&record, store)? + 1;
                    store.settle(checkpoint, meta.offset + 1)?;
                }
                None => self.unfinished.push(value.to_vec()),
            }
            applied.bytes += value.len() as u64;
            self.next_offset = meta.offset + 1;
        }
        Ok(applied)
    }
}

/// Returns the number of changes.
fn apply(record: &LogRecord<'_>, store: &mut WriteBehind) -> Result<u64, StartError> {
    let mut changes = 0;
    record.for_each_change(|change| {
        store.put(store.hash(change.0), change);
        changes += 1;
        Ok::<_, StartError>(())
    })?;
    Ok(changes)
}

/// How far it has come. Offsets of the state log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Followed {
    pub(crate) from: u64,
    pub(crate) next_offset: u64,
    pub(crate) end: u64,
    pub(crate) applied: Applied,
}

/// Where a store has to be followed from. One that stands before the beginning of the log has missed what was deleted since:
/// what is live was carried on, but not that a key is gone. When it is opened again, it is rebuilt.
pub(crate) fn first_offset(store: &WriteBehind, log: &TopicPartition, low: u64) -> Result<u64, StartError> {
    match store.next_offset() {
        0 => Ok(low),
        next_offset if next_offset < low && !sabotaged!(SkipCleaned) => {
            let message = format!("{}-{} begins at {low}, and the store is at {next_offset}", log.topic, log.partition);
            Err(BrokerError::new(BrokerErrorKind::OffsetOutOfRange, "follow a state log", message).into())
        }
        next_offset => Ok(next_offset.max(low)),
    }
}

/// Applies everything that can be read now, and nothing if the store has it all. `tell` is called at the beginning and
/// after each piece; an error from it ends the following.
pub(crate) fn catch_up(
    broker: &dyn Broker,
    log: &TopicPartition,
    store: &mut WriteBehind,
    tell: &mut dyn FnMut(&Followed) -> Result<(), StartError>,
) -> Result<(), StartError> {
    let watermarks = broker.watermarks(log, Isolation::ReadCommitted)?;
    let from = first_offset(store, log, watermarks.low)?;
    if from >= watermarks.high {
        return Ok(());
    }
    let mut followed = Followed { from, next_offset: from, end: watermarks.high, applied: Applied::default() };
    let mut follower = Follower::new(log.partition, from);
    let mut reader = broker.reader(Isolation::ReadCommitted)?;
    let first = if sabotaged!(RestoreOffByOne) { from + 1 } else { from };
    reader.assign(log, first)?;
    let mut batch = RecordBatch::default();
    tell(&followed)?;
    loop {
        reader.poll(&mut batch, BATCH_RECORDS_MAX, POLL_INTERVAL)?;
        let Applied { changes, bytes } = follower.apply(&batch, store)?;
        followed.applied.changes += changes;
        followed.applied.bytes += bytes;
        followed.next_offset = follower.next_offset();
        tell(&followed)?;
        if followed.next_offset >= watermarks.high || (batch.is_empty() && reader.reached_end(log)) {
            return Ok(());
        }
    }
}
