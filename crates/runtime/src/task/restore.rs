//! Takes a task over: brings its store up to the state log and learns from there where to go on.
//!
//! Runs on a thread of its own, because it may have to wait for another's transaction to end and the worker's own tasks
//! must not wait with it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tidemill_topology::Colour;

use crate::broker::{Broker, BrokerError, Isolation, OpenTransaction, RecordBatch, TopicPartition};
use crate::clock::Clock;
use crate::health::{Phase, Restore, TaskHealth};
use crate::reprocess::{PIPELINE_RETIRED, Retired};
use crate::stable_offset::{self, STABLE_OFFSET_STUCK};
use crate::state_log::{LogError, LogRecord};
use crate::store::write_behind::{Background, WriteBehind};
use crate::store::{StoreError, StoreFactory};
use crate::succession::{Settled, Succession, TRANSACTION_LEFT_OPEN};
use crate::task::Task;
use crate::task::checkpoint::{CHECKPOINT_KEY, Checkpoint, CheckpointError, RELEASED};
use crate::task::follow::{self, Followed};
use crate::task::state::TaskState;
use crate::telemetry::Telemetry;
use crate::worker::commit::delete_dead;

const WAITING_FOR_TRANSACTION: &str = "waiting_for_transaction";
const POLL_INTERVAL: Duration = Duration::from_millis(20);
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// Whether the store on disk may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// If it can be opened and fits the state log.
    Checked,
    /// No: it has given answers that show damage.
    Nothing,
}

/// The local store of a task as a copy of its state log: what a start and a standby have in common.
pub(crate) struct LocalCopy {
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) stores: Arc<dyn StoreFactory>,
    pub(crate) background: Background,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) telemetry: Telemetry,
    pub(crate) health: Arc<TaskHealth>,
    pub(crate) directory: PathBuf,
    /// Pipeline, unit and task: whose store this is.
    pub(crate) identity: String,
    pub(crate) trust: Trust,
    pub(crate) state_log: TopicPartition,
    /// Set once nobody waits for the copy any more. Whoever opens it then lets go of the store, which the next one needs.
    pub(crate) abandoned: Arc<AtomicBool>,
}

/// What a start needs to know.
pub(crate) struct StartTask {
    pub(crate) copy: LocalCopy,
    pub(crate) succession: Arc<Succession>,
    pub(crate) group: String,
    pub(crate) slot: String,
    /// The other slots of this process. They are alive and settle themselves when they open their producers.
    pub(crate) siblings: Arc<[String]>,
    /// Input topics of the unit.
    pub(crate) topics: Vec<Arc<str>>,
    /// After this long behind somebody else's transaction the wait is reported, and again after each further period.
    pub(crate) patience: Duration,
    pub(crate) transaction_timeout: Duration,
    pub(crate) retired: Retired,
    /// Wait before the start: not zero when the one before has failed.
    pub(crate) delay: Duration,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    Log(#[from] LogError),
    /// To begin anew would process everything a second time, so only a person can decide that.
    #[error(
        "the state log {log} holds no checkpoint, but group {group} has committed offset {offset} of {topic}: the log was \
         emptied or made anew; restore it, or delete the group's offsets to begin from the start of the inputs"
    )]
    LogLost { log: String, group: String, topic: String, offset: u64 },
    #[error(
        "the state log {log} begins at {low}, but what lies before {dead_before} alone may be deleted: entries of the state \
         are missing; restore the topic, or delete the group's offsets to begin from the start of the inputs"
    )]
    LogCut { log: String, low: u64, dead_before: u64 },
    #[error(
        "a transaction of the last owner {owner} is open on partitions, and nobody knows how it ended; end it with \
         `tidemill txn abort`"
    )]
    LeftOpen { owner: String },
    /// To work on would do what the other pipeline does.
    #[error("{0} has taken over from this pipeline")]
    Retired(Colour),
    #[error("nobody waits for the task any more")]
    Abandoned,
}

