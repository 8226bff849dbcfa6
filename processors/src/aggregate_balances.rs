//! Adds balances up: for every customer, and for every account that others name as their parent.
//!
//! Inputs, in the task that owns the key:
//! - `account_balance`, at the account: how much it has changed since it was last looked at goes to its customer and to its
//!   parent.
//! - `balance_share`, at the customer or the parent: is added, and goes on to the parent's own parent.
//!
//! Stores: `balance_shares` (what of each account has been passed on), `subtotals` (sums by scope, node and currency).
//!
//! What a sum means: it is that of the last balances that have arrived, each of them whole, of different moments. Money
//! between two accounts of one customer can be missing from it or be in it twice while it is under way. When nothing
//! is under way, it is exact: what was passed on adds up to the balances.
//!
//! - A node's sum holds the node's own account, if it is in that currency, and everything below.
//! - Shares climb at most [`DEPTH_MAX`] parents. What is higher, or goes in a circle, is not added up, and alerted.
//! - Code: `subtotal_overflow`, a sum leaves 64 bits: a `bug`, since no currency has that much.
//!
//! Example: a (60.00) and b (40.00) name `group` as parent, which has 1.00 of its own: `group` is 101.00.

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use tidemill_core::processor::{MovesMoney, Signature};
use tidemill_core::settings::SettingsError;
use tidemill_core::{
    AnyEvent, Class, CodeSpec, Context, EventTime, Flow, KeySpace, Meta, Outcome, PortSpec, Processor, ProcessorSpec,
    Reject, Settings, State, StateError, StateValue, Store, StoreSpec,
};
use tidemill_schemas::{AccountBalance, AccountKind, AggregatedBalance, Alert, BalanceShare, NodeScope};

pub static SPEC: ProcessorSpec = ProcessorSpec {
    name: "aggregate_balances",
    summary: "Adds balances up by customer and by parent account.",
    signatures: &[
        Signature { takes: AccountBalance::KIND, gives: None },
        Signature { takes: BalanceShare::KIND, gives: None },
    ],
    stores: &[
        StoreSpec {
            name: SHARES.name(),
            keyed_by: KeySpace::Named("account"),
            summary: "What of each account's balance has been passed on.",
        },
        StoreSpec {
            name: SUBTOTALS.name(),
            keyed_by: KeySpace::Named("account"),
            summary: "Sums by customer and by parent, per currency.",
        },
    ],
    ports: &[
        PortSpec { name: "shares", kind: BalanceShare::KIND, summary: "Changes on their way to a sum." },
        PortSpec { name: "aggregates", kind: AggregatedBalance::KIND, summary: "The latest sums." },
        PortSpec { name: "alerts", kind: Alert::KIND, summary: "Hierarchies that cannot be added up." },
    ],
    references: &[],
    codes: &[SUBTOTAL_OVERFLOW],
    decodes: None,
    moves_money: MovesMoney::No,
    example: "",
    build,
};

pub const SUBTOTAL_OVERFLOW: CodeSpec = CodeSpec {
    code: "subtotal_overflow",
    class: Class::Bug,
    summary: "A sum of balances would leave 64 bits.",
    remedy: "Look at the account for a balance that cannot be; sums of other nodes are not affected.",
};

/// Parents that a share climbs.
const DEPTH_MAX: i32 = 16;
/// Currencies of one node that are looked at when its own account turns up after its children.
const CURRENCIES_MAX: usize = 256;

/// Keyed by account.
pub(crate) const SHARES: Store<Share> = Store::new("balance_shares");
/// Keyed by scope, node and currency.
pub(crate) const SUBTOTALS: Store<Subtotal> = Store::new("subtotals");

/// What an account has passed on, and where to. Customer and parent never change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Share {
    customer: Option<String>,
    parent: Option<String>,
    currency: String,
    sums: Sums,
}

impl StateValue for Share {
    const VERSION: u8 = 1;
}

