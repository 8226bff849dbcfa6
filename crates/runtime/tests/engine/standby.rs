//! A take-over with and without a standby: both come to the same counts, and only one of them reads the log again.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidemill_runtime::embedded::{EmbeddedBroker, EmbeddedOptions};
use tidemill_runtime::health::{Phase, ProcessView};
use tidemill_runtime::store::disk::DiskStores;
use tidemill_runtime::supervise::{self, RunOptions, Running};
use tidemill_runtime::worker::Shared;

use crate::words::{PATIENCE, TASKS, create_topics, options, read_counts, shared, topology, write_words};

const TICK: Duration = Duration::from_millis(10);

/// One process of two on one broker, with stores of its own.
struct Process {
    shared: Arc<Shared>,
    running: Running,
}

impl Process {
    fn start(folder: &Path, broker: &Arc<EmbeddedBroker>, instance: &str, standbys: u32) -> Self {
        let mut topology = topology(folder);
        topology.units[0].standbys = standbys;
        let own = shared(folder, broker.clone(), Arc::new(DiskStores::default()));
        let (topology, state_dir) = (Arc::new(topology), folder.join(instance));
        let shared = Arc::new(Shared { topology, state_dir, ..own.as_ref().clone() });
        let options = RunOptions { instance: instance.to_owned(), ..options(1) };
        let running = supervise::start(&shared, &options).expect("workers start");
        Self { shared, running }
    }

    fn view(&self) -> ProcessView {
        self.running.health.view(0)
    }

    fn runs(&self) -> usize {
        let workers = self.view().workers;
        workers.iter().flat_map(|worker| &worker.tasks).filter(|task| task.phase == Phase::Running).count()
    }

    /// Standbys that have everything.
    fn follows(&self) -> usize {
        let standbys = self.view().standbys;
        let left = |task: &tidemill_runtime::health::TaskView| task.restore.as_ref().map(|view| view.restore.left());
        let tasks = standbys.iter().flat_map(|standby| &standby.tasks);
        tasks.filter(|task| task.phase == Phase::Following && left(task) == Some(0)).count()
    }
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let started_at = Instant::now();
    while !is_so() {
        assert!(started_at.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(TICK);
    }
}

/// What a take-over came to: every count, and the records of state logs that were read again for it.
fn take_over(standbys: u32) -> (BTreeMap<String, Vec<u64>>, u64) {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let broker = EmbeddedBroker::open(&folder.path().join("broker"), EmbeddedOptions::default());
    let broker = broker.expect("a new broker");
    create_topics(broker.as_ref(), folder.path());
    write_words(broker.as_ref(), 12_000);
    let leaves = Process::start(folder.path(), &broker, "a", standbys);
    read_counts(broker.as_ref(), 12_000, || ());
    let stays = Process::start(folder.path(), &broker, "b", standbys);
    wait_for("each has its share", || leaves.runs() == 1 && stays.runs() == 1);
    let followed = usize::from(standbys > 0);
    wait_for("each stands by for the other", || [&leaves, &stays].iter().all(|process| process.follows() == followed));
    write_words(broker.as_ref(), 1_000);
    read_counts(broker.as_ref(), 13_000, || ());
    wait_for("the standby has it all", || stays.follows() == followed);
    let restored = || stays.shared.telemetry.restored_records.get();
    let before = restored();
    leaves.running.join().expect("it stops in good order");
    wait_for("all tasks are taken over", || stays.runs() == TASKS as usize);
    let restored = restored() - before;
    wait_for("nobody stands by for a task of its own", || stays.follows() == 0);
    write_words(broker.as_ref(), 1_000);
    let seen = read_counts(broker.as_ref(), 14_000, || assert!(stays.running.wait(Duration::ZERO).is_none()));
    stays.running.join().expect("it stops in good order");
    (seen, restored)
}

#[test]
fn a_take_over_with_a_standby_reads_little_again_and_counts_the_same() {
    let (without, restored_without) = take_over(0);
    let (with, restored_with) = take_over(1);
    println!("applied at the take-over: {restored_without} records without a standby, {restored_with} with one");
    for counts in without.values() {
        assert_eq!(*counts, (1..=counts.len() as u64).collect::<Vec<_>>());
    }
    assert_eq!(with, without);
    // A release, a claim, and what was committed since the standby looked.
    assert!(restored_with <= 20, "{restored_with} records");
    assert!(restored_without > 60, "{restored_without} records");
}
