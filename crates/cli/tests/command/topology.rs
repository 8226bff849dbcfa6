//! What is said about a topology file without connecting to anything.

use std::collections::BTreeSet;

use crate::tidemill::Tidemill;

/// One finding per area: a key that is not there, a processor, a range, a topic's name, a stage twice.
const BROKEN: &str = r#"
[pipeline]
name = "broken"
version = "1"
colour = "red"

[broker]
kind = "embedded"

[[unit]]
name = "main"
tasks = 0

[[stage]]
name = "ingest"
unit = "main"

[[stage.input]]
topic = "payments.requested.v1"
chain = ["decode_paymnt"]
output = "Payments"

[[stage]]
name = "ingest"
unit = "mian"

[[stage.input]]
topic = "payments.validated.v1"
chain = ["dedupe_payment"]
"#;

#[test]
fn all_findings_are_reported_at_once() {
    let tidemill = Tidemill::new();
    tidemill.write("broken.toml", BROKEN);
    let checked = tidemill.run("check --topology broken.toml --json");
    assert_eq!(checked.code, Some(1), "{checked:#?}");
    let findings = crate::tidemill::parse(&checked.stdout);
    let findings = findings.as_array().expect("a list");
    let codes: BTreeSet<&str> = findings.iter().map(|finding| finding["code"].as_str().expect("text")).collect();
    assert!(codes.len() >= 3, "{findings:#?}");
    for finding in findings {
        assert!(finding["line"].as_u64().is_some_and(|line| line > 0), "{finding}");
        assert_eq!(finding["file"], "broken.toml");
    }
    let text = tidemill.run("check --topology broken.toml");
    assert_eq!(text.stdout.matches("broken.toml:").count(), findings.len(), "{}", text.stdout);
}

#[test]
fn good_files_have_no_findings() {
    let tidemill = Tidemill::new();
    for file in ["topology.toml", "examples/minimal/topology.toml", "examples/dedupe-only/topology.toml"] {
        let checked = tidemill.run_all(&["check", "--strict", "--json", "--topology", file]).json();
        assert_eq!(checked, serde_json::json!([]), "{file}");
    }
}

#[test]
fn the_graph_is_drawn_in_three_formats() {
    let tidemill = Tidemill::new();
    for (format, start) in [("mermaid", "flowchart"), ("dot", "digraph")] {
        let graph = tidemill.run_all(&["graph", "--format", format]).text();
        assert!(graph.starts_with(start), "{graph}");
        for name in ["ingest", "screen", "ledger", "notify", "payments.status.v1"] {
            assert!(graph.contains(name), "{format} without {name}: {graph}");
        }
    }
    let graph = tidemill.run("graph --format json").json();
    assert!(graph.to_string().contains("payments.screened.v1"), "{graph}");
}

#[test]
fn the_chains_are_explained() {
    let text = Tidemill::new().run("explain").text();
    for processor in ["decode_payment", "post_ledger", "fan_out_notifications"] {
        assert!(text.contains(processor), "{text}");
    }
}

#[test]
fn completions_are_printed_for_every_shell() {
    let tidemill = Tidemill::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = tidemill.run_all(&["completions", shell]).text();
        assert!(script.contains("tidemill") && script.contains("reconcile"), "{shell}");
    }
}

#[test]
fn developers_can_look_things_up() {
    let tidemill = Tidemill::new();
    assert!(tidemill.run("dev topology-schema").json().is_object());
    let catalog = tidemill.run("dev catalog").text();
    for name in ["post_ledger", "payment_status", "sqlite"] {
        assert!(catalog.contains(name), "{catalog}");
    }
    let schema = tidemill.run("dev schema payment_status").json();
    assert_eq!(schema["type"], "record");
}
