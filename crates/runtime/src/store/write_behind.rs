//! Committed changes stay in memory and go to the disk in large sorted runs, in the background.
//!
//! The state log is the truth, so nothing is lost with the memory: after `kill -9` the store on disk is behind by what was
//! not written yet, and catches up from the log. A key that changes often is written once per run. A read looks at what is
//! pending, then at the run that is being written or was written last, then at the disk, unless the key lies behind all
//! that its store has there.
//!
//! - Memory: two runs of at most `bytes_max` each, but for the last transaction. When both are full, [`WriteBehind::settle`]
//!   waits for the disk.
//! - A write that fails is reported by the next [`WriteBehind::settle`] or [`WriteBehind::flush`], and by all later ones.
//!
//! Invariant: runs reach the store one after another, each whole and with the offset that it brings the store to. The
//! store is never ahead of what was settled.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::Duration;

use crate::clock::Clock;
use crate::store::changes::{Change, Changes, KeyHasher, OwnedChange, Place};
use crate::store::layers::Layer;
use crate::store::reach::{LastKeys, Reach};
use crate::store::{Pair, StoreError, TaskStore};
use crate::task::checkpoint::CHECKPOINT_KEY;
use crate::threads::Threads;

/// Longest key that every store takes.
pub const KEY_BYTES_MAX: usize = 65_000;
const WRITE_POLL: Duration = Duration::from_millis(1);
/// A disk that has not taken a run after this long is treated as one that takes nothing.
const WRITE_DEADLINE: Duration = Duration::from_secs(60);

/// What writing in the background takes.
#[derive(Clone)]
pub struct Background {
    pub threads: Arc<dyn Threads>,
    pub clock: Arc<dyn Clock>,
}

/// A run of changes, and the offset that it brings the store to.
#[derive(Default)]
struct Run {
    changes: Changes,
    next_offset: u64,
}

pub struct WriteBehind {
    store: Arc<dyn TaskStore>,
    background: Background,
    bytes_max: usize,
    hasher: KeyHasher,
    pending: Run,
    /// The run before: on its way to the disk, or there already and kept because what was written lately is read again.
    frozen: Arc<Run>,
    /// Answers with the greatest key of each store in the run.
    writing: Option<Receiver<Result<Vec<Vec<u8>>, StoreError>>>,
    /// Why the run could not be written.
    failure: Option<StoreError>,
    durable_offset: u64,
    /// Learnt by reading, which changes nothing else.
    reach: RefCell<Reach>,
    /// First offset of the log that the store was built from, if it was empty when it was opened.
    pub(crate) built_from: Option<u64>,
    /// Stores that are scanned: name and separator.
    scanned: Vec<Vec<u8>>,
    /// Entries of the frozen run in key order, for stores that were not scanned before it froze.
    ordered_late: Vec<(Vec<u8>, [Vec<Place>; 1])>,
}

impl WriteBehind {
    pub fn new(store: Arc<dyn TaskStore>, bytes_max: usize, background: Background) -> Self {
        let next_offset = store.next_offset();
        Self {
            store,
            background,
            bytes_max,
            hasher: KeyHasher::default(),
            pending: Run { changes: Changes::default(), next_offset },
            frozen: Arc::default(),
            writing: None,
            failure: None,
            durable_offset: next_offset,
            reach: RefCell::default(),
            built_from: None,
            scanned: Vec::new(),
            ordered_late: Vec::new(),
        }
    }

