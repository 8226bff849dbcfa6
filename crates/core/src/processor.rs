//! Processors: pure steps of payment logic.

use std::fmt;

use crate::context::Context;
use crate::event::{AnyEvent, EventKind};
use crate::reference::ReferenceTable;
use crate::reject::{CodeSpec, Reject};
use crate::settings::Build;
use crate::state::StateError;

/// One step of a chain. The same input, state and reference data always give the same result:
/// no clock, no randomness, no I/O.
pub trait Processor: Send {
    /// Takes the event on. `Err` undoes every state change and every effect of this record but its evidence.
    fn process(&self, event: AnyEvent, context: &mut Context<'_>) -> Result<Flow, Reject>;

    /// Called, after the undoing, on every processor of the chain from the last to the first, until one answers:
    /// writes the outcome down and tells the sender. A reject that nobody answers goes to the dead letters. One of
    /// class [`Class::Invariant`](crate::Class::Invariant) is not offered to anybody.
    fn on_reject(&self, _reject: &Reject, _context: &mut Context<'_>) -> Result<Answer, StateError> {
        Ok(Answer::NotMine)
    }
}

/// Where the event goes after a processor.
#[derive(Debug)]
pub enum Flow {
    /// On to the next processor, or to the stage's output after the last.
    Continue(AnyEvent),
    /// Nowhere: all is said and done.
    Done(Outcome),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The reject stands, and its sender knows.
    Given,
    /// The record was seen before, with the same body: its first answer has been repeated, and the reject does not
    /// count. Only effects stay, as with [`Outcome::Duplicate`].
    Repeat,
    NotMine,
}

/// How one input record ended at a stage. Every record ends in exactly one way, and the figures add up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// Went on to the stage's output.
    Passed,
    /// A payment that was carried out.
    Posted,
    /// Something other than a payment that was carried out.
    Applied,
    /// Seen before, with the same body. The state stays as it was, whatever the chain has written; effects are kept.
    Duplicate,
    /// Answered with this code.
    Rejected(&'static str),
    /// Written to the dead letters with this code.
    Dead(&'static str),
    /// Waits behind an earlier record of its key.
    Parked,
    /// A dead letter that an operator has given up.
    Discarded,
}

/// What a key is. Two topics can be read by one task only if their keys mean the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeySpace {
    /// Any key or none.
    Any,
    /// Named: `account`, `counterparty`, `customer`.
    Named(&'static str),
}

impl fmt::Debug for KeySpace {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => out.write_str("any key"),
            Self::Named(name) => out.write_str(name),
        }
    }
}

impl KeySpace {
    /// Whether state kept under `self` may be fed from records keyed by `input`.
    pub fn accepts(self, input: KeySpace) -> bool {
        matches!(self, Self::Any) || self == input
    }
}

/// A store that a processor reads and writes.
#[derive(Clone, Copy, Debug)]
pub struct StoreSpec {
    /// Plural noun, unique among all processors.
    pub name: &'static str,
    pub keyed_by: KeySpace,
    pub summary: &'static str,
}

/// Something a processor writes besides passing its event on.
#[derive(Clone, Copy, Debug)]
pub struct PortSpec {
    pub name: &'static str,
    pub kind: EventKind,
    pub summary: &'static str,
}

/// A reference table that a processor reads.
#[derive(Clone, Copy)]
pub struct ReferenceSpec {
    pub name: &'static str,
    pub kind: EventKind,
    pub summary: &'static str,
    /// The table as the processor's settings define it, before any record of its topic.
    pub build: Build<dyn ReferenceTable>,
}

impl fmt::Debug for ReferenceSpec {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "ReferenceSpec({})", self.name)
    }
}

/// One way through a processor: what it takes and what it passes on (`None`: it ends the chain).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature {
    pub takes: EventKind,
    pub gives: Option<EventKind>,
}

/// Everything about a processor that can be known before it runs. Documentation and checks are derived from it.
#[derive(Clone, Copy)]
pub struct ProcessorSpec {
    /// `verb_noun`, also the name of its file.
    pub name: &'static str,
    pub summary: &'static str,
    pub signatures: &'static [Signature],
    pub stores: &'static [StoreSpec],
    pub ports: &'static [PortSpec],
    pub references: &'static [ReferenceSpec],
    /// In order of precedence: of several that apply, the first is answered.
    pub codes: &'static [CodeSpec],
    /// The kind whose registered schemas the processor asks `context.schemas` for.
    pub decodes: Option<EventKind>,
    /// Whether money moves here: such a stage must say what happens to records that fail.
    pub moves_money: MovesMoney,
    /// A settings table that works, for documentation; parsed by a test.
    pub example: &'static str,
    pub build: Build<dyn Processor>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MovesMoney {
    Yes,
    No,
}

impl fmt::Debug for ProcessorSpec {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "ProcessorSpec({})", self.name)
    }
}
