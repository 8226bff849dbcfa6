//! The stores: the suite for stores, and what only the one on disk promises: it survives being killed, and damage to its
//! files is found or does no harm.

mod write_behind;

use std::fs;
use std::path::{Path, PathBuf};

use tidemill_runtime::conformance::store::{Model, StoreUnderTest, apply, random_changes};
use tidemill_runtime::conformance::{Random, store};
use tidemill_runtime::store::changes::OwnedChange;
use tidemill_runtime::store::disk::DiskStores;
use tidemill_runtime::store::memory::MemoryStores;
use tidemill_runtime::store::{Pair, StoreError, StoreFactory, TaskStore};

const IDENTITY: &str = "cluster/pipeline/unit/0";

/// A small write buffer, so that files of every kind come to be.
const SMALL: DiskStores = DiskStores { cache_bytes: 1024 * 1024, write_buffer_bytes_max: 160 * 1024, threads: 1 };

#[test]
fn the_store_in_memory_passes_the_suite() {
    store::run(&|| StoreUnderTest { stores: Box::new(MemoryStores::default()), directory: PathBuf::from("task-0") });
}

#[test]
fn the_store_on_disk_passes_the_suite() {
    for stores in [DiskStores::default(), SMALL] {
        let directories = tempfile::tempdir().expect("a directory");
        store::run(&|| {
            let directory = tempfile::tempdir_in(directories.path()).expect("a directory").keep().join("task-0");
            StoreUnderTest { stores: Box::new(stores), directory }
        });
    }
}

/// Batches of changes; number n brings a store to offset n + 1.
struct Log(Vec<Vec<OwnedChange>>);

impl Log {
    fn random(random: &mut Random, length: usize) -> Self {
        Self((0..length).map(|_| random_changes(random)).collect())
    }

    fn model_at(&self, next_offset: u64) -> Model {
        let mut model = Model::default();
        self.0[..next_offset as usize].iter().for_each(|changes| model.apply(changes));
        model
    }

    /// Applies what the store has not seen yet, up to `end`.
    fn catch_up(&self, store: &dyn TaskStore, end: u64) -> Result<(), StoreError> {
        for next_offset in store.next_offset() + 1..=end {
            apply(store, &self.0[next_offset as usize - 1], next_offset)?;
        }
        Ok(())
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("the directory is created");
    for entry in fs::read_dir(from).expect("the directory can be read") {
        let entry = entry.expect("the entry can be read");
        let target = to.join(entry.file_name());
        match entry.file_type().expect("the entry has a type").is_dir() {
            true => copy(&entry.path(), &target),
            // A file may be compacted away between the listing and the copy.
            false => drop(fs::copy(entry.path(), target)),
        }
    }
}

#[test]
fn a_killed_store_is_behind_by_whole_batches() {
    let mut random = Random::printed();
    let log = Log::random(&mut random, 400);
    let directory = tempfile::tempdir().expect("a directory");
    let live = directory.path().join("live");
    let store = SMALL.open(&live, IDENTITY).expect("the store opens");
    for end in (80..=400).step_by(80) {
        log.catch_up(store.as_ref(), end).expect("it is applied");
        let killed = directory.path().join(format!("killed-{end}"));
        copy(&live, &killed);
        let reopened = SMALL.open(&killed, IDENTITY).expect("the copy opens");
        let next_offset = reopened.next_offset();
        assert!(next_offset <= end);
        log.model_at(next_offset).assert_is(reopened.as_ref());
        log.catch_up(reopened.as_ref(), end).expect("it is applied");
        log.model_at(end).assert_is(reopened.as_ref());
    }
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("the directory can be read") {
        let path = entry.expect("the entry can be read").path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found.sort();
    found
}

/// What a damaged store does: `Err` if it says so; otherwise the pairs after it has caught up.
fn heal(directory: &Path, log: &Log) -> Result<Vec<Pair>, StoreError> {
    let store = SMALL.open(directory, IDENTITY)?;
    log.catch_up(store.as_ref(), log.0.len() as u64)?;
    store.scan(b"", &[0xff; 40], usize::MAX)
}

#[test]
fn damage_is_found_or_harmless() {
    const ROUNDS: usize = 60;
    let mut random = Random::printed();
    let log = Log::random(&mut random, 150);
    let end = log.0.len() as u64;
    let directory = tempfile::tempdir().expect("a directory");
    let whole = directory.path().join("whole");
    let store = SMALL.open(&whole, IDENTITY).expect("the store opens");
    log.catch_up(store.as_ref(), end).expect("it is applied");
    drop(store);
    let expected: Vec<_> = log.model_at(end).pairs.into_iter().collect();
    let mut found = 0;
    for round in 0..ROUNDS {
        let damaged = directory.path().join(format!("damaged-{round}"));
        copy(&whole, &damaged);
        let files = files(&damaged);
        let path = &files[random.below(files.len())];
        let mut bytes = fs::read(path).expect("the file can be read");
        let place = random.below(bytes.len());
        match random.below(3) {
            0 => bytes.truncate(place),
            _ if bytes.is_empty() => continue,
            _ => bytes[place] ^= 1 << random.below(8),
        }
        fs::write(path, &bytes).expect("the file can be written");
        match heal(&damaged, &log) {
            Ok(pairs) => assert!(pairs == expected, "{} at {place}: wrong pairs", path.display()),
            Err(StoreError::Damaged { .. } | StoreError::Foreign { .. }) => found += 1,
            Err(error) => panic!("{} at {place}: {error}", path.display()),
        }
        fs::remove_dir_all(&damaged).expect("the copy is removed");
    }
    println!("{found} of {ROUNDS} were found, the others did no harm");
    assert!(found > 0, "the test damages nothing");
}
