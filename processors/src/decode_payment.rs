//! Reads what a sender wrote into a payment request, without believing any of it.
//!
//! - Input: raw records, keyed in any way. Passes on `payment_request`.
//! - Forms: a JSON object; a CloudEvent in structured or binary mode with JSON data; Avro in the Confluent wire format
//!   with a schema registered for `payment_request`. See `docs/reference/payments-input.md`.
//! - Texts only: a JSON number, even a whole one, is not taken for an amount, because a sender's float has already lost
//!   what was meant. A null counts as absent. What the texts say is for `validate_payment` to judge.
//! - Store: none. Time: none.
//! - Codes, first wins: `payload_unreadable`, `schema_unknown`, `schema_mismatch`. There is no identity yet that could
//!   be answered, so these records go to the dead letters and may be replayed once the cause is mended.
//!
//! Example: `{"id":"p-1","amount":12.34}` is a `schema_mismatch` at `/amount`.

use tidemill_core::processor::{MovesMoney, Signature};
use tidemill_core::settings::SettingsError;
use tidemill_core::{AnyEvent, Context, Flow, Processor, ProcessorSpec, RawEvent, Reject, Settings};
use tidemill_schemas::{Merchant, PaymentRequest};

use crate::envelope::{self, Config, PAYLOAD_UNREADABLE, Request, SCHEMA_MISMATCH, SCHEMA_UNKNOWN};
use crate::strict_json::{Fields, Given, Slot};

pub static SPEC: ProcessorSpec = ProcessorSpec {
    name: "decode_payment",
    summary: "Reads JSON, CloudEvents or Avro into a payment request.",
    signatures: &[Signature { takes: RawEvent::KIND, gives: Some(PaymentRequest::KIND) }],
    stores: &[],
    ports: &[],
    references: &[],
    codes: &[PAYLOAD_UNREADABLE, SCHEMA_UNKNOWN, SCHEMA_MISMATCH],
    decodes: Some(PaymentRequest::KIND),
    moves_money: MovesMoney::No,
    example: "value_bytes_max = 1048576\nunknown_fields = \"ignore\"\n",
    build,
};

fn build(settings: &Settings) -> Result<Box<dyn Processor>, Vec<SettingsError>> {
    Ok(Box::new(DecodePayment { config: Config::parse(settings)? }))
}

struct DecodePayment {
    config: Config,
}

impl Processor for DecodePayment {
    fn process(&self, _raw: AnyEvent, context: &mut Context<'_>) -> Result<Flow, Reject> {
        let request: PaymentRequest = envelope::read(&self.config, context)?;
        Ok(Flow::Continue(Box::new(request)))
    }
}

/// A payment request while its JSON is being read.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    request: PaymentRequest,
    merchant: Given<MerchantDraft>,
}

#[derive(Debug, Default)]
struct MerchantDraft {
    id: Option<String>,
    category: Option<String>,
    country: Option<String>,
}

impl Request for PaymentRequest {
    type Draft = Draft;

    fn finish(Draft { mut request, merchant }: Draft) -> Self {
        let Given { fields, given } = merchant;
        request.merchant = given.then(|| Merchant {
            id: fields.id.unwrap_or_default(),
            category: fields.category.unwrap_or_default(),
            country: fields.country.unwrap_or_default(),
        });
        request
    }

    fn id(&mut self) -> &mut Option<String> {
        &mut self.id
    }

    fn source(&mut self) -> &mut Option<String> {
        &mut self.source
    }
}

