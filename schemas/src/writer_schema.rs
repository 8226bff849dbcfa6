//! Holds a writer's schema to limits before anything is decoded with it.
//!
//! Senders register schemas of their own. Three shapes would let a few bytes ask for unbounded stack, time or memory:
//! types that contain themselves, arrays of items that take no bytes, and enormous `fixed` fields.

use std::collections::HashMap;

use apache_avro::Schema;
use apache_avro::schema::{Name, ResolvedSchema};
use tidemill_core::DecodeError;

const DEPTH_MAX: u32 = 32;
const NODES_MAX: u32 = 4_096;
const FIXED_BYTES_MAX: usize = 1024 * 1024;

/// Refuses a schema with which decoding could take more than time and memory in proportion to the bytes.
pub(crate) fn check_writer_schema(schema: &Schema) -> Result<(), DecodeError> {
    let resolved = ResolvedSchema::try_from(schema)
        .map_err(|error| DecodeError::new(format!("schema cannot be resolved: {error}")))?;
    Walk { names: resolved.get_names(), nodes: 0 }.bytes_min(schema, 0).map(|_| ())
}

struct Walk<'a> {
    names: &'a HashMap<Name, &'a Schema>,
    nodes: u32,
}

impl Walk<'_> {
    /// The least number of bytes a value of `schema` takes, where only 0 or more than 0 matters.
    fn bytes_min(&mut self, schema: &Schema, depth: u32) -> Result<usize, DecodeError> {
        self.nodes += 1;
        if depth > DEPTH_MAX || self.nodes > NODES_MAX {
            return Err(DecodeError::new(format!(
                "schema contains itself, is deeper than {DEPTH_MAX} levels or larger than {NODES_MAX} nodes"
            )));
        }
        match schema {
            Schema::Null => Ok(0),
            Schema::Ref { name } => match self.names.get(name) {
                Some(named) => self.bytes_min(named, depth + 1),
                None => Err(DecodeError::new("schema refers to a name it does not define")),
            },
            Schema::Record(record) => {
                let mut bytes: usize = 0;
                for field in &record.fields {
                    bytes = bytes.saturating_add(self.bytes_min(&field.schema, depth + 1)?);
                }
                Ok(bytes)
            }
            Schema::Array(array) => match self.bytes_min(&array.items, depth + 1)? {
                0 => Err(DecodeError::new("schema has an array whose items take no bytes")),
                _ => Ok(1),
            },
            Schema::Map(map) => self.bytes_min(&map.types, depth + 1).map(|_| 1),
            Schema::Union(union) => {
                for variant in union.variants() {
                    self.bytes_min(variant, depth + 1)?;
                }
                Ok(1)
            }
            Schema::Fixed(fixed) if fixed.size > FIXED_BYTES_MAX => {
                Err(DecodeError::new(format!("schema has a fixed field of more than {FIXED_BYTES_MAX} bytes")))
            }
            Schema::Fixed(fixed) => Ok(fixed.size),
            _ => Ok(1),
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
            let message = check_writer_schema(&parsed).err().map(|error| error.message);
            match (&message, expected) {
                (None, None) => {}
                (Some(message), Some(part)) if message.contains(part) => {}
                _ => panic!("{schema}: {message:?}, expected {expected:?}"),
            }
        }
    }
}
