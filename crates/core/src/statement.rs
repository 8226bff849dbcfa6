//! Statements: what one account looked like over a period, read from its entries and checked against itself.

use serde::Serialize;

use crate::time::EventTime;

/// From an instant, included, to another, excluded, so that periods side by side share nothing and miss nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    pub from: EventTime,
    pub until: EventTime,
}

/// An account over a period, with its entries in the order in which they were booked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    pub account_id: String,
    pub customer: Option<String>,
    /// ISO 4217.
    pub currency: String,
    pub period: Period,
    pub opening_minor: i64,
    pub closing_minor: i64,
    /// Number of the last entry before the period; 0 for none.
    pub seq_before: i64,
    pub entries: Vec<StatementEntry>,
    pub finality: Finality,
}

/// Whether entries can still be added to a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Finality {
    /// The account has an entry after the period, and books nothing before it any more.
    Final,
    /// The account has no entry after the period yet.
    Provisional,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatementEntry {
    pub seq: i64,
    /// The account's clock at this entry: the greatest event time of the entries so far. It never runs backwards, so
    /// the entries of a period follow each other without a gap even where payments were backdated.
    pub booked_at: EventTime,
    pub event_time: EventTime,
    pub payment_id: String,
    pub source: String,
    /// `debit`, `credit`, `fee`, `return`, `hold` or `release`.
    pub kind: String,
    pub payment_type: String,
    pub reference: Option<String>,
    pub contra_account_id: String,
    pub fee_schedule: Option<String>,
    /// Signed: negative takes from the account.
    pub amount_minor: i64,
    pub balance_after_minor: i64,
    pub hold_minor: i64,
    pub pending_after_minor: i64,
}

/// Why a statement cannot be believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    #[error("entry {expected} is missing: the next one is {found}")]
    Gap { expected: i64, found: i64 },
    #[error("the balance after entry {seq} does not follow from the one before it")]
    Balance { seq: i64 },
    #[error("the entries do not lead from the opening to the closing balance")]
    Closing,
}

impl Statement {
    /// Opening + entries = closing, entry by entry, and no number is missing.
    pub fn check(&self) -> Result<(), StatementError> {
        let mut balance_minor = i128::from(self.opening_minor);
        let mut expected = self.seq_before;
        for entry in &self.entries {
            expected += 1;
            if entry.seq != expected {
                return Err(StatementError::Gap { expected, found: entry.seq });
            }
            balance_minor += i128::from(entry.amount_minor);
            if balance_minor != i128::from(entry.balance_after_minor) {
                return Err(StatementError::Balance { seq: entry.seq });
            }
        }
        if balance_minor == i128::from(self.closing_minor) { Ok(()) } else { Err(StatementError::Closing) }
    }
}

/// Money between two accounts in one currency, at a cut through all partitions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InTransit {
    pub currency: String,
    /// What payers have given and nobody has received.
    pub amount_minor: i128,
    pub payments: u64,
    /// When the first of them was made.
    pub oldest_at: Option<EventTime>,
    /// Payments of which more has arrived than departed, since the read model does not have all departures yet: left out
    /// of the cut.
    pub arrived_ahead: u64,
    /// Sum of the balances of the `in_transit` accounts. The same as `amount_minor` once the read model has caught up
    /// and nothing is left out.
    pub accounts_minor: i128,
    /// Sum of the balances of the `clearing` accounts: what was given for journals that are still collecting.
    pub clearing_minor: i128,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(entries: &[(i64, i64, i64)]) -> Statement {
        let entry = |&(seq, amount_minor, balance_after_minor): &(i64, i64, i64)| StatementEntry {
            seq,
            booked_at: EventTime(seq),
            event_time: EventTime(seq),
            payment_id: format!("p-{seq}"),
            source: "bank".to_owned(),
            kind: "debit".to_owned(),
            payment_type: "transfer".to_owned(),
            reference: None,
            contra_account_id: "in_transit.0.EUR".to_owned(),
            fee_schedule: None,
            amount_minor,
            balance_after_minor,
            hold_minor: 0,
            pending_after_minor: 0,
        };
        Statement {
            account_id: "a".to_owned(),
            customer: None,
            currency: "EUR".to_owned(),
            period: Period { from: EventTime(0), until: EventTime(100) },
            opening_minor: 100,
            closing_minor: entries.last().map_or(100, |entry| entry.2),
            seq_before: 4,
            entries: entries.iter().map(entry).collect(),
            finality: Finality::Provisional,
        }
    }

    #[test]
    fn a_statement_is_believed_only_if_it_adds_up() {
        let gap = |expected, found| Err(StatementError::Gap { expected, found });
        let cases = [
            (&[][..], Ok(())),
            (&[(5, -40, 60), (6, 40, 100)], Ok(())),
            (&[(5, -40, 60), (7, 40, 100)], gap(6, 7)),
            (&[(6, -40, 60)], gap(5, 6)),
            (&[(5, -40, 60), (5, 0, 60)], gap(6, 5)),
            (&[(5, -40, 61)], Err(StatementError::Balance { seq: 5 })),
            (&[(5, 0, 100), (6, -1, 100)], Err(StatementError::Balance { seq: 6 })),
        ];
        for (entries, expected) in cases {
            assert_eq!(statement(entries).check(), expected, "{entries:?}");
        }
        let tampered = Statement { closing_minor: 101, ..statement(&[(5, -40, 60), (6, 40, 100)]) };
        assert_eq!(tampered.check(), Err(StatementError::Closing));
    }
}
