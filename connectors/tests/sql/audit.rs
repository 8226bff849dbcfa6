//! The audit of a small ledger: silent when all is well, and naming each rule when its rows are tampered with.

use std::collections::BTreeMap;

use tidemill_connectors::conformance::{balance, payment_status, sample};
use tidemill_core::sink::SinkBody;
use tidemill_core::{Event, EventKind, Meta, SinkRecord};
use tidemill_schemas::{
    AccountBalance, AccountKind, EntryKind, Exchange, LedgerEntry, PaymentStatus, PaymentType, StatusCode, StatusPhase,
};

use super::{SqlLab, claimed, write};

/// Lines as the ledger writes them: payment, type, account, contra account, kind, amount, leg. A line numbers the change on
/// both accounts. p-1 arrives, p-2 comes back, p-3 is sent in a wrong form first, p-4 of two payers is two payments, p-5
/// holds money and gives it free. e-1 is exchanged and undone by x-1, e-2 comes back. j-1 has one payer, j-2 two, and of
/// j-3 one does not pay. s-1 waits and is carried out, s-2 is refused then, s-3 comes back.
const LINES: &str = "
    p-1 transfer    a                 in_transit.0.EUR  debit    -250 1
    p-1 transfer    a                 fees.0.EUR        fee        -5 1
    p-1 transfer    b                 in_transit.0.EUR  credit    250 2
    p-2 transfer    a                 in_transit.0.EUR  debit     -40 1
    p-2 transfer    a                 in_transit.0.EUR  return     40 3
    p-4 transfer    a                 in_transit.0.EUR  debit      -1 1
    p-4 transfer    c                 in_transit.0.EUR  debit      -2 1
    p-4 transfer    b                 in_transit.0.EUR  credit      1 2
    p-4 transfer    b                 in_transit.0.EUR  credit      2 2
    p-5 authorise   e                 b                 hold        0 1
    p-5 authorise   e                 b                 release     0 1
    e-1 fx_exchange a                 fx_position.0.EUR debit    -100 1
    e-1 fx_exchange fx_position.0.USD in_transit.0.USD  exchange -108 1
    e-1 fx_exchange fx_position.0.USD fx_spread.0.USD   spread     -1 1
    e-1 fx_exchange u                 in_transit.0.USD  credit    108 2
    x-1 reverse     u                 fx_position.0.USD debit    -108 1
    x-1 reverse     fx_position.0.EUR in_transit.0.EUR  exchange -100 1
    x-1 reverse     fx_position.0.USD fx_spread.0.USD   spread      1 1
    x-1 reverse     a                 in_transit.0.EUR  credit    100 2
    e-2 fx_exchange a                 fx_position.0.EUR debit     -20 1
    e-2 fx_exchange fx_position.0.USD in_transit.0.USD  exchange  -21 1
    e-2 fx_exchange fx_position.0.USD fx_spread.0.USD   spread     -1 1
    e-2 fx_exchange a                 fx_position.0.EUR return     20 3
    e-2 fx_exchange fx_position.0.USD in_transit.0.USD  exchange   21 3
    e-2 fx_exchange fx_position.0.USD fx_spread.0.USD   spread      1 3
    j-1 journal     a                 in_transit.0.EUR  debit     -10 1
    j-1 journal     b                 in_transit.0.EUR  credit      6 2
    j-1 journal     c                 in_transit.0.EUR  credit      4 2
    j-2 journal     a                 clearing.0.EUR    debit      -6 1
    j-2 journal     b                 in_transit.0.EUR  debit      -4 1
    j-2 journal     clearing.0.EUR    in_transit.0.EUR  credit      4 1
    j-2 journal     clearing.0.EUR    in_transit.0.EUR  debit     -10 2
    j-2 journal     c                 in_transit.0.EUR  credit     10 2
    j-3 journal     a                 clearing.0.EUR    debit      -6 1
    j-3 journal     b                 in_transit.0.EUR  debit      -1 1
    j-3 journal     clearing.0.EUR    in_transit.0.EUR  credit      1 1
    j-3 journal     clearing.0.EUR    in_transit.0.EUR  debit      -1 3
    j-3 journal     a                 clearing.0.EUR    return      6 3
    j-3 journal     b                 in_transit.0.EUR  return      1 3
    s-1 transfer    a                 in_transit.0.EUR  debit     -30 1
    s-1 transfer    b                 in_transit.0.EUR  credit     30 2
    s-3 transfer    a                 in_transit.0.EUR  debit     -31 1
    s-3 transfer    a                 in_transit.0.EUR  return     31 3
