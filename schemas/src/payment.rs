//! A payment on its way: as it was asked for, validated, screened, and with what each step added.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tidemill_core::{EventTime, KeySpace, Meta};

use crate::codec::{key_text, memory_event, topic_event};
use crate::dates::PostingDates;
use crate::decision::Decision;
use crate::exchange::Exchange;
use crate::fee::{FeeCharge, FeeTerms};
use crate::payment_type::{PaymentType, as_text};

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
    /// Id of the payment that this one is about.
    pub reference: Option<String>,
    /// When a hold ends, RFC 3339.
    pub expires_at: Option<String>,
    /// On a capture: `release` or `keep`.
    pub remainder: Option<String>,
    /// Why the rules are set aside, where they are.
    pub reason: Option<String>,
    /// On an exchange: the quote by which it is made.
    pub quote: Option<String>,
    /// The card that is used.
    pub card: Option<String>,
    /// When it is to be carried out, RFC 3339; at once when absent.
    pub execute_at: Option<String>,
    /// Until when it is tried again for lack of funds, RFC 3339; never when absent.
    pub retry_until: Option<String>,
    /// On a journal: what further accounts pay, by account, decimal text.
    pub debits: BTreeMap<String, String>,
    /// On a journal: what each account is paid.
    pub credits: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
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
    #[serde(rename = "type", with = "as_text")]
    pub payment_type: PaymentType,
    pub debit_account: String,
    pub credit_account: String,
    /// More than zero, except on a void, which may leave the amount out.
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
    /// Id of the payment that this one is about.
    #[serde(default)]
    pub reference: Option<String>,
    /// When a hold ends.
    #[serde(default)]
    pub expires_at: Option<EventTime>,
    /// Whether a capture leaves the rest of its hold standing. Releasing it is the rule, so that is how absence reads.
    #[serde(default, with = "remainder")]
    pub remainder: Remainder,
    /// Why the rules are set aside, where they are.
    #[serde(default)]
    pub reason: Option<String>,
    /// Of an exchange: the quote by which it is made.
    #[serde(default)]
    pub quote: Option<String>,
    /// The card that is used.
    #[serde(default)]
    pub card: Option<String>,
    /// When it is to be carried out; at once when absent.
    #[serde(default)]
    pub execute_at: Option<EventTime>,
    /// Until when it is tried again for lack of funds.
    #[serde(default)]
    pub retry_until: Option<EventTime>,
    /// Of a journal: what accounts other than the debit account pay, in minor units.
    #[serde(default)]
    pub debits: BTreeMap<String, i64>,
    /// Of a journal: what each account is paid, in minor units. The first of them is also its `credit_account`.
    #[serde(default)]
    pub credits: BTreeMap<String, i64>,
}

/// What a capture does with the part of the hold that it does not take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Remainder {
    /// The capture is final.
    #[default]
    Release,
    /// More captures may follow.
    Keep,
}

/// `keep`, or null for the rule.
mod remainder {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Remainder;

    pub(super) fn serialize<S: Serializer>(remainder: &Remainder, serializer: S) -> Result<S::Ok, S::Error> {
        let text = match remainder {
            Remainder::Release => None,
            Remainder::Keep => Some("keep"),
        };
        text.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Remainder, D::Error> {
        match Option::<String>::deserialize(deserializer)?.as_deref() {
            None => Ok(Remainder::Release),
            Some("keep") => Ok(Remainder::Keep),
            Some(_) => Err(serde::de::Error::custom("remainder is neither null nor keep")),
        }
    }
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

/// Source, debit account and payment id of an [`identity`]; `None` for bytes that are none.
pub fn identity_parts(identity: &[u8]) -> Option<[&str; 3]> {
    let mut rest = identity;
    let mut parts = [""; 3];
    for part in &mut parts {
        let (length, bytes) = rest.split_first_chunk::<2>()?;
        let (text, after) = bytes.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        *part = std::str::from_utf8(text).ok()?;
        rest = after;
    }
    rest.is_empty().then_some(parts)
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
    /// Absent for types that are not scored.
    pub decision: Option<Decision>,
}

/// In memory only, between `charge_fee` and `post_ledger`; a payment that waits is kept like this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PricedPayment {
    pub payment: PaymentBody,
    pub fee_minor: i64,
    /// Name and version of the schedule that priced it; empty where nothing is charged.
    pub fee_schedule: String,
    pub fee_terms: FeeTerms,
    /// What an exchange buys.
    pub exchange: Option<Box<Exchange>>,
    /// Absent where no calendar is asked.
    pub dates: Option<PostingDates>,
}

impl PricedPayment {
    /// What leaves for whoever is credited.
    pub fn sent_minor(&self) -> i64 {
        match self.fee_terms.charge {
            FeeCharge::OnTop => self.payment.amount_minor,
            FeeCharge::Deducted => self.payment.amount_minor - self.fee_minor,
        }
    }
}

topic_event! {
    PaymentRequest: "payment_request", keyed by KeySpace::Any, "BACKWARD", "What a sender asks for.",
    key: |event, out| key_text(out, event.debit_account.as_deref().unwrap_or_default()),
    time: |event| event.created_at.as_deref().and_then(EventTime::parse).unwrap_or_default(),
    meta: |_| None,
}

topic_event! {
    Payment: "payment", keyed by KeySpace::Named("counterparty"), "FULL_TRANSITIVE", "A validated payment.",
    key: |event, out| key_text(out, event.payment.counterparty()),
    time: |event| event.payment.created_at,
    meta: |event| Some(&mut event.meta),
}

topic_event! {
    ScreenedPayment: "screened_payment", keyed by KeySpace::Named("account"), "FULL_TRANSITIVE", "A payment with what is known of its counterparty.",
    key: |event, out| key_text(out, &event.payment.debit_account),
    time: |event| event.payment.created_at,
    meta: |event| Some(&mut event.meta),
}

memory_event! {
    ProfiledPayment: "profiled_payment", keyed by KeySpace::Named("account"),
    key: |event, out| key_text(out, &event.payment.debit_account),
    time: |event| event.payment.created_at,
}

memory_event! {
    ScoredPayment: "scored_payment", keyed by KeySpace::Named("account"),
    key: |event, out| key_text(out, &event.payment.debit_account),
    time: |event| event.payment.created_at,
}

memory_event! {
    PricedPayment: "priced_payment", keyed by KeySpace::Named("account"),
    key: |event, out| key_text(out, &event.payment.debit_account),
    time: |event| event.payment.created_at,
}
