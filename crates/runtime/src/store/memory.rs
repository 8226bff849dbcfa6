//! A store in memory, for tests and simulation. What the factory holds outlives the stores it opens, as a disk does.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::store::changes::Change;
use crate::store::{Pair, StoreError, StoreFactory, TaskStore};

const WRITE_BUFFER_BYTES_MAX: usize = 64 * 1024;

#[derive(Debug, Default)]
struct Content {
    identity: String,
    pairs: BTreeMap<Vec<u8>, Vec<u8>>,
    next_offset: u64,
}

/// Content by directory.
#[derive(Debug, Default)]
pub struct MemoryStores {
    contents: Mutex<HashMap<PathBuf, Arc<Mutex<Content>>>>,
}

impl StoreFactory for MemoryStores {
    fn open(&self, directory: &Path, identity: &str) -> Result<Arc<dyn TaskStore>, StoreError> {
        let mut contents = self.contents.lock().unwrap_or_else(PoisonError::into_inner);
        let content = contents.entry(directory.to_owned()).or_insert_with(|| {
            let identity = identity.to_owned();
            Arc::new(Mutex::new(Content { identity, ..Content::default() }))
        });
        let found = content.lock().unwrap_or_else(PoisonError::into_inner).identity.clone();
        if found != identity {
            let path = directory.display().to_string();
            return Err(StoreError::Foreign { path, found, expected: identity.to_owned() });
        }
        Ok(Arc::new(MemoryStore { path: directory.display().to_string(), content: Arc::clone(content) }))
    }

    fn write_buffer_bytes_max(&self) -> usize {
        WRITE_BUFFER_BYTES_MAX
    }

    fn discard(&self, directory: &Path) -> Result<(), StoreError> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner).remove(directory);
        Ok(())
    }
}

#[derive(Debug)]
struct MemoryStore {
    path: String,
    content: Arc<Mutex<Content>>,
}

impl MemoryStore {
    fn with<T>(&self, act: impl FnOnce(&mut Content) -> T) -> T {
        act(&mut self.content.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl TaskStore for MemoryStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.with(|content| content.pairs.get(key).cloned()))
    }

    fn scan(&self, after: &[u8], before: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError> {
        if after >= before {
            return Ok(Vec::new());
        }
        let range = (Bound::Excluded(after), Bound::Excluded(before));
        Ok(self.with(|content| {
            let pairs = content.pairs.range::<[u8], _>(range);
            pairs.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect()
        }))
    }

    fn last_key(&self, after: &[u8], before: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        if after >= before {
            return Ok(None);
        }
        let range = (Bound::Excluded(after), Bound::Excluded(before));
        Ok(self.with(|content| content.pairs.range::<[u8], _>(range).next_back().map(|(key, _)| key.clone())))
    }

    fn apply(&self, changes: &mut dyn Iterator<Item = Change<'_>>, next_offset: u64) -> Result<(), StoreError> {
        self.with(|content| {
            for (key, value) in changes {
                match value {
                    Some(value) => content.pairs.insert(key.to_vec(), value.to_vec()),
                    None => content.pairs.remove(key),
                };
            }
            content.next_offset = next_offset;
        });
        Ok(())
    }

    fn next_offset(&self) -> u64 {
        self.with(|content| content.next_offset)
    }

    fn sync(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn describe(&self) -> String {
        self.path.clone()
    }
}
