//! What made a difference: the first processor of the chain whose part of a payment is another, and why it may be.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tidemill_topology::Topology;

use super::entities::Difference;
use super::settings::Changed;

/// Not made by a setting: the account had more or less than in the other pipeline when the payment came.
const BY_BALANCE: &str = "follows from other differences of the account";
/// Nothing was changed that could have made it.
const BY_ORDER: &str = "order of arrival: records of one account came in another order";

/// Source, debit account and id.
type PaymentKey = [String; 3];

pub(super) struct Causes<'a> {
    topology: &'a Topology,
    settings: &'a [Changed],
    /// Cause of each payment that differs.
    payments: BTreeMap<PaymentKey, String>,
    /// Accounts that payments with a cause of their own touch.
    accounts: BTreeMap<String, String>,
}

impl<'a> Causes<'a> {
    pub(super) fn new(topology: &'a Topology, settings: &'a [Changed], differences: &[Difference]) -> Self {
        let mut causes = Self { topology, settings, payments: BTreeMap::new(), accounts: BTreeMap::new() };
        let mut makers: BTreeMap<PaymentKey, BTreeSet<usize>> = BTreeMap::new();
        for difference in differences {
            let Some(key) = payment_of(difference) else { continue };
            makers.entry(key).or_default().extend(causes.makers(difference));
        }
        for (key, makers) in &makers {
            let first = makers.first().and_then(|place| causes.chain().get(*place).copied());
            if let Some(cause) = first.and_then(|processor| causes.by_processor(processor)) {
                causes.accounts.entry(key[1].clone()).or_insert_with(|| cause.clone());
                causes.payments.insert(key.clone(), cause);
            }
        }
        for difference in differences.iter().filter(|difference| payment_of(difference).is_some()) {
            let Some(cause) = payment_of(difference).and_then(|key| causes.payments.get(&key).cloned()) else {
                continue;
            };
            for side in [&difference.blue, &difference.green].into_iter().flatten() {
                for field in ["credit_account", "contra_account_id"] {
                    if let Some(account) = side.get(field).and_then(Value::as_str) {
                        causes.accounts.entry(account.to_owned()).or_insert_with(|| cause.clone());
                    }
                }
            }
        }
        causes
    }

    /// In words that are the same for all differences that one thing has made.
    pub(super) fn of(&self, difference: &Difference) -> String {
        if let Some(key) = payment_of(difference) {
            if let Some(cause) = self.payments.get(&key) {
                return cause.clone();
            }
            if self.accounts.contains_key(&key[1]) {
                return BY_BALANCE.to_owned();
            }
        }
        let account = ["account_id", "subject"].iter().find_map(|field| difference.identity_text(field));
        match account.and_then(|account| self.accounts.get(account)) {
            Some(cause) => cause.clone(),
            None if self.payments.is_empty() => BY_ORDER.to_owned(),
            None => BY_BALANCE.to_owned(),
        }
    }

    /// Every processor of the topology once, in the order of its stages.
    fn chain(&self) -> Vec<&'static str> {
        let mut chain: Vec<&'static str> = Vec::new();
        for link in self.topology.inputs().flat_map(|input| &input.chain) {
            if !chain.contains(&link.processor.name) {
                chain.push(link.processor.name);
            }
        }
        chain
    }

    /// Places in the chain of those who make the fields that differ.
    fn makers(&self, difference: &Difference) -> Vec<usize> {
        let chain = self.chain();
        let place = |name: &str| chain.iter().position(|processor| *processor == name);
        let code = |side: &Option<serde_json::Map<String, Value>>| {
            side.as_ref()?.get("code")?.as_str().filter(|code| *code != "ok").map(ToOwned::to_owned)
        };
        let mut makers = Vec::new();
        for field in &difference.fields {
            match (difference.entity, field.as_str()) {
                ("decisions", _) => makers.extend(place("score_fraud")),
                ("fees", _) | ("outcomes" | "updates", "fee_minor") => makers.extend(place("charge_fee")),
                ("outcomes" | "updates", "status" | "code") => {
                    let codes = [code(&difference.blue), code(&difference.green)];
                    makers.extend(codes.iter().flatten().filter_map(|code| place(self.processor_of(code)?)));
                }
                _ => {}
            }
        }
        makers
    }

    /// Who answers with the code.
    fn processor_of(&self, code: &str) -> Option<&'static str> {
        let mut links = self.topology.inputs().flat_map(|input| &input.chain);
        let link = links.find(|link| link.processor.codes.iter().any(|known| known.code == code))?;
        Some(link.processor.name)
    }

    /// Why a processor has made something else of the same payment: another setting, or another table.
    fn by_processor(&self, processor: &str) -> Option<String> {
        let changed: Vec<&str> = self
            .settings
            .iter()
            .filter(|changed| changed.processor == processor)
            .map(|changed| changed.path.as_str())
            .collect();
        if !changed.is_empty() {
            return Some(format!("{processor}: {}", changed.join(", ")));
        }
        let mut links = self.topology.inputs().flat_map(|input| &input.chain);
        let link = links.find(|link| link.processor.name == processor)?;
        let tables: Vec<&str> = link.processor.references.iter().map(|table| table.name).collect();
        (!tables.is_empty()).then(|| format!("{processor}: reference table {}", tables.join(", ")))
    }
}

/// The payment that the entity is part of.
fn payment_of(difference: &Difference) -> Option<PaymentKey> {
    let text = |field: &str| difference.identity_text(field).map(ToOwned::to_owned);
    // A fee is an entry of the payer's own account.
    let account = text("debit_account").or_else(|| text("account_id"))?;
    Some([text("source")?, account, text("payment_id")?])
}
