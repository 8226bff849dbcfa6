//! The bytes of the stores: what was written by a released version stays readable.

use std::borrow::Cow;
use std::collections::BTreeMap;

use tidemill_core::{EventTime, StateValue, Store};
use tidemill_schemas::account::AccountAction;
use tidemill_schemas::payment::identity;
use tidemill_schemas::{
    AccountKind, Date, Exchange, FeeCharge, FeeRefund, FeeTerms, PaymentBody, PaymentType, PostingDates, PricedPayment,
    StatusCode,
};
use tidemill_testkit::MemoryState;

use super::super::account_commands::{ACCOUNT_REQUEST_OUTCOMES, AccountRequestOutcome};
use super::super::accounts::{ACCOUNTS, Account, CurrencyCode};
use super::super::holds::{Hold, HoldState, OPEN_HOLDS, OpenHold};
use super::super::journals::{OPEN_JOURNALS, OpenJournal};
use super::super::outcomes::{Aftermath, OUTCOMES_BY_AGE, PAYMENT_OUTCOMES, PaymentOutcome, SWEEP, Sweep};
use super::super::payment_limits::{Instant, LIMIT_USAGES, LIMITED_PAYMENTS, LimitedPayment, Means, Usage, Use};
use super::super::receipts::{INCOMING_HOLDS, IncomingHold, RECEIPTS, RECEIPTS_BY_AGE, Receipt, RefundableFee};
use super::super::scheduled::{DUE_PAYMENTS, Due, SCHEDULED_PAYMENTS, Scheduled};
use super::world::World;
use crate::age_queue::{Aged, Bytes, Ends};
use crate::fingerprint::Fingerprint;
use crate::fixture::{check_state, payment_body};

const AT: EventTime = EventTime(1_769_860_800_000_000);

fn check<V: StateValue>(store: Store<V>, value: &V) {
    let mut state = MemoryState::default();
    store.put(&mut state, b"key", value).expect("can be written");
    check_state(&state, store, b"key");
}

fn exchange() -> Exchange {
    Exchange {
        quote: "q-1".to_owned(),
        sold_minor: 4_000,
        sold_currency: "EUR".to_owned(),
        bought_minor: 4_320,
        bought_currency: "USD".to_owned(),
        spread_minor: 20,
    }
}

#[test]
fn state_bytes_stay_as_they_are() {
    let account = Account {
        currency: CurrencyCode::new("EUR"),
        kind: AccountKind::Expense,
        debits_frozen: true,
        credits_frozen: false,
        closed: true,
        limit_minor: 10_000,
        posted_minor: -4_040,
        pending_minor: 100,
        pending_in_minor: 75,
        seq: 2,
        open_holds: 1,
        holds_opened: 7,
        next_expiry_at: EventTime(AT.0 + 2),
        waiting: 3,
        opened_at: AT,
        last_event_time: EventTime(AT.0 + 1),
        customer: Some("cust-1".to_owned()),
        parent: Some("household".to_owned()),
    };
    check(ACCOUNTS, &account);
    let hold = Hold {
        number: 7,
        authorised_minor: 4_000,
        captured_minor: 1_000,
        held_minor: 0,
        expires_at: AT,
        state: HoldState::Expired,
    };
    let outcome = PaymentOutcome {
        body: Fingerprint::of(&payment_body()).expect("has a hash"),
        payment_type: PaymentType::ChargebackReversal,
        status: StatusCode::CANC,
        currency: CurrencyCode::new("EUR"),
        amount_minor: 4_000,
        fee_minor: 40,
        at: AT,
        hold: Some(hold),
        aftermath: Aftermath::Reversed("p-9".to_owned()),
        code: Cow::Borrowed("ok"),
        fee_schedule: "standard@1".to_owned(),
        credit_account: "acc-2".to_owned(),
        reference: Some("p-0".to_owned()),
        exchange: Some(Box::new(exchange())),
    };
    check(PAYMENT_OUTCOMES, &outcome);
    check(OPEN_HOLDS, &OpenHold { identity: identity("bank", "acc-1", "h-1") });
    let payment_type = PaymentType::Chargeback;
    let exchange = Some(Box::new(exchange()));
    let fee = RefundableFee {
        schedule: "standard@1".to_owned(),
        refund: FeeRefund::ProRata,
        fee_minor: 40,
        refunded_minor: 500,
        back_minor: 5,
    };
    let receipt = Receipt {
        payment_type,
        amount_minor: 4_000,
        given_back_minor: 500,
        reversed: true,
        at: AT,
        exchange,
        fee: Some(Box::new(fee)),
    };
    check(RECEIPTS, &receipt);
    check(INCOMING_HOLDS, &IncomingHold { held_minor: 4_000 });
}

