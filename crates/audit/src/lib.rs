//! The audit trail: what operators did, who, when and why, in a chain that shows every later change.
//!
//! An [`Entry`] names the hash of the one before it, and its own hash covers every field. [`Verifier`] follows a chain from
//! its beginning and reports what does not belong. A chain cannot show that its own end was cut off, so a
//! [`Checkpoint`] of it, signed, is kept where whoever can write the trail cannot.
//!
//! Invariant: nothing here does I/O or reads a clock.

mod chain;
mod checkpoint;
mod entry;
mod hex;

pub use chain::{Coverage, Finding, FindingKind, Head, Place, Verifier};
pub use checkpoint::{Checkpoint, CheckpointError, Keys};
pub use entry::{Action, Entry, EntryError, Outcome};
