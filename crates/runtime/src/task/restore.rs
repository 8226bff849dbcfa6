//! Takes a task over: brings its store up to the state log and learns from there where to go on.
//!
//! Runs on a thread of its own, because it may have to wait for another's transaction to end and the worker's own tasks
//! must not wait with it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::broker::{Broker, BrokerError, Isolation, ProducerOptions, RecordBatch, TopicPartition};
use crate::clock::Clock;
use crate::store::{StoreError, StoreFactory, TaskStore};
use crate::task::Task;
use crate::task::checkpoint::{Checkpoint, CheckpointError, RELEASED};
use crate::task::state::TaskState;

const BATCH_RECORDS_MAX: usize = 10_000;
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// What a start needs to know.
pub(crate) struct StartTask {
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) stores: Arc<dyn StoreFactory>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) directory: PathBuf,
    /// Cluster, pipeline, unit and task: whose store this is.
    pub(crate) identity: String,
    pub(crate) slot: String,
    /// The other slots of this process. They are alive and settle themselves when they open their producers.
    pub(crate) siblings: Arc<[String]>,
    pub(crate) state_log: TopicPartition,
    /// Input topics of the unit.
    pub(crate) topics: Vec<Arc<str>>,
    /// After this long behind somebody else's transaction the wait is reported, and again after each further period.
    pub(crate) patience: Duration,
    pub(crate) transaction_timeout: Duration,
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
}

impl StartTask {
    pub(crate) fn run(&self) -> Result<Task, StartError> {
        self.clock.sleep(self.delay);
        let number = self.state_log.partition;
        let mut store = self.open_store()?;
        // Offsets up to here may hold transactions that are still open; the log is caught up when all of it can be read.
        let end = self.broker.watermarks(&self.state_log, Isolation::ReadUncommitted)?.high;
        let readable = self.broker.watermarks(&self.state_log, Isolation::ReadCommitted)?.high;
        // Markers may be late, so what the store has seen committed need not be readable yet.
        let is_ahead = store.next_offset() > readable;
        if !is_ahead {
            store = self.verified(store)?;
            self.catch_up(store.as_mut())?;
        }
        let owner = Checkpoint::of_store(store.as_ref())?.owner;
        let is_gone = !owner.is_empty() && owner != RELEASED && owner != self.slot && !self.siblings.contains(&owner);
        if is_gone && !sabotaged!(NoSettling) {
            self.settle(&owner)?;
        }
        if readable < end && !sabotaged!(NoSettling) && !sabotaged!(CatchUpOnce) {
            self.wait_until_readable(end)?;
        }
        if is_ahead {
            store = self.verified(store)?;
        }
        if !sabotaged!(CatchUpOnce) {
            self.catch_up(store.as_mut())?;
        }
        let mut checkpoint = Checkpoint::of_store(store.as_ref())?;
        for topic in &self.topics {
            if !checkpoint.positions.contains_key(topic.as_ref()) {
                let partition = TopicPartition::new(Arc::clone(topic), number);
                let first = self.broker.watermarks(&partition, Isolation::ReadCommitted)?.low;
                checkpoint.positions.insert(topic.to_string(), first);
            }
        }
        tracing::info!(task = number, previous_owner = owner, records = checkpoint.records(), "task is caught up");
        Ok(Task::new(number, TaskState::new(store), checkpoint))
    }

    /// A store that is damaged, belongs to somebody else or has seen a log that is gone is rebuilt from the state log.
    fn open_store(&self) -> Result<Box<dyn TaskStore>, StartError> {
        let watermarks = self.broker.watermarks(&self.state_log, Isolation::ReadUncommitted)?;
        match self.stores.open(&self.directory, &self.identity) {
            Ok(store) if store.next_offset() == 0 => return Ok(store),
            Ok(store) if (watermarks.low..=watermarks.high).contains(&store.next_offset()) => return Ok(store),
            Ok(store) => tracing::warn!(
                code = "store_outside_log",
                task = self.state_log.partition,
                store_offset = store.next_offset(),
                log_start = watermarks.low,
                log_end = watermarks.high,
                "the local store does not fit the state log and is rebuilt"
            ),
            Err(error @ (StoreError::Damaged { .. } | StoreError::Foreign { .. })) => {
                tracing::warn!(code = "store_rebuilt", task = self.state_log.partition, %error, "the local store is rebuilt");
            }
            Err(error) => return Err(error.into()),
        }
        self.stores.discard(&self.directory)?;
        Ok(self.stores.open(&self.directory, &self.identity)?)
    }

