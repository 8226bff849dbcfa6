//! The store on disk: one fjall database per task.
//!
//! A run of changes and the offset it stands for are written as sorted tables, past fjall's journal and memtable, and
//! become part of the database all at once. Beside the database lies a marker with the format and the identity, readable
//! for people, so that a foreign store is known without opening it.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fjall::config::PinningPolicy;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use crate::store::changes::Change;
use crate::store::{Pair, StoreError, StoreFactory, TaskStore};

const MARKER: &str = "store";
const FORMAT: &str = "tidemill store 2";
const DATABASE: &str = "fjall";
const KEYSPACE: &str = "state";

/// Begins the keys of pairs; the offset has a first byte of its own, so no key of a pair can be taken for it. It is the
/// greatest key of all, since keys have to ascend in a run.
const PAIR: u8 = b'k';
const OFFSET_KEY: &[u8] = b"o";

/// What each store may use. There are as many stores as tasks in the process.
#[derive(Clone, Copy, Debug)]
pub struct DiskStores {
    pub cache_bytes: u64,
    /// Changes that are kept in memory until they are written out sorted.
    pub write_buffer_bytes_max: u64,
    /// Threads that compact.
    pub threads: usize,
}

impl Default for DiskStores {
    fn default() -> Self {
        Self { cache_bytes: 16 * 1024 * 1024, write_buffer_bytes_max: 16 * 1024 * 1024, threads: 1 }
    }
}

impl StoreFactory for DiskStores {
    fn open(&self, directory: &Path, identity: &str) -> Result<Arc<dyn TaskStore>, StoreError> {
        let path = directory.display().to_string();
        check_marker(directory, &path, identity)?;
        let database = directory.join(DATABASE);
        let open = || {
            let database =
                Database::builder(&database).cache_size(self.cache_bytes).worker_threads(self.threads.max(1)).open()?;
            let keyspace = database.keyspace(KEYSPACE, keyspace_options)?;
            let offset = keyspace.get(OFFSET_KEY)?;
            Ok((database, keyspace, offset))
        };
        let (database, keyspace, offset) = guarded(&path, open)?;
        let next_offset = match offset {
            None => 0,
            Some(bytes) => {
                let bytes = bytes.as_ref().try_into().map_err(|_| damaged(&path, "its offset is not a number"))?;
                u64::from_le_bytes(bytes)
            }
        };
        Ok(Arc::new(DiskStore { path, database, keyspace, next_offset: AtomicU64::new(next_offset) }))
    }

    fn write_buffer_bytes_max(&self) -> usize {
        usize::try_from(self.write_buffer_bytes_max).unwrap_or(usize::MAX)
    }

    fn discard(&self, directory: &Path) -> Result<(), StoreError> {
        match fs::remove_dir_all(directory) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(unavailable(&directory.display().to_string(), &error))
            }
            _ => Ok(()),
        }
    }
}

struct DiskStore {
    path: String,
    database: Database,
    keyspace: Keyspace,
    next_offset: AtomicU64,
}

impl TaskStore for DiskStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let value = guarded(&self.path, || self.keyspace.get(pair_key(key)))?;
        Ok(value.map(|value| value.to_vec()))
    }

    fn scan(&self, after: &[u8], before: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError> {
        if after >= before {
            return Ok(Vec::new());
        }
        let range = (Bound::Excluded(pair_key(after)), Bound::Excluded(pair_key(before)));
        guarded(&self.path, || {
            let pairs = self.keyspace.range::<Vec<u8>, _>(range).take(limit).map(|pair| {
                let (key, value) = pair.into_inner()?;
                Ok((key[1..].to_vec(), value.to_vec()))
            });
            pairs.collect()
        })
    }

    fn last_key(&self, after: &[u8], before: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        if after >= before {
            return Ok(None);
        }
        let range = (Bound::Excluded(pair_key(after)), Bound::Excluded(pair_key(before)));
        guarded(&self.path, || {
            let last = self.keyspace.range::<Vec<u8>, _>(range).next_back();
            last.map(|pair| Ok(pair.key()?[1..].to_vec())).transpose()
        })
    }

    fn apply(&self, changes: &mut dyn Iterator<Item = Change<'_>>, next_offset: u64) -> Result<(), StoreError> {
        guarded(&self.path, || {
            let mut run = self.keyspace.start_ingestion()?;
            for (key, value) in changes {
                match value {
                    Some(value) => run.write(pair_key(key), value)?,
                    None => run.write_tombstone(pair_key(key))?,
                }
            }
            run.write(OFFSET_KEY, next_offset.to_le_bytes())?;
            run.finish()
        })?;
        self.next_offset.store(next_offset, Ordering::Release);
        Ok(())
    }

    fn next_offset(&self) -> u64 {
        self.next_offset.load(Ordering::Acquire)
    }

    fn sync(&self) -> Result<(), StoreError> {
        guarded(&self.path, || self.database.persist(PersistMode::SyncAll))
    }

    fn describe(&self) -> String {
        self.path.clone()
    }
}

