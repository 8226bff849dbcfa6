use std::collections::{BTreeMap, VecDeque};

use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tidemill_core::Event;
use tidemill_core::partition::partition_of;
use tidemill_testkit::{Driver, Ran};

use super::*;
use crate::fixture::check_state;

const TASKS: u32 = 3;
/// Scope, node and currency.
type Node = (&'static str, String, String);

fn balance(account: &str, currency: &str, posted_minor: i64) -> AccountBalance {
    AccountBalance {
        meta: Meta::default(),
        account_id: account.to_owned(),
        customer: None,
        kind: AccountKind::Customer,
        currency: currency.to_owned(),
        posted_minor,
        pending_minor: 3,
        available_minor: posted_minor - 3,
        limit_minor: 0,
        seq: 1,
        debits_frozen: false,
        credits_frozen: false,
        closed: false,
        event_time: EventTime(1_769_860_800_000_000),
        parent: None,
        pending_in_minor: 0,
    }
}

fn scope_name(scope: NodeScope) -> &'static str {
    match scope {
        NodeScope::Customer => "customer",
        NodeScope::Account => "account",
    }
}

/// Some tasks, what is on its way between them, and what readers see.
struct World {
    tasks: Vec<Driver>,
    under_way: Vec<VecDeque<BalanceShare>>,
    seen: BTreeMap<Node, Sums>,
    alerts: u32,
}

impl World {
    fn new() -> Self {
        let driver = |number| {
            let mut driver = Driver::new(&[(&SPEC, "")]);
            driver.task = number;
            driver
        };
        let under_way = (0..TASKS).map(|_| VecDeque::new()).collect();
        Self { tasks: (0..TASKS).map(driver).collect(), under_way, seen: BTreeMap::new(), alerts: 0 }
    }

    fn send(&mut self, event: impl Event) -> Ran {
        let mut key = Vec::new();
        event.key(&mut key);
        let ran = self.tasks[partition_of(&key, TASKS) as usize].send_event(event);
        for share in ran.on::<BalanceShare>("shares") {
            self.under_way[partition_of(share.node.as_bytes(), TASKS) as usize].push_back(share.clone());
        }
        for sum in ran.on::<AggregatedBalance>("aggregates") {
            let AggregatedBalance { accounts, posted_minor, pending_minor, available_minor, .. } = *sum;
            let sums = Sums { accounts, posted_minor, pending_minor, available_minor };
            self.seen.insert((scope_name(sum.scope), sum.node.clone(), sum.currency.clone()), sums);
        }
        self.alerts += u32::try_from(ran.on::<Alert>("alerts").len()).expect("a few");
        ran
    }

    fn deliver(&mut self, task: u32) -> bool {
        let Some(share) = self.under_way[task as usize].pop_front() else { return false };
        assert_eq!(self.send(share).code(), "applied");
        true
    }

    fn deliver_all(&mut self) {
        while (0..TASKS).any(|task| self.deliver(task)) {}
    }
}

/// Straight from the balances, without passing anything on.
fn expected(balances: &BTreeMap<String, AccountBalance>) -> BTreeMap<Node, Sums> {
    let mut sums: BTreeMap<Node, Sums> = BTreeMap::new();
    let mut add = |scope: &'static str, node: &str, balance: &AccountBalance| {
        let node = (scope, node.to_owned(), balance.currency.clone());
        let before = sums.get(&node).copied().unwrap_or_default();
        sums.insert(node, before.plus(Sums::of(balance)).expect("small"));
    };
    for balance in balances.values() {
        if let Some(customer) = &balance.customer {
            add("customer", customer, balance);
        }
        let mut above = balance.parent.as_deref();
        while let Some(node) = above {
            add("account", node, balance);
            above = balances.get(node).and_then(|parent| parent.parent.as_deref());
        }
    }
    // An account with something below it in its own currency is in its own sum.
    for (account, balance) in balances {
        let node = ("account", account.clone(), balance.currency.clone());
        if let Some(below) = sums.get_mut(&node) {
            *below = below.plus(Sums::of(balance)).expect("small");
        }
    }
    sums
}

