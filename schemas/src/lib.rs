//! The events on the topics: Avro schemas, Rust types, codecs.
//!
//! One type per event kind. The schema of a kind is `avro/<kind>.v<N>.avsc`; a version that has been published never
//! changes. Amounts are whole minor units in `long`, never floating point.

pub mod account;
pub mod aggregate;
pub mod alert;
mod avro;
pub mod codec;
pub mod dates;
pub mod decision;
pub mod exchange;
pub mod fee;
pub mod fraud;
pub mod json;
pub mod ledger;
pub mod limit;
pub mod notification;
pub mod payment;
pub mod payment_type;
pub mod status;

pub use account::{AccountCommand, AccountKind, AccountRequest, AccountStatus};
pub use aggregate::{AggregatedBalance, BalanceShare, NodeScope};
pub use alert::Alert;
pub use codec::{ASKS_OUTSIDE, CODECS};
pub use dates::{Date, PostingCalendar, PostingDates};
pub use decision::{Decision, RuleHit, Verdict};
pub use exchange::{Exchange, FxQuote};
pub use fee::{FeeCharge, FeeRefund, FeeTerms};
pub use fraud::{FeeSchedule, FeeTier, FraudLabel, FraudRules, FreeAllowance, Rule};
pub use ledger::{AccountBalance, EntryKind, Instruction, InstructionKind, LedgerEntry};
pub use limit::PaymentLimit;
pub use notification::{CustomerPreferences, Notification};
pub use payment::{
    CounterpartyProfile, Merchant, PayerProfile, Payment, PaymentBody, PaymentRequest, PricedPayment, ProfiledPayment,
    Remainder, ScoredPayment, ScreenedPayment,
};
pub use payment_type::PaymentType;
pub use status::{PaymentStatus, StatusCode, StatusPhase};
