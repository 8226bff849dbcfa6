//! After a commit, and after anything that went wrong: the closed table of what a worker does then.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tidemill_topology::plan::Unit;

use crate::broker::{BrokerError, BrokerErrorKind, TopicPartition};
use crate::reconciliation::balances;
use crate::task::Task;
use crate::task::checkpoint::Checkpoint;
use crate::task::restore::StartError;
use crate::transaction::CommitEnd;
use crate::worker::commit::{Committing, delete_dead};
use crate::worker::{BROKER_UNAVAILABLE, OWN_FAILURES_MAX, Shared, Worker, WorkerError};

/// Wait before a client is opened again: a fenced worker must first learn whether its tasks are still its own, and two
/// that fence each other must not do so in a tight loop.
const REOPEN_WAIT: Duration = Duration::from_secs(1);
const RETRY_WAIT: Duration = Duration::from_millis(100);

/// What does not add up in the work of one transaction is reported with its commit.
fn reconcile(shared: &Shared, unit: &Unit, task: &mut Task, checkpoint: &Checkpoint) {
    let redrive = unit.redrive_topic(&shared.topology.pipeline);
    let balances = balances(unit, &redrive, task.number, checkpoint);
    if task.is_news(balances.iter().map(|balance| balance.unaccounted).sum()) {
        balances.iter().for_each(|balance| shared.telemetry.reconciliation.alarm(balance));
    }
}

impl Worker {
    /// The transaction is committed: the stores follow.
    pub(super) fn committed(&mut self, committing: Vec<Committing>, started_at: Duration) -> Result<(), WorkerError> {
        let took = self.shared.clock.now().saturating_sub(started_at);
        self.commit_time = (self.commit_time * 7 + took) / 8;
        if self.failures > 0 {
            self.shared.telemetry.close_circuits(&self.slot, &[BROKER_UNAVAILABLE]);
        }
        self.failures = 0;
        self.own_failures = 0;
        self.shared.telemetry.txn_commits.inc();
        self.shared.telemetry.txn_commit_seconds.observe(took.as_secs_f64());
        for Committing { task: number, checkpoint, bytes } in committing {
            let Some(task) = self.tasks.get_mut(&number) else { continue };
            let log = TopicPartition::new(self.state_topic.clone(), number);
            let next_offset = self.output.transaction.acknowledged(&log).unwrap_or_else(|| task.state.next_offset());
            let next_offset = next_offset + u64::from(sabotaged!(ApplyOffByOne));
            task.state.apply(&bytes, next_offset)?;
            for (input, outcomes) in &checkpoint.figures {
                let before = task.figures().get(input);
                let stage = input.split('/').next().unwrap_or_default();
                for (outcome, count) in outcomes {
                    let added = count - before.and_then(|before| before.get(outcome)).copied().unwrap_or(0);
                    if added > 0 {
                        self.shared.telemetry.records_in.with_label_values(&[stage]).inc_by(added);
                        self.shared.telemetry.outcomes.with_label_values(&[stage, outcome]).inc_by(added);
                        if let Some(code) = outcome.strip_prefix("dead:") {
                            self.shared.telemetry.dead_letters.with_label_values(&[stage, code]).inc_by(added);
                        }
                    }
                }
            }
            if !task.adds_up(&self.program.inputs, self.program.redrive.as_deref()) || task.parking.is_holding {
                reconcile(&self.shared, &self.unit, task, &checkpoint);
            }
            let dead_before = checkpoint.cleaning.dead_before;
            if dead_before > task.dead_before() {
                delete_dead(self.shared.broker.clone(), self.shared.threads.as_ref(), log, dead_before);
            }
            task.committed(checkpoint, bytes.len() as u64);
            if task.parking.is_holding {
                task.refresh_parking(&self.program.inputs)?;
                for (topic, before) in task.newly_dead(&self.program.inputs)? {
                    let parked = TopicPartition::new(topic, number);
                    delete_dead(self.shared.broker.clone(), self.shared.threads.as_ref(), parked, before);
                }
                self.shared.telemetry.parking.report(&self.program.inputs, task)?;
            }
        }
        Ok(())
    }