/// Hierarchies that grow in any order: parents before children and after them, some that never turn up.
#[test]
fn sums_are_exact_when_nothing_is_under_way() {
    for seed in 0..40 {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut world = World::new();
        let mut accounts: Vec<u32> = (0..30).collect();
        accounts.shuffle(&mut random);
        let mut balances: BTreeMap<String, AccountBalance> = BTreeMap::new();
        for step in 0..400_i64 {
            let number = match accounts.pop() {
                Some(number) if random.random_ratio(1, 4) => number,
                unopened => {
                    accounts.extend(unopened);
                    random.random_range(0..30)
                }
            };
            let name = format!("acc-{number}");
            let is_opened = balances.contains_key(&name) || !accounts.contains(&number);
            if is_opened {
                let mut new = balances.get(&name).cloned().unwrap_or_else(|| {
                    let currency = if random.random_ratio(1, 5) { "JPY" } else { "EUR" };
                    let mut new = balance(&name, currency, 0);
                    // Only those of a lower number are parents, so that nothing goes in a circle.
                    let parent = (number > 0 && random.random_ratio(3, 4)).then(|| random.random_range(0..number));
                    new.parent = parent.map(|parent| format!("acc-{parent}"));
                    new.parent = new.parent.or_else(|| random.random_ratio(1, 3).then(|| "ghost".to_owned()));
                    new.customer = random.random_ratio(3, 4).then(|| format!("cust-{}", random.random_range(0..5)));
                    new
                });
                new.posted_minor = random.random_range(-500..500);
                new.available_minor = new.posted_minor - new.pending_minor;
                new.event_time.0 += step;
                world.send(new.clone());
                balances.insert(name, new);
            }
            world.deliver(random.random_range(0..TASKS));
        }
        world.deliver_all();
        assert_eq!(world.seen, expected(&balances), "seed {seed}");
        assert_eq!(world.alerts, 0, "seed {seed}");
    }
}

#[test]
fn a_node_is_its_own_account_and_all_below() {
    let mut world = World::new();
    let child =
        |name: &str, minor: i64| AccountBalance { parent: Some("group".to_owned()), ..balance(name, "EUR", minor) };
    world.send(child("a", 6_000));
    world.send(child("b", 4_000));
    world.send(balance("group", "EUR", 100));
    world.deliver_all();
    let group = ("account", "group".to_owned(), "EUR".to_owned());
    assert_eq!(
        world.seen[&group],
        Sums { accounts: 3, posted_minor: 10_100, pending_minor: 9, available_minor: 10_091 }
    );
    world.send(balance("group", "EUR", 200));
    assert_eq!(world.seen[&group].posted_minor, 10_200, "the node's own change is seen at once");
    let again = world.send(child("a", 6_000));
    assert!(again.emitted.is_empty(), "a balance that has not changed is passed on to nobody");
    let internal = AccountBalance { kind: AccountKind::InTransit, ..child("in_transit.0.EUR", 5) };
    assert!(world.send(internal).emitted.is_empty());
    assert_eq!(world.seen.len(), 1, "accounts without anything below have no sum: {:?}", world.seen);
}

#[test]
fn parents_in_a_circle_end_with_an_alert() {
    let mut world = World::new();
    let of = |name: &str, parent: &str| AccountBalance { parent: Some(parent.to_owned()), ..balance(name, "EUR", 1) };
    world.send(of("a", "b"));
    world.send(of("b", "a"));
    world.deliver_all();
    assert!(world.alerts > 0);
}

#[test]
fn a_sum_beyond_64_bits_changes_nothing() {
    let mut world = World::new();
    let of = |name: &str, minor: i64| AccountBalance {
        parent: Some("group".to_owned()),
        pending_minor: 0,
        available_minor: 0,
        ..balance(name, "EUR", minor)
    };
    world.send(of("a", i64::MAX));
    world.deliver_all();
    world.send(of("b", 1));
    let before: Vec<_> = world.tasks.iter().map(|task| task.state.dump()).collect();
    let task = partition_of(b"group", TASKS);
    let share = world.under_way[task as usize].pop_front().expect("is on its way");
    assert_eq!(world.send(share).code(), "subtotal_overflow");
    assert_eq!(world.tasks.iter().map(|task| task.state.dump()).collect::<Vec<_>>(), before);
}

#[test]
fn state_bytes_stay_as_they_are() {
    let mut driver = Driver::new(&[(&SPEC, "")]);
    let account = AccountBalance {
        customer: Some("cust-1".to_owned()),
        parent: Some("group".to_owned()),
        ..balance("acc-1", "EUR", 4_000)
    };
    let ran = driver.send_event(account);
    check_state(&driver.state, SHARES, b"acc-1");
    let share = ran.on::<BalanceShare>("shares")[1].clone();
    driver.send_event(share);
    check_state(&driver.state, SUBTOTALS, &key(NodeScope::Account, "group", "EUR"));
}
