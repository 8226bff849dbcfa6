//! What a restart makes of what it finds on the disk: a store that is well is used, a store that is not is named and
//! rebuilt once, and no count is ever wrong.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tidemill_runtime::broker::{Broker, NewTopic};
use tidemill_runtime::embedded::{EmbeddedBroker, EmbeddedOptions};
use tidemill_runtime::health::{Phase, TaskView};
use tidemill_runtime::state_log::StateLogPolicy;
use tidemill_runtime::store::changes::Change;
use tidemill_runtime::store::disk::DiskStores;
use tidemill_runtime::store::{Pair, StoreError, StoreFactory, TaskStore};
use tidemill_runtime::supervise::{self, Running};
use tidemill_runtime::worker::Shared;

use crate::words::{PATIENCE, TASKS, create_topics, options, read_counts, shared, shared_with, write, write_words};

pub(crate) const RECORDS: u64 = 500;
const NEW_WORDS: [&str; 5] = ["bore", "eddy", "race", "rip", "swell"];
pub(crate) const STATE_LOG: &str = "words.main.state";

pub(crate) struct Pipeline {
    folder: tempfile::TempDir,
    pub(crate) broker: Arc<EmbeddedBroker>,
}

impl Pipeline {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let broker = EmbeddedBroker::open(&folder.path().join("broker"), EmbeddedOptions::default());
        let broker = broker.expect("a new broker");
        create_topics(broker.as_ref(), folder.path());
        Self { folder, broker }
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state/main")
    }

    pub(crate) fn shared(&self, stores: Arc<dyn StoreFactory>) -> Arc<Shared> {
        shared(self.folder.path(), self.broker.clone(), stores)
    }

    /// Counts `RECORDS` more words and stops in good order. `total` is how many there are then.
    pub(crate) fn count(&self, total: u64) -> (BTreeMap<String, Vec<u64>>, Arc<Shared>) {
        self.count_with(total, StateLogPolicy::default(), || ())
    }

    /// The same with a policy for the state log. `look` is called when everything is counted and the workers still run.
    pub(crate) fn count_with(
        &self,
        total: u64,
        policy: StateLogPolicy,
        look: impl FnOnce(),
    ) -> (BTreeMap<String, Vec<u64>>, Arc<Shared>) {
        let stores = Arc::new(DiskStores::default());
        let shared = shared_with(self.folder.path(), self.broker.clone(), stores, policy);
        let _expected = write_words(self.broker.as_ref(), RECORDS);
        let running = start(&shared);
        let seen = read_counts(self.broker.as_ref(), total, || assert_runs(&running));
        look();
        running.join().expect("workers stop in good order");
        (seen, shared)
    }
}

pub(crate) fn start(shared: &Arc<Shared>) -> Running {
    supervise::start(shared, &options(1)).expect("workers start")
}

fn assert_runs(running: &Running) {
    if let Some(ended) = running.wait(Duration::ZERO) {
        panic!("a worker ended: {ended:?}");
    }
}

fn tasks(running: &Running) -> Vec<TaskView> {
    running.health.workers.iter().flat_map(|(slot, health)| health.view(slot, 0).tasks).collect()
}

pub(crate) fn rebuilt(shared: &Shared) -> BTreeMap<&'static str, u64> {
    ["damaged", "foreign", "outside_log", "another_log"]
        .into_iter()
        .map(|cause| (cause, shared.telemetry.stores_rebuilt.with_label_values(&[cause]).get()))
        .filter(|(_, count)| *count > 0)
        .collect()
}

