//! `tidemill explain CODE`.

use serde_json::Value;
use tidemill_core::{CodeSpec, reject};
use tidemill_runtime::conditions::CONDITIONS;
use tidemill_runtime::worker::{REDRIVE_UNADDRESSED, VALUE_SCHEMA_UNKNOWN, VALUE_UNREADABLE};
use tidemill_topology::codes;

use crate::tidemill::Tidemill;

fn codes() -> Vec<&'static CodeSpec> {
    let of_processors = tidemill_processors::PROCESSORS.iter().flat_map(|spec| spec.codes);
    let of_sinks = tidemill_connectors::CODES.iter().copied();
    let of_engine = [&reject::BUG, &VALUE_UNREADABLE, &VALUE_SCHEMA_UNKNOWN, &REDRIVE_UNADDRESSED];
    let of_produce = tidemill_schemas::json::JSON_CODES.iter().copied();
    let mut codes: Vec<&CodeSpec> =
        of_engine.into_iter().chain(of_processors).chain(of_sinks).chain(of_produce).collect();
    codes.sort_by_key(|code| code.code);
    codes.dedup_by_key(|code| code.code);
    codes
}

#[test]
fn every_code_is_explained() {
    let tidemill = Tidemill::new();
    for code in codes() {
        let explained = tidemill.run_all(&["explain", code.code, "--json"]).json();
        for (field, expected) in
            [("code", code.code), ("class", code.class.name()), ("summary", code.summary), ("remedy", code.remedy)]
        {
            assert_eq!(explained[field], Value::from(expected), "{}", code.code);
        }
        assert!(explained["by"].as_array().is_some_and(|by| !by.is_empty()), "{explained}");
    }
}

#[test]
fn every_condition_is_explained() {
    let tidemill = Tidemill::new();
    for condition in CONDITIONS {
        let page = tidemill.run_all(&["explain", condition.code]).text();
        assert!(page.contains(condition.summary) && page.contains(condition.remedy), "{page}");
    }
}

#[test]
fn every_finding_is_explained() {
    let tidemill = Tidemill::new();
    for code in codes::ALL {
        let page = tidemill.run_all(&["explain", code.code]).text();
        assert!(page.contains(code.summary) && page.contains(code.remedy), "{page}");
    }
}

#[test]
fn a_typo_is_answered_with_the_nearest_code() {
    let tidemill = Tidemill::new();
    let ended = tidemill.run("explain insuficient_funds");
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("Did you mean `insufficient_funds`?"), "{}", ended.stderr);
    assert_eq!(ended.stdout, "");
}
