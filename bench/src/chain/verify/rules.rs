//! The rules of the job that need no state: what a valid payment is, and what it costs. Written from the job's description
//! and not from the engine's code.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

#[derive(Debug)]
pub(super) struct Payment {
    pub(super) id: String,
    pub(super) debit_account: String,
    pub(super) credit_account: String,
    pub(super) amount_minor: i64,
    pub(super) created_at_ms: i64,
}

#[derive(Deserialize)]
struct Json<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    source: Cow<'a, str>,
    #[serde(borrow)]
    debit_account: Cow<'a, str>,
    #[serde(borrow)]
    credit_account: Cow<'a, str>,
    #[serde(borrow)]
    amount: Cow<'a, str>,
    #[serde(borrow)]
    currency: Cow<'a, str>,
    #[serde(borrow)]
    created_at: Cow<'a, str>,
    #[serde(borrow)]
    channel: Cow<'a, str>,
    #[serde(borrow)]
    merchant: Merchant<'a>,
    #[serde(borrow)]
    description: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Merchant<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    category: Cow<'a, str>,
    #[serde(borrow)]
    country: Cow<'a, str>,
}

/// The payment, or the id that the rejection of an invalid one names.
pub(super) fn read(value: &[u8]) -> Result<Payment, String> {
    if let Ok(json) = serde_json::from_slice::<Json<'_>>(value)
        && let Some(payment) = payment_of(&json)
    {
        return Ok(payment);
    }
    let id = |object: &Value| object.get("id").and_then(Value::as_str).map(str::to_owned);
    Err(serde_json::from_slice::<Value>(value)
        .ok()
        .filter(Value::is_object)
        .and_then(|object| id(&object))
        .unwrap_or_default())
}

fn payment_of(json: &Json<'_>) -> Option<Payment> {
    let Json { id, source, debit_account, credit_account, channel, description, merchant, .. } = json;
    let Merchant { id: merchant_id, category, country } = merchant;
    let texts = [id, source, debit_account, credit_account, channel, description, merchant_id, category, country];
    let is_complete = texts.iter().all(|text| !text.is_empty());
    let is_valid = is_complete
        && debit_account != credit_account
        && ["EUR", "USD", "GBP", "CHF", "SEK"].contains(&json.currency.as_ref());
    is_valid.then(|| {
        Some(Payment {
            id: id.to_string(),
            debit_account: debit_account.to_string(),
            credit_account: credit_account.to_string(),
            amount_minor: amount_minor(&json.amount)?,
            created_at_ms: created_at_ms(&json.created_at)?,
        })
    })?
}

/// `^[0-9]{1,9}(\.[0-9]{1,2})?$`, and more than nothing.
fn amount_minor(text: &str) -> Option<i64> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
    let is_well_formed = (1..=9).contains(&whole.len())
        && (1..=2).contains(&decimals.len())
        && whole.chars().chain(decimals.chars()).all(|digit| digit.is_ascii_digit());
    let amount = is_well_formed.then(|| format!("{whole}{decimals:0<2}").parse::<i64>().ok())?;
    amount.filter(|amount| *amount > 0)
}

fn created_at_ms(text: &str) -> Option<i64> {
    let time: Timestamp = text.parse().ok()?;
    let millis = time.as_millisecond();
    let canonical = Timestamp::from_millisecond(millis).ok()?.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string();
    (canonical == text).then_some(millis)
}

/// In thousandths of a minor unit, then rounded.
pub(super) fn fee_minor(amount_minor: i64) -> i64 {
    let mut thousandths = 0;
    let mut below = 0;
    for (upper, per_mille) in [(10_000, 10), (100_000, 5), (i64::MAX, 1)] {
        thousandths += (amount_minor.min(upper) - below).max(0) * per_mille;
        below = upper;
    }
    let floor = thousandths / 1_000;
    let rounded = match (thousandths % 1_000).cmp(&500) {
        std::cmp::Ordering::Less => floor,
        std::cmp::Ordering::Greater => floor + 1,
        std::cmp::Ordering::Equal => floor + floor % 2,
    };
    rounded.clamp(10, 2_500)
}

/// FNV-1a, 64 bits.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    let mut hash = 14_695_981_039_346_656_037_u64;
    for byte in bytes {
        hash ^= u64::from(*byte);
        hash = hash.wrapping_mul(1_099_511_628_211);
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts() {
        let cases = [
            ("12.34", Some(1_234)),
            ("12", Some(1_200)),
            ("12.3", Some(1_230)),
            ("0.01", Some(1)),
            ("999999999.99", Some(99_999_999_999)),
            ("1000000000", None),
            ("0", None),
            ("0.00", None),
            ("-5.00", None),
            ("1.234", None),
            ("1.", None),
            (".5", None),
            ("+1", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(amount_minor(text), expected, "{text}");
        }
    }

    #[test]
    fn fees() {
        // 1 % of 100.00, 0.5 % of the next 900.00, 0.1 % of the rest; at least 0.10, at most 25.00.
        let cases =
            [(1, 10), (1_150, 12), (1_250, 12), (10_000, 100), (10_300, 102), (200_000, 650), (9_000_000, 2_500)];
        for (amount, expected) in cases {
            assert_eq!(fee_minor(amount), expected, "{amount}");
        }
    }
}
