//! Rows as one array per column, so that a statement has as many parameters as columns, however many rows.

use sqlx::encode::{Encode, IsNull};
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgArguments, PgHasArrayType, PgTypeInfo, Postgres};
use sqlx::query::Query;
use sqlx::types::Type;
use tidemill_core::EventTime;

use crate::sql::rows::Row;
use crate::sql::table::Table;
use crate::sql::value::{ColumnType, Value, date_text};

/// The statement for any number of rows: `INSERT … SELECT … FROM UNNEST($1::text[], …) …`.
pub(super) fn statement(table: &Table) -> String {
    let columns = table.columns.iter();
    let picked: Vec<String> = columns
        .clone()
        .map(|column| match column.column_type {
            ColumnType::Json => format!("{}::jsonb", column.name),
            ColumnType::Date => format!("{}::date", column.name),
            _ => column.name.to_owned(),
        })
        .collect();
    let arrays: Vec<String> = columns
        .clone()
        .enumerate()
        .map(|(index, column)| format!("${}::{}[]", index + 1, array_type(column.column_type)))
        .collect();
    let names: Vec<&str> = columns.map(|column| column.name).collect();
    let (picked, arrays, names) = (picked.join(", "), arrays.join(", "), names.join(", "));
    table.upsert(&format!("SELECT {picked} FROM UNNEST({arrays}) AS new ({names})"))
}

fn array_type(column_type: ColumnType) -> &'static str {
    match column_type {
        ColumnType::Text | ColumnType::Json | ColumnType::Date => "text",
        ColumnType::Integer => "bigint",
        ColumnType::Boolean => "boolean",
        ColumnType::Time => "timestamptz",
        ColumnType::Bytes => "bytea",
    }
}

pub(super) fn bind<'q>(
    query: Query<'q, Postgres, PgArguments>,
    table: &Table,
    rows: &[Row<'_>],
) -> Query<'q, Postgres, PgArguments> {
    table.columns.iter().enumerate().fold(query, |query, (index, column)| {
        let values = rows.iter().map(|row| &row[index]);
        match column.column_type {
            ColumnType::Text | ColumnType::Json => query.bind(values.map(text).collect::<Vec<_>>()),
            ColumnType::Integer => query.bind(values.map(integer).collect::<Vec<_>>()),
            ColumnType::Boolean => query.bind(values.map(boolean).collect::<Vec<_>>()),
            ColumnType::Time => query.bind(values.map(time).collect::<Vec<_>>()),
            ColumnType::Date => query.bind(values.map(date).collect::<Vec<_>>()),
            ColumnType::Bytes => query.bind(values.map(bytes).collect::<Vec<_>>()),
        }
    })
}

fn text<'a>(value: &'a Value<'_>) -> Option<&'a str> {
    if let Value::Text(text) = value { Some(text) } else { None }
}

fn integer(value: &Value<'_>) -> Option<i64> {
    if let Value::Integer(number) = value { Some(*number) } else { None }
}

fn boolean(value: &Value<'_>) -> Option<bool> {
    if let Value::Boolean(flag) = value { Some(*flag) } else { None }
}

fn time(value: &Value<'_>) -> Option<Timestamp> {
    if let Value::Time(time) = value { Some(Timestamp(*time)) } else { None }
}

fn date(value: &Value<'_>) -> Option<String> {
    if let Value::Date(date) = value { date_text(*date) } else { None }
}

fn bytes<'a>(value: &Value<'a>) -> Option<&'a [u8]> {
    if let Value::Bytes(bytes) = value { Some(bytes) } else { None }
}

/// An event time as `timestamptz`: microseconds since 2000 on the wire.
#[derive(Clone, Copy)]
pub(super) struct Timestamp(pub(super) EventTime);

const TIMESTAMPTZ: &str = "TIMESTAMPTZ";

impl Type<Postgres> for Timestamp {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_name(TIMESTAMPTZ)
    }
}

impl PgHasArrayType for Timestamp {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::array_of(TIMESTAMPTZ)
    }
}

impl Encode<'_, Postgres> for Timestamp {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let micros = self.0.micros().checked_sub(EventTime::EARLIEST.micros()).ok_or("time out of range")?;
        buffer.extend(micros.to_be_bytes());
        Ok(IsNull::No)
    }
}

impl sqlx::Decode<'_, Postgres> for Timestamp {
    fn decode(value: sqlx::postgres::PgValueRef<'_>) -> Result<Self, BoxDynError> {
        let micros = i64::from_be_bytes(value.as_bytes()?.try_into()?);
        Ok(Self(EventTime(micros.checked_add(EventTime::EARLIEST.micros()).ok_or("time out of range")?)))
    }
}
