//! The stores of one process while it has standbys: a worker that opens a store which a standby has open is handed it as
//! it is, with the changes that are not on the disk yet, and the standby does not see it again.
//!
//! Invariant: a store has one user at a time. It is either in the hands of the standby, or lies here, or has been given
//! away; nobody waits longer for it than the standby takes to apply one batch.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Clock;
use crate::store::write_behind::{Background, WriteBehind};
use crate::store::{StoreError, StoreFactory, TaskStore};

/// Between two looks at whether the standby has put a store down.
const WAIT: Duration = Duration::from_millis(1);

/// A store that a standby has, or is about to have.
struct Place {
    /// Absent while the standby has it in its hands.
    store: Option<WriteBehind>,
    /// Set by a worker that waits for it.
    wanted: Arc<AtomicBool>,
}

pub(crate) struct Shelf {
    stores: Arc<dyn StoreFactory>,
    clock: Arc<dyn Clock>,
    places: Mutex<HashMap<PathBuf, Place>>,
}

impl Shelf {
    pub(crate) fn new(stores: Arc<dyn StoreFactory>, clock: Arc<dyn Clock>) -> Self {
        Self { stores, clock, places: Mutex::default() }
    }

    /// What the stores come from, without a look at the shelf: for the standby alone.
    pub(crate) fn stores(&self) -> &Arc<dyn StoreFactory> {
        &self.stores
    }

    /// Announces a store that the standby is going to open. The answer tells it when a worker wants it.
    pub(crate) fn reserve(&self, directory: &Path) -> Arc<AtomicBool> {
        let wanted = Arc::new(AtomicBool::new(false));
        let place = Place { store: None, wanted: Arc::clone(&wanted) };
        self.lock().insert(directory.to_owned(), place);
        wanted
    }

    /// Takes the store in hand. `None` when a worker has it, or waits for it.
    pub(crate) fn take(&self, directory: &Path) -> Option<WriteBehind> {
        self.lock().get_mut(directory).filter(|place| !place.wanted.load(Ordering::Relaxed))?.store.take()
    }

    pub(crate) fn put(&self, directory: &Path, store: WriteBehind) {
        if let Some(place) = self.lock().get_mut(directory) {
            place.store = Some(store);
        }
    }

    /// The standby has closed the store, or will never open it. One that lies here for a worker stays.
    pub(crate) fn forget(&self, directory: &Path) {
        self.lock().retain(|place, Place { store, .. }| place != directory || store.is_some());
    }

    /// The standby is gone: whoever waits for a store that it had in its hands waits no longer.
    pub(crate) fn forget_all(&self) {
        self.lock().retain(|_, place| place.store.is_some());
    }

    /// Goes on while the standby has the store in its hands.
    fn want(&self, directory: &Path) -> ControlFlow<Option<WriteBehind>> {
        let mut places = self.lock();
        let Some(place) = places.get_mut(directory) else { return ControlFlow::Break(None) };
        place.wanted.store(true, Ordering::Relaxed);
        let Some(store) = place.store.take() else { return ControlFlow::Continue(()) };
        places.remove(directory);
        ControlFlow::Break(Some(store))
    }

    fn wait_for(&self, directory: &Path) -> Option<WriteBehind> {
        loop {
            if let ControlFlow::Break(found) = self.want(directory) {
                return found;
            }
            self.clock.sleep(WAIT);
        }
    }

