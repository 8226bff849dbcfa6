//! What holds at every moment, whatever was sent: the invariants of the ledger, read from its stores alone.

use std::collections::BTreeMap;

use tidemill_schemas::AccountKind;
use tidemill_schemas::payment::identity_parts;
use tidemill_testkit::{Driver, Ran};

use super::super::accounts::{ACCOUNTS, Account, NO_EXPIRY};
use super::super::holds::{HoldState, OPEN_HOLDS};
use super::super::journals::OPEN_JOURNALS;
use super::super::outcomes::{Aftermath, PAYMENT_OUTCOMES};
use super::super::receipts::{INCOMING_HOLDS, RECEIPTS};
use super::super::scheduled::SCHEDULED_PAYMENTS;
use super::world::{DUPLICATE, World, is_memory};

type Dump = BTreeMap<&'static str, BTreeMap<Vec<u8>, Vec<u8>>>;

/// A resend changes nothing at all, a refusal nothing but the memory of it.
pub(super) fn of_reject(ran: &Ran, before: Dump, mut after: Dump) {
    if ran.outcome == DUPLICATE {
        assert_eq!(after, before, "a resend changed the state");
    }
    if ran.reject.is_some() {
        for (store, values) in before.into_iter().filter(|(store, _)| !is_memory(store)) {
            assert_eq!(after.remove(store), Some(values), "a reject changed {store}");
        }
        after.retain(|store, values| !is_memory(store) && !values.is_empty());
        assert!(after.is_empty(), "a reject wrote {:?}", after.keys());
    }
}

pub(super) fn everything(world: &World) {
    let accounts = world.accounts();
    let mut totals: BTreeMap<String, i128> = BTreeMap::new();
    for (id, account) in &accounts {
        *totals.entry(account.currency.as_str().to_owned()).or_default() += i128::from(account.posted_minor);
        let may_be_below = account.is_internal() || !account.kind.is_funds_checked() || world.forced.contains(id);
        assert!(may_be_below || account.available_minor() >= 0, "{id} is overdrawn: {account:?}");
        if let Some(last) = world.entries.get(id).and_then(|entries| entries.last()) {
            assert_eq!(last.balance_after_minor, account.posted_minor, "{id}: entries and balance differ");
            assert_eq!(last.pending_after_minor, account.pending_minor, "{id}: entries and holds differ");
            assert!(account.is_internal() || last.seq == account.seq, "{id}: an entry is missing");
        }
    }
    for (id, minor) in &world.rebuilt_minor {
        assert_eq!(
            accounts.get(id).map(|account| i128::from(account.posted_minor)),
            Some(*minor),
            "{id}: by its entries"
        );
    }
    assert!(totals.values().all(|total| *total == 0), "the books do not balance: {totals:?}");
    let mut in_transit = world.in_transit_minor();
    in_transit.retain(|_, minor| *minor != 0);
    let mut under_way = world.under_way_minor();
    under_way.retain(|_, minor| *minor != 0);
    assert_eq!(in_transit, under_way, "in transit is not what is under way");
    for task in world.tasks() {
        holds(task);
        waiting(task);
        clearing(task);
    }
    receipts(world);
    incoming(world, &accounts);
}

/// What is pending on each account is what its open holds add up to, and the list of open holds is right.
fn holds(task: &Driver) {
    let mut pending: BTreeMap<String, i64> = BTreeMap::new();
    let mut open: BTreeMap<String, u32> = BTreeMap::new();
    let mut next: BTreeMap<String, i64> = BTreeMap::new();
    for (identity, outcome) in task.state.values(PAYMENT_OUTCOMES) {
        let Some(hold) = outcome.hold else { continue };
        let [_, account, id] = identity_parts(&identity).expect("an identity");
        assert!(hold.held_minor >= 0 && hold.captured_minor >= 0, "{id}: {hold:?}");
        if hold.state == HoldState::Open {
            assert_eq!(hold.held_minor, hold.authorised_minor - hold.captured_minor, "{id}: {hold:?}");
            *pending.entry(account.to_owned()).or_default() += hold.held_minor;
            *open.entry(account.to_owned()).or_default() += 1;
            let first = next.entry(account.to_owned()).or_insert(i64::MAX);
            *first = hold.expires_at.0.min(*first);
        } else {
            assert_eq!(hold.held_minor, 0, "{id}: {hold:?}");
        }
    }
    for (id, account) in accounts(std::slice::from_ref(task)) {
        assert_eq!(account.pending_minor, pending.get(&id).copied().unwrap_or_default(), "{id}: pending");
        assert_eq!(account.open_holds, open.get(&id).copied().unwrap_or_default(), "{id}: number of open holds");
        assert_eq!(account.next_expiry_at.0, next.get(&id).copied().unwrap_or(NO_EXPIRY.0), "{id}: next expiry");
    }
    let listed = u32::try_from(task.state.values(OPEN_HOLDS).len()).expect("a few");
    assert_eq!(listed, open.values().sum::<u32>(), "listed holds");
}

