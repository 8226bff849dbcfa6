//! Checks a document against the schema: keys, types, limits. All findings at once.
//!
//! What is wrong is replaced by a placeholder, so that the checks that follow can still run on the rest; empty names are
//! such placeholders, and later checks pass over them.

use serde_json::Value as Schema;
use tidemill_core::diagnostic::nearest;

use crate::codes::{self, Code};
use crate::document::{Node, Place, Table, TextOrigin, Value};
use crate::findings::Findings;
use crate::schema::{properties, requires, target};

/// The document's values, ready to be read into `Raw`.
pub(crate) fn check(root: &Node, schema: &Schema, findings: &mut Findings) -> toml::Value {
    let mut checker = Checker { root: schema, findings };
    checker.value(root, schema, "the file")
}

/// The values of a tree whose shape is not ours to check.
pub(crate) fn plain(node: &Node) -> toml::Value {
    match &node.value {
        Value::Text(text) => toml::Value::String(text.text.clone()),
        Value::Integer(integer) => toml::Value::Integer(*integer),
        Value::Float(float) => toml::Value::Float(*float),
        Value::Boolean(boolean) => toml::Value::Boolean(*boolean),
        Value::Datetime(datetime) => toml::Value::Datetime(*datetime),
        Value::Array(items) => toml::Value::Array(items.iter().map(plain).collect()),
        Value::Table(table) => {
            toml::Value::Table(table.entries.iter().map(|entry| (entry.key.clone(), plain(&entry.node))).collect())
        }
    }
}

struct Checker<'c> {
    root: &'c Schema,
    findings: &'c mut Findings,
}

impl Checker<'_> {
    fn value(&mut self, node: &Node, schema: &Schema, name: &str) -> toml::Value {
        let root = self.root;
        let schema = target(root, schema);
        match wanted(schema) {
            Wanted::Anything => plain(node),
            Wanted::Choice(choices) => self.choice(node, &choices, name),
            Wanted::Text => self.text(node, name),
            Wanted::Integer => self.integer(node, schema, name),
            Wanted::List => self.list(node, schema, name),
            Wanted::Table => match &node.value {
                Value::Table(table) => self.table(table, &node.place, schema, name),
                _ => self.wrong(node, schema, name, "a table"),
            },
        }
    }

    fn table(&mut self, table: &Table, place: &Place, schema: &Schema, name: &str) -> toml::Value {
        let mut values = toml::Table::new();
        let known = properties(schema);
        let others = schema.get("additionalProperties").filter(|others| **others != Schema::Bool(false));
        for entry in &table.entries {
            match (known.and_then(|known| known.get(&entry.key)), others) {
                (Some(schema), _) | (None, Some(schema)) => {
                    values.insert(entry.key.clone(), self.value(&entry.node, schema, &entry.key));
                }
                (None, None) => {
                    let names = known.into_iter().flatten().map(|(name, _)| name.as_str());
                    let hint = nearest(&entry.key, names).map(|near| format!("Did you mean `{near}`?"));
                    let message = format!("unknown key `{}` in {name}", entry.key);
                    self.report(&entry.place, &codes::UNKNOWN_KEY, message, hint);
                }
            }
        }
        for (key, property) in known.into_iter().flatten() {
            if !values.contains_key(key) && requires(schema, key) {
                self.report(place, &codes::MISSING_KEY, format!("`{key}` is missing in {name}"), None);
                values.insert(key.clone(), placeholder(self.root, property));
            }
        }
        toml::Value::Table(values)
    }

    fn list(&mut self, node: &Node, schema: &Schema, name: &str) -> toml::Value {
        let Value::Array(items) = &node.value else { return self.wrong(node, schema, name, "a list") };
        if items.len() < limit(schema, "minItems").and_then(|least| usize::try_from(least).ok()).unwrap_or_default() {
            self.report(&node.place, &codes::OUT_OF_RANGE, format!("`{name}` is empty"), None);
        }
        let nothing = Schema::Bool(true);
        let item = schema.get("items").unwrap_or(&nothing);
        toml::Value::Array(items.iter().map(|node| self.value(node, item, name)).collect())
    }

    fn text(&mut self, node: &Node, name: &str) -> toml::Value {
        match (&node.value, &node.written) {
            (Value::Text(text), _) => toml::Value::String(text.text.clone()),
            (Value::Integer(_) | Value::Float(_) | Value::Boolean(_), Some(written)) => {
                toml::Value::String(written.clone())
            }
            _ => self.wrong(node, &serde_json::json!({"type": "string"}), name, "text"),
        }
    }

    fn choice(&mut self, node: &Node, choices: &[&str], name: &str) -> toml::Value {
        let fallback = toml::Value::String(choices.first().copied().unwrap_or_default().to_owned());
        let Some(text) = node.text() else {
            self.wrong(node, &Schema::Bool(true), name, "text");
            return fallback;
        };
        if choices.contains(&text) {
            return toml::Value::String(text.to_owned());
        }
        let all = choices.iter().map(|choice| format!("`{choice}`")).collect::<Vec<_>>().join(" or ");
        let hint = match nearest(text, choices.iter().copied()) {
            Some(near) => format!("Did you mean `{near}`?"),
            None => format!("Take {all}."),
        };
        self.report(&node.place, &codes::UNKNOWN_CHOICE, format!("`{name}` is `{text}`, not {all}"), Some(hint));
        fallback
    }

    fn integer(&mut self, node: &Node, schema: &Schema, name: &str) -> toml::Value {
        let integer = match &node.value {
            Value::Integer(integer) => Some(*integer),
            Value::Text(text) if text.origin == TextOrigin::Variable => text.text.parse().ok(),
            _ => None,
        };
        let Some(integer) = integer else { return self.wrong(node, schema, name, "a whole number") };
        let (least, most) =
            (limit(schema, "minimum").unwrap_or(i64::MIN), limit(schema, "maximum").unwrap_or(i64::MAX));
        if integer < least || most < integer {
            let message = format!("`{name}` is {integer}, but must be from {least} to {most}");
            self.report(&node.place, &codes::OUT_OF_RANGE, message, None);
        }
        toml::Value::Integer(integer.clamp(least, most))
    }

    /// Never shows the value: it may be a secret.
    fn wrong(&mut self, node: &Node, schema: &Schema, name: &str, wanted: &str) -> toml::Value {
        let found = match &node.value {
            Value::Text(_) => "text",
            Value::Integer(_) => "a whole number",
            Value::Float(_) => "a number with a fraction",
            Value::Boolean(_) => "true or false",
            Value::Datetime(_) => "a date",
            Value::Array(_) => "a list",
            Value::Table(_) => "a table",
        };
        self.report(&node.place, &codes::WRONG_TYPE, format!("`{name}` wants {wanted}, but is {found}"), None);
        placeholder(self.root, schema)
    }

    fn report(&mut self, place: &Place, code: &'static Code, message: String, hint: Option<String>) {
        self.findings.at(place.clone(), code, message, hint);
    }
}

