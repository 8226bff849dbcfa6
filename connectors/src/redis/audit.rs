//! The audit of the balances in Redis: all of them in one figure, and those that are not complete.

use std::collections::HashSet;

use redis::{Connection, RedisError};
use tidemill_core::sink::{BalancesDigest, SinkAudit};

const KEYS_PER_REQUEST: usize = 1_000;
const SAMPLE_MAX: usize = 3;

/// Reads every key that starts with `balance_prefix`.
pub(super) fn audit(connection: &mut Connection, balance_prefix: &str) -> Result<SinkAudit, RedisError> {
    let pattern = format!("{}*", literal(balance_prefix));
    let mut digest = BalancesDigest::default();
    let mut incomplete = Vec::new();
    // A scan may name a key twice.
    let mut seen: HashSet<String> = HashSet::new();
    let mut cursor: u64 = 0;
    loop {
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(KEYS_PER_REQUEST);
        let (next, mut keys): (u64, Vec<String>) = scan.query(connection)?;
        keys.retain(|key| seen.insert(key.clone()));
        for (key, fields) in keys.iter().zip(read(connection, &keys)?) {
            let account = key.strip_prefix(balance_prefix).unwrap_or(key);
            match fields {
                (Some(available), Some(pending)) => digest.add(account, &available, &pending),
                _ => incomplete.push(account.to_owned()),
            }
        }
        cursor = next;
        if cursor == 0 {
            break;
        }
    }
    let violations = violation(incomplete).into_iter().collect();
    Ok(SinkAudit { violations, balances: Some(digest), ..SinkAudit::default() })
}

/// Deletes every key that starts with `prefix`.
pub(super) fn remove(connection: &mut Connection, prefix: &str) -> Result<(), RedisError> {
    let pattern = format!("{}*", literal(prefix));
    let mut cursor: u64 = 0;
    loop {
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(KEYS_PER_REQUEST);
        let (next, keys): (u64, Vec<String>) = scan.query(connection)?;
        if !keys.is_empty() {
            redis::cmd("DEL").arg(keys).query::<u64>(connection)?;
        }
        cursor = next;
        if cursor == 0 {
            return Ok(());
        }
    }
}

/// `available` and `pending` of each key.
type Fields = (Option<String>, Option<String>);

fn read(connection: &mut Connection, keys: &[String]) -> Result<Vec<Fields>, RedisError> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let mut pipe = redis::pipe();
    for key in keys {
        pipe.cmd("HMGET").arg(key).arg("available").arg("pending");
    }
    pipe.query(connection)
}

fn violation(mut incomplete: Vec<String>) -> Option<String> {
    incomplete.sort_unstable();
    let sample = incomplete.iter().take(SAMPLE_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    let others = match incomplete.len().saturating_sub(SAMPLE_MAX) {
        0 => String::new(),
        others => format!(" and {others} more"),
    };
    (!incomplete.is_empty()).then(|| format!("a balance has no available or no pending: {sample}{others}"))
}

/// The text as a pattern that matches it alone.
fn literal(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for character in text.chars() {
        if "*?[]^-\\".contains(character) {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_matches_itself_alone() {
        assert_eq!(literal("shop[1]*:balance:"), "shop\\[1\\]\\*:balance:");
    }
}
