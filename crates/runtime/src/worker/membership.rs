//! Which tasks the worker owns: coming, going, and starting in the background.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{TryRecvError, channel};
use std::time::Duration;

use crate::backoff::Backoff;
use crate::broker::{
    BrokerError, BrokerErrorKind, Member, MemberEvent, MemberOptions, Result as BrokerResult, TopicPartition,
};
use crate::health::Phase;
use crate::reprocess::Retired;
use crate::store::StoreError;
use crate::store::write_behind::Background;
use crate::task::Task;
use crate::task::restore::{LocalCopy, StartError, StartTask, Trust};
use crate::worker::{OnStop, Starting, Worker, WorkerError};

/// A start that waits for somebody else's transaction longer than this is reported.
const START_PATIENCE: Duration = Duration::from_secs(15);
/// Wait before a start that failed is tried again, doubled with each failure in a row. The other tasks go on meanwhile.
const START_RETRY_WAIT_MIN: Duration = Duration::from_secs(1);
const START_RETRY_WAIT_MAX: Duration = Duration::from_secs(30);
/// A store that shows damage this often stands on a disk that does not keep what it is given. It is then rebuilt so
/// rarely that a person has to look, and the tasks of this worker whose stores are well go on.
const REBUILDS_IN_A_ROW_MAX: u32 = 3;
const REBUILD_REST: Duration = Duration::from_secs(600);

impl Worker {
    pub(super) fn poll_membership(&mut self) -> Result<(), WorkerError> {
        if self.member.is_none() {
            let pipeline = &self.shared.topology.pipeline;
            self.member = Some(self.shared.broker.member(&MemberOptions {
                group: self.unit.group(pipeline),
                tasks_topic: self.unit.tasks_topic(pipeline),
                slot: self.slot.clone(),
                session_timeout: Duration::from_millis(self.policy().session_timeout_ms),
            })?);
        }
        let Some(event) = self.member_mut()?.poll(Duration::ZERO)? else { return Ok(()) };
        self.unanswered = Some(event.clone());
        match &event {
            MemberEvent::Assigned(tasks) => {
                tracing::info!(?tasks, slot = self.slot, "the group gives us tasks");
                self.owned.extend(tasks);
                self.answer()?;
                for task in tasks {
                    self.start(*task);
                }
                Ok(())
            }
            MemberEvent::Revoked(tasks) => {
                tracing::info!(?tasks, slot = self.slot, "the group takes tasks back");
                self.owned.retain(|task| !tasks.contains(task));
                if sabotaged!(ReleaseEarly) {
                    self.answer()?;
                }
                let released = self.release(tasks);
                self.let_go(tasks, released)
            }
            MemberEvent::Lost(tasks) => {
                tracing::warn!(code = "tasks_lost", ?tasks, slot = self.slot, "the group gave our tasks away");
                self.owned.retain(|task| !tasks.contains(task));
                let lost = BrokerError::new(BrokerErrorKind::Abortable, "poll membership", "tasks were lost");
                let aborted = self.abort(lost);
                self.let_go(tasks, aborted)
            }
        }
    }

    /// Drops the tasks and answers the group, whatever `result` says of the work before: until then the group waits, and
    /// nobody else gets the tasks. A commit of which nothing is known is fenced by then, by the group or by the next owner.
    fn let_go(&mut self, tasks: &[u32], result: Result<(), WorkerError>) -> Result<(), WorkerError> {
        if sabotaged!(UnansweredRelease) && result.is_err() {
            self.unanswered = None;
            return result;
        }
        let dropped = self.drop_tasks(tasks);
        let answered = self.answer();
        result.and(dropped).and(answered.map_err(WorkerError::from))
    }

    /// Tells the group that its last event has been acted on, unless it was told so already. A worker that has left the
    /// group meanwhile owes it no answer.
    pub(super) fn answer(&mut self) -> BrokerResult<()> {
        match (self.unanswered.take(), &mut self.member) {
            (Some(event), Some(member)) => member.acknowledge(&event),
            _ => Ok(()),
        }
    }

    /// Starts what is owned and neither runs nor starts: whatever went wrong while it was taken over or taken up again.
    pub(super) fn start_missing(&mut self) {
        let is_missing = |task: &u32| !self.tasks.contains_key(task) && !self.starting.contains_key(task);
        for number in self.owned.iter().copied().filter(is_missing).collect::<Vec<_>>() {
            self.start(number);
        }
    }

