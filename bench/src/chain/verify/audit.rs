//! What an engine wrote, taken off what it should have written: at the end nothing may be left.

use std::borrow::Cow;

use serde::Deserialize;
use tidemill_core::RecordView;
use tidemill_core::partition::partition_of;

use crate::chain::verify::Differences;
use crate::chain::verify::expected::{CODES, Expected, KINDS};

/// 10,000,000.00
const OPENING_MINOR: i64 = 1_000_000_000;

pub(super) struct Audit {
    expected: Expected,
    partitions: u32,
    /// By number of the account.
    books: Vec<Book>,
    fees_minor: i64,
}

#[derive(Clone, Copy, Debug)]
struct Book {
    seq: i64,
    balance: i64,
    /// Balance and sequence as last published.
    published: Option<(i64, i64)>,
}

const OPENED: Book = Book { seq: 0, balance: OPENING_MINOR, published: None };

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rejected<'a> {
    #[serde(borrow)]
    payment: Cow<'a, str>,
    #[serde(borrow)]
    code: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry<'a> {
    #[serde(borrow)]
    payment: Cow<'a, str>,
    #[serde(borrow)]
    account: Cow<'a, str>,
    seq: i64,
    #[serde(borrow)]
    kind: Cow<'a, str>,
    amount: i64,
    balance: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Balance<'a> {
    #[serde(borrow)]
    account: Cow<'a, str>,
    posted: i64,
    seq: i64,
}

impl Audit {
    pub(super) fn new(expected: Expected, partitions: u32) -> Self {
        let books = vec![OPENED; expected.changes.len()];
        Self { expected, partitions, books, fees_minor: 0 }
    }

    pub(super) fn rejected(&mut self, record: &RecordView<'_>, differences: &mut Differences) {
        let Some(rejected) = read::<Rejected<'_>>(record, differences) else { return };
        let Some(code) = CODES.iter().position(|code| *code == rejected.code) else {
            return differences.add("an unknown code", || format!("{}: {}", record.origin, rejected.code));
        };
        if rejected.payment.is_empty() != record.key.unwrap_or_default().is_empty() {
            differences.add("a rejection with a wrong key", || format!("{}", record.origin));
        }
        check_partition(record, self.partitions, differences);
        let number = self.expected.payments.number(&rejected.payment);
        *self.expected.rejected.entry((number, code)).or_default() -= 1;
    }

    pub(super) fn entry(&mut self, record: &RecordView<'_>, differences: &mut Differences) {
        let Some(entry) = read::<Entry<'_>>(record, differences) else { return };
        let Some(kind) = KINDS.iter().position(|kind| *kind == entry.kind) else {
            return differences.add("an unknown kind", || format!("{}: {}", record.origin, entry.kind));
        };
        if record.key != Some(entry.account.as_bytes()) {
            differences.add("an entry with a wrong key", || format!("{}: {}", record.origin, entry.account));
        }
        check_partition(record, self.partitions, differences);
        let book = self.book(&entry.account);
        if entry.seq != book.seq + 1 {
            differences.add("a gap in a sequence", || {
                format!("{}: {} has {} after {}", record.origin, entry.account, entry.seq, book.seq)
            });
        }
        if entry.balance != book.balance + entry.amount {
            differences.add("a balance that does not follow", || {
                let (amount, before) = (entry.amount, book.balance);
                format!("{}: {} has {} after {before} and {amount}", record.origin, entry.account, entry.balance)
            });
        }
        (book.seq, book.balance) = (entry.seq, entry.balance);
        if entry.kind == "fee" {
            self.fees_minor -= entry.amount;
        }
        let number = self.expected.payments.number(&entry.payment);
        self.expected.entries.entry(number).or_default()[kind] -= entry.amount;
    }

    pub(super) fn balance(&mut self, record: &RecordView<'_>, differences: &mut Differences) {
        let Some(balance) = read::<Balance<'_>>(record, differences) else { return };
        if record.key != Some(balance.account.as_bytes()) {
            differences.add("a balance with a wrong key", || format!("{}: {}", record.origin, balance.account));
        }
        check_partition(record, self.partitions, differences);
        self.book(&balance.account).published = Some((balance.posted, balance.seq));
    }

    /// Everything has been read.
    pub(super) fn finish(self, differences: &mut Differences) {
        let Self { expected, books, fees_minor, .. } = self;
        for ((number, code), missing) in expected.rejected.iter().filter(|(_, missing)| **missing != 0) {
            differences.add("rejections that are not as expected", || {
                let payment = expected.payments.name(*number);
                format!("{payment} {}: {}", CODES[*code], if *missing > 0 { "missing" } else { "too many" })
            });
        }
        for (number, left) in expected.entries.iter().filter(|(_, left)| **left != [0; 3]) {
            differences.add("entries that are not as expected", || {
                let left: Vec<String> = KINDS.iter().zip(left).map(|(kind, left)| format!("{kind} {left}")).collect();
                format!("{}: missing {}", expected.payments.name(*number), left.join(", "))
            });
        }
        let mut balances_minor = 0_i128;
        let mut touched = 0;
        for (number, book) in books.iter().enumerate() {
            let change = expected.changes.get(number).copied().unwrap_or(0);
            if book.balance != OPENING_MINOR + change {
                differences.add("a final balance that is wrong", || {
                    format!("{}: {}, not {}", expected.accounts.name(number), book.balance, OPENING_MINOR + change)
                });
            }
            let entered = (book.seq > 0).then_some((book.balance, book.seq));
            if book.published != entered {
                differences.add("a published balance that is not that of the last entry", || {
                    format!("{}: {:?}, not {entered:?}", expected.accounts.name(number), book.published)
                });
            }
            if let Some((posted, _)) = book.published {
                balances_minor += i128::from(posted);
                touched += 1;
            }
        }
        if balances_minor + i128::from(fees_minor) != touched * i128::from(OPENING_MINOR) {
            differences.add("money that came from nowhere or went there", || {
                format!("{balances_minor} and {fees_minor} in fees on {touched} accounts")
            });
        }
    }

