//! What ends a measurement. Nobody handles it, somebody reads it, so it is a text that says what and where.

use std::fmt::Display;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Says during what an error happened.
pub(crate) trait During<T> {
    fn during(self, what: &str) -> Result<T>;
}

impl<T, E: Display> During<T> for std::result::Result<T, E> {
    fn during(self, what: &str) -> Result<T> {
        self.map_err(|error| format!("{what}: {error}").into())
    }
}
