//! `tidemill dlq`: dead letters by cause, one by one, and back to the stage that failed.

pub(super) mod apply;
pub(super) mod edit;
mod list;
pub(super) mod plan;
mod script;

use std::collections::BTreeMap;

use tidemill_core::diagnostic::nearest;
use tidemill_runtime::replay::{Filter, Letter, Notes, Resolution, read_letters};
use tidemill_topology::plan::Role;

use crate::args::{DlqCommand, Global};
use crate::command::explain;
use crate::exit::{Exit, Failure};
use crate::session::Session;

pub(super) use self::list::shown;

/// Of dead letters.
const CLASSES: [&str; 6] = ["decode", "schema", "validation", "business", "bug", "poison"];

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
pub(super) fn topics(session: &Session, topic: Option<&str>) -> Result<BTreeMap<String, u32>, Failure> {
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

/// A range that can hold nothing is a slip of whoever asks.
fn check_ranges(filter: &Filter, topics: &BTreeMap<String, u32>) -> Result<(), Failure> {
    let wrong = |what: String| Err(Failure::new(Exit::Usage, what));
    if let Some(partition) = filter.partition
        && topics.values().all(|partitions| partition >= *partitions)
    {
        return wrong(format!("there is no partition {partition}"));
    }
    if let (Some(from), Some(to)) = (filter.from, filter.to)
        && from >= to
    {
        return wrong(format!("there is nothing from offset {from} to before {to}"));
    }
    match (filter.since_ms, filter.until_ms) {
        (Some(since), Some(until)) if since >= until => wrong("`--since` is not before `--until`".to_owned()),
        _ => Ok(()),
    }
}

/// Names that stand for nothing. Asked only where nothing was found: letters may be older than the names of today.
fn check_names(session: &Session, filter: &Filter) -> Result<(), Failure> {
    let stages = session.topology.units.iter().flat_map(|unit| &unit.stages).map(|stage| stage.name.clone());
    let sinks = session.topology.sinks.iter().map(|sink| format!("sink-{}", sink.name));
    let stages: Vec<String> = stages.chain(sinks).collect();
    let codes: Vec<&str> = explain::record_codes().collect();
    for (what, name, known) in [
        ("stage or sink", &filter.stage, stages.iter().map(String::as_str).collect::<Vec<_>>()),
        ("code", &filter.code, codes),
        ("class", &filter.class, CLASSES.to_vec()),
    ] {
        let Some(name) = name.as_deref().filter(|name| !known.contains(name)) else { continue };
        let failure = Failure::new(Exit::Usage, format!("there is no {what} `{name}`, and no dead letter of it"));
        return Err(match nearest(name, known.iter().copied()) {
            Some(near) => failure.hint(format!("Did you mean `{near}`?")),
            None => failure.hint("`tidemill dlq stats` shows what there is."),
        });
    }
    Ok(())
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
    let (mut ends, mut visited) = (Vec::new(), 0_u64);
    let topics = topics(session, topic)?;
    check_ranges(filter, &topics)?;
    for (topic, partitions) in topics {
        ends = read_letters(session.broker.as_ref(), &topic, partitions, filter, |letter| {
            visited += 1;
            let resolution = notes.resolution(&letter.place);
            visit(letter, resolution)
        })?;
    }
    if visited == 0 {
        check_names(session, filter)?;
    }
    Ok(ends)
}