impl StartError {
    /// For people and their alerts.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Broker(_) => "broker_unavailable",
            Self::Store(StoreError::Unavailable { .. }) => "store_unavailable",
            Self::Store(StoreError::Damaged { .. } | StoreError::Foreign { .. }) => "store_rebuilt",
            Self::Checkpoint(_) | Self::Log(LogError::Checkpoint(_)) => "checkpoint_unreadable",
            Self::Log(LogError::Format(_)) => "state_log_format",
            Self::Log(LogError::Damaged(_)) => "state_log_damaged",
            Self::LogLost { .. } | Self::LogCut { .. } => "state_log_lost",
            Self::LeftOpen { .. } => TRANSACTION_LEFT_OPEN,
            Self::Retired(_) => PIPELINE_RETIRED,
            Self::Abandoned => "task_starting",
        }
    }
}

impl StartTask {
    pub(crate) fn run(&self) -> Result<Task, StartError> {
        self.copy.clock.sleep(self.delay);
        self.copy.check_wanted()?;
        self.enter(Phase::Opening);
        let mut store = self.copy.open_store()?;
        // Offsets up to here may hold transactions that are still open; the log is caught up when all of it can be read.
        let end = self.copy.broker.watermarks(&self.copy.state_log, Isolation::ReadUncommitted)?.high;
        let readable = self.copy.broker.watermarks(&self.copy.state_log, Isolation::ReadCommitted)?.high;
        // Markers may be late, so what the store has seen committed need not be readable yet.
        let is_ahead = store.next_offset() > readable;
        if !is_ahead {
            store = self.copy.follow(store)?;
        }
        let owner = Checkpoint::of_store(&store)?.owner;
        let is_gone = !owner.is_empty() && owner != RELEASED && owner != self.slot && !self.siblings.contains(&owner);
        if is_gone && !sabotaged!(NoSettling) {
            self.settle(&owner)?;
        }
        if readable < end && !sabotaged!(NoSettling | CatchUpOnce) {
            self.wait_until_readable(end)?;
        }
        if is_ahead {
            store = self.copy.follow(store)?;
        } else if !sabotaged!(CatchUpOnce) {
            self.copy.catch_up(&mut store)?;
        }
        if let Err(error) = self.copy.check_beginning(&store) {
            return Err(self.copy.discard_for(store, error));
        }
        let checkpoint = Checkpoint::of_store(&store)?;
        if let (Some(colour), Retired::Refused) = (&checkpoint.retired_for, self.retired) {
            return Err(StartError::Retired(colour.clone()));
        }
        let (checkpoint, begun) = self.complete(checkpoint)?;
        self.copy.clean_up(&checkpoint)?;
        // A disk that takes no more is better found out before the task processes anything.
        store.probe()?;
        let task = self.copy.state_log.partition;
        tracing::info!(task, previous_owner = owner, records = checkpoint.records(), "task is caught up");
        Ok(Task::new(task, TaskState::new(store), checkpoint, begun))
    }
}

impl LocalCopy {
    /// Brings the store to the end of what can be read. One that turns out to have followed another log begins anew.
    fn follow(&self, mut store: WriteBehind) -> Result<WriteBehind, StartError> {
        if let Some((cause, message)) = self.last_difference(&store)? {
            store.close();
            store = self.rebuild(cause, &message)?;
        }
        let before = Checkpoint::of_store(&store)?;
        self.catch_up(&mut store)?;
        let log_id = Checkpoint::of_store(&store)?.log_id;
        if !before.is_first() && log_id != before.log_id {
            let message = format!("it followed the log {}, and this is {log_id}", before.log_id);
            store.close();
            store = self.rebuild("another_log", &message)?;
            self.catch_up(&mut store)?;
        }
        Ok(store)
    }

