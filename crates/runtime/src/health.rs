//! What a running process says of itself: what each task does, and why one does not move.
//!
//! Written by the worker when something changes, never per record; read by whoever asks.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::telemetry::Telemetry;

/// After this long without a step a worker counts as dead.
const STALL_MS: i64 = 60_000;

/// What a task does. A start goes through these in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Is about to be started, or waits to be started again after a failure.
    #[default]
    Waiting,
    /// Opens its store and asks how long the state log is.
    Opening,
    /// Applies what the store has not seen of the state log.
    Restoring,
    /// Fences its last owner and ends what that left open.
    Settling,
    /// Stands behind a transaction of somebody else that has not ended.
    WaitingForTransaction,
    Running,
    /// Reads nothing until a dependency answers.
    Paused,
    /// Runs elsewhere; a standby here keeps its store up with the state log.
    Following,
}

impl Phase {
    pub const ALL: [Self; 8] = [
        Self::Waiting,
        Self::Opening,
        Self::Restoring,
        Self::Settling,
        Self::WaitingForTransaction,
        Self::Running,
        Self::Paused,
        Self::Following,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Opening => "opening",
            Self::Restoring => "restoring",
            Self::Settling => "settling",
            Self::WaitingForTransaction => "waiting_for_transaction",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Following => "following",
        }
    }
}

/// Why something does not go on: a code for `tidemill explain`, and the case at hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    pub code: Cow<'static, str>,
    pub message: String,
}

/// How far a restore is, in offsets of the state log. Some of them hold no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restore {
    pub from: u64,
    pub next_offset: u64,
    pub end: u64,
    /// Bytes of keys and values applied.
    pub bytes: u64,
    pub began_at_ms: i64,
}

impl Restore {
    pub fn percent(&self) -> u64 {
        let total = self.end.saturating_sub(self.from).max(1);
        (self.next_offset.saturating_sub(self.from) * 100 / total).min(100)
    }

    /// Offsets still to be applied.
    pub fn left(&self) -> u64 {
        self.end.saturating_sub(self.next_offset)
    }

    /// At the pace so far. `None` while there is none.
    pub fn seconds_left(&self, now_ms: i64) -> Option<u64> {
        let done = self.next_offset.saturating_sub(self.from);
        let took_ms = u64::try_from(now_ms - self.began_at_ms).ok()?;
        (self.left() * took_ms).checked_div(done).map(|left_ms| left_ms.div_ceil(1_000))
    }
}

/// One task of a worker.
#[derive(Debug, Default)]
pub struct TaskHealth {
    state: Mutex<TaskState>,
}

#[derive(Clone, Debug, Default)]
struct TaskState {
    phase: Phase,
    since_ms: i64,
    reason: Option<Reason>,
    restore: Option<Restore>,
}

impl TaskHealth {
    pub fn enter(&self, phase: Phase, now_ms: i64) {
        self.set(phase, now_ms, None);
    }

    pub fn enter_because(&self, phase: Phase, now_ms: i64, code: &'static str, message: impl Into<String>) {
        self.set(phase, now_ms, Some(Reason { code: code.into(), message: message.into() }));
    }

    /// How far the restore is, or the standby. Kept until the task runs.
    pub fn restored(&self, restore: Restore) {
        lock(&self.state).restore = Some(restore);
    }

    fn set(&self, phase: Phase, now_ms: i64, reason: Option<Reason>) {
        let mut state = lock(&self.state);
        if state.phase != phase {
            state.since_ms = now_ms;
        }
        state.phase = phase;
        state.reason = reason;
        if phase == Phase::Running {
            state.restore = None;
        }
    }
}

/// The last failure of a worker, which may long be over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastError {
    pub at_ms: i64,
    pub message: String,
    /// Failures in a row up to this one, without a commit in between.
    pub failures: u32,
}

/// What others may see of a running worker.
#[derive(Debug, Default)]
pub struct WorkerHealth {
    /// Milliseconds since 1970 at the last step.
    pub stepped_at_ms: AtomicI64,
    pub is_prepared: AtomicBool,
    /// Whether records are being released that were parked.
    pub is_releasing: AtomicBool,
    pub tasks_owned: AtomicU64,
    /// When the open transaction began; 0 while none is open.
    pub transaction_since_ms: AtomicI64,
    tasks: Mutex<BTreeMap<u32, Arc<TaskHealth>>>,
    last_error: Mutex<Option<LastError>>,
}

impl WorkerHealth {
    /// The health of a task that is ours from now on.
    pub fn add_task(&self, number: u32, now_ms: i64) -> Arc<TaskHealth> {
        let task = Arc::new(TaskHealth::default());
        lock(&task.state).since_ms = now_ms;
        lock(&self.tasks).insert(number, Arc::clone(&task));
        task
    }

