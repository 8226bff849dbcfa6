//! The state log of a task: what its records look like, and the rule that keeps it as short as the state it stands for.
//!
//! A transaction writes one record per task, or a few where that would be too large. Each holds many changes, and the
//! last one ends with the checkpoint. The records have no keys and the topic is not compacted: the owner carries live
//! entries forward and has the broker delete what lies behind them ([`cleaning`]).
//!
//! Invariant: the records of one transaction follow one another, and only the last of them holds a checkpoint. A reader
//! that stops elsewhere stands in the middle of a transaction.

pub mod cleaning;
pub mod record;

pub use cleaning::Cleaning;
pub use record::{LogError, LogRecord, RecordWriter};

/// How a state log is written and kept short.
#[derive(Clone, Copy, Debug)]
pub struct StateLogPolicy {
    /// A record that has reached this is followed by another. One change is never divided, so that a record can be larger
    /// by one change and a checkpoint.
    pub record_bytes_max: usize,
    /// A log that is shorter is not cleaned.
    pub log_bytes_min: u64,
    /// Entries of the store that a pass looks at in one go.
    pub scanned_entries: usize,
    /// A pass carries forward at least so much with each transaction, so that it comes to its end under a light load, too.
    pub carried_bytes_min: u64,
    /// At most so much, so that no transaction becomes slow by it.
    pub carried_bytes_max: u64,
}

impl Default for StateLogPolicy {
    fn default() -> Self {
        Self {
            record_bytes_max: 512 * 1024,
            log_bytes_min: 64 * 1024 * 1024,
            scanned_entries: 128,
            carried_bytes_min: 16 * 1024,
            carried_bytes_max: 256 * 1024,
        }
    }
}
