//! Makes a payment of a payment request, or says which rule it breaks.
//!
//! - Input: `payment_request`. Passes on `payment`, keyed by counterparty: the merchant where one is named, the credit
//!   account otherwise.
//! - Store: none. The rules are fixed: the same record gets the same answer for ever, and a corrected body under the same
//!   id is a new payment.
//! - Time: `created_at` lies in the years 2000 to 2099 and at most `future_minutes_max` after the timestamp of its record,
//!   which a replay reads again, unlike a clock. It may lie any time before: payments of years ago can be loaded. A
//!   timestamp that is itself outside the years 2000 to 2099 says nothing about when the payment came and bounds nothing.
//!   A hold's `expires_at`, and the `execute_at` and `retry_until` of a payment that waits, lie after `created_at`, by at
//!   most 400 days.
//! - `type` says which of the other fields are required, optional or refused; see `by_type.rs`. An absent type is
//!   `transfer`.
//! - A journal names in `credits` who is paid, instead of a credit account; the first of them stands for it.
//! - Codes, first wins: `field_missing`, `field_empty`, `field_too_long`, `field_malformed`, `type_unknown`,
//!   `field_not_applicable`, `remainder_unknown`, `amount_malformed`, `amount_not_positive`, `amount_too_large`, `currency_unknown`, `amount_too_precise`,
//!   `legs_too_many`, `legs_unbalanced`, `accounts_identical`, `time_malformed`, `time_out_of_range`. The order is fields, type, amount, currency, legs,
//!   accounts, time. A rule is checked on every field before the next rule is.
//! - Answer: port `status`, `RJCT` in phase `outcome`, when the request has an id that can be repeated to its sender;
//!   otherwise there is nobody to answer and the record goes to the dead letters.
//! - `body_hash` covers what the payment means, not how it was written: payment id, source, type, both accounts, minor
//!   units, currency, created_at in microseconds, channel, merchant, customer, description, metadata, reference,
//!   expires_at, remainder, reason, quote, card,
//!   execute_at, retry_until, debits and credits, in this order.
//!   `"12.3"` and `"12.30"` are the same body.
//!
//! Example: `{"id":"p-1",…,"amount":"-5","currency":"XYZ"}` is `amount_not_positive`, not `currency_unknown`.

mod amounts;
mod body_hash;
mod by_type;
#[cfg(test)]
mod tests;
mod times;

use serde::Deserialize;
use tidemill_core::processor::{MovesMoney, Signature};
use tidemill_core::settings::SettingsError;
use tidemill_core::{
    Answer, AnyEvent, Class, CodeSpec, Context, Currency, EventTime, Flow, Meta, PortSpec, Processor, ProcessorSpec,
    Reject, Settings, StateError,
};
use tidemill_schemas::{
    Payment, PaymentBody, PaymentRequest, PaymentStatus, PaymentType, Remainder, StatusCode, StatusPhase,
};

use self::amounts::{Amounts, LEGS_TOO_MANY, LEGS_UNBALANCED};
pub(crate) use self::body_hash::body_hash;
use self::by_type::{FIELD_NOT_APPLICABLE, REMAINDER_UNKNOWN};
use self::times::Times;
use crate::fields::{
    self, AMOUNT_MALFORMED, AMOUNT_TOO_LARGE, AMOUNT_TOO_PRECISE, AmountText, CURRENCY_UNKNOWN, FIELD_EMPTY,
    FIELD_MALFORMED, FIELD_MISSING, FIELD_TOO_LONG, Fault, Field, Rule, TIME_MALFORMED, TIME_OUT_OF_RANGE,
    TYPE_UNKNOWN, presentable,
};

pub static SPEC: ProcessorSpec = ProcessorSpec {
    name: "validate_payment",
    summary: "Makes a payment of a payment request, or answers which rule it breaks.",
    signatures: &[Signature { takes: PaymentRequest::KIND, gives: Some(Payment::KIND) }],
    stores: &[],
    ports: &[PortSpec {
        name: STATUS,
        kind: PaymentStatus::KIND,
        summary: "The answer to a payment that breaks a rule.",
    }],
    references: &[],
    codes: &[
        FIELD_MISSING,
        FIELD_EMPTY,
        FIELD_TOO_LONG,
        FIELD_MALFORMED,
        TYPE_UNKNOWN,
        FIELD_NOT_APPLICABLE,
        REMAINDER_UNKNOWN,
        AMOUNT_MALFORMED,
        AMOUNT_NOT_POSITIVE,
        AMOUNT_TOO_LARGE,
        CURRENCY_UNKNOWN,
        AMOUNT_TOO_PRECISE,
        LEGS_TOO_MANY,
        LEGS_UNBALANCED,
        ACCOUNTS_IDENTICAL,
        TIME_MALFORMED,
        TIME_OUT_OF_RANGE,
    ],
    decodes: None,
    moves_money: MovesMoney::No,
    example: "future_minutes_max = 1440\n",
    build,
};

