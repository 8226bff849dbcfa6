//! Reads a request about an account and makes a command of it, or says which rule it breaks.
//!
//! - Input: raw records, keyed by account. Passes on `account_command`, keyed by account.
//! - Forms: as `decode_payment`: JSON, CloudEvents, or Avro with a schema registered for `account_request`.
//! - Types: `open` (`currency` required; `kind` one of `KINDS` below, `customer` if absent; `limit` the
//!   overdraft limit, `"0"` if absent; `parent` the account it is added up in), `freeze` and `thaw` (`kind` `debits`, `credits`
//!   or `both`, `both` if absent), `change_limit` (`currency` and `limit` required), `change_segment`
//!   (`segment`, none if absent), `close` (`holds` `refuse` or `release`,
//!   `refuse` if absent). Fields that a type has no use for are not looked at.
//! - The key of the record must be the account, because the account's state lies in the partition of its key.
//! - Store: none. Time: `created_at`.
//! - Codes, first wins: `payload_unreadable`, `schema_unknown`, `schema_mismatch`, `field_missing`, `field_empty`,
//!   `field_too_long`, `field_malformed`, `type_unknown`, `key_not_account`, `amount_malformed`, `limit_negative`,
//!   `amount_too_large`, `currency_unknown`, `amount_too_precise`, `kind_unknown`, `time_malformed`,
//!   `time_out_of_range`.
//! - Answer: port `account_status`, `refused`, when id and account can be repeated to the sender; otherwise the record
//!   goes to the dead letters.
//!
//! Example: `{"id":"r-1","source":"core","type":"open","account":"acc-1","currency":"EUR","limit":"100.00",
//! "created_at":"2026-01-31T12:00:00Z"}` opens an account that may go 100 EUR below zero.

#[cfg(test)]
mod tests;

use tidemill_core::processor::{MovesMoney, Signature};
use tidemill_core::settings::SettingsError;
use tidemill_core::{
    Answer, AnyEvent, Class, CodeSpec, Context, Currency, EventTime, Flow, Meta, PortSpec, Processor, ProcessorSpec,
    RawEvent, Reject, Settings, StateError,
};
use tidemill_schemas::account::{AccountAction, OpenHolds, Sides};
use tidemill_schemas::{AccountCommand, AccountKind, AccountRequest, AccountStatus, StatusPhase};

use crate::envelope::{self, Config, PAYLOAD_UNREADABLE, Request, SCHEMA_MISMATCH, SCHEMA_UNKNOWN};
use crate::fields::{
    self, AMOUNT_MALFORMED, AMOUNT_TOO_LARGE, AMOUNT_TOO_PRECISE, AmountText, CURRENCY_UNKNOWN, FIELD_EMPTY,
    FIELD_MALFORMED, FIELD_MISSING, FIELD_TOO_LONG, Fault, Field, Rule, TIME_MALFORMED, TIME_OUT_OF_RANGE,
    TYPE_UNKNOWN, presentable,
};
use crate::strict_json::{Fields, Slot};

pub static SPEC: ProcessorSpec = ProcessorSpec {
    name: "decode_account",
    summary: "Reads a request about an account and makes a command of it.",
    signatures: &[Signature { takes: RawEvent::KIND, gives: Some(AccountCommand::KIND) }],
    stores: &[],
    ports: &[PortSpec {
        name: ACCOUNT_STATUS,
        kind: AccountStatus::KIND,
        summary: "The answer to an account request that breaks a rule.",
    }],
    references: &[],
    codes: &[
        PAYLOAD_UNREADABLE,
        SCHEMA_UNKNOWN,
        SCHEMA_MISMATCH,
        FIELD_MISSING,
        FIELD_EMPTY,
        FIELD_TOO_LONG,
        FIELD_MALFORMED,
        TYPE_UNKNOWN,
        KEY_NOT_ACCOUNT,
        AMOUNT_MALFORMED,
        LIMIT_NEGATIVE,
        AMOUNT_TOO_LARGE,
        CURRENCY_UNKNOWN,
        AMOUNT_TOO_PRECISE,
        KIND_UNKNOWN,
        TIME_MALFORMED,
        TIME_OUT_OF_RANGE,
    ],
    decodes: Some(AccountRequest::KIND),
    moves_money: MovesMoney::No,
    example: "value_bytes_max = 1048576\nunknown_fields = \"reject\"\n",
    build,
};

const KEY_NOT_ACCOUNT: CodeSpec = CodeSpec {
    code: "key_not_account",
    class: Class::Validation,
    summary: "The key of the record is not the account it is about.",
    remedy: "Produce account requests with the account as key, so that they reach the account's partition.",
};

const LIMIT_NEGATIVE: CodeSpec = CodeSpec {
    code: "limit_negative",
    class: Class::Validation,
    summary: "The overdraft limit is negative.",
    remedy: "Send the limit as how far the account may go below zero: a number without a sign.",
};

