//! The job of the chain benchmark: payments are validated, deduplicated, scored, priced and posted; instructions are
//! credited. Every step is one processor in one file; all of them run in one stage, because both inputs change accounts.
//!
//! Written for speed: values are read in one pass without a copy, texts of usual length are kept without an allocation,
//! state has fixed widths, and JSON is written as it is known to look. What is out of the ordinary, a text with an escape
//! for one, takes a slower way to the same result.

mod account;
mod charge_fee;
mod credit_account;
mod dedupe_payment;
mod event;
mod json;
mod outputs;
mod payment;
mod post_payment;
mod score_payment;
mod text;
mod time;
mod validate_payment;

use tidemill_core::{EventCodec, ProcessorSpec};

pub(crate) static PROCESSORS: &[&ProcessorSpec] = &[
    &validate_payment::SPEC,
    &dedupe_payment::SPEC,
    &score_payment::SPEC,
    &charge_fee::SPEC,
    &post_payment::SPEC,
    &credit_account::SPEC,
];

pub(crate) static CODECS: &[EventCodec] =
    &[outputs::ENTRY_CODEC, outputs::INSTRUCTION_CODEC, outputs::REJECTED_CODEC, outputs::BALANCE_CODEC];
