//! One entry, as it lies in the trail: JSON with the fields in a fixed order, so that it has one spelling.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::hex;

/// Stands before the fields, so that these bytes are never taken for anything else that is hashed.
const DOMAIN: &[u8] = b"tidemill.audit.1";

/// What an operator did, or was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// Who, as the command knows it.
    pub actor: String,
    /// `dlq.apply`, `txn.abort`: the command and its verb.
    pub verb: String,
    /// What it was done to: a topic, a key, a transaction.
    pub object: String,
    pub outcome: Outcome,
    pub reason: String,
    /// Of the plan that was carried out, if there was one.
    pub plan_hash: Option<String>,
    pub counts: BTreeMap<String, u64>,
    /// What else is to be known: a filter, the code of a refusal. Holds no values of records.
    pub detail: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Done,
    /// A guard said no, and nothing was changed.
    Refused,
}

impl Outcome {
    pub fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
        }
    }
}

/// An [`Action`] in its place in the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// From 1 on, without gaps.
    pub sequence: u64,
    /// Milliseconds since 1970.
    pub at_ms: i64,
    pub actor: String,
    pub verb: String,
    pub object: String,
    pub outcome: Outcome,
    pub reason: String,
    pub plan_hash: Option<String>,
    pub counts: BTreeMap<String, u64>,
    pub detail: String,
    /// Of the entry before; zeros for the first.
    pub previous_hash: String,
    /// SHA-256 over every other field.
    pub hash: String,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    #[error("it is not an audit entry: {0}")]
    Unreadable(String),
    /// The same fields in another spelling: somebody has written it anew.
    #[error("it is not spelled as an audit entry is")]
    Respelled,
    #[error("its hash does not belong to its content")]
    Altered,
}

impl Entry {
    pub(crate) fn seal(action: Action, sequence: u64, at_ms: i64, previous: [u8; 32]) -> Self {
        let Action { actor, verb, object, outcome, reason, plan_hash, counts, detail } = action;
        let previous_hash = hex::encode(&previous);
        let mut entry = Self {
            sequence,
            at_ms,
            actor,
            verb,
            object,
            outcome,
            reason,
            plan_hash,
            counts,
            detail,
            previous_hash,
            hash: String::new(),
        };
        entry.hash = hex::encode(&entry.digest());
        entry
    }

    pub fn encode(&self) -> Vec<u8> {
        // Maps with text for keys and numbers cannot fail to become JSON.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads an entry back, if not one bit of it has changed since it was written.
    pub fn decode(bytes: &[u8]) -> Result<Self, EntryError> {
        let entry: Self = serde_json::from_slice(bytes).map_err(|error| EntryError::Unreadable(error.to_string()))?;
        if entry.encode() != bytes {
            return Err(EntryError::Respelled);
        }
        if entry.hash != hex::encode(&entry.digest()) {
            return Err(EntryError::Altered);
        }
        Ok(entry)
    }

    /// Over the fields in their order, each with its length before it, so that no two entries give the same bytes.
    fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        let mut add = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        add(DOMAIN);
        add(&self.sequence.to_be_bytes());
        add(&self.at_ms.to_be_bytes());
        for text in [&self.actor, &self.verb, &self.object, self.outcome.name(), &self.reason] {
            add(text.as_bytes());
        }
        add(&[u8::from(self.plan_hash.is_some())]);
        add(self.plan_hash.as_deref().unwrap_or_default().as_bytes());
        add(&(self.counts.len() as u64).to_be_bytes());
        for (name, count) in &self.counts {
            add(name.as_bytes());
            add(&count.to_be_bytes());
        }
        add(self.detail.as_bytes());
        add(self.previous_hash.as_bytes());
        hash.finalize().into()
    }
}
