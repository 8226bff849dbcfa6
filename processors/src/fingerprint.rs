//! Tells two payments of one identity apart, and which field it is that differs.
//!
//! Whether they differ is the body hash's to say. The field is found by two bytes of each, kept beside the hash: with
//! one chance in 65,536 a changed field is missed, and then the answer names none.

use std::collections::BTreeMap;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tidemill_core::Reject;
use tidemill_core::reject::BUG;
use tidemill_schemas::{PaymentBody, Remainder};

use crate::age_queue::Bytes;
use crate::post_ledger::codes::IDEMPOTENCY_CONFLICT;

/// Every field that is not part of the identity, in the order in which a difference is looked for.
pub(crate) const BODY_FIELDS: [&str; 20] = [
    "type",
    "credit_account",
    "amount",
    "currency",
    "created_at",
    "channel",
    "merchant",
    "customer",
    "description",
    "metadata",
    "reference",
    "expires_at",
    "remainder",
    "reason",
    "quote",
    "card",
    "execute_at",
    "retry_until",
    "debits",
    "credits",
];

/// What is remembered of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    body_hash: [u8; 16],
    /// Two bytes for each of [`BODY_FIELDS`].
    fields: [[u8; 2]; BODY_FIELDS.len()],
}

/// In one piece: a third of an outcome is this, and byte by byte it would cost more than all the rest.
impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = [0; 16 + 2 * BODY_FIELDS.len()];
        let (hash, fields) = bytes.split_at_mut(16);
        hash.copy_from_slice(&self.body_hash);
        fields.copy_from_slice(self.fields.as_flattened());
        serializer.serialize_bytes(&bytes)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Bytes(bytes) = Bytes::deserialize(deserializer)?;
        let parts =
            bytes.split_first_chunk().and_then(|(hash, rest)| Some((*hash, rest.as_chunks().0.try_into().ok()?)));
        let (body_hash, fields) =
            parts.ok_or_else(|| D::Error::invalid_length(bytes.len(), &"a hash and its fields"))?;
        Ok(Self { body_hash, fields })
    }
}

impl Fingerprint {
    pub(crate) fn of(payment: &PaymentBody) -> Result<Self, Reject> {
        let fields = field_hashes(payment).map(u16::to_be_bytes);
        Ok(Self { body_hash: hash_bytes(&payment.body_hash)?, fields })
    }

    pub(crate) fn is_same_body(&self, other: &Self) -> bool {
        self.body_hash == other.body_hash
    }

    /// The conflict of a body with the one that was remembered.
    pub(crate) fn conflict(&self, other: &Self) -> Reject {
        conflict(first_difference(&BODY_FIELDS, self.fields.as_flattened(), other.fields.as_flattened()))
    }
}

