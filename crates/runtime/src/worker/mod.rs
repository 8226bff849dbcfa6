//! A worker: one thread, one slot, one transaction for everything its tasks do.
//!
//! Invariant: only the state log says what is committed. Whenever the worker does not know, it forgets its tasks and
//! starts them again from there.

mod circuit;
pub(crate) mod commit;
mod error;
pub(crate) mod latest;
pub(crate) mod membership;
pub(crate) mod process;
pub(crate) mod program;
mod recovery;
mod redrive;
pub(crate) mod references;
mod release;
mod vacancy;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use tidemill_core::EventCodec;
use tidemill_topology::Topology;
use tidemill_topology::plan::{CommitPolicy, Unit};

use crate::backoff::Backoff;
use crate::broker::{Broker, Isolation, Member, MemberEvent, Reader, RecordBatch, TopicPartition};
use crate::clock::Clock;
use crate::codecs::Codecs;
use crate::dead_letter::FailedBy;
use crate::health::{Phase, WorkerHealth};
use crate::registry::SchemaRegistry;
use crate::reprocess::Rehearsal;
use crate::state_log::{RecordWriter, StateLogPolicy};
use crate::store::StoreFactory;
use crate::succession::{Succession, TRANSACTION_LEFT_OPEN};
use crate::task::restore::StartError;
use crate::task::{Place, Task};
use crate::telemetry::Telemetry;
use crate::threads::Threads;
use crate::transaction::Transaction;
use crate::worker::circuit::Circuit;
pub use crate::worker::error::WorkerError;
use crate::worker::process::Output;
pub use crate::worker::process::{VALUE_SCHEMA_UNKNOWN, VALUE_UNREADABLE};
use crate::worker::program::Program;
pub use crate::worker::redrive::{Decision, REDRIVE_UNADDRESSED};
use crate::worker::release::Release;
use crate::worker::vacancy::Vacancy;

const RECORDS_PER_POLL_MAX: usize = 2_000;
const IDLE_WAIT: Duration = Duration::from_millis(20);
const REGISTRY_WAIT_MIN: Duration = Duration::from_millis(500);
const REGISTRY_WAIT_MAX: Duration = Duration::from_secs(5);
/// Between attempts while the broker is away. A worker has to be heard of within its session meanwhile.
const AWAY_WAIT_MIN: Duration = Duration::from_millis(100);
const AWAY_WAIT_MAX: Duration = Duration::from_secs(1);
/// Failures without one commit in between, those of a broker that is away left aside, after which a worker stops.
const OWN_FAILURES_MAX: u32 = 20;

/// Why a worker reads nothing although it could.
const PAUSES: [&str; 2] = [REGISTRY_UNAVAILABLE, TRANSACTION_LEFT_OPEN];
const REGISTRY_UNAVAILABLE: &str = "registry_unavailable";
const BROKER_UNAVAILABLE: &str = "broker_unavailable";

/// What all workers of a process share.
#[derive(Clone)]
pub struct Shared {
    pub topology: Arc<Topology>,
    pub broker: Arc<dyn Broker>,
    pub registry: Arc<dyn SchemaRegistry>,
    pub codecs: &'static [EventCodec],
    pub stores: Arc<dyn StoreFactory>,
    pub clock: Arc<dyn Clock>,
    pub threads: Arc<dyn Threads>,
    pub telemetry: Telemetry,
    pub state_log: StateLogPolicy,
    /// Folder of this instance's stores.
    pub state_dir: PathBuf,
    /// How a pipeline runs that is not the live one. `None` for the one that is.
    pub rehearsal: Option<Arc<Rehearsal>>,
}

impl Shared {
    pub(crate) fn store_directory(&self, unit: &Unit, task: u32) -> PathBuf {
        self.state_dir.join(&unit.name).join(task.to_string())
    }
}

/// What a worker or sink that is told to stop does about its place in the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnStop {
    /// Gives it up: others get the tasks at once.
    Leave,
    /// Keeps it for a session: a successor of the same name finds the tasks where they were, and nobody else notices.
    Stay,
}

