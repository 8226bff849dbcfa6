//! Templates: text with `{placeholders}`, read and checked once.
//!
//! `{{` and `}}` stand for a brace. Values are put in as they are but for control characters, which become spaces, so
//! that no value can add a header to a mail or a line to a message.

use tidemill_core::Currency;
use tidemill_core::diagnostic::nearest;
use tidemill_core::money::decimal;
use tidemill_schemas::PaymentStatus;

const TEMPLATE_BYTES_MAX: usize = 2_000;

/// Something about the payment that a template can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Placeholder {
    Amount,
    Fee,
    Currency,
    PaymentId,
    DebitAccount,
    CreditAccount,
    Merchant,
    Channel,
    Code,
    Reason,
    EventTime,
}

const PLACEHOLDERS: [(&str, Placeholder); 11] = [
    ("amount", Placeholder::Amount),
    ("fee", Placeholder::Fee),
    ("currency", Placeholder::Currency),
    ("payment_id", Placeholder::PaymentId),
    ("debit_account", Placeholder::DebitAccount),
    ("credit_account", Placeholder::CreditAccount),
    ("merchant", Placeholder::Merchant),
    ("channel", Placeholder::Channel),
    ("code", Placeholder::Code),
    ("reason", Placeholder::Reason),
    ("event_time", Placeholder::EventTime),
];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Value(Placeholder),
}

impl Template {
    /// The message of a failure says which placeholder is wrong and at which byte.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.len() > TEMPLATE_BYTES_MAX {
            return Err(format!("has {} bytes; 1 to {TEMPLATE_BYTES_MAX} are allowed", text.len()));
        }
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(brace) = rest.find(['{', '}']) {
            let position = text.len() - rest.len() + brace;
            let (before, from_brace) = rest.split_at(brace);
            plain.push_str(before);
            if from_brace.starts_with("{{") || from_brace.starts_with("}}") {
                plain.push_str(&from_brace[..1]);
                rest = &from_brace[2..];
                continue;
            }
            let inner = from_brace.strip_prefix('{').and_then(|inner| inner.split_once('}'));
            let Some((name, after)) = inner else {
                return Err(format!("the brace at byte {position} has no other; write it twice to show a brace"));
            };
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(Part::Value(placeholder(name, position)?));
            rest = after;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self { parts })
    }

    pub(super) fn render(&self, status: &PaymentStatus) -> String {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Value(placeholder) => {
                    let value = value(*placeholder, status);
                    out.extend(value.chars().map(|c| if c.is_control() { ' ' } else { c }));
                }
            }
        }
        out
    }
}

fn placeholder(name: &str, position: usize) -> Result<Placeholder, String> {
    if let Some((_, placeholder)) = PLACEHOLDERS.iter().find(|(known, _)| *known == name) {
        return Ok(*placeholder);
    }
    let meant = nearest(name, PLACEHOLDERS.iter().map(|(known, _)| *known));
    let meant = meant.map(|known| format!("; did you mean `{{{known}}}`?")).unwrap_or_default();
    Err(format!("unknown placeholder `{{{name}}}` at byte {position}{meant}"))
}

fn value(placeholder: Placeholder, status: &PaymentStatus) -> String {
    match placeholder {
        Placeholder::Amount => amount(status.amount_minor, &status.currency),
        Placeholder::Fee => amount(status.fee_minor, &status.currency),
        Placeholder::Currency => status.currency.clone(),
        Placeholder::PaymentId => status.payment_id.clone(),
        Placeholder::DebitAccount => masked(&status.debit_account),
        Placeholder::CreditAccount => masked(&status.credit_account),
        Placeholder::Merchant => status.merchant_id.clone().unwrap_or_default(),
        Placeholder::Channel => status.channel.clone(),
        Placeholder::Code => status.code.clone(),
        Placeholder::Reason => status.reason.clone().unwrap_or_else(|| status.code.replace('_', " ")),
        Placeholder::EventTime => status.event_time.to_string(),
    }
}

/// `12.34`; `?` where the currency is not known, since nobody can say then where the decimal point is.
fn amount(minor: i64, currency: &str) -> String {
    Currency::parse(currency).map_or_else(|| "?".to_owned(), |currency| decimal(i128::from(minor), currency.exponent()))
}

/// The last 4 characters behind four stars; stars alone where that would be the whole account.
fn masked(account: &str) -> String {
    const SHOWN: usize = 4;
    let hidden = account.chars().count().saturating_sub(SHOWN);
    if hidden == 0 {
        return "****".to_owned();
    }
    std::iter::repeat_n('*', 4).chain(account.chars().skip(hidden)).collect()
}

#[cfg(test)]
mod tests {
    use tidemill_testkit::rows;

    use super::*;
    use crate::fan_out_notifications::tests::status;

    #[test]
    fn placeholders_take_the_values_of_the_status() {
        let table = "
            template                  | rendered
            {amount} {currency}       | 40.05 EUR
            {fee}                     | 0.40
            {payment_id}              | p-1
            {debit_account}           | ****0001
            {credit_account}          | ****0002
            {merchant}, by {channel}  | shop-1, by card
            {code}: {reason}          | ok: ok
            {event_time}              | 2026-01-31T12:00:00Z
            a {{brace}} and {{{code}}}| a {brace} and {ok}
            no placeholder            | no placeholder
        ";
        for row in rows(table) {
            let template = Template::parse(row["template"]).expect("a template");
            assert_eq!(template.render(&status()), row["rendered"], "{row:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_its_place() {
        let table = "
            template         | message
            {ammount}        | unknown placeholder `{ammount}` at byte 0; did you mean `{amount}`?
            to {account_no}! | unknown placeholder `{account_no}` at byte 3
            {}               | unknown placeholder `{}` at byte 0
            { amount }       | unknown placeholder `{ amount }` at byte 0
            pay {amount      | the brace at byte 4 has no other; write it twice to show a brace
            amount}          | the brace at byte 6 has no other; write it twice to show a brace
                             | has 0 bytes; 1 to 2000 are allowed
        ";
        for row in rows(table) {
            let message = Template::parse(row["template"]).expect_err("cannot be read");
            assert!(message.starts_with(row["message"]), "{row:?}: {message}");
        }
        assert!(Template::parse(&"x".repeat(2_001)).is_err());
    }

    #[test]
    fn values_cannot_break_out_of_their_place() {
        let mut status = status();
        status.payment_id = "1\r\nBcc: all {amount}".to_owned();
        status.debit_account = "1234".to_owned();
        status.credit_account = "IBAN-äöüß".to_owned();
        status.currency = String::new();
        let template = Template::parse("{payment_id}|{debit_account}|{credit_account}|{amount}").expect("a template");
        assert_eq!(template.render(&status), "1  Bcc: all {amount}|****|****äöüß|?");
    }
}
