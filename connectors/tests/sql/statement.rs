//! Statements and money in transit, read from the tables.

use tidemill_connectors::conformance::{balance, sample};
use tidemill_core::statement::{Finality, InTransit, Period, Statement};
use tidemill_core::{EventTime, Meta, Sink, SinkRecord};
use tidemill_schemas::{AccountBalance, AccountKind, EntryKind, LedgerEntry, PaymentType};

use super::{SqlLab, claimed, write};

/// Account, number, second of the day, payment, kind, amount, balance after. The third entry was backdated.
type Booked = (&'static str, i64, i64, &'static str, EntryKind, i64, i64);

const ENTRIES: &[Booked] = &[
    ("a", 1, 10, "p-1", EntryKind::Credit, 500, 500),
    ("a", 2, 20, "p-2", EntryKind::Debit, -200, 300),
    ("a", 3, 5, "p-3", EntryKind::Debit, -50, 250),
    ("a", 4, 30, "p-4", EntryKind::Credit, 7, 257),
];

fn at(second: i64) -> EventTime {
    EventTime(1_767_225_600_000_000 + second * 1_000_000)
}

fn records(entries: &[Booked]) -> Vec<SinkRecord> {
    let record = |(entry, offset): (&Booked, u64)| {
        let &(account, seq, second, payment_id, kind, amount_minor, balance_after_minor) = entry;
        let entry = LedgerEntry {
            meta: Meta::default(),
            account_id: account.to_owned(),
            seq,
            payment_id: payment_id.to_owned(),
            source: "bank".to_owned(),
            kind,
            amount_minor,
            currency: "EUR".to_owned(),
            balance_after_minor,
            contra_account_id: match kind {
                EntryKind::Fee => "fees.0.EUR".to_owned(),
                EntryKind::Hold => "b".to_owned(),
                _ => "in_transit.0.EUR".to_owned(),
            },
            leg_no: 1,
            fee_schedule: (kind == EntryKind::Fee).then(|| "standard@1".to_owned()),
            event_time: at(second),
            payment_type: PaymentType::Transfer,
            reference: None,
            hold_minor: 0,
            pending_after_minor: 0,
            quote: None,
            booking_date: None,
            value_date: None,
        };
        sample(LedgerEntry::KIND, 0, offset, Box::new(entry))
    };
    entries.iter().zip(0..).map(record).collect()
}

fn balance_of(account: &str, kind: AccountKind, posted_minor: i64, offset: u64) -> SinkRecord {
    let (account_id, currency) = (account.to_owned(), "EUR".to_owned());
    let balance = AccountBalance { account_id, kind, posted_minor, currency, ..balance(account, offset) };
    sample(AccountBalance::KIND, 0, offset, Box::new(balance))
}

fn read(sink: &mut dyn Sink, account: &str, from: i64, until: i64) -> Option<Statement> {
    sink.statement(account, Period { from: at(from), until: at(until) }).expect("can be read")
}

/// Every split of the time gives statements that add up and lead from one to the next.
pub(super) fn a_period_is_a_range_of_numbers_whatever_was_backdated(lab: &mut dyn SqlLab) {
    let mut sink = claimed(lab);
    write(&mut *sink, records(ENTRIES));
    write(
        &mut *sink,
        vec![balance_of("a", AccountKind::Customer, 257, 100), balance_of("new", AccountKind::Customer, 0, 101)],
    );
    let shown = |statement: &Statement| {
        let seqs: Vec<String> = statement.entries.iter().map(|entry| entry.seq.to_string()).collect();
        let finality = if statement.finality == Finality::Final { "final" } else { "provisional" };
        format!("{} [{}] {} {finality}", statement.opening_minor, seqs.join(" "), statement.closing_minor)
    };
    let cases = [
        (0, 100, "0 [1 2 3 4] 257 provisional"),
        (0, 10, "0 [] 0 final"),
        (0, 20, "0 [1] 500 final"),
        (10, 20, "0 [1] 500 final"),
        (20, 30, "500 [2 3] 250 final"),
        (20, 31, "500 [2 3 4] 257 provisional"),
        (30, 40, "250 [4] 257 provisional"),
        (40, 50, "257 [] 257 provisional"),
    ];
    for (from, until, expected) in cases {
        let statement = read(&mut *sink, "a", from, until).expect("the account is known");
        assert_eq!(statement.check(), Ok(()), "{from} {until}");
        assert_eq!(shown(&statement), expected, "{from} {until}");
        assert_eq!((statement.currency.as_str(), statement.customer.as_deref()), ("EUR", Some("customer of a")));
    }
    for split in 0..40 {
        let [before, after] = [(0, split), (split, 41)].map(|(from, until)| read(&mut *sink, "a", from, until));
        let (before, after) = (before.expect("is known"), after.expect("is known"));
        assert_eq!(before.closing_minor, after.opening_minor, "{split}");
        assert_eq!(before.entries.len() + after.entries.len(), ENTRIES.len(), "{split}");
    }
    let backdated = read(&mut *sink, "a", 20, 30).expect("is known").entries.remove(1);
    assert_eq!((backdated.booked_at, backdated.event_time), (at(20), at(5)));
    assert_eq!(shown(&read(&mut *sink, "new", 0, 100).expect("is known")), "0 [] 0 provisional");
    write(&mut *sink, vec![balance_of("in_transit.0.EUR", AccountKind::InTransit, 7, 102)]);
    assert_eq!(read(&mut *sink, "in_transit.0.EUR", 0, 100), None, "it has a balance and no entries of its own");
    write(&mut *sink, records(&[("fx_position.0.EUR", 2, 10, "e-1", EntryKind::Exchange, -7, -7)]));
    assert_eq!(read(&mut *sink, "fx_position.0.EUR", 0, 100), None, "its entries do not lead from balance to balance");
    assert_eq!(read(&mut *sink, "nobody", 0, 100), None);
    assert_eq!(read(&mut *sink, "' OR '' = '", 0, 100), None);
}

