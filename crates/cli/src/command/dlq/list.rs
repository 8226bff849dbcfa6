//! `dlq ls`, `stats`, `show` and `export`.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};
use tidemill_core::EventTime;
use tidemill_runtime::replay::{Filter, Letter, Resolution};

use super::visit_letters;
use crate::args::{DlqFilter, Global};
use crate::command::consume;
use crate::exit::{Exit, Failure};
use crate::operations::filter_of;
use crate::output::{self, count};
use crate::session::{Access, Session};

const PREFIX: &str = "x-dlq-";
const HOUR_MS: i64 = 3_600_000;

#[derive(Serialize)]
struct Group {
    topic: String,
    stage: String,
    code: String,
    field: String,
    count: u64,
    /// Those that are neither replayed nor discarded.
    open: u64,
    /// Partition and offset of the first and the last one.
    first: String,
    last: String,
}

pub(super) fn list(global: &Global, topic: Option<&str>, filter: &DlqFilter) -> Result<Exit, Failure> {
    let session = Session::open(global, Access::Read)?;
    let mut groups: BTreeMap<[String; 4], Group> = BTreeMap::new();
    visit_letters(&session, topic, &filter_of(filter, session.clock.unix_ms())?, |letter, resolution| {
        let [stage, code, field] = ["stage", "code", "field"].map(|name| letter.text(name).unwrap_or("-").to_owned());
        let topic = letter.place.topic.clone();
        let place = place_in_topic(&letter);
        let group = groups.entry([topic.clone(), stage.clone(), code.clone(), field.clone()]);
        let (first, last) = (place.clone(), String::new());
        let group = group.or_insert(Group { topic, stage, code, field, count: 0, open: 0, first, last });
        group.count += 1;
        group.open += u64::from(resolution.is_none());
        group.last = place;
        Ok(())
    })?;
    let groups: Vec<Group> = groups.into_values().collect();
    if global.json {
        output::json(&groups)?;
        return Ok(Exit::Ok);
    }
    let row = |group: &Group| {
        let Group { topic, stage, code, field, first, last, .. } = group;
        let text = [topic, stage, code, field].map(Clone::clone);
        let counts = [count(group.count), count(group.open)];
        text.into_iter().chain(counts).chain([first.clone(), last.clone()]).collect()
    };
    let rows: Vec<Vec<String>> = groups.iter().map(row).collect();
    output::table(&["topic", "stage", "code", "field", "count", "open", "first", "last"], &rows)?;
    Ok(Exit::Ok)
}

fn place_in_topic(letter: &Letter) -> String {
    format!("{}@{}", letter.place.partition, letter.place.offset)
}

/// One way of failing, over all topics.
#[derive(Serialize)]
struct Cause {
    fingerprint: String,
    stage: String,
    class: String,
    code: String,
    field: String,
    count: u64,
    open: u64,
    /// Failed within the last hour, and within the one before.
    last_hour: u64,
    hour_before: u64,
    /// Age of the oldest one that is open.
    oldest_open_seconds: Option<i64>,
    /// The last one, as `dlq show` takes it.
    example: String,
    message: String,
}

