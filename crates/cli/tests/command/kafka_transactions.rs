//! `tidemill txn` on real Kafka, with a transaction that is left hanging by hand.
//!
//! Needs the servers of `dev/stack up`. Every run has topics, a database and Redis keys of its own.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidemill_runtime::broker::{Broker, Outgoing, ProducerOptions, TopicPartition};
use tidemill_runtime::kafka::wire::damage::Damage;

use crate::http::free_address;
use crate::kafka::{DEADLINE, Pipeline, TICK};
use crate::tidemill::Tidemill;

const RECORDS: u64 = 800;
/// 15 s of patience and two looks, and what a busy machine adds to a start.
const REPORT_MAX: Duration = Duration::from_secs(50);

/// Records that wait at an input partition, as `status` says.
fn lag(pipeline: &Pipeline, topic: &str, partition: u32) -> u64 {
    let status = pipeline.tidemill.run("status --json").json();
    let rows = status["inputs"].as_array().expect("a list");
    let row = rows.iter().find(|row| row["topic"] == json!(topic) && row["partition"] == json!(partition));
    row.and_then(|row| row["lag_records"].as_u64()).expect("an input of the pipeline")
}

fn await_processed(pipeline: &Pipeline, topic: &str, partitions: std::ops::Range<u32>) {
    let started_at = Instant::now();
    while partitions.clone().any(|partition| lag(pipeline, topic, partition) > 0) {
        assert!(started_at.elapsed() < DEADLINE, "{topic} {partitions:?} is not processed");
        std::thread::sleep(TICK);
    }
}

fn places(listed: &Value) -> Vec<(String, u64)> {
    let place = |one: &Value| Some((one["topic"].as_str()?.to_owned(), one["partition"].as_u64()?));
    listed.as_array().expect("a list").iter().map(|one| place(one).expect("a place")).collect()
}

/// One line of the text says all of this.
fn assert_row(text: &str, parts: &[&str]) {
    let says = |line: &str| parts.iter().all(|part| line.contains(part));
    assert!(text.lines().any(says), "{parts:?} is not said in: {text}");
}

#[test]
fn a_hanging_transaction_is_reported_and_aborted_on_all_its_partitions() {
    let pipeline = Pipeline::new();
    let tidemill = &pipeline.tidemill;
    tidemill.run("apply --yes").text();
    pipeline.produce("generate accounts --accounts 50", "accounts.requested.v1", "account");
    tidemill.run("run --until-idle").text();
    let [payments, entries] = ["payments.requested.v1", "ledger.entries.v1"].map(|topic| pipeline.topic(topic));
    let state = format!("{}.main.state", pipeline.name);
    let stuck = [(&state, 0), (&payments, 1), (&entries, 0)];
    let partitions: Vec<TopicPartition> =
        stuck.iter().map(|(topic, number)| TopicPartition::new(topic.as_str(), *number)).collect();
    let damage = Damage::new(&pipeline.bootstrap).expect("an address");
    let producer = damage.hang(&format!("{}-gone", pipeline.name), &partitions).expect("it hangs");
    let generate = format!("generate -n {RECORDS} --accounts 50");
    let records = pipeline.produce(&generate, "payments.requested.v1", "debit_account").lines().count();

    // Task 0 cannot start, and task 1 reads nothing more. The others go on.
    let started_at = Instant::now();
    let at = format!("--set pipeline.http_address={}", free_address());
    let mut running = tidemill.start(&format!("run --workers 2 {at}"));
    await_processed(&pipeline, &payments, 2..4);
    assert!(lag(&pipeline, &payments, 0) > 0, "task 0 waits");
    let status = tidemill.run(&format!("status {at}")).text();
    assert_row(&status, &["waiting_for_transaction: ", &format!("{state}-0"), &producer.to_string()]);
    assert_row(&status, &[&payments, "hanging", &producer.to_string(), "task 1 of unit main"]);
    let whose = format!("\"producer_id\":{producer}");
    running.wait_for_all(&["task 0 waits for a transaction".to_owned(), "task 1 of unit main".to_owned(), whose]);
    println!("reported after {:?}", started_at.elapsed());
    assert!(started_at.elapsed() < REPORT_MAX, "{:?}", started_at.elapsed());

    let hanging = tidemill.run("txn find-hanging --json");
    assert_eq!(hanging.code, Some(1), "{hanging:#?}");
    let listed: Value = serde_json::from_str(&hanging.stdout).expect("one document");
    let mut expected: Vec<(String, u64)> =
        stuck.iter().map(|(topic, number)| ((*topic).clone(), u64::from(*number))).collect();
    expected.sort();
    assert_eq!(places(&listed), expected);
    assert!(listed.as_array().expect("a list").iter().all(|one| one["producer_id"] == json!(producer)), "{listed:#}");
    assert_eq!(tidemill.run("txn abort --partition nowhere-0 --reason test --yes").code, Some(1));
    let unconfirmed = tidemill.run(&format!("txn abort --producer-id {producer} --reason test"));
    assert_eq!(unconfirmed.code, Some(5), "{unconfirmed:#?}");

    let aborted = tidemill.run(&format!("txn abort --partition {payments}-1 --reason test --yes --json")).json();
    println!("aborted {:?} after the start", started_at.elapsed());
    assert_eq!(places(&aborted["aborted"]), expected);
    assert_eq!(tidemill.run("txn find-hanging --json").json(), json!([]));
    await_processed(&pipeline, &payments, 0..4);
    running.signal("TERM");
    assert_eq!(running.ended().code, Some(0));
    tidemill.run("run --workers 2 --until-idle").text();
    pipeline.assert_exact(records as u64);
}