    /// Nothing of the transaction can ever be read: back to where it began.
    pub(super) fn aborted(&mut self, error: BrokerError) -> Result<(), WorkerError> {
        self.shared.telemetry.txn_aborts.inc();
        tracing::warn!(code = "transaction_aborted", slot = self.slot, %error, "transaction aborted, its work is done again");
        self.output.discard();
        for task in self.tasks.values_mut() {
            task.rewind();
        }
        if !sabotaged!(NoSeekAfterAbort) {
            self.seek_all()?;
        }
        match error.kind {
            BrokerErrorKind::MemberLost => self.rejoin(),
            _ => self.count_failure(&WorkerError::Broker(error)),
        }
    }

    pub(super) fn abort(&mut self, cause: BrokerError) -> Result<(), WorkerError> {
        match self.output.transaction.abort(cause) {
            CommitEnd::Committed => Ok(()),
            CommitEnd::Aborted(error) => self.aborted(error),
            CommitEnd::Unknown(error) => self.recycle(&error),
        }
    }

    /// Nobody here knows what is committed: a new producer settles it, and every task starts again from the state log.
    pub(super) fn recycle(&mut self, error: &BrokerError) -> Result<(), WorkerError> {
        let telemetry = &self.shared.telemetry;
        telemetry.txn_recycled.inc();
        if error.kind == BrokerErrorKind::Fenced {
            telemetry.txn_fenced.inc();
        }
        tracing::warn!(code = "producer_recycled", slot = self.slot, %error, "asking the state log what is committed");
        self.health.failed(self.shared.clock.unix_ms(), error.to_string(), self.failures);
        self.output.discard();
        self.drop_all_tasks()?;
        // The group may have asked for tasks that are now dropped, and it must be polled only after its answer.
        self.answer()?;
        // A worker that was fenced may no longer own its tasks. To start them all the same would fence whoever does.
        let deadline = self.shared.clock.now() + REOPEN_WAIT;
        while self.shared.clock.now() < deadline {
            self.poll_membership()?;
            self.shared.clock.sleep(RETRY_WAIT);
        }
        // What was given back meanwhile starts again behind the next line: a commit without an answer may still have come
        // to be after it had read the log.
        self.drop_all_tasks()?;
        self.answer()?;
        // Before the tasks start: what this slot left open must have ended, or they would wait for it.
        self.output.transaction.prepare()?;
        self.start_missing();
        Ok(())
    }

    /// Brings the worker back to a state in which [`Worker::step`] can be called, or says why that cannot be. What goes
    /// wrong on the way is recovered from in turn, for as long as the broker is away. Nothing is open or staged after the
    /// first attempt, so a worker that is to stop can leave then.
    pub(super) fn recover_fully(&mut self, mut error: WorkerError, stop: &AtomicBool) -> Result<(), WorkerError> {
        loop {
            match self.recover(error) {
                Err(WorkerError::Broker(next)) if next.kind != BrokerErrorKind::Misconfigured => error = next.into(),
                Err(next) if next.is_refusal() => return Err(next),
                Err(next @ (WorkerError::Store(_) | WorkerError::Start(_))) => error = next,
                result => return result,
            }
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
        }
    }

