//! A payment at its debit account's owner: known already, or judged by its type, carried out and answered.

use tidemill_core::{AnyEvent, Context, EventTime, Flow, Meta, Outcome, Reject, StateError};
use tidemill_schemas::payment::{PaymentBody, identity};
use tidemill_schemas::{
    Alert, EntryKind, Exchange, FeeRefund, Instruction, InstructionKind, PaymentType, PostingDates, PricedPayment,
    StatusCode,
};

use super::accounts::{ACCOUNTS, Account, CurrencyCode, Internal};
use super::answers::{self, Answered, Update};
use super::book::{Book, Line, Overflow, Slot, Voucher};
use super::codes::{OK, PaymentCode};
use super::exchanges::Swap;
use super::holds::{self, Hold};
use super::outcomes::{self, Aftermath, PAYMENT_OUTCOMES, PaymentOutcome};
use super::payment_limits::{Broken, Counts};
use super::receipts::FeeBack;
use super::{Config, authorisations, captures, exchanges, give_back, journals, scheduled, transfers};
use crate::fingerprint::Fingerprint;

/// A payment that is being judged.
pub(super) struct Request<'a> {
    pub(super) payment: &'a PaymentBody,
    pub(super) fee_minor: i64,
    /// What leaves for the credit account.
    pub(super) sent_minor: i64,
    pub(super) fee_schedule: &'a str,
    pub(super) exchange: Option<&'a Exchange>,
    pub(super) dates: Option<PostingDates>,
    pub(super) config: Config,
}

/// Why judging ends early.
pub(super) enum Stop {
    Refused(PaymentCode),
    /// By a limit on payments, which can say what it leaves.
    Limited(Broken),
    /// Not the payment's fault.
    Broken(Reject),
}

impl From<PaymentCode> for Stop {
    fn from(code: PaymentCode) -> Self {
        Self::Refused(code)
    }
}

impl From<Reject> for Stop {
    fn from(reject: Reject) -> Self {
        Self::Broken(reject)
    }
}

impl From<StateError> for Stop {
    fn from(error: StateError) -> Self {
        Self::Broken(error.into())
    }
}

impl From<Overflow> for Stop {
    fn from(_: Overflow) -> Self {
        Self::Refused(PaymentCode::AmountOverflow)
    }
}

/// What a payment does once nothing forbids it.
pub(super) struct Decided<'a> {
    pub(super) book: Book<'a>,
    pub(super) payer: Slot,
    pub(super) moves: Moves,
    /// The hold that this payment makes.
    pub(super) hold: Option<Hold>,
    /// The authorisation whose hold this payment changes.
    pub(super) authorisation: Option<Authorisation>,
    /// What is sold and bought, or on a reversal was.
    pub(super) exchange: Option<Box<Exchange>>,
    /// What it uses of limits.
    pub(super) counts: Counts,
    /// What comes back of the fee of the payment that is given back.
    pub(super) fee_back: Option<FeeBack>,
}

