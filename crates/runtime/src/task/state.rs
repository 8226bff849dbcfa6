//! State of one task: an overlay of the open transaction over the local store.
//!
//! Invariant: nothing reaches the local store before the transaction that holds it is known to be committed.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Bound;

use tidemill_core::chain::UndoState;
use tidemill_core::state::Pair;
use tidemill_core::{State, StateError};

use crate::store::{StoreError, TaskStore};

/// Separates the name of a store from the key in it. Store names hold no such byte.
const SEPARATOR: u8 = 0;

pub struct TaskState {
    store: Box<dyn TaskStore>,
    /// What the open transaction has changed. `None` deletes.
    overlay: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    /// What each change since the mark replaced in the overlay, oldest first.
    undo: Vec<(Vec<u8>, Replaced)>,
    overlay_bytes: usize,
    full_key: Vec<u8>,
    fetched: Option<Vec<u8>>,
    /// Why the store could not be read, if it could not since somebody asked.
    failure: Option<StoreError>,
    is_damaged: bool,
}

/// What the overlay held under a key before: `None` when nothing, `Some(None)` when a deletion.
type Replaced = Option<Option<Vec<u8>>>;

impl std::fmt::Debug for TaskState {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "TaskState({} changes open)", self.overlay.len())
    }
}

impl TaskState {
    pub fn new(store: Box<dyn TaskStore>) -> Self {
        Self {
            store,
            overlay: BTreeMap::new(),
            undo: Vec::new(),
            overlay_bytes: 0,
            full_key: Vec::new(),
            fetched: None,
            failure: None,
            is_damaged: false,
        }
    }

    /// Changes of the open transaction, in key order: each key once, with its last value.
    pub fn changes(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.overlay.iter().map(|(key, value)| (key.as_slice(), value.as_deref()))
    }

    /// Bytes written by the open transaction, replaced values included: an upper bound of the overlay's size.
    pub fn overlay_bytes(&self) -> usize {
        self.overlay_bytes
    }

    /// The transaction is committed: brings the store to it, together with the checkpoint.
    pub fn apply(&mut self, checkpoint: &[u8], next_offset: u64) -> Result<(), StoreError> {
        let overlay = std::mem::take(&mut self.overlay);
        let changes = overlay.iter().map(|(key, value)| (key.as_slice(), value.as_deref()));
        let checkpoint = (super::checkpoint::CHECKPOINT_KEY, Some(checkpoint));
        let applied = self.store.apply(&mut changes.chain(std::iter::once(checkpoint)), next_offset);
        self.note_damage(applied)?;
        self.discard();
        Ok(())
    }

    /// Forgets the open transaction.
    pub fn discard(&mut self) {
        self.overlay.clear();
        self.undo.clear();
        self.overlay_bytes = 0;
    }

    pub fn next_offset(&self) -> u64 {
        self.store.next_offset()
    }

    pub fn sync(&mut self) -> Result<(), StoreError> {
        let synced = self.store.sync();
        self.note_damage(synced)
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

    fn write(&mut self, store: &'static str, key: &[u8], value: Option<Vec<u8>>) {
        let key = full_key(store, key);
        self.overlay_bytes += key.len() + value.as_ref().map_or(0, Vec::len);
        let before = self.overlay.insert(key.clone(), value);
        self.undo.push((key, before));
    }
}

impl State for TaskState {
    fn get(&mut self, store: &'static str, key: &[u8]) -> Result<Option<&[u8]>, StateError> {
        self.full_key.clear();
        self.full_key.extend_from_slice(store.as_bytes());
        self.full_key.push(SEPARATOR);
        self.full_key.extend_from_slice(key);
        if let Some(value) = self.overlay.get(&self.full_key) {
            return Ok(value.as_deref());
        }
        self.fetched = match self.store.get(&self.full_key) {
            Ok(value) => value,
            Err(error) => {
                self.is_damaged |= matches!(error, StoreError::Damaged { .. });
                return Err(unavailable(&mut self.failure, store, error));
            }
        };
        Ok(self.fetched.as_deref())
    }

    fn put(&mut self, store: &'static str, key: &[u8], value: Vec<u8>) -> Result<(), StateError> {
        self.write(store, key, Some(value));
        Ok(())
    }

