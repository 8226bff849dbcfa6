//! Random streams of commands through the ledger and the reference, over numbers of tasks, batches and restarts.
//!
//! `TIDEMILL_LEDGER_COMMANDS` sets how many commands the long stream takes; a million is the proof, 30,000 the everyday
//! run. `TIDEMILL_LEDGER_SEED` sets the first seed, so that the proof can be run in parts. A failure names its seed and the
//! command.

use std::collections::{BTreeMap, HashMap};

use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tidemill_schemas::account::{AccountAction, OpenHolds, Sides};
use tidemill_schemas::{AccountKind, Exchange, FeeCharge, FeeRefund, PaymentType, Remainder, Verdict};

use super::audit;
use super::reference::{Policy, Reference};
use super::world::{Audits, Pay, World};

struct Stream {
    seed: u64,
    random: ChaCha8Rng,
    world: World,
    reference: Reference,
    names: Vec<String>,
    /// The last payments that were made, to be referred to and sent again.
    recent: Vec<Pay>,
    times: HashMap<(String, String), i64>,
    payments: u32,
    /// Of eight payments that can wait, so many do.
    waits_of_eight: u32,
    /// How often each answer was given.
    answers: BTreeMap<&'static str, u32>,
    /// How many payments of each type were carried out, and of those that wait, share costs or bring fees back.
    carried_out: BTreeMap<&'static str, u32>,
}

const KINDS: [AccountKind; 4] =
    [AccountKind::Customer, AccountKind::Merchant, AccountKind::External, AccountKind::Asset];
const RECENT_MAX: usize = 40;
const BEGINNINGS: [PaymentType; 6] = [
    PaymentType::Transfer,
    PaymentType::Deposit,
    PaymentType::Withdrawal,
    PaymentType::Authorise,
    PaymentType::FxExchange,
    PaymentType::Journal,
];
const OF_HOLDS: [PaymentType; 4] =
    [PaymentType::Increment, PaymentType::Capture, PaymentType::Void, PaymentType::ForcePost];

