//! `tidemill produce`: records from JSON lines or CSV into a topic.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use flate2::read::MultiGzDecoder;
use serde_json::{Map, Value};
use tidemill_core::{EventTime, partition};
use tidemill_runtime::broker::{Broker, BrokerError, BrokerErrorKind, Outgoing, Producer, ProducerOptions};

use crate::args::{Global, ProduceArgs};
use crate::exit::{Exit, Failure};
use crate::output::{self, Progress};
use crate::session::{Access, Session};
use crate::stop::Stop;

const FLUSH_DEADLINE: Duration = Duration::from_secs(60);
const FLUSH_RECORDS: u64 = 20_000;

/// One record to write.
struct Line {
    key: Option<String>,
    value: Vec<u8>,
    timestamp_ms: Option<i64>,
}

/// Why a line gives no record.
enum LineError {
    /// This line cannot be made into a record; the next one may.
    Unusable(String),
    /// The input cannot be read any further.
    Unreadable(String),
}

type Lines<'a> = Box<dyn Iterator<Item = Result<Line, LineError>> + 'a>;

pub(super) fn run(global: &Global, args: &ProduceArgs) -> Result<Exit, Failure> {
    let session = Session::open(global, Access::Write)?;
    if matches!(session.topology.broker, tidemill_topology::plan::Broker::Embedded { .. }) {
        session.provision()?;
    }
    let mut target = Target::open(&session.broker, &args.topic)?;
    let stop = Stop::on_signals()?;
    let mut progress = Progress::new("produced", args.total.or(args.limit).unwrap_or(0));
    let started_at = Instant::now();
    let mut seen = HashSet::new();
    let (mut done, mut skipped) = (0_u64, 0_u64);
    for (number, line) in (1_u64..).zip(lines(args)?) {
        if stop.is_set() || args.limit.is_some_and(|limit| done >= limit) {
            break;
        }
        let line = match line {
            Ok(line) => line,
            Err(LineError::Unusable(message)) => {
                skipped += 1;
                tracing::warn!(line = number, error = message, "line skipped");
                continue;
            }
            Err(LineError::Unreadable(message)) => {
                target.flush()?;
                let message = format!("the input cannot be read after line {}: {message}", number - 1);
                return Err(
                    Failure::new(Exit::Partial, message).hint(format!("{done} records were written before it."))
                );
            }
        };
        if args.distinct && !line.key.as_ref().is_some_and(|key| seen.insert(key.clone())) {
            continue;
        }
        let now_ms = session.clock.unix_ms();
        let timestamp_ms = line.timestamp_ms.unwrap_or(now_ms);
        match target.send(line.key.as_deref().map(str::as_bytes), &line.value, timestamp_ms) {
            Err(error) if error.kind == BrokerErrorKind::RecordRefused => {
                skipped += 1;
                tracing::warn!(line = number, %error, "line skipped");
                continue;
            }
            sent => sent?,
        }
        done += 1;
        if done.is_multiple_of(FLUSH_RECORDS) {
            target.flush()?;
        }
        if let Some(rate) = args.rate {
            pace(started_at, done, rate);
        }
        progress.set(done);
    }
    target.flush()?;
    progress.finish();
    let seconds = started_at.elapsed().as_secs_f64();
    let result = serde_json::json!({"event": "result", "topic": args.topic, "records": done, "skipped": skipped, "seconds": (seconds * 1000.0).round() / 1000.0});
    if global.json {
        output::json(&result)?;
    } else {
        eprintln!("{} records to {} in {seconds:.1} s, {skipped} lines skipped", output::count(done), args.topic);
    }
    Ok(match (stop.is_set(), skipped) {
        (true, _) => Exit::Interrupted,
        (false, 0) => Exit::Ok,
        (false, _) => Exit::Partial,
    })
}

/// A topic to write to, with keys in the partitions where Kafka's own producers put them.
pub(super) struct Target {
    producer: Box<dyn Producer>,
    topic: String,
    partitions: u32,
    without_key: u32,
}

