//! What a field of a request must be, whatever the request. Used by every processor that validates.
//!
//! Rules are checked one after another over all fields, not field by field: the code of a request that breaks several
//! rules is that of the first rule.

use tidemill_core::money::DecimalText;
use tidemill_core::{Class, CodeSpec, Currency, EventTime, MoneyError, Reject};

pub(crate) const FIELD_MISSING: CodeSpec = CodeSpec {
    code: "field_missing",
    class: Class::Validation,
    summary: "A required field is missing or null.",
    remedy: "Fill the field in and send the request again; the same id may be used.",
};

pub(crate) const FIELD_EMPTY: CodeSpec = CodeSpec {
    code: "field_empty",
    class: Class::Validation,
    summary: "A field that must say something is empty.",
    remedy: "Fill the field in, or leave it out if it is optional, and send the request again.",
};

pub(crate) const FIELD_TOO_LONG: CodeSpec = CodeSpec {
    code: "field_too_long",
    class: Class::Validation,
    summary: "A field is longer than allowed.",
    remedy: "Keep to 1,024 bytes for names, 4,096 for texts and 64 entries of metadata.",
};

pub(crate) const FIELD_MALFORMED: CodeSpec = CodeSpec {
    code: "field_malformed",
    class: Class::Validation,
    summary: "A field contains characters that are not allowed there, or a name that is the ledger's own.",
    remedy: "Remove control characters, and do not name the ledger's internal accounts.",
};

pub(crate) const TYPE_UNKNOWN: CodeSpec = CodeSpec {
    code: "type_unknown",
    class: Class::Validation,
    summary: "The type of the request is not known.",
    remedy: "Use one of the documented types in lower case.",
};

pub(crate) const AMOUNT_MALFORMED: CodeSpec = CodeSpec {
    code: "amount_malformed",
    class: Class::Validation,
    summary: "An amount is not a plain decimal number.",
    remedy: "Write amounts as digits with an optional point and further digits, such as 12.34; no sign, exponent or separator.",
};

pub(crate) const AMOUNT_TOO_LARGE: CodeSpec = CodeSpec {
    code: "amount_too_large",
    class: Class::Validation,
    summary: "An amount is larger than 10^15 minor units.",
    remedy: "Check the amount; split it if it is right.",
};

pub(crate) const AMOUNT_TOO_PRECISE: CodeSpec = CodeSpec {
    code: "amount_too_precise",
    class: Class::Validation,
    summary: "An amount has more decimal places than its currency.",
    remedy: "Round the amount to the minor unit of the currency before sending it.",
};

pub(crate) const CURRENCY_UNKNOWN: CodeSpec = CodeSpec {
    code: "currency_unknown",
    class: Class::Validation,
    summary: "The currency is not an ISO 4217 code with a minor unit.",
    remedy: "Send the three-letter code in upper case, such as EUR.",
};

pub(crate) const TIME_MALFORMED: CodeSpec = CodeSpec {
    code: "time_malformed",
    class: Class::Validation,
    summary: "The time is not RFC 3339 with an offset.",
    remedy: "Send times such as 2026-01-31T12:00:00.123Z.",
};

pub(crate) const TIME_OUT_OF_RANGE: CodeSpec = CodeSpec {
    code: "time_out_of_range",
    class: Class::Validation,
    summary: "The time is outside the years 2000 to 2099, or too far in the future.",
    remedy: "Check the clock or the conversion that made the time.",
};

/// Identifiers and other names.
pub(crate) const NAME_BYTES_MAX: usize = 1_024;
/// Descriptions and metadata.
pub(crate) const TEXT_BYTES_MAX: usize = 4_096;
pub(crate) const AMOUNT_MINOR_MAX: i128 = 1_000_000_000_000_000;

/// The broken rule and a JSON pointer to where it is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault(pub(crate) &'static CodeSpec, pub(crate) &'static str);

impl From<Fault> for Reject {
    fn from(Fault(code, pointer): Fault) -> Self {
        Self::new(code).at(pointer)
    }
}

