//! Statements for several rows at once, since one row per statement is bound by the cost of the statement.

use std::collections::HashMap;
use std::sync::Arc;

use sqlx::query::Query;
use sqlx::sqlite::{Sqlite, SqliteArguments};
use tidemill_core::EventTime;

use crate::sql::rows::Row;
use crate::sql::table::Table;
use crate::sql::tables::TABLES;
use crate::sql::value::{Value, date_text};

/// Rows per statement, largest first. Few sizes, so that all statements stay prepared.
const SIZES: [usize; 3] = [64, 8, 1];

/// The statements of all tables, by table name and number of rows.
pub(super) struct Statements(HashMap<(&'static str, usize), Arc<str>>);

impl Statements {
    pub(super) fn new() -> Self {
        let all = TABLES.iter().flat_map(|table| SIZES.map(|size| ((table.name, size), statement(table, size))));
        Self(all.collect())
    }

    /// Room for these and the few others.
    pub(super) fn cache_capacity(&self) -> usize {
        self.0.len() + 16
    }

    /// The statement to write the first rows with, and how many they are.
    pub(super) fn for_rows(&self, table: &Table, rows: usize) -> (usize, Arc<str>) {
        let size = SIZES.into_iter().find(|size| *size <= rows).unwrap_or(1);
        (size, Arc::clone(&self.0[&(table.name, size)]))
    }
}

fn statement(table: &Table, rows: usize) -> Arc<str> {
    let row = format!("({})", vec!["?"; table.columns.len()].join(", "));
    table.upsert(&format!("VALUES {}", vec![row; rows].join(", "))).into()
}

pub(super) fn bind<'q>(
    query: Query<'q, Sqlite, SqliteArguments>,
    rows: &[Row<'_>],
) -> Query<'q, Sqlite, SqliteArguments> {
    rows.iter().flatten().fold(query, |query, value| match value {
        Value::Null => query.bind(None::<i64>),
        Value::Text(text) => query.bind(text.clone().into_owned()),
        Value::Integer(number) => query.bind(*number),
        Value::Boolean(flag) => query.bind(*flag),
        Value::Time(time) => query.bind(time_text(*time)),
        Value::Date(date) => query.bind(date_text(*date)),
        Value::Bytes(bytes) => query.bind(bytes.to_vec()),
    })
}

/// `2026-01-31T12:00:00.123000Z`: always of the same length, so that the order of texts is that of times.
pub(super) fn time_text(time: EventTime) -> String {
    match jiff::Timestamp::from_microsecond(time.micros()) {
        Ok(timestamp) => format!("{timestamp:.6}"),
        Err(_) => time.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_sort_as_text() {
        let texts: Vec<String> =
            [-1, 0, 1, 1_000_000, 1_769_860_800_123_000].map(|micros| time_text(EventTime(micros))).into();
        assert!(texts.is_sorted(), "{texts:?}");
        assert_eq!(texts[4], "2026-01-31T12:00:00.123000Z");
    }
}
