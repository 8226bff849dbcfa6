//! `tidemill reprocess`: the same inputs through a second pipeline, compared with the live one, which it may replace.

mod abort;
mod cutover;
mod diff;
mod pair;
mod running;
mod start;
mod status;

use std::collections::BTreeMap;

use tidemill_audit::{Action, Outcome};
use tidemill_runtime::operator::{Operator, OperatorError};
use tidemill_runtime::reprocess::{Note, Run, enter};

use crate::args::{Global, ReprocessCommand};
use crate::exit::{Exit, Failure};

pub(super) fn run(global: &Global, command: &ReprocessCommand) -> Result<Exit, Failure> {
    match command {
        ReprocessCommand::Start { from, run, reason } => start::run(global, from, run, reason),
        ReprocessCommand::Status => status::run(global),
        ReprocessCommand::Diff { with, samples } => diff::run(global, with.as_deref(), *samples),
        ReprocessCommand::Cutover { run, accept_missing, reason, yes } => {
            cutover::run(global, &cutover::Wish { run, accept_missing: *accept_missing, reason, yes: *yes })
        }
        ReprocessCommand::Abort { with, reason, yes } => abort::run(global, with.as_deref(), reason, *yes),
    }
}

/// What goes into the audit trail about a step of this reprocess.
fn action(verb: &str, run: &Run, reason: &str, counts: &[(&str, u64)]) -> Action {
    Action {
        actor: String::new(),
        verb: format!("reprocess.{verb}"),
        object: run.colour.to_string(),
        outcome: Outcome::Done,
        reason: reason.to_owned(),
        plan_hash: Some(run.plan_hash()),
        counts: counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect::<BTreeMap<_, _>>(),
        detail: format!("{} beside {}, {}", run.green_config_hash, run.blue_config_hash, run.phase.name()),
    }
}

/// Notes the step together with its audit entry, and says so.
fn step(operator: &mut Operator, note: &Note, action: Action, said: &str) -> Result<(), OperatorError> {
    enter(operator, note, action)?;
    eprintln!("step: {said}");
    Ok(())
}

/// Enters that a guard said no, and returns what to tell.
fn refuse(operator: &mut Operator, action: Action, code: &str, message: &str) -> Result<Failure, OperatorError> {
    let detail = format!("{code}: {message}");
    operator.act(Action { outcome: Outcome::Refused, detail: detail.clone(), ..action }, |_| Ok(()))?;
    Ok(Failure::new(Exit::Refused, detail))
}
