//! Opening, freezing, thawing and closing accounts.

use sha2::{Digest, Sha256};
use tidemill_core::{Answer, AnyEvent, CodeSpec, Context, Flow, Meta, Outcome, Reject, StateError};
use tidemill_schemas::account::{AccountAction, Sides};
use tidemill_schemas::payment::identity;
use tidemill_schemas::{AccountCommand, AccountStatus};

use super::accounts::{ACCOUNTS, Account, is_internal_kind, is_reserved};
use super::codes::{
    ACCOUNT_ALREADY_OPEN, ACCOUNT_CLOSED, ACCOUNT_NOT_EMPTY, ACCOUNT_NOT_FOUND, ACCOUNT_RESERVED, IDEMPOTENCY_CONFLICT,
    OK,
};
use super::outcomes::{ACCOUNT_REQUEST_OUTCOMES, AccountRequestOutcome};

pub(super) fn process(command: AccountCommand, context: &mut Context<'_>) -> Result<Flow, Reject> {
    let key = identity(&command.source, &command.account, &command.request_id);
    let body_hash = hash(&command);
    if let Some(first) = ACCOUNT_REQUEST_OUTCOMES.get(context.state, &key)? {
        if first.body_hash != body_hash {
            return Err(Reject::new(&IDEMPOTENCY_CONFLICT).about(Box::new(command)));
        }
        answer(&command, &first.code, None, context);
        return Ok(Flow::Done(Outcome::Duplicate));
    }
    let before = ACCOUNTS.get(context.state, command.account.as_bytes())?;
    let mut account = match carry_out(before, &command) {
        Ok(account) => account,
        Err(code) => return Err(Reject::new(code).about(Box::new(command))),
    };
    account.last_event_time = account.last_event_time.max(command.created_at);
    ACCOUNTS.put(context.state, command.account.as_bytes(), &account)?;
    let balance: AnyEvent = Box::new(account.balance(&command.account));
    context.effects.emit_latest("balances", balance);
    answer(&command, OK, None, context);
    let outcome = AccountRequestOutcome { body_hash, code: OK.to_owned(), at: command.created_at };
    ACCOUNT_REQUEST_OUTCOMES.put(context.state, &key, &outcome)?;
    Ok(Flow::Done(Outcome::Applied))
}

/// The account as it is afterwards, or the first rule that forbids it.
fn carry_out(before: Option<Account>, command: &AccountCommand) -> Result<Account, &'static CodeSpec> {
    if let AccountAction::Open { customer, currency, kind, limit_minor } = &command.action {
        if is_reserved(&command.account) || is_internal_kind(*kind) {
            return Err(&ACCOUNT_RESERVED);
        }
        if before.is_some() {
            return Err(&ACCOUNT_ALREADY_OPEN);
        }
        return Ok(Account::open(customer.clone(), *kind, currency.clone(), *limit_minor, command.created_at));
    }
    let mut account = before.filter(|account| !account.is_internal()).ok_or(&ACCOUNT_NOT_FOUND)?;
    if account.closed {
        return Err(&ACCOUNT_CLOSED);
    }
    match command.action {
        AccountAction::Open { .. } => {}
        AccountAction::Freeze(sides) => frozen_flags(&mut account, sides).for_each(|frozen| *frozen = true),
        AccountAction::Thaw(sides) => frozen_flags(&mut account, sides).for_each(|frozen| *frozen = false),
        AccountAction::Close if account.posted_minor != 0 || account.pending_minor != 0 => {
            return Err(&ACCOUNT_NOT_EMPTY);
        }
        AccountAction::Close => account.closed = true,
    }
    Ok(account)
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
    answer(command, code, Some(reject.message().to_owned()), context);
    // A conflict leaves the first outcome as it is.
    if ACCOUNT_REQUEST_OUTCOMES.get(context.state, &key)?.is_none() {
        let outcome = AccountRequestOutcome { body_hash: hash(command), code: code.to_owned(), at: command.created_at };
        ACCOUNT_REQUEST_OUTCOMES.put(context.state, &key, &outcome)?;
    }
    Ok(Answer::Given)
}

fn answer(command: &AccountCommand, code: &str, reason: Option<String>, context: &mut Context<'_>) {
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
    });
    context.effects.emit("account_status", answer);
}

fn action_name(action: &AccountAction) -> &'static str {
    match action {
        AccountAction::Open { .. } => "open",
        AccountAction::Freeze(_) => "freeze",
        AccountAction::Thaw(_) => "thaw",
        AccountAction::Close => "close",
    }
}

/// First 16 bytes of SHA-256 over the length-prefixed content: same request, same hash. The identity is not part of it.
fn hash(command: &AccountCommand) -> [u8; 16] {
    let mut hasher = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hasher.update((bytes.len() as u64).to_be_bytes());
        hasher.update(bytes);
    };
    part(action_name(&command.action).as_bytes());
    part(&command.created_at.micros().to_be_bytes());
    match &command.action {
        AccountAction::Open { customer, currency, kind, limit_minor } => {
            part(&[u8::from(customer.is_some())]);
            part(customer.as_deref().unwrap_or_default().as_bytes());
            part(currency.as_bytes());
            part(&[*kind as u8]);
            part(&limit_minor.to_be_bytes());
        }
        AccountAction::Freeze(sides) | AccountAction::Thaw(sides) => part(&[*sides as u8]),
        AccountAction::Close => {}
    }
    let digest: [u8; 32] = hasher.finalize().into();
    let mut first = [0; 16];
    first.copy_from_slice(&digest[..16]);
    first
}
