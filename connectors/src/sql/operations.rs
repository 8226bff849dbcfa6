//! Rows of what operators do: JSON of the engine's, read leniently, because the topic is the truth and not the table.

use tidemill_core::EventTime;

use serde_json::Value as Json;

use super::dead_letter::readable;
use super::rows::{Origin, Row};
use super::value::{Value, storable};

/// Keys that are no place of a dead letter begin so: notes about replays as a whole.
const REPLAY_PREFIX: &str = "replay:";

/// `None` for a note that is not about one dead letter.
pub(super) fn resolution<'a>(origin: Origin<'a>, key: Option<&[u8]>, value: &[u8]) -> Option<Row<'a>> {
    let place = key.map(readable)?;
    if place.starts_with(REPLAY_PREFIX) || place.contains(' ') {
        return None;
    }
    let note: Json = serde_json::from_slice(value).ok()?;
    let text = |name: &str| text(&note, name);
    Some(vec![
        place.into(),
        note.get("resolution")?.as_str()?.to_owned().into(),
        text("dead_letter_id"),
        text("destination"),
        text("plan"),
        text("actor"),
        text("reason"),
        time(&note, "at_ms"),
        origin.topic.into(),
        origin.partition.into(),
        origin.offset.into(),
    ])
}

pub(super) fn audit_entry<'a>(origin: Origin<'a>, value: &[u8]) -> Option<Row<'a>> {
    let entry: Json = serde_json::from_slice(value).ok()?;
    let text = |name: &str| text(&entry, name);
    Some(vec![
        origin.topic.into(),
        origin.partition.into(),
        origin.offset.into(),
        entry.get("sequence")?.as_i64()?.into(),
        time(&entry, "at_ms"),
        text("actor"),
        text("verb"),
        text("object"),
        text("outcome"),
        text("reason"),
        text("plan_hash"),
        entry.get("counts")?.to_string().into(),
        text("detail"),
        text("previous_hash"),
        text("hash"),
    ])
}

fn text(json: &Json, name: &str) -> Value<'static> {
    match json.get(name).and_then(Json::as_str) {
        // A reason is what somebody has typed, and no database takes such a character.
        Some(text) => text.replace('\0', " ").into(),
        None => Value::Null,
    }
}

fn time(json: &Json, name: &str) -> Value<'static> {
    let moment = json.get(name).and_then(Json::as_i64).unwrap_or_default();
    storable(EventTime::from_millis(moment)).into()
}
