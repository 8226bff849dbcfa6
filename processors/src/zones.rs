//! Time zones and days of the calendar.
//!
//! The zones are those of the IANA tables that the program was built with: what a machine has installed decides nothing,
//! so that a replay elsewhere gives the same days.

use jiff::Timestamp;
use jiff::civil::{self, DateTime, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use tidemill_core::EventTime;
use tidemill_schemas::Date;

const EPOCH: civil::Date = civil::date(1970, 1, 1);

/// The zone of an IANA name, such as `Europe/Berlin` or `UTC`.
pub(crate) fn parse_zone(name: &str) -> Option<TimeZone> {
    TimeZoneDatabase::bundled().get(name).ok().filter(|zone| !zone.is_unknown())
}

/// An English name in lower case, such as `monday`.
pub(crate) fn parse_weekday(name: &str) -> Option<Weekday> {
    let days = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
    let place = days.iter().position(|day| *day == name)?;
    Weekday::from_monday_zero_offset(i8::try_from(place).ok()?).ok()
}

/// What a clock on the wall shows at an instant.
pub(crate) fn local(at: EventTime, zone: &TimeZone) -> DateTime {
    zone.to_datetime(Timestamp::from_microsecond(at.0).unwrap_or(Timestamp::MAX))
}

/// The first instant at which a clock on the wall shows this or more. Where it shows it twice, the later one: whoever has
/// until then has the whole hour.
pub(crate) fn instant(local: DateTime, zone: &TimeZone) -> EventTime {
    let timestamp = match zone.to_ambiguous_timestamp(local).offset() {
        AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(local),
        AmbiguousOffset::Fold { after, .. } => after.to_timestamp(local),
        // Read with the offset that begins there, it is an instant before the gap; what comes next is the end of the gap.
        AmbiguousOffset::Gap { after, .. } => after
            .to_timestamp(local)
            .map(|before_gap| zone.following(before_gap).next().map_or(before_gap, |next| next.timestamp())),
    };
    EventTime(timestamp.unwrap_or(Timestamp::MAX).as_microsecond())
}

/// The first instant of a day; of one that the zone has skipped, the first after it.
pub(crate) fn start_of_day(day: civil::Date, zone: &TimeZone) -> EventTime {
    let midnight = day.to_datetime(civil::Time::midnight());
    let timestamp = match zone.to_ambiguous_timestamp(midnight).offset() {
        AmbiguousOffset::Fold { before, .. } => before.to_timestamp(midnight),
        _ => return instant(midnight, zone),
    };
    EventTime(timestamp.unwrap_or(Timestamp::MAX).as_microsecond())
}

pub(crate) fn to_days(day: civil::Date) -> Date {
    let hours = day.duration_since(EPOCH).as_hours();
    Date(i32::try_from(hours / 24).unwrap_or(i32::MAX))
}

pub(crate) fn from_days(Date(days): Date) -> civil::Date {
    let span = jiff::Span::new().try_days(days);
    span.and_then(|span| EPOCH.checked_add(span)).unwrap_or(civil::Date::MAX)
}

#[cfg(test)]
mod tests {
    use tidemill_testkit::rows;

    use super::*;

    #[test]
    fn local_times_are_instants_also_where_a_clock_is_put_forward_or_back() {
        let table = "
            zone             | local               | instant
            Europe/Berlin    | 2026-01-15T17:00:00 | 2026-01-15T16:00:00Z
            # 02:00 to 03:00 is not there: the first instant after it.
            Europe/Berlin    | 2026-03-29T02:00:00 | 2026-03-29T01:00:00Z
            Europe/Berlin    | 2026-03-29T02:30:00 | 2026-03-29T01:00:00Z
            Europe/Berlin    | 2026-03-29T03:00:00 | 2026-03-29T01:00:00Z
            # 02:00 to 03:00 is there twice: the later one.
            Europe/Berlin    | 2026-10-25T02:30:00 | 2026-10-25T01:30:00Z
            America/New_York | 2026-11-01T17:00:00 | 2026-11-01T22:00:00Z
            Asia/Kolkata     | 2026-06-01T00:00:00 | 2026-05-31T18:30:00Z
            UTC              | 2026-06-01T00:00:00 | 2026-06-01T00:00:00Z
        ";
        for row in rows(table) {
            let zone = parse_zone(row["zone"]).expect("a zone");
            let found = instant(row["local"].parse().expect("a local time"), &zone);
            assert_eq!(found.to_string(), row["instant"], "{row:?}");
        }
    }

    #[test]
    fn days_begin_where_they_begin() {
        let table = "
            zone              | day        | begins
            Europe/Berlin     | 2026-03-29 | 2026-03-28T23:00:00Z
            Europe/Berlin     | 2026-03-30 | 2026-03-29T22:00:00Z
            # The clock goes from 00:00 to 01:00, and from 01:00 back to 00:00.
            America/Havana    | 2025-03-09 | 2025-03-09T05:00:00Z
            America/Havana    | 2025-11-02 | 2025-11-02T04:00:00Z
            # Samoa has had no 30 December 2011.
            Pacific/Apia      | 2011-12-30 | 2011-12-30T10:00:00Z
            Pacific/Apia      | 2011-12-31 | 2011-12-30T10:00:00Z
        ";
        for row in rows(table) {
            let zone = parse_zone(row["zone"]).expect("a zone");
            let found = start_of_day(row["day"].parse().expect("a day"), &zone);
            assert_eq!(found.to_string(), row["begins"], "{row:?}");
        }
    }

    #[test]
    fn a_clock_on_the_wall() {
        let table = "
            zone           | instant                     | local
            America/Havana | 2025-11-02T03:59:59.999999Z | 2025-11-01T23:59:59.999999
            America/Havana | 2025-11-02T04:00:00Z        | 2025-11-02T00:00:00
            America/Havana | 2025-11-02T05:00:00Z        | 2025-11-02T00:00:00
            America/Havana | 2025-11-03T04:59:59.999999Z | 2025-11-02T23:59:59.999999
            America/Havana | 2025-11-03T05:00:00Z        | 2025-11-03T00:00:00
        ";
        for row in rows(table) {
            let zone = parse_zone(row["zone"]).expect("a zone");
            let at = EventTime::parse(row["instant"]).expect("RFC 3339");
            assert_eq!(local(at, &zone).to_string(), row["local"], "{row:?}");
        }
    }

    #[test]
    fn days_are_counted_from_1970() {
        for (text, days) in [("1970-01-01", 0), ("1969-12-31", -1), ("2026-01-31", 20_484), ("2099-12-31", 47_481)] {
            let day: civil::Date = text.parse().expect("a day");
            assert_eq!(to_days(day), Date(days), "{text}");
            assert_eq!(from_days(Date(days)), day, "{text}");
        }
    }

    #[test]
    fn names_are_those_of_iana_and_of_days() {
        for (name, is_known) in [("Europe/Berlin", true), ("UTC", true), ("Mars/Base", false), ("", false)] {
            assert_eq!(parse_zone(name).is_some(), is_known, "{name}");
        }
        assert_eq!(parse_weekday("sunday"), Some(Weekday::Sunday));
        assert_eq!(parse_weekday("Sunday"), None);
    }
}