    fn recover(&mut self, error: WorkerError) -> Result<(), WorkerError> {
        self.count_failure(&error)?;
        match error {
            WorkerError::Broker(error) => match error.kind {
                BrokerErrorKind::Misconfigured => Err(error.into()),
                BrokerErrorKind::MemberLost => {
                    self.abort(error)?;
                    if self.member.is_some() { self.rejoin() } else { Ok(()) }
                }
                BrokerErrorKind::Retriable => {
                    self.shared.clock.sleep(RETRY_WAIT);
                    self.abort(BrokerError { kind: BrokerErrorKind::Abortable, ..error })
                }
                _ => self.abort(error),
            },
            retired @ WorkerError::Start(StartError::Retired(_)) => {
                self.output.transaction.abort(BrokerError::new(BrokerErrorKind::Abortable, "stop", "the worker stops"));
                Err(retired)
            }
            WorkerError::Store(_) | WorkerError::State(_) | WorkerError::Start(_) | WorkerError::Checkpoint(_) => {
                let cause = BrokerError::new(BrokerErrorKind::Fatal, "use the store", error.to_string());
                self.output.transaction.abort(BrokerError { kind: BrokerErrorKind::Abortable, ..cause.clone() });
                self.recycle(&cause)
            }
            WorkerError::RegistryUnavailable(_) => Ok(()),
            fatal @ (WorkerError::Registry(_)
            | WorkerError::StoppedOnBug { .. }
            | WorkerError::ParkingFull { .. }
            | WorkerError::ParkedTooLong { .. }
            | WorkerError::CircuitOpen { .. }
            | WorkerError::ParkedLeft { .. }
            | WorkerError::Broken(_)
            | WorkerError::GaveUp { .. }) => {
                let cause = BrokerError::new(BrokerErrorKind::Abortable, "stop", "the worker stops");
                self.output.transaction.abort(cause);
                Err(fatal)
            }
        }
    }

    /// Leaves the group and joins it anew. All tasks go, because nothing fences a worker that is in no group.
    fn rejoin(&mut self) -> Result<(), WorkerError> {
        tracing::warn!(code = "member_lost", slot = self.slot, "joining the group again");
        self.member = None;
        self.unanswered = None;
        self.owned.clear();
        self.drop_all_tasks()?;
        self.shared.clock.sleep(REOPEN_WAIT);
        Ok(())
    }

    fn drop_all_tasks(&mut self) -> Result<(), WorkerError> {
        self.rewinds += 1;
        let numbers: Vec<u32> = self.tasks.keys().chain(self.starting.keys()).copied().collect();
        self.drop_tasks(&numbers)
    }

    fn count_failure(&mut self, error: &WorkerError) -> Result<(), WorkerError> {
        self.failures += 1;
        self.health.failed(self.shared.clock.unix_ms(), error.to_string(), self.failures);
        if error.may_pass() {
            self.shared
                .telemetry
                .standstill
                .circuit_open
                .with_label_values(&[self.slot.as_str(), BROKER_UNAVAILABLE])
                .set(1);
            // Once is not away: a leader that has moved answers at the next question.
            self.shared.clock.sleep(self.away_backoff.after(self.failures.saturating_sub(1)));
            return Ok(());
        }
        self.own_failures += 1;
        if self.own_failures >= OWN_FAILURES_MAX {
            return Err(WorkerError::GaveUp { attempts: self.own_failures, last: error.to_string() });
        }
        Ok(())
    }

    pub(super) fn seek_all(&mut self) -> Result<(), WorkerError> {
        self.rewinds += 1;
        for task in std::mem::take(&mut self.tasks).into_values() {
            let sought = self.seek(&task);
            self.tasks.insert(task.number, task);
            sought?;
        }
        Ok(())
    }

    pub(super) fn report(&self) {
        let health = &self.health;
        health.stepped_at_ms.store(self.shared.clock.unix_ms(), Ordering::Relaxed);
        health.is_releasing.store(self.release.is_active(), Ordering::Relaxed);
        health.is_prepared.store(self.output.transaction.is_prepared(), Ordering::Relaxed);
        health.tasks_owned.store(self.tasks.len() as u64, Ordering::Relaxed);
        let transaction = &self.output.transaction;
        let age_ms = i64::try_from(transaction.age().as_millis()).unwrap_or(i64::MAX);
        let since_ms = if transaction.is_open() { self.shared.clock.unix_ms().saturating_sub(age_ms) } else { 0 };
        health.transaction_since_ms.store(since_ms, Ordering::Relaxed);
    }
}
