//! Values in the Confluent wire format: a zero byte, the schema id in four bytes, the Avro datum.
//!
//! Each worker has its own, so that the hot path takes no lock.

use std::collections::HashMap;
use std::sync::Arc;

use tidemill_core::context::{Schemas, UnknownSchema};
use tidemill_core::{AnyEvent, DecodeError, Event, EventCodec, EventDecoder, EventKind};

use crate::registry::{RegistryError, SchemaRegistry};

const MAGIC: u8 = 0;

pub struct Codecs {
    registry: Arc<dyn SchemaRegistry>,
    codecs: &'static [EventCodec],
    /// Schema id of each topic that is written.
    ids: HashMap<Arc<str>, u32>,
    /// What the registry said about an id, for a kind: it never changes its mind.
    decoders: HashMap<(&'static str, u32), Known>,
}

/// What became of the question for a decoder.
type Known = Result<Box<dyn EventDecoder>, UnknownSchema>;

/// Why a value of a topic with a schema could not be decoded.
#[derive(Debug)]
pub enum ValueError {
    /// Not the wire format, or not a datum of the schema it names.
    Unreadable(DecodeError),
    UnknownSchema,
    /// The registry does not answer; ask again later.
    Unavailable(String),
}

impl std::fmt::Debug for Codecs {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Codecs({} topics, {} schemas)", self.ids.len(), self.decoders.len())
    }
}

impl Codecs {
    pub fn new(registry: Arc<dyn SchemaRegistry>, codecs: &'static [EventCodec]) -> Self {
        Self { registry, codecs, ids: HashMap::new(), decoders: HashMap::new() }
    }

    /// Learns the registered id of the latest schema of `kind` for `topic`, which must be the schema this program writes.
    pub fn prepare(&mut self, topic: &Arc<str>, kind: EventKind) -> Result<(), RegistryError> {
        let Some(codec) = self.codec(kind) else { return Ok(()) };
        let subject = subject_of(topic);
        let missing =
            |message: &str| RegistryError::Refused(format!("subject {subject} {message}; run `tidemill apply`"));
        let (id, _, registered) = self.registry.latest(&subject)?.ok_or_else(|| missing("has no schema"))?;
        if !is_same_schema(&registered, codec.schema) {
            return Err(missing("has another schema than this program writes"));
        }
        self.ids.insert(Arc::clone(topic), id);
        Ok(())
    }

    /// Appends the framed value of `event` as it lies in `topic`.
    pub fn encode(&self, topic: &str, event: &dyn Event, out: &mut Vec<u8>) -> Result<(), DecodeError> {
        let id = self.ids.get(topic).ok_or_else(|| DecodeError::new(format!("no schema id is known for {topic}")))?;
        out.push(MAGIC);
        out.extend_from_slice(&id.to_be_bytes());
        event.encode(out)
    }

    pub fn decode(&mut self, kind: EventKind, value: &[u8]) -> Result<AnyEvent, ValueError> {
        let Some((id, datum)) = schema_id(value) else {
            let message = "the value does not start with a zero byte and a schema id";
            return Err(ValueError::Unreadable(DecodeError::new(message)));
        };
        match self.resolve(kind, id).map_err(ValueError::Unavailable)? {
            Ok(decoder) => decoder.decode(datum).map_err(ValueError::Unreadable),
            Err(_) => Err(ValueError::UnknownSchema),
        }
    }

    /// Asks the registry about the schema that an ingest value names, so that a processor can ask [`Codecs::for_kind`].
    /// `Err` when the registry does not answer.
    pub fn look_ahead(&mut self, kind: EventKind, value: &[u8]) -> Result<(), String> {
        match schema_id(value) {
            Some((id, _)) => self.resolve(kind, id).map(|_| ()),
            None => Ok(()),
        }
    }

    /// Decoders as a processor sees them.
    pub fn for_kind(&self, kind: Option<EventKind>) -> KindSchemas<'_> {
        KindSchemas { codecs: self, kind }
    }

    fn codec(&self, kind: EventKind) -> Option<&'static EventCodec> {
        self.codecs.iter().find(|codec| codec.kind == kind)
    }

    fn resolve(&mut self, kind: EventKind, id: u32) -> Result<Result<&dyn EventDecoder, UnknownSchema>, String> {
        if !self.decoders.contains_key(&(kind.name, id)) {
            let answer = match self.registry.schema(id) {
                Ok(schema) => match self.codec(kind).map(|codec| (codec.decoder)(&schema)) {
                    Some(Ok(decoder)) => Ok(decoder),
                    Some(Err(_)) | None => Err(UnknownSchema::NotUsable),
                },
                Err(RegistryError::Unknown) => Err(UnknownSchema::NotRegistered),
                Err(RegistryError::Unavailable(message) | RegistryError::Refused(message)) => return Err(message),
            };
            self.decoders.insert((kind.name, id), answer);
        }
        match self.decoders.get(&(kind.name, id)) {
            Some(Ok(decoder)) => Ok(Ok(decoder.as_ref())),
            Some(Err(unknown)) => Ok(Err(*unknown)),
            None => Ok(Err(UnknownSchema::NotRegistered)),
        }
    }
}

/// See [`Codecs::for_kind`].
#[derive(Clone, Copy, Debug)]
pub struct KindSchemas<'a> {
    codecs: &'a Codecs,
    kind: Option<EventKind>,
}

impl Schemas for KindSchemas<'_> {
    fn decoder(&self, schema_id: u32) -> Result<&dyn EventDecoder, UnknownSchema> {
        let kind = self.kind.ok_or(UnknownSchema::NotUsable)?;
        match self.codecs.decoders.get(&(kind.name, schema_id)) {
            Some(Ok(decoder)) => Ok(decoder.as_ref()),
            Some(Err(unknown)) => Err(*unknown),
            None => Err(UnknownSchema::NotRegistered),
        }
    }
}

/// TopicNameStrategy, as Confluent's clients do by default.
pub fn subject_of(topic: &str) -> String {
    format!("{topic}-value")
}

/// Whether two schemas are the same text but for white space and the order of attributes.
pub fn is_same_schema(one: &str, other: &str) -> bool {
    let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
    matches!((parse(one), parse(other)), (Some(one), Some(other)) if one == other)
}

fn schema_id(value: &[u8]) -> Option<(u32, &[u8])> {
    let (header, datum) = value.split_first_chunk::<5>()?;
    let [magic, id @ ..] = header;
    (*magic == MAGIC).then(|| (u32::from_be_bytes(*id), datum))
}