    pub fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash(key)
    }

    /// State-log offset that everything settled so far comes to; 0 for a new store.
    pub fn next_offset(&self) -> u64 {
        self.pending.next_offset
    }

    /// State-log offset that the store on disk stands for at least.
    pub fn durable_offset(&self) -> u64 {
        self.durable_offset
    }

    /// The value if it is in memory: `Some(None)` for a key that is deleted.
    pub fn get_in_memory(&self, hash: u64, key: &[u8]) -> Option<Option<&[u8]>> {
        if sabotaged!(ForgetFrozen) {
            return self.pending.changes.get(hash, key);
        }
        self.pending.changes.get(hash, key).or_else(|| self.frozen.changes.get(hash, key))
    }

    /// Whether the last change of the key is not known to be on the disk.
    pub fn is_unwritten(&self, hash: u64, key: &[u8]) -> bool {
        self.pending.changes.get(hash, key).is_some()
            || (self.writing.is_some() && self.frozen.changes.get(hash, key).is_some())
    }

    /// The value on the disk of a key that is not in memory.
    pub fn get_on_disk(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        if self.reach.borrow_mut().ends_before(key, self.store.as_ref())? { Ok(None) } else { self.store.get(key) }
    }

    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self.get_in_memory(self.hash(key), key) {
            Some(value) => Ok(value.map(<[u8]>::to_vec)),
            None => self.get_on_disk(key),
        }
    }

    /// Up to `limit` pairs of the store on disk, in key order, with keys in `(after, before)`.
    pub fn scan_on_disk(&self, after: &[u8], before: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError> {
        self.store.scan(after, before, limit)
    }

    /// The next keys after `after` of one store, in each layer, the latest first.
    pub(crate) fn layers(
        &mut self,
        prefix: &[u8],
        after: &[u8],
        before: &[u8],
        limit: usize,
    ) -> Result<[Layer; 3], StoreError> {
        if !self.scanned.iter().any(|scanned| scanned == prefix) {
            self.scanned.push(prefix.to_vec());
        }
        let pending = self.pending.changes.scan(prefix, after, limit);
        let frozen = self.scan_frozen(prefix, after, limit);
        let stored = self.store.scan(after, before, limit)?;
        let stored = stored.into_iter().map(|(key, value)| (key, Some(value))).collect();
        Ok([pending, frozen, stored].map(|changes| Layer { changes, limit }))
    }

    fn scan_frozen(&mut self, prefix: &[u8], after: &[u8], limit: usize) -> Vec<OwnedChange> {
        let changes = &self.frozen.changes;
        if changes.is_arranged(prefix) {
            return changes.scan_arranged(prefix, after, limit);
        }
        let known = self.ordered_late.iter().position(|(ordered, _)| ordered == prefix).unwrap_or_else(|| {
            self.ordered_late.push((prefix.to_vec(), [changes.sorted_run(prefix, 0)]));
            self.ordered_late.len() - 1
        });
        changes.scan_runs(&self.ordered_late[known].1, after, limit)
    }

    /// Notes a change. `hash` is [`WriteBehind::hash`] of the key. It counts once it is settled.
    pub fn put(&mut self, hash: u64, (key, value): Change<'_>) {
        self.pending.changes.put(hash, key, value);
    }

    /// The changes noted since the last time are a transaction, which ends before `next_offset` with this checkpoint.
    pub fn settle(&mut self, checkpoint: &[u8], next_offset: u64) -> Result<(), StoreError> {
        self.pending.changes.put(self.hash(CHECKPOINT_KEY), CHECKPOINT_KEY, Some(checkpoint));
        self.pending.next_offset = next_offset;
        self.look()?;
        if self.pending.changes.bytes() < self.bytes_max {
            return Ok(());
        }
        self.wait()?;
        self.freeze()
    }

    /// Brings everything that was settled to the disk, so that it survives a power cut.
    pub fn flush(&mut self) -> Result<(), StoreError> {
        self.wait()?;
        if !self.pending.changes.is_empty() {
            self.freeze()?;
            self.wait()?;
        }
        self.store.sync()
    }

    /// Forgets what is pending and lets go of the store, when what is on its way has come to its end.
    pub fn close(mut self) {
        if let Err(error) = self.wait() {
            tracing::debug!(%error, "closed a store that could not be written");
        }
    }

    /// Writes what is there already: shows whether the disk takes anything.
    pub fn probe(&mut self) -> Result<(), StoreError> {
        if self.pending.changes.is_empty() && self.next_offset() > 0 {
            let checkpoint = self.get(CHECKPOINT_KEY)?.unwrap_or_default();
            self.settle(&checkpoint, self.next_offset())?;
        }
        self.flush()
    }

    /// Hands what is pending to a thread that writes it. Nothing else may be on its way.
    fn freeze(&mut self) -> Result<(), StoreError> {
        for prefix in &self.scanned {
            self.pending.changes.arrange(prefix);
        }
        self.ordered_late.clear();
        let next_offset = self.pending.next_offset;
        let written = std::mem::take(&mut self.frozen);
        let mut changes = Arc::try_unwrap(written).map(|run| run.changes).unwrap_or_default();
        changes.clear();
        self.frozen = Arc::new(std::mem::replace(&mut self.pending, Run { changes, next_offset }));
        let (done, writing) = channel();
        let (store, run) = (Arc::clone(&self.store), Arc::clone(&self.frozen));
        let body = move || {
            let mut last_keys = LastKeys::default();
            let applied =
                store.apply(&mut run.changes.sorted().inspect(|change| last_keys.note(change)), run.next_offset);
            let result = applied.map(|()| last_keys.to_owned());
            // Who waits for the answer may close the store next, or begin another run.
            drop((store, run));
            let _unwanted = done.send(result);
        };
        self.writing = Some(writing);
        let spawned = self.background.threads.spawn("write-behind".to_owned(), Box::new(body));
        spawned.map_err(|error| self.fail(format!("no thread to write with: {error}")))
    }

    /// Takes notice of a run that was written, or could not be.
    fn look(&mut self) -> Result<(), StoreError> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        let Some(writing) = &self.writing else { return Ok(()) };
        match writing.try_recv() {
            Err(TryRecvError::Empty) => return Ok(()),
            Err(TryRecvError::Disconnected) => {
                return Err(self.fail("the thread that writes to it ended without an answer".to_owned()));
            }
            Ok(Err(error)) => {
                self.failure = Some(error.clone());
                return Err(error);
            }
            Ok(Ok(last_keys)) => self.reach.get_mut().extend(last_keys),
        }
        self.writing = None;
        self.durable_offset = self.frozen.next_offset;
        Ok(())
    }

    /// Until the run that is on its way has been written.
    fn wait(&mut self) -> Result<(), StoreError> {
        let deadline = self.background.clock.now() + WRITE_DEADLINE;
        loop {
            self.look()?;
            if self.writing.is_none() {
                return Ok(());
            }
            if self.background.clock.now() > deadline {
                let seconds = WRITE_DEADLINE.as_secs();
                return Err(self.fail(format!("a write to it has not come to an end in {seconds} s")));
            }
            self.background.clock.sleep(WRITE_POLL);
        }
    }

    fn fail(&mut self, message: String) -> StoreError {
        let failure = StoreError::Unavailable { path: self.store.describe(), message };
        self.failure = Some(failure.clone());
        failure
    }
}
