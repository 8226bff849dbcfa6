//! One dead letter, as it lies in its topic.

use std::ops::ControlFlow;

use serde_json::{Map, Value, json};
use tidemill_runtime::broker::{Isolation, TopicPartition, read_range};

use crate::args::DlqFilter;
use crate::command::consume;
use crate::exit::Failure;
use crate::session::Session;

pub(super) const PREFIX: &str = "x-dlq-";

#[derive(Debug)]
pub(super) struct Letter {
    pub(super) topic: String,
    pub(super) partition: u32,
    pub(super) offset: u64,
    pub(super) timestamp_ms: i64,
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
    pub(super) headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Letter {
    /// The `x-dlq-…` header of that name.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let is_named = |(candidate, _): &&(String, _)| candidate.strip_prefix(PREFIX) == Some(name);
        let (_, value) = self.headers.iter().rev().find(is_named)?;
        std::str::from_utf8(value.as_deref()?).ok()
    }

    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }

    /// What an operator wants to see. The payload may hold personal data, so it is masked or left out unless asked for.
    pub(super) fn show(&self, unmask: bool) -> Value {
        let mut shown = Map::new();
        shown.insert("dead_letter".to_owned(), json!(format!("{} {}@{}", self.topic, self.partition, self.offset)));
        for (name, value) in &self.headers {
            let text = value.as_deref().map(String::from_utf8_lossy);
            let name = name.strip_prefix(PREFIX).unwrap_or(name);
            shown.insert(name.to_owned(), json!(text));
        }
        shown.insert("key".to_owned(), json!(self.key.as_deref().map(String::from_utf8_lossy)));
        shown.insert("value".to_owned(), self.payload(unmask));
        Value::Object(shown)
    }

    fn payload(&self, unmask: bool) -> Value {
        let Some(bytes) = &self.value else { return Value::Null };
        if let Ok(mut value) = serde_json::from_slice::<Value>(bytes) {
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
}

/// The dead letters of a topic that pass the filter, partition by partition in order.
pub(super) fn read_letters(session: &Session, topic: &str, filter: &DlqFilter) -> Result<Vec<Letter>, Failure> {
    let partitions = session.topology.topics.get(topic).map_or(0, |topic| topic.partitions);
    let is_wanted = |number: &u32| filter.partition.is_none_or(|wanted| wanted == *number);
    let mut letters = Vec::new();
    for number in (0..partitions).filter(is_wanted) {
        read_partition(session, &TopicPartition::new(topic, number), filter, &mut letters)?;
    }
    Ok(letters)
}

fn read_partition(
    session: &Session,
    partition: &TopicPartition,
    filter: &DlqFilter,
    letters: &mut Vec<Letter>,
) -> Result<(), Failure> {
    let watermarks = session.broker.watermarks(partition, Isolation::ReadCommitted)?;
    let from = filter.from.unwrap_or(0).max(watermarks.low);
    let end = filter.to.unwrap_or(u64::MAX).min(watermarks.high);
    read_range(session.broker.as_ref(), partition, from..end, |record| {
        let letter = Letter {
            topic: partition.topic.to_string(),
            partition: partition.partition,
            offset: record.origin.offset,
            timestamp_ms: record.event_time.millis(),
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: record.headers.iter().map(|(name, value)| (name.to_owned(), value.map(<[u8]>::to_vec))).collect(),
        };
        if filter.code.as_deref().is_none_or(|code| letter.text("code") == Some(code)) {
            letters.push(letter);
        }
        Ok::<_, Failure>(ControlFlow::Continue(()))
    })?;
    Ok(())
}
