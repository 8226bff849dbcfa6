//! How a request arrives: plain JSON, JSON in a CloudEvent (structured or binary mode), or Avro in the Confluent wire
//! format. Whatever the bytes and headers, the result is a request or a coded reject.
//!
//! Which form it is, first match wins: a `content-type` that starts with `application/cloudevents` (structured), a
//! header `__value_schema_id` or a first byte 0 (Avro), anything else (JSON). `id` and `source` of a CloudEvent, in the
//! envelope or in the headers `ce_id` and `ce_source`, fill in those fields where the data has none.

use serde::Deserialize;
use tidemill_core::context::UnknownSchema;
use tidemill_core::settings::SettingsError;
use tidemill_core::{Class, CodeSpec, Context, Event, Headers, Reject, Settings};

use crate::strict_json::{self, Fault, Fields, Given, Slot, UnknownFields};

pub(crate) const PAYLOAD_UNREADABLE: CodeSpec = CodeSpec {
    code: "payload_unreadable",
    class: Class::Decode,
    summary: "The value is empty, too large, or not one well-formed JSON object.",
    remedy: "Send one JSON object in UTF-8 within the documented limits, then send the record again.",
};

pub(crate) const SCHEMA_UNKNOWN: CodeSpec = CodeSpec {
    code: "schema_unknown",
    class: Class::Schema,
    summary: "The value names an Avro schema that the registry does not know.",
    remedy: "Register the schema, or point the pipeline at the registry that has it, then replay the record.",
};

pub(crate) const SCHEMA_MISMATCH: CodeSpec = CodeSpec {
    code: "schema_mismatch",
    class: Class::Schema,
    summary: "A field has the wrong type, or the bytes do not fit the schema they name.",
    remedy: "Send every field in its documented type, amounts as decimal text and never as a number.",
};

/// A type of request that arrives from outside.
pub(crate) trait Request: Event + Sized {
    /// The request while its JSON is being read.
    type Draft: Fields + Default;

    fn finish(draft: Self::Draft) -> Self;
    fn id(&mut self) -> &mut Option<String>;
    fn source(&mut self) -> &mut Option<String>;
}

/// Settings of a processor that reads requests.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// Larger values are refused unread. 1 to 16,777,216.
    value_bytes_max: usize,
    /// What happens to JSON fields that are not known: `ignore` or `reject`.
    unknown_fields: UnknownFields,
}

impl Default for Config {
    fn default() -> Self {
        Self { value_bytes_max: 1024 * 1024, unknown_fields: UnknownFields::Ignore }
    }
}

impl Config {
    pub(crate) fn parse(settings: &Settings) -> Result<Self, Vec<SettingsError>> {
        let config: Self = settings.parse()?;
        if !(1..=16 * 1024 * 1024).contains(&config.value_bytes_max) {
            let error = SettingsError::new("value_bytes_max", "must be from 1 to 16777216");
            return Err(vec![error.hint("Leave it out for 1048576 bytes, what brokers take by default.")]);
        }
        Ok(config)
    }
}

/// Reads the record of `context` as an `R`.
pub(crate) fn read<R: Request>(config: &Config, context: &Context<'_>) -> Result<R, Reject> {
    let value = context.record.value.unwrap_or_default();
    if value.is_empty() {
        return Err(unreadable("the record has no value"));
    }
    if value.len() > config.value_bytes_max {
        return Err(unreadable("the value is larger than `value_bytes_max`"));
    }
    let headers = context.record.headers;
    let content_type = content_type(headers);
    if content_type.starts_with("application/cloudevents") {
        return structured(value, config);
    }
    let mut request = if headers.get("__value_schema_id").is_some() {
        return Err(Reject::new(&SCHEMA_UNKNOWN).because("schemas are found by number, not by the id in a header"));
    } else if value[0] == 0 {
        avro(value, context)?
    } else if content_type.contains("avro") {
        return Err(unreadable("Avro without the five bytes that name its schema"));
    } else {
        json(value, config)?
    };
    fill(R::id(&mut request), headers.text("ce_id"));
    fill(R::source(&mut request), headers.text("ce_source"));
    Ok(request)
}

fn content_type(headers: Headers<'_>) -> String {
    let values = headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    let text = values.last().and_then(|(_, value)| std::str::from_utf8(value?).ok());
    text.unwrap_or_default().trim_start().to_ascii_lowercase()
}

fn json<R: Request>(value: &[u8], config: &Config) -> Result<R, Reject> {
    let mut draft = R::Draft::default();
    strict_json::read_object(value, &mut draft, config.unknown_fields).map_err(reject)?;
    Ok(R::finish(draft))
}

fn structured<R: Request>(value: &[u8], config: &Config) -> Result<R, Reject> {
    let mut envelope: Envelope<R::Draft> = Envelope { id: None, source: None, data: Given::default() };
    strict_json::read_object(value, &mut envelope, config.unknown_fields).map_err(reject)?;
    if !envelope.data.given {
        return Err(Reject::new(&SCHEMA_MISMATCH).because("the CloudEvent has no JSON object as its data").at("/data"));
    }
    let mut request = R::finish(envelope.data.fields);
    fill(R::id(&mut request), envelope.id.as_deref());
    fill(R::source(&mut request), envelope.source.as_deref());
    Ok(request)
}

/// Confluent wire format: a zero byte, the schema's number in four bytes, the datum.
fn avro<R: Request>(value: &[u8], context: &Context<'_>) -> Result<R, Reject> {
    let Some((number, datum)) = value[1..].split_first_chunk::<4>() else {
        return Err(unreadable("the Avro value ends within the number of its schema"));
    };
    let decoder = context.schemas.decoder(u32::from_be_bytes(*number)).map_err(|unknown| match unknown {
        UnknownSchema::NotRegistered => Reject::new(&SCHEMA_UNKNOWN),
        UnknownSchema::NotUsable => {
            Reject::new(&SCHEMA_MISMATCH).because("the schema is registered for something other than this request")
        }
    })?;
    let event = decoder.decode(datum).map_err(|error| {
        let reject = Reject::new(&SCHEMA_MISMATCH).because(error.message);
        match error.field {
            Some(field) => reject.at(field),
            None => reject,
        }
    })?;
    event.downcast::<R>().map_err(|_| {
        Reject::new(&SCHEMA_MISMATCH).because("the schema is that of another kind of event than this request")
    })
}

fn fill(field: &mut Option<String>, text: Option<&str>) {
    if field.is_none() {
        *field = text.map(str::to_owned);
    }
}

fn unreadable(message: &'static str) -> Reject {
    Reject::new(&PAYLOAD_UNREADABLE).because(message)
}

fn reject(fault: Fault) -> Reject {
    match fault {
        Fault::Unreadable(message) => unreadable(message),
        Fault::Mismatch { message, pointer } => Reject::new(&SCHEMA_MISMATCH).because(message).at(pointer),
    }
}

/// A CloudEvent in structured mode. Attributes that say nothing about a request are ignored whatever the settings.
struct Envelope<D> {
    id: Option<String>,
    source: Option<String>,
    data: Given<D>,
}

impl<D: Fields> Fields for Envelope<D> {
    fn field(&mut self, name: &str) -> Option<(&'static str, Slot<'_>)> {
        Some(match name {
            "id" => ("id", Slot::Text(&mut self.id)),
            "source" => ("source", Slot::Text(&mut self.source)),
            "data" => ("data", Slot::Object(&mut self.data)),
            _ => ("", Slot::Ignore),
        })
    }
}