enum Wanted<'s> {
    Anything,
    Choice(Vec<&'s str>),
    Text,
    Integer,
    List,
    Table,
}

fn wanted(schema: &Schema) -> Wanted<'_> {
    if let Some(choices) = schema.get("enum").and_then(Schema::as_array) {
        return Wanted::Choice(choices.iter().filter_map(Schema::as_str).collect());
    }
    let types = schema.get("type");
    let first = types.and_then(|types| types.as_array().and_then(|all| all.first()).or(Some(types)));
    match first.and_then(Schema::as_str) {
        Some("string") => Wanted::Text,
        Some("integer") => Wanted::Integer,
        Some("array") => Wanted::List,
        Some("object") => Wanted::Table,
        _ => Wanted::Anything,
    }
}

fn limit(schema: &Schema, name: &str) -> Option<i64> {
    schema.get(name).and_then(|limit| limit.as_i64())
}

/// Something of the right type that stands for nothing.
fn placeholder(root: &Schema, schema: &Schema) -> toml::Value {
    let schema = target(root, schema);
    match wanted(schema) {
        Wanted::Choice(choices) => toml::Value::String(choices.first().copied().unwrap_or_default().to_owned()),
        Wanted::Integer => toml::Value::Integer(limit(schema, "minimum").unwrap_or_default()),
        Wanted::List => toml::Value::Array(Vec::new()),
        Wanted::Table => {
            let required = properties(schema).into_iter().flatten().filter(|(key, _)| requires(schema, key));
            toml::Value::Table(required.map(|(key, schema)| (key.clone(), placeholder(root, schema))).collect())
        }
        Wanted::Anything | Wanted::Text => toml::Value::String(String::new()),
    }
}
