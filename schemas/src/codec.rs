//! Events as bytes: each kind with its schema, its encoding and its decoders.
//!
//! Values are read with the schema they were written with; a field the Rust type does not know is skipped, an optional
//! field the writer did not know is absent. Whatever the bytes, decoding ends in an event or an error.

use std::sync::OnceLock;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tidemill_core::{AnyEvent, DecodeError, Event, EventCodec, EventDecoder, EventKind};

use crate::avro::{self, Shape};
use crate::{
    AccountBalance, AccountRequest, AccountStatus, AggregatedBalance, Alert, BalanceShare, CustomerPreferences,
    Decision, FeeSchedule, FraudLabel, FraudRules, FxQuote, Instruction, LedgerEntry, Notification, Payment,
    PaymentLimit, PaymentRequest, PaymentStatus, PostingCalendar, ScreenedPayment,
};

/// Every kind of event that lies on a topic.
pub const CODECS: &[EventCodec] = &[
    PaymentRequest::CODEC,
    Payment::CODEC,
    ScreenedPayment::CODEC,
    PaymentStatus::CODEC,
    Decision::CODEC,
    AccountRequest::CODEC,
    AccountStatus::CODEC,
    LedgerEntry::CODEC,
    AccountBalance::CODEC,
    BalanceShare::CODEC,
    AggregatedBalance::CODEC,
    Instruction::CODEC,
    Notification::CODEC,
    CustomerPreferences::CODEC,
    FraudLabel::CODEC,
    FraudRules::CODEC,
    FeeSchedule::CODEC,
    FxQuote::CODEC,
    PaymentLimit::CODEC,
    PostingCalendar::CODEC,
    Alert::CODEC,
];

/// Kinds whose events ask somebody outside the pipeline to act: to send a message, to call a system. A pipeline that is not
/// live writes none of them, or what was asked for once would be asked for again.
pub const ASKS_OUTSIDE: &[EventKind] = &[Notification::KIND];

/// Writes events of one type in the type's own latest schema, which is parsed on first use.
pub(crate) struct Encoder {
    schema_text: &'static str,
    shape: OnceLock<Result<Shape, DecodeError>>,
}

impl Encoder {
    pub(crate) const fn new(schema_text: &'static str) -> Self {
        Self { schema_text, shape: OnceLock::new() }
    }

    /// Appends the datum to `out`, or leaves `out` as it was.
    pub(crate) fn encode<E: Serialize>(&self, event: &E, out: &mut Vec<u8>) -> Result<(), DecodeError> {
        let shape = self.shape.get_or_init(|| avro::parse(self.schema_text));
        avro::write(shape.as_ref().map_err(DecodeError::clone)?, event, out)
    }
}

/// A decoder of events of type `E` that were written with the schema `schema_text`.
pub(crate) fn decoder<E>(schema_text: &str) -> Result<Box<dyn EventDecoder>, DecodeError>
where
    E: Event + DeserializeOwned,
{
    Ok(Box::new(Decoder::<E> { shape: avro::parse(schema_text)?, event: std::marker::PhantomData }))
}

struct Decoder<E> {
    shape: Shape,
    event: std::marker::PhantomData<fn() -> E>,
}

impl<E: Event + DeserializeOwned> EventDecoder for Decoder<E> {
    fn decode(&self, bytes: &[u8]) -> Result<AnyEvent, DecodeError> {
        match avro::read::<E>(&self.shape, bytes)? {
            (event, 0) => Ok(Box::new(event)),
            (_, trailing) => Err(DecodeError::new(format!("{trailing} bytes follow the datum"))),
        }
    }
}

/// Appends a key; an empty text is no key.
pub(crate) fn key_text(out: &mut Vec<u8>, text: &str) -> bool {
    out.extend_from_slice(text.as_bytes());
    !text.is_empty()
}

/// Makes a type an event that lies on topics: `KIND`, `CODEC`, and [`Event`].
macro_rules! topic_event {
    (
        $event:ident: $name:literal, keyed by $space:expr, $compatibility:literal, $summary:literal,
        key: $key:expr, time: $time:expr, meta: $meta:expr $(,)?
    ) => {
        impl $event {
            pub const KIND: tidemill_core::EventKind = tidemill_core::EventKind { name: $name, keyed_by: $space };

            pub const CODEC: tidemill_core::EventCodec = tidemill_core::EventCodec {
                kind: Self::KIND,
                framing: tidemill_core::Framing::Confluent,
                schema: include_str!(concat!("../avro/", $name, ".v1.avsc")),
                version: 1,
                compatibility: $compatibility,
                summary: $summary,
                decoder: $crate::codec::decoder::<Self>,
            };
        }

        impl tidemill_core::Event for $event {
            fn encode(&self, out: &mut Vec<u8>) -> Result<(), tidemill_core::DecodeError> {
                static ENCODER: $crate::codec::Encoder = $crate::codec::Encoder::new($event::CODEC.schema);
                ENCODER.encode(self, out)
            }

            fn meta_mut(&mut self) -> Option<&mut tidemill_core::Meta> {
                let meta: fn(&mut Self) -> Option<&mut tidemill_core::Meta> = $meta;
                meta(self)
            }

            $crate::codec::event_basics!($key, $time);
        }
    };
}

/// Makes a type an event that is passed between the processors of a chain and never written.
macro_rules! memory_event {
    ($event:ident: $name:literal, keyed by $space:expr, key: $key:expr, time: $time:expr $(,)?) => {
        impl $event {
            pub const KIND: tidemill_core::EventKind = tidemill_core::EventKind { name: $name, keyed_by: $space };
        }

        impl tidemill_core::Event for $event {
            fn encode(&self, _out: &mut Vec<u8>) -> Result<(), tidemill_core::DecodeError> {
                Err(tidemill_core::DecodeError::new(concat!("a ", $name, " exists in memory only and has no encoding")))
            }

            $crate::codec::event_basics!($key, $time);
        }
    };
}

macro_rules! event_basics {
    ($key:expr, $time:expr) => {
        fn kind(&self) -> tidemill_core::EventKind {
            Self::KIND
        }

        fn key(&self, out: &mut Vec<u8>) -> bool {
            let key: fn(&Self, &mut Vec<u8>) -> bool = $key;
            key(self, out)
        }

        fn event_time(&self) -> tidemill_core::EventTime {
            let time: fn(&Self) -> tidemill_core::EventTime = $time;
            time(self)
        }

        fn into_any(self: Box<Self>) -> Box<dyn std::any::Any> {
            self
        }

        fn as_any(&self) -> &dyn std::any::Any {
            self
        }
    };
}

pub(crate) use {event_basics, memory_event, topic_event};
