use tidemill_core::{Event, EventTime};
use tidemill_schemas::{CounterpartyProfile, PayerProfile};
use tidemill_testkit::{Driver, Ran, rows};

use super::*;
use crate::fixture;

/// An ordinary payment of a payer who is known for a month.
fn profiled() -> ProfiledPayment {
    let payment = fixture::payment_body();
    let month_before = Some(EventTime(payment.created_at.micros() - 30 * crate::velocity::DAY_US));
    ProfiledPayment {
        counterparty: CounterpartyProfile { payments_7d: 7, first_seen_at: month_before, ..Default::default() },
        payer: PayerProfile {
            payments_1h: 1,
            amount_minor_1h: 4_000,
            payments_24h: 2,
            amount_minor_24h: 8_000,
            payments_7d: 14,
            amount_minor_7d: 56_000,
            payments_30d: 60,
            amount_minor_30d: 240_000,
            amount_minor_max: 9_000,
            counterparties_24h: 2,
            first_seen_at: month_before,
        },
        payment,
    }
}

/// Settings with one rule that declines.
fn one_rule(when: &str) -> String {
    let when = when.replace('\\', "\\\\").replace('"', "\\\"");
    format!(
        "rule_set = \"test\"\nversion = \"1\"\nthreshold = 1\n[[rules]]\nname = \"it\"\nwhen = \"{when}\"\npoints = 1"
    )
}

fn rule_set(version: &str, effective_from: EventTime, when: &str) -> FraudRules {
    FraudRules {
        meta: Meta::default(),
        name: "table".to_owned(),
        version: version.to_owned(),
        effective_from,
        threshold: 1,
        rules: vec![Rule { name: "it".to_owned(), when: when.to_owned(), points: 1 }],
    }
}

fn decision(ran: &Ran) -> &Decision {
    let decisions = ran.on::<Decision>(DECISIONS);
    assert_eq!(decisions.len(), 1, "one decision for one payment");
    decisions[0]
}

fn hits(ran: &Ran) -> String {
    decision(ran).rules.iter().map(|hit| hit.rule.as_str()).collect::<Vec<_>>().join(" ")
}

fn faults(settings: &str) -> Vec<SettingsError> {
    build(&Settings(settings.parse().expect("is TOML"))).err().unwrap_or_default()
}

#[test]
fn rules_see_the_payment_and_its_profiles() {
    let table = r#"
        when                                                        | hits
        amount_minor == 4000                                        | it
        amount_minor > 4000                                         |
        currency == "EUR" && channel == "card"                      | it
        payment_type != "transfer"                                  |
        merchant_category in ["5411", "5412"]                       | it
        merchant_country in ["KP", "IR"]                            |
        hour in [11, 12] && weekday == 6                            | it
        starts_with(counterparty, "shop") && counterparty.len() == 6| it
        "op-" in counterparty && ends_with(counterparty, "1")       | it
        payer.payments_1h == 1 && payer.payments_24h == 2           | it
        payer.payments_7d == 14 && payer.payments_30d == 60         | it
        payer.amount_minor_1h == 4000 && payer.amount_minor_24h == 8000 | it
        payer.amount_minor_7d == 56000 && payer.amount_minor_30d == 240000 | it
        payer.amount_minor_max == 9000 && payer.counterparties_24h == 2 | it
        payer.known_days == 30 && counterparty_profile.known_days == 30 | it
        counterparty_profile.payments_7d == 7                       | it
        counterparty_profile.risk_ppm > 0                           |
        max(payer.payments_1h, 5) == 5 && abs(-3) == min(3, 4)      | it
        true                                                        | it
        counterparty != "payer.typo \" payer.typo"                  | it
        # values of different types are neither equal nor less nor greater
        amount_minor == "4000" or amount_minor > "1"                |
        # fails on this payment only
        amount_minor / (payer.payments_1h - 1) > 5                  | it!error
        9223372036854775807 + amount_minor > 0                      | it!error
    "#;
    for row in rows(table) {
        let settings = one_rule(&row["when"].replace(" or ", " || "));
        let ran = Driver::new(&[(&SPEC, &settings)]).send_event(profiled());
        assert_eq!(hits(&ran), row["hits"], "{row:?}");
    }
}

