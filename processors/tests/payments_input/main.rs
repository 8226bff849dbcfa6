//! What upstream systems send, good and bad, through decoding and validation together.

mod docs;
mod hostile;
mod precedence;

use tidemill_core::CodeSpec;
use tidemill_processors::{decode_payment, dedupe_payment, validate_payment};
use tidemill_schemas::PaymentRequest;
use tidemill_testkit::{Driver, TestRecord};

/// The registered number of the schema for payment requests.
const SCHEMA_ID: u32 = 7;

fn driver() -> Driver {
    let mut driver = Driver::new(&[(&decode_payment::SPEC, ""), (&validate_payment::SPEC, "")]);
    let codec = PaymentRequest::CODEC;
    driver.register(SCHEMA_ID, (codec.decoder)(codec.schema).expect("is a schema"));
    driver
}

/// The codes of the way in, in order of precedence.
fn codes() -> Vec<CodeSpec> {
    [&decode_payment::SPEC, &validate_payment::SPEC, &dedupe_payment::SPEC]
        .into_iter()
        .flat_map(|spec| spec.codes)
        .copied()
        .collect()
}

fn record(value: impl Into<Vec<u8>>, content_type: &str) -> TestRecord {
    let mut record = TestRecord::value(value);
    if !content_type.is_empty() {
        record.headers.push(("content-type".to_owned(), content_type.as_bytes().to_vec()));
    }
    record
}

const PAYMENT: &str = r#"{"id":"p-1","source":"shop","type":"transfer","debit_account":"alice","credit_account":"bob",
    "amount":"5","currency":"EUR","created_at":"2026-01-31T12:00:00Z","channel":"web","customer":"c-1",
    "merchant":{"id":"m-1","category":"5411","country":"DE"},"description":"rent","metadata":{"k":"v"}}"#;
