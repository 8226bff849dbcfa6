//! The disk of one machine: outlives its processes, and may be full, damaged, or without the last writes after a crash.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidemill_runtime::store::changes::{Change, OwnedChange};
use tidemill_runtime::store::{Pair, StoreError, StoreFactory, TaskStore};

use crate::faults::Fault;
use crate::process::Process;
use crate::scheduler::Sim;

/// So few that a worker writes out every few transactions.
const WRITE_BUFFER_BYTES_MAX: usize = 2_000;
const FULL_MAX: Duration = Duration::from_secs(12);

/// What a store holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) pairs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(crate) next_offset: u64,
}

impl Content {
    fn apply(&mut self, write: &Write) {
        for (key, value) in &write.changes {
            match value {
                Some(value) => self.pairs.insert(key.clone(), value.clone()),
                None => self.pairs.remove(key),
            };
        }
        self.next_offset = write.next_offset;
    }
}

#[derive(Debug)]
struct Write {
    changes: Vec<OwnedChange>,
    next_offset: u64,
}

#[derive(Debug, Default)]
struct Folder {
    identity: String,
    /// What survives anything.
    synced: Content,
    /// Whole writes since, in their order.
    tail: Vec<Write>,
    content: Content,
    /// How often it was opened: a store that was opened before the process died must not write any more.
    opened: u64,
    is_open: bool,
}

#[derive(Debug, Default)]
struct Inner {
    folders: BTreeMap<PathBuf, Folder>,
    full_until: Duration,
}

#[derive(Debug, Default)]
pub(crate) struct Disk {
    inner: Mutex<Inner>,
}

impl Disk {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The process is gone, and with it perhaps the last of what it wrote.
    pub(crate) fn crash(&self, sim: &Sim) {
        for folder in self.lock().folders.values_mut() {
            folder.is_open = false;
            if !folder.tail.is_empty() && sim.strikes(Fault::TailLost, 1) {
                let kept = sim.below(folder.tail.len() as u64) as usize;
                folder.tail.truncate(kept);
                folder.content = folder.synced.clone();
                for write in &folder.tail {
                    folder.content.apply(write);
                }
            }
        }
    }

    /// The process has ended: what it had open is closed.
    pub(crate) fn close(&self) {
        for folder in self.lock().folders.values_mut() {
            folder.is_open = false;
        }
    }

    /// Every store, by its folder.
    pub(crate) fn contents(&self) -> BTreeMap<PathBuf, Content> {
        let inner = self.lock();
        inner.folders.iter().map(|(path, folder)| (path.clone(), folder.content.clone())).collect()
    }

    pub(crate) fn wipe(&self) {
        self.lock().folders.clear();
    }
}

/// The stores of one process.
pub(crate) struct SimStores(pub(crate) Arc<Process>);

fn unavailable(path: &Path, message: &str) -> StoreError {
    StoreError::Unavailable { path: path.display().to_string(), message: message.to_owned() }
}

impl SimStores {
    fn check_space(&self, path: &Path) -> Result<(), StoreError> {
        let sim = &self.0.sim;
        let now = sim.now();
        if sim.strikes(Fault::DiskFull, 1) {
            self.0.machine.disk.lock().full_until = now + sim.span(FULL_MAX);
        }
        let full_until = self.0.machine.disk.lock().full_until;
        if now < full_until && !sim.is_calm() {
            sim.note("disk full", || format!("until {full_until:?}"));
            return Err(unavailable(path, "no space left on device"));
        }
        Ok(())
    }
}

