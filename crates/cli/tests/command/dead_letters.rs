//! `tidemill dlq`, `replay` and `audit`: found, planned, mended, and sent back once.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::tidemill::{Ended, Tidemill, parse};

const INPUT: &str = "payments.requested.v1";
const TOPIC: &str = "payments.requested.v1.dlq";
/// Avro with a schema that nobody registered.
const UNKNOWN_SCHEMA: &[u8] = b"\0\x7f\xff\xff\xffdatum";
const REASON: &str = "the producer has mended its amounts";

fn run_until_idle(tidemill: &Tidemill) {
    assert_eq!(tidemill.run("run --until-idle").text(), "");
}

/// A payment whose amount is an object, as nobody can read it.
fn bad(number: u32) -> String {
    let account = number % 7;
    json!({"id": format!("p-{number}"), "source": "shop", "debit_account": format!("acc-{account}"), "credit_account": "m-1",
        "amount": {"value": "1.00"}, "currency": "EUR", "created_at": "2026-01-05T08:00:00Z", "channel": "web"})
    .to_string()
}

fn produce_bad(tidemill: &Tidemill, numbers: std::ops::Range<u32>) {
    let lines: String = numbers.map(|number| bad(number) + "\n").collect();
    tidemill.feed(&format!("produce {INPUT}"), lines.as_bytes()).text();
}

fn plan(tidemill: &Tidemill, more: &[&str]) -> Value {
    let args = ["dlq", "plan", TOPIC, "-o", "plan.json", "--json"];
    let ended = tidemill.run_all(&args.into_iter().chain(more.iter().copied()).collect::<Vec<_>>());
    assert!(matches!(ended.code, Some(0 | 5)), "{ended:#?}");
    parse(&ended.stdout)
}

