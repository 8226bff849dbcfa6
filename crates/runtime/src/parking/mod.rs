//! Parking: the order of a key survives a failure.
//!
//! When a record fails whose stage parks, it becomes a dead letter, and its key is parked: later records of the key wait in
//! `<topic>.parked`, in order, while all other keys go on. Once an operator has resolved the failed record, the head, the
//! records that wait are processed in order, and what arrives meanwhile joins their end. The key is free with the
//! transaction that processes the last of them.
//!
//! Who is parked is state of the task, so it commits with everything else, moves with the task and survives restarts. The
//! state holds no records: each one that waits carries a [`Ticket`], and is processed only if the state says that it is the
//! next of its key, however often and in whatever order the topic is read.

mod holding;
mod lot;

use std::fmt;

use serde::{Deserialize, Serialize};
use tidemill_core::{Headers, StateValue, Store};

pub(crate) use holding::ParkingProgram;

/// Number of a record that waits, as `episode/number`.
pub const TICKET: &str = "x-dlq-parked-ticket";
/// Id of the dead letter that a record waits behind.
pub const PARKED_BEHIND: &str = "x-dlq-parked-behind";

/// Keys that are parked, by topic, a zero byte, and the key.
pub const PARKED_KEYS: Store<ParkedKey> = Store::new("engine.parked_keys");
/// What is parked of an input, by topic.
pub const PARKED_INPUTS: Store<ParkedInput> = Store::new("engine.parked_inputs");

/// One key that is parked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParkedKey {
    /// Id of the dead letter that the key waits for.
    pub head: String,
    pub phase: ParkedPhase,
    /// Tells the records of this time from those of an earlier time that the key was parked.
    pub episode: u64,
    /// Number of the record that is released next.
    pub next_out: u64,
    /// Number of the next record that is parked.
    pub next_in: u64,
    pub parked_at_ms: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParkedPhase {
    /// The head is not resolved.
    Waiting,
    /// What waits is being processed.
    Releasing,
}

/// All that is parked of one input of a task.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParkedInput {
    pub keys: u64,
    /// Keys among them that are being released.
    pub releasing: u64,
    /// Records that wait.
    pub records: u64,
    pub episodes: u64,
    /// No record that waits lies before this offset of the parked topic.
    pub scan_from: u64,
    /// Since when at least one key has been parked.
    pub since_ms: i64,
}

impl StateValue for ParkedKey {
    const VERSION: u8 = 1;
}

impl StateValue for ParkedInput {
    const VERSION: u8 = 1;
}

impl ParkedKey {
    /// Records that wait behind the head.
    pub fn records(&self) -> u64 {
        self.next_in.saturating_sub(self.next_out)
    }
}

impl ParkedPhase {
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Releasing => "releasing",
        }
    }
}

/// Which record of its key it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    pub episode: u64,
    pub number: u64,
}

impl Ticket {
    pub fn of(headers: &Headers<'_>) -> Option<Self> {
        let (episode, number) = headers.text(TICKET)?.split_once('/')?;
        Some(Self { episode: episode.parse().ok()?, number: number.parse().ok()? })
    }
}

impl fmt::Display for Ticket {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.episode, self.number)
    }
}

/// The key of [`PARKED_KEYS`].
pub fn state_key(topic: &str, key: &[u8]) -> Vec<u8> {
    [topic.as_bytes(), &[0], key].concat()
}

/// Topic and key of an entry of [`PARKED_KEYS`].
pub fn parts_of(state_key: &[u8]) -> Option<(&str, &[u8])> {
    let end = state_key.iter().position(|byte| *byte == 0)?;
    Some((std::str::from_utf8(state_key.get(..end)?).ok()?, state_key.get(end + 1..)?))
}

/// What a task knows of its parked keys without asking its state. Both may be true when nothing is there, and are never
/// false when something is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Flags {
    pub(crate) is_holding: bool,
    pub(crate) is_releasing: bool,
}
