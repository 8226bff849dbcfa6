//! The local store of one task: a copy of the committed state, never ahead of the state log and knowing how far it is.
//!
//! [`TaskStore`] is what lies on the disk. The task works with [`write_behind::WriteBehind`], which keeps the last changes
//! in memory and writes them there in large sorted runs.

pub mod changes;
pub mod disk;
pub(crate) mod layers;
pub mod memory;
pub(crate) mod reach;
pub mod write_behind;

use std::path::Path;
use std::sync::Arc;

use crate::store::changes::Change;
use crate::store::write_behind::{Background, WriteBehind};

/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

#[derive(Clone, Debug, thiserror::Error)]
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

/// An ordered key space with atomic writes. Keys are `<store name> 0x00 <key>`. One thread writes at a time; others may
/// read meanwhile.
pub trait TaskStore: Send + Sync {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Up to `limit` pairs with keys in `(after, before)`, in key order.
    fn scan(&self, after: &[u8], before: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError>;

    /// The greatest key in `(after, before)`.
    fn last_key(&self, after: &[u8], before: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Applies all changes and the state-log offset that they bring the store to, in one atomic write. Keys ascend, and
    /// each comes once. Need not be durable: after a crash the store is behind by whole writes, never torn and never
    /// reordered.
    fn apply(&self, changes: &mut dyn Iterator<Item = Change<'_>>, next_offset: u64) -> Result<(), StoreError>;

    /// State-log offset from which this store has to catch up; 0 for a new one.
    fn next_offset(&self) -> u64;

    /// Makes everything applied so far survive a power cut. Called on a clean stop.
    fn sync(&self) -> Result<(), StoreError>;

    /// Where it is, for people.
    fn describe(&self) -> String;
}

/// Opens, and where need be discards, the stores of tasks.
pub trait StoreFactory: Send + Sync {
    /// `identity` names cluster, pipeline, unit and task; a store of another identity is [`StoreError::Foreign`].
    fn open(&self, directory: &Path, identity: &str) -> Result<Arc<dyn TaskStore>, StoreError>;

    /// The store as a task works with it. It may come with changes that are not on the disk.
    fn open_behind(
        &self,
        directory: &Path,
        identity: &str,
        background: &Background,
    ) -> Result<WriteBehind, StoreError> {
        let store = self.open(directory, identity)?;
        Ok(WriteBehind::new(store, self.write_buffer_bytes_max(), background.clone()))
    }

    /// Bytes of changes of one task that may wait in memory to be written; as many again may be on their way.
    fn write_buffer_bytes_max(&self) -> usize;

    /// Removes the store, so that the next [`StoreFactory::open`] starts empty.
    fn discard(&self, directory: &Path) -> Result<(), StoreError>;
}
