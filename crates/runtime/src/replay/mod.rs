//! Replay: dead letters on their way back, each at most once, however often a plan is applied and wherever it is killed.
//!
//! A [`Plan`] says which letters, judged by today's code and configuration. [`apply`](run::apply) sends them in
//! transactions that hold the records, a note per letter that it is resolved, how far the replay is, and the audit entry.

mod letter;
mod notes;
mod plan;
pub mod run;
mod validation;
mod write;

pub use letter::{Filter, Letter, Place, read_letters};
pub use notes::{Active, Notes, Resolution, ResolutionKind, RunState};
pub use plan::{Counts, Destination, Edit, Failing, Item, LoopGuard, Plan, PlanError, Refusal, Verdict, Wish};
pub use validation::Validator;
pub use write::{discard, release_parked};
