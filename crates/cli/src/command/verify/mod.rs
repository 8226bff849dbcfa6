//! `tidemill verify`: proves on a running pipeline, under load, that nothing is lost, doubled or out of order.
//!
//! It opens accounts of its own, hands out payments between them, writes down what the broker acknowledged, and when all
//! is quiet reads with `read_committed`, from where the topics ended when it began, what became of each. Other traffic may
//! go on meanwhile; it is told apart by names and judged only where that is possible.
//!
//! Who runs the pipeline: on Kafka whoever does already, or `--instances` processes that `verify` starts and, with
//! `--faults`, kills, freezes and stops. The embedded broker belongs to one process, so there `verify` runs the workers
//! itself, as `demo` does, and there is nobody else to be killed.

mod faults;
mod judge;
#[cfg(test)]
mod judge_tests;
mod load;
mod oracle;
mod reading;
mod report;
mod watch;

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tidemill_runtime::supervise::{self, RunOptions, RunSinks, Running};
use tidemill_runtime::worker::OnStop;
use tidemill_topology::plan::Broker;

use self::faults::{Fault, Fleet, Schedule};
use self::judge::Rule;
use self::load::{Issuer, Load};
use self::oracle::{Oracle, Run};
use self::reading::{Offsets, Places};
use self::report::{Recovery, Report};
use self::watch::{Seen, Watch};
use crate::args::{Global, VerifyArgs};
use crate::command::status;
use crate::exit::{Exit, Failure};
use crate::output::Progress;
use crate::reconciliation;
use crate::session::{Access, Session};
use crate::stop::Stop;

/// Event times of the payments are spread over so long: inside the day for which a pipeline knows a resend by default, also
/// where others send payments of today or an earlier run has.
const SPREAD_MS: i64 = 20 * 3_600 * 1_000;
const OPEN_DEADLINE: Duration = Duration::from_secs(120);
const DRAIN_TICK: Duration = Duration::from_millis(300);
const WAITING_INTERVAL: Duration = Duration::from_secs(5);
/// Transactions that were left open are ended by the broker after their time-out, and it looks every ten seconds.
const HANGING_DEADLINE: Duration = Duration::from_secs(45);

/// An instance that is put right takes tasks back within this.
const RETURN_MS: u32 = 6_000;
/// A return that is followed sooner by the next fault says nothing.
const RETURN_MS_MIN: u32 = 4_000;

/// Who runs the pipeline.
enum Workers {
    Elsewhere,
    Threads(Running),
    Processes(Box<Fleet>),
}

/// How waiting for the last record ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drained {
    /// Nothing waits anywhere.
    Idle,
    /// What this run sent has ended; others go on.
    OwnRecords,
    TimedOut,
}

pub(super) fn run(global: &Global, args: &VerifyArgs) -> Result<Exit, Failure> {
    if args.instances == 0 && !args.faults.is_empty() {
        return Err(Failure::new(Exit::Usage, "--faults hits processes that `verify` itself has started")
            .hint("Say how many with `--instances`; that needs Kafka."));
    }
    let stop = Stop::on_signals()?;
    let session = Arc::new(Session::open(global, Access::Write)?);
    let places = Places::of(&session.topology)?;
    let workers = start_workers(global, args, &session)?;
    let seed = args.seed.unwrap_or_else(|| session.clock.unix_ms().unsigned_abs() % 1_000_000_007);
    let run = new_run(&session, args);
    eprintln!("{}", serde_json::json!({"event": "start", "run": run.name, "seed": seed}));
    let mut verification = Verification {
        global,
        args,
        seed,
        starts: reading::starts(&session, &places)?,
        payments_from: reading::ends(&session, &[&places.payments])?,
        oracle: Oracle { run, payments: Vec::new() },
        started_at: Instant::now(),
        session,
        places,
    };
    verification.run(workers, &stop)
}

fn new_run(session: &Session, args: &VerifyArgs) -> Run {
    let now_ms = session.clock.unix_ms();
    let payments = i64::try_from(args.rate.saturating_mul(args.duration)).unwrap_or(i64::MAX).max(1);
    Run {
        name: format!("verify-{now_ms:x}"),
        first_created_ms: now_ms - SPREAD_MS,
        step_ms: (SPREAD_MS / payments).max(1),
    }
}

