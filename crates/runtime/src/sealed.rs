//! Plans as files: named by their content, so that one that somebody has changed is not taken for what was judged.

use serde::Serialize;
use sha2::{Digest, Sha256};

/// SHA-256 over a plan whose own hash is left empty.
pub(crate) fn content_hash<T: Serialize>(unnamed: &T) -> String {
    sha256(&serde_json::to_vec(unnamed).unwrap_or_default())
}

/// The plan as it stands in its file.
pub(crate) fn encode<T: Serialize>(plan: &T) -> String {
    serde_json::to_string_pretty(plan).unwrap_or_default() + "\n"
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
