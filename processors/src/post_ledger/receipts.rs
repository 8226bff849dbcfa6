//! What an account has received, so that it can be given back no more than once: kept where the money arrived, by the
//! owner who will decide about giving it back.

use serde::{Deserialize, Serialize};
use tidemill_core::{EventTime, Rounding, StateValue, Store};
use tidemill_schemas::payment::identity;
use tidemill_schemas::{Exchange, FeeRefund, PaymentType};

use crate::age_queue::AgeQueue;

/// Keyed by the account that received, and the identity of the payment.
pub const RECEIPTS: Store<Receipt> = Store::new("receipts");
/// Their keys, the oldest first.
pub(crate) const RECEIPTS_BY_AGE: AgeQueue = AgeQueue(Store::new("receipts_by_age"));
/// Keyed by the account that will receive, and the identity of the authorisation. The amount that is held.
pub const INCOMING_HOLDS: Store<IncomingHold> = Store::new("incoming_holds");

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    pub payment_type: PaymentType,
    pub amount_minor: i64,
    /// By refunds, chargebacks and reversals of chargebacks.
    pub given_back_minor: i64,
    pub reversed: bool,
    /// The task's clock when it arrived.
    pub at: EventTime,
    /// Of money that was bought: at which amounts it is given back.
    pub exchange: Option<Box<Exchange>>,
    /// What its payer paid beside it, where refunds bring that back.
    pub fee: Option<Box<RefundableFee>>,
}

/// A fee that goes back with refunds, kept beside what it was paid for: whoever refunds says how much of it comes back,
/// once and for all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefundableFee {
    pub schedule: String,
    pub refund: FeeRefund,
    pub fee_minor: i64,
    /// By refunds alone.
    pub refunded_minor: i64,
    /// How much of the fee has gone back with them.
    pub back_minor: i64,
}

/// What comes back of a fee with a refund.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FeeBack {
    pub(super) minor: i64,
    pub(super) schedule: String,
}

impl StateValue for Receipt {
    const VERSION: u8 = 1;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncomingHold {
    pub held_minor: i64,
}

impl StateValue for IncomingHold {
    const VERSION: u8 = 1;
}

impl Receipt {
    pub(super) fn left_minor(&self) -> i64 {
        self.amount_minor - self.given_back_minor
    }

    /// Takes a refund in, and returns what comes back of the fee with it. So much has come back after the last that it is
    /// the whole fee; until then what is due is rounded down.
    pub(super) fn refund(&mut self, amount_minor: i64) -> Option<FeeBack> {
        self.given_back_minor += amount_minor;
        let fee = self.fee.as_deref_mut()?;
        fee.refunded_minor += amount_minor;
        let due_minor = match fee.refund {
            FeeRefund::Kept => 0,
            FeeRefund::Returned => i128::from(fee.fee_minor),
            FeeRefund::ProRata => {
                let share = i128::from(fee.fee_minor) * i128::from(fee.refunded_minor);
                Rounding::TowardZero.divide(share, i128::from(self.amount_minor)).unwrap_or_default()
            }
        };
        // Never more than the fee, which is 64 bits.
        let minor = i64::try_from(due_minor).unwrap_or(fee.fee_minor) - fee.back_minor;
        fee.back_minor += minor;
        (minor > 0).then(|| FeeBack { minor, schedule: fee.schedule.clone() })
    }

    /// A refund could not be taken: it is as if it had not been.
    pub(super) fn undo_refund(&mut self, amount_minor: i64, fee_back_minor: i64) {
        self.given_back_minor = self.given_back_minor.saturating_sub(amount_minor).max(0);
        if let Some(fee) = self.fee.as_deref_mut() {
            fee.refunded_minor = fee.refunded_minor.saturating_sub(amount_minor).max(0);
            fee.back_minor = fee.back_minor.saturating_sub(fee_back_minor).max(0);
        }
    }
}

/// Key of what `account` received, or will, by the payment of this identity.
pub(super) fn key(account: &str, source: &str, debit_account: &str, payment_id: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(account.len() + 2);
    key.extend_from_slice(&u16::try_from(account.len()).unwrap_or(u16::MAX).to_be_bytes());
    key.extend_from_slice(account.as_bytes());
    key.extend_from_slice(&identity(source, debit_account, payment_id));
    key
}
