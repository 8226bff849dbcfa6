//! Names: well formed, and used once.

use std::collections::BTreeMap;

use crate::codes;
use crate::findings::{Findings, Step, place};
use crate::raw::Raw;

/// Longest name of a pipeline, unit, stage or sink; three of them and a suffix fit Kafka's 249 characters.
const NAME_CHARACTERS_MAX: usize = 40;

pub(super) fn check(raw: &Raw, findings: &mut Findings) {
    well_formed(&raw.pipeline.name, place!["pipeline", "name"], findings);
    let sections: [(&str, Vec<&str>); 3] = [
        ("unit", raw.unit.iter().map(|unit| unit.name.as_str()).collect()),
        ("stage", raw.stage.iter().map(|stage| stage.name.as_str()).collect()),
        ("sink", raw.sink.iter().map(|sink| sink.name.as_str()).collect()),
    ];
    for (section, names) in sections {
        for (index, name) in names.iter().enumerate() {
            well_formed(name, place![section, index, "name"], findings);
        }
        unique(section, &names, findings);
    }
}

/// `<domain>.<event>.v<N>`, in lowercase letters, digits and hyphens.
pub(super) fn is_topic_name(name: &str) -> bool {
    let parts: Vec<&str> = name.split('.').collect();
    let [domain, event, version] = parts[..] else { return false };
    let number = version.strip_prefix('v').unwrap_or_default();
    is_name(domain) && is_name(event) && !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit())
}

fn is_name(name: &str) -> bool {
    let rest = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    name.len() <= NAME_CHARACTERS_MAX
        && name.bytes().next().is_some_and(|first| first.is_ascii_lowercase())
        && name.bytes().all(rest)
}

fn well_formed(name: &str, path: &[Step<'_>], findings: &mut Findings) {
    if !name.is_empty() && !is_name(name) {
        findings.add(path, &codes::NAME_MALFORMED, format!("`{name}` is not a name"));
    }
}

fn unique(section: &str, names: &[&str], findings: &mut Findings) {
    let mut seen = BTreeMap::new();
    for (index, name) in names.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
        if let Some(first) = seen.insert(*name, index) {
            let message = format!("{section} {} and {section} {} are both named `{name}`", first + 1, index + 1);
            findings.add(place![section, index, "name"], &codes::NAME_DUPLICATE, message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_names_carry_domain_event_and_version() {
        for good in ["payments.requested.v1", "ledger.account-balances.v12"] {
            assert!(is_topic_name(good), "{good}");
        }
        for bad in [
            "payments",
            "payments.requested",
            "payments.requested.1",
            "payments.requested.v",
            "a.b.c.v1",
            "Pay.x.v1",
            "a_b.c.v1",
            "a.b.v1x",
            ".b.v1",
        ] {
            assert!(!is_topic_name(bad), "{bad}");
        }
    }
}