const AMOUNT_NOT_POSITIVE: CodeSpec = CodeSpec {
    code: "amount_not_positive",
    class: Class::Validation,
    summary: "The amount is zero or negative.",
    remedy: "Send the amount as a positive number; which way the money goes is said by the accounts.",
};

const ACCOUNTS_IDENTICAL: CodeSpec = CodeSpec {
    code: "accounts_identical",
    class: Class::Validation,
    summary: "The debit account and the credit account are the same.",
    remedy: "Name two different accounts.",
};

const STATUS: &str = "status";
const METADATA_ENTRIES_MAX: usize = 64;
const MICROS_PER_MINUTE: i64 = 60_000_000;

/// All other rules are part of the contract with senders.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    /// How far `created_at` may lie after the timestamp of its record. 1 to 525,600 (a year).
    future_minutes_max: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { future_minutes_max: 24 * 60 }
    }
}

fn build(settings: &Settings) -> Result<Box<dyn Processor>, Vec<SettingsError>> {
    let config: Config = settings.parse()?;
    if !(1..=525_600).contains(&config.future_minutes_max) {
        let error = SettingsError::new("future_minutes_max", "must be from 1 to 525600");
        return Err(vec![error.hint("Allow for clocks that are wrong by a time zone or a day; 1440 is a good start.")]);
    }
    Ok(Box::new(ValidatePayment { future_micros_max: i64::from(config.future_minutes_max) * MICROS_PER_MINUTE }))
}

struct ValidatePayment {
    future_micros_max: i64,
}

impl Processor for ValidatePayment {
    fn process(&self, event: AnyEvent, context: &mut Context<'_>) -> Result<Flow, Reject> {
        let request = event.downcast::<PaymentRequest>().map_err(|event| Reject::unexpected(&event))?;
        match check(&request, self.latest(context.record.event_time)) {
            Ok(checked) => Ok(Flow::Continue(Box::new(payment(request, checked)))),
            Err(fault) => Err(Reject::from(fault).about(Box::new(request))),
        }
    }

    fn on_reject(&self, reject: &Reject, context: &mut Context<'_>) -> Result<Answer, StateError> {
        let request = reject.subject().and_then(|subject| subject.downcast_ref::<PaymentRequest>());
        let record_time = context.record.event_time;
        let status = request.and_then(|request| status(request, reject, record_time, self.latest(record_time)));
        let Some(status) = status else { return Ok(Answer::NotMine) };
        context.effects.emit(STATUS, Box::new(status) as AnyEvent);
        Ok(Answer::Given)
    }
}

impl ValidatePayment {
    /// The latest time at which the payment of a record can have been made.
    fn latest(&self, record_time: EventTime) -> EventTime {
        if !record_time.is_plausible() {
            return EventTime::LATEST;
        }
        EventTime(record_time.micros().saturating_add(self.future_micros_max))
    }
}

/// What checking found the texts to mean.
struct Checked {
    payment_type: PaymentType,
    remainder: Remainder,
    amounts: Amounts,
    times: Times,
}

fn check(request: &PaymentRequest, latest: EventTime) -> Result<Checked, Fault> {
    let payment_type = payment_type(request);
    check_fields(request, payment_type)?;
    let payment_type = payment_type.ok_or(Fault(&TYPE_UNKNOWN, "/type"))?;
    by_type::check_applicable(request, payment_type)?;
    let remainder = by_type::remainder(request)?;
    let amounts = amounts::check(request)?;
    amounts::check_accounts(request, payment_type, &amounts)?;
    Ok(Checked { payment_type, remainder, amounts, times: times::check(request, latest)? })
}

/// `None` for one that is not known.
fn payment_type(request: &PaymentRequest) -> Option<PaymentType> {
    request.payment_type.as_deref().map_or(Some(PaymentType::Transfer), PaymentType::parse)
}

