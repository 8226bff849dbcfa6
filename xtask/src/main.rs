//! Checks of the repository itself, so that the rules of STYLE.md hold without anybody having to remember them.
//!
//! `cargo xtask tidy` runs every check, `cargo xtask docs-check` only those of Markdown. All findings come at once, as
//! `path:line: message`; the exit code is 1 if there are any. Warnings are printed and change nothing.

mod dependencies;
mod documents;
mod files;
mod finding;
mod functions;
mod names;
mod rules;
mod source;
mod text;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use files::RepositoryFile;
use finding::{Finding, Severity};
use rules::Purpose;
use source::Source;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let root = repository_root();
    let checked = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["tidy"] => tidy(&root),
        ["docs-check"] => docs_check(&root),
        _ => {
            eprintln!("usage: cargo xtask tidy|docs-check");
            return ExitCode::from(2);
        }
    };
    match checked {
        Ok(findings) => report(findings),
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::from(2)
        }
    }
}

fn repository_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(1).unwrap_or(Path::new(".")).to_path_buf()
}

fn tidy(root: &Path) -> Result<Vec<Finding>, String> {
    let files = files::read_all(root)?;
    let mut findings = dependencies::check(&dependencies::read_metadata(root)?);
    for file in &files {
        findings.extend(names::check_path(&file.path));
        findings.extend(text::check(&file.path, &file.content));
    }
    findings.extend(check_sources(&files));
    findings.extend(documents::check(&files));
    Ok(findings)
}

fn check_sources(files: &[RepositoryFile]) -> Vec<Finding> {
    let rust = files.iter().filter(|file| file.path.ends_with(".rs"));
    let sources: Vec<(String, Source)> = rust.map(|file| (file.path.clone(), Source::parse(&file.content))).collect();
    let test_files: Vec<String> =
        sources.iter().flat_map(|(path, source)| source::declared_test_files(path, source)).collect();
    let mut findings = rules::check_exceptions(&sources);
    for (path, source) in &sources {
        findings.extend(functions::check(path, source));
        findings.extend(names::check_definitions(path, source));
        findings.extend(rules::check(path, source, purpose(path, &test_files)));
    }
    findings
}

fn purpose(path: &str, test_files: &[String]) -> Purpose {
    let below = |file: &String| path.strip_prefix(file.as_str()).is_some_and(|rest| rest.starts_with(['.', '/']));
    if test_files.iter().any(below) { Purpose::Test } else { Purpose::Production }
}

fn docs_check(root: &Path) -> Result<Vec<Finding>, String> {
    Ok(documents::check(&files::read_all(root)?))
}

fn report(mut findings: Vec<Finding>) -> ExitCode {
    findings.sort();
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    for finding in &findings {
        println!("{finding}");
    }
    if errors == 0 {
        return ExitCode::SUCCESS;
    }
    eprintln!("xtask: {errors} findings; the rules and their reasons are in STYLE.md");
    ExitCode::from(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_file_is_told_by_its_declaration() {
        let declared = ["a/src/fixture".to_owned(), "a/src/b/tests".to_owned()];
        let cases = [
            ("a/src/fixture.rs", Purpose::Test),
            ("a/src/b/tests/scenarios.rs", Purpose::Test),
            ("a/src/fixtures.rs", Purpose::Production),
            ("b/src/fixture.rs", Purpose::Production),
        ];
        for (path, expected) in cases {
            assert_eq!(purpose(path, &declared), expected, "{path}");
        }
    }
}
