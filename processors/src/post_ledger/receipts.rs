//! What an account has received, so that it can be given back no more than once: kept where the money arrived, by the
//! owner who will decide about giving it back.

use serde::{Deserialize, Serialize};
use tidemill_core::{EventTime, StateValue, Store};
use tidemill_schemas::payment::identity;
use tidemill_schemas::{Exchange, PaymentType};

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
}

/// Key of what `account` received, or will, by the payment of this identity.
pub(super) fn key(account: &str, source: &str, debit_account: &str, payment_id: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(account.len() + 2);
    key.extend_from_slice(&u16::try_from(account.len()).unwrap_or(u16::MAX).to_be_bytes());
    key.extend_from_slice(account.as_bytes());
    key.extend_from_slice(&identity(source, debit_account, payment_id));
    key
}
