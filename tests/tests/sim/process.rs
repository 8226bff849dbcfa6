//! Processes that are started, stopped, killed and frozen, each on a machine with a disk of its own.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidemill_runtime::broker::Broker;
use tidemill_runtime::health::WorkerHealth;
use tidemill_runtime::reconciliation::ReconciliationWatch;
use tidemill_runtime::registry::SchemaRegistry;
use tidemill_runtime::stable_offset::{LOOK_INTERVAL, StableOffsetWatch};
use tidemill_runtime::standby::Standby;
use tidemill_runtime::state_log::StateLogPolicy;
use tidemill_runtime::supervise::slot_name;
use tidemill_runtime::telemetry::Telemetry;
use tidemill_runtime::worker::{OnStop, Shared, Worker, WorkerError};
use tidemill_topology::Topology;

use crate::disk::{Disk, SimStores};
use crate::ledger;
use crate::network::{Deletions, Graveyard, SimBroker};
use crate::scheduler::{Incarnation, Sim};
use crate::time::{SimClock, SimThreads};

/// So little of everything that a transaction takes several records, and a pass several transactions.
const STATE_LOG: StateLogPolicy = StateLogPolicy {
    record_bytes_max: 120,
    log_bytes_min: 3_000,
    scanned_entries: 2,
    carried_bytes_min: 1,
    carried_bytes_max: 20,
};
/// How long a process stays down, at most.
const DOWN_MAX: Duration = Duration::from_secs(6);
const FREEZE_MAX: Duration = Duration::from_secs(16);

/// What all machines have in common.
pub(crate) struct Site {
    pub(crate) sim: Arc<Sim>,
    pub(crate) topology: Arc<Topology>,
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) registry: Arc<dyn SchemaRegistry>,
    pub(crate) telemetry: Telemetry,
    pub(crate) graveyard: Arc<Graveyard>,
    pub(crate) deletions: Arc<Deletions>,
}

impl Site {
    pub(crate) fn group(&self) -> String {
        self.topology.units[0].group(&self.topology.pipeline)
    }
}

/// Where a process runs, one at a time.
pub(crate) struct Machine {
    pub(crate) name: &'static str,
    slots: u32,
    pub(crate) disk: Disk,
    life: Mutex<Life>,
}

struct Life {
    process: Option<Arc<Process>>,
    start_at: Duration,
}

/// One life of a process.
pub(crate) struct Process {
    pub(crate) sim: Arc<Sim>,
    pub(crate) machine: Arc<Machine>,
    pub(crate) graveyard: Arc<Graveyard>,
    incarnation: Incarnation,
    stop: AtomicBool,
    /// Workers that have not ended.
    workers: Mutex<u32>,
}

impl Machine {
    pub(crate) fn new(name: &'static str, slots: u32, start_at: Duration) -> Arc<Self> {
        let life = Mutex::new(Life { process: None, start_at });
        Arc::new(Self { name, slots, disk: Disk::default(), life })
    }

