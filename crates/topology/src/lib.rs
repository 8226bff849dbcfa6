//! Compiles topology.toml: raw text to a validated plan, with all findings at once.
//!
//! The way of the text: [`document`] (a tree with places) → [`interpolate`] (variables, secrets) → [`shape`] (against the
//! JSON Schema of [`raw`]) → [`compile`] (meaning) → [`plan`]. Nothing here does I/O: environment and secret files come in
//! through [`Options`].

pub mod codes;
mod colour;
mod compile;
mod document;
pub mod explain;
mod findings;
pub mod graph;
mod interpolate;
pub mod plan;
mod raw;
mod schema;
mod shape;

use std::collections::BTreeMap;
use std::fmt;

pub use colour::Colour;
pub use compile::{Catalog, Compiled, compile};
pub use plan::Topology;
pub use schema::{Key, Presence, json_schema, keys};

/// What the caller knows beside the text.
pub struct Options<'a> {
    /// Takes precedence over the file.
    pub broker: Option<BrokerChoice>,
    /// `--set unit.main.tasks=2` as `("unit.main.tasks", "2")`. Take precedence over the file, later ones over earlier.
    pub overrides: Vec<(String, String)>,
    /// The environment.
    pub variables: BTreeMap<String, String>,
    /// Reads the file of a `{ file = "…" }` secret.
    pub read_file: &'a dyn Fn(&str) -> Result<String, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokerChoice {
    Embedded,
    Kafka,
}

impl BrokerChoice {
    pub const ALL: [Self; 2] = [Self::Embedded, Self::Kafka];

    pub fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Kafka => "kafka",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|choice| choice.name() == name)
    }
}

impl Default for Options<'_> {
    /// No environment and no files: the text alone.
    fn default() -> Self {
        Self {
            broker: None,
            overrides: Vec::new(),
            variables: BTreeMap::new(),
            read_file: &|_| Err("there are no files here".to_owned()),
        }
    }
}

impl fmt::Debug for Options<'_> {
    /// Without values: some are secret.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let overrides: Vec<&str> = self.overrides.iter().map(|(path, _)| path.as_str()).collect();
        out.debug_struct("Options").field("broker", &self.broker).field("overrides", &overrides).finish_non_exhaustive()
    }
}
