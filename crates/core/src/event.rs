//! Events: decoded records, as processors pass them on.

use std::any::Any;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::processor::KeySpace;

/// The type of an event, as topology files, documentation and diagnostics name it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventKind {
    /// `payment`, `ledger_entry`: snake_case, singular.
    pub name: &'static str,
    /// What [`Event::key`] is, so that co-partitioning can be checked before anything runs.
    pub keyed_by: KeySpace,
}

impl fmt::Debug for EventKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name)
    }
}

/// A decoded record. The concrete types are in the `schemas` crate.
pub trait Event: Any + Send + fmt::Debug {
    fn kind(&self) -> EventKind;

    /// Appends the key under which the event is produced; `false` means a record without a key.
    fn key(&self, out: &mut Vec<u8>) -> bool;

    /// When it happened; becomes the timestamp of the record.
    fn event_time(&self) -> crate::EventTime;

    /// Appends the value in the encoding of the event's own latest schema, without any framing.
    fn encode(&self, out: &mut Vec<u8>) -> Result<(), DecodeError>;

    /// The identity fields that the engine fills in when the event is emitted.
    fn meta_mut(&mut self) -> Option<&mut Meta> {
        None
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any>;
    fn as_any(&self) -> &dyn Any;
}

pub type AnyEvent = Box<dyn Event>;

impl dyn Event {
    pub fn downcast_ref<E: Event>(&self) -> Option<&E> {
        self.as_any().downcast_ref::<E>()
    }

    pub fn is<E: Event>(&self) -> bool {
        self.as_any().is::<E>()
    }

    /// The event by value, or the event unchanged when it is of another type.
    pub fn downcast<E: Event>(self: Box<Self>) -> Result<E, AnyEvent> {
        if !self.is::<E>() {
            return Err(self);
        }
        match self.into_any().downcast::<E>() {
            Ok(event) => Ok(*event),
            Err(_) => unreachable!("the type was compared one line above"),
        }
    }
}

/// What every record that Tidemill writes says about itself. Filled in by the engine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// Derived from where the input was read: `topic-partition@offset/ordinal`. The same input gives the same id.
    pub record_id: String,
    /// `pipeline@version+config_hash` of who wrote it.
    pub produced_by: String,
    /// W3C trace context of the input, if it carried one.
    pub traceparent: Option<String>,
}

/// The bytes do not fit the schema. `message` never contains the bytes themselves.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct DecodeError {
    pub message: String,
    /// JSON pointer to the field at fault, when it is known.
    pub field: Option<String>,
}

impl DecodeError {
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), field: None }
    }

    pub fn at(message: impl Into<String>, field: impl Into<String>) -> Self {
        Self { message: message.into(), field: Some(field.into()) }
    }
}

/// Decodes values that were written with one particular writer's schema.
pub trait EventDecoder: Send + Sync {
    fn decode(&self, bytes: &[u8]) -> Result<AnyEvent, DecodeError>;
}

/// What stands around the encoding of an event in a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// The Confluent wire format: a zero byte, the id of the registered schema in four bytes, the Avro datum.
    Confluent,
    /// Nothing: the value is the encoding. No schema is registered or asked for, and the codec has one decoder.
    Bare,
}

/// How events of one kind lie in topics.
#[derive(Clone, Copy)]
pub struct EventCodec {
    pub kind: EventKind,
    pub framing: Framing,
    /// The latest Avro schema, as JSON. Empty where the framing is [`Framing::Bare`]; so is what follows from it.
    pub schema: &'static str,
    /// Version of `schema`, from its file name `<name>.v<N>.avsc`.
    pub version: u32,
    /// Registry compatibility of subjects that hold this kind.
    pub compatibility: &'static str,
    /// One line for catalogues and documentation.
    pub summary: &'static str,
    /// Builds a decoder for a writer's schema (any registered version, as JSON).
    pub decoder: fn(&str) -> Result<Box<dyn EventDecoder>, DecodeError>,
}

impl fmt::Debug for EventCodec {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "EventCodec({} v{})", self.kind.name, self.version)
    }
}

/// Stands at the head of a chain whose first processor decodes the bytes itself: they are in `context.record`.
#[derive(Debug)]
pub struct RawEvent;

impl RawEvent {
    pub const KIND: EventKind = EventKind { name: "raw", keyed_by: KeySpace::Any };
}

impl Event for RawEvent {
    fn kind(&self) -> EventKind {
        Self::KIND
    }

    fn key(&self, _out: &mut Vec<u8>) -> bool {
        false
    }

    fn event_time(&self) -> crate::EventTime {
        crate::EventTime::default()
    }

    fn encode(&self, _out: &mut Vec<u8>) -> Result<(), DecodeError> {
        Err(DecodeError::new("a raw event has no encoding of its own"))
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