const KIND_UNKNOWN: CodeSpec = CodeSpec {
    code: "kind_unknown",
    class: Class::Validation,
    summary: "The kind does not go with the type of the request.",
    remedy: "On open use customer, merchant, external, asset, liability, income or expense; on freeze and thaw debits, credits \
             or both; on close, in `holds`, refuse or release.",
};

const ACCOUNT_STATUS: &str = "account_status";

fn build(settings: &Settings) -> Result<Box<dyn Processor>, Vec<SettingsError>> {
    Ok(Box::new(DecodeAccount { config: Config::parse(settings)? }))
}

struct DecodeAccount {
    config: Config,
}

impl Processor for DecodeAccount {
    fn process(&self, _raw: AnyEvent, context: &mut Context<'_>) -> Result<Flow, Reject> {
        let request: AccountRequest = envelope::read(&self.config, context)?;
        match check(&request, context.record.key) {
            Ok((action, created_at)) => Ok(Flow::Continue(Box::new(command(request, action, created_at)))),
            Err(fault) => Err(Reject::from(fault).about(Box::new(request))),
        }
    }

    fn on_reject(&self, reject: &Reject, context: &mut Context<'_>) -> Result<Answer, StateError> {
        let request = reject.subject().and_then(|subject| subject.downcast_ref::<AccountRequest>());
        let status = request.and_then(|request| refusal(request, reject, context.record.event_time));
        let Some(status) = status else { return Ok(Answer::NotMine) };
        context.effects.emit(ACCOUNT_STATUS, Box::new(status) as AnyEvent);
        Ok(Answer::Given)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum RequestType {
    Open,
    Freeze,
    Thaw,
    ChangeLimit,
    ChangeSegment,
    Close,
}

impl RequestType {
    fn parse(name: &str) -> Result<Self, Fault> {
        Ok(match name {
            "open" => Self::Open,
            "freeze" => Self::Freeze,
            "thaw" => Self::Thaw,
            "change_limit" => Self::ChangeLimit,
            "change_segment" => Self::ChangeSegment,
            "close" => Self::Close,
            _ => return Err(Fault(&TYPE_UNKNOWN, "/type")),
        })
    }
}

fn check(request: &AccountRequest, key: Option<&[u8]>) -> Result<(AccountAction, EventTime), Fault> {
    let (currency_rule, limit_rule) = match request.request_type.as_deref() {
        Some("open") => (Rule::Required, Rule::Optional),
        Some("change_limit") => (Rule::Required, Rule::Required),
        _ => (Rule::Optional, Rule::Optional),
    };
    fields::check(&[
        Field { pointer: "/id", text: request.id.as_deref(), rule: Rule::Required },
        Field { pointer: "/source", text: request.source.as_deref(), rule: Rule::Required },
        Field { pointer: "/type", text: request.request_type.as_deref(), rule: Rule::Required },
        Field { pointer: "/account", text: request.account.as_deref(), rule: Rule::Account },
        Field { pointer: "/currency", text: request.currency.as_deref(), rule: currency_rule },
        Field { pointer: "/created_at", text: request.created_at.as_deref(), rule: Rule::Required },
        Field { pointer: "/customer", text: request.customer.as_deref(), rule: Rule::Optional },
        Field { pointer: "/kind", text: request.kind.as_deref(), rule: Rule::Optional },
        Field { pointer: "/limit", text: request.limit.as_deref(), rule: limit_rule },
        Field { pointer: "/parent", text: request.parent.as_deref(), rule: Rule::Optional },
        Field { pointer: "/holds", text: request.holds.as_deref(), rule: Rule::Optional },
        Field { pointer: "/segment", text: request.segment.as_deref(), rule: Rule::Optional },
    ])?;
    let request_type = RequestType::parse(text(&request.request_type))?;
    if key != request.account.as_deref().map(str::as_bytes) {
        return Err(Fault(&KEY_NOT_ACCOUNT, "/account"));
    }
    let action = match request_type {
        RequestType::Open => open(request)?,
        RequestType::Freeze => AccountAction::Freeze(sides(request)?),
        RequestType::Thaw => AccountAction::Thaw(sides(request)?),
        RequestType::ChangeLimit => {
            let (currency, limit_minor) = limit(request)?;
            AccountAction::ChangeLimit { limit_minor, currency: currency.code().to_owned() }
        }
        RequestType::ChangeSegment => AccountAction::ChangeSegment { segment: request.segment.clone() },
        RequestType::Close => AccountAction::Close(open_holds(request)?),
    };
    let created_at = fields::time(text(&request.created_at), "/created_at")?;
    Ok((action, created_at))
}

/// The kinds that can be asked for. The others are accounts that the ledger opens for itself.
const KINDS: [(&str, AccountKind); 7] = [
    ("customer", AccountKind::Customer),
    ("merchant", AccountKind::Merchant),
    ("external", AccountKind::External),
    ("asset", AccountKind::Asset),
    ("liability", AccountKind::Liability),
    ("income", AccountKind::Income),
    ("expense", AccountKind::Expense),
];

fn open(request: &AccountRequest) -> Result<AccountAction, Fault> {
    let (currency, limit_minor) = limit(request)?;
    let asked = request.kind.as_deref().unwrap_or("customer");
    let kind = KINDS.into_iter().find(|(name, _)| *name == asked);
    let (_, kind) = kind.ok_or(Fault(&KIND_UNKNOWN, "/kind"))?;
    let (customer, parent) = (request.customer.clone(), request.parent.clone());
    Ok(AccountAction::Open { customer, parent, currency: currency.code().to_owned(), kind, limit_minor })
}

fn limit(request: &AccountRequest) -> Result<(Currency, i64), Fault> {
    let limit = AmountText::parse(request.limit.as_deref().unwrap_or("0"), "/limit")?;
    if limit.is_negative() {
        return Err(Fault(&LIMIT_NEGATIVE, "/limit"));
    }
    limit.check_size()?;
    let currency = fields::currency(text(&request.currency), "/currency")?;
    Ok((currency, limit.in_currency(currency)?))
}

fn open_holds(request: &AccountRequest) -> Result<OpenHolds, Fault> {
    match request.holds.as_deref() {
        None | Some("refuse") => Ok(OpenHolds::Refuse),
        Some("release") => Ok(OpenHolds::Release),
        Some(_) => Err(Fault(&KIND_UNKNOWN, "/holds")),
    }
}

fn sides(request: &AccountRequest) -> Result<Sides, Fault> {
    match request.kind.as_deref() {
        None | Some("both") => Ok(Sides::Both),
        Some("debits") => Ok(Sides::Debits),
        Some("credits") => Ok(Sides::Credits),
        Some(_) => Err(Fault(&KIND_UNKNOWN, "/kind")),
    }
}

/// A required field, after `fields::check` has seen that it is there.
fn text(field: &Option<String>) -> &str {
    field.as_deref().unwrap_or_default()
}

fn command(request: AccountRequest, action: AccountAction, created_at: EventTime) -> AccountCommand {
    AccountCommand {
        request_id: request.id.unwrap_or_default(),
        source: request.source.unwrap_or_default(),
        account: request.account.unwrap_or_default(),
        created_at,
        action,
    }
}

/// The answer, if the sender could know the request by it. Only what can be shown is repeated.
fn refusal(request: &AccountRequest, reject: &Reject, record_time: EventTime) -> Option<AccountStatus> {
    let shown = |field: &Option<String>| presentable(field.as_ref()).cloned().unwrap_or_default();
    Some(AccountStatus {
        meta: Meta::default(),
        request_id: presentable(request.id.as_ref())?.clone(),
        source: shown(&request.source),
        account_id: presentable(request.account.as_ref())?.clone(),
        action: shown(&request.request_type),
        status: "refused".to_owned(),
        code: reject.code().code.to_owned(),
        reason: Some(reject.message().to_owned()),
        event_time: fields::answer_time(fields::time(text(&request.created_at), "/created_at"), record_time),
        phase: StatusPhase::Outcome,
    })
}

impl Request for AccountRequest {
    type Draft = Draft;

    fn finish(Draft(request): Draft) -> Self {
        request
    }

    fn id(&mut self) -> &mut Option<String> {
        &mut self.id
    }

    fn source(&mut self) -> &mut Option<String> {
        &mut self.source
    }
}

/// An account request while its JSON is being read.
#[derive(Debug, Default)]
pub(crate) struct Draft(AccountRequest);

impl Fields for Draft {
    fn field(&mut self, name: &str) -> Option<(&'static str, Slot<'_>)> {
        let Self(request) = self;
        Some(match name {
            "id" => ("id", Slot::Text(&mut request.id)),
            "source" => ("source", Slot::Text(&mut request.source)),
            "type" => ("type", Slot::Text(&mut request.request_type)),
            "account" => ("account", Slot::Text(&mut request.account)),
            "customer" => ("customer", Slot::Text(&mut request.customer)),
            "currency" => ("currency", Slot::Text(&mut request.currency)),
            "kind" => ("kind", Slot::Text(&mut request.kind)),
            "limit" => ("limit", Slot::Text(&mut request.limit)),
            "created_at" => ("created_at", Slot::Text(&mut request.created_at)),
            "parent" => ("parent", Slot::Text(&mut request.parent)),
            "holds" => ("holds", Slot::Text(&mut request.holds)),
            "segment" => ("segment", Slot::Text(&mut request.segment)),
            _ => return None,
        })
    }
}
