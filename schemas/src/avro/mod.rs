//! Avro datums, read and written along a schema without a tree of values between: each field goes straight from the
//! bytes into the Rust type by serde, and back.
//!
//! `apache-avro` parses the schemas. Its way from bytes to types costs several hundred instructions a field, which for
//! records of forty fields was more than everything that the processors do with them.

mod read;
mod shape;
mod write;

use std::fmt;

use apache_avro::Schema;
use tidemill_core::DecodeError;

pub(crate) use read::read;
pub(crate) use shape::Shape;
pub(crate) use write::write;

/// Parses a schema, which may be a sender's own.
pub(crate) fn parse(schema_text: &str) -> Result<Shape, DecodeError> {
    let schema = Schema::parse_str(schema_text)
        .map_err(|error| DecodeError::new(format!("schema cannot be parsed: {error}")))?;
    Shape::of(&schema)
}

/// Why bytes are no datum of their schema for a type, or a value does not fit its schema. Never quotes bytes or values.
/// A box, so that the results of small steps stay in registers.
#[derive(Debug)]
struct Misfit(Box<Place>);

#[derive(Debug)]
struct Place {
    message: &'static str,
    /// Names of the fields around it, the innermost first.
    path: Vec<String>,
}

impl Misfit {
    #[cold]
    fn new(message: &'static str) -> Self {
        Self(Box::new(Place { message, path: Vec::new() }))
    }

    #[cold]
    fn within(mut self, field: &str) -> Self {
        self.0.path.push(field.to_owned());
        self
    }
}

impl From<Misfit> for DecodeError {
    fn from(misfit: Misfit) -> Self {
        let Place { message, path } = *misfit.0;
        let field = path.iter().rev().fold(String::new(), |pointer, name| pointer + "/" + name);
        Self { message: message.to_owned(), field: Some(field).filter(|pointer| !pointer.is_empty()) }
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.0.message)
    }
}

impl std::error::Error for Misfit {}

impl serde::de::Error for Misfit {
    /// The text that a type gives can quote what it was given, so it is not passed on.
    fn custom<T: fmt::Display>(_message: T) -> Self {
        Self::new("the value is not one that the field can have")
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new("a required field is missing").within(field)
    }
}

impl serde::ser::Error for Misfit {
    fn custom<T: fmt::Display>(_message: T) -> Self {
        Self::new("the value has no encoding")
    }
}
