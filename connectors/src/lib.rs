//! Sinks that build the read models: tables in Postgres and SQLite, balances in Redis.
//!
//! The contract is [`tidemill_core::Sink`]. What the SQL sinks write is described once, in `sql`; a sink adds only how
//! its database is spoken to. Every sink passes the suite in [`conformance`]. What the columns mean to an analyst is in
//! `docs/reference/read-models.md`.

pub mod conformance;
mod postgres;
mod redis;
mod sql;
mod sqlite;

use tidemill_core::{Class, CodeSpec, SinkSpec};

pub use sql::{TABLES, Table, VALIDATION_CODES};

/// Every kind of sink. A new one is a folder and a line here.
pub const CONNECTORS: &[&SinkSpec] = &[&postgres::SPEC, &redis::SPEC, &sqlite::SPEC];

/// Every code a sink refuses a record with.
pub const CODES: &[&CodeSpec] = &[&VALUE_REFUSED, &KIND_NOT_TAKEN];

pub(crate) const VALUE_REFUSED: CodeSpec = CodeSpec {
    code: "sink_value_refused",
    class: Class::Validation,
    summary: "A value of the record cannot be stored in the read model as it is.",
    remedy: "Look at the dead letter: the message names the column. Mend the value at its source and replay the record.",
};

pub(crate) const KIND_NOT_TAKEN: CodeSpec = CodeSpec {
    code: "sink_kind_not_taken",
    class: Class::Bug,
    summary: "The sink makes nothing of events of this kind.",
    remedy: "Remove the topic from the sink in topology.toml; `tidemill check` names it.",
};

#[cfg(test)]
mod tests {
    use tidemill_core::Settings;

    use super::CONNECTORS;

    #[test]
    fn every_example_opens_a_sink() {
        for spec in CONNECTORS {
            let settings = Settings(spec.example.parse().expect("an example is TOML"));
            let refused = (spec.open)("example", &settings).err();
            assert_eq!(refused, None, "{}", spec.name);
        }
    }
}