    /// A store that is damaged, belongs to somebody else or has seen a log that is gone is rebuilt from the state log.
    pub(crate) fn open_store(&self) -> Result<WriteBehind, StartError> {
        if self.trust == Trust::Nothing {
            return self.rebuild("damaged", "it answered with something that was never written");
        }
        let watermarks = self.broker.watermarks(&self.state_log, Isolation::ReadUncommitted)?;
        let (cause, message) = match self.stores.open_behind(&self.directory, &self.identity, &self.background) {
            Ok(store) if store.next_offset() == 0 => return Ok(store),
            Ok(store) if (watermarks.low..=watermarks.high).contains(&store.next_offset()) => return Ok(store),
            Ok(store) => {
                let next_offset = store.next_offset();
                store.close();
                let message = format!("it is at {next_offset}, the log from {} to {}", watermarks.low, watermarks.high);
                ("outside_log", message)
            }
            Err(error @ StoreError::Damaged { .. }) => ("damaged", error.to_string()),
            Err(error @ StoreError::Foreign { .. }) => ("foreign", error.to_string()),
            Err(error) => return Err(error.into()),
        };
        self.rebuild(cause, &message)
    }

    /// The checkpoint that the store applied last must be what the log holds there. If it is not, the store followed another log. If
    /// nothing is there, the store holds a transaction that came to nothing although its commit was acknowledged: its
    /// markers were lost with a broker, and an operator had to abort it.
    pub(crate) fn last_difference(&self, store: &WriteBehind) -> Result<Option<(&'static str, String)>, StartError> {
        let next_offset = store.next_offset();
        let low = self.broker.watermarks(&self.state_log, Isolation::ReadCommitted)?.low;
        if next_offset <= low {
            return Ok(None);
        }
        let last = next_offset - 1;
        let mut reader = self.broker.reader(Isolation::ReadCommitted)?;
        reader.assign(&self.state_log, last)?;
        let mut batch = RecordBatch::default();
        while batch.is_empty() && !reader.reached_end(&self.state_log) {
            self.check_wanted()?;
            reader.poll(&mut batch, 1, POLL_INTERVAL)?;
        }
        if batch.metas().first().is_none_or(|first| first.offset != last) {
            return Ok(Some(("not_in_log", format!("the log holds nothing at {last}, its last change"))));
        }
        let record = batch.view(0, &[]);
        let stored = store.get(CHECKPOINT_KEY)?;
        let differs = stored.as_deref() != LogRecord::decode(record.key, record.value)?.checkpoint;
        Ok(differs.then(|| ("another_log", format!("its last change is not what the log holds at {last}"))))
    }

    /// Drops the store and begins an empty one.
    pub(crate) fn rebuild(&self, cause: &'static str, message: &str) -> Result<WriteBehind, StartError> {
        let task = self.state_log.partition;
        tracing::warn!(
            code = "store_rebuilt",
            task,
            cause,
            reason = message,
            "the local store is rebuilt from the state log"
        );
        self.telemetry.stores_rebuilt.with_label_values(&[cause]).inc();
        self.stores.discard(&self.directory)?;
        Ok(self.stores.open_behind(&self.directory, &self.identity, &self.background)?)
    }

    /// Applies everything that can be read.
    fn catch_up(&self, store: &mut WriteBehind) -> Result<(), StartError> {
        self.note_beginning(store)?;
        let (mut told_at, mut changes_told, mut began_at_ms) = (self.clock.now(), 0, None);
        follow::catch_up(self.broker.as_ref(), &self.state_log, store, &mut |followed| {
            self.check_wanted()?;
            let began_at_ms = *began_at_ms.get_or_insert_with(|| {
                self.health.enter(Phase::Restoring, self.clock.unix_ms());
                self.clock.unix_ms()
            });
            let Followed { from, next_offset, end, applied } = *followed;
            self.telemetry.restored_records.inc_by(applied.changes - changes_told);
            changes_told = applied.changes;
            let progress = Restore { from, next_offset, end, bytes: applied.bytes, began_at_ms };
            self.health.restored(progress);
            if self.clock.now().saturating_sub(told_at) >= PROGRESS_INTERVAL {
                told_at = self.clock.now();
                self.tell(&progress);
            }
            Ok(())
        })
    }

