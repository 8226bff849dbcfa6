//! Watches outcomes as they become readable: how long each took, when a task stood still, and what is still awaited.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::Serialize;
use tidemill_runtime::broker::{BrokerError, Isolation, Reader, RecordBatch};
use tidemill_schemas::{EntryKind, StatusPhase};

use super::oracle::{Account, Run};
use super::reading::{Offsets, Own, Places, Records};
use crate::exit::{Exit, Failure};
use crate::session::Session;

const BATCH_RECORDS_MAX: usize = 2_000;
const POLL_WAIT: Duration = Duration::from_millis(20);
const REOPEN_WAIT: Duration = Duration::from_millis(200);
/// A task without an outcome for longer than this stood still.
const STALL_MS: u32 = 1_000;

/// One outcome, in milliseconds since the start of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sight {
    pub(super) sent_ms: u32,
    pub(super) seen_ms: u32,
}

/// What has been seen so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// Outcomes of each task, in the order in which they became readable.
    pub(super) tasks: Vec<Vec<Sight>>,
    /// Outcomes and repeats.
    pub(super) answers: u64,
    pub(super) dead: u64,
    pub(super) posted: u64,
    /// Credits and returns: the other end of what was posted.
    pub(super) settled: u64,
    pub(super) opened: u64,
    pub(super) refused: Option<String>,
}

/// A time in which a task had no outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Stall {
    pub(super) task: u32,
    pub(super) from_ms: u32,
    pub(super) until_ms: u32,
}

impl Seen {
    pub(super) fn outcomes(&self) -> u64 {
        self.tasks.iter().map(|task| task.len() as u64).sum()
    }

    /// When the first outcome of something that was sent at or after `since_ms` became readable.
    pub(super) fn first_since(&self, task: u32, since_ms: u32) -> Option<u32> {
        let task = self.tasks.get(task as usize)?;
        // Almost in order: a look at the end finds the place without going through an hour of outcomes.
        let from = task.partition_point(|sight| sight.seen_ms < since_ms);
        task[from..].iter().find(|sight| sight.sent_ms >= since_ms).map(|sight| sight.seen_ms)
    }

    pub(super) fn stalls(&self) -> Vec<Stall> {
        let of_task = |(task, sights): (usize, &Vec<Sight>)| {
            let task = u32::try_from(task).unwrap_or(u32::MAX);
            let pairs = sights.iter().zip(sights.iter().skip(1));
            let long = pairs.filter(|(one, next)| next.seen_ms.saturating_sub(one.seen_ms) > STALL_MS);
            long.map(|(one, next)| Stall { task, from_ms: one.seen_ms, until_ms: next.seen_ms }).collect::<Vec<_>>()
        };
        let mut stalls: Vec<Stall> = self.tasks.iter().enumerate().flat_map(of_task).collect();
        stalls.sort_by_key(|stall| stall.from_ms);
        stalls
    }

    /// The longest time without an outcome of this task that lies in these times.
    pub(super) fn gap_max_ms(&self, task: u32, from_ms: u32, until_ms: u32) -> u32 {
        let Some(sights) = self.tasks.get(task as usize) else { return 0 };
        let first = sights.partition_point(|sight| sight.seen_ms < from_ms).saturating_sub(1);
        let last = sights.partition_point(|sight| sight.seen_ms <= until_ms);
        let within = &sights[first..last.max(first)];
        let gaps = within.iter().zip(within.iter().skip(1)).map(|(one, next)| next.seen_ms - one.seen_ms.max(from_ms));
        let end = within.last().map_or(from_ms, |last| last.seen_ms.max(from_ms));
        gaps.chain([until_ms.saturating_sub(end)]).max().unwrap_or(0)
    }

    /// The latency that `percent` of all outcomes stayed below.
    pub(super) fn latency_ms(&self, percent: usize) -> u32 {
        let sights = self.tasks.iter().flatten();
        let mut latencies: Vec<u32> = sights.map(|sight| sight.seen_ms.saturating_sub(sight.sent_ms)).collect();
        latencies.sort_unstable();
        let index = (latencies.len() * percent / 100).min(latencies.len().saturating_sub(1));
        latencies.get(index).copied().unwrap_or(0)
    }
}

