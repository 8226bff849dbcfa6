//! A burst on real Kafka that is many times what the process may hold, while a database is away: memory stays within its
//! budget, and every record comes out.
//!
//! Needs the servers of `dev/stack up`. Every run has topics, a database and Redis keys of its own.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::kafka::{DEADLINE, Pipeline};
use crate::kafka_operator::NO_DATABASE;
use crate::tidemill::Started;

const MEMORY_MIB_MAX: u64 = 256;
/// Resident memory may overshoot by this.
const PERCENT_OVER_MAX: u64 = 10;
/// Some 3 KiB each: together many times what the queues may hold.
const PAYMENTS: u64 = 24_000;
/// Of 100 KiB each, which nobody can read.
const UNREADABLE: u64 = 200;
const LARGE_BYTES: usize = 10 * 1024 * 1024;
const ACCOUNTS: &str = "200";
const SAMPLE: Duration = Duration::from_millis(50);
const QUESTION: Duration = Duration::from_secs(2);

/// The most that the process has had in memory so far, in MiB; 0 once it has ended.
fn resident_mib_max(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let row = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = row.and_then(|row| row.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or_default() / 1024
}

/// The most memory that it has taken when it has ended, or when `is_done` says so.
fn most_until(running: &mut Started, is_done: impl Fn() -> bool) -> u64 {
    let (mut most, mut asked_at) = (0, Instant::now());
    while !running.has_ended() {
        most = resident_mib_max(running.id()).max(most);
        std::thread::sleep(SAMPLE);
        if asked_at.elapsed() >= QUESTION {
            if is_done() {
                break;
            }
            asked_at = Instant::now();
        }
    }
    most
}

fn burst(pipeline: &Pipeline) -> String {
    let generated = pipeline.tidemill.run(&format!("generate -n {PAYMENTS} --accounts {ACCOUNTS}")).text();
    let padding = "x".repeat(3_000);
    let mut burst = generated.replace("\"Order ", &format!("\"{padding} "));
    for number in 0..UNREADABLE {
        let junk = "j".repeat(100 * 1024);
        writeln!(burst, "{{\"debit_account\":\"junk-{number}\",\"amount\":{{\"junk\":\"{junk}\"}}}}")
            .expect("a text grows");
    }
    writeln!(burst, "{{\"debit_account\":\"large\",\"id\":\"{}\"}}", "l".repeat(LARGE_BYTES)).expect("a text grows");
    burst
}

#[test]
fn a_burst_is_worked_off_within_the_memory_that_was_given() {
    let pipeline = Pipeline::new();
    let tidemill = &pipeline.tidemill;
    let file = tidemill.folder().join("topology.toml");
    let topology = std::fs::read_to_string(&file).expect("it was written");
    let topic = pipeline.topic("payments.requested.v1");
    tidemill.write(
        "topology.toml",
        format!("{topology}\n[topics.\"{topic}\"]\nconfig = {{ \"max.message.bytes\" = \"12000000\" }}\n"),
    );
    tidemill.run("apply --yes").text();
    pipeline.produce(&format!("generate accounts --accounts {ACCOUNTS}"), "accounts.requested.v1", "account");
    tidemill.run("run --until-idle").text();
    let burst = burst(&pipeline);
    let (lines, mib) = (burst.lines().count() as u64, burst.len() >> 20);
    tidemill.feed(&format!("produce {topic} --key debit_account"), burst.as_bytes()).text();

    // The database is away, so whatever the workers produce piles up before the sink.
    let settings = format!("--workers 2 --set pipeline.memory_mib_max={MEMORY_MIB_MAX}");
    let mut running = tidemill.start(&format!("run {settings} {NO_DATABASE}"));
    let started_at = Instant::now();
    let pressed = most_until(&mut running, || {
        assert!(started_at.elapsed() < 2 * DEADLINE, "the burst is not worked off");
        let status = tidemill.run("status --json").json();
        status["inputs"].as_array().expect("a list").iter().all(|row| row["lag_records"] == json!(0))
    });
    println!("{mib} MiB in {lines} records took {:?} and {pressed} MiB of memory", started_at.elapsed());
    running.signal("TERM");
    assert_eq!(running.ended().code, Some(0));

    let mut running = tidemill.start(&format!("run {settings} --until-idle"));
    let started_at = Instant::now();
    let relieved = most_until(&mut running, || false);
    println!("the read models took {:?} and {relieved} MiB of memory", started_at.elapsed());
    let ended = running.ended();
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    for most in [pressed, relieved] {
        assert!(most > 0 && most * 100 <= MEMORY_MIB_MAX * (100 + PERCENT_OVER_MAX), "{most} MiB");
    }
    pipeline.assert_exact(lines);
}
