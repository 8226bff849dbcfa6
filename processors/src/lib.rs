//! The payment logic: pure processors, one file each.
//!
//! Invariant: nothing here knows Kafka, does I/O, reads a clock or draws a random number. A processor is its file and
//! its line in [`PROCESSORS`].

pub mod aggregate_balances;
pub mod assign_dates;
pub mod charge_fee;
pub mod decode_account;
pub mod decode_payment;
pub mod dedupe_payment;
pub mod fan_out_notifications;
pub mod post_ledger;
pub mod price_exchange;
pub mod profile_counterparty;
pub mod profile_payer;
pub mod score_fraud;
pub mod validate_payment;

mod age_queue;
mod envelope;
mod fields;
mod fingerprint;
#[cfg(test)]
mod fixture;
mod stores;
mod strict_json;
mod velocity;
mod zones;

use tidemill_core::ProcessorSpec;

pub use stores::{STORES, StoreType};

/// Every processor a topology file can name, in the order in which the default topology runs them.
pub const PROCESSORS: &[&ProcessorSpec] = &[
    &decode_payment::SPEC,
    &validate_payment::SPEC,
    &dedupe_payment::SPEC,
    &profile_counterparty::SPEC,
    &decode_account::SPEC,
    &profile_payer::SPEC,
    &score_fraud::SPEC,
    &charge_fee::SPEC,
    &price_exchange::SPEC,
    &assign_dates::SPEC,
    &post_ledger::SPEC,
    &aggregate_balances::SPEC,
    &fan_out_notifications::SPEC,
];
