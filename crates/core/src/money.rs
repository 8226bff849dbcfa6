//! Money: whole minor units with their currency. No floats, no silent overflow.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An ISO 4217 currency. Its exponent, never a literal 100, says what a minor unit is.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Currency(iso_currency::Currency);

impl Currency {
    /// The currency of a three-letter upper-case code that has a defined minor unit.
    pub fn parse(code: &str) -> Option<Self> {
        if !code.bytes().all(|byte| byte.is_ascii_uppercase()) {
            return None;
        }
        let currency = iso_currency::Currency::from_code(code)?;
        currency.exponent().map(|_| Self(currency))
    }

    pub fn code(self) -> &'static str {
        self.0.code()
    }

    /// Decimal places of the minor unit: 0 for JPY, 2 for EUR, 3 for KWD.
    pub fn exponent(self) -> u32 {
        u32::from(self.0.exponent().unwrap_or_default())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.code())
    }
}

impl Serialize for Currency {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let code = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::parse(&code).ok_or_else(|| serde::de::Error::custom("unknown currency"))
    }
}

/// An amount of one currency, in minor units.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Amount {
    pub minor: i128,
    pub currency: Currency,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    #[error("not a decimal number")]
    Malformed,
    #[error("more decimal places than the currency has")]
    TooPrecise,
    #[error("too large")]
    TooLarge,
}

/// A decimal text taken apart, before the currency is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecimalText<'a> {
    negative: bool,
    whole: &'a str,
    /// Without trailing zeros, which add no precision: `1.50` and `1.5` are one amount.
    fraction: &'a str,
}

impl<'a> DecimalText<'a> {
    /// `^-?[0-9]{1,30}(\.[0-9]{1,30})?$`; no exponent, no sign but minus, no separators, no white space.
    pub fn parse(text: &'a str) -> Result<Self, MoneyError> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, fraction) = match digits.split_once('.') {
            Some((_, "")) => return Err(MoneyError::Malformed),
            Some((whole, fraction)) => (whole, fraction),
            None => (digits, ""),
        };
        let is_digits = |part: &str| part.len() <= 30 && part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !is_digits(whole) || !is_digits(fraction) {
            return Err(MoneyError::Malformed);
        }
        Ok(Self { negative, whole, fraction: fraction.trim_end_matches('0') })
    }

    pub fn is_positive(&self) -> bool {
        !self.negative && (!self.fraction.is_empty() || self.whole.bytes().any(|digit| digit != b'0'))
    }

    /// Fails with `TooPrecise` rather than rounding.
    pub fn in_currency(&self, currency: Currency) -> Result<Amount, MoneyError> {
        let places = currency.exponent() as usize;
        if self.fraction.len() > places {
            return Err(MoneyError::TooPrecise);
        }
        let mut minor: i128 = 0;
        let padding = "0".repeat(places - self.fraction.len());
        for digit in self.whole.bytes().chain(self.fraction.bytes()).chain(padding.bytes()) {
            minor = minor
                .checked_mul(10)
                .and_then(|value| value.checked_add(i128::from(digit - b'0')))
                .ok_or(MoneyError::TooLarge)?;
        }
        Ok(Amount { minor: if self.negative { -minor } else { minor }, currency })
    }
}

impl Amount {
    pub fn parse(text: &str, currency: Currency) -> Result<Self, MoneyError> {
        DecimalText::parse(text)?.in_currency(currency)
    }
}

/// `12.34 EUR`.
impl fmt::Display for Amount {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", decimal(self.minor, self.currency.exponent()), self.currency.code())
    }
}