/// Changes one thing, or two, about an ordinary payment and scores it by the rules of the example.
#[test]
fn the_example_declines_what_stands_out_twice() {
    let table = "
        change                       | score | code
        nothing                      | 0     | passed
        amount 200000                | 50    | passed
        amount 200001                | 110   | fraud_declined
        amount 50000                 | 0     | passed
        burst                        | 60    | passed
        burst, amount 50001          | 110   | fraud_declined
        new                          | 0     | passed
        new, amount 100000           | 0     | passed
        new, amount 100001           | 40    | passed
        new, amount 200001           | 100   | fraud_declined
        new, amount 100001, night    | 80    | passed
        spread                       | 40    | passed
        spread, burst                | 100   | fraud_declined
        risky                        | 50    | passed
        risky, amount 50001          | 100   | fraud_declined
    ";
    for row in rows(table) {
        let mut profiled = profiled();
        for change in row["change"].split(", ") {
            let payer = &mut profiled.payer;
            match change.split_once(' ').unwrap_or((change, "")) {
                ("amount", amount) => profiled.payment.amount_minor = amount.parse().expect("a number"),
                ("burst", _) => payer.payments_1h = 11,
                ("new", _) => *payer = PayerProfile { payments_1h: 1, ..PayerProfile::default() },
                ("spread", _) => payer.counterparties_24h = 16,
                ("risky", _) => profiled.counterparty.risk_ppm = 50_001,
                ("night", _) => profiled.payment.created_at.0 -= 8 * crate::velocity::DAY_US / 24,
                _ => {}
            }
        }
        let ran = Driver::new(&[(&SPEC, EXAMPLE)]).send_event(profiled);
        assert_eq!((decision(&ran).score.to_string().as_str(), ran.code()), (row["score"], row["code"]), "{row:?}");
    }
}

#[test]
fn a_decline_leaves_a_decision_an_alert_and_the_payment_as_its_subject() {
    let mut driver = Driver::new(&[(&SPEC, &one_rule("amount_minor > 0"))]);
    let ran = driver.send_event(profiled());
    assert_eq!(ran.code(), "fraud_declined");
    let decision = decision(&ran);
    assert_eq!((decision.verdict, decision.rule_set.as_str()), (Verdict::Decline, "test@1"));
    assert_eq!((&decision.payer, &decision.counterparty), (&profiled().payer, &profiled().counterparty));
    let subject = ran.reject.as_ref().and_then(|reject| reject.subject()).expect("a subject");
    let scored = subject.downcast_ref::<ScoredPayment>().expect("a scored payment");
    assert_eq!((&scored.payment, scored.decision.as_ref()), (&profiled().payment, Some(decision)));
    let [alert] = ran.on::<Alert>(ALERTS)[..] else { panic!("one alert") };
    assert_eq!(alert.message, "declined by rule set test@1 with score 1 at threshold 1");

    let ran = Driver::new(&[(&SPEC, &one_rule("amount_minor < 0"))]).send_event(profiled());
    assert_eq!((ran.on::<Decision>(DECISIONS).len(), ran.on::<Alert>(ALERTS).len()), (1, 0));
    let decision = ran.passed_as::<ScoredPayment>().decision.as_ref();
    assert_eq!(decision.map(|decision| decision.verdict), Some(Verdict::Accept));
}

#[test]
fn the_settings_say_what_a_failing_rule_means() {
    let failing = one_rule("amount_minor / (payer.payments_1h - 1) > 5");
    for (policy, code) in [("skip", "passed"), ("decline", "fraud_declined")] {
        let settings = format!("on_rule_error = \"{policy}\"\n{failing}");
        let ran = Driver::new(&[(&SPEC, &settings)]).send_event(profiled());
        assert_eq!(ran.code(), code);
        assert_eq!((hits(&ran).as_str(), decision(&ran).score), ("it!error", 0));
    }
}

