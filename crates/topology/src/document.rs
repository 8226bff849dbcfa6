//! The text as a tree in which everything knows where it stands, and the command line's changes to it.

use std::ops::Range;
use std::sync::Arc;

use tidemill_core::Diagnostic;
use tidemill_core::diagnostic::nearest;
use toml::de::{DeTable, DeValue};
use toml::value::Datetime;

use crate::codes;
use crate::findings::{Findings, Step};

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) value: Value,
    /// The words of the command line, when the value comes from there: `2` may be meant as text.
    pub(crate) written: Option<String>,
}

#[derive(Clone, Debug)]
pub(crate) enum Value {
    Text(Text),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Datetime(Datetime),
    Array(Vec<Node>),
    Table(Table),
}

#[derive(Clone, Debug)]
pub(crate) struct Text {
    pub(crate) text: String,
    pub(crate) origin: TextOrigin,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TextOrigin {
    Written,
    /// A variable was filled in.
    Variable,
    /// Read from a file: never shown.
    Secret,
    /// Belongs to a part that this broker does not use, and a variable is missing.
    Unresolved,
}

#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) form: Form,
    pub(crate) entries: Vec<Entry>,
}

/// `{ … }` or a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Inline,
    Section,
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) place: Place,
    pub(crate) node: Node,
}

/// Line and column are counted from 1; 0 for what was given on the command line.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) file: Arc<str>,
    pub(crate) line: u32,
    pub(crate) column: u32,
}

impl Place {
    pub(crate) fn start_of(file: &str) -> Self {
        Self { file: file.into(), line: 0, column: 0 }
    }
}

impl Table {
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.entries.iter().find(|entry| entry.key == key).map(|entry| &entry.node)
    }
}

impl Node {
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Table(table) => table.get(key),
            _ => None,
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(&text.text),
            _ => None,
        }
    }

    /// Where `path` stands, or the innermost table around it that exists.
    pub(crate) fn place_of(&self, path: &[Step<'_>]) -> Place {
        let mut node = self;
        let mut place = &self.place;
        for step in path {
            let Some((inner, at)) = node.step(*step) else { break };
            (node, place) = (inner, at);
        }
        place.clone()
    }

    pub(crate) fn node_at(&self, path: &[Step<'_>]) -> Option<&Node> {
        path.iter().try_fold(self, |node, step| node.step(*step).map(|(inner, _)| inner))
    }

    /// A key stands where it is written, an item of a list where it begins.
    fn step(&self, step: Step<'_>) -> Option<(&Node, &Place)> {
        match (step, &self.value) {
            (Step::Key(key), Value::Table(table)) => {
                table.entries.iter().find(|entry| entry.key == key).map(|entry| (&entry.node, &entry.place))
            }
            (Step::Index(index), Value::Array(items)) => items.get(index).map(|item| (item, &item.place)),
            _ => None,
        }
    }
}

/// Reads the text. All syntax errors are found at once.
pub(crate) fn parse(file: &str, text: &str) -> Result<Node, Vec<Diagnostic>> {
    let reader = Reader { file: file.into(), text, lines: line_starts(text) };
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        let mut node = reader.node(DeValue::Table(table.into_inner()), 0..0)?;
        node.place = Place::start_of(file);
        return Ok(node);
    }
    let diagnose = |error: &toml::de::Error| {
        let place = reader.place(error.span().unwrap_or_default());
        Diagnostic::error(codes::SYNTAX.code, error.message()).at(file, place.line, place.column)
    };
    let mut findings: Vec<Diagnostic> = errors.iter().map(diagnose).collect();
    findings.sort_by_key(|finding| (finding.line, finding.column));
    Err(findings)
}

/// Applies `--set path=value`. Sections that occur more than once are chosen by name or by number from 0.
pub(crate) fn apply_override(root: &mut Node, path: &str, value: &str, findings: &mut Findings) {
    let origin = format!("--set {path}");
    let quoted = toml::Value::String(value.to_owned());
    let parsed =
        parse(&origin, &format!("{path} = {value}\n")).or_else(|_| parse(&origin, &format!("{path} = {quoted}\n")));
    let Ok(mut change) = parsed else {
        return findings.at(Place::start_of(&origin), &codes::OVERRIDE, "the path cannot be read", None);
    };
    stamp(&mut change, &Place::start_of(&origin), value);
    merge(root, change, findings);
}

