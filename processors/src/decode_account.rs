//! Reads a request about an account and makes a command of it, or says which rule it breaks.
//!
//! - Input: raw records, keyed by account. Passes on `account_command`, keyed by account.
//! - Forms: as `decode_payment`: JSON, CloudEvents, or Avro with a schema registered for `account_request`.
//! - Types: `open` (`currency` required; `kind` `customer`, `merchant` or `external`, `customer` if absent; `limit` the
//!   overdraft limit, `"0"` if absent), `freeze` and `thaw` (`kind` `debits`, `credits` or `both`, `both` if absent),
//!   `close`. Fields that a type has no use for are not looked at.
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

use tidemill_core::processor::{MovesMoney, Signature};
use tidemill_core::settings::SettingsError;
use tidemill_core::{
    Answer, AnyEvent, Class, CodeSpec, Context, EventTime, Flow, Meta, PortSpec, Processor, ProcessorSpec, RawEvent,
    Reject, Settings, StateError,
};
use tidemill_schemas::account::{AccountAction, Sides};
use tidemill_schemas::{AccountCommand, AccountKind, AccountRequest, AccountStatus};

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
    remedy: "On open use customer, merchant or external; on freeze and thaw use debits, credits or both.",
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
    Close,
}

impl RequestType {
    fn parse(name: &str) -> Result<Self, Fault> {
        Ok(match name {
            "open" => Self::Open,
            "freeze" => Self::Freeze,
            "thaw" => Self::Thaw,
            "close" => Self::Close,
            _ => return Err(Fault(&TYPE_UNKNOWN, "/type")),
        })
    }
}

fn check(request: &AccountRequest, key: Option<&[u8]>) -> Result<(AccountAction, EventTime), Fault> {
    let currency_rule = match request.request_type.as_deref() {
        Some("open") => Rule::Required,
        _ => Rule::Optional,
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
        Field { pointer: "/limit", text: request.limit.as_deref(), rule: Rule::Optional },
    ])?;
    let request_type = RequestType::parse(text(&request.request_type))?;
    if key != request.account.as_deref().map(str::as_bytes) {
        return Err(Fault(&KEY_NOT_ACCOUNT, "/account"));
    }
    let action = match request_type {
        RequestType::Open => open(request)?,
        RequestType::Freeze => AccountAction::Freeze(sides(request)?),
        RequestType::Thaw => AccountAction::Thaw(sides(request)?),
        RequestType::Close => AccountAction::Close,
    };
    let created_at = fields::time(text(&request.created_at), "/created_at")?;
    Ok((action, created_at))
}

