//! What every event of the chain has in common.

use tidemill_core::KeySpace;

pub(super) const BY_ACCOUNT: KeySpace = KeySpace::Named("account");

/// Makes a type an event that is passed between processors and never written.
macro_rules! memory_event {
    ($event:ident: $name:literal, key: $key:expr, time: $time:expr) => {
        impl $event {
            pub(super) const KIND: tidemill_core::EventKind =
                tidemill_core::EventKind { name: $name, keyed_by: $crate::chain::job::event::BY_ACCOUNT };
        }

        impl tidemill_core::Event for $event {
            fn encode(&self, _out: &mut Vec<u8>) -> Result<(), tidemill_core::DecodeError> {
                Err(tidemill_core::DecodeError::new(concat!("a ", $name, " exists in memory only")))
            }

            $crate::chain::job::event::event_basics!($key, $time);
        }
    };
}

/// Makes a type an event whose values are bare JSON.
macro_rules! json_event {
    ($event:ident: $name:literal, key: $key:expr, time: $time:expr, json: $json:expr) => {
        impl $event {
            pub(super) const KIND: tidemill_core::EventKind =
                tidemill_core::EventKind { name: $name, keyed_by: $crate::chain::job::event::BY_ACCOUNT };
        }

        impl tidemill_core::Event for $event {
            fn encode(&self, out: &mut Vec<u8>) -> Result<(), tidemill_core::DecodeError> {
                let json: fn(&Self, &mut Vec<u8>) = $json;
                json(self, out);
                Ok(())
            }

            $crate::chain::job::event::event_basics!($key, $time);
        }
    };
}

macro_rules! event_basics {
    ($key:expr, $time:expr) => {
        fn kind(&self) -> tidemill_core::EventKind {
            Self::KIND
        }

        fn key(&self, out: &mut Vec<u8>) -> bool {
            let key: fn(&Self) -> &$crate::chain::job::text::Text = $key;
            out.extend_from_slice(key(self).bytes());
            true
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

pub(super) use {event_basics, json_event, memory_event};
