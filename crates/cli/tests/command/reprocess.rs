//! `tidemill reprocess`: a second pipeline over the same inputs, what differs and why, and how it takes over.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Value, json};

use crate::sql::{VIOLATIONS, sqlite};
use crate::tidemill::{Ended, Tidemill, parse, seed};

const REASON: &str = "fees are rounded up from now on";
const NEW: &str = "new.toml";
const PAYMENTS: &str = "payments.requested.v1";
const ACCOUNTS: u32 = 6;

/// A payment of `euro` euros: one per cent of it is the fee. Of `x.50` it ends in half a cent.
pub(crate) fn payment(id: &str, account: u32, euro: &str) -> String {
    json!({"id": id, "source": "shop", "debit_account": format!("acc-{account}"), "credit_account": "m-1",
        "amount": euro, "currency": "EUR", "created_at": "2026-01-05T08:00:00Z", "channel": "web", "customer": "c-1"})
    .to_string()
        + "\n"
}

/// Accounts that can be overdrawn, so that no payment depends on the order of others.
pub(crate) fn accounts() -> String {
    let account = |name: String| {
        json!({"id": format!("open-{name}"), "source": "bank", "type": "open", "account": name, "customer": "c-1",
            "currency": "EUR", "kind": "customer", "limit": "100000000.00", "created_at": "2026-01-01T08:00:00Z"})
        .to_string()
            + "\n"
    };
    (0..ACCOUNTS).map(|number| format!("acc-{number}")).chain(["m-1".to_owned()]).map(account).collect()
}

/// The topology whose fees for euros are rounded half up instead of half to even.
pub(crate) fn rounded_up(tidemill: &Tidemill) {
    let text = std::fs::read_to_string(tidemill.folder().join("topology.toml")).expect("the topology");
    let rounding = "rounding = \"half_even\"";
    let (before, after) = text.split_once(rounding).expect("the first schedule is that for euros");
    tidemill.write(NEW, format!("{before}rounding = \"half_away_from_zero\"{after}"));
}

/// 12.50 and 14.50 round to 12 and 14 cents or 13 and 15; 13.50 and 20.00 round to 14 and 20 either way.
pub(crate) fn mixed(from: u32, to: u32) -> (String, BTreeSet<String>) {
    let (mut lines, mut affected) = (String::new(), BTreeSet::new());
    for number in from..to {
        let (id, euro) = (format!("p-{number}"), ["12.50", "13.50", "14.50", "20.00"][number as usize % 4]);
        lines += &payment(&id, number % ACCOUNTS, euro);
        if matches!(euro, "12.50" | "14.50") {
            affected.insert(id);
        }
    }
    (lines, affected)
}

/// Payments and account requests under the keys that the pipeline wants.
pub(crate) fn key_of(topic: &str) -> &'static str {
    if topic.contains("accounts") { "account" } else { "debit_account" }
}

fn produce(tidemill: &Tidemill, topic: &str, lines: &str) {
    tidemill.feed(&format!("produce {topic} --key {}", key_of(topic)), lines.as_bytes()).text();
}

fn reprocess(tidemill: &Tidemill, verb: &str) -> Ended {
    let mut args = vec!["reprocess", verb, "--as", "green", "--with", NEW, "--json"];
    if verb != "diff" {
        args.extend(["--reason", REASON]);
    }
    if matches!(verb, "cutover" | "abort") {
        args.push("--yes");
    }
    tidemill.run_all(&args)
}

fn diff(tidemill: &Tidemill) -> Value {
    let ended = tidemill.run_all(&["reprocess", "diff", "--with", NEW, "--json", "--samples", "1000"]);
    assert!(matches!(ended.code, Some(0 | 1)), "{ended:#?}");
    parse(&ended.stdout)
}

pub(crate) fn affected(diff: &Value, entity: &str) -> BTreeSet<String> {
    let samples = diff["samples"].as_array().expect("a list").iter().filter(|sample| sample["entity"] == entity);
    samples.map(|sample| sample["identity"]["payment_id"].as_str().expect("text").to_owned()).collect()
}

fn figures<'d>(diff: &'d Value, entity: &str) -> &'d Value {
    let entities = diff["entities"].as_array().expect("a list");
    entities.iter().find(|one| one["entity"] == entity).unwrap_or_else(|| panic!("no {entity} in {diff:#}"))
}

