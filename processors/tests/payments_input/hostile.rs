//! Bytes from senders that are broken or mean harm: a code, and never a panic.

use proptest::prelude::*;
use tidemill_core::{Event, Outcome};
use tidemill_schemas::PaymentRequest;
use tidemill_testkit::{Ran, TestRecord};

use crate::{PAYMENT, SCHEMA_ID, codes, driver, record};

fn with(name: &str, json: &str) -> Vec<u8> {
    let mut fields: serde_json::Map<_, _> = serde_json::from_str(PAYMENT).expect("the payment is an object");
    fields.insert(name.to_owned(), serde_json::from_str(json).expect("is JSON"));
    serde_json::to_vec(&fields).expect("is JSON")
}

fn nested(levels: usize) -> Vec<u8> {
    format!("{}{}", r#"{"metadata":"#.repeat(levels), "}".repeat(levels)).into_bytes()
}

#[test]
fn bad_input_gets_its_code() {
    let ten_mebibytes = format!(r#"{{"id":"{}"}}"#, "x".repeat(10 * 1024 * 1024));
    let unreadable = "payload_unreadable";
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("empty value", Vec::new(), unreadable),
        ("10 MiB", ten_mebibytes.into_bytes(), unreadable),
        ("invalid UTF-8", b"{\"id\":\"\xff\xfe\"}".to_vec(), unreadable),
        ("UTF-16", b"\xff\xfe{\0}\0".to_vec(), unreadable),
        ("truncated JSON", PAYMENT.as_bytes()[..PAYMENT.len() / 2].to_vec(), unreadable),
        ("two objects", [PAYMENT, PAYMENT].concat().into_bytes(), unreadable),
        ("10,000 levels", nested(10_000), unreadable),
        ("1,000,000 open brackets", vec![b'['; 1_000_000], unreadable),
        ("array", format!("[{PAYMENT}]").into_bytes(), unreadable),
        ("text", b"\"payment\"".to_vec(), unreadable),
        ("NUL, escaped", with("description", r#""a\u0000b""#), unreadable),
        ("NUL, raw", b"{\"id\":\"a\0b\"}".to_vec(), unreadable),
        ("lone surrogate", br#"{"id":"\ud800"}"#.to_vec(), unreadable),
        ("XML", b"<Document/>".to_vec(), unreadable),
        ("unknown schema", b"\0\0\0\0\x63datum".to_vec(), "schema_unknown"),
        ("schema, no datum", b"\0\0\0\0\x07".to_vec(), "schema_mismatch"),
        ("schema, garbage", b"\0\0\0\0\x07\xff\xff\xff\xff".to_vec(), "schema_mismatch"),
        ("number as amount", with("amount", "12"), "schema_mismatch"),
        ("fraction as amount", with("amount", "12.34"), "schema_mismatch"),
        ("object as id", with("id", "{}"), "schema_mismatch"),
        ("list as metadata", with("metadata", "[]"), "schema_mismatch"),
        ("number in metadata", with("metadata", r#"{"k":1}"#), "schema_mismatch"),
        ("unknown fields", with("colour", r#"{"red":[1,2,{"x":null}]}"#), "passed"),
        ("merchant without id", with("merchant", r#"{"country":"DE"}"#), "field_empty"),
        ("null as id", with("id", "null"), "field_missing"),
        ("the year 9999", with("created_at", r#""9999-01-01T00:00:00Z""#), "time_out_of_range"),
        ("the year 0", with("created_at", r#""0000-01-01T00:00:00Z""#), "time_out_of_range"),
        ("the 31st of February", with("created_at", r#""2026-02-31T00:00:00Z""#), "time_malformed"),
        ("a leap second", with("created_at", r#""2016-12-31T23:59:60Z""#), "passed"),
        ("seconds since 1970", with("created_at", r#""1769860800""#), "time_malformed"),
        ("unknown currency", with("currency", r#""BTC""#), "currency_unknown"),
        ("full-width digits", with("amount", r#""１２""#), "amount_malformed"),
        ("an internal account", with("credit_account", r#""fees.0.EUR""#), "field_malformed"),
    ];
    for (name, value, expected) in cases {
        assert_eq!(driver().send(&record(value, "")).code(), expected, "{name}");
    }
    assert_eq!(driver().send(&TestRecord::default()).code(), unreadable, "tombstone");
}

/// Nothing of a record may end up in a reject, which is logged and written to headers.
#[test]
fn rejects_do_not_quote_the_record() {
    let records = [
        with("amount", r#""secret""#),
        with("currency", r#""secret""#),
        with("created_at", r#""secret""#),
        with("secret", r#"{"secret":1,"secret2":"\u0000"}"#),
        with("metadata", r#"{"secret":1}"#),
        br#"{"secret":1,"secret":2}"#.to_vec(),
        b"secret".to_vec(),
        b"\0\0\0\0\x07\x02\x0csecret\xff".to_vec(),
    ];
    for value in records {
        let ran = driver().send(&record(value.clone(), ""));
        let reject = ran.reject.as_ref().unwrap_or_else(|| panic!("{} passed", String::from_utf8_lossy(&value)));
        let shown = format!("{reject:?} {} {:?}", reject.message(), reject.field());
        assert!(!shown.contains("secret"), "{shown}");
    }
}

fn avro_payment() -> Vec<u8> {
    let text = |text: &str| Some(text.to_owned());
    let request = PaymentRequest {
        id: text("p-1"),
        source: text("shop"),
        debit_account: text("alice"),
        credit_account: text("bob"),
        amount: text("5"),
        currency: text("EUR"),
        created_at: text("2026-01-31T12:00:00Z"),
        channel: text("web"),
        ..PaymentRequest::default()
    };
    let mut bytes = [&[0], SCHEMA_ID.to_be_bytes().as_slice()].concat();
    request.encode(&mut bytes).expect("fits its schema");
    bytes
}

/// Passed, or one of the documented codes.
fn assert_coded(ran: &Ran) {
    let code = match ran.outcome {
        Outcome::Passed => return,
        Outcome::Rejected(code) | Outcome::Dead(code) => code,
        other => panic!("{other:?}"),
    };
    assert!(codes().iter().any(|known| known.code == code), "{code}");
}

const CONTENT_TYPES: [&str; 4] = ["", "application/cloudevents+json", "application/avro", "APPLICATION/JSON"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn random_bytes_end_in_a_code(
        value in prop::collection::vec(any::<u8>(), 0..512),
        content_type in prop::sample::select(&CONTENT_TYPES[..]),
    ) {
        assert_coded(&driver().send(&record(value, content_type)));
    }

    #[test]
    fn damaged_payments_end_in_a_code(
        sample in 0..3_usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
        content_type in prop::sample::select(&CONTENT_TYPES[..]),
    ) {
        let event = format!(r#"{{"id":"e","source":"s","data":{PAYMENT}}}"#);
        let mut value = [PAYMENT.as_bytes().to_vec(), event.into_bytes(), avro_payment()][sample].clone();
        for (index, byte) in changes {
            let length = value.len();
            value[index.index(length)] = byte;
        }
        if let Some(cut) = cut {
            value.truncate(cut.index(value.len()));
        }
        assert_coded(&driver().send(&record(value, content_type)));
    }

    #[test]
    fn random_texts_end_in_a_code(
        name in prop::sample::select(&["id", "amount", "currency", "created_at", "credit_account", "type"][..]),
        text in prop_oneof![".*", "-?[0-9]{0,40}\\.?[0-9]{0,40}", "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{8,20}Z?"],
    ) {
        let value = with(name, &serde_json::Value::String(text).to_string());
        assert_coded(&driver().send(&record(value, "")));
    }
}

#[test]
fn the_avro_sample_is_a_valid_payment() {
    assert_eq!(driver().send(&record(avro_payment(), "")).code(), "passed");
}