    fn delete(&mut self, store: &'static str, key: &[u8]) -> Result<(), StateError> {
        self.write(store, key, None);
        Ok(())
    }

    fn scan(&mut self, store: &'static str, after: &[u8], limit: usize) -> Result<Vec<Pair>, StateError> {
        let mut after = full_key(store, after);
        let mut before = store.as_bytes().to_vec();
        before.push(SEPARATOR + 1);
        let mut pairs = Vec::with_capacity(limit);
        loop {
            let stored = self.store.scan(&after, &before, limit);
            let stored = match self.note_damage(stored) {
                Ok(stored) => stored,
                Err(error) => return Err(unavailable(&mut self.failure, store, error)),
            };
            let is_last = stored.len() < limit;
            // Staged changes count only as far as this piece of the store reaches; behind the last piece all of them do.
            let upper = match stored.last() {
                Some((key, _)) if !is_last => Bound::Included(key.clone()),
                _ => Bound::Excluded(before.clone()),
            };
            let next_after = stored.last().map(|(key, _)| key.clone());
            let staged = self.overlay.range((Bound::Excluded(after), upper));
            merge(stored, staged, store.len() + 1, limit, &mut pairs);
            match next_after {
                Some(key) if !is_last && pairs.len() < limit => after = key,
                _ => return Ok(pairs),
            }
        }
    }
}

/// Appends pairs in key order until there are `limit`; a staged change hides what is stored. Keys lose their first
/// `name_length` bytes.
fn merge<'a>(
    stored: Vec<Pair>,
    staged: impl Iterator<Item = (&'a Vec<u8>, &'a Option<Vec<u8>>)>,
    name_length: usize,
    limit: usize,
    pairs: &mut Vec<Pair>,
) {
    let mut stored = stored.into_iter().peekable();
    let mut staged = staged.peekable();
    while pairs.len() < limit {
        let order = match (stored.peek(), staged.peek()) {
            (None, None) => return,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((stored, _)), Some((staged, _))) => stored.cmp(staged),
        };
        let from_store = if order.is_le() { stored.next() } else { None };
        let from_overlay = if order.is_ge() { staged.next() } else { None };
        let next = match from_overlay {
            Some((key, value)) => value.clone().map(|value| (key.clone(), value)),
            None => from_store,
        };
        if let Some((mut key, value)) = next {
            pairs.push((key.split_off(name_length), value));
        }
    }
}

impl UndoState for TaskState {
    fn mark(&mut self) {
        self.undo.clear();
    }

    fn undo(&mut self) {
        if sabotaged!(ForgetUndo) {
            return;
        }
        while let Some((key, before)) = self.undo.pop() {
            match before {
                Some(value) => self.overlay.insert(key, value),
                None => self.overlay.remove(&key),
            };
        }
    }
}

fn full_key(store: &str, key: &[u8]) -> Vec<u8> {
    let mut full = Vec::with_capacity(store.len() + 1 + key.len());
    full.extend_from_slice(store.as_bytes());
    full.push(SEPARATOR);
    full.extend_from_slice(key);
    full
}

fn unavailable(failure: &mut Option<StoreError>, store: &'static str, error: StoreError) -> StateError {
    let message = error.to_string();
    *failure = Some(error);
    StateError::Unavailable { store, message }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::store::StoreFactory;
    use crate::store::memory::MemoryStores;

    fn state() -> TaskState {
        TaskState::new(MemoryStores::default().open(Path::new("test"), "test").expect("a store in memory"))
    }

    proptest! {
        /// Stored and staged pairs together, from any place and with any limit, as one ordered map would give them.
        #[test]
        fn a_scan_sees_the_overlay_over_the_store(
            committed in proptest::collection::vec((0_u8..40, proptest::option::of(0_u8..9)), 0..60),
            staged in proptest::collection::vec((0_u8..40, proptest::option::of(0_u8..9)), 0..60),
            after in 0_u8..40,
            limit in 1_usize..50,
        ) {
            let mut state = state();
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
            write(&mut state, &committed);
            // Neighbours by name, which a scan must not stray into.
            state.put("stor", b"z", vec![1]).expect("a put");
            state.put("storf", b"", vec![1]).expect("a put");
            state.apply(b"checkpoint", 1).expect("an apply");
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
        let mut state = state();
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