    fn tell(&self, progress: &Restore) {
        tracing::info!(
            code = "task_restoring",
            task = self.state_log.partition,
            percent = progress.percent(),
            bytes = progress.bytes,
            seconds_left = progress.seconds_left(self.clock.unix_ms()),
            "the local store is behind the state log and follows it"
        );
    }

    /// Notes where the log begins that a new store is built from.
    pub(crate) fn note_beginning(&self, store: &mut WriteBehind) -> Result<(), StartError> {
        if store.next_offset() == 0 {
            store.built_from = Some(self.broker.watermarks(&self.state_log, Isolation::ReadCommitted)?.low);
        }
        Ok(())
    }

    /// A log that begins behind what was declared dead has lost entries that are live. A store that was there before has
    /// them, and one that was built from the log does not. Nothing can be said of it before it has come to the end of the
    /// log.
    pub(crate) fn check_beginning(&self, store: &WriteBehind) -> Result<(), StartError> {
        let checkpoint = Checkpoint::of_store(store)?;
        let dead_before = checkpoint.cleaning.dead_before;
        match store.built_from {
            Some(low) if low > dead_before && !checkpoint.is_first() => {
                let log = format!("{}-{}", self.state_log.topic, self.state_log.partition);
                Err(StartError::LogCut { log, low, dead_before })
            }
            _ => Ok(()),
        }
    }

    /// Drops a store that must not be opened again, and returns why.
    pub(crate) fn discard_for(&self, store: WriteBehind, error: StartError) -> StartError {
        store.close();
        self.stores.discard(&self.directory).map_or_else(StartError::from, |()| error)
    }

    /// Makes up for a deletion that the last owner may not have come to.
    fn clean_up(&self, checkpoint: &Checkpoint) -> Result<(), StartError> {
        let low = self.broker.watermarks(&self.state_log, Isolation::ReadCommitted)?.low;
        let dead_before = checkpoint.cleaning.dead_before;
        if low < dead_before {
            delete_dead(self.broker.clone(), self.background.threads.as_ref(), self.state_log.clone(), dead_before);
        }
        Ok(())
    }

    fn check_wanted(&self) -> Result<(), StartError> {
        if self.abandoned.load(Ordering::Relaxed) { Err(StartError::Abandoned) } else { Ok(()) }
    }
}

impl StartTask {
    /// The last owner did not let go: ends the transaction it may have left open, instead of waiting until that times out.
    fn settle(&self, owner: &str) -> Result<(), StartError> {
        self.enter(Phase::Settling);
        tracing::info!(task = self.copy.state_log.partition, owner, "settling what the last owner left behind");
        match self.succession.settle_other(owner, self.transaction_timeout)? {
            Settled::Clean | Settled::Finished(_) => Ok(()),
            Settled::LeftOpen => Err(StartError::LeftOpen { owner: owner.to_owned() }),
        }
    }

    /// Waits until somebody else's transactions before `end` have ended. Never waits in silence.
    fn wait_until_readable(&self, end: u64) -> Result<(), StartError> {
        self.say_what_for(end);
        let started_at = self.copy.clock.now();
        let mut reported = 0;
        loop {
            self.copy.check_wanted()?;
            let readable = self.copy.broker.watermarks(&self.copy.state_log, Isolation::ReadCommitted)?.high;
            if readable >= end {
                return Ok(());
            }
            let waited = self.copy.clock.now().saturating_sub(started_at);
            let periods = waited.as_millis() / self.patience.as_millis().max(1);
            if periods > reported {
                reported = periods;
                self.report_wait(readable, end, waited);
            }
            self.copy.clock.sleep(POLL_INTERVAL);
        }
    }