";

/// Payment, type, debit account, phase, status, code.
const STATUSES: &str = "
    p-1 transfer    a outcome ACSC ok
    p-1 transfer    a repeat  ACSC ok
    p-1 transfer    a outcome RJCT field_missing
    p-2 transfer    a outcome ACSC ok
    p-2 transfer    a update  RJCT credit_account_closed
    p-3 transfer    a outcome RJCT amount_malformed
    p-3 transfer    a outcome RJCT insufficient_funds
    p-4 transfer    a outcome ACSC ok
    p-4 transfer    c outcome ACSC ok
    p-5 authorise   e outcome PDNG ok
    p-5 authorise   e update  CANC hold_expired
    e-1 fx_exchange a outcome ACSC ok
    x-1 reverse     u outcome ACSC ok
    e-2 fx_exchange a outcome ACSC ok
    e-2 fx_exchange a update  RJCT credit_account_not_found
    j-1 journal     a outcome ACSC ok
    j-2 journal     a outcome PDNG ok
    j-2 journal     a update  ACSC ok
    j-3 journal     a outcome PDNG ok
    j-3 journal     a update  RJCT insufficient_funds
    s-1 transfer    a outcome PDNG ok
    s-1 transfer    a update  PDNG insufficient_funds
    s-1 transfer    a update  ACSC ok
    s-2 transfer    a outcome PDNG ok
    s-2 transfer    a update  RJCT insufficient_funds
    s-3 transfer    a outcome PDNG ok
    s-3 transfer    a update  ACSC ok
    s-3 transfer    a update  RJCT credit_account_closed
";

/// What each exchange sells, buys and leaves to the house. A reversal names those of what it undoes.
const EXCHANGES: [(&str, [i64; 3]); 3] = [("e-1", [100, 108, 1]), ("x-1", [100, 108, 1]), ("e-2", [20, 21, 1])];

const SUM: &str = "posted balances do not add up to zero";
const PROOF: &str = "a balance is not what the entries of the account and those against it add up to";
const NUM: &str = "entries are not numbered from 1 without gaps";
const CHAIN: &str = "a balance does not follow from the entry before";
const LAST: &str = "the balance is not the one after the last entry";
const DEBIT: &str = "a payment was posted without exactly one debit, or debited without being posted";
const JOURNAL: &str = "a journal was accepted without a debit of its leader, or somebody debited for one that was not";
const CONCLUDE: &str = "a journal that collected was not concluded once";
const MOVED: &str = "money of a payment has gone into transit or clearing and not come out, or the other way round";
const BACK: &str = "a payment came back without its sender being told, or was told to have and did not";
const FX: &str = "an exchange was not booked at the amounts of its answer";
const ONCE: &str = "a payment has more than one final outcome";

