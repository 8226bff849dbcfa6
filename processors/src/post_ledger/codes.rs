//! The codes of the ledger, in order of precedence: of several that apply, the first is answered.
//!
//! [`PaymentCode`] and [`AccountCode`] are that order. What is not in them is said by the chain before the ledger.

use tidemill_core::{Class, CodeSpec};
use tidemill_schemas::PaymentType;

pub use super::payment_limits::codes::*;

/// Payments first, then accounts, then what must never be.
pub(super) const CODES: &[CodeSpec] = &[
    IDEMPOTENCY_CONFLICT,
    DEBIT_ACCOUNT_NOT_FOUND,
    CREDIT_ACCOUNT_NOT_FOUND,
    CURRENCY_MISMATCH,
    SETTLEMENT_ACCOUNT_REQUIRED,
    REFERENCE_NOT_FOUND,
    REFERENCE_NOT_OPEN,
    REFERENCE_MISMATCH,
    INCREMENT_NOT_HIGHER,
    CAPTURE_EXCEEDS_HOLD,
    REFUND_EXCEEDS_CAPTURED,
    ALREADY_CAPTURED,
    ALREADY_VOIDED,
    ALREADY_REVERSED,
    ALREADY_EXECUTED,
    ALREADY_CANCELLED,
    HOLD_EXPIRED,
    DEBIT_ACCOUNT_CLOSED,
    CREDIT_ACCOUNT_CLOSED,
    DEBIT_ACCOUNT_FROZEN,
    CREDIT_ACCOUNT_FROZEN,
    MERCHANT_NOT_ALLOWED,
    MERCHANT_CATEGORY_NOT_ALLOWED,
    MERCHANT_COUNTRY_NOT_ALLOWED,
    AMOUNT_LIMIT_EXCEEDED,
    DAY_AMOUNT_LIMIT_EXCEEDED,
    DAY_COUNT_LIMIT_EXCEEDED,
    WEEK_AMOUNT_LIMIT_EXCEEDED,
    WEEK_COUNT_LIMIT_EXCEEDED,
    MONTH_AMOUNT_LIMIT_EXCEEDED,
    MONTH_COUNT_LIMIT_EXCEEDED,
    ROLLING_AMOUNT_LIMIT_EXCEEDED,
    ROLLING_COUNT_LIMIT_EXCEEDED,
    LIFETIME_AMOUNT_LIMIT_EXCEEDED,
    LIFETIME_COUNT_LIMIT_EXCEEDED,
    LIMIT_EXCEEDED,
    AMOUNT_OVERFLOW,
    INSUFFICIENT_FUNDS,
    IN_SUSPENSE,
    ACCOUNT_RESERVED,
    ACCOUNT_ALREADY_OPEN,
    ACCOUNT_NOT_FOUND,
    ACCOUNT_CLOSED,
    ACCOUNT_NOT_EMPTY,
    LEDGER_UNBALANCED,
];

/// An enum of codes in order of precedence.
macro_rules! codes_in_order {
    ($(#[$doc:meta])* $name:ident { $($variant:ident => $spec:ident,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($variant,)+
        }

        impl $name {
            /// In order of precedence.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            pub fn spec(self) -> &'static CodeSpec {
                match self {
                    $(Self::$variant => &$spec,)+
                }
            }
        }
    };
}

