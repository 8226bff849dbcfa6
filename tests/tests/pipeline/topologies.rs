//! The topology files of the repository are good with what is really there to build them from.

use std::path::PathBuf;

use tidemill_topology::{BrokerChoice, Options, compile};

use crate::under_test::{CATALOG, repository};

fn files() -> Vec<PathBuf> {
    let examples = std::fs::read_dir(repository().join("examples")).expect("there are examples");
    let folders = examples.map(|entry| entry.expect("can be listed").path()).filter(|path| path.is_dir());
    let mut files: Vec<PathBuf> = folders.map(|folder| folder.join("topology.toml")).collect();
    files.sort();
    files.insert(0, repository().join("topology.toml"));
    files
}

#[test]
fn compile_without_findings() {
    let files = files();
    assert!(files.len() >= 3, "the default and at least two examples: {files:?}");
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        for broker in chosen(&text) {
            let options = Options { broker, ..Options::default() };
            let name = format!("{} on {broker:?}", file.display());
            match compile("topology.toml", &text, &CATALOG, &options) {
                Ok((_, findings)) => assert_eq!(findings, [], "{name}"),
                Err(findings) => panic!("{name}: {findings:#?}"),
            }
        }
    }
}

/// Only a file that says where Kafka is can be run on it.
fn chosen(text: &str) -> Vec<Option<BrokerChoice>> {
    let names_kafka = text.contains("bootstrap_servers");
    let both = BrokerChoice::ALL.map(Some);
    if names_kafka { both.into() } else { vec![None] }
}
