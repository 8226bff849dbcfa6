//! Event time: when something happened, as the record says it. There is no other clock in a processor.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventTime(pub i64);

impl EventTime {
    /// Bounds outside of which a time is taken for a mistake: years 2000 to 2099.
    /// They are fixed, because a comparison with the time of arrival would not give the same answer in a replay.
    pub const EARLIEST: Self = Self(946_684_800_000_000);
    pub const LATEST: Self = Self(4_102_444_800_000_000 - 1);

    pub fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1_000))
    }

    pub fn millis(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    pub fn micros(self) -> i64 {
        self.0
    }

    /// Whether the time lies within [`EventTime::EARLIEST`] and [`EventTime::LATEST`].
    pub fn is_plausible(self) -> bool {
        (Self::EARLIEST..=Self::LATEST).contains(&self)
    }

    /// Reads RFC 3339 with an offset (`2026-01-31T12:00:00.123Z`). Digits beyond a microsecond are cut.
    pub fn parse(text: &str) -> Option<Self> {
        let timestamp: jiff::Timestamp = text.parse().ok()?;
        Some(Self(timestamp.as_microsecond()))
    }
}

impl fmt::Display for EventTime {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(timestamp) => write!(out, "{timestamp}"),
            Err(_) => write!(out, "{}us", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_prints() {
        let cases = [
            ("2026-01-31T12:00:00.123Z", Some("2026-01-31T12:00:00.123Z")),
            ("2026-01-31T12:00:00+01:00", Some("2026-01-31T11:00:00Z")),
            ("2026-01-31T12:00:00.1234569Z", Some("2026-01-31T12:00:00.123456Z")),
            ("2026-01-31", None),
            ("2026-02-30T00:00:00Z", None),
            ("yesterday", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(EventTime::parse(text).map(|time| time.to_string()).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn bounds_are_the_ends_of_their_years() {
        assert_eq!(EventTime::EARLIEST.to_string(), "2000-01-01T00:00:00Z");
        assert_eq!(EventTime::LATEST.to_string(), "2099-12-31T23:59:59.999999Z");
        assert!(!EventTime(EventTime::LATEST.0 + 1).is_plausible());
    }
}
