//! Adds up: what came in is what came out, by the engine's own figures and by every read model.

use std::collections::BTreeMap;

use serde::Serialize;
use tidemill_core::sink::{BalancesDigest, SinkAudit};
use tidemill_runtime::provision::open_sink;
use tidemill_runtime::reconciliation::ReconciliationWatch;
use tidemill_runtime::status;
use tidemill_runtime::task::checkpoint::{Figures, REDRIVEN, RELEASED_RECORDS};
use tidemill_schemas::AccountRequest;
use tidemill_topology::Topology;
use tidemill_topology::plan::{Input, Role, Stage};

use crate::exit::Failure;
use crate::session::Session;

/// The way of the records of one ingest topic, from stage to stage.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Path {
    pub(crate) topic: String,
    pub(crate) records_in: u64,
    pub(crate) posted: u64,
    pub(crate) applied: u64,
    pub(crate) duplicate: u64,
    /// Put aside behind a failed record of their key, and released again.
    pub(crate) parked: u64,
    pub(crate) released: u64,
    /// Given up by an operator.
    pub(crate) discarded: u64,
    /// Dead letters that an operator has decided about: sent back, or discarded.
    pub(crate) redriven: u64,
    /// Passed on to a topic that no stage of this pipeline reads.
    pub(crate) passed: u64,
    pub(crate) rejected: BTreeMap<String, u64>,
    pub(crate) dead: BTreeMap<String, u64>,
    /// Passed on by a stage and not yet taken in by the next.
    pub(crate) under_way: i128,
    /// Whether its records are answered as payments are.
    #[serde(skip)]
    answers: Answers,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Answers {
    #[default]
    Payments,
    /// Requests about accounts, labels: with answers of their own, or none.
    Others,
}

#[derive(Debug, Default, Serialize)]
pub(crate) struct Reconciliation {
    pub(crate) paths: Vec<Path>,
    /// What does not add up, in words. Empty when all is well.
    pub(crate) findings: Vec<String>,
    pub(crate) read_models: Vec<ReadModel>,
}

#[derive(Debug, Serialize)]
pub(crate) struct ReadModel {
    pub(crate) sink: String,
    pub(crate) accounts: Option<u64>,
    pub(crate) outcomes: u64,
}

impl Path {
    pub(crate) fn rejected_total(&self) -> u64 {
        self.rejected.values().sum()
    }

    pub(crate) fn dead_total(&self) -> u64 {
        self.dead.values().sum()
    }

    /// Records that have come to their end.
    pub(crate) fn ended(&self) -> u64 {
        self.posted
            + self.applied
            + self.duplicate
            + self.parked
            + self.passed
            + self.discarded
            + self.rejected_total()
            + self.dead_open()
            - self.released
    }

    /// Dead letters that nobody has decided about.
    pub(crate) fn dead_open(&self) -> u64 {
        self.dead_total().saturating_sub(self.redriven)
    }

    /// Records that still wait behind a failed one.
    pub(crate) fn parked_now(&self) -> u64 {
        self.parked.saturating_sub(self.released)
    }

    fn add(&mut self, outcome: &str, count: u64) {
        match outcome.split_once(':') {
            Some(("rejected", code)) => *self.rejected.entry(code.to_owned()).or_default() += count,
            Some(("dead", code)) => *self.dead.entry(code.to_owned()).or_default() += count,
            _ => match outcome {
                "posted" => self.posted += count,
                "applied" => self.applied += count,
                "duplicate" => self.duplicate += count,
                "parked" => self.parked += count,
                "discarded" => self.discarded += count,
                _ => self.under_way += i128::from(count),
            },
        }
    }
}

/// The engine's figures of every ingest topic.
pub(crate) fn paths(session: &Session) -> Result<Vec<Path>, Failure> {
    let topology = &session.topology;
    let mut figures = Figures::new();
    for unit in &topology.units {
        figures.extend(status::figures(session.broker.as_ref(), topology, unit)?);
    }
    Ok(paths_of(topology, &figures))
}

