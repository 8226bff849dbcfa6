//! What the reference checks, rule by rule.

use tidemill_schemas::AccountKind;

use super::*;

impl Reference {
    /// Every rule in the order of the documentation, and whether it is broken.
    pub(super) fn first_broken(&self, pay: &Pay, at: i64) -> &'static str {
        let Some(account) = self.accounts.get(&pay.from) else { return "debit_account_not_found" };
        let now = account.clock.max(at);
        let amount = i128::from(pay.amount_minor);
        let kind = pay.payment_type;
        let of_hold = matches!(kind, Type::Increment | Type::Capture | Type::Void | Type::ForcePost);
        let can_wait = matches!(kind, Type::Transfer | Type::Deposit | Type::Withdrawal);
        let waits = can_wait && waits(pay, at, now);
        let cancels = kind == Type::Cancel;
        let of_receipt = matches!(kind, Type::Refund | Type::Reverse | Type::Chargeback | Type::ChargebackReversal);
        let reference = pay.reference.as_ref();
        let wait = reference.and_then(|id| self.waits.get(&(pay.from.clone(), id.clone())));
        let original = reference.and_then(|id| self.paid.get(&(pay.from.clone(), id.clone())));
        let hold = original.and_then(|paid| paid.hold.as_ref());
        let receipt = reference.and_then(|id| self.received.get(&(pay.from.clone(), pay.to.clone(), id.clone())));
        let needs_hold = of_hold && (kind != Type::ForcePost || reference.is_some());
        let state = hold
            .map(|hold| if hold.state == State::Open && hold.expires_at <= now { State::Expired } else { hold.state });
        let held = if state == Some(State::Open) { hold.map_or(0, |hold| hold.held) } else { 0 };
        let (authorised, captured) = hold.map_or((0, 0), |hold| (hold.authorised, hold.captured));
        let capture_max = authorised * (100 + self.policy.over_capture_percent) / 100;
        let is_late = |wanted: State| of_hold && kind != Type::ForcePost && state == Some(wanted);
        let needed = if waits { 0 } else { self.needed(pay, held, authorised) };
        let is_checked = !matches!(account.kind, AccountKind::Asset | AccountKind::Expense);
        let rules = [
            ("currency_mismatch", account.currency != pay.currency),
            (
                "settlement_account_required",
                kind == Type::Deposit && !matches!(account.kind, AccountKind::Asset | AccountKind::External),
            ),
            (
                "reference_not_found",
                ((needs_hold || cancels) && original.is_none()) || (of_receipt && receipt.is_none()),
            ),
            (
                "reference_not_open",
                (needs_hold && original.is_some_and(|paid| paid.pay.payment_type != Type::Authorise))
                    || (cancels && matches!(wait, None | Some(Wait::Refused)))
                    || (of_receipt && receipt.is_some_and(|receipt| !can_go_back(kind, receipt.payment_type))),
            ),
            // The payee is compared before it is seen that there is no hold.
            ("reference_mismatch", (needs_hold || cancels) && original.is_some_and(|paid| paid.pay.to != pay.to)),
            (
                "reference_mismatch",
                cancels && amount != 0 && original.is_some_and(|paid| paid.pay.amount_minor != pay.amount_minor),
            ),
            ("reference_not_open", of_hold && kind != Type::ForcePost && hold.is_none()),
            (
                "reference_mismatch",
                (kind == Type::Void && amount != 0 && amount != authorised - captured)
                    || (kind == Type::Reverse && receipt.is_some_and(|receipt| receipt.amount != amount)),
            ),
            ("increment_not_higher", kind == Type::Increment && amount <= authorised),
            ("capture_exceeds_hold", kind == Type::Capture && captured + amount > capture_max),
            (
                "refund_exceeds_captured",
                of_receipt && receipt.is_some_and(|receipt| receipt.back + amount > receipt.amount),
            ),
            ("already_captured", of_hold && state == Some(State::Captured)),
            ("already_voided", is_late(State::Voided)),
            ("already_reversed", of_receipt && receipt.is_some_and(|receipt| receipt.reversed)),
            ("already_executed", cancels && wait == Some(&Wait::Executed)),
            ("already_cancelled", cancels && wait == Some(&Wait::Cancelled)),
            ("hold_expired", is_late(State::Expired) || (kind == Type::Authorise && at + lasts(pay) <= now)),
            ("debit_account_closed", kind != Type::Void && !cancels && account.closed),
            ("debit_account_frozen", kind != Type::Void && !cancels && account.debits_frozen),
            ("insufficient_funds", is_checked && needed > 0 && account.available(self.held(&pay.from, now)) < needed),
        ];
        rules.into_iter().find(|(_, is_broken)| *is_broken).map_or("posted", |(code, _)| code)
    }

    /// What has to be available.
    fn needed(&self, pay: &Pay, held: i128, authorised: i128) -> i128 {
        let amount = i128::from(pay.amount_minor);
        match pay.payment_type {
            Type::Transfer | Type::Deposit | Type::Withdrawal => amount + on_top(pay),
            Type::FxExchange | Type::Journal => amount,
            Type::Authorise => amount,
            Type::Increment => amount - authorised,
            Type::Capture => amount - amount.min(held),
            Type::Refund => amount,
            Type::Reverse | Type::ChargebackReversal if !self.policy.force_reversals => amount,
            _ => 0,
        }
    }
}
