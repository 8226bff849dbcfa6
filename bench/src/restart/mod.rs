//! Restart and restore: an engine that holds the state of many accounts is killed under live load and started again, on
//! the same disk and on an empty one, or taken over from by another instance. Measured from the start of the new process,
//! or from the kill, to output that a `read_committed` reader sees, of any task and of all.

mod engine;
mod job;
mod load;
mod observer;
mod report;
mod setup;
pub(crate) mod worker;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use tidemill_runtime::broker::{Broker, Isolation, TopicPartition};

use crate::failure::{During, Result};
use crate::machine;
pub(crate) use crate::restart::engine::build_peer;
use crate::restart::engine::{Engine, Instance, Process};
use crate::restart::load::Trickle;
use crate::restart::observer::{Audit, Observer};
use crate::restart::report::Report;
use crate::restart::setup::Setup;

const TICK: Duration = Duration::from_millis(5);
const LOAD_DEADLINE: Duration = Duration::from_secs(3_600);
const RESTART_DEADLINE: Duration = Duration::from_secs(1_800);
/// How long an open transaction is looked for before the kill comes anyway. The report says what was open.
const OPEN_TRANSACTION_DEADLINE: Duration = Duration::from_secs(5);

#[derive(Args)]
pub(crate) struct RestartOptions {
    #[command(flatten)]
    setup: Setup,
    /// Accounts that the engines hold
    #[arg(long, default_value_t = 200_000)]
    accounts: u64,
    /// Rounds; in each, every engine is killed and started again three times, once on an empty disk, and once with another
    /// instance beside it
    #[arg(long, default_value_t = 2)]
    rounds: u32,
    #[arg(long, value_delimiter = ',', default_values = ["tidemill", "streams"])]
    engines: Vec<Engine>,
    /// Seconds in which a second instance gets to where it can follow, before the first is killed
    #[arg(long, default_value_t = 60)]
    standby_s: u64,
    /// Live deposits while the engines run and while they do not
    #[arg(long, default_value_t = 200)]
    records_per_s: u32,
    /// Seconds of undisturbed work before each kill
    #[arg(long, default_value_t = 8)]
    settle_s: u64,
    /// Writes the report to this file, too
    #[arg(long)]
    write: Option<PathBuf>,
}

/// Who goes on with the work. The order is that of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Successor {
    /// A new process, with the store of one that had started from a planned stop and written little since.
    Quiet,
    /// A new process on an empty disk.
    Empty,
    /// A new process, with the store of one that had written much: all of it.
    Worn,
    /// Another instance, which was there before and has followed.
    Standby,
}

impl Successor {
    pub(crate) const ALL: [Self; 4] = [Self::Quiet, Self::Empty, Self::Worn, Self::Standby];
    const NEW_PROCESSES: [Self; 3] = [Self::Quiet, Self::Empty, Self::Worn];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Quiet => "same disk, little written",
            Self::Empty => "empty disk",
            Self::Worn => "same disk, much written",
            Self::Standby => "the other of two instances",
        }
    }
}

/// One kill and what came after it.
#[derive(Clone, Debug)]
pub(crate) struct Restart {
    pub(crate) engine: Engine,
    pub(crate) successor: Successor,
    pub(crate) load_average: String,
    /// Output partitions with a transaction that the killed process left open.
    pub(crate) open_transactions: usize,
    /// From the start of the new process, or from the kill where there is none, to the first output of each task, in
    /// ascending order.
    pub(crate) outputs_after: Vec<Duration>,
}

/// What an engine took to process the deposits that open the accounts, and what it keeps of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opening {
    pub(crate) took: Duration,
    pub(crate) disk_bytes: u64,
}

struct Bench<'a> {
    options: &'a RestartOptions,
    setup: &'a Setup,
    broker: Arc<dyn Broker>,
}

