//! The rows of a batch: at most one per table and key, because one statement cannot write the same row twice.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use tidemill_core::sink::{SinkBody, SinkPosition};
use tidemill_core::{Event, SinkError, SinkRecord};
use tidemill_schemas::{
    AccountBalance, AccountStatus, AggregatedBalance, Alert, Decision, LedgerEntry, Notification, PaymentStatus,
};

use super::table::{Merge, Table};
use super::tables::{
    ACCOUNT_BALANCES, ACCOUNT_REQUESTS, AGGREGATED_BALANCES, ALERTS, AUDIT_ENTRIES, DEAD_LETTER_RESOLUTIONS,
    DEAD_LETTERS, LEDGER_ENTRIES, NOTIFICATIONS, PAYMENT_DECISIONS, PAYMENT_STATUSES, PAYMENTS, TABLES,
};
use super::value::Value;
use super::{dead_letter, operations, precedence, row};
use crate::{KIND_NOT_TAKEN, VALUE_REFUSED};

pub(crate) type Row<'a> = Vec<Value<'a>>;

/// A record that has no rows to give.
struct Objection {
    code: &'static str,
    message: String,
}

/// Where a record lies, in the numbers of the database.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin<'a> {
    pub(super) topic: &'a str,
    pub(super) partition: i64,
    pub(super) offset: i64,
}

#[derive(Default)]
pub(crate) struct Rows<'a> {
    tables: HashMap<&'static str, TableRows<'a>>,
}

#[derive(Default)]
struct TableRows<'a> {
    rows: Vec<Row<'a>>,
    /// Row by key. Not kept for tables whose key is where the record lies: no two records share that.
    by_key: HashMap<Row<'a>, usize>,
}

impl<'a> Rows<'a> {
    /// The rows of all records that the stored positions do not cover yet.
    pub(crate) fn of_batch(records: &'a [SinkRecord], positions: &[SinkPosition]) -> Result<Self, SinkError> {
        let mut rows = Self::default();
        for (index, record) in records.iter().enumerate() {
            if is_written(positions, record) {
                continue;
            }
            rows.add(record).map_err(|Objection { code, message }| SinkError::Refused { index, code, message })?;
        }
        Ok(rows)
    }

