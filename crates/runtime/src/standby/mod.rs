//! Standbys: copies of the stores of tasks that run in other processes, kept up with their state logs, so that a take-over
//! begins with a store that is nearly caught up.
//!
//! A standby is an optimisation and nothing rests on it. It reads what is committed, and a worker that takes its store
//! over checks it like any other store and brings it to the end of the log itself.
//!
//! Invariant: a standby never holds a worker up. It lets go of a store within one batch.

mod choice;
mod shelf;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tidemill_topology::plan::Unit;

use crate::broker::{BrokerError, BrokerErrorKind, Isolation, Reader, RecordBatch, TopicPartition};
use crate::health::{Phase, Restore, WorkerHealth};
use crate::standby::shelf::Shelf;
use crate::store::StoreError;
use crate::store::write_behind::{Background, WriteBehind};
use crate::supervise::instance_of_slot;
use crate::task::checkpoint::{CHECKPOINT_KEY, Checkpoint};
use crate::task::follow::{BATCH_RECORDS_MAX, Follower, first_offset};
use crate::task::restore::{LocalCopy, StartError, Trust};
use crate::worker::Shared;

pub const STANDBYS_UNAVAILABLE: &str = "standbys_unavailable";

/// Between two questions who owns what.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// How long a look for records waits for the first.
const POLL_WAIT: Duration = Duration::from_millis(100);
/// Between two questions how far a standby is behind, while it is.
const MEASURE_INTERVAL: Duration = Duration::from_secs(1);
/// A store that cannot be opened or written is left alone for this long.
const REST: Duration = Duration::from_secs(10);

/// The standby of one unit in one process.
pub struct Standby {
    shared: Arc<Shared>,
    shelf: Arc<Shelf>,
    unit: Arc<Unit>,
    instance: String,
    health: Arc<WorkerHealth>,
    state_topic: Arc<str>,
    reader: Option<Box<dyn Reader>>,
    batch: RecordBatch,
    followed: BTreeMap<u32, Followed>,
    /// Tasks that could not be followed, and until when they are left alone.
    resting: BTreeMap<u32, Duration>,
    look_at: Duration,
    measure_at: Duration,
}

/// A task whose state log is followed.
struct Followed {
    copy: LocalCopy,
    follower: Follower,
    /// Of the log that the store belongs to; empty while it has seen no checkpoint.
    log_id: String,
    progress: Restore,
}

/// The broker does not say who owns what, and never will.
struct Refused;

impl Standby {
    /// What stands by for `units` in this process, and what their workers have to share with it.
    pub fn beside(
        shared: &Arc<Shared>,
        units: impl Iterator<Item = Arc<Unit>>,
        instance: &str,
    ) -> (Arc<Shared>, Vec<Self>) {
        let units: Vec<Arc<Unit>> = units.filter(|unit| unit.standbys > 0).collect();
        if units.is_empty() {
            return (Arc::clone(shared), Vec::new());
        }
        let shelf = Arc::new(Shelf::new(Arc::clone(&shared.stores), Arc::clone(&shared.clock)));
        let standby = |unit: Arc<Unit>| Self {
            shared: Arc::clone(shared),
            shelf: Arc::clone(&shelf),
            state_topic: Arc::from(unit.state_topic(&shared.topology.pipeline)),
            unit,
            instance: instance.to_owned(),
            health: Arc::default(),
            reader: None,
            batch: RecordBatch::default(),
            followed: BTreeMap::new(),
            resting: BTreeMap::new(),
            look_at: Duration::ZERO,
            measure_at: Duration::ZERO,
        };
        let standbys = units.into_iter().map(standby).collect();
        (Arc::new(Shared { stores: shelf, ..shared.as_ref().clone() }), standbys)
    }

    /// `pipeline-unit-instance-standby`.
    pub fn name(&self) -> String {
        format!("{}-{}-{}-standby", self.shared.topology.pipeline.scope(), self.unit.name, self.instance)
    }

    pub fn health(&self) -> Arc<WorkerHealth> {
        Arc::clone(&self.health)
    }