pub(super) fn stats(global: &Global, topic: Option<&str>, filter: &DlqFilter) -> Result<Exit, Failure> {
    let session = Session::open(global, Access::Read)?;
    let now_ms = session.clock.unix_ms();
    let mut causes: BTreeMap<String, Cause> = BTreeMap::new();
    visit_letters(&session, topic, &filter_of(filter, now_ms)?, |letter, resolution| {
        let text = |name: &str| letter.text(name).unwrap_or("-").to_owned();
        let cause = causes.entry(text("fingerprint")).or_insert_with(|| Cause {
            fingerprint: text("fingerprint"),
            stage: text("stage"),
            class: text("class"),
            code: text("code"),
            field: text("field"),
            count: 0,
            open: 0,
            last_hour: 0,
            hour_before: 0,
            oldest_open_seconds: None,
            example: String::new(),
            message: String::new(),
        });
        let age_ms = (now_ms - letter.failed_at_ms()).max(0);
        cause.count += 1;
        cause.last_hour += u64::from(age_ms < HOUR_MS);
        cause.hour_before += u64::from((HOUR_MS..2 * HOUR_MS).contains(&age_ms));
        if resolution.is_none() {
            cause.open += 1;
            cause.oldest_open_seconds = cause.oldest_open_seconds.max(Some(age_ms / 1_000));
        }
        cause.example = format!("{} {} {}", letter.place.topic, letter.place.partition, letter.place.offset);
        cause.message = text("message");
        Ok(())
    })?;
    let mut causes: Vec<Cause> = causes.into_values().collect();
    causes.sort_by(|a, b| (b.open, b.count).cmp(&(a.open, a.count)).then(a.fingerprint.cmp(&b.fingerprint)));
    if global.json {
        output::json(&causes)?;
        return Ok(Exit::Ok);
    }
    let row = |cause: &Cause| {
        let trend = format!("{} < {}", count(cause.last_hour), count(cause.hour_before));
        let oldest = cause.oldest_open_seconds.map_or_else(|| "-".to_owned(), |age| count(age.unsigned_abs()));
        let Cause { fingerprint, stage, code, field, example, .. } = cause;
        let text = [fingerprint, stage, code, field].map(Clone::clone);
        text.into_iter().chain([count(cause.open), count(cause.count), trend, oldest, example.clone()]).collect()
    };
    let rows: Vec<Vec<String>> = causes.iter().map(row).collect();
    let header = ["fingerprint", "stage", "code", "field", "open", "all", "hour < before", "oldest s", "example"];
    output::table(&header, &rows)?;
    Ok(Exit::Ok)
}

pub(super) fn show(global: &Global, topic: &str, partition: u32, offset: u64, unmask: bool) -> Result<Exit, Failure> {
    let session = Session::open(global, Access::Read)?;
    let filter = Filter {
        partition: Some(partition),
        from: Some(offset),
        to: Some(offset.saturating_add(1)),
        ..Filter::default()
    };
    let mut found = None;
    visit_letters(&session, Some(topic), &filter, |letter, resolution| {
        found = Some(shown(&letter, resolution, unmask));
        Ok(())
    })?;
    let Some(shown) = found else {
        return Err(Failure::new(Exit::Findings, format!("there is no dead letter at {topic} {partition}@{offset}"))
            .hint("`tidemill dlq ls` shows where they are."));
    };
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

pub(super) fn export(global: &Global, topic: &str, filter: &DlqFilter, unmask: bool) -> Result<Exit, Failure> {
    let session = Session::open(global, Access::Read)?;
    let filter = filter_of(filter, session.clock.unix_ms())?;
    visit_letters(&session, Some(topic), &filter, |letter, resolution| {
        output::line(&shown(&letter, resolution, unmask).to_string())
    })?;
    Ok(Exit::Ok)
}

/// What an operator wants to see. The payload may hold personal data, so it is masked or left out unless asked for.
pub(in crate::command) fn shown(letter: &Letter, resolution: Option<&Resolution>, unmask: bool) -> Value {
    let mut shown = Map::new();
    let place = format!("{} {}@{}", letter.place.topic, letter.place.partition, letter.place.offset);
    shown.insert("dead_letter".to_owned(), json!(place));
    let status = resolution.map_or("open", |resolution| resolution.resolution.name());
    shown.insert("status".to_owned(), json!(status));
    if let Some(resolution) = resolution {
        let at = EventTime::from_millis(resolution.at_ms).to_string();
        shown.insert(
            "resolved".to_owned(),
            json!({"at": at, "by": resolution.actor, "reason": resolution.reason, "plan": resolution.plan}),
        );
    }
    for (name, value) in &letter.headers {
        let text = value.as_deref().map(String::from_utf8_lossy);
        let name = name.strip_prefix(PREFIX).unwrap_or(name);
        shown.insert(name.to_owned(), json!(text));
    }
    shown.insert("key".to_owned(), json!(letter.key.as_deref().map(String::from_utf8_lossy)));
    let value = payload(letter, unmask);
    if let Some(field) = letter.text("field").and_then(|field| value.pointer(field)) {
        shown.insert("failing_value".to_owned(), field.clone());
    }
    shown.insert("value".to_owned(), value);
    Value::Object(shown)
}

fn payload(letter: &Letter, unmask: bool) -> Value {
    let Some(bytes) = &letter.value else { return Value::Null };
    if let Some(mut value) = letter.json() {
        if !unmask {
            consume::mask(&mut value);
        }
        return value;
    }
    if !unmask {
        return json!(format!("{} bytes that are not JSON; `--unmask` shows them", bytes.len()));
    }
    json!(String::from_utf8_lossy(bytes))
}
