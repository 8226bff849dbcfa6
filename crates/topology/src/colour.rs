//! A second pipeline over the same inputs: the topology with a colour.
//!
//! What others write (ingest topics, reference tables) and the audit trail are shared. Everything that the pipeline writes
//! itself has the colour in its name, and its read models know theirs by the setting `colour`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tidemill_core::sink::COLOUR;

use crate::plan::{Input, Role, Stage, Topic, Topology, dead_letters_of, parked_of};

const CHARACTERS_MAX: usize = 20;
/// Schemas, keys and topics with these names mean something else.
const RESERVED: [&str; 4] = ["dlq", "live", "parked", "public"];

/// Names a pipeline among those over the same inputs: a lowercase letter, then lowercase letters and digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Colour(String);

impl Colour {
    /// `None` for what is no colour.
    pub fn parse(text: &str) -> Option<Self> {
        let is_word = text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        let begins = text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
        let is_free = !RESERVED.contains(&text) && !text.starts_with("pg");
        (is_word && begins && is_free && text.len() <= CHARACTERS_MAX).then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Colour {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl TryFrom<String> for Colour {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("`{text}` is no colour"))
    }
}

impl From<Colour> for String {
    fn from(colour: Colour) -> Self {
        colour.0
    }
}

impl Topology {
    /// The same pipeline as one of another colour. `self` is as it was compiled, without one.
    pub fn with_colour(&self, colour: &Colour) -> Self {
        let mut coloured = self.clone();
        coloured.pipeline.colour = Some(colour.clone());
        let mut state_dir = self.state_dir.clone().into_os_string();
        state_dir.push(format!(".{colour}"));
        coloured.state_dir = PathBuf::from(state_dir);
        let names = Names { topology: self, coloured: &coloured, colour };
        let renamed: BTreeMap<String, String> =
            self.topics.keys().map(|topic| (topic.clone(), names.of(topic))).collect();
        let name = |topic: &String| renamed.get(topic).unwrap_or(topic).clone();
        coloured.topics = self
            .topics
            .values()
            .map(|topic| (name(&topic.name), Topic { name: name(&topic.name), ..topic.clone() }))
            .collect();
        for stage in coloured.units.iter_mut().flat_map(|unit| &mut unit.stages) {
            rename_stage(stage, &name);
        }
        for sink in &mut coloured.sinks {
            sink.topics = sink.topics.iter().map(name).collect();
            sink.settings.0.insert(COLOUR.to_owned(), colour.as_str().into());
        }
        coloured
    }

    /// Topics that belong to this pipeline alone, and not to one of another colour over the same inputs.
    pub fn own_topics(&self) -> impl Iterator<Item = &Topic> {
        let shared: BTreeSet<&str> =
            self.topics.values().filter(|topic| is_shared(topic)).map(|topic| topic.name.as_str()).collect();
        self.topics.values().filter(move |topic| !shared.contains(topic.name.as_str()))
    }

    /// Where records of `topic` go that a sink or a stage of this pipeline cannot process.
    pub fn dead_letters(&self, topic: &str) -> String {
        let is_foreign = self.topics.get(topic).is_some_and(is_shared);
        match &self.pipeline.colour {
            Some(colour) if is_foreign => dead_letters_of(&format!("{topic}.{colour}")),
            _ => dead_letters_of(topic),
        }
    }
}

/// Whether pipelines of every colour use the same topic.
fn is_shared(topic: &Topic) -> bool {
    match topic.role {
        Role::Ingest | Role::Reference | Role::Audit | Role::Reprocess => true,
        Role::Internal
        | Role::Curated
        | Role::DeadLetters
        | Role::Tasks
        | Role::StateLog
        | Role::Replays
        | Role::Redrive
        | Role::Parked => false,
    }
}

fn rename_stage(stage: &mut Stage, name: &impl Fn(&String) -> String) {
    for input in &mut stage.inputs {
        let Input { topic, output, dead_letters, parked, .. } = input;
        for named in [Some(topic), output.as_mut(), Some(dead_letters), parked.as_mut()].into_iter().flatten() {
            *named = name(named);
        }
    }
    for topic in stage.ports.values_mut() {
        *topic = name(topic);
    }
}

struct Names<'a> {
    topology: &'a Topology,
    coloured: &'a Topology,
    colour: &'a Colour,
}

impl Names<'_> {
    fn of(&self, topic: &str) -> String {
        let Some(known) = self.topology.topics.get(topic) else { return topic.to_owned() };
        match known.role {
            _ if is_shared(known) => topic.to_owned(),
            Role::DeadLetters => dead_letters_of(&format!("{}.{}", stem(topic, &dead_letters_of("")), self.colour)),
            Role::Parked => parked_of(&format!("{}.{}", stem(topic, &parked_of("")), self.colour)),
            Role::Internal | Role::Curated => format!("{topic}.{}", self.colour),
            _ => self.internal(topic),
        }
    }

    /// Topics whose names follow from the pipeline's.
    fn internal(&self, topic: &str) -> String {
        let rest = topic.strip_prefix(&self.topology.pipeline.scope()).unwrap_or(topic);
        format!("{}{rest}", self.coloured.pipeline.scope())
    }
}

fn stem<'t>(topic: &'t str, suffix: &str) -> &'t str {
    topic.strip_suffix(suffix).unwrap_or(topic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_words_that_mean_nothing_else() {
        for (text, is_one) in [
            ("green", true),
            ("blue2", true),
            ("", false),
            ("2blue", false),
            ("light-green", false),
            ("Green", false),
            ("public", false),
            ("pgtoast", false),
            ("abcdefghijklmnopqrstu", false),
        ] {
            assert_eq!(Colour::parse(text).is_some(), is_one, "{text}");
        }
    }
}
