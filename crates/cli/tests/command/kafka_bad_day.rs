//! The bad day on real Kafka: a plan that is killed while it is applied, keys that wait while workers are killed, and a trail
//! that is whole in the end.
//!
//! Needs the servers of `dev/stack up`. Every run has topics, a database and Redis keys of its own.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::kafka::{DEADLINE, Pipeline, TICK};
use crate::tidemill::seed;

const REASON: &str = "the producer has mended its amounts";
const PAYMENTS: u32 = 300;

fn produce(pipeline: &Pipeline, lines: impl Iterator<Item = Value>) {
    let lines: String = lines.map(|line| format!("{line}\n")).collect();
    let topic = pipeline.topic("payments.requested.v1");
    pipeline.tidemill.feed(&format!("produce {topic}"), lines.as_bytes()).text();
}

fn payment(id: &str, account: &str, amount: &Value, currency: &str) -> Value {
    json!({"id": id, "source": "shop", "debit_account": account, "credit_account": "m-1", "amount": amount,
        "currency": currency, "created_at": "2026-01-05T08:00:00Z", "channel": "web"})
}

fn assert_audited(pipeline: &Pipeline) {
    let verified = pipeline.tidemill.run("audit verify --json").json();
    assert_eq!(verified["holds"], json!(true), "{verified}");
    let rows = pipeline.ask("SELECT count(*)::text FROM audit_entries");
    assert_eq!(rows, [verified["entries"].to_string()], "the table has what the trail has");
}

