//! The codes of limits on payments, in order of precedence.

use tidemill_core::{Class, CodeSpec};

pub const MERCHANT_NOT_ALLOWED: CodeSpec =
    restriction("merchant_not_allowed", "A limit of the account, customer or card does not allow the merchant.");

pub const MERCHANT_CATEGORY_NOT_ALLOWED: CodeSpec = restriction(
    "merchant_category_not_allowed",
    "A limit of the account, customer or card does not allow the category of the merchant.",
);

pub const MERCHANT_COUNTRY_NOT_ALLOWED: CodeSpec = restriction(
    "merchant_country_not_allowed",
    "A limit of the account, customer or card does not allow the country of the merchant.",
);

pub const AMOUNT_LIMIT_EXCEEDED: CodeSpec = CodeSpec {
    code: "amount_limit_exceeded",
    class: Class::Business,
    summary: "The amount is more than one payment may be.",
    remedy: "Send a smaller amount under a new id, or raise the limit that the reason names.",
};

pub const DAY_AMOUNT_LIMIT_EXCEEDED: CodeSpec =
    counted("day_amount_limit_exceeded", "The payment is more than the account's limit leaves for the day.");

pub const DAY_COUNT_LIMIT_EXCEEDED: CodeSpec =
    counted("day_count_limit_exceeded", "The account's limit leaves no further payment for the day.");

pub const WEEK_AMOUNT_LIMIT_EXCEEDED: CodeSpec =
    counted("week_amount_limit_exceeded", "The payment is more than the account's limit leaves for the week.");

pub const WEEK_COUNT_LIMIT_EXCEEDED: CodeSpec =
    counted("week_count_limit_exceeded", "The account's limit leaves no further payment for the week.");

pub const MONTH_AMOUNT_LIMIT_EXCEEDED: CodeSpec =
    counted("month_amount_limit_exceeded", "The payment is more than the account's limit leaves for the month.");

pub const MONTH_COUNT_LIMIT_EXCEEDED: CodeSpec =
    counted("month_count_limit_exceeded", "The account's limit leaves no further payment for the month.");

pub const ROLLING_AMOUNT_LIMIT_EXCEEDED: CodeSpec =
    counted("rolling_amount_limit_exceeded", "The payment is more than the account's limit leaves for its window.");

pub const ROLLING_COUNT_LIMIT_EXCEEDED: CodeSpec =
    counted("rolling_count_limit_exceeded", "The account's limit leaves no further payment for its window.");

pub const LIFETIME_AMOUNT_LIMIT_EXCEEDED: CodeSpec =
    counted("lifetime_amount_limit_exceeded", "The payment is more than the account's limit leaves for good.");

pub const LIFETIME_COUNT_LIMIT_EXCEEDED: CodeSpec =
    counted("lifetime_count_limit_exceeded", "The account's limit leaves no further payment for good.");

const fn restriction(code: &'static str, summary: &'static str) -> CodeSpec {
    let remedy = "Pay another merchant or by other means under a new id, or change the limit that the reason names. A \
                  payment that names no merchant is not allowed where only some are.";
    CodeSpec { code, class: Class::Business, summary, remedy }
}

const fn counted(code: &'static str, summary: &'static str) -> CodeSpec {
    let remedy = "The reason names the limit, what it leaves and when it leaves more. Send less or later under a new id, \
                  or raise the limit; `tidemill limits ACCOUNT` shows what has been used.";
    CodeSpec { code, class: Class::Business, summary, remedy }
}
