//! One process: its workers and sinks, each on a thread of its own, until told to stop.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use tidemill_topology::Topology;
use tidemill_topology::plan::Unit;

use crate::health::{Health, WorkerHealth};
use crate::sink_worker::{SinkWorker, SinkWorkerError};
use crate::standby::Standby;
use crate::worker::{OnStop, Shared, Worker, WorkerError};

/// What to run here.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Stable name of this process among those of the pipeline: part of every slot's name.
    pub instance: String,
    /// Worker threads per unit.
    pub workers: u32,
    /// Units to run; empty for all.
    pub units: Vec<String>,
    pub sinks: RunSinks,
    pub on_stop: OnStop,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunSinks {
    All,
    None,
}

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("worker {slot}: {error}")]
    Worker { slot: String, error: WorkerError },
    #[error(transparent)]
    Sink(#[from] SinkWorkerError),
    #[error("thread {0} panicked")]
    Panicked(String),
    #[error("{0}")]
    Start(String),
}

/// A running process.
pub struct Running {
    stop: Arc<AtomicBool>,
    threads: Vec<(String, JoinHandle<()>)>,
    ended: Receiver<(String, Result<(), RunError>)>,
    pub health: Health,
}

/// The stable name of a worker: `pipeline-unit-instance-number`.
pub fn slot_name(pipeline: &str, unit: &str, instance: &str, number: u32) -> String {
    format!("{}{instance}-{number}", slots_of(pipeline, unit))
}

/// Whether a transactional id is that of a worker of this pipeline.
pub fn is_slot(topology: &Topology, id: &str) -> bool {
    topology.units.iter().any(|unit| id.starts_with(&slots_of(&topology.pipeline.scope(), &unit.name)))
}

/// What the names of all slots of a unit begin with.
fn slots_of(pipeline: &str, unit: &str) -> String {
    format!("{pipeline}-{unit}-")
}

/// The instance in a worker's name.
pub fn instance_of_slot<'a>(pipeline: &str, unit: &str, slot: &'a str) -> Option<&'a str> {
    let rest = slot.strip_prefix(pipeline)?.strip_prefix('-')?.strip_prefix(unit)?.strip_prefix('-')?;
    rest.rsplit_once('-').map(|(instance, _)| instance)
}

/// Starts the threads. Returns when all are built, not when they have caught up.
pub fn start(shared: &Arc<Shared>, options: &RunOptions) -> Result<Running, RunError> {
    let stop = Arc::new(AtomicBool::new(false));
    let (report, ended) = channel();
    let mut running = Running { stop, threads: Vec::new(), ended, health: Health::default() };
    let topology = Arc::clone(&shared.topology);
    let on_stop = options.on_stop;
    let is_wanted = |unit: &&Unit| options.units.is_empty() || options.units.contains(&unit.name);
    let units: Vec<Arc<Unit>> = topology.units.iter().filter(is_wanted).cloned().map(Arc::new).collect();
    let (shared, standbys) = Standby::beside(shared, units.iter().cloned(), &options.instance);
    for standby in standbys {
        let name = standby.name();
        running.health.standbys.push((name.clone(), standby.health()));
        running.spawn(name, &report, move |stop| {
            standby.run(stop);
            Ok(())
        })?;
    }
    let shared = &shared;
    for unit in units {
        let slot_of = |number| slot_name(&topology.pipeline.scope(), &unit.name, &options.instance, number);
        let siblings: Arc<[String]> = (0..options.workers).map(slot_of).collect();
        for slot in siblings.iter().cloned() {
            let health = Arc::new(WorkerHealth::default());
            let (shared, unit, siblings) = (Arc::clone(shared), Arc::clone(&unit), Arc::clone(&siblings));
            running.health.workers.push((slot.clone(), Arc::clone(&health)));
            running.spawn(slot.clone(), &report, move |stop| {
                Worker::new(shared, unit, slot.clone(), siblings, health)
                    .and_then(|worker| worker.run(stop, on_stop))
                    .map_err(|error| RunError::Worker { slot, error })
            })?;
        }
    }
    if options.sinks == RunSinks::All {
        for plan in topology.sinks.iter().cloned() {
            let slot = format!("{}-sink-{}-{}", topology.pipeline.scope(), plan.name, options.instance);
            let health = Arc::new(WorkerHealth::default());
            let shared = Arc::clone(shared);
            running.health.sinks.push((slot.clone(), Arc::clone(&health)));
            running.spawn(slot.clone(), &report, move |stop| {
                Ok(SinkWorker::new(shared, plan, slot, health).and_then(|worker| worker.run(stop, on_stop))?)
            })?;
        }
    }
    Ok(running)
}

/// Folder of one instance's stores.
pub fn instance_dir(state_dir: &std::path::Path, instance: &str) -> PathBuf {
    state_dir.join(instance)
}

impl Running {
    /// Asks all threads to finish what they have begun.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// The first thread to end on its own within `timeout`, with the reason. `None` while all run.
    pub fn wait(&self, timeout: Duration) -> Option<Result<(), RunError>> {
        self.ended.recv_timeout(timeout).ok().map(|(_, result)| result)
    }

    /// Stops and waits for every thread. The first error that any of them ended with is returned.
    pub fn join(mut self) -> Result<(), RunError> {
        self.stop();
        let mut panicked = None;
        for (name, thread) in self.threads.drain(..) {
            if thread.join().is_err() {
                panicked.get_or_insert(RunError::Panicked(name));
            }
        }
        let failed = self.ended.try_iter().find_map(|(_, result)| result.err());
        match failed.or(panicked) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn spawn(
        &mut self,
        name: String,
        report: &Sender<(String, Result<(), RunError>)>,
        body: impl FnOnce(&AtomicBool) -> Result<(), RunError> + Send + 'static,
    ) -> Result<(), RunError> {
        let (stop, report, reported) = (Arc::clone(&self.stop), report.clone(), name.clone());
        let thread = std::thread::Builder::new().name(name.clone()).spawn(move || {
            let result = body(&stop);
            // Nobody listens any more once the process is ending; the result is then of no use to anyone.
            let _unheard = report.send((reported, result));
        });
        let thread = thread.map_err(|error| RunError::Start(format!("thread {name} cannot be started: {error}")))?;
        self.threads.push((name, thread));
        Ok(())
    }
}