/// A sum without the node's own account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Subtotal {
    sums: Sums,
    at: EventTime,
}

impl StateValue for Subtotal {
    const VERSION: u8 = 1;
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Sums {
    accounts: i64,
    posted_minor: i64,
    pending_minor: i64,
    available_minor: i64,
}

impl Sums {
    fn of(balance: &AccountBalance) -> Self {
        let AccountBalance { posted_minor, pending_minor, available_minor, .. } = *balance;
        Self { accounts: 1, posted_minor, pending_minor, available_minor }
    }

    fn combine(self, other: Self, with: fn(i64, i64) -> Option<i64>) -> Result<Self, Reject> {
        let sum = || {
            Some(Self {
                accounts: with(self.accounts, other.accounts)?,
                posted_minor: with(self.posted_minor, other.posted_minor)?,
                pending_minor: with(self.pending_minor, other.pending_minor)?,
                available_minor: with(self.available_minor, other.available_minor)?,
            })
        };
        sum().ok_or_else(|| Reject::new(&SUBTOTAL_OVERFLOW))
    }

    fn plus(self, other: Self) -> Result<Self, Reject> {
        self.combine(other, i64::checked_add)
    }

    fn minus(self, other: Self) -> Result<Self, Reject> {
        self.combine(other, i64::checked_sub)
    }
}

struct AggregateBalances;

fn build(settings: &Settings) -> Result<Box<dyn Processor>, Vec<SettingsError>> {
    let Config {} = settings.parse()?;
    Ok(Box::new(AggregateBalances))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {}

impl Processor for AggregateBalances {
    fn process(&self, event: AnyEvent, context: &mut Context<'_>) -> Result<Flow, Reject> {
        match event.downcast::<AccountBalance>() {
            Ok(balance) => pass_on(&balance, context)?,
            Err(event) => {
                let share = event.downcast::<BalanceShare>().map_err(|event| Reject::unexpected(&event))?;
                add(&share, context)?;
            }
        }
        Ok(Flow::Done(Outcome::Applied))
    }
}

/// At the account: what has changed goes to its customer and its parent.
fn pass_on(balance: &AccountBalance, context: &mut Context<'_>) -> Result<(), Reject> {
    if matches!(balance.kind, AccountKind::Fee | AccountKind::InTransit | AccountKind::Suspense) {
        return Ok(());
    }
    let account = balance.account_id.as_str();
    let before = SHARES.get(context.state, account.as_bytes())?;
    let sums = Sums::of(balance);
    let change = sums.minus(before.as_ref().map_or(Sums::default(), |before| before.sums))?;
    if change == Sums::default() {
        return Ok(());
    }
    let AccountBalance { customer, parent, currency, event_time, .. } = balance;
    let share = Share { customer: customer.clone(), parent: parent.clone(), currency: currency.clone(), sums };
    SHARES.put(context.state, account.as_bytes(), &share)?;
    if let Some(customer) = customer {
        emit_share(NodeScope::Customer, customer, currency, change, 1, *event_time, context);
    }
    if let Some(parent) = parent {
        emit_share(NodeScope::Account, parent, currency, change, 1, *event_time, context);
    }
    let below = subtotals_of(account, context.state)?;
    for (currency, subtotal) in below {
        // What had climbed to here while this account's parent was not known goes on now.
        if let (None, Some(parent)) = (&before, parent) {
            emit_share(NodeScope::Account, parent, &currency, subtotal.sums, 1, subtotal.at, context);
        }
        if currency == share.currency {
            emit_aggregate(NodeScope::Account, account, &currency, subtotal, Some(&share), context)?;
        }
    }
    Ok(())
}

/// At the node: the sum, and on to the parent.
fn add(share: &BalanceShare, context: &mut Context<'_>) -> Result<(), Reject> {
    let BalanceShare { scope, node, currency, depth, event_time, .. } = share;
    let change = Sums {
        accounts: share.accounts,
        posted_minor: share.posted_minor,
        pending_minor: share.pending_minor,
        available_minor: share.available_minor,
    };
    let key = key(*scope, node, currency);
    let before = SUBTOTALS.get(context.state, &key)?.unwrap_or_default();
    let subtotal = Subtotal { sums: before.sums.plus(change)?, at: before.at.max(*event_time) };
    SUBTOTALS.put(context.state, &key, &subtotal)?;
    let own = match scope {
        NodeScope::Customer => None,
        NodeScope::Account => SHARES.get(context.state, node.as_bytes())?,
    };
    emit_aggregate(*scope, node, currency, subtotal, own.as_ref(), context)?;
    let Some(parent) = own.and_then(|own| own.parent) else { return Ok(()) };
    if *depth >= DEPTH_MAX {
        context.effects.emit("alerts", too_deep(node, *event_time));
        return Ok(());
    }
    emit_share(NodeScope::Account, &parent, currency, change, depth + 1, *event_time, context);
    Ok(())
}

fn emit_share(
    scope: NodeScope,
    node: &str,
    currency: &str,
    change: Sums,
    depth: i32,
    event_time: EventTime,
    context: &mut Context<'_>,
) {
    let share: AnyEvent = Box::new(BalanceShare {
        meta: Meta::default(),
        scope,
        node: node.to_owned(),
        currency: currency.to_owned(),
        accounts: change.accounts,
        posted_minor: change.posted_minor,
        pending_minor: change.pending_minor,
        available_minor: change.available_minor,
        depth,
        event_time,
    });
    context.effects.emit("shares", share);
}

/// The node's own account is part of its sum, but not of its subtotal, so that it is passed on once.
fn emit_aggregate(
    scope: NodeScope,
    node: &str,
    currency: &str,
    subtotal: Subtotal,
    own: Option<&Share>,
    context: &mut Context<'_>,
) -> Result<(), Reject> {
    let own = own.filter(|own| own.currency == currency).map_or(Sums::default(), |own| own.sums);
    let Sums { accounts, posted_minor, pending_minor, available_minor } = subtotal.sums.plus(own)?;
    let aggregate: AnyEvent = Box::new(AggregatedBalance {
        meta: Meta::default(),
        scope,
        node: node.to_owned(),
        currency: currency.to_owned(),
        accounts,
        posted_minor,
        pending_minor,
        available_minor,
        event_time: subtotal.at,
    });
    context.effects.emit_latest("aggregates", aggregate);
    Ok(())
}

fn too_deep(node: &str, event_time: EventTime) -> AnyEvent {
    Box::new(Alert {
        meta: Meta::default(),
        subject: node.to_owned(),
        code: "hierarchy_too_deep".to_owned(),
        severity: "warning".to_owned(),
        message: "Parents go in a circle or are too many; what is above this account is not added up.".to_owned(),
        payment_id: None,
        event_time,
    })
}

/// Currency and subtotal of all that name the account as their parent, directly or not.
fn subtotals_of(account: &str, state: &mut dyn State) -> Result<Vec<(String, Subtotal)>, StateError> {
    let prefix = key(NodeScope::Account, account, "");
    let found = SUBTOTALS.scan(state, &prefix, CURRENCIES_MAX)?;
    let currency = |key: &[u8]| Some(String::from_utf8_lossy(key.strip_prefix(prefix.as_slice())?).into_owned());
    Ok(found.into_iter().filter_map(|(key, subtotal)| Some((currency(&key)?, subtotal))).collect())
}

fn key(scope: NodeScope, node: &str, currency: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(3 + node.len() + currency.len());
    key.push(scope as u8);
    key.extend_from_slice(&u16::try_from(node.len()).unwrap_or(u16::MAX).to_be_bytes());
    key.extend_from_slice(node.as_bytes());
    key.extend_from_slice(currency.as_bytes());
    key
}
