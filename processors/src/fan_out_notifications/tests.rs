use tidemill_core::EventTime;
use tidemill_schemas::PaymentType;
use tidemill_testkit::{Driver, rows};

use super::*;
use crate::fixture;

/// The status of [`fixture::payment_body`], posted.
pub(super) fn status() -> PaymentStatus {
    PaymentStatus {
        meta: Meta::default(),
        payment_id: "p-1".to_owned(),
        source: "bank-a".to_owned(),
        debit_account: "acc-0001".to_owned(),
        credit_account: "acc-0002".to_owned(),
        amount_minor: 4_005,
        currency: "EUR".to_owned(),
        fee_minor: 40,
        status: StatusCode::ACSC,
        phase: StatusPhase::Outcome,
        code: "ok".to_owned(),
        reason: None,
        exchange: None,
        merchant_id: Some("shop-1".to_owned()),
        customer: Some("cust-1".to_owned()),
        channel: "card".to_owned(),
        payment_type: Some(PaymentType::Transfer),
        reference: None,
        event_time: fixture::payment_body().created_at,
    }
}

fn preferences(channels: &str, muted: &str, language: &str, effective_from: &str) -> CustomerPreferences {
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect();
    CustomerPreferences {
        meta: Meta::default(),
        customer: "cust-1".to_owned(),
        channels: words(channels),
        muted: words(muted),
        language: language.to_owned(),
        effective_from: EventTime::parse(effective_from).expect("an RFC 3339 time"),
    }
}

fn apply(driver: &mut Driver, preferences: CustomerPreferences) -> Result<(), String> {
    let key = preferences.customer.clone();
    driver.reference(PREFERENCES).apply(key.as_bytes(), Some(Box::new(preferences)))
}

/// Ids and states of what was emitted, without what all ids begin with.
fn sent(driver: &mut Driver, status: PaymentStatus) -> String {
    let ran = driver.send_event(status);
    assert_eq!(ran.code(), "applied");
    let notifications = ran.on::<Notification>(NOTIFICATIONS);
    let lines = notifications.iter().map(|notification| {
        let id = notification
            .notification_id
            .strip_prefix("bank-a/p-1/d59a922464b3/payment_")
            .expect("the id of the payment");
        format!("{id} {}", notification.status)
    });
    lines.collect::<Vec<_>>().join(", ")
}

#[test]
fn the_status_gives_the_category() {
    let table = "
        status | phase   | customer | reason                | sent
        ACSC   | outcome | cust-1   | -                     | posted/email requested
        RJCT   | outcome | cust-1   | -                     | rejected/email requested
        RJCT   | update  | cust-1   | returned: any_code    | returned/email requested
        # It has waited for its time.
        RJCT   | update  | cust-1   | too little            | rejected/email requested
        ACSC   | update  | cust-1   | executed              | posted/email requested
        RJCT   | repeat  | cust-1   | -                     |
        RCVD   | repeat  | cust-1   | -                     |
        PDNG   | outcome | cust-1   | -                     |
        CANC   | update  | cust-1   | -                     |
        ACSC   | outcome |          | -                     |
        ACSC   | outcome | -        | -                     |
    ";
    for row in rows(table) {
        let mut status = status();
        status.status = match row["status"] {
            "ACSC" => StatusCode::ACSC,
            "RJCT" => StatusCode::RJCT,
            "RCVD" => StatusCode::RCVD,
            "CANC" => StatusCode::CANC,
            _ => StatusCode::PDNG,
        };
        status.phase = match row["phase"] {
            "outcome" => StatusPhase::Outcome,
            "update" => StatusPhase::Update,
            _ => StatusPhase::Repeat,
        };
        status.reason = (row["reason"] != "-").then(|| row["reason"].to_owned());
        status.customer = (row["customer"] != "-").then(|| row["customer"].to_owned());
        assert_eq!(sent(&mut Driver::new(&[(&SPEC, EXAMPLE)]), status), row["sent"], "{row:?}");
    }
}

/// Nobody is told that they paid when it was somebody else who gave money back.
#[test]
fn only_the_payers_own_payments_are_told() {
    for payment_type in PaymentType::ALL {
        let status = PaymentStatus { payment_type: Some(payment_type), ..status() };
        let is_told = !sent(&mut Driver::new(&[(&SPEC, EXAMPLE)]), status).is_empty();
        let is_given_back = payment_type.name().contains("chargeback")
            || [PaymentType::Refund, PaymentType::Reverse].contains(&payment_type);
        let is_other = [PaymentType::Deposit, PaymentType::Void, PaymentType::Cancel].contains(&payment_type);
        assert_eq!(is_told, !is_given_back && !is_other, "{payment_type:?}");
    }
}

/// Preferences in force from 12:00 on the day, for a payment at the time of the row.
#[test]
fn preferences_hold_from_their_instant_on() {
    let table = "
        channels    | muted                             | at                          | sent
        email push  |                                   | 2026-01-31T12:00:00Z        | posted/email requested, posted/push requested
        push        |                                   | 2026-01-31T12:00:00Z        | posted/push requested
        push        |                                   | 2026-01-31T11:59:59.999999Z | posted/email requested
        push sms    | payment_posted                    | 2026-01-31T12:00:00Z        | posted/push suppressed, posted/sms suppressed
        push        | payment_rejected payment_returned | 2026-01-31T12:00:00Z        | posted/push requested
                    |                                   | 2026-01-31T12:00:00Z        |
    ";
    for row in rows(table) {
        let mut driver = Driver::new(&[(&SPEC, EXAMPLE)]);
        apply(&mut driver, preferences(row["channels"], row["muted"], "en", "2026-01-31T12:00:00Z"))
            .expect("is usable");
        let mut status = status();
        status.event_time = EventTime::parse(row["at"]).expect("an RFC 3339 time");
        assert_eq!(sent(&mut driver, status), row["sent"], "{row:?}");
    }
}