/// Engine and read models against each other. Meant for when nothing is under way.
pub(crate) fn reconcile(session: &Session) -> Result<Reconciliation, Failure> {
    let mut result = Reconciliation { paths: paths(session)?, ..Reconciliation::default() };
    for path in &result.paths {
        if path.under_way != 0 {
            let message = format!("{}: {} records are still under way", path.topic, path.under_way);
            result.findings.push(message);
        }
    }
    for unit in &session.topology.units {
        let rows = status::unit_status(session.broker.as_ref(), &session.topology, unit, session.clock.unix_ms())?;
        for row in rows.iter().filter(|row| row.lag_records > 0) {
            let (topic, partition, lag) = (&row.topic, row.partition, row.lag_records);
            result.findings.push(format!("{topic} partition {partition}: {lag} records wait to be processed"));
        }
    }
    let mut watch = ReconciliationWatch::new(session.topology.clone(), session.broker.clone());
    watch.look()?;
    result.findings.extend(watch.look()?.findings());
    let mut digests: Vec<(String, BalancesDigest)> = Vec::new();
    for plan in &session.topology.sinks {
        match open_sink(plan)?.audit() {
            Ok(audit) => {
                compare(&plan.name, &audit, &result.paths, &mut result.findings);
                digests.extend(audit.balances.map(|digest| (plan.name.clone(), digest)));
                result.read_models.push(ReadModel {
                    sink: plan.name.clone(),
                    accounts: audit.balances.map(|digest| digest.accounts),
                    outcomes: outcomes(&audit),
                });
            }
            Err(error) => result.findings.push(format!("sink {} cannot be asked: {error}", plan.name)),
        }
    }
    for ((one, a), (other, b)) in digests.iter().zip(digests.iter().skip(1)).filter(|((_, a), (_, b))| a != b) {
        let message =
            format!("balances differ between {one} ({} accounts) and {other} ({} accounts)", a.accounts, b.accounts);
        result.findings.push(message);
    }
    Ok(result)
}

fn paths_of(topology: &Topology, figures: &Figures) -> Vec<Path> {
    let inputs: Vec<(&Stage, &Input)> = topology
        .units
        .iter()
        .flat_map(|unit| &unit.stages)
        .flat_map(|stage| stage.inputs.iter().map(move |input| (stage, input)))
        .collect();
    let is_ingest = |topic: &str| topology.topics.get(topic).is_some_and(|topic| topic.role == Role::Ingest);
    let mut paths = Vec::new();
    for first in inputs.iter().filter(|(_, input)| is_ingest(&input.topic)) {
        let mut path = Path { topic: first.1.topic.clone(), answers: answers_of(first.1), ..Path::default() };
        let mut next = Some(first);
        let mut is_first = true;
        while let Some((stage, input)) = next {
            let name = format!("{}/{}", stage.name, input.topic);
            let outcomes = figures.get(&name);
            let reader = inputs.iter().find(|(_, candidate)| Some(&candidate.topic) == input.output.as_ref());
            for (outcome, count) in outcomes.into_iter().flatten() {
                match outcome.as_str() {
                    "passed" if reader.is_none() => path.passed += count,
                    outcome => path.add(outcome, *count),
                }
                if is_first {
                    path.records_in += count;
                } else {
                    path.under_way -= i128::from(*count);
                }
            }
            let again = |suffix: &str| figures.get(&format!("{name}{suffix}")).into_iter().flatten();
            let ends_here = |outcome: &str| outcome == "passed" && reader.is_none();
            for (outcome, count) in again(REDRIVEN) {
                path.redriven += count;
                if ends_here(outcome) { path.passed += count } else { path.add(outcome, *count) }
            }
            for (outcome, count) in again(RELEASED_RECORDS) {
                path.released += count;
                if ends_here(outcome) { path.passed += count } else { path.add(outcome, *count) }
            }
            is_first = false;
            next = reader;
        }
        paths.push(path);
    }
    paths
}

fn answers_of(input: &Input) -> Answers {
    match input.chain.first().and_then(|link| link.processor.decodes) {
        Some(AccountRequest::KIND) => Answers::Others,
        _ => Answers::Payments,
    }
}

fn outcomes(audit: &SinkAudit) -> u64 {
    let is_answer = |phase: &str| phase == "outcome" || phase == "repeat";
    audit.statuses.iter().filter(|((phase, _), _)| is_answer(phase)).map(|(_, count)| count).sum()
}

/// A read model of payments must hold one answer per payment that ended with an answer.
fn compare(sink: &str, audit: &SinkAudit, paths: &[Path], findings: &mut Vec<String>) {
    findings.extend(audit.violations.iter().map(|violation| format!("{sink}: {violation}")));
    if audit.statuses.is_empty() {
        return;
    }
    let is_of_payments = |path: &&Path| path.answers == Answers::Payments && path.applied == 0;
    let payments: Vec<&Path> = paths.iter().filter(is_of_payments).collect();
    let posted: u64 = payments.iter().map(|path| path.posted).sum();
    let answered: u64 = payments.iter().map(|path| path.posted + path.duplicate + path.rejected_total()).sum();
    let posted_rows = audit.statuses.get(&("outcome".to_owned(), "ok".to_owned())).copied().unwrap_or(0);
    if posted_rows != posted {
        findings.push(format!("{sink}: {posted_rows} payments posted, the engine has {posted}"));
    }
    if outcomes(audit) != answered {
        findings.push(format!("{sink}: {} answers, the engine has {answered}", outcomes(audit)));
    }
    let dead: u64 = paths.iter().map(Path::dead_total).sum();
    let dead_rows: u64 = audit.dead_letters.values().sum();
    if dead_rows < dead {
        findings.push(format!("{sink}: {dead_rows} dead letters, the engine has {dead}"));
    }
}
