//! Holds, refunds and money from outside, from the requests to the read model: each step waits for the one before.

use serde_json::{Value, json};

use crate::under_test::{ACCOUNTS, PAYMENTS, Sent, UnderTest, assert_money_adds_up};

fn open(account: &str, kind: &str) -> Sent {
    let request = json!({
        "id": format!("open-{account}"), "source": "tests", "type": "open", "account": account, "currency": "EUR",
        "kind": kind, "created_at": "2026-01-05T07:00:00Z",
    });
    Sent::new(account, request.to_string())
}

fn payment(payment_type: &str, id: &str, [from, to]: [&str; 2], amount: &str, more: Value) -> Sent {
    let mut fields = json!({
        "id": id, "source": "tests", "type": payment_type, "debit_account": from, "credit_account": to,
        "amount": amount, "currency": "EUR", "channel": "card", "created_at": "2026-01-05T08:00:00Z",
    });
    if let (Value::Object(fields), Value::Object(more)) = (&mut fields, more) {
        fields.extend(more);
    }
    Sent::new(from, fields.to_string())
}

#[test]
fn a_hold_is_captured_refunded_and_charged_back() {
    let under_test = UnderTest::new();
    let running = under_test.start("one", 2);
    under_test.send(ACCOUNTS, &[open("cash", "asset"), open("alice", "customer"), open("shop", "merchant")]);
    under_test.wait_until_processed(&running, ACCOUNTS, 3);
    let of = |reference: &str| json!({"reference": reference});
    let with_reason = |reference: &str| json!({"reference": reference, "reason": "not received"});
    let steps = [
        payment("deposit", "d", ["cash", "alice"], "200.00", json!({})),
        payment("authorise", "h", ["alice", "shop"], "100.00", json!({"expires_at": "2026-02-01T08:00:00Z"})),
        payment("increment", "i", ["alice", "shop"], "150.00", of("h")),
        payment("capture", "c1", ["alice", "shop"], "50.00", json!({"reference": "h", "remainder": "keep"})),
        payment("capture", "c2", ["alice", "shop"], "60.00", of("h")),
        payment("capture", "c3", ["alice", "shop"], "1.00", of("h")),
        payment("refund", "r", ["shop", "alice"], "20.00", of("c2")),
        payment("reverse", "x", ["shop", "alice"], "50.00", with_reason("c1")),
        payment("chargeback", "k", ["shop", "alice"], "40.00", with_reason("c2")),
        payment("chargeback", "l", ["shop", "alice"], "0.01", with_reason("c2")),
        payment("withdrawal", "w", ["alice", "cash"], "10.00", json!({})),
    ];
    for (count, step) in (1..).zip(&steps) {
        under_test.send(PAYMENTS, std::slice::from_ref(step));
        under_test.wait_until_processed(&running, PAYMENTS, count);
        under_test.wait_until_idle(&running);
    }
    running.join().expect("everybody ends well");
    let payments =
        under_test.ask("SELECT payment_id || ' ' || status || ' ' || code FROM payments ORDER BY payment_id");
    let expected = [
        "c1 ACSC ok",
        "c2 ACSC ok",
        "c3 RJCT already_captured",
        "d ACSC ok",
        "h ACSC ok",
        "i PDNG ok",
        "k ACSC ok",
        "l RJCT refund_exceeds_captured",
        "r ACSC ok",
        "w ACSC ok",
        "x ACSC ok",
    ];
    assert_eq!(payments, expected);
    // Fees: 0.50 for c1, which the reversal gave back, 0.60 for c2, 0.10 for w.
    let balances = under_test.ask(
        "SELECT account_id || ' ' || posted_minor || ' ' || pending_minor || ' ' || pending_in_minor
         FROM account_balances WHERE kind NOT IN ('fee', 'in_transit') ORDER BY account_id",
    );
    assert_eq!(balances, ["alice 18930 0 0", "cash -19000 0 0", "shop 0 0 0"]);
    let of_hold = under_test.ask(
        "SELECT kind || ' ' || payment_id || ' ' || hold_minor || ' ' || pending_after_minor || ' ' || coalesce(reference, '')
         FROM ledger_entries WHERE hold_minor <> 0 ORDER BY seq",
    );
    let expected = ["hold h 10000 10000 ", "hold i 5000 15000 h", "debit c1 -5000 10000 h", "debit c2 -10000 0 h"];
    assert_eq!(of_hold, expected);
    assert_money_adds_up(&under_test);
}
