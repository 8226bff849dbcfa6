//! Holds: money that stays on its account and is set aside for a payee until it is captured, voided, or expires.
//!
//! A hold lives in the outcome of its authorisation, since every payment about it names that. Beside it `open_holds`
//! lists the open ones of each account by when they end.
//!
//! Time: a hold is over from `expires_at` on, by the clock of its account, whichever record looks first. It is given
//! free by the first record at or after that instant that changes the account, before that record is judged, and by
//! the sweep a day later where no record comes. So a decision never sees a hold that is over, and nothing is given free
//! while a record that was made in time can still come.

use serde::{Deserialize, Serialize};
use tidemill_core::{AnyEvent, Context, EventTime, Meta, Reject, State, StateError, StateValue, Store};
use tidemill_schemas::payment::identity_parts;
use tidemill_schemas::{FeeRefund, Instruction, InstructionKind, PaymentType, StatusCode};

use super::accounts::{ACCOUNTS, Account, NO_EXPIRY};
use super::answers::{self, Update};
use super::book::{Book, Overflow, Voucher};
use super::codes::{HOLD_EXPIRED, LEDGER_UNBALANCED, OK};
use super::outcomes::{PAYMENT_OUTCOMES, PaymentOutcome};
use super::payment_limits;

/// Keyed by account, `expires_at` and number, so that those of an account lie side by side and the first ends first.
pub const OPEN_HOLDS: Store<OpenHold> = Store::new("open_holds");

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Counts the holds of an account: of two that end at once, the elder ends first.
    pub number: u64,
    pub authorised_minor: i64,
    pub captured_minor: i64,
    /// What is still set aside.
    pub held_minor: i64,
    pub expires_at: EventTime,
    pub state: HoldState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HoldState {
    Open,
    /// Finally: nothing can follow.
    Captured,
    Voided,
    Expired,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenHold {
    /// Identity of the authorisation.
    pub identity: Vec<u8>,
}

impl StateValue for OpenHold {
    const VERSION: u8 = 1;
}

impl Hold {
    /// Ends an open hold; what was still set aside is returned.
    pub(super) fn end(&mut self, state: HoldState) -> i64 {
        self.state = state;
        std::mem::take(&mut self.held_minor)
    }
}

/// Lists a new hold of the account.
pub(super) fn list(
    account_id: &str,
    account: &mut Account,
    hold: &Hold,
    identity: &[u8],
    state: &mut dyn State,
) -> Result<(), StateError> {
    account.open_holds += 1;
    account.next_expiry_at = account.next_expiry_at.min(hold.expires_at);
    OPEN_HOLDS.put(state, &key(account_id, hold), &OpenHold { identity: identity.to_vec() })
}

/// Takes a hold that has ended off the list.
pub(super) fn unlist(
    account_id: &str,
    account: &mut Account,
    hold: &Hold,
    state: &mut dyn State,
) -> Result<(), StateError> {
    OPEN_HOLDS.delete(state, &key(account_id, hold))?;
    account.open_holds -= 1;
    if account.open_holds == 0 {
        account.next_expiry_at = NO_EXPIRY;
    } else if hold.expires_at <= account.next_expiry_at {
        let prefix = prefix(account_id);
        let next = OPEN_HOLDS.scan(state, &prefix, 1)?;
        let next = next.first().and_then(|(key, _)| expires_at(key, &prefix));
        account.next_expiry_at = next.unwrap_or(NO_EXPIRY);
    }
    Ok(())
}

/// Gives free what is over by `now`, in the order in which it ends. Costs a comparison where nothing is.
pub(super) fn expire_due(
    account_id: &str,
    account: &mut Account,
    now: EventTime,
    context: &mut Context<'_>,
) -> Result<(), Reject> {
    while account.next_expiry_at <= now {
        let Some((_, open)) = first_of(account_id, context.state)? else {
            return Err(Reject::new(&LEDGER_UNBALANCED).because("an open hold is not on the list"));
        };
        give_free(account_id, account, &open.identity, HoldState::Expired, context)?;
    }
    Ok(())
}

/// Gives free every hold of an account that is about to be closed.
pub(super) fn void_all(account_id: &str, account: &mut Account, context: &mut Context<'_>) -> Result<(), Reject> {
    while let Some((_, open)) = first_of(account_id, context.state)? {
        give_free(account_id, account, &open.identity, HoldState::Voided, context)?;
    }
    Ok(())
}

fn first_of(account_id: &str, state: &mut dyn State) -> Result<Option<(Vec<u8>, OpenHold)>, StateError> {
    let prefix = prefix(account_id);
    let first = OPEN_HOLDS.scan(state, &prefix, 1)?.into_iter().next();
    Ok(first.filter(|(key, _)| key.starts_with(&prefix)))
}

/// Ends one hold without a payment: the account, the authorisation's outcome, an entry, and word to sender and payee.
fn give_free(
    account_id: &str,
    account: &mut Account,
    identity: &[u8],
    how: HoldState,
    context: &mut Context<'_>,
) -> Result<(), Reject> {
    let broken = |why| Reject::new(&LEDGER_UNBALANCED).because(why);
    let outcome = PAYMENT_OUTCOMES.get(context.state, identity)?;
    let Some((mut outcome, [source, _, payment_id])) = outcome.zip(identity_parts(identity)) else {
        return Err(broken("an open hold has no authorisation"));
    };
    let Some(mut hold) = outcome.hold else { return Err(broken("an open hold is no hold")) };
    let held_minor = hold.end(how);
    payment_limits::release(identity, context.state)?;
    unlist(account_id, account, &hold, context.state)?;
    let currency = account.currency;
    let voucher = Voucher {
        task: context.task,
        payment_type: PaymentType::Authorise,
        payment_id,
        source,
        reference: None,
        currency: currency.as_str(),
        fee_schedule: None,
        event_time: if how == HoldState::Expired { hold.expires_at } else { account.last_event_time },
        dates: None,
    };
    let mut book = Book::new(voucher);
    let slot = book.add(account_id.to_owned(), account.clone());
    book.set_aside(slot, -held_minor, &outcome.credit_account).map_err(|Overflow| broken("a hold is too large"))?;
    *account = book.account(slot).clone();
    book.write(context)?;
    outcome.hold = Some(hold);
    PAYMENT_OUTCOMES.put(context.state, identity, &outcome)?;
    let (code, reason) = match how {
        HoldState::Expired => (HOLD_EXPIRED.code, "expired"),
        _ => (OK, "voided because the account was closed"),
    };
    let update = Update { status: StatusCode::CANC, code, reason, at: voucher.event_time };
    answers::update_authorisation(identity, &outcome, account, update, context);
    announce(identity, &outcome, voucher.event_time, context);
    Ok(())
}

/// Tells the payee's side how much is held for it now, in all.
pub(super) fn announce(identity: &[u8], outcome: &PaymentOutcome, at: EventTime, context: &mut Context<'_>) {
    let (Some([source, debit_account, payment_id]), Some(hold)) = (identity_parts(identity), outcome.hold) else {
        return;
    };
    let announcement: AnyEvent = Box::new(Instruction {
        meta: Meta::default(),
        kind: InstructionKind::Announce,
        payment_id: payment_id.to_owned(),
        source: source.to_owned(),
        account_id: outcome.credit_account.clone(),
        debit_account: debit_account.to_owned(),
        credit_account: outcome.credit_account.clone(),
        amount_minor: hold.held_minor,
        fee_minor: 0,
        currency: outcome.currency.as_str().to_owned(),
        reason: None,
        leg_no: 0,
        event_time: at,
        customer: None,
        payment_type: PaymentType::Authorise,
        reference: None,
        exchange: None,
        booking_date: None,
        value_date: None,
        fee_refund: FeeRefund::Kept,
        fee_back_minor: 0,
        fee_schedule: None,
        channel: None,
    });
    context.effects.emit("instructions", announcement);
}

/// Where the sweep goes on, after giving free what was over a day before `now` among the next holds of the task.
pub(super) fn sweep(cursor: &[u8], now: EventTime, context: &mut Context<'_>) -> Result<Vec<u8>, Reject> {
    let over_since = EventTime(now.0.saturating_sub(SWEEP_DELAY_MICROS));
    let looked_at = OPEN_HOLDS.scan(context.state, cursor, SWEEP_HOLDS)?;
    let next = if looked_at.len() < SWEEP_HOLDS { None } else { looked_at.last().map(|(key, _)| key.clone()) };
    for (key, open) in looked_at {
        let Some([_, account_id, _]) = identity_parts(&open.identity) else { continue };
        if expires_at(&key, &prefix(account_id)).is_none_or(|at| at > over_since) {
            continue;
        }
        if let Some(mut account) = ACCOUNTS.get(context.state, account_id.as_bytes())? {
            expire_due(account_id, &mut account, over_since, context)?;
        }
    }
    Ok(next.unwrap_or_default())
}

const SWEEP_HOLDS: usize = 32;
/// As late as validation lets a payment be dated ahead, so that a clock that was set by one ends no hold too soon.
const SWEEP_DELAY_MICROS: i64 = 86_400_000_000;

fn prefix(account_id: &str) -> Vec<u8> {
    let mut prefix = Vec::with_capacity(account_id.len() + 18);
    prefix.extend_from_slice(&u16::try_from(account_id.len()).unwrap_or(u16::MAX).to_be_bytes());
    prefix.extend_from_slice(account_id.as_bytes());
    prefix
}

fn key(account_id: &str, hold: &Hold) -> Vec<u8> {
    let mut key = prefix(account_id);
    key.extend_from_slice(&hold.expires_at.0.to_be_bytes());
    key.extend_from_slice(&hold.number.to_be_bytes());
    key
}

fn expires_at(key: &[u8], prefix: &[u8]) -> Option<EventTime> {
    let (time, _) = key.strip_prefix(prefix)?.split_first_chunk::<8>()?;
    Some(EventTime(i64::from_be_bytes(*time)))
}