impl Fields for Draft {
    fn field(&mut self, name: &str) -> Option<(&'static str, Slot<'_>)> {
        let request = &mut self.request;
        Some(match name {
            "id" => ("id", Slot::Text(&mut request.id)),
            "source" => ("source", Slot::Text(&mut request.source)),
            "type" => ("type", Slot::Text(&mut request.payment_type)),
            "debit_account" => ("debit_account", Slot::Text(&mut request.debit_account)),
            "credit_account" => ("credit_account", Slot::Text(&mut request.credit_account)),
            "amount" => ("amount", Slot::Text(&mut request.amount)),
            "currency" => ("currency", Slot::Text(&mut request.currency)),
            "created_at" => ("created_at", Slot::Text(&mut request.created_at)),
            "channel" => ("channel", Slot::Text(&mut request.channel)),
            "merchant" => ("merchant", Slot::Object(&mut self.merchant)),
            "customer" => ("customer", Slot::Text(&mut request.customer)),
            "description" => ("description", Slot::Text(&mut request.description)),
            "metadata" => ("metadata", Slot::Texts(&mut request.metadata)),
            "reference" => ("reference", Slot::Text(&mut request.reference)),
            "expires_at" => ("expires_at", Slot::Text(&mut request.expires_at)),
            "remainder" => ("remainder", Slot::Text(&mut request.remainder)),
            "reason" => ("reason", Slot::Text(&mut request.reason)),
            "quote" => ("quote", Slot::Text(&mut request.quote)),
            "card" => ("card", Slot::Text(&mut request.card)),
            "execute_at" => ("execute_at", Slot::Text(&mut request.execute_at)),
            "retry_until" => ("retry_until", Slot::Text(&mut request.retry_until)),
            "debits" => ("debits", Slot::Texts(&mut request.debits)),
            "credits" => ("credits", Slot::Texts(&mut request.credits)),
            _ => return None,
        })
    }
}

