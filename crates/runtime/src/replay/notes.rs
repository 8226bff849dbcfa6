//! What the pipeline's replays topic says: which dead letters are resolved, and which replay of a topic is under way.
//!
//! Notes are written in the transaction of what they say, and the topic is compacted, so that the last note of a key counts.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use crate::broker::{Broker, BrokerError, Isolation, Outgoing, Producer, Result, TopicPartition, read_range};
use crate::replay::Place;

/// Stands before the topic in the key of a note about a replay.
const ACTIVE_PREFIX: &str = "replay:";

/// What became of a dead letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolution {
    pub resolution: ResolutionKind,
    pub dead_letter_id: String,
    /// Where it went; empty if nowhere.
    pub destination: String,
    pub plan: Option<String>,
    pub actor: String,
    pub reason: String,
    pub at_ms: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResolutionKind {
    Replayed,
    Discarded,
}

/// The replay of one dead-letter topic. There is one at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Active {
    /// Hash of its plan.
    pub plan: String,
    /// The process that runs it, so that a second one of the same plan is noticed.
    pub run: String,
    pub state: RunState,
    pub replayed: u64,
    pub total: u64,
    pub actor: String,
    pub at_ms: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    Running,
    Paused,
    Cancelled,
    Done,
}

impl RunState {
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Cancelled => "cancelled",
            Self::Done => "done",
        }
    }

    /// Whether no other replay of the topic may begin.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }
}

impl ResolutionKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Replayed => "replayed",
            Self::Discarded => "discarded",
        }
    }
}

/// All notes, as far as they have been read.
#[derive(Debug, Default)]
pub struct Notes {
    resolved: HashMap<String, Resolution>,
    active: BTreeMap<String, Active>,
    next_offset: u64,
}

impl Notes {
    /// Reads on to the end of what can be read now.
    pub fn read(&mut self, broker: &dyn Broker, topic: &str) -> Result<()> {
        let partition = TopicPartition::new(topic, 0);
        let watermarks = broker.watermarks(&partition, Isolation::ReadCommitted)?;
        let from = self.next_offset.max(watermarks.low);
        self.next_offset = read_range(broker, &partition, from..watermarks.high, |record| {
            let (Some(key), Some(value)) = (record.key, record.value) else {
                return Ok::<_, BrokerError>(ControlFlow::Continue(()));
            };
            let key = String::from_utf8_lossy(key);
            match key.strip_prefix(ACTIVE_PREFIX) {
                Some(topic) => {
                    if let Ok(active) = serde_json::from_slice(value) {
                        self.active.insert(topic.to_owned(), active);
                    }
                }
                None => {
                    if let Ok(resolution) = serde_json::from_slice(value) {
                        self.resolved.insert(key.into_owned(), resolution);
                    }
                }
            }
            Ok(ControlFlow::Continue(()))
        })?
        .max(self.next_offset);
        Ok(())
    }

    pub fn resolution(&self, place: &Place) -> Option<&Resolution> {
        self.resolved.get(&place.to_string())
    }

    /// Whether a letter was copied to a topic where it resolves nothing.
    pub(crate) fn is_copied(&self, place: &Place, topic: &str) -> bool {
        self.resolved.contains_key(&copy_key(place, topic))
    }

    /// Replays that were begun, by topic: the last of each.
    pub fn active(&self) -> &BTreeMap<String, Active> {
        &self.active
    }
}

pub(crate) fn copy_key(place: &Place, topic: &str) -> String {
    format!("{place} to {topic}")
}

pub(crate) fn write_resolution(
    producer: &mut dyn Producer,
    topic: &str,
    key: &str,
    resolution: &Resolution,
) -> Result<()> {
    write(producer, topic, key, resolution.at_ms, &serde_json::to_vec(resolution).unwrap_or_default())
}

pub(crate) fn write_active(producer: &mut dyn Producer, topic: &str, of: &str, active: &Active) -> Result<()> {
    let key = format!("{ACTIVE_PREFIX}{of}");
    write(producer, topic, &key, active.at_ms, &serde_json::to_vec(active).unwrap_or_default())
}

fn write(producer: &mut dyn Producer, topic: &str, key: &str, timestamp_ms: i64, value: &[u8]) -> Result<()> {
    let key = Some(key.as_bytes());
    producer.send(&Outgoing { topic, partition: 0, timestamp_ms, key, value: Some(value), headers: &[] })
}