/// Whether the rest of a batch may be processed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
    Good,
    Stale,
}

/// A task on its way, and since when.
struct Starting {
    started_at: Duration,
    task: Receiver<Result<Task, StartError>>,
    abandoned: Arc<AtomicBool>,
}

impl Drop for Starting {
    /// Whoever starts the task next needs its store.
    fn drop(&mut self) {
        self.abandoned.store(true, Ordering::Relaxed);
    }
}

/// What went wrong with the starts of a task.
#[derive(Clone, Copy, Debug, Default)]
struct StartTrouble {
    /// Starts in a row that failed.
    failures: u32,
    /// Times its store showed damage while it was used.
    rebuilds: u32,
    /// Its store is not to be opened again.
    is_damaged: bool,
}

pub struct Worker {
    shared: Arc<Shared>,
    unit: Arc<Unit>,
    slot: String,
    siblings: Arc<[String]>,
    state_topic: Arc<str>,
    succession: Arc<Succession>,
    health: Arc<WorkerHealth>,
    program: Program,
    output: Output,
    member: Option<Box<dyn Member>>,
    /// What the group told us last, while it waits for our answer.
    unanswered: Option<MemberEvent>,
    reader: Box<dyn Reader>,
    batch: RecordBatch,
    state_records: RecordWriter,
    /// Tasks that the group has given us. Each is in `tasks` or in `starting`, but for moments in between.
    owned: BTreeSet<u32>,
    tasks: BTreeMap<u32, Task>,
    starting: BTreeMap<u32, Starting>,
    troubles: BTreeMap<u32, StartTrouble>,
    vacancy: Vacancy,
    release: Release,
    /// By input.
    circuits: Vec<Circuit>,
    /// Smoothed time of a commit, which the gap between commits follows.
    commit_time: Duration,
    is_drained: bool,
    paused_until: Option<Duration>,
    registry_backoff: Backoff,
    away_backoff: Backoff,
    /// Questions in a row that the schema registry did not answer.
    registry_failures: u32,
    failures: u32,
    /// Those among them that do not pass by themselves.
    own_failures: u32,
    /// How often reading went back to an earlier position.
    rewinds: u64,
}

impl Worker {
    /// `slot` is the worker's stable name: its transactional id and its group instance id. `siblings` are the slots of
    /// this process, its own among them or not.
    pub fn new(
        shared: Arc<Shared>,
        unit: Arc<Unit>,
        slot: String,
        siblings: Arc<[String]>,
        health: Arc<WorkerHealth>,
    ) -> Result<Self, WorkerError> {
        let pipeline = &shared.topology.pipeline;
        let program =
            Program::build(&shared.topology, &unit, shared.rehearsal.as_deref()).map_err(WorkerError::Broken)?;
        let mut codecs = Codecs::new(Arc::clone(&shared.registry), shared.codecs);
        for (topic, kind) in program.written() {
            codecs.prepare(topic, kind)?;
        }
        let timeout = Duration::from_millis(unit.commit.transaction_timeout_ms);
        let succession = Arc::new(Succession::of(&shared));
        let transaction = Transaction::new(Arc::clone(&succession), Arc::clone(&shared.clock), slot.clone(), timeout);
        let failed_by = FailedBy {
            pipeline: pipeline.scope(),
            produced_by: pipeline.produced_by(),
            config_hash: pipeline.config_hash.clone(),
            instance: slot.clone(),
            group: unit.group(pipeline),
            failed_at_ms: 0,
            styles: shared.topology.dead_letter_headers.clone(),
        };
        let mut worker = Self {
            state_topic: Arc::from(unit.state_topic(pipeline)),
            reader: shared.broker.reader(Isolation::ReadCommitted)?,
            output: Output::new(transaction, codecs, failed_by, &program),
            circuits: program.inputs.iter().map(|_| Circuit::default()).collect(),
            program,
            member: None,
            unanswered: None,
            batch: RecordBatch::default(),
            state_records: RecordWriter::default(),
            owned: BTreeSet::new(),
            tasks: BTreeMap::new(),
            starting: BTreeMap::new(),
            troubles: BTreeMap::new(),
            vacancy: Vacancy::default(),
            release: Release::default(),
            commit_time: Duration::from_millis(5),
            is_drained: true,
            paused_until: None,
            registry_backoff: Backoff::new(REGISTRY_WAIT_MIN, REGISTRY_WAIT_MAX, &slot),
            away_backoff: Backoff::new(AWAY_WAIT_MIN, AWAY_WAIT_MAX, &slot),
            registry_failures: 0,
            succession,
            failures: 0,
            own_failures: 0,
            rewinds: 0,
            shared,
            unit,
            slot,
            siblings,
            health,
        };
        worker.load_references()?;
        Ok(worker)
    }

