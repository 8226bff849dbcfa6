//! Current values, written once per key and transaction: a hot account costs one balance record, not one per payment.

use std::sync::Arc;

use crate::broker::{Outgoing, Result};
use crate::store::changes::{Changes, KeyHasher};

/// The last value of each key of the open transaction, in the order in which the keys came: the same input gives the
/// same records.
#[derive(Debug, Default)]
pub(crate) struct Latest {
    /// By topic, each with partition, time and value of the record under its key.
    topics: Vec<(Arc<str>, Changes)>,
    hasher: KeyHasher,
    kept: Vec<u8>,
}

impl Latest {
    pub(crate) fn keep(&mut self, topic: &Arc<str>, record: &Outgoing<'_>) {
        let number = self.topics.iter().position(|(known, _)| known == topic).unwrap_or_else(|| {
            self.topics.push((Arc::clone(topic), Changes::default()));
            self.topics.len() - 1
        });
        self.kept.clear();
        self.kept.extend_from_slice(&record.partition.to_ne_bytes());
        self.kept.extend_from_slice(&record.timestamp_ms.to_ne_bytes());
        self.kept.extend_from_slice(record.value.unwrap_or_default());
        let key = record.key.unwrap_or_default();
        self.topics[number].1.put(self.hasher.hash(key), key, Some(&self.kept));
    }

    /// Hands every kept value to `write` and forgets it.
    pub(crate) fn drain(&mut self, mut write: impl FnMut(&Outgoing<'_>) -> Result<()>) -> Result<()> {
        for (topic, kept) in &mut self.topics {
            for (_, (key, kept)) in kept.iter() {
                let Some((partition, rest)) = kept.and_then(<[u8]>::split_first_chunk) else { continue };
                let Some((timestamp_ms, value)) = rest.split_first_chunk() else { continue };
                write(&Outgoing {
                    topic,
                    partition: u32::from_ne_bytes(*partition),
                    timestamp_ms: i64::from_ne_bytes(*timestamp_ms),
                    key: Some(key),
                    value: Some(value),
                    headers: &[],
                })?;
            }
            kept.clear();
        }
        Ok(())
    }

    pub(crate) fn clear(&mut self) {
        self.topics.iter_mut().for_each(|(_, kept)| kept.clear());
    }
}
