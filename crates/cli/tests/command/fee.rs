//! `tidemill fee preview`: the schedules of the settings, and over them those of the topic.

use std::sync::Arc;
use std::time::Duration;

use tidemill_core::{Event, EventTime, Meta};
use tidemill_runtime::broker::{Broker, Outgoing, ProducerOptions};
use tidemill_runtime::codecs::Codecs;
use tidemill_runtime::embedded::{EmbeddedBroker, EmbeddedOptions};
use tidemill_runtime::registry::LocalRegistry;
use tidemill_schemas::{CODECS, FeeSchedule};

use crate::tidemill::Tidemill;

const TOPIC: &str = "fees.schedules.v1";

/// As an operator's tool writes it: in the registered schema.
fn publish(tidemill: &Tidemill, schedule: &FeeSchedule) {
    let data = tidemill.folder().join("data/broker");
    let broker = EmbeddedBroker::open(&data, EmbeddedOptions::default()).expect("nobody else has it open");
    let mut codecs = Codecs::new(Arc::new(LocalRegistry::open(&data).expect("can be read")), CODECS);
    codecs.prepare(&Arc::from(TOPIC), FeeSchedule::KIND).expect("is registered");
    let (mut key, mut value) = (Vec::new(), Vec::new());
    schedule.key(&mut key);
    codecs.encode(TOPIC, schedule, &mut value).expect("can be encoded");
    let mut producer = broker.producer(&ProducerOptions::Idempotent).expect("can be opened");
    let (key, value) = (Some(key.as_slice()), Some(value.as_slice()));
    let record = Outgoing { topic: TOPIC, partition: 0, timestamp_ms: 0, key, value, headers: &[] };
    producer.send(&record).expect("is taken");
    producer.flush(Duration::from_secs(10)).expect("is written");
}

fn shown(tidemill: &Tidemill, options: &str) -> String {
    let preview = tidemill.run(&format!("fee preview --json {options}")).json();
    ["amount", "fee", "total", "schedule"].map(|name| preview[name].as_str().expect("a text").to_owned()).join(" ")
}

#[test]
fn a_payment_is_priced_without_being_made() {
    let tidemill = Tidemill::new();
    tidemill.run("apply --yes").text();
    let cases = [
        ("--amount 500.00 --currency EUR", "500.00 3.00 503.00 standard@1"),
        ("--amount 500 --currency JPY --at 2026-01-01T00:00:00Z", "500 5 505 standard-other@1"),
        ("--amount 500.00 --currency EUR --type refund", "500.00 0.00 500.00 "),
    ];
    for (options, expected) in cases {
        assert_eq!(shown(&tidemill, options), expected, "{options}");
    }
    let text = tidemill.run("fee preview --amount 40.00 --currency EUR").text();
    assert_eq!(text.trim(), "40.00 EUR + fee 0.40 EUR = 40.40 EUR  (standard@1)");

    publish(
        &tidemill,
        &FeeSchedule {
            meta: Meta::default(),
            name: "staff".to_owned(),
            version: "2".to_owned(),
            effective_from: EventTime::parse("2026-01-01T00:00:00Z").expect("RFC 3339"),
            currency: String::new(),
            channel: String::new(),
            tiers: Vec::new(),
            flat_minor: 0,
            min_minor: 0,
            max_minor: None,
            rounding: "half_even".to_owned(),
            model: None,
            payment_types: Vec::new(),
            accounts: vec!["acc-7".to_owned()],
            customers: Vec::new(),
            priority: 0,
            free: None,
        },
    );
    assert_eq!(shown(&tidemill, "--amount 40.00 --currency EUR --account acc-7"), "40.00 0.00 40.00 staff@2");
    assert_eq!(shown(&tidemill, "--amount 40.00 --currency EUR --account acc-8"), "40.00 0.40 40.40 standard@1");
    let before = "--amount 40.00 --currency EUR --account acc-7 --at 2025-12-31T23:59:59Z";
    assert_eq!(shown(&tidemill, before), "40.00 0.40 40.40 standard@1");
}

#[test]
fn what_cannot_be_priced_is_said() {
    let tidemill = Tidemill::new();
    tidemill.run("apply --yes").text();
    let code = |options: &str| tidemill.run(&format!("fee preview {options}")).code;
    assert_eq!(code("--amount 40.001 --currency EUR"), Some(2));
    assert_eq!(code("--amount 40.00 --currency EURO"), Some(2));
    assert_eq!(code("--amount 40.00 --currency EUR --type gift"), Some(2));
    let missing = tidemill.run("fee preview --amount 40.00 --currency EUR --at 1999-01-01T00:00:00Z");
    assert_eq!(missing.code, Some(1));
    assert!(missing.stderr.contains("fee_schedule_missing"), "{}", missing.stderr);
}
