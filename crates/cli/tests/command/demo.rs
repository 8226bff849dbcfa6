//! `tidemill demo`: killed or interrupted anywhere and run again, it ends with the same figures and the same tables.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use crate::sql::{VIOLATIONS, sqlite};
use crate::tidemill::{Started, Tidemill, seed};

const KILLS: u32 = 4;
const TICK: Duration = Duration::from_millis(5);
const DEADLINE: Duration = Duration::from_secs(120);
/// Payments of one payer to different merchants may be judged in another order, and then other ones of them are declined.
const DECLINES: [&str; 2] = ["insufficient_funds", "fraud_declined"];

fn demo(dir: &str) -> String {
    format!("demo -n 3000 --json --dir {dir}")
}

/// How far a demo has come: bytes that its broker has written.
fn progress(tidemill: &Tidemill, dir: &str) -> u64 {
    fn bytes(path: &Path) -> u64 {
        let Ok(entries) = fs::read_dir(path) else { return 0 };
        let size = |entry: fs::DirEntry| match entry.metadata() {
            Ok(found) if found.is_dir() => bytes(&entry.path()),
            Ok(found) => found.len(),
            Err(_) => 0,
        };
        entries.flatten().map(size).sum()
    }
    bytes(&tidemill.folder().join(dir).join("broker"))
}

/// `false` if it has ended before it came so far.
fn reaches(tidemill: &Tidemill, demo: &mut Started, dir: &str, bytes: u64) -> bool {
    let started_at = Instant::now();
    while progress(tidemill, dir) < bytes {
        if demo.has_ended() {
            return false;
        }
        assert!(started_at.elapsed() < DEADLINE, "{} of {bytes} bytes", progress(tidemill, dir));
        std::thread::sleep(TICK);
    }
    true
}

/// Figures of the payments, with the declined ones counted as posted.
fn figures(result: &Value) -> Vec<(String, u64)> {
    assert_eq!(result["findings"], serde_json::json!([]));
    let paths = result["paths"].as_array().expect("a list");
    let path = paths.iter().find(|path| path["topic"] == "payments.requested.v1").expect("payments came in");
    let number = |value: &Value| value.as_u64().expect("a number");
    let mut figures = Vec::new();
    let mut judged = number(&path["posted"]);
    for kind in ["rejected", "dead"] {
        for (code, count) in path[kind].as_object().expect("by code") {
            if DECLINES.contains(&code.as_str()) {
                judged += number(count);
            } else {
                figures.push((format!("{kind}: {code}"), number(count)));
            }
        }
    }
    for name in ["records_in", "duplicate", "parked"] {
        figures.push((name.to_owned(), number(&path[name])));
    }
    figures.push(("posted or declined".to_owned(), judged));
    figures
}

struct Tables<'a> {
    tidemill: &'a Tidemill,
    dir: &'a str,
}

impl Tables<'_> {
    fn ask(&self, sql: &str) -> Vec<String> {
        sqlite(&self.tidemill.folder().join(self.dir).join("read-model.sqlite"), sql)
    }

    fn payers_with_declines(&self) -> BTreeSet<String> {
        let sql = "SELECT DISTINCT debit_account FROM payments WHERE code IN ('insufficient_funds', 'fraud_declined')";
        self.ask(sql).into_iter().collect()
    }

    /// Lines about accounts other than `left_out`, without what the order of work decides: record ids and numbers.
    fn lines(&self, left_out: &BTreeSet<String>) -> Vec<String> {
        let of_payments = "SELECT debit_account || ' payment ' || payment_id || ' ' || status || ' ' || code || ' '
            || coalesce(amount_minor, '') || ' ' || coalesce(fee_minor, '') FROM payments";
        let of_entries = "SELECT account_id || ' entry ' || payment_id || ' ' || kind || ' ' || amount_minor
            FROM ledger_entries WHERE account_id LIKE 'acc-%'";
        let of_balances = "SELECT account_id || ' balance ' || posted_minor || ' ' || seq
            FROM account_balances WHERE account_id LIKE 'acc-%'";
        let mut lines: Vec<String> =
            [of_payments, of_entries, of_balances].into_iter().flat_map(|sql| self.ask(sql)).collect();
        lines.retain(|line| line.split(' ').next().is_some_and(|account| !left_out.contains(account)));
        lines.sort();
        lines
    }
}

fn assert_same_end(tidemill: &Tidemill, dirs: [&str; 2]) {
    let [whole, other] = dirs.map(|dir| Tables { tidemill, dir });
    let left_out: BTreeSet<String> = &whole.payers_with_declines() | &other.payers_with_declines();
    let [expected, found] = [&whole, &other].map(|tables| tables.lines(&left_out));
    assert!(expected.len() > 8_000, "only {} lines to compare", expected.len());
    let different = expected.iter().zip(&found).find(|(expected, found)| expected != found);
    assert_eq!((different, found.len()), (None, expected.len()));
    for tables in [&whole, &other] {
        for sql in VIOLATIONS {
            assert_eq!(tables.ask(sql), [""; 0], "{sql}");
        }
    }
}

#[test]
fn a_demo_that_is_killed_ends_like_one_that_is_not() {
    let tidemill = Tidemill::new();
    let whole = tidemill.run(&demo("whole")).json();
    let size = progress(&tidemill, "whole");

    let mut random = ChaCha8Rng::seed_from_u64(seed());
    let mut kills = 0;
    for kill in 0..KILLS {
        let at = size * u64::from(kill) / u64::from(KILLS) + random.random_range(0..size / u64::from(KILLS));
        let mut running = tidemill.start(&demo("killed"));
        if !reaches(&tidemill, &mut running, "killed", at) {
            break;
        }
        println!("killed at {at} of {size} bytes");
        running.signal("KILL");
        assert_eq!(running.ended().code, None);
        kills += 1;
    }
    assert!(kills >= 3, "only {kills} kills came before the end");
    let killed = tidemill.run(&demo("killed")).json();
    assert_eq!(figures(&killed), figures(&whole));
    assert_same_end(&tidemill, ["whole", "killed"]);

    interrupted_goes_on(&tidemill, &whole, size);
}

/// Ctrl-C, which the demo answers with an orderly end.
fn interrupted_goes_on(tidemill: &Tidemill, whole: &Value, size: u64) {
    let mut running = tidemill.start(&demo("interrupted"));
    assert!(reaches(tidemill, &mut running, "interrupted", size / 2), "it ended too soon");
    running.signal("INT");
    let ended = running.ended();
    assert_eq!(ended.code, Some(130), "{ended:#?}");
    assert!(ended.stderr.contains("interrupted"), "{}", ended.stderr);
    let resumed = tidemill.run(&demo("interrupted"));
    assert!(resumed.stderr.contains("going on"), "{}", resumed.stderr);
    assert_eq!(figures(&resumed.json()), figures(whole));
    assert_same_end(tidemill, ["whole", "interrupted"]);
}

#[test]
fn a_folder_that_holds_something_else_is_left_alone() {
    let tidemill = Tidemill::new();
    fs::create_dir(tidemill.folder().join("mine")).expect("a new folder");
    tidemill.write("mine/letter.txt", "dear reader");
    let refused = tidemill.run(&demo("mine"));
    assert_eq!(refused.code, Some(5), "{refused:#?}");
    assert!(tidemill.folder().join("mine/letter.txt").exists(), "the file is gone");
}
