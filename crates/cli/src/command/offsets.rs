//! `tidemill offsets`: positions that are moved, planned in a file and carried out if nothing has changed since.

use std::path::Path;

use serde_json::json;
use tidemill_core::EventTime;
use tidemill_runtime::rewind::{self, Destination, Guard, Plan, RewindError, Target, Wish};

use crate::args::{Global, OffsetsApplyArgs, OffsetsCommand, OffsetsPlanArgs};
use crate::command::provision::confirm;
use crate::exit::{Exit, Failure};
use crate::operations::{actor, check_reason, moment};
use crate::output::{self, count};
use crate::session::{Access, Session, sink_failure};

pub(super) fn run(global: &Global, command: &OffsetsCommand) -> Result<Exit, Failure> {
    match command {
        OffsetsCommand::Plan(args) => plan(global, args),
        OffsetsCommand::Apply(args) => apply(global, args),
    }
}

fn plan(global: &Global, args: &OffsetsPlanArgs) -> Result<Exit, Failure> {
    let session = Session::open(global, Access::Read)?;
    let now_ms = session.clock.unix_ms();
    let target = match (&args.unit, &args.sink) {
        (Some(unit), _) => Target::Unit(unit.clone()),
        (None, Some(sink)) => Target::Sink(sink.clone()),
        (None, None) => return Err(Failure::new(Exit::Usage, "neither `--unit` nor `--sink` is given")),
    };
    let wish = Wish {
        target,
        destination: destination(&args.to, now_ms)?,
        topic: args.topic.clone(),
        partition: args.partition,
        created_by: actor(),
    };
    let plan = rewind::plan(session.broker.as_ref(), &session.topology, wish, now_ms)?;
    let failure = |error: std::io::Error| Failure::new(Exit::Findings, format!("{}: {error}", args.out.display()));
    std::fs::write(&args.out, plan.encode()).map_err(failure)?;
    show(global, &plan, &args.out)?;
    Ok(Exit::Ok)
}

fn show(global: &Global, plan: &Plan, path: &Path) -> Result<(), Failure> {
    if global.json {
        return output::json(&json!({
            "event": "result", "plan": path.display().to_string(), "hash": plan.hash, "target": plan.target,
            "moves": plan.moves,
        }));
    }
    let rows: Vec<Vec<String>> = plan
        .moves
        .iter()
        .map(|one| {
            let figures = [u64::from(one.partition), one.from, one.to, one.end].map(count);
            std::iter::once(one.topic.clone()).chain(figures).collect()
        })
        .collect();
    output::table(&["topic", "partition", "from", "to", "end"], &rows)?;
    output::line(&format!("plan {} written to {}", plan.hash.get(..12).unwrap_or_default(), path.display()))
}

fn apply(global: &Global, args: &OffsetsApplyArgs) -> Result<Exit, Failure> {
    check_reason(&args.reason)?;
    let failure = |error: std::io::Error| Failure::new(Exit::Usage, format!("{}: {error}", args.plan.display()));
    let plan = Plan::decode(&std::fs::read_to_string(&args.plan).map_err(failure)?)
        .map_err(|error| Failure::new(Exit::Refused, error).hint("Make a new plan with `tidemill offsets plan`."))?;
    let session = Session::open(global, Access::Write)?;
    if !args.yes {
        confirm(&format!("Move {} positions of {}?", plan.moves.len(), plan.target))?;
    }
    rewind::apply(&mut session.operator()?, &plan, &args.reason)?;
    if global.json {
        output::json(&json!({"event": "result", "target": plan.target, "plan": plan.hash, "moved": plan.moves.len()}))?;
    } else {
        output::line(&format!("{} positions of {} moved", plan.moves.len(), plan.target))?;
    }
    Ok(Exit::Ok)
}

fn destination(text: &str, now_ms: i64) -> Result<Destination, Failure> {
    match text {
        "beginning" => Ok(Destination::Beginning),
        "end" => Ok(Destination::End),
        text => match (text.parse::<u64>(), EventTime::parse(text)) {
            (Ok(offset), _) => Ok(Destination::Offset(offset)),
            (Err(_), Some(time)) => Ok(Destination::Time(time.millis())),
            (Err(_), None) => Ok(Destination::Time(moment(text, now_ms)?)),
        },
    }
}

impl From<RewindError> for Failure {
    fn from(error: RewindError) -> Self {
        match error {
            RewindError::Operator(error) => error.into(),
            RewindError::Broker(error) => error.into(),
            RewindError::Provision(error) => error.into(),
            RewindError::Sink { sink, error } => sink_failure(&sink, error),
            RewindError::Refused(guard) => {
                let hint = match &guard {
                    Guard::Unknown(_) => "`tidemill explain` shows units and sinks.",
                    Guard::Stateful { .. } => {
                        "Run the inputs through a second pipeline with `tidemill reprocess start`."
                    }
                    Guard::ReachesOutside(_) => "Send single records again from where they come from.",
                    Guard::Runs(_) => "Stop its processes, then apply the same plan.",
                    Guard::OtherConfiguration { .. } | Guard::Moved { .. } => {
                        "Make a new plan with `tidemill offsets plan`."
                    }
                    Guard::Gone { .. } => "Name a later offset or time.",
                };
                Self::new(Exit::Refused, RewindError::Refused(guard)).hint(hint)
            }
        }
    }
}