fn stamp(node: &mut Node, place: &Place, written: &str) {
    node.place = place.clone();
    match &mut node.value {
        Value::Table(table) => {
            for entry in &mut table.entries {
                entry.place = place.clone();
                stamp(&mut entry.node, place, written);
            }
        }
        _ => node.written = Some(written.to_owned()),
    }
}

fn merge(base: &mut Node, change: Node, findings: &mut Findings) {
    match (&mut base.value, change.value) {
        (Value::Table(table), Value::Table(changes)) if changes.form == Form::Section => {
            for entry in changes.entries {
                merge_entry(table, entry, findings);
            }
        }
        (Value::Array(items), Value::Table(changes)) => {
            for entry in changes.entries {
                merge_item(items, entry, findings);
            }
        }
        (_, value) => *base = Node { value, ..change },
    }
}

fn merge_entry(table: &mut Table, entry: Entry, findings: &mut Findings) {
    match table.entries.iter_mut().find(|known| known.key == entry.key) {
        Some(known) => merge(&mut known.node, entry.node, findings),
        None => table.entries.push(entry),
    }
}

fn merge_item(items: &mut [Node], entry: Entry, findings: &mut Findings) {
    let named = |item: &Node| item.get("name").and_then(Node::text) == Some(&entry.key);
    let index = items.iter().position(named).or_else(|| entry.key.parse().ok()).filter(|index| *index < items.len());
    if let Some(index) = index {
        return merge(&mut items[index], entry.node, findings);
    }
    let names = items.iter().filter_map(|item| item.get("name").and_then(Node::text));
    let hint = nearest(&entry.key, names).map(|name| format!("Did you mean `{name}`?"));
    findings.at(entry.place, &codes::OVERRIDE, format!("no section is named `{}`", entry.key), hint);
}

struct Reader<'t> {
    file: Arc<str>,
    text: &'t str,
    /// Byte offset at which each line begins.
    lines: Vec<usize>,
}

impl Reader<'_> {
    fn place(&self, span: Range<usize>) -> Place {
        let offset = span.start.min(self.text.len());
        let line = self.lines.partition_point(|start| *start <= offset);
        let start = line.checked_sub(1).and_then(|index| self.lines.get(index)).copied().unwrap_or_default();
        let column = self.text.get(start..offset).map_or(0, |before| before.chars().count());
        Place { file: Arc::clone(&self.file), line: narrow(line), column: narrow(column + 1) }
    }

    fn node(&self, value: DeValue<'_>, span: Range<usize>) -> Result<Node, Vec<Diagnostic>> {
        let place = self.place(span.clone());
        let value = match value {
            DeValue::String(text) => Value::Text(Text { text: text.into_owned(), origin: TextOrigin::Written }),
            DeValue::Integer(integer) => match i64::from_str_radix(integer.as_str(), integer.radix()) {
                Ok(integer) => Value::Integer(integer),
                Err(_) => return Err(self.too_large(&place)),
            },
            DeValue::Float(float) => match float.as_str().parse() {
                Ok(float) => Value::Float(float),
                Err(_) => return Err(self.too_large(&place)),
            },
            DeValue::Boolean(boolean) => Value::Boolean(boolean),
            DeValue::Datetime(datetime) => Value::Datetime(datetime),
            DeValue::Array(items) => {
                let item = |item: toml::Spanned<DeValue<'_>>| {
                    let span = item.span();
                    self.node(item.into_inner(), span)
                };
                Value::Array(items.into_iter().map(item).collect::<Result<_, _>>()?)
            }
            DeValue::Table(table) => Value::Table(self.table(table, span)?),
        };
        Ok(Node { place, value, written: None })
    }

    fn table(&self, table: DeTable<'_>, span: Range<usize>) -> Result<Table, Vec<Diagnostic>> {
        let form = match self.text.as_bytes().get(span.start) {
            Some(b'{') => Form::Inline,
            _ => Form::Section,
        };
        let mut entries = Vec::with_capacity(table.len());
        for (key, node) in table {
            let place = self.place(key.span());
            let span = node.span();
            let node = self.node(node.into_inner(), span)?;
            entries.push(Entry { key: key.into_inner().into_owned(), place, node });
        }
        Ok(Table { form, entries })
    }

    fn too_large(&self, place: &Place) -> Vec<Diagnostic> {
        let finding = Diagnostic::error(codes::SYNTAX.code, "the number does not fit 64 bits");
        vec![finding.at(&self.file, place.line, place.column)]
    }
}

fn line_starts(text: &str) -> Vec<usize> {
    std::iter::once(0).chain(text.match_indices('\n').map(|(offset, _)| offset + 1)).collect()
}

fn narrow(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
