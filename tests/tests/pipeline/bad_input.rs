//! What senders should not send: a stable code for each, the original bytes kept, and the next payment is posted.

use std::collections::BTreeMap;

use serde_json::json;

use crate::payments::{account_requests, payment};
use crate::under_test::{ACCOUNTS, PAYMENTS, Sent, Stored, UnderTest, assert_money_adds_up};

/// Every dead letter has these and those that start with `x-dlq-first-origin-`; one with a field at fault names it.
const HEADERS: [&str; 19] = [
    "id",
    "origin-topic",
    "origin-partition",
    "origin-offset",
    "origin-timestamp",
    "stage",
    "class",
    "code",
    "retryable",
    "message",
    "attempts",
    "replay-count",
    "failed-at",
    "fingerprint",
    "pipeline",
    "version",
    "instance",
    "group",
    "first-origin-topic",
];

/// So that 10 MiB can come in at all; the default is the broker's own, 1 MiB.
const LARGE_RECORDS: &str = r#"
[topics."payments.requested.v1"]
config = { "max.message.bytes" = "20000000" }
"#;

struct Bad {
    name: &'static str,
    value: Vec<u8>,
    class: &'static str,
    code: &'static str,
}

fn unreadable() -> Vec<(&'static str, Vec<u8>)> {
    let good = || payment("unreadable", "alice", "1.00", json!({})).value;
    let mut truncated = good();
    truncated.truncate(40);
    let nul = String::from_utf8(good()).expect("is text").replace("unreadable", "a\\u0000b");
    let raw_nul = String::from_utf8(good()).expect("is text").replace("unreadable", "a\0b");
    vec![
        ("empty value", Vec::new()),
        ("10 MiB", format!(r#"{{"id":"{}"}}"#, "x".repeat(10 * 1024 * 1024)).into_bytes()),
        ("invalid UTF-8", b"{\"id\":\"\xff\xfe\"}".to_vec()),
        ("truncated JSON", truncated),
        ("deep nesting", br#"{"metadata":"#.repeat(100_000)),
        ("NUL, escaped", nul.into_bytes()),
        ("NUL, raw", raw_nul.into_bytes()),
        ("no object", b"[1,2,3]".to_vec()),
    ]
}

fn bad() -> Vec<Bad> {
    let mut bad: Vec<Bad> = unreadable()
        .into_iter()
        .map(|(name, value)| Bad { name, value, class: "decode", code: "payload_unreadable" })
        .collect();
    let number = |field: &str| payment("number", "alice", "1.00", json!({ field: 12.34 })).value;
    for (name, value, code) in [
        ("unknown schema", b"\0\x7f\xff\xff\xffdatum".to_vec(), "schema_unknown"),
        ("number as amount", number("amount"), "schema_mismatch"),
        ("number as id", number("id"), "schema_mismatch"),
    ] {
        bad.push(Bad { name, value, class: "schema", code });
    }
    bad
}

#[test]
fn becomes_a_dead_letter_and_holds_nothing_up() {
    let under_test = UnderTest::with(LARGE_RECORDS);
    let running = under_test.start("a", 2);
    under_test.send(ACCOUNTS, &account_requests());
    under_test.wait_until_idle(&running);
    let bad = bad();
    // All under one key, so that the good payment stands behind every bad record.
    for bad in &bad {
        let headers = vec![("tenant", bad.name)];
        under_test.send(PAYMENTS, &[Sent { headers, ..Sent::new("alice", bad.value.clone()) }]);
    }
    under_test.send(PAYMENTS, &[payment("behind", "alice", "1.00", json!({}))]);
    under_test.wait_until_idle(&running);
    running.join().expect("everybody ends well");

    assert_eq!(under_test.ask("SELECT payment_id || ' ' || code FROM payments"), ["behind ok"]);
    let letters = under_test.records("payments.requested.v1.dlq");
    let by_name: BTreeMap<&str, &Stored> = letters.iter().map(|letter| (letter.header("tenant"), letter)).collect();
    assert_eq!(letters.len(), bad.len());
    let sent_to = letters.iter().map(|letter| letter.partition).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(sent_to.len(), 1, "a dead letter lies in the partition of its record");
    for (offset, bad) in bad.iter().enumerate() {
        assert_letter(bad, by_name[bad.name], offset);
    }
    assert_index(&under_test, &letters);
    assert_money_adds_up(&under_test);
}

fn assert_letter(bad: &Bad, letter: &Stored, origin_offset: usize) {
    assert_eq!(letter.key.as_deref(), Some(&b"alice"[..]), "{}", bad.name);
    assert!(letter.value.as_deref() == Some(&bad.value), "{}: other bytes than were sent", bad.name);
    for name in HEADERS {
        assert!(!letter.header(&format!("x-dlq-{name}")).is_empty(), "{}: {name}", bad.name);
    }
    let said = ["class", "code", "stage", "origin-topic", "origin-offset", "first-origin-offset", "replay-count"]
        .map(|name| letter.header(&format!("x-dlq-{name}")));
    let offset = origin_offset.to_string();
    assert_eq!(said, [bad.class, bad.code, "ingest", PAYMENTS, &offset, &offset, "0"], "{}", bad.name);
}

/// The read model finds every dead letter, and keeps its bytes.
fn assert_index(under_test: &UnderTest, letters: &[Stored]) {
    let line = |letter: &Stored| {
        let bytes = letter.value.as_ref().map_or(0, Vec::len);
        format!("{} {} {bytes}", letter.header("x-dlq-id"), letter.header("x-dlq-code"))
    };
    let mut expected: Vec<String> = letters.iter().map(line).collect();
    expected.sort();
    let sql = "SELECT dead_letter_id || ' ' || code || ' ' || coalesce(length(payload), 0) AS line
               FROM dead_letters ORDER BY line";
    assert_eq!(under_test.ask(sql), expected);
}
