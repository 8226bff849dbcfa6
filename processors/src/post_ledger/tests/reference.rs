//! A second ledger, as plain as it can be: no index, no cached sum, every rule evaluated for every payment. It shares no
//! code with the first, and agrees with it on every answer and every balance.

mod rules;
mod terms;

use std::collections::{BTreeMap, HashMap, VecDeque};

use tidemill_core::partition::partition_of;
use tidemill_schemas::account::{AccountAction, OpenHolds, Sides};
use tidemill_schemas::{AccountKind, Exchange, FeeCharge, FeeRefund, PaymentType as Type, Remainder, Verdict};

use self::terms::{arriving, can_go_back, lasts, on_top, same_body, waits};
use super::world::Pay;

pub(super) const HOLD_MICROS: i64 = 7 * 86_400_000_000;

#[derive(Clone, Debug)]
pub(super) struct RefAccount {
    kind: AccountKind,
    pub(super) currency: String,
    limit: i128,
    pub(super) posted: i128,
    debits_frozen: bool,
    credits_frozen: bool,
    closed: bool,
    clock: i64,
    expected: BTreeMap<(String, String), i128>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Captured,
    Voided,
    Expired,
}

#[derive(Clone, Debug)]
struct RefHold {
    /// Of two that end at once, the one that was made first ends first.
    number: usize,
    authorised: i128,
    captured: i128,
    /// Set aside while open.
    held: i128,
    expires_at: i64,
    state: State,
}

#[derive(Clone, Debug)]
struct Paid {
    pay: Pay,
    hold: Option<RefHold>,
    fee: i128,
}

#[derive(Clone, Debug)]
struct Received {
    payment_type: Type,
    amount: i128,
    back: i128,
    reversed: bool,
    exchange: Option<Exchange>,
    fee: i128,
    fee_refund: FeeRefund,
    /// By refunds alone, and what of the fee has gone back with them.
    refunded: i128,
    fee_back: i128,
}

#[derive(Clone, Debug)]
enum Leg {
    Credit(Pay),
    Return(Pay),
    Announce {
        from: String,
        id: String,
        to: String,
        currency: String,
        held: i128,
    },
    /// Of the journal of a payment, from or to one of its further payers.
    Collect(Pay, String),
    Collected(Pay, String, &'static str),
    Uncollect(Pay, String),
    Execute(Key),
}

/// Debit account and id of a payment.
type Key = (String, String);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    Waiting,
    Executed,
    Refused,
    Cancelled,
}

/// A payment that waits.
#[derive(Clone, Debug)]
struct Waiting {
    pay: Pay,
    due: i64,
    until: i64,
    /// Word of its time is on its way.
    released: bool,
}

/// What the settings of the ledger under test say, as far as they change an answer.
#[derive(Clone, Copy)]
pub(super) struct Policy {
    pub(super) over_capture_percent: i128,
    pub(super) force_reversals: bool,
    pub(super) return_fee: bool,
    pub(super) grace_micros: i64,
    pub(super) retry_micros: i64,
}

pub(super) struct Reference {
    policy: Policy,
    pub(super) accounts: BTreeMap<String, RefAccount>,
    paid: HashMap<(String, String), Paid>,
    /// By receiver, payer and id.
    received: HashMap<(String, String, String), Received>,
    under_way: Vec<VecDeque<Leg>>,
    pub(super) fees: i128,
    pub(super) suspense: i128,
    /// What the house holds and has earned by exchanges, by currency.
    pub(super) positions: BTreeMap<String, i128>,
    pub(super) spreads: BTreeMap<String, i128>,
    waits: HashMap<Key, Wait>,
    waiting: Vec<Waiting>,
    /// What of a fee comes back with a refund.
    fee_backs: HashMap<Key, i128>,
    /// When a payment was carried out that had waited.
    executed_at: HashMap<Key, i64>,
    /// By journal: who has answered what.
    answers: HashMap<Key, BTreeMap<String, &'static str>>,
    /// By task: when the last payment was made, and what two in a row have witnessed.
    clocks: Vec<(i64, i64)>,
}

