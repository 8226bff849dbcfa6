//! `tidemill parked`: keys whose records wait behind a failed one.

use std::ops::ControlFlow;

use serde_json::{Value, json};
use tidemill_core::EventTime;
use tidemill_runtime::broker::{BrokerError, TopicPartition, read_all};
use tidemill_runtime::inspection::{ParkedView, parked};
use tidemill_runtime::parking::Ticket;
use tidemill_runtime::replay::{self, Filter, Letter, read_letters};
use tidemill_topology::plan::{dead_letters_of, parked_of};

use crate::args::{Global, ParkedCommand};
use crate::command::dlq::shown;
use crate::command::provision::confirm;
use crate::exit::{Exit, Failure};
use crate::operations::check_reason;
use crate::output::{self, count};
use crate::session::{Access, Session};

pub(super) fn run(global: &Global, command: &ParkedCommand) -> Result<Exit, Failure> {
    match command {
        ParkedCommand::Ls { topic } => list(global, topic.as_deref()),
        ParkedCommand::Show { topic, key, unmask } => show(global, topic, key, *unmask),
        ParkedCommand::Release { topic, key, reason, yes } => go_on(global, topic, key, reason, *yes, HeadIs::Left),
        ParkedCommand::Discard { topic, key, reason, yes } => go_on(global, topic, key, reason, *yes, HeadIs::GivenUp),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum HeadIs {
    Left,
    GivenUp,
}

fn all(session: &Session, topic: Option<&str>) -> Result<Vec<ParkedView>, Failure> {
    let mut found = Vec::new();
    for unit in &session.topology.units {
        let log = unit.state_topic(&session.topology.pipeline);
        for task in 0..unit.tasks {
            found.extend(parked(session.broker.as_ref(), &TopicPartition::new(log.as_str(), task))?);
        }
    }
    found.retain(|view| topic.is_none_or(|topic| topic == view.topic));
    found.sort_by_key(|view| view.parked.parked_at_ms);
    Ok(found)
}

/// A topic whose stage parks.
fn check_topic(session: &Session, topic: &str) -> Result<(), Failure> {
    let inputs = session.topology.units.iter().flat_map(|unit| &unit.stages).flat_map(|stage| &stage.inputs);
    let parking: Vec<&str> = inputs.filter(|input| input.parked.is_some()).map(|input| input.topic.as_str()).collect();
    if parking.contains(&topic) {
        return Ok(());
    }
    Err(Failure::new(Exit::Usage, format!("no stage that parks reads {topic}")).hint(format!(
        "Those that do read {}.",
        if parking.is_empty() { "nothing".to_owned() } else { parking.join(", ") }
    )))
}

fn one(session: &Session, topic: &str, key: &str) -> Result<ParkedView, Failure> {
    check_topic(session, topic)?;
    let found = all(session, Some(topic))?.into_iter().find(|view| view.key == key.as_bytes());
    found.ok_or_else(|| {
        Failure::new(Exit::Findings, format!("{key} of {topic} is not parked"))
            .hint("`tidemill parked ls` shows what is.")
    })
}

fn view_json(view: &ParkedView) -> Value {
    json!({
        "topic": view.topic, "partition": view.partition, "key": String::from_utf8_lossy(&view.key),
        "phase": view.parked.phase.name(), "records": view.parked.records(), "head": view.parked.head,
        "parked_at": EventTime::from_millis(view.parked.parked_at_ms).to_string(),
    })
}

fn list(global: &Global, topic: Option<&str>) -> Result<Exit, Failure> {
    let session = Session::open(global, Access::Read)?;
    if let Some(topic) = topic {
        check_topic(&session, topic)?;
    }
    let views = all(&session, topic)?;
    if global.json {
        output::json(&views.iter().map(view_json).collect::<Vec<_>>())?;
        return Ok(Exit::Ok);
    }
    let row = |view: &ParkedView| {
        vec![
            view.topic.clone(),
            view.partition.to_string(),
            String::from_utf8_lossy(&view.key).into_owned(),
            view.parked.phase.name().to_owned(),
            count(view.parked.records()),
            EventTime::from_millis(view.parked.parked_at_ms).to_string(),
            view.parked.head.clone(),
        ]
    };
    let rows: Vec<Vec<String>> = views.iter().map(row).collect();
    output::table(&["topic", "partition", "key", "phase", "records", "since", "behind"], &rows)?;
    Ok(Exit::Ok)
}

/// The dead letter that the key waits for.
fn head_of(session: &Session, view: &ParkedView) -> Result<Option<Letter>, Failure> {
    let topic = dead_letters_of(&view.topic);
    let partitions = session.topology.topics.get(&topic).map_or(0, |topic| topic.partitions);
    let filter = Filter { partition: Some(view.partition), ..Filter::default() };
    let mut head = None;
    read_letters(session.broker.as_ref(), &topic, partitions, &filter, |letter| {
        if letter.text("id") == Some(&view.parked.head) {
            head = Some(letter);
        }
        Ok::<_, BrokerError>(())
    })?;
    Ok(head)
}

fn show(global: &Global, topic: &str, key: &str, unmask: bool) -> Result<Exit, Failure> {
    let session = Session::open(global, Access::Read)?;
    let view = one(&session, topic, key)?;
    let head = head_of(&session, &view)?;
    let mut waiting = Vec::new();
    let partition = TopicPartition::new(parked_of(topic), view.partition);
    read_all(session.broker.as_ref(), &partition, |record| {
        let ticket = Ticket::of(&record.headers);
        let waits =
            ticket.is_some_and(|ticket| ticket.episode == view.parked.episode && ticket.number >= view.parked.next_out);
        if waits && record.key == Some(view.key.as_slice()) {
            waiting.push(shown(&Letter::of(record), None, unmask));
        }
        Ok::<_, Failure>(ControlFlow::Continue(()))
    })?;
    let head = head.map(|letter| shown(&letter, None, unmask));
    let mut whole = view_json(&view);
    whole["head_letter"] = json!(head);
    whole["waiting"] = json!(waiting);
    if global.json {
        output::json(&whole)?;
    } else {
        let text = serde_json::to_string_pretty(&whole).map_err(|error| Failure::new(Exit::Findings, error))?;
        output::line(&text)?;
    }
    Ok(Exit::Ok)
}

fn go_on(global: &Global, topic: &str, key: &str, reason: &str, yes: bool, head_is: HeadIs) -> Result<Exit, Failure> {
    check_reason(reason)?;
    let session = Session::open(global, Access::Write)?;
    let view = one(&session, topic, key)?;
    let records = count(view.parked.records());
    if !yes {
        let head = if head_is == HeadIs::GivenUp { "given up" } else { "left as a dead letter" };
        confirm(&format!("Have {records} records of {key} go on? The failed one is {head}."))?;
    }
    let mut operator = session.operator()?;
    match head_is {
        HeadIs::GivenUp => {
            let letter = head_of(&session, &view)?.ok_or_else(|| {
                Failure::new(Exit::Findings, "its dead letter is not in its topic any more")
                    .hint("`tidemill parked release` has what waits go on without it.")
            })?;
            replay::discard(&mut operator, &[letter], reason)?;
        }
        HeadIs::Left => {
            let ParkedView { topic, partition, key, parked } = &view;
            replay::release_parked(&mut operator, topic, *partition, key, &parked.head, reason)?;
        }
    }
    if global.json {
        output::json(&json!({"event": "result", "parked": view_json(&view)}))?;
    } else {
        output::line(&format!("{records} records of {key} go on"))?;
    }
    Ok(Exit::Ok)
}
