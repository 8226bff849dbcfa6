//! `tidemill replay`: how far replays of dead letters are, and a hand on them.

use serde_json::{Value, json};
use tidemill_core::EventTime;
use tidemill_runtime::operator::read_trail;
use tidemill_runtime::replay::run::control;
use tidemill_runtime::replay::{Notes, RunState};

use crate::args::{Global, ReplayCommand};
use crate::command::{audit, dlq};
use crate::exit::{Exit, Failure};
use crate::operations::check_reason;
use crate::output::{self, count};
use crate::session::{Access, Session};

pub(super) fn run(global: &Global, command: &ReplayCommand) -> Result<Exit, Failure> {
    match command {
        ReplayCommand::Status => status(global),
        ReplayCommand::Pause { topic, reason } => change(global, topic, RunState::Paused, reason),
        ReplayCommand::Resume { topic, reason } => change(global, topic, RunState::Running, reason),
        ReplayCommand::Cancel { topic, reason } => change(global, topic, RunState::Cancelled, reason),
        ReplayCommand::Log => log(global),
    }
}

fn status(global: &Global) -> Result<Exit, Failure> {
    let session = Session::open(global, Access::Read)?;
    let mut notes = Notes::default();
    notes.read(session.broker.as_ref(), &session.topology.pipeline.replays_topic())?;
    if global.json {
        let all: Vec<Value> =
            notes.active().iter().map(|(topic, active)| json!({"topic": topic, "replay": active})).collect();
        output::json(&all)?;
        return Ok(Exit::Ok);
    }
    let row = |(topic, active): (&String, &tidemill_runtime::replay::Active)| {
        vec![
            topic.clone(),
            active.state.name().to_owned(),
            count(active.replayed),
            count(active.total),
            active.plan.get(..12).unwrap_or_default().to_owned(),
            active.actor.clone(),
            EventTime::from_millis(active.at_ms).to_string(),
        ]
    };
    let rows: Vec<Vec<String>> = notes.active().iter().map(row).collect();
    output::table(&["topic", "state", "sent", "of", "plan", "by", "at"], &rows)?;
    Ok(Exit::Ok)
}

fn change(global: &Global, topic: &str, state: RunState, reason: &str) -> Result<Exit, Failure> {
    check_reason(reason)?;
    let session = Session::open(global, Access::Write)?;
    // Before anybody is fenced for it.
    dlq::topics(&session, Some(topic))?;
    if !control(&mut session.operator()?, topic, state, reason)? {
        return Err(Failure::new(Exit::Findings, format!("no replay of {topic} is under way"))
            .hint("`tidemill replay status` shows those that were begun."));
    }
    if global.json {
        output::json(&json!({"event": "result", "topic": topic, "state": state.name()}))?;
    } else {
        output::line(&format!("{topic}: {}", state.name()))?;
    }
    Ok(Exit::Ok)
}

fn log(global: &Global) -> Result<Exit, Failure> {
    let session = Session::open(global, Access::Read)?;
    let mut entries = Vec::new();
    read_trail(session.broker.as_ref(), &session.topology, |_, entry| {
        if entry.verb.starts_with("dlq.") || entry.verb.starts_with("replay.") {
            entries.push(entry);
        }
    })?;
    audit::print(global, &entries)?;
    Ok(Exit::Ok)
}
