//! Feeds one sink: reads its topics, decodes, and hands whole batches over together with the positions behind them.
//!
//! The sink's own positions are the only ones that count, so a batch that may or may not have been written is simply
//! written again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tidemill_core::sink::{SinkBody, SinkPosition};
use tidemill_core::{EventTime, RecordView, Sink, SinkBatch, SinkError, SinkRecord};
use tidemill_topology::plan::{Role, SinkPlan};

use crate::backoff::Backoff;
use crate::broker::{
    BrokerError, BrokerErrorKind, Isolation, Member, MemberEvent, MemberOptions, Outgoing, ProducerOptions, Reader,
    RecordBatch, TopicPartition,
};
use crate::codecs::{Codecs, ValueError, subject_of};
use crate::dead_letter::{self, FailedBy, Failure};
use crate::health::{Phase, WorkerHealth};
use crate::worker::membership::end_membership;
use crate::worker::{OnStop, Shared, VALUE_SCHEMA_UNKNOWN, VALUE_UNREADABLE};

const SINK_UNAVAILABLE: &str = "sink_unavailable";
const SINK_WENT_BACK: &str = "sink_went_back";
const RECORDS_PER_BATCH_MAX: usize = 5_000;
const POLL_WAIT: Duration = Duration::from_millis(50);
const RETRY_WAIT_MIN: Duration = Duration::from_millis(100);
const RETRY_WAIT_MAX: Duration = Duration::from_secs(5);
const FLUSH_DEADLINE: Duration = Duration::from_secs(10);
const SESSION_TIMEOUT: Duration = Duration::from_secs(6);
/// How often a sink that has nothing to write looks whether what it wrote is still there.
const POSITIONS_LOOK: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum SinkWorkerError {
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error("sink {sink}: {error}")]
    Sink { sink: String, error: SinkError },
    #[error("sink {sink}: settings: {message}")]
    Settings { sink: String, message: String },
}

pub struct SinkWorker {
    shared: Arc<Shared>,
    plan: SinkPlan,
    slot: String,
    health: Arc<WorkerHealth>,
    sink: Box<dyn Sink>,
    codecs: Codecs,
    member: Option<Box<dyn Member>>,
    reader: Box<dyn Reader>,
    batch: RecordBatch,
    tasks: BTreeMap<u32, SinkTask>,
    /// Tasks that have been written since they were claimed.
    written: BTreeSet<u32>,
    looked_at: Duration,
    backoff: Backoff,
    /// Questions in a row that the database did not answer.
    failures: u32,
}

/// Next position of each topic, for one task.
type SinkTask = BTreeMap<Arc<str>, SinkPosition>;

impl SinkWorker {
    pub fn new(
        shared: Arc<Shared>,
        plan: SinkPlan,
        slot: String,
        health: Arc<WorkerHealth>,
    ) -> Result<Self, SinkWorkerError> {
        let sink = (plan.spec.open)(&plan.name, &plan.settings).map_err(|errors| SinkWorkerError::Settings {
            sink: plan.name.clone(),
            message: errors.iter().map(|error| error.message.as_str()).collect::<Vec<_>>().join("; "),
        })?;
        Ok(Self {
            codecs: Codecs::new(Arc::clone(&shared.registry), shared.codecs),
            reader: shared.broker.reader(Isolation::ReadCommitted)?,
            member: None,
            batch: RecordBatch::default(),
            tasks: BTreeMap::new(),
            written: BTreeSet::new(),
            looked_at: Duration::ZERO,
            backoff: Backoff::new(RETRY_WAIT_MIN, RETRY_WAIT_MAX, &slot),
            failures: 0,
            shared,
            plan,
            slot,
            health,
            sink,
        })
    }

    /// Works until `stop` is set. A database that does not answer pauses the sink; only wrong set-up ends it.
    pub fn run(mut self, stop: &AtomicBool, on_stop: OnStop) -> Result<(), SinkWorkerError> {
        while !is_set(stop) {
            match self.step(stop) {
                // Its work is not done, and whoever gets it does it again.
                Err(SinkWorkerError::Sink { error: SinkError::Unavailable(_), .. }) if is_set(stop) => break,
                Err(error) => self.recover(error)?,
                Ok(()) => {}
            }
            self.health.stepped_at_ms.store(self.shared.clock.unix_ms(), Ordering::Relaxed);
            self.health.tasks_owned.store(self.tasks.len() as u64, Ordering::Relaxed);
            self.health.is_prepared.store(self.member.is_some(), Ordering::Relaxed);
        }
        // What is written is written: whoever gets the tasks claims them from the sink itself.
        if let Some(member) = self.member.take() {
            end_membership(member, &self.slot, on_stop);
        }
        Ok(())
    }

