//! `tidemill fee preview`: the schedules of the settings, and over them those of the topic.

use serde_json::json;

use crate::tidemill::Tidemill;

fn shown(tidemill: &Tidemill, options: &str) -> String {
    let preview = tidemill.run(&format!("fee preview --json {options}")).json();
    ["amount", "fee", "total", "schedule"].map(|name| preview[name].as_str().expect("a text").to_owned()).join(" ")
}

#[test]
fn a_payment_is_priced_without_being_made() {
    let tidemill = Tidemill::new();
    tidemill.run("apply --yes").text();
    let cases = [
        ("--amount 500.00 --currency EUR", "500.00 3.00 503.00 standard@1"),
        ("--amount 500 --currency JPY --at 2026-01-01T00:00:00Z", "500 5 505 standard-other@1"),
        ("--amount 500.00 --currency EUR --type refund", "500.00 0.00 500.00 "),
        ("--amount 500.00 --currency EUR --type chargeback", "500.00 0.00 500.00 "),
    ];
    for (options, expected) in cases {
        assert_eq!(shown(&tidemill, options), expected, "{options}");
    }
    let text = tidemill.run("fee preview --amount 40.00 --currency EUR").text();
    assert_eq!(text.trim(), "40.00 EUR + fee 0.40 EUR = 40.40 EUR  (standard@1)");

    let schedules = [
        json!({
            "name": "staff", "version": "2", "effective_from": "2026-01-01T00:00:00Z", "accounts": ["acc-7"],
            "rounding": "half_even",
        }),
        json!({
            "name": "gold", "version": "1", "effective_from": "2026-01-01T00:00:00Z", "segments": ["gold"],
            "flat_minor": 5, "charged": "deducted", "refunds": "pro_rata", "rounding": "half_even",
        }),
        json!({
            "name": "disputes", "version": "1", "effective_from": "2026-01-01T00:00:00Z", "payment_types": ["chargeback"],
            "flat_minor": 1500, "rounding": "half_even",
        }),
    ];
    let lines: String = schedules.iter().map(|schedule| format!("{schedule}\n")).collect();
    let produced = tidemill.feed("produce fees.schedules.v1 --json", lines.as_bytes()).json();
    assert_eq!([&produced["records"], &produced["skipped"]], [&json!(3), &json!(0)]);
    assert_eq!(shown(&tidemill, "--amount 40.00 --currency EUR --segment gold"), "40.00 0.05 40.00 gold@1");
    assert_eq!(shown(&tidemill, "--amount 40.00 --currency EUR --segment silver"), "40.00 0.40 40.40 standard@1");
    assert_eq!(shown(&tidemill, "--amount 40.00 --currency EUR --type chargeback"), "40.00 15.00 55.00 disputes@1");
    let text = tidemill.run("fee preview --amount 40.00 --currency EUR --segment gold").text();
    assert_eq!(text.trim(), "40.00 EUR, of which the fee is 0.05 EUR: 39.95 EUR arrive  (gold@1)");
    let too_small = tidemill.run("fee preview --amount 0.05 --currency EUR --segment gold");
    assert_eq!(too_small.code, Some(1));
    assert!(too_small.stderr.contains("fee_exceeds_amount"), "{}", too_small.stderr);
    assert_eq!(shown(&tidemill, "--amount 40.00 --currency EUR --account acc-7"), "40.00 0.00 40.00 staff@2");
    assert_eq!(shown(&tidemill, "--amount 40.00 --currency EUR --account acc-8"), "40.00 0.40 40.40 standard@1");
    let before = "--amount 40.00 --currency EUR --account acc-7 --at 2025-12-31T23:59:59Z";
    assert_eq!(shown(&tidemill, before), "40.00 0.40 40.40 standard@1");
}

#[test]
fn what_cannot_be_priced_is_said() {
    let tidemill = Tidemill::new();
    tidemill.run("apply --yes").text();
    let code = |options: &str| tidemill.run(&format!("fee preview {options}")).code;
    assert_eq!(code("--amount 40.001 --currency EUR"), Some(2));
    assert_eq!(code("--amount 40.00 --currency EURO"), Some(2));
    assert_eq!(code("--amount 40.00 --currency EUR --type gift"), Some(2));
    let missing = tidemill.run("fee preview --amount 40.00 --currency EUR --at 1999-01-01T00:00:00Z");
    assert_eq!(missing.code, Some(1));
    assert!(missing.stderr.contains("fee_schedule_missing"), "{}", missing.stderr);
}
