//! Limits on payments: how much, how often and to whom an account may pay.
//!
//! - Judged by the owner of the debit account, where the outcome of a payment is known: what a payment uses is written
//!   with the payment, in the same transaction, and a payment that is refused for whatever reason uses nothing.
//! - Everything is counted within one account, or one card, counterparty or type of it. A limit can be *for* a customer,
//!   but then holds for each of its accounts: they belong to several tasks, none of which sees the others.
//! - Of all limits that cover a payment, each has to be kept. Of several that are broken, the first in the order of codes
//!   is answered, of those the one that leaves least, of those the first by name.
//! - Time is the payment's `created_at`, or when a payment that has waited is due. A limit's version is chosen by it. Windows
//!   never run backwards: what is dated before the present window is counted in it.
//! - An authorisation is counted when it is made. Captures count nothing for what was held, and what is not captured is
//!   given back when the hold ends, in whatever way. What goes beyond the hold, and a forced post, is counted and never
//!   refused: the money is owed. What follows from an authorisation is judged by the card and the merchant of that.
//! - Money that comes back because its payee could not take it is given back; a reversal, refund or chargeback gives back
//!   if the limit's `gives_back` says so, when the money has arrived. What is given back goes to the window in which it
//!   was counted, and to nothing if that is over.
//! - A usage is forgotten with the outcome of the last payment in it, once its window is over.
//!
//! Fees are not counted.

pub(super) mod codes;
mod limit;
mod table;
mod usage;
mod window;

use tidemill_core::money::decimal;
use tidemill_core::reject::BUG;
use tidemill_core::{Context, Currency, EventTime, Reject, State, StateError};
use tidemill_schemas::payment::{PaymentBody, identity};
use tidemill_schemas::{Instruction, Merchant, PaymentType};

use self::limit::{Bound, Counter, GivesBack, Limit};
pub use self::table::LimitTable;
use self::usage::Part;
pub use self::usage::{Instant, LIMIT_USAGES, LIMITED_PAYMENTS, LimitedPayment, Means, Usage, Use};
use self::window::NEVER;
use super::accounts::Account;
use super::codes::PaymentCode;
use super::payments::Stop;
use crate::age_queue::Bytes;

/// The reference table.
pub const PAYMENT_LIMITS: &str = "payment_limits";

/// What limits are asked about a payment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) account: &'a str,
    pub(super) customer: Option<&'a str>,
    pub(super) card: Option<&'a str>,
    pub(super) merchant: Option<&'a Merchant>,
    pub(super) counterparty: &'a str,
    /// `authorise` also for what follows from an authorisation.
    pub(super) payment_type: PaymentType,
    pub(super) currency: &'a str,
    pub(super) at: EventTime,
    /// What single payments are judged by.
    pub(super) whole_minor: i64,
    /// What is used beside what has been.
    pub(super) amount_minor: i64,
    pub(super) payments: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Enforcement {
    /// A payment that breaks a limit is refused.
    Refuse,
    /// It is counted all the same.
    Count,
}

/// A limit that refuses a payment.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) code: PaymentCode,
    /// Names the limit and what it leaves, without anything of the payment.
    pub(super) detail: String,
}

/// What a payment will have used once it is carried out. Nothing has been written yet.
#[derive(Debug, Default)]
#[must_use]
pub(super) struct Counts {
    uses: Vec<(Use, Usage)>,
    means: Option<Means>,
}

impl<'a> Asked<'a> {
    /// About a payment with all of its amount.
    pub(super) fn of(payment: &'a PaymentBody, payer: &'a Account) -> Self {
        Self {
            account: &payment.debit_account,
            // A sender does not escape a limit by naming another customer.
            customer: payer.customer.as_deref().or(payment.customer.as_deref()),
            card: payment.card.as_deref(),
            merchant: payment.merchant.as_ref(),
            counterparty: payment.counterparty(),
            payment_type: payment.payment_type,
            currency: &payment.currency,
            at: payment.created_at,
            whole_minor: payment.amount_minor,
            amount_minor: payment.amount_minor,
            payments: 1,
        }
    }

