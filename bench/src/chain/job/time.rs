//! `created_at`, in the one form that the chain takes.

/// Milliseconds since 1970 of `YYYY-MM-DDTHH:MM:SS.mmmZ`; `None` for any other form and for days and times that are not.
pub(super) fn parse_millis(text: &[u8]) -> Option<i64> {
    let text: &[u8; 24] = text.try_into().ok()?;
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'.'), (23, b'Z')];
    if separators.iter().any(|(at, separator)| text[*at] != *separator) {
        return None;
    }
    let year = number(&text[..4])?;
    let month = number(&text[5..7])?;
    let day = number(&text[8..10])?;
    let (hour, minute, second) = (number(&text[11..13])?, number(&text[14..16])?, number(&text[17..19])?);
    let millis = number(&text[20..23])?;
    let is_real = (1..=12).contains(&month)
        && (1..=days_of(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    let days = days_since_1970(year, month, day);
    is_real.then(|| (((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000 + millis)
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + i64::from(digit - b'0')))
}

fn days_of(year: i64, month: i64) -> i64 {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + i64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Howard Hinnant's `days_from_civil`: years begin in March, so that the leap day comes last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month > 2 { year } else { year - 1 };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reference(text: &str) -> Option<i64> {
        text.parse::<jiff::Timestamp>().ok().map(|time| time.as_millisecond())
    }

    proptest! {
        #[test]
        fn agrees_with_a_library(
            (year, month, day) in (1_i64..9_999, 0_u8..14, 0_u8..33),
            (hour, minute, second, millis) in (0_u8..25, 0_u8..61, 0_u8..60, 0_u16..1_000),
        ) {
            let text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z");
            prop_assert_eq!(parse_millis(text.as_bytes()), reference(&text), "{}", text);
        }
    }

    #[test]
    fn other_forms_are_refused() {
        let cases = [
            ("2026-01-05T08:00:00.000Z", Some(1_767_600_000_000)),
            ("1969-12-31T23:59:59.999Z", Some(-1)),
            ("2026-01-05T08:00:00Z", None),
            ("2026-01-05 08:00:00.000Z", None),
            ("2026-01-05T08:00:00.000+", None),
            ("2026-01-05T08:00:0x.000Z", None),
            ("2026-01-05T08:00:00.0000Z", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_millis(text.as_bytes()), expected, "{text}");
        }
    }
}
