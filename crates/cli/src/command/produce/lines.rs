//! What is read: JSON lines or CSV.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};

use flate2::read::MultiGzDecoder;
use serde_json::{Map, Value};
use tidemill_core::EventTime;

use crate::args::ProduceArgs;
use crate::exit::{Exit, Failure};

/// One record to write.
pub(super) struct Line {
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Vec<u8>,
    pub(super) timestamp_ms: Option<i64>,
}

/// Why a line gives no record.
pub(super) enum LineError {
    /// This line cannot be made into a record; the next one may.
    Unusable(Unusable),
    /// The input cannot be read any further.
    Unreadable(String),
}

/// What is wrong with a line.
pub(super) struct Unusable {
    /// Where the line was to become an event.
    pub(super) code: Option<&'static str>,
    /// `tiers[1].rate`; empty for the whole line.
    pub(super) field: String,
    pub(super) message: String,
}

impl From<String> for Unusable {
    fn from(message: String) -> Self {
        Self { code: None, field: String::new(), message }
    }
}

pub(super) type Lines<'a> = Box<dyn Iterator<Item = Result<Line, LineError>> + 'a>;

pub(super) fn lines(args: &ProduceArgs) -> Result<Lines<'_>, Failure> {
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
        Ok(Line { key: field(&args.key).map(|key| key.as_bytes().to_vec()), timestamp_ms, value })
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
            false => LineError::Unusable(error.to_string().into()),
        })?;
        let mut record = Map::new();
        for (path, template) in &fields {
            insert(&mut record, path, template.fill(&row));
        }
        let text = |name: &str| record.get(name).and_then(Value::as_str);
        let timestamp_ms = text(&args.time).and_then(EventTime::parse).map(EventTime::millis);
        let key = text(&args.key).map(|key| key.as_bytes().to_vec());
        let value = serde_json::to_vec(&record).map_err(|error| LineError::Unusable(error.to_string().into()))?;
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
