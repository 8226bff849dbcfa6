//! `tidemill dlq`: found, shown, and sent back once.

use serde_json::{Value, json};

use crate::tidemill::{Ended, Tidemill};

const TOPIC: &str = "payments.requested.v1.dlq";
/// Avro with a schema that nobody registered.
const UNKNOWN_SCHEMA: &[u8] = b"\0\x7f\xff\xff\xffdatum";

fn run_until_idle(tidemill: &Tidemill) {
    assert_eq!(tidemill.run("run --until-idle").text(), "");
}

fn replay(tidemill: &Tidemill, more: &[&str]) -> Ended {
    let args = ["dlq", "replay", TOPIC, "--reason", "the schema is there now", "--json"];
    tidemill.run_all(&args.into_iter().chain(more.iter().copied()).collect::<Vec<_>>())
}

fn count(tidemill: &Tidemill) -> u64 {
    let groups = tidemill.run("dlq ls --json").json();
    groups.as_array().expect("a list").iter().map(|group| group["count"].as_u64().expect("a number")).sum()
}

fn assert_replayed(ended: Ended, expected: [u64; 3]) {
    let result = crate::tidemill::parse(&ended.stdout);
    let found = ["replayed", "replayed_before", "refused"].map(|name| result[name].as_u64().expect("a number"));
    assert_eq!(found, expected, "{ended:#?}");
}

#[test]
fn a_dead_letter_goes_back_once() {
    let tidemill = Tidemill::new();
    tidemill.feed(&format!("produce {TOPIC} --json").replace(".dlq", ""), UNKNOWN_SCHEMA).text();
    run_until_idle(&tidemill);

    let groups = tidemill.run("dlq ls --json").json();
    let group = &groups[0];
    let said = ["topic", "stage", "code", "count"].map(|name| group[name].clone());
    assert_eq!(said, [json!(TOPIC), json!("ingest"), json!("schema_unknown"), json!(1)], "{groups}");
    assert!(tidemill.run("dlq ls").text().contains("schema_unknown"));
    assert_shown(&tidemill, group);

    assert_replayed(replay(&tidemill, &["--yes", "--code", "payload_unreadable"]), [0, 0, 0]);
    let unasked = replay(&tidemill, &[]);
    assert_eq!(unasked.code, Some(5), "nobody can be asked: {unasked:#?}");
    assert_replayed(replay(&tidemill, &["--yes"]), [1, 0, 0]);
    assert_replayed(replay(&tidemill, &["--yes"]), [0, 1, 0]);
    run_until_idle(&tidemill);
    assert_eq!(count(&tidemill), 2, "the replayed record failed again, once");

    for before in 1..3 {
        assert_replayed(replay(&tidemill, &["--yes"]), [1, before, 0]);
        run_until_idle(&tidemill);
    }
    let looping = replay(&tidemill, &["--yes"]);
    assert_eq!(looping.code, Some(5), "a record that keeps failing is not sent for ever: {looping:#?}");
    assert_replayed(looping, [0, 3, 1]);
    assert_eq!(tidemill.run("reconcile").code, Some(0), "a replayed record is counted, too");
}

fn assert_shown(tidemill: &Tidemill, group: &Value) {
    let place = group["first"].as_str().expect("is text");
    let (partition, offset) = place.split_once('@').expect("partition@offset");
    let shown = tidemill.run_all(&["dlq", "show", TOPIC, partition, offset, "--json"]).json();
    let said = ["code", "class", "origin-topic", "replay-count"].map(|name| shown[name].clone());
    assert_eq!(said, [json!("schema_unknown"), json!("schema"), json!("payments.requested.v1"), json!("0")], "{shown}");
    let masked = shown["value"].as_str().expect("is text");
    assert!(!masked.contains("datum"), "{masked}");
    let open = tidemill.run_all(&["dlq", "show", TOPIC, partition, offset, "--json", "--unmask"]).json();
    assert!(open["value"].as_str().is_some_and(|value| value.ends_with("datum")), "{open}");
    let nowhere = tidemill.run_all(&["dlq", "show", TOPIC, partition, "99"]);
    assert_eq!(nowhere.code, Some(1), "{nowhere:#?}");
}
