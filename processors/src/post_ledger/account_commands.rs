//! Opening, freezing, thawing and closing accounts, and changing their limits and segments.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tidemill_core::{Answer, AnyEvent, Context, EventTime, Flow, Meta, Outcome, Reject, StateError, StateValue, Store};
use tidemill_schemas::account::{AccountAction, OpenHolds, Sides};
use tidemill_schemas::payment::identity;
use tidemill_schemas::{AccountCommand, AccountStatus, StatusPhase};

use super::accounts::{ACCOUNTS, Account, CurrencyCode, is_internal_kind, is_reserved};
use super::book;
use super::codes::{AccountCode, IDEMPOTENCY_CONFLICT, OK};
use super::holds;
use crate::fingerprint::{self, FieldHash};

/// Keyed by the request's identity (source, account, request id).
pub const ACCOUNT_REQUEST_OUTCOMES: Store<AccountRequestOutcome> = Store::new("account_request_outcomes");

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountRequestOutcome {
    pub body_hash: [u8; 16],
    /// Two bytes for each of [`COMMAND_FIELDS`].
    pub fields: [u8; 2 * COMMAND_FIELDS.len()],
    /// `ok`, or the code of the reject.
    pub code: String,
    pub at: EventTime,
}

impl StateValue for AccountRequestOutcome {
    const VERSION: u8 = 1;
}

/// Every field that is not part of the identity, in the order in which a difference is looked for.
const COMMAND_FIELDS: [&str; 8] = ["type", "created_at", "customer", "parent", "currency", "kind", "limit", "segment"];

pub(super) fn process(command: AccountCommand, context: &mut Context<'_>) -> Result<Flow, Reject> {
    let key = identity(&command.source, &command.account, &command.request_id);
    if let Some(first) = ACCOUNT_REQUEST_OUTCOMES.get(context.state, &key)? {
        if first.body_hash != body_hash(&command) {
            let difference = fingerprint::first_difference(&COMMAND_FIELDS, &first.fields, &field_hashes(&command));
            return Err(fingerprint::conflict(difference).about(Box::new(command)));
        }
        answer(&command, &first.code, StatusPhase::Repeat, None, context);
        return Ok(Flow::Done(Outcome::Duplicate));
    }
    let before = ACCOUNTS.get(context.state, command.account.as_bytes())?;
    let mut account = match carry_out(before, &command, context)? {
        Ok(account) => account,
        Err(code) => return Err(Reject::new(code.spec()).about(Box::new(command))),
    };
    account.last_event_time = account.last_event_time.max(command.created_at);
    book::write_account(&command.account, &account, context)?;
    answer(&command, OK, StatusPhase::Outcome, None, context);
    ACCOUNT_REQUEST_OUTCOMES.put(context.state, &key, &outcome(&command, OK))?;
    Ok(Flow::Done(Outcome::Applied))
}

/// The account as it is afterwards, or the first rule that forbids it.
fn carry_out(
    before: Option<Account>,
    command: &AccountCommand,
    context: &mut Context<'_>,
) -> Result<Result<Account, AccountCode>, Reject> {
    if let AccountAction::Open { customer, parent, currency, kind, limit_minor } = &command.action {
        if is_reserved(&command.account) || is_internal_kind(*kind) {
            return Ok(Err(AccountCode::AccountReserved));
        }
        if before.is_some() {
            return Ok(Err(AccountCode::AccountAlreadyOpen));
        }
        let account = Account::open(*kind, CurrencyCode::new(currency), *limit_minor, command.created_at);
        return Ok(Ok(Account { customer: customer.clone(), parent: parent.clone(), ..account }));
    }
    let Some(mut account) = before.filter(|account| !account.is_internal()) else {
        return Ok(Err(AccountCode::AccountNotFound));
    };
    if account.closed {
        return Ok(Err(AccountCode::AccountClosed));
    }
    match &command.action {
        AccountAction::Open { .. } => {}
        AccountAction::Freeze(sides) => frozen_flags(&mut account, *sides).for_each(|frozen| *frozen = true),
        AccountAction::Thaw(sides) => frozen_flags(&mut account, *sides).for_each(|frozen| *frozen = false),
        AccountAction::ChangeLimit { currency, .. } if account.currency != CurrencyCode::new(currency) => {
            return Ok(Err(AccountCode::CurrencyMismatch));
        }
        AccountAction::ChangeLimit { limit_minor, .. } => account.limit_minor = *limit_minor,
        // Who prices by it has noted it.
        AccountAction::ChangeSegment { .. } => {}
        AccountAction::Close(open_holds) => return close(account, *open_holds, command, context),
    }
    Ok(Ok(account))
}

