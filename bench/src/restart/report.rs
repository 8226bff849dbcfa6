//! The report: medians with their ratio first, then every run, then what they depend on.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;

use crate::machine;
use crate::restart::engine::Engine;
use crate::restart::job::{ACCOUNT_BYTES, account_name};
use crate::restart::setup::Setup;
use crate::restart::{Opening, Restart, Successor};

/// Names of the two figures of a restart.
#[derive(Clone, Copy)]
enum Figure {
    FirstOutput,
    AllTasks,
}

pub(crate) struct Report {
    accounts: u64,
    records_per_s: u32,
    tasks: u32,
    threads: u32,
    started_at: Timestamp,
    pub(crate) openings: Vec<(Engine, Opening)>,
    pub(crate) restarts: Vec<Restart>,
}

impl Report {
    pub(crate) fn new(accounts: u64, records_per_s: u32, setup: &Setup) -> Self {
        Self {
            accounts,
            records_per_s,
            tasks: setup.tasks,
            threads: setup.threads,
            started_at: Timestamp::now(),
            openings: Vec::new(),
            restarts: Vec::new(),
        }
    }

    pub(crate) fn render(&self) -> String {
        let mut out = String::new();
        let _infallible = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let state_mb = self.accounts * self.bytes_per_account() / 1_000_000;
        writeln!(out, "# Restart and restore\n")?;
        writeln!(
            out,
            "Written by `make bench-restart`; what is measured, how, and how Kafka Streams is set is in\n\
             [bench/README.md](../../bench/README.md). Seconds from the start of the new process, after a `kill -9` under\n\
             live load, until a `read_committed` reader sees output of any task and of every task; where another instance takes\n\
             over, from the kill, which it notices when the session of 6 s has passed.\n"
        )?;
        writeln!(
            out,
            "{} accounts, {state_mb} MB of keys and values, {} tasks, {} threads, {} deposits/s.\n",
            self.accounts, self.tasks, self.threads, self.records_per_s
        )?;
        writeln!(out, "## Medians\n")?;
        self.write_medians(out)?;
        writeln!(out, "\n## Restoring on an empty disk\n")?;
        self.write_restores(out)?;
        writeln!(out, "\n## Every restart\n")?;
        self.write_restarts(out)?;
        if !self.openings.is_empty() {
            writeln!(out, "\n## Opening the accounts\n")?;
            writeln!(
                out,
                "One deposit for each account, from the start of the process to the last result read. One run.\n"
            )?;
            self.write_openings(out)?;
        }
        writeln!(out, "\n## Where\n")?;
        self.write_place(out)
    }

    fn bytes_per_account(&self) -> u64 {
        (account_name(0).len() + ACCOUNT_BYTES) as u64
    }

