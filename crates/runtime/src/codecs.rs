//! Values as they lie in topics: in the Confluent wire format, which is a zero byte, the schema id in four bytes and the
//! Avro datum; or bare, where the kind's codec says so, and then the registry is never asked.
//!
//! Each worker has its own, so that the hot path takes no lock.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use tidemill_core::context::{Schemas, UnknownSchema};
use tidemill_core::{AnyEvent, DecodeError, Event, EventCodec, EventDecoder, EventKind, Framing};

use crate::registry::{RegistryError, SchemaRegistry};

const MAGIC: u8 = 0;

pub struct Codecs {
    registry: Arc<dyn SchemaRegistry>,
    codecs: &'static [EventCodec],
    /// What stands before the encoding in each topic that is written.
    headers: HashMap<Arc<str>, Header, RandomState>,
    /// The one decoder of each bare kind.
    bare: Vec<(EventKind, Known)>,
    /// What the registry said about an id, for a kind: it never changes its mind, but may learn what it did not know.
    decoders: HashMap<(&'static str, u32), Known, RandomState>,
    /// Versions of ids of subjects, for those who look into a failure; `None` where the registry did not say.
    versions: HashMap<(String, u32), Option<u32>, RandomState>,
}

#[derive(Clone, Copy)]
enum Header {
    SchemaId(u32),
    None,
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
        write!(out, "Codecs({} topics, {} schemas)", self.headers.len(), self.decoders.len())
    }
}

impl Codecs {
    pub fn new(registry: Arc<dyn SchemaRegistry>, codecs: &'static [EventCodec]) -> Self {
        let bare = codecs.iter().filter(|codec| codec.framing == Framing::Bare);
        let decoder = |codec: &EventCodec| (codec.decoder)(codec.schema).map_err(|_| UnknownSchema::NotUsable);
        let bare = bare.map(|codec| (codec.kind, decoder(codec))).collect();
        Self {
            registry,
            codecs,
            headers: HashMap::default(),
            bare,
            decoders: HashMap::default(),
            versions: HashMap::default(),
        }
    }

    /// Learns the registered id of the latest schema of `kind` for `topic`, which must be the schema this program writes.
    /// A bare kind has none.
    pub fn prepare(&mut self, topic: &Arc<str>, kind: EventKind) -> Result<(), RegistryError> {
        let Some(codec) = self.codec(kind) else { return Ok(()) };
        if codec.framing == Framing::Bare {
            self.headers.insert(Arc::clone(topic), Header::None);
            return Ok(());
        }
        let subject = subject_of(topic);
        let missing =
            |message: &str| RegistryError::Refused(format!("subject {subject} {message}; run `tidemill apply`"));
        let (id, _, registered) = self.registry.latest(&subject)?.ok_or_else(|| missing("has no schema"))?;
        if !is_same_schema(&registered, codec.schema) {
            return Err(missing("has another schema than this program writes"));
        }
        self.headers.insert(Arc::clone(topic), Header::SchemaId(id));
        Ok(())
    }

    /// Appends the framed value of `event` as it lies in `topic`.
    pub fn encode(&self, topic: &str, event: &dyn Event, out: &mut Vec<u8>) -> Result<(), DecodeError> {
        match self.headers.get(topic) {
            Some(Header::SchemaId(id)) => {
                out.push(MAGIC);
                out.extend_from_slice(&id.to_be_bytes());
            }
            Some(Header::None) => {}
            None => return Err(DecodeError::new(format!("no schema id is known for {topic}"))),
        }
        event.encode(out)
    }