impl Stream {
    fn new(seed: u64, tasks: u32, accounts: usize, audits: Audits) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let policy = Policy {
            over_capture_percent: *[0, 15].choose(&mut random).expect("two"),
            force_reversals: random.random(),
            return_fee: random.random(),
            grace_micros: *[0, 60_000_000].choose(&mut random).expect("two"),
            retry_micros: *[60_000_000, 600_000_000].choose(&mut random).expect("two"),
        };
        let settings = format!(
            "over_capture_percent = {}\nreverse_when_spent = \"{}\"\nreturn_fee = {}\nrefund_days = 3650\noutcome_retention_days = 3650\nscheduled_grace_minutes = {}\nretry_minutes = {}",
            policy.over_capture_percent,
            if policy.force_reversals { "force" } else { "refuse" },
            policy.return_fee,
            policy.grace_micros / 60_000_000,
            policy.retry_micros / 60_000_000
        );
        let mut stream = Self {
            seed,
            random,
            world: World::of_tasks(tasks, &settings, audits),
            reference: Reference::new(tasks as usize, policy),
            names: (0..accounts).map(|number| format!("acc-{number}")).collect(),
            recent: Vec::new(),
            times: HashMap::new(),
            payments: 0,
            waits_of_eight: 1,
            answers: BTreeMap::new(),
            carried_out: BTreeMap::new(),
        };
        stream.open_accounts();
        stream
    }

    /// Most accounts are there from the start, each with a limit of its own.
    fn open_accounts(&mut self) {
        for account in self.names.clone() {
            let kind = *KINDS.choose(&mut self.random).expect("four");
            let limit_minor = self.random.random_range(0..2_000);
            let currency = if self.random.random_ratio(1, 6) { "JPY" } else { "EUR" }.to_owned();
            let action = AccountAction::Open { customer: None, parent: None, currency, kind, limit_minor };
            if self.random.random_ratio(7, 8) {
                self.reference.request(&account, &action, self.world.now.0);
                self.world.request(&account, action);
            }
        }
    }

    fn run(&mut self, commands: u32) {
        for number in 0..commands {
            match self.random.random_range(0..100_u32) {
                0..3 => self.request(number),
                3..72 => self.pay(number),
                72..99 => {
                    let task = self.random.random_range(0..self.world.task_count());
                    for _ in 0..self.random.random_range(1..6_u32) {
                        self.deliver(task);
                    }
                }
                _ => {
                    let task = self.random.random_range(0..self.world.task_count());
                    self.world.restart(task);
                }
            }
            let step = [0, 1, 1_000_000, 40_000_000].choose(&mut self.random).copied().unwrap_or_default();
            self.world.now.0 += step;
        }
    }

    fn request(&mut self, number: u32) {
        let account = self.names.choose(&mut self.random).expect("some").clone();
        let currency = if self.random.random_ratio(1, 12) { "JPY" } else { "EUR" }.to_owned();
        let sides = *[Sides::Debits, Sides::Credits, Sides::Both].choose(&mut self.random).expect("three");
        let limit_minor = self.random.random_range(0..2_000);
        let action = match self.random.random_range(0..20_u32) {
            0..8 => {
                let kind = *KINDS.choose(&mut self.random).expect("four");
                AccountAction::Open { customer: None, parent: None, currency, kind, limit_minor }
            }
            8..10 => AccountAction::Freeze(sides),
            10..15 => AccountAction::Thaw(sides),
            15..18 => AccountAction::ChangeLimit { limit_minor, currency },
            18 => AccountAction::Close(OpenHolds::Refuse),
            _ => AccountAction::Close(OpenHolds::Release),
        };
        let expected = self.reference.request(&account, &action, self.world.now.0);
        let code = self.world.request(&account, action.clone());
        assert_eq!(code, expected, "seed {}, command {number}: {account} {action:?}", self.seed);
        *self.answers.entry(code).or_default() += 1;
    }

    fn pay(&mut self, number: u32) {
        let pay = self.payment();
        let identity = (pay.from.clone(), pay.id.clone());
        let at = *self.times.entry(identity).or_insert(self.world.now.0);
        let expected = self.reference.pay(&pay, at);
        let code = self.world.pay(&pay);
        assert_eq!(code, expected, "seed {}, command {number}: {pay:?}", self.seed);
        *self.answers.entry(code).or_default() += 1;
        if code == "posted" {
            self.count(&pay);
        }
        // What was refused is referred to as well, but not as often as it happens.
        if code != "posted" && self.random.random_ratio(4, 5) {
            return;
        }
        if self.recent.len() == RECENT_MAX {
            let oldest = self.random.random_range(0..RECENT_MAX);
            self.recent.swap_remove(oldest);
        }
        self.recent.push(pay);
    }

    fn count(&mut self, pay: &Pay) {
        let features = [
            ("a payment that waits", pay.waits_micros.is_some()),
            ("a journal of several payers", !pay.debits.is_empty()),
            ("a deducted fee", pay.fee_terms.charge == FeeCharge::Deducted && pay.fee_minor > 0),
            ("a fee of a chargeback", pay.payment_type == PaymentType::Chargeback && pay.fee_minor > 0),
            ("a refund with some of the fee", self.reference.brings_fee_back(pay)),
        ];
        let present = features.into_iter().filter(|(_, is_present)| *is_present).map(|(feature, _)| feature);
        for what in present.chain([pay.payment_type.name()]) {
            *self.carried_out.entry(what).or_default() += 1;
        }
    }

    /// Mostly about an earlier payment, as in life; now and then about the wrong one, or the same once more.
    fn payment(&mut self) -> Pay {
        let earlier = self.recent.choose(&mut self.random).cloned();
        if let Some(earlier) = earlier.clone().filter(|_| self.random.random_ratio(1, 15)) {
            let changed = self.random.random_ratio(1, 3);
            return if changed { altered(earlier) } else { earlier };
        }
        self.payments += 1;
        let id = format!("p{}", self.payments);
        let first = self.random.random_range(0..self.names.len());
        let second = (first + self.random.random_range(1..self.names.len())) % self.names.len();
        let payment_type = self.payment_type(earlier.as_ref());
        let mut pay = Pay::new(payment_type, &id, &self.names[first], &self.names[second], 0);
        pay.amount_minor = self.random.random_range(1..150);
        let is_linked = !BEGINNINGS.contains(&payment_type);
        if let Some(earlier) = earlier.filter(|_| is_linked && self.random.random_ratio(19, 20)) {
            pay.reference = Some(self.root(&earlier));
            let gives_back = !OF_HOLDS.contains(&payment_type) && payment_type != PaymentType::Cancel;
            let (one, other) = (earlier.from, earlier.to);
            (pay.from, pay.to) = if gives_back { (other, one) } else { (one, other) };
            let part = self.random.random_range(1..4);
            let deducted = if earlier.fee_terms.charge == FeeCharge::Deducted { earlier.fee_minor } else { 0 };
            let arrived =
                earlier.exchange.as_ref().map_or(earlier.amount_minor - deducted, |exchange| exchange.bought_minor);
            let same = [arrived, (earlier.amount_minor / part).max(1), earlier.amount_minor + part];
            pay.amount_minor = *same.choose(&mut self.random).expect("three");
        } else if is_linked && payment_type != PaymentType::ForcePost {
            pay.reference = Some("nothing".to_owned());
        }
        if matches!(payment_type, PaymentType::Void | PaymentType::Cancel) && self.random.random() {
            pay.amount_minor = 0;
        }
        if payment_type == PaymentType::Authorise && self.random.random_ratio(3, 4) {
            pay.lasts_micros = Some(self.random.random_range(1..1_000_000_000));
        }
        if payment_type.can_be_scheduled() && self.random.random_ratio(self.waits_of_eight, 8) {
            pay.waits_micros = Some(self.random.random_range(1..1_000_000_000));
            pay.retries_micros =
                Some(self.random.random_range(1_000_000_000..2_000_000_000)).filter(|_| self.random.random());
        }
        if payment_type == PaymentType::Journal {
            self.add_legs(&mut pay, first);
        }
        if payment_type == PaymentType::Capture && self.random.random() {
            pay.remainder = Remainder::Keep;
        }
        if payment_type.can_be_priced() {
            self.add_fee(&mut pay);
        }
        pay.currency = self.currency(&pay);
        if payment_type == PaymentType::FxExchange {
            pay.exchange = Some(self.exchange(&pay));
        }
        if self.random.random_ratio(1, 40) {
            pay.verdict = Verdict::Decline;
        }
        pay
    }

    /// Small against most amounts, and as much as half of some.
    fn add_fee(&mut self, pay: &mut Pay) {
        pay.fee_minor = self.random.random_range(0..8);
        pay.fee_terms.refund = *FeeRefund::ALL.choose(&mut self.random).expect("three");
        let is_deducted = pay.amount_minor > pay.fee_minor && self.random.random_ratio(1, 3);
        if is_deducted && pay.payment_type != PaymentType::Chargeback {
            pay.fee_terms.charge = FeeCharge::Deducted;
        }
    }

    /// Some more payers, and who shares what they pay.
    fn add_legs(&mut self, pay: &mut Pay, leader: usize) {
        let mut others: Vec<String> = self.names.clone();
        others.remove(leader);
        others.shuffle(&mut self.random);
        for _ in 0..self.random.random_range(0..=2) {
            let amount_minor = self.random.random_range(1..60);
            pay.debits.extend(others.pop().map(|payer| (payer, amount_minor)));
        }
        let mut left_minor = pay.amount_minor + pay.debits.values().sum::<i64>();
        while others.len() > 1 && left_minor > 1 && self.random.random() {
            let amount_minor = self.random.random_range(1..left_minor);
            left_minor -= amount_minor;
            pay.credits.extend(others.pop().map(|payee| (payee, amount_minor)));
        }
        pay.credits.extend(others.pop().map(|payee| (payee, left_minor)));
        pay.to = pay.credits.keys().next().expect("somebody is paid").clone();
    }

    /// Mostly that of the debit account.
    fn currency(&mut self, pay: &Pay) -> String {
        let own = self.reference.accounts.get(&pay.from).map_or("EUR", |account| account.currency.as_str());
        let is_wrong = self.random.random_ratio(1, 40);
        if (own == "JPY") == is_wrong { "EUR" } else { "JPY" }.to_owned()
    }

    /// A yen for a cent and a half, or the other way round.
    fn exchange(&mut self, pay: &Pay) -> Exchange {
        let is_yen = pay.currency == "JPY";
        Exchange {
            quote: format!("q-{}", self.random.random_range(0..3_u32)),
            sold_minor: pay.amount_minor,
            sold_currency: pay.currency.clone(),
            bought_minor: if is_yen { pay.amount_minor * 3 / 5 } else { pay.amount_minor * 8 / 5 }.max(1),
            bought_currency: if is_yen { "EUR" } else { "JPY" }.to_owned(),
            spread_minor: self.random.random_range(0..4),
        }
    }

    /// Mostly one that goes with the payment it will be about.
    fn payment_type(&mut self, earlier: Option<&Pay>) -> PaymentType {
        let fitting: &[PaymentType] = match earlier.map(|earlier| earlier.payment_type) {
            _ if self.random.random_ratio(1, 3) => &BEGINNINGS,
            _ if earlier.is_some_and(|earlier| earlier.waits_micros.is_some()) => &[PaymentType::Cancel],
            Some(PaymentType::Authorise | PaymentType::Increment) => &OF_HOLDS,
            Some(PaymentType::Capture) if self.random.random() => &OF_HOLDS,
            Some(PaymentType::Chargeback) => &[PaymentType::ChargebackReversal],
            Some(_) => &[PaymentType::Refund, PaymentType::Reverse, PaymentType::Chargeback],
            None => &BEGINNINGS,
        };
        let any = self.random.random_ratio(1, 12);
        *if any { PaymentType::ALL.as_slice() } else { fitting }.choose(&mut self.random).expect("some")
    }

    /// An increment or a capture leads to the authorisation it names, as often as not.
    fn root(&mut self, earlier: &Pay) -> String {
        let is_of_hold = matches!(earlier.payment_type, PaymentType::Increment | PaymentType::Capture);
        match &earlier.reference {
            Some(root) if is_of_hold && self.random.random() => root.clone(),
            _ => earlier.id.clone(),
        }
    }

    fn deliver(&mut self, task: u32) {
        let delivered = self.world.deliver(task);
        assert!(delivered.is_none_or(|(_, code)| code == "applied"), "seed {}", self.seed);
        self.reference.deliver(task as usize, &self.times);
    }

    fn compare(&self) {
        for (id, account) in self.world.accounts().into_iter().filter(|(_, account)| !account.is_internal()) {
            let flags = [account.debits_frozen, account.credits_frozen, account.closed];
            let limit = i128::from(account.limit_minor);
            let found = (i128::from(account.posted_minor), i128::from(account.pending_in_minor), limit, flags);
            assert_eq!(found, self.reference.accounts[&id].shape(), "seed {}: {id}", self.seed);
            assert_eq!(i128::from(account.pending_minor), self.reference.pending(&id), "seed {}: {id}", self.seed);
        }
        let total = |prefix| self.world.internal_minor(prefix).values().sum::<i128>();
        assert_eq!(total("fees."), self.reference.fees, "seed {}", self.seed);
        assert_eq!(total("suspense."), self.reference.suspense, "seed {}", self.seed);
        for (prefix, expected) in [("fx_position.", &self.reference.positions), ("fx_spread.", &self.reference.spreads)]
        {
            let mut found = self.world.internal_minor(prefix);
            let mut expected = expected.clone();
            found.retain(|_, minor| *minor != 0);
            expected.retain(|_, minor| *minor != 0);
            assert_eq!(found, expected, "seed {}: {prefix}", self.seed);
        }
    }

    fn finish(&mut self) {
        while let Some(task) =
            (0..self.world.task_count()).find(|task| !self.world.under_way[*task as usize].is_empty())
        {
            self.deliver(task);
        }
        self.compare();
        audit::everything(&self.world);
        audit::quiet(&self.world);
        assert!(self.world.in_transit_minor().values().all(|minor| *minor == 0), "seed {}", self.seed);
    }
}

