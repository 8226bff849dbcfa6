//! State of one task: an overlay of the open transaction over the local store.
//!
//! Invariant: nothing reaches the local store before the transaction that holds it is known to be committed.

use tidemill_core::chain::UndoState;
use tidemill_core::state::Pair;
use tidemill_core::{State, StateError};

use crate::state_log::{Cleaning, StateLogPolicy};
use crate::store::StoreError;
use crate::store::changes::{Change, Changes, SEPARATOR};
use crate::store::layers::{self, Layer};
use crate::store::write_behind::{KEY_BYTES_MAX, WriteBehind};

/// Above every key: names of stores are ASCII.
const KEY_END: &[u8] = &[0xff];

pub struct TaskState {
    store: WriteBehind,
    /// What the open transaction has changed.
    overlay: Changes,
    full_key: Vec<u8>,
    fetched: Option<Vec<u8>>,
    is_damaged: bool,
    /// Why the store could not be read, if it could not since somebody asked.
    failure: Option<StoreError>,
}

impl std::fmt::Debug for TaskState {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "TaskState({} changes open)", self.overlay.len())
    }
}

impl TaskState {
    pub fn new(store: WriteBehind) -> Self {
        Self {
            store,
            overlay: Changes::default(),
            full_key: Vec::new(),
            fetched: None,
            is_damaged: false,
            failure: None,
        }
    }

    /// Changes of the open transaction: each key once, with its last value.
    pub fn changes(&self) -> impl Iterator<Item = Change<'_>> {
        self.overlay.iter().map(|(_, change)| change)
    }

    /// Memory that the open transaction's changes take.
    pub fn overlay_bytes(&self) -> usize {
        self.overlay.bytes()
    }

    /// Goes on with the cleaning of the state log: shows `carry` the entries that this transaction has to write again.
    pub fn carry<E: From<StoreError>>(
        &mut self,
        cleaning: &mut Cleaning,
        policy: &StateLogPolicy,
        mut carry: impl FnMut(Change<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        cleaning.begin_if_due(policy, self.store.durable_offset());
        let mut bytes_left = cleaning.carried_bytes(policy, self.overlay.bytes() as u64);
        while let Some(pass) = cleaning.pass.as_ref().filter(|_| bytes_left > 0) {
            let entries = self.store.scan_on_disk(&pass.after, KEY_END, policy.scanned_entries);
            let entries = self.note_damage(entries)?;
            for entry @ (key, value) in &entries {
                cleaning.looked_at(entry);
                bytes_left = bytes_left.saturating_sub((key.len() + value.len()) as u64);
                let hash = self.store.hash(key);
                let is_newer = self.overlay.get(hash, key).is_some() || self.store.is_unwritten(hash, key);
                if !is_newer || sabotaged!(CarryStale) {
                    carry((key, Some(value)))?;
                }
            }
            if entries.len() < policy.scanned_entries || sabotaged!(CleanEarly) {
                cleaning.end_pass();
            }
        }
        Ok(())
    }

    /// The transaction is committed: brings the store to it, together with the checkpoint.
    pub fn apply(&mut self, checkpoint: &[u8], next_offset: u64) -> Result<(), StoreError> {
        for (hash, change) in self.overlay.iter() {
            self.store.put(hash, change);
        }
        self.discard();
        let settled = self.store.settle(checkpoint, next_offset);
        self.note_damage(settled)
    }

    /// Forgets the open transaction.
    pub fn discard(&mut self) {
        self.overlay.clear();
    }

    pub fn next_offset(&self) -> u64 {
        self.store.next_offset()
    }

    /// Brings what is committed to the disk.
    pub fn flush(&mut self) -> Result<(), StoreError> {
        let flushed = self.store.flush();
        self.note_damage(flushed)
    }

    /// Whether the store has given an answer that shows that it is not what was written. It must not be opened again.
    pub fn is_damaged(&self) -> bool {
        self.is_damaged
    }

    fn note_damage<T>(&mut self, answer: Result<T, StoreError>) -> Result<T, StoreError> {
        self.is_damaged |= matches!(answer, Err(StoreError::Damaged { .. }));
        answer
    }

    /// Whether the store could be read every time since the last call. A processor only sees that its record cannot be
    /// processed, and that is no fault of the record.
    pub fn check_reads(&mut self) -> Result<(), StoreError> {
        self.failure.take().map_or(Ok(()), Err)
    }

    /// Returns the hash of the key, which is in `full_key` then.
    fn locate(&mut self, store: &str, key: &[u8]) -> u64 {
        self.full_key.clear();
        self.full_key.extend_from_slice(store.as_bytes());
        self.full_key.push(SEPARATOR);
        self.full_key.extend_from_slice(key);
        self.store.hash(&self.full_key)
    }

    fn write(&mut self, store: &'static str, key: &[u8], value: Option<&[u8]>) -> Result<(), StateError> {
        let hash = self.locate(store, key);
        if self.full_key.len() > KEY_BYTES_MAX {
            let message = format!("a key of {} bytes is longer than {KEY_BYTES_MAX}", self.full_key.len());
            return Err(StateError::Unavailable { store, message });
        }
        self.overlay.put(hash, &self.full_key, value);
        Ok(())
    }
}

