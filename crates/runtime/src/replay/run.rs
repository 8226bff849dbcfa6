//! Applies a plan: batch by batch, each batch one transaction.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use tidemill_audit::{Action, Outcome};
use tidemill_topology::plan::Role;

use crate::broker::{BrokerError, Isolation, TopicPartition, read_range};
use crate::operator::{Operator, OperatorError};
use crate::replay::notes::{copy_key, write_active, write_resolution};
use crate::replay::plan::{Destination, Edit, Item, Plan};
use crate::replay::write::send_back;
use crate::replay::{Active, Filter, Letter, Notes, Resolution, ResolutionKind, RunState, read_letters};
use crate::sealed::sha256;
use crate::status;

const BATCH_LETTERS_MAX: usize = 500;
/// A batch is no longer under way than this at the rate that was asked for: readers wait for it to end.
const BATCH_SPAN: Duration = Duration::from_millis(500);
const PAUSED_LOOK: Duration = Duration::from_millis(500);
const BEHIND_LOOK: Duration = Duration::from_secs(1);
/// So many letters are sent before it is judged how many of them fail.
const FAILING_LETTERS_MIN: u64 = 20;

/// How fast, and when to hold.
#[derive(Clone, Debug)]
pub struct Pace {
    /// Letters per second; as fast as can be when absent.
    pub rate: Option<u64>,
    /// Pauses when so many of a hundred letters that were sent have failed again.
    pub failed_percent_max: u64,
    /// Waits while the stage has more records than this to process. When absent, while [`LAG_GROWTH_MAX`] more records than
    /// at the beginning wait in the topics that others write to.
    pub lag_records_max: Option<u64>,
}

/// See [`Pace::lag_records_max`].
pub const LAG_GROWTH_MAX: u64 = 10_000;

#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error(transparent)]
    Operator(#[from] OperatorError),
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The plan is not to be carried out: [`Guard`] says why.
    #[error("{0}")]
    Refused(Guard),
}

/// What can stand against a replay.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Guard {
    #[error("the plan was made by {made}, and {now} would carry it out")]
    OtherConfiguration { made: String, now: String },
    #[error("{count} dead letters have come since that the plan's filter means")]
    NewLetters { count: u64 },
    #[error("{count} of its letters were resolved meanwhile")]
    Resolved { count: u64 },
    #[error("{count} of its letters are not there any more, or are others")]
    Gone { count: u64 },
    #[error("the replay of plan {plan} of {topic} is {state}")]
    Busy { plan: String, topic: String, state: &'static str },
    #[error("the replay was cancelled")]
    Cancelled,
    #[error("another process has taken this replay over")]
    OtherProcess,
    #[error("paused: {failed} of {sent} letters failed again")]
    Failing { failed: u64, sent: u64 },
}

impl Guard {
    fn name(&self) -> &'static str {
        match self {
            Self::OtherConfiguration { .. } | Self::NewLetters { .. } | Self::Resolved { .. } | Self::Gone { .. } => {
                "plan_stale"
            }
            Self::Busy { .. } => "replay_busy",
            Self::Cancelled => "replay_cancelled",
            Self::OtherProcess => "replay_taken_over",
            Self::Failing { .. } => "replay_failing",
        }
    }
}

/// How a replay went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Sent by this call.
    pub replayed: u64,
    /// Sent by earlier calls.
    pub replayed_before: u64,
    /// Left where they are: they would fail, or are guarded.
    pub left: u64,
    /// Somebody said stop before the end. The same plan goes on from here.
    pub was_stopped: bool,
}