fn open(request: &AccountRequest) -> Result<AccountAction, Fault> {
    let limit = AmountText::parse(request.limit.as_deref().unwrap_or("0"), "/limit")?;
    if limit.is_negative() {
        return Err(Fault(&LIMIT_NEGATIVE, "/limit"));
    }
    limit.check_size()?;
    let currency = fields::currency(text(&request.currency), "/currency")?;
    let limit_minor = limit.in_currency(currency)?;
    let kind = match request.kind.as_deref() {
        None | Some("customer") => AccountKind::Customer,
        Some("merchant") => AccountKind::Merchant,
        Some("external") => AccountKind::External,
        // The other kinds are accounts that the ledger opens for itself.
        Some(_) => return Err(Fault(&KIND_UNKNOWN, "/kind")),
    };
    let currency = currency.code().to_owned();
    Ok(AccountAction::Open { customer: request.customer.clone(), currency, kind, limit_minor })
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
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use tidemill_core::Outcome;
    use tidemill_testkit::{Driver, Ran, TestRecord, rows};

    use super::*;

    const AT: &str = "2026-01-31T12:00:00Z";

    fn send(key: &str, json: &str) -> Ran {
        let mut record = TestRecord::value(json);
        record.key = (!key.is_empty()).then(|| key.as_bytes().to_vec());
        Driver::new(&[(&SPEC, "")]).send(&record)
    }

    /// The action of the command, or the code and the field of the reject.
    fn result(ran: &Ran) -> String {
        match &ran.reject {
            Some(reject) => format!("{} {}", ran.code(), reject.field().unwrap_or_default()).trim_end().to_owned(),
            None => format!("{:?}", ran.passed_as::<AccountCommand>().action),
        }
    }

    #[test]
    fn commands_and_rejects() {
        let open = "Open { customer: None, currency: \"EUR\", kind:";
        let table = format!(
            r#"
            rest                                                  | result
            "type":"open","currency":"EUR"                        | {open} Customer, limit_minor: 0 }}
            "type":"open","currency":"EUR","limit":"100.5"        | {open} Customer, limit_minor: 10050 }}
            "type":"open","currency":"EUR","kind":"merchant"      | {open} Merchant, limit_minor: 0 }}
            "type":"open","currency":"EUR","kind":"external"      | {open} External, limit_minor: 0 }}
            "type":"open","currency":"EUR","kind":"suspense"      | kind_unknown /kind
            "type":"open"                                         | field_missing /currency
            "type":"open","currency":""                           | field_empty /currency
            "type":"open","currency":"eur"                        | currency_unknown /currency
            "type":"open","currency":"EUR","limit":"-1"           | limit_negative /limit
            "type":"open","currency":"EUR","limit":"1,5"          | amount_malformed /limit
            "type":"open","currency":"EUR","limit":"1.005"        | amount_too_precise /limit
            "type":"open","currency":"EUR","limit":"99999999999999" | amount_too_large /limit
            "type":"open","currency":"EUR","limit":100            | schema_mismatch /limit
            "type":"freeze"                                       | Freeze(Both)
            "type":"freeze","kind":"debits"                       | Freeze(Debits)
            "type":"thaw","kind":"credits"                        | Thaw(Credits)
            "type":"thaw","kind":"customer"                       | kind_unknown /kind
            "type":"close"                                        | Close
            "type":"delete"                                       | type_unknown /type
            "colour":"red"                                        | field_missing /type
            "#
        );
        for row in rows(&table) {
            let json = format!(r#"{{"id":"r","source":"core","account":"a","created_at":"{AT}",{}}}"#, row["rest"]);
            assert_eq!(result(&send("a", &json)), row["result"], "{}", row["rest"]);
        }
    }

    #[test]
    fn fields_of_every_type() {
        let table = r#"
            key        | id   | account      | created_at           | result
            a          | r    | a            | 2026-01-31T12:00:00Z | Close
            a          | r    | b            | 2026-01-31T12:00:00Z | key_not_account /account
            ~          | r    | a            | 2026-01-31T12:00:00Z | key_not_account /account
            a          | ~    | a            | 2026-01-31T12:00:00Z | field_missing /id
            fees.0.EUR | r    | fees.0.EUR   | 2026-01-31T12:00:00Z | field_malformed /account
            a          | r    | a            | noon                 | time_malformed /created_at
            a          | r    | a            | 1970-01-01T00:00:00Z | time_out_of_range /created_at
            b          | r    | a            | noon                 | key_not_account /account
        "#;
        for row in rows(table) {
            let text = |name: &str| if row[name] == "~" { "null".to_owned() } else { format!("{:?}", row[name]) };
            let json = format!(
                r#"{{"id":{},"source":"core","type":"close","account":{},"created_at":{}}}"#,
                text("id"),
                text("account"),
                text("created_at")
            );
            let key = if row["key"] == "~" { "" } else { row["key"] };
            assert_eq!(result(&send(key, &json)), row["result"], "{row:?}");
        }
    }

    #[test]
    fn a_reject_is_answered_when_id_and_account_can_be_repeated() {
        let ran = send("b", &format!(r#"{{"id":"r","source":"s","type":"close","account":"a","created_at":"{AT}"}}"#));
        assert_eq!(ran.outcome, Outcome::Rejected("key_not_account"));
        let statuses = ran.on::<AccountStatus>(ACCOUNT_STATUS);
        let [status] = statuses.as_slice() else { panic!("{statuses:?}") };
        assert_eq!((status.request_id.as_str(), status.account_id.as_str()), ("r", "a"));
        assert_eq!((status.status.as_str(), status.code.as_str()), ("refused", "key_not_account"));
        assert_eq!(status.event_time.to_string(), AT);
        for json in [r#"{"id":"r","source":"s","type":"close"}"#, r#"{"account":"a"}"#, r#"{"id":"#] {
            let ran = send("a", json);
            assert!(matches!(ran.outcome, Outcome::Dead(_)) && ran.emitted.is_empty(), "{json}: {ran:?}");
        }
    }
}