/// Each word from 1 upwards, without a gap and without a repeat.
pub(crate) fn assert_exact(seen: &BTreeMap<String, Vec<u64>>, total: u64) {
    assert_eq!(seen.values().map(|counts| counts.len() as u64).sum::<u64>(), total);
    for (word, counts) in seen {
        assert_eq!(*counts, (1..=counts.len() as u64).collect::<Vec<_>>(), "{word}");
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("the store is there") {
        let path = entry.expect("can be listed").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

fn largest(folder: &Path) -> PathBuf {
    let length = |path: &PathBuf| fs::metadata(path).expect("it is there").len();
    files(folder).into_iter().max_by_key(length).expect("a store has files")
}

fn flip(path: &Path, position: usize) {
    let mut bytes = fs::read(path).expect("it can be read");
    bytes[position] ^= 0x40;
    fs::write(path, bytes).expect("it can be written");
}

#[test]
fn a_store_that_is_well_is_not_rebuilt() {
    let pipeline = Pipeline::new();
    pipeline.count(RECORDS);
    let (seen, shared) = pipeline.count(2 * RECORDS);
    assert_exact(&seen, 2 * RECORDS);
    assert_eq!(rebuilt(&shared), BTreeMap::new());
}

/// What is done to the store of each task between two runs, and what the second run says to it.
type Damage = (&'static str, fn(&Path), &'static [&'static str]);

const DAMAGES: [Damage; 5] = [
    ("its folder is gone", |store| fs::remove_dir_all(store).expect("removed"), &[]),
    ("its marker is gone", |store| fs::remove_file(store.join("store")).expect("removed"), &["damaged"]),
    ("its marker is another's", |store| flip(&store.join("store"), 20), &["damaged", "foreign"]),
    // What fjall has lost of its journal, the state log still has, so either answer is right.
    (
        "its largest file is cut",
        |store| {
            let path = largest(store);
            let file = fs::OpenOptions::new().write(true).open(&path).expect("it can be opened");
            file.set_len(fs::metadata(&path).expect("it is there").len() / 2).expect("it can be cut");
        },
        &["", "damaged"],
    ),
    (
        "its version file is empty",
        |store| {
            for path in files(store).iter().filter(|path| path.to_string_lossy().contains("version")) {
                fs::write(path, []).expect("it can be emptied");
            }
        },
        &["damaged"],
    ),
];

#[test]
fn a_store_that_is_not_well_is_named_and_rebuilt_once() {
    for (damage, inflict, allowed) in DAMAGES {
        let pipeline = Pipeline::new();
        pipeline.count(RECORDS);
        for task in 0..TASKS {
            inflict(&pipeline.state().join(task.to_string()));
        }
        let (seen, shared) = pipeline.count(2 * RECORDS);
        assert_exact(&seen, 2 * RECORDS);
        let causes = rebuilt(&shared);
        println!("{damage}: {causes:?}");
        assert!(causes.keys().all(|cause| allowed.contains(cause)), "{damage}: {causes:?}");
        assert!(!causes.is_empty() || allowed.is_empty() || allowed.contains(&""), "{damage} went unnoticed");
        let (seen, shared) = pipeline.count(3 * RECORDS);
        assert_exact(&seen, 3 * RECORDS);
        assert_eq!(rebuilt(&shared), BTreeMap::new(), "{damage} is healed for good");
    }
}

#[test]
fn a_flipped_byte_never_becomes_a_wrong_count() {
    let pipeline = Pipeline::new();
    let mut total = RECORDS;
    pipeline.count(total);
    let store = pipeline.state().join("0");
    for (file, path) in files(&store).into_iter().enumerate() {
        let Ok(length) = fs::metadata(&path).map(|metadata| metadata.len() as usize) else { continue };
        // One place in each third of the file, others in each file.
        let places =
            (0..3).map(|third| length * third / 3 + file % (length / 3).max(1)).filter(|place| *place < length);
        for place in places.collect::<Vec<_>>() {
            if !path.exists() || fs::metadata(&path).expect("it is there").len() as usize <= place {
                continue;
            }
            flip(&path, place);
            total += RECORDS;
            let (seen, shared) = pipeline.count(total);
            assert_exact(&seen, total);
            println!("{} at {place}: {:?}", path.file_name().unwrap_or_default().display(), rebuilt(&shared));
        }
    }
}

#[test]
fn a_store_that_followed_another_log_is_rebuilt() {
    let [pipeline, other] = [Pipeline::new(), Pipeline::new()];
    pipeline.count(RECORDS);
    other.count(RECORDS);
    other.count(2 * RECORDS);
    // The other's log is longer, so only what it says can tell that the store does not go with it.
    for task in 0..TASKS {
        let [ours, theirs] = [&pipeline, &other].map(|pipeline| pipeline.state().join(task.to_string()));
        fs::remove_dir_all(&theirs).expect("it can be removed");
        fs::rename(&ours, &theirs).expect("it can be moved");
    }
    let (seen, shared) = other.count(3 * RECORDS);
    assert_exact(&seen, 3 * RECORDS);
    assert_eq!(rebuilt(&shared), BTreeMap::from([("another_log", u64::from(TASKS))]));
}

#[test]
fn a_state_log_that_was_made_anew_is_not_a_beginning() {
    let pipeline = Pipeline::new();
    pipeline.count(RECORDS);
    pipeline.broker.delete_topic(STATE_LOG).expect("it can be deleted");
    let anew = NewTopic { name: STATE_LOG.to_owned(), partitions: TASKS, replication: 1, config: BTreeMap::default() };
    pipeline.broker.create_topic(&anew).expect("it can be made");
    let shared = pipeline.shared(Arc::new(DiskStores::default()));
    let running = start(&shared);
    wait_until("every task says why it waits", &running, |tasks| {
        tasks.iter().filter(|task| is_waiting_for(task, "state_log_lost")).count() == TASKS as usize
    });
    running.join().expect("workers stop in good order");
    let seen = read_counts(pipeline.broker.as_ref(), RECORDS, || ());
    assert_exact(&seen, RECORDS);
}

pub(crate) fn is_waiting_for(task: &TaskView, code: &str) -> bool {
    task.phase == Phase::Waiting && task.reason.as_ref().is_some_and(|reason| reason.code == code)
}

pub(crate) fn wait_until(what: &str, running: &Running, is_so: impl Fn(&[TaskView]) -> bool) {
    let started_at = Instant::now();
    loop {
        let tasks = tasks(running);
        if is_so(&tasks) {
            return;
        }
        assert!(started_at.elapsed() < PATIENCE, "{what}: {tasks:?}");
        assert_runs(running);
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What is wrong with a disk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trouble {
    Nothing,
    /// It takes no more.
    Full,
    /// What it gives back of the store of task 1 is not what was written.
    Rotten,
}

#[derive(Clone)]
struct BadDisk {
    stores: DiskStores,
    trouble: Arc<Mutex<Trouble>>,
}

struct BadStore {
    store: Arc<dyn TaskStore>,
    disk: BadDisk,
    is_of_task_1: bool,
}

impl BadDisk {
    fn new() -> Self {
        Self { stores: DiskStores::default(), trouble: Arc::new(Mutex::new(Trouble::Nothing)) }
    }

    fn turn(&self, trouble: Trouble) {
        *self.trouble.lock().expect("nobody panics with it") = trouble;
    }

    fn is(&self, trouble: Trouble) -> bool {
        *self.trouble.lock().expect("nobody panics with it") == trouble
    }
}

impl StoreFactory for BadDisk {
    fn open(&self, directory: &Path, identity: &str) -> Result<Arc<dyn TaskStore>, StoreError> {
        let store = self.stores.open(directory, identity)?;
        Ok(Arc::new(BadStore { store, disk: self.clone(), is_of_task_1: directory.ends_with("1") }))
    }

    /// Less than a checkpoint takes, so that every transaction is written out.
    fn write_buffer_bytes_max(&self) -> usize {
        100
    }

    fn discard(&self, directory: &Path) -> Result<(), StoreError> {
        self.stores.discard(directory)
    }
}

impl TaskStore for BadStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        if self.is_of_task_1 && key.starts_with(b"counts") && self.disk.is(Trouble::Rotten) {
            let message = "a block does not match its checksum".to_owned();
            return Err(StoreError::Damaged { path: "store".to_owned(), message });
        }
        self.store.get(key)
    }

    fn scan(&self, after: &[u8], before: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError> {
        self.store.scan(after, before, limit)
    }

    fn last_key(&self, after: &[u8], before: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.last_key(after, before)
    }

    fn apply(&self, changes: &mut dyn Iterator<Item = Change<'_>>, next_offset: u64) -> Result<(), StoreError> {
        if self.disk.is(Trouble::Full) {
            let message = "no space left on device".to_owned();
            return Err(StoreError::Unavailable { path: "store".to_owned(), message });
        }
        self.store.apply(changes, next_offset)
    }

    fn next_offset(&self) -> u64 {
        self.store.next_offset()
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.store.sync()
    }

    fn describe(&self) -> String {
        self.store.describe()
    }
}

#[test]
fn a_full_disk_pauses_and_loses_nothing() {
    let pipeline = Pipeline::new();
    let disk = BadDisk::new();
    let shared = pipeline.shared(Arc::new(disk.clone()));
    let _expected = write_words(pipeline.broker.as_ref(), RECORDS);
    let running = start(&shared);
    read_counts(pipeline.broker.as_ref(), RECORDS, || assert_runs(&running));
    disk.turn(Trouble::Full);
    let _expected = write_words(pipeline.broker.as_ref(), RECORDS);
    wait_until("every task waits for room", &running, |tasks| {
        tasks.iter().filter(|task| is_waiting_for(task, "store_unavailable")).count() == TASKS as usize
    });
    disk.turn(Trouble::Nothing);
    let seen = read_counts(pipeline.broker.as_ref(), 2 * RECORDS, || assert_runs(&running));
    assert_exact(&seen, 2 * RECORDS);
    wait_until("every task runs again", &running, |tasks| {
        tasks.iter().filter(|task| task.phase == Phase::Running).count() == TASKS as usize
    });
    running.join().expect("workers stop in good order");
}

#[test]
fn a_disk_that_keeps_nothing_is_not_rebuilt_on_for_ever() {
    let pipeline = Pipeline::new();
    let disk = BadDisk::new();
    let shared = pipeline.shared(Arc::new(disk.clone()));
    let _expected = write_words(pipeline.broker.as_ref(), RECORDS);
    let running = start(&shared);
    read_counts(pipeline.broker.as_ref(), RECORDS, || assert_runs(&running));
    disk.turn(Trouble::Rotten);
    // Words that were never seen: those that were are in memory, and nobody asks the disk for them.
    let _expected = write(pipeline.broker.as_ref(), RECORDS, &NEW_WORDS);
    wait_until("the task with the rotten store rests, and the other runs", &running, |tasks| {
        let rests = |task: &TaskView| task.task == 1 && is_waiting_for(task, "store_rebuilt");
        tasks.iter().any(rests) && tasks.iter().any(|task| task.task == 0 && task.phase == Phase::Running)
    });
    assert_eq!(rebuilt(&shared), BTreeMap::from([("damaged", 2)]), "after the third time it rests first");
    running.join().expect("workers stop in good order");
    let (seen, _shared) = pipeline.count(3 * RECORDS);
    assert_exact(&seen, 3 * RECORDS);
}