    pub fn decode(&mut self, kind: EventKind, value: &[u8]) -> Result<AnyEvent, ValueError> {
        if let Some((_, decoder)) = self.bare.iter().find(|(bare, _)| *bare == kind) {
            let decoder = decoder.as_ref().map_err(|_| ValueError::UnknownSchema)?;
            return decoder.decode(value).map_err(ValueError::Unreadable);
        }
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

    /// Which version of the subject the value's schema is, as far as the registry says. Asked once for each schema.
    pub fn version_of(&mut self, subject: &str, id: u32) -> Option<u32> {
        let key = (subject.to_owned(), id);
        if let Some(known) = self.versions.get(&key) {
            return *known;
        }
        let version = self.registry.version(subject, id).unwrap_or_default();
        self.versions.insert(key, version);
        version
    }

    /// Asks again for schemas that were not registered when they were first needed.
    pub fn forget_unknown(&mut self) {
        self.decoders.retain(|_, known| !matches!(known, Err(UnknownSchema::NotRegistered)));
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

#[cfg(test)]
mod tests {
    use std::any::Any;

    use tidemill_core::{EventTime, KeySpace};

    use super::*;

    const NUMBER: EventKind = EventKind { name: "number", keyed_by: KeySpace::Any };

    static CODECS: [EventCodec; 1] = [EventCodec {
        kind: NUMBER,
        framing: Framing::Bare,
        schema: "",
        version: 1,
        compatibility: "",
        summary: "A number of one byte.",
        decoder: |_| Ok(Box::new(NumberDecoder)),
    }];

    #[derive(Debug)]
    struct Number(u8);

    struct NumberDecoder;

    impl EventDecoder for NumberDecoder {
        fn decode(&self, bytes: &[u8]) -> Result<AnyEvent, DecodeError> {
            match bytes {
                [number] => Ok(Box::new(Number(*number))),
                _ => Err(DecodeError::new("not one byte")),
            }
        }
    }

    impl Event for Number {
        fn kind(&self) -> EventKind {
            NUMBER
        }

        fn key(&self, _out: &mut Vec<u8>) -> bool {
            false
        }

        fn event_time(&self) -> EventTime {
            EventTime::default()
        }

        fn encode(&self, out: &mut Vec<u8>) -> Result<(), DecodeError> {
            out.push(self.0);
            Ok(())
        }

        fn into_any(self: Box<Self>) -> Box<dyn Any> {
            self
        }

        fn as_any(&self) -> &dyn Any {
            self
        }
    }

    /// A registry that must not be asked.
    struct Silent;

    impl SchemaRegistry for Silent {
        fn register(&self, _subject: &str, _schema: &str) -> Result<u32, RegistryError> {
            Err(RegistryError::Unknown)
        }

        fn schema(&self, id: u32) -> Result<String, RegistryError> {
            panic!("asked for schema {id}")
        }

        fn version(&self, _subject: &str, _id: u32) -> Result<Option<u32>, RegistryError> {
            Ok(None)
        }

        fn latest(&self, subject: &str) -> Result<Option<(u32, u32, String)>, RegistryError> {
            panic!("asked for {subject}")
        }

        fn set_compatibility(&self, _subject: &str, _level: &str) -> Result<(), RegistryError> {
            Err(RegistryError::Unknown)
        }

        fn is_compatible(&self, _subject: &str, _schema: &str) -> Result<bool, RegistryError> {
            Err(RegistryError::Unknown)
        }

        fn describe(&self) -> String {
            "nothing".to_owned()
        }
    }

    #[test]
    fn a_bare_kind_lies_in_its_topic_as_it_is_encoded() {
        let mut codecs = Codecs::new(Arc::new(Silent), &CODECS);
        let topic: Arc<str> = Arc::from("numbers.counted.v1");
        let mut value = Vec::new();
        assert!(codecs.encode(&topic, &Number(7), &mut value).is_err(), "nobody has said that the topic is written");
        codecs.prepare(&topic, NUMBER).expect("a bare kind needs nothing");
        codecs.encode(&topic, &Number(7), &mut value).expect("it has an encoding");
        assert_eq!(value, [7]);
        let event = codecs.decode(NUMBER, &value).expect("it was encoded so");
        assert_eq!(event.downcast_ref::<Number>().map(|number| number.0), Some(7));
        // A zero byte and four more would be a schema id elsewhere.
        let refused = codecs.decode(NUMBER, &[0, 0, 0, 0, 1]);
        assert!(matches!(refused, Err(ValueError::Unreadable(_))), "{refused:?}");
    }
}