/// A table's filter is one block, of half a megabyte for some hundred thousand keys. Were filters and indexes not pinned,
/// they would drive each other out of a cache that is smaller than all of them, and a read would load several from disk.
fn keyspace_options() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default()
        .filter_block_pinning_policy(PinningPolicy::all(true))
        .index_block_pinning_policy(PinningPolicy::all(true))
}

fn pair_key(key: &[u8]) -> Vec<u8> {
    let mut pair_key = Vec::with_capacity(key.len() + 1);
    pair_key.push(PAIR);
    pair_key.extend_from_slice(key);
    pair_key
}

/// The marker of a store that exists must be ours; a new store gets one.
fn check_marker(directory: &Path, path: &str, identity: &str) -> Result<(), StoreError> {
    let marker = directory.join(MARKER);
    let text = match fs::read(&marker) {
        Ok(bytes) => String::from_utf8(bytes).map_err(|_| damaged(path, "its marker is not text"))?,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if directory.join(DATABASE).exists() {
                return Err(damaged(path, "its marker is missing"));
            }
            return write_marker(directory, &marker, identity).map_err(|error| unavailable(path, &error));
        }
        Err(error) => return Err(unavailable(path, &error)),
    };
    let mut lines = text.lines();
    let (format, found, checksum) = (lines.next(), lines.next().unwrap_or_default(), lines.next());
    if format != Some(FORMAT) || checksum != Some(identity_checksum(found).as_str()) {
        return Err(damaged(path, "its marker cannot be read as one of this format"));
    }
    if found != identity {
        let (found, expected) = (found.to_owned(), identity.to_owned());
        return Err(StoreError::Foreign { path: path.to_owned(), found, expected });
    }
    Ok(())
}

/// The marker appears whole or not at all, and before anything else of the store.
fn write_marker(directory: &Path, marker: &Path, identity: &str) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let unfinished: PathBuf = marker.with_extension("new");
    let mut file = fs::File::create(&unfinished)?;
    writeln!(file, "{FORMAT}\n{identity}\n{}", identity_checksum(identity))?;
    file.sync_all()?;
    fs::rename(&unfinished, marker)
}

fn identity_checksum(identity: &str) -> String {
    format!("{:08x}", crc32fast::hash(identity.as_bytes()))
}

/// Damaged files make fjall panic in places where it trusts them; here that is an error like any other.
fn guarded<T>(path: &str, act: impl FnOnce() -> fjall::Result<T>) -> Result<T, StoreError> {
    match catch_unwind(AssertUnwindSafe(act)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(fjall::Error::Locked)) => {
            let message = "it is open already, in this process or another".to_owned();
            Err(StoreError::Unavailable { path: path.to_owned(), message })
        }
        // After a write that failed, a full disk for one, fjall takes no more of them. Opened again, it is whole.
        Ok(Err(fjall::Error::Poisoned)) => {
            let message = "a write failed before; the store has to be opened again".to_owned();
            Err(StoreError::Unavailable { path: path.to_owned(), message })
        }
        Ok(Err(fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)))) => match error.kind() {
            // A file that is there already is what a process left that was killed while it made the database.
            ErrorKind::AlreadyExists
            | ErrorKind::UnexpectedEof
            | ErrorKind::InvalidData
            | ErrorKind::InvalidInput
            | ErrorKind::NotFound => Err(damaged(path, &error.to_string())),
            _ => Err(unavailable(path, &error)),
        },
        Ok(Err(error)) => Err(damaged(path, &error.to_string())),
        Err(_) => Err(damaged(path, "fjall stopped at something it cannot read")),
    }
}

fn damaged(path: &str, message: &str) -> StoreError {
    StoreError::Damaged { path: path.to_owned(), message: message.to_owned() }
}

fn unavailable(path: &str, error: &io::Error) -> StoreError {
    StoreError::Unavailable { path: path.to_owned(), message: error.to_string() }
}
