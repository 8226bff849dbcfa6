//! A payment on its way: as it was asked for, validated, screened, and with what each step added.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tidemill_core::{EventTime, Meta};

use crate::decision::Decision;

/// What the sender wrote, field by field and not yet believed. A field that was not there is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PaymentRequest {
    pub id: Option<String>,
    pub source: Option<String>,
    /// `transfer` when absent.
    #[serde(rename = "type")]
    pub payment_type: Option<String>,
    pub debit_account: Option<String>,
    pub credit_account: Option<String>,
    /// Decimal text: `"12.34"`.
    pub amount: Option<String>,
    pub currency: Option<String>,
    /// RFC 3339.
    pub created_at: Option<String>,
    pub channel: Option<String>,
    pub merchant: Option<Merchant>,
    pub customer: Option<String>,
    pub description: Option<String>,
    pub metadata: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Merchant {
    pub id: String,
    /// Merchant category code or name.
    pub category: String,
    /// ISO 3166 alpha-2.
    pub country: String,
}

/// The content of a validated payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentBody {
    pub payment_id: String,
    pub source: String,
    #[serde(rename = "type")]
    pub payment_type: String,
    pub debit_account: String,
    pub credit_account: String,
    pub amount_minor: i64,
    pub currency: String,
    pub created_at: EventTime,
    pub channel: String,
    pub merchant: Option<Merchant>,
    pub customer: Option<String>,
    pub description: Option<String>,
    pub metadata: BTreeMap<String, String>,
    /// First 16 bytes of SHA-256 over the length-prefixed fields, as hexadecimal text: same body, same hash.
    pub body_hash: String,
}

impl PaymentBody {
    /// Who is paid: the merchant where one is named, the credit account otherwise.
    pub fn counterparty(&self) -> &str {
        self.merchant.as_ref().map_or(&self.credit_account, |merchant| &merchant.id)
    }

    /// Identity of a payment: `(source, debit account, id)`, length-prefixed so that no two identities share bytes.
    pub fn identity(&self) -> Vec<u8> {
        identity(&self.source, &self.debit_account, &self.payment_id)
    }
}

/// See [`PaymentBody::identity`].
pub fn identity(source: &str, debit_account: &str, payment_id: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(source.len() + debit_account.len() + payment_id.len() + 6);
    for part in [source, debit_account, payment_id] {
        key.extend_from_slice(&u16::try_from(part.len()).unwrap_or(u16::MAX).to_be_bytes());
        key.extend_from_slice(part.as_bytes());
    }
    key
}

/// `payments.validated.v1`, keyed by counterparty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payment {
    pub meta: Meta,
    pub payment: PaymentBody,
}

/// What was known of the counterparty before this payment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CounterpartyProfile {
    pub payments_1h: i64,
    pub payments_24h: i64,
    pub amount_minor_24h: i64,
    pub payments_7d: i64,
    /// Share of payments labelled as fraud, in millionths, over the payments whose labels are known.
    pub risk_ppm: i64,
    pub first_seen_at: Option<EventTime>,
}

/// `payments.screened.v1`, keyed by debit account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScreenedPayment {
    pub meta: Meta,
    pub payment: PaymentBody,
    pub counterparty: CounterpartyProfile,
}

/// What was known of the payer, this payment included.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PayerProfile {
    pub payments_1h: i64,
    pub amount_minor_1h: i64,
    pub payments_24h: i64,
    pub amount_minor_24h: i64,
    pub payments_7d: i64,
    pub amount_minor_7d: i64,
    pub payments_30d: i64,
    pub amount_minor_30d: i64,
    pub amount_minor_max: i64,
    pub counterparties_24h: i64,
    pub first_seen_at: Option<EventTime>,
}

/// In memory only, between `profile_payer` and `score_fraud`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfiledPayment {
    pub payment: PaymentBody,
    pub counterparty: CounterpartyProfile,
    pub payer: PayerProfile,
}

/// In memory only, between `score_fraud` and `charge_fee`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScoredPayment {
    pub payment: PaymentBody,
    pub decision: Decision,
}

/// In memory only, between `charge_fee` and `post_ledger`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PricedPayment {
    pub payment: PaymentBody,
    pub decision: Decision,
    pub fee_minor: i64,
    /// Name and version of the schedule that priced it.
    pub fee_schedule: String,
}