fn start_workers(global: &Global, args: &VerifyArgs, session: &Arc<Session>) -> Result<Workers, Failure> {
    let is_embedded = matches!(session.topology.broker, Broker::Embedded { .. });
    match (is_embedded, args.instances) {
        (true, 0) => {
            session.provision()?;
            let shared = session.shared("verify")?;
            let options = RunOptions {
                instance: "verify".to_owned(),
                workers: args.workers,
                units: Vec::new(),
                sinks: RunSinks::All,
                on_stop: OnStop::Leave,
            };
            Ok(Workers::Threads(supervise::start(&shared, &options).map_err(failure)?))
        }
        (true, _) => Err(Failure::new(Exit::Usage, "the embedded broker belongs to one process: no --instances there")
            .hint("Leave `--instances` out, or use Kafka.")),
        (false, 0) => Ok(Workers::Elsewhere),
        (false, _) => Ok(Workers::Processes(Box::new(Fleet::start(global, args)?))),
    }
}

fn failure(error: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Findings, error)
}

struct Verification<'a> {
    global: &'a Global,
    args: &'a VerifyArgs,
    seed: u64,
    session: Arc<Session>,
    places: Places,
    /// Where the topics that are read ended before the first record was sent.
    starts: Offsets,
    payments_from: Offsets,
    oracle: Oracle,
    started_at: Instant,
}

