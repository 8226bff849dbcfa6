//! Hand-written payments and what must become of each.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tidemill_schemas::{LedgerEntry, PaymentStatus};
use tidemill_testkit::rows;

use crate::under_test::{ACCOUNTS, PAYMENTS, Sent, UnderTest, assert_money_adds_up};

/// `then` is what is asked for after the opening.
const OPENED: &str = "
    account | currency | kind     | limit     | then
    alice   | EUR      | customer | 1000.00   |
    bob     | EUR      | customer | 5.00      |
    carol   | EUR      | customer | 100000.00 |
    dora    | USD      | customer | 1000.00   |
    emil    | EUR      | customer | 1000.00   | freeze
    fred    | EUR      | customer | 1000.00   | close
    yumi    | JPY      | customer | 100000    |
    shop    | EUR      | merchant | 0         |
    tokyo   | JPY      | merchant | 0         |
";

/// What the read model shows in the end, `answers` being the phases and codes of all status records.
const EXPECTED: &str = r#"
    id          | debit  | credit | amount    | currency | change                                | status | code                     | answers
    good        | alice  | shop   | 10.00     | EUR      |                                       | ACSC   | ok                       | outcome:ok
    yen         | yumi   | tokyo  | 1250      | JPY      |                                       | ACSC   | ok                       | outcome:ok
    extra       | alice  | shop   | 1.00      | EUR      | {"colour":{"red":[1,null]}}           | ACSC   | ok                       | outcome:ok
    null        | alice  | shop   | 1.00      | EUR      | {"customer":null,"type":null}         | ACSC   | ok                       | outcome:ok
    poor        | bob    | shop   | 5.00      | EUR      |                                       | RJCT   | insufficient_funds       | outcome:insufficient_funds
    fraud       | carol  | shop   | 5000.00   | EUR      |                                       | RJCT   | fraud_declined           | outcome:fraud_declined
    stranger    | nobody | shop   | 1.00      | EUR      |                                       | RJCT   | debit_account_not_found  | outcome:debit_account_not_found
    foreign     | dora   | shop   | 1.00      | EUR      |                                       | RJCT   | currency_mismatch        | outcome:currency_mismatch
    frozen      | emil   | shop   | 1.00      | EUR      |                                       | RJCT   | debit_account_frozen     | outcome:debit_account_frozen
    closed      | fred   | shop   | 1.00      | EUR      |                                       | RJCT   | debit_account_closed     | outcome:debit_account_closed
    to-nobody   | alice  | nobody | 2.00      | EUR      |                                       | RJCT   | credit_account_not_found | outcome:ok update:credit_account_not_found
    to-frozen   | alice  | emil   | 3.00      | EUR      |                                       | RJCT   | credit_account_frozen    | outcome:ok update:credit_account_frozen
    to-closed   | alice  | fred   | 4.00      | EUR      |                                       | RJCT   | credit_account_closed    | outcome:ok update:credit_account_closed
    to-dollars  | alice  | dora   | 5.00      | EUR      |                                       | RJCT   | currency_mismatch        | outcome:ok update:currency_mismatch
    zero        | alice  | shop   | 0         | EUR      |                                       | RJCT   | amount_not_positive      | outcome:amount_not_positive
    precise     | alice  | shop   | 1.234     | EUR      |                                       | RJCT   | amount_too_precise       | outcome:amount_too_precise
    self        | alice  | alice  | 1.00      | EUR      |                                       | RJCT   | accounts_identical       | outcome:accounts_identical
    future      | alice  | shop   | 1.00      | EUR      | {"created_at":"9999-01-01T00:00:00Z"} | RJCT   | time_out_of_range        | outcome:time_out_of_range
    past        | alice  | shop   | 1.00      | EUR      | {"created_at":"0001-01-01T00:00:00Z"} | RJCT   | time_out_of_range        | outcome:time_out_of_range
    no-day      | alice  | shop   | 1.00      | EUR      | {"created_at":"2026-02-31T00:00:00Z"} | RJCT   | time_malformed           | outcome:time_malformed
    coin        | alice  | shop   | 1.00      | BTC      |                                       | RJCT   | currency_unknown         | outcome:currency_unknown
    resent      | alice  | shop   | 7.00      | EUR      |                                       | ACSC   | ok                       | outcome:ok repeat:duplicate
    altered     | alice  | shop   | 8.00      | EUR      |                                       | ACSC   | ok                       | outcome:ok repeat:idempotency_conflict
"#;

fn request(account: &str, action: &str, more: Value) -> Sent {
    let mut fields = json!({
        "id": format!("{action}-{account}"), "source": "tests", "type": action, "account": account,
        "created_at": "2026-01-05T07:00:00Z",
    });
    merge(&mut fields, more);
    Sent::new(account, fields.to_string())
}

fn merge(fields: &mut Value, more: Value) {
    let (Value::Object(fields), Value::Object(more)) = (fields, more) else { panic!("objects are merged") };
    fields.extend(more);
}

