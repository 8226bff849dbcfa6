//! One quote, checked and ready to price: rates are whole numbers over one common denominator.

use rust_decimal::Decimal;
use tidemill_core::{Currency, EventTime, Rounding};
use tidemill_schemas::{Exchange, FxQuote};

/// Decimal places of a rate. With amounts of 10^15 minor units, rates below a million and currencies of four decimal
/// places, products stay below 10^37, within `i128`.
const RATE_PLACES_MAX: u32 = 12;
const DENOMINATOR: i128 = 10_i128.pow(RATE_PLACES_MAX);
const RATE_END: Decimal = Decimal::from_parts(1_000_000, 0, 0, false, 0);
/// The bound of every amount that is sent in.
const AMOUNT_MINOR_MAX: i64 = 1_000_000_000_000_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Quote {
    id: String,
    pub(super) sell: Currency,
    buy: Currency,
    /// What the house gives and what the customer gets, over [`DENOMINATOR`].
    rate: i128,
    rate_of_customer: i128,
    pub(super) effective_from: EventTime,
    pub(super) expires_at: EventTime,
}

/// The field of a quote that cannot be used, and why.
pub(super) type QuoteError = (&'static str, &'static str);

impl Quote {
    pub(super) fn compile(quote: &FxQuote) -> Result<Self, QuoteError> {
        const CURRENCY: &str = "is no ISO 4217 currency with a minor unit";
        if quote.quote.is_empty() {
            return Err(("quote", "must not be empty"));
        }
        let sell = Currency::parse(&quote.sell_currency).ok_or(("sell_currency", CURRENCY))?;
        let buy = Currency::parse(&quote.buy_currency).ok_or(("buy_currency", CURRENCY))?;
        if sell == buy {
            return Err(("buy_currency", "must be another than the one that is sold"));
        }
        let rate = over_denominator(&quote.rate).filter(|rate| *rate > 0).ok_or(("rate", RATE))?;
        let spread = over_denominator(&quote.spread).ok_or(("spread", RATE))?;
        if spread >= rate {
            return Err(("spread", "must be less than the rate"));
        }
        if quote.expires_at <= quote.effective_from {
            return Err(("expires_at", "must be after effective_from"));
        }
        Ok(Self {
            id: quote.quote.clone(),
            sell,
            buy,
            rate,
            rate_of_customer: rate - spread,
            effective_from: quote.effective_from,
            expires_at: quote.expires_at,
        })
    }

    /// `None` when what is bought is less than one minor unit, or too much.
    pub(super) fn exchange(&self, sold_minor: i64) -> Option<Exchange> {
        let given_minor = self.convert(sold_minor, self.rate, Rounding::TowardPositive)?;
        let bought_minor = self.convert(sold_minor, self.rate_of_customer, Rounding::TowardNegative)?;
        (bought_minor > 0 && given_minor <= AMOUNT_MINOR_MAX).then(|| Exchange {
            quote: self.id.clone(),
            sold_minor,
            sold_currency: self.sell.code().to_owned(),
            bought_minor,
            bought_currency: self.buy.code().to_owned(),
            spread_minor: given_minor - bought_minor,
        })
    }

    fn convert(&self, sold_minor: i64, rate: i128, rounding: Rounding) -> Option<i64> {
        let numerator = i128::from(sold_minor).checked_mul(rate)?.checked_mul(10_i128.pow(self.buy.exponent()))?;
        let denominator = DENOMINATOR * 10_i128.pow(self.sell.exponent());
        i64::try_from(rounding.divide(numerator, denominator)?).ok()
    }
}

const RATE: &str =
    "must be a decimal below 1000000 with at most 12 decimal places, such as \"1.0850\"; a rate is not zero";

/// A decimal text as a whole number over [`DENOMINATOR`].
fn over_denominator(text: &str) -> Option<i128> {
    if !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return None;
    }
    let value = Decimal::from_str_exact(text).ok()?.normalize();
    let is_usable = value < RATE_END && value.scale() <= RATE_PLACES_MAX;
    is_usable.then(|| value.mantissa() * 10_i128.pow(RATE_PLACES_MAX - value.scale()))
}