    /// Starts the task in the background: a restore may take long, and may have to wait for somebody else.
    pub(super) fn start(&mut self, number: u32) {
        let trouble = self.troubles.get(&number).copied().unwrap_or_default();
        let delay = match (trouble.failures, trouble.rebuilds) {
            (_, REBUILDS_IN_A_ROW_MAX..) if trouble.is_damaged => REBUILD_REST,
            (0, _) => Duration::ZERO,
            (failures, _) => {
                let waiter = format!("{}/{number}", self.slot);
                Backoff::new(START_RETRY_WAIT_MIN, START_RETRY_WAIT_MAX, &waiter).after(failures)
            }
        };
        let pipeline = &self.shared.topology.pipeline;
        let now_ms = self.shared.clock.unix_ms();
        let health = self.health.task(number).unwrap_or_else(|| self.health.add_task(number, now_ms));
        if delay == REBUILD_REST {
            let (times, seconds) = (trouble.rebuilds, REBUILD_REST.as_secs());
            let message = format!("its store was damaged {times} times; it is rebuilt in {seconds} s");
            health.enter_because(Phase::Waiting, now_ms, "store_rebuilt", message);
        }
        let abandoned = Arc::new(AtomicBool::new(false));
        let copy = LocalCopy {
            broker: self.shared.broker.clone(),
            stores: self.shared.stores.clone(),
            background: Background { threads: self.shared.threads.clone(), clock: self.shared.clock.clone() },
            clock: self.shared.clock.clone(),
            telemetry: self.shared.telemetry.clone(),
            health,
            directory: self.shared.store_directory(&self.unit, number),
            identity: self.unit.store_identity(pipeline, number),
            trust: if trouble.is_damaged { Trust::Nothing } else { Trust::Checked },
            state_log: TopicPartition::new(self.state_topic.clone(), number),
            abandoned: Arc::clone(&abandoned),
        };
        let start = StartTask {
            copy,
            succession: Arc::clone(&self.succession),
            group: self.unit.group(pipeline),
            slot: self.slot.clone(),
            siblings: self.siblings.clone(),
            topics: self.program.topics().cloned().collect(),
            patience: START_PATIENCE,
            transaction_timeout: Duration::from_millis(self.policy().transaction_timeout_ms),
            retired: self.shared.rehearsal.as_ref().map_or(Retired::Refused, |rehearsal| rehearsal.retired),
            delay,
        };
        let (done, task) = channel();
        let body = Box::new(move || {
            // The worker may have lost interest meanwhile; then the task is dropped, and its store closed, right here.
            let _unwanted = done.send(start.run());
        });
        // A start that gets no thread ends without an answer, which its collector reports.
        if let Err(error) = self.shared.threads.spawn(format!("start-{number}"), body) {
            tracing::error!(code = "thread_not_started", task = number, %error, "a task cannot be started");
        }
        self.starting.insert(number, Starting { started_at: self.shared.clock.now(), task, abandoned });
    }

    /// Takes over the tasks that are caught up.
    pub(super) fn collect_started(&mut self) -> Result<(), WorkerError> {
        for number in self.starting.keys().copied().collect::<Vec<_>>() {
            let Some(starting) = self.starting.get(&number) else { continue };
            let started_at = starting.started_at;
            let result = match starting.task.try_recv() {
                Ok(result) => result,
                Err(TryRecvError::Empty) => continue,
                Err(TryRecvError::Disconnected) => {
                    self.starting.remove(&number);
                    return Err(WorkerError::Broken(format!("the start of task {number} ended without an answer")));
                }
            };
            self.starting.remove(&number);
            match result {
                Ok(mut task) => {
                    if let Some((topic, keys)) = task.parked_for_nobody(&self.program.inputs)? {
                        return Err(WorkerError::ParkedLeft { topic, keys });
                    }
                    task.refresh_parking(&self.program.inputs)?;
                    self.shared.telemetry.parking.report(&self.program.inputs, &mut task)?;
                    let took = self.shared.clock.now().saturating_sub(started_at);
                    self.shared.telemetry.state_catch_up_seconds.observe(took.as_secs_f64());
                    self.compare_with_group(&task);
                    if let Some(trouble) = self.troubles.get_mut(&number) {
                        trouble.failures = 0;
                        trouble.is_damaged = false;
                    }
                    #[cfg(feature = "sabotage")]
                    let task = if sabotaged!(TrustGroupOffsets) { self.trust_group(task) } else { task };
                    self.seek(&task)?;
                    self.tasks.insert(number, task);
                    if let Some(health) = self.health.task(number) {
                        health.enter(Phase::Running, self.shared.clock.unix_ms());
                    }
                }
                Err(error @ StartError::Retired(_)) => return Err(error.into()),
                Err(error) => self.start_failed(number, &error),
            }
        }
        self.claim()
    }

    /// Commits a claim of every task that has none, at once and again after an abort: a successor settles whom the log
    /// names.
    fn claim(&mut self) -> Result<(), WorkerError> {
        if sabotaged!(NoClaim) || self.tasks.values().all(Task::is_claimed) {
            return Ok(());
        }
        self.tasks.values_mut().filter(|task| !task.is_claimed()).for_each(Task::touch);
        self.output.transaction.open()?;
        self.commit()
    }

    fn start_failed(&mut self, number: u32, error: &StartError) {
        let code = error.code();
        tracing::warn!(code, task = number, %error, "the task cannot be started yet, it is tried again");
        let trouble = self.troubles.entry(number).or_default();
        trouble.failures = trouble.failures.saturating_add(1);
        if matches!(error, StartError::Store(StoreError::Damaged { .. })) {
            trouble.is_damaged = true;
            trouble.rebuilds += 1;
        }
        if let Some(health) = self.health.task(number) {
            health.enter_because(Phase::Waiting, self.shared.clock.unix_ms(), code, error.to_string());
        }
        self.start(number);
    }