    /// For whoever asks meanwhile why the task does not run.
    fn say_what_for(&self, end: u64) {
        let LocalCopy { broker, clock, health, state_log, .. } = &self.copy;
        let open = broker.open_transactions(std::slice::from_ref(state_log)).unwrap_or_default();
        let name = |one: &OpenTransaction| {
            let id = one.transactional_id.as_deref().unwrap_or("unknown");
            format!("{id} (producer {}, from offset {})", one.producer_id, one.start_offset)
        };
        let names = open.iter().map(name).collect::<Vec<_>>().join(", ");
        let whose = if names.is_empty() { "the broker does not say whose".to_owned() } else { format!("of {names}") };
        let message = format!(
            "{}-{} cannot be read to its end {end} while a transaction is open: {whose}",
            state_log.topic, state_log.partition
        );
        health.enter_because(Phase::WaitingForTransaction, clock.unix_ms(), WAITING_FOR_TRANSACTION, message);
    }

    /// Names who holds the task up, and what ends it. A broker that cannot say is no reason to be silent.
    fn report_wait(&self, readable: u64, end: u64, waited: Duration) {
        let waited_ms = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
        tracing::error!(
            code = STABLE_OFFSET_STUCK,
            topic = %self.copy.state_log.topic,
            partition = self.copy.state_log.partition,
            slot = self.slot,
            readable,
            end,
            waited_ms,
            "task {} waits for a transaction of somebody else to end",
            self.copy.state_log.partition
        );
        match self.copy.broker.open_transactions(std::slice::from_ref(&self.copy.state_log)) {
            Ok(open) => {
                open.iter().for_each(stable_offset::log_transaction);
                self.finish(&open);
            }
            Err(error) => tracing::warn!(code = STABLE_OFFSET_STUCK, %error, "whose it is cannot be found out"),
        }
    }

    /// Who wrote to the log may be another than who last committed to it, and may never open a producer again.
    fn finish(&self, open: &[OpenTransaction]) {
        for id in open.iter().filter(|one| one.is_hanging()).filter_map(|one| one.transactional_id.as_deref()) {
            if let Err(error) = self.succession.heal(id) {
                tracing::warn!(code = STABLE_OFFSET_STUCK, transactional_id = id, %error, "it cannot be finished yet");
            }
        }
    }

    /// Names a new log, and adds where to begin with inputs that were never read.
    fn complete(&self, mut checkpoint: Checkpoint) -> Result<(Checkpoint, BTreeMap<String, u64>), StartError> {
        let number = self.copy.state_log.partition;
        let is_first = checkpoint.is_first();
        if is_first {
            checkpoint.log_id = format!("{}@{}", self.slot, self.copy.clock.unix_ms());
        }
        let mut begun = BTreeMap::new();
        for topic in self.topics.iter().filter(|topic| !checkpoint.positions.contains_key(topic.as_ref())) {
            let partition = TopicPartition::new(Arc::clone(topic), number);
            let first = self.copy.broker.watermarks(&partition, Isolation::ReadCommitted)?.low;
            if is_first {
                self.refuse_second_beginning(&partition, first)?;
            }
            begun.insert(topic.to_string(), first);
        }
        Ok((checkpoint, begun))
    }

    /// Positions are committed with a checkpoint or not at all. Where the group has some and the log has none, the log is
    /// not the one that the task wrote.
    fn refuse_second_beginning(&self, partition: &TopicPartition, first: u64) -> Result<(), StartError> {
        let committed = self.copy.broker.committed(&self.group, std::slice::from_ref(partition))?;
        match committed.first() {
            Some((_, offset)) if *offset > first => Err(StartError::LogLost {
                log: format!("{}-{}", self.copy.state_log.topic, self.copy.state_log.partition),
                group: self.group.clone(),
                topic: partition.topic.to_string(),
                offset: *offset,
            }),
            _ => Ok(()),
        }
    }

    fn enter(&self, phase: Phase) {
        self.copy.health.enter(phase, self.copy.clock.unix_ms());
    }
}
