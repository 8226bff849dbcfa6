//! A chain of processors on its own: no broker, no threads, no clock.

use std::collections::BTreeMap;

use tidemill_core::chain::{self, Ended, Surroundings};
use tidemill_core::context::{Schemas, UnknownSchema};
use tidemill_core::reference::References;
use tidemill_core::{
    AnyEvent, Effects, Event, EventDecoder, EventTime, Headers, Origin, Outcome, Processor, ProcessorSpec, RawEvent,
    RecordView, ReferenceTable, Reject, Settings,
};

use crate::state::MemoryState;

/// A record to send. Offsets are counted by the driver.
#[derive(Clone, Debug, Default)]
pub struct TestRecord {
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Vec<u8>)>,
    pub timestamp_ms: i64,
}

impl TestRecord {
    pub fn value(value: impl Into<Vec<u8>>) -> Self {
        Self { value: Some(value.into()), ..Self::default() }
    }
}

/// What became of one record.
#[derive(Debug)]
pub struct Ran {
    /// `Dead` stands for a reject that no processor answered.
    pub outcome: Outcome,
    pub passed: Option<AnyEvent>,
    pub emitted: Vec<(&'static str, AnyEvent)>,
    pub reject: Option<Reject>,
}

impl Ran {
    /// The code of the reject, or `passed`, `posted`, `applied`, `duplicate`.
    pub fn code(&self) -> &'static str {
        match self.outcome {
            Outcome::Passed => "passed",
            Outcome::Posted => "posted",
            Outcome::Applied => "applied",
            Outcome::Duplicate => "duplicate",
            Outcome::Parked => "parked",
            Outcome::Discarded => "discarded",
            Outcome::Rejected(code) | Outcome::Dead(code) => code,
        }
    }

    /// The events of type `E` that were emitted to `port`, in order.
    pub fn on<E: Event>(&self, port: &str) -> Vec<&E> {
        let events = self.emitted.iter().filter(|(name, _)| *name == port);
        events.filter_map(|(_, event)| event.downcast_ref::<E>()).collect()
    }

    /// The event that the chain passed on, as an `E`.
    ///
    /// # Panics
    /// If nothing was passed on, or something of another type.
    pub fn passed_as<E: Event>(&self) -> &E {
        self.passed
            .as_ref()
            .and_then(|event| event.downcast_ref::<E>())
            .unwrap_or_else(|| panic!("passed on {:?}, reject {:?}", self.passed, self.reject))
    }
}

/// Runs one chain with its own state.
pub struct Driver {
    processors: Vec<Box<dyn Processor>>,
    pub state: MemoryState,
    references: Tables,
    decoders: Decoders,
    next_offset: u64,
    pub task: u32,
}

impl Driver {
    /// A chain of these processors, each with its settings as TOML.
    ///
    /// # Panics
    /// If settings are refused.
    pub fn new(chain: &[(&'static ProcessorSpec, &str)]) -> Self {
        let mut processors = Vec::new();
        let mut references = Tables::default();
        for (spec, settings) in chain {
            let settings = Settings(settings.parse().unwrap_or_else(|error| panic!("settings of {spec:?}: {error}")));
            let built = (spec.build)(&settings);
            processors.push(built.unwrap_or_else(|errors| panic!("settings of {spec:?}: {errors:?}")));
            for reference in spec.references {
                let table = (reference.build)(&settings);
                let table = table.unwrap_or_else(|errors| panic!("settings of {spec:?}: {errors:?}"));
                references.0.insert(reference.name, table);
            }
        }
        Self {
            processors,
            state: MemoryState::default(),
            references,
            decoders: Decoders::default(),
            next_offset: 0,
            task: 0,
        }
    }

    /// Registers a decoder, as if the registry knew this schema id.
    pub fn register(&mut self, schema_id: u32, decoder: Box<dyn EventDecoder>) {
        self.decoders.0.insert(schema_id, decoder);
    }

    /// The reference table of that name, to be changed by [`ReferenceTable::apply`].
    ///
    /// # Panics
    /// If no processor of the chain reads such a table.
    pub fn reference(&mut self, name: &str) -> &mut dyn ReferenceTable {
        let (_, table) = self.references.0.iter_mut().find(|(key, _)| **key == name).expect("a table of the chain");
        table.as_mut()
    }

    /// Sends a record whose first processor decodes it.
    pub fn send(&mut self, record: &TestRecord) -> Ran {
        self.run(Box::new(RawEvent), record)
    }

    /// Sends an event that needs no decoding.
    pub fn send_event(&mut self, event: impl Event) -> Ran {
        let mut key = Vec::new();
        let has_key = event.key(&mut key);
        let timestamp_ms = event.event_time().millis();
        let record = TestRecord { key: has_key.then_some(key), timestamp_ms, ..TestRecord::default() };
        self.run(Box::new(event), &record)
    }

    fn run(&mut self, event: AnyEvent, record: &TestRecord) -> Ran {
        let headers: Vec<(&str, Option<&[u8]>)> =
            record.headers.iter().map(|(name, value)| (name.as_str(), Some(value.as_slice()))).collect();
        let view = RecordView {
            origin: Origin { topic: "test", partition: self.task, offset: self.next_offset },
            event_time: EventTime::from_millis(record.timestamp_ms),
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: Headers::new(&headers),
        };
        self.next_offset += 1;
        let mut effects = Effects::default();
        let around = Surroundings { task: self.task, references: &self.references, schemas: &self.decoders };
        let ended = chain::run(&self.processors, event, view, &mut self.state, &mut effects, around)
            .expect("the state of a test can be read");
        let emitted = effects.drain().map(|effect| (effect.port, effect.event)).collect();
        match ended {
            Ended::Passed(event) => Ran { outcome: Outcome::Passed, passed: Some(event), emitted, reject: None },
            Ended::Done(outcome) => Ran { outcome, passed: None, emitted, reject: None },
            Ended::Answered(reject) => {
                Ran { outcome: Outcome::Rejected(reject.code().code), passed: None, emitted, reject: Some(reject) }
            }
            Ended::Unanswered(reject) => {
                Ran { outcome: Outcome::Dead(reject.code().code), passed: None, emitted, reject: Some(reject) }
            }
        }
    }
}

#[derive(Default)]
struct Tables(BTreeMap<&'static str, Box<dyn ReferenceTable>>);

impl References for Tables {
    fn get(&self, name: &'static str) -> Option<&dyn ReferenceTable> {
        self.0.get(name).map(Box::as_ref)
    }
}

#[derive(Default)]
struct Decoders(BTreeMap<u32, Box<dyn EventDecoder>>);

impl Schemas for Decoders {
    fn decoder(&self, schema_id: u32) -> Result<&dyn EventDecoder, UnknownSchema> {
        self.0.get(&schema_id).map(Box::as_ref).ok_or(UnknownSchema::NotRegistered)
    }
}