/// Opens the accounts that payments of these tests are made between.
pub(crate) fn account_requests() -> Vec<Sent> {
    let mut requests = Vec::new();
    for row in rows(OPENED) {
        let more = json!({"currency": row["currency"], "kind": row["kind"], "limit": row["limit"]});
        requests.push(request(row["account"], "open", more));
        if !row["then"].is_empty() {
            requests.push(request(row["account"], row["then"], json!({})));
        }
    }
    requests
}

pub(crate) fn payment(id: &str, debit_account: &str, amount: &str, change: Value) -> Sent {
    let mut fields = json!({
        "id": id, "source": "tests", "debit_account": debit_account, "credit_account": "shop",
        "amount": amount, "currency": "EUR", "created_at": "2026-01-05T08:00:00Z", "channel": "web",
    });
    merge(&mut fields, change);
    Sent::new(debit_account, fields.to_string())
}

fn payments() -> Vec<Sent> {
    let mut sent = Vec::new();
    for row in rows(EXPECTED) {
        let mut change = json!({"credit_account": row["credit"], "currency": row["currency"]});
        if !row["change"].is_empty() {
            merge(&mut change, serde_json::from_str(row["change"]).expect("the change is JSON"));
        }
        let first = payment(row["id"], row["debit"], row["amount"], change);
        sent.push(first.clone());
        match row["id"] {
            "resent" => sent.push(first),
            "altered" => sent.push(payment("altered", "alice", "8.01", json!({}))),
            _ => {}
        }
    }
    sent
}

#[test]
fn every_payment_has_the_outcome_it_must_have() {
    let under_test = UnderTest::new();
    let running = under_test.start("a", 2);
    let requests = account_requests();
    under_test.send(ACCOUNTS, &requests);
    under_test.wait_until_idle(&running);
    under_test.send(PAYMENTS, &payments());
    under_test.wait_until_idle(&running);
    running.join().expect("everybody ends well");

    let expected = rows(EXPECTED);
    let mut shown: Vec<String> =
        expected.iter().map(|row| format!("{} {} {}", row["id"], row["status"], row["code"])).collect();
    shown.sort();
    let sql = "SELECT payment_id || ' ' || status || ' ' || code AS line FROM payments ORDER BY line";
    assert_eq!(under_test.ask(sql), shown);
    assert_answers(&under_test, &expected);
    assert_entries(&under_test);
    assert_money_adds_up(&under_test);
    let answered = under_test.ask("SELECT action || ' ' || account_id || ' ' || code FROM account_requests");
    assert_eq!(answered.len(), requests.len());
    assert!(answered.iter().all(|answer| answer.ends_with(" ok")), "{answered:?}");
    assert_eq!(under_test.records("payments.requested.v1.dlq").len(), 0);
}

/// In the topic, which is what a sender reads. A resend may be answered before the payment itself has been posted.
fn assert_answers(under_test: &UnderTest, expected: &[tidemill_testkit::Row<'_>]) {
    let mut answers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for status in under_test.events::<PaymentStatus>("payments.status.v1", PaymentStatus::KIND) {
        let phase = serde_json::to_value(status.phase).expect("is JSON");
        let answer = format!("{}:{}", phase.as_str().expect("is text"), status.code);
        answers.entry(status.payment_id).or_default().push(answer);
    }
    for row in expected {
        let mut answers = answers.remove(row["id"]).unwrap_or_default();
        answers.sort();
        assert_eq!(answers.join(" "), row["answers"], "{}", row["id"]);
    }
    assert_eq!(answers, BTreeMap::new());
}

/// The topic and the table hold the same entries, and nobody but who took part in something posted has any.
fn assert_entries(under_test: &UnderTest) {
    let line = |entry: &LedgerEntry| {
        let kind = serde_json::to_value(entry.kind).expect("is JSON");
        let kind = kind.as_str().expect("is text").to_owned();
        format!("{} {} {kind} {} {}", entry.account_id, entry.seq, entry.payment_id, entry.amount_minor)
    };
    let entries = under_test.events::<LedgerEntry>("ledger.entries.v1", LedgerEntry::KIND);
    let mut in_topic: Vec<String> = entries.iter().map(line).collect();
    in_topic.sort();
    let sql = "SELECT account_id || ' ' || seq || ' ' || kind || ' ' || payment_id || ' ' || amount_minor AS line
               FROM ledger_entries ORDER BY line";
    assert_eq!(under_test.ask(sql), in_topic);
    let accounts: std::collections::BTreeSet<&str> = entries.iter().map(|entry| entry.account_id.as_str()).collect();
    assert_eq!(accounts.into_iter().collect::<Vec<_>>(), ["alice", "shop", "tokyo", "yumi"]);
    let returned: i64 =
        entries.iter().filter(|entry| entry.payment_id == "to-frozen").map(|entry| entry.amount_minor).sum();
    assert_eq!(returned, 0, "amount and fee of a returned payment come back");
}