pub(crate) fn run(options: &RestartOptions) -> Result<()> {
    let setup = &options.setup;
    fs::create_dir_all(&setup.folder).during("make the folder")?;
    if options.engines.contains(&Engine::Streams) {
        engine::build_peer()?;
    }
    setup.provision()?;
    let bench = Bench { options, setup, broker: setup.broker()? };
    let next = bench.prepare_input()?;
    let mut audits = BTreeMap::new();
    let mut report = Report::new(options.accounts, options.records_per_s, setup);
    for engine in &options.engines {
        let (audit, opening) = bench.open_accounts(*engine)?;
        report.openings.extend(opening.map(|opening| (*engine, opening)));
        audits.insert(*engine, audit);
    }
    let trickle = Trickle::start(setup, options.accounts, &next, options.records_per_s)?;
    for round in 1..=options.rounds {
        for engine in &options.engines {
            eprintln!("round {round}, {}", engine.title());
            let audit = audits.remove(engine).ok_or("an engine is named twice")?;
            let (audit, restarts) = bench.round(*engine, audit, &trickle)?;
            audits.insert(*engine, audit);
            report.restarts.extend(restarts);
        }
    }
    drop(trickle);
    let text = report.render();
    println!("{text}");
    match &options.write {
        Some(path) => fs::write(path, text).during("write the report"),
        None => Ok(()),
    }
}

impl Bench<'_> {
    /// Writes the deposits that open the accounts, unless an earlier run has. Returns the number of the next live deposit
    /// of each partition.
    fn prepare_input(&self) -> Result<Vec<i64>> {
        let accounts = self.options.accounts;
        if self.ends(&self.setup.input(), Isolation::ReadUncommitted)?.iter().all(|end| *end == 0) {
            eprintln!("writing {accounts} deposits");
            load::open_accounts(self.setup, self.broker.as_ref(), accounts)?;
        }
        let ends = self.ends(&self.setup.input(), Isolation::ReadUncommitted)?;
        let opened = load::accounts_by_partition(self.setup.tasks, accounts);
        let next = |(end, opened): (u64, u64)| i64::try_from(accounts + end.checked_sub(opened)?).ok();
        let next: Option<Vec<i64>> = ends.into_iter().zip(opened).map(next).collect();
        next.ok_or_else(|| "the input was written for more accounts; choose another --run".into())
    }

    /// Lets the engine process the deposits that open the accounts, unless it has.
    fn open_accounts(&self, engine: Engine) -> Result<(Audit, Option<Opening>)> {
        let output = self.setup.output(engine);
        let ends = self.ends(&output, Isolation::ReadCommitted)?;
        if ends.iter().any(|end| *end > 0) {
            return Ok((Audit::new(output, self.options.accounts, ends), None));
        }
        eprintln!("{} opens {} accounts", engine.title(), self.options.accounts);
        let observer = Observer::start(self.setup.broker()?, Audit::new(output, self.options.accounts, ends));
        let mut process = engine.start(self.setup, Instance::A)?;
        wait(LOAD_DEADLINE, &mut process, || Ok(observer.opened()? >= self.options.accounts))?;
        let took = process.started_at.elapsed();
        process.stop()?;
        let disk_bytes = machine::bytes_below(&self.setup.state_dir(engine));
        eprintln!("  {:.1} s, {} MB on disk", took.as_secs_f64(), disk_bytes / 1_000_000);
        Ok((observer.stop()?, Some(Opening { took, disk_bytes })))
    }

    fn round(&self, engine: Engine, audit: Audit, trickle: &Trickle) -> Result<(Audit, Vec<Restart>)> {
        let observer = Observer::start(self.setup.broker()?, audit);
        let mut process = engine.start(self.setup, Instance::A)?;
        let mut restarts = Vec::new();
        for successor in Successor::NEW_PROCESSES {
            self.catch_up(&mut process, &observer, trickle)?;
            let (restarted, restart) = self.restart(engine, successor, process, &observer)?;
            process = restarted;
            restart.tell();
            restarts.push(restart);
        }
        self.catch_up(&mut process, &observer, trickle)?;
        let (other, restart) = self.takeover(engine, process, &observer, trickle)?;
        restart.tell();
        restarts.push(restart);
        other.stop()?;
        Ok((observer.stop()?, restarts))
    }

    /// Waits until the engine has done all that lies there, and then works undisturbed for a while.
    fn catch_up(&self, process: &mut Process, observer: &Observer, trickle: &Trickle) -> Result<()> {
        let last = trickle.last()?;
        wait(RESTART_DEADLINE, process, || observer.has_reached(&last))?;
        std::thread::sleep(Duration::from_secs(self.options.settle_s));
        let last = trickle.last()?;
        wait(RESTART_DEADLINE, process, || observer.has_reached(&last))
    }

    fn restart(
        &self,
        engine: Engine,
        successor: Successor,
        process: Process,
        observer: &Observer,
    ) -> Result<(Process, Restart)> {
        let load_average = machine::load_average();
        let open_transactions = self.kill(engine, process, observer)?;
        if successor == Successor::Empty {
            engine.wipe(self.setup)?;
        }
        let mut process = engine.start(self.setup, Instance::A)?;
        let started_at = process.started_at;
        let outputs_after = outputs_after(started_at, &mut process, observer)?;
        Ok((process, Restart { engine, successor, load_average, open_transactions, outputs_after }))
    }

    /// Kills the one process when another has come to follow it, and returns the other.
    fn takeover(
        &self,
        engine: Engine,
        process: Process,
        observer: &Observer,
        trickle: &Trickle,
    ) -> Result<(Process, Restart)> {
        let mut other = engine.start(self.setup, Instance::B)?;
        std::thread::sleep(Duration::from_secs(self.options.standby_s));
        self.catch_up(&mut other, observer, trickle)?;
        let load_average = machine::load_average();
        let open_transactions = self.kill(engine, process, observer)?;
        let outputs_after = outputs_after(Instant::now(), &mut other, observer)?;
        let successor = Successor::Standby;
        Ok((other, Restart { engine, successor, load_average, open_transactions, outputs_after }))
    }

    /// In the midst of a transaction, if there is one within a while. Returns how many are left open.
    fn kill(&self, engine: Engine, process: Process, observer: &Observer) -> Result<usize> {
        let output = self.setup.output(engine);
        let looking_since = Instant::now();
        while self.open_transactions(&output)? == 0 && looking_since.elapsed() < OPEN_TRANSACTION_DEADLINE {}
        process.kill()?;
        let open_transactions = self.open_transactions(&output)?;
        observer.await_output(&self.ends(&output, Isolation::ReadUncommitted)?)?;
        Ok(open_transactions)
    }

    fn open_transactions(&self, topic: &str) -> Result<usize> {
        let stable = self.ends(topic, Isolation::ReadCommitted)?;
        let all = self.ends(topic, Isolation::ReadUncommitted)?;
        Ok(stable.iter().zip(&all).filter(|(stable, all)| stable < all).count())
    }

    fn ends(&self, topic: &str, isolation: Isolation) -> Result<Vec<u64>> {
        let end = |number| {
            let watermarks = self.broker.watermarks(&TopicPartition::new(topic, number), isolation);
            Ok(watermarks.during("ask for the end of a topic")?.high)
        };
        (0..self.setup.tasks).map(end).collect()
    }
}

