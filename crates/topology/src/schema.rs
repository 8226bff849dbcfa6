//! The JSON Schema of the topology file. Editors use it, the documentation is derived from it, and [`crate::shape`]
//! checks files against it, so that the three cannot disagree.

use serde_json::{Map, Value, json};

use crate::raw::Raw;

/// For editors: `#:schema docs/reference/topology.schema.json` at the top of a topology file.
pub fn json_schema() -> Value {
    let mut schema = schemars::schema_for!(Raw).to_value();
    if let Some(root) = schema.as_object_mut() {
        root.insert("title".to_owned(), json!("Tidemill topology"));
    }
    sorted(schema)
}

/// Keys in alphabetical order, whatever features of the JSON library other crates ask for.
pub(crate) fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<(String, Value)> = map.into_iter().map(|(key, value)| (key, sorted(value))).collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(entries.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        scalar => scalar,
    }
}

/// One key of the file.
#[derive(Debug)]
pub struct Key {
    /// `stage.input`, empty for the top level.
    pub table: String,
    pub name: String,
    pub presence: Presence,
    pub description: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presence {
    Required,
    Optional,
    /// The value when absent, as TOML.
    Default(String),
}

/// All keys of the file, table by table.
pub fn keys() -> Vec<Key> {
    let root = json_schema();
    let mut keys = Vec::new();
    collect(&root, &root, "", &mut keys);
    keys
}

/// What `schema` refers to, if it is a reference; also looks through "or null".
pub(crate) fn target<'s>(root: &'s Value, schema: &'s Value) -> &'s Value {
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        let pointer = reference.trim_start_matches('#');
        return root.pointer(pointer).map_or(schema, |found| target(root, found));
    }
    let alternatives = schema.get("anyOf").and_then(Value::as_array);
    match alternatives.and_then(|all| all.iter().find(|one| one.get("type") != Some(&json!("null")))) {
        Some(alternative) => target(root, alternative),
        None => schema,
    }
}

pub(crate) fn properties(schema: &Value) -> Option<&Map<String, Value>> {
    schema.get("properties").and_then(Value::as_object)
}

pub(crate) fn requires(schema: &Value, key: &str) -> bool {
    let required = schema.get("required").and_then(Value::as_array);
    required.is_some_and(|keys| keys.iter().any(|required| required == key))
}

fn collect(root: &Value, schema: &Value, table: &str, keys: &mut Vec<Key>) {
    let Some(properties) = properties(schema) else { return };
    for (name, property) in properties {
        let description = property.get("description").or_else(|| target(root, property).get("description"));
        keys.push(Key {
            table: table.to_owned(),
            name: name.clone(),
            presence: presence(schema, name, property),
            description: description.and_then(Value::as_str).unwrap_or_default().replace('\n', " "),
        });
    }
    for (name, property) in properties {
        let inner = if table.is_empty() { name.clone() } else { format!("{table}.{name}") };
        let property = target(root, property);
        if let Some(items) = property.get("items") {
            collect(root, target(root, items), &inner, keys);
        } else if let Some(values) = property.get("additionalProperties") {
            collect(root, target(root, values), &format!("{inner}.<name>"), keys);
        }
        collect(root, property, &inner, keys);
    }
}

fn presence(schema: &Value, name: &str, property: &Value) -> Presence {
    if requires(schema, name) {
        return Presence::Required;
    }
    match property.get("default") {
        Some(Value::String(text)) => Presence::Default(format!("\"{text}\"")),
        Some(Value::Number(number)) => Presence::Default(number.to_string()),
        _ => Presence::Optional,
    }
}
