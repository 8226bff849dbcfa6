//! Values of columns, as both databases can hold them.

use std::borrow::Cow;

use tidemill_core::EventTime;
use tidemill_schemas::Date;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnType {
    Text,
    /// JSON text; `jsonb` in Postgres.
    Json,
    /// Whole numbers of any width, minor units included: they are `long` on the wire.
    Integer,
    Boolean,
    Time,
    /// A day of the calendar, `2026-01-31`.
    Date,
    Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Value<'a> {
    Null,
    Text(Cow<'a, str>),
    Integer(i64),
    Boolean(bool),
    Time(EventTime),
    Date(Date),
    Bytes(&'a [u8]),
}

impl Value<'_> {
    /// Why no database would take this value unchanged; storing another one would be a lie.
    pub(crate) fn objection(&self) -> Option<&'static str> {
        match self {
            Self::Text(text) if text.contains('\0') => Some("text with a NUL character"),
            Self::Time(time) if *time != storable(*time) => Some("a time outside years 1 to 9999"),
            Self::Date(date) if date_text(*date).is_none() => Some("a day outside years 1 to 9999"),
            _ => None,
        }
    }
}

/// The nearest time that every database can hold: within years 1 to 9999.
pub(crate) fn storable(time: EventTime) -> EventTime {
    const YEAR_1_STARTS: EventTime = EventTime(-62_135_596_800_000_000);
    const YEAR_9999_ENDS: EventTime = EventTime(253_402_300_800_000_000 - 1);
    time.clamp(YEAR_1_STARTS, YEAR_9999_ENDS)
}

/// `2026-01-31`, as both databases read it; `None` outside years 1 to 9999.
pub(crate) fn date_text(date: Date) -> Option<String> {
    let days = jiff::Span::new().try_days(date.0).ok()?;
    let day = jiff::civil::date(1970, 1, 1).checked_add(days).ok()?;
    (day.year() >= 1).then(|| day.to_string())
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl<'a> From<&'a String> for Value<'a> {
    fn from(text: &'a String) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<bool> for Value<'_> {
    fn from(flag: bool) -> Self {
        Self::Boolean(flag)
    }
}

impl From<EventTime> for Value<'_> {
    fn from(time: EventTime) -> Self {
        Self::Time(time)
    }
}

impl From<Date> for Value<'_> {
    fn from(date: Date) -> Self {
        Self::Date(date)
    }
}

impl<'a, T> From<Option<T>> for Value<'a>
where
    T: Into<Value<'a>>,
{
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl<'a> From<&'a Option<String>> for Value<'a> {
    fn from(text: &'a Option<String>) -> Self {
        text.as_deref().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_written_as_both_databases_read_them() {
        let cases = [(0, Some("1970-01-01")), (20_484, Some("2026-01-31")), (-719_162, Some("0001-01-01"))];
        for (days, expected) in cases {
            assert_eq!(date_text(Date(days)).as_deref(), expected, "{days}");
        }
        for days in [-719_163, i32::MIN, i32::MAX] {
            assert_eq!(date_text(Date(days)), None, "{days}");
            assert!(Value::Date(Date(days)).objection().is_some(), "{days}");
        }
    }
}