impl Restart {
    fn tell(&self) {
        let outputs: Vec<_> = self.outputs_after.iter().map(|after| format!("{:.2}", after.as_secs_f64())).collect();
        eprintln!("  {}: output after {} s, load {}", self.successor.name(), outputs.join(", "), self.load_average);
    }
}

/// When each task gives output again, counted from `since`, in ascending order.
fn outputs_after(since: Instant, process: &mut Process, observer: &Observer) -> Result<Vec<Duration>> {
    let mut resumed_at = None;
    wait(RESTART_DEADLINE, process, || {
        resumed_at = observer.resumed_at()?;
        Ok(resumed_at.is_some())
    })?;
    let resumed_at = resumed_at.unwrap_or_default();
    let mut outputs_after: Vec<_> = resumed_at.iter().map(|at| at.duration_since(since)).collect();
    outputs_after.sort();
    Ok(outputs_after)
}

/// Asks again until it is so. An engine that ends meanwhile is an error.
fn wait(deadline: Duration, process: &mut Process, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let started_at = Instant::now();
    while !is_so()? {
        process.check()?;
        if started_at.elapsed() > deadline {
            return Err(format!("still not there after {deadline:?}; the engine's log may say why").into());
        }
        std::thread::sleep(TICK);
    }
    Ok(())
}