/// What is done to the tables, and all that the audit says then: which rule is broken, and by what.
const TAMPERING: &[(&str, &[(&str, &str)])] = &[
    (
        "UPDATE account_balances SET posted_minor = 6 WHERE account_id = 'fees.0.EUR'",
        &[(SUM, "EUR by 1"), (PROOF, "fees.0.EUR by 1")],
    ),
    (
        "UPDATE account_balances SET posted_minor = posted_minor + CASE account_id WHEN 'new' THEN 1 ELSE -1 END \
         WHERE account_id IN ('new', 'fees.0.EUR')",
        &[(PROOF, "fees.0.EUR by -1, new by 1"), (LAST, "new")],
    ),
    (
        "UPDATE account_balances SET posted_minor = posted_minor + CASE account_id WHEN 'fx_spread.0.USD' THEN 1 ELSE -1 END \
         WHERE account_id IN ('fx_spread.0.USD', 'fx_position.0.USD')",
        &[(PROOF, "fx_position.0.USD by -1, fx_spread.0.USD by 1")],
    ),
    (
        "UPDATE account_balances SET posted_minor = posted_minor + 1 WHERE account_id = 'clearing.0.EUR'",
        &[(SUM, "EUR by 1"), (PROOF, "clearing.0.EUR by 1")],
    ),
    ("UPDATE ledger_entries SET seq = 9 WHERE account_id = 'c' AND seq = 3", &[(NUM, "c")]),
    ("UPDATE ledger_entries SET seq = 0 WHERE account_id = 'a' AND seq = 1", &[(NUM, "a")]),
    ("UPDATE ledger_entries SET balance_after_minor = -249 WHERE account_id = 'a' AND seq = 1", &[(CHAIN, "a at 1")]),
    ("DELETE FROM account_balances WHERE account_id = 'e' OR account_id = 'fx_spread.0.USD'", &[(LAST, "e")]),
    ("DELETE FROM account_balances WHERE account_id = 'c'", &[(SUM, "EUR by -12"), (PROOF, "c by -12"), (LAST, "c")]),
    ("UPDATE ledger_entries SET kind = 'fee' WHERE payment_id = 'p-1' AND kind = 'debit'", &[(DEBIT, "core/p-1")]),
    ("UPDATE ledger_entries SET kind = 'debit' WHERE payment_id = 'p-1' AND kind = 'fee'", &[(DEBIT, "core/p-1")]),
    (
        "UPDATE payment_statuses SET phase = 'repeat' WHERE payment_id = 'p-2' AND phase = 'outcome'",
        &[(DEBIT, "core/p-2"), (BACK, "core/p-2")],
    ),
    ("UPDATE ledger_entries SET kind = 'fee' WHERE payment_id = 'p-2' AND kind = 'return'", &[(BACK, "core/p-2")]),
    ("DELETE FROM payment_statuses WHERE payment_id = 'p-2' AND phase = 'update'", &[(BACK, "core/p-2")]),
    (
        "UPDATE ledger_entries SET payment_id = 'p-1' WHERE payment_id = 'p-4' AND amount_minor = 1",
        &[(MOVED, "core/p-1, core/p-4")],
    ),
    ("UPDATE payment_statuses SET phase = 'outcome' WHERE phase = 'repeat'", &[(ONCE, "core/p-1")]),
    ("UPDATE payment_statuses SET code = 'fraud_declined' WHERE code = 'amount_malformed'", &[(ONCE, "core/p-3")]),
    (
        "DELETE FROM ledger_entries WHERE payment_id = 'e-1' AND kind = 'exchange'",
        &[(PROOF, "fx_position.0.USD by -108, in_transit.0.USD by 108"), (MOVED, "core/e-1"), (FX, "core/e-1")],
    ),
    (
        "DELETE FROM ledger_entries WHERE payment_id = 'x-1' AND kind = 'spread'",
        &[(PROOF, "fx_position.0.USD by 1, fx_spread.0.USD by -1"), (FX, "core/x-1")],
    ),
    (
        "UPDATE ledger_entries SET amount_minor = amount_minor - 1 WHERE payment_id = 'e-1' AND kind = 'spread'",
        &[(PROOF, "fx_position.0.USD by 1, fx_spread.0.USD by -1"), (FX, "core/e-1")],
    ),
    (
        "DELETE FROM ledger_entries WHERE payment_id = 'e-1' AND kind = 'debit'",
        &[(PROOF, "a by -100, fx_position.0.EUR by 100"), (NUM, "a"), (CHAIN, "a at 7"), (DEBIT, "core/e-1")],
    ),
    ("UPDATE payment_statuses SET bought_minor = 107 WHERE payment_id = 'e-2'", &[(FX, "core/e-2")]),
    (
        "DELETE FROM ledger_entries WHERE payment_id = 'j-1' AND account_id = 'c'",
        &[(PROOF, "c by 4, in_transit.0.EUR by -4"), (NUM, "c"), (CHAIN, "c at 3"), (MOVED, "core/j-1")],
    ),
    (
        "DELETE FROM ledger_entries WHERE payment_id = 'j-2' AND account_id = 'a'",
        &[
            (PROOF, "a by -6, clearing.0.EUR by 6"),
            (NUM, "a"),
            (CHAIN, "a at 12"),
            (JOURNAL, "core/j-2"),
            (MOVED, "core/j-2"),
        ],
    ),
    (
        "DELETE FROM ledger_entries WHERE payment_id = 'j-2' AND account_id = 'clearing.0.EUR' AND leg_no = 2",
        &[(PROOF, "clearing.0.EUR by -10, in_transit.0.EUR by 10"), (MOVED, "core/j-2")],
    ),
    ("DELETE FROM payment_statuses WHERE payment_id = 'j-2' AND phase = 'update'", &[(CONCLUDE, "core/j-2")]),
    ("DELETE FROM payment_statuses WHERE payment_id = 'j-3'", &[(JOURNAL, "core/j-3")]),
    ("DELETE FROM payment_statuses WHERE payment_id = 's-1' AND status = 'ACSC'", &[(DEBIT, "core/s-1")]),
    (
        "UPDATE payment_statuses SET status = 'ACSC' WHERE payment_id = 's-2' AND phase = 'update'",
        &[(DEBIT, "core/s-2")],
    ),
    (
        "DELETE FROM ledger_entries WHERE payment_id = 's-1' AND account_id = 'b'",
        &[(PROOF, "b by 30, in_transit.0.EUR by -30"), (LAST, "b"), (MOVED, "core/s-1")],
    ),
];

