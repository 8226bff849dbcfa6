//! One fee schedule, checked and ready to price: rates are whole numbers over one common denominator.

use rust_decimal::Decimal;
use serde::Deserialize;
use serde::de::IntoDeserializer;
use tidemill_core::{Currency, EventTime, Rounding};
use tidemill_schemas::{FeeCharge, FeeRefund, FeeSchedule, FeeTerms, FeeTier, FreeAllowance, PaymentBody, PaymentType};

use super::allowance::Free;

/// Decimal places of a rate. With amounts of 64 bits and rates up to 1, sums then stay far within `i128`.
const RATE_PLACES_MAX: u32 = 12;
const DENOMINATOR: i128 = 1_000_000_000_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Schedule {
    /// `name@version`, as it is written on the payment.
    pub(super) label: String,
    pub(super) effective_from: EventTime,
    /// Empty: every currency.
    pub(super) currency: String,
    /// Empty: every channel.
    pub(super) channel: String,
    /// Empty: every type.
    payment_types: Vec<PaymentType>,
    /// Empty: every debit account.
    accounts: Vec<String>,
    /// Empty: every customer, and payments that name none.
    customers: Vec<String>,
    /// Empty: every debit account, in a segment or not.
    pub(super) segments: Vec<String>,
    pub(super) terms: FeeTerms,
    priority: i32,
    pub(super) name: String,
    pub(super) free: Option<Free>,
    model: Model,
    tiers: Vec<Tier>,
    flat_minor: i64,
    min_minor: i64,
    max_minor: i64,
    rounding: Rounding,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Tier {
    /// Exclusive end of the slice; `i64::MAX` for a tier without end.
    end_minor: i64,
    /// Over [`DENOMINATOR`].
    rate: i128,
    flat_minor: i64,
}

/// What the tiers mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Model {
    /// Each prices its own slice.
    Graduated,
    /// The one in which the amount ends prices all of it.
    Volume,
}

/// A field of a schedule that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ScheduleError {
    /// `tiers[1].rate`
    pub(super) field: String,
    pub(super) message: String,
}

impl ScheduleError {
    fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

impl Schedule {
    pub(super) fn compile(schedule: &FeeSchedule) -> Result<Self, ScheduleError> {
        for (field, value) in [("name", &schedule.name), ("version", &schedule.version)] {
            if value.is_empty() {
                return Err(ScheduleError::new(field, "must not be empty"));
            }
        }
        if !schedule.currency.is_empty() && Currency::parse(&schedule.currency).is_none() {
            return Err(ScheduleError::new("currency", "is no ISO 4217 currency with a minor unit"));
        }
        for (field, value) in [("flat_minor", schedule.flat_minor), ("min_minor", schedule.min_minor)] {
            if value < 0 {
                return Err(ScheduleError::new(field, "must not be negative"));
            }
        }
        let max_minor = schedule.max_minor.unwrap_or(i64::MAX);
        if max_minor < schedule.min_minor {
            return Err(ScheduleError::new("max_minor", "must not be less than min_minor"));
        }
        Ok(Self {
            label: format!("{}@{}", schedule.name, schedule.version),
            effective_from: schedule.effective_from,
            currency: schedule.currency.clone(),
            channel: schedule.channel.clone(),
            payment_types: compile_types(&schedule.payment_types)?,
            accounts: compile_names("accounts", &schedule.accounts)?,
            customers: compile_names("customers", &schedule.customers)?,
            segments: compile_names("segments", &schedule.segments)?,
            terms: FeeTerms {
                charge: parse_word("charged", CHARGED, schedule.charged.as_deref(), FeeCharge::parse)?,
                refund: parse_word("refunds", REFUNDS, schedule.refunds.as_deref(), FeeRefund::parse)?,
            },
            priority: schedule.priority,
            name: schedule.name.clone(),
            free: schedule.free.as_ref().map(compile_free).transpose()?,
            model: parse_model(schedule.model.as_deref())?,
            tiers: compile_tiers(&schedule.tiers)?,
            flat_minor: schedule.flat_minor,
            min_minor: schedule.min_minor,
            max_minor,
            rounding: parse_rounding(&schedule.rounding)?,
        })
    }

    /// `None` when the fee does not fit 64 bits.
    pub(super) fn fee_minor(&self, amount_minor: i64) -> Option<i64> {
        let mut numerator = i128::from(self.flat_minor).checked_mul(DENOMINATOR)?;
        let mut start_minor = 0;
        for tier in &self.tiers {
            if amount_minor <= start_minor {
                break;
            }
            let ends_here = amount_minor <= tier.end_minor;
            let priced_minor = match self.model {
                Model::Graduated => Some(amount_minor.min(tier.end_minor) - start_minor),
                Model::Volume => Some(amount_minor).filter(|_| ends_here),
            };
            if let Some(priced_minor) = priced_minor {
                let flat = i128::from(tier.flat_minor).checked_mul(DENOMINATOR)?;
                let share = i128::from(priced_minor).checked_mul(tier.rate)?;
                numerator = numerator.checked_add(flat)?.checked_add(share)?;
            }
            start_minor = tier.end_minor;
        }
        let fee = i64::try_from(self.rounding.divide(numerator, DENOMINATOR)?).ok()?;
        Some(fee.clamp(self.min_minor, self.max_minor))
    }