    fn book(&mut self, account: &str) -> &mut Book {
        let number = self.expected.account(account);
        if self.books.len() <= number {
            self.books.resize(number + 1, OPENED);
        }
        &mut self.books[number]
    }
}

fn read<'a, T: Deserialize<'a>>(record: &RecordView<'a>, differences: &mut Differences) -> Option<T> {
    match serde_json::from_slice(record.value.unwrap_or_default()) {
        Ok(value) => Some(value),
        Err(error) => {
            differences.add("a value that cannot be read", || format!("{}: {error}", record.origin));
            None
        }
    }
}

fn check_partition(record: &RecordView<'_>, partitions: u32, differences: &mut Differences) {
    let right = partition_of(record.key.unwrap_or_default(), partitions);
    if record.origin.partition != right {
        differences.add("a record in the wrong partition", || format!("{}, not {right}", record.origin));
    }
}

#[cfg(test)]
mod tests {
    use tidemill_core::{EventTime, Headers, Origin};

    use super::*;

    fn payment(id: &str, amount: &str) -> String {
        format!(
            r#"{{"id":"{id}","source":"s","debit_account":"a-1","credit_account":"a-2","amount":"{amount}","currency":"EUR","created_at":"2026-01-05T08:00:00.000Z","channel":"c","merchant":{{"id":"m","category":"1","country":"DE"}},"description":"d"}}"#
        )
    }

    fn view<'a>(topic: &'a str, key: &'a str, value: &'a str) -> RecordView<'a> {
        RecordView {
            origin: Origin { topic, partition: partition_of(key.as_bytes(), 8), offset: 0 },
            event_time: EventTime::from_millis(1_767_600_000_000),
            key: Some(key.as_bytes()),
            value: Some(value.as_bytes()),
            headers: Headers::default(),
        }
    }

    /// What is wrong with these outputs of two payments, of which the second repeats the first.
    fn wrong_with(outputs: &str) -> String {
        let mut differences = Differences::default();
        let mut expected = Expected::default();
        let value = payment("p-1", "100.00");
        for value in [&value, &value] {
            expected.payment(&view("payments", "a-1", value), &mut differences);
        }
        let mut audit = Audit::new(expected, 8);
        for output in outputs.lines() {
            let [topic, key, value] = output.splitn(3, ' ').collect::<Vec<_>>()[..] else { panic!("{output}") };
            let record = view(topic, key, value);
            match topic {
                "rejected" => audit.rejected(&record, &mut differences),
                "entries" => audit.entry(&record, &mut differences),
                _ => audit.balance(&record, &mut differences),
            }
        }
        audit.finish(&mut differences);
        differences.counts.keys().copied().collect::<Vec<_>>().join("; ")
    }

    const RIGHT: &str = r#"rejected a-1 {"payment":"p-1","code":"duplicate"}
entries a-1 {"payment":"p-1","account":"a-1","seq":1,"kind":"debit","amount":-10000,"balance":999990000}
entries a-1 {"payment":"p-1","account":"a-1","seq":2,"kind":"fee","amount":-100,"balance":999989900}
entries a-2 {"payment":"p-1","account":"a-2","seq":1,"kind":"credit","amount":10000,"balance":1000010000}
balances a-1 {"account":"a-1","posted":999989900,"seq":2}
balances a-2 {"account":"a-2","posted":1000010000,"seq":1}"#;

    #[test]
    fn right_results_are_right() {
        assert_eq!(wrong_with(RIGHT), "");
    }

    #[test]
    fn everything_wrong_is_seen() {
        for dropped in 0..RIGHT.lines().count() {
            let rest: Vec<&str> =
                RIGHT.lines().enumerate().filter(|(at, _)| *at != dropped).map(|(_, line)| line).collect();
            assert_ne!(wrong_with(&rest.join("\n")), "", "without line {dropped}");
            if dropped < 4 {
                let line = RIGHT.lines().nth(dropped).expect("a line");
                assert_ne!(wrong_with(&format!("{RIGHT}\n{line}")), "", "line {dropped} twice");
            }
        }
        let cases = [
            ("duplicate", "invalid", "rejections that are not as expected"),
            ("duplicate", "other", "an unknown code"),
            ("\"code\"", "\"cod\"", "a value that cannot be read"),
            ("rejected a-1", "rejected a-2", ""),
            ("entries a-1", "entries a-3", "an entry with a wrong key"),
            ("\"kind\":\"debit\"", "\"kind\":\"gift\"", "an unknown kind"),
            ("\"seq\":2,\"kind\"", "\"seq\":3,\"kind\"", "a gap in a sequence"),
            ("-10000,", "-9999,", "a balance that does not follow"),
            ("-10000,", "-9999,", "entries that are not as expected"),
            ("\"posted\":999989900", "\"posted\":999989901", "a published balance"),
            ("\"posted\":999989900", "\"posted\":999989901", "money that came from nowhere"),
            ("999989900", "999989901", "a final balance that is wrong"),
        ];
        for (part, replaced, expected) in cases {
            let found = wrong_with(&RIGHT.replace(part, replaced));
            assert!(found.contains(expected), "{part} → {replaced}: {found}");
        }
    }
}
