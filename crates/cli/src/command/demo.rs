//! `tidemill demo`: the whole pipeline on the embedded broker, from generated payments to a balanced read model.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tidemill_runtime::broker::{Isolation, TopicPartition};
use tidemill_runtime::supervise::{self, RunOptions, RunSinks, Running};
use tidemill_runtime::worker::OnStop;

use crate::args::{BrokerArg, DemoArgs, Global};
use crate::command::produce::Target;
use crate::command::{reconcile, status};
use crate::exit::{Exit, Failure};
use crate::generator::{self, GeneratedRecord, Payments};
use crate::output::{self, Progress, count};
use crate::reconciliation::{self, Reconciliation};
use crate::session::{self, Access, Session};
use crate::stop::Stop;

pub(super) const PAYMENTS_TOPIC: &str = "payments.requested.v1";
pub(super) const ACCOUNTS_TOPIC: &str = "accounts.requested.v1";
pub(super) const CUSTOMERS: u32 = 2_000;
const CHUNK_RECORDS: usize = 2_000;
const TICK: Duration = Duration::from_millis(100);
const RUN_FILE: &str = "demo.json";

/// What a folder was made for, so that a demo that was interrupted goes on and one that is over starts anew.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct DemoRun {
    payments: u64,
    seed: u64,
    config_hash: String,
    is_finished: bool,
}

pub(super) fn run(global: &Global, args: &DemoArgs) -> Result<Exit, Failure> {
    let (topology, _) = session::compile(&below(global, &args.dir))?;
    let mut run = DemoRun {
        payments: args.payments,
        seed: args.seed,
        config_hash: topology.pipeline.config_hash.clone(),
        is_finished: false,
    };
    prepare_folder(&args.dir, &run)?;
    let stop = Stop::on_signals()?;
    let session = Session::connect(Arc::new(topology), Access::Work { workers: args.workers })?;
    session.provision()?;
    let shared = session.shared("demo")?;
    let options = RunOptions {
        instance: "demo".to_owned(),
        workers: args.workers,
        units: Vec::new(),
        sinks: RunSinks::All,
        on_stop: OnStop::Leave,
    };
    let running = supervise::start(&shared, &options).map_err(|error| Failure::new(Exit::Findings, error))?;
    let started_at = Instant::now();
    let before = ended(&session)?;
    let is_done = drive(&session, args, &running, &stop);
    let seconds = started_at.elapsed().as_secs_f64();
    let joined = running.join().map_err(|error| Failure::new(Exit::Findings, error));
    if !is_done? {
        joined?;
        eprintln!("interrupted; run the demo again and it goes on from here");
        return Ok(Exit::Interrupted);
    }
    joined?;
    run.is_finished = true;
    write_run(&args.dir, &run)?;
    let result = reconciliation::reconcile(&session)?;
    let payments = ended(&session)? - before;
    summary(global, &result, payments, seconds, &args.dir)
}

/// The given topology, on the embedded broker and with everything it keeps below one folder.
pub(super) fn below(global: &Global, dir: &Path) -> Global {
    let below = |name: &str| dir.join(name).display().to_string();
    let mut overrides = vec![
        ("broker.data_dir".to_owned(), below("broker")),
        ("pipeline.state_dir".to_owned(), below("state")),
        ("sink.sqlite.settings.path".to_owned(), below("read-model.sqlite")),
    ];
    overrides.extend(global.overrides.iter().cloned());
    Global {
        topology: global.topology.clone(),
        broker: Some(BrokerArg::Embedded),
        overrides,
        colour: None,
        json: global.json,
        log: global.log,
    }
}

fn prepare_folder(dir: &Path, run: &DemoRun) -> Result<(), Failure> {
    let found = fs::read(dir.join(RUN_FILE)).ok().and_then(|bytes| serde_json::from_slice::<DemoRun>(&bytes).ok());
    if found.as_ref() == Some(run) {
        eprintln!("going on with the demo in {}", dir.display());
        return Ok(());
    }
    if found.is_none() && dir.exists() && fs::read_dir(dir)?.next().is_some() {
        let message = format!("{} is not empty and not a demo's folder", dir.display());
        return Err(Failure::new(Exit::Refused, message).hint("Name another folder with `--dir`."));
    }
    if found.is_some() {
        eprintln!("starting anew in {}: the demo there is finished, or was made with other arguments", dir.display());
        fs::remove_dir_all(dir)?;
    }
    fs::create_dir_all(dir)?;
    write_run(dir, run)
}

fn write_run(dir: &Path, run: &DemoRun) -> Result<(), Failure> {
    let text = serde_json::to_vec(run).map_err(|error| Failure::new(Exit::Findings, error))?;
    Ok(fs::write(dir.join(RUN_FILE), text)?)
}