impl Target {
    pub(super) fn open(broker: &Arc<dyn Broker>, topic: &str) -> Result<Self, Failure> {
        let topics = broker.topics()?;
        let info = topics.iter().find(|info| info.name == topic).ok_or_else(|| {
            let failure = Failure::new(Exit::Findings, format!("there is no topic {topic} on {}", broker.describe()));
            match tidemill_core::diagnostic::nearest(topic, topics.iter().map(|info| info.name.as_str())) {
                Some(near) => failure.hint(format!("Did you mean {near}?")),
                None => failure.hint("Create the topology's topics with `tidemill apply`."),
            }
        })?;
        let producer = broker.producer(&ProducerOptions::Idempotent)?;
        Ok(Self { producer, topic: topic.to_owned(), partitions: info.partitions, without_key: 0 })
    }

    pub(super) fn send(&mut self, key: Option<&[u8]>, value: &[u8], timestamp_ms: i64) -> Result<(), BrokerError> {
        let partition = match key {
            Some(key) => partition::partition_of(key, self.partitions),
            None => {
                self.without_key = (self.without_key + 1) % self.partitions;
                self.without_key
            }
        };
        self.producer.send(&Outgoing {
            topic: &self.topic,
            partition,
            timestamp_ms,
            key,
            value: Some(value),
            headers: &[],
        })
    }

    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        Ok(self.producer.flush(FLUSH_DEADLINE)?)
    }
}

fn pace(started_at: Instant, done: u64, rate: u64) {
    let due = Duration::from_micros(done.saturating_mul(1_000_000) / rate.max(1));
    std::thread::sleep(due.saturating_sub(started_at.elapsed()));
}

fn lines(args: &ProduceArgs) -> Result<Lines<'_>, Failure> {
    let input: Box<dyn Read> = match &args.file {
        None => Box::new(std::io::stdin()),
        Some(path) => {
            let file = File::open(path)
                .map_err(|error| Failure::new(Exit::Findings, format!("{}: {error}", path.display())))?;
            if path.extension().is_some_and(|extension| extension == "gz") {
                Box::new(MultiGzDecoder::new(file))
            } else {
                Box::new(file)
            }
        }
    };
    if args.csv { csv_lines(args, input) } else { Ok(json_lines(args, input)) }
}

/// Every line is one value, whatever it holds: what cannot be read is for the pipeline to judge.
fn json_lines(args: &ProduceArgs, input: Box<dyn Read>) -> Lines<'_> {
    let lines = BufReader::with_capacity(1 << 20, input).split(b'\n');
    Box::new(lines.map(|line| {
        let value = line.map_err(|error| LineError::Unreadable(error.to_string()))?;
        let parsed: Option<Map<String, Value>> = serde_json::from_slice(&value).ok();
        let field = |name: &str| parsed.as_ref().and_then(|parsed| parsed.get(name)).and_then(Value::as_str);
        let timestamp_ms = field(&args.time).and_then(EventTime::parse).map(EventTime::millis);
        Ok(Line { key: field(&args.key).map(ToOwned::to_owned), timestamp_ms, value })
    }))
}

fn csv_lines(args: &ProduceArgs, input: Box<dyn Read>) -> Result<Lines<'_>, Failure> {
    let mut reader = csv::Reader::from_reader(BufReader::with_capacity(1 << 20, input));
    let header = reader.headers().map_err(|error| Failure::new(Exit::Findings, format!("CSV: {error}")))?.clone();
    let columns: BTreeMap<String, usize> =
        header.iter().enumerate().map(|(index, name)| (name.to_owned(), index)).collect();
    let fields: Vec<(Vec<String>, Template)> = if args.map.is_empty() {
        header.iter().enumerate().map(|(index, name)| (path(name), Template::column(index))).collect()
    } else {
        let parse = |(field, text): &(String, String)| Ok((path(field), Template::parse(text, &columns)?));
        args.map.iter().map(parse).collect::<Result<_, Failure>>()?
    };
    Ok(Box::new(reader.into_records().map(move |row| {
        let row = row.map_err(|error| match error.is_io_error() {
            true => LineError::Unreadable(error.to_string()),
            false => LineError::Unusable(error.to_string()),
        })?;
        let mut record = Map::new();
        for (path, template) in &fields {
            insert(&mut record, path, template.fill(&row));
        }
        let text = |name: &str| record.get(name).and_then(Value::as_str);
        let timestamp_ms = text(&args.time).and_then(EventTime::parse).map(EventTime::millis);
        let key = text(&args.key).map(ToOwned::to_owned);
        let value = serde_json::to_vec(&record).map_err(|error| LineError::Unusable(error.to_string()))?;
        Ok(Line { key, value, timestamp_ms })
    })))
}

