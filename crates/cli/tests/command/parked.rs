//! `on_error = "park"` on a whole pipeline: an account whose payment fails waits, all others go on.

use serde_json::{Value, json};

use crate::tidemill::Tidemill;

const SCREENED: &str = "payments.screened.v1";
const DLQ: &str = "payments.screened.v1.dlq";

fn run_until_idle(tidemill: &Tidemill) {
    assert_eq!(tidemill.run("run --until-idle").text(), "");
}

/// Payments of `acc-1` and `acc-2`, of which those in yen find no fee schedule.
fn produce(tidemill: &Tidemill, payments: &[(&str, &str, &str)]) {
    let line = |(id, account, currency): &(&str, &str, &str)| {
        json!({"id": id, "source": "shop", "debit_account": account, "credit_account": "m-1", "amount": "100",
            "currency": currency, "created_at": "2026-01-05T08:00:00Z", "channel": "web"})
        .to_string()
            + "\n"
    };
    let lines: String = payments.iter().map(line).collect();
    tidemill.feed("produce payments.requested.v1", lines.as_bytes()).text();
}

/// Ids in the order in which the ledger answered them, of one account.
fn answered(tidemill: &Tidemill, account: &str) -> Vec<String> {
    let statuses = tidemill.run("consume payments.status.v1").json_lines();
    let of_account = statuses.iter().map(|record| &record["value"]).filter(|value| value["debit_account"] == account);
    of_account.map(|value| value["payment_id"].as_str().expect("text").to_owned()).collect()
}

/// A topology whose second fee schedule, the one for every currency but the euro, is missing.
fn without_schedule(tidemill: &Tidemill) -> String {
    let whole = std::fs::read_to_string(tidemill.folder().join("topology.toml")).expect("the topology");
    let start = whole.find("# For every other currency.").expect("the schedule");
    let end = start + whole[start..].find("[[stage]]").expect("the next stage");
    tidemill.write("topology.toml", format!("{}{}", &whole[..start], &whole[end..]));
    whole
}

fn parked(tidemill: &Tidemill) -> Vec<(String, u64)> {
    let list = tidemill.run("parked ls --json").json();
    let entry =
        |entry: &Value| (entry["key"].as_str().expect("text").to_owned(), entry["records"].as_u64().expect("a number"));
    list.as_array().expect("a list").iter().map(entry).collect()
}

#[test]
fn payments_of_an_account_wait_in_order_behind_one_that_failed() {
    let tidemill = Tidemill::new();
    let whole = without_schedule(&tidemill);
    produce(
        &tidemill,
        &[("a-1", "acc-1", "EUR"), ("a-2", "acc-1", "JPY"), ("a-3", "acc-1", "EUR"), ("b-1", "acc-2", "EUR")],
    );
    run_until_idle(&tidemill);
    produce(&tidemill, &[("a-4", "acc-1", "EUR"), ("b-2", "acc-2", "EUR")]);
    run_until_idle(&tidemill);
    assert_eq!(answered(&tidemill, "acc-1"), ["a-1"], "what comes behind a-2 waits");
    assert_eq!(answered(&tidemill, "acc-2"), ["b-1", "b-2"], "other accounts go on");
    assert_eq!(parked(&tidemill), [("acc-1".to_owned(), 2)]);
    let shown = tidemill.run_all(&["parked", "show", SCREENED, "acc-1", "--json"]).json();
    assert_eq!(shown["head_letter"]["code"], json!("fee_schedule_missing"), "{shown}");
    assert_eq!(shown["waiting"].as_array().map(Vec::len), Some(2), "{shown}");
    let behind = [&shown["waiting"][0]["parked-behind"], &shown["waiting"][1]["parked-behind"]];
    assert_eq!(behind, [&shown["head"], &shown["head"]], "{shown}");
    let reconciled = tidemill.run("reconcile --json").json();
    assert_eq!(reconciled["findings"], json!([]), "what is parked is accounted for: {reconciled}");

    tidemill.write("topology.toml", &whole);
    let planned = tidemill.run_all(&["dlq", "plan", DLQ, "-o", "plan.json", "--json"]).json();
    assert_eq!(planned["passes"], json!(1), "the schedule is there now: {planned}");
    let applied =
        tidemill.run_all(&["dlq", "apply", "plan.json", "--reason", "the schedule is back", "--yes", "--json"]).json();
    assert_eq!(applied["replayed"], json!(1));
    produce(&tidemill, &[("a-5", "acc-1", "EUR")]);
    run_until_idle(&tidemill);
    assert_eq!(answered(&tidemill, "acc-1"), ["a-1", "a-2", "a-3", "a-4", "a-5"]);
    assert_eq!(parked(&tidemill), []);
    let reconciled = tidemill.run("reconcile --json").json();
    assert_eq!(reconciled["findings"], json!([]), "{reconciled}");
    assert_eq!(tidemill.run_all(&["state", "scan", "engine.parked_keys"]).code, Some(1), "nothing is kept of it");
}

