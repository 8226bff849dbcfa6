//! The relational read model, alike in Postgres and SQLite: tables, rows, and the rules by which a row gives way.
//!
//! A sink turns a batch into [`rows::Rows`], asks [`table::Table::upsert`] for the statement with its own source of
//! rows, and binds the values. Nothing here talks to a database.

pub(crate) mod audit;
mod dead_letter;
mod internal;
pub(crate) mod migrations;
mod operations;
pub(crate) mod precedence;
mod row;
pub(crate) mod rows;
mod rules;
pub(crate) mod snapshot;
pub(crate) mod statement;
pub(crate) mod table;
pub(crate) mod tables;
pub(crate) mod value;

pub use precedence::VALIDATION_CODES;
pub use table::Table;
pub use tables::TABLES;

use tidemill_core::EventKind;
use tidemill_schemas::{
    AccountBalance, AccountStatus, AggregatedBalance, Alert, Decision, LedgerEntry, Notification, PaymentStatus,
};

/// The kinds that have a table. Dead letters have one as well, but are not events.
pub(crate) const CONSUMES: &[EventKind] = &[
    PaymentStatus::KIND,
    LedgerEntry::KIND,
    AccountBalance::KIND,
    AggregatedBalance::KIND,
    AccountStatus::KIND,
    Decision::KIND,
    Notification::KIND,
    Alert::KIND,
];
