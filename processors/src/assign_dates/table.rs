//! All calendars that are known, and which of them is in force.

use std::any::Any;
use std::collections::BTreeMap;

use serde::Deserialize;
use tidemill_core::settings::SettingsError;
use tidemill_core::{AnyEvent, Event, EventTime, Meta, ReferenceTable, Settings};
use tidemill_schemas::{PostingCalendar, PostingDates};

use super::calendar::{Asked, Calendar, FieldError};

/// Calendars by the key of their records.
pub(super) struct CalendarTable(BTreeMap<Vec<u8>, Calendar>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// What the table holds before any record of its topic.
    #[serde(default)]
    calendars: Vec<CalendarConfig>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CalendarConfig {
    name: String,
    version: String,
    /// RFC 3339; the calendar is for payments made at this instant or later.
    effective_from: String,
    /// Every channel when absent.
    #[serde(default)]
    channels: Vec<String>,
    /// Every type when absent.
    #[serde(default)]
    payment_types: Vec<String>,
    /// Every currency when absent.
    #[serde(default)]
    currency: String,
    zone: String,
    #[serde(default)]
    weekend: Vec<String>,
    #[serde(default)]
    holidays: Vec<String>,
    #[serde(default)]
    cut_off: String,
    #[serde(default)]
    value_days: i32,
}

impl CalendarTable {
    pub(super) fn from_settings(settings: &Settings) -> Result<Self, Vec<SettingsError>> {
        let config: Config = settings.parse()?;
        let mut table = BTreeMap::new();
        let mut errors = Vec::new();
        for (index, calendar) in config.calendars.into_iter().enumerate() {
            let compiled = calendar.into_event().and_then(|event| Ok((key_of(&event), Calendar::compile(&event)?)));
            let FieldError(field, message) = match compiled.map(|(key, calendar)| table.insert(key, calendar)) {
                Ok(None) => continue,
                Ok(Some(_)) => FieldError("version", "another calendar has the same name and version"),
                Err(error) => error,
            };
            errors.push(SettingsError::new(format!("calendars[{index}].{field}"), message));
        }
        if errors.is_empty() { Ok(Self(table)) } else { Err(errors) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// By the calendar in force; see the module's contract for the order of precedence.
    pub(super) fn dates(&self, asked: &Asked<'_>) -> Option<PostingDates> {
        let begun = self.0.values().filter(|calendar| calendar.effective_from <= asked.at);
        let fitting = begun.filter_map(|calendar| Some((calendar.rank(asked)?, calendar)));
        // The last of equals wins, which is the one with the greatest key.
        let in_force = fitting.max_by_key(|(rank, calendar)| (*rank, calendar.effective_from));
        in_force.map(|(_, calendar)| calendar.dates(asked.at))
    }
}

impl CalendarConfig {
    fn into_event(self) -> Result<PostingCalendar, FieldError> {
        const INSTANT: &str = "is no RFC 3339 instant with an offset, as in \"2026-01-01T00:00:00Z\"";
        Ok(PostingCalendar {
            meta: Meta::default(),
            effective_from: EventTime::parse(&self.effective_from).ok_or(FieldError("effective_from", INSTANT))?,
            name: self.name,
            version: self.version,
            channels: self.channels,
            payment_types: self.payment_types,
            currency: self.currency,
            zone: self.zone,
            weekend: self.weekend,
            holidays: self.holidays,
            cut_off: self.cut_off,
            value_days: self.value_days,
        })
    }
}

fn key_of(calendar: &PostingCalendar) -> Vec<u8> {
    let mut key = Vec::new();
    calendar.key(&mut key);
    key
}

impl ReferenceTable for CalendarTable {
    fn apply(&mut self, key: &[u8], event: Option<AnyEvent>) -> Result<(), String> {
        let Some(event) = event else {
            self.0.remove(key);
            return Ok(());
        };
        let event = event
            .downcast::<PostingCalendar>()
            .map_err(|event| format!("is a {:?}, no posting_calendar", event.kind()))?;
        let calendar = Calendar::compile(&event).map_err(|FieldError(field, message)| format!("{field}: {message}"))?;
        self.0.insert(key.to_vec(), calendar);
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
