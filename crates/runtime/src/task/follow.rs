//! Follows a state log: brings a store from where it stands to the end of what can be read.

use std::time::Duration;

use crate::broker::{Broker, Isolation, RecordBatch, TopicPartition};
use crate::state_log::LogRecord;
use crate::store::write_behind::WriteBehind;
use crate::task::restore::StartError;

/// A record may have half a megabyte.
const BATCH_RECORDS_MAX: usize = 64;
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// How far it has come. Offsets of the state log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Followed {
    pub(crate) from: u64,
    pub(crate) next_offset: u64,
    pub(crate) end: u64,
    /// Read so far.
    pub(crate) bytes: u64,
}

/// Applies everything that can be read now, transaction by transaction, and nothing if the store has it all. `tell` is
/// called at the beginning and after each piece; an error from it ends the following.
pub(crate) fn catch_up(
    broker: &dyn Broker,
    log: &TopicPartition,
    store: &mut WriteBehind,
    tell: &mut dyn FnMut(&Followed) -> Result<(), StartError>,
) -> Result<(), StartError> {
    let watermarks = broker.watermarks(log, Isolation::ReadCommitted)?;
    let from = store.next_offset().max(watermarks.low);
    if from >= watermarks.high {
        return Ok(());
    }
    let mut followed = Followed { from, next_offset: from, end: watermarks.high, bytes: 0 };
    let mut reader = broker.reader(Isolation::ReadCommitted)?;
    let first = if sabotaged!(RestoreOffByOne) { from + 1 } else { from };
    reader.assign(log, first)?;
    let mut batch = RecordBatch::default();
    let mut unfinished = Vec::new();
    loop {
        tell(&followed)?;
        reader.poll(&mut batch, BATCH_RECORDS_MAX, POLL_INTERVAL)?;
        for (index, meta) in batch.metas().iter().enumerate() {
            let view = batch.view(index, &[]);
            let record = LogRecord::decode(view.key, view.value)?;
            match record.checkpoint {
                Some(checkpoint) => {
                    for value in unfinished.drain(..) {
                        let value: Vec<u8> = value;
                        apply(&LogRecord::decode(None, Some(&value))?, store)?;
                    }
                    apply(&record, store)?;
                    store.settle(checkpoint, meta.offset + 1)?;
                }
                // Waits for the checkpoint, so that the store never stands in the middle of a transaction.
                None => unfinished.push(view.value.unwrap_or_default().to_vec()),
            }
            followed.next_offset = meta.offset + 1;
        }
        followed.bytes += batch.bytes() as u64;
        if followed.next_offset >= watermarks.high || (batch.is_empty() && reader.reached_end(log)) {
            return Ok(());
        }
    }
}

fn apply(record: &LogRecord<'_>, store: &mut WriteBehind) -> Result<(), StartError> {
    record.for_each_change(|change| {
        store.put(store.hash(change.0), change);
        Ok(())
    })
}
