//! `tidemill run`: workers and sinks until somebody says stop.

use std::fs::{self, File};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fs4::fs_std::FileExt;
use tidemill_console::{Served, serve};
use tidemill_runtime::broker::{Isolation, TopicPartition};
use tidemill_runtime::lag::LagSampler;
use tidemill_runtime::reconciliation::ReconciliationWatch;
use tidemill_runtime::reprocess::{Note, PIPELINE_RETIRED, Phase};
use tidemill_runtime::stable_offset::{LOOK_INTERVAL, StableOffsetWatch};
use tidemill_runtime::supervise::{self, RunError, RunOptions, RunSinks, Running};
use tidemill_runtime::worker::{OnStop, Shared};
use tidemill_topology::plan::Broker;

use crate::args::{Global, OnStopArg, RunArgs};
use crate::command::status::is_idle;
use crate::exit::{Exit, Failure};
use crate::output::Progress;
use crate::session::{Access, Session};
use crate::stop::Stop;

const TICK: Duration = Duration::from_millis(100);
const IDLE_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// How soon a process notices that another pipeline takes over.
const NOTE_LOOK_INTERVAL: Duration = Duration::from_secs(2);
const LAG_SAMPLE_INTERVAL: Duration = Duration::from_secs(10);

pub(super) fn run(global: &Global, args: &RunArgs) -> Result<Exit, Failure> {
    let session = Session::open(global, Access::Work { workers: args.workers })?;
    // A real cluster is changed by `apply` alone; the embedded broker is this process's own.
    if matches!(session.topology.broker, Broker::Embedded { .. }) {
        session.provision()?;
    }
    let stop = Stop::on_signals()?;
    let shared = session.shared(&args.instance)?;
    let _lock = lock_instance(&shared, &args.instance)?;
    let options = options(&session, args)?;
    let running = supervise::start(&shared, &options).map_err(failure)?;
    let _server = serve_http(&session, &shared, &running)?;
    eprintln!("{} runs on {}", session.topology.pipeline.produced_by(), session.broker.describe());
    sample_lag(&shared)?;
    watch_stable_offsets(&shared)?;
    watch_reconciliation(&shared, &running)?;
    let ended = watch(&session, args, &running, &stop)?;
    let joined = running.join().map_err(ended_badly);
    match ended {
        Some(Err(error)) => Err(error),
        _ => joined.map(|()| Exit::Ok),
    }
}

/// Returns when somebody says stop, when a thread ends, or when all is done and that was asked for.
fn watch(
    session: &Session,
    args: &RunArgs,
    running: &Running,
    stop: &Stop,
) -> Result<Option<Result<(), Failure>>, Failure> {
    let mut checked_at = Instant::now();
    let mut restoring = None;
    let mut succession = Succeeded::new(session);
    while !stop.is_set() {
        if let Some(failure) = succession.look(session) {
            return Ok(Some(Err(failure)));
        }
        match running.health.restored() {
            Some((done, total)) => {
                restoring.get_or_insert_with(|| Progress::new("restoring", total)).set_of(done, total);
            }
            None => restoring.take().map_or((), Progress::finish),
        }
        if let Some(ended) = running.wait(TICK) {
            return Ok(Some(ended.map_err(ended_badly)));
        }
        if args.until_idle && checked_at.elapsed() >= IDLE_CHECK_INTERVAL {
            if running.health.is_ready() && is_idle(session)? && !running.health.is_releasing() {
                break;
            }
            checked_at = Instant::now();
        }
    }
    Ok(None)
}

/// Whether another pipeline over the same inputs takes over from the one that runs here.
struct Succeeded {
    note_end: Option<u64>,
    looked_at: Instant,
}

impl Succeeded {
    fn new(session: &Session) -> Self {
        Self { note_end: note_end(session), looked_at: Instant::now() }
    }

    /// Stops in good order instead of being fenced. A broker that does not answer is no reason to stop.
    fn look(&mut self, session: &Session) -> Option<Failure> {
        if self.looked_at.elapsed() < NOTE_LOOK_INTERVAL {
            return None;
        }
        self.looked_at = Instant::now();
        let end = note_end(session);
        if end.is_none() || end == self.note_end {
            return None;
        }
        let note = Note::read(session.broker.as_ref(), &session.topology.pipeline).ok()?;
        self.note_end = end;
        let is_cut_over = note.phase().is_some_and(Phase::is_cutover);
        (is_cut_over || note.live != session.topology.pipeline.colour).then(|| {
            let message = format!("{PIPELINE_RETIRED}: another pipeline takes over from this one");
            Failure::new(Exit::Refused, message).hint(
                "Start this again once `tidemill reprocess cutover` has ended, with the topology file of the new one.",
            )
        })
    }
}

