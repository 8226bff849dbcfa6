//! All quotes that are known.

use std::any::Any;
use std::collections::BTreeMap;

use serde::Deserialize;
use tidemill_core::settings::SettingsError;
use tidemill_core::{AnyEvent, EventTime, Meta, ReferenceTable, Settings};
use tidemill_schemas::FxQuote;

use super::quote::Quote;

/// Quotes by the key of their records, which is their id.
pub(super) struct QuoteTable(BTreeMap<Vec<u8>, Quote>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// What the table holds before any record of its topic.
    #[serde(default)]
    quotes: Vec<QuoteConfig>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QuoteConfig {
    quote: String,
    sell_currency: String,
    buy_currency: String,
    rate: String,
    /// Nothing when absent.
    #[serde(default = "zero")]
    spread: String,
    /// RFC 3339, like the end.
    effective_from: String,
    expires_at: String,
}

fn zero() -> String {
    "0".to_owned()
}

impl QuoteTable {
    pub(super) fn from_settings(settings: &Settings) -> Result<Self, Vec<SettingsError>> {
        let config: Config = settings.parse()?;
        let mut table = BTreeMap::new();
        let mut errors = Vec::new();
        for (index, quote) in config.quotes.into_iter().enumerate() {
            let compiled = quote.into_event().and_then(|event| Ok((event.quote.clone(), Quote::compile(&event)?)));
            let replaced = compiled.map(|(id, quote)| table.insert(id.into_bytes(), quote));
            let error = match replaced {
                Ok(None) => continue,
                Ok(Some(_)) => ("quote", "another quote has the same id"),
                Err(error) => error,
            };
            errors.push(SettingsError::new(format!("quotes[{index}].{}", error.0), error.1));
        }
        if errors.is_empty() { Ok(Self(table)) } else { Err(errors) }
    }

    pub(super) fn get(&self, id: &str) -> Option<&Quote> {
        self.0.get(id.as_bytes())
    }
}

impl QuoteConfig {
    fn into_event(self) -> Result<FxQuote, (&'static str, &'static str)> {
        const INSTANT: &str = "is no RFC 3339 instant with an offset, as in \"2026-01-01T00:00:00Z\"";
        Ok(FxQuote {
            meta: Meta::default(),
            effective_from: EventTime::parse(&self.effective_from).ok_or(("effective_from", INSTANT))?,
            expires_at: EventTime::parse(&self.expires_at).ok_or(("expires_at", INSTANT))?,
            quote: self.quote,
            sell_currency: self.sell_currency,
            buy_currency: self.buy_currency,
            rate: self.rate,
            spread: self.spread,
        })
    }
}

impl ReferenceTable for QuoteTable {
    fn apply(&mut self, key: &[u8], event: Option<AnyEvent>) -> Result<(), String> {
        let Some(event) = event else {
            self.0.remove(key);
            return Ok(());
        };
        let quote = event.downcast::<FxQuote>().map_err(|event| format!("is a {:?}, no fx_quote", event.kind()))?;
        let quote = Quote::compile(&quote).map_err(|(field, message)| format!("{field}: {message}"))?;
        self.0.insert(key.to_vec(), quote);
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
