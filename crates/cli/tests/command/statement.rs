//! `tidemill statement` and `tidemill reconcile --in-transit`, on what the pipeline has booked.

use serde_json::{Value, json};

use crate::tidemill::Tidemill;

const ACCOUNTS: &str = r#"{"id":"r-1","source":"core","type":"open","account":"cash","currency":"EUR","kind":"asset","created_at":"2026-01-01T08:00:00Z"}
{"id":"r-2","source":"core","type":"open","account":"a","currency":"EUR","created_at":"2026-01-01T08:00:00Z"}
{"id":"r-3","source":"core","type":"open","account":"b","currency":"EUR","created_at":"2026-01-01T08:00:00Z"}
"#;

fn payment(id: &str, payment_type: &str, [from, to]: [&str; 2], amount: &str, created_at: &str) -> String {
    let payment = json!({
        "id": id, "source": "core", "type": payment_type, "debit_account": from, "credit_account": to,
        "amount": amount, "currency": "EUR", "created_at": created_at, "channel": "web",
    });
    format!("{payment}\n")
}

/// One lot after the other, so that their order is that of the text.
fn booked() -> Tidemill {
    let tidemill = Tidemill::new();
    tidemill.run("apply --yes").text();
    tidemill.feed("produce accounts.requested.v1 --key account", ACCOUNTS.as_bytes()).text();
    tidemill.run("run --until-idle").text();
    for lot in [
        payment("p-1", "deposit", ["cash", "a"], "100.00", "2026-01-30T12:00:00Z"),
        payment("p-2", "transfer", ["a", "b"], "40.00", "2026-01-31T23:59:59.999999Z"),
        payment("p-3", "transfer", ["a", "b"], "10.00", "2026-02-01T00:00:00Z"),
    ] {
        tidemill.feed("produce payments.requested.v1", lot.as_bytes()).text();
        tidemill.run("run --until-idle").text();
    }
    tidemill
}

#[test]
fn statements_lead_from_one_to_the_next_in_every_format() {
    let tidemill = booked();
    let january = "statement a --from 2026-01-01 --until 2026-02-01";
    let shown = tidemill.run(&format!("{january} --json")).json();
    let rows: Vec<String> = shown["entries"].as_array().expect("a list").iter().map(row).collect();
    assert_eq!(rows, ["1 credit p-1 100.00 100.00", "2 debit p-2 -40.00 60.00", "3 fee p-2 -0.40 59.60"]);
    assert_eq!(
        [&shown["opening"], &shown["closing"], &shown["finality"]],
        [&json!("0.00"), &json!("59.60"), &json!("final")]
    );
    let february = tidemill.run("statement a --from 2026-02-01 --until 2026-03-01 --format json").json();
    assert_eq!([&february["opening"], &february["closing"]], [&json!("59.60"), &json!("49.50")]);
    assert_eq!(february["finality"], "provisional");

    let csv = tidemill.run(&format!("{january} --format csv")).text();
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines.len(), 4, "{csv}");
    assert!(lines[0].starts_with("seq,booked_at,event_time,payment_id,"), "{csv}");
    assert!(lines[3].starts_with("3,2026-01-31T23:59:59.999999Z,") && lines[3].contains(",-0.40,59.60,"), "{csv}");
    let camt = tidemill.run(&format!("{january} --format camt053")).text();
    assert_eq!(camt.matches("<Ntry>").count(), 3, "{camt}");
    assert!(camt.contains(r#"<Amt Ccy="EUR">59.60</Amt>"#) && camt.contains("camt.053.001.08"), "{camt}");
    let table = tidemill.run(january).text();
    assert!(table.contains("opening") && table.contains("59.60"), "{table}");
}

fn row(entry: &Value) -> String {
    let text = |name: &str| entry[name].as_str().expect("a text").to_owned();
    let texts = ["kind", "payment_id", "amount", "balance_after"].map(text);
    format!("{} {}", entry["seq"], texts.join(" "))
}

#[test]
fn what_cannot_be_shown_is_said() {
    let tidemill = booked();
    let code = |line: &str| tidemill.run(line).code;
    assert_eq!(code("statement nobody --from 2026-01-01 --until 2026-02-01"), Some(1));
    assert_eq!(code("statement a --from 2026-02-01 --until 2026-02-01"), Some(2));
    assert_eq!(code("statement a --from yesterday --until 2026-02-01"), Some(2));
    assert_eq!(code("statement a --from 2026-01-01 --until 2026-02-01 --sink redis"), Some(2));
    let file = tidemill.folder().join("data/read-model.sqlite");
    crate::sql::sqlite(&file, "DELETE FROM ledger_entries WHERE account_id = 'a' AND seq = 2 RETURNING account_id");
    let refused = tidemill.run("statement a --from 2026-01-01 --until 2026-02-01 --format csv");
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""));
    assert!(refused.stderr.contains("entry 2 is missing"), "{}", refused.stderr);

    // The tables say that a second payment of b has left and not arrived.
    let quiet = tidemill.run("reconcile --in-transit --json").json();
    let nothing = json!({
        "currency": "EUR", "amount_minor": 0, "payments": 0, "oldest_at": null, "arrived_ahead": 1, "accounts_minor": 0,
        "clearing_minor": 0,
    });
    assert_eq!(quiet, json!([{"sink": "sqlite", "currencies": [nothing]}]), "the departure was deleted above");
    crate::sql::sqlite(
        &file,
        "DELETE FROM ledger_entries WHERE account_id = 'b' AND payment_id = 'p-3' RETURNING account_id",
    );
    let open = tidemill.run("reconcile --in-transit --json").json();
    let open = &open[0]["currencies"][0];
    assert_eq!([&open["amount_minor"], &open["payments"]], [&json!(1_000), &json!(1)]);
    let table = tidemill.run("reconcile --in-transit").text();
    assert!(table.contains("10.00") && table.contains("2026-02-01T00:00:00Z"), "{table}");
}