    /// Follows until `stop` is set. Nothing that goes wrong here is worth a process.
    pub fn run(mut self, stop: &AtomicBool) {
        let mut is_refused = false;
        while !stop.load(Ordering::Relaxed) {
            match is_refused {
                true => self.shared.clock.sleep(POLL_WAIT),
                false => is_refused = self.step().is_err(),
            }
        }
        self.let_go_of_all();
    }

    fn step(&mut self) -> Result<(), Refused> {
        let now = self.shared.clock.now();
        if now >= self.look_at {
            self.look_at = now + LOOK_INTERVAL;
            self.look()?;
        }
        self.health.stepped_at_ms.store(self.shared.clock.unix_ms(), Ordering::Relaxed);
        self.health.tasks_owned.store(self.followed.len() as u64, Ordering::Relaxed);
        if self.followed.is_empty() {
            self.shared.clock.sleep(POLL_WAIT);
        } else if let Err(error) = self.follow() {
            self.begin_again(&error);
        }
        Ok(())
    }

    /// Asks who owns what, and turns to what this process is to stand by for.
    fn look(&mut self) -> Result<(), Refused> {
        let Shared { topology, broker, .. } = self.shared.as_ref();
        let (pipeline, unit) = (&topology.pipeline, &self.unit);
        let roster = match broker.roster(&unit.group(pipeline), &unit.tasks_topic(pipeline)) {
            Ok(Some(roster)) => roster,
            // While the group has not agreed, everything stays as it is.
            Ok(None) => return Ok(()),
            Err(error) if error.kind == BrokerErrorKind::Misconfigured => {
                tracing::warn!(code = STANDBYS_UNAVAILABLE, unit = unit.name, %error, "there are no standbys");
                self.health.failed(self.shared.clock.unix_ms(), format!("{STANDBYS_UNAVAILABLE}: {error}"), 1);
                return Err(Refused);
            }
            Err(error) => {
                tracing::debug!(unit = unit.name, %error, "who owns what cannot be found out");
                return Ok(());
            }
        };
        let instance_of = |slot| instance_of_slot(&pipeline.scope(), &unit.name, slot);
        let chosen = choice::tasks_of(&self.instance, &roster, unit.standbys, instance_of);
        self.health.is_prepared.store(true, Ordering::Relaxed);
        self.turn_to(&chosen);
        Ok(())
    }

    fn turn_to(&mut self, chosen: &BTreeSet<u32>) {
        let now = self.shared.clock.now();
        self.resting.retain(|task, until| chosen.contains(task) && *until > now);
        for number in self.followed.keys().copied().filter(|number| !chosen.contains(number)).collect::<Vec<_>>() {
            self.let_go(number);
        }
        for number in chosen {
            if self.followed.contains_key(number) || self.resting.contains_key(number) {
                continue;
            }
            if let Err(error) = self.begin(*number) {
                self.give_up(*number, error.code(), &error.to_string());
            }
        }
    }

    /// Opens the store and reads on where it stands.
    fn begin(&mut self, number: u32) -> Result<(), StartError> {
        let Shared { topology, broker, clock, telemetry, threads, .. } = self.shared.as_ref();
        let directory = self.shared.store_directory(&self.unit, number);
        let copy = LocalCopy {
            broker: Arc::clone(broker),
            stores: Arc::clone(self.shelf.stores()),
            background: Background { threads: Arc::clone(threads), clock: Arc::clone(clock) },
            clock: Arc::clone(clock),
            telemetry: telemetry.clone(),
            health: self.health.add_task(number, clock.unix_ms()),
            identity: self.unit.store_identity(&topology.pipeline, number),
            trust: Trust::Checked,
            state_log: TopicPartition::new(Arc::clone(&self.state_topic), number),
            abandoned: self.shelf.reserve(&directory),
            directory,
        };
        let mut store = open(&copy)?;
        copy.note_beginning(&mut store)?;
        let low = broker.watermarks(&copy.state_log, Isolation::ReadCommitted)?.low;
        let from = first_offset(&store, &copy.state_log, low)?;
        let reader = match &mut self.reader {
            Some(reader) => reader,
            none => none.insert(broker.reader(isolation())?),
        };
        reader.assign(&copy.state_log, from + u64::from(sabotaged!(StandbySkips)))?;
        let log_id = Checkpoint::of_store(&store)?.log_id;
        let follower = Follower::new(number, from);
        let progress = Restore { from, next_offset: from, end: from, bytes: 0, began_at_ms: clock.unix_ms() };
        copy.health.enter(Phase::Restoring, clock.unix_ms());
        tracing::info!(task = number, from, standby = self.instance, "a standby follows a state log");
        self.shelf.put(&copy.directory, store);
        self.followed.insert(number, Followed { copy, follower, log_id, progress });
        Ok(())
    }

