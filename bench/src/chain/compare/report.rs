//! The report: medians with their ratios first, then every run, then what they depend on.

use std::fmt::Write as _;

use jiff::Timestamp;

use crate::chain::compare::latency::Latency;
use crate::chain::compare::process::Engine;
use crate::chain::compare::{Probe, Run, Span};
use crate::machine;

pub(super) struct Report {
    payments: u64,
    accounts: u64,
    threads: u32,
    commit_ms: u64,
    started_at: Timestamp,
    pub(super) windows_verified: Vec<Engine>,
    pub(super) runs: Vec<Run>,
    pub(super) latencies: Vec<Probe>,
}

/// Medians of all runs of one engine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Medians {
    pub(super) payments_per_s: f64,
    pub(super) engine_us: f64,
    pub(super) broker_us: f64,
    pub(super) warm_payments_per_s: Option<f64>,
    pub(super) warm_engine_us: Option<f64>,
    pub(super) rss_mib: f64,
}

impl Span {
    pub(super) fn payments_per_s(self) -> f64 {
        self.payments as f64 / self.seconds
    }

    pub(super) fn engine_us(self) -> f64 {
        self.engine_cpu_s * 1e6 / self.payments as f64
    }

    pub(super) fn broker_us(self) -> f64 {
        self.broker_cpu_s * 1e6 / self.payments as f64
    }
}

impl Report {
    pub(super) fn new(payments: u64, accounts: u64, threads: u32, commit_ms: u64) -> Self {
        Self {
            payments,
            accounts,
            threads,
            commit_ms,
            started_at: Timestamp::now(),
            windows_verified: Vec::new(),
            runs: Vec::new(),
            latencies: Vec::new(),
        }
    }

    /// Engines in the order in which they were run.
    pub(super) fn engines(&self) -> Vec<Engine> {
        let mut engines = Vec::new();
        for run in &self.runs {
            if !engines.contains(&run.engine) {
                engines.push(run.engine);
            }
        }
        engines
    }

    pub(super) fn medians(&self, engine: Engine) -> Option<Medians> {
        let runs: Vec<&Run> = self.runs.iter().filter(|run| run.engine == engine).collect();
        let of = |figure: fn(Span) -> f64| median(runs.iter().map(|run| figure(run.all)).collect());
        let warm = |figure: fn(Span) -> f64| median(runs.iter().filter_map(|run| run.warm).map(figure).collect());
        Some(Medians {
            payments_per_s: of(Span::payments_per_s)?,
            engine_us: of(Span::engine_us)?,
            broker_us: of(Span::broker_us)?,
            warm_payments_per_s: warm(Span::payments_per_s),
            warm_engine_us: warm(Span::engine_us),
            rss_mib: median(runs.iter().map(|run| run.rss_mib as f64).collect())?,
        })
    }