impl RefAccount {
    fn available(&self, held: i128) -> i128 {
        self.posted - held + self.limit
    }

    /// Posted, pending in, and what a freeze or a close has left of it.
    pub(super) fn shape(&self) -> (i128, i128, i128, [bool; 3]) {
        let flags = [self.debits_frozen, self.credits_frozen, self.closed];
        (self.posted, self.expected.values().sum(), self.limit, flags)
    }
}

impl Reference {
    pub(super) fn new(tasks: usize, policy: Policy) -> Self {
        Self {
            policy,
            accounts: BTreeMap::new(),
            paid: HashMap::new(),
            received: HashMap::new(),
            under_way: vec![VecDeque::new(); tasks],
            fees: 0,
            suspense: 0,
            positions: BTreeMap::new(),
            spreads: BTreeMap::new(),
            waits: HashMap::new(),
            waiting: Vec::new(),
            fee_backs: HashMap::new(),
            executed_at: HashMap::new(),
            answers: HashMap::new(),
            clocks: vec![(i64::MIN, i64::MIN); tasks],
        }
    }

    /// What is set aside on an account at a time, by looking at every hold there is.
    pub(super) fn held(&self, account: &str, now: i64) -> i128 {
        let holds = self.paid.values().filter(|paid| paid.pay.from == account).filter_map(|paid| paid.hold.as_ref());
        holds.filter(|hold| hold.state == State::Open && hold.expires_at > now).map(|hold| hold.held).sum()
    }

    /// What the ledger has still set aside, whether it is over or not.
    pub(super) fn pending(&self, account: &str) -> i128 {
        self.held(account, i64::MIN)
    }