#[test]
fn a_transaction_that_is_run_is_listed_and_left_alone() {
    let pipeline = Pipeline::new();
    let tidemill = &pipeline.tidemill;
    tidemill.run("apply --yes").text();
    let (topic, id) = (pipeline.topic("payments.requested.v1"), format!("{}-upstream", pipeline.name));
    let broker = pipeline.broker();
    let options = ProducerOptions::Transactional { id: id.clone(), timeout: Duration::from_secs(60) };
    let mut producer = broker.producer(&options).expect("a producer opens");
    producer.begin().expect("a transaction begins");
    let record = Outgoing { topic: &topic, partition: 2, timestamp_ms: 1, key: None, value: Some(b"{}"), headers: &[] };
    producer.send(&record).expect("the record is taken");
    producer.flush(DEADLINE).expect("the record is acknowledged");

    let listed = tidemill.run("txn list --json").json();
    assert_eq!(places(&listed), [(topic.clone(), 2)]);
    assert_eq!(listed[0]["state"], json!("ongoing"));
    assert_eq!(listed[0]["transactional_id"], json!(id));
    assert_eq!(listed[0]["waiting"], json!(["task 2 of unit main"]));
    assert_eq!(tidemill.run("txn find-hanging --json").json(), json!([]));
    let refused = tidemill.run(&format!("txn abort --partition {topic}-2 --reason test --yes"));
    assert_eq!(refused.code, Some(5), "{refused:#?}");
    producer.commit(DEADLINE).expect("it was left alone");
    assert_eq!(tidemill.run("txn list").text(), "none\n");
}

#[test]
fn the_embedded_broker_leaves_nothing_open() {
    let tidemill = Tidemill::new();
    tidemill.run("apply --yes").text();
    let list = tidemill.run("txn list").text();
    assert!(list.contains("embedded"), "{list}");
    assert_eq!(tidemill.run("txn find-hanging --json").json(), json!([]));
    let abort = tidemill.run("txn abort --producer-id 1 --reason test --yes");
    assert_eq!(abort.code, Some(1), "{abort:#?}");
    assert!(abort.stderr.contains("no transaction is open"), "{}", abort.stderr);
}
