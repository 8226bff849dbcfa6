//! `payments.status.v1`, keyed by debit account: what became of each payment, for its sender.

use serde::{Deserialize, Serialize};
use tidemill_core::{EventTime, KeySpace, Meta};

use crate::codec::{key_text, topic_event};
use crate::exchange::Exchange;
use crate::payment_type::{PaymentType, as_text_or_null};

/// ISO 20022 payment status words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StatusCode {
    /// Posted.
    ACSC,
    /// Rejected, or returned by the credit side.
    RJCT,
    /// Pending: money is held.
    PDNG,
    /// Received before; the first outcome stands.
    RCVD,
    /// What was pending has ended, and no money has moved.
    CANC,
    /// Posted in part: money of one leg has come back.
    PART,
}

/// Which of a payment's status records this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StatusPhase {
    /// The one outcome of this request. Each request has exactly one `outcome` or one `repeat`.
    Outcome,
    /// The request was a resend (or a conflicting reuse of an id); the payment's outcome is unchanged.
    Repeat,
    /// Something happened to the payment after its outcome: a return, or the end of a hold.
    Update,
}

impl StatusPhase {
    pub(crate) fn outcome() -> Self {
        Self::Outcome
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentStatus {
    pub meta: Meta,
    pub payment_id: String,
    pub source: String,
    pub debit_account: String,
    pub credit_account: String,
    pub amount_minor: i64,
    /// Empty when the request named none that is known.
    pub currency: String,
    pub fee_minor: i64,
    pub status: StatusCode,
    pub phase: StatusPhase,
    /// `ok`, or the code of the reject.
    pub code: String,
    pub reason: Option<String>,
    pub merchant_id: Option<String>,
    pub customer: Option<String>,
    pub channel: String,
    /// `created_at` of the payment where it was readable, the record's timestamp otherwise.
    pub event_time: EventTime,
    /// Absent when the request named none that is known.
    #[serde(rename = "type", default, with = "as_text_or_null")]
    pub payment_type: Option<PaymentType>,
    /// Id of the payment that this one is about.
    #[serde(default)]
    pub reference: Option<String>,
    /// What an exchange has sold and bought.
    #[serde(default)]
    pub exchange: Option<Box<Exchange>>,
}

topic_event! {
    PaymentStatus: "payment_status", keyed by KeySpace::Named("account"), "FULL_TRANSITIVE", "What became of a payment.",
    key: |event, out| key_text(out, &event.debit_account),
    time: |event| event.event_time,
    meta: |event| Some(&mut event.meta),
}
