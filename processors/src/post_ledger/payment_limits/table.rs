//! All limits that are known, and which of them a payment has to keep.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use tidemill_core::settings::SettingsError;
use tidemill_core::{AnyEvent, Event, EventTime, Meta, ReferenceTable, Settings};
use tidemill_schemas::PaymentLimit;

use super::Asked;
use super::limit::{FieldError, Limit};

/// Limits by the key of their records, and where to look for those of a payment.
#[derive(Debug, Default)]
pub struct LimitTable {
    by_key: BTreeMap<Vec<u8>, Limit>,
    /// Keys of the versions of each name.
    versions: BTreeMap<String, BTreeSet<Vec<u8>>>,
    /// Names by what at least one version of them is for, so that a limit of one card costs the others nothing.
    index: BTreeMap<Scope, BTreeMap<String, BTreeSet<String>>>,
}

/// A limit is looked for in the places of one list only: the first of these that is not empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Scope {
    Card,
    Account,
    Customer,
    /// With one place, the empty one.
    All,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitConfig {
    name: String,
    version: String,
    /// RFC 3339; the limit is for payments made at this instant or later.
    effective_from: String,
    #[serde(default)]
    accounts: Vec<String>,
    #[serde(default)]
    customers: Vec<String>,
    #[serde(default)]
    cards: Vec<String>,
    #[serde(default)]
    counterparties: Vec<String>,
    #[serde(default)]
    categories: Vec<String>,
    #[serde(default)]
    payment_types: Vec<String>,
    #[serde(default)]
    currency: String,
    #[serde(default)]
    allowed_merchants: Vec<String>,
    #[serde(default)]
    allowed_categories: Vec<String>,
    #[serde(default)]
    allowed_countries: Vec<String>,
    #[serde(default)]
    blocked_merchants: Vec<String>,
    #[serde(default)]
    blocked_categories: Vec<String>,
    #[serde(default)]
    blocked_countries: Vec<String>,
    #[serde(default)]
    per: String,
    #[serde(default)]
    window: String,
    #[serde(default)]
    zone: String,
    #[serde(default)]
    week_starts_on: String,
    window_minutes: Option<i64>,
    amount_minor_max: Option<i64>,
    payments_max: Option<i64>,
    #[serde(default)]
    gives_back: Vec<String>,
}

