//! All fee schedules that are known, and which of them is in force.

use std::any::Any;
use std::collections::BTreeMap;

use serde::Deserialize;
use tidemill_core::settings::SettingsError;
use tidemill_core::{AnyEvent, Event, EventTime, Meta, ReferenceTable, Settings};
use tidemill_schemas::{FeeSchedule, FeeTier, FreeAllowance, PaymentBody};

use super::schedule::Schedule;

/// Schedules by the key of their records.
pub(super) struct FeeTable(BTreeMap<Vec<u8>, Schedule>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// What the table holds before any record of its topic.
    #[serde(default)]
    schedules: Vec<ScheduleConfig>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScheduleConfig {
    name: String,
    version: String,
    /// RFC 3339; the schedule prices payments made at this instant or later.
    effective_from: String,
    /// Every currency when absent.
    #[serde(default)]
    currency: String,
    /// Every channel when absent.
    #[serde(default)]
    channel: String,
    #[serde(default)]
    tiers: Vec<FeeTier>,
    #[serde(default)]
    flat_minor: i64,
    #[serde(default)]
    min_minor: i64,
    max_minor: Option<i64>,
    rounding: String,
    /// `graduated` when absent.
    model: Option<String>,
    /// Every type that costs a fee when absent.
    #[serde(default)]
    payment_types: Vec<String>,
    /// Every debit account when absent.
    #[serde(default)]
    accounts: Vec<String>,
    /// Every customer, and payments that name none, when absent.
    #[serde(default)]
    customers: Vec<String>,
    #[serde(default)]
    priority: i32,
    free: Option<FreeAllowance>,
    /// Every debit account, in a segment or not, when absent.
    #[serde(default)]
    segments: Vec<String>,
    /// `on_top` when absent.
    charged: Option<String>,
    /// `kept` when absent.
    refunds: Option<String>,
}

impl FeeTable {
    pub(super) fn from_settings(settings: &Settings) -> Result<Self, Vec<SettingsError>> {
        let config: Config = settings.parse()?;
        let mut table = BTreeMap::new();
        let mut errors = Vec::new();
        for (index, schedule) in config.schedules.into_iter().enumerate() {
            let at = |field: &str| format!("schedules[{index}].{field}");
            let Some(effective_from) = EventTime::parse(&schedule.effective_from) else {
                let error = SettingsError::new(at("effective_from"), "is no RFC 3339 instant");
                errors.push(error.hint("Write it with an offset, as in \"2026-01-01T00:00:00Z\"."));
                continue;
            };
            let event = schedule.into_event(effective_from);
            match Schedule::compile(&event) {
                Err(error) => errors.push(SettingsError::new(at(&error.field), error.message)),
                Ok(schedule) => {
                    if table.insert(key_of(&event), schedule).is_some() {
                        let error = SettingsError::new(at("version"), "another schedule has the same name and version");
                        errors.push(error);
                    }
                }
            }
        }
        if errors.is_empty() { Ok(Self(table)) } else { Err(errors) }
    }

    /// Whether any schedule is for segments: only then has one to be looked up.
    pub(super) fn asks_for_segments(&self) -> bool {
        self.0.values().any(|schedule| !schedule.segments.is_empty())
    }

    /// See the module's contract for the order of precedence.
    pub(super) fn in_force(&self, payment: &PaymentBody, segment: Option<&str>) -> Option<&Schedule> {
        let begun = self.0.values().filter(|schedule| schedule.effective_from <= payment.created_at);
        let covering = begun.filter_map(|schedule| Some((schedule.rank(payment, segment)?, schedule)));
        // The last of equals wins, which is the one with the greatest key.
        covering.max_by_key(|(rank, schedule)| (*rank, schedule.effective_from)).map(|(_, found)| found)
    }
}

impl ScheduleConfig {
    fn into_event(self, effective_from: EventTime) -> FeeSchedule {
        FeeSchedule {
            meta: Meta::default(),
            name: self.name,
            version: self.version,
            effective_from,
            currency: self.currency,
            channel: self.channel,
            tiers: self.tiers,
            flat_minor: self.flat_minor,
            min_minor: self.min_minor,
            max_minor: self.max_minor,
            rounding: self.rounding,
            model: self.model,
            payment_types: self.payment_types,
            accounts: self.accounts,
            customers: self.customers,
            priority: self.priority,
            free: self.free,
            segments: self.segments,
            charged: self.charged,
            refunds: self.refunds,
        }
    }
}

fn key_of(schedule: &FeeSchedule) -> Vec<u8> {
    let mut key = Vec::new();
    schedule.key(&mut key);
    key
}

impl ReferenceTable for FeeTable {
    fn apply(&mut self, key: &[u8], event: Option<AnyEvent>) -> Result<(), String> {
        let Some(event) = event else {
            self.0.remove(key);
            return Ok(());
        };
        let event =
            event.downcast::<FeeSchedule>().map_err(|event| format!("is a {:?}, no fee_schedule", event.kind()))?;
        let schedule = Schedule::compile(&event).map_err(|error| format!("{}: {}", error.field, error.message))?;
        self.0.insert(key.to_vec(), schedule);
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
