//! All engines on one broker, one after the other and in turns: throughput, cost, memory, latency. A run counts only when
//! its results have been verified.

mod chart;
mod curves;
mod latency;
mod process;
mod report;

use std::fs;
use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;
use tidemill_runtime::broker::Broker;

pub(crate) use crate::chain::compare::curves::{CurvesOptions, run as curves};
use crate::chain::compare::latency::Latency;
pub(crate) use crate::chain::compare::process::End;
use crate::chain::compare::process::Engine;
use crate::chain::compare::report::Report;
use crate::chain::load::{self, Load};
use crate::chain::topics::{Input, Place, connect};
use crate::chain::verify;
use crate::failure::{During, Result};
use crate::machine;

#[derive(Clone, Args)]
pub(crate) struct CompareOptions {
    /// Kafka, as `dev/stack env` prints it
    #[arg(long, env = "TIDEMILL_BOOTSTRAP")]
    bootstrap: String,
    /// Process of the broker on this machine; its processor time is left out when absent
    #[arg(long)]
    broker_pid: Option<u32>,
    #[arg(long, default_value_t = 5_000_000)]
    payments: u64,
    #[arg(long, default_value_t = 100_000)]
    accounts: u64,
    /// Runs of each engine
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    #[arg(long, value_delimiter = ',', default_values = ["tidemill", "rocksdb", "memory", "hash", "copy"])]
    engines: Vec<Engine>,
    #[arg(long, default_value_t = 2)]
    threads: u32,
    /// Longest time between two commits, in milliseconds
    #[arg(long, default_value_t = 100)]
    commit_ms: u64,
    /// The same, for the one more measurement of the latency of Kafka Streams: what its experts would choose for it
    #[arg(long, default_value_t = 25)]
    commit_ms_low: u64,
    /// Payments a second at which latency is measured
    #[arg(long, value_delimiter = ',', default_values = ["1000", "5000"])]
    rates: Vec<u32>,
    /// Seconds of each measurement of latency, after as many to warm up
    #[arg(long, default_value_t = 20)]
    latency_s: u64,
    /// Folder for stores and logs
    #[arg(long)]
    folder: PathBuf,
    /// Folder of the report, `chain.md` and `chain.svg`
    #[arg(long)]
    write: Option<PathBuf>,
}

/// One run of one engine to the end of the input.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) engine: Engine,
    pub(super) all: Span,
    /// Without the first ten seconds; `None` for a run that is not much longer.
    pub(super) warm: Option<Span>,
    pub(super) rss_mib: u64,
    pub(super) load_average: String,
}

/// Payments and what they cost.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Span {
    pub(super) payments: u64,
    pub(super) seconds: f64,
    pub(super) engine_cpu_s: f64,
    pub(super) broker_cpu_s: f64,
}

/// Latency at one rate.
#[derive(Clone, Copy, Debug)]
struct Probe {
    engine: Engine,
    rate: u32,
    commit_ms: u64,
    latency: Latency,
}

struct Comparison<'a> {
    options: &'a CompareOptions,
    broker: std::sync::Arc<dyn Broker>,
    /// Makes the names of this comparison's topics its own.
    stamp: i64,
}

pub(crate) fn run(options: &CompareOptions) -> Result<()> {
    fs::create_dir_all(&options.folder).during("make the folder")?;
    if options.engines.iter().any(|engine| engine.is_streams()) {
        crate::restart::build_peer()?;
    }
    let stamp = Timestamp::now().as_second();
    let comparison = Comparison { options, broker: connect(&options.bootstrap)?, stamp };
    let mut report = Report::new(options.payments, options.accounts, options.threads, options.commit_ms);
    comparison.verify_windows(&mut report)?;
    comparison.throughput(&mut report)?;
    comparison.latency(&mut report)?;
    let text = report.render();
    println!("{text}");
    if let Some(folder) = &options.write {
        fs::create_dir_all(folder).during("make the folder of the report")?;
        fs::write(folder.join("chain.md"), text).during("write the report")?;
        fs::write(folder.join("chain.svg"), chart::render(&report)).during("write the chart")?;
    }
    Ok(())
}

