//! A second pipeline on real Kafka, registry, Postgres and Redis: compared, taken over from under load, and taken away.
//!
//! Needs the servers of `dev/stack up`. Every run has topics, a database and Redis keys of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tidemill_runtime::broker::{Broker, TopicPartition};

use crate::kafka::Pipeline;
use crate::reprocess::{accounts, affected, key_of, mixed, rounded_up};
use crate::sql::VIOLATIONS;
use crate::tidemill::{Tidemill, parse};

const REASON: &str = "fees are rounded up from now on";
const NEW: &str = "new.toml";

fn produce(pipeline: &Pipeline, topic: &str, lines: &str) {
    let line = format!("produce {} --key {}", pipeline.topic(topic), key_of(topic));
    pipeline.tidemill.feed(&line, lines.as_bytes()).text();
}

/// Accounts and `payments` payments, all processed, and those that another rounding affects.
fn begun(payments: u32) -> (Pipeline, BTreeSet<String>) {
    let pipeline = Pipeline::new();
    rounded_up(&pipeline.tidemill);
    pipeline.tidemill.run("apply --yes").text();
    produce(&pipeline, "accounts.requested.v1", &accounts());
    pipeline.tidemill.run("run --until-idle").text();
    let (lines, affected) = mixed(0, payments);
    produce(&pipeline, "payments.requested.v1", &lines);
    pipeline.tidemill.run("run --until-idle").text();
    (pipeline, affected)
}

fn reprocess(tidemill: &Tidemill, verb: &str, more: &[&str]) -> crate::tidemill::Ended {
    let mut args = vec!["reprocess", verb, "--as", "green", "--with", NEW, "--json"];
    args.extend(more);
    tidemill.run_all(&args)
}

fn outcomes(pipeline: &Pipeline, topic: &str) -> BTreeMap<String, u64> {
    let mut outcomes = BTreeMap::new();
    for record in pipeline.tidemill.run(&format!("consume {}", pipeline.topic(topic))).json_lines() {
        if record["value"]["phase"] == "outcome" {
            let id = record["value"]["payment_id"].as_str().expect("text").to_owned();
            *outcomes.entry(id).or_default() += 1;
        }
    }
    outcomes
}

/// Every payment has one outcome in the live pipeline, one notification in all, and the books balance.
fn assert_exact(pipeline: &Pipeline, payments: u32) {
    let outcomes = outcomes(pipeline, "payments.status.v1.green");
    assert_eq!(outcomes.len(), payments as usize);
    assert!(outcomes.values().all(|count| *count == 1), "{outcomes:?}");
    let mut told: Vec<String> = Vec::new();
    for topic in ["notifications.requested.v1", "notifications.requested.v1.green"] {
        let records = pipeline.tidemill.run(&format!("consume {}", pipeline.topic(topic))).json_lines();
        told.extend(records.iter().map(|one| one["value"]["payment_id"].as_str().expect("text").to_owned()));
    }
    let once: BTreeSet<&String> = told.iter().collect();
    assert_eq!((told.len(), once.len()), (payments as usize, payments as usize));
    let reconciled = pipeline.tidemill.run("reconcile --json").json();
    assert_eq!(reconciled["findings"], json!([]), "{reconciled:#}");
    for sql in VIOLATIONS {
        assert_eq!(pipeline.ask_live(sql), [""; 0], "{sql}");
    }
    assert_eq!(pipeline.ask_live("SELECT count(*)::text FROM payments"), [payments.to_string()]);
    assert_eq!(pipeline.live_balances_in_redis(), pipeline.live_balances_in_postgres());
    let verified = pipeline.tidemill.run("audit verify --json").json();
    assert_eq!(verified["holds"], json!(true), "{verified}");
}

