//! Keyed state, as processors see it: the open transaction's own writes first, then what is committed.

use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// State that cannot be read or written. Never the fault of a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    #[error("store `{store}` holds a value that cannot be read: {message}")]
    Corrupt { store: &'static str, message: String },
    #[error("store `{store}`: {message}")]
    Unavailable { store: &'static str, message: String },
}

/// Most values are shorter, so that their encoding does not grow step by step.
const VALUE_BYTES_USUAL: usize = 256;

/// A key and its value, as a scan returns them.
pub type Pair = (Vec<u8>, Vec<u8>);

/// Byte-level access to the stores of one task. Implemented by the runtime and by the test kit.
pub trait State {
    fn get(&mut self, store: &'static str, key: &[u8]) -> Result<Option<&[u8]>, StateError>;
    fn put(&mut self, store: &'static str, key: &[u8], value: Vec<u8>) -> Result<(), StateError>;
    fn delete(&mut self, store: &'static str, key: &[u8]) -> Result<(), StateError>;

    /// Up to `limit` pairs with keys greater than `after`, in key order (bytewise).
    fn scan(&mut self, store: &'static str, after: &[u8], limit: usize) -> Result<Vec<Pair>, StateError>;
}

/// What a store holds. The first byte of the encoding is `VERSION`, so that old bytes stay readable:
/// a type that changes overrides [`StateValue::decode_version`] for the versions it replaces.
pub trait StateValue: Serialize + DeserializeOwned {
    const VERSION: u8;

    fn decode_version(version: u8, _bytes: &[u8]) -> Result<Self, String> {
        Err(format!("unknown version {version}, this program writes {}", Self::VERSION))
    }
}

/// A typed handle on one store. Stores are named by plural nouns, unique among all processors.
#[derive(Debug)]
pub struct Store<V> {
    name: &'static str,
    value: PhantomData<fn() -> V>,
}

impl<V> Clone for Store<V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for Store<V> {}

impl<V: StateValue> Store<V> {
    pub const fn new(name: &'static str) -> Self {
        Self { name, value: PhantomData }
    }

    /// As it stands in a [`StoreSpec`](crate::StoreSpec).
    pub const fn name(self) -> &'static str {
        self.name
    }

    pub fn get(self, state: &mut dyn State, key: &[u8]) -> Result<Option<V>, StateError> {
        state.get(self.name, key)?.map(|bytes| self.decode(bytes)).transpose()
    }

    pub fn put(self, state: &mut dyn State, key: &[u8], value: &V) -> Result<(), StateError> {
        let mut bytes = Vec::with_capacity(VALUE_BYTES_USUAL);
        bytes.push(V::VERSION);
        let bytes = postcard::to_extend(value, bytes)
            .map_err(|error| StateError::Unavailable { store: self.name, message: error.to_string() })?;
        state.put(self.name, key, bytes)
    }

    pub fn delete(self, state: &mut dyn State, key: &[u8]) -> Result<(), StateError> {
        state.delete(self.name, key)
    }

    /// Up to `limit` values with keys greater than `after`, in key order.
    pub fn scan(self, state: &mut dyn State, after: &[u8], limit: usize) -> Result<Vec<(Vec<u8>, V)>, StateError> {
        let pairs = state.scan(self.name, after, limit)?;
        pairs.into_iter().map(|(key, bytes)| Ok((key, self.decode(&bytes)?))).collect()
    }

    pub fn decode(self, bytes: &[u8]) -> Result<V, StateError> {
        let corrupt = |message: String| StateError::Corrupt { store: self.name, message };
        match bytes.split_first() {
            None => Err(corrupt("empty".to_owned())),
            Some((version, rest)) if *version == V::VERSION => {
                postcard::from_bytes(rest).map_err(|error| corrupt(error.to_string()))
            }
            Some((version, rest)) => V::decode_version(*version, rest).map_err(corrupt),
        }
    }
}
