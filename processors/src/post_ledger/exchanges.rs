//! `fx_exchange`: one currency is sold and another bought, through the positions that the house has in both.
//!
//! All lines stand in one journal record of one task, balanced in each of the two currencies. What is bought then goes
//! its way to the credit account like any other money. Undoing an exchange writes the same lines the other way round, at
//! the amounts of the original: no rate is asked for again.

use tidemill_core::reject::BUG;
use tidemill_core::{Context, Reject, StateError};
use tidemill_schemas::{EntryKind, Exchange, Instruction, PaymentType};

use super::accounts::{Account, Internal};
use super::book::{Book, Line, Overflow, Slot};
use super::codes::PaymentCode;
use super::payment_limits::{self, Asked, Enforcement};
use super::payments::{Decided, Funds, Moves, Request, Stop, admit_debit};

pub(super) fn exchange<'a>(request: &Request<'a>, context: &mut Context<'_>) -> Result<Decided<'a>, Stop> {
    let payer = request.payer(context)?;
    admit_debit(&payer)?;
    let Some(exchange) = request.exchange else {
        return Err(Reject::new(&BUG).because("no processor before the ledger has priced the exchange").into());
    };
    let counts = payment_limits::check(&Asked::of(request.payment, &payer), Enforcement::Refuse, context)?;
    let decided = debit(request, payer, exchange, Swap::sale(exchange), Funds::Checked, context)?;
    Ok(Decided { counts, ..decided })
}

/// Posts a swap at the debit account in a book of its own. Checks `amount_overflow` and `insufficient_funds`.
pub(super) fn debit<'a>(
    request: &Request<'a>,
    payer: Account,
    exchange: &Exchange,
    swap: Swap<'_>,
    funds: Funds,
    context: &mut Context<'_>,
) -> Result<Decided<'a>, Stop> {
    let is_checked = funds == Funds::Checked && payer.kind.is_funds_checked();
    let is_covered = !is_checked || payer.available_minor() >= -i128::from(swap.own_minor);
    let mut book = request.book(context);
    let payer = book.add(request.payment.debit_account.clone(), payer);
    swap.post(&mut book, payer, EntryKind::Debit, 1, context)??;
    if !is_covered {
        return Err(PaymentCode::InsufficientFunds.into());
    }
    let exchange = Some(Box::new(exchange.clone()));
    Ok(Decided { exchange, ..Decided::new(book, payer, Moves::Money) })
}

/// What an exchange changes in the task where it is decided. Signed: what an account gives is less than zero.
#[derive(Clone, Copy)]
pub(super) struct Swap<'a> {
    quote: &'a str,
    pub(super) own_minor: i64,
    pub(super) own_currency: &'a str,
    /// What leaves for the other account is more than zero.
    pub(super) transit_minor: i64,
    pub(super) transit_currency: &'a str,
    /// What the house earns, in the currency that is bought.
    spread_minor: i64,
    bought_currency: &'a str,
}

impl<'a> Swap<'a> {
    /// As the quote says.
    pub(super) fn sale(exchange: &'a Exchange) -> Self {
        Self {
            quote: &exchange.quote,
            own_minor: -exchange.sold_minor,
            own_currency: &exchange.sold_currency,
            transit_minor: exchange.bought_minor,
            transit_currency: &exchange.bought_currency,
            spread_minor: exchange.spread_minor,
            bought_currency: &exchange.bought_currency,
        }
    }

    /// A reversal: who bought gives that back, and what was sold leaves for its seller.
    pub(super) fn undoing(exchange: &'a Exchange) -> Self {
        Self {
            own_minor: -exchange.bought_minor,
            own_currency: &exchange.bought_currency,
            transit_minor: exchange.sold_minor,
            transit_currency: &exchange.sold_currency,
            spread_minor: -exchange.spread_minor,
            ..Self::sale(exchange)
        }
    }

    /// What the debit account of this instruction has done, if that was a swap.
    pub(super) fn behind(instruction: &'a Instruction) -> Option<Self> {
        let exchange = instruction.exchange.as_deref()?;
        let is_undoing = instruction.payment_type == PaymentType::Reverse;
        Some(if is_undoing { Self::undoing(exchange) } else { Self::sale(exchange) })
    }

    /// As if it had not been.
    pub(super) fn taken_back(self) -> Self {
        Self {
            own_minor: -self.own_minor,
            transit_minor: -self.transit_minor,
            spread_minor: -self.spread_minor,
            ..self
        }
    }

    /// Posts the line of the account, which has the given kind, and those of the house.
    pub(super) fn post(
        self,
        book: &mut Book<'_>,
        account: Slot,
        kind: EntryKind,
        leg_no: i32,
        context: &mut Context<'_>,
    ) -> Result<Result<(), Overflow>, StateError> {
        book.set_quote(self.quote);
        let mut internal =
            |book: &mut Book<'_>, internal, currency| book.add_internal_in(internal, currency, context.state);
        let own = internal(book, Internal::FxPosition, self.own_currency)?;
        let other = internal(book, Internal::FxPosition, self.transit_currency)?;
        let in_transit = internal(book, Internal::InTransit, self.transit_currency)?;
        let mut posted = book.post(Line::of(kind, account, own, self.own_minor, leg_no));
        let house = Line::of(EntryKind::Exchange, other, in_transit, -self.transit_minor, leg_no);
        posted = posted.and_then(|()| book.post(house));
        if self.spread_minor != 0 {
            let position = if self.bought_currency == self.own_currency { own } else { other };
            let spread = internal(book, Internal::FxSpread, self.bought_currency)?;
            let house = Line::of(EntryKind::Spread, position, spread, -self.spread_minor, leg_no);
            posted = posted.and_then(|()| book.post(house));
        }
        Ok(posted)
    }
}