    fn close(&self, directory: &Path) {
        if let Some(store) = self.wait_for(directory) {
            store.close();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PathBuf, Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StoreFactory for Shelf {
    /// What is on the disk alone: what is not written yet is forgotten.
    fn open(&self, directory: &Path, identity: &str) -> Result<Arc<dyn TaskStore>, StoreError> {
        self.close(directory);
        self.stores.open(directory, identity)
    }

    fn open_behind(
        &self,
        directory: &Path,
        identity: &str,
        background: &Background,
    ) -> Result<WriteBehind, StoreError> {
        match self.wait_for(directory) {
            Some(store) => Ok(store),
            None => self.stores.open_behind(directory, identity, background),
        }
    }

    fn write_buffer_bytes_max(&self) -> usize {
        self.stores.write_buffer_bytes_max()
    }

    fn discard(&self, directory: &Path) -> Result<(), StoreError> {
        self.close(directory);
        self.stores.discard(directory)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;
    use crate::clock::SystemClock;
    use crate::store::memory::MemoryStores;
    use crate::task::checkpoint::CHECKPOINT_KEY;
    use crate::threads::SystemThreads;

    const TASK: &str = "main/0";

    /// Counts how often a store was opened.
    #[derive(Default)]
    struct Counted {
        stores: MemoryStores,
        opened: AtomicU32,
    }

    impl StoreFactory for Counted {
        fn open(&self, directory: &Path, identity: &str) -> Result<Arc<dyn TaskStore>, StoreError> {
            self.opened.fetch_add(1, Ordering::Relaxed);
            self.stores.open(directory, identity)
        }

        fn write_buffer_bytes_max(&self) -> usize {
            self.stores.write_buffer_bytes_max()
        }

        fn discard(&self, directory: &Path) -> Result<(), StoreError> {
            self.stores.discard(directory)
        }
    }

    fn shelf() -> (Arc<Shelf>, Arc<Counted>) {
        let counted = Arc::new(Counted::default());
        (Arc::new(Shelf::new(counted.clone(), Arc::new(SystemClock::default()))), counted)
    }

    fn open(stores: &dyn StoreFactory) -> WriteBehind {
        let background = Background { threads: Arc::new(SystemThreads), clock: Arc::new(SystemClock::default()) };
        stores.open_behind(Path::new(TASK), "test", &background).expect("a store")
    }

    /// Lets a worker open the store while the standby has it in its hands, and what the standby does then.
    fn contend(act: impl FnOnce(&Shelf, WriteBehind)) -> u32 {
        let (shelf, counted) = shelf();
        let wanted = shelf.reserve(Path::new(TASK));
        let mut in_hand = open(shelf.stores().as_ref());
        let worker = std::thread::spawn({
            let shelf = Arc::clone(&shelf);
            move || open(shelf.as_ref()).next_offset()
        });
        while !wanted.load(Ordering::Relaxed) {
            std::thread::sleep(WAIT);
        }
        assert!(!worker.is_finished(), "the standby still has it");
        in_hand.settle(b"checkpoint", 7).expect("it takes changes");
        act(&shelf, in_hand);
        assert_eq!(worker.join().expect("the worker opens it"), 7, "what was applied is there");
        assert!(shelf.take(Path::new(TASK)).is_none(), "the standby does not see it again");
        counted.opened.load(Ordering::Relaxed)
    }

    #[test]
    fn a_worker_is_handed_the_store_that_a_standby_has_open() {
        let (shelf, counted) = shelf();
        shelf.reserve(Path::new(TASK));
        shelf.put(Path::new(TASK), open(shelf.stores().as_ref()));
        let mut store = shelf.take(Path::new(TASK)).expect("nobody wants it");
        store.settle(b"checkpoint", 7).expect("it takes changes");
        shelf.put(Path::new(TASK), store);
        let store = open(shelf.as_ref());
        assert_eq!((store.next_offset(), store.durable_offset()), (7, 0), "with what is not written yet");
        assert_eq!(store.get(CHECKPOINT_KEY).expect("it can be read").as_deref(), Some(&b"checkpoint"[..]));
        drop(store);
        assert_eq!(counted.opened.load(Ordering::Relaxed), 1);
        assert!(shelf.take(Path::new(TASK)).is_none(), "the standby does not see it again");
        drop(open(shelf.as_ref()));
        assert_eq!(counted.opened.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_worker_waits_for_one_batch_and_no_longer() {
        assert_eq!(contend(|shelf, store| shelf.put(Path::new(TASK), store)), 1, "handed over");
        let close = |shelf: &Shelf, mut store: WriteBehind| {
            store.flush().expect("it can be written");
            store.close();
            shelf.forget(Path::new(TASK));
        };
        assert_eq!(contend(close), 2, "opened anew");
        let die = |shelf: &Shelf, mut store: WriteBehind| {
            store.flush().expect("it can be written");
            store.close();
            shelf.forget_all();
        };
        assert_eq!(contend(die), 2, "opened anew");
    }
}