/// A thread that watches until it is dropped.
pub(super) struct Watch {
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    pub(super) fn start(
        session: &Arc<Session>,
        places: &Places,
        run: &Run,
        from: &Offsets,
        started_at: Instant,
    ) -> Result<Self, Failure> {
        let tasks = session.topology.topics.get(&places.statuses).map_or(1, |topic| topic.partitions);
        let seen = Seen { tasks: vec![Vec::new(); tasks as usize], ..Seen::default() };
        let seen = Arc::new(Mutex::new(seen));
        let stop = Arc::new(AtomicBool::new(false));
        let mut watcher = Watcher {
            session: Arc::clone(session),
            records: Records::new(session, places, run),
            next: from.clone(),
            started_at,
            seen: Arc::clone(&seen),
        };
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("watch".to_owned()).spawn(move || watcher.run(&stopped))?;
        Ok(Self { seen, stop, thread: Some(thread) })
    }

    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until every account is open.
    pub(super) fn until_opened(
        &self,
        accounts: u64,
        deadline: Duration,
        alive: impl Fn() -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let started_at = Instant::now();
        loop {
            let (opened, refused) = {
                let seen = self.seen();
                (seen.opened, seen.refused.clone())
            };
            if let Some(refused) = refused {
                return Err(Failure::new(Exit::Findings, refused));
            }
            if opened >= accounts {
                return Ok(());
            }
            if started_at.elapsed() > deadline {
                let message = format!("{opened} of {accounts} accounts were opened within {deadline:?}");
                return Err(Failure::new(Exit::Findings, message).hint(
                    "Does the pipeline run? `tidemill status` shows it; on Kafka start it with `tidemill run`.",
                ));
            }
            alive()?;
            std::thread::sleep(POLL_WAIT);
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A watcher that panicked has said so already.
            let _panicked = thread.join();
        }
    }
}

struct Watcher {
    session: Arc<Session>,
    records: Records,
    next: Offsets,
    started_at: Instant,
    seen: Arc<Mutex<Seen>>,
}

impl Watcher {
    /// A reader that fails is opened again where it was: watching goes on for as long as there is something to see.
    fn run(&mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            if let Err(error) = self.watch(stop) {
                tracing::debug!(message = error.message, "watching again");
                std::thread::sleep(REOPEN_WAIT);
            }
        }
    }

    fn open(&self) -> Result<Box<dyn Reader>, BrokerError> {
        let mut reader = self.session.broker.reader(Isolation::ReadCommitted)?;
        for (partition, offset) in &self.next {
            reader.assign(partition, *offset)?;
        }
        Ok(reader)
    }

    fn watch(&mut self, stop: &AtomicBool) -> Result<(), Failure> {
        let mut reader = self.open()?;
        let mut batch = RecordBatch::default();
        while !stop.load(Ordering::Relaxed) {
            reader.poll(&mut batch, BATCH_RECORDS_MAX, POLL_WAIT)?;
            let seen_ms = u32::try_from(self.started_at.elapsed().as_millis()).unwrap_or(u32::MAX);
            for (index, meta) in batch.metas().iter().enumerate() {
                let own = self.records.own(&batch, index)?;
                let partition = tidemill_runtime::broker::TopicPartition::new(Arc::clone(&meta.topic), meta.partition);
                self.next.insert(partition, meta.offset + 1);
                if let Some(own) = own {
                    self.note(own, seen_ms);
                }
            }
        }
        Ok(())
    }

    fn note(&self, own: Own, seen_ms: u32) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match own {
            Own::Status { seen: status, sent_ms } => match status.phase {
                StatusPhase::Outcome => {
                    seen.answers += 1;
                    seen.posted += u64::from(status.code.as_ref() == "ok");
                    if let Some(task) = seen.tasks.get_mut(status.partition as usize) {
                        task.push(Sight { sent_ms, seen_ms });
                    }
                }
                StatusPhase::Repeat => seen.answers += 1,
                StatusPhase::Update => {}
            },
            Own::Entry(entry) if matches!(entry.kind, EntryKind::Credit | EntryKind::Return) => seen.settled += 1,
            Own::Dead(_) => seen.dead += 1,
            Own::Opened(Account::Nobody(_), _) => {}
            Own::Opened(_, code) if code == "ok" => seen.opened += 1,
            Own::Opened(account, code) => seen.refused = Some(format!("opening {account:?} was refused: {code}")),
            Own::Entry(_) | Own::Balance(..) | Own::Stranger(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(sights: &[(u32, u32)]) -> Seen {
        let task = sights.iter().map(|(sent_ms, seen_ms)| Sight { sent_ms: *sent_ms, seen_ms: *seen_ms }).collect();
        Seen { tasks: vec![task], ..Seen::default() }
    }

    #[test]
    fn what_was_sent_before_a_fault_does_not_count_as_recovered() {
        let seen = seen(&[(0, 10), (95, 110), (90, 130), (2_000, 2_050)]);
        assert_eq!(seen.first_since(0, 100), Some(2_050));
        assert_eq!(seen.first_since(0, 2_001), None);
        assert_eq!(seen.first_since(1, 0), None);
    }

    #[test]
    fn stalls_and_gaps() {
        let seen = seen(&[(0, 10), (0, 900), (0, 2_000), (0, 2_100)]);
        assert_eq!(seen.stalls(), [Stall { task: 0, from_ms: 900, until_ms: 2_000 }]);
        let cases = [((0, 2_100), 1_100), ((0, 1_000), 890), ((950, 2_100), 1_050), ((2_000, 2_600), 500)];
        for ((from, until), expected) in cases {
            assert_eq!(seen.gap_max_ms(0, from, until), expected, "{from} to {until}");
        }
    }
}
