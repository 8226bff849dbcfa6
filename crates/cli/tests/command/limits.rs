//! `tidemill limits`: what was used, from the state log; what is left, by the settings.

use serde_json::json;

use crate::tidemill::{Tidemill, repository};

const LIMITS: &str = r#"
[[stage.settings.post_ledger.limits]]
name = "day"
version = "1"
effective_from = "2000-01-01T00:00:00Z"
currency = "EUR"
window = "day"
zone = "Europe/Berlin"
amount_minor_max = 10_000

[[stage.settings.post_ledger.limits]]
name = "by-card"
version = "7"
effective_from = "2000-01-01T00:00:00Z"
per = "card"
window = "rolling"
window_minutes = 60
payments_max = 3
"#;

const ACCOUNTS: &str = r#"{"id":"r-1","source":"core","type":"open","account":"cash","currency":"EUR","kind":"asset","created_at":"2026-01-01T08:00:00Z"}
{"id":"r-2","source":"core","type":"open","account":"a","currency":"EUR","limit":"900.00","created_at":"2026-01-01T08:00:00Z"}
"#;

/// The limits are settings of the stage that charges fees as well.
fn with_limits() -> Tidemill {
    let tidemill = Tidemill::new();
    let topology = std::fs::read_to_string(repository().join("topology.toml")).expect("is there");
    let place = "[[stage.settings.charge_fee.schedules]]\nname = \"standard\"\n";
    assert!(topology.contains(place), "the topology has no schedule any more");
    tidemill.write("topology.toml", topology.replacen(place, &format!("{LIMITS}\n{place}"), 1));
    tidemill
}

#[test]
fn what_is_left_is_shown() {
    let tidemill = with_limits();
    tidemill.run("apply --yes").text();
    tidemill.feed("produce accounts.requested.v1 --key account", ACCOUNTS.as_bytes()).text();
    tidemill.run("run --until-idle").text();
    assert_eq!(tidemill.run("limits a --json").json(), json!([]));
    let payment = |id: &str, amount: &str| {
        json!({
            "id": id, "source": "core", "type": "withdrawal", "debit_account": "a", "credit_account": "cash",
            "amount": amount, "currency": "EUR", "created_at": "2026-01-31T12:00:00Z", "channel": "web",
            "card": "card-0001-7788",
        })
    };
    let payments = format!("{}\n{}\n", payment("p-1", "30.00"), payment("p-2", "70.01"));
    tidemill.feed("produce payments.requested.v1", payments.as_bytes()).text();
    tidemill.run("run --until-idle").text();
    let shown = tidemill.run("limits a --json --at 2026-01-31T12:30:00Z").json();
    let by_card = json!({
        "limit": "by-card@7", "window": "60 minutes", "of": "card …7788", "currency": "EUR", "used": "30.00",
        "left": null, "payments": 1, "payments_left": 2, "until": "2026-01-31T13:00:00Z",
    });
    let day = json!({
        "limit": "day@1", "window": "day in Europe/Berlin", "of": "", "currency": "EUR", "used": "30.00",
        "left": "70.00", "payments": 1, "payments_left": null, "until": "2026-01-31T23:00:00Z",
    });
    assert_eq!(shown, json!([day, by_card]));
    let text = tidemill.run("limits a --at 2026-01-31T12:30:00Z").text();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("LIMIT") && lines.len() == 3, "{text}");
    assert!(lines[1].contains("30.00 EUR") && lines[1].contains("70.00 EUR") && lines[1].contains("account"), "{text}");
    assert!(!text.contains("card-0001"), "{text}");
    let tomorrow = tidemill.run("limits a --json --at 2026-01-31T23:00:00Z").json();
    assert_eq!([&tomorrow[0]["used"], &tomorrow[0]["left"]], [&json!("0.00"), &json!("100.00")]);
    assert_eq!(tidemill.run("limits nobody --json").json(), json!([]));
    assert_eq!(tidemill.run("limits a --at yesterday").code, Some(2));
}