fn mend(tidemill: &Tidemill) -> Value {
    tidemill.write("mend.json", r#"[{"op": "move", "from": "/amount/value", "path": "/amount"}]"#);
    tidemill.run("dlq edit plan.json --patch mend.json --json").json()
}

fn apply(tidemill: &Tidemill, more: &[&str]) -> Ended {
    let args = ["dlq", "apply", "plan.json", "--reason", REASON, "--yes", "--json"];
    tidemill.run_all(&args.into_iter().chain(more.iter().copied()).collect::<Vec<_>>())
}

fn applied(ended: Ended) -> [u64; 3] {
    let result = ended.json();
    ["replayed", "replayed_before", "left"].map(|name| result[name].as_u64().expect("a number"))
}

/// Open and all dead letters.
fn letters(tidemill: &Tidemill) -> (u64, u64) {
    let groups = tidemill.run("dlq ls --json").json();
    let sum = |name: &str| {
        groups.as_array().expect("a list").iter().map(|group| group[name].as_u64().expect("a number")).sum()
    };
    (sum("open"), sum("count"))
}

/// How the records of the ingest topic have ended.
fn path(tidemill: &Tidemill) -> Value {
    let reconciled = tidemill.run("reconcile --json").json();
    let paths = reconciled["paths"].as_array().expect("a list").iter().find(|path| path["topic"] == INPUT);
    paths.expect("the ingest topic").clone()
}

/// Outcomes of payments, each id with how many it has.
fn outcomes(tidemill: &Tidemill) -> BTreeMap<String, usize> {
    let mut outcomes = BTreeMap::new();
    for record in tidemill.run("consume payments.status.v1").json_lines() {
        let id = record["value"]["payment_id"].as_str().expect("a payment").to_owned();
        *outcomes.entry(id).or_default() += 1;
    }
    outcomes
}

fn assert_once(outcomes: &BTreeMap<String, usize>, payments: usize) {
    assert_eq!(outcomes.len(), payments);
    let twice: Vec<_> = outcomes.iter().filter(|(_, count)| **count != 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
}

fn assert_audited(tidemill: &Tidemill) -> Vec<Value> {
    let verified = tidemill.run("audit verify --json").json();
    assert_eq!(verified["holds"], json!(true), "{verified}");
    tidemill.run("audit ls --json").json().as_array().expect("a list").clone()
}

#[test]
fn a_bad_deploy_is_planned_mended_and_sent_back_once() {
    let tidemill = Tidemill::new();
    produce_bad(&tidemill, 0..40);
    run_until_idle(&tidemill);
    assert_eq!(letters(&tidemill), (40, 40));
    let stats = tidemill.run("dlq stats --json").json();
    let said = ["stage", "class", "code", "field", "open"].map(|name| stats[0][name].clone());
    assert_eq!(
        said,
        [json!("ingest"), json!("schema"), json!("schema_mismatch"), json!("/amount"), json!(40)],
        "{stats}"
    );

    let planned = plan(&tidemill, &[]);
    assert_eq!([&planned["passes"], &planned["fails"]], [&json!(0), &json!({"schema_mismatch": 40})], "{planned}");
    assert_eq!(applied(apply(&tidemill, &[])), [0, 0, 40], "what would fail again stays where it is");
    plan(&tidemill, &[]);
    let mended = mend(&tidemill);
    assert_eq!([&mended["passes"], &mended["edited"]], [&json!(40), &json!(40)], "{mended}");
    assert_eq!(applied(apply(&tidemill, &[])), [40, 0, 0]);
    assert_eq!(applied(apply(&tidemill, &[])), [0, 40, 0], "a plan that was applied does nothing more");
    run_until_idle(&tidemill);
    assert_eq!(letters(&tidemill), (0, 40));
    assert_once(&outcomes(&tidemill), 40);
    let path = path(&tidemill);
    assert_eq!([&path["records_in"], &path["redriven"]], [&json!(40), &json!(40)], "{path}");
    assert_eq!(tidemill.run("reconcile").code, Some(0));

    let shown = tidemill.run_all(&["dlq", "show", TOPIC, "0", "0", "--json"]).json();
    assert_eq!([&shown["status"], &shown["resolved"]["reason"]], [&json!("replayed"), &json!(REASON)], "{shown}");
    let trail = assert_audited(&tidemill);
    let verbs: Vec<&str> = trail.iter().map(|entry| entry["verb"].as_str().expect("text")).collect();
    assert_eq!(verbs, ["dlq.apply", "dlq.applied", "dlq.apply", "dlq.replay", "dlq.applied"], "{trail:#?}");
    assert_eq!(trail[3]["counts"], json!({"edited": 40, "replayed": 40}), "{trail:#?}");
    assert!(trail[3]["detail"].as_str().is_some_and(|detail| detail.contains("before")), "hashes of what was edited");
    let traced = tidemill.run("trace p-3 --json").json();
    let topics: Vec<&str> =
        traced.as_array().expect("a list").iter().map(|hop| hop["topic"].as_str().expect("text")).collect();
    for topic in [INPUT, TOPIC, "payments.main.redrive", "payments.status.v1"] {
        assert!(topics.contains(&topic), "{topic} is not in {topics:?}");
    }
}

#[test]
fn a_script_mends_what_no_patch_can() {
    let tidemill = Tidemill::new();
    let number = |id: u32, amount: &str| {
        let payment = bad(id).replace(r#"{"value":"1.00"}"#, amount);
        assert!(payment.contains(amount), "{payment}");
        payment + "\n"
    };
    tidemill.feed(&format!("produce {INPUT}"), [number(1, "12.5"), number(2, "7")].concat().as_bytes()).text();
    produce_bad(&tidemill, 3..5);
    run_until_idle(&tidemill);
    plan(&tidemill, &[]);
    tidemill.write(
        "mend.rhai",
        "value.amount = if type_of(value.amount) == \"map\" { value.amount.value } else { value.amount.to_string() };",
    );
    let edited = tidemill.run("dlq edit plan.json --script mend.rhai --json").json();
    assert_eq!([&edited["passes"], &edited["edited"]], [&json!(4), &json!(4)], "{edited}");
    let kept = std::fs::read_to_string(tidemill.folder().join("plan.json")).expect("the plan");
    assert!(kept.contains(r#""op": "replace""#) && kept.contains(r#""value": "12.5""#), "the change is kept: {kept}");
    assert_eq!(applied(apply(&tidemill, &[])), [4, 0, 0]);
    run_until_idle(&tidemill);
    assert_once(&outcomes(&tidemill), 4);

    plan(&tidemill, &["--include-failing"]);
    for (script, expected) in [("value.amount = ;", 2), ("loop {}", 1), ("value.nobody.there = 1;", 1)] {
        produce_bad(&tidemill, 5..6);
        run_until_idle(&tidemill);
        plan(&tidemill, &[]);
        tidemill.write("wrong.rhai", script);
        let before = std::fs::read(tidemill.folder().join("plan.json")).expect("the plan");
        let ended = tidemill.run("dlq edit plan.json --script wrong.rhai");
        assert_eq!(ended.code, Some(expected), "{script}: {ended:#?}");
        assert_eq!(std::fs::read(tidemill.folder().join("plan.json")).expect("the plan"), before, "it is as it was");
    }
    let nothing = tidemill.run("dlq edit plan.json");
    assert_eq!(nothing.code, Some(2), "{nothing:#?}");
}

#[test]
fn a_stale_plan_is_refused_and_that_is_on_record() {
    let tidemill = Tidemill::new();
    produce_bad(&tidemill, 0..10);
    run_until_idle(&tidemill);
    plan(&tidemill, &["--code", "schema_mismatch", "--partition", "0"]);
    mend(&tidemill);
    let altered = std::fs::read_to_string(tidemill.folder().join("plan.json")).expect("the plan");
    tidemill.write("plan.json", altered.replace("\"stage\"", "\"origin\""));
    assert_eq!(apply(&tidemill, &[]).code, Some(5), "it is not what was made");
    tidemill.write("plan.json", &altered);
    let other = apply(&tidemill, &["--set", "pipeline.version=2"]);
    assert_eq!(other.code, Some(5), "another configuration would judge otherwise: {other:#?}");

    produce_bad(&tidemill, 10..60);
    run_until_idle(&tidemill);
    let stale = apply(&tidemill, &[]);
    assert_eq!(stale.code, Some(5), "more letters are meant by now: {stale:#?}");
    assert!(stale.stderr.contains("have come since"), "{stale:#?}");
    assert_eq!(letters(&tidemill), (60, 60), "nothing was sent");
    let refused: Vec<Value> =
        assert_audited(&tidemill).into_iter().filter(|entry| entry["outcome"] == "refused").collect();
    assert_eq!(refused.len(), 2, "{refused:#?}");
    assert!(
        refused.iter().all(|entry| entry["detail"].as_str().is_some_and(|detail| detail.starts_with("plan_stale")))
    );
}

#[test]
fn a_record_that_keeps_failing_is_not_sent_for_ever() {
    let tidemill = Tidemill::new();
    tidemill.feed(&format!("produce {INPUT}"), UNKNOWN_SCHEMA).text();
    run_until_idle(&tidemill);
    for count in 1..=3 {
        assert_eq!(plan(&tidemill, &[])["passes"], json!(0), "its schema is still unknown");
        plan(&tidemill, &["--include-failing"]);
        assert_eq!(applied(apply(&tidemill, &[])), [1, 0, 0]);
        run_until_idle(&tidemill);
        assert_eq!(letters(&tidemill), (1, count + 1), "one record is open, however often it fails");
    }
    let looping = tidemill.run_all(&["dlq", "plan", TOPIC, "-o", "plan.json", "--include-failing", "--json"]);
    assert_eq!(looping.code, Some(5), "{looping:#?}");
    assert_eq!(parse(&looping.stdout)["guarded"], json!(1));
    assert_eq!(applied(apply(&tidemill, &[])), [0, 0, 1]);
    assert_eq!(plan(&tidemill, &["--include-failing", "--override-loop"])["guarded"], json!(0));
    assert_eq!(tidemill.run("reconcile").code, Some(0));

    let discarded =
        tidemill.run_all(&["dlq", "discard", TOPIC, "--reason", "a test of somebody", "--yes", "--json"]).json();
    assert_eq!(discarded["discarded"], json!(1));
    run_until_idle(&tidemill);
    assert_eq!(letters(&tidemill).0, 0);
    assert_eq!(path(&tidemill)["discarded"], json!(1));
    assert_eq!(tidemill.run("reconcile").code, Some(0));
}

#[test]
fn a_replay_that_is_killed_goes_on_and_sends_nothing_twice() {
    let tidemill = Tidemill::new();
    produce_bad(&tidemill, 0..300);
    run_until_idle(&tidemill);
    plan(&tidemill, &[]);
    mend(&tidemill);
    let mut sent = 0;
    let mut seed = crate::tidemill::seed();
    for _ in 0..5 {
        let args = ["dlq", "apply", "plan.json", "--reason", REASON, "--yes", "--rate", "60", "--json"];
        let started = tidemill.start_all(&args);
        // A moment of somebody else's choice, so that every step of a batch is hit sooner or later.
        std::thread::sleep(std::time::Duration::from_millis(100 + seed % 700));
        seed = seed.rotate_right(9);
        started.signal("KILL");
        let ended = started.ended();
        let status = tidemill.run("replay status --json").json();
        let before = sent;
        sent = status[0]["replay"]["replayed"].as_u64().unwrap_or(0);
        assert!(sent >= before, "{status} {ended:#?}");
        let other = tidemill.run_all(&["dlq", "plan", TOPIC, "-o", "other.json", "--include-failing", "--json"]);
        let refused = tidemill.run_all(&["dlq", "apply", "other.json", "--reason", "too", "--yes"]);
        if sent > 0 && other.code == Some(0) {
            assert_eq!(refused.code, Some(5), "one replay of a topic at a time: {refused:#?}");
        }
    }
    let [replayed, before, left] = applied(apply(&tidemill, &[]));
    assert_eq!((replayed + before, left), (300, 0));
    run_until_idle(&tidemill);
    assert_eq!(letters(&tidemill), (0, 300));
    assert_once(&outcomes(&tidemill), 300);
    assert_audited(&tidemill);
    assert_eq!(tidemill.run("reconcile").code, Some(0));
}

#[test]
fn a_trail_that_was_cut_is_found_by_its_checkpoint() {
    let tidemill = Tidemill::new();
    assert_eq!(tidemill.run("audit keygen audit.key").code, Some(0));
    assert_eq!(tidemill.run("audit keygen audit.key").code, Some(5), "a key is never written over");
    produce_bad(&tidemill, 0..3);
    run_until_idle(&tidemill);
    let discard = ["dlq", "discard", TOPIC, "--reason", "a test", "--yes"];
    assert_eq!(tidemill.run_all(&discard).code, Some(0));
    let checkpoint = ["audit", "checkpoint", "--key", "audit.key", "--to", "checkpoints.jsonl"];
    assert_eq!(tidemill.run_all(&checkpoint).code, Some(0));
    let verify = "audit verify --checkpoints checkpoints.jsonl --public-key audit.key.pub --json";
    let verified = tidemill.run(verify).json();
    assert_eq!(
        [&verified["holds"], &verified["checkpoints"], &verified["entries"]],
        [&json!(true), &json!(1), &json!(1)]
    );

    std::fs::remove_dir_all(tidemill.folder().join("data")).expect("the broker is gone, and its trail with it");
    run_until_idle(&tidemill);
    let lost = tidemill.run(verify);
    assert_eq!(lost.code, Some(1), "{lost:#?}");
    assert_eq!(parse(&lost.stdout)["findings"][0]["kind"], json!("checkpoint"), "{lost:#?}");
}

#[test]
fn a_name_that_stands_for_nothing_is_said_to() {
    let tidemill = Tidemill::new();
    produce_bad(&tidemill, 0..3);
    run_until_idle(&tidemill);
    let usage = [
        "dlq ls nothing.dlq",
        "dlq ls --code schema_mismach",
        "dlq stats --stage ingst",
        "dlq ls --class wrong",
        "dlq ls --partition 4",
        "dlq export payments.requested.v1.dlq --from 5 --to 5",
        "dlq ls --since 1h --until 2h",
        "dlq plan payments.requested.v1.dlq --code schema_mismach -o other.json",
        "dlq discard payments.requested.v1.dlq --stage ingst --reason no --yes",
        "dlq apply nothing.json --reason no --yes",
        "parked ls payments.requested.v1",
        "parked ls nothing",
        "parked show nothing acc-1",
        "replay pause nothing --reason no",
        "replay cancel payments.requested.v1 --reason no",
        "dlq show payments.requested.v1.dlq 0 18446744073709551615",
        "audit ls --verb",
    ];
    for line in usage {
        let ended = tidemill.run(line);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{line}: {ended:#?}");
        assert!(!ended.stderr.contains("panicked"), "{line}: {ended:#?}");
    }
    for line in [
        "dlq show payments.requested.v1.dlq 0 18446744073709551614",
        "parked show payments.screened.v1 acc-1",
        "replay resume payments.requested.v1.dlq --reason no",
        "audit ls --verb nothing",
    ] {
        let ended = tidemill.run(line);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{line}: {ended:#?}");
    }
    // What is known and not there is an answer.
    for line in ["dlq ls --code bug --json", "dlq ls --stage ledger --json", "parked ls payments.screened.v1 --json"] {
        assert_eq!(tidemill.run(line).json(), json!([]), "{line}");
    }
    let near = tidemill.run("dlq ls --code schema_mismach");
    assert!(near.stderr.contains("schema_mismatch"), "{near:#?}");
    assert_eq!(tidemill.run("audit ls --json").json(), json!([]), "nothing was done");
}