    /// Gives tasks up in good order: commits, and says in the log that nobody owns them.
    pub(super) fn release(&mut self, numbers: &[u32]) -> Result<(), WorkerError> {
        let owned: Vec<u32> = numbers.iter().copied().filter(|number| self.tasks.contains_key(number)).collect();
        if !owned.is_empty() {
            for number in &owned {
                if let Some(task) = self.tasks.get_mut(number) {
                    task.touch();
                }
            }
            self.output.transaction.open()?;
            self.commit_releasing(&owned)?;
        }
        self.drop_tasks(numbers)
    }

    /// Forgets tasks and closes their stores, before anybody else is told that they are free.
    pub(super) fn drop_tasks(&mut self, numbers: &[u32]) -> Result<(), WorkerError> {
        for number in numbers {
            self.starting.remove(number);
            self.health.remove_task(*number);
            self.shared.telemetry.parking.forget(&self.program.inputs, *number);
            let Some(mut task) = self.tasks.remove(number) else { continue };
            for (topic, _) in task.positions() {
                self.reader.unassign(&TopicPartition::new(topic.clone(), *number))?;
            }
            task.state.discard();
            // What is not on the disk then is read from the state log again.
            if let Err(error) = task.state.flush() {
                tracing::warn!(code = "store_unavailable", task = number, %error, "the local store was not written");
            }
            if task.state.is_damaged() {
                let trouble = self.troubles.entry(*number).or_default();
                trouble.is_damaged = true;
                trouble.rebuilds += 1;
            }
        }
        Ok(())
    }

    /// Reads on at the positions of the task.
    pub(super) fn seek(&mut self, task: &Task) -> BrokerResult<()> {
        for (topic, position) in task.positions() {
            self.reader.assign(&TopicPartition::new(topic.clone(), task.number), position)?;
        }
        Ok(())
    }

    /// On a planned stop: commit, release, leave. Where the broker refuses that, nothing is lost: what is not committed
    /// is done again by the next owner, which settles a slot that did not release its tasks.
    pub(super) fn leave(mut self, on_stop: OnStop) -> Result<(), WorkerError> {
        let numbers: Vec<u32> = self.tasks.keys().chain(self.starting.keys()).copied().collect();
        let released = match self.release(&numbers) {
            Err(error @ (WorkerError::Broker(_) | WorkerError::Store(_))) => {
                tracing::warn!(code = "tasks_not_released", slot = self.slot, %error, "left without releasing the tasks");
                let cause = BrokerError::new(BrokerErrorKind::Abortable, "leave", error.to_string());
                self.output.transaction.abort(cause);
                Ok(())
            }
            result => result,
        };
        if let Some(member) = self.member.take() {
            end_membership(member, &self.slot, on_stop);
        }
        released
    }

    /// The group's offsets are a mirror for people's tools. Where they differ from the state log, or are gone, the log is
    /// right, and somebody should know.
    fn compare_with_group(&self, task: &Task) {
        let partitions: Vec<TopicPartition> =
            task.resumed().map(|topic| TopicPartition::new(Arc::clone(topic), task.number)).collect();
        let group = self.unit.group(&self.shared.topology.pipeline);
        // A broker that does not answer here is no reason to hold the task back.
        let Ok(committed) = self.shared.broker.committed(&group, &partitions) else { return };
        let committed: BTreeMap<TopicPartition, u64> = committed.into_iter().collect();
        for partition in partitions {
            let (in_group, position) = (committed.get(&partition).copied(), task.position(&partition.topic));
            if position != in_group {
                self.shared.telemetry.group_offsets_disagree.inc();
                tracing::warn!(
                    code = "group_offsets_disagree",
                    topic = %partition.topic,
                    partition = partition.partition,
                    group_offset = in_group.map_or_else(|| "none".to_owned(), |offset| offset.to_string()),
                    state_log_offset = position,
                    "the group's committed offset is not the state log's; the state log's is used"
                );
            }
        }
    }

    #[cfg(feature = "sabotage")]
    fn trust_group(&self, task: Task) -> Task {
        let partitions: Vec<TopicPartition> =
            task.positions().map(|(topic, _)| TopicPartition::new(topic.clone(), task.number)).collect();
        let group = self.unit.group(&self.shared.topology.pipeline);
        let committed = self.shared.broker.committed(&group, &partitions).unwrap_or_default();
        task.trusting(&committed)
    }

    fn member_mut(&mut self) -> BrokerResult<&mut Box<dyn crate::broker::Member>> {
        let gone = || BrokerError::new(BrokerErrorKind::MemberLost, "poll membership", "not a member of the group");
        self.member.as_mut().ok_or_else(gone)
    }
}

/// The group gives the tasks to others at once, or when the session has run out.
pub(crate) fn end_membership(member: Box<dyn Member>, slot: &str, on_stop: OnStop) {
    if on_stop == OnStop::Stay {
        return;
    }
    if let Err(error) = member.leave() {
        tracing::warn!(code = "group_not_left", slot, %error, "others get the tasks when the session has run out");
    }
}
