//! `tidemill plan` and `tidemill apply`.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};

use serde::Serialize;
use tidemill_audit::{Action, Outcome};
use tidemill_runtime::provision::Plan;

use crate::args::Global;
use crate::exit::{Exit, Failure};
use crate::output;
use crate::session::{Access, Session};

#[derive(Serialize)]
struct PlanView {
    steps: Vec<String>,
    refusals: Vec<String>,
}

pub(super) fn plan(global: &Global) -> Result<Exit, Failure> {
    let session = Session::open(global, Access::Write)?;
    let plan = session.provisioner().plan()?;
    show(global, &plan)?;
    Ok(match (plan.is_empty(), plan.refusals.is_empty()) {
        (_, false) => Exit::Refused,
        (true, _) => Exit::Ok,
        (false, true) => Exit::Findings,
    })
}

pub(super) fn apply(global: &Global, yes: bool) -> Result<Exit, Failure> {
    let session = Session::open(global, Access::Write)?;
    let provisioner = session.provisioner();
    let plan = provisioner.plan()?;
    if !plan.refusals.is_empty() {
        show(global, &plan)?;
        return Err(Failure::new(Exit::Refused, "the differences above cannot be applied without losing something"));
    }
    if plan.is_empty() {
        eprintln!("nothing to do");
        return Ok(Exit::Ok);
    }
    if !yes {
        show(global, &plan)?;
        confirm(&format!("Apply these {} steps?", plan.steps.len()))?;
    }
    provisioner.apply(&plan, |step| eprintln!("done: {step}"))?;
    let steps: Vec<String> = plan.steps.iter().map(ToString::to_string).collect();
    session.operator()?.act(
        Action {
            actor: String::new(),
            verb: "apply".to_owned(),
            object: session.topology.pipeline.produced_by(),
            outcome: Outcome::Done,
            reason: "the topology asks for it".to_owned(),
            plan_hash: None,
            counts: BTreeMap::from([("steps".to_owned(), steps.len() as u64)]),
            detail: steps.join("; "),
        },
        |_| Ok(()),
    )?;
    Ok(Exit::Ok)
}

/// Asks on a terminal. Elsewhere nobody can answer, so `--yes` is needed.
pub(super) fn confirm(question: &str) -> Result<(), Failure> {
    let refused =
        |message: &str| Failure::new(Exit::Refused, message).hint("Give `--yes` to go on without being asked.");
    if !std::io::stdin().is_terminal() {
        return Err(refused("nobody is there to confirm"));
    }
    eprint!("{question} [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") { Ok(()) } else { Err(refused("not confirmed")) }
}

fn show(global: &Global, plan: &Plan) -> Result<(), Failure> {
    let view = PlanView {
        steps: plan.steps.iter().map(ToString::to_string).collect(),
        refusals: plan.refusals.iter().map(|refusal| format!("{}: {}", refusal.what, refusal.why)).collect(),
    };
    if global.json {
        return output::json(&view);
    }
    for step in &view.steps {
        output::line(&format!("+ {step}"))?;
    }
    for refusal in &view.refusals {
        output::line(&format!("! {refusal}"))?;
    }
    if plan.is_empty() {
        output::line("everything is in place")?;
    }
    Ok(())
}