codes_in_order! {
    /// Why a payment is not carried out, or comes back.
    PaymentCode {
        IdempotencyConflict => IDEMPOTENCY_CONFLICT,
        DebitAccountNotFound => DEBIT_ACCOUNT_NOT_FOUND,
        CreditAccountNotFound => CREDIT_ACCOUNT_NOT_FOUND,
        CurrencyMismatch => CURRENCY_MISMATCH,
        SettlementAccountRequired => SETTLEMENT_ACCOUNT_REQUIRED,
        ReferenceNotFound => REFERENCE_NOT_FOUND,
        ReferenceNotOpen => REFERENCE_NOT_OPEN,
        ReferenceMismatch => REFERENCE_MISMATCH,
        IncrementNotHigher => INCREMENT_NOT_HIGHER,
        CaptureExceedsHold => CAPTURE_EXCEEDS_HOLD,
        RefundExceedsCaptured => REFUND_EXCEEDS_CAPTURED,
        AlreadyCaptured => ALREADY_CAPTURED,
        AlreadyVoided => ALREADY_VOIDED,
        AlreadyReversed => ALREADY_REVERSED,
        AlreadyExecuted => ALREADY_EXECUTED,
        AlreadyCancelled => ALREADY_CANCELLED,
        HoldExpired => HOLD_EXPIRED,
        DebitAccountClosed => DEBIT_ACCOUNT_CLOSED,
        CreditAccountClosed => CREDIT_ACCOUNT_CLOSED,
        DebitAccountFrozen => DEBIT_ACCOUNT_FROZEN,
        CreditAccountFrozen => CREDIT_ACCOUNT_FROZEN,
        MerchantNotAllowed => MERCHANT_NOT_ALLOWED,
        MerchantCategoryNotAllowed => MERCHANT_CATEGORY_NOT_ALLOWED,
        MerchantCountryNotAllowed => MERCHANT_COUNTRY_NOT_ALLOWED,
        AmountLimitExceeded => AMOUNT_LIMIT_EXCEEDED,
        DayAmountLimitExceeded => DAY_AMOUNT_LIMIT_EXCEEDED,
        DayCountLimitExceeded => DAY_COUNT_LIMIT_EXCEEDED,
        WeekAmountLimitExceeded => WEEK_AMOUNT_LIMIT_EXCEEDED,
        WeekCountLimitExceeded => WEEK_COUNT_LIMIT_EXCEEDED,
        MonthAmountLimitExceeded => MONTH_AMOUNT_LIMIT_EXCEEDED,
        MonthCountLimitExceeded => MONTH_COUNT_LIMIT_EXCEEDED,
        RollingAmountLimitExceeded => ROLLING_AMOUNT_LIMIT_EXCEEDED,
        RollingCountLimitExceeded => ROLLING_COUNT_LIMIT_EXCEEDED,
        LifetimeAmountLimitExceeded => LIFETIME_AMOUNT_LIMIT_EXCEEDED,
        LifetimeCountLimitExceeded => LIFETIME_COUNT_LIMIT_EXCEEDED,
        LimitExceeded => LIMIT_EXCEEDED,
        AmountOverflow => AMOUNT_OVERFLOW,
        InsufficientFunds => INSUFFICIENT_FUNDS,
    }
}

codes_in_order! {
    /// Why an account request is not carried out.
    AccountCode {
        IdempotencyConflict => IDEMPOTENCY_CONFLICT,
        AccountReserved => ACCOUNT_RESERVED,
        AccountAlreadyOpen => ACCOUNT_ALREADY_OPEN,
        AccountNotFound => ACCOUNT_NOT_FOUND,
        AccountClosed => ACCOUNT_CLOSED,
        CurrencyMismatch => CURRENCY_MISMATCH,
        AccountNotEmpty => ACCOUNT_NOT_EMPTY,
    }
}

impl PaymentCode {
    /// The codes that the debit account's owner can answer a payment of this type with, in order of precedence.
    pub fn of(payment_type: PaymentType) -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().filter(move |code| code.answers(payment_type))
    }

    fn answers(self, payment_type: PaymentType) -> bool {
        use PaymentType as Type;
        let takes_money = !matches!(payment_type, Type::Void | Type::Cancel);
        let is_cancel = payment_type == Type::Cancel;
        let is_of_hold = matches!(payment_type, Type::Increment | Type::Capture | Type::Void | Type::ForcePost);
        let gives_back =
            matches!(payment_type, Type::Refund | Type::Reverse | Type::Chargeback | Type::ChargebackReversal);
        // What is owed already is counted and not refused.
        let is_owed = matches!(payment_type, Type::Capture | Type::ForcePost | Type::Chargeback);
        let is_limited = takes_money && !is_owed;
        match self {
            Self::IdempotencyConflict | Self::DebitAccountNotFound | Self::CurrencyMismatch => true,
            Self::DebitAccountClosed | Self::DebitAccountFrozen | Self::AmountOverflow => takes_money,
            Self::SettlementAccountRequired => payment_type == Type::Deposit,
            Self::ReferenceNotFound | Self::ReferenceNotOpen => is_of_hold || gives_back || is_cancel,
            Self::ReferenceMismatch => is_of_hold || is_cancel || payment_type == Type::Reverse,
            Self::AlreadyExecuted | Self::AlreadyCancelled => is_cancel,
            Self::IncrementNotHigher => payment_type == Type::Increment,
            Self::CaptureExceedsHold => payment_type == Type::Capture,
            Self::RefundExceedsCaptured | Self::AlreadyReversed => gives_back,
            Self::AlreadyCaptured => is_of_hold,
            Self::AlreadyVoided => is_of_hold && payment_type != Type::ForcePost,
            Self::HoldExpired => payment_type == Type::Authorise || (is_of_hold && payment_type != Type::ForcePost),
            Self::LimitExceeded => payment_type == Type::Authorise || payment_type.can_be_scheduled(),
            Self::InsufficientFunds => takes_money && !matches!(payment_type, Type::ForcePost | Type::Chargeback),
            Self::MerchantNotAllowed | Self::MerchantCategoryNotAllowed | Self::MerchantCountryNotAllowed => is_limited,
            Self::AmountLimitExceeded
            | Self::DayAmountLimitExceeded
            | Self::WeekAmountLimitExceeded
            | Self::MonthAmountLimitExceeded
            | Self::RollingAmountLimitExceeded
            | Self::LifetimeAmountLimitExceeded => is_limited,
            // An increment is no further payment.
            Self::DayCountLimitExceeded
            | Self::WeekCountLimitExceeded
            | Self::MonthCountLimitExceeded
            | Self::RollingCountLimitExceeded
            | Self::LifetimeCountLimitExceeded => is_limited && payment_type != Type::Increment,
            // Only the credit account's owner knows; the money comes back with these as its reason.
            Self::CreditAccountNotFound | Self::CreditAccountClosed | Self::CreditAccountFrozen => false,
        }
    }
}

