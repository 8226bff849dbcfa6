//! What became of each payment and account request, so that a resend gets the first answer.
//!
//! Payments are remembered for `outcome_retention_days`, or until their hold has ended if that is later; what an account
//! has received for `refund_days`; account requests for ever. Days are counted on the task's own clock: the greatest
//! `created_at` it has recorded, which one payment can move by an hour at most, so that a single payment dated years
//! ahead does not make the ledger forget. An outcome is therefore forgotten late, never early.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use tidemill_core::{Context, EventTime, Reject, State, StateError, StateValue, Store};
use tidemill_schemas::{Exchange, PaymentType, StatusCode};

use super::Config;
use super::accounts::CurrencyCode;
use super::holds::{self, Hold, HoldState};
use super::payment_limits::{self, Memory};
use super::receipts::{RECEIPTS, RECEIPTS_BY_AGE, Receipt};
use super::scheduled;
use crate::age_queue::{AgeQueue, Ends};
use crate::fingerprint::Fingerprint;

/// Keyed by the payment's identity.
pub const PAYMENT_OUTCOMES: Store<PaymentOutcome> = Store::new("payment_outcomes");
/// Identities of the outcomes, the oldest first.
pub(crate) const OUTCOMES_BY_AGE: AgeQueue = AgeQueue(Store::new("payment_outcomes_by_age"));
/// One value: the task's clock, and how far the sweeps of old values have come.
pub const SWEEP: Store<Sweep> = Store::new("payment_outcomes_sweep");

const SWEEP_KEY: &[u8] = b"sweep";
const SWEEP_INTERVAL: u32 = 64;
const SWEEP_ENTRIES_MAX: u32 = 128;
const CLOCK_STEP_MICROS_MAX: i64 = 3_600_000_000;
const DAY_MICROS: i64 = 86_400_000_000;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentOutcome {
    pub body: Fingerprint,
    pub payment_type: PaymentType,
    pub status: StatusCode,
    pub currency: CurrencyCode,
    pub amount_minor: i64,
    pub fee_minor: i64,
    /// The task's clock when it was decided.
    pub at: EventTime,
    /// Of an authorisation.
    pub hold: Option<Hold>,
    pub aftermath: Aftermath,
    /// `ok`, or the code of the reject.
    pub code: Cow<'static, str>,
    /// Name and version of the schedule that priced it; empty where nothing was charged.
    pub fee_schedule: String,
    pub credit_account: String,
    /// Of a chargeback, whose reversal has to find the payment it was about.
    pub reference: Option<String>,
    /// What was sold and bought, or on a reversal given back.
    pub exchange: Option<Box<Exchange>>,
}

/// What happened to a posted payment after its outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Aftermath {
    #[default]
    None,
    /// The payee's side refused the money for this code, and the payer has it back.
    Returned(String),
    /// The payee's side refused the money for this code, and the payer could not take it back.
    InSuspense(String),
    /// Undone by the payment of this id.
    Reversed(String),
    /// Its time has not come, or not all payers of a journal have answered.
    Waiting,
    /// Carried out after it had waited.
    Executed,
    /// Not carried out after it had waited, for this code.
    Refused(String),
    /// Called off while it waited.
    Cancelled,
}

