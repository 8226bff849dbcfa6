//! What the senders of payments are told.

use std::borrow::Cow;

use tidemill_core::{Answer, AnyEvent, Context, EventTime, Meta, Reject, StateError};
use tidemill_schemas::payment::{PaymentBody, identity_parts};
use tidemill_schemas::{Exchange, PaymentStatus, PaymentType, StatusCode, StatusPhase};

use super::Config;
use super::accounts::{ACCOUNTS, Account, CurrencyCode};
use super::outcomes::{self, Aftermath, PAYMENT_OUTCOMES, PaymentOutcome};
use crate::fingerprint::Fingerprint;

/// The part of a status that does not come from the payment.
pub(super) struct Answered<'a> {
    pub(super) status: StatusCode,
    pub(super) phase: StatusPhase,
    pub(super) code: &'a str,
    pub(super) reason: Option<String>,
    pub(super) fee_minor: i64,
    pub(super) exchange: Option<Box<Exchange>>,
}

impl<'a> Answered<'a> {
    pub(super) fn outcome(code: &'a str, status: StatusCode) -> Self {
        Self { status, phase: StatusPhase::Outcome, code, reason: None, fee_minor: 0, exchange: None }
    }

    pub(super) fn status(self, payment: &PaymentBody, customer: Option<String>) -> AnyEvent {
        Box::new(PaymentStatus {
            meta: Meta::default(),
            payment_id: payment.payment_id.clone(),
            source: payment.source.clone(),
            debit_account: payment.debit_account.clone(),
            credit_account: payment.credit_account.clone(),
            amount_minor: payment.amount_minor,
            currency: payment.currency.clone(),
            fee_minor: self.fee_minor,
            status: self.status,
            phase: self.phase,
            code: self.code.to_owned(),
            reason: self.reason,
            merchant_id: payment.merchant.as_ref().map(|merchant| merchant.id.clone()),
            customer,
            channel: payment.channel.clone(),
            event_time: payment.created_at,
            payment_type: Some(payment.payment_type),
            reference: payment.reference.clone(),
            exchange: self.exchange,
        })
    }
}

/// Answers a reject of any processor of the chain. What was answered before keeps its first answer, also when the
/// chain would judge it otherwise today, and counts as a repeat.
pub(super) fn answer_reject(
    reject: &Reject,
    payment: &PaymentBody,
    config: Config,
    context: &mut Context<'_>,
) -> Result<Answer, StateError> {
    let Ok(body) = Fingerprint::of(payment) else { return Ok(Answer::NotMine) };
    let identity = payment.identity();
    match PAYMENT_OUTCOMES.get(context.state, &identity)? {
        Some(first) if first.body.is_same_body(&body) => {
            answer_repeat(&first, payment, context)?;
            return Ok(Answer::Repeat);
        }
        Some(first) => {
            let conflict = first.body.conflict(&body);
            let reason = Some(conflict.message().to_owned());
            let phase = StatusPhase::Repeat;
            let answered = Answered { phase, reason, ..Answered::outcome(conflict.code().code, StatusCode::RJCT) };
            answer(answered, payment, context)?;
        }
        None => {
            let code = reject.code().code;
            let reason = Some(reject.message().to_owned());
            answer(Answered { reason, ..Answered::outcome(code, StatusCode::RJCT) }, payment, context)?;
            let outcome =
                PaymentOutcome { code: Cow::Borrowed(code), status: StatusCode::RJCT, ..outcome_of(payment, body) };
            outcomes::remember(context, &identity, outcome, payment.created_at, config)?;
        }
    }
    Ok(Answer::Given)
}

/// The outcome of a payment that went well, without what its type adds.
pub(super) fn outcome_of(payment: &PaymentBody, body: Fingerprint) -> PaymentOutcome {
    PaymentOutcome {
        body,
        payment_type: payment.payment_type,
        status: StatusCode::ACSC,
        currency: CurrencyCode::new(&payment.currency),
        amount_minor: payment.amount_minor,
        fee_minor: 0,
        at: EventTime::default(),
        hold: None,
        aftermath: Aftermath::None,
        code: Cow::Borrowed(super::codes::OK),
        fee_schedule: String::new(),
        credit_account: payment.credit_account.clone(),
        reference: payment.reference.clone().filter(|_| payment.payment_type == PaymentType::Chargeback),
        exchange: None,
    }
}

/// The first answer again.
pub(super) fn answer_repeat(
    first: &PaymentOutcome,
    payment: &PaymentBody,
    context: &mut Context<'_>,
) -> Result<(), StateError> {
    let reason = match &first.aftermath {
        Aftermath::None | Aftermath::Waiting => None,
        Aftermath::Executed => Some("executed".to_owned()),
        Aftermath::Refused(code) => Some(format!("refused: {code}")),
        Aftermath::Cancelled => Some("cancelled".to_owned()),
        Aftermath::Returned(code) => Some(format!("returned: {code}")),
        Aftermath::InSuspense(code) => Some(format!("in suspense: {code}")),
        Aftermath::Reversed(payment_id) => Some(format!("reversed: {payment_id}")),
    };
    let repeated = Answered {
        status: first.status,
        phase: StatusPhase::Repeat,
        code: &first.code,
        reason,
        fee_minor: first.fee_minor,
        exchange: first.exchange.clone(),
    };
    answer(repeated, payment, context)
}

fn answer(answered: Answered<'_>, payment: &PaymentBody, context: &mut Context<'_>) -> Result<(), StateError> {
    let payer = ACCOUNTS.get(context.state, payment.debit_account.as_bytes())?;
    let customer = payment.customer.clone().or_else(|| payer.and_then(|account| account.customer));
    context.effects.emit("status", answered.status(payment, customer));
    Ok(())
}

/// What became of a hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Update {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) reason: &'static str,
    pub(super) at: EventTime,
}

/// Tells the sender of an authorisation how its hold ended.
pub(super) fn update_authorisation(
    identity: &[u8],
    outcome: &PaymentOutcome,
    account: &Account,
    update: Update,
    context: &mut Context<'_>,
) {
    let Some([source, debit_account, payment_id]) = identity_parts(identity) else { return };
    let captured_minor = outcome.hold.map_or(0, |hold| hold.captured_minor);
    let status: AnyEvent = Box::new(PaymentStatus {
        meta: Meta::default(),
        payment_id: payment_id.to_owned(),
        source: source.to_owned(),
        debit_account: debit_account.to_owned(),
        credit_account: outcome.credit_account.clone(),
        amount_minor: outcome.amount_minor,
        currency: outcome.currency.as_str().to_owned(),
        fee_minor: 0,
        // A hold of which something was taken has ended well, however the rest ended.
        status: if captured_minor > 0 { StatusCode::ACSC } else { update.status },
        phase: StatusPhase::Update,
        code: update.code.to_owned(),
        reason: Some(update.reason.to_owned()),
        merchant_id: None,
        customer: account.customer.clone(),
        channel: String::new(),
        event_time: update.at,
        payment_type: Some(PaymentType::Authorise),
        reference: None,
        exchange: None,
    });
    context.effects.emit("status", status);
}