fn check_fields(request: &PaymentRequest, payment_type: Option<PaymentType>) -> Result<(), Fault> {
    let field = |pointer, text, rule| Field { pointer, text, rule };
    let merchant = request.merchant.as_ref();
    let mut checks = vec![
        field("/id", request.id.as_deref(), Rule::Required),
        field("/source", request.source.as_deref(), Rule::Required),
        field("/debit_account", request.debit_account.as_deref(), Rule::Account),
        field("/credit_account", request.credit_account.as_deref(), by_type::credit_account_rule(payment_type)),
        field("/amount", request.amount.as_deref(), by_type::amount_rule(payment_type)),
        field("/currency", request.currency.as_deref(), Rule::Required),
        field("/created_at", request.created_at.as_deref(), Rule::Required),
        field("/channel", request.channel.as_deref(), Rule::Required),
        field("/type", request.payment_type.as_deref(), Rule::Optional),
        field("/customer", request.customer.as_deref(), Rule::Optional),
        field("/card", request.card.as_deref(), Rule::Optional),
        field("/merchant/id", merchant.map(|merchant| merchant.id.as_str()), Rule::Optional),
        field("/merchant/category", merchant.and_then(|merchant| given(&merchant.category)), Rule::Optional),
        field("/merchant/country", merchant.and_then(|merchant| given(&merchant.country)), Rule::Optional),
        field("/description", request.description.as_deref(), Rule::Text),
    ];
    checks.extend(by_type::fields(request, payment_type));
    checks.extend(amounts::leg_fields(request));
    for (name, value) in &request.metadata {
        checks.push(field("/metadata", Some(name), Rule::Optional));
        checks.push(field("/metadata", Some(value), Rule::Text));
    }
    let too_many = request.metadata.len() > METADATA_ENTRIES_MAX;
    match fields::check(&checks) {
        // Whoever has too many entries is told so unless a graver rule is broken.
        Ok(()) if too_many => Err(Fault(&FIELD_TOO_LONG, "/metadata")),
        Err(Fault(code, _)) if too_many && code.code == FIELD_MALFORMED.code => {
            Err(Fault(&FIELD_TOO_LONG, "/metadata"))
        }
        checked => checked,
    }
}

/// A required field, after `check_fields` has seen that it is there.
fn text(field: &Option<String>) -> &str {
    field.as_deref().unwrap_or_default()
}

/// The merchant's category and country are empty when the sender gave none.
fn given(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

fn payment(request: PaymentRequest, checked: Checked) -> Payment {
    let Checked { payment_type, remainder, amounts, times } = checked;
    let first_credit = amounts.credits.keys().next().cloned();
    let mut payment = PaymentBody {
        payment_id: request.id.unwrap_or_default(),
        source: request.source.unwrap_or_default(),
        payment_type,
        debit_account: request.debit_account.unwrap_or_default(),
        credit_account: request.credit_account.or(first_credit).unwrap_or_default(),
        amount_minor: amounts.amount_minor,
        currency: amounts.currency.code().to_owned(),
        created_at: times.created_at,
        channel: request.channel.unwrap_or_default(),
        merchant: request.merchant,
        customer: request.customer,
        description: request.description,
        metadata: request.metadata,
        body_hash: String::new(),
        reference: request.reference,
        expires_at: times.expires_at,
        remainder,
        reason: request.reason,
        quote: request.quote,
        card: request.card,
        execute_at: times.execute_at,
        retry_until: times.retry_until,
        debits: amounts.debits,
        credits: amounts.credits,
    };
    payment.body_hash = body_hash(&payment);
    Payment { meta: Meta::default(), payment }
}

/// The answer, if there is an id under which the sender could know the payment. Only what can be shown is repeated.
fn status(
    request: &PaymentRequest,
    reject: &Reject,
    record_time: EventTime,
    latest: EventTime,
) -> Option<PaymentStatus> {
    let shown = |field: &Option<String>| presentable(field.as_ref()).cloned().unwrap_or_default();
    let payment_id = presentable(request.id.as_ref())?.clone();
    let currency = request.currency.as_deref().and_then(Currency::parse);
    let amount = AmountText::parse(text(&request.amount), "/amount").ok().filter(AmountText::is_positive);
    let amount_minor = amount.zip(currency).and_then(|(amount, currency)| amount.in_currency(currency).ok());
    Some(PaymentStatus {
        meta: Meta::default(),
        payment_id,
        source: shown(&request.source),
        debit_account: shown(&request.debit_account),
        credit_account: shown(&request.credit_account),
        amount_minor: amount_minor.unwrap_or_default(),
        currency: currency.map(|currency| currency.code().to_owned()).unwrap_or_default(),
        fee_minor: 0,
        status: StatusCode::RJCT,
        phase: StatusPhase::Outcome,
        code: reject.code().code.to_owned(),
        reason: Some(reject.message().to_owned()),
        merchant_id: request.merchant.as_ref().and_then(|merchant| presentable(Some(&merchant.id)).cloned()),
        customer: presentable(request.customer.as_ref()).cloned(),
        channel: shown(&request.channel),
        event_time: fields::answer_time(times::created_at(request, latest), record_time),
        payment_type: payment_type(request),
        reference: presentable(request.reference.as_ref()).cloned(),
        exchange: None,
    })
}
