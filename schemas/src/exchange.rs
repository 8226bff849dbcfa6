//! Foreign exchange: quotes, and what was exchanged by one.

use serde::{Deserialize, Serialize};
use tidemill_core::{EventTime, KeySpace, Meta};

use crate::codec::{key_text, topic_event};

/// `fx.rates.v1`, keyed by quote, compacted: a reference table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FxQuote {
    pub meta: Meta,
    /// Id of the quote, which an exchange names.
    pub quote: String,
    /// What customers sell by it. There is no inverse: who sells the other currency needs a quote of its own.
    pub sell_currency: String,
    pub buy_currency: String,
    /// Decimal text: units of `buy_currency` for one unit of `sell_currency`, before the spread. Used with every decimal
    /// place it has.
    pub rate: String,
    /// Decimal text, in the same unit: what the house keeps. The customer gets `rate - spread`.
    pub spread: String,
    pub effective_from: EventTime,
    /// From this instant on the quote is over.
    pub expires_at: EventTime,
}

/// What one payment sells and buys. Fixed with the payment, so that undoing it asks for no rate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    pub quote: String,
    pub sold_minor: i64,
    pub sold_currency: String,
    /// What the customer gets.
    pub bought_minor: i64,
    pub bought_currency: String,
    /// What the house keeps, in the currency that is bought: the spread and what rounding leaves.
    pub spread_minor: i64,
}

topic_event! {
    FxQuote: "fx_quote", keyed by KeySpace::Named("quote"), "BACKWARD", "A rate of exchange that is offered for a while.",
    key: |event, out| key_text(out, &event.quote),
    time: |event| event.effective_from,
    meta: |event| Some(&mut event.meta),
}
