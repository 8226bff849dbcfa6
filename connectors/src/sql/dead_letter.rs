//! The row of a dead letter.
//!
//! Nothing in a dead letter is a reason to refuse it, because nothing would be left to put it into: a header that is
//! absent or not what it should be gives `NULL`.

use std::fmt::Write as _;

use tidemill_core::{EventTime, SinkRecord};

use super::rows::{Origin, Row};
use super::value::{Value, storable};

type Header = (String, Option<Vec<u8>>);

pub(super) fn row<'a>(
    origin: Origin<'a>,
    record: &'a SinkRecord,
    value: Option<&'a [u8]>,
    headers: &'a [Header],
) -> Row<'a> {
    let text = |name: &str| header(headers, name);
    let value_of = |name: &str| Value::from(text(name));
    let integer = |name: &str| Value::from(text(name).and_then(|text| text.parse::<i64>().ok()));
    let partition = |name: &str| Value::from(text(name).and_then(|text| text.parse::<i32>().ok()).map(i64::from));
    vec![
        origin.topic.into(),
        origin.partition.into(),
        origin.offset.into(),
        value_of("x-dlq-id"),
        value_of("x-dlq-stage"),
        value_of("x-dlq-class"),
        value_of("x-dlq-code"),
        value_of("x-dlq-field"),
        value_of("x-dlq-message"),
        value_of("x-dlq-origin-topic"),
        partition("x-dlq-origin-partition"),
        integer("x-dlq-origin-offset"),
        value_of("x-dlq-first-origin-topic"),
        partition("x-dlq-first-origin-partition"),
        integer("x-dlq-first-origin-offset"),
        integer("x-dlq-replay-count"),
        value_of("x-dlq-fingerprint"),
        text("x-dlq-failed-at").and_then(moment).into(),
        record.key.as_deref().map(readable).into(),
        value.map_or(Value::Null, Value::Bytes),
        storable(record.event_time).into(),
        value_of("x-dlq-version"),
        value_of("x-dlq-config-hash"),
        integer("x-dlq-schema-id"),
    ]
}

fn header<'a>(headers: &'a [Header], name: &str) -> Option<&'a str> {
    let (_, value) = headers.iter().find(|(candidate, _)| candidate == name)?;
    let text = std::str::from_utf8(value.as_deref()?).ok()?;
    (!text.contains('\0')).then_some(text)
}

/// Milliseconds since 1970.
fn moment(text: &str) -> Option<EventTime> {
    let time = EventTime::from_millis(text.parse().ok()?);
    time.is_plausible().then_some(time)
}

/// The key as text, or in hexadecimal digits where it is not printable.
pub(super) fn readable(key: &[u8]) -> String {
    if let Some(text) = std::str::from_utf8(key).ok().filter(|text| !text.contains(char::is_control)) {
        return text.to_owned();
    }
    key.iter().fold("0x".to_owned(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_readable() {
        let cases: [(&[u8], &str); 4] =
            [(b"acc-1", "acc-1"), (b"", ""), (b"\x00\xff", "0x00ff"), (b"two\nlines", "0x74776f0a6c696e6573")];
        for (key, expected) in cases {
            assert_eq!(readable(key), expected);
        }
    }

    #[test]
    fn unusable_headers_are_absent() {
        let headers = [
            ("x-dlq-code".to_owned(), Some(b"nul\0".to_vec())),
            ("x-dlq-stage".to_owned(), Some(b"\xff".to_vec())),
            ("x-dlq-class".to_owned(), None),
            ("x-dlq-id".to_owned(), Some(b"id".to_vec())),
        ];
        let found = ["x-dlq-code", "x-dlq-stage", "x-dlq-class", "x-dlq-id"].map(|name| header(&headers, name));
        assert_eq!(found, [None, None, None, Some("id")]);
    }
}