#[test]
fn what_waits_goes_on_without_its_head() {
    for (verb, status) in [("release", "open"), ("discard", "discarded")] {
        let tidemill = Tidemill::new();
        without_schedule(&tidemill);
        produce(
            &tidemill,
            &[("a-1", "acc-1", "JPY"), ("a-2", "acc-1", "EUR"), ("a-3", "acc-1", "JPY"), ("a-4", "acc-1", "EUR")],
        );
        run_until_idle(&tidemill);
        assert_eq!(parked(&tidemill), [("acc-1".to_owned(), 3)]);
        let args = ["parked", verb, SCREENED, "acc-1", "--reason", "not worth waiting for", "--yes"];
        assert_eq!(tidemill.run_all(&args).code, Some(0));
        run_until_idle(&tidemill);
        assert_eq!(answered(&tidemill, "acc-1"), ["a-2"], "a-3 fails in its turn, and a-4 waits for it");
        assert_eq!(parked(&tidemill), [("acc-1".to_owned(), 1)]);
        let partition = tidemill.run("parked ls --json").json()[0]["partition"].to_string();
        let shown = tidemill.run_all(&["dlq", "show", DLQ, &partition, "0", "--json"]).json();
        assert_eq!(shown["status"], json!(status), "{shown}");
        assert_eq!(tidemill.run("audit verify").code, Some(0));
        assert_eq!(tidemill.run("reconcile").code, Some(0));
    }
}

/// As many accounts as many shops have: each has a payment that fails, and two that wait for it.
#[test]
fn ten_thousand_accounts_wait_and_go_on() {
    const ACCOUNTS: usize = 10_000;
    let tidemill = Tidemill::new();
    let whole = without_schedule(&tidemill);
    let names: Vec<String> = (0..ACCOUNTS).map(|number| format!("acc-{number}")).collect();
    for (round, currency) in [("a", "JPY"), ("b", "EUR"), ("c", "EUR")] {
        let ids: Vec<String> = (0..ACCOUNTS).map(|number| format!("{round}-{number:05}")).collect();
        let payments: Vec<(&str, &str, &str)> =
            ids.iter().zip(&names).map(|(id, account)| (id.as_str(), account.as_str(), currency)).collect();
        produce(&tidemill, &payments);
    }
    run_until_idle(&tidemill);
    assert_eq!(parked(&tidemill).len(), ACCOUNTS);
    assert!(parked(&tidemill).iter().all(|(_, records)| *records == 2));

    tidemill.write("topology.toml", &whole);
    let planned = tidemill.run_all(&["dlq", "plan", DLQ, "-o", "plan.json", "--json"]).json();
    assert_eq!(planned["passes"], json!(ACCOUNTS), "{}", planned["fails"]);
    let apply = ["dlq", "apply", "plan.json", "--reason", "the schedule is back", "--yes", "--json"];
    assert_eq!(tidemill.run_all(&apply).json()["replayed"], json!(ACCOUNTS));
    let started_at = std::time::Instant::now();
    run_until_idle(&tidemill);
    println!("{ACCOUNTS} accounts released in {:.1?}", started_at.elapsed());
    assert_eq!(parked(&tidemill), []);
    let mut last: std::collections::BTreeMap<String, String> = std::collections::BTreeMap::new();
    let statuses = tidemill.run("consume payments.status.v1").json_lines();
    assert_eq!(statuses.len(), 3 * ACCOUNTS);
    for value in statuses.iter().map(|record| &record["value"]) {
        let [account, id] = ["debit_account", "payment_id"].map(|name| value[name].as_str().expect("text").to_owned());
        let before = last.insert(account, id.clone());
        assert!(before.as_ref().is_none_or(|before| *before < id), "{id} comes after {before:?}");
    }
    assert_eq!(tidemill.run("reconcile").code, Some(0));
}
