//! `tidemill drill`: a bad day rehearsed on the embedded broker, from a producer's bad deploy to books that balance again.
//!
//! Every step is the command that an operator would give, run on the same code; what it prints says which.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use json_patch::Patch;
use serde::Serialize;
use serde_json::{Map, Value, json};
use tidemill_runtime::operator::verify_trail;
use tidemill_runtime::replay::run::{Pace, Report, apply};
use tidemill_runtime::replay::{self, Destination, Failing, Filter, LoopGuard, Plan, Wish};
use tidemill_runtime::supervise::{self, RunOptions, RunSinks, Running};
use tidemill_runtime::worker::OnStop;

use crate::args::{DrillArgs, Global};
use crate::command::demo::{ACCOUNTS_TOPIC, CUSTOMERS, PAYMENTS_TOPIC, below, ended_on, wait, write_missing};
use crate::command::dlq::apply::open_letters;
use crate::command::dlq::edit::Mending;
use crate::command::dlq::{edit, plan};
use crate::command::{reconcile, status};
use crate::exit::{Exit, Failure};
use crate::generator::{self, GeneratedRecord, Payments};
use crate::operations::actor;
use crate::output::{self, count};
use crate::reconciliation;
use crate::session::{self, Access, Session};
use crate::stop::Stop;

const MARKER: &str = "drill";
const DEAD_LETTERS: &str = "payments.requested.v1.dlq";
const REASON: &str = "drill: the producer sends amounts as objects";
/// How the records of the bad deploy fail.
const MENDED_CODE: &str = "schema_mismatch";
/// What undoes the bad deploy.
const MEND: &str = r#"[
    {"op": "copy", "from": "/amount/currency", "path": "/currency"},
    {"op": "move", "from": "/amount/value", "path": "/amount"}
]"#;

#[derive(Serialize)]
struct Verdict {
    event: &'static str,
    holds: bool,
    payments: u64,
    dead_letters: u64,
    /// That the plan said would pass, before the values were mended and after.
    passed_before: u64,
    passed_after: u64,
    replayed: u64,
    /// By the same plan, applied once more.
    replayed_again: u64,
    /// What could never be read.
    discarded: u64,
    dead_letters_left: u64,
    audit_entries: u64,
    findings: Vec<String>,
}

pub(super) fn run(global: &Global, args: &DrillArgs) -> Result<Exit, Failure> {
    prepare_folder(&args.dir)?;
    let (topology, _) = session::compile(&below(global, &args.dir))?;
    let stop = Stop::on_signals()?;
    let session = Session::connect(Arc::new(topology), Access::Work { workers: 2 })?;
    session.provision()?;
    let shared = session.shared("drill")?;
    let options = RunOptions {
        instance: "drill".to_owned(),
        workers: 2,
        units: Vec::new(),
        sinks: RunSinks::All,
        on_stop: OnStop::Leave,
    };
    let running = supervise::start(&shared, &options).map_err(|error| Failure::new(Exit::Findings, error))?;
    let drill = Drill { global, args, session: &session, running: &running, stop: &stop };
    let verdict = drill.rehearse();
    let joined = running.join().map_err(|error| Failure::new(Exit::Findings, error));
    let verdict = verdict?;
    joined?;
    let Some(verdict) = verdict else { return Ok(Exit::Interrupted) };
    if global.json {
        output::json(&verdict)?;
    } else {
        for finding in &verdict.findings {
            output::line(&format!("NOT AS IT SHOULD BE  {finding}"))?;
        }
        let end = if verdict.holds {
            "The day is over: nothing was lost, doubled or out of order."
        } else {
            "The drill failed."
        };
        output::line(end)?;
    }
    Ok(if verdict.holds { Exit::Ok } else { Exit::Findings })
}

/// A folder that is empty, or that an earlier drill has made.
fn prepare_folder(dir: &Path) -> Result<(), Failure> {
    if dir.join(MARKER).exists() {
        fs::remove_dir_all(dir)?;
    } else if dir.exists() && fs::read_dir(dir)?.next().is_some() {
        let message = format!("{} is not empty and not a drill's folder", dir.display());
        return Err(Failure::new(Exit::Refused, message).hint("Name another folder with `--dir`."));
    }
    fs::create_dir_all(dir)?;
    Ok(fs::write(dir.join(MARKER), "")?)
}

struct Drill<'a> {
    global: &'a Global,
    args: &'a DrillArgs,
    session: &'a Session,
    running: &'a Running,
    stop: &'a Stop,
}

