//! The default topology as its users run it: `tidemill run` on `topology.toml` and Kafka, with its sinks and without.
//!
//! Payments, latencies and the proof that nothing went wrong come from the product's own commands (`generate`, `produce`,
//! `verify`); this module starts them, and looks at processor time and at how far sinks are.

mod lag;
mod profile;
mod report;
mod throughput;
mod tidemill;

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use serde::Deserialize;
use tidemill_runtime::broker::Broker;

use crate::failure::{During, Result};
use crate::machine;
use crate::pipeline::lag::Behind;
use crate::pipeline::profile::Profile;
use crate::pipeline::report::Report;
use crate::pipeline::throughput::Throughput;
use crate::pipeline::tidemill::{Engine, Tidemill};

/// Until all is warm: stores, connections, and the broker's compiler.
const WARM_UP_S: u64 = 10;
/// Times `--payments` that wait when it is sampled.
const PROFILED_LOTS: u32 = 2;
/// Until an engine that was started is at work.
const START: Duration = Duration::from_secs(4);

#[derive(Args)]
pub(crate) struct PipelineOptions {
    /// Kafka, as `dev/stack env` prints it; without topics of the topology
    #[arg(long, env = "TIDEMILL_BOOTSTRAP")]
    bootstrap: String,
    /// Process of the broker on this machine; its processor time is left out when absent
    #[arg(long)]
    broker_pid: Option<u32>,
    /// The command under measurement; beside this program when absent
    #[arg(long)]
    tidemill: Option<PathBuf>,
    /// Payments that wait when throughput is measured
    #[arg(long, default_value_t = 200_000)]
    payments: u64,
    /// Payers
    #[arg(long, default_value_t = 10_000)]
    accounts: u32,
    /// Payments a second at which latency is measured
    #[arg(long, value_delimiter = ',', default_values = ["1000", "2000"])]
    rates: Vec<u32>,
    /// Seconds of each measurement of latency
    #[arg(long, default_value_t = 15)]
    latency_s: u64,
    /// Worker threads
    #[arg(long, default_value_t = 2)]
    workers: u32,
    /// Folder for stores and logs
    #[arg(long)]
    folder: PathBuf,
    /// Samples where the time goes, too, for which it needs `perf`
    #[arg(long)]
    profile: bool,
    /// Folder of the report, `default.md`, and of the flame graph, `default.svg`
    #[arg(long)]
    write: Option<PathBuf>,
}

/// Whether read models are written beside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sinks {
    On,
    Off,
}

/// Payments at a steady rate.
#[derive(Clone, Debug)]
struct Steady {
    sinks: Sinks,
    rate: u32,
    verified: Verified,
    engine_us: f64,
    broker_us: f64,
    behind: Vec<Behind>,
    load_average: String,
}

/// What `tidemill verify --json` says.
#[derive(Clone, Debug, Deserialize)]
struct Verified {
    holds: bool,
    payments: u64,
    latency_ms: LatencyMs,
}

/// From the creation of a payment to its outcome in the hands of a `read_committed` reader.
#[derive(Clone, Copy, Debug, Deserialize)]
struct LatencyMs {
    p50: u32,
    p95: u32,
    p99: u32,
    max: u32,
}

pub(crate) fn run(options: &PipelineOptions) -> Result<()> {
    fs::create_dir_all(&options.folder).during("make the folder")?;
    let started_at = Timestamp::now();
    let broker = crate::chain::connect(&options.bootstrap)?;
    let mut steady = Vec::new();
    // Sinks first: read models have to catch up with whatever was there before.
    for sinks in [Sinks::On, Sinks::Off] {
        let tidemill = Tidemill::new(options, sinks)?;
        tidemill.apply()?;
        let engine = tidemill.start(options.workers)?;
        verify(&tidemill, options, options.rates.iter().copied().max().unwrap_or(1), WARM_UP_S)?;
        for rate in &options.rates {
            steady.push(measure(&tidemill, &engine, options, broker.as_ref(), *rate)?);
        }
        engine.stop()?;
    }
    let tidemill = Tidemill::new(options, Sinks::Off)?;
    let throughput = Throughput::measure(&tidemill, options, broker.as_ref())?;
    let profile = options.profile.then(|| profile(&tidemill, options)).transpose()?;
    let report = Report { options, started_at, throughput, steady, profile };
    let text = report.render();
    println!("{text}");
    match &options.write {
        Some(folder) => fs::write(folder.join("default.md"), text).during("write the report"),
        None => Ok(()),
    }
}

/// Of an engine that works on payments that wait.
fn profile(tidemill: &Tidemill, options: &PipelineOptions) -> Result<Profile> {
    // Enough for the time that it takes to start and to be sampled.
    for _ in 0..PROFILED_LOTS {
        throughput::queue(tidemill, options)?;
    }
    let engine = tidemill.start(options.workers)?;
    std::thread::sleep(START);
    let drawing = options.write.as_ref().map(|folder| folder.join("default.svg"));
    let profile = Profile::take(engine.pid(), &options.folder, drawing.as_deref())?;
    engine.stop()?;
    Ok(profile)
}

fn measure(
    tidemill: &Tidemill,
    engine: &Engine,
    options: &PipelineOptions,
    broker: &dyn Broker,
    rate: u32,
) -> Result<Steady> {
    let load_average = machine::load_average();
    let cpu_s = || (machine::cpu_seconds(engine.pid()), options.broker_pid.map_or(0.0, machine::cpu_seconds));
    let (engine_before_s, broker_before_s) = cpu_s();
    let is_over = AtomicBool::new(false);
    let (verified, behind) = std::thread::scope(|scope| {
        let watching = scope.spawn(|| match tidemill.sinks {
            Sinks::On => lag::watch(tidemill, broker, &is_over),
            Sinks::Off => Ok(Vec::new()),
        });
        let verified = verify(tidemill, options, rate, options.latency_s);
        is_over.store(true, Ordering::Relaxed);
        let behind = watching.join().unwrap_or_else(|_| Err("the look at the sinks panicked".into()));
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>((verified?, behind?))
    })?;
    let (engine_after_s, broker_after_s) = cpu_s();
    let us = |seconds: f64| seconds * 1e6 / verified.payments.max(1) as f64;
    let steady = Steady {
        sinks: tidemill.sinks,
        rate,
        engine_us: us(engine_after_s - engine_before_s),
        broker_us: us(broker_after_s - broker_before_s),
        verified,
        behind,
        load_average,
    };
    eprintln!("{steady:?}");
    Ok(steady)
}

/// Sends payments at the rate, and follows each to its end.
fn verify(tidemill: &Tidemill, options: &PipelineOptions, rate: u32, seconds: u64) -> Result<Verified> {
    let (rate, seconds, accounts) = (rate.to_string(), seconds.to_string(), options.accounts.to_string());
    let arguments = ["verify", "--json", "--rate", &rate, "--duration", &seconds, "--accounts", &accounts];
    let said = tidemill.run(&arguments)?;
    let verified: Verified = serde_json::from_str(&said).during("read what `tidemill verify` says")?;
    if verified.holds { Ok(verified) } else { Err(format!("not everything holds: {said}").into()) }
}

impl Sinks {
    fn title(self) -> &'static str {
        match self {
            Self::On => "Kafka, Postgres and Redis",
            Self::Off => "Kafka alone",
        }
    }
}