#[test]
fn rules_that_are_not_expressions_of_the_language_are_refused() {
    let long_sum = format!("{} > 0", vec!["hour"; 40].join("+"));
    let many_steps = format!("amount_minor in [{}]", vec!["hour+1"; 250].join(","));
    let deep = format!("{}1{} > 0", "(".repeat(200), ")".repeat(200));
    let huge_text = format!("(\"{}\" + counterparty).len() > 0", "x".repeat(1_100));
    let huge_array = format!("hour in [{}]", vec!["1"; 300].join(","));
    let long = format!("amount_minor > {}", " ".repeat(2_000));
    let cases = [
        ("amount_minor >", "Script is incomplete (line 1, position 15)"),
        ("amount > 5", "Undefined variable: amount (line 1, position 1)"),
        ("payer.payment_1h > 5", "`payer` has no property `payment_1h` (byte 6); did you mean `payer.payments_1h`?"),
        ("false && counterparty_profile . risk > 5", "did you mean `counterparty_profile.risk_ppm`?"),
        ("amount_minor", "Output type incorrect: i64 (expecting bool)"),
        ("median(amount_minor) > 5", "Function not found: median (i64)"),
        ("true; false", "Unexpected ';'"),
        ("amount_minor = 5", "Unexpected '='"),
        ("loop { }", "'loop' is a reserved keyword"),
        ("while true { }", "'while' is a reserved keyword"),
        ("{ let x = 5; x > 4 }", "Unexpected '{'"),
        ("`${loop { }}` == \"\"", "'loop' is a reserved keyword"),
        ("if true { true } else { false }", "'if' is a reserved keyword"),
        ("(|| true).call()", "Unexpected '||'"),
        ("Fn(\"abs\").call(1) == 1", "keyword 'Fn' is disabled"),
        ("eval(\"true\")", "keyword 'eval' is disabled"),
        ("print(\"x\") == ()", "keyword 'print' is disabled"),
        ("timestamp() > 5", "Function not found: timestamp"),
        ("import \"x\"", "keyword 'import' is disabled"),
        ("1.5 > 1", "position 3"),
        (long_sum.as_str(), "exceeds maximum complexity"),
        (deep.as_str(), "exceeds maximum complexity"),
        (huge_text.as_str(), "string exceeds the maximum limit (1024)"),
        (huge_array.as_str(), "array literal exceeds the maximum limit (256)"),
        (many_steps.as_str(), "Too many operations"),
        (long.as_str(), "bytes, of 2000 allowed"),
    ];
    for (when, message) in cases {
        let faults = faults(&one_rule(when));
        assert_eq!(faults.len(), 1, "{when}");
        assert_eq!(faults[0].key, "rules[0].when", "{when}");
        assert!(faults[0].message.starts_with("rule `it`: "), "{when}: {}", faults[0].message);
        assert!(faults[0].message.contains(message), "{when}: {}", faults[0].message);
    }
}

/// What the trial at load cannot see, because it stops at `false && …`, the limits stop at the payment.
#[test]
fn limits_stop_a_rule_that_only_some_payments_get_to() {
    let steps = format!("hour == 12 && amount_minor in [{}]", vec!["hour+1"; 250].join(","));
    let text = format!("hour == 12 && (\"{}\" + {}).len() > 0", "x".repeat(900), vec!["counterparty"; 20].join("+"));
    for when in [steps, text] {
        assert_eq!(faults(&one_rule(&when)), [], "{when}");
        let mut profiled = profiled();
        if let Some(merchant) = &mut profiled.payment.merchant {
            merchant.id = "s".repeat(30);
        }
        let ran = Driver::new(&[(&SPEC, &one_rule(&when))]).send_event(profiled);
        assert_eq!(hits(&ran), "it!error", "{when}");
    }
}

#[test]
fn settings_at_fault_are_all_named() {
    let settings = r#"
        rule_set = ""
        version = ""
        threshold = 0
        [[rules]]
        name = "Big!error"
        when = "true"
        points = 1000001
        [[rules]]
        name = "two"
        when = "amount_minor >"
        points = 1
        [[rules]]
        name = "two"
        when = "true"
        points = -1
    "#;
    let keys: Vec<String> = faults(settings).into_iter().map(|fault| fault.key).collect();
    let expected =
        ["rule_set", "version", "threshold", "rules[0].name", "rules[0].points", "rules[1].when", "rules[2].name"];
    assert_eq!(keys, expected);
    assert!(
        faults("rule_set = \"x\"\nversion = \"1\"\nthreshold = 1\nrules = []\nrulez = []")[0].message.contains("rulez")
    );
}

/// The rules of the settings accept; `a` declines from noon on; `b` accepts again from one o'clock on.
#[test]
fn a_rule_set_is_in_force_from_its_instant_on() {
    let noon = fixture::payment_body().created_at.micros();
    let mut driver = Driver::new(&[(&SPEC, EXAMPLE)]);
    let table = driver.reference(RULES);
    for (key, offset, when) in [("b", 3_600_000_000, "false"), ("a", 0, "true")] {
        let set = rule_set(key, EventTime(noon + offset), when);
        table.apply(key.as_bytes(), Some(Box::new(set))).expect("is usable");
    }
    let cases = [
        (-1, "everyday_payments@1"),
        (0, "table@a"),
        (1, "table@a"),
        (3_599_999_999, "table@a"),
        (3_600_000_000, "table@b"),
        (i64::MAX - noon, "table@b"),
    ];
    for (offset, label) in cases {
        let mut profiled = profiled();
        profiled.payment.created_at = EventTime(noon + offset);
        assert_eq!(decision(&driver.send_event(profiled)).rule_set, label, "{offset} µs after noon");
    }
}

