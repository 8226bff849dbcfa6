//! The judge is judged: in a small history that holds, one thing is made wrong at a time, and it must be found.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidemill_schemas::{EntryKind, StatusPhase};

use super::judge::{Evidence, SeenBalance, SeenEntry, SeenStatus, judge};
use super::oracle::{Account, Expected, Issued, Oracle, Run, Tally};

const FEE_MINOR: i64 = 10;
const ACKNOWLEDGED: Tally = Tally { acknowledged: 1, unknown: 0 };

fn issued(debit: u32, credit: Account, expected: Expected) -> Issued {
    Issued {
        debit,
        credit,
        amount_minor: 500,
        expected,
        sent_ms: 1,
        first: ACKNOWLEDGED,
        resends: Tally::default(),
        conflicts: Tally::default(),
    }
}

/// Eight payments: four of customer 0 to merchant 0, a refused one, an unreadable one, one that comes back, and one of
/// which nobody knows whether it was written. The first was sent again, once the same and once with another amount.
fn oracle() -> Oracle {
    let run = Run { name: "verify-1".to_owned(), first_created_ms: 0, step_ms: 1 };
    let merchant = Account::Merchant(0);
    let mut payments: Vec<Issued> = (0..4).map(|_| issued(0, merchant, Expected::Decided)).collect();
    payments.push(issued(1, merchant, Expected::Refused("amount_not_positive")));
    payments.push(issued(1, merchant, Expected::Dead));
    payments.push(issued(1, Account::Nobody(0), Expected::Returned));
    payments.push(Issued { first: Tally { acknowledged: 0, unknown: 1 }, ..issued(1, merchant, Expected::Decided) });
    payments[0].resends = ACKNOWLEDGED;
    payments[0].conflicts = ACKNOWLEDGED;
    Oracle { run, payments }
}

fn status(payment: usize, phase: StatusPhase, code: &str) -> SeenStatus {
    let fee_minor = if code == "ok" { FEE_MINOR } else { 0 };
    SeenStatus { partition: 0, payment, phase, code: Arc::from(code), amount_minor: 500, fee_minor }
}

#[derive(Default)]
struct Book {
    evidence: Evidence,
}

impl Book {
    fn post(&mut self, account: Account, payment: usize, kind: EntryKind, amount_minor: i64) {
        let balance = self.evidence.balances.entry(account).or_insert(SeenBalance { posted_minor: 0, seq: 0 });
        *balance = SeenBalance { posted_minor: balance.posted_minor + amount_minor, seq: balance.seq + 1 };
        let SeenBalance { posted_minor: balance_after_minor, seq } = *balance;
        let partition = u32::from(matches!(account, Account::Merchant(_)));
        self.evidence.entries.push(SeenEntry {
            partition,
            account,
            seq,
            payment,
            kind,
            amount_minor,
            balance_after_minor,
        });
    }

    fn outcome(&mut self, payment: usize, debit: u32) {
        self.evidence.statuses.push(status(payment, StatusPhase::Outcome, "ok"));
        self.post(Account::Customer(debit), payment, EntryKind::Debit, -500);
        self.post(Account::Customer(debit), payment, EntryKind::Fee, -FEE_MINOR);
    }
}

/// What a pipeline makes of it that does everything right.
fn evidence() -> Evidence {
    let mut book = Book::default();
    for payment in 0..3 {
        book.outcome(payment, 0);
    }
    book.evidence.statuses.push(status(3, StatusPhase::Outcome, "fraud_declined"));
    book.evidence.statuses.push(status(0, StatusPhase::Repeat, "duplicate"));
    book.evidence.statuses.push(status(0, StatusPhase::Repeat, "idempotency_conflict"));
    book.evidence.statuses.push(status(4, StatusPhase::Outcome, "amount_not_positive"));
    book.evidence.dead.push(5);
    book.outcome(6, 1);
    book.evidence.statuses.push(status(6, StatusPhase::Update, "credit_account_not_found"));
    book.post(Account::Customer(1), 6, EntryKind::Return, 500);
    for payment in 0..3 {
        book.post(Account::Merchant(0), payment, EntryKind::Credit, 500);
    }
    book.evidence
}

/// Names of the rules that do not hold.
fn broken(evidence: &Evidence) -> Vec<&'static str> {
    judge(&oracle(), evidence).iter().filter(|rule| rule.violations > 0).map(|rule| rule.name).collect()
}

#[test]
fn a_history_that_holds_is_not_reproached() {
    assert_eq!(broken(&evidence()), [""; 0]);
    let checked: BTreeMap<_, _> = judge(&oracle(), &evidence()).iter().map(|rule| (rule.name, rule.checked)).collect();
    assert!(checked.values().all(|checked| *checked > 0), "{checked:?}");
}

#[test]
fn a_payment_of_which_nothing_is_known_may_have_an_outcome_or_none() {
    let mut book = Book { evidence: evidence() };
    book.outcome(7, 1);
    book.post(Account::Merchant(0), 7, EntryKind::Credit, 500);
    assert_eq!(broken(&book.evidence), [""; 0]);
    book.evidence.statuses.push(status(7, StatusPhase::Outcome, "ok"));
    assert!(broken(&book.evidence).contains(&"every acknowledged payment has one outcome"));
}