    /// Works until `stop` is set, then commits, gives the tasks up in good order and returns.
    pub fn run(mut self, stop: &AtomicBool, on_stop: OnStop) -> Result<(), WorkerError> {
        while !stop.load(Ordering::Relaxed) {
            if let Err(error) = self.step() {
                self.recover_fully(error, stop)?;
            }
            self.report();
        }
        self.leave(on_stop)
    }

    /// One turn: membership, tasks that are ready, records, and a commit if it is time.
    pub fn step(&mut self) -> Result<(), WorkerError> {
        self.output.transaction.prepare()?;
        self.poll_membership()?;
        self.fill_vacancy()?;
        if !self.output.transaction.is_prepared() {
            return self.wait_for_producer();
        }
        if !sabotaged!(ForgetOwned) {
            self.start_missing();
        }
        self.collect_started()?;
        if let Some(until) = self.paused_until {
            if self.shared.clock.now() < until {
                self.shared.clock.sleep(IDLE_WAIT);
                return self.commit_if_due();
            }
            self.paused_until = None;
            self.tell_running();
        }
        self.release_parked()?;
        if self.release.comes_first() {
            self.is_drained = true;
            return self.commit_if_due();
        }
        let wait = if self.release.is_active() { Duration::ZERO } else { self.wait() };
        self.reader.poll(&mut self.batch, RECORDS_PER_POLL_MAX, wait)?;
        self.is_drained = self.batch.is_empty();
        self.end_decisions()?;
        self.process_batch()?;
        self.commit_if_due()
    }

    /// Nothing can be written, so nothing is read either.
    fn wait_for_producer(&mut self) -> Result<(), WorkerError> {
        const MESSAGE: &str = "a transaction of this slot is open on partitions, and nobody knows how it ended";
        if self.paused_until.is_none() {
            self.tell_paused(TRANSACTION_LEFT_OPEN, MESSAGE);
            self.health.failed(self.shared.clock.unix_ms(), MESSAGE.to_owned(), self.failures);
        }
        self.paused_until = Some(self.shared.clock.now());
        self.shared.clock.sleep(IDLE_WAIT);
        Ok(())
    }

    fn policy(&self) -> CommitPolicy {
        self.unit.commit
    }

    /// Not sooner after the first record than this: follows the cost of a commit, so that committing never takes more
    /// than about half of the time.
    fn gap(&self) -> Duration {
        let policy = self.policy();
        (self.commit_time * 2)
            .clamp(Duration::from_millis(policy.gap_ms_min), Duration::from_millis(policy.interval_ms_max))
    }

    fn wait(&self) -> Duration {
        let transaction = &self.output.transaction;
        if transaction.is_open() { self.gap().saturating_sub(transaction.age()) } else { IDLE_WAIT }
    }

    fn process_batch(&mut self) -> Result<(), WorkerError> {
        let batch = std::mem::take(&mut self.batch);
        let result = self.process_all(&batch);
        self.batch = batch;
        match result {
            Err(WorkerError::RegistryUnavailable(message)) => {
                tracing::warn!(
                    code = "registry_unavailable",
                    error = message,
                    "paused until the schema registry answers"
                );
                self.tell_paused(REGISTRY_UNAVAILABLE, &message);
                self.shared.telemetry.registry_retries.inc();
                self.registry_failures += 1;
                let wait = self.registry_backoff.after(self.registry_failures);
                self.paused_until = Some(self.shared.clock.now() + wait);
                self.seek_all()
            }
            Ok(()) => {
                if !self.batch.is_empty() {
                    self.registry_failures = 0;
                }
                Ok(())
            }
            result => result,
        }
    }

