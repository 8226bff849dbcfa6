//! The engine on the embedded broker: transactions that fail, restarts on what a disk has become, input as bad as it gets.

mod faults;
mod limits;
mod parking;
mod reconciliation;
mod restart;
mod standby;
mod state_log;
mod words;