    /// About what a payment takes beyond what its authorisation has been counted with, by what that was made with.
    pub(super) fn beyond_hold(
        payment: &'a PaymentBody,
        payer: &'a Account,
        amount_minor: i64,
        means: Option<&'a Means>,
    ) -> Self {
        let own = Self { payment_type: PaymentType::Authorise, amount_minor, payments: 0, ..Self::of(payment, payer) };
        let Some(Means { card, merchant }) = means else { return own };
        let counterparty = merchant.as_ref().map_or(&payment.credit_account, |merchant| &merchant.id);
        Self { card: card.as_deref(), merchant: merchant.as_ref(), counterparty, ..own }
    }

    /// What an authorisation leaves to those that follow from it.
    fn means(&self) -> Option<Means> {
        let is_first = self.payment_type == PaymentType::Authorise && self.payments > 0;
        is_first.then(|| Means { card: self.card.map(str::to_owned), merchant: self.merchant.cloned() })
    }

    /// About the leg of a journal that a further payer is asked for. It names no card, merchant or counterparty.
    pub(super) fn leg(instruction: &'a Instruction, payer: &'a Account) -> Self {
        Self {
            account: &instruction.account_id,
            customer: payer.customer.as_deref(),
            card: None,
            merchant: None,
            counterparty: "",
            payment_type: PaymentType::Journal,
            currency: &instruction.currency,
            at: instruction.event_time,
            whole_minor: instruction.amount_minor,
            amount_minor: instruction.amount_minor,
            payments: 1,
        }
    }
}

/// Judges a payment by all limits that cover it.
pub(super) fn check(asked: &Asked<'_>, enforcement: Enforcement, context: &mut Context<'_>) -> Result<Counts, Stop> {
    let references = context.references;
    let Some(table) = references.table::<LimitTable>(PAYMENT_LIMITS) else {
        return Err(Reject::new(&BUG).because("the reference table payment_limits was not built").into());
    };
    if table.is_empty() {
        return Ok(Counts::default());
    }
    let mut counts = Counts { means: asked.means(), ..Counts::default() };
    let mut broken: Vec<Finding<'_>> = Vec::new();
    for limit in table.covering(asked) {
        broken.extend(limit.restricts(asked.merchant).map(|code| Finding::restriction(limit, code)));
        match &limit.bound {
            Bound::None => {}
            Bound::Payment { amount_minor_max } => {
                if asked.whole_minor > *amount_minor_max {
                    broken.push(Finding::of_payment(limit, *amount_minor_max, asked.currency));
                }
            }
            Bound::Window(counter) => {
                let key = Usage::key(limit, counter, asked);
                let mut usage = Usage::read(&key, limit, counter, asked, context.state)?;
                broken.extend(judge(limit, counter, asked, &usage));
                usage.add(&counter.window, asked.amount_minor, asked.payments);
                counts.add(key, usage, counter.gives_back, asked);
            }
        }
    }
    match broken.into_iter().min_by_key(|finding| (finding.code, finding.left, &finding.limit.name)) {
        Some(first) if enforcement == Enforcement::Refuse => Err(Stop::Limited(first.broken())),
        _ => Ok(counts),
    }
}

/// What a payment breaks of one limit, the amount before the count.
fn judge<'l>(limit: &'l Limit, counter: &Counter, asked: &Asked<'_>, usage: &Usage) -> Option<Finding<'l>> {
    let [amount_code, count_code] = counter.window.codes();
    let leaves_more_at = usage.leaves_more_at(&counter.window);
    let until = match leaves_more_at {
        NEVER => String::new(),
        at => format!(" until {at}"),
    };
    if let Some(max) = counter.amount_minor_max.map(i128::from)
        && asked.amount_minor > 0
        && usage.amount_minor + i128::from(asked.amount_minor) > max
    {
        let left = (max - usage.amount_minor).max(0);
        let text = format!("{} left{until}", money(left, asked.currency));
        return Some(Finding { limit, code: amount_code, left, text });
    }
    let max = counter.payments_max.filter(|max| asked.payments > 0 && usage.payments + asked.payments > *max)?;
    let left = (max - usage.payments).max(0);
    let text = format!("{left} payments left{until}");
    Some(Finding { limit, code: count_code, left: i128::from(left), text })
}