    pub fn task(&self, number: u32) -> Option<Arc<TaskHealth>> {
        lock(&self.tasks).get(&number).cloned()
    }

    pub fn tasks(&self) -> Vec<Arc<TaskHealth>> {
        lock(&self.tasks).values().cloned().collect()
    }

    pub fn remove_task(&self, number: u32) {
        lock(&self.tasks).remove(&number);
    }

    pub fn failed(&self, at_ms: i64, message: String, failures: u32) {
        *lock(&self.last_error) = Some(LastError { at_ms, message, failures });
    }

    /// Whether every task of this worker runs.
    pub fn is_caught_up(&self) -> bool {
        lock(&self.tasks).values().all(|task| matches!(lock(&task.state).phase, Phase::Running | Phase::Paused))
    }

    pub fn view(&self, slot: &str, now_ms: i64) -> WorkerView {
        let since_ms = self.transaction_since_ms.load(Ordering::Relaxed);
        WorkerView {
            slot: slot.to_owned(),
            stepped_at_ms: self.stepped_at_ms.load(Ordering::Relaxed),
            is_prepared: self.is_prepared.load(Ordering::Relaxed),
            tasks_owned: self.tasks_owned.load(Ordering::Relaxed),
            transaction_age_ms: if since_ms == 0 { None } else { Some((now_ms - since_ms).max(0)) },
            last_error: lock(&self.last_error).clone(),
            tasks: lock(&self.tasks).iter().map(|(number, task)| task_view(*number, task, now_ms)).collect(),
        }
    }
}

/// One worker, for people.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WorkerView {
    pub slot: String,
    pub stepped_at_ms: i64,
    pub is_prepared: bool,
    pub tasks_owned: u64,
    pub transaction_age_ms: Option<i64>,
    pub last_error: Option<LastError>,
    pub tasks: Vec<TaskView>,
}

/// One task, for people.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TaskView {
    pub task: u32,
    pub phase: Phase,
    /// How long it has been in this phase.
    pub for_ms: i64,
    pub reason: Option<Reason>,
    pub restore: Option<RestoreView>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RestoreView {
    #[serde(flatten)]
    pub restore: Restore,
    pub percent: u64,
    pub seconds_left: Option<u64>,
}

fn task_view(number: u32, task: &TaskHealth, now_ms: i64) -> TaskView {
    let state = lock(&task.state).clone();
    let restore = state.restore.map(|restore| RestoreView {
        percent: restore.percent(),
        seconds_left: restore.seconds_left(now_ms),
        restore,
    });
    let for_ms = (now_ms - state.since_ms).max(0);
    TaskView { task: number, phase: state.phase, for_ms, reason: state.reason, restore }
}

/// One process, for people: the body of `/readyz`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProcessView {
    pub ready: bool,
    pub workers: Vec<WorkerView>,
    pub sinks: Vec<WorkerView>,
    /// What keeps copies of the stores of tasks that run elsewhere.
    #[serde(default)]
    pub standbys: Vec<WorkerView>,
    /// What does not add up anywhere in the pipeline, in words.
    #[serde(default)]
    pub unaccounted: Vec<String>,
}

/// What `/livez`, `/readyz` and `status` say of this process.
#[derive(Clone, Debug, Default)]
pub struct Health {
    pub workers: Vec<(String, Arc<WorkerHealth>)>,
    pub sinks: Vec<(String, Arc<WorkerHealth>)>,
    pub standbys: Vec<(String, Arc<WorkerHealth>)>,
    unaccounted: Arc<Mutex<Vec<String>>>,
}

impl Health {
    /// Takes down what does not add up.
    pub fn set_unaccounted(&self, findings: Vec<String>) {
        *lock(&self.unaccounted) = findings;
    }

    /// All of it, for people.
    pub fn view(&self, now_ms: i64) -> ProcessView {
        let views = |threads: &[(String, Arc<WorkerHealth>)]| {
            threads.iter().map(|(slot, health)| health.view(slot, now_ms)).collect()
        };
        let (workers, sinks, standbys) = (views(&self.workers), views(&self.sinks), views(&self.standbys));
        let unaccounted = lock(&self.unaccounted).clone();
        ProcessView { ready: self.is_ready(), workers, sinks, standbys, unaccounted }
    }