impl StoreFactory for SimStores {
    fn open(&self, directory: &Path, identity: &str) -> Result<Arc<dyn TaskStore>, StoreError> {
        let sim = &self.0.sim;
        self.0.danger("open store", 4);
        let path = directory.display().to_string();
        self.check_space(directory)?;
        let mut inner = self.0.machine.disk.lock();
        let folder = inner.folders.entry(directory.to_owned()).or_default();
        if folder.is_open {
            return Err(unavailable(directory, "in use"));
        }
        if folder.identity.is_empty() {
            folder.identity = identity.to_owned();
        } else if sim.strikes(Fault::Damage, 1) {
            return Err(StoreError::Damaged { path, message: "a block does not match its checksum".to_owned() });
        } else if sim.strikes(Fault::Foreign, 1) {
            folder.identity = "somebody/else".to_owned();
        }
        if folder.identity != identity {
            let (found, expected) = (folder.identity.clone(), identity.to_owned());
            return Err(StoreError::Foreign { path, found, expected });
        }
        folder.opened += 1;
        folder.is_open = true;
        let (opened, next_offset) = (folder.opened, folder.content.next_offset);
        sim.note("store opened", || format!("{path} at {next_offset}"));
        drop(inner);
        let stores = Self(Arc::clone(&self.0));
        Ok(Arc::new(SimStore { stores, directory: directory.to_owned(), opened }))
    }

    fn write_buffer_bytes_max(&self) -> usize {
        WRITE_BUFFER_BYTES_MAX
    }

    fn discard(&self, directory: &Path) -> Result<(), StoreError> {
        self.0.danger("discard store", 4);
        self.0.machine.disk.lock().folders.remove(directory);
        Ok(())
    }
}

struct SimStore {
    stores: SimStores,
    directory: PathBuf,
    opened: u64,
}

impl SimStore {
    fn with<T>(&self, act: impl FnOnce(&mut Folder) -> T) -> Result<T, StoreError> {
        let mut inner = self.stores.0.machine.disk.lock();
        match inner.folders.get_mut(&self.directory) {
            Some(folder) if folder.is_open && folder.opened == self.opened => Ok(act(folder)),
            _ => Err(unavailable(&self.directory, "not open any more")),
        }
    }
}

impl TaskStore for SimStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        if self.stores.0.sim.strikes(Fault::ReadFails, 4) {
            return Err(unavailable(&self.directory, "input/output error"));
        }
        self.with(|folder| folder.content.pairs.get(key).cloned())
    }

    fn scan(&self, after: &[u8], before: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError> {
        if after >= before {
            return Ok(Vec::new());
        }
        let range = (Bound::Excluded(after), Bound::Excluded(before));
        self.with(|folder| {
            let pairs = folder.content.pairs.range::<[u8], _>(range);
            pairs.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect()
        })
    }

    fn last_key(&self, after: &[u8], before: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        if self.stores.0.sim.strikes(Fault::ReadFails, 4) {
            return Err(unavailable(&self.directory, "input/output error"));
        }
        let range = (Bound::Excluded(after), Bound::Excluded(before));
        self.with(|folder| folder.content.pairs.range::<[u8], _>(range).next_back().map(|(key, _)| key.clone()))
    }

    fn apply(&self, changes: &mut dyn Iterator<Item = Change<'_>>, next_offset: u64) -> Result<(), StoreError> {
        self.stores.0.danger("apply", 1);
        self.stores.check_space(&self.directory)?;
        let changes = changes.map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec))).collect();
        let write = Write { changes, next_offset };
        self.with(|folder| {
            folder.content.apply(&write);
            folder.tail.push(write);
        })?;
        self.stores.0.sim.note("applied", || format!("{} to {next_offset}", self.directory.display()));
        self.stores.0.danger("apply", 1);
        Ok(())
    }

    fn next_offset(&self) -> u64 {
        self.with(|folder| folder.content.next_offset).unwrap_or_default()
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.stores.0.danger("sync", 4);
        self.stores.check_space(&self.directory)?;
        self.with(|folder| {
            folder.synced = folder.content.clone();
            folder.tail.clear();
        })
    }

    fn describe(&self) -> String {
        self.directory.display().to_string()
    }
}

impl Drop for SimStore {
    fn drop(&mut self) {
        // The store of a process that was killed has been closed by its death.
        let _closed = self.with(|folder| folder.is_open = false);
    }
}