/// Outcomes of each payment on a topic of statuses.
fn outcomes(tidemill: &Tidemill, topic: &str) -> BTreeMap<String, u64> {
    let mut outcomes = BTreeMap::new();
    for record in tidemill.run(&format!("consume {topic}")).json_lines() {
        let value = &record["value"];
        if value["phase"] == "outcome" {
            *outcomes.entry(value["payment_id"].as_str().expect("text").to_owned()).or_default() += 1;
        }
    }
    outcomes
}

fn live(tidemill: &Tidemill, sql: &str) -> Vec<String> {
    sqlite(&tidemill.folder().join("data/read-model.live.sqlite"), sql)
}

/// A pipeline that has processed `payments`, and the topology that would round otherwise.
fn pipeline(payments: u32) -> (Tidemill, BTreeSet<String>) {
    let tidemill = Tidemill::new();
    rounded_up(&tidemill);
    produce(&tidemill, "accounts.requested.v1", &accounts());
    tidemill.run("run --until-idle").text();
    let (lines, affected) = mixed(0, payments);
    produce(&tidemill, PAYMENTS, &lines);
    tidemill.run("run --until-idle").text();
    (tidemill, affected)
}

#[test]
fn another_rounding_differs_in_exactly_the_payments_that_it_affects() {
    let (tidemill, expected) = pipeline(40);
    let started = reprocess(&tidemill, "start").json();
    assert_eq!(started["phase"], json!("running"), "{started}");
    let diff = diff(&tidemill);
    assert_eq!(diff["behind"], json!(0), "{diff:#}");
    let settings: Vec<&str> =
        diff["settings"].as_array().expect("a list").iter().map(|one| one["path"].as_str().expect("text")).collect();
    assert_eq!(settings, ["stage.ledger.settings.charge_fee.schedules[0].rounding"]);
    for entity in ["outcomes", "fees"] {
        assert_eq!(affected(&diff, entity), expected, "{entity}: {diff:#}");
        let figures = figures(&diff, entity);
        assert_eq!([&figures["blue"], &figures["green"]], [&json!(40), &json!(40)], "{figures:#}");
        assert_eq!([&figures["only_blue"], &figures["only_green"]], [&json!(0), &json!(0)], "{figures:#}");
        let causes = json!({"charge_fee: stage.ledger.settings.charge_fee.schedules[0].rounding": expected.len()});
        assert_eq!(figures["causes"], causes, "{figures:#}");
    }
    assert_eq!(figures(&diff, "decisions")["differ"], json!(0));
    assert_eq!(figures(&diff, "outcomes")["fields"], json!({"fee_minor": expected.len()}));
    assert_eq!(diff["stages"], json!([]), "every record has ended in the same way");
    assert!(figures(&diff, "balances")["differ"].as_u64() > Some(0), "other fees are other balances");
    // Nobody is told a second time, and nothing of the live pipeline has changed.
    let green = tidemill.run("consume notifications.requested.v1.green").text();
    assert_eq!(green, "");
    assert_eq!(tidemill.run("consume notifications.requested.v1").text().lines().count(), 40);
    assert_eq!(tidemill.run("reconcile").code, Some(0));
    assert_eq!(tidemill.run("reconcile --as green").code, Some(0));
}

#[test]
fn with_the_same_settings_nothing_differs() {
    let (tidemill, _) = pipeline(24);
    tidemill.run_all(&["reprocess", "start", "--as", "green", "--reason", REASON]).text();
    let ended = tidemill.run("reprocess diff --json");
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert_eq!(parse(&ended.stdout)["differences"], json!(0));
}

