//! Events that are written by hand, as JSON.

use serde_json::json;
use tidemill_core::EventCodec;
use tidemill_schemas::json::{JSON_CODES, JsonReader};
use tidemill_schemas::{FeeSchedule, FxQuote, LedgerEntry};

use crate::samples::samples;

fn reader(codec: &EventCodec) -> JsonReader {
    JsonReader::new(codec).unwrap_or_else(|error| panic!("{codec:?}: {error}"))
}

#[test]
fn every_kind_can_be_written_as_it_is_shown() {
    for sample in samples() {
        let read = reader(&sample.codec).read(sample.json.to_string().as_bytes());
        let read = read.unwrap_or_else(|error| panic!("{:?}: {error}", sample.codec));
        assert_eq!(format!("{read:?}"), format!("{:?}", sample.full), "{:?}", sample.codec);
    }
}

#[test]
fn what_has_a_default_may_be_left_out_and_times_are_text() {
    let line = br#"{"name": "gold", "version": "1", "effective_from": "2026-01-01T00:00:00+01:00", "currency": "EUR",
        "channel": "", "tiers": [{"rate": "0.01"}], "flat_minor": 0, "min_minor": 0, "rounding": "half_even"}"#;
    let read = reader(&FeeSchedule::CODEC).read(line).expect("is a schedule");
    let schedule = read.downcast_ref::<FeeSchedule>().expect("is a schedule");
    assert_eq!(schedule.effective_from.to_string(), "2025-12-31T23:00:00Z");
    assert_eq!((schedule.tiers[0].up_to_minor, schedule.max_minor, schedule.priority), (None, None, 0));
    let mut entry = samples().into_iter().find(|sample| sample.codec.kind == LedgerEntry::KIND).expect("is there").json;
    entry["booking_date"] = json!("2026-01-31");
    let read = reader(&LedgerEntry::CODEC).read(entry.to_string().as_bytes()).expect("is an entry");
    let booked = read.downcast_ref::<LedgerEntry>().expect("is an entry");
    assert_eq!(booked.booking_date, Some(tidemill_schemas::Date(20_484)));
}

/// What is done to a good quote, and the code and field that are named.
#[test]
fn what_cannot_be_read_is_named_and_not_quoted() {
    let good = json!({
        "quote": "q", "sell_currency": "EUR", "buy_currency": "USD", "rate": "1.1", "spread": "0",
        "effective_from": "2026-01-01T00:00:00Z", "expires_at": "2026-02-01T00:00:00Z",
    });
    let cases = [
        ("rate", json!(1.1), "json_field_mismatch"),
        ("rate", json!(null), "json_field_mismatch"),
        ("expires_at", json!("s3cret"), "json_field_mismatch"),
        ("expires_at", json!("2026-02-01"), "json_field_mismatch"),
        ("expires_at", json!(1.5), "json_field_mismatch"),
        ("rat", json!("1.1"), "json_field_unknown"),
        ("meta", json!({"record_id": "r"}), "json_field_missing"),
        ("meta", json!({"record_id": "r", "produced_by": "p", "by": "s3cret"}), "json_field_unknown"),
    ];
    let reader = reader(&FxQuote::CODEC);
    assert!(reader.read(good.to_string().as_bytes()).is_ok());
    for (field, value, code) in cases {
        let mut line = good.clone();
        line[field] = value;
        let error = reader.read(line.to_string().as_bytes()).expect_err(field);
        assert_eq!(error.code.code, code, "{error}");
        assert!(error.field.starts_with(field) && !error.to_string().contains("s3cret"), "{error}");
    }
    for field in ["quote", "rate", "expires_at"] {
        let mut line = good.clone();
        line.as_object_mut().expect("is an object").remove(field);
        let error = reader.read(line.to_string().as_bytes()).expect_err(field);
        assert_eq!((error.code.code, error.field.as_str()), ("json_field_missing", field));
    }
    for line in ["", "[]", "{", "\"quote\"", "{} {}"] {
        let error = reader.read(line.as_bytes()).expect_err(line);
        assert_eq!(error.code.code, "json_unreadable", "{line}: {error}");
    }
    assert!(JSON_CODES.iter().all(|code| !code.summary.is_empty() && !code.remedy.is_empty()));
}

#[test]
fn a_field_of_a_list_is_named_by_its_place() {
    let line = br#"{"name": "gold", "version": "1", "effective_from": "2026-01-01T00:00:00Z", "currency": "EUR",
        "channel": "", "tiers": [{"rate": "0.01", "up_to_minor": 5}, {"rate": 0.01}], "flat_minor": 0, "min_minor": 0,
        "rounding": "half_even"}"#;
    let error = reader(&FeeSchedule::CODEC).read(line).expect_err("a rate is text");
    assert_eq!(error.to_string(), "json_field_mismatch: `tiers[1].rate` must be text");
}