    pub(super) fn pay(&mut self, pay: &Pay, at: i64) -> &'static str {
        let identity = (pay.from.clone(), pay.id.clone());
        let declined = pay.verdict == Verdict::Decline;
        if let Some(first) = self.paid.get(&identity) {
            return match (same_body(&first.pay, pay), declined) {
                (true, _) => "duplicate",
                (false, true) => "fraud_declined",
                (false, false) => "idempotency_conflict",
            };
        }
        let code = if declined { "fraud_declined" } else { self.first_broken(pay, at) };
        let mut paid = Paid { pay: pay.clone(), hold: None, fee: i128::from(pay.fee_minor) };
        if code == "posted" {
            let now = self.accounts[&pay.from].clock.max(at);
            self.expire(&pay.from, now);
            self.accounts.get_mut(&pay.from).expect("was looked at").clock = now.max(at);
            paid.hold = self.carry_out(pay, at);
        }
        self.paid.insert(identity, paid);
        if code == "posted" && pay.payment_type == Type::Authorise {
            self.announce(&pay.from, &pay.id);
        }
        self.tick(&pay.from, at);
        code
    }

    fn expire(&mut self, account: &str, now: i64) {
        let mut ended = Vec::new();
        for paid in self.paid.values_mut().filter(|paid| paid.pay.from == account) {
            let Some(hold) = &mut paid.hold else { continue };
            if hold.state == State::Open && hold.expires_at <= now {
                (hold.state, hold.held) = (State::Expired, 0);
                ended.push((hold.expires_at, hold.number, paid.pay.id.clone()));
            }
        }
        self.announce_all(account, ended);
    }

    fn announce_all(&mut self, account: &str, mut ended: Vec<(i64, usize, String)>) {
        ended.sort();
        for (_, _, id) in ended {
            self.announce(account, &id);
        }
    }

    fn announce(&mut self, from: &str, id: &str) {
        let paid = &self.paid[&(from.to_owned(), id.to_owned())];
        let held = paid.hold.as_ref().map_or(0, |hold| hold.held);
        let (to, currency) = (paid.pay.to.clone(), paid.pay.currency.clone());
        let leg = Leg::Announce { from: from.to_owned(), id: id.to_owned(), to: to.clone(), currency, held };
        self.send(&to, leg);
    }

    fn send(&mut self, to: &str, leg: Leg) {
        let tasks = u32::try_from(self.under_way.len()).expect("a few");
        self.under_way[partition_of(to.as_bytes(), tasks) as usize].push_back(leg);
    }

    /// Returns the hold of an authorisation.
    fn carry_out(&mut self, pay: &Pay, at: i64) -> Option<RefHold> {
        let amount = i128::from(pay.amount_minor);
        let reference = pay.reference.clone().unwrap_or_default();
        match pay.payment_type {
            Type::Authorise => {
                let expires_at = at + lasts(pay);
                let (number, state) = (self.paid.len(), State::Open);
                return Some(RefHold { number, authorised: amount, captured: 0, held: amount, expires_at, state });
            }
            Type::Increment | Type::Void | Type::Capture | Type::ForcePost => {
                let hold =
                    self.paid.get_mut(&(pay.from.clone(), reference.clone())).and_then(|paid| paid.hold.as_mut());
                if let Some(hold) = hold {
                    change(hold, pay);
                    self.announce(&pay.from, &reference);
                }
            }
            Type::Refund | Type::Reverse | Type::Chargeback | Type::ChargebackReversal => self.undo(pay, reference),
            Type::Cancel => {
                self.waits.insert((pay.from.clone(), reference.clone()), Wait::Cancelled);
                self.waiting.retain(|waiting| waiting.pay.from != pay.from || waiting.pay.id != reference);
                return None;
            }
            Type::Transfer | Type::Deposit | Type::Withdrawal if waits(pay, at, self.accounts[&pay.from].clock) => {
                let (due, until) =
                    (at + pay.waits_micros.unwrap_or(0), at + pay.retries_micros.unwrap_or(i64::MIN / 2));
                self.waits.insert((pay.from.clone(), pay.id.clone()), Wait::Waiting);
                self.waiting.push(Waiting { pay: pay.clone(), due, until, released: false });
                return None;
            }
            Type::Journal => {
                self.accounts.get_mut(&pay.from).expect("was found").posted -= amount;
                self.answers.insert((pay.from.clone(), pay.id.clone()), BTreeMap::new());
                for payer in pay.debits.keys() {
                    self.send(payer, Leg::Collect(pay.clone(), payer.clone()));
                }
                if pay.debits.is_empty() {
                    self.pay_out(pay);
                }
                return None;
            }
            Type::Transfer | Type::Deposit | Type::Withdrawal | Type::FxExchange => {}
        }
        self.debit(pay, amount);
        None
    }

    /// What leaves the payer, and the leg that follows from it.
    fn debit(&mut self, pay: &Pay, amount: i128) {
        let mut leg = pay.clone();
        if pay.payment_type == Type::Reverse {
            let key = (pay.from.clone(), pay.to.clone(), pay.reference.clone().unwrap_or_default());
            leg.exchange = self.received[&key].exchange.clone();
        }
        self.swap(&leg, 1);
        if !matches!(pay.payment_type, Type::Increment | Type::Void) {
            let fee = i128::from(pay.fee_minor);
            self.accounts.get_mut(&pay.from).expect("was found").posted -= amount + on_top(pay);
            self.fees += fee;
            let to = pay.to.clone();
            self.send(&to, Leg::Credit(leg));
        }
    }

    /// What has been received is given back, and with a refund what is due of its fee.
    fn undo(&mut self, pay: &Pay, reference: String) {
        let amount = i128::from(pay.amount_minor);
        let receipt = self.received.get_mut(&(pay.from.clone(), pay.to.clone(), reference)).expect("was found");
        match pay.payment_type {
            Type::Reverse => receipt.reversed = true,
            Type::Chargeback => receipt.back += amount,
            _ => {
                receipt.back += amount;
                receipt.refunded += amount;
                let due = match receipt.fee_refund {
                    FeeRefund::Kept => 0,
                    FeeRefund::Returned => receipt.fee,
                    FeeRefund::ProRata => receipt.fee * receipt.refunded / receipt.amount,
                };
                self.fee_backs.insert((pay.from.clone(), pay.id.clone()), due - receipt.fee_back);
                receipt.fee_back = due;
            }
        }
    }

    pub(super) fn brings_fee_back(&self, pay: &Pay) -> bool {
        self.fee_backs.get(&(pay.from.clone(), pay.id.clone())).is_some_and(|minor| *minor > 0)
    }

    fn pay_out(&mut self, pay: &Pay) {
        for (to, amount_minor) in &pay.credits {
            self.send(to, Leg::Credit(Pay { to: to.clone(), amount_minor: *amount_minor, ..pay.clone() }));
        }
    }

    /// The clock of the task that owns the account, and what becomes due by it.
    fn tick(&mut self, account: &str, at: i64) {
        let tasks = u32::try_from(self.clocks.len()).expect("a few");
        let task = partition_of(account.as_bytes(), tasks);
        let (last, witnessed) = self.clocks[task as usize];
        let now = witnessed.max(last.min(at));
        self.clocks[task as usize] = (at, now);
        let is_due = |waiting: &&mut Waiting| {
            let is_here = partition_of(waiting.pay.from.as_bytes(), tasks) == task;
            is_here && !waiting.released && waiting.due <= now.saturating_sub(self.policy.grace_micros)
        };
        let mut due: Vec<&mut Waiting> = self.waiting.iter_mut().filter(is_due).collect();
        due.sort_by_key(|waiting| {
            let (from, id) = (waiting.pay.from.clone(), waiting.pay.id.clone());
            (waiting.due, from.len(), from, id.len(), id)
        });
        let mut keys = Vec::new();
        for waiting in due.into_iter().take(32) {
            waiting.released = true;
            keys.push((waiting.pay.from.clone(), waiting.pay.id.clone()));
        }
        for key in keys {
            self.send(&key.0.clone(), Leg::Execute(key));
        }
    }

    fn execute(&mut self, key: &Key) {
        let is_it = |waiting: &Waiting| (&waiting.pay.from, &waiting.pay.id) == (&key.0, &key.1);
        let Some(place) = self.waiting.iter().position(is_it) else { return };
        let Waiting { pay, due, until, .. } = self.waiting[place].clone();
        let pay = Pay { waits_micros: None, ..pay };
        let code = self.first_broken(&pay, due);
        let retry = due + self.policy.retry_micros;
        if code == "insufficient_funds" && retry <= until {
            (self.waiting[place].due, self.waiting[place].released) = (retry, false);
        } else {
            self.waiting.remove(place);
            self.waits.insert(key.clone(), if code == "posted" { Wait::Executed } else { Wait::Refused });
        }
        self.look_at(&pay.from, &pay.currency, due);
        if code == "posted" {
            let account = self.accounts.get_mut(&pay.from).expect("was found");
            account.clock = account.clock.max(due);
            self.executed_at.insert(key.clone(), due);
            self.carry_out(&pay, due);
        }
    }

    /// Whoever looks at an account that is to pay gives free what is over, even if nothing comes of it.
    fn look_at(&mut self, name: &str, currency: &str, at: i64) {
        let Some(account) = self.accounts.get(name).filter(|account| account.currency == currency) else { return };
        let now = account.clock.max(at);
        let ends = self.paid.values().filter(|paid| paid.pay.from == name).filter_map(|paid| paid.hold.as_ref());
        let over = ends.filter(|hold| hold.state == State::Open && hold.expires_at <= now).map(|hold| hold.expires_at);
        let last = over.max().unwrap_or(i64::MIN);
        self.expire(name, now);
        let account = self.accounts.get_mut(name).expect("was found");
        account.clock = account.clock.max(last);
    }

    /// A further payer of a journal is asked.
    fn collect(&mut self, pay: Pay, payer: String, at: i64) {
        let leg = Pay { amount_minor: pay.debits[&payer], ..Pay::new(Type::Refund, &pay.id, &payer, &pay.from, 0) };
        let account = self.accounts.get(&payer);
        let code = match account {
            None => "debit_account_not_found",
            Some(account) if account.currency != pay.currency => "currency_mismatch",
            Some(account) if account.closed => "debit_account_closed",
            Some(account) if account.debits_frozen => "debit_account_frozen",
            Some(account) => {
                let needs = !matches!(account.kind, AccountKind::Asset | AccountKind::Expense);
                let available = account.available(self.held(&payer, account.clock.max(at)));
                if needs && available < i128::from(leg.amount_minor) { "insufficient_funds" } else { "posted" }
            }
        };
        self.look_at(&payer, &pay.currency, at);
        if code == "posted" {
            let account = self.accounts.get_mut(&payer).expect("was found");
            account.posted -= i128::from(leg.amount_minor);
            account.clock = account.clock.max(at);
        }
        self.send(&pay.from.clone(), Leg::Collected(pay, payer, code));
    }

    fn collected(&mut self, pay: &Pay, payer: String, code: &'static str, at: i64) {
        let answers = self.answers.get_mut(&(pay.from.clone(), pay.id.clone())).expect("was asked");
        answers.insert(payer, code);
        if answers.len() < pay.debits.len() {
            return;
        }
        if answers.values().all(|code| *code == "posted") {
            return self.pay_out(pay);
        }
        let given: Vec<String> =
            answers.iter().filter(|(_, code)| **code == "posted").map(|(payer, _)| payer.clone()).collect();
        self.give_back(&pay.from, i128::from(pay.amount_minor), &pay.currency, at);
        for payer in given {
            self.send(&payer, Leg::Uncollect(pay.clone(), payer.clone()));
        }
    }

    fn give_back(&mut self, name: &str, amount: i128, currency: &str, at: i64) {
        let account = self.accounts.get_mut(name);
        match account.filter(|account| account.currency == currency && !account.closed && !account.credits_frozen) {
            Some(account) => {
                account.posted += amount;
                account.clock = account.clock.max(at);
            }
            None => self.suspense += amount,
        }
    }

    /// What an exchange, or its reversal, does to the house: all of it, or with −1 all of it back.
    fn swap(&mut self, pay: &Pay, sign: i128) {
        let Some(exchange) = &pay.exchange else { return };
        let sign = if pay.payment_type == Type::Reverse { -sign } else { sign };
        let (sold, bought) = (i128::from(exchange.sold_minor), i128::from(exchange.bought_minor));
        let spread = i128::from(exchange.spread_minor);
        *self.positions.entry(exchange.sold_currency.clone()).or_default() += sign * sold;
        *self.positions.entry(exchange.bought_currency.clone()).or_default() -= sign * (bought + spread);
        *self.spreads.entry(exchange.bought_currency.clone()).or_default() += sign * spread;
    }

    /// One task takes in its next leg, if there is one.
    pub(super) fn deliver(&mut self, task: usize, times: &HashMap<(String, String), i64>) -> bool {
        let Some(leg) = self.under_way[task].pop_front() else { return false };
        let at = |pay: &Pay| times[&(pay.from.clone(), pay.id.clone())];
        match leg {
            Leg::Collect(pay, payer) => self.collect(pay.clone(), payer, at(&pay)),
            Leg::Collected(pay, payer, code) => self.collected(&pay, payer, code, at(&pay)),
            Leg::Uncollect(pay, payer) => {
                self.give_back(&payer, i128::from(pay.debits[&payer]), &pay.currency, at(&pay));
            }
            Leg::Execute(key) => self.execute(&key),
            Leg::Credit(pay) => self.credit(pay, times),
            Leg::Return(pay) => self.take_back(&pay, times),
            Leg::Announce { from, id, to, currency, held } => {
                if let Some(account) = self.accounts.get_mut(&to).filter(|account| account.currency == currency) {
                    let is_new = !account.expected.contains_key(&(from.clone(), id.clone()));
                    if held == 0 {
                        account.expected.remove(&(from, id));
                    } else if !(is_new && account.closed) {
                        account.expected.insert((from, id), held);
                    }
                }
            }
        }
        true
    }

    fn credit(&mut self, pay: Pay, times: &HashMap<(String, String), i64>) {
        let key = (pay.from.clone(), pay.id.clone());
        let at = self.executed_at.get(&key).copied().unwrap_or_else(|| times[&key]);
        let account = self.accounts.get_mut(&pay.to);
        let takes = account.filter(|account| {
            let is_outside = matches!(account.kind, AccountKind::Asset | AccountKind::External);
            account.currency == arriving(&pay).1
                && (pay.payment_type != Type::Withdrawal || is_outside)
                && !account.closed
                && !account.credits_frozen
        });
        let Some(account) = takes else {
            let from = pay.from.clone();
            return self.send(&from, Leg::Return(pay));
        };
        let amount = arriving(&pay).0;
        account.posted += amount;
        account.clock = account.clock.max(at);
        let reference = pay.reference.clone().unwrap_or_default();
        let back = self.fee_backs.get(&key).copied().unwrap_or_default();
        account.posted += back;
        self.fees -= back;
        if pay.payment_type == Type::Reverse && self.policy.return_fee {
            let fee = self.paid.get(&(pay.to.clone(), reference.clone())).map_or(0, |paid| paid.fee);
            account.posted += fee;
            self.fees -= fee;
        }
        if pay.payment_type == Type::ChargebackReversal {
            let chargeback = &self.paid[&(pay.to.clone(), reference)];
            let original = chargeback.pay.reference.clone().unwrap_or_default();
            let receipt = self.received.get_mut(&(pay.to.clone(), pay.from.clone(), original));
            receipt.expect("was charged back").back -= amount;
        }
        let can_be_undone = matches!(pay.payment_type, Type::Chargeback | Type::FxExchange);
        if can_go_back(Type::Refund, pay.payment_type) || can_be_undone {
            let exchange = pay.exchange.clone();
            let received = Received {
                payment_type: pay.payment_type,
                amount,
                back: 0,
                reversed: false,
                exchange,
                fee: i128::from(pay.fee_minor),
                fee_refund: pay.fee_terms.refund,
                refunded: 0,
                fee_back: 0,
            };
            self.received.insert((pay.to, pay.from, pay.id), received);
        }
    }

    fn take_back(&mut self, pay: &Pay, times: &HashMap<(String, String), i64>) {
        let key = (pay.from.clone(), pay.id.clone());
        let at = self.executed_at.get(&key).copied().unwrap_or_else(|| times[&key]);
        let fee = if self.policy.return_fee { i128::from(pay.fee_minor) } else { 0 };
        let amount = i128::from(pay.amount_minor) + on_top(pay) - i128::from(pay.fee_minor);
        let back = self.fee_backs.get(&key).copied().unwrap_or_default();
        self.fees -= fee;
        self.swap(pay, -1);
        let account = self.accounts.get_mut(&pay.from).filter(|account| !account.closed && !account.credits_frozen);
        let Some(account) = account else {
            self.suspense += amount + fee;
            return;
        };
        account.posted += amount + fee;
        account.clock = account.clock.max(at);
        let key = (pay.from.clone(), pay.to.clone(), pay.reference.clone().unwrap_or_default());
        if let Some(receipt) = self.received.get_mut(&key) {
            match pay.payment_type {
                Type::Reverse => receipt.reversed = false,
                Type::Chargeback => receipt.back -= amount,
                Type::Refund | Type::ChargebackReversal => {
                    receipt.back -= amount;
                    receipt.refunded -= amount;
                    receipt.fee_back -= back;
                }
                _ => {}
            }
        }
    }

    pub(super) fn request(&mut self, name: &str, action: &AccountAction, at: i64) -> &'static str {
        if let AccountAction::Open { currency, kind, limit_minor, .. } = action {
            if self.accounts.contains_key(name) {
                return "account_already_open";
            }
            let account = RefAccount {
                kind: *kind,
                currency: currency.clone(),
                limit: i128::from(*limit_minor),
                posted: 0,
                debits_frozen: false,
                credits_frozen: false,
                closed: false,
                clock: at,
                expected: BTreeMap::new(),
            };
            self.accounts.insert(name.to_owned(), account);
            return "applied";
        }
        let Some(account) = self.accounts.get_mut(name) else { return "account_not_found" };
        if account.closed {
            return "account_closed";
        }
        let now = account.clock.max(at);
        match action {
            AccountAction::ChangeLimit { currency, .. } if *currency != account.currency => return "currency_mismatch",
            AccountAction::ChangeLimit { limit_minor, .. } => account.limit = i128::from(*limit_minor),
            AccountAction::Freeze(sides) => freeze(account, *sides, true),
            AccountAction::Thaw(sides) => freeze(account, *sides, false),
            AccountAction::ChangeSegment { .. } => {}
            AccountAction::Close(open_holds) => return self.close(name, *open_holds, now),
            AccountAction::Open { .. } => unreachable!("answered above"),
        }
        self.accounts.get_mut(name).expect("was found").clock = now;
        "applied"
    }

    fn close(&mut self, name: &str, open_holds: OpenHolds, now: i64) -> &'static str {
        let is_open = |paid: &&Paid| {
            paid.pay.from == name
                && paid.hold.as_ref().is_some_and(|hold| hold.state == State::Open && hold.expires_at > now)
        };
        let open = self.paid.values().filter(is_open).filter_map(|paid| {
            let hold = paid.hold.as_ref()?;
            Some((hold.expires_at, hold.number, paid.pay.id.clone()))
        });
        let open: Vec<(i64, usize, String)> = open.collect();
        if self.accounts[name].posted != 0 || (!open.is_empty() && open_holds == OpenHolds::Refuse) {
            return "account_not_empty";
        }
        self.expire(name, now);
        for (_, _, id) in &open {
            let hold = self.paid.get_mut(&(name.to_owned(), id.clone())).and_then(|paid| paid.hold.as_mut());
            let hold = hold.expect("is open");
            (hold.state, hold.held) = (State::Voided, 0);
        }
        self.announce_all(name, open);
        let account = self.accounts.get_mut(name).expect("was found");
        (account.closed, account.clock) = (true, now);
        "applied"
    }
}

fn change(hold: &mut RefHold, pay: &Pay) {
    let amount = i128::from(pay.amount_minor);
    match pay.payment_type {
        Type::Increment => {
            hold.held += amount - hold.authorised;
            hold.authorised = amount;
        }
        Type::Void => (hold.state, hold.held) = (State::Voided, 0),
        Type::ForcePost => {
            hold.captured += amount;
            (hold.state, hold.held) = (State::Captured, 0);
        }
        _ => {
            hold.captured += amount;
            hold.held = (hold.held - amount).max(0);
            if pay.remainder == Remainder::Release || hold.held == 0 {
                (hold.state, hold.held) = (State::Captured, 0);
            }
        }
    }
}

fn freeze(account: &mut RefAccount, sides: Sides, frozen: bool) {
    if sides != Sides::Credits {
        account.debits_frozen = frozen;
    }
    if sides != Sides::Debits {
        account.credits_frozen = frozen;
    }
}