/// Text with columns in braces: `c-{CUSTOMER_ID}`. `{COLUMN|iso}` makes `2018-04-01 00:00:31` a time in UTC.
struct Template(Vec<Part>);

enum Part {
    Text(String),
    Column(usize),
    IsoTime(usize),
}

impl Template {
    fn column(index: usize) -> Self {
        Self(vec![Part::Column(index)])
    }

    fn parse(text: &str, columns: &BTreeMap<String, usize>) -> Result<Self, Failure> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let wrong = |message: String| Failure::new(Exit::Usage, format!("--map `{text}`: {message}"));
            let (name, after) = after.split_once('}').ok_or_else(|| wrong("a brace is not closed".to_owned()))?;
            let (name, filter) = name.split_once('|').unwrap_or((name, ""));
            let index = *columns.get(name).ok_or_else(|| {
                let names: Vec<&str> = columns.keys().map(String::as_str).collect();
                wrong(format!("there is no column {name}")).hint(format!("The columns are {}.", names.join(", ")))
            })?;
            parts.push(Part::Text(before.to_owned()));
            parts.push(match filter {
                "" => Part::Column(index),
                "iso" => Part::IsoTime(index),
                other => return Err(wrong(format!("there is no filter {other}")).hint("The only filter is `iso`.")),
            });
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        Ok(Self(parts))
    }

    fn fill(&self, row: &csv::StringRecord) -> String {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Text(fixed) => text.push_str(fixed),
                Part::Column(index) => text.push_str(row.get(*index).unwrap_or_default()),
                Part::IsoTime(index) => {
                    text.push_str(&row.get(*index).unwrap_or_default().replacen(' ', "T", 1));
                    text.push('Z');
                }
            }
        }
        text
    }
}

fn path(field: &str) -> Vec<String> {
    field.split('.').map(ToOwned::to_owned).collect()
}

fn insert(record: &mut Map<String, Value>, path: &[String], text: String) {
    match path {
        [] => {}
        [name] => {
            record.insert(name.clone(), Value::String(text));
        }
        [name, rest @ ..] => {
            let inner = record.entry(name.clone()).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(inner) = inner {
                insert(inner, rest, text);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_fill_columns_into_nested_fields() {
        let columns = BTreeMap::from([("ID".to_owned(), 0), ("AT".to_owned(), 1)]);
        let row = csv::StringRecord::from(vec!["7", "2018-04-01 00:00:31"]);
        let cases = [
            ("merchant.id", "m-{ID}", r#"{"merchant":{"id":"m-7"}}"#),
            ("created_at", "{AT|iso}", r#"{"created_at":"2018-04-01T00:00:31Z"}"#),
            ("currency", "EUR", r#"{"currency":"EUR"}"#),
        ];
        for (field, template, expected) in cases {
            let mut record = Map::new();
            let template = Template::parse(template, &columns).expect("a good template");
            insert(&mut record, &path(field), template.fill(&row));
            assert_eq!(Value::Object(record).to_string(), expected);
        }
        for wrong in ["{NO}", "{ID", "{ID|upper}"] {
            assert!(Template::parse(wrong, &columns).is_err(), "{wrong}");
        }
    }
}
