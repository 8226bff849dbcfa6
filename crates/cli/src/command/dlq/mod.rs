//! `tidemill dlq`: dead letters by cause, one by one, and back to the stage that failed.

mod letter;
mod replay;

use std::collections::BTreeMap;

use serde::Serialize;
use tidemill_topology::plan::Role;

use self::letter::{Letter, read_letters};
use crate::args::{DlqCommand, DlqFilter, Global};
use crate::exit::{Exit, Failure};
use crate::output::{self, count};
use crate::session::{Access, Session};

#[derive(Serialize)]
struct Group {
    topic: String,
    stage: String,
    code: String,
    field: String,
    count: u64,
    /// Partition and offset of the first and the last one.
    first: String,
    last: String,
}

pub(super) fn run(global: &Global, command: &DlqCommand) -> Result<Exit, Failure> {
    match command {
        DlqCommand::Ls { topic, filter } => list(global, topic.as_deref(), filter),
        DlqCommand::Show { topic, partition, offset, unmask } => show(global, topic, *partition, *offset, *unmask),
        DlqCommand::Replay { topic, filter, reason, yes } => replay::run(global, topic, filter, reason, *yes),
    }
}

fn list(global: &Global, topic: Option<&str>, filter: &DlqFilter) -> Result<Exit, Failure> {
    let session = Session::open(global, Access::Read)?;
    let mut groups: BTreeMap<(String, String, String, String), Group> = BTreeMap::new();
    for topic in dead_letter_topics(&session, topic)? {
        for letter in read_letters(&session, &topic, filter)? {
            let [stage, code, field] =
                ["stage", "code", "field"].map(|name| letter.text(name).unwrap_or("-").to_owned());
            let key = (topic.clone(), stage.clone(), code.clone(), field.clone());
            let place = format!("{}@{}", letter.partition, letter.offset);
            let group = groups.entry(key).or_insert_with(|| Group {
                topic: topic.clone(),
                stage,
                code,
                field,
                count: 0,
                first: place.clone(),
                last: String::new(),
            });
            group.count += 1;
            group.last = place;
        }
    }
    let groups: Vec<Group> = groups.into_values().collect();
    if global.json {
        output::json(&groups)?;
        return Ok(Exit::Ok);
    }
    let rows: Vec<Vec<String>> = groups
        .iter()
        .map(|group| {
            vec![
                group.topic.clone(),
                group.stage.clone(),
                group.code.clone(),
                group.field.clone(),
                count(group.count),
                group.first.clone(),
                group.last.clone(),
            ]
        })
        .collect();
    output::table(&["topic", "stage", "code", "field", "count", "first", "last"], &rows)?;
    Ok(Exit::Ok)
}

fn show(global: &Global, topic: &str, partition: u32, offset: u64, unmask: bool) -> Result<Exit, Failure> {
    let session = Session::open(global, Access::Read)?;
    let filter = DlqFilter { code: None, partition: Some(partition), from: Some(offset), to: Some(offset + 1) };
    let letters = read_letters(&session, topic, &filter)?;
    let Some(letter) = letters.first() else {
        return Err(Failure::new(Exit::Findings, format!("there is no dead letter at {topic} {partition}@{offset}"))
            .hint("`tidemill dlq ls` shows where they are."));
    };
    let shown = letter.show(unmask);
    if global.json {
        output::json(&shown)?;
        return Ok(Exit::Ok);
    }
    for (name, value) in shown.as_object().into_iter().flatten() {
        let text = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
        output::line(&format!("{name:<24} {text}"))?;
    }
    Ok(Exit::Ok)
}

fn dead_letter_topics(session: &Session, topic: Option<&str>) -> Result<Vec<String>, Failure> {
    let all: Vec<String> = session
        .topology
        .topics
        .values()
        .filter(|topic| topic.role == Role::DeadLetters)
        .map(|topic| topic.name.clone())
        .collect();
    match topic {
        None => Ok(all),
        Some(topic) if all.iter().any(|known| known == topic) => Ok(vec![topic.to_owned()]),
        Some(topic) => Err(Failure::new(Exit::Usage, format!("{topic} is not a dead-letter topic of this topology"))
            .hint(format!("They are {}.", all.join(", ")))),
    }
}

/// The letters that a replay would look at.
fn letters_of(session: &Session, topic: &str, filter: &DlqFilter) -> Result<Vec<Letter>, Failure> {
    let topics = dead_letter_topics(session, Some(topic))?;
    let mut letters = Vec::new();
    for topic in topics {
        letters.extend(read_letters(session, &topic, filter)?);
    }
    Ok(letters)
}
