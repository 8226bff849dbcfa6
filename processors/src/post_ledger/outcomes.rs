//! What became of each payment and account request, so that a resend gets the first answer.
//!
//! Payments are remembered for `outcome_retention_days`, account requests for ever. Days are counted on the task's own
//! clock: the greatest `created_at` it has recorded, which one payment can move by an hour at most, so that a single
//! payment dated years ahead does not make the ledger forget. An outcome is therefore forgotten late, never early.

use serde::{Deserialize, Serialize};
use tidemill_core::{EventTime, State, StateError, StateValue, Store};
use tidemill_schemas::StatusCode;

/// Keyed by the payment's identity.
pub const PAYMENT_OUTCOMES: Store<PaymentOutcome> = Store::new("payment_outcomes");
/// Keyed by the request's identity (source, account, request id).
pub const ACCOUNT_REQUEST_OUTCOMES: Store<AccountRequestOutcome> = Store::new("account_request_outcomes");
/// One value: how far the sweep of old outcomes has come.
pub const SWEEP: Store<Sweep> = Store::new("payment_outcomes_sweep");

const SWEEP_KEY: &[u8] = b"sweep";
const SWEEP_INTERVAL_OUTCOMES: u32 = 64;
const SWEEP_ENTRIES_MAX: usize = 128;
const CLOCK_STEP_MICROS_MAX: i64 = 3_600_000_000;
const DAY_MICROS: i64 = 86_400_000_000;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentOutcome {
    pub body_hash: String,
    pub status: StatusCode,
    /// `ok`, or the code of the reject.
    pub code: String,
    pub fee_minor: i64,
    /// Name and version of the schedule that priced it; empty where nothing was charged.
    pub fee_schedule: String,
    /// The task's clock when it was decided.
    pub at: EventTime,
    pub aftermath: Aftermath,
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
}

impl StateValue for PaymentOutcome {
    const VERSION: u8 = 1;
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountRequestOutcome {
    pub body_hash: [u8; 16],
    /// `ok`, or the code of the reject.
    pub code: String,
    pub at: EventTime,
}

impl StateValue for AccountRequestOutcome {
    const VERSION: u8 = 1;
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sweep {
    /// The task's clock; `None` before the first outcome.
    pub clock: Option<EventTime>,
    /// Outcomes recorded since the sweep last moved.
    pub outcomes_since: u32,
    /// Key after which the sweep goes on; empty at the start.
    pub cursor: Vec<u8>,
}

impl StateValue for Sweep {
    const VERSION: u8 = 1;
}

/// Records the first outcome of a payment made at `created_at`, and lets the sweep take a step when it is due.
pub(super) fn remember(
    state: &mut dyn State,
    identity: &[u8],
    mut outcome: PaymentOutcome,
    created_at: EventTime,
    retention_days: u32,
) -> Result<(), StateError> {
    let mut sweep = SWEEP.get(state, SWEEP_KEY)?.unwrap_or_default();
    let now = sweep.tick(created_at);
    outcome.at = now;
    PAYMENT_OUTCOMES.put(state, identity, &outcome)?;
    sweep.outcomes_since += 1;
    if sweep.outcomes_since >= SWEEP_INTERVAL_OUTCOMES {
        sweep.outcomes_since = 0;
        sweep.cursor = forget_expired(state, &sweep.cursor, now, retention_days)?;
    }
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

/// Returns the cursor for the next step.
fn forget_expired(
    state: &mut dyn State,
    cursor: &[u8],
    now: EventTime,
    retention_days: u32,
) -> Result<Vec<u8>, StateError> {
    let kept_since = EventTime(now.0.saturating_sub(i64::from(retention_days).saturating_mul(DAY_MICROS)));
    let looked_at = PAYMENT_OUTCOMES.scan(state, cursor, SWEEP_ENTRIES_MAX)?;
    let next = if looked_at.len() < SWEEP_ENTRIES_MAX { None } else { looked_at.last().map(|(key, _)| key.clone()) };
    for (key, outcome) in &looked_at {
        if outcome.at < kept_since {
            PAYMENT_OUTCOMES.delete(state, key)?;
        }
    }
    Ok(next.unwrap_or_default())
}
