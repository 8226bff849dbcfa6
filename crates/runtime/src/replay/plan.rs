//! A replay, written down before it happens: which letters, what they would come to, and what they were judged by.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tidemill_topology::Topology;
use tidemill_topology::plan::OnError;

use crate::replay::{Filter, Letter, Place};
use crate::sealed::{self, hex, sha256};

const FORMAT: u32 = 1;
/// A record that has come back this often is not sent again: something other than a replay has to change.
const REPLAYS_MAX: u64 = 3;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    format: u32,
    /// `pipeline@version+hash`: the code and configuration that judged.
    pub produced_by: String,
    /// Dead-letter topic.
    pub topic: String,
    pub filter: Filter,
    pub destination: Destination,
    pub failing: Failing,
    pub created_at_ms: i64,
    pub created_by: String,
    /// End of each partition when it was read.
    pub end_offsets: BTreeMap<u32, u64>,
    pub items: Vec<Item>,
    /// SHA-256 over everything else.
    pub hash: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Destination {
    /// The stage that failed. Stages before it do not run again, and other readers of the topic notice nothing.
    Stage,
    /// The topic that the stage read.
    Origin,
    /// A topic to look at them. They stay unresolved.
    Sandbox(String),
}

/// What becomes of letters that would fail again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failing {
    Left,
    Sent,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Item {
    pub partition: u32,
    pub offset: u64,
    pub id: String,
    pub code: String,
    pub fingerprint: String,
    pub replay_count: u64,
    /// Of the value as it lies in the topic.
    pub value_sha256: String,
    pub verdict: Verdict,
    pub edit: Option<Edit>,
}

/// What would become of a letter today.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It would be processed. What comes of it is for the state to say.
    Passes,
    /// It would fail again.
    Fails { code: String, field: Option<String> },
    /// It is not to be sent, whatever would become of it.
    Guarded(Refusal),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// Sending it to its topic would reach every reader, and the sink is mended by itself.
    OfSink,
    /// No stage of this topology reads its topic.
    NoStage,
    /// It has come back too often.
    Loop,
    /// Later records of its key wait in order, which only the stage knows of.
    StageParks,
}

impl Refusal {
    pub fn message(self) -> &'static str {
        match self {
            Self::OfSink => "a sink refused it; sending it to its topic again would reach every reader",
            Self::NoStage => "no stage of this topology reads its topic",
            Self::Loop => "it has been replayed 3 times already",
            Self::StageParks => "its stage parks, so it has to go to the stage and not to the topic",
        }
    }
}

/// Another value than the one that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    /// The new value, in hexadecimal digits.
    pub value_hex: String,
    pub after_sha256: String,
    /// The change, as JSON Patch.
    pub patch: serde_json::Value,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub passes: u64,
    pub fails: BTreeMap<String, u64>,
    pub guarded: u64,
    pub edited: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error("it is not a plan: {0}")]
    Unreadable(String),
    #[error("it was changed after it was made")]
    Altered,
}

impl Edit {
    pub fn new(value: &[u8], patch: serde_json::Value) -> Self {
        Self { value_hex: hex(value), after_sha256: sha256(value), patch }
    }

    pub fn value(&self) -> Vec<u8> {
        let digits = self.value_hex.as_bytes().chunks_exact(2);
        digits.filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
    }
}

impl Item {
    pub fn of(letter: &Letter, verdict: Verdict) -> Self {
        let text = |name: &str| letter.text(name).unwrap_or_default().to_owned();
        Self {
            partition: letter.place.partition,
            offset: letter.place.offset,
            id: text("id"),
            code: text("code"),
            fingerprint: text("fingerprint"),
            replay_count: letter.replay_count(),
            value_sha256: sha256(letter.value.as_deref().unwrap_or_default()),
            verdict,
            edit: None,
        }
    }
}

/// Why the letter is not to be sent there, if so. `may_loop`: somebody has said that it may come back once more.
pub(crate) fn refusal(
    topology: &Topology,
    letter: &Letter,
    destination: &Destination,
    loops: LoopGuard,
) -> Option<Refusal> {
    if matches!(destination, Destination::Sandbox(_)) {
        return None;
    }
    if letter.is_of_sink() {
        return Some(Refusal::OfSink);
    }
    let Some((_, stage, _)) = topology.reader_of(letter.input()) else { return Some(Refusal::NoStage) };
    if *destination == Destination::Origin && stage.on_error == OnError::Park {
        return Some(Refusal::StageParks);
    }
    (loops == LoopGuard::On && letter.replay_count() >= REPLAYS_MAX).then_some(Refusal::Loop)
}

/// Whether a record that has come back often is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoopGuard {
    On,
    Off,
}

/// What a plan is asked for.
#[derive(Clone, Debug)]
pub struct Wish {
    pub topic: String,
    pub filter: Filter,
    pub destination: Destination,
    pub failing: Failing,
    pub created_by: String,
}

impl Plan {
    pub fn new(topology: &Topology, wish: Wish, now_ms: i64, ends: Vec<(u32, u64)>, items: Vec<Item>) -> Self {
        let Wish { topic, filter, destination, failing, created_by } = wish;
        let mut plan = Self {
            format: FORMAT,
            produced_by: topology.pipeline.produced_by(),
            topic,
            filter,
            destination,
            failing,
            created_at_ms: now_ms,
            created_by,
            end_offsets: ends.into_iter().collect(),
            items,
            hash: String::new(),
        };
        plan.seal();
        plan
    }

    pub fn is_to_be_sent(&self, item: &Item) -> bool {
        match item.verdict {
            Verdict::Passes => true,
            Verdict::Fails { .. } => self.failing == Failing::Sent,
            Verdict::Guarded(_) => false,
        }
    }

    /// Names the plan by its content. To be called after every change.
    pub fn seal(&mut self) {
        self.hash = self.content_hash();
    }

    pub fn encode(&self) -> String {
        sealed::encode(self)
    }

    pub fn decode(text: &str) -> Result<Self, PlanError> {
        let plan: Self = serde_json::from_str(text).map_err(|error| PlanError::Unreadable(error.to_string()))?;
        if plan.format != FORMAT || plan.hash != plan.content_hash() {
            return Err(PlanError::Altered);
        }
        Ok(plan)
    }

    pub fn place_of(&self, item: &Item) -> Place {
        Place { topic: self.topic.clone(), partition: item.partition, offset: item.offset }
    }

    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for item in &self.items {
            match &item.verdict {
                Verdict::Passes => counts.passes += 1,
                Verdict::Fails { code, .. } => *counts.fails.entry(code.clone()).or_default() += 1,
                Verdict::Guarded(_) => counts.guarded += 1,
            }
            counts.edited += u64::from(item.edit.is_some());
        }
        counts
    }

    fn content_hash(&self) -> String {
        sealed::content_hash(&Self { hash: String::new(), ..self.clone() })
    }
}