/// Carries `plan` out, or goes on with it. `look` is told how many letters have been sent of how many, and says whether to
/// stop there.
pub fn apply(
    operator: &mut Operator,
    plan: &Plan,
    pace: &Pace,
    reason: &str,
    mut look: impl FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<Report, ReplayError> {
    let mut run = Run::begin(operator, plan, reason)?;
    let (todo, before) = run.todo();
    let left = plan.items.iter().filter(|item| !plan.is_to_be_sent(item)).count() as u64;
    let mut report = Report { replayed_before: before, left, ..Report::default() };
    if run.active.state == RunState::Done {
        return Ok(report);
    }
    let started_at = run.operator.clock().now();
    let batch = match pace.rate {
        Some(rate) => (rate as usize * BATCH_SPAN.as_millis() as usize / 1_000).clamp(1, BATCH_LETTERS_MAX),
        None => BATCH_LETTERS_MAX,
    };
    for items in todo.chunks(batch) {
        if look(report.replayed, todo.len() as u64).is_break() {
            report.was_stopped = true;
            return Ok(report);
        }
        while run.is_stage_behind(pace)? {
            if look(report.replayed, todo.len() as u64).is_break() {
                report.was_stopped = true;
                return Ok(report);
            }
            run.operator.clock().sleep(BEHIND_LOOK);
        }
        run.check_failing(pace, report.replayed)?;
        report.replayed += run.send(items)?;
        if let Some(rate) = pace.rate {
            let due = Duration::from_millis(report.replayed.saturating_mul(1_000) / rate.max(1));
            let elapsed = run.operator.clock().now().saturating_sub(started_at);
            run.operator.clock().sleep(due.saturating_sub(elapsed));
        }
    }
    run.end(RunState::Done)?;
    look(report.replayed, todo.len() as u64).is_break();
    Ok(report)
}

/// Pauses, resumes or cancels the replay of a topic, whoever runs it.
pub fn control(operator: &mut Operator, topic: &str, state: RunState, reason: &str) -> Result<bool, ReplayError> {
    operator.take_over()?;
    let notes_topic = operator.topology().pipeline.replays_topic();
    let mut notes = Notes::default();
    notes.read(operator.broker().as_ref(), &notes_topic)?;
    let Some(active) = notes.active().get(topic).filter(|active| active.state.is_open()).cloned() else {
        return Ok(false);
    };
    let verb = match state {
        RunState::Paused => "replay.pause",
        RunState::Running => "replay.resume",
        RunState::Cancelled | RunState::Done => "replay.cancel",
    };
    let mut action = super::write::action(verb, topic.to_owned(), reason, BTreeMap::new());
    action.plan_hash = Some(active.plan.clone());
    let active = Active { state, at_ms: operator.clock().unix_ms(), ..active };
    operator.act(action, |producer| write_active(producer, &notes_topic, topic, &active))?;
    Ok(true)
}

struct Run<'a> {
    operator: &'a mut Operator,
    plan: &'a Plan,
    reason: &'a str,
    notes: Notes,
    notes_topic: String,
    active: Active,
    partitions: u32,
    /// Records of others that waited for the stage when this began.
    lag_at_first: Option<u64>,
    looked_at: Option<Duration>,
    /// Next offsets to look for letters that have failed again, by partition, and how many did.
    failing_from: BTreeMap<u32, u64>,
    failed: u64,
}

impl<'a> Run<'a> {
    /// Takes over, checks what stands against it, and notes that it runs.
    fn begin(operator: &'a mut Operator, plan: &'a Plan, reason: &'a str) -> Result<Self, ReplayError> {
        operator.take_over()?;
        let notes_topic = operator.topology().pipeline.replays_topic();
        let partitions = operator.topology().topics.get(&plan.topic).map_or(0, |topic| topic.partitions);
        let at_ms = operator.clock().unix_ms();
        let active = Active {
            plan: plan.hash.clone(),
            run: format!("{}@{at_ms}-{}", operator.actor(), std::process::id()),
            state: RunState::Running,
            replayed: 0,
            total: plan.items.iter().filter(|item| plan.is_to_be_sent(item)).count() as u64,
            actor: operator.actor().to_owned(),
            at_ms,
        };
        let mut run = Self {
            operator,
            plan,
            reason,
            notes: Notes::default(),
            notes_topic,
            active,
            partitions,
            lag_at_first: None,
            looked_at: None,
            failing_from: BTreeMap::new(),
            failed: 0,
        };
        run.notes.read(run.operator.broker().as_ref(), &run.notes_topic)?;
        match run.notes.active().get(&plan.topic).cloned() {
            Some(before) if before.plan == plan.hash => match before.state {
                RunState::Cancelled => return run.refuse(Guard::Cancelled),
                RunState::Done => {
                    run.active = before;
                    return Ok(run);
                }
                RunState::Running | RunState::Paused => run.active.replayed = before.replayed,
            },
            Some(before) if before.state.is_open() => {
                let (topic, state) = (plan.topic.clone(), before.state.name());
                return run.refuse(Guard::Busy { plan: before.plan, topic, state });
            }
            _ => {
                if let Some(guard) = run.stale()? {
                    return run.refuse(guard);
                }
            }
        }
        run.note("dlq.apply")?;
        Ok(run)
    }