/// How many payments wait is what their accounts say, and each is due at some time.
fn waiting(task: &Driver) {
    let mut waiting: BTreeMap<String, u32> = BTreeMap::new();
    for (identity, scheduled) in task.state.values(SCHEDULED_PAYMENTS) {
        let [_, account, _] = identity_parts(&identity).expect("an identity");
        *waiting.entry(account.to_owned()).or_default() += 1;
        assert_eq!(account, scheduled.priced.payment.debit_account);
    }
    for (id, account) in accounts(std::slice::from_ref(task)) {
        assert_eq!(account.waiting, waiting.get(&id).copied().unwrap_or_default(), "{id}: payments that wait");
    }
    let outcomes = task.state.values(PAYMENT_OUTCOMES);
    let collecting = task.state.values(OPEN_JOURNALS).len();
    let told = outcomes.iter().filter(|(_, outcome)| outcome.aftermath == Aftermath::Waiting).count();
    assert_eq!(told, collecting + waiting.values().sum::<u32>() as usize, "outcomes of payments that wait");
}

/// In clearing stands what was given for journals that are still collecting.
fn clearing(task: &Driver) {
    let given: i64 = task
        .state
        .values(OPEN_JOURNALS)
        .iter()
        .map(|(_, journal)| {
            assert!(journal.waiting > 0, "{journal:?}");
            journal.own_minor + journal.collected.values().sum::<i64>()
        })
        .sum();
    let accounts = accounts(std::slice::from_ref(task));
    let clearing = accounts.values().filter(|account| account.kind == AccountKind::Clearing);
    assert_eq!(clearing.map(|account| account.posted_minor).sum::<i64>(), given, "in clearing");
}

/// Nothing is given back twice.
fn receipts(world: &World) {
    for (_, receipt) in world.tasks().iter().flat_map(|task| task.state.values(RECEIPTS)) {
        assert!((0..=receipt.amount_minor).contains(&receipt.given_back_minor), "{receipt:?}");
    }
}

/// What an account expects is what it has noted.
fn incoming(world: &World, accounts: &BTreeMap<String, Account>) {
    let mut expected: BTreeMap<String, i64> = BTreeMap::new();
    for (key, noted) in world.tasks().iter().flat_map(|task| task.state.values(INCOMING_HOLDS)) {
        *expected.entry(receiver(&key)).or_default() += noted.held_minor;
    }
    for (id, account) in accounts {
        assert_eq!(account.pending_in_minor, expected.get(id).copied().unwrap_or_default(), "{id}: pending in");
    }
}

/// When all is quiet, accounts expect no more than is held for them. Less, where they could not be told.
pub(super) fn quiet(world: &World) {
    for task in world.tasks() {
        assert_eq!(task.state.len(OPEN_JOURNALS.name()), 0, "quiet, but a journal is collecting");
    }
    let mut held: BTreeMap<String, i64> = BTreeMap::new();
    for (_, outcome) in world.tasks().iter().flat_map(|task| task.state.values(PAYMENT_OUTCOMES)) {
        let held_minor = outcome.hold.map_or(0, |hold| hold.held_minor);
        *held.entry(outcome.credit_account).or_default() += held_minor;
    }
    for (id, account) in world.accounts() {
        let held_minor = held.get(&id).copied().unwrap_or_default();
        assert!(account.pending_in_minor <= held_minor, "{id} expects more than the {held_minor} that are held");
    }
}

/// The account a key begins with, behind its length.
fn receiver(key: &[u8]) -> String {
    let (length, rest) = key.split_first_chunk::<2>().expect("a length");
    String::from_utf8(rest[..usize::from(u16::from_be_bytes(*length))].to_vec()).expect("names are text")
}

pub(super) fn accounts(tasks: &[Driver]) -> BTreeMap<String, Account> {
    let all = tasks.iter().flat_map(|task| task.state.values(ACCOUNTS));
    all.map(|(id, account)| (String::from_utf8(id).expect("names are text"), account)).collect()
}
