//! `transfer`, `deposit` and `withdrawal`: money from the debit account to the credit account, if there is enough.

use tidemill_core::Context;
use tidemill_schemas::PaymentType;

use super::codes::PaymentCode;
use super::payment_limits::{self, Asked, Enforcement};
use super::payments::{Decided, Funds, Moves, Request, Stop, Take, admit_debit};
use super::scheduled;

pub(super) fn transfer<'a>(request: &Request<'a>, context: &mut Context<'_>) -> Result<Decided<'a>, Stop> {
    let payer = request.payer(context)?;
    if request.payment.payment_type == PaymentType::Deposit && !payer.kind.is_settlement() {
        return Err(PaymentCode::SettlementAccountRequired.into());
    }
    admit_debit(&payer)?;
    if let Some(waits) = scheduled::wait(request, &payer, context)? {
        return Ok(waits);
    }
    let counts = payment_limits::check(&Asked::of(request.payment, &payer), Enforcement::Refuse, context)?;
    let needed_minor = i128::from(request.sent_minor) + i128::from(request.fee_minor);
    let take = Take { hold_minor: 0, needed_minor, funds: Funds::Checked };
    let (book, payer) = request.debit(payer, take, context)?;
    Ok(Decided { counts, ..Decided::new(book, payer, Moves::Money) })
}