/// Holds that are over are given free before anything is judged, like before any other record.
fn close(
    mut account: Account,
    open_holds: OpenHolds,
    command: &AccountCommand,
    context: &mut Context<'_>,
) -> Result<Result<Account, AccountCode>, Reject> {
    let now = account.now(command.created_at);
    holds::expire_due(&command.account, &mut account, now, context)?;
    if account.posted_minor != 0 || (account.open_holds > 0 && open_holds == OpenHolds::Refuse) {
        return Ok(Err(AccountCode::AccountNotEmpty));
    }
    account.last_event_time = now;
    holds::void_all(&command.account, &mut account, context)?;
    account.closed = true;
    Ok(Ok(account))
}

fn frozen_flags(account: &mut Account, sides: Sides) -> impl Iterator<Item = &mut bool> {
    let debits = matches!(sides, Sides::Debits | Sides::Both).then_some(&mut account.debits_frozen);
    let credits = matches!(sides, Sides::Credits | Sides::Both).then_some(&mut account.credits_frozen);
    debits.into_iter().chain(credits)
}

pub(super) fn answer_reject(
    reject: &Reject,
    command: &AccountCommand,
    context: &mut Context<'_>,
) -> Result<Answer, StateError> {
    let key = identity(&command.source, &command.account, &command.request_id);
    let code = reject.code().code;
    let is_conflict = code == IDEMPOTENCY_CONFLICT.code;
    let phase = if is_conflict { StatusPhase::Repeat } else { StatusPhase::Outcome };
    answer(command, code, phase, Some(reject.message().to_owned()), context);
    // A conflict leaves the first outcome as it is.
    if !is_conflict {
        ACCOUNT_REQUEST_OUTCOMES.put(context.state, &key, &outcome(command, code))?;
    }
    Ok(Answer::Given)
}

fn outcome(command: &AccountCommand, code: &str) -> AccountRequestOutcome {
    let (body_hash, fields) = (body_hash(command), field_hashes(command));
    AccountRequestOutcome { body_hash, fields, code: code.to_owned(), at: command.created_at }
}

fn answer(command: &AccountCommand, code: &str, phase: StatusPhase, reason: Option<String>, context: &mut Context<'_>) {
    let status = if code == OK { "done" } else { "refused" };
    let answer: AnyEvent = Box::new(AccountStatus {
        meta: Meta::default(),
        request_id: command.request_id.clone(),
        source: command.source.clone(),
        account_id: command.account.clone(),
        action: action_name(&command.action).to_owned(),
        status: status.to_owned(),
        code: code.to_owned(),
        reason,
        event_time: command.created_at,
        phase,
    });
    context.effects.emit("account_status", answer);
}

fn action_name(action: &AccountAction) -> &'static str {
    match action {
        AccountAction::Open { .. } => "open",
        AccountAction::Freeze(_) => "freeze",
        AccountAction::Thaw(_) => "thaw",
        AccountAction::ChangeLimit { .. } => "change_limit",
        AccountAction::ChangeSegment { .. } => "change_segment",
        AccountAction::Close(_) => "close",
    }
}

/// The content of a request as bytes, one part for each of [`COMMAND_FIELDS`]. The identity is not part of it.
fn parts(command: &AccountCommand) -> [Vec<u8>; COMMAND_FIELDS.len()] {
    let optional = |text: &Option<String>| {
        let mut bytes = vec![u8::from(text.is_some())];
        bytes.extend_from_slice(text.as_deref().unwrap_or_default().as_bytes());
        bytes
    };
    let mut parts: [Vec<u8>; COMMAND_FIELDS.len()] = Default::default();
    parts[0] = action_name(&command.action).into();
    parts[1] = command.created_at.micros().to_be_bytes().into();
    match &command.action {
        AccountAction::Open { customer, parent, currency, kind, limit_minor } => {
            parts[2] = optional(customer);
            parts[3] = optional(parent);
            parts[4] = currency.as_bytes().into();
            parts[5] = vec![*kind as u8];
            parts[6] = limit_minor.to_be_bytes().into();
        }
        AccountAction::Freeze(sides) | AccountAction::Thaw(sides) => parts[5] = vec![*sides as u8],
        AccountAction::ChangeLimit { limit_minor, currency } => {
            parts[4] = currency.as_bytes().into();
            parts[6] = limit_minor.to_be_bytes().into();
        }
        AccountAction::ChangeSegment { segment } => parts[7] = optional(segment),
        AccountAction::Close(open_holds) => parts[5] = vec![*open_holds as u8],
    }
    parts
}

fn field_hashes(command: &AccountCommand) -> [u8; 2 * COMMAND_FIELDS.len()] {
    let mut fields = [0; 2 * COMMAND_FIELDS.len()];
    for (slot, part) in fields.chunks_exact_mut(2).zip(parts(command)) {
        slot.copy_from_slice(&FieldHash::new().bytes(&part).finish().to_be_bytes());
    }
    fields
}

/// First 16 bytes of SHA-256 over the length-prefixed content: same request, same hash.
fn body_hash(command: &AccountCommand) -> [u8; 16] {
    let mut hasher = Sha256::new();
    for part in parts(command) {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    let digest: [u8; 32] = hasher.finalize().into();
    let mut first = [0; 16];
    first.copy_from_slice(&digest[..16]);
    first
}
