//! `tidemill state`: what the stores of tasks hold, read from the state log, as of now or of an earlier offset.

use serde_json::{Value, json};
use tidemill_core::EventTime;
use tidemill_processors::STORES;
use tidemill_runtime::broker::TopicPartition;
use tidemill_runtime::inspection::{StoreView, read_store};
use tidemill_runtime::parking::{PARKED_INPUTS, PARKED_KEYS};
use tidemill_topology::plan::Unit;

use crate::args::{Global, StateAt, StateCommand};
use crate::command::consume::mask;
use crate::exit::{Exit, Failure};
use crate::output;
use crate::session::{Access, Session};

/// Beyond the year 9999: what stands for never.
const NEVER_MICROS: i64 = 253_402_300_800_000_000;

pub(super) fn run(global: &Global, command: &StateCommand) -> Result<Exit, Failure> {
    let session = Session::open(global, Access::Read)?;
    let (store, at) = match command {
        StateCommand::Get { store, at, .. } | StateCommand::Scan { store, at, .. } => (store, *at),
    };
    let unit = unit_of(&session, store)?;
    let found = match command {
        StateCommand::Get { key, .. } => {
            read(&session, unit, store, at, usize::MAX, |found| found == key.as_bytes() || text(found) == *key)?
        }
        StateCommand::Scan { prefix, limit, .. } => {
            let is_wanted = |found: &[u8]| found.starts_with(prefix.as_bytes()) || text(found).starts_with(prefix);
            read(&session, unit, store, at, *limit, is_wanted)?
        }
    };
    if global.json {
        output::json(&found)?;
    } else {
        for entry in &found {
            output::line(&entry.to_string())?;
        }
    }
    Ok(if found.is_empty() { Exit::Findings } else { Exit::Ok })
}

/// Every store belongs to one unit; those of the engine are looked for in the first that parks.
fn unit_of<'s>(session: &'s Session, store: &str) -> Result<&'s Unit, Failure> {
    let engine = [PARKED_KEYS.name(), PARKED_INPUTS.name()];
    let stores_of = |unit: &'s Unit| {
        let stages = unit.stages.iter().flat_map(|stage| &stage.inputs);
        stages.flat_map(|input| &input.chain).flat_map(|link| link.processor.stores).map(|store| store.name)
    };
    let units = &session.topology.units;
    let found = units.iter().find(|unit| stores_of(unit).any(|name| name == store));
    let of_engine = || units.first().filter(|_| engine.contains(&store));
    found.or_else(of_engine).ok_or_else(|| {
        let mut known: Vec<&str> = units.iter().flat_map(stores_of).chain(engine).collect();
        known.sort_unstable();
        known.dedup();
        Failure::new(Exit::Usage, format!("there is no store {store}"))
            .hint(format!("The stores are {}.", known.join(", ")))
    })
}

fn read(
    session: &Session,
    unit: &Unit,
    store: &str,
    at: StateAt,
    limit: usize,
    is_wanted: impl Fn(&[u8]) -> bool,
) -> Result<Vec<Value>, Failure> {
    let topic = unit.state_topic(&session.topology.pipeline);
    let mut found = Vec::new();
    for task in (0..unit.tasks).filter(|task| at.task.is_none_or(|wanted| wanted == *task)) {
        let log = TopicPartition::new(topic.as_str(), task);
        let view = read_store(session.broker.as_ref(), &log, store, at.at_offset, &is_wanted)?;
        found
            .extend(entries(task, store, &view, at.unmask).take(limit.saturating_sub(found.len())).collect::<Vec<_>>());
    }
    Ok(found)
}

fn entries<'v>(task: u32, store: &'v str, view: &'v StoreView, unmask: bool) -> impl Iterator<Item = Value> + 'v {
    view.pairs.iter().map(move |(key, value)| {
        json!({
            "task": task, "key": text(key), "value": decoded(store, value, unmask),
            "as_of": view.checkpoint.positions,
        })
    })
}

/// A key for people: text where it is readable, the parts of a key that consists of several, hexadecimal digits otherwise.
fn text(bytes: &[u8]) -> String {
    if let Some(parts) = parts(bytes) {
        return parts.join("/");
    }
    let is_readable = |text: &&str| !text.contains(|character: char| character.is_control() && character != '\0');
    match std::str::from_utf8(bytes).ok().filter(is_readable) {
        Some(text) => text.replace('\0', "/"),
        None => format!("0x{}", hex(bytes)),
    }
}

/// Texts behind their lengths in two bytes, as keys of several parts are made.
fn parts(mut bytes: &[u8]) -> Option<Vec<&str>> {
    let mut parts = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<2>() {
        let (part, after) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        parts.push(std::str::from_utf8(part).ok()?);
        bytes = after;
    }
    (bytes.is_empty() && !parts.is_empty() && parts.iter().all(|part| !part.is_empty())).then_some(parts)
}

/// Currencies and times as they are written everywhere else.
fn make_readable(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                let letters = field.as_array().and_then(|bytes| bytes.iter().map(letter).collect::<Option<String>>());
                let time = field.as_i64().filter(|micros| (0..NEVER_MICROS).contains(micros)).map(EventTime);
                match (name.as_str(), letters, time) {
                    ("currency", Some(letters), _) => *field = letters.into(),
                    (name, _, Some(time)) if name == "at" || name.ends_with("_at") || name.ends_with("_time") => {
                        *field = time.to_string().into();
                    }
                    _ => make_readable(field),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(make_readable),
        _ => {}
    }
}

fn letter(byte: &Value) -> Option<char> {
    Some(char::from(u8::try_from(byte.as_u64()?).ok().filter(u8::is_ascii_uppercase)?))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The value by the type of its store. One that no type reads is shown as the bytes behind its version.
fn decoded(store: &str, value: &[u8], unmask: bool) -> Value {
    let engine = match store {
        name if name == PARKED_KEYS.name() => PARKED_KEYS.decode(value).ok().map(|parked| json!(parked)),
        name if name == PARKED_INPUTS.name() => PARKED_INPUTS.decode(value).ok().map(|parked| json!(parked)),
        name => STORES.iter().find(|known| known.name == name).and_then(|known| (known.decode)(value).ok()),
    };
    let typed = engine.map(|mut value| {
        make_readable(&mut value);
        if !unmask {
            mask(&mut value);
        }
        value
    });
    typed.unwrap_or_else(|| match value.split_first() {
        Some((version, rest)) => json!({"version": version, "bytes": rest.len(), "hex": hex(rest)}),
        None => Value::Null,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_are_written_for_people() {
        for (key, expected) in [
            (&b"acc-1"[..], "acc-1"),
            (b"\0\x04shop\0\x03p-1", "shop/p-1"),
            (b"topic\0key", "topic/key"),
            (b"\0\0\0\0\0\0\0\x07", "0x0000000000000007"),
        ] {
            assert_eq!(text(key), expected);
        }
        let mut value = json!({"currency": [69, 85, 82], "opened_at": 0, "next_expiry_at": i64::MAX, "seq": 7,
            "list": [{"at": 1_000_000}]});
        make_readable(&mut value);
        let expected = json!({"currency": "EUR", "opened_at": "1970-01-01T00:00:00Z", "next_expiry_at": i64::MAX,
            "seq": 7, "list": [{"at": "1970-01-01T00:00:01Z"}]});
        assert_eq!(value, expected);
    }
}
