//! The local store of one task: a copy of the committed state, never ahead of the state log and knowing how far it is.

pub mod disk;
pub mod memory;

use std::path::Path;

/// One change of one key. `None` deletes.
pub type Change = (Vec<u8>, Option<Vec<u8>>);

/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Cannot be read as what was written. Heal it by rebuilding from the state log.
    #[error("store at {path} is damaged: {message}")]
    Damaged { path: String, message: String },
    /// Belongs to another cluster, pipeline or task.
    #[error("store at {path} belongs to {found}, not to {expected}")]
    Foreign { path: String, found: String, expected: String },
    #[error("store at {path}: {message}")]
    Unavailable { path: String, message: String },
}

/// An ordered key space with atomic writes. Keys are `<store name> 0x00 <key>`.
pub trait TaskStore: Send {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Up to `limit` pairs with keys in `(after, before)`, in key order.
    fn scan(&self, after: &[u8], before: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError>;

    /// Applies all changes and the state-log offset that they bring the store to, in one atomic write.
    /// Need not be durable: after a crash the store is behind by whole writes, never torn and never reordered.
    fn apply(
        &mut self,
        changes: &mut dyn Iterator<Item = (&[u8], Option<&[u8]>)>,
        next_offset: u64,
    ) -> Result<(), StoreError>;

    /// State-log offset from which this store has to catch up; 0 for a new one.
    fn next_offset(&self) -> u64;

    /// Makes everything applied so far survive a power cut. Called on a clean stop.
    fn sync(&mut self) -> Result<(), StoreError>;
}

/// Opens, and where need be discards, the stores of tasks.
pub trait StoreFactory: Send + Sync {
    /// `identity` names cluster, pipeline, unit and task; a store of another identity is [`StoreError::Foreign`].
    fn open(&self, directory: &Path, identity: &str) -> Result<Box<dyn TaskStore>, StoreError>;

    /// Removes the store, so that the next [`StoreFactory::open`] starts empty.
    fn discard(&self, directory: &Path) -> Result<(), StoreError>;
}