impl fmt::Debug for Amount {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// Minor units as a decimal text: `decimal(-5, 2)` is `-0.05`.
pub fn decimal(minor: i128, exponent: u32) -> String {
    let places = exponent as usize;
    let sign = if minor < 0 { "-" } else { "" };
    let digits = format!("{:0>width$}", minor.unsigned_abs(), width = places + 1);
    let (whole, fraction) = digits.split_at(digits.len() - places);
    if places == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

/// How a division lands on a whole minor unit. Modes are named by direction, since "half up" means two things.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rounding {
    TowardPositive,
    TowardNegative,
    TowardZero,
    AwayFromZero,
    HalfTowardPositive,
    HalfTowardNegative,
    HalfEven,
    HalfOdd,
    HalfAwayFromZero,
    HalfTowardZero,
}

impl Rounding {
    /// `numerator / denominator` rounded to a whole number; `None` for a zero denominator or an overflow.
    pub fn divide(self, numerator: i128, denominator: i128) -> Option<i128> {
        let floor = numerator.checked_div_euclid(denominator)?;
        let floor = if denominator < 0 && numerator.checked_rem_euclid(denominator)? != 0 {
            // Euclidean division rounds toward positive for a negative divisor.
            floor.checked_sub(1)?
        } else {
            floor
        };
        let rest = numerator.checked_sub(floor.checked_mul(denominator)?)?;
        if rest == 0 {
            return Some(floor);
        }
        let ceiling = floor.checked_add(1)?;
        let twice = rest.unsigned_abs().checked_mul(2)?;
        let half = twice.cmp(&denominator.unsigned_abs());
        let is_negative = floor < 0;
        let goes_up = match self {
            Self::TowardPositive => true,
            Self::TowardNegative => false,
            Self::TowardZero => is_negative,
            Self::AwayFromZero => !is_negative,
            _ if half.is_gt() => true,
            _ if half.is_lt() => false,
            Self::HalfTowardPositive => true,
            Self::HalfTowardNegative => false,
            Self::HalfEven => floor % 2 != 0,
            Self::HalfOdd => floor % 2 == 0,
            Self::HalfAwayFromZero => !is_negative,
            Self::HalfTowardZero => is_negative,
        };
        Some(if goes_up { ceiling } else { floor })
    }
}

impl FromStr for Currency {
    type Err = MoneyError;

    fn from_str(code: &str) -> Result<Self, Self::Err> {
        Self::parse(code).ok_or(MoneyError::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_parse_by_the_currency() {
        let cases = [
            ("12.34", "EUR", Ok("12.34 EUR")),
            ("12.340", "EUR", Ok("12.34 EUR")),
            ("12.345", "EUR", Err(MoneyError::TooPrecise)),
            ("12", "JPY", Ok("12 JPY")),
            ("12.5", "JPY", Err(MoneyError::TooPrecise)),
            ("0.001", "KWD", Ok("0.001 KWD")),
            ("-5.00", "EUR", Ok("-5.00 EUR")),
            ("007", "EUR", Ok("7.00 EUR")),
            ("1e3", "EUR", Err(MoneyError::Malformed)),
            ("+1", "EUR", Err(MoneyError::Malformed)),
            ("1.", "EUR", Err(MoneyError::Malformed)),
            (".5", "EUR", Err(MoneyError::Malformed)),
            ("1,5", "EUR", Err(MoneyError::Malformed)),
            (" 1", "EUR", Err(MoneyError::Malformed)),
            ("", "EUR", Err(MoneyError::Malformed)),
            ("１", "EUR", Err(MoneyError::Malformed)),
            ("9999999999999999999999999999999", "EUR", Err(MoneyError::Malformed)),
        ];
        for (text, code, expected) in cases {
            let currency = Currency::parse(code).expect("a known currency");
            let parsed = Amount::parse(text, currency).map(|amount| amount.to_string());
            assert_eq!(parsed.as_deref().map_err(|error| *error), expected, "{text} {code}");
        }
    }

    #[test]
    fn currencies_without_a_minor_unit_or_in_lower_case_are_unknown() {
        for code in ["XXX", "XAU", "eur", "EURO", "", "ZZZ"] {
            assert_eq!(Currency::parse(code), None, "{code}");
        }
    }

    /// Every mode on the values where two of them differ.
    #[test]
    fn rounds_by_direction() {
        use Rounding::*;
        let tenths = [24, 25, 26, 35, -24, -25, -35];
        let table = [
            (TowardPositive, [3, 3, 3, 4, -2, -2, -3]),
            (TowardNegative, [2, 2, 2, 3, -3, -3, -4]),
            (TowardZero, [2, 2, 2, 3, -2, -2, -3]),
            (AwayFromZero, [3, 3, 3, 4, -3, -3, -4]),
            (HalfTowardPositive, [2, 3, 3, 4, -2, -2, -3]),
            (HalfTowardNegative, [2, 2, 3, 3, -2, -3, -4]),
            (HalfEven, [2, 2, 3, 4, -2, -2, -4]),
            (HalfOdd, [2, 3, 3, 3, -2, -3, -3]),
            (HalfAwayFromZero, [2, 3, 3, 4, -2, -3, -4]),
            (HalfTowardZero, [2, 2, 3, 3, -2, -2, -3]),
        ];
        for (mode, expected) in table {
            for (value, expected) in tenths.into_iter().zip(expected) {
                assert_eq!(mode.divide(value, 10), Some(expected), "{mode:?} of {value} tenths");
                assert_eq!(mode.divide(-value, -10), Some(expected), "{mode:?} of {value} tenths, signs turned");
            }
        }
    }

    #[test]
    fn division_never_panics() {
        assert_eq!(Rounding::HalfEven.divide(1, 0), None);
        assert_eq!(Rounding::HalfEven.divide(i128::MIN, -1), None);
    }
}