/// A limit that a payment breaks.
struct Finding<'l> {
    limit: &'l Limit,
    code: PaymentCode,
    left: i128,
    text: String,
}

impl<'l> Finding<'l> {
    fn restriction(limit: &'l Limit, code: PaymentCode) -> Self {
        Self { limit, code, left: 0, text: "not among what it allows".to_owned() }
    }

    fn of_payment(limit: &'l Limit, amount_minor_max: i64, currency: &str) -> Self {
        let left = i128::from(amount_minor_max);
        let text = format!("at most {} a payment", money(left, currency));
        Self { limit, code: PaymentCode::AmountLimitExceeded, left, text }
    }

    fn broken(self) -> Broken {
        let Limit { name, version, .. } = self.limit;
        Broken { code: self.code, detail: format!("limit {name}@{version}: {}", self.text) }
    }
}

fn money(minor: i128, currency: &str) -> String {
    let exponent = Currency::parse(currency).map_or(0, Currency::exponent);
    format!("{} {currency}", decimal(minor, exponent))
}

impl Counts {
    fn add(&mut self, key: Vec<u8>, usage: Usage, gives_back: GivesBack, asked: &Asked<'_>) {
        let used = Use {
            usage_key: Bytes(key),
            period: usage.period,
            amount_minor: asked.amount_minor,
            payments: asked.payments,
            gives_back,
        };
        self.uses.push((used, usage));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.uses.is_empty() && self.means.is_none()
    }

    /// Counts the payment of this identity.
    pub(super) fn write(self, identity: &[u8], state: &mut dyn State) -> Result<(), StateError> {
        if self.is_empty() {
            return Ok(());
        }
        let mut payment = LIMITED_PAYMENTS.get(state, identity)?.unwrap_or_default();
        payment.means = self.means.or(payment.means);
        for (used, usage) in self.uses {
            LIMIT_USAGES.put(state, &used.usage_key.0, &usage)?;
            payment.add(used);
        }
        LIMITED_PAYMENTS.put(state, identity, &payment)
    }
}

/// What an authorisation was made with; `None` where no limits were known then.
pub(super) fn means(authorisation: &[u8], state: &mut dyn State) -> Result<Option<Means>, StateError> {
    Ok(LIMITED_PAYMENTS.get(state, authorisation)?.and_then(|payment| payment.means))
}

/// Gives back whatever a payment still uses: it is over, or never was.
pub(super) fn release(identity: &[u8], state: &mut dyn State) -> Result<(), StateError> {
    give_back(identity, Part::All, |_| true, state)
}

/// Of what was authorised, so much is taken by another payment, which uses it from now on.
pub(super) fn capture(
    authorisation: &[u8],
    capture: &[u8],
    amount_minor: i64,
    state: &mut dyn State,
) -> Result<(), StateError> {
    let Some(mut authorised) = LIMITED_PAYMENTS.get(state, authorisation)? else { return Ok(()) };
    let captured = authorised.split(amount_minor);
    LIMITED_PAYMENTS.put(state, authorisation, &authorised)?;
    let mut payment = LIMITED_PAYMENTS.get(state, capture)?.unwrap_or_default();
    captured.uses.into_iter().for_each(|used| payment.add(used));
    LIMITED_PAYMENTS.put(state, capture, &payment)
}

