//! Signed checkpoints: the end of the chain at some time, in a file that whoever writes the trail cannot change unseen.

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

use crate::chain::{Finding, FindingKind, Head, Verifier};
use crate::hex;

/// The keys of one signer. The secret one belongs where operators of the pipeline cannot read it.
pub struct Keys(SigningKey);

/// One line of a checkpoint file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// Topic of the trail.
    pub trail: String,
    /// Number and hash of its last entry.
    pub sequence: u64,
    pub hash: String,
    /// When it was signed, in milliseconds since 1970.
    pub at_ms: i64,
    pub public_key: String,
    pub signature: String,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    #[error("the key is not 64 hexadecimal digits in lower case")]
    Key,
    #[error("it is not a checkpoint: {0}")]
    Unreadable(String),
    #[error("it was signed with another key")]
    Foreign,
    #[error("its signature does not belong to its content")]
    Signature,
}

impl Keys {
    /// From 32 random bytes.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(SigningKey::from_bytes(&seed))
    }

    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        hex::decode(text.trim()).map(Self::from_seed).ok_or(CheckpointError::Key)
    }

    pub fn secret_text(&self) -> String {
        hex::encode(&self.0.to_bytes())
    }

    pub fn public_text(&self) -> String {
        hex::encode(self.0.verifying_key().as_bytes())
    }
}

impl std::fmt::Debug for Keys {
    /// Never the secret one.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Keys({})", self.public_text())
    }
}

impl Checkpoint {
    pub fn sign(trail: &str, head: Head, at_ms: i64, keys: &Keys) -> Self {
        let mut checkpoint = Self {
            trail: trail.to_owned(),
            sequence: head.sequence,
            hash: head.hash_text(),
            at_ms,
            public_key: keys.public_text(),
            signature: String::new(),
        };
        checkpoint.signature = hex::encode(&keys.0.sign(&checkpoint.signed_bytes()).to_bytes());
        checkpoint
    }

    /// Reads a line and checks that `public_key` has signed it.
    pub fn open(line: &str, public_key: &str) -> Result<Self, CheckpointError> {
        let checkpoint: Self =
            serde_json::from_str(line).map_err(|error| CheckpointError::Unreadable(error.to_string()))?;
        if checkpoint.public_key != public_key.trim() {
            return Err(CheckpointError::Foreign);
        }
        let key = hex::decode(&checkpoint.public_key).and_then(|bytes| VerifyingKey::from_bytes(&bytes).ok());
        let key = key.ok_or(CheckpointError::Key)?;
        let signature = hex::decode(&checkpoint.signature).map(|bytes| Signature::from_bytes(&bytes));
        let signature = signature.ok_or(CheckpointError::Signature)?;
        key.verify_strict(&checkpoint.signed_bytes(), &signature).map_err(|_| CheckpointError::Signature)?;
        Ok(checkpoint)
    }

    /// What of the trail does not agree with it.
    pub fn compare(&self, trail: &str, verifier: &Verifier) -> Option<Finding> {
        let message = match verifier.hash(self.sequence) {
            _ if self.trail != trail => format!("the checkpoint is of {}, not of {trail}", self.trail),
            _ if self.sequence == 0 => return None,
            None => format!("entry {} was signed, and is not there", self.sequence),
            Some(hash) if hash != self.hash => format!("entry {} is another one than was signed", self.sequence),
            Some(_) => return None,
        };
        Some(Finding { offset: self.sequence, kind: FindingKind::Checkpoint, message })
    }

    fn signed_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let fields = [
            b"tidemill.audit.checkpoint.1".as_slice(),
            self.trail.as_bytes(),
            &self.sequence.to_be_bytes(),
            self.hash.as_bytes(),
            &self.at_ms.to_be_bytes(),
            self.public_key.as_bytes(),
        ];
        for field in fields {
            bytes.extend_from_slice(&(field.len() as u64).to_be_bytes());
            bytes.extend_from_slice(field);
        }
        bytes
    }
}
