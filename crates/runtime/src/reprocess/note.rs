//! What the pipelines over the same inputs know of each other: one record, written anew with every step.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};
use tidemill_topology::Colour;
use tidemill_topology::plan::Pipeline;

use crate::broker::{
    Broker, BrokerError, BrokerErrorKind, Isolation, Outgoing, Producer, Result, TopicPartition, read_range,
};
use crate::reprocess::Limits;
use crate::sealed::sha256;

const KEY: &[u8] = b"reprocess";
/// The topic is compacted, so that the last record is close to its end.
const LOOK_BACK: u64 = 20;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// The live pipeline; `None` is the one without a colour.
    pub live: Option<Colour>,
    /// What the live one has taken over from, if it has.
    pub replaced: Option<Replaced>,
    /// The reprocess under way.
    pub run: Option<Run>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replaced {
    pub colour: Option<Colour>,
    pub config_hash: String,
    /// Configuration that has taken over.
    pub by_config_hash: String,
    pub at_ms: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    pub colour: Colour,
    pub phase: Phase,
    pub from: StartFrom,
    /// Configuration of the live pipeline, and of the new one.
    pub blue_config_hash: String,
    pub green_config_hash: String,
    /// Where the live one was stopped, once it was: `topic` to partition to next offset.
    pub stopped_at: BTreeMap<String, BTreeMap<u32, u64>>,
    pub actor: String,
    pub reason: String,
    pub started_at_ms: i64,
    pub at_ms: i64,
}

/// How far a reprocess has come. Each is entered in one transaction with its audit entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The new pipeline follows the live one.
    Running,
    /// The live one is being stopped.
    Fencing,
    /// It takes in nothing more. What it has taken in comes to its end, in both.
    Draining,
    /// Readers are being turned to the new one. There is no way back from here.
    Flipping,
    /// The new one is being taken away.
    Removing,
}

/// Where the new pipeline begins to read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartFrom {
    Beginning,
    /// First offsets, by topic and partition. For pipelines without state.
    Offsets(BTreeMap<String, BTreeMap<u32, u64>>),
}

impl Phase {
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Fencing => "fencing",
            Self::Draining => "draining",
            Self::Flipping => "flipping",
            Self::Removing => "removing",
        }
    }

    /// Whether nobody but the reprocess itself may work for the live pipeline.
    pub fn is_cutover(self) -> bool {
        matches!(self, Self::Fencing | Self::Draining | Self::Flipping)
    }
}

impl Run {
    /// Names what is done, as the hash of a plan does: the same colour, beginning and configurations.
    pub fn plan_hash(&self) -> String {
        let plan = (&self.colour, &self.from, &self.blue_config_hash, &self.green_config_hash);
        sha256(&serde_json::to_vec(&plan).unwrap_or_default())
    }

    pub fn limits(&self) -> Limits {
        Limits::of(&self.stopped_at)
    }
}

impl Note {
    /// What was noted last. A cluster on which nothing of the like was ever done has no such topic, and nothing to say.
    pub fn read(broker: &dyn Broker, pipeline: &Pipeline) -> Result<Self> {
        let partition = TopicPartition::new(pipeline.reprocess_topic(), 0);
        let watermarks = match broker.watermarks(&partition, Isolation::ReadCommitted) {
            Err(error) if error.kind == BrokerErrorKind::NotFound => return Ok(Self::default()),
            watermarks => watermarks?,
        };
        let near = watermarks.high.saturating_sub(LOOK_BACK).max(watermarks.low);
        for from in [near, watermarks.low] {
            let mut last = None;
            read_range(broker, &partition, from..watermarks.high, |record| {
                last = record.value.map(<[u8]>::to_vec);
                Ok::<_, BrokerError>(ControlFlow::Continue(()))
            })?;
            if let Some(value) = last {
                return serde_json::from_slice(&value).map_err(|error| {
                    let message = format!("the note about the live pipeline: {error}");
                    BrokerError::new(BrokerErrorKind::Misconfigured, "read which pipeline is live", message)
                });
            }
        }
        Ok(Self::default())
    }

    pub(crate) fn write(&self, producer: &mut dyn Producer, pipeline: &Pipeline, timestamp_ms: i64) -> Result<()> {
        producer.send(&Outgoing {
            topic: &pipeline.reprocess_topic(),
            partition: 0,
            timestamp_ms,
            key: Some(KEY),
            value: Some(&serde_json::to_vec(self).unwrap_or_default()),
            headers: &[],
        })
    }

    /// How far the reprocess of the live pipeline's inputs has come, if there is one.
    pub fn phase(&self) -> Option<Phase> {
        self.run.as_ref().map(|run| run.phase)
    }
}
