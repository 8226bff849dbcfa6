//! What the tests of several processors start from.

use std::path::Path;

use tidemill_core::{EventTime, Meta, StateValue, Store};
use tidemill_schemas::{FeeRefund, Instruction, InstructionKind, Merchant, PaymentBody, PaymentType, Remainder};
use tidemill_testkit::MemoryState;

/// An ordinary card payment of 40.00 EUR by `acc-1` to the shop `shop-1`.
pub(crate) fn payment_body() -> PaymentBody {
    PaymentBody {
        payment_id: "p-1".to_owned(),
        source: "bank-a".to_owned(),
        payment_type: PaymentType::Transfer,
        debit_account: "acc-1".to_owned(),
        credit_account: "acc-2".to_owned(),
        amount_minor: 4_000,
        currency: "EUR".to_owned(),
        created_at: EventTime::parse("2026-01-31T12:00:00Z").expect("an RFC 3339 time"),
        channel: "card".to_owned(),
        merchant: Some(Merchant { id: "shop-1".to_owned(), category: "5411".to_owned(), country: "DE".to_owned() }),
        customer: Some("cust-1".to_owned()),
        description: None,
        metadata: Default::default(),
        body_hash: "00".repeat(16),
        reference: None,
        expires_at: None,
        remainder: Remainder::Release,
        reason: None,
        quote: None,
        card: None,
        execute_at: None,
        retry_until: None,
        debits: Default::default(),
        credits: Default::default(),
    }
}

/// The credit leg of a payment.
pub(crate) fn instruction(payment: &PaymentBody) -> Instruction {
    Instruction {
        meta: Meta::default(),
        kind: InstructionKind::Credit,
        payment_id: payment.payment_id.clone(),
        source: payment.source.clone(),
        account_id: payment.credit_account.clone(),
        debit_account: payment.debit_account.clone(),
        credit_account: payment.credit_account.clone(),
        amount_minor: payment.amount_minor,
        fee_minor: 0,
        currency: payment.currency.clone(),
        reason: None,
        leg_no: 2,
        event_time: payment.created_at,
        customer: None,
        payment_type: payment.payment_type,
        reference: None,
        exchange: None,
        booking_date: None,
        value_date: None,
        fee_refund: FeeRefund::Kept,
        fee_back_minor: 0,
        fee_schedule: None,
        channel: None,
    }
}

/// Compares what `store` holds under `key` with `fixtures/<store>.v<N>.bin`, byte for byte, and reads the file.
pub(crate) fn check_state<V: StateValue>(state: &MemoryState, store: Store<V>, key: &[u8]) {
    let file = format!("{}/fixtures/{}.v{}.bin", env!("CARGO_MANIFEST_DIR"), store.name(), V::VERSION);
    let bytes = &state.dump()[store.name()][key];
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(Path::new(&file).parent().expect("a file in a folder")).expect("fixtures can be made");
        std::fs::write(&file, bytes).expect("a fixture can be written");
    }
    let golden = std::fs::read(&file).unwrap_or_else(|error| panic!("{file}: {error}; make it with UPDATE_GOLDEN=1"));
    store.decode(&golden).expect("bytes of a released version stay readable");
    assert_eq!(bytes, &golden, "{file}: the state has other bytes than it had");
}