#[test]
fn a_cutover_under_load_loses_and_doubles_nothing() {
    let (pipeline, expected) = begun(200);
    let tidemill = &pipeline.tidemill;
    reprocess(tidemill, "start", &["--reason", REASON]).text();
    let ended = reprocess(tidemill, "diff", &["--samples", "1000"]);
    let diff = parse(&ended.stdout);
    assert_eq!(affected(&diff, "outcomes"), expected, "{ended:#?}");
    assert_eq!(diff["stages"], json!([]), "{diff:#}");

    let running = tidemill.start("run --workers 2");
    let (next, is_over) = (AtomicU32::new(200), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let from = next.fetch_add(10, Ordering::Relaxed);
                produce(&pipeline, "payments.requested.v1", &mixed(from, from + 10).0);
            }
        });
        std::thread::sleep(Duration::from_secs(3));
        let cut = reprocess(tidemill, "cutover", &["--reason", REASON, "--yes"]);
        is_over.store(true, Ordering::Relaxed);
        load.join().expect("the load ends");
        assert_eq!(cut.code, Some(0), "{cut:#?}");
    });
    let old = running.ended();
    assert_eq!(old.code, Some(5), "{old:#?}");
    assert!(old.stderr.contains("pipeline_retired"), "{old:#?}");
    tidemill.write("topology.toml", std::fs::read(tidemill.folder().join(NEW)).expect("the new topology"));
    tidemill.run("run --until-idle").text();
    let payments = next.load(Ordering::Relaxed);
    println!("{payments} payments, {} while the cutover ran", payments - 200);
    assert!(payments > 250, "there was load: {payments}");
    assert_exact(&pipeline, payments);
}

#[test]
fn a_worker_that_was_frozen_before_the_cutover_commits_nothing_after_it() {
    let (pipeline, _) = begun(40);
    let tidemill = &pipeline.tidemill;
    reprocess(tidemill, "start", &["--reason", REASON]).text();
    let mut frozen = tidemill.start("run --log info");
    frozen.wait_for("task is caught up");
    frozen.signal("STOP");
    produce(&pipeline, "payments.requested.v1", &mixed(40, 60).0);
    let mut cut =
        tidemill.start_all(&["reprocess", "cutover", "--as", "green", "--with", NEW, "--reason", REASON, "--yes"]);
    cut.wait_for("fenced");
    frozen.signal("CONT");
    assert_eq!(cut.ended().code, Some(0));
    assert_eq!(frozen.ended().code, Some(5));
    tidemill.write("topology.toml", std::fs::read(tidemill.folder().join(NEW)).expect("the new topology"));
    tidemill.run("run --until-idle").text();
    assert_exact(&pipeline, 60);
}

#[test]
fn an_abort_leaves_nothing_of_the_new_pipeline() {
    let (pipeline, _) = begun(20);
    let tidemill = &pipeline.tidemill;
    let broker = pipeline.broker();
    let topics = || -> BTreeSet<String> {
        let all = broker.topics().expect("the broker answers").into_iter().map(|topic| topic.name);
        all.filter(|name| name.starts_with(&pipeline.name)).collect()
    };
    let input = TopicPartition::new(pipeline.topic("payments.requested.v1"), 0);
    let group = format!("{}.green.main", pipeline.name);
    let before = topics();
    reprocess(tidemill, "start", &["--reason", REASON]).text();
    assert!(topics().len() > before.len() + 10);
    assert_eq!(broker.committed(&group, std::slice::from_ref(&input)).expect("answers").len(), 1);
    reprocess(tidemill, "abort", &["--reason", "a rehearsal", "--yes"]).text();
    // Kafka deletes topics behind the answer.
    for _ in 0..100 {
        if topics() == before {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(topics(), before);
    assert_eq!(broker.committed(&group, &[input]).expect("answers"), []);
    assert_eq!(pipeline.ask("SELECT nspname::text FROM pg_namespace WHERE nspname = 'green'"), [""; 0]);
    assert_eq!(pipeline.keys_in_redis("green:"), [""; 0]);
    assert!(!tidemill.folder().join("data/state.green").exists());
    let status = tidemill.run("reprocess status --json").json();
    assert_eq!([&status["live"], &status["reprocess"]], [&Value::Null, &Value::Null], "{status}");
    produce(&pipeline, "payments.requested.v1", &mixed(20, 24).0);
    tidemill.run("run --until-idle").text();
    pipeline.assert_exact(24);
}