    /// Reads once, and applies what has come.
    fn follow(&mut self) -> Result<(), BrokerError> {
        let Some(reader) = &mut self.reader else { return Ok(()) };
        match reader.poll(&mut self.batch, BATCH_RECORDS_MAX, POLL_WAIT) {
            // Nothing was read, so nothing is missed.
            Err(error) if error.kind == BrokerErrorKind::Retriable => return Ok(()),
            result => result?,
        }
        let batch = std::mem::take(&mut self.batch);
        let numbers: BTreeSet<u32> = batch.metas().iter().map(|meta| meta.partition).collect();
        for number in numbers {
            self.apply(number, &batch);
        }
        self.batch = batch;
        self.measure()
    }

    fn apply(&mut self, number: u32, batch: &RecordBatch) {
        let Some(followed) = self.followed.get_mut(&number) else { return };
        let directory = followed.copy.directory.clone();
        // A worker of this process has it, or waits for it.
        let Some(mut store) = self.shelf.take(&directory) else { return self.let_go(number) };
        match followed.apply(&mut store, batch) {
            Ok(()) => self.shelf.put(&directory, store),
            Err(error) => {
                store.close();
                // Nobody else can open it yet.
                if matches!(error, ApplyError::OfNoUse(_))
                    && let Err(error) = self.shelf.stores().discard(&directory)
                {
                    tracing::warn!(code = "store_unavailable", task = number, %error, "a store cannot be discarded");
                }
                self.give_up(number, error.code(), &error.to_string());
            }
        }
    }

    /// Brings up to date how far each standby is behind. A broker is asked only about those that are.
    fn measure(&mut self) -> Result<(), BrokerError> {
        let Shared { broker, clock, .. } = self.shared.as_ref();
        let (Some(reader), now) = (&self.reader, clock.now()) else { return Ok(()) };
        let is_due = now >= self.measure_at;
        if is_due {
            self.measure_at = now + MEASURE_INTERVAL;
        }
        for Followed { copy, progress, .. } in self.followed.values_mut() {
            if reader.reached_end(&copy.state_log) {
                progress.end = progress.next_offset;
                copy.health.enter(Phase::Following, clock.unix_ms());
            } else if is_due {
                let end = broker.watermarks(&copy.state_log, Isolation::ReadCommitted)?.high;
                progress.end = end.max(progress.next_offset);
            }
            copy.health.restored(*progress);
        }
        Ok(())
    }

    /// The reader is of no use any more: everything is opened anew.
    fn begin_again(&mut self, error: &BrokerError) {
        tracing::warn!(code = "broker_unavailable", standby = self.instance, %error, "the standbys begin again");
        self.health.failed(self.shared.clock.unix_ms(), error.to_string(), 1);
        self.let_go_of_all();
        self.reader = None;
    }

    fn give_up(&mut self, number: u32, code: &'static str, message: &str) {
        let (now, now_ms) = (self.shared.clock.now(), self.shared.clock.unix_ms());
        self.let_go(number);
        self.shelf.forget(&self.shared.store_directory(&self.unit, number));
        tracing::warn!(code, task = number, standby = self.instance, error = message, "a standby rests for a while");
        self.resting.insert(number, now + REST);
        self.health.add_task(number, now_ms).enter_because(Phase::Waiting, now_ms, code, message);
    }