impl<'a> Decided<'a> {
    pub(super) fn new(book: Book<'a>, payer: Slot, moves: Moves) -> Self {
        let counts = Counts::default();
        Self { book, payer, moves, hold: None, authorisation: None, exchange: None, counts, fee_back: None }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Moves {
    /// Money leaves for the credit account.
    Money,
    /// It is only set aside.
    Hold,
    /// Nothing before its time.
    Later,
    /// Money stands in clearing until other payers have given theirs.
    Collecting,
    Nothing,
}

/// An authorisation and its hold as they will be.
pub(super) struct Authorisation {
    pub(super) identity: Vec<u8>,
    pub(super) outcome: PaymentOutcome,
    pub(super) hold: Hold,
    pub(super) update: Option<Update>,
}

pub(super) fn process(priced: PricedPayment, config: Config, context: &mut Context<'_>) -> Result<Flow, Reject> {
    let body = Fingerprint::of(&priced.payment)?;
    let identity = priced.payment.identity();
    if let Some(first) = PAYMENT_OUTCOMES.get(context.state, &identity)? {
        if !first.body.is_same_body(&body) {
            return Err(first.body.conflict(&body).about(Box::new(priced)));
        }
        answers::answer_repeat(&first, &priced.payment, context)?;
        return Ok(Flow::Done(Outcome::Duplicate));
    }
    match carry_out(&priced, body, &identity, config, context) {
        Ok(()) => Ok(Flow::Done(Outcome::Posted)),
        Err(Stop::Refused(code)) => Err(Reject::new(code.spec()).about(Box::new(priced))),
        Err(Stop::Limited(Broken { code, detail })) => {
            Err(Reject::new(code.spec()).because(detail).about(Box::new(priced)))
        }
        Err(Stop::Broken(reject)) => Err(reject),
    }
}

fn carry_out(
    priced: &PricedPayment,
    body: Fingerprint,
    identity: &[u8],
    config: Config,
    context: &mut Context<'_>,
) -> Result<(), Stop> {
    let PricedPayment { payment, fee_minor, fee_schedule, .. } = priced;
    let request = Request::of(priced, config);
    let mut decided = judge(&request, context)?;
    let outcome = PaymentOutcome {
        fee_minor: *fee_minor,
        fee_schedule: fee_schedule.clone(),
        hold: decided.hold,
        status: match decided.moves {
            Moves::Money => StatusCode::ACSC,
            Moves::Hold | Moves::Later | Moves::Collecting => StatusCode::PDNG,
            Moves::Nothing => StatusCode::CANC,
        },
        aftermath: match decided.moves {
            Moves::Later | Moves::Collecting => Aftermath::Waiting,
            _ => Aftermath::None,
        },
        exchange: decided.exchange,
        ..answers::outcome_of(payment, body)
    };
    if let Some(hold) = &decided.hold {
        let account = decided.book.account_mut(decided.payer);
        holds::list(&payment.debit_account, account, hold, identity, context.state)?;
    }
    let account = decided.book.account(decided.payer);
    let customer = payment.customer.clone().or_else(|| account.customer.clone());
    let is_overdrawn = decided.moves == Moves::Money && account.available_minor() < 0;
    if is_overdrawn && account.kind.is_funds_checked() {
        context.effects.emit("alerts", overdrawn(payment));
    }
    if let Some(Authorisation { identity, mut outcome, hold, update }) = decided.authorisation {
        outcome.hold = Some(hold);
        PAYMENT_OUTCOMES.put(context.state, &identity, &outcome)?;
        if let Some(update) = update {
            answers::update_authorisation(&identity, &outcome, account, update, context);
        }
        holds::announce(&identity, &outcome, payment.created_at, context);
    }
    decided.book.write(context)?;
    decided.counts.write(identity, context.state)?;
    match decided.moves {
        Moves::Money => send(priced, &outcome, decided.fee_back, customer.clone(), context),
        Moves::Collecting => {
            journals::open(payment, identity, &instruction(priced, &outcome, None, customer.clone()), context)?;
        }
        Moves::Later => scheduled::keep(identity, priced, payment.execute_at.unwrap_or(payment.created_at), context)?,
        Moves::Hold | Moves::Nothing => {}
    }
    if outcome.hold.is_some() {
        holds::announce(identity, &outcome, payment.created_at, context);
    }
    let exchange = outcome.exchange.clone();
    let answered = Answered { fee_minor: *fee_minor, exchange, ..Answered::outcome(OK, outcome.status) };
    context.effects.emit("status", answered.status(payment, customer));
    if let Some(now) = outcomes::remember(context, identity, outcome, payment.created_at, config)? {
        outcomes::end_holds(now, context)?;
    }
    Ok(())
}

pub(super) fn judge<'a>(request: &Request<'a>, context: &mut Context<'_>) -> Result<Decided<'a>, Stop> {
    match request.payment.payment_type {
        PaymentType::Transfer | PaymentType::Deposit | PaymentType::Withdrawal => transfers::transfer(request, context),
        PaymentType::Authorise => authorisations::authorise(request, context),
        PaymentType::Increment => authorisations::increment(request, context),
        PaymentType::Void => authorisations::void(request, context),
        PaymentType::Capture => captures::capture(request, context),
        PaymentType::ForcePost => captures::force_post(request, context),
        PaymentType::Refund | PaymentType::Reverse | PaymentType::Chargeback | PaymentType::ChargebackReversal => {
            give_back::give_back(request, context)
        }
        PaymentType::FxExchange => exchanges::exchange(request, context),
        PaymentType::Journal => journals::journal(request, context),
        PaymentType::Cancel => scheduled::cancel(request, context),
    }
}

/// Whether a payment is refused that the account cannot cover.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Funds {
    Checked,
    /// The account may go below its limit; somebody is alerted.
    Forced,
}

/// What a payment takes from its debit account.
#[derive(Clone, Copy)]
pub(super) struct Take {
    /// Change of what is set aside.
    pub(super) hold_minor: i64,
    /// What has to be available beside it.
    pub(super) needed_minor: i128,
    pub(super) funds: Funds,
}

impl<'a> Request<'a> {
    pub(super) fn of(priced: &'a PricedPayment, config: Config) -> Self {
        let PricedPayment { payment, fee_minor, fee_schedule, exchange, dates, fee_terms: _ } = priced;
        let (exchange, dates, sent_minor) = (exchange.as_deref(), *dates, priced.sent_minor());
        Self { payment, fee_minor: *fee_minor, sent_minor, fee_schedule, exchange, dates, config }
    }

