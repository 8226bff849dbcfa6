//! This engine on the chain: what `tidemill run` runs, until the input is drained.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use tidemill_runtime::broker::{Broker, Isolation, TopicPartition};
use tidemill_runtime::clock::SystemClock;
use tidemill_runtime::kafka::KafkaBroker;
use tidemill_runtime::memory::MemoryShares;
use tidemill_runtime::provision::Provisioner;
use tidemill_runtime::registry::LocalRegistry;
use tidemill_runtime::state_log::StateLogPolicy;
use tidemill_runtime::status;
use tidemill_runtime::store::disk::DiskStores;
use tidemill_runtime::supervise::{self, RunOptions, RunSinks, Running, instance_dir};
use tidemill_runtime::task::checkpoint::Figures;
use tidemill_runtime::telemetry::Telemetry;
use tidemill_runtime::threads::SystemThreads;
use tidemill_runtime::worker::{OnStop, Shared};
use tidemill_topology::plan::Stage;
use tidemill_topology::{Catalog, Options, Topology, compile};
use tracing_subscriber::EnvFilter;

use crate::chain::compare::End;
use crate::chain::job;
use crate::chain::topics::{Input, Place};
use crate::failure::{During, Result};

const CATALOG: Catalog<'static> = Catalog { processors: job::PROCESSORS, codecs: job::CODECS, sinks: &[] };
const STAGE: &str = "accounts";
const TICK: Duration = Duration::from_millis(2);
const IDLE_TICK: Duration = Duration::from_secs(1);
const PROGRESS_INTERVAL_MS: u64 = 1_000;
/// The engine wants a version at the end of a topic's name, and the topics of the job have none.
const VERSION: &str = ".v1";

#[derive(Args)]
pub(crate) struct EngineOptions {
    #[command(flatten)]
    place: Place,
    /// Worker threads
    #[arg(long, default_value_t = 2)]
    threads: u32,
    /// Longest time between two commits, in milliseconds
    #[arg(long, default_value_t = 100)]
    commit_ms: u64,
    /// Memory that the process may take, in MiB
    #[arg(long, default_value_t = 512)]
    memory_mib_max: u64,
    /// Folder of the stores
    #[arg(long)]
    state_dir: PathBuf,
    /// Stable name of this process among those that share the work
    #[arg(long, default_value = "a")]
    instance: String,
    /// When to end
    #[arg(long, default_value = "drained")]
    end: End,
}

/// How records ended so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Done {
    /// Payments, posted or rejected.
    payments: u64,
    posted: u64,
    credited: u64,
}

pub(crate) fn run(options: &EngineOptions) -> Result<()> {
    let filter = EnvFilter::new("warn,librdkafka=error,rdkafka=off");
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    std::fs::create_dir_all(&options.state_dir).during("make the folder of the stores")?;
    let shared = shared(options)?;
    let payments = payments_in(shared.broker.as_ref(), &options.place.input)?;
    let unit = shared.topology.units.first().ok_or("the topology has no unit")?;
    let before = Done::before(&status::figures(shared.broker.as_ref(), &shared.topology, unit)?);
    let run_options = RunOptions {
        instance: options.instance.clone(),
        workers: options.threads,
        units: Vec::new(),
        sinks: RunSinks::None,
        on_stop: OnStop::Leave,
    };
    let running = supervise::start(&shared, &run_options)?;
    if options.end == End::Never {
        return loop {
            if let Some(ended) = running.wait(IDLE_TICK) {
                break Ok(ended?);
            }
        };
    }
    let seconds = watch(&running, &shared.telemetry, before, payments)?;
    running.join()?;
    let done = payments - before.payments;
    let payments_per_s = if seconds > 0.0 { done as f64 / seconds } else { 0.0 };
    println!("RESULT payments={done} seconds={seconds:.3} payments_per_s={payments_per_s:.0}");
    Ok(())
}

/// Waits until all payments are carried out and all instructions that came of them. Returns the time from the first
/// record that was read to the last commit.
fn watch(running: &Running, telemetry: &Telemetry, before: Done, payments: u64) -> Result<f64> {
    let mut first_read_ms = None;
    let mut told_at_ms = 0;
    loop {
        if let Some(ended) = running.wait(TICK) {
            ended?;
            return Err("a worker ended before the input was drained".into());
        }
        let now_ms = unix_ms();
        first_read_ms = first_read_ms.or_else(|| first_opened_ms(running));
        let seconds = first_read_ms.map_or(0.0, |first_ms| now_ms.saturating_sub(first_ms) as f64 / 1_000.0);
        let done = before.and(telemetry);
        if done.payments == payments && done.posted == done.credited {
            return Ok(seconds);
        }
        if now_ms >= told_at_ms + PROGRESS_INTERVAL_MS {
            told_at_ms = now_ms;
            eprintln!("PROGRESS seconds={seconds:.3} payments={}", done.payments - before.payments);
        }
    }
}

/// When the first transaction that is open now began, which it did with its first record.
fn first_opened_ms(running: &Running) -> Option<u64> {
    let workers = running.health.workers.iter();
    let opened_ms = workers.filter_map(|(_, health)| {
        u64::try_from(health.transaction_since_ms.load(Ordering::Relaxed)).ok().filter(|since| *since > 0)
    });
    opened_ms.min()
}

impl Done {
    /// What was done before this process started.
    fn before(figures: &Figures) -> Self {
        let mut done = Self::default();
        for (outcome, count) in figures.values().flatten() {
            done.add(outcome, *count);
        }
        done
    }

