//! The audit of a small ledger: silent when all is well, and naming each rule when its rows are tampered with.

use std::collections::BTreeMap;

use tidemill_connectors::conformance::{balance, payment_status, sample};
use tidemill_core::sink::SinkBody;
use tidemill_core::{Event, EventKind, Meta, SinkRecord};
use tidemill_schemas::{
    AccountBalance, AccountKind, EntryKind, LedgerEntry, PaymentStatus, PaymentType, StatusCode, StatusPhase,
};

use super::{SqlLab, claimed, write};

/// p-1 arrives, p-2 comes back, p-3 is sent in a wrong form first, p-4 of two payers is two payments,
/// p-5 holds money and gives it free.
const ENTRIES: &[(&str, i64, &str, EntryKind, i64, i64)] = &[
    ("a", 1, "p-1", EntryKind::Debit, -250, -250),
    ("a", 2, "p-1", EntryKind::Fee, -5, -255),
    ("b", 1, "p-1", EntryKind::Credit, 250, 250),
    ("a", 3, "p-2", EntryKind::Debit, -40, -295),
    ("a", 4, "p-2", EntryKind::Return, 40, -255),
    ("a", 5, "p-4", EntryKind::Debit, -1, -256),
    ("c", 1, "p-4", EntryKind::Debit, -2, -2),
    ("b", 2, "p-4", EntryKind::Credit, 1, 251),
    ("b", 3, "p-4", EntryKind::Credit, 2, 253),
    ("e", 1, "p-5", EntryKind::Hold, 0, 0),
    ("e", 2, "p-5", EntryKind::Release, 0, 0),
];

const BALANCES: &[(&str, AccountKind, i64)] = &[
    ("a", AccountKind::Customer, -256),
    ("b", AccountKind::Merchant, 253),
    ("c", AccountKind::Customer, -2),
    ("new", AccountKind::Customer, 0),
    ("e", AccountKind::Customer, 0),
    ("fees.0.EUR", AccountKind::Fee, 5),
    ("in_transit.0.EUR", AccountKind::InTransit, 0),
];

const STATUSES: &[(&str, &str, StatusPhase, &str)] = &[
    ("p-1", "a", StatusPhase::Outcome, "ok"),
    ("p-1", "a", StatusPhase::Repeat, "ok"),
    ("p-1", "a", StatusPhase::Outcome, "field_missing"),
    ("p-2", "a", StatusPhase::Outcome, "ok"),
    ("p-2", "a", StatusPhase::Update, "credit_account_closed"),
    ("p-3", "a", StatusPhase::Outcome, "amount_malformed"),
    ("p-3", "a", StatusPhase::Outcome, "insufficient_funds"),
    ("p-4", "a", StatusPhase::Outcome, "ok"),
    ("p-4", "c", StatusPhase::Outcome, "ok"),
];

/// What is done to the tables, and all that the audit says then.
const TAMPERING: &[(&str, &[&str])] = &[
    (
        "UPDATE account_balances SET posted_minor = 6 WHERE account_id = 'fees.0.EUR'",
        &["posted balances do not add up to zero: EUR by 1"],
    ),
    (
        "UPDATE account_balances SET posted_minor = -posted_minor WHERE account_id IN ('fees.0.EUR', 'new') \
         OR account_id = 'b'",
        &[
            "posted balances do not add up to zero: EUR by -516",
            "entries do not explain all balances: EUR by -506",
            "the balance is not the one after the last entry: b",
        ],
    ),
    (
        "UPDATE account_balances SET posted_minor = posted_minor + CASE account_id WHEN 'new' THEN 1 ELSE -1 END \
         WHERE account_id IN ('new', 'fees.0.EUR')",
        &["the balance is not the one after the last entry: new"],
    ),
    ("UPDATE ledger_entries SET seq = 9 WHERE account_id = 'c'", &["entries are not numbered from 1 without gaps: c"]),
    (
        "UPDATE ledger_entries SET seq = 0 WHERE account_id = 'a' AND seq = 1",
        &["entries are not numbered from 1 without gaps: a"],
    ),
    (
        "UPDATE ledger_entries SET balance_after_minor = -249 WHERE account_id = 'a' AND seq = 1",
        &["a balance does not follow from the entry before: a at 1"],
    ),
    (
        "DELETE FROM account_balances WHERE account_id = 'c'",
        &[
            "posted balances do not add up to zero: EUR by 2",
            "entries do not explain all balances: EUR by 2",
            "the balance is not the one after the last entry: c",
        ],
    ),
    (
        "UPDATE ledger_entries SET account_id = 'd', seq = 1, balance_after_minor = -2 WHERE account_id = 'c'",
        &[
            "entries do not explain all balances: EUR by 2",
            "the balance is not the one after the last entry: c, d",
            "a payment was posted without exactly one debit, or debited without being posted: core/p-4, core/p-4",
        ],
    ),
    (
        "UPDATE ledger_entries SET kind = 'fee' WHERE payment_id = 'p-1' AND kind = 'debit'",
        &[
            "a payment was posted without exactly one debit, or debited without being posted: core/p-1",
            "a debit has arrived nowhere, neither as a credit nor as a return, or more than once: core/p-1",
        ],
    ),
    (
        "UPDATE ledger_entries SET kind = 'debit' WHERE payment_id = 'p-1' AND kind = 'fee'",
        &[
            "a payment was posted without exactly one debit, or debited without being posted: core/p-1",
            "a debit has arrived nowhere, neither as a credit nor as a return, or more than once: core/p-1",
        ],
    ),
    (
        "UPDATE payment_statuses SET phase = 'repeat' WHERE payment_id = 'p-2' AND phase = 'outcome'",
        &["a payment was posted without exactly one debit, or debited without being posted: core/p-2"],
    ),
    (
        "UPDATE ledger_entries SET kind = 'fee' WHERE kind = 'return'",
        &["a debit has arrived nowhere, neither as a credit nor as a return, or more than once: core/p-2"],
    ),
    (
        "UPDATE ledger_entries SET payment_id = 'p-1' WHERE account_id = 'b' AND seq = 2",
        &["a debit has arrived nowhere, neither as a credit nor as a return, or more than once: core/p-1, core/p-4"],
    ),
    (
        "UPDATE payment_statuses SET phase = 'outcome' WHERE phase = 'repeat'",
        &["a payment has more than one final outcome: core/p-1"],
    ),
    (
        "UPDATE payment_statuses SET code = 'fraud_declined' WHERE code = 'amount_malformed'",
        &["a payment has more than one final outcome: core/p-3"],
    ),
    (
        "UPDATE ledger_entries SET seq = seq + 1 WHERE account_id = 'c' OR account_id = 'a' AND seq = 5 \
         OR account_id = 'b' AND seq = 3",
        &["entries are not numbered from 1 without gaps: a, b, c"],
    ),
];

