//! The store of accounts: one value for each, changed by the payments it makes and the credits it gets.

use tidemill_core::{State, StateError, StoreSpec};

use crate::chain::job::event::BY_ACCOUNT;

pub(super) const STORE: StoreSpec =
    StoreSpec { name: "accounts", keyed_by: BY_ACCOUNT, summary: "Posted balance and sequence of every account." };

/// 10,000,000.00
const OPENING_MINOR: i64 = 1_000_000_000;
const BYTES: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) posted_minor: i64,
    /// Number of the last entry.
    pub(super) seq: i64,
}

impl Account {
    /// The account as it stands, or as it opens.
    pub(super) fn get(state: &mut dyn State, name: &[u8]) -> Result<Self, StateError> {
        let Some(bytes) = state.get(STORE.name, name)? else {
            return Ok(Self { posted_minor: OPENING_MINOR, seq: 0 });
        };
        let halves = bytes.split_first_chunk::<8>().and_then(|(posted, rest)| Some((posted, rest.try_into().ok()?)));
        let Some((posted, seq)) = halves else {
            let message = format!("an account has {BYTES} bytes, not {}", bytes.len());
            return Err(StateError::Corrupt { store: STORE.name, message });
        };
        Ok(Self { posted_minor: i64::from_le_bytes(*posted), seq: i64::from_le_bytes(seq) })
    }

    pub(super) fn put(self, state: &mut dyn State, name: &[u8]) -> Result<(), StateError> {
        let mut bytes = Vec::with_capacity(BYTES);
        bytes.extend_from_slice(&self.posted_minor.to_le_bytes());
        bytes.extend_from_slice(&self.seq.to_le_bytes());
        state.put(STORE.name, name, bytes)
    }

    /// The account after an entry over `amount_minor`; `None` for a sum that no account can hold.
    pub(super) fn with_entry(self, amount_minor: i64) -> Option<Self> {
        Some(Self { posted_minor: self.posted_minor.checked_add(amount_minor)?, seq: self.seq.checked_add(1)? })
    }
}
