//! What was handed out, and what must become of it.
//!
//! Every payment has a number, and everything about it follows from the number and the seed, so that a million of them
//! are a few bytes each. The number and the time at which it was sent stand in its id: whoever reads an outcome can tell
//! how long it took without asking anybody.

use serde_json::json;
use tidemill_core::{EventTime, money};

/// Every fiftieth customer has so little that payments beyond their funds occur.
const POOR_EVERY: u32 = 50;
const LIMIT_POOR_MINOR: i64 = 15_000;
const LIMIT_MINOR: i64 = 10_000_000_000;
const CURRENCY: &str = "EUR";

/// One run of `verify`: the names it gives to what it makes, so that it finds its own among everybody's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) name: String,
    /// Event time of the first payment, and between two. Spread over days, so that nobody looks like a fraudster.
    pub(super) first_created_ms: i64,
    pub(super) step_ms: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Account {
    Customer(u32),
    Merchant(u32),
    /// Was never opened, so that money comes back.
    Nobody(u32),
}

/// What must become of a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// The pipeline decides: posted, or declined by the rules of this topology.
    Decided,
    /// Like [`Expected::Decided`], but there is nobody to credit: what is posted comes back.
    Returned,
    /// Breaks a rule that holds in every topology; answered with this code.
    Refused(&'static str),
    /// Cannot be read: a dead letter, and no answer.
    Dead,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sending {
    First,
    /// The same again.
    Resend,
    /// The same id with another amount.
    Conflict,
}

/// What is known of records that were sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) acknowledged: u32,
    /// Without an answer from the broker: written or not.
    pub(super) unknown: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Issued {
    pub(super) debit: u32,
    pub(super) credit: Account,
    pub(super) amount_minor: i64,
    pub(super) expected: Expected,
    /// Milliseconds since the start of the run.
    pub(super) sent_ms: u32,
    pub(super) first: Tally,
    pub(super) resends: Tally,
    pub(super) conflicts: Tally,
}

/// Everything that was handed out, by number.
#[derive(Debug)]
pub(super) struct Oracle {
    pub(super) run: Run,
    pub(super) payments: Vec<Issued>,
}

impl Tally {
    pub(super) fn max(self) -> u32 {
        self.acknowledged + self.unknown
    }
}

impl Run {
    pub(super) fn source(&self) -> &str {
        &self.name
    }

    pub(super) fn payment_id(&self, number: usize, sent_ms: u32) -> String {
        format!("{}-{number}-{sent_ms}", self.name)
    }

    /// Number and time of sending. `None` for a payment of somebody else.
    pub(super) fn payment_of(&self, id: &str) -> Option<(usize, u32)> {
        let (number, sent_ms) = id.strip_prefix(&self.name)?.strip_prefix('-')?.split_once('-')?;
        Some((number.parse().ok()?, sent_ms.parse().ok()?))
    }

    pub(super) fn account(&self, account: Account) -> String {
        let (letter, number) = match account {
            Account::Customer(number) => ('c', number),
            Account::Merchant(number) => ('m', number),
            Account::Nobody(number) => ('n', number),
        };
        format!("{}-{letter}{number}", self.name)
    }

    pub(super) fn account_of(&self, name: &str) -> Option<Account> {
        let rest = name.strip_prefix(&self.name)?.strip_prefix('-')?;
        let number = rest.get(1..)?.parse().ok()?;
        match rest.as_bytes().first()? {
            b'c' => Some(Account::Customer(number)),
            b'm' => Some(Account::Merchant(number)),
            b'n' => Some(Account::Nobody(number)),
            _ => None,
        }
    }

    fn created_at(&self, number: usize) -> EventTime {
        let steps = i64::try_from(number).unwrap_or(i64::MAX);
        EventTime::from_millis(self.first_created_ms.saturating_add(self.step_ms.saturating_mul(steps)))
    }

    pub(super) fn timestamp_ms(&self, number: usize) -> i64 {
        self.created_at(number).millis()
    }

    /// The request that opens an account.
    pub(super) fn opening(&self, account: Account) -> Vec<u8> {
        let name = self.account(account);
        let (customer, kind, limit) = match account {
            Account::Customer(number) => (Some(format!("{}-p{number}", self.name)), "customer", limit_minor(account)),
            _ => (None, "merchant", 0),
        };
        let request = json!({
            "id": format!("open-{name}"), "source": self.source(), "type": "open", "account": name,
            "customer": customer, "currency": CURRENCY, "kind": kind,
            "limit": money::decimal(i128::from(limit), 2),
            "created_at": EventTime::from_millis(self.first_created_ms).to_string(),
        });
        request.to_string().into_bytes()
    }

    /// The record of a payment, as it is sent.
    pub(super) fn request(&self, number: usize, issued: &Issued, sending: Sending) -> Vec<u8> {
        let id = self.payment_id(number, issued.sent_ms);
        let debit = self.account(Account::Customer(issued.debit));
        if issued.expected == Expected::Dead {
            return format!(r#"{{"id":"{id}","source":"{}","debit_account":"{debit}","amount":"#, self.source())
                .into_bytes();
        }
        let amount_minor = issued.amount_minor + i64::from(sending == Sending::Conflict);
        let mut amount = money::decimal(i128::from(amount_minor), 2);
        let (mut credit, mut currency) = (self.account(issued.credit), CURRENCY);
        match issued.expected {
            Expected::Refused("amount_not_positive") => "0".clone_into(&mut amount),
            Expected::Refused("amount_too_precise") => amount.push('1'),
            Expected::Refused("amount_malformed") => amount = amount.replace('.', ","),
            Expected::Refused("currency_unknown") => currency = "XXQ",
            Expected::Refused("accounts_identical") => credit.clone_from(&debit),
            _ => {}
        }
        let merchant = self.account(issued.credit);
        let request = json!({
            "id": id, "source": self.source(), "type": "transfer", "debit_account": debit, "credit_account": credit,
            "amount": amount, "currency": currency, "created_at": self.created_at(number).to_string(),
            "channel": "online", "merchant": {"id": merchant, "category": "groceries", "country": "DE"},
            "customer": format!("{}-p{}", self.name, issued.debit), "description": format!("Check {number}"),
        });
        request.to_string().into_bytes()
    }
}

/// Codes of [`Expected::Refused`] that [`Run::request`] knows how to deserve.
pub(super) const REFUSALS: [&str; 5] =
    ["amount_not_positive", "amount_too_precise", "amount_malformed", "currency_unknown", "accounts_identical"];

/// How far below zero the account may go.
pub(super) fn limit_minor(account: Account) -> i64 {
    match account {
        Account::Customer(number) if number % POOR_EVERY == POOR_EVERY - 1 => LIMIT_POOR_MINOR,
        Account::Customer(_) => LIMIT_MINOR,
        _ => 0,
    }
}

impl Oracle {
    /// Writes down how sending ended.
    pub(super) fn note(&mut self, number: usize, sending: Sending, sent: Sent) {
        let issued = &mut self.payments[number];
        let tally = match sending {
            Sending::First => &mut issued.first,
            Sending::Resend => &mut issued.resends,
            Sending::Conflict => &mut issued.conflicts,
        };
        match sent {
            Sent::Acknowledged => tally.acknowledged += 1,
            Sent::Unknown => tally.unknown += 1,
        }
    }

    pub(super) fn tally(&self) -> Tally {
        self.payments.iter().flat_map(|issued| [issued.first, issued.resends, issued.conflicts]).fold(
            Tally::default(),
            |sum, tally| Tally {
                acknowledged: sum.acknowledged + tally.acknowledged,
                unknown: sum.unknown + tally.unknown,
            },
        )
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    Acknowledged,
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> Run {
        Run { name: "verify-1a".to_owned(), first_created_ms: 1_767_600_000_000, step_ms: 1_000 }
    }

    #[test]
    fn names_are_read_back_and_those_of_others_are_not() {
        let run = run();
        for account in [Account::Customer(7), Account::Merchant(0), Account::Nobody(12)] {
            assert_eq!(run.account_of(&run.account(account)), Some(account));
        }
        assert_eq!(run.payment_of(&run.payment_id(17, 4_200)), Some((17, 4_200)));
        for other in ["verify-1ab-c7", "verify-1-c7", "acc-000001", "verify-1a-", "verify-1a-x1", ""] {
            assert_eq!(run.account_of(other), None, "{other}");
            assert_eq!(run.payment_of(other), None, "{other}");
        }
    }
}