/// One field to be checked.
#[derive(Clone, Copy)]
pub(crate) struct Field<'a> {
    pub(crate) pointer: &'static str,
    pub(crate) text: Option<&'a str>,
    pub(crate) rule: Rule,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Must be there and say something.
    Required,
    /// If it is there it must say something.
    Optional,
    /// A required account that is not one of the ledger's own.
    Account,
    /// Free text.
    Text,
}

/// Checks the rules `field_missing`, `field_empty`, `field_too_long`, `field_malformed`, in this order.
pub(crate) fn check(fields: &[Field<'_>]) -> Result<(), Fault> {
    for (code, is_broken) in RULES {
        if let Some(field) = fields.iter().find(|field| is_broken(field)) {
            return Err(Fault(code, field.pointer));
        }
    }
    Ok(())
}

type IsBroken = fn(&Field<'_>) -> bool;

const RULES: [(&CodeSpec, IsBroken); 4] = [
    (&FIELD_MISSING, |field| field.text.is_none() && matches!(field.rule, Rule::Required | Rule::Account)),
    (&FIELD_EMPTY, |field| field.text == Some("") && field.rule != Rule::Text),
    (&FIELD_TOO_LONG, |field| field.text.is_some_and(|text| text.len() > bytes_max(field.rule))),
    (&FIELD_MALFORMED, |field| field.text.is_some_and(|text| !is_allowed(text, field.rule))),
];

fn bytes_max(rule: Rule) -> usize {
    match rule {
        Rule::Required | Rule::Optional | Rule::Account => NAME_BYTES_MAX,
        Rule::Text => TEXT_BYTES_MAX,
    }
}

/// Databases cannot store NUL in texts, and names with control characters cannot be told apart by people.
fn is_allowed(text: &str, rule: Rule) -> bool {
    match rule {
        Rule::Required | Rule::Optional => !has_control_characters(text),
        Rule::Account => !has_control_characters(text) && !is_internal_account(text),
        Rule::Text => !text.contains('\0'),
    }
}

fn has_control_characters(text: &str) -> bool {
    // Nearly every text is printable ASCII, which is seen many bytes at a time.
    let is_plain = text.bytes().fold(true, |is_plain, byte| is_plain & (0x20..0x7f).contains(&byte));
    !is_plain && text.chars().any(char::is_control)
}

/// `in_transit.<partition>.<currency>` and its like: only the ledger itself moves money there.
fn is_internal_account(account: &str) -> bool {
    let mut parts = account.split('.');
    let (name, partition, currency, rest) = (parts.next(), parts.next(), parts.next(), parts.next());
    matches!(name, Some("in_transit" | "fees" | "suspense" | "fx_position" | "fx_spread" | "clearing"))
        && partition.is_some_and(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
        && currency.is_some_and(|part| part.len() == 3)
        && rest.is_none()
}

/// A text that can be shown in an answer: within the limits of a name and without control characters.
pub(crate) fn presentable(text: Option<&String>) -> Option<&String> {
    text.filter(|text| !text.is_empty() && text.len() <= NAME_BYTES_MAX && is_allowed(text, Rule::Required))
}

pub(crate) fn currency(text: &str, pointer: &'static str) -> Result<Currency, Fault> {
    Currency::parse(text).ok_or(Fault(&CURRENCY_UNKNOWN, pointer))
}

pub(crate) fn time(text: &str, pointer: &'static str) -> Result<EventTime, Fault> {
    let time = EventTime::parse(text).ok_or(Fault(&TIME_MALFORMED, pointer))?;
    if time.is_plausible() { Ok(time) } else { Err(Fault(&TIME_OUT_OF_RANGE, pointer)) }
}

/// The time an answer carries: that of the request where it can be used, otherwise that of its record, brought within
/// the bounds that hold for every other time.
pub(crate) fn answer_time(created_at: Result<EventTime, Fault>, record_time: EventTime) -> EventTime {
    created_at.unwrap_or(record_time.clamp(EventTime::EARLIEST, EventTime::LATEST))
}

/// The text of an amount that is a decimal number and not absurdly large, before its currency is known.
#[derive(Clone, Copy)]
pub(crate) struct AmountText<'a> {
    text: &'a str,
    decimal: DecimalText<'a>,
    pointer: &'static str,
}

impl<'a> AmountText<'a> {
    pub(crate) fn parse(text: &'a str, pointer: &'static str) -> Result<Self, Fault> {
        let decimal = DecimalText::parse(text).map_err(|_| Fault(&AMOUNT_MALFORMED, pointer))?;
        Ok(Self { text, decimal, pointer })
    }

    pub(crate) fn is_positive(&self) -> bool {
        self.decimal.is_positive()
    }

    pub(crate) fn is_negative(&self) -> bool {
        self.text.starts_with('-')
    }

    /// Refuses what is too large in every currency, so that the size is judged before the currency is.
    pub(crate) fn check_size(&self) -> Result<(), Fault> {
        let whole = self.text.split('.').next().unwrap_or_default();
        match whole.parse::<i128>() {
            Ok(whole) if whole <= AMOUNT_MINOR_MAX => Ok(()),
            _ => Err(Fault(&AMOUNT_TOO_LARGE, self.pointer)),
        }
    }

    /// Minor units. Too large is found before too precise.
    pub(crate) fn in_currency(&self, currency: Currency) -> Result<i64, Fault> {
        let too_large = Fault(&AMOUNT_TOO_LARGE, self.pointer);
        let exact = self.decimal.in_currency(currency);
        let cut = DecimalText::parse(self.cut_to(currency)).and_then(|decimal| decimal.in_currency(currency));
        let cut_minor = cut.map_err(|_| too_large)?.minor;
        let is_more = exact == Err(MoneyError::TooPrecise);
        if cut_minor > AMOUNT_MINOR_MAX || (cut_minor == AMOUNT_MINOR_MAX && is_more) {
            return Err(too_large);
        }
        if is_more {
            return Err(Fault(&AMOUNT_TOO_PRECISE, self.pointer));
        }
        i64::try_from(cut_minor).map_err(|_| too_large)
    }

    /// The text without the decimal places that the currency does not have.
    fn cut_to(&self, currency: Currency) -> &'a str {
        let Some(point) = self.text.find('.') else { return self.text };
        let places = currency.exponent() as usize;
        let end = if places == 0 { point } else { self.text.len().min(point + 1 + places) };
        &self.text[..end]
    }
}

#[cfg(test)]
mod tests {
    use tidemill_testkit::rows;

    use super::*;

    #[test]
    fn amounts_in_minor_units() {
        let table = "
            amount                 | currency | result
            12.34                  | EUR      | 1234
            12.340                 | EUR      | 1234
            12.345                 | EUR      | amount_too_precise
            12                     | JPY      | 12
            12.0                   | JPY      | 12
            12.5                   | JPY      | amount_too_precise
            0.001                  | KWD      | 1
            10000000000000.00      | EUR      | 1000000000000000
            10000000000000.01      | EUR      | amount_too_large
            10000000000000.001     | EUR      | amount_too_large
            10000000000000.000     | EUR      | 1000000000000000
            1000000000000000       | JPY      | 1000000000000000
            1000000000000000.5     | JPY      | amount_too_large
            1000000000000001       | JPY      | amount_too_large
            999999999999999999999999999999 | JPY | amount_too_large
        ";
        for row in rows(table) {
            let currency = Currency::parse(row["currency"]).expect("a known currency");
            let amount = AmountText::parse(row["amount"], "/amount").expect("a decimal number");
            let minor = amount.check_size().and_then(|()| amount.in_currency(currency));
            let result = minor.map_or_else(|fault| fault.0.code.to_owned(), |minor| minor.to_string());
            assert_eq!(result, row["result"], "{} {}", row["amount"], row["currency"]);
        }
    }

    #[test]
    fn internal_accounts_are_told_by_their_whole_shape() {
        let table = "
            account          | internal
            in_transit.0.EUR | yes
            fees.12.JPY      | yes
            suspense.3.KWD   | yes
            fx_position.0.USD | yes
            fx_spread.1.JPY  | yes
            fees             | no
            fees.acme.EUR    | no
            fees.1.EURO      | no
            fees.1.EUR.x     | no
            acc-1            | no
        ";
        for row in rows(table) {
            assert_eq!(is_internal_account(row["account"]), row["internal"] == "yes", "{}", row["account"]);
        }
    }
}