pub(super) fn a_tampered_table_gives_no_statement_that_is_believed(lab: &mut dyn SqlLab) {
    for tampering in [
        "DELETE FROM ledger_entries WHERE seq = 2",
        "DELETE FROM ledger_entries WHERE seq = 1",
        "UPDATE ledger_entries SET amount_minor = amount_minor + 1 WHERE seq = 3",
        "UPDATE ledger_entries SET balance_after_minor = 0 WHERE seq = 2",
    ] {
        lab.wipe();
        let mut sink = claimed(lab);
        write(&mut *sink, records(ENTRIES));
        assert_eq!(read(&mut *sink, "a", 0, 100).expect("is known").check(), Ok(()));
        lab.query(&format!("{tampering} RETURNING account_id"));
        assert!(read(&mut *sink, "a", 0, 100).expect("is known").check().is_err(), "{tampering}");
    }
}

/// p-1 has arrived, p-2 and p-3 have not, p-4 has come back, the departure of p-5 is not here yet; p-6 is of two payers,
/// j-1 has two payees, of whom one has been paid.
const TRANSIT: &[Booked] = &[
    ("a", 1, 10, "p-1", EntryKind::Debit, -100, -100),
    ("a", 2, 10, "p-1", EntryKind::Fee, -1, -101),
    ("b", 1, 10, "p-1", EntryKind::Credit, 100, 100),
    ("a", 3, 12, "p-2", EntryKind::Debit, -40, -141),
    ("a", 4, 11, "p-3", EntryKind::Debit, -2, -143),
    ("a", 5, 9, "p-4", EntryKind::Debit, -5, -148),
    ("a", 6, 9, "p-4", EntryKind::Return, 5, -143),
    ("b", 2, 13, "p-5", EntryKind::Credit, 1_000, 1_100),
    ("a", 7, 14, "p-6", EntryKind::Debit, -10, -153),
    ("c", 1, 15, "p-6", EntryKind::Debit, -20, -20),
    ("b", 3, 15, "p-6", EntryKind::Credit, 20, 1_120),
    ("c", 2, 15, "h-1", EntryKind::Hold, 0, -20),
    ("a", 8, 16, "j-1", EntryKind::Debit, -10, -163),
    ("b", 4, 16, "j-1", EntryKind::Credit, 6, 1_126),
];

pub(super) fn what_is_in_transit_is_what_has_left_and_not_arrived(lab: &mut dyn SqlLab) {
    let mut sink = claimed(lab);
    assert_eq!(sink.in_transit(), Ok(Vec::new()));
    write(&mut *sink, records(TRANSIT));
    write(
        &mut *sink,
        vec![
            balance_of("in_transit.0.EUR", AccountKind::InTransit, 1_064, 100),
            balance_of("in_transit.1.EUR", AccountKind::InTransit, -1_000, 101),
            balance_of("a", AccountKind::Customer, -163, 102),
            balance_of("clearing.0.EUR", AccountKind::Clearing, 6, 103),
        ],
    );
    let expected = InTransit {
        currency: "EUR".to_owned(),
        amount_minor: 56,
        payments: 4,
        oldest_at: Some(at(11)),
        arrived_ahead: 1,
        accounts_minor: 64,
        clearing_minor: 6,
    };
    assert_eq!(sink.in_transit(), Ok(vec![expected]));
}