impl Verification<'_> {
    fn run(&mut self, mut workers: Workers, stop: &Stop) -> Result<Exit, Failure> {
        let watch = Watch::start(&self.session, &self.places, &self.oracle.run, &self.starts, self.started_at)?;
        let faults = self.load(&mut workers, &watch, stop)?;
        let load_ended_ms = self.now_ms();
        if stop.is_set() {
            eprintln!("interrupted; what was sent so far is not judged");
            stop_workers(workers)?;
            return Ok(Exit::Interrupted);
        }
        let drained = self.drain(&mut workers, &watch, stop)?;
        let seen = watch.seen().clone();
        drop(watch);
        let ended = stop_workers(workers)?;
        let recoveries = recoveries(&faults, &seen, load_ended_ms);
        let mut rules = self.judge(drained)?;
        if !faults.is_empty() {
            rules.push(recovered(&recoveries, self.bound_ms(), load_ended_ms));
        }
        let report = Report {
            run: self.oracle.run.name.clone(),
            seed: self.seed,
            load_ms: load_ended_ms,
            drained: format!("{drained:?}"),
            sent: self.oracle.tally(),
            payments: self.oracle.payments.len(),
            outcomes: seen.outcomes(),
            posted: seen.posted,
            latency_ms: [50, 95, 99, 100].map(|percent| seen.latency_ms(percent)),
            started_unix_ms: self.session.clock.unix_ms() - i64::from(self.now_ms()),
            stalls: seen.stalls(),
            bound_ms: self.bound_ms(),
            recoveries,
            ended,
            rules,
        };
        report.print(self.global)
    }

    fn now_ms(&self) -> u32 {
        u32::try_from(self.started_at.elapsed().as_millis()).unwrap_or(u32::MAX)
    }

    fn bound_ms(&self) -> u32 {
        u32::try_from(self.args.recovery_bound.saturating_mul(1_000)).unwrap_or(u32::MAX)
    }

    /// Opens accounts and sends payments, while faults are made where that was asked for.
    fn load(&mut self, workers: &mut Workers, watch: &Watch, stop: &Stop) -> Result<Vec<Fault>, Failure> {
        let load = Load {
            session: &self.session,
            topic: &self.places.payments,
            customers: self.args.accounts,
            rate: self.args.rate,
            duration: Duration::from_secs(self.args.duration),
            started_at: self.started_at,
        };
        let accounts = load.open_accounts(&self.oracle, &self.places.accounts, stop)?;
        let workers = RefCell::new(workers);
        watch.until_opened(accounts, OPEN_DEADLINE, || {
            if stop.is_set() {
                return Err(Failure::new(Exit::Interrupted, "interrupted before the accounts were open"));
            }
            tend(&mut workers.borrow_mut())
        })?;
        let schedule = Schedule {
            session: &self.session,
            workers: self.args.workers,
            faults: &self.args.faults,
            watch,
            bound_ms: self.bound_ms(),
            seed: self.seed,
            started_at: self.started_at,
        };
        let workers = workers.into_inner();
        let is_over = AtomicBool::new(false);
        let mut progress = Progress::new("payments", self.args.rate.saturating_mul(self.args.duration));
        let mut issuer = Issuer::new(self.seed, self.args.accounts);
        let oracle = &mut self.oracle;
        std::thread::scope(|scope| {
            let (threads, fleet) = match workers {
                Workers::Processes(fleet) => (None, Some(fleet)),
                Workers::Threads(running) => (Some(running), None),
                Workers::Elsewhere => (None, None),
            };
            let is_over = &is_over;
            let faults =
                fleet.map(|fleet| scope.spawn(move || schedule.run(fleet, stop, || is_over.load(Ordering::Relaxed))));
            let loaded = load.run(oracle, &mut issuer, stop, |oracle| {
                progress.set(oracle.payments.len() as u64);
                threads.as_ref().map_or(Ok(()), |running| still_runs(running))
            });
            is_over.store(true, Ordering::Relaxed);
            let made = faults.map_or(Ok(Vec::new()), |faults| {
                faults.join().unwrap_or_else(|_| Err(failure("the schedule of faults panicked")))
            });
            loaded?;
            progress.finish();
            made
        })
    }

    /// Waits until everything that was sent has come to its end. Says what it waits for.
    fn drain(&self, workers: &mut Workers, watch: &Watch, stop: &Stop) -> Result<Drained, Failure> {
        let deadline = Duration::from_secs(self.args.drain_timeout);
        let sent = self.oracle.tally();
        let started_at = Instant::now();
        let mut told_at = Instant::now();
        while started_at.elapsed() < deadline && !stop.is_set() {
            tend(workers)?;
            let (answers, posted, settled) = {
                let seen = watch.seen();
                (seen.answers + seen.dead, seen.posted, seen.settled)
            };
            let is_alone = self.is_alone();
            if is_alone == Some(true) && status::is_idle(&self.session).unwrap_or(false) {
                return Ok(Drained::Idle);
            }
            if is_alone == Some(false) && answers >= u64::from(sent.acknowledged) && settled >= posted {
                return Ok(Drained::OwnRecords);
            }
            if told_at.elapsed() > WAITING_INTERVAL {
                told_at = Instant::now();
                let line = serde_json::json!({"event": "waiting", "answers": answers, "acknowledged": sent.acknowledged,
                    "posted": posted, "credited_or_returned": settled, "alone": is_alone});
                eprintln!("{line}");
            }
            std::thread::sleep(DRAIN_TICK);
        }
        Ok(Drained::TimedOut)
    }

    /// Whether nobody else has sent payments meanwhile. `None` if the broker does not answer.
    fn is_alone(&self) -> Option<bool> {
        let ends = reading::ends(&self.session, &[&self.places.payments]).ok()?;
        let grown: u64 =
            ends.iter().map(|(partition, end)| end - self.payments_from.get(partition).unwrap_or(end)).sum();
        Some(grown <= u64::from(self.oracle.tally().max()))
    }

    fn judge(&self, drained: Drained) -> Result<Vec<Rule>, Failure> {
        let evidence = reading::evidence(&self.session, &self.places, &self.oracle.run, &self.starts)?;
        let mut rules = judge::judge(&self.oracle, &evidence);
        let mut ended = Rule::new("everything that was sent has come to its end");
        ended.check((drained == Drained::TimedOut).then(|| format!("not within {} s", self.args.drain_timeout)));
        rules.push(ended);
        let (partitions, stuck) = reading::unreadable(&self.session, HANGING_DEADLINE)?;
        let mut open = Rule::new("no transaction is left open");
        open.checked = (partitions - stuck.len()) as u64;
        stuck.into_iter().for_each(|place| open.check(Some(place)));
        rules.push(open);
        // While others send, figures are always on their way.
        if drained != Drained::OwnRecords {
            let mut figures = Rule::new("engine and read models add up");
            let reconciled = reconciliation::reconcile(&self.session)?;
            figures.checked = (reconciled.paths.len() + reconciled.read_models.len()) as u64;
            reconciled.findings.into_iter().for_each(|finding| figures.check(Some(finding)));
            rules.push(figures);
        }
        Ok(rules)
    }
}