impl State for TaskState {
    fn get(&mut self, store: &'static str, key: &[u8]) -> Result<Option<&[u8]>, StateError> {
        let hash = self.locate(store, key);
        let Self { overlay, store: behind, full_key, .. } = self;
        if let Some(value) = overlay.get(hash, full_key).or_else(|| behind.get_in_memory(hash, full_key)) {
            return Ok(value);
        }
        self.fetched = match behind.get_on_disk(full_key) {
            Ok(value) => value,
            Err(error) => return Err(unavailable(&mut self.failure, &mut self.is_damaged, store, error)),
        };
        Ok(self.fetched.as_deref())
    }

    fn put(&mut self, store: &'static str, key: &[u8], value: Vec<u8>) -> Result<(), StateError> {
        self.write(store, key, Some(&value))
    }

    fn delete(&mut self, store: &'static str, key: &[u8]) -> Result<(), StateError> {
        self.write(store, key, None)
    }

    fn scan(&mut self, store: &'static str, after: &[u8], limit: usize) -> Result<Vec<Pair>, StateError> {
        let prefix = [store.as_bytes(), &[SEPARATOR]].concat();
        let before = [store.as_bytes(), &[SEPARATOR + 1]].concat();
        let mut after = [&prefix, after].concat();
        let mut pairs = Vec::with_capacity(limit);
        loop {
            let [pending, frozen, stored] = match self.store.layers(&prefix, &after, &before, limit) {
                Ok(layers) => layers,
                Err(error) => return Err(unavailable(&mut self.failure, &mut self.is_damaged, store, error)),
            };
            let staged = Layer { changes: self.overlay.scan(&prefix, &after, limit), limit };
            match layers::merge(&mut [staged, pending, frozen, stored], limit, &mut pairs) {
                Some(key) => after = key,
                None => break,
            }
        }
        for (key, _) in &mut pairs {
            key.drain(..prefix.len());
        }
        Ok(pairs)
    }
}

impl UndoState for TaskState {
    fn mark(&mut self) {
        self.overlay.mark();
    }

    fn undo(&mut self) {
        if !sabotaged!(ForgetUndo) {
            self.overlay.undo();
        }
    }
}

fn unavailable(
    failure: &mut Option<StoreError>,
    is_damaged: &mut bool,
    store: &'static str,
    error: StoreError,
) -> StateError {
    *is_damaged |= matches!(error, StoreError::Damaged { .. });
    let message = error.to_string();
    *failure = Some(error);
    StateError::Unavailable { store, message }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::ops::Bound;
    use std::path::Path;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::clock::SystemClock;
    use crate::store::StoreFactory;
    use crate::store::memory::MemoryStores;
    use crate::store::write_behind::Background;
    use crate::threads::SystemThreads;

    /// Writes out as soon as there are so many bytes of changes.
    fn state(bytes_max: usize) -> TaskState {
        let store = MemoryStores::default().open(Path::new("test"), "test").expect("a store in memory");
        let background = Background { threads: Arc::new(SystemThreads), clock: Arc::new(SystemClock::default()) };
        TaskState::new(WriteBehind::new(store, bytes_max, background))
    }

    proptest! {
        /// Stored and staged pairs together, from any place and with any limit, as one ordered map would give them.
        #[test]
        fn a_scan_sees_the_overlay_over_the_store(
            committed in proptest::collection::vec((0_u8..40, proptest::option::of(0_u8..9)), 0..60),
            staged in proptest::collection::vec((0_u8..40, proptest::option::of(0_u8..9)), 0..60),
            after in 0_u8..40,
            limit in 1_usize..50,
            bytes_max in 1_usize..4_000,
        ) {
            let mut state = state(bytes_max);
            let mut model = BTreeMap::new();
            let mut write = |state: &mut TaskState, changes: &[(u8, Option<u8>)]| {
                for (key, value) in changes {
                    match value {
                        Some(value) => {
                            state.put("store", &[*key], vec![*value]).expect("a put");
                            model.insert(vec![*key], vec![*value]);
                        }
                        None => {
                            state.delete("store", &[*key]).expect("a delete");
                            model.remove(&vec![*key]);
                        }
                    }
                }
            };
            let (early, late) = committed.split_at(committed.len() / 2);
            write(&mut state, early);
            state.apply(b"checkpoint", 1).expect("an apply");
            write(&mut state, late);
            // Neighbours by name, which a scan must not stray into.
            state.put("stor", b"z", vec![1]).expect("a put");
            state.put("storf", b"", vec![1]).expect("a put");
            state.apply(b"checkpoint", 2).expect("an apply");
            write(&mut state, &staged);
            let expected: Vec<Pair> = model
                .range::<Vec<u8>, _>((Bound::Excluded(vec![after]), Bound::Unbounded))
                .take(limit)
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect();
            prop_assert_eq!(state.scan("store", &[after], limit).expect("a scan"), expected);
        }
    }

    #[test]
    fn an_undo_goes_back_to_the_mark_and_no_further() {
        let mut state = state(usize::MAX);
        state.put("store", b"a", vec![1]).expect("a put");
        state.mark();
        state.put("store", b"a", vec![2]).expect("a put");
        state.delete("store", b"b").expect("a delete");
        state.put("store", b"a", vec![3]).expect("a put");
        state.undo();
        assert_eq!(state.get("store", b"a").expect("a get"), Some(&[1][..]));
        assert_eq!(state.changes().count(), 1);
    }
}