#[test]
fn the_latest_version_at_the_time_of_the_payment_holds() {
    let mut driver = Driver::new(&[(&SPEC, EXAMPLE)]);
    apply(&mut driver, preferences("sms", "", "en", "2026-02-01T00:00:00Z")).expect("is usable");
    apply(&mut driver, preferences("push", "", "en", "2026-01-01T00:00:00Z")).expect("is usable");
    assert_eq!(sent(&mut driver, status()), "posted/push requested");

    let refused = apply(&mut driver, preferences("pusch", "", "en", "2026-01-02T00:00:00Z"));
    assert_eq!(refused, Err("unknown channel `pusch`; did you mean `push`?".to_owned()));
    let refused = apply(&mut driver, preferences("sms sms", "", "en", "2026-01-02T00:00:00Z"));
    assert_eq!(refused, Err("channel `sms` is there twice".to_owned()));
    let refused = apply(&mut driver, preferences("sms", "all", "en", "2026-01-02T00:00:00Z"));
    assert!(refused.is_err_and(|message| message.starts_with("unknown muted category `all`")));
    assert_eq!(sent(&mut driver, status()), "posted/push requested", "what was refused has changed nothing");

    driver.reference(PREFERENCES).apply(b"cust-1", None).expect("can be removed");
    assert_eq!(sent(&mut driver, status()), "posted/email requested");
}

#[test]
fn a_notification_carries_the_message_in_the_language_of_the_customer() {
    let german = r#"
        [[templates]]
        category = "payment_posted"
        language = "de"
        subject = "Zahlung über {amount} {currency}"
        body = "Konto {debit_account}"
    "#;
    let settings = format!("{EXAMPLE}{german}");
    for (language, name, subject) in [
        ("de", "payment_posted.de", "Zahlung über 40.05 EUR"),
        ("de-CH", "payment_posted.de", "Zahlung über 40.05 EUR"),
        ("fr", "payment_posted.en", "You paid 40.05 EUR"),
        ("", "payment_posted.en", "You paid 40.05 EUR"),
    ] {
        let mut driver = Driver::new(&[(&SPEC, &settings)]);
        apply(&mut driver, preferences("push", "", language, "2026-01-01T00:00:00Z")).expect("is usable");
        let ran = driver.send_event(status());
        let notifications = ran.on::<Notification>(NOTIFICATIONS);
        assert_eq!((notifications[0].template.as_str(), notifications[0].subject.as_str()), (name, subject));
        assert!(!notifications[0].body.contains("acc-0001"), "the account is masked");
    }
}

#[test]
fn payments_of_two_accounts_with_the_same_id_have_messages_of_their_own() {
    let mut driver = Driver::new(&[(&SPEC, EXAMPLE)]);
    let mut id_of = |debit_account: &str| {
        let ran = driver.send_event(PaymentStatus { debit_account: debit_account.to_owned(), ..status() });
        let [notification] = ran.on::<Notification>(NOTIFICATIONS)[..] else { panic!("one message") };
        notification.notification_id.clone()
    };
    let (first, again, other) = (id_of("acc-0001"), id_of("acc-0001"), id_of("acc-0002"));
    assert_eq!(first, again);
    assert_ne!(first, other);
    assert!(!first.contains("0001"), "{first}: the account is not to be read from it");
}

#[test]
fn a_suppressed_notification_says_why_and_holds_no_text() {
    let mut driver = Driver::new(&[(&SPEC, EXAMPLE)]);
    apply(&mut driver, preferences("push", "payment_posted", "en", "2026-01-01T00:00:00Z")).expect("is usable");
    let ran = driver.send_event(status());
    let [notification] = ran.on::<Notification>(NOTIFICATIONS)[..] else { panic!("one is recorded") };
    assert_eq!(notification.reason.as_deref(), Some("muted_by_customer"));
    assert_eq!((notification.subject.as_str(), notification.body.as_str()), ("", ""));
}

#[test]
fn settings_at_fault_are_all_named() {
    let rest = EXAMPLE.split_once("[[templates]]").expect("has templates").1;
    let settings = format!(
        r#"
        channels = ["email", "fax"]
        categories = ["payment_posed"]
        [[templates]]
        category = "payment_posted"
        language = "EN"
        subject = "{{amont}}"
        body = "{{amount"
        [[templates]]{rest}
        [[templates]]
        category = "payment_posted"
        language = "en"
        subject = "again"
        body = "again"
        "#
    );
    let table = "
        key                   | message
        channels              | unknown channel `fax`; known are email, sms, push, webhook
        categories            | unknown category `payment_posed`; did you mean `payment_posted`?
        templates[0].subject  | unknown placeholder `{amont}` at byte 0; did you mean `{amount}`?
        templates[0].body     | the brace at byte 0 has no other; write it twice to show a brace
        templates[4].language | there is a template for this category and language already
    ";
    let errors = build(&Settings(settings.parse().expect("is TOML"))).err().expect("has faults");
    let found: Vec<(&str, &str)> = errors.iter().map(|error| (error.key.as_str(), error.message.as_str())).collect();
    let expected: Vec<(&str, &str)> = rows(table).iter().map(|row| (row["key"], row["message"])).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_category_without_a_template_in_the_default_language_is_a_fault() {
    let settings = EXAMPLE.replacen("language = \"en\"", "language = \"de\"", 1);
    let errors = build(&Settings(settings.parse().expect("is TOML"))).err().expect("has a fault");
    let message = "category `payment_posted` has no template in the default language `de`";
    assert_eq!(errors[0], SettingsError::new("templates", message));
}