pub(super) fn every_broken_rule_is_named(lab: &mut dyn SqlLab) {
    for (tampering, expected) in TAMPERING {
        lab.wipe();
        write(&mut *claimed(lab), ledger());
        lab.query(tampering);
        let audit = lab.open().audit().expect("can be audited");
        assert_eq!(audit.violations, *expected, "{tampering}");
    }
}

pub(super) fn long_samples_are_cut(lab: &mut dyn SqlLab) {
    write(&mut *claimed(lab), ledger());
    lab.query("UPDATE account_balances SET posted_minor = posted_minor + 1");
    let audit = lab.open().audit().expect("can be audited");
    let accounts = audit.violations.iter().find(|violation| violation.contains("last entry"));
    assert_eq!(
        accounts.map(String::as_str),
        Some("the balance is not the one after the last entry: a, b, c and 2 more")
    );
}

pub(super) fn a_sound_ledger_has_no_violations(lab: &mut dyn SqlLab) {
    write(&mut *claimed(lab), ledger());
    let audit = lab.open().audit().expect("can be audited");
    assert_eq!(audit.violations, Vec::<String>::new());
    let count = |phase: &str, code: &str, count: u64| ((phase.to_owned(), code.to_owned()), count);
    let statuses = [
        count("outcome", "amount_malformed", 1),
        count("outcome", "field_missing", 1),
        count("outcome", "insufficient_funds", 1),
        count("outcome", "ok", 4),
        count("repeat", "ok", 1),
        count("update", "credit_account_closed", 1),
    ];
    assert_eq!(audit.statuses, BTreeMap::from(statuses));
    let dead_letters = [("".to_owned(), 1), ("payload_unreadable".to_owned(), 2)];
    assert_eq!(audit.dead_letters, BTreeMap::from(dead_letters));
    assert_eq!(audit.balances.map(|digest| digest.accounts), Some(7));
}

fn ledger() -> Vec<SinkRecord> {
    let time = balance("a", 0).event_time;
    let entries = ENTRIES.iter().map(|&(account, seq, payment, kind, amount_minor, balance_after_minor)| LedgerEntry {
        meta: Meta::default(),
        account_id: account.to_owned(),
        seq,
        payment_id: payment.to_owned(),
        source: "core".to_owned(),
        kind,
        amount_minor,
        currency: "EUR".to_owned(),
        balance_after_minor,
        contra_account_id: "in_transit.0.EUR".to_owned(),
        leg_no: 1,
        fee_schedule: None,
        event_time: time,
        payment_type: PaymentType::Transfer,
        reference: None,
        hold_minor: 0,
        pending_after_minor: 0,
        quote: None,
        booking_date: None,
        value_date: None,
    });
    let balances = BALANCES.iter().map(|&(account, kind, posted_minor)| {
        let currency = "EUR".to_owned();
        AccountBalance { kind, currency, posted_minor, available_minor: posted_minor, ..balance(account, 0) }
    });
    let statuses = STATUSES.iter().map(|&(payment, account, phase, code)| {
        let (payment_id, code) = (payment.to_owned(), code.to_owned());
        let status = if code == "ok" { StatusCode::ACSC } else { StatusCode::RJCT };
        PaymentStatus { payment_id, status, phase, code, ..payment_status(account, 0) }
    });
    let dead_letters = ["payload_unreadable", "payload_unreadable", ""].iter().zip(0..).map(|(code, offset)| {
        let code = ("x-dlq-code".to_owned(), Some(code.as_bytes().to_vec()).filter(|code| !code.is_empty()));
        let body = SinkBody::DeadLetter { value: None, headers: vec![code] };
        let record = sample(AccountBalance::KIND, 0, offset, Box::new(balance("a", 0)));
        SinkRecord { topic: "payments.requested.v1.dlq".into(), body, ..record }
    });
    let mut records = records_of(LedgerEntry::KIND, entries);
    records.extend(records_of(AccountBalance::KIND, balances));
    records.extend(records_of(PaymentStatus::KIND, statuses));
    records.extend(dead_letters);
    records
}

fn records_of<E: Event>(kind: EventKind, events: impl Iterator<Item = E>) -> Vec<SinkRecord> {
    events.zip(0..).map(|(event, offset)| sample(kind, 0, offset, Box::new(event))).collect()
}