    /// Whether every worker and sink has made a step lately. Asks nobody else.
    pub fn is_alive(&self, now_ms: i64) -> bool {
        self.workers.iter().chain(&self.sinks).all(|(_, health)| {
            let stepped_at_ms = health.stepped_at_ms.load(Ordering::Relaxed);
            stepped_at_ms == 0 || now_ms - stepped_at_ms < STALL_MS
        })
    }

    /// Whether records are being released anywhere that were parked.
    pub fn is_releasing(&self) -> bool {
        self.workers.iter().any(|(_, health)| health.is_releasing.load(Ordering::Relaxed))
    }

    /// Whether every worker has its producer, no task is still catching up, and every sink is in its group.
    pub fn is_ready(&self) -> bool {
        let is_prepared = |health: &WorkerHealth| health.is_prepared.load(Ordering::Relaxed);
        self.workers.iter().all(|(_, health)| is_prepared(health) && health.is_caught_up())
            && self.sinks.iter().all(|(_, health)| is_prepared(health))
    }

    /// Offsets applied and to be applied, over all tasks that are being restored; `None` when there are none.
    pub fn restored(&self) -> Option<(u64, u64)> {
        let tasks =
            self.workers.iter().flat_map(|(_, health)| lock(&health.tasks).values().cloned().collect::<Vec<_>>());
        let restores = tasks.filter_map(|task| {
            let state = lock(&task.state);
            state.restore.filter(|_| state.phase == Phase::Restoring)
        });
        restores
            .map(|restore| (restore.next_offset.saturating_sub(restore.from), restore.end.saturating_sub(restore.from)))
            .reduce(|(done, total), (more, further)| (done + more, total + further))
    }

    /// Brings the gauges that are worth computing only when somebody asks up to date.
    pub fn export(&self, telemetry: &Telemetry, now_ms: i64) {
        telemetry.task_phase.reset();
        telemetry.restore_offsets_left.reset();
        telemetry.standby.lag_offsets.reset();
        for (name, health) in &self.standbys {
            for task in health.view(name, now_ms).tasks {
                let left = task.restore.map_or(0, |RestoreView { restore, .. }| restore.left());
                telemetry.standby.lag_offsets.with_label_values(&[name, &task.task.to_string()]).set(gauge(left));
            }
        }
        for (slot, health) in self.workers.iter().chain(&self.sinks) {
            let view = health.view(slot, now_ms);
            let slot = slot.as_str();
            telemetry.tasks_owned.with_label_values(&[slot]).set(gauge(view.tasks_owned));
            telemetry.txn_open_age_ms.with_label_values(&[slot]).set(view.transaction_age_ms.unwrap_or(0));
            let failed_at_ms = view.last_error.as_ref().map_or(0, |error| error.at_ms);
            telemetry.standstill.last_failure_seconds.with_label_values(&[slot]).set(failed_at_ms / 1_000);
            for task in &view.tasks {
                let number = task.task.to_string();
                telemetry.task_phase.with_label_values(&[slot, &number, task.phase.name()]).set(1);
                if let Some(RestoreView { restore, .. }) = &task.restore {
                    telemetry.restore_offsets_left.with_label_values(&[slot, &number]).set(gauge(restore.left()));
                }
            }
        }
    }
}

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restore_says_how_long_it_will_take() {
        // from, next, end, milliseconds since it began, percent, seconds left
        let table = [
            (0, 0, 1_000, 500, 0, None),
            (0, 250, 1_000, 1_000, 25, Some(3)),
            (500, 750, 1_000, 2_500, 50, Some(3)),
            (0, 1_000, 1_000, 9_000, 100, Some(0)),
            (7, 7, 7, 0, 0, None),
        ];
        for (from, next_offset, end, took_ms, percent, seconds_left) in table {
            let restore = Restore { from, next_offset, end, bytes: 0, began_at_ms: 1_000 };
            assert_eq!(restore.percent(), percent, "{restore:?}");
            assert_eq!(restore.seconds_left(1_000 + took_ms), seconds_left, "{restore:?}");
        }
    }

    #[test]
    fn a_worker_is_caught_up_when_no_task_is_on_its_way() {
        let health = WorkerHealth::default();
        assert!(health.is_caught_up());
        let task = health.add_task(3, 1_000);
        for phase in Phase::ALL {
            task.enter(phase, 2_000);
            assert_eq!(health.is_caught_up(), matches!(phase, Phase::Running | Phase::Paused), "{phase:?}");
        }
        task.enter_because(Phase::Waiting, 5_000, "store_unavailable", "no space left on device");
        let view = health.view("slot", 6_000);
        assert_eq!((view.tasks[0].phase, view.tasks[0].for_ms), (Phase::Waiting, 1_000));
        health.remove_task(3);
        assert!(health.is_caught_up());
    }
}
