//! `tidemill offsets` and `tidemill state`: positions that are moved, and what stores hold.

use serde_json::{Value, json};

use crate::reprocess::{accounts, mixed};
use crate::sql::sqlite;
use crate::tidemill::Tidemill;

const REASON: &str = "the table was restored from a backup";

fn pipeline() -> Tidemill {
    let tidemill = Tidemill::new();
    tidemill.feed("produce accounts.requested.v1 --key account", accounts().as_bytes()).text();
    tidemill.run("run --until-idle").text();
    tidemill.feed("produce payments.requested.v1 --key debit_account", mixed(0, 12).0.as_bytes()).text();
    tidemill.run("run --until-idle").text();
    tidemill
}

fn apply(tidemill: &Tidemill) -> crate::tidemill::Ended {
    tidemill.run_all(&["offsets", "apply", "plan.json", "--reason", REASON, "--yes", "--json"])
}

#[test]
fn a_sink_that_is_rewound_ends_with_the_same_rows() {
    let tidemill = pipeline();
    let rows = |sql: &str| sqlite(&tidemill.folder().join("data/read-model.sqlite"), sql);
    let count = "SELECT count(*) || '' FROM payments";
    assert_eq!(rows(count), ["12"]);
    let whole = rows("SELECT payment_id || fee_minor || status FROM payments ORDER BY 1");
    rows("DELETE FROM payments WHERE payment_id < 'p-5' RETURNING payment_id");
    assert_ne!(rows(count), ["12"]);
    let planned =
        tidemill.run("offsets plan --sink sqlite --topic payments.status.v1 --to beginning -o plan.json --json").json();
    assert!(planned["moves"].as_array().is_some_and(|moves| !moves.is_empty()), "{planned}");
    assert!(planned["moves"].as_array().into_iter().flatten().all(|one| one["to"] == json!(0)), "{planned}");
    let altered = std::fs::read_to_string(tidemill.folder().join("plan.json")).expect("the plan");
    tidemill.write("plan.json", altered.replace("\"to\": 0", "\"to\": 1"));
    assert_eq!(apply(&tidemill).code, Some(5), "it was changed by hand");
    tidemill.write("plan.json", &altered);
    let moved = planned["moves"].as_array().map_or(0, Vec::len);
    assert_eq!(apply(&tidemill).json()["moved"], json!(moved));
    tidemill.run("run --until-idle").text();
    assert_eq!(rows("SELECT payment_id || fee_minor || status FROM payments ORDER BY 1"), whole);
    tidemill.feed("produce payments.requested.v1 --key debit_account", mixed(12, 16).0.as_bytes()).text();
    tidemill.run("run --until-idle").text();
    let stale = apply(&tidemill);
    assert_eq!(stale.code, Some(5), "{stale:#?}");
    assert!(stale.stderr.contains("plan_stale"), "{stale:#?}");
    let entries = tidemill.run("audit ls --json").json();
    let outcomes: Vec<&Value> = entries.as_array().expect("a list").iter().map(|entry| &entry["outcome"]).collect();
    assert_eq!(outcomes, [&json!("done"), &json!("refused")], "{entries:#}");
}

#[test]
fn a_unit_with_state_is_refused_and_told_what_does_it() {
    let tidemill = pipeline();
    let refused = tidemill.run("offsets plan --unit main --to beginning -o plan.json");
    assert_eq!(refused.code, Some(5), "{refused:#?}");
    assert!(refused.stderr.contains("rewind_stateful") && refused.stderr.contains("reprocess"), "{refused:#?}");
}

#[test]
fn a_unit_without_state_reads_again_from_where_it_was_told() {
    let tidemill = Tidemill::new();
    let minimal = |line: &str| tidemill.run(&format!("{line} -t examples/minimal/topology.toml"));
    let produce = "produce payments.requested.v1 -t examples/minimal/topology.toml";
    tidemill.feed(produce, mixed(0, 8).0.as_bytes()).text();
    minimal("run --until-idle").text();
    let validated = || minimal("consume payments.validated.v1").text().lines().count();
    assert_eq!(validated(), 8);
    let plan = minimal("offsets plan --unit main --to beginning -o plan.json --json");
    let planned = plan.json();
    let again: u64 =
        planned["moves"].as_array().expect("a list").iter().map(|one| one["from"].as_u64().expect("a number")).sum();
    assert_eq!(again, 8, "{planned}");
    let applied = tidemill.run_all(&[
        "offsets",
        "apply",
        "plan.json",
        "--reason",
        REASON,
        "--yes",
        "-t",
        "examples/minimal/topology.toml",
    ]);
    assert_eq!(applied.code, Some(0), "{applied:#?}");
    minimal("run --until-idle").text();
    assert_eq!(validated(), 16);
}

#[test]
fn stores_are_shown_by_their_types_as_of_now_and_as_of_then() {
    let tidemill = pipeline();
    for store in
        ["accounts", "payment_outcomes", "seen_payments", "payer_profiles", "counterparty_profiles", "receipts"]
    {
        let found = tidemill.run_all(&["state", "scan", store, "--json"]).json();
        let values = found.as_array().expect("a list");
        assert!(!values.is_empty(), "{store}");
        assert!(values.iter().all(|entry| entry["value"].get("hex").is_none()), "{store}: {found:#}");
    }
    let account = tidemill.run_all(&["state", "get", "accounts", "acc-1", "--json"]).json();
    let (task, posted) = (account[0]["task"].clone(), account[0]["value"]["posted_minor"].clone());
    assert!(posted.as_i64() < Some(0), "{account:#}");
    assert_eq!(account[0]["value"]["customer"], json!("***"), "personal data is masked: {account:#}");
    let unmasked = tidemill.run_all(&["state", "get", "accounts", "acc-1", "--json", "--unmask"]).json();
    assert_eq!(unmasked[0]["value"]["customer"], json!("c-1"), "{unmasked:#}");
    // Every offset of the log is a moment; the balance only ever falls.
    let mut seen = Vec::new();
    for offset in 0..40 {
        let (task, offset) = (task.to_string(), offset.to_string());
        let then =
            tidemill.run_all(&["state", "get", "accounts", "acc-1", "--task", &task, "--at-offset", &offset, "--json"]);
        let value: Value = serde_json::from_str(&then.stdout).expect("JSON");
        seen.extend(value[0]["value"]["posted_minor"].as_i64());
    }
    assert!(seen.is_sorted_by(|earlier, later| earlier >= later), "{seen:?}");
    assert_eq!(seen.first(), Some(&0), "before its first payment: {seen:?}");
    assert_eq!(seen.last().copied(), posted.as_i64(), "{seen:?}");
}