    fn let_go_of_all(&mut self) {
        for number in self.followed.keys().copied().collect::<Vec<_>>() {
            self.let_go(number);
        }
    }

    /// Closes the store, unless a worker is about to take it as it is.
    fn let_go(&mut self, number: u32) {
        self.health.remove_task(number);
        let Some(Followed { copy, .. }) = self.followed.remove(&number) else { return };
        let is_at_end = self.reader.as_ref().is_some_and(|reader| reader.reached_end(&copy.state_log));
        if let Some(Err(error)) = self.reader.as_mut().map(|reader| reader.unassign(&copy.state_log)) {
            tracing::debug!(task = number, %error, "a state log is read on that nobody follows");
        }
        if let Some(mut store) = self.shelf.take(&copy.directory) {
            let closed = match copy.check_beginning(&store) {
                // It has everything that the log still holds, and that is not everything.
                Err(error) if is_at_end => Err(copy.discard_for(store, error)),
                _ => store.flush().map(|()| store.close()).map_err(StartError::from),
            };
            if let Err(error) = closed {
                tracing::debug!(task = number, %error, "the store of a standby was not kept as it is");
            }
        }
        self.shelf.forget(&copy.directory);
    }
}

impl Drop for Standby {
    fn drop(&mut self) {
        self.shelf.forget_all();
    }
}

/// Why a store cannot be followed with any more.
#[derive(Debug, thiserror::Error)]
enum ApplyError {
    #[error(transparent)]
    Start(#[from] StartError),
    /// To be discarded.
    #[error("{0}")]
    OfNoUse(String),
}

impl ApplyError {
    fn code(&self) -> &'static str {
        match self {
            Self::Start(error) => error.code(),
            Self::OfNoUse(_) => "store_rebuilt",
        }
    }
}

impl Followed {
    fn apply(&mut self, store: &mut WriteBehind, batch: &RecordBatch) -> Result<(), ApplyError> {
        let applied = match self.follower.apply(batch, store) {
            Err(StartError::Store(error @ StoreError::Damaged { .. })) => {
                return Err(ApplyError::OfNoUse(error.to_string()));
            }
            result => result?,
        };
        if sabotaged!(StandbyAhead) {
            let checkpoint = store.get(CHECKPOINT_KEY).map_err(StartError::from)?.unwrap_or_default();
            store.settle(&checkpoint, store.next_offset() + 1).map_err(StartError::from)?;
        }
        let log_id = Checkpoint::of_store(store)?.log_id;
        if !self.log_id.is_empty() && self.log_id != log_id {
            return Err(ApplyError::OfNoUse(format!("it followed the log {}, and this is {log_id}", self.log_id)));
        }
        self.log_id = log_id;
        self.copy.telemetry.standby.records.inc_by(applied.changes);
        self.progress.bytes += applied.bytes;
        self.progress.next_offset = self.follower.next_offset();
        self.progress.end = self.progress.end.max(self.progress.next_offset);
        Ok(())
    }
}

/// A store that fits the log, with the same checks as at a start.
fn open(copy: &LocalCopy) -> Result<WriteBehind, StartError> {
    copy.health.enter(Phase::Opening, copy.clock.unix_ms());
    let store = copy.open_store()?;
    let readable = copy.broker.watermarks(&copy.state_log, Isolation::ReadCommitted)?.high;
    if store.next_offset() > readable {
        // Markers may be late, and until they are there the store cannot be compared with the log.
        let message = format!("the log can be read to {readable}, and the store is at {}", store.next_offset());
        return Err(BrokerError::new(BrokerErrorKind::Retriable, "open a standby", message).into());
    }
    match copy.last_difference(&store)? {
        None => Ok(store),
        Some((cause, message)) => {
            store.close();
            copy.rebuild(cause, &message)
        }
    }
}

fn isolation() -> Isolation {
    if sabotaged!(StandbyUncommitted) { Isolation::ReadUncommitted } else { Isolation::ReadCommitted }
}