pub(super) fn every_broken_rule_is_named(lab: &mut dyn SqlLab) {
    for (tampering, expected) in TAMPERING {
        lab.wipe();
        write(&mut *claimed(lab), ledger());
        lab.query(tampering);
        let audit = lab.open().audit().expect("can be audited");
        let expected: Vec<String> = expected.iter().map(|(rule, by)| format!("{rule}: {by}")).collect();
        assert_eq!(audit.violations, expected, "{tampering}");
    }
}

pub(super) fn long_samples_are_cut(lab: &mut dyn SqlLab) {
    write(&mut *claimed(lab), ledger());
    lab.query("UPDATE account_balances SET posted_minor = posted_minor + 1");
    let audit = lab.open().audit().expect("can be audited");
    let accounts = audit.violations.iter().find(|violation| violation.contains("last entry"));
    assert_eq!(
        accounts.map(String::as_str),
        Some("the balance is not the one after the last entry: a, b, c and 3 more")
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
        count("outcome", "ok", 14),
        count("repeat", "ok", 1),
        count("update", "credit_account_closed", 2),
        count("update", "credit_account_not_found", 1),
        count("update", "hold_expired", 1),
        count("update", "insufficient_funds", 3),
        count("update", "ok", 3),
    ];
    assert_eq!(audit.statuses, BTreeMap::from(statuses));
    let dead_letters = [("".to_owned(), 1), ("payload_unreadable".to_owned(), 2)];
    assert_eq!(audit.dead_letters, BTreeMap::from(dead_letters));
    assert_eq!(audit.balances.map(|digest| digest.accounts), Some(13));
}

fn kind_of(account: &str) -> AccountKind {
    match account.split('.').next() {
        Some("in_transit") => AccountKind::InTransit,
        Some("fees") => AccountKind::Fee,
        Some("fx_position") => AccountKind::FxPosition,
        Some("fx_spread") => AccountKind::FxSpread,
        Some("clearing") => AccountKind::Clearing,
        _ => AccountKind::Customer,
    }
}

fn currency_of(account: &str) -> String {
    if account == "u" || account.ends_with(".USD") { "USD".to_owned() } else { "EUR".to_owned() }
}

/// One of a few words, by its place.
fn word<T: Copy>(word: &str, words: &[(&str, T)]) -> T {
    words.iter().find(|(known, _)| *known == word).unwrap_or_else(|| panic!("no such word: {word}")).1
}

