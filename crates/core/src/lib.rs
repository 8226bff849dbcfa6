//! What every part shares: records, events, processors, state, money, rejects, diagnostics.
//!
//! Invariant: nothing here does I/O, reads a clock or draws a random number, and nothing here knows Kafka.

pub mod chain;
pub mod context;
pub mod diagnostic;
pub mod effects;
pub mod event;
pub mod money;
pub mod partition;
pub mod processor;
pub mod record;
pub mod reference;
pub mod reject;
pub mod settings;
pub mod sink;
pub mod state;
pub mod statement;
pub mod time;

pub use context::Context;
pub use diagnostic::{Diagnostic, Severity};
pub use effects::{Effect, Effects};
pub use event::{AnyEvent, DecodeError, Event, EventCodec, EventDecoder, EventKind, Framing, Meta, RawEvent};
pub use money::{Amount, Currency, MoneyError, Rounding};
pub use processor::{Answer, Flow, KeySpace, Outcome, PortSpec, Processor, ProcessorSpec, ReferenceSpec, StoreSpec};
pub use record::{Headers, Origin, RecordView};
pub use reference::ReferenceTable;
pub use reject::{Class, CodeSpec, Reject};
pub use settings::Settings;
pub use sink::{Sink, SinkBatch, SinkError, SinkRecord, SinkSpec};
pub use state::{State, StateError, StateValue, Store};
pub use time::EventTime;
