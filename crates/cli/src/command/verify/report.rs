//! The verdict on paper: a table for people, one document for programs.

use serde::Serialize;

use super::faults::Fault;
use super::judge::Rule;
use super::oracle::Tally;
use super::watch::Stall;
use crate::args::Global;
use crate::exit::{Exit, Failure};
use crate::output::{self, count};

#[derive(Clone, Debug, Serialize)]
pub(super) struct Recovery {
    #[serde(flatten)]
    pub(super) fault: Fault,
    /// From the fault until each of its tasks had an outcome of something sent after it. `None`: not before the end.
    pub(super) recovery_ms: Option<u32>,
    /// The longest time meanwhile in which a task that was not hit had no outcome.
    pub(super) others_gap_ms: Option<u32>,
    /// The longest time without an outcome of any task in the seconds after the instance was put right. `None` if there
    /// was no quiet then.
    pub(super) return_gap_ms: Option<u32>,
}

#[derive(Debug)]
pub(super) struct Report {
    pub(super) run: String,
    pub(super) seed: u64,
    pub(super) load_ms: u32,
    pub(super) drained: String,
    pub(super) payments: usize,
    pub(super) sent: Tally,
    pub(super) outcomes: u64,
    pub(super) posted: u64,
    /// Median, 95th and 99th percentile, longest.
    pub(super) latency_ms: [u32; 4],
    /// What `at_ms`, `from_ms` and `until_ms` count from.
    pub(super) started_unix_ms: i64,
    pub(super) stalls: Vec<Stall>,
    pub(super) bound_ms: u32,
    pub(super) recoveries: Vec<Recovery>,
    pub(super) ended: Vec<String>,
    pub(super) rules: Vec<Rule>,
}

impl Report {
    pub(super) fn print(&self, global: &Global) -> Result<Exit, Failure> {
        let holds = self.rules.iter().all(|rule| rule.violations == 0);
        if global.json {
            output::json(&self.document(holds))?;
        } else {
            self.tables()?;
            let verdict = if holds { "Everything holds." } else { "NOT EVERYTHING HOLDS." };
            output::line(&format!("\n{verdict} The same payments again: --seed {}", self.seed))?;
        }
        Ok(if holds { Exit::Ok } else { Exit::Findings })
    }

    fn document(&self, holds: bool) -> serde_json::Value {
        let [p50, p95, p99, max] = self.latency_ms;
        serde_json::json!({
            "event": "result", "holds": holds, "run": self.run, "seed": self.seed, "load_ms": self.load_ms,
            "drained": self.drained, "payments": self.payments, "acknowledged": self.sent.acknowledged,
            "unknown": self.sent.unknown, "outcomes": self.outcomes, "posted": self.posted,
            "latency_ms": {"p50": p50, "p95": p95, "p99": p99, "max": max}, "started_unix_ms": self.started_unix_ms,
            "rules": self.rules, "bound_ms": self.bound_ms, "faults": self.recoveries, "stalls": self.stalls,
            "ended": self.ended,
        })
    }

    fn tables(&self) -> Result<(), Failure> {
        let [p50, p95, p99, max] = self.latency_ms;
        output::line(&format!(
            "{}: {} payments, {} records acknowledged, {} without an answer, {} posted",
            self.run,
            count(self.payments as u64),
            count(u64::from(self.sent.acknowledged)),
            count(u64::from(self.sent.unknown)),
            count(self.posted),
        ))?;
        output::line(&format!(
            "outcome readable after {p50} ms (median), {p95} ms (95 %), {p99} ms (99 %), {max} ms (longest)\n"
        ))?;
        if !self.recoveries.is_empty() {
            let shown = |value: Option<u32>| value.map_or_else(|| "-".to_owned(), |value| count(u64::from(value)));
            let row = |recovery: &Recovery| {
                let fault = &recovery.fault;
                vec![
                    count(u64::from(fault.at_ms)),
                    fault.kind.to_owned(),
                    fault.instance.clone(),
                    format!("{:?}", fault.tasks),
                    shown(recovery.recovery_ms),
                    shown(recovery.others_gap_ms),
                    shown(recovery.return_gap_ms),
                ]
            };
            let rows: Vec<Vec<String>> = self.recoveries.iter().map(row).collect();
            output::table(
                &["at ms", "fault", "instance", "tasks", "recovered ms", "others' gap ms", "gap at return ms"],
                &rows,
            )?;
            output::line("")?;
        }
        for ended in &self.ended {
            output::line(&format!("started again: {ended}"))?;
        }
        let row = |rule: &Rule| {
            let verdict = if rule.violations == 0 { "holds" } else { "BROKEN" };
            vec![verdict.to_owned(), rule.name.to_owned(), count(rule.checked), count(rule.violations)]
        };
        let rows: Vec<Vec<String>> = self.rules.iter().map(row).collect();
        output::table(&["", "what must hold", "checked", "violations"], &rows)?;
        for rule in &self.rules {
            for example in &rule.examples {
                output::line(&format!("{}: {example}", rule.name))?;
            }
        }
        Ok(())
    }
}
