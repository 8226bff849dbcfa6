//! What waits in memory to be written: it is seen, it reaches the disk whole and in order, and it has a bound.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use tidemill_runtime::clock::SystemClock;
use tidemill_runtime::conformance::Random;
use tidemill_runtime::conformance::store::{Model, random_changes};
use tidemill_runtime::store::changes::{Change, OwnedChange};
use tidemill_runtime::store::memory::MemoryStores;
use tidemill_runtime::store::write_behind::{Background, WriteBehind};
use tidemill_runtime::store::{Pair, StoreError, StoreFactory, TaskStore};
use tidemill_runtime::task::checkpoint::CHECKPOINT_KEY;
use tidemill_runtime::threads::SystemThreads;

use crate::{IDENTITY, SMALL, copy};

fn behind(store: Arc<dyn TaskStore>, bytes_max: usize) -> WriteBehind {
    let background = Background { threads: Arc::new(SystemThreads), clock: Arc::new(SystemClock::default()) };
    WriteBehind::new(store, bytes_max, background)
}

fn settle(store: &mut WriteBehind, changes: &[OwnedChange], next_offset: u64) -> Result<(), StoreError> {
    for (key, value) in changes {
        store.put(store.hash(key), (key, value.as_deref()));
    }
    store.settle(&next_offset.to_le_bytes(), next_offset)
}

/// What settling these transactions comes to.
fn model(transactions: &[Vec<OwnedChange>]) -> Model {
    let mut model = Model::default();
    transactions.iter().for_each(|changes| model.apply(changes));
    if !transactions.is_empty() {
        model.pairs.insert(CHECKPOINT_KEY.to_vec(), (transactions.len() as u64).to_le_bytes().to_vec());
    }
    model
}

#[test]
fn every_change_is_seen_wherever_it_is() {
    let mut random = Random::printed();
    for bytes_max in [1, 4_000, 100_000] {
        let directory = tempfile::tempdir().expect("a directory");
        let mut store = behind(SMALL.open(&directory.path().join("0"), IDENTITY).expect("it opens"), bytes_max);
        let mut transactions = Vec::new();
        for next_offset in 1..=120 {
            let changes = random_changes(&mut random);
            settle(&mut store, &changes, next_offset).expect("it is settled");
            transactions.push(changes);
            let model = model(&transactions);
            for number in 0..200 {
                let key = format!("balances\0{number:03}").into_bytes();
                assert_eq!(store.get(&key).expect("it can be read").as_ref(), model.pairs.get(&key), "{key:?}");
            }
        }
        store.flush().expect("it is written");
        drop(store);
        let store = SMALL.open(&directory.path().join("0"), IDENTITY).expect("it opens again");
        assert_eq!(store.next_offset(), 120);
        model(&transactions).assert_is(store.as_ref());
    }
}

#[test]
fn a_killed_store_is_behind_by_whole_transactions_and_never_ahead() {
    const BYTES_MAX: usize = 30_000;
    let mut random = Random::printed();
    let directory = tempfile::tempdir().expect("a directory");
    let live = directory.path().join("live");
    let mut store = behind(SMALL.open(&live, IDENTITY).expect("it opens"), BYTES_MAX);
    let mut transactions: Vec<Vec<OwnedChange>> = Vec::new();
    for round in 0..12_u64 {
        for _ in 0..30 {
            transactions.push(random_changes(&mut random));
            let next_offset = transactions.len() as u64;
            settle(&mut store, &transactions[transactions.len() - 1], next_offset).expect("it is settled");
        }
        let killed = directory.path().join(format!("killed-{round}"));
        copy(&live, &killed);
        // A file that goes while it is copied is damage that a kill does not do.
        let Ok(reopened) = SMALL.open(&killed, IDENTITY) else { continue };
        let next_offset = reopened.next_offset();
        assert!(next_offset <= store.next_offset());
        model(&transactions[..next_offset as usize]).assert_is(reopened.as_ref());
    }
}

/// A disk that writes only while it is told to, and refuses when it is told to.
struct Disk {
    store: Arc<dyn TaskStore>,
    order: Mutex<Order>,
    ordered: Condvar,
    largest_run_bytes: AtomicU64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Write,
    Wait,
    Refuse,
}

impl Disk {
    fn new(order: Order) -> Arc<Self> {
        let store = MemoryStores::default().open(Path::new("0"), IDENTITY).expect("a store in memory");
        let largest_run_bytes = AtomicU64::new(0);
        Arc::new(Self { store, order: Mutex::new(order), ordered: Condvar::new(), largest_run_bytes })
    }

    fn order(&self, order: Order) {
        *self.order.lock().expect("no thread panics here") = order;
        self.ordered.notify_all();
    }
}

