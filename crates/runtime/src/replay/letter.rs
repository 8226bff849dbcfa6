//! One dead letter, as it lies in its topic, and which of them are meant.

use std::fmt;
use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};
use tidemill_core::{EventTime, Headers, Origin, RecordView};

use crate::broker::{Broker, BrokerError, Isolation, TopicPartition, read_range};
use crate::dead_letter::{OwnedHeader, PREFIX};

/// Where a dead letter lies: its name, which never changes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    pub topic: String,
    pub partition: u32,
    pub offset: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}-{}@{}", self.topic, self.partition, self.offset)
    }
}

#[derive(Clone, Debug)]
pub struct Letter {
    pub place: Place,
    pub timestamp_ms: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<OwnedHeader>,
}

impl Letter {
    pub fn of(record: &RecordView<'_>) -> Self {
        let Origin { topic, partition, offset } = record.origin;
        Self {
            place: Place { topic: topic.to_owned(), partition, offset },
            timestamp_ms: record.event_time.millis(),
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: record.headers.iter().map(|(name, value)| (name.to_owned(), value.map(<[u8]>::to_vec))).collect(),
        }
    }

    /// The `x-dlq-…` header of that name.
    pub fn text(&self, name: &str) -> Option<&str> {
        let is_named = |(candidate, _): &&OwnedHeader| candidate.strip_prefix(PREFIX) == Some(name);
        let (_, value) = self.headers.iter().rev().find(is_named)?;
        std::str::from_utf8(value.as_deref()?).ok()
    }

    pub fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }

    pub fn replay_count(&self) -> u64 {
        self.number("replay-count").unwrap_or(0)
    }

    /// When it failed, in milliseconds since 1970; when it was written, where that is not known.
    pub fn failed_at_ms(&self) -> i64 {
        self.text("failed-at").and_then(|text| text.parse().ok()).unwrap_or(self.timestamp_ms)
    }

    /// Topic of the input that failed.
    pub fn input(&self) -> &str {
        self.text("input").unwrap_or_else(|| self.place.topic.strip_suffix(".dlq").unwrap_or(&self.place.topic))
    }

    /// Whether a sink could not write it. Such a letter is no stage's.
    pub fn is_of_sink(&self) -> bool {
        self.text("stage").is_none_or(|stage| stage.starts_with("sink-"))
    }

    /// The value as JSON, if it is that.
    pub fn json(&self) -> Option<serde_json::Value> {
        serde_json::from_slice(self.value.as_deref()?).ok()
    }

    /// Shows `look` the record as a stage would see it, with `value` instead of its own where it was edited.
    pub(crate) fn with_record<T>(&self, value: Option<&[u8]>, look: impl FnOnce(&RecordView<'_>) -> T) -> T {
        let headers = crate::dead_letter::borrowed(&self.headers);
        look(&RecordView {
            origin: Origin { topic: self.input(), partition: self.place.partition, offset: self.place.offset },
            event_time: EventTime::from_millis(self.timestamp_ms),
            key: self.key.as_deref(),
            value,
            headers: Headers::new(&headers),
        })
    }
}

/// Which dead letters are meant: those for which everything holds that is said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    pub code: Option<String>,
    pub stage: Option<String>,
    pub class: Option<String>,
    pub field: Option<String>,
    pub fingerprint: Option<String>,
    pub key: Option<String>,
    pub schema_id: Option<String>,
    /// Failed at or after, and before, in milliseconds since 1970.
    pub since_ms: Option<i64>,
    pub until_ms: Option<i64>,
    pub partition: Option<u32>,
    /// First offset, and the one after the last.
    pub from: Option<u64>,
    pub to: Option<u64>,
    /// JSON pointer into the value, and the text that has to stand there.
    pub values: Vec<(String, String)>,
}

impl Filter {
    pub fn matches(&self, letter: &Letter) -> bool {
        let is = |wanted: &Option<String>, name: &str| {
            wanted.as_deref().is_none_or(|wanted| letter.text(name).unwrap_or_default() == wanted)
        };
        let failed_at_ms = letter.failed_at_ms();
        let key = || letter.key.as_deref().map(String::from_utf8_lossy);
        is(&self.code, "code")
            && is(&self.stage, "stage")
            && is(&self.class, "class")
            && is(&self.field, "field")
            && is(&self.fingerprint, "fingerprint")
            && is(&self.schema_id, "schema-id")
            && self.key.as_deref().is_none_or(|wanted| key().is_some_and(|key| key == wanted))
            && self.since_ms.is_none_or(|since| failed_at_ms >= since)
            && self.until_ms.is_none_or(|until| failed_at_ms < until)
            && self.values_match(letter)
    }

    fn values_match(&self, letter: &Letter) -> bool {
        if self.values.is_empty() {
            return true;
        }
        let Some(value) = letter.json() else { return false };
        self.values.iter().all(|(pointer, wanted)| match value.pointer(pointer) {
            Some(serde_json::Value::String(text)) => text == wanted,
            Some(found) => serde_json::from_str::<serde_json::Value>(wanted).is_ok_and(|wanted| wanted == *found),
            None => false,
        })
    }
}

/// Shows `visit` the dead letters of a topic that the filter means, partition by partition in order. Returns where each
/// partition ended.
pub fn read_letters<E: From<BrokerError>>(
    broker: &dyn Broker,
    topic: &str,
    partitions: u32,
    filter: &Filter,
    mut visit: impl FnMut(Letter) -> Result<(), E>,
) -> Result<Vec<(u32, u64)>, E> {
    let is_wanted = |number: &u32| filter.partition.is_none_or(|wanted| wanted == *number);
    let mut ends = Vec::new();
    for number in (0..partitions).filter(is_wanted) {
        let partition = TopicPartition::new(topic, number);
        let watermarks = broker.watermarks(&partition, Isolation::ReadCommitted)?;
        let from = filter.from.unwrap_or(0).max(watermarks.low);
        let end = filter.to.unwrap_or(u64::MAX).min(watermarks.high);
        read_range(broker, &partition, from..end, |record| {
            let letter = Letter::of(record);
            if filter.matches(&letter) {
                visit(letter)?;
            }
            Ok::<_, E>(ControlFlow::Continue(()))
        })?;
        ends.push((number, watermarks.high));
    }
    Ok(ends)
}
