//! The stores of one process while it has standbys: a worker that opens a store which a standby has open is handed it as
//! it is, and the standby does not see it again.
//!
//! Invariant: a store has one user at a time. It is either in the hands of the standby, or lies here, or has been given
//! away; nobody waits longer for it than the standby takes to apply one batch.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Clock;
use crate::store::{StoreError, StoreFactory, TaskStore};

/// Between two looks at whether the standby has put a store down.
const WAIT: Duration = Duration::from_millis(1);

/// A store that a standby has, or is about to have.
struct Place {
    /// Absent while the standby has it in its hands.
    store: Option<Box<dyn TaskStore>>,
    /// Set by a worker that waits for it.
    wanted: Arc<AtomicBool>,
}

pub(crate) struct Shelf {
    stores: Arc<dyn StoreFactory>,
    clock: Arc<dyn Clock>,
    places: Mutex<HashMap<PathBuf, Place>>,
}

/// What a worker finds that opens a store.
enum Found {
    Store(Box<dyn TaskStore>),
    InUse,
    Nothing,
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
    pub(crate) fn take(&self, directory: &Path) -> Option<Box<dyn TaskStore>> {
        self.lock().get_mut(directory).filter(|place| !place.wanted.load(Ordering::Relaxed))?.store.take()
    }

    pub(crate) fn put(&self, directory: &Path, store: Box<dyn TaskStore>) {
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

    fn want(&self, directory: &Path) -> Found {
        let mut places = self.lock();
        let Some(place) = places.get_mut(directory) else { return Found::Nothing };
        place.wanted.store(true, Ordering::Relaxed);
        match place.store.take() {
            Some(store) => {
                places.remove(directory);
                Found::Store(store)
            }
            None => Found::InUse,
        }
    }

    fn wait_for(&self, directory: &Path) -> Option<Box<dyn TaskStore>> {
        loop {
            match self.want(directory) {
                Found::Store(store) => return Some(store),
                Found::Nothing => return None,
                Found::InUse => self.clock.sleep(WAIT),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PathBuf, Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StoreFactory for Shelf {
    fn open(&self, directory: &Path, identity: &str) -> Result<Box<dyn TaskStore>, StoreError> {
        match self.wait_for(directory) {
            Some(store) => Ok(store),
            None => self.stores.open(directory, identity),
        }
    }

    fn discard(&self, directory: &Path) -> Result<(), StoreError> {
        drop(self.wait_for(directory));
        self.stores.discard(directory)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;
    use crate::clock::SystemClock;
    use crate::store::memory::MemoryStores;

    const TASK: &str = "main/0";

    /// Counts how often a store was opened.
    #[derive(Default)]
    struct Counted {
        stores: MemoryStores,
        opened: AtomicU32,
    }

    impl StoreFactory for Counted {
        fn open(&self, directory: &Path, identity: &str) -> Result<Box<dyn TaskStore>, StoreError> {
            self.opened.fetch_add(1, Ordering::Relaxed);
            self.stores.open(directory, identity)
        }

        fn discard(&self, directory: &Path) -> Result<(), StoreError> {
            self.stores.discard(directory)
        }
    }

    fn shelf() -> (Arc<Shelf>, Arc<Counted>) {
        let counted = Arc::new(Counted::default());
        (Arc::new(Shelf::new(counted.clone(), Arc::new(SystemClock::default()))), counted)
    }

    fn open(shelf: &Shelf) -> Box<dyn TaskStore> {
        shelf.open(Path::new(TASK), "test").expect("a store")
    }

    /// Lets a worker open the store while the standby has it in its hands, and what the standby does then.
    fn contend(act: impl FnOnce(&Shelf, Box<dyn TaskStore>)) -> u32 {
        let (shelf, counted) = shelf();
        let wanted = shelf.reserve(Path::new(TASK));
        let mut in_hand = shelf.stores().open(Path::new(TASK), "test").expect("a store");
        let worker = std::thread::spawn({
            let shelf = Arc::clone(&shelf);
            move || open(&shelf).next_offset()
        });
        while !wanted.load(Ordering::Relaxed) {
            std::thread::sleep(WAIT);
        }
        assert!(!worker.is_finished(), "the standby still has it");
        in_hand.apply(&mut std::iter::empty(), 7).expect("it takes changes");
        act(&shelf, in_hand);
        assert_eq!(worker.join().expect("the worker opens it"), 7, "what was applied is there");
        assert!(shelf.take(Path::new(TASK)).is_none(), "the standby does not see it again");
        counted.opened.load(Ordering::Relaxed)
    }

    #[test]
    fn a_worker_is_handed_the_store_that_a_standby_has_open() {
        let (shelf, counted) = shelf();
        shelf.reserve(Path::new(TASK));
        shelf.put(Path::new(TASK), shelf.stores().open(Path::new(TASK), "test").expect("a store"));
        let store = shelf.take(Path::new(TASK)).expect("nobody wants it");
        shelf.put(Path::new(TASK), store);
        drop(open(&shelf));
        assert_eq!(counted.opened.load(Ordering::Relaxed), 1);
        assert!(shelf.take(Path::new(TASK)).is_none(), "the standby does not see it again");
        drop(open(&shelf));
        assert_eq!(counted.opened.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_worker_waits_for_one_batch_and_no_longer() {
        assert_eq!(contend(|shelf, store| shelf.put(Path::new(TASK), store)), 1, "handed over");
        let close = |shelf: &Shelf, store| {
            drop(store);
            shelf.forget(Path::new(TASK));
        };
        assert_eq!(contend(close), 2, "opened anew");
        let die = |shelf: &Shelf, store| {
            drop(store);
            shelf.forget_all();
        };
        assert_eq!(contend(die), 2, "opened anew");
    }
}