impl LimitTable {
    /// From the key `limits` of the settings, whose other keys are not looked at.
    pub(in crate::post_ledger) fn from_settings(settings: &Settings) -> Result<Self, Vec<SettingsError>> {
        let mut own = Settings::default();
        own.0.extend(settings.0.get("limits").map(|limits| ("limits".to_owned(), limits.clone())));
        let config: BTreeMap<String, Vec<LimitConfig>> = own.parse()?;
        let mut table = Self::default();
        let mut errors = Vec::new();
        for (index, config) in config.into_values().flatten().enumerate() {
            let at = |field: &str| format!("limits[{index}].{field}");
            let compiled = config.into_event().and_then(|event| Ok((key_of(&event), Limit::compile(&event)?)));
            match compiled {
                Err(FieldError(field, message)) => errors.push(SettingsError::new(at(field), message)),
                Ok((key, _)) if table.by_key.contains_key(&key) => {
                    errors.push(SettingsError::new(at("version"), "another limit has the same name and version"));
                }
                Ok((key, limit)) => table.insert(key, limit),
            }
        }
        if errors.is_empty() { Ok(table) } else { Err(errors) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// In the order of their names. Of the versions of a name, the one in force says whom it covers.
    pub(super) fn covering<'t>(&'t self, asked: &Asked<'_>) -> Vec<&'t Limit> {
        let places = [
            (Scope::Card, asked.card),
            (Scope::Account, Some(asked.account)),
            (Scope::Customer, asked.customer),
            (Scope::All, Some("")),
        ];
        let names = places.into_iter().filter_map(|(scope, place)| self.index.get(&scope)?.get(place?)).flatten();
        let names: BTreeSet<&String> = names.collect();
        let in_force = names.into_iter().filter_map(|name| self.in_force(name, asked.at));
        in_force.filter(|limit| limit.covers(asked)).collect()
    }

    /// The version of a limit with the latest `effective_from` that is not after `at`; of two, the greater version.
    pub(super) fn in_force(&self, name: &str, at: EventTime) -> Option<&Limit> {
        let versions = self.versions.get(name)?.iter().filter_map(|key| self.by_key.get(key));
        let begun = versions.filter(|limit| limit.effective_from <= at);
        begun.max_by_key(|limit| (limit.effective_from, &limit.version))
    }

    fn insert(&mut self, key: Vec<u8>, limit: Limit) {
        self.remove(&key);
        for (scope, place) in places(&limit) {
            self.index.entry(scope).or_default().entry(place).or_default().insert(limit.name.clone());
        }
        self.versions.entry(limit.name.clone()).or_default().insert(key.clone());
        self.by_key.insert(key, limit);
    }

    fn remove(&mut self, key: &[u8]) {
        let Some(removed) = self.by_key.remove(key) else { return };
        let versions = self.versions.entry(removed.name.clone()).or_default();
        versions.remove(key);
        let rest: Vec<&Limit> = versions.iter().filter_map(|key| self.by_key.get(key)).collect();
        let still: BTreeSet<(Scope, String)> = rest.into_iter().flat_map(places).collect();
        for (scope, place) in places(&removed).into_iter().filter(|place| !still.contains(place)) {
            let places = self.index.entry(scope).or_default();
            let names = places.entry(place.clone()).or_default();
            names.remove(&removed.name);
            if names.is_empty() {
                places.remove(&place);
            }
        }
        if self.versions.get(&removed.name).is_some_and(BTreeSet::is_empty) {
            self.versions.remove(&removed.name);
        }
    }
}

fn places(limit: &Limit) -> Vec<(Scope, String)> {
    let covers = &limit.covers;
    let lists =
        [(Scope::Card, &covers.cards), (Scope::Account, &covers.accounts), (Scope::Customer, &covers.customers)];
    match lists.into_iter().find(|(_, names)| !names.is_empty()) {
        Some((scope, names)) => names.iter().map(|name| (scope, name.clone())).collect(),
        None => vec![(Scope::All, String::new())],
    }
}

impl LimitConfig {
    fn into_event(self) -> Result<PaymentLimit, FieldError> {
        const INSTANT: &str = "is no RFC 3339 instant with an offset, as in \"2026-01-01T00:00:00Z\"";
        Ok(PaymentLimit {
            meta: Meta::default(),
            effective_from: EventTime::parse(&self.effective_from).ok_or(FieldError("effective_from", INSTANT))?,
            name: self.name,
            version: self.version,
            accounts: self.accounts,
            customers: self.customers,
            cards: self.cards,
            counterparties: self.counterparties,
            categories: self.categories,
            payment_types: self.payment_types,
            currency: self.currency,
            allowed_merchants: self.allowed_merchants,
            allowed_categories: self.allowed_categories,
            allowed_countries: self.allowed_countries,
            blocked_merchants: self.blocked_merchants,
            blocked_categories: self.blocked_categories,
            blocked_countries: self.blocked_countries,
            per: self.per,
            window: self.window,
            zone: self.zone,
            week_starts_on: self.week_starts_on,
            window_minutes: self.window_minutes,
            amount_minor_max: self.amount_minor_max,
            payments_max: self.payments_max,
            gives_back: self.gives_back,
        })
    }
}

fn key_of(limit: &PaymentLimit) -> Vec<u8> {
    let mut key = Vec::new();
    limit.key(&mut key);
    key
}

impl ReferenceTable for LimitTable {
    fn apply(&mut self, key: &[u8], event: Option<AnyEvent>) -> Result<(), String> {
        let Some(event) = event else {
            self.remove(key);
            return Ok(());
        };
        let event =
            event.downcast::<PaymentLimit>().map_err(|event| format!("is a {:?}, no payment_limit", event.kind()))?;
        let limit = Limit::compile(&event).map_err(|FieldError(field, message)| format!("{field}: {message}"))?;
        self.insert(key.to_vec(), limit);
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
