//! Drives processors in tests: in-memory state, a chain that runs as in production, row tables.

mod driver;
mod state;
mod table;

pub use driver::{Driver, Ran, TestRecord};
pub use state::MemoryState;
pub use table::{Row, rows};
