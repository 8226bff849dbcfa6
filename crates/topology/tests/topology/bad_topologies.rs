//! One file for every finding: `bad/<name>.toml` and, beside it, all that the compiler says about it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::support::{compile_text, golden, repository, show};
use tidemill_topology::{Options, codes};

const SECRET: &str = "hunter2-from-file";

fn options() -> Options<'static> {
    Options {
        variables: BTreeMap::from([
            ("DATABASE_PASSWORD".to_owned(), "hunter2-from-variable".to_owned()),
            ("TASKS".to_owned(), "many".to_owned()),
        ]),
        read_file: &|path| match path {
            "/run/secrets/url" => Ok(format!("{SECRET}\n")),
            _ => Err("no such file".to_owned()),
        },
        ..Options::default()
    }
}

fn cases() -> Vec<(String, PathBuf)> {
    let folder = repository().join("crates/topology/tests/bad");
    let files = std::fs::read_dir(folder).expect("the folder exists");
    let paths = files.map(|file| file.expect("can be listed").path());
    let mut cases: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .map(|path| (path.file_name().unwrap_or_default().to_string_lossy().into_owned(), path))
        .collect();
    cases.sort();
    cases
}

/// `# --set path=value` in the first lines stands for the command line.
fn overrides(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("# --set "));
    lines.filter_map(|line| line.split_once('=')).map(|(path, value)| (path.to_owned(), value.to_owned())).collect()
}

#[test]
fn every_finding_has_a_case_and_every_case_says_what_it_did() {
    let mut failures = Vec::new();
    let mut found = BTreeSet::new();
    for (name, path) in cases() {
        let text = std::fs::read_to_string(&path).expect("can be read");
        let findings = match compile_text(&name, &text, &Options { overrides: overrides(&text), ..options() }) {
            Ok((_, warnings)) => warnings,
            Err(findings) => findings,
        };
        found.extend(findings.iter().map(|finding| finding.code));
        let said = show(&findings);
        assert!(!said.contains("hunter2"), "{name} shows a secret:\n{said}");
        failures.extend(golden(&path.with_extension("txt"), &said).err());
    }
    let without_case: Vec<_> =
        codes::ALL.iter().filter(|code| !found.contains(code.code)).map(|code| code.code).collect();
    failures.extend((!without_case.is_empty()).then(|| format!("no case makes {without_case:?}")));
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