    fn step(&mut self, stop: &AtomicBool) -> Result<(), SinkWorkerError> {
        self.poll_membership(stop)?;
        self.reader.poll(&mut self.batch, RECORDS_PER_BATCH_MAX, POLL_WAIT)?;
        let batch = std::mem::take(&mut self.batch);
        let result = self.write_all(&batch, stop);
        self.batch = batch;
        result?;
        if self.batch.is_empty() { self.check_positions(stop) } else { Ok(()) }
    }

    /// A database that was restored, or lost its last writes when it was killed, stands further back than it was told. The
    /// next write would find that out; as long as there is none, nobody would.
    fn check_positions(&mut self, stop: &AtomicBool) -> Result<(), SinkWorkerError> {
        let now = self.shared.clock.now();
        if self.written.is_empty() || now.saturating_sub(self.looked_at) < POSITIONS_LOOK {
            return Ok(());
        }
        self.looked_at = now;
        // One that does not answer is waited for by the next write.
        let Ok(stored) = self.sink.positions() else { return Ok(()) };
        for task in self.written.clone() {
            let of_task: Vec<_> = stored.iter().filter(|position| position.partition == task).collect();
            let Some(told) = self.tasks.get(&task) else { continue };
            let is_behind = of_task.is_empty()
                || of_task
                    .iter()
                    .any(|stored| told.get(&stored.topic).is_some_and(|told| stored.next_offset < told.next_offset));
            if is_behind {
                tracing::warn!(code = SINK_WENT_BACK, sink = self.plan.name, task, "writing again what is gone");
                self.claim(task, stop)?;
            }
        }
        Ok(())
    }

    fn poll_membership(&mut self, stop: &AtomicBool) -> Result<(), SinkWorkerError> {
        let member = match &mut self.member {
            Some(member) => member,
            None => {
                let pipeline = &self.shared.topology.pipeline;
                self.member.insert(self.shared.broker.member(&MemberOptions {
                    group: self.plan.group(pipeline),
                    tasks_topic: self.plan.tasks_topic(pipeline),
                    slot: self.slot.clone(),
                    session_timeout: SESSION_TIMEOUT,
                })?)
            }
        };
        let Some(event) = member.poll(Duration::ZERO)? else { return Ok(()) };
        match &event {
            MemberEvent::Assigned(tasks) => {
                let now_ms = self.shared.clock.unix_ms();
                for task in tasks {
                    self.health.add_task(*task, now_ms);
                }
                for task in tasks {
                    self.claim(*task, stop)?;
                }
            }
            MemberEvent::Revoked(tasks) | MemberEvent::Lost(tasks) => {
                for task in tasks {
                    self.drop_task(*task)?;
                }
            }
        }
        match &mut self.member {
            Some(member) => Ok(member.acknowledge(&event)?),
            None => Ok(()),
        }
    }

    /// Fences whoever wrote for the task before, and reads on where the read model stands.
    fn claim(&mut self, task: u32, stop: &AtomicBool) -> Result<(), SinkWorkerError> {
        let positions = loop {
            match self.sink.claim(task, &self.slot) {
                Ok(positions) => break positions,
                Err(SinkError::Unavailable(message)) => self.wait_for_sink(message, stop)?,
                Err(error) => return Err(self.sink_error(error)),
            }
        };
        let mut of_task = SinkTask::new();
        for topic in &self.plan.topics {
            let topic: Arc<str> = Arc::from(topic.as_str());
            let partitions = self.shared.topology.topics.get(topic.as_ref()).map_or(0, |topic| topic.partitions);
            if task >= partitions {
                continue;
            }
            let partition = TopicPartition::new(Arc::clone(&topic), task);
            let position = match positions.iter().find(|position| position.topic == topic) {
                Some(position) => position.clone(),
                None => SinkPosition {
                    topic: Arc::clone(&topic),
                    partition: task,
                    next_offset: self.shared.broker.watermarks(&partition, Isolation::ReadCommitted)?.low,
                    event_time: EventTime::default(),
                },
            };
            self.reader.assign(&partition, position.next_offset)?;
            of_task.insert(topic, position);
        }
        self.tasks.insert(task, of_task);
        self.written.remove(&task);
        self.answered();
        Ok(())
    }

    fn drop_task(&mut self, task: u32) -> Result<(), BrokerError> {
        self.health.remove_task(task);
        self.written.remove(&task);
        for topic in self.tasks.remove(&task).unwrap_or_default().into_keys() {
            self.reader.unassign(&TopicPartition::new(topic, task))?;
        }
        Ok(())
    }

