//! What an operator sees of a pipeline that does not move, on real Kafka.
//!
//! Needs the servers of `dev/stack up`. Every run has topics, a database and Redis keys of its own.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::http::{free_address, get};
use crate::kafka::{DEADLINE, Pipeline, TICK};

/// A process that is told to stop gives up waiting at once; the rest is a busy machine.
const STOP_MAX: Duration = Duration::from_secs(20);

/// Where nobody listens.
pub(crate) const NO_DATABASE: &str = "--set sink.postgres.settings.url=postgres://nobody@127.0.0.1:1/none";

fn readyz(address: &str) -> Value {
    serde_json::from_str(&get(address, "/readyz")).unwrap_or_default()
}

fn sink(view: &Value) -> &Value {
    let sinks = view["sinks"].as_array().map(Vec::as_slice).unwrap_or_default();
    let is_postgres = |sink: &&Value| sink["slot"].as_str().is_some_and(|slot| slot.contains("sink-postgres"));
    sinks.iter().find(is_postgres).unwrap_or(&Value::Null)
}

#[test]
fn a_database_that_is_away_is_named_and_keeps_nobody_from_stopping() {
    let pipeline = Pipeline::new();
    let tidemill = &pipeline.tidemill;
    tidemill.run("apply --yes").text();
    pipeline.produce("generate accounts --accounts 50", "accounts.requested.v1", "account");
    let address = free_address();
    let at = format!("--set pipeline.http_address={address}");
    let running = tidemill.start(&format!("run {at} {NO_DATABASE}"));
    let started_at = Instant::now();
    loop {
        let view = readyz(&address);
        let codes: Vec<&Value> =
            sink(&view)["tasks"].as_array().into_iter().flatten().map(|task| &task["reason"]["code"]).collect();
        if codes.contains(&&json!("sink_unavailable")) {
            break;
        }
        assert!(started_at.elapsed() < DEADLINE, "{view:#}");
        std::thread::sleep(TICK);
    }
    let status = tidemill.run(&format!("status {at}")).text();
    let row = status.lines().find(|line| line.contains("sink-postgres") && line.contains("paused"));
    assert!(row.is_some_and(|row| row.contains("sink_unavailable")), "{status}");

    // Waiting counts as being alive: nothing but the database is at fault.
    let stepped_at = || sink(&readyz(&address))["stepped_at_ms"].as_i64().expect("the sink has made a step");
    let before = stepped_at();
    let started_at = Instant::now();
    while stepped_at() == before {
        assert!(started_at.elapsed() < DEADLINE, "it would count as dead");
        std::thread::sleep(TICK);
    }
    let stopped_at = Instant::now();
    running.signal("TERM");
    let ended = running.ended();
    println!("stopped after {:?}", stopped_at.elapsed());
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert!(stopped_at.elapsed() < STOP_MAX, "{:?}", stopped_at.elapsed());
    tidemill.run("run --until-idle").text();
    pipeline.assert_exact(0);
}