    /// What the workers of this process have committed besides.
    fn and(mut self, telemetry: &Telemetry) -> Self {
        for outcome in ["posted", "applied"] {
            self.add(outcome, telemetry.outcomes.with_label_values(&[STAGE, outcome]).get());
        }
        for code in job::PROCESSORS.iter().flat_map(|processor| processor.codes) {
            let outcome = format!("rejected:{}", code.code);
            let count = telemetry.outcomes.with_label_values(&[STAGE, &outcome]).get();
            self.add(&outcome, count);
        }
        self
    }

    fn add(&mut self, outcome: &str, count: u64) {
        match outcome {
            "applied" => self.credited += count,
            "posted" => {
                self.posted += count;
                self.payments += count;
            }
            _ => self.payments += count,
        }
    }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Records in the input, which is written without transactions: every offset is a record.
fn payments_in(broker: &dyn Broker, input: &Input) -> Result<u64> {
    let count = |partition| {
        let watermarks =
            broker.watermarks(&TopicPartition::new(input.topic.as_str(), partition), Isolation::ReadCommitted);
        let watermarks = watermarks.during("ask for the end of the payments")?;
        Ok(watermarks.high - watermarks.low)
    };
    (0..input.partitions).map(count).sum()
}

/// What the workers share, as `tidemill run` makes it.
fn shared(options: &EngineOptions) -> Result<Arc<Shared>> {
    let topology = Arc::new(topology(options)?);
    let memory = MemoryShares::of(&topology, options.threads);
    let properties = memory.client_properties().map(|(name, value)| (name.to_owned(), value)).into();
    let broker: Arc<dyn Broker> =
        KafkaBroker::connect(&options.place.bootstrap, &properties).during("open a client")?;
    // No kind of the chain has a registered schema, so nobody asks it.
    let registry = Arc::new(LocalRegistry::open(&options.state_dir).during("open a registry")?);
    let (for_topics, registry_of_topics) = (Arc::clone(&broker), Arc::clone(&registry));
    let provisioner = Provisioner {
        topology: Arc::clone(&topology),
        broker: for_topics,
        registry: registry_of_topics,
        codecs: job::CODECS,
    };
    let plan = provisioner.plan().during("look at the broker")?;
    provisioner.apply(&plan, |_| {}).during("create the topics")?;
    let pipeline = &topology.pipeline;
    Ok(Arc::new(Shared {
        broker,
        registry,
        codecs: job::CODECS,
        stores: Arc::new(DiskStores {
            cache_bytes: memory.store_cache_bytes,
            write_buffer_bytes_max: memory.store_write_buffer_bytes,
            ..DiskStores::default()
        }),
        clock: Arc::new(SystemClock::default()),
        threads: Arc::new(SystemThreads),
        telemetry: Telemetry::new(&pipeline.name, env!("CARGO_PKG_VERSION"), &pipeline.config_hash)?,
        state_log: StateLogPolicy::default(),
        state_dir: instance_dir(&topology.state_dir, &options.instance),
        rehearsal: None,
        topology,
    }))
}

fn topology(options: &EngineOptions) -> Result<Topology> {
    let text = topology_text(options);
    let compiled = compile("chain.toml", &text, &CATALOG, &Options::default());
    let (mut topology, _warnings) = compiled.map_err(|findings| format!("the topology: {findings:?}"))?;
    let plain = |name: &String| name.strip_suffix(VERSION).unwrap_or(name).to_owned();
    for stage in topology.units.iter_mut().flat_map(|unit| &mut unit.stages) {
        let Stage { inputs, ports, .. } = stage;
        inputs.iter_mut().for_each(|input| input.topic = plain(&input.topic));
        ports.values_mut().for_each(|topic| *topic = plain(topic));
    }
    topology.topics = std::mem::take(&mut topology.topics)
        .into_values()
        .map(|mut topic| {
            topic.name = plain(&topic.name);
            (topic.name.clone(), topic)
        })
        .collect();
    Ok(topology)
}

/// Both inputs in one stage, because a stage's stores are its own and both change accounts.
fn topology_text(options: &EngineOptions) -> String {
    let EngineOptions { place, commit_ms, memory_mib_max, state_dir, .. } = options;
    let Place { bootstrap, prefix, input: Input { topic: input, partitions } } = place;
    format!(
        r#"
[pipeline]
name = "{prefix}"
version = "1"
state_dir = {state_dir:?}
memory_mib_max = {memory_mib_max}

[broker]
kind = "kafka"
bootstrap_servers = "{bootstrap}"

# Kafka wants one, and no kind of the chain has a schema in it.
[registry]
url = "http://registry.invalid"

[[unit]]
name = "main"
tasks = {partitions}
commit_interval_ms_max = {commit_ms}
commit_gap_ms_min = {gap_ms}
# Only time ends a transaction.
commit_records_max = 1_000_000
commit_bytes_max = 268_435_456

[[stage]]
name = "{STAGE}"
unit = "main"
on_error = "stop"

[[stage.input]]
topic = "{input}"
chain = ["validate_payment", "dedupe_payment", "score_payment", "charge_fee", "post_payment"]

[[stage.input]]
topic = "{prefix}.instructions{VERSION}"
chain = ["credit_account"]

[stage.ports]
entries = "{prefix}.entries{VERSION}"
instructions = "{prefix}.instructions{VERSION}"
rejected = "{prefix}.rejected{VERSION}"
balances = "{prefix}.balances{VERSION}"

[topics."{input}"]
keyed_by = "account"

[topics."{prefix}.balances{VERSION}"]
cleanup = "compact"

[topics."{prefix}.entries{VERSION}"]
config = {{ "message.timestamp.type" = "LogAppendTime" }}
"#,
        gap_ms = (*commit_ms).min(5),
        state_dir = state_dir.display().to_string(),
    )
}