/// Entries, and of each account the balance and the number of its last change.
fn booked() -> (Vec<LedgerEntry>, BTreeMap<&'static str, (i64, i64)>) {
    const KINDS: [(&str, EntryKind); 8] = [
        ("debit", EntryKind::Debit),
        ("credit", EntryKind::Credit),
        ("fee", EntryKind::Fee),
        ("return", EntryKind::Return),
        ("hold", EntryKind::Hold),
        ("release", EntryKind::Release),
        ("exchange", EntryKind::Exchange),
        ("spread", EntryKind::Spread),
    ];
    let mut accounts: BTreeMap<&str, (i64, i64)> = BTreeMap::from([("new", (0, 0))]);
    let mut entries = Vec::new();
    for line in LINES.lines().filter(|line| !line.trim().is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [payment_id, payment_type, account_id, contra, kind, amount, leg_no] = words[..] else { panic!("{line}") };
        let (kind, amount_minor) = (word(kind, &KINDS), amount.parse::<i64>().expect("an amount"));
        if !matches!(kind, EntryKind::Hold | EntryKind::Release) {
            let (posted_minor, seq) = accounts.entry(contra).or_default();
            (*posted_minor, *seq) = (*posted_minor - amount_minor, *seq + 1);
        }
        let (posted_minor, seq) = accounts.entry(account_id).or_default();
        (*posted_minor, *seq) = (*posted_minor + amount_minor, *seq + 1);
        entries.push(LedgerEntry {
            meta: Meta::default(),
            account_id: account_id.to_owned(),
            seq: *seq,
            payment_id: payment_id.to_owned(),
            source: "core".to_owned(),
            kind,
            amount_minor,
            currency: currency_of(account_id),
            balance_after_minor: *posted_minor,
            contra_account_id: contra.to_owned(),
            leg_no: leg_no.parse().expect("a number"),
            fee_schedule: None,
            event_time: balance("a", 0).event_time,
            payment_type: PaymentType::parse(payment_type).expect("a type"),
            reference: None,
            hold_minor: 0,
            pending_after_minor: 0,
            quote: EXCHANGES.iter().any(|(exchange, _)| *exchange == payment_id).then(|| "q".to_owned()),
            booking_date: None,
            value_date: None,
        });
    }
    (entries, accounts)
}

fn statuses() -> impl Iterator<Item = PaymentStatus> {
    const PHASES: [(&str, StatusPhase); 3] =
        [("outcome", StatusPhase::Outcome), ("repeat", StatusPhase::Repeat), ("update", StatusPhase::Update)];
    const WORDS: [(&str, StatusCode); 4] = [
        ("ACSC", StatusCode::ACSC),
        ("RJCT", StatusCode::RJCT),
        ("PDNG", StatusCode::PDNG),
        ("CANC", StatusCode::CANC),
    ];
    STATUSES.lines().filter(|line| !line.trim().is_empty()).map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [payment_id, payment_type, account, phase, status, code] = words[..] else { panic!("{line}") };
        let exchange = EXCHANGES.iter().find(|(exchange, _)| *exchange == payment_id);
        let exchange = exchange.map(|(_, [sold_minor, bought_minor, spread_minor])| Exchange {
            quote: "q".to_owned(),
            sold_minor: *sold_minor,
            sold_currency: "EUR".to_owned(),
            bought_minor: *bought_minor,
            bought_currency: "USD".to_owned(),
            spread_minor: *spread_minor,
        });
        PaymentStatus {
            payment_id: payment_id.to_owned(),
            payment_type: PaymentType::parse(payment_type),
            phase: word(phase, &PHASES),
            status: word(status, &WORDS),
            code: code.to_owned(),
            exchange: exchange.map(Box::new),
            ..payment_status(account, 0)
        }
    })
}

fn ledger() -> Vec<SinkRecord> {
    let (entries, accounts) = booked();
    let balances = accounts.into_iter().map(|(account, (posted_minor, seq))| {
        let (kind, currency) = (kind_of(account), currency_of(account));
        AccountBalance { kind, currency, posted_minor, available_minor: posted_minor, seq, ..balance(account, 0) }
    });
    let dead_letters = ["payload_unreadable", "payload_unreadable", ""].iter().zip(0..).map(|(code, offset)| {
        let code = ("x-dlq-code".to_owned(), Some(code.as_bytes().to_vec()).filter(|code| !code.is_empty()));
        let body = SinkBody::DeadLetter { value: None, headers: vec![code] };
        let record = sample(AccountBalance::KIND, 0, offset, Box::new(balance("a", 0)));
        SinkRecord { topic: "payments.requested.v1.dlq".into(), body, ..record }
    });
    let mut records = records_of(LedgerEntry::KIND, entries.into_iter());
    records.extend(records_of(AccountBalance::KIND, balances));
    records.extend(records_of(PaymentStatus::KIND, statuses()));
    records.extend(dead_letters);
    records
}

fn records_of<E: Event>(kind: EventKind, events: impl Iterator<Item = E>) -> Vec<SinkRecord> {
    events.zip(0..).map(|(event, offset)| sample(kind, 0, offset, Box::new(event))).collect()
}
