//! The state of a task, read from its log by somebody who does not own it.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use crate::broker::{Broker, BrokerError, BrokerErrorKind, Isolation, TopicPartition, read_range};
use crate::parking::{self, PARKED_KEYS, ParkedKey};
use crate::state_log::{LogError, LogRecord};
use crate::store::changes::SEPARATOR;
use crate::task::checkpoint::Checkpoint;

/// The state of so long ago cannot be told any more.
const STATE_CUT: &str = "state_log_cut";

/// What one store of one task holds, and the checkpoint that stands for it.
#[derive(Debug, Default)]
pub struct StoreView {
    /// By key, without the name of the store.
    pub pairs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub checkpoint: Checkpoint,
}

/// Everything in `store` whose key `is_wanted`, as of the offset `end` of the state log, or as of now.
pub fn read_store(
    broker: &dyn Broker,
    log: &TopicPartition,
    store: &str,
    end: Option<u64>,
    mut is_wanted: impl FnMut(&[u8]) -> bool,
) -> Result<StoreView, BrokerError> {
    let watermarks = broker.watermarks(log, Isolation::ReadCommitted)?;
    let end = end.unwrap_or(u64::MAX).min(watermarks.high);
    let prefix = [store.as_bytes(), &[SEPARATOR]].concat();
    let mut view = StoreView::default();
    let mut open: Vec<(Vec<u8>, Option<Vec<u8>>)> = Vec::new();
    read_range(broker, log, watermarks.low..end, |record| {
        let unreadable = |error: String| {
            let message = format!("{}: {error}", record.origin);
            BrokerError::new(BrokerErrorKind::Misconfigured, "read a state log", message)
        };
        let logged = LogRecord::decode(record.key, record.value).map_err(|error| unreadable(error.to_string()))?;
        let changes = logged.for_each_change(|(key, value)| {
            if let Some(key) = key.strip_prefix(prefix.as_slice()).filter(|key| is_wanted(key)) {
                open.push((key.to_vec(), value.map(<[u8]>::to_vec)));
            }
            Ok::<_, LogError>(())
        });
        changes.map_err(|error| unreadable(error.to_string()))?;
        // Only whole transactions: a checkpoint ends one.
        if let Some(checkpoint) = logged.decode_checkpoint().map_err(|error| unreadable(error.to_string()))? {
            view.checkpoint = checkpoint;
            for (key, value) in open.drain(..) {
                match value {
                    Some(value) => view.pairs.insert(key, value),
                    None => view.pairs.remove(&key),
                };
            }
        }
        Ok::<_, BrokerError>(ControlFlow::Continue(()))
    })?;
    // A state log is kept short: of the state of an earlier time, what was deleted since may be missing.
    if watermarks.low > view.checkpoint.cleaning.dead_before {
        let message = format!(
            "{STATE_CUT}: the log of {}-{} begins at {} by now, and what held at that offset began at {}",
            log.topic, log.partition, watermarks.low, view.checkpoint.cleaning.dead_before
        );
        return Err(BrokerError::new(BrokerErrorKind::OffsetOutOfRange, "read a store", message));
    }
    Ok(view)
}

/// A key that is parked, and where.
#[derive(Clone, Debug)]
pub struct ParkedView {
    pub topic: String,
    pub partition: u32,
    pub key: Vec<u8>,
    pub parked: ParkedKey,
}

/// All keys that are parked in one task.
pub fn parked(broker: &dyn Broker, log: &TopicPartition) -> Result<Vec<ParkedView>, BrokerError> {
    let view = read_store(broker, log, PARKED_KEYS.name(), None, |_| true)?;
    let mut parked = Vec::new();
    for (state_key, value) in &view.pairs {
        let unreadable =
            |message: String| BrokerError::new(BrokerErrorKind::Misconfigured, "read what is parked", message);
        let Some((topic, key)) = parking::parts_of(state_key) else { continue };
        let value = PARKED_KEYS.decode(value).map_err(|error| unreadable(error.to_string()))?;
        parked.push(ParkedView { topic: topic.to_owned(), partition: log.partition, key: key.to_vec(), parked: value });
    }
    Ok(parked)
}
