//! The ledger as scenarios that read like one, against a reference model, and byte by byte.

mod audit;
mod fixtures;
mod gives_back;
mod holds;
mod journals;
mod payment_limits;
mod precedence;
mod reference;
mod requests;
mod retention;
mod scenarios;
mod scheduled;
mod script;
mod stories;
mod streams;
mod world;

use tidemill_core::{EventTime, Meta, Outcome, Settings};
use tidemill_schemas::{AccountKind, CounterpartyProfile, PaymentBody, PaymentStatus, ScoredPayment, ScreenedPayment};
use tidemill_testkit::{Driver, rows};

use super::SPEC;
use super::accounts::{ACCOUNTS, Account, CurrencyCode};
use super::outcomes::PAYMENT_OUTCOMES;
use crate::{charge_fee, profile_payer, score_fraud};

#[test]
fn settings_are_checked() {
    let cases = [
        (SPEC.example, None),
        ("", None),
        ("outcome_retention_days = 0", Some("outcome_retention_days")),
        ("outcome_retention_days = 3651", Some("outcome_retention_days")),
        ("return_fees = true", Some("return_fees")),
        ("refund_days = 0", Some("refund_days")),
        ("hold_days = 401", Some("hold_days")),
        ("holds_per_account_max = 0", Some("holds_per_account_max")),
        ("over_capture_percent = 101", Some("over_capture_percent")),
        ("reverse_when_spent = \"force\"", None),
        ("reverse_when_spent = \"ask\"", Some("")),
        ("scheduled_per_account_max = 0", Some("scheduled_per_account_max")),
        ("scheduled_grace_minutes = 1441", Some("scheduled_grace_minutes")),
        ("retry_minutes = 0", Some("retry_minutes")),
    ];
    for (text, expected) in cases {
        let built = (SPEC.build)(&Settings(text.parse().expect("is TOML")));
        let key = built.err().map(|errors| errors[0].key.clone());
        assert_eq!(key.as_deref(), expected, "{text}");
    }
}

/// The chain of the default topology, with the settings of each processor's own documentation.
#[test]
fn the_ledger_ends_the_chain_of_the_default_topology() {
    let chain = [&profile_payer::SPEC, &score_fraud::SPEC, &charge_fee::SPEC, &SPEC];
    let mut driver = Driver::new(&chain.map(|spec| (spec, spec.example)));
    let payer = Account::open(AccountKind::Customer, CurrencyCode::new("EUR"), 5_000, EventTime::EARLIEST);
    ACCOUNTS.put(&mut driver.state, b"acc-1", &payer).expect("can be written");
    let payment = |id: &str, amount_minor: i64, hash: &str| {
        let (payment_id, body_hash) = (id.to_owned(), hash.repeat(16));
        let payment = PaymentBody { payment_id, amount_minor, body_hash, ..crate::fixture::payment_body() };
        ScreenedPayment { meta: Meta::default(), payment, counterparty: CounterpartyProfile::default() }
    };
    let table = "
        id | amount_minor | hash | code                 | phase   | status | fee
        p1 | 4000         | 11   | posted               | Outcome | ACSC   | 40
        p2 | 4000         | 11   | insufficient_funds   | Outcome | RJCT   | 0
        p1 | 4000         | 11   | duplicate            | Repeat  | ACSC   | 40
        p1 | 4000         | 22   | idempotency_conflict | Repeat  | RJCT   | 0
        # A large amount of a new payer is declined; had it been posted first, that would stand.
        p3 | 250000       | 11   | fraud_declined       | Outcome | RJCT   | 0
        p3 | 250000       | 11   | duplicate            | Repeat  | RJCT   | 0
        p1 | 250000       | 11   | duplicate            | Repeat  | ACSC   | 40
    ";
    for row in rows(table) {
        let before = driver.state.dump();
        let amount_minor = row["amount_minor"].parse().expect("minor units");
        let ran = driver.send_event(payment(row["id"], amount_minor, row["hash"]));
        assert_eq!(ran.code(), row["code"], "{row:?}");
        let statuses = ran.on::<PaymentStatus>("status");
        let [status] = statuses.as_slice() else { panic!("{row:?}: one answer, not {statuses:?}") };
        assert_eq!(format!("{:?}", status.phase), row["phase"], "{row:?}");
        assert_eq!(format!("{:?}", status.status), row["status"], "{row:?}");
        assert_eq!(status.fee_minor.to_string(), row["fee"], "{row:?}");
        // The payer's profile is among it: a resend is not one more payment, however the chain judges it.
        let is_kept = driver.state.dump() == before;
        assert_eq!(is_kept, ["duplicate", "idempotency_conflict"].contains(&row["code"]), "{row:?}");
    }
}

#[test]
fn a_missing_fee_schedule_is_not_answered_and_writes_nothing() {
    let mut driver = Driver::new(&[(&charge_fee::SPEC, ""), (&SPEC, "")]);
    let payment = crate::fixture::payment_body();
    let ran = driver.send_event(ScoredPayment { payment, decision: None });
    assert_eq!(ran.outcome, Outcome::Dead("fee_schedule_missing"));
    assert!(ran.emitted.is_empty());
    assert_eq!(driver.state.len(PAYMENT_OUTCOMES.name()), 0);
}