impl Drill<'_> {
    /// `None` if somebody said stop.
    fn rehearse(&self) -> Result<Option<Verdict>, Failure> {
        self.say("A producer deploys: its amounts are objects of value and currency from now on.", "")?;
        if !self.produce()? {
            return Ok(None);
        }
        let dead_letters = self.dead_open()?;
        self.say(&format!("{} payments are dead letters.", count(dead_letters)), "tidemill dlq stats")?;

        let path = self.args.dir.join("plan.json");
        let mut plan = self.plan()?;
        let passed_before = self.shown(&plan, &path, "tidemill dlq plan payments.requested.v1.dlq -o plan.json")?;
        let patch: Patch = serde_json::from_str(MEND).map_err(|error| Failure::new(Exit::Findings, error))?;
        edit::change(self.session, &mut plan, &Mending::Patch(patch), Some(MENDED_CODE), &[])?;
        let passed_after =
            self.shown(&plan, &path, "tidemill dlq edit plan.json --code schema_mismatch --patch mend.json")?;

        let first = self.apply(&plan)?;
        self.say(
            &format!("{} sent back, each in one transaction with the note that it was.", count(first.replayed)),
            "tidemill dlq apply plan.json --reason ...",
        )?;
        if !self.settle()? {
            return Ok(None);
        }
        let again = self.apply(&plan)?;
        self.say(
            &format!("{} sent back by the same plan, applied once more.", count(again.replayed)),
            "tidemill dlq apply plan.json --reason ...",
        )?;
        let discarded = self.discard()?;
        self.say(
            &format!("{} given up: no patch makes them payments.", count(discarded)),
            "tidemill dlq discard payments.requested.v1.dlq --reason ...",
        )?;
        if !self.settle()? {
            return Ok(None);
        }
        self.judge(dead_letters, [passed_before, passed_after], [first, again], discarded).map(Some)
    }

    fn say(&self, what: &str, command: &str) -> Result<(), Failure> {
        if self.global.json {
            return Ok(());
        }
        if !command.is_empty() {
            output::line(&format!("$ {command}"))?;
        }
        output::line(&format!("{what}\n"))
    }

    fn produce(&self) -> Result<bool, Failure> {
        let accounts: Vec<GeneratedRecord> = generator::accounts(CUSTOMERS).collect();
        let total = accounts.len() as u64;
        let (session, stop) = (self.session, self.stop);
        write_missing(session, ACCOUNTS_TOPIC, accounts.into_iter(), stop, |_| Ok(()))?;
        if !wait(session, self.running, stop, |session| Ok(ended_on(session, ACCOUNTS_TOPIC)? >= total))? {
            return Ok(false);
        }
        let payments = usize::try_from(self.args.payments).unwrap_or(usize::MAX);
        let bad = Payments::new(self.args.seed, CUSTOMERS).take(payments).map(badly_deployed);
        Ok(write_missing(session, PAYMENTS_TOPIC, bad, stop, |_| Ok(()))? && self.settle()?)
    }

    fn settle(&self) -> Result<bool, Failure> {
        wait(self.session, self.running, self.stop, |session| {
            Ok(self.running.health.is_ready() && status::is_idle(session)? && !self.running.health.is_releasing())
        })
    }

    fn dead_open(&self) -> Result<u64, Failure> {
        Ok(reconciliation::paths(self.session)?.iter().map(reconciliation::Path::dead_open).sum())
    }

    fn plan(&self) -> Result<Plan, Failure> {
        let wish = Wish {
            topic: DEAD_LETTERS.to_owned(),
            filter: Filter::default(),
            destination: Destination::Stage,
            failing: Failing::Left,
            created_by: actor(),
        };
        plan::make(self.session, wish, LoopGuard::On)
    }

    /// Writes the plan down, says what it says, and returns how many letters would pass.
    fn shown(&self, made: &Plan, path: &Path, command: &str) -> Result<u64, Failure> {
        plan::write(made, path)?;
        if !self.global.json {
            output::line(&format!("$ {command}"))?;
            plan::show(self.global, made, path)?;
            output::line("")?;
        }
        Ok(made.counts().passes)
    }

    fn apply(&self, plan: &Plan) -> Result<Report, Failure> {
        let pace = Pace { rate: None, failed_percent_max: 50, lag_records_max: None };
        let mut operator = self.session.operator()?;
        let look = |_, _| if self.stop.is_set() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        Ok(apply(&mut operator, plan, &pace, REASON, look)?)
    }

    fn discard(&self) -> Result<u64, Failure> {
        let letters = open_letters(self.session, DEAD_LETTERS, &Filter::default())?;
        Ok(replay::discard(&mut self.session.operator()?, &letters, "drill: they were never payments")?)
    }

    fn judge(
        &self,
        dead_letters: u64,
        passed: [u64; 2],
        reports: [Report; 2],
        discarded: u64,
    ) -> Result<Verdict, Failure> {
        let result = reconciliation::reconcile(self.session)?;
        let trail = verify_trail(self.session.broker.as_ref(), &self.session.topology)?;
        if !self.global.json {
            output::line("$ tidemill reconcile")?;
            reconcile::print(&result)?;
            let entries = count(trail.coverage().entries);
            self.say(
                &format!("\n$ tidemill audit verify\n{entries} entries, {} findings", trail.findings().len()),
                "",
            )?;
        }
        let ([passed_before, passed_after], [first, again]) = (passed, reports);
        let left = self.dead_open()?;
        let payments = self.args.payments;
        let mut findings = result.findings;
        findings.extend(trail.findings().iter().map(ToString::to_string));
        for (what, found, expected) in [
            ("dead letters", dead_letters, payments),
            ("would pass before", passed_before, 0),
            ("replayed", first.replayed, passed_after),
            ("replayed or discarded", first.replayed + discarded, payments),
            ("replayed again", again.replayed, 0),
            ("dead letters left", left, 0),
        ] {
            if found != expected {
                findings.push(format!("{what}: {found}, should be {expected}"));
            }
        }
        Ok(Verdict {
            event: "result",
            holds: findings.is_empty(),
            payments,
            dead_letters,
            passed_before,
            passed_after,
            replayed: first.replayed,
            replayed_again: again.replayed,
            discarded,
            dead_letters_left: left,
            audit_entries: trail.coverage().entries,
            findings,
        })
    }
}

/// The payment as the producer sends it after its bad deploy.
fn badly_deployed(mut record: GeneratedRecord) -> GeneratedRecord {
    if let Ok(mut payment) = serde_json::from_slice::<Map<String, Value>>(&record.value) {
        let [value, currency] = ["amount", "currency"].map(|name| payment.remove(name).unwrap_or_default());
        payment.insert("amount".to_owned(), json!({"value": value, "currency": currency}));
        record.value = Value::Object(payment).to_string().into_bytes();
    }
    record
}
