//! Current values, written once per key and transaction: a hot account costs one balance record, not one per payment.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::broker::{Outgoing, Result};

#[derive(Debug)]
struct Kept {
    partition: u32,
    timestamp_ms: i64,
    value: Vec<u8>,
}

/// The last value of each key of the open transaction. Ordered, so that the same input gives the same records.
#[derive(Debug, Default)]
pub(crate) struct Latest {
    kept: BTreeMap<Arc<str>, BTreeMap<Vec<u8>, Kept>>,
}

impl Latest {
    pub(crate) fn keep(&mut self, topic: &Arc<str>, record: &Outgoing<'_>) {
        let value = record.value.unwrap_or_default();
        let key = record.key.unwrap_or_default();
        let of_topic = match self.kept.get_mut(topic) {
            Some(of_topic) => of_topic,
            None => self.kept.entry(Arc::clone(topic)).or_default(),
        };
        match of_topic.get_mut(key) {
            Some(kept) => {
                kept.timestamp_ms = record.timestamp_ms;
                kept.value.clear();
                kept.value.extend_from_slice(value);
            }
            None => {
                let kept =
                    Kept { partition: record.partition, timestamp_ms: record.timestamp_ms, value: value.to_vec() };
                of_topic.insert(key.to_vec(), kept);
            }
        }
    }

    /// Hands every kept value to `write` and forgets it.
    pub(crate) fn drain(&mut self, mut write: impl FnMut(&Outgoing<'_>) -> Result<()>) -> Result<()> {
        for (topic, of_topic) in &mut self.kept {
            for (key, kept) in std::mem::take(of_topic) {
                write(&Outgoing {
                    topic,
                    partition: kept.partition,
                    timestamp_ms: kept.timestamp_ms,
                    key: Some(&key),
                    value: Some(&kept.value),
                    headers: &[],
                })?;
            }
        }
        Ok(())
    }

    pub(crate) fn clear(&mut self) {
        self.kept.clear();
    }
}
