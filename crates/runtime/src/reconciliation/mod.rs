//! Whether every record that came in is accounted for: in = posted + applied + passed on + rejected + duplicate +
//! discarded + parked + dead, per input partition, and what stages write is what stages read.
//!
//! Both sides are in the checkpoints, so they are committed with the work and survive whoever did it. They are counted in
//! different places: how records ended by the chain, what was read by its offsets, what was set aside by what was written
//! and by the state. What is lost between two of these places shows as a difference for good.

mod balance;
mod tally;
mod watch;

pub use balance::{Balance, RECORDS_UNACCOUNTED, balances};
pub use tally::{SetAside, Taken, Tally};
pub use watch::{Look, ReconciliationWatch};
