//! The hash that tells whether two payments of one identity say the same.

use sha2::{Digest, Sha256};
use tidemill_schemas::{PaymentBody, Remainder};

const BODY_HASH_BYTES: usize = 16;
/// Room for most payments, so that their fields are put together without moving.
const USUAL_BYTES: usize = 512;

/// Each text is preceded by its length and each optional part by whether it is there, so that no two bodies share bytes.
pub(crate) fn body_hash(payment: &PaymentBody) -> String {
    let mut hash = BodyHash(Vec::with_capacity(USUAL_BYTES));
    hash.texts([&payment.payment_id, &payment.source]);
    hash.text(payment.payment_type.name());
    hash.texts([&payment.debit_account, &payment.credit_account]);
    hash.number(payment.amount_minor);
    hash.text(&payment.currency);
    hash.number(payment.created_at.micros());
    hash.text(&payment.channel);
    let merchant = payment.merchant.as_ref();
    hash.optional(merchant.map(|merchant| &merchant.id));
    hash.optional(merchant.map(|merchant| &merchant.category));
    hash.optional(merchant.map(|merchant| &merchant.country));
    hash.optional(payment.customer.as_ref());
    hash.optional(payment.description.as_ref());
    for (name, value) in &payment.metadata {
        hash.texts([name, value]);
    }
    hash.later(1, payment.reference.as_deref());
    let expires_at = payment.expires_at.map(|at| at.micros().to_string());
    hash.later(2, expires_at.as_deref());
    hash.later(3, Some("keep").filter(|_| payment.remainder == Remainder::Keep));
    hash.later(4, payment.reason.as_deref());
    hash.later(5, payment.quote.as_deref());
    hash.later(6, payment.card.as_deref());
    let [execute_at, retry_until] =
        [payment.execute_at, payment.retry_until].map(|at| at.map(|at| at.micros().to_string()));
    hash.later(7, execute_at.as_deref());
    hash.later(8, retry_until.as_deref());
    for (number, legs) in [(9, &payment.debits), (10, &payment.credits)] {
        for (account, minor) in legs {
            hash.later(number, Some(account));
            hash.number(*minor);
        }
    }
    hash.finish()
}

/// What is hashed, which costs less in one piece than field by field.
struct BodyHash(Vec<u8>);

impl BodyHash {
    fn text(&mut self, text: &str) {
        self.0.extend_from_slice(&(text.len() as u64).to_be_bytes());
        self.0.extend_from_slice(text.as_bytes());
    }

    fn texts<const N: usize>(&mut self, texts: [&String; N]) {
        texts.into_iter().for_each(|text| self.text(text));
    }

    fn optional(&mut self, text: Option<&String>) {
        self.0.push(u8::from(text.is_some()));
        if let Some(text) = text {
            self.text(text);
        }
    }

    /// A field that few payments have, and that leaves the hash of all others alone. No length begins with such a byte.
    fn later(&mut self, number: u8, text: Option<&str>) {
        if let Some(text) = text {
            self.0.extend_from_slice(&[0xff, number]);
            self.text(text);
        }
    }

    fn number(&mut self, number: i64) {
        self.0.extend_from_slice(&number.to_be_bytes());
    }

    fn finish(self) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let hash = Sha256::digest(&self.0);
        let bytes = hash.iter().take(BODY_HASH_BYTES);
        bytes.flat_map(|byte| [byte >> 4, byte & 0xf]).map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
    }
}