    /// The store, if the last transaction it holds is in the log; else an empty one. A commit that was acknowledged can
    /// come to nothing all the same: its markers may be lost with a broker, and an operator then has to abort it.
    fn verified(&self, store: Box<dyn TaskStore>) -> Result<Box<dyn TaskStore>, StartError> {
        let next_offset = store.next_offset();
        let low = self.broker.watermarks(&self.state_log, Isolation::ReadCommitted)?.low;
        if next_offset <= low || self.can_be_read(next_offset - 1)? {
            return Ok(store);
        }
        tracing::warn!(
            code = "store_not_in_log",
            task = self.state_log.partition,
            store_offset = next_offset,
            "the last transaction of the local store is not in the state log, and the store is rebuilt"
        );
        drop(store);
        self.stores.discard(&self.directory)?;
        Ok(self.stores.open(&self.directory, &self.identity)?)
    }

    /// Whether there is a committed record at `offset`, which lies before the end of what can be read.
    fn can_be_read(&self, offset: u64) -> Result<bool, StartError> {
        let mut reader = self.broker.reader(Isolation::ReadCommitted)?;
        reader.assign(&self.state_log, offset)?;
        let mut batch = RecordBatch::default();
        loop {
            reader.poll(&mut batch, 1, POLL_INTERVAL)?;
            if let Some(first) = batch.metas().first() {
                return Ok(first.offset == offset);
            }
            if reader.reached_end(&self.state_log) {
                return Ok(false);
            }
        }
    }

    /// Applies everything that can be read.
    fn catch_up(&self, store: &mut dyn TaskStore) -> Result<(), StartError> {
        let watermarks = self.broker.watermarks(&self.state_log, Isolation::ReadCommitted)?;
        let mut next_offset = store.next_offset().max(watermarks.low);
        if next_offset >= watermarks.high {
            return Ok(());
        }
        let mut reader = self.broker.reader(Isolation::ReadCommitted)?;
        let first = if sabotaged!(RestoreOffByOne) { next_offset + 1 } else { next_offset };
        reader.assign(&self.state_log, first)?;
        let mut batch = RecordBatch::default();
        loop {
            reader.poll(&mut batch, BATCH_RECORDS_MAX, POLL_INTERVAL)?;
            if let Some(last) = batch.metas().last() {
                next_offset = last.offset + 1;
                let views: Vec<_> = (0..batch.len()).map(|index| batch.view(index, &[])).collect();
                let mut changes = views.iter().map(|view| (view.key.unwrap_or_default(), view.value));
                store.apply(&mut changes, next_offset)?;
            }
            if next_offset >= watermarks.high || (batch.is_empty() && reader.reached_end(&self.state_log)) {
                return Ok(());
            }
        }
    }

    /// The last owner did not let go: fences it and ends the transaction it may have left open, instead of waiting until
    /// that times out.
    fn settle(&self, owner: &str) -> Result<(), StartError> {
        tracing::info!(task = self.state_log.partition, owner, "settling what the last owner left behind");
        let id = owner.to_owned();
        drop(self.broker.producer(&ProducerOptions::Transactional { id, timeout: self.transaction_timeout })?);
        Ok(())
    }

    /// Waits until somebody else's transactions before `end` have ended. Never waits in silence.
    fn wait_until_readable(&self, end: u64) -> Result<(), StartError> {
        let started_at = self.clock.now();
        let mut reported = 0;
        loop {
            let readable = self.broker.watermarks(&self.state_log, Isolation::ReadCommitted)?.high;
            if readable >= end {
                return Ok(());
            }
            let waited = self.clock.now().saturating_sub(started_at);
            let periods = waited.as_millis() / self.patience.as_millis().max(1);
            if periods > reported {
                reported = periods;
                tracing::error!(
                    code = "stable_offset_stuck",
                    topic = %self.state_log.topic,
                    partition = self.state_log.partition,
                    readable,
                    end,
                    waited_ms = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX),
                    "a transaction of somebody else does not end; `kafka-transactions.sh find-hanging` shows whose"
                );
            }
            self.clock.sleep(POLL_INTERVAL);
        }
    }
}