    /// What has changed since the plan was made.
    fn stale(&self) -> Result<Option<Guard>, ReplayError> {
        let now = self.operator.topology().pipeline.produced_by();
        if self.plan.produced_by != now {
            return Ok(Some(Guard::OtherConfiguration { made: self.plan.produced_by.clone(), now }));
        }
        let mut new = 0;
        for (partition, end) in &self.plan.end_offsets {
            let from = self.plan.filter.from.unwrap_or(0).max(*end);
            let filter = Filter { partition: Some(*partition), from: Some(from), ..self.plan.filter.clone() };
            read_letters(self.operator.broker().as_ref(), &self.plan.topic, self.partitions, &filter, |letter| {
                new += u64::from(self.notes.resolution(&letter.place).is_none());
                Ok::<_, BrokerError>(())
            })?;
        }
        if new > 0 {
            return Ok(Some(Guard::NewLetters { count: new }));
        }
        let items = self.plan.items.iter().filter(|item| self.plan.is_to_be_sent(item));
        let count = items.filter(|item| self.is_done(item)).count() as u64;
        Ok((count > 0).then_some(Guard::Resolved { count }))
    }

    fn is_done(&self, item: &Item) -> bool {
        let place = self.plan.place_of(item);
        match &self.plan.destination {
            Destination::Sandbox(topic) => self.notes.is_copied(&place, topic),
            Destination::Stage | Destination::Origin => self.notes.resolution(&place).is_some(),
        }
    }

    /// Items that are still to be sent, and how many have been.
    fn todo(&self) -> (Vec<&'a Item>, u64) {
        let plan = self.plan;
        let (done, todo): (Vec<_>, Vec<_>) =
            plan.items.iter().filter(|item| plan.is_to_be_sent(item)).partition(|item| self.is_done(item));
        (todo, done.len() as u64)
    }

    fn action(&self, verb: &str, counts: BTreeMap<String, u64>) -> Action {
        Action {
            plan_hash: Some(self.plan.hash.clone()),
            detail: serde_json::to_string(&self.plan.filter).unwrap_or_default(),
            ..super::write::action(verb, self.plan.topic.clone(), self.reason, counts)
        }
    }

    /// Writes how the replay stands.
    fn note(&mut self, verb: &str) -> Result<(), ReplayError> {
        self.active.at_ms = self.operator.clock().unix_ms();
        let (active, topic, notes_topic) = (self.active.clone(), &self.plan.topic, &self.notes_topic);
        let counts = [("replayed", active.replayed), ("total", active.total)];
        let action = self.action(verb, counts.map(|(name, count)| (name.to_owned(), count)).into());
        self.operator.act(action, |producer| write_active(producer, notes_topic, topic, &active))?;
        Ok(())
    }

    fn end(&mut self, state: RunState) -> Result<(), ReplayError> {
        self.active.state = state;
        self.note("dlq.applied")
    }

    /// Writes down that it was not done, and why.
    fn refuse<T>(&mut self, guard: Guard) -> Result<T, ReplayError> {
        let action = Action {
            outcome: Outcome::Refused,
            detail: format!("{}: {guard}", guard.name()),
            ..self.action("dlq.apply", BTreeMap::new())
        };
        self.operator.act(action, |_| Ok(()))?;
        Err(ReplayError::Refused(guard))
    }

