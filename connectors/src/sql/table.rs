//! What a table is made of, and the statement that writes to it.

use std::fmt::Write as _;

use super::value::ColumnType;

/// A table of the read model. Columns that the database fills in itself (`recorded_at`) are not listed.
#[derive(Debug)]
pub struct Table {
    pub name: &'static str,
    /// The first `key_columns` of them are the primary key.
    pub columns: &'static [Column],
    pub key_columns: usize,
    pub merge: Merge,
}

#[derive(Clone, Copy, Debug)]
pub struct Column {
    pub name: &'static str,
    pub column_type: ColumnType,
}

/// What happens when a row with the key is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    /// The key is where the record lies, so it is the same record.
    Keep,
    /// The later offset wins. Records of another topic or partition have no common order with it and replace the row.
    Newest,
    /// The higher `precedence` wins, among equals the later offset.
    Precedence,
}

const IS_NEWER: &str = "(have.source_topic <> excluded.source_topic \
     OR have.source_partition <> excluded.source_partition \
     OR have.source_offset < excluded.source_offset)";

impl Table {
    /// `INSERT … ON CONFLICT …` for rows that `source` yields: `VALUES (?, …)` or `SELECT … FROM …`.
    pub(crate) fn upsert(&self, source: &str) -> String {
        let names = |columns: &[Column]| columns.iter().map(|column| column.name).collect::<Vec<_>>().join(", ");
        let (key, rest) = self.columns.split_at(self.key_columns);
        let mut sql = format!(
            "INSERT INTO {} AS have ({}) {source} ON CONFLICT ({}) DO ",
            self.name,
            names(self.columns),
            names(key)
        );
        if self.merge == Merge::Keep {
            sql.push_str("NOTHING");
            return sql;
        }
        sql.push_str("UPDATE SET recorded_at = excluded.recorded_at");
        for column in rest {
            // Writing to a String cannot fail.
            let _ = write!(sql, ", {0} = excluded.{0}", column.name);
        }
        sql.push_str(" WHERE ");
        if self.merge == Merge::Precedence {
            sql.push_str("have.precedence < excluded.precedence OR have.precedence = excluded.precedence AND ");
        }
        sql.push_str(IS_NEWER);
        sql
    }
}

pub(super) const fn text(name: &'static str) -> Column {
    Column { name, column_type: ColumnType::Text }
}

pub(super) const fn json(name: &'static str) -> Column {
    Column { name, column_type: ColumnType::Json }
}

pub(super) const fn integer(name: &'static str) -> Column {
    Column { name, column_type: ColumnType::Integer }
}

pub(super) const fn boolean(name: &'static str) -> Column {
    Column { name, column_type: ColumnType::Boolean }
}

pub(super) const fn time(name: &'static str) -> Column {
    Column { name, column_type: ColumnType::Time }
}

pub(super) const fn date(name: &'static str) -> Column {
    Column { name, column_type: ColumnType::Date }
}

pub(super) const fn bytes(name: &'static str) -> Column {
    Column { name, column_type: ColumnType::Bytes }
}
