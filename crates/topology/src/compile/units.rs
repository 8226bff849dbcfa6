//! Units: their stages, their timing, and the topics they share.

use std::collections::BTreeMap;

use crate::codes;
use crate::findings::{Findings, place};
use crate::plan::{CommitPolicy, Unit};
use crate::raw::RawUnit;

use super::{View, stages};

/// How many of the longest commit intervals must fit into a transaction's time.
const INTERVALS_PER_TRANSACTION_MIN: u64 = 4;
const COMMIT_INTERVAL_MS_COMFORTABLE: u64 = 1_000;
/// `group.min.session.timeout.ms` of a broker that nobody has configured.
const SESSION_TIMEOUT_MS_MIN: u64 = 6_000;
const SESSION_TIMEOUT_MS_COMFORTABLE: u64 = 45_000;

pub(super) fn check(view: &View<'_>, findings: &mut Findings) {
    for (index, unit) in view.raw.unit.iter().enumerate() {
        if !unit.name.is_empty() && view.stages.iter().all(|stage| stage.unit != Some(index)) {
            findings.add(place!["unit", index], &codes::UNIT_EMPTY, format!("unit `{}` has no stages", unit.name));
        }
        check_timing(index, unit, findings);
    }
    check_shared_topics(view, findings);
}

pub(super) fn plan(view: &View<'_>) -> Vec<Unit> {
    let unit = |(index, unit): (usize, &RawUnit)| Unit {
        name: unit.name.clone(),
        tasks: unit.tasks,
        standbys: unit.standbys,
        commit: CommitPolicy {
            gap_ms_min: unit.commit_gap_ms_min,
            interval_ms_max: unit.commit_interval_ms_max,
            records_max: unit.commit_records_max,
            bytes_max: unit.commit_bytes_max,
            transaction_timeout_ms: unit.transaction_timeout_ms,
            session_timeout_ms: unit.session_timeout_ms,
        },
        stages: view.stages.iter().filter(|stage| stage.unit == Some(index)).map(stages::plan).collect(),
    };
    view.raw.unit.iter().enumerate().map(unit).collect()
}

fn check_timing(index: usize, unit: &RawUnit, findings: &mut Findings) {
    let (gap, interval) = (unit.commit_gap_ms_min, unit.commit_interval_ms_max);
    if interval < gap {
        let message = format!("commits would be at least {gap} ms and at most {interval} ms apart");
        findings.add(place!["unit", index, "commit_gap_ms_min"], &codes::COMMIT_GAP, message);
    }
    if unit.transaction_timeout_ms < INTERVALS_PER_TRANSACTION_MIN.saturating_mul(interval) {
        let timeout = unit.transaction_timeout_ms;
        let message = format!("a transaction has {timeout} ms, but commits may be {interval} ms apart");
        findings.add(place!["unit", index, "transaction_timeout_ms"], &codes::COMMIT_TIMEOUT, message);
    }
    if COMMIT_INTERVAL_MS_COMFORTABLE < interval {
        let message = format!("commits may be {interval} ms apart");
        findings.add(place!["unit", index, "commit_interval_ms_max"], &codes::COMMIT_SLOW, message);
    }
    let session = unit.session_timeout_ms;
    if !(SESSION_TIMEOUT_MS_MIN..=SESSION_TIMEOUT_MS_COMFORTABLE).contains(&session) {
        let message = "the session timeout is not from 6,000 to 45,000 ms";
        findings.add(place!["unit", index, "session_timeout_ms"], &codes::SESSION_TIMEOUT, message);
    }
}

fn check_shared_topics(view: &View<'_>, findings: &mut Findings) {
    let mut readers: BTreeMap<&str, &RawUnit> = BTreeMap::new();
    for stage in &view.stages {
        let Some(unit) = stage.unit.and_then(|unit| view.raw.unit.get(unit)) else { continue };
        for (index, input) in stage.raw.input.iter().enumerate().filter(|(_, input)| !input.topic.is_empty()) {
            let first = *readers.entry(&input.topic).or_insert(unit);
            if first.tasks != unit.tasks {
                let message = format!(
                    "`{}` is read by unit `{}` with {} tasks and by unit `{}` with {} tasks",
                    input.topic, first.name, first.tasks, unit.name, unit.tasks
                );
                findings.add(place!["stage", stage.index, "input", index, "topic"], &codes::TASK_COUNTS, message);
            }
        }
    }
}
