//! `tidemill check`: all findings about the topology file, without connecting to anything.

use serde::Serialize;
use tidemill_core::{Diagnostic, Severity};

use crate::args::Global;
use crate::exit::{Exit, Failure};
use crate::{output, session};

#[derive(Serialize)]
struct Finding<'a> {
    severity: &'static str,
    code: &'static str,
    message: &'a str,
    file: &'a str,
    line: u32,
    column: u32,
    hint: Option<&'a str>,
}

pub(super) fn run(global: &Global, strict: bool) -> Result<Exit, Failure> {
    let findings = match session::compile(global) {
        Ok((_, warnings)) => warnings,
        Err(failure) if failure.diagnostics.is_empty() => return Err(failure),
        Err(failure) => failure.diagnostics,
    };
    let is_bad = |finding: &Diagnostic| strict || finding.severity == Severity::Error;
    let exit = if findings.iter().any(is_bad) { Exit::Findings } else { Exit::Ok };
    if global.json {
        output::json(&findings.iter().map(view).collect::<Vec<_>>())?;
        return Ok(exit);
    }
    for finding in &findings {
        output::line(&finding.to_string())?;
    }
    if findings.is_empty() {
        output::line(&format!("{}: no findings", global.topology.display()))?;
    }
    Ok(exit)
}

fn view(finding: &Diagnostic) -> Finding<'_> {
    Finding {
        severity: match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        },
        code: finding.code,
        message: &finding.message,
        file: &finding.file,
        line: finding.line,
        column: finding.column,
        hint: finding.hint.as_deref(),
    }
}