fn altered(pay: Pay) -> Pay {
    let retries_micros = Some(3_000_000_000);
    match pay.payment_type {
        PaymentType::Journal => Pay { retries_micros, ..pay },
        _ => Pay { amount_minor: pay.amount_minor + 1, ..pay },
    }
}

/// Short streams with every invariant checked after every record.
#[test]
fn short_streams_keep_every_invariant() {
    for seed in 0..40 {
        let tasks = [1, 2, 3, 5][seed as usize % 4];
        let mut stream = Stream::new(seed, tasks, 5, Audits::EveryRecord);
        for _ in 0..6 {
            stream.run(50);
            stream.compare();
        }
        stream.finish();
    }
}

/// Many commands over few and many accounts, in stretches that start afresh, since the reference looks at everything.
#[test]
fn long_streams_agree_with_the_reference() {
    let number = |variable: &str| std::env::var(variable).ok().and_then(|number| number.parse::<u32>().ok());
    let mut left = number("TIDEMILL_LEDGER_COMMANDS").unwrap_or(30_000);
    let mut seed = u64::from(number("TIDEMILL_LEDGER_SEED").unwrap_or(1_000));
    let mut answers: BTreeMap<&'static str, u32> = BTreeMap::new();
    let mut carried_out: BTreeMap<&'static str, u32> = BTreeMap::new();
    while left > 0 {
        let stretch = left.min(1_500);
        let tasks = [1, 2, 4, 8][seed as usize % 4];
        let accounts = [4, 12, 40][seed as usize % 3];
        let mut stream = Stream::new(seed, tasks, accounts, Audits::OnDemand);
        stream.run(stretch);
        stream.finish();
        for (code, count) in stream.answers {
            *answers.entry(code).or_default() += count;
        }
        for (what, count) in stream.carried_out {
            *carried_out.entry(what).or_default() += count;
        }
        left -= stretch;
        seed += 1;
    }
    println!("{answers:?}");
    println!("{carried_out:?}");
    assert_eq!(carried_out.len(), PaymentType::ALL.len() + 5, "every type and feature is carried out: {carried_out:?}");
    let never: Vec<&str> = super::super::codes::PaymentCode::ALL
        .iter()
        .map(|code| code.spec().code)
        .filter(|code| !code.starts_with("credit_") && *code != "amount_overflow")
        // No limits here; the stream of `payment_limits/model.rs` has them.
        .filter(|code| !code.ends_with("limit_exceeded") && !code.ends_with("_not_allowed"))
        .filter(|code| !answers.contains_key(code))
        .collect();
    assert_eq!(never, [""; 0], "codes that no command was answered with: {answers:?}");
}

/// Which task owns an account changes nothing for anybody: the same stream over other numbers of tasks.
#[test]
fn the_number_of_tasks_changes_no_balance() {
    for seed in 0..10 {
        let balances = [1, 2, 7].map(|tasks| {
            let mut stream = Stream::new(seed, tasks, 6, Audits::OnDemand);
            // When a payment is due is said by the clock of its task.
            stream.waits_of_eight = 0;
            quiet_run(&mut stream, 400)
        });
        assert_eq!(balances[0], balances[1], "seed {seed}");
        assert_eq!(balances[0], balances[2], "seed {seed}");
    }
}

/// Delivers everything after each command, so that the order of arrival is that of the commands. Nothing is drawn that
/// depends on the number of tasks.
fn quiet_run(stream: &mut Stream, commands: u32) -> BTreeMap<String, (i64, i64)> {
    for number in 0..commands {
        if stream.random.random_ratio(1, 10) {
            stream.request(number);
        } else {
            stream.pay(number);
        }
        stream.world.now.0 += 1_000_000;
        stream.finish();
    }
    let accounts = stream.world.accounts().into_iter().filter(|(_, account)| !account.is_internal());
    accounts.map(|(id, account)| (id, (account.posted_minor, account.pending_minor))).collect()
}