fn tend(workers: &mut Workers) -> Result<(), Failure> {
    match workers {
        Workers::Elsewhere => Ok(()),
        Workers::Threads(running) => still_runs(running),
        Workers::Processes(fleet) => fleet.tend(),
    }
}

fn still_runs(running: &Running) -> Result<(), Failure> {
    running.wait(Duration::ZERO).map_or(Ok(()), |ended| ended.map_err(failure))
}

/// Returns which processes had ended by themselves.
fn stop_workers(workers: Workers) -> Result<Vec<String>, Failure> {
    match workers {
        Workers::Elsewhere => Ok(Vec::new()),
        Workers::Threads(running) => running.join().map(|()| Vec::new()).map_err(failure),
        Workers::Processes(mut fleet) => {
            let ended = std::mem::take(&mut fleet.ended);
            fleet.stop().map(|()| ended)
        }
    }
}

/// What each fault cost. Those that were made together are one.
fn recoveries(faults: &[Fault], seen: &Seen, load_ended_ms: u32) -> Vec<Recovery> {
    let tasks = u32::try_from(seen.tasks.len()).unwrap_or(u32::MAX);
    let recovery = |fault: &Fault| {
        let together = || faults.iter().filter(|other| other.at_ms < fault.ended_ms && fault.at_ms < other.ended_ms);
        let firsts: Option<Vec<u32>> = fault.tasks.iter().map(|task| seen.first_since(*task, fault.at_ms)).collect();
        let recovery_ms = firsts.map(|firsts| firsts.into_iter().max().map_or(0, |last| last - fault.at_ms));
        let others = (0..tasks).filter(|task| together().all(|other| !other.tasks.contains(task)));
        let until_ms = fault.at_ms + recovery_ms.unwrap_or(0);
        let others_gap_ms = others.map(|task| seen.gap_max_ms(task, fault.at_ms, until_ms)).max();
        let next_ms = faults.iter().map(|other| other.at_ms).find(|at_ms| *at_ms >= fault.ended_ms);
        let quiet_until_ms =
            next_ms.unwrap_or(u32::MAX).min(load_ended_ms).min(fault.ended_ms.saturating_add(RETURN_MS));
        let is_quiet = quiet_until_ms.saturating_sub(fault.ended_ms) >= RETURN_MS_MIN;
        let after = || (0..tasks).map(|task| seen.gap_max_ms(task, fault.ended_ms, quiet_until_ms)).max();
        let return_gap_ms = is_quiet.then(after).flatten();
        Recovery { fault: fault.clone(), recovery_ms, others_gap_ms, return_gap_ms }
    };
    faults.iter().map(recovery).collect()
}

fn recovered(recoveries: &[Recovery], bound_ms: u32, load_ended_ms: u32) -> Rule {
    let mut rule = Rule::new("tasks go on after each fault within the bound");
    for recovery in recoveries {
        let fault = &recovery.fault;
        let took = match recovery.recovery_ms {
            Some(took) => took,
            // The load ended before the bound, so nothing can be said.
            None if load_ended_ms < fault.at_ms.saturating_add(bound_ms) => continue,
            None => u32::MAX,
        };
        let what = || {
            format!(
                "{} of {} at {} ms: {:?} ms, bound {bound_ms} ms",
                fault.kind, fault.instance, fault.at_ms, recovery.recovery_ms
            )
        };
        rule.check((took > bound_ms).then(what));
    }
    rule
}