impl Fields for MerchantDraft {
    fn field(&mut self, name: &str) -> Option<(&'static str, Slot<'_>)> {
        Some(match name {
            "id" => ("id", Slot::Text(&mut self.id)),
            "category" => ("category", Slot::Text(&mut self.category)),
            "country" => ("country", Slot::Text(&mut self.country)),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use tidemill_core::Event;
    use tidemill_testkit::{Driver, TestRecord, rows};

    use super::*;

    fn record(content_type: &str, value: &[u8]) -> TestRecord {
        let mut record = TestRecord::value(value);
        if !content_type.is_empty() {
            record.headers.push(("content-type".to_owned(), content_type.as_bytes().to_vec()));
        }
        record
    }

    /// Id, source and amount of the request, or the code and the field of the reject.
    fn decode(driver: &mut Driver, record: &TestRecord) -> String {
        let ran = driver.send(record);
        if let Some(reject) = &ran.reject {
            return format!("{} {}", ran.code(), reject.field().unwrap_or_default()).trim_end().to_owned();
        }
        let request = ran.passed_as::<PaymentRequest>();
        [&request.id, &request.source, &request.amount].map(|text| text.as_deref().unwrap_or("-")).join(" ")
    }

    #[test]
    fn cloud_events_in_structured_mode() {
        let table = r#"
            content-type                                | value                                                                   | result
            application/cloudevents+json                | {"specversion":"1.0","type":"pay","id":"e","source":"s","data":{"amount":"5"}} | e s 5
            application/cloudevents+json; charset=utf-8 | {"specversion":"1.0","type":"pay","id":"e","source":"s","data":{"amount":"5"}} | e s 5
            Application/CloudEvents+JSON                | {"id":"e","source":"s","data":{"id":"p","amount":"5"}}                  | p s 5
            application/cloudevents+json                | {"id":"e","source":"s","data":{"source":"t"},"time":5,"ext":[{}]}       | e t -
            application/cloudevents+json                | {"id":"e","source":"s"}                                                 | schema_mismatch /data
            application/cloudevents+json                | {"id":"e","source":"s","data":null}                                     | schema_mismatch /data
            application/cloudevents+json                | {"id":"e","source":"s","data":"{}"}                                     | schema_mismatch /data
            application/cloudevents+json                | {"id":"e","source":"s","data":{"amount":5}}                             | schema_mismatch /data/amount
            application/cloudevents+json                | {"id":1,"source":"s","data":{}}                                         | schema_mismatch /id
            application/cloudevents+json                | {"id":"e","id":"e","data":{}}                                           | payload_unreadable
            application/cloudevents-batch+json          | [{"id":"e","source":"s","data":{}}]                                     | payload_unreadable
            application/json                            | {"id":"p","source":"s","data":{"id":"x"}}                               | p s -
        "#;
        let mut driver = Driver::new(&[(&SPEC, "")]);
        for row in rows(table) {
            let record = record(row["content-type"], row["value"].as_bytes());
            assert_eq!(decode(&mut driver, &record), row["result"], "{}: {}", row["content-type"], row["value"]);
        }
    }

    #[test]
    fn cloud_events_in_binary_mode() {
        let table = r#"
            ce_id | ce_source | content-type     | value                              | result
            e     | /ctx/sub  | application/json | {"amount":"5"}                     | e /ctx/sub 5
            e     | /ctx/sub  |                  | {"id":"p","amount":"5"}            | p /ctx/sub 5
            e     | /ctx/sub  | text/json        | {"id":"p","source":"s"}            | p s -
            e     |           | application/json | {"id":null}                        | e - -
            e     | /ctx/sub  | avro/binary      | {"id":"p","source":"s"}            | payload_unreadable
        "#;
        let mut driver = Driver::new(&[(&SPEC, "")]);
        for row in rows(table) {
            let mut record = record(row["content-type"], row["value"].as_bytes());
            for name in ["ce_id", "ce_source"].into_iter().filter(|name| !row[name].is_empty()) {
                record.headers.push((name.to_owned(), row[name].as_bytes().to_vec()));
            }
            record.headers.push(("ce_specversion".to_owned(), b"1.0".to_vec()));
            record.headers.push(("ce_type".to_owned(), b"pay".to_vec()));
            assert_eq!(decode(&mut driver, &record), row["result"], "{row:?}");
        }
    }

    #[test]
    fn avro_in_the_wire_format() {
        let request =
            PaymentRequest { id: Some("p".to_owned()), amount: Some("5".to_owned()), ..PaymentRequest::default() };
        let mut datum = Vec::new();
        request.encode(&mut datum).expect("fits its schema");
        let framed = |id: u32, datum: &[u8]| [&[0], id.to_be_bytes().as_slice(), datum].concat();
        let mut driver = Driver::new(&[(&SPEC, "")]);
        let decoder = |schema| (PaymentRequest::CODEC.decoder)(schema).expect("is a schema");
        driver.register(7, decoder(PaymentRequest::CODEC.schema));
        let alert = tidemill_schemas::Alert::CODEC;
        driver.register(8, (alert.decoder)(alert.schema).expect("is a schema"));
        let mut with_guid = record("avro/binary", &datum);
        with_guid.headers.push(("__value_schema_id".to_owned(), [1; 17].to_vec()));
        let mut cloud_event = record("application/avro", &framed(7, &datum));
        cloud_event.headers.push(("ce_source".to_owned(), b"s".to_vec()));
        let cases = [
            (record("", &framed(7, &datum)), "p - 5"),
            (cloud_event, "p s 5"),
            (record("", &framed(9, &datum)), "schema_unknown"),
            (with_guid, "schema_unknown"),
            (record("", &framed(7, &datum[1..])), "schema_mismatch /id"),
            (record("", &framed(7, &datum[..datum.len() - 1])), "schema_mismatch /credits"),
            (record("", &framed(7, &[&datum, b"x".as_slice()].concat())), "schema_mismatch"),
            (record("", &framed(8, &datum)), "schema_mismatch /meta/produced_by"),
            (record("", &[0, 0, 0, 7]), "payload_unreadable"),
            (record("application/avro", &datum), "payload_unreadable"),
        ];
        for (record, result) in cases {
            assert_eq!(decode(&mut driver, &record), result, "{record:?}");
        }
    }

    #[test]
    fn settings_are_checked() {
        let mut driver = Driver::new(&[(&SPEC, "unknown_fields = \"reject\"\nvalue_bytes_max = 40")]);
        let table = r#"
            value                                     | result
            {"id":"p","metadata":{"x":"y"}}           | p - -
            {"id":"p","colour":"red"}                 | schema_mismatch
            {"id":"p","merchant":{"vat":"1"}}         | schema_mismatch /merchant
            {"id":"p","description":"0123456789012"}  | p - -
            {"id":"p","description":"01234567890123"} | payload_unreadable
        "#;
        for row in rows(table) {
            assert_eq!(decode(&mut driver, &record("", row["value"].as_bytes())), row["result"], "{}", row["value"]);
        }
        for text in ["value_bytes_max = 0", "value_bytes_max = 16777217", "unknown_fields = \"drop\"", "x = 1"] {
            assert!(build(&Settings(text.parse().expect("is TOML"))).is_err(), "{text}");
        }
        assert!(build(&Settings(SPEC.example.parse().expect("is TOML"))).is_ok());
    }
}
