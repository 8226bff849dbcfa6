//! `tidemill dlq`: dead letters by cause, one by one, and back to the stage that failed.

pub(super) mod apply;
pub(super) mod edit;
mod list;
pub(super) mod plan;
mod script;

use std::collections::BTreeMap;

use tidemill_runtime::replay::{Filter, Letter, Notes, Resolution, read_letters};
use tidemill_topology::plan::Role;

use crate::args::{DlqCommand, Global};
use crate::exit::{Exit, Failure};
use crate::session::Session;

pub(super) use self::list::shown;

pub(super) fn run(global: &Global, command: &DlqCommand) -> Result<Exit, Failure> {
    match command {
        DlqCommand::Ls { topic, filter } => list::list(global, topic.as_deref(), filter),
        DlqCommand::Stats { topic, filter } => list::stats(global, topic.as_deref(), filter),
        DlqCommand::Show { topic, partition, offset, unmask } => {
            list::show(global, topic, *partition, *offset, *unmask)
        }
        DlqCommand::Export { topic, filter, unmask } => list::export(global, topic, filter, *unmask),
        DlqCommand::Plan(args) => plan::run(global, args),
        DlqCommand::Edit(args) => edit::run(global, args),
        DlqCommand::Apply(args) => apply::run(global, args),
        DlqCommand::Discard { topic, filter, reason, yes } => apply::discard(global, topic, filter, reason, *yes),
    }
}

/// The dead-letter topics that are meant: one, or all of the topology.
fn topics(session: &Session, topic: Option<&str>) -> Result<BTreeMap<String, u32>, Failure> {
    let is_wanted = |name: &str| topic.is_none_or(|wanted| wanted == name);
    let all = session.topology.topics.values().filter(|topic| topic.role == Role::DeadLetters);
    let all: BTreeMap<String, u32> = all.map(|topic| (topic.name.clone(), topic.partitions)).collect();
    let found: BTreeMap<String, u32> = all.clone().into_iter().filter(|(name, _)| is_wanted(name)).collect();
    match topic {
        Some(topic) if found.is_empty() => {
            let known: Vec<&str> = all.keys().map(String::as_str).collect();
            Err(Failure::new(Exit::Usage, format!("{topic} is not a dead-letter topic of this topology"))
                .hint(format!("They are {}.", known.join(", "))))
        }
        _ => Ok(found),
    }
}

/// Shows `visit` the letters that are meant, with what became of them, and returns where each partition ended.
fn visit_letters(
    session: &Session,
    topic: Option<&str>,
    filter: &Filter,
    mut visit: impl FnMut(Letter, Option<&Resolution>) -> Result<(), Failure>,
) -> Result<Vec<(u32, u64)>, Failure> {
    let mut notes = Notes::default();
    notes.read(session.broker.as_ref(), &session.topology.pipeline.replays_topic())?;
    let mut ends = Vec::new();
    for (topic, partitions) in topics(session, topic)? {
        ends = read_letters(session.broker.as_ref(), &topic, partitions, filter, |letter| {
            let resolution = notes.resolution(&letter.place);
            visit(letter, resolution)
        })?;
    }
    Ok(ends)
}