    /// How the schedule ranks among those that cover the payment, if it does: priority first, then how narrowly it is
    /// aimed. Greater goes before.
    pub(super) fn rank(&self, payment: &PaymentBody, segment: Option<&str>) -> Option<(i32, u8)> {
        let of = |own: &str, asked: &str, weight: u8| match own {
            "" => Some(0),
            own if own == asked => Some(weight),
            _ => None,
        };
        let of_list = |is_listed: bool, is_empty: bool, weight: u8| match (is_empty, is_listed) {
            (true, _) => Some(0),
            (false, true) => Some(weight),
            (false, false) => None,
        };
        let of_account = of_list(self.accounts.contains(&payment.debit_account), self.accounts.is_empty(), 32)?;
        let is_customer = payment.customer.as_ref().is_some_and(|customer| self.customers.contains(customer));
        let of_customer = of_list(is_customer, self.customers.is_empty(), 16)?;
        let is_segment = segment.is_some_and(|segment| self.segments.iter().any(|listed| listed == segment));
        let of_segment = of_list(is_segment, self.segments.is_empty(), 8)?;
        // What is charged back is priced only where somebody has said so.
        let is_open = self.payment_types.is_empty() && payment.payment_type.is_priced();
        let is_type = self.payment_types.contains(&payment.payment_type);
        let of_type = of_list(is_type, is_open, 4)?;
        let of_the_rest = of(&self.currency, &payment.currency, 2)? + of(&self.channel, &payment.channel, 1)?;
        Some((self.priority, of_account + of_customer + of_segment + of_type + of_the_rest))
    }
}

fn compile_names(field: &str, names: &[String]) -> Result<Vec<String>, ScheduleError> {
    match names.iter().position(String::is_empty) {
        Some(index) => Err(ScheduleError::new(format!("{field}[{index}]"), "must not be empty")),
        None => Ok(names.to_vec()),
    }
}

fn compile_free(free: &FreeAllowance) -> Result<Free, ScheduleError> {
    Free::compile(free).map_err(|(field, message)| ScheduleError::new(format!("free.{field}"), message))
}

fn compile_types(names: &[String]) -> Result<Vec<PaymentType>, ScheduleError> {
    let priced = |(index, name): (usize, &String)| {
        let payment_type = PaymentType::parse(name).filter(|payment_type| payment_type.can_be_priced());
        payment_type.ok_or_else(|| ScheduleError::new(format!("payment_types[{index}]"), PRICED_TYPES))
    };
    names.iter().enumerate().map(priced).collect()
}

const PRICED_TYPES: &str = "must be transfer, withdrawal, capture, force_post or chargeback; no other type costs a fee";

const CHARGED: &str = "must be on_top or deducted";
const REFUNDS: &str = "must be kept, returned or pro_rata";

/// One of a few words, the first where there is none.
fn parse_word<T: Default>(
    field: &'static str,
    must: &'static str,
    word: Option<&str>,
    parse: fn(&str) -> Option<T>,
) -> Result<T, ScheduleError> {
    word.map_or_else(|| Some(T::default()), parse).ok_or_else(|| ScheduleError::new(field, must))
}

fn parse_model(name: Option<&str>) -> Result<Model, ScheduleError> {
    match name {
        None | Some("graduated") => Ok(Model::Graduated),
        Some("volume") => Ok(Model::Volume),
        Some(_) => Err(ScheduleError::new("model", "must be graduated or volume")),
    }
}

fn compile_tiers(tiers: &[FeeTier]) -> Result<Vec<Tier>, ScheduleError> {
    let mut compiled = Vec::with_capacity(tiers.len());
    let mut start_minor = 0;
    for (index, tier) in tiers.iter().enumerate() {
        let is_last = index + 1 == tiers.len();
        let end_minor = match tier.up_to_minor {
            None if is_last => i64::MAX,
            Some(end) if !is_last && end > start_minor => end,
            _ => return Err(ScheduleError::new(format!("tiers[{index}].up_to_minor"), TIER_ENDS)),
        };
        let rate =
            parse_rate(&tier.rate).map_err(|message| ScheduleError::new(format!("tiers[{index}].rate"), message))?;
        let flat_minor = tier.flat_minor.unwrap_or_default();
        if flat_minor < 0 {
            return Err(ScheduleError::new(format!("tiers[{index}].flat_minor"), "must not be negative"));
        }
        compiled.push(Tier { end_minor, rate, flat_minor });
        start_minor = end_minor;
    }
    Ok(compiled)
}

const TIER_ENDS: &str = "tiers must have rising ends, and the last, only the last, none";

/// A rate from 0 to 1 as a whole number over [`DENOMINATOR`].
fn parse_rate(text: &str) -> Result<i128, &'static str> {
    const FORM: &str = "must be a decimal from \"0\" to \"1\" with at most 12 decimal places; \"0.01\" is one per cent";
    if !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return Err(FORM);
    }
    let rate = Decimal::from_str_exact(text).map_err(|_| FORM)?.normalize();
    if rate > Decimal::ONE || rate.scale() > RATE_PLACES_MAX {
        return Err(FORM);
    }
    Ok(rate.mantissa() * 10_i128.pow(RATE_PLACES_MAX - rate.scale()))
}

fn parse_rounding(text: &str) -> Result<Rounding, ScheduleError> {
    let parsed: Result<Rounding, serde::de::value::Error> = Rounding::deserialize(text.into_deserializer());
    parsed.map_err(|_| ScheduleError::new("rounding", "is no rounding mode; `half_even` is the usual one"))
}
