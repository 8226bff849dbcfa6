//! The codes of the ledger, in order of precedence: of several that apply, the first is answered.

use tidemill_core::{Class, CodeSpec};

/// Payments first, then what makes the payee's side send money back, then accounts, then what must never be.
pub(super) const CODES: &[CodeSpec] = &[
    IDEMPOTENCY_CONFLICT,
    DEBIT_ACCOUNT_NOT_FOUND,
    CREDIT_ACCOUNT_NOT_FOUND,
    CURRENCY_MISMATCH,
    DEBIT_ACCOUNT_CLOSED,
    CREDIT_ACCOUNT_CLOSED,
    DEBIT_ACCOUNT_FROZEN,
    CREDIT_ACCOUNT_FROZEN,
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
    "An account of the payment is kept in another currency.",
    "Send the payment in the currency of both accounts, under a new id.",
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

pub const AMOUNT_OVERFLOW: CodeSpec = business(
    "amount_overflow",
    "A balance would leave the range of 64-bit minor units.",
    "Send a smaller amount under a new id.",
);

pub const INSUFFICIENT_FUNDS: CodeSpec = business(
    "insufficient_funds",
    "The available balance is less than amount and fee.",
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
    "Choose a name that starts with none of `in_transit.`, `fees.`, `suspense.` and a kind for customers.",
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