    fn process_all(&mut self, batch: &RecordBatch) -> Result<(), WorkerError> {
        self.output.failed_by.failed_at_ms = self.shared.clock.unix_ms();
        for index in 0..batch.len() {
            let headers = batch.headers(index);
            let record = batch.view(index, &headers);
            let meta = &batch.metas()[index];
            let topic = &meta.topic;
            let place = Place { topic, offset: meta.offset, passed_over: meta.passed_over };
            let Some(number) = self.program.input_of(topic) else {
                if self.is_redrive(topic) {
                    match self.process_redriven(place, &record) {
                        Err(full) if full.is_parking_limit() => return self.make_room(full),
                        Ok(true) if self.commit_if_full()? == Rest::Stale => return Ok(()),
                        done => done?,
                    };
                    continue;
                }
                if let Err(error) = self.apply_reference(&record) {
                    self.reader.assign(&TopicPartition::new(Arc::clone(topic), meta.partition), meta.offset)?;
                    return Err(error);
                }
                continue;
            };
            let Some(task) = self.tasks.get_mut(&record.origin.partition) else { continue };
            if self.shared.rehearsal.as_ref().is_some_and(|rehearsal| rehearsal.is_beyond(&record.origin)) {
                continue;
            }
            // What was fetched before a rewind, or before the task moved, may arrive once more.
            if task.position(topic).is_some_and(|position| record.origin.offset < position)
                && !sabotaged!(AcceptRereads)
            {
                continue;
            }
            if sabotaged!(LoseRecord) && record.origin.offset % 8 == 5 {
                continue;
            }
            let input = &self.program.inputs[number];
            let place = if input.is_compacted { place.in_compacted(task) } else { place };
            self.output.transaction.open()?;
            let held_back = match self.output.hold_back(input, task, &record) {
                Err(full) if full.is_parking_limit() => return self.make_room(full),
                held_back => held_back?,
            };
            let outcome = match held_back {
                Some(outcome) => outcome,
                None => self.output.process(input, &self.program.references, task, &record)?,
            };
            task.advance(place, number, outcome);
            if let Some(breaker) = input.circuit
                && let Some(what) = self.circuits[number].note(breaker, outcome)
            {
                return Err(WorkerError::CircuitOpen { stage: input.stage.to_string(), what });
            }
            if self.commit_if_full()? == Rest::Stale {
                return Ok(());
            }
        }
        Ok(())
    }

    fn commit_if_full(&mut self) -> Result<Rest, WorkerError> {
        if !self.is_full() {
            return Ok(Rest::Good);
        }
        let rewinds = self.rewinds;
        self.commit()?;
        // The rest of the batch lies behind records that are to be read again, so it must not come before them.
        let is_stale = self.rewinds != rewinds && !sabotaged!(KeepRestOfBatch);
        Ok(if is_stale { Rest::Stale } else { Rest::Good })
    }

    fn tell_paused(&self, code: &'static str, message: &str) {
        let now_ms = self.shared.clock.unix_ms();
        self.shared.telemetry.standstill.circuit_open.with_label_values(&[self.slot.as_str(), code]).set(1);
        for task in self.tasks.keys().filter_map(|number| self.health.task(*number)) {
            task.enter_because(Phase::Paused, now_ms, code, message);
        }
    }

    fn tell_running(&self) {
        let now_ms = self.shared.clock.unix_ms();
        self.shared.telemetry.close_circuits(&self.slot, &PAUSES);
        for task in self.tasks.keys().filter_map(|number| self.health.task(*number)) {
            task.enter(Phase::Running, now_ms);
        }
    }

    fn is_full(&self) -> bool {
        let policy = self.policy();
        let transaction = &self.output.transaction;
        transaction.records() >= policy.records_max || transaction.bytes() >= policy.bytes_max
    }
}