impl Comparison<'_> {
    /// Load b, which is short, once for each engine: minutes slide, entries expire.
    fn verify_windows(&self, report: &mut Report) -> Result<()> {
        let input = input(format!("bench.windows-{}", self.stamp));
        let options = self.options;
        load::write(self.broker.as_ref(), &input, Load::B, Load::B.payments(), options.accounts)?;
        for engine in options.engines.iter().filter(|engine| engine.is_verified()) {
            let place = self.place(*engine, "windows", &input);
            self.one(*engine, &place)?;
            report.windows_verified.push(*engine);
        }
        self.broker.delete_topic(&input.topic).during("delete the payments")
    }

    fn throughput(&self, report: &mut Report) -> Result<()> {
        let input = input(format!("bench.payments-{}", self.stamp));
        load::write(self.broker.as_ref(), &input, Load::A, self.options.payments, self.options.accounts)?;
        for round in 1..=self.options.rounds {
            for engine in &self.options.engines {
                let run = self.one(*engine, &self.place(*engine, &round.to_string(), &input))?;
                let rate = run.all.payments as f64 / run.all.seconds;
                eprintln!("round {round}, {}: {rate:.0} payments/s", engine.title());
                report.runs.push(run);
            }
        }
        self.broker.delete_topic(&input.topic).during("delete the payments")
    }

    fn latency(&self, report: &mut Report) -> Result<()> {
        for rate in &self.options.rates {
            for engine in self.options.engines.iter().filter(|engine| engine.is_verified()) {
                self.probe(*engine, *rate, self.options.commit_ms, report)?;
                if engine.is_streams() {
                    self.probe(*engine, *rate, self.options.commit_ms_low, report)?;
                }
            }
        }
        Ok(())
    }

    fn probe(&self, engine: Engine, rate: u32, commit_ms: u64, report: &mut Report) -> Result<()> {
        let what = format!("live-{rate}-{commit_ms}");
        let place = self.place(engine, &what, &input(format!("bench.{what}-{}-{}", self.stamp, engine.name())));
        let latency = self.latency_of(engine, &place, rate, commit_ms)?;
        let Latency { p50_ms, p99_ms, .. } = latency;
        eprintln!("{} at {rate}/s, {commit_ms} ms: p50 {p50_ms:.0} ms, p99 {p99_ms:.0} ms", engine.title());
        report.latencies.push(Probe { engine, rate, commit_ms, latency });
        Ok(())
    }

    fn latency_of(&self, engine: Engine, place: &Place, rate: u32, commit_ms: u64) -> Result<Latency> {
        crate::chain::topics::renew_input(self.broker.as_ref(), &place.input)?;
        place.create(self.broker.as_ref())?;
        let options = CompareOptions { commit_ms, ..self.options.clone() };
        let process = process::Process::start(engine, place, &options, process::End::Never)?;
        let latency = latency::measure(place, rate, self.options.latency_s, self.options.accounts);
        process.kill()?;
        let latency = latency?;
        self.clear(place)?;
        self.broker.delete_topic(&place.input.topic).during("delete the payments")?;
        Ok(latency)
    }

    fn one(&self, engine: Engine, place: &Place) -> Result<Run> {
        let load_average = machine::load_average();
        if engine.is_verified() {
            place.create(self.broker.as_ref())?;
        }
        let run = process::Process::start(engine, place, self.options, process::End::Drained)?.measure(load_average)?;
        if engine.is_verified() {
            verify::check(self.broker.as_ref(), place)?;
        }
        self.clear(place)?;
        Ok(run)
    }

    fn clear(&self, place: &Place) -> Result<()> {
        place.delete(self.broker.as_ref())?;
        let folder = self.options.folder.join(&place.prefix);
        if folder.exists() { fs::remove_dir_all(folder).during("remove the stores") } else { Ok(()) }
    }

    /// A prefix is used once: a group that had it would go on where it was.
    fn place(&self, engine: Engine, what: &str, input: &Input) -> Place {
        let prefix = format!("{}-{what}-{}", engine.name(), self.stamp);
        Place { bootstrap: self.options.bootstrap.clone(), prefix, input: input.clone() }
    }
}

/// As the job wants it.
fn input(topic: String) -> Input {
    Input { topic, partitions: 8 }
}