impl StateValue for PaymentOutcome {
    const VERSION: u8 = 1;
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sweep {
    /// The task's clock; `None` before the first outcome.
    pub clock: Option<EventTime>,
    /// Outcomes recorded since their sweep last moved, and receipts.
    pub outcomes_since: u32,
    pub receipts_since: u32,
    pub outcomes: Ends,
    pub receipts: Ends,
    /// Key of the open hold after which their sweep goes on; empty at the start.
    pub holds_cursor: Vec<u8>,
    /// When the last payment was made.
    pub last_created_at: Option<EventTime>,
    /// The time that payments which wait are judged by: two payments in a row were made then or later, so that one
    /// sender's fast clock moves nothing.
    pub witnessed_at: Option<EventTime>,
    /// When the first of the payments that wait is due, or some time before.
    pub next_due_at: Option<EventTime>,
}

impl StateValue for Sweep {
    const VERSION: u8 = 1;
}

/// Records the first outcome of a payment made at `created_at`, and lets the sweep take a step when it is due. Then the
/// task's clock is returned, for [`end_holds`].
pub(super) fn remember(
    context: &mut Context<'_>,
    identity: &[u8],
    mut outcome: PaymentOutcome,
    created_at: EventTime,
    config: Config,
) -> Result<Option<EventTime>, StateError> {
    let mut sweep = SWEEP.get(context.state, SWEEP_KEY)?.unwrap_or_default();
    let now = sweep.tick(created_at);
    outcome.at = now;
    PAYMENT_OUTCOMES.put(context.state, identity, &outcome)?;
    OUTCOMES_BY_AGE.push(&mut sweep.outcomes, context.state, now, identity)?;
    release_due(&mut sweep, created_at, config, context)?;
    sweep.outcomes_since += 1;
    let is_due = sweep.outcomes_since >= SWEEP_INTERVAL;
    if is_due {
        sweep.outcomes_since = 0;
        forget_outcomes(&mut sweep.outcomes, before(now, config.outcome_retention_days), context.state)?;
    }
    SWEEP.put(context.state, SWEEP_KEY, &sweep)?;
    Ok(is_due.then_some(now))
}

/// Lets a leg of a journal, which has no outcome here, be forgotten in its turn.
pub(super) fn remember_leg(key: &[u8], at: EventTime, state: &mut dyn State) -> Result<(), StateError> {
    let mut sweep = SWEEP.get(state, SWEEP_KEY)?.unwrap_or_default();
    OUTCOMES_BY_AGE.push(&mut sweep.outcomes, state, sweep.clock.unwrap_or(at), key)?;
    SWEEP.put(state, SWEEP_KEY, &sweep)
}

/// Gives free holds of accounts that no record touches.
pub(super) fn end_holds(now: EventTime, context: &mut Context<'_>) -> Result<(), Reject> {
    let sweep = SWEEP.get(context.state, SWEEP_KEY)?.unwrap_or_default();
    let holds_cursor = holds::sweep(&sweep.holds_cursor, now, context)?;
    Ok(SWEEP.put(context.state, SWEEP_KEY, &Sweep { holds_cursor, ..sweep })?)
}

/// Records what an account has received, in the same way.
pub(super) fn remember_receipt(
    context: &mut Context<'_>,
    key: &[u8],
    mut receipt: Receipt,
    config: Config,
) -> Result<(), StateError> {
    let mut sweep = SWEEP.get(context.state, SWEEP_KEY)?.unwrap_or_default();
    let now = sweep.tick(receipt.at);
    receipt.at = now;
    RECEIPTS.put(context.state, key, &receipt)?;
    RECEIPTS_BY_AGE.push(&mut sweep.receipts, context.state, now, key)?;
    sweep.receipts_since += 1;
    if sweep.receipts_since >= SWEEP_INTERVAL {
        sweep.receipts_since = 0;
        let kept_since = before(now, config.refund_days);
        for _ in 0..SWEEP_ENTRIES_MAX {
            let Some(key) = RECEIPTS_BY_AGE.pop(&mut sweep.receipts, context.state, kept_since)? else { break };
            RECEIPTS.delete(context.state, &key)?;
        }
    }
    SWEEP.put(context.state, SWEEP_KEY, &sweep)
}

/// A comparison where nothing is due.
fn release_due(
    sweep: &mut Sweep,
    created_at: EventTime,
    config: Config,
    context: &mut Context<'_>,
) -> Result<(), StateError> {
    let witnessed_at = sweep.last_created_at.replace(created_at).map(|last| last.min(created_at));
    sweep.witnessed_at = sweep.witnessed_at.max(witnessed_at);
    if let (Some(due_at), Some(now)) = (sweep.next_due_at, sweep.witnessed_at)
        && due_at <= now
    {
        sweep.next_due_at = scheduled::release(now, config, context)?;
    }
    Ok(())
}

/// Notes that a payment is due at a time.
pub(super) fn expect_due(due_at: EventTime, state: &mut dyn State) -> Result<(), StateError> {
    let mut sweep = SWEEP.get(state, SWEEP_KEY)?.unwrap_or_default();
    sweep.next_due_at = Some(sweep.next_due_at.map_or(due_at, |next| next.min(due_at)));
    SWEEP.put(state, SWEEP_KEY, &sweep)
}

impl Sweep {
    fn tick(&mut self, created_at: EventTime) -> EventTime {
        let now = match self.clock {
            None => created_at,
            Some(clock) => EventTime(created_at.0.clamp(clock.0, clock.0.saturating_add(CLOCK_STEP_MICROS_MAX))),
        };
        self.clock = Some(now);
        now
    }
}

fn before(now: EventTime, days: u32) -> EventTime {
    EventTime(now.0.saturating_sub(i64::from(days).saturating_mul(DAY_MICROS)))
}

/// An authorisation whose hold is open, a payment that waits for its time, and one that the window of a limit still needs, go to the end of the queue: their turn comes
/// again. So does the turn of an outcome that was recorded anew, which stands in the queue twice.
fn forget_outcomes(ends: &mut Ends, kept_since: EventTime, state: &mut dyn State) -> Result<(), StateError> {
    for _ in 0..SWEEP_ENTRIES_MAX {
        let Some(identity) = OUTCOMES_BY_AGE.pop(ends, state, kept_since)? else { break };
        let Some(outcome) = PAYMENT_OUTCOMES.get(state, &identity)? else {
            if payment_limits::forget(&identity, kept_since, state)? == Memory::Kept {
                OUTCOMES_BY_AGE.push(ends, state, kept_since, &identity)?;
            }
            continue;
        };
        let is_open = outcome.hold.is_some_and(|hold| hold.state == HoldState::Open);
        if is_open || outcome.aftermath == Aftermath::Waiting {
            OUTCOMES_BY_AGE.push(ends, state, outcome.at, &identity)?;
        } else if outcome.at < kept_since {
            match payment_limits::forget(&identity, kept_since, state)? {
                Memory::Forgotten => PAYMENT_OUTCOMES.delete(state, &identity)?,
                Memory::Kept => OUTCOMES_BY_AGE.push(ends, state, outcome.at, &identity)?,
            }
        }
    }
    Ok(())
}
