//! The bytes of the stores: what was written by a released version stays readable.

use tidemill_core::{EventTime, StateValue, Store};
use tidemill_schemas::{AccountKind, StatusCode};
use tidemill_testkit::MemoryState;

use super::super::accounts::{ACCOUNTS, Account};
use super::super::outcomes::{
    ACCOUNT_REQUEST_OUTCOMES, AccountRequestOutcome, Aftermath, PAYMENT_OUTCOMES, PaymentOutcome, SWEEP, Sweep,
};
use super::world::World;
use crate::fixture::check_state;
use tidemill_schemas::account::AccountAction;
use tidemill_schemas::payment::identity;

const AT: EventTime = EventTime(1_769_860_800_000_000);

fn check<V: StateValue>(store: Store<V>, value: &V) {
    let mut state = MemoryState::default();
    store.put(&mut state, b"key", value).expect("can be written");
    check_state(&state, store, b"key");
}

#[test]
fn state_bytes_stay_as_they_are() {
    let account = Account {
        customer: Some("cust-1".to_owned()),
        kind: AccountKind::External,
        currency: "EUR".to_owned(),
        limit_minor: 10_000,
        posted_minor: -4_040,
        pending_minor: 100,
        seq: 2,
        debits_frozen: true,
        credits_frozen: false,
        closed: true,
        opened_at: AT,
        last_event_time: EventTime(AT.0 + 1),
    };
    check(ACCOUNTS, &account);
    let outcome = PaymentOutcome {
        body_hash: "0123456789abcdef0123456789abcdef".to_owned(),
        status: StatusCode::RCVD,
        code: "ok".to_owned(),
        fee_minor: 40,
        fee_schedule: "standard@1".to_owned(),
        at: AT,
        aftermath: Aftermath::InSuspense("credit_account_closed".to_owned()),
    };
    check(PAYMENT_OUTCOMES, &outcome);
    check(SWEEP, &Sweep { clock: Some(AT), outcomes_since: 63, cursor: b"cursor".to_vec() });
}

/// The hash is part of the bytes: a request sent again after an upgrade must still be the same request.
#[test]
fn request_hashes_stay_as_they_are() {
    let mut world = World::new("");
    let action = AccountAction::Open {
        customer: Some("cust-1".to_owned()),
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