    fn lock(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_down(&self) -> bool {
        self.lock().process.is_none()
    }

    /// Starts the process when it is time, and notices when it has ended.
    pub(crate) fn tend(self: &Arc<Self>, site: &Site) {
        let process = self.lock().process.clone();
        match process {
            None if self.lock().start_at <= site.sim.now() => self.start(site),
            Some(process) if *process.workers.lock().unwrap_or_else(PoisonError::into_inner) == 0 => {
                // The process exits, and takes with it what it had in the background.
                self.disk.close();
                site.sim.kill(process.incarnation);
                self.lock().process = None;
                self.come_back(&site.sim);
            }
            None | Some(_) => {}
        }
    }

    /// Asks the process to stop in good order.
    pub(crate) fn stop(&self, sim: &Sim) {
        if let Some(process) = &self.lock().process {
            sim.note("stop", || self.name.to_owned());
            process.stop.store(true, Ordering::Relaxed);
        }
    }

    pub(crate) fn stay_down(&self) {
        self.lock().start_at = Duration::MAX;
    }

    pub(crate) fn come_up(&self) {
        self.lock().start_at = Duration::ZERO;
    }

    fn come_back(&self, sim: &Sim) {
        let down = sim.span(DOWN_MAX) + Duration::from_millis(50);
        let mut life = self.lock();
        if life.start_at != Duration::MAX {
            life.start_at = sim.now() + down;
        }
    }

    fn start(self: &Arc<Self>, site: &Site) {
        let sim = &site.sim;
        let incarnation = sim.incarnate();
        sim.note("start", || format!("{} as process {}", self.name, incarnation.0));
        let process = Arc::new(Process {
            sim: Arc::clone(sim),
            machine: Arc::clone(self),
            graveyard: Arc::clone(&site.graveyard),
            incarnation,
            stop: AtomicBool::new(false),
            workers: Mutex::new(self.slots),
        });
        self.lock().process = Some(Arc::clone(&process));
        let shared = Arc::new(Shared {
            topology: Arc::clone(&site.topology),
            broker: Arc::new(SimBroker {
                process: Arc::clone(&process),
                broker: Arc::clone(&site.broker),
                deletions: Arc::clone(&site.deletions),
            }),
            registry: Arc::clone(&site.registry),
            codecs: &ledger::CODECS,
            stores: Arc::new(SimStores(Arc::clone(&process))),
            clock: Arc::new(SimClock(Arc::clone(sim))),
            threads: Arc::new(SimThreads { sim: Arc::clone(sim), incarnation }),
            telemetry: site.telemetry.clone(),
            state_log: STATE_LOG,
            state_dir: PathBuf::from(self.name),
            rehearsal: None,
        });
        let unit = Arc::new(site.topology.units[0].clone());
        let (shared, standbys) = Standby::beside(&shared, std::iter::once(Arc::clone(&unit)), self.name);
        for standby in standbys {
            let process = Arc::clone(&process);
            sim.spawn(standby.name(), incarnation, Box::new(move || standby.run(&process.stop)));
        }
        let slot_of = |number| slot_name(&site.topology.pipeline.name, &unit.name, self.name, number);
        let siblings: Arc<[String]> = (0..self.slots).map(slot_of).collect();
        let (watched, watching) = (Arc::clone(&shared), Arc::clone(&process));
        let watch = move || {
            let mut watch = StableOffsetWatch::new(watched);
            while !watching.stop.load(Ordering::Relaxed) {
                watching.sim.pause("watch", LOOK_INTERVAL);
                watch.look();
            }
        };
        sim.spawn(format!("{}-watch", self.name), incarnation, Box::new(watch));
        let (broker, topology) = (Arc::clone(&shared.broker), Arc::clone(&shared.topology));
        let reconciling = Arc::clone(&process);
        let reconcile = move || {
            let mut watch = ReconciliationWatch::new(topology, broker);
            while !reconciling.stop.load(Ordering::Relaxed) {
                reconciling.sim.pause("reconcile", ReconciliationWatch::INTERVAL);
                // A broker that is away is asked again.
                let look = watch.look().unwrap_or_default();
                look.findings().for_each(|finding| reconciling.sim.fail(format!("reconciliation: {finding}")));
            }
        };
        sim.spawn(format!("{}-reconcile", self.name), incarnation, Box::new(reconcile));
        for (number, slot) in siblings.iter().cloned().enumerate() {
            let (shared, unit, siblings) = (Arc::clone(&shared), Arc::clone(&unit), Arc::clone(&siblings));
            let process = Arc::clone(&process);
            let body = move || {
                let worker = Worker::new(shared, unit, slot, siblings, Arc::new(WorkerHealth::default()));
                let result = worker.and_then(|worker| worker.run(&process.stop, OnStop::Leave));
                process.ended(&result);
            };
            sim.spawn(format!("{}{number}", self.name), incarnation, Box::new(body));
        }
    }
}

impl Process {
    /// Kills the process where it stands.
    pub(crate) fn kill(&self) {
        self.sim.note("kill", || format!("process {}", self.incarnation.0));
        self.machine.disk.crash(&self.sim);
        self.sim.kill(self.incarnation);
        let is_current = self.machine.lock().process.as_ref().is_some_and(|now| now.incarnation == self.incarnation);
        if is_current {
            self.machine.lock().process = None;
            self.machine.come_back(&self.sim);
        }
    }

    pub(crate) fn freeze(&self) {
        let span = self.sim.span(FREEZE_MAX) + ledger::SESSION;
        self.sim.note("freeze", || format!("process {} for {span:?}", self.incarnation.0));
        self.sim.freeze(self.incarnation, span);
    }

    /// A worker has come to its end. One that gives up takes its process with it, as `tidemill run` does.
    fn ended(&self, result: &Result<(), WorkerError>) {
        self.sim.note("worker ended", || format!("{result:?}"));
        match result {
            Ok(()) | Err(WorkerError::GaveUp { .. }) => {}
            Err(error) => self.sim.fail(format!("worker_ended: {error}")),
        }
        self.stop.store(true, Ordering::Relaxed);
        *self.workers.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
    }
}