/// The code of everything that was carried out.
pub(super) const OK: &str = "ok";

pub const IDEMPOTENCY_CONFLICT: CodeSpec = CodeSpec {
    code: "idempotency_conflict",
    class: Class::Business,
    summary: "The id was used before with another content; the first outcome stands.",
    remedy: "Give every new payment or account request an id of its own; resend an old one unchanged.",
};

pub const DEBIT_ACCOUNT_NOT_FOUND: CodeSpec = business(
    "debit_account_not_found",
    "The account to be debited does not exist.",
    "Open the account first, then send the payment under a new id.",
);

pub const CREDIT_ACCOUNT_NOT_FOUND: CodeSpec = business(
    "credit_account_not_found",
    "The account to be credited does not exist; the money went back to the payer.",
    "Correct the credit account or open it, then send the payment under a new id.",
);

pub const CURRENCY_MISMATCH: CodeSpec = business(
    "currency_mismatch",
    "The account is kept in another currency.",
    "Send the request in the currency of the account, a payment in that of both accounts, under a new id.",
);

pub const SETTLEMENT_ACCOUNT_REQUIRED: CodeSpec = business(
    "settlement_account_required",
    "A deposit does not come from a settlement account, or a withdrawal does not go to one.",
    "Name an account of kind asset or external on the outer side, or send a transfer.",
);

pub const REFERENCE_NOT_FOUND: CodeSpec = business(
    "reference_not_found",
    "No payment is known by the reference, this source and these accounts.",
    "Check reference, source and accounts: a hold is named by its own debit account, a payment that is given back by its \
     two accounts in exchange. One that was just made may not have arrived yet: send again under a new id.",
);

pub const REFERENCE_NOT_OPEN: CodeSpec = business(
    "reference_not_open",
    "The payment of the reference was refused, or is of a type to which this cannot be done.",
    "Refer captures to the authorisation, refunds to the capture or transfer.",
);

pub const REFERENCE_MISMATCH: CodeSpec = business(
    "reference_mismatch",
    "Account or amount differ from the payment of the reference.",
    "Send the payee of the authorisation, and on void and reverse the amount that is left or was paid.",
);

pub const INCREMENT_NOT_HIGHER: CodeSpec = business(
    "increment_not_higher",
    "The new total of the hold is not more than what is authorised.",
    "Send the new total, not the difference; to hold less, void and authorise anew.",
);

pub const CAPTURE_EXCEEDS_HOLD: CodeSpec = business(
    "capture_exceeds_hold",
    "All captures together would be more than what was authorised and the settings allow beyond.",
    "Capture less, or raise the hold by an increment first.",
);

pub const REFUND_EXCEEDS_CAPTURED: CodeSpec = business(
    "refund_exceeds_captured",
    "Refunds and chargebacks together would be more than what was paid.",
    "Give back no more than is left of the payment.",
);

