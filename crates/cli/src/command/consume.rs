//! `tidemill consume`: records of a topic, decoded, one JSON line each.

use std::collections::HashMap;
use std::time::Duration;

use apache_avro::Schema;
use serde_json::{Map, Value, json};
use tidemill_core::{EventTime, RecordView};
use tidemill_runtime::broker::{Isolation, RecordBatch, TopicPartition};
use tidemill_runtime::registry::SchemaRegistry;

use crate::args::{ConsumeArgs, Global};
use crate::exit::{Exit, Failure};
use crate::output;
use crate::session::{Access, Session};
use crate::stop::Stop;

const BATCH_RECORDS_MAX: usize = 1_000;
const POLL_WAIT: Duration = Duration::from_millis(100);
/// Fields that say who somebody is or what they did.
const PERSONAL_FIELDS: [&str; 8] = ["customer", "description", "metadata", "body", "subject", "email", "card", "cards"];

pub(super) fn run(global: &Global, args: &ConsumeArgs) -> Result<Exit, Failure> {
    let session = Session::open(global, Access::Read)?;
    let partitions = partitions(&session, args)?;
    let mut reader = session.broker.reader(Isolation::ReadCommitted)?;
    for partition in &partitions {
        let ends = session.broker.watermarks(partition, Isolation::ReadCommitted)?;
        // A partition that is shorter than the others has nothing to show, and is not an error.
        reader.assign(partition, args.offset.unwrap_or(ends.low).clamp(ends.low, ends.high))?;
    }
    let stop = Stop::on_signals()?;
    let mut decoder = Decoder::new(session.registry.as_ref());
    let mut batch = RecordBatch::default();
    let mut shown = 0;
    while !stop.is_set() {
        reader.poll(&mut batch, BATCH_RECORDS_MAX, POLL_WAIT)?;
        for index in 0..batch.len() {
            let headers = batch.headers(index);
            let record = batch.view(index, &headers);
            let Some(shown_record) = show(&record, args, &mut decoder) else { continue };
            output::line(&shown_record.to_string())?;
            shown += 1;
            if args.limit.is_some_and(|limit| shown >= limit) {
                return Ok(Exit::Ok);
            }
        }
        let is_at_end = batch.is_empty() && partitions.iter().all(|partition| reader.reached_end(partition));
        if is_at_end && !args.follow {
            return Ok(Exit::Ok);
        }
    }
    Ok(Exit::Interrupted)
}

fn partitions(session: &Session, args: &ConsumeArgs) -> Result<Vec<TopicPartition>, Failure> {
    let topics = session.broker.topics()?;
    let info = topics.iter().find(|info| info.name == args.topic).ok_or_else(|| {
        let failure = Failure::new(Exit::Findings, format!("there is no topic {}", args.topic));
        match tidemill_core::diagnostic::nearest(&args.topic, topics.iter().map(|info| info.name.as_str())) {
            Some(near) => failure.hint(format!("Did you mean {near}?")),
            None => failure,
        }
    })?;
    let is_wanted = |number: &u32| args.partition.is_none_or(|wanted| wanted == *number);
    Ok((0..info.partitions).filter(is_wanted).map(|number| TopicPartition::new(info.name.as_str(), number)).collect())
}

/// The record as JSON; `None` if a filter leaves it out.
fn show(record: &RecordView<'_>, args: &ConsumeArgs, decoder: &mut Decoder<'_>) -> Option<Value> {
    let key = record.key.map(|key| String::from_utf8_lossy(key).into_owned());
    if args.key.is_some() && args.key != key {
        return None;
    }
    let mut value = record.value.map_or(Value::Null, |value| decoder.decode(value));
    let is_kept = |(field, wanted): &(String, String)| {
        let found = value.pointer(&format!("/{}", field.replace('.', "/")));
        found.is_some_and(|found| match found {
            Value::String(text) => text == wanted,
            other => serde_json::from_str::<Value>(wanted).is_ok_and(|wanted| wanted == *other),
        })
    };
    if !args.filters.iter().all(is_kept) {
        return None;
    }
    if !args.unmask {
        mask(&mut value);
    }
    let headers: Map<String, Value> = record
        .headers
        .iter()
        .map(|(name, value)| {
            (name.to_owned(), value.map_or(Value::Null, |value| String::from_utf8_lossy(value).into()))
        })
        .collect();
    let mut shown = json!({
        "topic": record.origin.topic, "partition": record.origin.partition, "offset": record.origin.offset,
        "timestamp": EventTime::to_string(&record.event_time), "key": key, "value": value,
    });
    if !headers.is_empty() {
        shown["headers"] = Value::Object(headers);
    }
    Some(shown)
}

/// Replaces personal data, wherever it stands.
pub(super) fn mask(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                if PERSONAL_FIELDS.contains(&name.as_str()) && !field.is_null() {
                    *field = Value::String("***".to_owned());
                } else {
                    mask(field);
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(mask),
        _ => {}
    }
}

/// Decodes Avro in the Confluent wire format by the writer's schema, JSON, and text.
pub(super) struct Decoder<'a> {
    registry: &'a dyn SchemaRegistry,
    schemas: HashMap<u32, Option<Schema>>,
}

impl<'a> Decoder<'a> {
    pub(super) fn new(registry: &'a dyn SchemaRegistry) -> Self {
        Self { registry, schemas: HashMap::new() }
    }

    pub(super) fn decode(&mut self, value: &[u8]) -> Value {
        if let Some(([0, id @ ..], datum)) = value.split_first_chunk::<5>()
            && let Some(decoded) = self.decode_avro(u32::from_be_bytes(*id), datum)
        {
            return decoded;
        }
        serde_json::from_slice(value).unwrap_or_else(|_| match std::str::from_utf8(value) {
            Ok(text) => Value::String(text.to_owned()),
            Err(_) => json!({"bytes": value.len(), "hex": hex(value.get(..64).unwrap_or(value))}),
        })
    }

    fn decode_avro(&mut self, id: u32, mut datum: &[u8]) -> Option<Value> {
        let registry = self.registry;
        let fetch = || Schema::parse_str(&registry.schema(id).ok()?).ok();
        let schema = self.schemas.entry(id).or_insert_with(fetch).as_ref()?;
        let reader = apache_avro::reader::datum::GenericDatumReader::builder(schema).build().ok()?;
        let decoded = reader.read_value(&mut datum).ok()?;
        decoded.try_into().ok()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