    fn write_all(&mut self, batch: &RecordBatch, stop: &AtomicBool) -> Result<(), SinkWorkerError> {
        let tasks: BTreeSet<u32> = batch.metas().iter().map(|meta| meta.partition).collect();
        for task in tasks {
            let Some(mut next) = self.tasks.get(&task).cloned() else { continue };
            let mut indices = Vec::new();
            for (index, meta) in batch.metas().iter().enumerate().filter(|(_, meta)| meta.partition == task) {
                let Some(position) = next.get_mut(&meta.topic) else { continue };
                if meta.offset < position.next_offset {
                    continue;
                }
                position.next_offset = meta.offset + 1;
                position.event_time = position.event_time.max(EventTime::from_millis(meta.timestamp_ms));
                indices.push(index);
            }
            self.write_task(task, batch, indices, &next, stop)?;
            self.tasks.insert(task, next);
        }
        Ok(())
    }

    /// Writes the records of one task; those that can never be written go to the dead letters, the rest is written.
    fn write_task(
        &mut self,
        task: u32,
        batch: &RecordBatch,
        mut indices: Vec<usize>,
        next: &SinkTask,
        stop: &AtomicBool,
    ) -> Result<(), SinkWorkerError> {
        loop {
            let mut records = Vec::with_capacity(indices.len());
            let mut refused: Option<(usize, &'static str, String)> = None;
            for (position, index) in indices.iter().enumerate() {
                match self.decode(batch, *index)? {
                    Ok(record) => records.push(record),
                    Err((code, message)) => {
                        refused = Some((position, code, message));
                        break;
                    }
                }
            }
            if refused.is_none() {
                let sink_batch = SinkBatch { task, records, next: next.values().cloned().collect() };
                match self.sink.write(&sink_batch) {
                    Ok(()) => {
                        self.answered();
                        self.written.insert(task);
                        let name = [self.plan.name.as_str()];
                        self.shared.telemetry.sink_records.with_label_values(&name).inc_by(indices.len() as u64);
                        return Ok(());
                    }
                    Err(SinkError::Unavailable(message)) => {
                        self.wait_for_sink(message, stop)?;
                        continue;
                    }
                    Err(SinkError::Refused { index, code, message }) => refused = Some((index, code, message)),
                    Err(error) => return Err(self.sink_error(error)),
                }
            }
            if let Some((position, code, message)) = refused {
                let index = indices.remove(position);
                self.bury(batch, index, code, &message)?;
            }
        }
    }

    fn decode(
        &mut self,
        batch: &RecordBatch,
        index: usize,
    ) -> Result<Result<SinkRecord, (&'static str, String)>, SinkWorkerError> {
        let headers = batch.headers(index);
        let view = batch.view(index, &headers);
        let topic = &batch.metas()[index].topic;
        let planned = self.shared.topology.topics.get(topic.as_ref());
        let kind = planned.and_then(|topic| topic.kind);
        let role = planned.map(|topic| topic.role);
        let body = match (view.value, kind) {
            (value, _) if role == Some(Role::DeadLetters) => {
                SinkBody::DeadLetter { value: value.map(<[u8]>::to_vec), headers: owned_headers(&view) }
            }
            (Some(value), _) if role == Some(Role::Replays) => SinkBody::Resolution { value: value.to_vec() },
            (Some(value), _) if role == Some(Role::Audit) => SinkBody::Audit { value: value.to_vec() },
            (None, _) => SinkBody::Tombstone,
            (Some(value), Some(kind)) => match self.codecs.decode(kind, value) {
                Ok(event) => SinkBody::Event(event),
                Err(ValueError::Unreadable(error)) => return Ok(Err((VALUE_UNREADABLE.code, error.message))),
                Err(ValueError::UnknownSchema) => {
                    return Ok(Err((VALUE_SCHEMA_UNKNOWN.code, VALUE_SCHEMA_UNKNOWN.summary.to_owned())));
                }
                Err(ValueError::Unavailable(message)) => {
                    return Err(BrokerError::new(BrokerErrorKind::Retriable, "ask the registry", message).into());
                }
            },
            (Some(_), None) => {
                return Ok(Err((VALUE_UNREADABLE.code, "nobody knows what this topic holds".to_owned())));
            }
        };
        Ok(Ok(SinkRecord {
            topic: Arc::clone(topic),
            partition: view.origin.partition,
            offset: view.origin.offset,
            event_time: view.event_time,
            key: view.key.map(<[u8]>::to_vec),
            body,
        }))
    }

    /// Written before the position moves past the record, so it may be written twice but never lost; its id is the same.
    fn bury(&mut self, batch: &RecordBatch, index: usize, code: &str, message: &str) -> Result<(), SinkWorkerError> {
        let headers = batch.headers(index);
        let view = batch.view(index, &headers);
        if view.origin.topic.ends_with(".dlq") {
            tracing::error!(code, origin = %view.origin, sink = self.plan.name, "a dead letter cannot be indexed");
            return Ok(());
        }
        let pipeline = &self.shared.topology.pipeline;
        let by = FailedBy {
            pipeline: pipeline.scope(),
            produced_by: pipeline.produced_by(),
            config_hash: pipeline.config_hash.clone(),
            instance: self.slot.clone(),
            group: self.plan.group(pipeline),
            failed_at_ms: self.shared.clock.unix_ms(),
            styles: self.shared.topology.dead_letter_headers.clone(),
        };
        let stage = format!("sink-{}", self.plan.name);
        let input = view.origin.topic;
        let schema_id = dead_letter::schema_id(view.value);
        let schema_version = schema_id.and_then(|id| self.codecs.version_of(&subject_of(input), id));
        let failure =
            Failure { stage: &stage, class: "poison", code, message, field: None, input, schema_version, by: &by };
        let headers = dead_letter::headers(&view, &failure);
        let topic = self.shared.topology.dead_letters(view.origin.topic);
        let mut producer = self.shared.broker.producer(&ProducerOptions::Idempotent)?;
        producer.send(&Outgoing {
            topic: &topic,
            partition: view.origin.partition,
            timestamp_ms: view.event_time.millis(),
            key: view.key,
            value: view.value,
            headers: &dead_letter::borrowed(&headers),
        })?;
        producer.flush(FLUSH_DEADLINE)?;
        self.shared.telemetry.dead_letters.with_label_values(&[stage.as_str(), code]).inc();
        Ok(())
    }

    /// In place, so that what has gone to the dead letters meanwhile does not go there again. Waiting is no standstill:
    /// the process stays alive, and can be stopped, which is the error.
    fn wait_for_sink(&mut self, message: String, stop: &AtomicBool) -> Result<(), SinkWorkerError> {
        let Shared { clock, telemetry, .. } = self.shared.as_ref();
        tracing::warn!(code = SINK_UNAVAILABLE, sink = self.plan.name, error = message, "trying again");
        self.health.failed(clock.unix_ms(), message.clone(), 1);
        for health in self.health.tasks() {
            health.enter_because(Phase::Paused, clock.unix_ms(), SINK_UNAVAILABLE, message.as_str());
        }
        telemetry.sink_retries.with_label_values(&[&self.plan.name]).inc();
        telemetry.standstill.circuit_open.with_label_values(&[self.slot.as_str(), SINK_UNAVAILABLE]).set(1);
        self.failures = self.failures.saturating_add(1);
        let until = clock.now() + self.backoff.after(self.failures);
        while clock.now() < until {
            if is_set(stop) {
                return Err(self.sink_error(SinkError::Unavailable(message)));
            }
            self.health.stepped_at_ms.store(clock.unix_ms(), Ordering::Relaxed);
            clock.sleep(POLL_WAIT);
        }
        Ok(())
    }

    /// The database has done what was asked of it.
    fn answered(&mut self) {
        if self.failures > 0 {
            self.shared.telemetry.close_circuits(&self.slot, &[SINK_UNAVAILABLE]);
        }
        self.failures = 0;
        for health in self.tasks.keys().filter_map(|task| self.health.task(*task)) {
            health.enter(Phase::Running, self.shared.clock.unix_ms());
        }
    }

    /// Broker trouble and a fenced task are answered by joining anew; everything else is for a person.
    fn recover(&mut self, error: SinkWorkerError) -> Result<(), SinkWorkerError> {
        match &error {
            SinkWorkerError::Broker(broker) if broker.kind == BrokerErrorKind::Misconfigured => return Err(error),
            SinkWorkerError::Sink { error: SinkError::Fenced { .. }, .. } | SinkWorkerError::Broker(_) => {}
            SinkWorkerError::Sink { .. } | SinkWorkerError::Settings { .. } => return Err(error),
        }
        self.health.failed(self.shared.clock.unix_ms(), error.to_string(), 1);
        tracing::warn!(code = "sink_restarted", sink = self.plan.name, %error, "joining the group again");
        self.member = None;
        for task in self.tasks.keys().copied().collect::<Vec<_>>() {
            self.drop_task(task)?;
        }
        self.shared.clock.sleep(RETRY_WAIT_MIN * 5);
        Ok(())
    }

    fn sink_error(&self, error: SinkError) -> SinkWorkerError {
        SinkWorkerError::Sink { sink: self.plan.name.clone(), error }
    }
}

fn is_set(stop: &AtomicBool) -> bool {
    stop.load(Ordering::Relaxed)
}

fn owned_headers(view: &RecordView<'_>) -> Vec<(String, Option<Vec<u8>>)> {
    view.headers.iter().map(|(name, value)| (name.to_owned(), value.map(<[u8]>::to_vec))).collect()
}