    fn write_medians(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "| restart | runs | Tidemill, s | Kafka Streams, s | ratio |")?;
        writeln!(out, "|---|---|---|---|---|")?;
        for successor in Successor::ALL {
            for figure in [Figure::FirstOutput, Figure::AllTasks] {
                let ours = self.figures(Engine::Tidemill, successor, figure);
                let theirs = self.figures(Engine::Streams, successor, figure);
                let runs = ours.len().max(theirs.len());
                let (ours, theirs) = (median(ours), median(theirs));
                let ratio = ours.zip(theirs).map(|(ours, theirs)| theirs / ours);
                let (ours, theirs, ratio) = (number(ours, 2), number(theirs, 2), number(ratio, 1));
                writeln!(out, "| {}: {} | {runs} | {ours} | {theirs} | {ratio} |", successor.name(), figure.name())?;
            }
        }
        Ok(())
    }

    fn write_restores(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "The state of all tasks by the time until all of them give output.\n")?;
        writeln!(out, "| engine | s | accounts/s | MB/s |\n|---|---|---|---|")?;
        for engine in [Engine::Tidemill, Engine::Streams] {
            let Some(seconds) = median(self.figures(engine, Successor::Empty, Figure::AllTasks)) else { continue };
            let accounts_per_s = self.accounts as f64 / seconds;
            let mb_per_s = accounts_per_s * self.bytes_per_account() as f64 / 1e6;
            writeln!(out, "| {} | {seconds:.2} | {accounts_per_s:.0} | {mb_per_s:.0} |", engine.title())?;
        }
        Ok(())
    }

    fn write_restarts(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "In the order in which they were run. Open: tasks whose transaction the kill left open.\n")?;
        writeln!(
            out,
            "| engine | successor | open | output of each task after, s | load average before |\n|---|---|---|---|---|"
        )?;
        for restart in &self.restarts {
            let outputs: Vec<String> =
                restart.outputs_after.iter().map(|after| format!("{:.2}", after.as_secs_f64())).collect();
            writeln!(
                out,
                "| {} | {} | {} | {} | {} |",
                restart.engine.title(),
                restart.successor.name(),
                restart.open_transactions,
                outputs.join(" "),
                restart.load_average
            )?;
        }
        Ok(())
    }

    fn write_openings(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "| engine | s | deposits/s | on disk, MB |\n|---|---|---|---|")?;
        for (engine, opening) in &self.openings {
            let seconds = opening.took.as_secs_f64();
            let rate = self.accounts as f64 / seconds;
            let disk_mb = opening.disk_bytes / 1_000_000;
            writeln!(out, "| {} | {seconds:.1} | {rate:.0} | {disk_mb} |", engine.title())?;
        }
        Ok(())
    }

    fn write_place(&self, out: &mut String) -> std::fmt::Result {
        let commit = machine::first_line("git", &["rev-parse", "--short", "HEAD"]);
        let java = machine::first_line("java", &["-version"]);
        writeln!(out, "- {}; broker, engines, load and reader on it together", machine::describe())?;
        writeln!(out, "- Apache Kafka 4.3.1, one node (`dev/stack`, `TIDEMILL_STACK_JIT=c2`); {java}")?;
        writeln!(out, "- Tidemill at commit {commit}, release build; Kafka Streams 4.3.1 with RocksDB")?;
        let seconds = |time: Timestamp| time.strftime("%Y-%m-%d %H:%M").to_string();
        writeln!(out, "- {} to {} UTC", seconds(self.started_at), seconds(Timestamp::now()))?;
        writeln!(out, "- the command: `bench {}`", command_line())
    }

    fn figures(&self, engine: Engine, successor: Successor, figure: Figure) -> Vec<f64> {
        let restarts =
            self.restarts.iter().filter(|restart| restart.engine == engine && restart.successor == successor);
        restarts.filter_map(|restart| figure.of(&restart.outputs_after)).map(|after| after.as_secs_f64()).collect()
    }
}

impl Figure {
    fn name(self) -> &'static str {
        match self {
            Self::FirstOutput => "first output",
            Self::AllTasks => "all tasks",
        }
    }

    fn of(self, ascending: &[Duration]) -> Option<Duration> {
        match self {
            Self::FirstOutput => ascending.first().copied(),
            Self::AllTasks => ascending.last().copied(),
        }
    }
}

/// The middle one, or the mean of the two in the middle.
fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    let upper = figures.len() / 2;
    let middle = figures.get(upper)?;
    if figures.len() % 2 == 1 { Some(*middle) } else { Some((figures[upper - 1] + middle) / 2.0) }
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or("–".to_owned(), |value| format!("{value:.digits$}"))
}

/// Addresses and folders are those of one machine and mean nothing elsewhere.
fn command_line() -> String {
    let mut words = std::env::args().skip(1);
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        if ["--bootstrap", "--registry", "--folder", "--run", "--write"].contains(&word.as_str()) {
            let _value = words.next();
            continue;
        }
        kept.push(word);
    }
    kept.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        let cases: [(&[f64], Option<f64>); 4] =
            [(&[], None), (&[3.0], Some(3.0)), (&[4.0, 1.0], Some(2.5)), (&[9.0, 1.0, 2.0], Some(2.0))];
        for (figures, expected) in cases {
            assert_eq!(median(figures.to_vec()), expected, "{figures:?}");
        }
    }
}
