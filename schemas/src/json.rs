//! Events from JSON, field by field as the schema of their kind says: for people and scripts that publish by hand.
//!
//! - A field with a default may be left out, and so may `meta`, which is filled in by whoever writes the record. One that
//!   the schema does not know is refused: it is a field that was meant to do something.
//! - Times are RFC 3339 text or whole microseconds since 1970, days text like `2026-01-31` or whole days since 1970;
//!   numbers are whole. So what `consume` shows can be written again.
//! - Errors name the field and never quote what stands in it.

use std::collections::HashMap;

use apache_avro::Schema;
use apache_avro::schema::{EnumSchema, Name, RecordField, RecordSchema, ResolvedSchema, UnionSchema};
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use serde_json::{Map, Value as Json, json};
use tidemill_core::{AnyEvent, Class, CodeSpec, DecodeError, EventCodec, EventDecoder, EventTime};

pub const JSON_UNREADABLE: CodeSpec = CodeSpec {
    code: "json_unreadable",
    class: Class::Decode,
    summary: "A line that is to be published is not one JSON object.",
    remedy: "Write one object per line, `{…}`.",
};

pub const JSON_FIELD_UNKNOWN: CodeSpec = CodeSpec {
    code: "json_field_unknown",
    class: Class::Schema,
    summary: "A line that is to be published has a field that its kind does not have.",
    remedy: "Correct the name or leave it out; `tidemill dev schema KIND` shows the fields.",
};

pub const JSON_FIELD_MISSING: CodeSpec = CodeSpec {
    code: "json_field_missing",
    class: Class::Schema,
    summary: "A line that is to be published lacks a field that has no default.",
    remedy: "Add the field; `tidemill dev schema KIND` shows which there are.",
};

pub const JSON_FIELD_MISMATCH: CodeSpec = CodeSpec {
    code: "json_field_mismatch",
    class: Class::Schema,
    summary: "A field of a line that is to be published holds something else than its kind says.",
    remedy: "The message says what the field must be; `tidemill dev schema KIND` shows all of them.",
};

/// In order of precedence within one field.
pub const JSON_CODES: &[&CodeSpec] =
    &[&JSON_UNREADABLE, &JSON_FIELD_UNKNOWN, &JSON_FIELD_MISSING, &JSON_FIELD_MISMATCH];

const DAY_MICROS: i64 = 86_400_000_000;

/// Why a line is no event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {}{message}", code.code, if field.is_empty() { String::new() } else { format!("`{field}` ") })]
pub struct JsonError {
    pub code: &'static CodeSpec,
    /// `tiers[1].rate`; empty for the whole.
    pub field: String,
    pub message: String,
}

/// Reads events of one kind.
pub struct JsonReader {
    schema: Schema,
    names: HashMap<Name, Schema>,
    decoder: Box<dyn EventDecoder>,
}

impl JsonReader {
    /// Fails where the kind is not framed with a schema.
    pub fn new(codec: &EventCodec) -> Result<Self, DecodeError> {
        let unusable = |error| DecodeError::new(format!("schema cannot be resolved: {error}"));
        let schema = Schema::parse_str(codec.schema).map_err(unusable)?;
        let resolved = ResolvedSchema::new(&schema).map_err(unusable)?;
        let names = resolved.get_names().iter().map(|(name, schema)| (name.clone(), (*schema).clone())).collect();
        Ok(Self { schema, names, decoder: (codec.decoder)(codec.schema)? })
    }

    pub fn read(&self, text: &[u8]) -> Result<AnyEvent, JsonError> {
        let whole = |code: &'static CodeSpec, message: String| JsonError { code, field: String::new(), message };
        let parsed: Result<Map<String, Json>, _> = serde_json::from_slice(text);
        let mut object = parsed.map_err(|error| {
            whole(&JSON_UNREADABLE, format!("is no JSON object, at column {} of the line", error.column()))
        })?;
        if matches!(&self.schema, Schema::Record(record) if record.lookup.contains_key("meta")) {
            object.entry("meta").or_insert_with(|| json!({"record_id": "", "produced_by": ""}));
        }
        let value = self.convert(&self.schema, &Json::Object(object), "")?;
        // What is left is what Avro and serde cannot say about one field.
        let misfit = |what: String| whole(&JSON_FIELD_MISMATCH, what);
        let writer = GenericDatumWriter::builder(&self.schema).build();
        let datum = writer.and_then(|writer| writer.write_value_to_vec(value));
        let datum = datum.map_err(|_| misfit("does not fit the schema".to_owned()))?;
        self.decoder.decode(&datum).map_err(|error| misfit(error.message))
    }

