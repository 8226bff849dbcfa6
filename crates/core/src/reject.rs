//! Rejects: the coded answer to a record that is not carried out.

use std::borrow::Cow;
use std::fmt;

use crate::event::AnyEvent;

/// Why a record was not carried out, in classes that decide what happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// The bytes could not be read. Goes to the dead letters.
    Decode,
    /// The bytes could be read, but not by the schema they name. Goes to the dead letters.
    Schema,
    /// The content breaks a fixed rule: same body, same answer for ever. Answered on the status topic.
    Validation,
    /// The state of the world forbids it. Answered on the status topic and remembered.
    Business,
    /// A part of Tidemill is wrong, not the record. Handled by the stage's `on_error`.
    Bug,
    /// What must always hold does not. Stops the worker, whatever `on_error` says, and is never a dead letter.
    Invariant,
}

impl Class {
    pub fn name(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Schema => "schema",
            Self::Validation => "validation",
            Self::Business => "business",
            Self::Bug => "bug",
            Self::Invariant => "invariant",
        }
    }
}

/// One stable code. Codes are facts in snake_case and are never reused for another meaning.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CodeSpec {
    pub code: &'static str,
    pub class: Class,
    /// What is the case, in one sentence.
    pub summary: &'static str,
    /// What to do about it: the sentence an upstream team or an operator needs.
    pub remedy: &'static str,
}

impl fmt::Debug for CodeSpec {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.code)
    }
}

/// A processor panicked on this record.
pub const BUG: CodeSpec = CodeSpec {
    code: "bug",
    class: Class::Bug,
    summary: "A processor failed on this record in a way it should not have.",
    remedy: "Report it with the dead letter attached; after the fix, replay the record with `tidemill dlq plan`.",
};

/// A reject. Boxed inside, because the path without one is the hot path.
pub struct Reject(Box<Body>);

struct Body {
    code: &'static CodeSpec,
    message: Cow<'static, str>,
    field: Option<Cow<'static, str>>,
    subject: Option<AnyEvent>,
}

impl Reject {
    pub fn new(code: &'static CodeSpec) -> Self {
        Self(Box::new(Body { code, message: Cow::Borrowed(code.summary), field: None, subject: None }))
    }

    /// An event of a type the processor does not take reached it. The topology check makes this impossible.
    pub fn unexpected(event: &AnyEvent) -> Self {
        Self::new(&BUG).because(format!("unexpected event of kind {}", event.kind().name))
    }

    /// Says more than the code's summary. Never put values of the record in it: it ends up in logs and headers.
    pub fn because(mut self, message: impl Into<Cow<'static, str>>) -> Self {
        self.0.message = message.into();
        self
    }

    /// JSON pointer to the field at fault.
    pub fn at(mut self, field: impl Into<Cow<'static, str>>) -> Self {
        self.0.field = Some(field.into());
        self
    }

    /// What was rejected, for the processor that answers the reject.
    pub fn about(mut self, subject: AnyEvent) -> Self {
        self.0.subject = Some(subject);
        self
    }

    pub fn code(&self) -> &'static CodeSpec {
        self.0.code
    }

    pub fn class(&self) -> Class {
        self.0.code.class
    }

    pub fn message(&self) -> &str {
        &self.0.message
    }

    pub fn field(&self) -> Option<&str> {
        self.0.field.as_deref()
    }

    pub fn subject(&self) -> Option<&AnyEvent> {
        self.0.subject.as_ref()
    }
}

impl fmt::Debug for Reject {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.0.code.code, self.0.message)
    }
}

impl From<crate::state::StateError> for Reject {
    /// State that cannot be read is never the record's fault.
    fn from(error: crate::state::StateError) -> Self {
        Self::new(&BUG).because(error.to_string())
    }
}