#[test]
fn a_rule_set_that_cannot_be_used_leaves_the_table_as_it_was() {
    let noon = fixture::payment_body().created_at;
    let mut driver = Driver::new(&[(&SPEC, EXAMPLE)]);
    driver.reference(RULES).apply(b"k", Some(Box::new(rule_set("1", noon, "true")))).expect("is usable");
    let refused = driver.reference(RULES).apply(b"k", Some(Box::new(rule_set("2", noon, "amont_minor > 1"))));
    let message = refused.expect_err("does not compile");
    assert!(message.starts_with("rule set `table@2` cannot be used: rules[0].when: rule `it`: "), "{message}");
    assert_eq!(decision(&driver.send_event(profiled())).rule_set, "table@1");

    driver.reference(RULES).apply(b"k", Some(Box::new(rule_set("3", noon, "false")))).expect("is usable");
    assert_eq!(decision(&driver.send_event(profiled())).rule_set, "table@3", "same key and time: replaced");
    driver.reference(RULES).apply(b"k", None).expect("can be removed");
    assert_eq!(decision(&driver.send_event(profiled())).rule_set, "everyday_payments@1");
}

/// Announced, put off, and read again from a topic in which only the last record of each key is left.
#[test]
fn the_table_is_the_same_after_compaction() {
    let noon = fixture::payment_body().created_at.micros();
    let records = [("1", 0, "false"), ("2", 5, "true"), ("2", 10, "true"), ("3", 20, "false")];
    let label_at = |records: &[(&str, i64, &str)], offset: i64| {
        let mut driver = Driver::new(&[(&SPEC, EXAMPLE)]);
        for (version, effective_from, when) in records {
            let set = rule_set(version, EventTime(noon + effective_from), when);
            let mut key = Vec::new();
            set.key(&mut key);
            driver.reference(RULES).apply(&key, Some(Box::new(set))).expect("is usable");
        }
        let mut profiled = profiled();
        profiled.payment.created_at = EventTime(noon + offset);
        decision(&driver.send_event(profiled)).rule_set.clone()
    };
    let compacted = [records[0], records[2], records[3]];
    for (offset, label) in [(5, "table@1"), (9, "table@1"), (10, "table@2"), (20, "table@3")] {
        assert_eq!(label_at(&records, offset), label, "{offset} µs after noon");
        assert_eq!(label_at(&compacted, offset), label, "{offset} µs after noon, compacted");
    }
}

#[test]
fn the_table_holds_no_more_than_it_should() {
    let mut driver = Driver::new(&[(&SPEC, EXAMPLE)]);
    let table = driver.reference(RULES);
    let apply = |table: &mut dyn ReferenceTable, key: u8, time: i64| {
        table.apply(&[key], Some(Box::new(rule_set("1", EventTime(time), "true"))))
    };
    for key in 0..64 {
        apply(table, key, 0).expect("there is room");
    }
    assert!(apply(table, 64, 0).is_err_and(|message| message.contains("64 rule sets already")));
    apply(table, 63, 1).expect("replaces one that is there");
}

/// The whole way from a payment to its decision, twice.
#[test]
fn the_same_input_gives_the_same_bytes() {
    let run = || {
        let chain = [(&crate::profile_payer::SPEC, ""), (&SPEC, EXAMPLE)];
        let mut driver = Driver::new(&chain);
        let mut bytes = Vec::new();
        for step in 0..200i64 {
            let mut payment = fixture::payment_body();
            payment.payment_id = format!("p-{step}");
            payment.debit_account = format!("acc-{}", step % 7);
            payment.created_at.0 += (step * 7_919 % 101) * 240_000_000;
            payment.amount_minor = step * step * 37 % 250_000 + 1;
            let counterparty = CounterpartyProfile::default();
            let ran =
                driver.send_event(tidemill_schemas::ScreenedPayment { meta: Meta::default(), payment, counterparty });
            for (_, event) in &ran.emitted {
                event.encode(&mut bytes).expect("can be encoded");
            }
        }
        (driver.state.dump(), bytes)
    };
    let (state, bytes) = run();
    assert!(!bytes.is_empty());
    assert_eq!((state, bytes), run());
}
