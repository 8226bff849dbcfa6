//! Fills in variables and secrets, after parsing and inside strings only, so that no value can change the structure.
//!
//! `${NAME}`, `${NAME:-default}`, `${NAME:?message}`; an empty variable counts as unset. `$${` is a literal `${`.
//! `{ file = "/run/secrets/x" }` in place of a string is the content of that file, without its last line break.

use std::collections::BTreeMap;

use crate::codes;
use crate::document::{Form, Node, Place, Text, TextOrigin, Value};
use crate::findings::Findings;
use crate::{BrokerChoice, Options};

/// Values that came from outside, for messages that components write.
#[derive(Debug, Default)]
pub(crate) struct Foreign(pub(crate) Vec<String>);

/// What happens when a variable or file is missing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    IsFinding,
    /// In parts that the chosen broker does not use.
    IsLeft,
}

/// Resolves the whole tree. The kind of broker comes first, since it says which parts are in use.
pub(crate) fn resolve(root: &mut Node, options: &Options<'_>, findings: &mut Findings) -> Foreign {
    let mut resolver = Resolver { options, findings, foreign: Foreign::default() };
    if let Some(broker) = entry(root, "broker")
        && let Some(kind) = entry(broker, "kind")
    {
        resolver.node(kind, Missing::IsFinding);
    }
    let kind = root.get("broker").and_then(|broker| broker.get("kind")).and_then(Node::text);
    let broker = kind.and_then(BrokerChoice::parse).unwrap_or(BrokerChoice::Embedded);
    let Value::Table(table) = &mut root.value else { return resolver.foreign };
    for entry in &mut table.entries {
        match entry.key.as_str() {
            "broker" => resolver.broker(&mut entry.node, broker),
            "registry" if broker == BrokerChoice::Embedded => resolver.node(&mut entry.node, Missing::IsLeft),
            "sink" => resolver.sinks(&mut entry.node, broker),
            _ => resolver.node(&mut entry.node, Missing::IsFinding),
        }
    }
    resolver.foreign
}

/// Whether anything in the tree could not be resolved and was left.
pub(crate) fn is_unresolved(node: &Node) -> bool {
    match &node.value {
        Value::Text(text) => text.origin == TextOrigin::Unresolved,
        Value::Array(items) => items.iter().any(is_unresolved),
        Value::Table(table) => table.entries.iter().any(|entry| is_unresolved(&entry.node)),
        _ => false,
    }
}

/// `user:password` of a URL.
pub(crate) fn user_info(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    authority.rsplit_once('@').map(|(user_info, _)| user_info)
}

fn entry<'n>(node: &'n mut Node, key: &str) -> Option<&'n mut Node> {
    match &mut node.value {
        Value::Table(table) => table.entries.iter_mut().find(|entry| entry.key == key).map(|entry| &mut entry.node),
        _ => None,
    }
}

struct Resolver<'r, 'o> {
    options: &'r Options<'o>,
    findings: &'r mut Findings,
    foreign: Foreign,
}

impl Resolver<'_, '_> {
    fn broker(&mut self, node: &mut Node, broker: BrokerChoice) {
        let Value::Table(table) = &mut node.value else { return };
        for entry in &mut table.entries {
            let owner = match entry.key.as_str() {
                "bootstrap_servers" | "properties" => Some(BrokerChoice::Kafka),
                "data_dir" => Some(BrokerChoice::Embedded),
                "kind" => continue,
                _ => None,
            };
            self.node(&mut entry.node, missing(owner, broker));
        }
    }

    fn sinks(&mut self, node: &mut Node, broker: BrokerChoice) {
        let Value::Array(sinks) = &mut node.value else { return };
        for sink in sinks {
            let owner = sink.get("broker").and_then(Node::text).and_then(BrokerChoice::parse);
            self.node(sink, missing(owner, broker));
        }
    }

    fn node(&mut self, node: &mut Node, missing: Missing) {
        if let Some(path) = secret_file(node) {
            let text = self.secret(&path, &node.place, missing);
            node.value = Value::Text(text);
            return;
        }
        match &mut node.value {
            Value::Text(text) => self.text(text, &node.place, missing),
            Value::Array(items) => items.iter_mut().for_each(|item| self.node(item, missing)),
            Value::Table(table) => table.entries.iter_mut().for_each(|entry| self.node(&mut entry.node, missing)),
            _ => {}
        }
    }

    fn text(&mut self, text: &mut Text, place: &Place, missing: Missing) {
        if text.origin == TextOrigin::Written && text.text.contains("${") {
            match expand(&text.text, &self.options.variables) {
                Ok(expanded) => {
                    self.foreign.0.extend(expanded.values);
                    text.text = expanded.text;
                    text.origin = TextOrigin::Variable;
                }
                Err(_) if missing == Missing::IsLeft => text.origin = TextOrigin::Unresolved,
                Err(Problem::Missing { name, message }) => {
                    let because = message.map(|message| format!(": {message}")).unwrap_or_default();
                    let message = format!("variable `{name}` is not set{because}");
                    self.findings.at(place.clone(), &codes::VARIABLE_MISSING, message, None);
                    *text = Text { text: String::new(), origin: TextOrigin::Unresolved };
                }
                Err(Problem::Malformed) => {
                    let message = "a reference to a variable is not closed or has no name";
                    self.findings.at(place.clone(), &codes::VARIABLE_MALFORMED, message, None);
                    *text = Text { text: String::new(), origin: TextOrigin::Unresolved };
                }
            }
        }
        if let Some(user_info) = user_info(&text.text)
            && let Some((_, password)) = user_info.split_once(':')
        {
            self.findings.hide(user_info);
            self.findings.hide(password);
        }
    }

