//! How each customer wants to be told, by the time from which it holds.

use std::any::Any;
use std::collections::{BTreeMap, HashMap};

use tidemill_core::diagnostic::nearest;
use tidemill_core::{AnyEvent, EventTime, ReferenceTable};
use tidemill_schemas::CustomerPreferences;

use super::{CATEGORIES, CHANNELS};

/// Versions kept of one customer's preferences, the latest by `effective_from`.
const VERSIONS_MAX: usize = 4;

/// The reference table `customer_preferences`.
///
/// In force at a time is the record of the customer with the latest `effective_from` at or before it; before the first
/// of them the defaults of the settings hold. A record replaces the one with the same `effective_from`; an empty record
/// removes all of the customer's. The topic is compacted, so that after a restart only the last record is there.
#[derive(Default)]
pub(super) struct Preferences {
    by_customer: HashMap<Vec<u8>, BTreeMap<EventTime, CustomerPreferences>>,
}

impl Preferences {
    pub(super) fn in_force(&self, customer: &str, at: EventTime) -> Option<&CustomerPreferences> {
        let versions = self.by_customer.get(customer.as_bytes())?;
        versions.range(..=at).next_back().map(|(_, preferences)| preferences)
    }
}

impl ReferenceTable for Preferences {
    fn apply(&mut self, key: &[u8], event: Option<AnyEvent>) -> Result<(), String> {
        let Some(event) = event else {
            self.by_customer.remove(key);
            return Ok(());
        };
        let preferences: CustomerPreferences =
            event.downcast().map_err(|event| format!("not customer preferences: {:?}", event.kind()))?;
        check_words("channel", &preferences.channels, &CHANNELS)?;
        check_words("muted category", &preferences.muted, &CATEGORIES)?;
        let versions = self.by_customer.entry(key.to_vec()).or_default();
        versions.insert(preferences.effective_from, preferences);
        if versions.len() > VERSIONS_MAX {
            versions.pop_first();
        }
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Each word is known and there once. The message names nothing of a record but the word at fault.
pub(super) fn check_words(what: &str, words: &[String], known: &[&str]) -> Result<(), String> {
    for (index, word) in words.iter().enumerate() {
        if words[..index].contains(word) {
            return Err(format!("{what} `{word}` is there twice"));
        }
    }
    let Some(word) = words.iter().find(|word| !known.contains(&word.as_str())) else { return Ok(()) };
    let meant = match nearest(word, known.iter().copied()) {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("known are {}", known.join(", ")),
    };
    Err(format!("unknown {what} `{word}`; {meant}"))
}
