//! A payment, and how it is read from a record: strictly, in one pass.

use serde_json::{Map, Value};
use tidemill_core::EventTime;

use crate::chain::job::event::memory_event;
use crate::chain::job::json::Scanner;
use crate::chain::job::text::Text;
use crate::chain::job::time::parse_millis;

const CURRENCIES: [&[u8]; 5] = [b"EUR", b"USD", b"GBP", b"CHF", b"SEK"];
const WHOLE_DIGITS_MAX: usize = 9;

/// A payment that is valid by itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Payment {
    pub(super) id: Text,
    pub(super) debit_account: Text,
    pub(super) credit_account: Text,
    pub(super) amount_minor: i64,
    pub(super) created_at_ms: i64,
    /// FNV-1a of the record's value.
    pub(super) value_hash: u64,
}

memory_event!(Payment: "payment", key: |payment| &payment.debit_account, time: Payment::time);

/// What of an invalid payment could be read; empty where nothing could.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Invalid {
    pub(super) payment: Text,
    pub(super) debit_account: Text,
}

impl Payment {
    pub(super) fn time(&self) -> EventTime {
        EventTime::from_millis(self.created_at_ms)
    }

    pub(super) fn read(value: &[u8]) -> Result<Self, Invalid> {
        if let Some(fields) = scan(value) {
            return fields.assess(value, Text::plain);
        }
        match serde_json::from_slice::<Value>(value) {
            Ok(Value::Object(object)) => Fields::of_object(&object)
                .assess(value, |text| Text::new(std::str::from_utf8(text).unwrap_or_default())),
            _ => Err(Invalid { payment: Text::EMPTY, debit_account: Text::EMPTY }),
        }
    }
}

/// What a payment has to have.
#[derive(Default)]
struct Fields<'a> {
    id: Option<&'a [u8]>,
    source: Option<&'a [u8]>,
    debit_account: Option<&'a [u8]>,
    credit_account: Option<&'a [u8]>,
    amount: Option<&'a [u8]>,
    currency: Option<&'a [u8]>,
    created_at: Option<&'a [u8]>,
    channel: Option<&'a [u8]>,
    merchant_id: Option<&'a [u8]>,
    merchant_category: Option<&'a [u8]>,
    merchant_country: Option<&'a [u8]>,
    description: Option<&'a [u8]>,
}

fn scan(value: &[u8]) -> Option<Fields<'_>> {
    let mut scanner = Scanner::new(value);
    let mut fields = Fields::default();
    scanner.object(|name, scanner| {
        let field = match name {
            b"id" => &mut fields.id,
            b"source" => &mut fields.source,
            b"debit_account" => &mut fields.debit_account,
            b"credit_account" => &mut fields.credit_account,
            b"amount" => &mut fields.amount,
            b"currency" => &mut fields.currency,
            b"created_at" => &mut fields.created_at,
            b"channel" => &mut fields.channel,
            b"description" => &mut fields.description,
            b"merchant" => return scan_merchant(scanner, &mut fields),
            _ => return None,
        };
        fill(field, scanner)
    })?;
    scanner.end()?;
    Some(fields)
}

fn scan_merchant<'a>(scanner: &mut Scanner<'a>, fields: &mut Fields<'a>) -> Option<()> {
    scanner.object(|name, scanner| {
        let field = match name {
            b"id" => &mut fields.merchant_id,
            b"category" => &mut fields.merchant_category,
            b"country" => &mut fields.merchant_country,
            _ => return None,
        };
        fill(field, scanner)
    })
}

/// A name that occurs twice is left to `serde_json`.
fn fill<'a>(field: &mut Option<&'a [u8]>, scanner: &mut Scanner<'a>) -> Option<()> {
    let text = scanner.text()?;
    field.replace(text).is_none().then_some(())
}

impl<'a> Fields<'a> {
    fn of_object(object: &'a Map<String, Value>) -> Self {
        let text = |object: &'a Map<String, Value>, name| object.get(name).and_then(Value::as_str).map(str::as_bytes);
        let merchant = object.get("merchant").and_then(Value::as_object);
        let of_merchant = |name| merchant.and_then(|merchant| text(merchant, name));
        Self {
            id: text(object, "id"),
            source: text(object, "source"),
            debit_account: text(object, "debit_account"),
            credit_account: text(object, "credit_account"),
            amount: text(object, "amount"),
            currency: text(object, "currency"),
            created_at: text(object, "created_at"),
            channel: text(object, "channel"),
            merchant_id: of_merchant("id"),
            merchant_category: of_merchant("category"),
            merchant_country: of_merchant("country"),
            description: text(object, "description"),
        }
    }

    fn assess(&self, value: &[u8], text: impl Fn(&[u8]) -> Text) -> Result<Payment, Invalid> {
        self.payment(value, &text).ok_or_else(|| Invalid {
            payment: self.id.map_or(Text::EMPTY, &text),
            debit_account: self.debit_account.map_or(Text::EMPTY, &text),
        })
    }

