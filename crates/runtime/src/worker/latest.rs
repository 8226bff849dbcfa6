//! Current values, written once per key and transaction: a hot account costs one balance record, not one per payment, and
//! is encoded once.

use std::sync::Arc;

use tidemill_core::AnyEvent;

use crate::store::changes::{Changes, KeyHasher};
use crate::worker::program::Port;

/// An event that is the last of its key so far.
pub(crate) struct Kept {
    pub(crate) port: Port,
    pub(crate) partition: u32,
    pub(crate) event: AnyEvent,
}

/// The last event of each key of the open transaction, in the order in which the keys came: the same input gives the
/// same records.
#[derive(Default)]
pub(crate) struct Latest {
    /// By topic, each with the place in `kept` under the key.
    topics: Vec<(Arc<str>, Changes)>,
    kept: Vec<Kept>,
    hasher: KeyHasher,
}

impl Latest {
    pub(crate) fn keep(&mut self, port: &Port, partition: u32, key: &[u8], event: AnyEvent) {
        let topic = &port.topic;
        let number = self.topics.iter().position(|(known, _)| known == topic).unwrap_or_else(|| {
            self.topics.push((Arc::clone(topic), Changes::default()));
            self.topics.len() - 1
        });
        let places = &mut self.topics[number].1;
        let hash = self.hasher.hash(key);
        let place =
            places.get(hash, key).flatten().and_then(|place| Some(usize::from_ne_bytes(place.try_into().ok()?)));
        match place.and_then(|place| self.kept.get_mut(place)) {
            Some(kept) => kept.event = event,
            None => {
                places.put(hash, key, Some(&self.kept.len().to_ne_bytes()));
                self.kept.push(Kept { port: port.clone(), partition, event });
            }
        }
    }

    /// Hands over every kept event, and leaves none.
    pub(crate) fn drain(&mut self) -> Vec<Kept> {
        self.topics.iter_mut().for_each(|(_, places)| places.clear());
        std::mem::take(&mut self.kept)
    }
}
