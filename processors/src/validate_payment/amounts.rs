//! The amounts of a payment: its own, and those of the legs of a journal.

use std::collections::BTreeMap;

use tidemill_core::{Class, CodeSpec, Currency};
use tidemill_schemas::{PaymentRequest, PaymentType};

use super::{ACCOUNTS_IDENTICAL, AMOUNT_NOT_POSITIVE, text};
use crate::fields::{self, AMOUNT_TOO_LARGE, AmountText, Fault, Field, Rule};

/// With the debit account, so that one journal is a bounded amount of work for the ledger.
const LEGS_MAX: usize = 32;

pub(super) const LEGS_TOO_MANY: CodeSpec = CodeSpec {
    code: "legs_too_many",
    class: Class::Validation,
    summary: "A journal has more than 32 accounts.",
    remedy: "Make several journals of it.",
};

pub(super) const LEGS_UNBALANCED: CodeSpec = CodeSpec {
    code: "legs_unbalanced",
    class: Class::Validation,
    summary: "What the accounts of a journal pay is not what its accounts are paid.",
    remedy: "Let `amount` and `debits` together be as much as `credits`.",
};

/// Minor units.
pub(super) struct Amounts {
    pub(super) amount_minor: i64,
    pub(super) currency: Currency,
    pub(super) debits: BTreeMap<String, i64>,
    pub(super) credits: BTreeMap<String, i64>,
}

/// What to check of the legs as of any other field.
pub(super) fn leg_fields(request: &PaymentRequest) -> impl Iterator<Item = Field<'_>> {
    legs(request).flat_map(|(pointer, account, amount)| {
        let account = Field { pointer, text: Some(account), rule: Rule::Account };
        [account, Field { pointer, text: Some(amount), rule: Rule::Optional }]
    })
}

fn legs(request: &PaymentRequest) -> impl Iterator<Item = (&'static str, &str, &str)> {
    let sides = [("/debits", &request.debits), ("/credits", &request.credits)];
    sides.into_iter().flat_map(|(pointer, legs)| {
        legs.iter().map(move |(account, amount)| (pointer, account.as_str(), amount.as_str()))
    })
}

/// Checks the rules of amounts and currency, each on every amount before the next, and those of legs.
pub(super) fn check(request: &PaymentRequest) -> Result<Amounts, Fault> {
    let own = request.amount.as_deref().map(|amount| ("/amount", amount));
    let texts = own.into_iter().chain(legs(request).map(|(pointer, _, amount)| (pointer, amount)));
    let amounts: Vec<(&'static str, AmountText<'_>)> =
        texts.map(|(pointer, text)| Ok((pointer, AmountText::parse(text, pointer)?))).collect::<Result<_, Fault>>()?;
    if let Some((pointer, _)) = amounts.iter().find(|(_, amount)| !amount.is_positive()) {
        return Err(Fault(&AMOUNT_NOT_POSITIVE, pointer));
    }
    amounts.iter().try_for_each(|(_, amount)| amount.check_size())?;
    let currency = fields::currency(text(&request.currency), "/currency")?;
    let minor: Vec<Result<i64, Fault>> = amounts.iter().map(|(_, amount)| amount.in_currency(currency)).collect();
    let faults = || minor.iter().filter_map(|minor| minor.err());
    let gravest = faults().find(|Fault(code, _)| code.code == AMOUNT_TOO_LARGE.code).or_else(|| faults().next());
    if let Some(fault) = gravest {
        return Err(fault);
    }
    let mut minor = minor.into_iter().flatten();
    let amount_minor = if own.is_some() { minor.next().unwrap_or_default() } else { 0 };
    let [debits, credits] =
        [&request.debits, &request.credits].map(|legs| legs.keys().cloned().zip(minor.by_ref()).collect());
    Ok(Amounts { amount_minor, currency, debits, credits })
}

/// Checks `legs_too_many`, `legs_unbalanced` and `accounts_identical`.
pub(super) fn check_accounts(
    request: &PaymentRequest,
    payment_type: PaymentType,
    amounts: &Amounts,
) -> Result<(), Fault> {
    if payment_type != PaymentType::Journal {
        let is_identical = request.debit_account == request.credit_account;
        return if is_identical { Err(Fault(&ACCOUNTS_IDENTICAL, "/credit_account")) } else { Ok(()) };
    }
    let Amounts { amount_minor, debits, credits, .. } = amounts;
    if debits.len() + credits.len() >= LEGS_MAX {
        return Err(Fault(&LEGS_TOO_MANY, "/credits"));
    }
    let sum = |legs: &BTreeMap<String, i64>| legs.values().map(|minor| i128::from(*minor)).sum::<i128>();
    if i128::from(*amount_minor) + sum(debits) != sum(credits) {
        return Err(Fault(&LEGS_UNBALANCED, "/credits"));
    }
    let leader = text(&request.debit_account);
    if debits.contains_key(leader) {
        return Err(Fault(&ACCOUNTS_IDENTICAL, "/debits"));
    }
    if credits.contains_key(leader) || credits.keys().any(|account| debits.contains_key(account)) {
        return Err(Fault(&ACCOUNTS_IDENTICAL, "/credits"));
    }
    Ok(())
}
