//! `tidemill verify` on the embedded broker; on real parts it is the judge of the chaos test.

use serde_json::{Value, json};

use crate::sql::sqlite;
use crate::tidemill::{Ended, Tidemill, parse};

const SHORT: &str = "verify --duration 3 --rate 300 --accounts 40 --seed 5";

fn violated(verdict: &Value) -> Vec<&Value> {
    let rules = verdict["rules"].as_array().expect("there are rules");
    rules.iter().filter(|rule| rule["violations"] != json!(0)).collect()
}

#[test]
fn a_pipeline_that_works_is_found_to_work() {
    let tidemill = Tidemill::new();
    let verdict = tidemill.run(&format!("{SHORT} --json")).json();
    assert_eq!(violated(&verdict), [&Value::Null; 0]);
    assert_eq!(verdict["holds"], json!(true));
    let number = |name: &str| verdict[name].as_u64().expect("a number");
    assert!(number("payments") > 500 && number("posted") > 450, "{verdict:#}");
    assert_eq!(number("unknown"), 0);
    for rule in verdict["rules"].as_array().expect("there are rules") {
        assert!(rule["checked"].as_u64() > Some(0), "{rule} says nothing");
    }
}

/// Everything there is belongs to others, and some of it waits unprocessed; it runs twice, and each time judges its own.
#[test]
fn it_judges_its_own_beside_what_others_have_sent() {
    let tidemill = Tidemill::new();
    for [generate, produce] in [
        ["generate accounts --accounts 50", "produce accounts.requested.v1 --key account"],
        ["generate -n 2000 --accounts 50", "produce payments.requested.v1"],
    ] {
        let records = tidemill.run(generate).text();
        tidemill.feed(produce, records.as_bytes()).text();
    }
    for _ in 0..2 {
        let text = tidemill.run(SHORT).text();
        assert!(text.contains("Everything holds."), "{text}");
    }
}

#[test]
fn a_read_model_that_was_meddled_with_is_1() {
    let tidemill = Tidemill::new();
    tidemill.run(SHORT).text();
    let file = tidemill.folder().join("data/read-model.sqlite");
    let gone =
        sqlite(&file, "DELETE FROM ledger_entries WHERE account_id LIKE '%-c7' AND seq = 1 RETURNING account_id");
    assert_eq!(gone.len(), 1, "{gone:?}");
    let ended = tidemill.run(&format!("{SHORT} --json"));
    assert_eq!(ended.code, Some(1), "{ended:#?}");
    let verdict = parse(&ended.stdout);
    assert_eq!(verdict["holds"], json!(false));
    let names: Vec<&Value> = violated(&verdict).into_iter().map(|rule| &rule["name"]).collect();
    assert_eq!(names, ["engine and read models add up"]);
}

#[test]
fn what_cannot_be_done_is_refused_with_2() {
    let mut tidemill = Tidemill::new();
    tidemill.set_variable("TIDEMILL_BOOTSTRAP", "127.0.0.1:1");
    for line in [
        "verify --instances 2",
        "verify --instances 2 --faults kill",
        "verify --broker kafka --faults kill",
        "verify --rate 0",
        "verify --faults burn",
    ] {
        let ended: Ended = tidemill.run(line);
        assert_eq!(ended.code, Some(2), "{line}: {ended:#?}");
    }
}
