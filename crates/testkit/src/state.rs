//! Stores in memory.

use std::collections::BTreeMap;
use std::ops::Bound;

use tidemill_core::chain::UndoState;
use tidemill_core::state::Pair;
use tidemill_core::{State, StateError, StateValue, Store};

type Stores = BTreeMap<&'static str, BTreeMap<Vec<u8>, Vec<u8>>>;

/// All stores of one task. [`MemoryState::dump`] compares them byte for byte.
#[derive(Clone, Debug, Default)]
pub struct MemoryState {
    stores: Stores,
    /// What each change since the mark replaced, oldest first.
    undo: Vec<Replaced>,
}

#[derive(Clone, Debug)]
struct Replaced {
    store: &'static str,
    key: Vec<u8>,
    value: Option<Vec<u8>>,
}

impl MemoryState {
    /// What `store` holds under `key`.
    pub fn read<V: StateValue>(&mut self, store: Store<V>, key: &[u8]) -> Option<V> {
        store.get(self, key).expect("the state of a test can be read")
    }

    /// Everything that `store` holds, in key order.
    pub fn values<V: StateValue>(&self, store: Store<V>) -> Vec<(Vec<u8>, V)> {
        let values = self.stores.get(store.name()).into_iter().flatten();
        values.map(|(key, bytes)| (key.clone(), store.decode(bytes).expect("a value of the store"))).collect()
    }

    /// Keys and bytes of every store, for comparisons.
    pub fn dump(&self) -> BTreeMap<&'static str, BTreeMap<Vec<u8>, Vec<u8>>> {
        self.stores.clone()
    }

    pub fn len(&self, store: &'static str) -> usize {
        self.stores.get(store).map_or(0, BTreeMap::len)
    }
}

impl State for MemoryState {
    fn get(&mut self, store: &'static str, key: &[u8]) -> Result<Option<&[u8]>, StateError> {
        Ok(self.stores.get(store).and_then(|values| values.get(key)).map(Vec::as_slice))
    }

    fn put(&mut self, store: &'static str, key: &[u8], value: Vec<u8>) -> Result<(), StateError> {
        let value = self.stores.entry(store).or_default().insert(key.to_vec(), value);
        self.undo.push(Replaced { store, key: key.to_vec(), value });
        Ok(())
    }

    fn delete(&mut self, store: &'static str, key: &[u8]) -> Result<(), StateError> {
        if let Some(values) = self.stores.get_mut(store) {
            let value = values.remove(key);
            self.undo.push(Replaced { store, key: key.to_vec(), value });
        }
        Ok(())
    }

    fn scan(&mut self, store: &'static str, after: &[u8], limit: usize) -> Result<Vec<Pair>, StateError> {
        let Some(values) = self.stores.get(store) else { return Ok(Vec::new()) };
        let range = values.range::<[u8], _>((Bound::Excluded(after), Bound::Unbounded));
        Ok(range.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
    }
}

impl UndoState for MemoryState {
    fn mark(&mut self) {
        self.undo.clear();
    }

    fn undo(&mut self) {
        while let Some(Replaced { store, key, value }) = self.undo.pop() {
            let values = self.stores.entry(store).or_default();
            match value {
                Some(value) => values.insert(key, value),
                None => values.remove(&key),
            };
        }
    }
}
