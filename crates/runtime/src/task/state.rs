//! State of one task: an overlay of the open transaction over the local store.
//!
//! Invariant: nothing reaches the local store before the transaction that holds it is known to be committed.

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
    undo: Vec<(Vec<u8>, Option<Option<Vec<u8>>>)>,
    overlay_bytes: usize,
    full_key: Vec<u8>,
    fetched: Option<Vec<u8>>,
}

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
        self.store.apply(&mut changes.chain(std::iter::once(checkpoint)), next_offset)?;
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
        self.store.sync()
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
        self.fetched = self.store.get(&self.full_key).map_err(|error| unavailable(store, &error))?;
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
        let after = full_key(store, after);
        let mut before = store.as_bytes().to_vec();
        before.push(SEPARATOR + 1);
        let staged: Vec<_> =
            self.overlay.range((Bound::Excluded(after.clone()), Bound::Excluded(before.clone()))).collect();
        // The overlay can hide at most as many stored pairs as it has changes, so this many are enough.
        let stored = self.store.scan(&after, &before, limit.saturating_add(staged.len()));
        let mut merged: BTreeMap<Vec<u8>, Option<Vec<u8>>> = stored
            .map_err(|error| unavailable(store, &error))?
            .into_iter()
            .map(|(key, value)| (key, Some(value)))
            .collect();
        merged.extend(staged.into_iter().map(|(key, value)| (key.clone(), value.clone())));
        let name_length = store.len() + 1;
        let pairs = merged.into_iter().filter_map(|(mut key, value)| Some((key.split_off(name_length), value?)));
        Ok(pairs.take(limit).collect())
    }
}

impl UndoState for TaskState {
    fn mark(&mut self) {
        self.undo.clear();
    }

    fn undo(&mut self) {
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

fn unavailable(store: &'static str, error: &StoreError) -> StateError {
    StateError::Unavailable { store, message: error.to_string() }
}