pub const ALREADY_CAPTURED: CodeSpec = business(
    "already_captured",
    "The hold has been captured finally.",
    "Nothing is left to be done; refer a refund to the capture.",
);

pub const ALREADY_VOIDED: CodeSpec =
    business("already_voided", "The hold has been voided.", "Authorise anew if money is still to be taken.");

pub const ALREADY_REVERSED: CodeSpec =
    business("already_reversed", "The payment has been reversed.", "Nothing is left to be done.");

pub const ALREADY_EXECUTED: CodeSpec = business(
    "already_executed",
    "The payment no longer waits: its time has come and it was carried out.",
    "Ask for the money back by a refund, or undo the payment by a reversal.",
);

pub const ALREADY_CANCELLED: CodeSpec =
    business("already_cancelled", "The payment has been called off.", "Nothing is left to be done.");

pub const HOLD_EXPIRED: CodeSpec = business(
    "hold_expired",
    "The hold has expired by the time of the account.",
    "Authorise anew, or send a forced post if the money is owed all the same.",
);

pub const DEBIT_ACCOUNT_CLOSED: CodeSpec = business(
    "debit_account_closed",
    "The account to be debited is closed.",
    "Use another account; a closed one is not opened again.",
);

pub const CREDIT_ACCOUNT_CLOSED: CodeSpec = business(
    "credit_account_closed",
    "The account to be credited is closed; the money went back to the payer.",
    "Use another account; a closed one is not opened again.",
);

pub const DEBIT_ACCOUNT_FROZEN: CodeSpec = business(
    "debit_account_frozen",
    "Debits of the account are frozen.",
    "Thaw the account, then send the payment under a new id.",
);

pub const CREDIT_ACCOUNT_FROZEN: CodeSpec = business(
    "credit_account_frozen",
    "Credits of the account are frozen; the money went back to the payer.",
    "Thaw the account, then send the payment under a new id.",
);

pub const LIMIT_EXCEEDED: CodeSpec = business(
    "limit_exceeded",
    "The account has as many open holds, or payments that wait, as the settings allow.",
    "Capture or void holds or cancel payments that are no longer needed, then send the payment under a new id.",
);

pub const AMOUNT_OVERFLOW: CodeSpec = business(
    "amount_overflow",
    "A balance would leave the range of 64-bit minor units.",
    "Send a smaller amount under a new id.",
);

pub const INSUFFICIENT_FUNDS: CodeSpec = business(
    "insufficient_funds",
    "The available balance is less than what the payment needs.",
    "Fund the account or raise its limit, then send the payment under a new id.",
);

pub const IN_SUSPENSE: CodeSpec = business(
    "in_suspense",
    "Returned money could not be given back to its payer and stands in a suspense account.",
    "Find out whom the money belongs to and move it on; the alert names payment and account.",
);

pub const ACCOUNT_RESERVED: CodeSpec = business(
    "account_reserved",
    "The name or kind is reserved for the ledger's internal accounts.",
    "Choose a name that starts with none of `in_transit.`, `fees.`, `suspense.`, `fx_position.`, `fx_spread.`, `clearing.`, \
     and a kind for customers.",
);

pub const ACCOUNT_ALREADY_OPEN: CodeSpec = business(
    "account_already_open",
    "An account of that name exists, or existed and was closed.",
    "Choose another name.",
);

pub const ACCOUNT_NOT_FOUND: CodeSpec =
    business("account_not_found", "The account does not exist.", "Open the account first.");

pub const ACCOUNT_CLOSED: CodeSpec =
    business("account_closed", "The account is closed.", "Use another account; a closed one is not opened again.");

pub const ACCOUNT_NOT_EMPTY: CodeSpec = business(
    "account_not_empty",
    "The account has a balance or open holds.",
    "Bring balance and holds to zero, then close the account under a new request id.",
);

pub const LEDGER_UNBALANCED: CodeSpec = CodeSpec {
    code: "ledger_unbalanced",
    class: Class::Invariant,
    summary: "The changes of one record do not add up to zero, or an instruction contradicts itself.",
    remedy: "The worker has stopped and nothing of the record was written. Report it with the record, and start the \
             ledger again only when the cause is known.",
};

const fn business(code: &'static str, summary: &'static str, remedy: &'static str) -> CodeSpec {
    CodeSpec { code, class: Class::Business, summary, remedy }
}
