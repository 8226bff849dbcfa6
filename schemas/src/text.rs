//! Text fields of requests, whichever way the sender's own schema spells them.

use std::fmt;

use serde::Deserializer;
use serde::de::{Error, Visitor};

/// Text, or nothing for null. Unlike `Option<String>`, takes both `"string"` and `["null", "string"]` of a writer's
/// schema, since a sender who always fills a field in will not declare it nullable.
pub(crate) fn text_or_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    deserializer.deserialize_any(TextOrNull)
}

struct TextOrNull;

impl Visitor<'_> for TextOrNull {
    type Value = Option<String>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("text or null")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(text.to_owned()))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Self::Value, E> {
        Ok(Some(text))
    }
}