/// Grows with every step of a reprocess.
fn note_end(session: &Session) -> Option<u64> {
    let note = TopicPartition::new(session.topology.pipeline.reprocess_topic(), 0);
    session.broker.watermarks(&note, Isolation::ReadCommitted).ok().map(|watermarks| watermarks.high)
}

fn options(session: &Session, args: &RunArgs) -> Result<RunOptions, Failure> {
    let topology = &session.topology;
    let mut units = Vec::new();
    for name in &args.stages {
        let unit = topology.units.iter().find(|unit| unit.stages.iter().any(|stage| stage.name == *name));
        let unit = unit.ok_or_else(|| {
            let known: Vec<&str> =
                topology.units.iter().flat_map(|unit| &unit.stages).map(|stage| stage.name.as_str()).collect();
            Failure::new(Exit::Usage, format!("there is no stage {name}"))
                .hint(format!("The stages are {}.", known.join(", ")))
        })?;
        units.push(unit.name.clone());
    }
    let sinks = if args.stages.is_empty() || args.sinks { RunSinks::All } else { RunSinks::None };
    let on_stop = match args.on_stop {
        OnStopArg::Leave => OnStop::Leave,
        OnStopArg::Stay => OnStop::Stay,
    };
    Ok(RunOptions { instance: args.instance.clone(), workers: args.workers, units, sinks, on_stop })
}

/// On a thread of its own until the process ends: a broker that is away must not hold anything else up.
fn sample_lag(shared: &Arc<Shared>) -> Result<(), Failure> {
    let mut sampler = LagSampler::new(Arc::clone(shared));
    std::thread::Builder::new().name("lag".to_owned()).spawn(move || {
        loop {
            sampler.sample();
            std::thread::sleep(LAG_SAMPLE_INTERVAL);
        }
    })?;
    Ok(())
}

/// Beside the lag, whose questions may themselves wait for what is stuck.
fn watch_stable_offsets(shared: &Arc<Shared>) -> Result<(), Failure> {
    let mut watch = StableOffsetWatch::new(Arc::clone(shared));
    std::thread::Builder::new().name("stable-offset".to_owned()).spawn(move || {
        loop {
            watch.look();
            std::thread::sleep(LOOK_INTERVAL);
        }
    })?;
    Ok(())
}

/// Reads what all workers of the pipeline have committed, those of other processes among them.
fn watch_reconciliation(shared: &Arc<Shared>, running: &Running) -> Result<(), Failure> {
    let mut watch = ReconciliationWatch::new(Arc::clone(&shared.topology), Arc::clone(&shared.broker));
    let (shared, health) = (Arc::clone(shared), running.health.clone());
    std::thread::Builder::new().name("reconciliation".to_owned()).spawn(move || {
        let mut before = None;
        loop {
            // A broker that is away is reported by those who need it.
            if let Ok(look) = watch.look() {
                shared.telemetry.reconciliation.report(&look, before.as_ref(), shared.clock.unix_ms());
                health.set_unaccounted(look.findings().collect());
                before = Some(look);
            }
            std::thread::sleep(ReconciliationWatch::INTERVAL);
        }
    })?;
    Ok(())
}

/// Two processes with one name would fence each other for ever, so the second is refused at once.
fn lock_instance(shared: &Arc<Shared>, instance: &str) -> Result<File, Failure> {
    fs::create_dir_all(&shared.state_dir)?;
    let path = shared.state_dir.join("lock");
    let file = File::create(&path)?;
    match FileExt::try_lock_exclusive(&file) {
        Ok(true) => Ok(file),
        Ok(false) | Err(_) => {
            Err(Failure::new(Exit::Refused, format!("instance {instance} runs already ({} is locked)", path.display()))
                .hint("Give this process a name of its own with `--instance NAME`."))
        }
    }
}

/// Keeps the server alive as long as it is held.
fn serve_http(session: &Session, shared: &Shared, running: &Running) -> Result<tokio::runtime::Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let served = Served {
        health: running.health.clone(),
        telemetry: shared.telemetry.clone(),
        clock: Arc::clone(&shared.clock),
    };
    let address = &session.topology.http_address;
    let (bound, server) = runtime.block_on(serve(address, served)).map_err(|error| {
        Failure::new(Exit::Config, format!("{address}: {error}"))
            .hint("Choose another address with `--set pipeline.http_address=HOST:PORT`.")
    })?;
    tracing::info!(%bound, "health and metrics are served");
    runtime.spawn(server);
    Ok(runtime)
}

/// A guard that has stopped a worker refuses; everything else is a fault.
fn ended_badly(error: RunError) -> Failure {
    match &error {
        RunError::Worker { error: worker, .. } if worker.is_refusal() => Failure::new(Exit::Refused, error),
        _ => failure(error),
    }
}

fn failure(error: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Findings, error)
}