/// Writes what is still missing and waits until all of it is processed. `false` if somebody said stop.
fn drive(session: &Session, args: &DemoArgs, running: &Running, stop: &Stop) -> Result<bool, Failure> {
    let accounts: Vec<GeneratedRecord> = generator::accounts(CUSTOMERS).collect();
    let total = accounts.len() as u64;
    let mut progress = Progress::new("accounts", total);
    let written = write_missing(session, ACCOUNTS_TOPIC, accounts.into_iter(), stop, |_| Ok(()))?;
    if !written
        || !wait(session, running, stop, |session| {
            let done = ended_on(session, ACCOUNTS_TOPIC)?;
            progress.set(done);
            Ok(done >= total)
        })?
    {
        return Ok(false);
    }
    progress.finish();
    let count = usize::try_from(args.payments).unwrap_or(usize::MAX);
    let payments = Payments::new(args.seed, CUSTOMERS).take(count);
    let mut progress = Progress::new("payments", args.payments);
    let written = write_missing(session, PAYMENTS_TOPIC, payments, stop, |session| {
        progress.set(ended(session)?);
        Ok(())
    })?;
    let is_done = written
        && wait(session, running, stop, |session| {
            let done = ended(session)?;
            progress.set(done);
            Ok(done >= args.payments && status::is_idle(session)?)
        })?;
    progress.finish();
    Ok(is_done)
}

/// Generated records are the same each time, so those that lie in the topic already are skipped by their number.
pub(super) fn write_missing(
    session: &Session,
    topic: &str,
    records: impl Iterator<Item = GeneratedRecord>,
    stop: &Stop,
    mut after_chunk: impl FnMut(&Session) -> Result<(), Failure>,
) -> Result<bool, Failure> {
    let present = records_in_topic(session, topic)?;
    let mut target = Target::open(&session.broker, topic)?;
    let mut in_chunk = 0;
    for record in records.skip(usize::try_from(present).unwrap_or(usize::MAX)) {
        target.send(Some(record.key.as_bytes()), Some(&record.value), record.timestamp_ms)?;
        in_chunk += 1;
        if in_chunk == CHUNK_RECORDS {
            target.flush()?;
            after_chunk(session)?;
            in_chunk = 0;
            if stop.is_set() {
                return Ok(false);
            }
        }
    }
    target.flush()?;
    Ok(!stop.is_set())
}

fn records_in_topic(session: &Session, topic: &str) -> Result<u64, Failure> {
    let partitions = session.topology.topics.get(topic).map_or(0, |topic| topic.partitions);
    let mut records = 0;
    for partition in 0..partitions {
        records += session.broker.watermarks(&TopicPartition::new(topic, partition), Isolation::ReadCommitted)?.high;
    }
    Ok(records)
}

pub(super) fn wait(
    session: &Session,
    running: &Running,
    stop: &Stop,
    mut is_done: impl FnMut(&Session) -> Result<bool, Failure>,
) -> Result<bool, Failure> {
    loop {
        if is_done(session)? {
            return Ok(true);
        }
        if stop.is_set() {
            return Ok(false);
        }
        if let Some(ended) = running.wait(TICK) {
            ended.map_err(|error| Failure::new(Exit::Findings, error))?;
        }
    }
}

fn ended(session: &Session) -> Result<u64, Failure> {
    ended_on(session, PAYMENTS_TOPIC)
}

/// Records of an ingest topic that have come to their end.
pub(super) fn ended_on(session: &Session, topic: &str) -> Result<u64, Failure> {
    Ok(reconciliation::paths(session)?.iter().find(|path| path.topic == topic).map_or(0, reconciliation::Path::ended))
}

fn summary(global: &Global, result: &Reconciliation, payments: u64, seconds: f64, dir: &Path) -> Result<Exit, Failure> {
    let exit = if result.findings.is_empty() { Exit::Ok } else { Exit::Findings };
    if global.json {
        output::json(result)?;
        return Ok(exit);
    }
    reconcile::print(result)?;
    // Payments and milliseconds both fit, and the rate is only shown.
    let milliseconds = (seconds * 1_000.0).max(1.0) as u64;
    let rate = payments.saturating_mul(1_000) / milliseconds;
    output::line(&format!("{} payments in {seconds:.1} s: {} payments/s\n", count(payments), count(rate)))?;
    let database = dir.join("read-model.sqlite").display().to_string();
    output::line("Try next:")?;
    output::line("  tidemill explain")?;
    output::line("  tidemill explain insufficient_funds")?;
    output::line(&format!("  sqlite3 {database} 'SELECT * FROM payment_outcomes_by_code'"))?;
    Ok(exit)
}
