//! `reprocess abort`: the new pipeline goes away with everything it has made, and the live one goes on.

use std::path::Path;

use serde_json::json;
use tidemill_runtime::reprocess::{Note, Phase, RemovalError, Run, remove, unretire};

use super::pair::Pair;
use super::{action, step};
use crate::args::Global;
use crate::command::provision::confirm;
use crate::exit::{Exit, Failure};
use crate::operations::check_reason;
use crate::output;
use crate::session::Access;

pub(super) fn run(global: &Global, with: Option<&Path>, reason: &str, yes: bool) -> Result<Exit, Failure> {
    check_reason(reason)?;
    let pair = Pair::open(global, with, Access::Reprocess { workers: 1 })?;
    let run = pair.run()?;
    let session = &pair.session;
    if run.phase == Phase::Flipping {
        return Err(Failure::new(Exit::Refused, "cutover_under_way: readers are being turned to the new pipeline")
            .hint("Finish it with `tidemill reprocess cutover`."));
    }
    if !yes {
        confirm(&format!("Remove {} with everything it has made?", pair.colour))?;
    }
    let mut operator = session.operator_of_reprocess()?;
    let removing = Run { phase: Phase::Removing, at_ms: session.clock.unix_ms(), ..run };
    let note = Note { run: Some(removing.clone()), ..session.note.clone() };
    unretire(&mut operator, &pair.blue, &note, action("abort", &removing, reason, &[]))?;
    eprintln!("step: the live pipeline may go on");
    let removed = remove(session.broker.as_ref(), session.registry.as_ref(), &pair.green)?;
    let counts = [
        ("topics", removed.topics),
        ("groups", removed.groups),
        ("subjects", removed.subjects),
        ("read_models", removed.read_models),
    ];
    let note = Note { run: None, ..session.note.clone() };
    step(&mut operator, &note, action("aborted", &removing, reason, &counts), "removed")?;
    if global.json {
        output::json(&json!({"event": "result", "as": pair.colour.as_str(), "removed": removed}))?;
    } else {
        output::line(&format!(
            "{} is gone: {} topics, {} read models",
            pair.colour, removed.topics, removed.read_models
        ))?;
    }
    Ok(Exit::Ok)
}

impl From<RemovalError> for Failure {
    fn from(error: RemovalError) -> Self {
        match error {
            RemovalError::Provision(error) => error.into(),
            other => Self::new(Exit::Findings, other),
        }
    }
}
