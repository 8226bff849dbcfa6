//! Prices an exchange of currencies by the quote it names.
//!
//! - Input: `priced_payment`, keyed by debit account. Passes it on; what is no `fx_exchange` as it came. No store.
//! - Reference table: `fx_rates` (topic kind `fx_quote`), laid over the `quotes` of the settings. An entry of the topic
//!   with the same id takes the place of the one in the settings.
//! - A quote sells one currency for one other. There is no inverse rate: who sells the other way needs another quote.
//! - In force is a quote at `created_at` in `[effective_from, expires_at)`.
//! - Exact: the rate is used with every decimal place it has, and each amount is rounded once, in favour of the house. The
//!   customer gets `amount × (rate - spread)`, rounded down; the house gives `amount × rate`, rounded up; the difference
//!   is the spread, and what rounding leaves is in it.
//! - Codes, in order of precedence: `fx_quote_unknown`, `fx_quote_mismatch`, `fx_quote_expired`,
//!   `fx_amount_out_of_range`. All of them are remembered.
//!
//! Example: 100.00 USD at 82.42135 INR without a spread are 8,242.135 INR: the customer gets 8,242.13, the house gives
//! 8,242.14, and 0.01 is the spread.

mod quote;
mod table;
#[cfg(test)]
mod tests;

use tidemill_core::processor::{MovesMoney, Signature};
use tidemill_core::reject::BUG;
use tidemill_core::settings::SettingsError;
use tidemill_core::{
    AnyEvent, Class, CodeSpec, Context, Flow, Processor, ProcessorSpec, ReferenceSpec, Reject, Settings,
};
use tidemill_schemas::{Exchange, FxQuote, PaymentBody, PaymentType, PricedPayment};

use table::QuoteTable;

pub static SPEC: ProcessorSpec = ProcessorSpec {
    name: "price_exchange",
    summary: "Prices an exchange of currencies by the quote it names.",
    signatures: &[Signature { takes: PricedPayment::KIND, gives: Some(PricedPayment::KIND) }],
    stores: &[],
    ports: &[],
    references: &[ReferenceSpec {
        name: FX_RATES,
        kind: FxQuote::KIND,
        summary: "Quotes for exchanges, each in force from one instant to another.",
        build: build_table,
    }],
    codes: &[FX_QUOTE_UNKNOWN, FX_QUOTE_MISMATCH, FX_QUOTE_EXPIRED, FX_AMOUNT_OUT_OF_RANGE],
    decodes: None,
    moves_money: MovesMoney::No,
    example: r#"
[[quotes]]
quote = "eur-usd-2026-02"
sell_currency = "EUR"
buy_currency = "USD"
rate = "1.0850"
spread = "0.0050"
effective_from = "2026-02-01T00:00:00Z"
expires_at = "2026-03-01T00:00:00Z"
"#,
    build,
};

const FX_RATES: &str = "fx_rates";

pub const FX_QUOTE_UNKNOWN: CodeSpec = business(
    "fx_quote_unknown",
    "No quote of that id was offered when the payment was made.",
    "Publish the quote before it is offered, and send the exchange under a new id.",
);

pub const FX_QUOTE_MISMATCH: CodeSpec = business(
    "fx_quote_mismatch",
    "The quote sells another currency than the payment does.",
    "Name a quote that sells the currency of the payment; a quote is never used the other way round.",
);

pub const FX_QUOTE_EXPIRED: CodeSpec = business(
    "fx_quote_expired",
    "The quote was over when the payment was made.",
    "Ask for a new quote and send the exchange under a new id.",
);

pub const FX_AMOUNT_OUT_OF_RANGE: CodeSpec = business(
    "fx_amount_out_of_range",
    "What the amount buys is less than one minor unit, or more than 10^15.",
    "Exchange another amount under a new id.",
);

const fn business(code: &'static str, summary: &'static str, remedy: &'static str) -> CodeSpec {
    CodeSpec { code, class: Class::Business, summary, remedy }
}

struct PriceExchange;

fn build(settings: &Settings) -> Result<Box<dyn Processor>, Vec<SettingsError>> {
    QuoteTable::from_settings(settings)?;
    Ok(Box::new(PriceExchange))
}

fn build_table(settings: &Settings) -> Result<Box<dyn tidemill_core::ReferenceTable>, Vec<SettingsError>> {
    Ok(Box::new(QuoteTable::from_settings(settings)?))
}

impl Processor for PriceExchange {
    fn process(&self, event: AnyEvent, context: &mut Context<'_>) -> Result<Flow, Reject> {
        match event.downcast_ref::<PricedPayment>() {
            None => return Err(Reject::unexpected(&event)),
            Some(priced) if priced.payment.payment_type != PaymentType::FxExchange => return Ok(Flow::Continue(event)),
            Some(_) => {}
        }
        let mut priced = event.downcast::<PricedPayment>().map_err(|event| Reject::unexpected(&event))?;
        let Some(table) = context.references.table::<QuoteTable>(FX_RATES) else {
            return Err(Reject::new(&BUG).because("the reference table fx_rates was not built"));
        };
        match price(table, &priced.payment) {
            Ok(exchange) => priced.exchange = Some(Box::new(exchange)),
            Err(code) => return Err(Reject::new(code).about(Box::new(priced))),
        }
        Ok(Flow::Continue(Box::new(priced)))
    }
}

fn price(table: &QuoteTable, payment: &PaymentBody) -> Result<Exchange, &'static CodeSpec> {
    let quote = payment.quote.as_deref().and_then(|id| table.get(id));
    let quote = quote.filter(|quote| quote.effective_from <= payment.created_at).ok_or(&FX_QUOTE_UNKNOWN)?;
    if quote.sell.code() != payment.currency {
        return Err(&FX_QUOTE_MISMATCH);
    }
    if quote.expires_at <= payment.created_at {
        return Err(&FX_QUOTE_EXPIRED);
    }
    quote.exchange(payment.amount_minor).ok_or(&FX_AMOUNT_OUT_OF_RANGE)
}
