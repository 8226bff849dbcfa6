//! Keys in the order in which they were written, so that what is old is found without looking at what is not.
//!
//! A store that forgets has one beside it. The keys are numbered; the two ends are kept by whoever uses the queue, in a
//! value that it writes anyway. Taking one costs a read by number and no scan.

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tidemill_core::{EventTime, State, StateError, StateValue, Store};

/// Keyed by number, eight bytes, big-endian.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AgeQueue(pub(crate) Store<Aged>);

/// A key of the other store, and when it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Aged {
    pub(crate) at: EventTime,
    pub(crate) key: Bytes,
}

impl StateValue for Aged {
    const VERSION: u8 = 1;
}

/// Numbers of the oldest key and of the next one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ends {
    pub head: u64,
    pub tail: u64,
}

impl AgeQueue {
    pub(crate) fn push(
        self,
        ends: &mut Ends,
        state: &mut dyn State,
        at: EventTime,
        key: &[u8],
    ) -> Result<(), StateError> {
        self.0.put(state, &ends.tail.to_be_bytes(), &Aged { at, key: Bytes(key.to_vec()) })?;
        ends.tail += 1;
        Ok(())
    }

    /// Takes the oldest key if it was written before `kept_since`.
    pub(crate) fn pop(
        self,
        ends: &mut Ends,
        state: &mut dyn State,
        kept_since: EventTime,
    ) -> Result<Option<Vec<u8>>, StateError> {
        if ends.head == ends.tail {
            return Ok(None);
        }
        let number = ends.head.to_be_bytes();
        let Some(oldest) = self.0.get(state, &number)? else {
            return Err(StateError::Corrupt { store: self.0.name(), message: "a number is missing".to_owned() });
        };
        if oldest.at >= kept_since {
            return Ok(None);
        }
        self.0.delete(state, &number)?;
        ends.head += 1;
        Ok(Some(oldest.key.0))
    }
}

/// Bytes that are encoded in one go. `Vec<u8>` has the same encoding, but is encoded byte by byte.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Whole;

        impl Visitor<'_> for Whole {
            type Value = Bytes;

            fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str("bytes")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }
        }

        deserializer.deserialize_bytes(Whole)
    }
}

#[cfg(test)]
mod tests {
    use tidemill_testkit::MemoryState;

    use super::*;

    #[test]
    fn gives_what_is_old_in_the_order_in_which_it_was_written() {
        let queue = AgeQueue(Store::new("ages"));
        let (mut state, mut ends) = (MemoryState::default(), Ends::default());
        for (at, key) in [(1, "a"), (5, "b"), (3, "c"), (9, "d")] {
            queue.push(&mut ends, &mut state, EventTime(at), key.as_bytes()).expect("can be written");
        }
        let mut older = |than| {
            let popped = std::iter::from_fn(|| queue.pop(&mut ends, &mut state, EventTime(than)).expect("can be read"));
            popped.map(|key| String::from_utf8(key).expect("a letter")).collect::<String>()
        };
        assert_eq!([older(1), older(5), older(6), older(10), older(10)], ["", "a", "bc", "d", ""]);
        assert_eq!((ends, state.len("ages")), (Ends { head: 4, tail: 4 }, 0));
    }
}
