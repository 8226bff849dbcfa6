//! Several layers of changes, one over the other, seen as one ordered key space.

use crate::store::Pair;

/// The next changes of a layer in key order.
pub(crate) struct Layer {
    pub(crate) changes: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// It has more if it has so many.
    pub(crate) limit: usize,
}

impl Layer {
    fn is_last(&self) -> bool {
        self.changes.len() < self.limit
    }
}

/// Appends pairs in key order until there are `limit`; a layer hides those behind it. Returns the key after which to go on,
/// if there may be more.
pub(crate) fn merge(layers: &mut [Layer], limit: usize, pairs: &mut Vec<Pair>) -> Option<Vec<u8>> {
    // Beyond the last key of a layer that has more, nothing is known.
    let last_keys = layers.iter().filter(|layer| !layer.is_last()).filter_map(|layer| layer.changes.last());
    let known = last_keys.map(|(key, _)| key.clone()).min();
    let taken = layers
        .iter_mut()
        .enumerate()
        .flat_map(|(number, layer)| layer.changes.drain(..).map(move |(key, value)| (key, number, value)));
    let mut changes: Vec<_> = taken.filter(|(key, ..)| known.as_ref().is_none_or(|known| key <= known)).collect();
    changes.sort_unstable_by(|one, other| (&one.0, one.1).cmp(&(&other.0, other.1)));
    changes.dedup_by(|later, earlier| later.0 == earlier.0);
    pairs.extend(changes.into_iter().filter_map(|(key, _, value)| Some((key, value?))));
    pairs.truncate(limit);
    known.filter(|_| pairs.len() < limit)
}
