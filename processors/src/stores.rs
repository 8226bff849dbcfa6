//! What the stores of the processors hold, for people: each value as JSON, read by the type that wrote it.

use serde_json::Value;
use tidemill_core::{StateError, StateValue, Store};

use crate::age_queue::AgeQueue;
use crate::post_ledger::account_commands::ACCOUNT_REQUEST_OUTCOMES;
use crate::post_ledger::accounts::ACCOUNTS;
use crate::post_ledger::holds::OPEN_HOLDS;
use crate::post_ledger::journals::OPEN_JOURNALS;
use crate::post_ledger::outcomes::{self, OUTCOMES_BY_AGE, PAYMENT_OUTCOMES};
use crate::post_ledger::payment_limits::{LIMIT_USAGES, LIMITED_PAYMENTS};
use crate::post_ledger::receipts::{INCOMING_HOLDS, RECEIPTS, RECEIPTS_BY_AGE};
use crate::post_ledger::scheduled::{DUE_PAYMENTS, SCHEDULED_PAYMENTS};
use crate::{aggregate_balances, charge_fee, dedupe_payment, profile_counterparty, profile_payer};

/// A store and how its values are read.
#[derive(Clone, Copy, Debug)]
pub struct StoreType {
    pub name: &'static str,
    pub decode: fn(&[u8]) -> Result<Value, StateError>,
}

macro_rules! stores {
    ($($store:expr),* $(,)?) => {
        &[$(StoreType { name: $store.name(), decode: |bytes| json($store, bytes) }),*]
    };
}

/// Every store that a processor declares.
pub const STORES: &[StoreType] = stores![
    dedupe_payment::SEEN,
    dedupe_payment::SWEEP,
    profile_counterparty::PROFILES,
    profile_payer::PROFILES,
    charge_fee::FEE_ALLOWANCES,
    charge_fee::FEE_SEGMENTS,
    ACCOUNTS,
    PAYMENT_OUTCOMES,
    by_age(OUTCOMES_BY_AGE),
    outcomes::SWEEP,
    OPEN_HOLDS,
    RECEIPTS,
    by_age(RECEIPTS_BY_AGE),
    INCOMING_HOLDS,
    OPEN_JOURNALS,
    SCHEDULED_PAYMENTS,
    DUE_PAYMENTS,
    ACCOUNT_REQUEST_OUTCOMES,
    LIMIT_USAGES,
    LIMITED_PAYMENTS,
    aggregate_balances::SHARES,
    aggregate_balances::SUBTOTALS,
];

const fn by_age(queue: AgeQueue) -> Store<crate::age_queue::Aged> {
    queue.0
}

fn json<V: StateValue>(store: Store<V>, bytes: &[u8]) -> Result<Value, StateError> {
    let value = store.decode(bytes)?;
    serde_json::to_value(&value)
        .map_err(|error| StateError::Corrupt { store: store.name(), message: format!("it is no JSON: {error}") })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::PROCESSORS;

    #[test]
    fn every_store_can_be_read_by_its_type() {
        let declared: BTreeSet<&str> =
            PROCESSORS.iter().flat_map(|processor| processor.stores).map(|store| store.name).collect();
        let typed: BTreeSet<&str> = STORES.iter().map(|store| store.name).collect();
        assert_eq!(typed, declared);
        assert_eq!(typed.len(), STORES.len(), "each once");
    }
}
