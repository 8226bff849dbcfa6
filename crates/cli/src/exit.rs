//! How the command ends.

use std::fmt;
use std::process::ExitCode;

use tidemill_core::Diagnostic;
use tidemill_runtime::broker::{BrokerError, BrokerErrorKind};
use tidemill_runtime::provision::ProvisionError;
use tidemill_runtime::registry::RegistryError;

/// Exit codes, documented in `docs/reference/cli.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Ok = 0,
    /// There are findings, or the verdict is negative.
    Findings = 1,
    /// Wrong use. Also clap's own code.
    Usage = 2,
    /// Done in part: some records were skipped.
    Partial = 3,
    /// A dependency could not be reached.
    Unreachable = 4,
    /// Refused by a guard.
    Refused = 5,
    /// The topology cannot be run.
    Config = 78,
    /// Interrupted by the person.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command could not do what was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self { exit, message: message.to_string(), hint: None, diagnostics: Vec::new() }
    }

    pub(crate) fn hint(mut self, hint: impl fmt::Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }

    pub(crate) fn print(&self, json: bool) {
        if json {
            let hint = self.hint.as_deref();
            let line =
                serde_json::json!({"event": "error", "message": self.message, "hint": hint, "exit": self.exit as u8});
            eprintln!("{line}");
            return;
        }
        for diagnostic in &self.diagnostics {
            eprintln!("{diagnostic}");
        }
        eprintln!("error: {}", self.message);
        if let Some(hint) = &self.hint {
            eprintln!("  hint: {hint}");
        }
    }
}

impl From<BrokerError> for Failure {
    fn from(error: BrokerError) -> Self {
        match error.kind {
            BrokerErrorKind::Misconfigured => Self::new(Exit::Config, error),
            BrokerErrorKind::NotFound => {
                Self::new(Exit::Findings, error).hint("Create what the topology needs with `tidemill apply`.")
            }
            _ => Self::new(Exit::Unreachable, error),
        }
    }
}

impl From<RegistryError> for Failure {
    fn from(error: RegistryError) -> Self {
        let exit = if matches!(error, RegistryError::Unavailable(_)) { Exit::Unreachable } else { Exit::Findings };
        Self::new(exit, format!("schema registry: {error}"))
    }
}

impl From<ProvisionError> for Failure {
    fn from(error: ProvisionError) -> Self {
        Self::new(Exit::Unreachable, error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(Exit::Findings, error)
    }
}
