//! `tidemill trace`: one payment through every topic of the pipeline, replays and what was decided about it included.

use std::ops::ControlFlow;

use serde::Serialize;
use serde_json::{Map, Value};
use tidemill_core::{EventTime, RecordView};
use tidemill_runtime::broker::{TopicPartition, read_all};
use tidemill_runtime::replay::{Letter, Notes};
use tidemill_topology::plan::{Role, Topic};

use crate::args::Global;
use crate::command::consume::{Decoder, mask};
use crate::exit::{Exit, Failure};
use crate::output::{self, count};
use crate::session::{Access, Session};

/// Fields in which events name the payment they are about.
const ID_FIELDS: [&str; 3] = ["payment_id", "id", "reference"];
/// What a line says of an event, where it has it.
const SHOWN_FIELDS: [&str; 12] = [
    "status",
    "code",
    "verdict",
    "score",
    "kind",
    "account_id",
    "amount_minor",
    "fee_minor",
    "currency",
    "seq",
    "balance_after_minor",
    "reason",
];

#[derive(Serialize)]
struct Hop {
    topic: String,
    partition: u32,
    offset: u64,
    event_time: String,
    /// The input it comes from, where the event says so: `topic-partition@offset/ordinal`.
    record_id: Option<String>,
    produced_by: Option<String>,
    /// Of a dead letter: what failed, and what became of it.
    dead_letter: Option<Value>,
    value: Value,
}

pub(super) fn run(global: &Global, payment_id: &str, unmask: bool) -> Result<Exit, Failure> {
    let session = Session::open(global, Access::Read)?;
    let mut notes = Notes::default();
    notes.read(session.broker.as_ref(), &session.topology.pipeline.replays_topic())?;
    let mut decoder = Decoder::new(session.registry.as_ref());
    let mut hops = Vec::new();
    let mut scanned = 0_u64;
    for topic in session.topology.topics.values().filter(|topic| is_read(topic)) {
        for partition in (0..topic.partitions).map(|number| TopicPartition::new(topic.name.as_str(), number)) {
            read_all(session.broker.as_ref(), &partition, |record| {
                scanned += 1;
                let value = record.value.map_or(Value::Null, |value| decoder.decode(value));
                if is_about(&value, payment_id) {
                    hops.push(hop(topic, record, value, &notes, unmask));
                }
                Ok::<_, Failure>(ControlFlow::Continue(()))
            })?;
        }
    }
    hops.sort_by_key(|(order, _)| *order);
    let hops: Vec<Hop> = hops.into_iter().map(|(_, hop)| hop).collect();
    eprintln!("{} records looked at", count(scanned));
    if global.json {
        output::json(&hops)?;
    } else {
        hops.iter().try_for_each(print)?;
    }
    Ok(if hops.is_empty() { Exit::Findings } else { Exit::Ok })
}

fn is_read(topic: &Topic) -> bool {
    match topic.role {
        Role::Ingest | Role::Internal | Role::Curated | Role::DeadLetters | Role::Parked | Role::Redrive => true,
        Role::Reference | Role::Tasks | Role::StateLog | Role::Replays | Role::Audit | Role::Reprocess => false,
    }
}

fn is_about(value: &Value, payment_id: &str) -> bool {
    let is_it = |object: &Map<String, Value>| {
        ID_FIELDS.iter().any(|field| object.get(*field).and_then(Value::as_str) == Some(payment_id))
    };
    match value {
        Value::Object(object) => {
            // Events of later stages hold the payment of the stage before.
            is_it(object) || object.values().filter_map(Value::as_object).any(is_it)
        }
        _ => false,
    }
}

/// The hop and its place: as topics follow each other in the pipeline, then by offset.
fn hop(topic: &Topic, record: &RecordView<'_>, mut value: Value, notes: &Notes, unmask: bool) -> ((u8, i64, u64), Hop) {
    let stage = match topic.role {
        Role::Ingest => 0,
        Role::DeadLetters => 1,
        Role::Redrive => 2,
        Role::Parked => 3,
        Role::Internal => 4,
        _ => 5,
    };
    let dead_letter = (topic.role == Role::DeadLetters).then(|| {
        let letter = Letter::of(record);
        let resolution = notes.resolution(&letter.place);
        serde_json::json!({
            "stage": letter.text("stage"), "code": letter.text("code"), "field": letter.text("field"),
            "replay_count": letter.replay_count(),
            "status": resolution.map_or("open", |resolution| resolution.resolution.name()),
            "by": resolution.map(|resolution| &resolution.actor), "reason": resolution.map(|resolution| &resolution.reason),
        })
    });
    if !unmask {
        mask(&mut value);
    }
    let meta = |name: &str| value.pointer(&format!("/meta/{name}")).and_then(Value::as_str).map(ToOwned::to_owned);
    let hop = Hop {
        topic: topic.name.clone(),
        partition: record.origin.partition,
        offset: record.origin.offset,
        event_time: EventTime::to_string(&record.event_time),
        record_id: meta("record_id"),
        produced_by: meta("produced_by"),
        dead_letter,
        value,
    };
    ((stage, record.event_time.millis(), record.origin.offset), hop)
}

fn print(hop: &Hop) -> Result<(), Failure> {
    let mut said: Vec<String> = Vec::new();
    if let Some(Value::Object(letter)) = &hop.dead_letter {
        said.extend(
            letter.iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| format!("{name}={}", plain(value))),
        );
    } else {
        let fields = SHOWN_FIELDS.iter().filter_map(|field| Some((field, hop.value.get(*field)?)));
        said.extend(
            fields.filter(|(_, value)| !value.is_null()).map(|(field, value)| format!("{field}={}", plain(value))),
        );
    }
    let place = format!("{} {}@{}", hop.topic, hop.partition, hop.offset);
    output::line(&format!("{place:<40} {}", said.join(" ")))
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}