type Change = fn(&mut Evidence);

/// What is made wrong, and the rule that must notice it. Others may notice it, too.
const WRONGS: &[(&str, &str, Change)] = &[
    ("an outcome twice", "every acknowledged payment has one outcome", |found| {
        found.statuses.insert(1, found.statuses[0].clone());
    }),
    ("an outcome lost", "every acknowledged payment has one outcome", |found| {
        found.statuses.remove(0);
    }),
    ("a dead letter lost", "every acknowledged payment has one outcome", |found| found.dead.clear()),
    ("a dead letter twice", "every acknowledged payment has one outcome", |found| found.dead.push(5)),
    ("a good payment dead", "outcomes are those that were due", |found| found.dead.push(1)),
    ("a repeat lost", "resends and conflicts are marked as such", |found| {
        found.statuses.retain(|status| status.code.as_ref() != "duplicate");
    }),
    ("a conflict taken for a resend", "resends and conflicts are marked as such", |found| {
        found.statuses[5].code = Arc::from("duplicate");
    }),
    ("a resend decided again", "every acknowledged payment has one outcome", |found| {
        found.statuses[4].phase = StatusPhase::Outcome;
    }),
    ("another code", "outcomes are those that were due", |found| found.statuses[6].code = Arc::from("ok")),
    ("the conflict decided instead", "outcomes are those that were due", |found| found.statuses[0].amount_minor = 501),
    ("two outcomes swapped", "outcomes of a payer and a payee follow the order of sending", |found| {
        found.statuses.swap(1, 2);
    }),
    ("two debits swapped", "entries of an account follow the order of the outcomes", |found| {
        let [one, other] = [0, 2].map(|index| found.entries[index].payment);
        found.entries[0].payment = other;
        found.entries[2].payment = one;
    }),
    ("an entry twice", "what is posted has its debit, fee and credit once", |found| {
        found.entries.insert(1, found.entries[0].clone());
    }),
    ("an extra entry, well chained", "what is posted has its debit, fee and credit once", |found| {
        let last = found.entries.last().expect("there are entries").clone();
        let seq = last.seq + 1;
        found.entries.push(SeenEntry { seq, balance_after_minor: last.balance_after_minor + 500, ..last });
        found.balances.insert(last.account, SeenBalance { posted_minor: last.balance_after_minor + 500, seq });
    }),
    ("a credit missing", "what is posted has its debit, fee and credit once", |found| {
        found.entries.pop();
        found.balances.insert(Account::Merchant(0), SeenBalance { posted_minor: 1_000, seq: 2 });
    }),
    ("a fee missing", "what is posted has its debit, fee and credit once", |found| {
        found.entries.remove(1);
    }),
    ("a return missing", "what is posted has its debit, fee and credit once", |found| {
        found.entries.retain(|entry| entry.kind != EntryKind::Return);
    }),
    ("money for a declined payment", "what is posted has its debit, fee and credit once", |found| {
        found.statuses[3].code = Arc::from("ok");
        found.statuses[2].code = Arc::from("fraud_declined");
    }),
    ("a credit to another account", "what is posted has its debit, fee and credit once", |found| {
        found.entries.last_mut().expect("there are entries").account = Account::Merchant(1);
    }),
    ("a credit over another amount", "debits equal credits, and fees are those that were told", |found| {
        found.entries.last_mut().expect("there are entries").amount_minor = 501;
    }),
    ("another fee", "debits equal credits, and fees are those that were told", |found| {
        found.entries[1].amount_minor = -11
    }),
    ("a gap", "entries of an account are numbered without gaps", |found| found.entries[1].seq = 3),
    ("an entry in another partition", "entries of an account are numbered without gaps", |found| {
        found.entries[1].partition = 3;
    }),
    ("entries out of order", "entries of an account are numbered without gaps", |found| found.entries.swap(0, 1)),
    ("a wrong balance", "each balance is the one before and the amount", |found| {
        found.entries[2].balance_after_minor += 1;
    }),
    ("a payment beyond all funds", "no account is overdrawn", |found| {
        found.entries[2].balance_after_minor = -20_000_000_000;
    }),
    ("an old balance", "the balance of an account is that of its last entry", |found| {
        found.balances.insert(Account::Customer(0), SeenBalance { posted_minor: -1_020, seq: 4 });
    }),
    ("no balance", "the balance of an account is that of its last entry", |found| {
        found.balances.remove(&Account::Merchant(0));
    }),
    ("a record of nobody", "nothing that nobody asked for", |found| found.strangers.push("status of x".to_owned())),
    ("an entry of a payment that was never sent", "nothing that nobody asked for", |found| {
        found.entries.last_mut().expect("there are entries").payment = 99;
    }),
];

#[test]
fn every_wrong_is_found() {
    for (what, rule, change) in WRONGS {
        let mut evidence = evidence();
        change(&mut evidence);
        let found = broken(&evidence);
        assert!(found.contains(rule), "{what} is not found by `{rule}`: {found:?}");
    }
}
