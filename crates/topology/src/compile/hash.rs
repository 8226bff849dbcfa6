//! The configuration hash: what decides how records are processed, and nothing else.
//!
//! Where the pipeline runs (broker, registry, folders, addresses) and its read models are left out, so that the same
//! rules have the same hash on a laptop and in production, and so that records do not differ by where they were made.

use std::fmt::Write;

use sha2::{Digest, Sha256};
use toml::Value;

use crate::findings::Findings;

pub(super) fn of(file: &Value, findings: &Findings) -> String {
    let mut text = String::new();
    for path in [&["pipeline", "name"][..], &["pipeline", "version"], &["unit"], &["stage"], &["topics"]] {
        let value = path.iter().try_fold(file, |value, key| value.get(key));
        write(value.unwrap_or(&Value::Boolean(false)), &mut text);
    }
    let digest = Sha256::digest(findings.blot(&text));
    digest.iter().take(4).fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// One text per value, whatever the order of the keys.
fn write(value: &Value, out: &mut String) {
    match value {
        Value::Array(items) => {
            out.push('[');
            items.iter().for_each(|item| write(item, out));
            out.push(']');
        }
        Value::Table(table) => {
            let mut entries: Vec<_> = table.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            out.push('{');
            for (key, value) in entries {
                out.push_str(&Value::String(key.clone()).to_string());
                write(value, out);
            }
            out.push('}');
        }
        scalar => {
            out.push_str(&scalar.to_string());
            out.push(',');
        }
    }
}