#[test]
fn a_cutover_loses_and_doubles_nothing_and_run_starts_the_new_one() {
    let (tidemill, _) = pipeline(24);
    reprocess(&tidemill, "start").text();
    // What has come meanwhile is in neither pipeline when the cutover begins.
    let (lines, _) = mixed(24, 40);
    produce(&tidemill, PAYMENTS, &lines);
    let cut = reprocess(&tidemill, "cutover").json();
    assert_eq!(cut["live"], json!("green"), "{cut}");
    let old = tidemill.run("run --until-idle");
    assert_eq!(old.code, Some(5), "the topology that was replaced: {old:#?}");
    assert!(old.stderr.contains("topology_replaced"), "{old:#?}");
    tidemill.write("topology.toml", std::fs::read(tidemill.folder().join(NEW)).expect("the new topology"));
    tidemill.run("run --until-idle").text();
    let outcomes = outcomes(&tidemill, "payments.status.v1.green");
    assert_eq!(outcomes.len(), 40);
    assert!(outcomes.values().all(|count| *count == 1), "{outcomes:?}");
    let reconciled = tidemill.run("reconcile --json").json();
    assert_eq!(reconciled["findings"], json!([]), "{reconciled:#}");
    assert_eq!(live(&tidemill, "SELECT count(*) || '' FROM payments"), ["40"]);
    for sql in VIOLATIONS {
        assert_eq!(live(&tidemill, sql), [""; 0], "{sql}");
    }
    // Each payer is told once: by the pipeline that was live when the payment was made.
    let mut told: Vec<String> = Vec::new();
    for topic in ["notifications.requested.v1", "notifications.requested.v1.green"] {
        let records = tidemill.run(&format!("consume {topic}")).json_lines();
        told.extend(records.iter().map(|one| one["value"]["payment_id"].as_str().expect("text").to_owned()));
    }
    let once: BTreeSet<&String> = told.iter().collect();
    assert_eq!((told.len(), once.len()), (40, 40), "{told:?}");
    let status = tidemill.run("reprocess status --json").json();
    assert_eq!([&status["live"], &status["reprocess"]], [&json!("green"), &Value::Null], "{status}");
    let verbs: Vec<String> = tidemill
        .run("audit ls --json")
        .json()
        .as_array()
        .expect("a list")
        .iter()
        .map(|entry| entry["verb"].as_str().expect("text").to_owned())
        .collect();
    assert_eq!(
        verbs,
        ["start", "caught_up", "cutover", "fence", "cutover", "cutover", "live"]
            .map(|verb| format!("reprocess.{verb}"))
    );
    assert_eq!(tidemill.run("audit verify --json").json()["holds"], json!(true));
}

#[test]
fn a_cutover_that_is_killed_at_every_step_ends_in_the_same_state() {
    let (tidemill, expected) = pipeline(24);
    let begun = tidemill.start_all(&["reprocess", "start", "--as", "green", "--with", NEW, "--reason", REASON]);
    let mut random = seed();
    std::thread::sleep(std::time::Duration::from_millis(100 + random % 900));
    begun.signal("KILL");
    begun.ended();
    reprocess(&tidemill, "start").text();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    loop {
        let mut cut =
            tidemill.start_all(&["reprocess", "cutover", "--as", "green", "--with", NEW, "--reason", REASON, "--yes"]);
        // Killed a little after each step that was not seen before: the next call begins with the last that was noted.
        let mut step = cut.line_with("step: ");
        while step.as_ref().is_some_and(|step| seen.contains(step)) {
            step = cut.line_with("step: ");
        }
        let Some(step) = step else { break };
        println!("killed after {step}");
        seen.insert(step);
        std::thread::sleep(std::time::Duration::from_millis(random % 120));
        random = random.rotate_right(9);
        cut.signal("KILL");
        cut.ended();
    }
    assert!(seen.len() >= 4, "{seen:?}");
    let again = reprocess(&tidemill, "cutover");
    assert_eq!(again.code, Some(5), "it is done: {again:#?}");
    tidemill.write("topology.toml", std::fs::read(tidemill.folder().join(NEW)).expect("the new topology"));
    tidemill.run("run --until-idle").text();
    let outcomes = outcomes(&tidemill, "payments.status.v1.green");
    assert_eq!(outcomes.len(), 24);
    assert!(outcomes.values().all(|count| *count == 1), "{outcomes:?}");
    assert_eq!(tidemill.run("reconcile --json").json()["findings"], json!([]));
    let up = "SELECT count(*) || '' FROM payments WHERE fee_minor IN (13, 15)";
    assert_eq!(live(&tidemill, up), [expected.len().to_string()]);
    assert_eq!(tidemill.run("audit verify --json").json()["holds"], json!(true));
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).expect("the folder is there");
    entries.map(|entry| entry.expect("can be listed").file_name().to_string_lossy().into_owned()).collect()
}

/// Topics by name, as the broker lists them, with the registered subjects of the file beside it.
fn kept(tidemill: &Tidemill) -> (BTreeSet<String>, BTreeSet<String>) {
    let registry = std::fs::read(tidemill.folder().join("data/broker/schemas.json")).expect("the registry");
    let registry: Value = serde_json::from_slice(&registry).expect("JSON");
    let subjects = registry["subjects"].as_object().expect("by name").keys().cloned().collect();
    (names(&tidemill.folder().join("data")), subjects)
}

