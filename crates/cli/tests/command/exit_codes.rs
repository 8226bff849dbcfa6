//! Every exit code of the command, and what is on standard output beside it.

use std::io::Read;

use crate::tidemill::{Ended, Tidemill, parse};

fn assert_code(ended: &Ended, expected: i32) {
    assert_eq!(ended.code, Some(expected), "{ended:#?}");
}

#[test]
fn wrong_use_is_2() {
    let tidemill = Tidemill::new();
    for line in [
        "",
        "no-such-command",
        "check --no-such-flag",
        "graph --format picture",
        "run --stage no-such-stage",
        "run --workers 0",
        "dlq ls no.such-topic.v1.dlq",
        "dlq discard payments.requested.v1.dlq --reason  --yes",
        "dev schema no_such_kind",
        "explain no_such_code_at_all",
    ] {
        let ended = tidemill.run(line);
        assert_code(&ended, 2);
        assert_eq!(ended.stdout, "", "{line}");
    }
}

#[test]
fn what_is_not_there_is_1_with_the_nearest_name() {
    let tidemill = Tidemill::new();
    tidemill.run("apply --yes").text();
    for line in ["consume payments.statu.v1", "produce payments.statu.v1"] {
        let ended = tidemill.run(line);
        assert_code(&ended, 1);
        assert!(ended.stderr.contains("Did you mean payments.status.v1?"), "{}", ended.stderr);
    }
}

#[test]
fn a_broker_that_does_not_answer_is_4() {
    let mut tidemill = Tidemill::new();
    tidemill.set_variable("TIDEMILL_BOOTSTRAP", "127.0.0.1:1");
    let ended = tidemill.run("plan --broker kafka --json");
    assert_code(&ended, 4);
    let error = parse(ended.stderr.lines().last().expect("it says why"));
    assert_eq!(error["exit"], 4, "{error}");
}

#[test]
fn a_topology_that_cannot_be_run_is_78() {
    let tidemill = Tidemill::new();
    tidemill.write("broken.toml", "[pipeline]\nname = \"broken\"\n");
    for line in ["run --topology broken.toml", "run --topology no-such-file.toml", "status --set unit.main.tasks=0"] {
        assert_code(&tidemill.run(line), 78);
    }
    let ended = tidemill.run("run --topology broken.toml --json");
    assert_eq!(parse(ended.stderr.lines().last().expect("it says why"))["exit"], 78);
}

#[test]
fn plan_says_1_until_apply_has_been_run() {
    let tidemill = Tidemill::new();
    let planned = tidemill.run("plan --json");
    assert_code(&planned, 1);
    let steps = parse(&planned.stdout)["steps"].as_array().map(Vec::len);
    assert!(steps > Some(20), "{}", planned.stdout);
    assert_code(&tidemill.run("apply"), 5);
    assert_code(&tidemill.run("apply --yes"), 0);
    let planned = tidemill.run("plan --json").json();
    assert_eq!(planned, serde_json::json!({"steps": [], "refusals": []}));
}

/// A running pipeline keeps others out, lets them look, and ends well when it is asked to.
#[test]
fn a_second_process_is_refused_with_5_and_an_orderly_end_is_0() {
    let tidemill = Tidemill::new();
    let mut running = tidemill.start("run");
    running.wait_for("runs on");
    for line in ["run", "run --instance b", "produce payments.requested.v1", "apply --yes"] {
        assert_code(&tidemill.run(line), 5);
    }
    let status = tidemill.run("status --json").json();
    assert!(status["inputs"].as_array().is_some_and(|inputs| !inputs.is_empty()), "{status}");
    assert_eq!(status["sinks"][0]["sink"], "sqlite");
    assert!(tidemill.run("status").text().contains("payments.requested.v1"));
    running.signal("TERM");
    assert_code(&running.ended(), 0);
    let reconciled = tidemill.run("reconcile --json").json();
    assert_eq!(reconciled["findings"], serde_json::json!([]));
    assert!(tidemill.run("reconcile").text().contains("Everything adds up"));
}

#[test]
fn records_that_wait_are_a_finding_of_reconcile() {
    let tidemill = Tidemill::new();
    tidemill.feed("produce payments.requested.v1", b"{}\n").text();
    let reconciled = tidemill.run("reconcile --json");
    assert_code(&reconciled, 1);
    let findings = &parse(&reconciled.stdout)["findings"];
    assert!(findings[0].as_str().is_some_and(|finding| finding.contains("payments.requested.v1")), "{findings}");
}

#[test]
fn what_is_interrupted_is_130() {
    let tidemill = Tidemill::new();
    tidemill.feed("produce payments.requested.v1", b"{}\n").text();
    let mut command = tidemill.command(crate::tidemill::BINARY);
    let mut child = command.args(["consume", "payments.requested.v1", "--follow"]).spawn().expect("it starts");
    // The first record on standard output says that it follows.
    let mut first = [0];
    let stdout = child.stdout.as_mut().expect("is piped");
    stdout.read_exact(&mut first).expect("a record is shown");
    let killed = std::process::Command::new("kill").args(["-s", "INT", &child.id().to_string()]).status();
    assert!(killed.expect("kill is there").success(), "the signal could not be sent");
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
}

/// A reader that goes away ends the command without an error.
#[test]
fn a_closed_pipe_is_0() {
    let tidemill = Tidemill::new();
    let mut command = tidemill.command(crate::tidemill::BINARY);
    let mut child = command.args(["generate", "-n", "1000000"]).spawn().expect("it starts");
    drop(child.stdout.take());
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}
