//! Collects findings, each with its place, and keeps secrets out of them.

use tidemill_core::{Diagnostic, Severity};

use crate::codes::Code;
use crate::document::{Node, Place};
use crate::interpolate;

/// One step on the way to a value: `stage`, 2, `chain`, 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

impl<'a> From<&'a str> for Step<'a> {
    fn from(key: &'a str) -> Self {
        Self::Key(key)
    }
}

impl<'a> From<&'a String> for Step<'a> {
    fn from(key: &'a String) -> Self {
        Self::Key(key)
    }
}

impl From<usize> for Step<'_> {
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}

/// `place!["stage", 2, "chain", 0]`
macro_rules! place {
    ($($step:expr),* $(,)?) => { &[$($crate::findings::Step::from($step)),*] };
}
pub(crate) use place;

#[derive(Debug)]
pub(crate) struct Findings {
    file: String,
    document: Option<Node>,
    list: Vec<Diagnostic>,
    secrets: Vec<String>,
}

impl Findings {
    pub(crate) fn new(file: &str) -> Self {
        Self { file: file.to_owned(), document: None, list: Vec::new(), secrets: Vec::new() }
    }

    /// From here on findings are placed by path in `document`.
    pub(crate) fn place_in(&mut self, document: Node) {
        self.document = Some(document);
    }

    /// A value that no finding may show.
    pub(crate) fn hide(&mut self, secret: &str) {
        if !secret.is_empty() {
            self.secrets.push(secret.to_owned());
        }
    }

    pub(crate) fn add(&mut self, path: &[Step<'_>], code: &'static Code, message: impl Into<String>) {
        self.add_with_hint(path, code, message, None);
    }

    pub(crate) fn add_with_hint(
        &mut self,
        path: &[Step<'_>],
        code: &'static Code,
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        let place = match &self.document {
            Some(document) => document.place_of(path),
            None => Place::start_of(&self.file),
        };
        self.at(place, code, message, hint);
    }

    /// Without a hint of its own, a finding gives the remedy of its code.
    pub(crate) fn at(&mut self, place: Place, code: &'static Code, message: impl Into<String>, hint: Option<String>) {
        let hint = hint.unwrap_or_else(|| code.remedy.to_owned());
        let finding = match code.severity {
            Severity::Error => Diagnostic::error(code.code, message),
            Severity::Warning => Diagnostic::warning(code.code, message),
        };
        self.list.push(finding.hint(hint).at(&place.file, place.line, place.column));
    }

    pub(crate) fn is_fatal(&self) -> bool {
        self.list.iter().any(|finding| finding.severity == Severity::Error)
    }

    /// Whether something under `path` could not be filled in and was left.
    pub(crate) fn is_unresolved(&self, path: &[Step<'_>]) -> bool {
        let document = self.document.as_ref();
        document.and_then(|document| document.node_at(path)).is_some_and(interpolate::is_unresolved)
    }

    /// `text` without secrets.
    pub(crate) fn blot(&self, text: &str) -> String {
        blot(&self.secrets, text)
    }

    /// In the order of the file, secrets blotted out, without repetitions.
    pub(crate) fn finish(mut self) -> Vec<Diagnostic> {
        self.secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        for finding in &mut self.list {
            finding.message = blot(&self.secrets, &finding.message);
            finding.hint = finding.hint.as_deref().map(|hint| blot(&self.secrets, hint));
        }
        self.list.sort_by(|a, b| {
            let order = |finding: &Diagnostic| (finding.file != self.file, finding.line, finding.column, finding.code);
            order(a).cmp(&order(b))
        });
        self.list.dedup();
        self.list
    }
}

/// `text` with every secret replaced.
pub(crate) fn blot(secrets: &[String], text: &str) -> String {
    secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), "***"))
}