#[test]
fn a_replay_that_is_killed_is_exact_and_its_trail_is_whole() {
    let pipeline = Pipeline::new();
    let tidemill = &pipeline.tidemill;
    tidemill.run("apply --yes").text();
    let amount = json!({"value": "1.00"});
    produce(
        &pipeline,
        (0..PAYMENTS).map(|number| payment(&format!("p-{number}"), &format!("acc-{}", number % 7), &amount, "EUR")),
    );
    tidemill.run("run --until-idle").text();
    let dlq = pipeline.topic("payments.requested.v1.dlq");
    let planned = tidemill.run_all(&["dlq", "plan", &dlq, "-o", "plan.json", "--json"]).json();
    assert_eq!(planned["fails"]["schema_mismatch"], json!(PAYMENTS), "{planned}");
    tidemill.write("mend.json", r#"[{"op": "move", "from": "/amount/value", "path": "/amount"}]"#);
    assert_eq!(tidemill.run("dlq edit plan.json --patch mend.json --json").json()["passes"], json!(PAYMENTS));

    // Workers take in what comes back while the command that sends it is killed.
    let running = tidemill.start("run");
    let mut random = seed();
    for _ in 0..4 {
        let started = tidemill.start_all(&["dlq", "apply", "plan.json", "--reason", REASON, "--yes", "--rate", "60"]);
        std::thread::sleep(Duration::from_millis(300 + random % 1_500));
        random = random.rotate_right(11);
        started.signal("KILL");
        started.ended();
    }
    // Somebody else pauses it, and has it go on.
    let started =
        tidemill.start_all(&["dlq", "apply", "plan.json", "--reason", REASON, "--yes", "--rate", "30", "--json"]);
    let paused = tidemill.run_all(&["replay", "pause", &dlq, "--reason", "lunch", "--json"]);
    if paused.code == Some(0) {
        assert_eq!(tidemill.run_all(&["replay", "resume", &dlq, "--reason", "back"]).code, Some(0));
    }
    let ended = started.ended();
    assert!(matches!(ended.code, Some(0 | 5)), "{ended:#?}");
    let last = tidemill.run_all(&["dlq", "apply", "plan.json", "--reason", REASON, "--yes", "--json"]).json();
    let sum = last["replayed"].as_u64().unwrap_or(0) + last["replayed_before"].as_u64().unwrap_or(0);
    assert_eq!(sum, u64::from(PAYMENTS), "{last}");
    running.signal("TERM");
    assert_eq!(running.ended().code, Some(0));
    tidemill.run("run --until-idle").text();

    let twice = pipeline.ask(
        "SELECT payment_id FROM payment_statuses WHERE phase = 'outcome' GROUP BY payment_id HAVING count(*) <> 1",
    );
    assert_eq!(twice, [""; 0]);
    assert_eq!(pipeline.ask("SELECT count(DISTINCT payment_id)::text FROM payment_statuses"), [PAYMENTS.to_string()]);
    let open = pipeline.ask("SELECT status, count(*)::text FROM dead_letter_items GROUP BY status");
    assert_eq!(open.len(), 1, "all are replayed: {open:?}");
    pipeline.assert_exact(u64::from(PAYMENTS));
    assert_audited(&pipeline);
}

#[test]
fn an_account_waits_in_order_while_workers_are_killed() {
    let pipeline = Pipeline::new();
    let tidemill = &pipeline.tidemill;
    let whole = std::fs::read_to_string(tidemill.folder().join("topology.toml")).expect("the topology");
    let start = whole.find("# For every other currency.").expect("the schedule");
    let end = start + whole[start..].find("[[stage]]").expect("the next stage");
    tidemill.write("topology.toml", format!("{}{}", &whole[..start], &whole[end..]));
    tidemill.run("apply --yes").text();
    let amount = json!("100");
    let accounts = ["acc-1", "acc-2", "acc-3"];
    let payments = |from: u32, to: u32| {
        let amount = amount.clone();
        (from..to).flat_map(move |number| {
            let amount = amount.clone();
            // The first payment of every account but the last finds no fee schedule.
            accounts.into_iter().map(move |account| {
                let currency = if number == 0 && account != "acc-3" { "JPY" } else { "EUR" };
                payment(&format!("{account}-{number:03}"), account, &amount, currency)
            })
        })
    };
    produce(&pipeline, payments(0, 40));
    tidemill.run("run --until-idle").text();
    let parked = tidemill.run("parked ls --json").json();
    assert_eq!(parked.as_array().map(Vec::len), Some(2), "{parked}");
    assert!(parked.as_array().into_iter().flatten().all(|key| key["records"] == json!(39)), "{parked}");

    tidemill.write("topology.toml", &whole);
    let dlq = pipeline.topic("payments.screened.v1.dlq");
    tidemill.run_all(&["dlq", "plan", &dlq, "-o", "plan.json", "--json"]).json();
    let applied =
        tidemill.run_all(&["dlq", "apply", "plan.json", "--reason", "the schedule is back", "--yes", "--json"]).json();
    assert_eq!(applied["replayed"], json!(2), "{applied}");
    produce(&pipeline, payments(40, 60));
    let mut random = seed();
    // A worker that is killed has its tasks for a session; some of these are killed on the way, some while they release.
    for _ in 0..3 {
        let running = tidemill.start("run");
        std::thread::sleep(Duration::from_millis(2_000 + random % 5_000));
        random = random.rotate_right(7);
        running.signal("KILL");
        running.ended();
    }
    tidemill.run("run --until-idle").text();
    for account in accounts {
        let sql = format!(
            "SELECT payment_id FROM payment_statuses WHERE debit_account = '{account}' ORDER BY source_partition, source_offset"
        );
        let expected: Vec<String> = (0..60).map(|number| format!("{account}-{number:03}")).collect();
        assert_eq!(pipeline.ask(&sql), expected, "{account}");
    }
    assert_eq!(tidemill.run("parked ls --json").json(), json!([]));
    pipeline.assert_exact(180);
    assert_audited(&pipeline);
}

/// Avro with a schema that nobody registered.
const UNKNOWN_SCHEMA: &[u8] = b"\0\x7f\xff\xff\xfddatum\n";

fn wait_for_letters(pipeline: &Pipeline, count: u64) {
    let started_at = Instant::now();
    loop {
        let groups = pipeline.tidemill.run("dlq ls --json").json();
        let counts = groups.as_array().into_iter().flatten().filter_map(|group| group["count"].as_u64());
        if counts.sum::<u64>() == count {
            return;
        }
        assert!(started_at.elapsed() < DEADLINE, "{groups}");
        std::thread::sleep(TICK);
    }
}

/// With workers at work, at any moment: everything that came in is accounted for.
fn assert_accounted(pipeline: &Pipeline) {
    let status = pipeline.tidemill.run("status --json").json();
    let balances = status["balances"].as_array().expect("a list");
    assert!(balances.iter().all(|balance| balance["unaccounted"] == json!(0)), "{balances:#?}");
}

#[test]
fn what_keeps_failing_stops_coming_back_and_nothing_is_unaccounted_meanwhile() {
    let pipeline = Pipeline::new();
    let tidemill = &pipeline.tidemill;
    tidemill.run("apply --yes").text();
    let running = tidemill.start("run");
    let input = pipeline.topic("payments.requested.v1");
    let dlq = pipeline.topic("payments.requested.v1.dlq");
    let plan = |more: &[&str]| {
        let args = ["dlq", "plan", &dlq, "-o", "plan.json", "--json"];
        tidemill.run_all(&args.into_iter().chain(more.iter().copied()).collect::<Vec<_>>())
    };
    let apply = |more: &[&str]| {
        let args = ["dlq", "apply", "plan.json", "--reason", REASON, "--yes", "--json"];
        tidemill.run_all(&args.into_iter().chain(more.iter().copied()).collect::<Vec<_>>())
    };
    tidemill.feed(&format!("produce {input}"), UNKNOWN_SCHEMA).text();
    wait_for_letters(&pipeline, 1);
    plan(&["--include-failing"]).json();
    tidemill.feed(&format!("produce {input}"), UNKNOWN_SCHEMA).text();
    wait_for_letters(&pipeline, 2);
    let stale = apply(&[]);
    assert_eq!(stale.code, Some(5), "another letter is meant by now: {stale:#?}");
    for count in 1..=3 {
        plan(&["--include-failing"]).json();
        assert_eq!(apply(&[]).json()["replayed"], json!(2));
        assert_accounted(&pipeline);
        wait_for_letters(&pipeline, 2 + 2 * count);
        assert_eq!(apply(&[]).json()["replayed"], json!(0), "the same plan once more");
    }
    let looping = plan(&["--include-failing"]);
    assert_eq!(looping.code, Some(5), "{looping:#?}");
    assert_eq!(apply(&[]).json()["left"], json!(2), "they stay where they are");

    // So many fail again that it pauses by itself; somebody else calls it off; a plan that was called off stays so.
    let hopeless = UNKNOWN_SCHEMA.repeat(150);
    tidemill.feed(&format!("produce {input}"), &hopeless).text();
    wait_for_letters(&pipeline, 8 + 150);
    plan(&["--include-failing"]);
    let paused = apply(&["--rate", "40"]);
    assert_eq!(paused.code, Some(5), "{paused:#?}");
    assert!(paused.stderr.contains("failed again"), "{paused:#?}");
    assert_eq!(tidemill.run("replay status --json").json()[0]["replay"]["state"], json!("paused"));
    assert_accounted(&pipeline);
    let cancelled = tidemill.run_all(&["replay", "cancel", &dlq, "--reason", "hopeless", "--json"]).json();
    assert_eq!(cancelled["state"], json!("cancelled"));
    let refused = apply(&[]);
    assert_eq!(refused.code, Some(5), "{refused:#?}");
    tidemill.run_all(&["dlq", "discard", &dlq, "--reason", "they were never payments", "--yes"]).text();
    running.signal("TERM");
    assert_eq!(running.ended().code, Some(0));
    tidemill.run("run --until-idle").text();
    assert_accounted(&pipeline);
    assert_eq!(tidemill.run("reconcile").code, Some(0));
    assert_audited(&pipeline);
}