/// Money that its payee could not take is back.
pub(super) fn returned(instruction: &Instruction, state: &mut dyn State) -> Result<(), StateError> {
    let Instruction { source, debit_account, payment_id, .. } = instruction;
    // What was exchanged comes back whole, and in another currency than it left in.
    let part = if instruction.exchange.is_some() { Part::All } else { Part::Minor(instruction.amount_minor) };
    give_back(&identity(source, debit_account, payment_id), part, |_| true, state)
}

/// Money that was given back has arrived at who had paid it.
pub(super) fn credited(instruction: &Instruction, state: &mut dyn State) -> Result<(), StateError> {
    let Instruction { source, credit_account, payment_type, .. } = instruction;
    let part = match payment_type {
        PaymentType::Reverse => Part::All,
        PaymentType::Refund | PaymentType::Chargeback => Part::Minor(instruction.amount_minor),
        _ => return Ok(()),
    };
    let Some(reference) = instruction.reference.as_deref() else { return Ok(()) };
    let is_meant = |used: &Use| used.gives_back.includes(*payment_type);
    give_back(&identity(source, credit_account, reference), part, is_meant, state)
}

fn give_back(
    identity: &[u8],
    part: Part,
    is_meant: impl Fn(&Use) -> bool,
    state: &mut dyn State,
) -> Result<(), StateError> {
    let Some(mut payment) = LIMITED_PAYMENTS.get(state, identity)? else { return Ok(()) };
    payment.give_back(part, is_meant, state)?;
    LIMITED_PAYMENTS.put(state, identity, &payment)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Memory {
    Forgotten,
    /// A window that the payment was the last of is not over, or not for long enough.
    Kept,
}

/// Forgets what a payment has used, and with it what no other payment is the last of. The outcome has to be kept where
/// this is.
pub(super) fn forget(identity: &[u8], kept_since: EventTime, state: &mut dyn State) -> Result<Memory, StateError> {
    let Some(payment) = LIMITED_PAYMENTS.get(state, identity)? else { return Ok(Memory::Forgotten) };
    let mut over = Vec::new();
    for used in &payment.uses {
        let usage = LIMIT_USAGES.get(state, &used.usage_key.0)?;
        let Some(usage) = usage.filter(|usage| usage.period == used.period && usage.ends_at != NEVER) else { continue };
        if usage.ends_at > kept_since {
            return Ok(Memory::Kept);
        }
        over.push(&used.usage_key.0);
    }
    for key in over {
        LIMIT_USAGES.delete(state, key)?;
    }
    LIMITED_PAYMENTS.delete(state, identity)?;
    Ok(Memory::Forgotten)
}

/// What is left of one limit, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub limit: String,
    pub version: String,
    pub window: String,
    pub subject: String,
    pub currency: String,
    pub used_minor: i128,
    pub payments: i64,
    pub left_minor: Option<i128>,
    pub payments_left: Option<i64>,
    /// When there will be more left; `None`: never by itself.
    pub leaves_more_at: Option<EventTime>,
}

/// How a usage stands at a time; `None` where its limit is not in force any longer, or counts by another window.
pub fn standing(mut usage: Usage, table: &LimitTable, at: EventTime) -> Option<Standing> {
    let limit = table.in_force(&usage.limit, at)?;
    let Bound::Window(counter) = &limit.bound else { return None };
    if counter.label != usage.window {
        return None;
    }
    usage.advance(&counter.window, at);
    Some(Standing {
        limit: limit.name.clone(),
        version: limit.version.clone(),
        left_minor: counter.amount_minor_max.map(|max| (i128::from(max) - usage.amount_minor).max(0)),
        payments_left: counter.payments_max.map(|max| (max - usage.payments).max(0)),
        leaves_more_at: Some(usage.leaves_more_at(&counter.window)).filter(|at| *at != NEVER),
        currency: usage.currency.as_str().to_owned(),
        window: usage.window,
        subject: usage.subject,
        used_minor: usage.amount_minor,
        payments: usage.payments,
    })
}