    fn payment(&self, value: &[u8], text: &impl Fn(&[u8]) -> Text) -> Option<Payment> {
        let stated = |field: Option<&'a [u8]>| field.filter(|text| !text.is_empty());
        let (id, debit_account) = (stated(self.id)?, stated(self.debit_account)?);
        let credit_account = stated(self.credit_account).filter(|credit_account| *credit_account != debit_account)?;
        for field in [self.source, self.channel, self.description] {
            stated(field)?;
        }
        for field in [self.merchant_id, self.merchant_category, self.merchant_country] {
            stated(field)?;
        }
        self.currency.filter(|currency| CURRENCIES.contains(currency))?;
        Some(Payment {
            amount_minor: parse_amount(self.amount?)?,
            created_at_ms: parse_millis(self.created_at?)?,
            value_hash: fnv1a(value),
            id: text(id),
            debit_account: text(debit_account),
            credit_account: text(credit_account),
        })
    }
}

/// Minor units of an amount with at most two decimals; `None` for any other form, and for nothing.
fn parse_amount(text: &[u8]) -> Option<i64> {
    let point = text.iter().position(|byte| *byte == b'.');
    let (whole, decimals) = point.map_or((text, None), |point| (&text[..point], Some(&text[point + 1..])));
    if whole.is_empty() || whole.len() > WHOLE_DIGITS_MAX {
        return None;
    }
    let whole = parse_digits(whole)?;
    let decimals = match decimals {
        None => 0,
        Some([tens]) => parse_digits(&[*tens])? * 10,
        Some(both @ [_, _]) => parse_digits(both)?,
        Some(_) => return None,
    };
    Some(whole * 100 + decimals).filter(|amount| *amount > 0)
}

/// For up to 18 digits.
fn parse_digits(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + i64::from(digit - b'0')))
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: &str = r#"{"id":"p-1","source":"app","debit_account":"a-1","credit_account":"a-2","amount":"12.34","currency":"EUR","created_at":"2026-01-05T08:00:00.123Z","channel":"web","merchant":{"id":"m-1","category":"5411","country":"DE"},"description":"books"}"#;

    /// What was read: the amount, or what the rejection names.
    fn read(value: &str) -> String {
        match Payment::read(value.as_bytes()) {
            Ok(payment) => payment.amount_minor.to_string(),
            Err(Invalid { payment, debit_account }) => format!("{payment:?} {debit_account:?}"),
        }
    }

    #[test]
    fn reads_strictly() {
        let invalid = r#""p-1" "a-1""#;
        let unreadable = r#""" """#;
        let cases = [
            ("", "", "1234"),
            ("{\"id\"", " { \"id\" ", "1234"),
            ("books", "b\\u00f6cher", "1234"),
            ("books", "b\u{f6}cher", "1234"),
            ("\"books\"", "\"books\",\"more\":[1,{}]", "1234"),
            ("p-1", "", r#""" "a-1""#),
            ("p-1", "p\\n", "1234"),
            ("app", "", invalid),
            ("a-1", "a-2", r#""p-1" "a-2""#),
            ("12.34", "0", invalid),
            ("12.34", "0.00", invalid),
            ("12.34", "-5.00", invalid),
            ("12.34", "1.234", invalid),
            ("12.34", "1.", invalid),
            ("12.34", ".5", invalid),
            ("12.34", "1.5", "150"),
            ("12.34", "00012", "1200"),
            ("12.34", "999999999.99", "99999999999"),
            ("12.34", "1000000000", invalid),
            ("\"12.34\"", "12.34", invalid),
            ("EUR", "XXX", invalid),
            ("00:00.123Z", "00:00Z", invalid),
            ("\"country\":\"DE\"", "\"country\":\"\"", invalid),
            (",\"country\":\"DE\"", "", invalid),
            (",\"channel\":\"web\"", "", invalid),
            ("books\"}", "books\"", unreadable),
            ("books\"}", "books\"} x", unreadable),
            ("books", "bo\u{7}oks", unreadable),
        ];
        for (part, replaced, expected) in cases {
            let value = VALUE.replacen(part, replaced, usize::from(!part.is_empty()));
            assert_eq!(read(&value), expected, "{value}");
        }
        for cut in 0..VALUE.len() {
            assert_eq!(read(&VALUE[..cut]), unreadable, "cut at {cut}");
        }
    }

    /// The quick way and the thorough way give the same payment.
    #[test]
    fn the_scanner_reads_what_serde_reads() {
        let scanned = scan(VALUE.as_bytes()).expect("the usual form").assess(VALUE.as_bytes(), Text::plain);
        let object: Value = serde_json::from_str(VALUE).expect("JSON");
        let object = object.as_object().expect("an object");
        let text = |text: &[u8]| Text::new(std::str::from_utf8(text).expect("text"));
        assert_eq!(scanned, Fields::of_object(object).assess(VALUE.as_bytes(), text));
        assert!(scan(VALUE.replace("source", "id").as_bytes()).is_none(), "a name that occurs twice");
    }

    /// Values of the hash's authors.
    #[test]
    fn hashes_as_published() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