/// The first of `names` whose two bytes differ.
pub(crate) fn first_difference(names: &[&'static str], own: &[u8], others: &[u8]) -> Option<&'static str> {
    let mut pairs = names.iter().zip(own.chunks_exact(2).zip(others.chunks_exact(2)));
    pairs.find(|(_, (own, others))| own != others).map(|(name, _)| *name)
}

/// Says which field differs, if it could be found.
pub(crate) fn conflict(field: Option<&'static str>) -> Reject {
    let reject = Reject::new(&IDEMPOTENCY_CONFLICT);
    match field {
        Some(field) => reject
            .because(format!("the id was used before with another {field}; the first outcome stands"))
            .at(format!("/{field}")),
        None => reject,
    }
}

fn field_hashes(payment: &PaymentBody) -> [u16; BODY_FIELDS.len()] {
    let mut merchant = FieldHash::new();
    if let Some(named) = &payment.merchant {
        merchant.text(&named.id).text(&named.category).text(&named.country);
    }
    let mut metadata = FieldHash::new();
    for (name, value) in &payment.metadata {
        metadata.text(name).text(value);
    }
    let text = |text: &str| FieldHash::new().text(text).finish();
    let optional = |text: Option<&String>| text.map_or(0, |text| FieldHash::new().text(text).finish());
    let legs = |legs: &BTreeMap<String, i64>| {
        let mut hash = FieldHash::new();
        for (account, minor) in legs {
            hash.text(account).bytes(&minor.to_be_bytes());
        }
        hash.finish()
    };
    let number = |number: i64| FieldHash::new().bytes(&number.to_be_bytes()).finish();
    [
        payment.payment_type as u16,
        text(&payment.credit_account),
        number(payment.amount_minor),
        text(&payment.currency),
        number(payment.created_at.micros()),
        text(&payment.channel),
        merchant.finish(),
        optional(payment.customer.as_ref()),
        optional(payment.description.as_ref()),
        metadata.finish(),
        optional(payment.reference.as_ref()),
        payment.expires_at.map_or(0, |at| number(at.micros())),
        u16::from(payment.remainder == Remainder::Keep),
        optional(payment.reason.as_ref()),
        optional(payment.quote.as_ref()),
        optional(payment.card.as_ref()),
        payment.execute_at.map_or(0, |at| number(at.micros())),
        payment.retry_until.map_or(0, |at| number(at.micros())),
        legs(&payment.debits),
        legs(&payment.credits),
    ]
}

/// Multiplies and folds eight bytes at a time. Nothing rests on it but a word in a message.
pub(crate) struct FieldHash(u64);

/// 2^64 by the golden ratio: odd, and without a pattern.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

impl FieldHash {
    pub(crate) fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.mix(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.mix(u64::from_le_bytes(last));
        self
    }

    fn mix(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(FACTOR);
    }

    /// The length goes first, so that texts side by side cannot be cut elsewhere.
    fn text(&mut self, text: &str) -> &mut Self {
        self.mix(text.len() as u64);
        self.bytes(text.as_bytes())
    }

    pub(crate) fn finish(&self) -> u16 {
        // A product carries upwards only, so its high half comes down before the last one.
        let spread = (self.0 ^ (self.0 >> 32)).wrapping_mul(FACTOR);
        u16::try_from(spread >> 48).unwrap_or_default()
    }
}

/// The bytes of a hash that `validate_payment` wrote as text.
fn hash_bytes(hash: &str) -> Result<[u8; 16], Reject> {
    let malformed = || Reject::new(&BUG).because("`body_hash` is not 16 bytes in hexadecimal");
    let mut bytes = [0; 16];
    if hash.len() != 2 * bytes.len() || !hash.is_ascii() {
        return Err(malformed());
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hash[2 * index..2 * index + 2], 16).map_err(|_| malformed())?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use tidemill_core::EventTime;
    use tidemill_schemas::{Merchant, PaymentType};

    use super::*;
    use crate::fixture::payment_body;

    fn text(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    type Change = fn(&mut PaymentBody);

    #[test]
    fn a_conflict_names_the_first_field_that_differs() {
        let first = payment_body();
        let changed = |change: Change| {
            let mut payment = payment_body();
            change(&mut payment);
            payment.body_hash = "11".repeat(16);
            payment
        };
        let cases: [(&str, Change); 22] = [
            ("/type", |payment| payment.payment_type = PaymentType::Refund),
            ("/credit_account", |payment| payment.credit_account = "acc-3".to_owned()),
            ("/amount", |payment| payment.amount_minor += 1),
            ("/currency", |payment| payment.currency = "USD".to_owned()),
            ("/created_at", |payment| payment.created_at.0 += 1),
            ("/channel", |payment| payment.channel = "web".to_owned()),
            ("/merchant", |payment| payment.merchant = None),
            ("/merchant", |payment| {
                payment.merchant = Some(Merchant { id: "shop-2".to_owned(), ..Merchant::default() })
            }),
            ("/customer", |payment| payment.customer = None),
            ("/description", |payment| payment.description = Some(String::new())),
            ("/metadata", |payment| payment.metadata = BTreeMap::from([("a".to_owned(), "b".to_owned())])),
            ("/reference", |payment| payment.reference = text("p-0")),
            ("/expires_at", |payment| payment.expires_at = Some(EventTime::EARLIEST)),
            ("/remainder", |payment| payment.remainder = Remainder::Keep),
            ("/reason", |payment| payment.reason = text("late")),
            ("/quote", |payment| payment.quote = text("q-1")),
            ("/card", |payment| payment.card = text("card-1")),
            ("/execute_at", |payment| payment.execute_at = Some(EventTime::EARLIEST)),
            ("/retry_until", |payment| payment.retry_until = Some(EventTime::EARLIEST)),
            ("/debits", |payment| payment.debits = BTreeMap::from([("acc-3".to_owned(), 1)])),
            ("/credits", |payment| payment.credits = BTreeMap::from([("acc-3".to_owned(), 1)])),
            ("/amount", |payment| {
                payment.amount_minor += 1;
                payment.reason = text("late");
            }),
        ];
        let first = Fingerprint::of(&first).expect("has a hash");
        for (field, change) in cases {
            let other = Fingerprint::of(&changed(change)).expect("has a hash");
            assert!(!first.is_same_body(&other), "{field}");
            let conflict = first.conflict(&other);
            assert_eq!(conflict.field(), Some(field));
            assert!(conflict.message().contains(&field[1..]), "{conflict:?}");
        }
        let unnamed = Fingerprint::of(&changed(|_| {})).expect("has a hash");
        assert_eq!(first.conflict(&unnamed).field(), None);
    }

    #[test]
    fn a_hash_that_is_none_is_a_bug() {
        for hash in ["", "00", "zz", &"0g".repeat(16), &"é".repeat(16)] {
            let payment = PaymentBody { body_hash: hash.to_owned(), ..payment_body() };
            assert_eq!(Fingerprint::of(&payment).map_err(|reject| reject.code().code), Err("bug"), "{hash}");
        }
    }
}