#[test]
fn an_abort_leaves_nothing_behind_and_the_live_pipeline_goes_on() {
    let (tidemill, _) = pipeline(24);
    let before = kept(&tidemill);
    let outcomes_before = outcomes(&tidemill, "payments.status.v1");
    reprocess(&tidemill, "start").text();
    assert_ne!(kept(&tidemill), before);
    // Killed in the middle of a cutover, when the live one has been stopped already.
    let mut cut =
        tidemill.start_all(&["reprocess", "cutover", "--as", "green", "--with", NEW, "--reason", REASON, "--yes"]);
    cut.wait_for("fenced");
    cut.signal("KILL");
    cut.ended();
    let stopped = tidemill.run("run --until-idle");
    assert_eq!(stopped.code, Some(5), "{stopped:#?}");
    assert!(stopped.stderr.contains("cutover_under_way"), "{stopped:#?}");
    reprocess(&tidemill, "abort").text();
    assert_eq!(kept(&tidemill), before);
    let gone = tidemill.run("consume payments.status.v1.green");
    assert_eq!(gone.code, Some(1), "{gone:#?}");
    let (lines, _) = mixed(24, 32);
    produce(&tidemill, PAYMENTS, &lines);
    tidemill.run("run --until-idle").text();
    let outcomes = outcomes(&tidemill, "payments.status.v1");
    assert_eq!((outcomes_before.len(), outcomes.len()), (24, 32));
    assert!(outcomes.values().all(|count| *count == 1), "{outcomes:?}");
    assert_eq!(tidemill.run("reconcile --json").json()["findings"], json!([]));
    // The same colour can be used again.
    reprocess(&tidemill, "start").text();
    assert_eq!(diff(&tidemill)["behind"], json!(0));
}

#[test]
fn state_cannot_begin_in_the_middle() {
    let (tidemill, _) = pipeline(8);
    for from in ["2026-01-05T08:00:00Z", "payments.requested.v1/0=1"] {
        let refused = tidemill.run_all(&["reprocess", "start", "--as", "green", "--from", from, "--reason", REASON]);
        assert_eq!(refused.code, Some(5), "{refused:#?}");
        assert!(refused.stderr.contains("reprocess_needs_beginning"), "{refused:#?}");
    }
    let entries = tidemill.run("audit ls --json").json();
    assert_eq!(entries[0]["outcome"], json!("refused"), "{entries}");
    let minimal = Tidemill::new();
    minimal
        .feed("produce payments.requested.v1 -t examples/minimal/topology.toml", payment("p-1", 1, "1.00").as_bytes())
        .text();
    let before = "reprocess start -t examples/minimal/topology.toml --as green --from end --reason r";
    assert_eq!(minimal.run(before).code, Some(2), "`end` is no place to begin");
    let later = minimal
        .run("reprocess start -t examples/minimal/topology.toml --as green --from 2026-02-01T00:00:00Z --reason r");
    assert_eq!(later.code, Some(0), "a pipeline without state can begin anywhere: {later:#?}");
}

/// Dead letters that were mended on their way back are not part of the inputs.
#[test]
fn a_payment_that_only_the_live_pipeline_has_answered_holds_the_cutover_up() {
    let (tidemill, _) = pipeline(8);
    let bad = payment("p-bad", 1, "1.00").replace("\"1.00\"", "{\"value\":\"1.00\"}");
    produce(&tidemill, PAYMENTS, &bad);
    tidemill.run("run --until-idle").text();
    tidemill.run("dlq plan payments.requested.v1.dlq -o plan.json").text();
    tidemill.write("mend.json", r#"[{"op": "move", "from": "/amount/value", "path": "/amount"}]"#);
    tidemill.run("dlq edit plan.json --patch mend.json").text();
    tidemill.run_all(&["dlq", "apply", "plan.json", "--reason", "mended", "--yes"]).text();
    tidemill.run("run --until-idle").text();
    reprocess(&tidemill, "start").text();
    let held = reprocess(&tidemill, "cutover");
    assert_eq!(held.code, Some(5), "{held:#?}");
    assert!(held.stderr.contains("reprocess_outcomes_missing") && held.stderr.contains("p-bad"), "{held:#?}");
    let accepted = tidemill.run_all(&[
        "reprocess",
        "cutover",
        "--as",
        "green",
        "--with",
        NEW,
        "--reason",
        "the shop has sent it again",
        "--yes",
        "--accept-missing",
    ]);
    assert_eq!(accepted.code, Some(0), "{accepted:#?}");
}
