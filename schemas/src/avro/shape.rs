//! Schemas in the form in which datums are read and written: names resolved, logical types reduced to what lies in the
//! bytes.
//!
//! Senders register schemas of their own. Three of them would let a few bytes ask for unbounded stack, time or memory,
//! and are refused: types that contain themselves, arrays of items that take no bytes, and enormous `fixed` fields.

use std::collections::HashMap;
use std::sync::OnceLock;

use apache_avro::Schema;
use apache_avro::schema::{Name, RecordSchema, ResolvedSchema, UuidSchema};
use tidemill_core::DecodeError;

const DEPTH_MAX: u32 = 32;
const NODES_MAX: u32 = 4_096;
const FIXED_BYTES_MAX: usize = 1024 * 1024;

#[derive(Debug)]
pub(crate) enum Shape {
    Null,
    Boolean,
    Int,
    Long,
    Text,
    Bytes,
    /// Of that many bytes. Floating point is among these: no field is a number of that sort, so it is only passed over.
    Fixed(usize),
    Enum(Box<[Box<str>]>),
    Array(Box<Shape>),
    Map(Box<Shape>),
    Union(Box<[Shape]>),
    Record(Record),
}

#[derive(Debug)]
pub(crate) struct Record {
    pub(super) fields: Box<[Field]>,
    pub(super) positions: OnceLock<Positions>,
}

#[derive(Debug)]
pub(crate) struct Field {
    pub(super) name: Box<str>,
    pub(super) shape: Shape,
}

/// Where the fields of a schema are among those of the Rust type that is read.
#[derive(Debug)]
pub(crate) struct Positions {
    /// Of the type, which is known by the place of this list.
    pub(super) names: &'static [&'static str],
    /// For each field of the schema; past the end for one that the type does not have.
    pub(super) of_fields: Box<[u64]>,
}

impl Shape {
    /// Fails on a schema with which reading could take more than time and memory in proportion to the bytes.
    pub(super) fn of(schema: &Schema) -> Result<Self, DecodeError> {
        let resolved = ResolvedSchema::try_from(schema)
            .map_err(|error| DecodeError::new(format!("schema cannot be resolved: {error}")))?;
        Walk { names: resolved.get_names(), nodes: 0 }.shape(schema, 0)
    }

    /// Whether there is a value of it that takes no bytes.
    fn can_be_empty(&self) -> bool {
        match self {
            Self::Null | Self::Fixed(0) => true,
            Self::Record(record) => record.fields.iter().all(|field| field.shape.can_be_empty()),
            _ => false,
        }
    }
}

impl Record {
    /// For reading into a type with the fields `names`.
    pub(super) fn positions(&self, names: &'static [&'static str]) -> Positions {
        let position =
            |field: &Field| names.iter().position(|name| **name == *field.name).unwrap_or(names.len()) as u64;
        Positions { names, of_fields: self.fields.iter().map(position).collect() }
    }
}

struct Walk<'a> {
    names: &'a HashMap<Name, &'a Schema>,
    nodes: u32,
}

impl Walk<'_> {
    fn shape(&mut self, schema: &Schema, depth: u32) -> Result<Shape, DecodeError> {
        self.nodes += 1;
        if depth > DEPTH_MAX || self.nodes > NODES_MAX {
            return Err(DecodeError::new(format!(
                "schema contains itself, is deeper than {DEPTH_MAX} levels or larger than {NODES_MAX} nodes"
            )));
        }
        Ok(match schema {
            Schema::Null => Shape::Null,
            Schema::Boolean => Shape::Boolean,
            Schema::Int | Schema::Date | Schema::TimeMillis => Shape::Int,
            Schema::Long | Schema::TimeMicros => Shape::Long,
            Schema::TimestampMillis | Schema::TimestampMicros | Schema::TimestampNanos => Shape::Long,
            Schema::LocalTimestampMillis | Schema::LocalTimestampMicros | Schema::LocalTimestampNanos => Shape::Long,
            Schema::Float => Shape::Fixed(4),
            Schema::Double => Shape::Fixed(8),
            Schema::Bytes | Schema::BigDecimal | Schema::Uuid(UuidSchema::Bytes) => Shape::Bytes,
            Schema::String | Schema::Uuid(UuidSchema::String) => Shape::Text,
            Schema::Fixed(fixed) | Schema::Duration(fixed) | Schema::Uuid(UuidSchema::Fixed(fixed)) => {
                self.fixed(fixed.size)?
            }
            Schema::Decimal(decimal) => match &decimal.inner {
                apache_avro::schema::InnerDecimalSchema::Bytes => Shape::Bytes,
                apache_avro::schema::InnerDecimalSchema::Fixed(fixed) => self.fixed(fixed.size)?,
            },
            Schema::Enum(symbols) => Shape::Enum(symbols.symbols.iter().map(|name| name.as_str().into()).collect()),
            Schema::Array(array) => match self.shape(&array.items, depth + 1)? {
                items if items.can_be_empty() => {
                    return Err(DecodeError::new("schema has an array whose items take no bytes"));
                }
                items => Shape::Array(Box::new(items)),
            },
            Schema::Map(map) => Shape::Map(Box::new(self.shape(&map.types, depth + 1)?)),
            Schema::Union(union) => {
                let variants = union.variants().iter().map(|variant| self.shape(variant, depth + 1));
                Shape::Union(variants.collect::<Result<_, _>>()?)
            }
            Schema::Record(record) => self.record(record, depth)?,
            Schema::Ref { name } => match self.names.get(name) {
                Some(named) => self.shape(named, depth + 1)?,
                None => return Err(DecodeError::new("schema refers to a name it does not define")),
            },
        })
    }

    fn record(&mut self, record: &RecordSchema, depth: u32) -> Result<Shape, DecodeError> {
        let mut fields = Vec::with_capacity(record.fields.len());
        for field in &record.fields {
            fields.push(Field { name: field.name.as_str().into(), shape: self.shape(&field.schema, depth + 1)? });
        }
        Ok(Shape::Record(Record { fields: fields.into(), positions: OnceLock::new() }))
    }

    fn fixed(&self, bytes: usize) -> Result<Shape, DecodeError> {
        match bytes {
            0..=FIXED_BYTES_MAX => Ok(Shape::Fixed(bytes)),
            _ => Err(DecodeError::new(format!("schema has a fixed field of more than {FIXED_BYTES_MAX} bytes"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unbounded_schemas_are_refused() {
        let cases = [
            (r#"{"type":"array","items":"string"}"#, None),
            (r#"{"type":"array","items":"null"}"#, Some("take no bytes")),
            (r#"{"type":"array","items":{"type":"record","name":"E","fields":[]}}"#, Some("take no bytes")),
            (r#"{"type":"record","name":"N","fields":[{"name":"next","type":["null","N"]}]}"#, Some("contains itself")),
            (r#"{"type":"fixed","name":"F","size":16}"#, None),
            (r#"{"type":"fixed","name":"F","size":99999999999}"#, Some("fixed field")),
            (r#"{"type":"map","values":["null","long"]}"#, None),
        ];
        for (schema, expected) in cases {
            let parsed = Schema::parse_str(schema).expect("is a schema");
            let message = Shape::of(&parsed).err().map(|error| error.message);
            match (&message, expected) {
                (None, None) => {}
                (Some(message), Some(part)) if message.contains(part) => {}
                _ => panic!("{schema}: {message:?}, expected {expected:?}"),
            }
        }
    }
}