impl TaskStore for Disk {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.get(key)
    }

    fn scan(&self, after: &[u8], before: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError> {
        self.store.scan(after, before, limit)
    }

    fn last_key(&self, after: &[u8], before: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.last_key(after, before)
    }

    fn apply(&self, changes: &mut dyn Iterator<Item = Change<'_>>, next_offset: u64) -> Result<(), StoreError> {
        let order = self.order.lock().expect("no thread panics here");
        let order = self.ordered.wait_while(order, |order| *order == Order::Wait).expect("no thread panics here");
        if *order == Order::Refuse {
            return Err(StoreError::Unavailable {
                path: self.describe(),
                message: "no space left on device".to_owned(),
            });
        }
        let mut bytes = 0;
        let mut counted = changes.inspect(|(key, value)| bytes += (key.len() + value.map_or(0, <[u8]>::len)) as u64);
        self.store.apply(&mut counted, next_offset)?;
        self.largest_run_bytes.fetch_max(bytes, Ordering::Relaxed);
        Ok(())
    }

    fn next_offset(&self) -> u64 {
        self.store.next_offset()
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.store.sync()
    }

    fn describe(&self) -> String {
        "a disk".to_owned()
    }
}

/// A transaction of about a kilobyte with keys of its own.
fn kilobyte(number: u64) -> Vec<OwnedChange> {
    (0..10).map(|part| (format!("s\0{number:05}-{part}").into_bytes(), Some(vec![number as u8; 90]))).collect()
}

#[test]
fn a_disk_that_is_slower_holds_the_worker_up() {
    const BYTES_MAX: usize = 20_000;
    let disk = Disk::new(Order::Wait);
    let settled = Arc::new(AtomicU64::new(0));
    let (for_worker, progress) = (disk.clone(), Arc::clone(&settled));
    let worker = std::thread::spawn(move || {
        let mut store = behind(for_worker, BYTES_MAX);
        for number in 1..=200 {
            settle(&mut store, &kilobyte(number), number).expect("it is settled");
            progress.store(number, Ordering::Relaxed);
        }
        store.flush().expect("it is written");
    });
    let started_at = std::time::Instant::now();
    let mut last = (0, started_at);
    // Nothing is written: it stops when both runs are full.
    while last.0 == 0 || last.1.elapsed().as_millis() < 300 {
        let now = settled.load(Ordering::Relaxed);
        if now != last.0 {
            last = (now, std::time::Instant::now());
        }
        assert!(started_at.elapsed().as_secs() < 60, "it never stops");
        std::thread::yield_now();
    }
    assert!(last.0 * 1_000 < 3 * BYTES_MAX as u64, "{} transactions of a kilobyte are in memory", last.0);
    disk.order(Order::Write);
    worker.join().expect("the worker comes to its end");
    let transactions: Vec<_> = (1..=200).map(kilobyte).collect();
    model(&transactions).assert_is(disk.as_ref());
    assert!(disk.largest_run_bytes.load(Ordering::Relaxed) < 2 * BYTES_MAX as u64);
}

#[test]
fn a_disk_that_refuses_is_reported_and_what_it_holds_stays_whole() {
    let disk = Disk::new(Order::Write);
    let mut store = behind(disk.clone(), 5_000);
    let mut number = 0;
    let mut next = |store: &mut WriteBehind| {
        number += 1;
        settle(store, &kilobyte(number), number)
    };
    for _ in 0..20 {
        next(&mut store).expect("it is settled");
    }
    disk.order(Order::Refuse);
    let refused = (0..1_000).find_map(|_| next(&mut store).err());
    assert!(matches!(refused, Some(StoreError::Unavailable { .. })), "{refused:?}");
    disk.order(Order::Write);
    assert!(next(&mut store).is_err() && store.flush().is_err(), "what was refused is not passed over");
    let transactions: Vec<_> = (1..=disk.next_offset()).map(kilobyte).collect();
    assert!(transactions.len() >= 5, "some of it was written before");
    model(&transactions).assert_is(disk.as_ref());
}

#[test]
fn a_hot_key_is_written_once_per_run() {
    let disk = Disk::new(Order::Write);
    let mut store = behind(disk.clone(), 50_000);
    let hot = |number: u64| vec![(b"s\0hot".to_vec(), Some(number.to_be_bytes().repeat(10)))];
    for number in 1..=10_000 {
        settle(&mut store, &hot(number), number).expect("it is settled");
    }
    assert_eq!(disk.next_offset(), 0, "all of it fits in memory");
    store.flush().expect("it is written");
    let held: BTreeMap<_, _> = disk.scan(b"s", b"t", 10).expect("it can be read").into_iter().collect();
    assert_eq!(held, BTreeMap::from([(b"s\0hot".to_vec(), 10_000_u64.to_be_bytes().repeat(10))]));
}