    /// Sends those that nobody has sent meanwhile. When somebody else acted in between, looks what they did first.
    fn send(&mut self, items: &[&Item]) -> Result<u64, ReplayError> {
        loop {
            let open: Vec<&Item> = items.iter().copied().filter(|item| !self.is_done(item)).collect();
            if open.is_empty() {
                return Ok(items.len() as u64);
            }
            match self.send_batch(&open) {
                Ok(()) => return Ok(items.len() as u64),
                Err(ReplayError::Operator(OperatorError::TakenOver)) => self.look_again()?,
                Err(error) => return Err(error),
            }
        }
    }

    /// Somebody else has acted: waits while it is paused, and ends if it is not this process's any more.
    fn look_again(&mut self) -> Result<(), ReplayError> {
        loop {
            self.operator.take_over()?;
            self.notes.read(self.operator.broker().as_ref(), &self.notes_topic)?;
            let Some(now) = self.notes.active().get(&self.plan.topic) else { return Ok(()) };
            if now.plan != self.active.plan || now.run != self.active.run {
                return Err(ReplayError::Refused(Guard::OtherProcess));
            }
            match now.state {
                RunState::Running => return Ok(()),
                RunState::Paused => self.operator.clock().sleep(PAUSED_LOOK),
                RunState::Cancelled | RunState::Done => return Err(ReplayError::Refused(Guard::Cancelled)),
            }
        }
    }

    fn send_batch(&mut self, items: &[&Item]) -> Result<(), ReplayError> {
        let letters = self.read(items)?;
        let mut active = self.active.clone();
        active.replayed += items.len() as u64;
        active.at_ms = self.operator.clock().unix_ms();
        let counts = [
            ("replayed", items.len() as u64),
            ("edited", items.iter().filter(|item| item.edit.is_some()).count() as u64),
        ];
        let mut action = self.action("dlq.replay", counts.map(|(name, count)| (name.to_owned(), count)).into());
        action.detail = edits_of(items);
        let topology = std::sync::Arc::clone(self.operator.topology());
        let (plan, reason, notes_topic) = (self.plan, self.reason, &self.notes_topic);
        let actor = self.operator.actor().to_owned();
        self.operator.act(action, |producer| {
            for (item, letter) in items.iter().zip(&letters) {
                let edited = item.edit.as_ref().map(Edit::value);
                let value = edited.as_deref().or(letter.value.as_deref());
                send_back(&topology, producer, letter, value, &plan.destination, &plan.hash)?;
                let (key, destination) = match &plan.destination {
                    Destination::Sandbox(topic) => (copy_key(&letter.place, topic), topic.clone()),
                    Destination::Stage => (letter.place.to_string(), "stage".to_owned()),
                    Destination::Origin => (letter.place.to_string(), letter.input().to_owned()),
                };
                let resolution = Resolution {
                    resolution: ResolutionKind::Replayed,
                    dead_letter_id: item.id.clone(),
                    destination,
                    plan: Some(plan.hash.clone()),
                    actor: actor.clone(),
                    reason: reason.to_owned(),
                    at_ms: active.at_ms,
                };
                write_resolution(producer, notes_topic, &key, &resolution)?;
            }
            write_active(producer, notes_topic, &plan.topic, &active)
        })?;
        self.active = active;
        Ok(())
    }