    fn convert(&self, schema: &Schema, json: &Json, path: &str) -> Result<Value, JsonError> {
        let mismatch = |must: &str| JsonError {
            code: &JSON_FIELD_MISMATCH,
            field: path.to_owned(),
            message: format!("must be {must}"),
        };
        let whole = |must: &str| json.as_i64().ok_or_else(|| mismatch(must));
        Ok(match schema {
            Schema::Null => json.as_null().map(|()| Value::Null).ok_or_else(|| mismatch("null"))?,
            Schema::Boolean => Value::Boolean(json.as_bool().ok_or_else(|| mismatch("true or false"))?),
            Schema::Int => {
                let number = json.as_i64().and_then(|number| i32::try_from(number).ok());
                Value::Int(number.ok_or_else(|| mismatch("a whole number of 32 bits"))?)
            }
            Schema::Long => Value::Long(whole("a whole number of 64 bits")?),
            Schema::String => Value::String(json.as_str().ok_or_else(|| mismatch("text"))?.to_owned()),
            Schema::TimestampMicros => Value::TimestampMicros(match json.as_str() {
                Some(text) => EventTime::parse(text).ok_or_else(|| mismatch(TIME))?.micros(),
                None => whole(TIME)?,
            }),
            Schema::Date => {
                let days = match json.as_str() {
                    Some(text) => EventTime::parse(&format!("{text}T00:00:00Z")).map(|at| at.micros() / DAY_MICROS),
                    None => json.as_i64(),
                };
                Value::Date(days.and_then(|days| i32::try_from(days).ok()).ok_or_else(|| mismatch(DAY))?)
            }
            Schema::Enum(EnumSchema { symbols, .. }) => {
                let known = |text: &str| symbols.iter().position(|symbol| symbol == text);
                let index = json.as_str().and_then(known).and_then(|index| u32::try_from(index).ok());
                let index = index.ok_or_else(|| mismatch(&format!("one of {}", symbols.join(", "))))?;
                Value::Enum(index, json.as_str().unwrap_or_default().to_owned())
            }
            Schema::Array(array) => {
                let items = json.as_array().ok_or_else(|| mismatch("a list"))?.iter().enumerate();
                let items = items.map(|(index, item)| self.convert(&array.items, item, &format!("{path}[{index}]")));
                Value::Array(items.collect::<Result<_, _>>()?)
            }
            Schema::Map(map) => {
                let fields = json.as_object().ok_or_else(|| mismatch("an object"))?.iter();
                let field = |(name, field): (&String, &Json)| {
                    Ok((name.clone(), self.convert(&map.types, field, &within(path, name))?))
                };
                Value::Map(fields.map(field).collect::<Result<_, JsonError>>()?)
            }
            Schema::Union(union) => self.convert_union(union, json, path)?,
            Schema::Record(record) => {
                self.convert_record(record, json.as_object().ok_or_else(|| mismatch("an object"))?, path)?
            }
            Schema::Ref { name } => {
                let named = self.names.get(name).ok_or_else(|| mismatch("of a type that its schema names"))?;
                self.convert(named, json, path)?
            }
            _ => return Err(mismatch("left out: JSON has no form for it")),
        })
    }

    /// The first variant that fits; the error of the last where none does, which in `["null", …]` is the other.
    fn convert_union(&self, union: &UnionSchema, json: &Json, path: &str) -> Result<Value, JsonError> {
        let mut error = None;
        for (index, variant) in (0_u32..).zip(union.variants()) {
            match self.convert(variant, json, path) {
                Ok(value) => return Ok(Value::Union(index, Box::new(value))),
                Err(other) => error = Some(other),
            }
        }
        Err(error.unwrap_or_else(|| JsonError {
            code: &JSON_FIELD_MISMATCH,
            field: path.to_owned(),
            message: "has no value that fits".to_owned(),
        }))
    }

    fn convert_record(&self, record: &RecordSchema, json: &Map<String, Json>, path: &str) -> Result<Value, JsonError> {
        let known = |name: &&String| record.fields.iter().any(|field| field.name == **name);
        if let Some(unknown) = json.keys().find(|name| !known(name)) {
            let names: Vec<&str> = record.fields.iter().map(|field| field.name.as_str()).collect();
            let message = match tidemill_core::diagnostic::nearest(unknown, names) {
                Some(near) => format!("is not a field; did you mean `{near}`?"),
                None => "is not a field".to_owned(),
            };
            return Err(JsonError { code: &JSON_FIELD_UNKNOWN, field: within(path, unknown), message });
        }
        let convert = |field: &RecordField| {
            let path = within(path, &field.name);
            let value = match json.get(&field.name).or(field.default.as_ref()) {
                Some(value) => self.convert(&field.schema, value, &path)?,
                None => {
                    let message = "is missing and has no default".to_owned();
                    return Err(JsonError { code: &JSON_FIELD_MISSING, field: path, message });
                }
            };
            Ok((field.name.clone(), value))
        };
        Ok(Value::Record(record.fields.iter().map(convert).collect::<Result<_, _>>()?))
    }
}

const TIME: &str = "an RFC 3339 time with an offset, as in \"2026-01-01T00:00:00Z\"";
const DAY: &str = "a day, as in \"2026-01-31\"";

fn within(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