#[test]
fn state_bytes_of_sweeps_and_of_what_waits_stay_as_they_are() {
    let sweep = Sweep {
        clock: Some(AT),
        outcomes_since: 63,
        receipts_since: 7,
        outcomes: Ends { head: 3, tail: 300 },
        receipts: Ends { head: 0, tail: 70 },
        holds_cursor: b"holds".to_vec(),
        last_created_at: Some(AT),
        witnessed_at: Some(EventTime(AT.0 - 1)),
        next_due_at: Some(AT),
    };
    check(SWEEP, &sweep);
    let journal = OpenJournal {
        own_minor: 4_000,
        credits: BTreeMap::from([("acc-2".to_owned(), 5_000)]),
        waiting: 1,
        collected: BTreeMap::from([("acc-3".to_owned(), 700)]),
        refused: Some("insufficient_funds".to_owned()),
    };
    check(OPEN_JOURNALS, &journal);
    let payment = PaymentBody { execute_at: Some(AT), ..payment_body() };
    let dates = Some(PostingDates { booking_date: Date(20_484), value_date: Date(20_485) });
    let priced = PricedPayment {
        payment,
        fee_minor: 40,
        fee_schedule: "standard@1".to_owned(),
        fee_terms: FeeTerms { charge: FeeCharge::Deducted, refund: FeeRefund::ProRata },
        exchange: None,
        dates,
    };
    check(SCHEDULED_PAYMENTS, &Scheduled { priced, due_at: AT });
    check(DUE_PAYMENTS, &Due {});
    let instants = [Instant { at: AT, amount_minor: 4_000, payments: 1 }].into();
    let usage = Usage {
        limit: "everyday".to_owned(),
        window: "60 minutes".to_owned(),
        subject: "card …7788".to_owned(),
        currency: CurrencyCode::new("EUR"),
        period: AT.0,
        ends_at: EventTime(AT.0 + 3_600_000_000),
        amount_minor: 4_000,
        payments: 1,
        instants,
    };
    check(LIMIT_USAGES, &usage);
    let used = Use {
        usage_key: Bytes(b"key".to_vec()),
        period: AT.0,
        amount_minor: 4_000,
        payments: 1,
        gives_back: Default::default(),
    };
    let means = Means { card: Some("card-0001-7788".to_owned()), merchant: payment_body().merchant };
    check(LIMITED_PAYMENTS, &LimitedPayment { uses: vec![used], means: Some(means) });
    let aged = Aged { at: AT, key: Bytes(identity("bank", "acc-1", "p-1")) };
    check(OUTCOMES_BY_AGE.0, &aged);
    check(RECEIPTS_BY_AGE.0, &aged);
}

/// The hash is part of the bytes: a request sent again after an upgrade must still be the same request.
#[test]
fn request_hashes_stay_as_they_are() {
    let mut world = World::new("");
    let action = AccountAction::Open {
        customer: Some("cust-1".to_owned()),
        parent: Some("household".to_owned()),
        currency: "EUR".to_owned(),
        kind: AccountKind::External,
        limit_minor: 10_000,
    };
    world.send(world.command("r-1", "acc-1", action));
    let key = identity("bank", "acc-1", "r-1");
    let state = &mut world.task_of("acc-1").state;
    let outcome: AccountRequestOutcome = state.read(ACCOUNT_REQUEST_OUTCOMES, &key).expect("was recorded");
    assert_eq!(outcome.code, "ok");
    check_state(state, ACCOUNT_REQUEST_OUTCOMES, &key);
}