    pub(super) fn render(&self) -> String {
        let mut out = String::new();
        let _infallible = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "# The benchmark chain\n")?;
        writeln!(
            out,
            "Written by `make bench`; the job and the settings of Kafka Streams are in \
             [bench/README.md](../../bench/README.md).\nEvery run in these tables was verified, but for the plain copy, which \
             does no job.\n"
        )?;
        writeln!(
            out,
            "{} payments, {} accounts, 8 partitions, {} threads, at most {} ms between commits.\n",
            self.payments, self.accounts, self.threads, self.commit_ms
        )?;
        writeln!(out, "![Payments per second and processor time per payment](chain.svg)\n")?;
        writeln!(out, "## Medians\n")?;
        self.write_medians(out)?;
        writeln!(out, "\n## As ratios to Tidemill\n")?;
        self.write_ratios(out)?;
        if !self.latencies.is_empty() {
            writeln!(out, "\n## Latency\n")?;
            writeln!(
                out,
                "From the creation of a payment to its credit entry in the hands of a `read_committed` reader.\n"
            )?;
            self.write_latencies(out)?;
        }
        writeln!(out, "\n## Every run\n")?;
        self.write_runs(out)?;
        writeln!(out, "\n## Where\n")?;
        self.write_place(out)
    }

    fn write_medians(&self, out: &mut String) -> std::fmt::Result {
        writeln!(
            out,
            "Cold: from the first read to the last commit. Warm: without the first 10 s. Processor time is µs a payment.\n"
        )?;
        writeln!(
            out,
            "| | payments/s | warm | engine µs | warm | broker µs | peak RSS, MiB |\n|---|---|---|---|---|---|---|"
        )?;
        for engine in self.engines() {
            let Some(medians) = self.medians(engine) else { continue };
            let Medians { payments_per_s, engine_us, broker_us, warm_payments_per_s, warm_engine_us, rss_mib } =
                medians;
            let (warm_rate, warm_us) = (number(warm_payments_per_s, 0), number(warm_engine_us, 1));
            writeln!(
                out,
                "| {} | {payments_per_s:.0} | {warm_rate} | {engine_us:.1} | {warm_us} | {broker_us:.1} | {rss_mib:.0} |",
                engine.title()
            )?;
        }
        Ok(())
    }

    /// Above 1, Tidemill is better; the copy's throughput is what there is to be reached.
    fn write_ratios(&self, out: &mut String) -> std::fmt::Result {
        let Some(ours) = self.medians(Engine::Tidemill) else { return writeln!(out, "Tidemill was not run.") };
        writeln!(
            out,
            "| Tidemill beside | payments/s | warm | engine processor time | warm | memory |\n|---|---|---|---|---|---|"
        )?;
        for engine in self.engines().into_iter().filter(|engine| *engine != Engine::Tidemill) {
            let Some(theirs) = self.medians(engine) else { continue };
            let warm_rate =
                ours.warm_payments_per_s.zip(theirs.warm_payments_per_s).map(|(ours, theirs)| ours / theirs);
            let warm_us = ours.warm_engine_us.zip(theirs.warm_engine_us).map(|(ours, theirs)| theirs / ours);
            writeln!(
                out,
                "| {} | {:.2} | {} | {:.2} | {} | {:.2} |",
                engine.title(),
                ours.payments_per_s / theirs.payments_per_s,
                number(warm_rate, 2),
                theirs.engine_us / ours.engine_us,
                number(warm_us, 2),
                theirs.rss_mib / ours.rss_mib
            )?;
        }
        Ok(())
    }

    fn write_latencies(&self, out: &mut String) -> std::fmt::Result {
        writeln!(
            out,
            "| | commit interval, ms | payments/s | p50, ms | p99, ms | p99.9, ms | entries |\n|---|---|---|---|---|---|---|"
        )?;
        for Probe { engine, rate, commit_ms, latency } in &self.latencies {
            let Latency { p50_ms, p99_ms, p999_ms, entries } = latency;
            writeln!(
                out,
                "| {} | {commit_ms} | {rate} | {p50_ms:.0} | {p99_ms:.0} | {p999_ms:.0} | {entries} |",
                engine.title()
            )?;
        }
        Ok(())
    }

    fn write_runs(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "In the order in which they were run.\n")?;
        writeln!(
            out,
            "| | s | payments/s | engine µs | broker µs | peak RSS, MiB | load average before |\n|---|---|---|---|---|---|---|"
        )?;
        for run in &self.runs {
            let all = run.all;
            let (rate, engine_us, broker_us) = (all.payments_per_s(), all.engine_us(), all.broker_us());
            let (engine, load) = (run.engine.title(), &run.load_average);
            writeln!(
                out,
                "| {engine} | {:.1} | {rate:.0} | {engine_us:.1} | {broker_us:.1} | {} | {load} |",
                all.seconds, run.rss_mib
            )?;
        }
        Ok(())
    }

    fn write_place(&self, out: &mut String) -> std::fmt::Result {
        let windows: Vec<&str> = self.windows_verified.iter().map(|engine| engine.title()).collect();
        writeln!(out, "- load b (windows slide, entries expire) verified for {}", windows.join("; "))?;
        write_where(out, self.started_at)
    }
}

/// What figures depend on.
pub(super) fn write_where(out: &mut String, started_at: Timestamp) -> std::fmt::Result {
    let commit = machine::first_line("git", &["rev-parse", "--short", "HEAD"]);
    let java = machine::first_line("java", &["-version"]);
    let time = |time: Timestamp| time.strftime("%Y-%m-%d %H:%M").to_string();
    writeln!(out, "- {}; broker and engines on it together", machine::describe())?;
    writeln!(out, "- Apache Kafka 4.3.1, one node (`dev/stack`, `TIDEMILL_STACK_JIT=c2`); {java}")?;
    writeln!(out, "- Tidemill at commit {commit}, release build; Kafka Streams 4.3.1; copy by librdkafka 2.12.1")?;
    writeln!(out, "- {} to {} UTC", time(started_at), time(Timestamp::now()))
}

/// The middle one, or the mean of the two in the middle.
pub(super) fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    let upper = figures.len() / 2;
    let middle = figures.get(upper)?;
    if figures.len() % 2 == 1 { Some(*middle) } else { Some((figures[upper - 1] + middle) / 2.0) }
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or("–".to_owned(), |value| format!("{value:.digits$}"))
}
