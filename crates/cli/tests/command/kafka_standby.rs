//! An instance that is killed on real Kafka, and the one that stood by for its tasks.
//!
//! Needs the servers of `dev/stack up`. Every run has topics, a database and Redis keys of its own.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::http::{free_address, get, metric};
use crate::kafka::{DEADLINE, Pipeline, TASKS, TICK};
use crate::kafka_groups::Owners;

/// So much state that reading it again shows.
const ACCOUNTS: &str = "generate accounts --accounts 20000";
const PAYMENTS: &str = "generate -n 1600 --accounts 20000";
const SESSION: Duration = Duration::from_secs(6);
/// From the kill to the first commit of the successor. The fastest of several counts: the others say how busy the machine is.
const TAKE_OVER_MAX: Duration = Duration::from_secs(SESSION.as_secs() + 2);
const KILLS_MAX: usize = 4;

/// Tasks that the process stands by for and has everything of.
fn followed(address: &str) -> usize {
    let view: Value = serde_json::from_str(&get(address, "/readyz")).unwrap_or_default();
    let standbys = view["standbys"].as_array().into_iter().flatten();
    let tasks = standbys.flat_map(|standby| standby["tasks"].as_array().into_iter().flatten());
    let has_all =
        |task: &&Value| task["phase"] == json!("following") && task["restore"]["next_offset"] == task["restore"]["end"];
    tasks.filter(has_all).count()
}

#[test]
fn a_take_over_with_a_standby_does_not_restore_from_zero() {
    let pipeline = Pipeline::new();
    let tidemill = &pipeline.tidemill;
    tidemill.run("apply --yes").text();
    pipeline.produce(ACCOUNTS, "accounts.requested.v1", "account");
    tidemill.run("run --until-idle").text();
    let mut owners = Owners::of(&pipeline, pipeline.broker().as_ref());
    let address = free_address();
    let setting = format!("--set unit.main.standbys=1 --set unit.main.session_timeout_ms={}", SESSION.as_millis());
    let survivor = tidemill.start(&format!("run --instance b {setting} --set pipeline.http_address={address}"));
    owners.wait_for(&[("b", TASKS as usize)]);
    let everything = metric(&address, "tidemill_restored_records_total");
    assert!(everything > 20_000, "{everything} records are not much state");
    let records = tidemill.run(PAYMENTS).text();
    let lines = records.lines().count();
    let took = std::thread::scope(|scope| {
        let topic = pipeline.topic("payments.requested.v1");
        let load = scope.spawn(move || tidemill.feed(&format!("produce {topic} --rate 40"), records.as_bytes()));
        let mut took: Vec<Duration> = Vec::new();
        while took.len() < KILLS_MAX && took.iter().min().is_none_or(|fastest| *fastest >= TAKE_OVER_MAX) {
            let victim = tidemill.start(&format!("run --instance a {setting}"));
            owners.wait_for(&[("a", 2), ("b", 2)]);
            let started_at = Instant::now();
            while followed(&address) < 2 {
                assert!(started_at.elapsed() < DEADLINE, "{}", get(&address, "/readyz"));
                std::thread::sleep(TICK);
            }
            let before = metric(&address, "tidemill_restored_records_total");
            let killed_at = Instant::now();
            victim.signal("KILL");
            owners.wait_for(&[("b", TASKS as usize)]);
            took.push(killed_at.elapsed());
            let restored = metric(&address, "tidemill_restored_records_total") - before;
            println!(
                "{:?} from the kill to the first commit; {restored} records of {everything} restored",
                took.last()
            );
            assert!(restored < everything / 20, "{restored} of {everything} records were restored");
        }
        load.join().expect("the load was sent").text();
        took
    });
    assert!(took.iter().min() < Some(&TAKE_OVER_MAX), "{took:?}");
    survivor.signal("TERM");
    assert_eq!(survivor.ended().code, Some(0));
    tidemill.run("run --until-idle").text();
    pipeline.assert_exact(lines as u64);
}
