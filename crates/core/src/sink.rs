//! Sinks: connectors that build read models from curated topics.
//!
//! Delivery contract: a sink keeps its own positions beside its rows and writes both at once, so that every record is
//! applied exactly once, whatever dies in between. A sink that cannot do so (a cache) applies records idempotently by
//! their offset.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::event::{AnyEvent, EventKind};
use crate::settings::{Settings, SettingsError};
use crate::statement::{InTransit, Period, Statement};
use crate::time::EventTime;

/// One record on its way into a read model.
#[derive(Debug)]
pub struct SinkRecord {
    pub topic: Arc<str>,
    pub partition: u32,
    pub offset: u64,
    pub event_time: EventTime,
    pub key: Option<Vec<u8>>,
    pub body: SinkBody,
}

#[derive(Debug)]
pub enum SinkBody {
    Event(AnyEvent),
    Tombstone,
    /// A dead letter as it lies in its topic.
    DeadLetter {
        value: Option<Vec<u8>>,
        headers: Vec<(String, Option<Vec<u8>>)>,
    },
    /// What became of a dead letter, whose place is the key of the record.
    Resolution {
        value: Vec<u8>,
    },
    /// An entry of the audit trail.
    Audit {
        value: Vec<u8>,
    },
}

/// The next offset to read, and how far in event time the read model has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkPosition {
    pub topic: Arc<str>,
    pub partition: u32,
    pub next_offset: u64,
    pub event_time: EventTime,
}

/// Records of one task, in order, and the positions after them.
#[derive(Debug, Default)]
pub struct SinkBatch {
    pub task: u32,
    pub records: Vec<SinkRecord>,
    pub next: Vec<SinkPosition>,
}

/// What a read model says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SinkAudit {
    /// Status records by `phase` and `code`, if the sink keeps them.
    pub statuses: BTreeMap<(String, String), u64>,
    /// Dead letters by code, if the sink keeps them.
    pub dead_letters: BTreeMap<String, u64>,
    /// Rules that do not hold, in words.
    pub violations: Vec<String>,
    pub balances: Option<BalancesDigest>,
}

/// All balances in one figure, so that two read models can be compared without moving either.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BalancesDigest {
    pub accounts: u64,
    digest: u64,
}

impl BalancesDigest {
    /// Adds one account with its available and pending money as decimal texts. The order of accounts does not matter.
    pub fn add(&mut self, account: &str, available: &str, pending: &str) {
        // FNV-1a: the two sides are both ours, so nobody chooses the input to collide.
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        for byte in [account, available, pending].into_iter().flat_map(|part| part.bytes().chain([0])) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        self.accounts += 1;
        self.digest = self.digest.wrapping_add(hash);
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SinkError {
    /// The other side does not answer, or asks for patience. Nothing was written; try again later.
    #[error("not reachable: {0}")]
    Unavailable(String),
    /// Another owner has claimed the task. Nothing was written; give the task up.
    #[error("task {task} has a newer owner")]
    Fenced { task: u32 },
    /// This record can never be written. Nothing of the batch was written.
    #[error("record {index} of the batch was refused: {message}")]
    Refused { index: usize, code: &'static str, message: String },
    /// Wrong set-up: tables missing, permission denied. Says what to do.
    #[error("{0}")]
    Misconfigured(String),
}

const NO_ENTRIES: &str = "a sink of this kind keeps no entries";

/// One open sink. Calls block; the engine gives each sink a thread of its own.
pub trait Sink: Send {
    /// What [`Sink::apply`] would do, one line each; empty when all is in place.
    fn plan(&mut self) -> Result<Vec<String>, SinkError>;

    /// Brings tables and the like up to date. Idempotent.
    fn apply(&mut self) -> Result<(), SinkError>;

    /// Where the read model stands, for all tasks, without claiming any: for status and reconciliation.
    fn positions(&mut self) -> Result<Vec<SinkPosition>, SinkError>;

    /// Checks the read model against its own rules, for reconciliation. Reads everything; not for the hot path.
    fn audit(&mut self) -> Result<SinkAudit, SinkError> {
        Ok(SinkAudit::default())
    }

    /// The account over the period; `None` if the read model does not know it.
    fn statement(&mut self, _account_id: &str, _period: Period) -> Result<Option<Statement>, SinkError> {
        Err(SinkError::Misconfigured(NO_ENTRIES.to_owned()))
    }

    /// Money between accounts, by currency, at one moment.
    fn in_transit(&mut self) -> Result<Vec<InTransit>, SinkError> {
        Err(SinkError::Misconfigured(NO_ENTRIES.to_owned()))
    }

    /// Makes `owner` the only one who may write for `task`, and returns where to go on reading.
    /// Topics without a position start at their beginning.
    fn claim(&mut self, task: u32, owner: &str) -> Result<Vec<SinkPosition>, SinkError>;

    /// Writes the whole batch with its positions, or nothing.
    fn write(&mut self, batch: &SinkBatch) -> Result<(), SinkError>;

    /// The read model, if that is what the sink keeps. One without reaches somebody outside instead, and runs for the live
    /// pipeline alone.
    fn read_model(&mut self) -> Option<&mut dyn ReadModel> {
        None
    }
}

/// A read model as a whole. A sink with the setting [`COLOUR`] keeps one of its own beside the one without.
pub trait ReadModel {
    /// Has everybody who reads by the pointer read this one from now on: all at once, or not at all. Idempotent.
    fn make_live(&mut self) -> Result<(), SinkError>;

    /// Takes it away with everything in it. Refused for the one without a colour. Idempotent.
    fn remove(&mut self) -> Result<(), SinkError>;

    /// Has the sink go on at these positions. Whoever has claimed their tasks is fenced.
    fn seek(&mut self, positions: &[SinkPosition]) -> Result<(), SinkError>;
}

/// Name of the setting by which the engine tells a sink which of several pipelines over the same inputs it works for.
pub const COLOUR: &str = "colour";

/// Takes the sink's own name and its settings.
pub type OpenSink = fn(&str, &Settings) -> Result<Box<dyn Sink>, Vec<SettingsError>>;

/// Everything about a kind of sink that can be known before it is opened.
#[derive(Clone, Copy)]
pub struct SinkSpec {
    /// `postgres`, `redis`, `sqlite`.
    pub name: &'static str,
    pub summary: &'static str,
    /// The kinds it makes something of; others are a finding of the topology check.
    pub consumes: &'static [EventKind],
    pub example: &'static str,
    /// Checks the settings and returns a sink that connects on first use.
    pub open: OpenSink,
}

impl fmt::Debug for SinkSpec {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "SinkSpec({})", self.name)
    }
}
