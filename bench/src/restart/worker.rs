//! The engine under measurement: what `tidemill run` runs, for the one unit of this benchmark.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tidemill_runtime::clock::SystemClock;
use tidemill_runtime::registry::HttpRegistry;
use tidemill_runtime::state_log::StateLogPolicy;
use tidemill_runtime::store::disk::DiskStores;
use tidemill_runtime::supervise::{self, RunOptions, RunSinks, instance_dir};
use tidemill_runtime::telemetry::Telemetry;
use tidemill_runtime::threads::SystemThreads;
use tidemill_runtime::worker::{OnStop, Shared};
use tracing_subscriber::EnvFilter;

use crate::failure::{During, Result};
use crate::restart::engine::Instance;
use crate::restart::job;
use crate::restart::setup::Setup;

const TICK: Duration = Duration::from_millis(50);

#[derive(Args)]
pub(crate) struct WorkerOptions {
    #[command(flatten)]
    setup: Setup,
    #[arg(long)]
    instance: Instance,
}

/// Works until standard input is closed: a planned stop, and the end of a worker whose benchmark is gone.
pub(crate) fn run(options: &WorkerOptions) -> Result<()> {
    let filter = EnvFilter::new("info,librdkafka=error,rdkafka=off");
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(false).init();
    let setup = &options.setup;
    let topology = Arc::new(setup.topology()?);
    let pipeline = &topology.pipeline;
    let telemetry = Telemetry::new(&pipeline.name, env!("CARGO_PKG_VERSION"), &pipeline.config_hash)?;
    let shared = Arc::new(Shared {
        broker: setup.broker()?,
        registry: Arc::new(HttpRegistry::new(&setup.registry).during("open the registry")?),
        codecs: job::CODECS,
        stores: Arc::new(DiskStores::default()),
        clock: Arc::new(SystemClock::default()),
        threads: Arc::new(SystemThreads),
        telemetry,
        state_log: StateLogPolicy::default(),
        state_dir: instance_dir(&topology.state_dir, options.instance.name()),
        rehearsal: None,
        topology,
    });
    let run_options = RunOptions {
        instance: options.instance.name().to_owned(),
        workers: setup.threads,
        units: Vec::new(),
        sinks: RunSinks::None,
        on_stop: OnStop::Leave,
    };
    let running = supervise::start(&shared, &run_options)?;
    let closed = std::thread::spawn(|| io::stdin().read_to_end(&mut Vec::new()));
    while !closed.is_finished() {
        if let Some(ended) = running.wait(TICK) {
            ended?;
            break;
        }
    }
    Ok(running.join()?)
}