    /// The letters of the items, which must be the ones that were judged.
    fn read(&mut self, items: &[&Item]) -> Result<Vec<Letter>, ReplayError> {
        let mut letters: BTreeMap<(u32, u64), Letter> = BTreeMap::new();
        let partitions: std::collections::BTreeSet<u32> = items.iter().map(|item| item.partition).collect();
        for number in partitions {
            let offsets = || items.iter().filter(|item| item.partition == number).map(|item| item.offset);
            let (first, last) = (offsets().min().unwrap_or(0), offsets().max().unwrap_or(0));
            let wanted: std::collections::BTreeSet<u64> = offsets().collect();
            let partition = TopicPartition::new(self.plan.topic.as_str(), number);
            let low = self.operator.broker().watermarks(&partition, Isolation::ReadCommitted)?.low;
            read_range(self.operator.broker().as_ref(), &partition, first.max(low)..last + 1, |record| {
                if wanted.contains(&record.origin.offset) {
                    letters.insert((number, record.origin.offset), Letter::of(record));
                }
                Ok::<_, BrokerError>(ControlFlow::Continue(()))
            })?;
        }
        let found: Vec<Letter> = items
            .iter()
            .filter_map(|item| {
                let letter = letters.remove(&(item.partition, item.offset))?;
                (sha256(letter.value.as_deref().unwrap_or_default()) == item.value_sha256).then_some(letter)
            })
            .collect();
        if found.len() < items.len() {
            return self.refuse(Guard::Gone { count: (items.len() - found.len()) as u64 });
        }
        Ok(found)
    }

    /// Whether the stage has too much to do besides. Asked once in a while: it takes a question for every partition.
    fn is_stage_behind(&mut self, pace: &Pace) -> Result<bool, ReplayError> {
        let now = self.operator.clock().now();
        if matches!(self.plan.destination, Destination::Sandbox(_))
            || self.looked_at.is_some_and(|at| now.saturating_sub(at) < BEHIND_LOOK)
        {
            return Ok(false);
        }
        let topology = self.operator.topology();
        let input = topology.inputs().find(|input| input.dead_letters == self.plan.topic);
        let Some((unit, _, _)) = input.and_then(|input| topology.reader_of(&input.topic)) else { return Ok(false) };
        let rows =
            status::unit_status(self.operator.broker().as_ref(), topology, unit, self.operator.clock().unix_ms())?;
        let is_ingest = |topic: &str| topology.topics.get(topic).is_some_and(|topic| topic.role == Role::Ingest);
        let of_others = rows.iter().filter(|row| is_ingest(&row.topic)).map(|row| row.lag_records).sum();
        let is_behind = match pace.lag_records_max {
            Some(lag_max) => rows.iter().map(|row| row.lag_records).sum::<u64>() > lag_max,
            None => of_others > *self.lag_at_first.get_or_insert(of_others) + LAG_GROWTH_MAX,
        };
        self.looked_at = (!is_behind).then_some(now);
        Ok(is_behind)
    }

    /// Pauses the replay if too much of what this run has sent fails again.
    fn check_failing(&mut self, pace: &Pace, sent: u64) -> Result<(), ReplayError> {
        if matches!(self.plan.destination, Destination::Sandbox(_)) {
            return Ok(());
        }
        for number in 0..self.partitions {
            let partition = TopicPartition::new(self.plan.topic.as_str(), number);
            let end = self.operator.broker().watermarks(&partition, Isolation::ReadCommitted)?.high;
            let Some(from) = self.failing_from.insert(number, end) else { continue };
            let failed = &mut self.failed;
            read_range(self.operator.broker().as_ref(), &partition, from..end, |record| {
                *failed += u64::from(Letter::of(record).replay_count() > 0);
                Ok::<_, BrokerError>(ControlFlow::Continue(()))
            })?;
        }
        let failed = self.failed;
        if sent < FAILING_LETTERS_MIN || failed * 100 < pace.failed_percent_max * sent {
            return Ok(());
        }
        self.active.state = RunState::Paused;
        self.note("replay.pause")?;
        Err(ReplayError::Refused(Guard::Failing { failed, sent }))
    }
}

/// Before and after of every value that was edited, as hashes.
fn edits_of(items: &[&Item]) -> String {
    let edits = items.iter().filter_map(|item| {
        let edit = item.edit.as_ref()?;
        Some(serde_json::json!({
            "place": format!("{}@{}", item.partition, item.offset),
            "before": item.value_sha256, "after": edit.after_sha256,
        }))
    });
    let edits: Vec<serde_json::Value> = edits.collect();
    if edits.is_empty() { String::new() } else { serde_json::Value::Array(edits).to_string() }
}