    /// The debit account; see [`payer`].
    pub(super) fn payer(&self, context: &mut Context<'_>) -> Result<Account, Stop> {
        payer(&self.payment.debit_account, &self.payment.currency, self.payment.created_at, context)
    }

    /// The authorisation that is referred to. Checks `reference_not_found`, `reference_not_open` and, as far as accounts
    /// are concerned, `reference_mismatch`.
    pub(super) fn authorisation(
        &self,
        reference: &str,
        context: &mut Context<'_>,
    ) -> Result<(Vec<u8>, PaymentOutcome), Stop> {
        let identity = identity(&self.payment.source, &self.payment.debit_account, reference);
        let outcome = PAYMENT_OUTCOMES.get(context.state, &identity)?.ok_or(PaymentCode::ReferenceNotFound)?;
        if outcome.payment_type != PaymentType::Authorise {
            return Err(PaymentCode::ReferenceNotOpen.into());
        }
        if outcome.credit_account != self.payment.credit_account {
            return Err(PaymentCode::ReferenceMismatch.into());
        }
        Ok((identity, outcome))
    }

    pub(super) fn book(&self, context: &Context<'_>) -> Book<'a> {
        let (fee_schedule, dates) = (Some(self.fee_schedule), self.dates);
        Book::new(Voucher { fee_schedule, dates, ..Voucher::of(self.payment, context.task) })
    }

    /// Posts amount and fee in a book of their own. Checks `amount_overflow` and `insufficient_funds`; nothing is
    /// written yet.
    pub(super) fn debit(
        &self,
        payer: Account,
        take: Take,
        context: &mut Context<'_>,
    ) -> Result<(Book<'a>, Slot), Stop> {
        let available_minor = payer.available_minor();
        let is_checked = take.funds == Funds::Checked && payer.kind.is_funds_checked();
        let mut book = self.book(context);
        let account = book.add(self.payment.debit_account.clone(), payer);
        let contra = book.add_internal(Internal::InTransit, context.state)?;
        let amount_minor = -i128::from(self.sent_minor);
        let debit =
            Line { account, contra, kind: EntryKind::Debit, amount_minor, hold_minor: take.hold_minor, leg_no: 1 };
        book.post(debit)?;
        if self.fee_minor > 0 {
            let contra = book.add_internal(Internal::Fees, context.state)?;
            book.post(Line::of(EntryKind::Fee, account, contra, -self.fee_minor, 1))?;
        }
        if is_checked && take.needed_minor > 0 && available_minor < take.needed_minor {
            return Err(PaymentCode::InsufficientFunds.into());
        }
        Ok((book, account))
    }
}

/// An account that is to pay, with every hold that is over given free. Checks `debit_account_not_found` and
/// `currency_mismatch`.
pub(super) fn payer(id: &str, currency: &str, at: EventTime, context: &mut Context<'_>) -> Result<Account, Stop> {
    let payer = ACCOUNTS.get(context.state, id.as_bytes())?.filter(|account| !account.is_internal());
    let mut payer = payer.ok_or(PaymentCode::DebitAccountNotFound)?;
    if payer.currency != CurrencyCode::new(currency) {
        return Err(PaymentCode::CurrencyMismatch.into());
    }
    let now = payer.now(at);
    holds::expire_due(id, &mut payer, now, context)?;
    Ok(payer)
}

/// Whether money may be taken from the account. Checks `debit_account_closed` and `debit_account_frozen`.
pub(super) fn admit_debit(payer: &Account) -> Result<(), Stop> {
    if payer.closed {
        return Err(PaymentCode::DebitAccountClosed.into());
    }
    if payer.debits_frozen {
        return Err(PaymentCode::DebitAccountFrozen.into());
    }
    Ok(())
}

/// Money that has left the debit account, on its way to all that are paid.
pub(super) fn send(
    priced: &PricedPayment,
    outcome: &PaymentOutcome,
    fee_back: Option<FeeBack>,
    customer: Option<String>,
    context: &mut Context<'_>,
) {
    let model = instruction(priced, outcome, fee_back, customer);
    if priced.payment.credits.is_empty() {
        context.effects.emit("instructions", Box::new(model) as AnyEvent);
        return;
    }
    for (account, amount_minor) in &priced.payment.credits {
        journals::send(&model, InstructionKind::Credit, account, *amount_minor, context);
    }
}

fn instruction(
    priced: &PricedPayment,
    outcome: &PaymentOutcome,
    fee_back: Option<FeeBack>,
    customer: Option<String>,
) -> Instruction {
    let payment = &priced.payment;
    let fee_refund = priced.fee_terms.refund;
    let is_refundable = fee_refund != FeeRefund::Kept && priced.fee_minor > 0;
    let (fee_back_minor, fee_schedule) = match fee_back {
        Some(FeeBack { minor, schedule }) => (minor, Some(schedule)),
        None => (0, is_refundable.then(|| priced.fee_schedule.clone())),
    };
    let mut instruction = Instruction {
        meta: Meta::default(),
        kind: InstructionKind::Credit,
        payment_id: payment.payment_id.clone(),
        source: payment.source.clone(),
        account_id: payment.credit_account.clone(),
        debit_account: payment.debit_account.clone(),
        credit_account: payment.credit_account.clone(),
        amount_minor: priced.sent_minor(),
        fee_minor: outcome.fee_minor,
        currency: payment.currency.clone(),
        reason: None,
        leg_no: 2,
        event_time: payment.created_at,
        customer,
        payment_type: payment.payment_type,
        reference: payment.reference.clone(),
        exchange: outcome.exchange.clone(),
        booking_date: priced.dates.map(|dates| dates.booking_date),
        value_date: priced.dates.map(|dates| dates.value_date),
        fee_refund,
        fee_back_minor,
        fee_schedule,
        channel: None,
    };
    let arriving = Swap::behind(&instruction).map(|swap| (swap.transit_minor, swap.transit_currency.to_owned()));
    if let Some((amount_minor, currency)) = arriving {
        (instruction.amount_minor, instruction.currency) = (amount_minor, currency);
    }
    instruction
}

fn overdrawn(payment: &PaymentBody) -> AnyEvent {
    Box::new(Alert {
        meta: Meta::default(),
        subject: payment.debit_account.clone(),
        code: "account_overdrawn".to_owned(),
        severity: "warning".to_owned(),
        message: format!("The account is below its limit after a {}.", payment.payment_type.name()),
        payment_id: Some(payment.payment_id.clone()),
        event_time: payment.created_at,
    })
}

/// The time by which an authorisation without an end of its own ends.
pub(super) fn default_expiry(created_at: EventTime, config: Config) -> EventTime {
    const DAY_MICROS: i64 = 86_400_000_000;
    EventTime(created_at.0.saturating_add(i64::from(config.hold_days) * DAY_MICROS))
}