    /// In the order of [`TABLES`]; tables without rows are left out.
    pub(crate) fn by_table(&self) -> impl Iterator<Item = (&'static Table, &[Row<'a>])> {
        TABLES.iter().filter_map(|table| {
            let rows = self.tables.get(table.name)?;
            Some((*table, rows.rows.as_slice()))
        })
    }

    fn add(&mut self, record: &'a SinkRecord) -> Result<(), Objection> {
        let offset = i64::try_from(record.offset).map_err(|_| refused("the offset is beyond 63 bits".to_owned()))?;
        let origin = Origin { topic: &record.topic, partition: i64::from(record.partition), offset };
        match &record.body {
            // No topic of a table is compacted by deleting: a tombstone takes nothing away from a read model.
            SinkBody::Tombstone => Ok(()),
            SinkBody::DeadLetter { value, headers } => {
                let row = dead_letter::row(origin, record, value.as_deref(), headers);
                self.put(&DEAD_LETTERS, row)
            }
            SinkBody::Resolution { value } => match operations::resolution(origin, record.key.as_deref(), value) {
                Some(row) => self.put(&DEAD_LETTER_RESOLUTIONS, row),
                None => Ok(()),
            },
            SinkBody::Audit { value } => match operations::audit_entry(origin, value) {
                Some(row) => self.put(&AUDIT_ENTRIES, row),
                None => Err(refused("audit_entries: it is not an audit entry".to_owned())),
            },
            SinkBody::Event(event) => self.add_event(origin, event.as_ref()),
        }
    }

    fn add_event(&mut self, origin: Origin<'a>, event: &'a dyn Event) -> Result<(), Objection> {
        if let Some(status) = event.downcast_ref::<PaymentStatus>() {
            if let Some(precedence) = precedence::of(status) {
                self.put(&PAYMENTS, row::payment(origin, status, precedence))?;
            }
            return self.put(&PAYMENT_STATUSES, row::payment_status(origin, status));
        }
        if let Some(entry) = event.downcast_ref::<LedgerEntry>() {
            return self.put(&LEDGER_ENTRIES, row::ledger_entry(origin, entry));
        }
        if let Some(balance) = event.downcast_ref::<AccountBalance>() {
            return self.put(&ACCOUNT_BALANCES, row::account_balance(origin, balance));
        }
        if let Some(sum) = event.downcast_ref::<AggregatedBalance>() {
            return self.put(&AGGREGATED_BALANCES, row::aggregated_balance(origin, sum));
        }
        if let Some(status) = event.downcast_ref::<AccountStatus>() {
            return self.put(&ACCOUNT_REQUESTS, row::account_request(origin, status));
        }
        if let Some(decision) = event.downcast_ref::<Decision>() {
            if decision.rules.iter().any(|hit| hit.rule.contains('\0')) {
                return Err(refused("payment_decisions.rules: text with a NUL character".to_owned()));
            }
            return self.put(&PAYMENT_DECISIONS, row::payment_decision(origin, decision));
        }
        if let Some(notification) = event.downcast_ref::<Notification>() {
            return self.put(&NOTIFICATIONS, row::notification(origin, notification));
        }
        if let Some(alert) = event.downcast_ref::<Alert>() {
            return self.put(&ALERTS, row::alert(origin, alert));
        }
        let message = format!("no table for events of kind {}", event.kind().name);
        Err(Objection { code: KIND_NOT_TAKEN.code, message })
    }

    fn put(&mut self, table: &'static Table, row: Row<'a>) -> Result<(), Objection> {
        debug_assert_eq!(row.len(), table.columns.len(), "{}", table.name);
        for (column, value) in table.columns.iter().zip(&row) {
            if let Some(objection) = value.objection() {
                return Err(refused(format!("{}.{}: {objection}", table.name, column.name)));
            }
        }
        let TableRows { rows, by_key } = self.tables.entry(table.name).or_default();
        if table.merge == Merge::Keep {
            rows.push(row);
            return Ok(());
        }
        match by_key.entry(row[..table.key_columns].to_vec()) {
            Entry::Vacant(vacant) => {
                vacant.insert(rows.len());
                rows.push(row);
            }
            Entry::Occupied(place) => {
                let have = &mut rows[*place.get()];
                if takes_over(table, have, &row) {
                    *have = row;
                }
            }
        }
        Ok(())
    }
}

fn is_written(positions: &[SinkPosition], record: &SinkRecord) -> bool {
    positions.iter().any(|position| {
        position.topic == record.topic && position.partition == record.partition && record.offset < position.next_offset
    })
}

/// The rule of [`Table::upsert`], for two rows of the same batch.
fn takes_over(table: &Table, have: &Row<'_>, new: &Row<'_>) -> bool {
    let (have_origin, new_origin) = (&have[have.len() - 3..], &new[new.len() - 3..]);
    let is_newer = match (have_origin, new_origin) {
        ([have_place @ .., Value::Integer(have)], [new_place @ .., Value::Integer(new)]) => {
            have_place != new_place || have < new
        }
        _ => true,
    };
    if table.merge != Merge::Precedence {
        return is_newer;
    }
    let precedence = |row: &Row<'_>| match row.get(PAYMENTS_PRECEDENCE) {
        Some(Value::Integer(precedence)) => *precedence,
        _ => 0,
    };
    match precedence(have).cmp(&precedence(new)) {
        std::cmp::Ordering::Less => true,
        std::cmp::Ordering::Equal => is_newer,
        std::cmp::Ordering::Greater => false,
    }
}

/// Place of `precedence` among the columns of `payments`.
const PAYMENTS_PRECEDENCE: usize = 10;

fn refused(message: String) -> Objection {
    Objection { code: VALUE_REFUSED.code, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_compared_by_the_columns_that_the_statement_compares() {
        assert_eq!(PAYMENTS.columns[PAYMENTS_PRECEDENCE].name, "precedence");
        for table in TABLES.iter().filter(|table| table.merge != Merge::Keep) {
            let names: Vec<&str> = table.columns.iter().rev().take(3).map(|column| column.name).collect();
            assert_eq!(names, ["source_offset", "source_partition", "source_topic"], "{}", table.name);
        }
    }
}