    fn secret(&mut self, path: &str, place: &Place, missing: Missing) -> Text {
        let path = expand(path, &self.options.variables).map_or_else(|_| path.to_owned(), |expanded| expanded.text);
        match (self.options.read_file)(&path) {
            Ok(content) => {
                let text = content.trim_end_matches(['\n', '\r']).to_owned();
                self.findings.hide(&text);
                Text { text, origin: TextOrigin::Secret }
            }
            Err(error) => {
                if missing == Missing::IsFinding {
                    let message = format!("secret file `{path}` cannot be read: {error}");
                    self.findings.at(place.clone(), &codes::SECRET_FILE, message, None);
                }
                Text { text: String::new(), origin: TextOrigin::Unresolved }
            }
        }
    }
}

fn missing(owner: Option<BrokerChoice>, broker: BrokerChoice) -> Missing {
    match owner {
        Some(owner) if owner != broker => Missing::IsLeft,
        _ => Missing::IsFinding,
    }
}

/// The path in `{ file = "…" }`.
fn secret_file(node: &Node) -> Option<String> {
    match &node.value {
        Value::Table(table) if table.form == Form::Inline && table.entries.len() == 1 => {
            table.get("file").and_then(Node::text).map(str::to_owned)
        }
        _ => None,
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Expanded {
    text: String,
    /// Values of variables in it.
    values: Vec<String>,
}

#[derive(Debug, PartialEq, Eq)]
enum Problem {
    Missing { name: String, message: Option<String> },
    Malformed,
}

fn expand(text: &str, variables: &BTreeMap<String, String>) -> Result<Expanded, Problem> {
    let mut expanded = Expanded { text: String::with_capacity(text.len()), values: Vec::new() };
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(before) = before.strip_suffix('$') {
            expanded.text.push_str(before);
            expanded.text.push_str("${");
            rest = after;
            continue;
        }
        let (reference, after) = after.split_once('}').ok_or(Problem::Malformed)?;
        expanded.text.push_str(before);
        let value = value_of(reference, variables)?;
        if variables.values().any(|known| *known == value) {
            expanded.values.push(value.clone());
        }
        expanded.text.push_str(&value);
        rest = after;
    }
    expanded.text.push_str(rest);
    Ok(expanded)
}

fn value_of(reference: &str, variables: &BTreeMap<String, String>) -> Result<String, Problem> {
    let end = reference.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(reference.len());
    let (name, instruction) = reference.split_at(end);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(Problem::Malformed);
    }
    let set = variables.get(name).filter(|value| !value.is_empty()).cloned();
    let missing =
        |message: Option<&str>| Problem::Missing { name: name.to_owned(), message: message.map(str::to_owned) };
    if instruction.is_empty() {
        set.ok_or_else(|| missing(None))
    } else if let Some(default) = instruction.strip_prefix(":-") {
        Ok(set.unwrap_or_else(|| default.to_owned()))
    } else if let Some(message) = instruction.strip_prefix(":?") {
        set.ok_or_else(|| missing(Some(message)))
    } else {
        Err(Problem::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expands_references() {
        let variables = BTreeMap::from([("A".to_owned(), "x".to_owned()), ("EMPTY".to_owned(), String::new())]);
        let cases = [
            ("plain $ and $5", Ok("plain $ and $5")),
            ("${A}-${A}", Ok("x-x")),
            ("${B:-d}", Ok("d")),
            ("${B:-}", Ok("")),
            ("${EMPTY:-d}", Ok("d")),
            ("$${A}", Ok("${A}")),
            ("${B}", Err("B")),
            ("${B:?say why}", Err("B: say why")),
            ("${A", Err("malformed")),
            ("${}", Err("malformed")),
            ("${A:x}", Err("malformed")),
            ("${B:x}", Err("malformed")),
        ];
        for (text, expected) in cases {
            let result = expand(text, &variables).map(|expanded| expanded.text).map_err(|problem| match problem {
                Problem::Missing { name, message: Some(message) } => format!("{name}: {message}"),
                Problem::Missing { name, message: None } => name,
                Problem::Malformed => "malformed".to_owned(),
            });
            assert_eq!(result.as_deref().map_err(String::as_str), expected, "{text}");
        }
    }

    #[test]
    fn finds_the_user_info_of_urls() {
        assert_eq!(user_info("postgres://me:pw@host/db"), Some("me:pw"));
        assert_eq!(user_info("postgres://me:p@w@host"), Some("me:p@w"));
        assert_eq!(user_info("http://host/a@b"), None);
        assert_eq!(user_info("me:pw@host"), None);
    }
}
