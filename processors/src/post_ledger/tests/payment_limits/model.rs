//! Random payments under random limits, beside a list of everything that was ever counted.
//!
//! The model shares no code with the ledger: it adds up its whole list for every payment, and does its own calendar. What
//! a payment is refused for beside limits it takes from the ledger; that is what the streams test.

use std::collections::BTreeMap;

use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tidemill_core::EventTime;
use tidemill_schemas::account::AccountAction;
use tidemill_schemas::{AccountKind, Instruction, InstructionKind, PaymentType as Type, Remainder};

use super::super::super::codes::PaymentCode;
use super::super::super::payment_limits::LIMIT_USAGES;
use super::super::world::{Audits, Pay, World};

const DAY_MICROS: i64 = 86_400_000_000;
const HOUR_MICROS: i64 = 3_600_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Window {
    Day,
    /// From the day of the week that many days after Thursday, which 1970-01-01 was.
    Week(i64),
    Month,
    Rolling(i64),
    Lifetime,
}

#[derive(Clone, Debug)]
struct Rule {
    name: String,
    window: Window,
    is_in_berlin: bool,
    is_by_counterparty: bool,
    amount_max: Option<i64>,
    payments_max: Option<i64>,
    gives_back: Vec<&'static str>,
}

/// Something that was counted by one rule.
#[derive(Clone, Debug)]
struct Line {
    rule: usize,
    account: String,
    counterparty: String,
    /// The window, or the instant of a rolling one.
    label: i64,
    amount: i64,
    payments: i64,
    payment: String,
}

#[derive(Clone, Debug)]
struct Held {
    account: String,
    id: String,
    held: i64,
    authorised: i64,
    expires_at: i64,
    is_open: bool,
}

#[derive(Clone, Debug, Default)]
struct Model {
    rules: Vec<Rule>,
    lines: Vec<Line>,
    /// By rule, account and counterparty: the last label that was counted.
    labels: BTreeMap<(usize, String, String), i64>,
    holds: Vec<Held>,
}

/// Offset of Berlin: two hours from the last Sunday of March, 01:00 UTC, to that of October, one otherwise.
fn berlin_offset(at: i64) -> i64 {
    let (year, _) = year_and_month(at.div_euclid(DAY_MICROS));
    let last_sunday = |month: i64| {
        let last_day = days_before(year, month + 1) - 1;
        // 1970-01-04 was a Sunday.
        (last_day - (last_day - 3).rem_euclid(7)) * DAY_MICROS + HOUR_MICROS
    };
    if (last_sunday(3)..last_sunday(10)).contains(&at) { 2 * HOUR_MICROS } else { HOUR_MICROS }
}

/// Days from 1970-01-01 to the first of a month.
fn days_before(year: i64, month: i64) -> i64 {
    let leap = |year: i64| (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let years: i64 = (1970..year).map(|year| 365 + i64::from(leap(year))).sum();
    let lengths = [31, 28 + i64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    years + lengths.iter().take(usize::try_from(month - 1).expect("a month")).sum::<i64>()
}

fn year_and_month(day: i64) -> (i64, i64) {
    let year = (1970..2100).rev().find(|year| days_before(*year, 1) <= day).expect("since 1970");
    let month = (1..=12).rev().find(|month| days_before(year, *month) <= day).expect("of that year");
    (year, month)
}

impl Rule {
    fn random(number: usize, random: &mut ChaCha8Rng) -> Self {
        let windows = [
            Window::Day,
            Window::Week(random.random_range(0..7)),
            Window::Month,
            Window::Rolling(*[60, 1_440, 2_000].choose(random).expect("three")),
            Window::Lifetime,
        ];
        let window = *windows.choose(random).expect("five");
        let scale = if window == Window::Lifetime { 3 } else { 1 };
        let amount_max = Some(random.random_range(100..900) * scale).filter(|_| random.random_ratio(3, 4));
        let payments_max = Some(random.random_range(2..9) * scale);
        let all = ["reverse", "refund", "chargeback"].into_iter();
        Self {
            name: format!("rule-{number}"),
            window,
            is_in_berlin: random.random(),
            is_by_counterparty: random.random_ratio(1, 3),
            payments_max: payments_max.filter(|_| amount_max.is_none() || random.random()),
            amount_max,
            gives_back: all.filter(|_| random.random()).collect(),
        }
    }

    fn settings(&self) -> String {
        const DAYS: [&str; 7] = ["thursday", "friday", "saturday", "sunday", "monday", "tuesday", "wednesday"];
        let window = match self.window {
            Window::Day => "\"day\"".to_owned(),
            Window::Week(first) => {
                format!("\"week\"\nweek_starts_on = \"{}\"", DAYS[usize::try_from(first).expect("a day")])
            }
            Window::Month => "\"month\"".to_owned(),
            Window::Rolling(minutes) => format!("\"rolling\"\nwindow_minutes = {minutes}"),
            Window::Lifetime => "\"lifetime\"".to_owned(),
        };
        let mut text = format!(
            "[[limits]]\nname = \"{}\"\nversion = \"1\"\neffective_from = \"2000-01-01T00:00:00Z\"\ncurrency = \"EUR\"\n\
             window = {window}\ngives_back = {:?}\n",
            self.name, self.gives_back
        );
        if matches!(self.window, Window::Day | Window::Week(_) | Window::Month) {
            text += if self.is_in_berlin { "zone = \"Europe/Berlin\"\n" } else { "zone = \"UTC\"\n" };
        }
        if self.is_by_counterparty {
            text += "per = \"counterparty\"\n";
        }
        text.extend(self.amount_max.map(|max| format!("amount_minor_max = {max}\n")));
        text.extend(self.payments_max.map(|max| format!("payments_max = {max}\n")));
        text
    }

    fn label(&self, at: i64) -> i64 {
        let local = at + if self.is_in_berlin { berlin_offset(at) } else { 0 };
        let day = local.div_euclid(DAY_MICROS);
        match self.window {
            Window::Day => day,
            Window::Week(first) => (day - first).div_euclid(7),
            Window::Month => {
                let (year, month) = year_and_month(day);
                year * 12 + month
            }
            Window::Rolling(_) => at,
            Window::Lifetime => 0,
        }
    }

    fn counts(&self, line: &Line, label: i64) -> bool {
        match self.window {
            Window::Rolling(minutes) => line.label > label - minutes * 60_000_000,
            _ => line.label == label,
        }
    }

    fn codes(&self) -> [PaymentCode; 2] {
        use PaymentCode as Code;
        match self.window {
            Window::Day => [Code::DayAmountLimitExceeded, Code::DayCountLimitExceeded],
            Window::Week(_) => [Code::WeekAmountLimitExceeded, Code::WeekCountLimitExceeded],
            Window::Month => [Code::MonthAmountLimitExceeded, Code::MonthCountLimitExceeded],
            Window::Rolling(_) => [Code::RollingAmountLimitExceeded, Code::RollingCountLimitExceeded],
            Window::Lifetime => [Code::LifetimeAmountLimitExceeded, Code::LifetimeCountLimitExceeded],
        }
    }
}

impl Model {
    fn counterparty(&self, rule: usize, to: &str) -> String {
        if self.rules[rule].is_by_counterparty { to.to_owned() } else { String::new() }
    }

    fn used(&self, rule: usize, account: &str, counterparty: &str, label: i64) -> [i64; 2] {
        let own = self.lines.iter().filter(|line| line.rule == rule && line.account == account);
        let own = own.filter(|line| line.counterparty == counterparty && self.rules[rule].counts(line, label));
        own.fold([0, 0], |[amount, payments], line| [amount + line.amount, payments + line.payments])
    }

    /// Counts what a payment uses; the first code, if a rule forbids it.
    fn count(&mut self, pay: &Pay, owner: &str, amount: i64, payments: i64, at: i64) -> Option<&'static str> {
        let mut broken = Vec::new();
        for number in 0..self.rules.len() {
            let rule = self.rules[number].clone();
            let key = (number, pay.from.clone(), self.counterparty(number, &pay.to));
            let last = self.labels.entry(key.clone()).or_insert(i64::MIN);
            *last = rule.label(at).max(*last);
            let label = *last;
            let [used, made] = self.used(number, &pay.from, &key.2, label);
            let [amount_code, count_code] = rule.codes();
            broken.extend(rule.amount_max.filter(|max| amount > 0 && used + amount > *max).map(|_| amount_code));
            broken.extend(rule.payments_max.filter(|max| payments > 0 && made + payments > *max).map(|_| count_code));
            let (_, account, counterparty) = key;
            self.lines.push(Line {
                rule: number,
                account,
                counterparty,
                label,
                amount,
                payments,
                payment: owner.to_owned(),
            });
        }
        broken.into_iter().min().map(|code| code.spec().code)
    }

    /// Gives back so much of what a payment still uses, the last of it first.
    fn give_back(&mut self, account: &str, id: &str, amount: i64, how: Option<&str>) {
        for rule in 0..self.rules.len() {
            if how.is_some_and(|how| !self.rules[rule].gives_back.contains(&how)) {
                continue;
            }
            let mut left = amount;
            let lines = self.lines.iter_mut().rev();
            for line in lines.filter(|line| line.rule == rule && line.account == account && line.payment == id) {
                let back = line.amount.min(left);
                line.amount -= back;
                left -= back;
                if line.amount == 0 {
                    line.payments = 0;
                }
            }
        }
    }

    /// What was held and is taken belongs to the payment that takes it, the first of it first.
    fn capture(&mut self, account: &str, from: &str, to: &str, amount: i64) {
        let mut moved = Vec::new();
        let mut left = vec![amount; self.rules.len()];
        for line in self.lines.iter_mut().filter(|line| line.account == account && line.payment == from) {
            let part = line.amount.min(left[line.rule]);
            if part > 0 {
                line.amount -= part;
                left[line.rule] -= part;
                moved.push(Line { amount: part, payment: to.to_owned(), ..line.clone() });
                line.payments = 0;
            }
        }
        self.lines.extend(moved);
    }

    fn expire(&mut self, account: &str, now: i64) {
        let is_over = |hold: &&mut Held| hold.account == account && hold.is_open && hold.expires_at <= now;
        let over: Vec<String> = self
            .holds
            .iter_mut()
            .filter(is_over)
            .map(|hold| {
                hold.is_open = false;
                hold.id.clone()
            })
            .collect();
        for id in over {
            self.give_back(account, &id, i64::MAX, None);
        }
    }

    /// The code of the limit that refuses a payment which the ledger has nothing else against.
    fn pay(&mut self, pay: &Pay, at: i64) -> Option<&'static str> {
        let reference = pay.reference.clone().unwrap_or_default();
        let hold = self.holds.iter().position(|hold| hold.account == pay.from && hold.id == reference);
        let amount = pay.amount_minor;
        match (pay.payment_type, hold) {
            (Type::Transfer, _) => self.count(pay, &pay.id, amount, 1, at),
            (Type::Authorise, _) => {
                let expires_at = at + pay.lasts_micros.unwrap_or(7 * DAY_MICROS);
                let (account, id) = (pay.from.clone(), pay.id.clone());
                self.holds.push(Held { account, id, held: amount, authorised: amount, expires_at, is_open: true });
                self.count(pay, &pay.id, amount, 1, at)
            }
            (Type::Increment, Some(hold)) => {
                let more = amount - self.holds[hold].authorised;
                self.holds[hold].authorised = amount;
                self.holds[hold].held += more;
                self.count(pay, &reference, more, 0, at)
            }
            (Type::Capture, Some(hold)) => {
                let taken = amount.min(self.holds[hold].held);
                self.holds[hold].held -= taken;
                self.take(pay, &reference, taken, at);
                if pay.remainder == Remainder::Release || self.holds[hold].held == 0 {
                    self.holds[hold].is_open = false;
                    self.give_back(&pay.from, &reference, i64::MAX, None);
                }
                None
            }
            (Type::ForcePost, Some(hold)) if self.holds[hold].is_open => {
                let taken = amount.min(self.holds[hold].held);
                self.holds[hold].is_open = false;
                self.take(pay, &reference, taken, at);
                self.give_back(&pay.from, &reference, i64::MAX, None);
                None
            }
            (Type::ForcePost, _) => {
                self.count(pay, &pay.id, amount, 1, at);
                None
            }
            (Type::Void, Some(hold)) => {
                self.holds[hold].is_open = false;
                self.give_back(&pay.from, &reference, i64::MAX, None);
                None
            }
            _ => None,
        }
    }

    fn take(&mut self, pay: &Pay, authorisation: &str, taken: i64, at: i64) {
        self.capture(&pay.from, authorisation, &pay.id, taken);
        if pay.amount_minor > taken {
            self.count(pay, &pay.id, pay.amount_minor - taken, 0, at);
        }
    }

    fn read(&mut self, instruction: &Instruction) {
        let Instruction { kind, debit_account, credit_account, payment_id, amount_minor, .. } = instruction;
        let how = match instruction.payment_type {
            Type::Reverse => "reverse",
            Type::Refund => "refund",
            Type::Chargeback => "chargeback",
            _ => "",
        };
        let reference = instruction.reference.as_deref().unwrap_or_default();
        match kind {
            InstructionKind::Return => self.give_back(debit_account, payment_id, *amount_minor, None),
            InstructionKind::Credit if how == "reverse" => {
                self.give_back(credit_account, reference, i64::MAX, Some(how))
            }
            InstructionKind::Credit if !how.is_empty() => {
                self.give_back(credit_account, reference, *amount_minor, Some(how));
            }
            _ => {}
        }
    }
}

struct Stream {
    seed: u64,
    random: ChaCha8Rng,
    world: World,
    model: Model,
    recent: Vec<Pay>,
    payments: u32,
    answers: BTreeMap<&'static str, u32>,
}

const ACCOUNTS: [&str; 4] = ["a", "b", "c", "d"];

impl Stream {
    fn new(seed: u64, audits: Audits) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let rules: Vec<Rule> = (0..random.random_range(1..5)).map(|number| Rule::random(number, &mut random)).collect();
        let limits: String = rules.iter().map(Rule::settings).collect();
        let settings =
            format!("over_capture_percent = 30\noutcome_retention_days = 3650\nrefund_days = 3650\n{limits}");
        let mut world = World::of_tasks(random.random_range(1..4), &settings, audits);
        // Before the clock is put forward, or put back, at the end of a month.
        let starts = ["2026-03-27T21:00:00Z", "2026-10-23T20:00:00Z", "2028-02-27T12:00:00Z"];
        world.now = EventTime::parse(starts.choose(&mut random).expect("three")).expect("RFC 3339");
        for account in ACCOUNTS {
            let limit_minor = if account == "d" { 500 } else { 1_000_000 };
            let (currency, kind) = ("EUR".to_owned(), AccountKind::Customer);
            world.request(account, AccountAction::Open { customer: None, parent: None, currency, kind, limit_minor });
        }
        let model = Model { rules, ..Model::default() };
        Self { seed, random, world, model, recent: Vec::new(), payments: 0, answers: BTreeMap::new() }
    }

    fn run(&mut self, commands: u32) {
        for _ in 0..commands {
            match self.random.random_range(0..20_u32) {
                0..15 => self.pay(),
                15..19 => {
                    let task = self.random.random_range(0..self.world.task_count());
                    self.deliver(task);
                }
                _ => {
                    let task = self.random.random_range(0..self.world.task_count());
                    self.world.restart(task);
                }
            }
            self.let_time_pass();
        }
    }

    /// Often to a full hour or the instant before or after it, where windows begin and end.
    fn let_time_pass(&mut self) {
        let now = self.world.now.0;
        let next_hour = (now.div_euclid(HOUR_MICROS) + 1) * HOUR_MICROS;
        let next = [now, now, now + 1, next_hour - 1, next_hour, next_hour + 1, now + 7 * HOUR_MICROS];
        self.world.now.0 = (*next.choose(&mut self.random).expect("some")).max(now);
    }

    fn deliver(&mut self, task: u32) {
        if let Some((instruction, code)) = self.world.deliver(task) {
            assert_eq!(code, "applied", "seed {}", self.seed);
            self.model.read(&instruction);
        }
    }

    fn payment(&mut self) -> Pay {
        self.payments += 1;
        let id = format!("p{}", self.payments);
        let earlier = self.recent.choose(&mut self.random).cloned().filter(|_| self.random.random_ratio(3, 5));
        let amount = self.random.random_range(1..150);
        let Some(earlier) = earlier else {
            let from = *ACCOUNTS.choose(&mut self.random).expect("four");
            let others = ["a", "b", "c", "d", "nobody"];
            let to = others.into_iter().filter(|to| *to != from).collect::<Vec<_>>();
            let to = *to.choose(&mut self.random).expect("four");
            let types = [Type::Transfer, Type::Transfer, Type::Authorise, Type::ForcePost];
            let payment_type = *types.choose(&mut self.random).expect("four");
            let lasts_micros = (payment_type == Type::Authorise).then(|| self.random.random_range(1..30 * HOUR_MICROS));
            return Pay { lasts_micros, ..Pay::new(payment_type, &id, from, to, amount) };
        };
        let of_hold = [Type::Increment, Type::Capture, Type::Capture, Type::Void, Type::ForcePost];
        let back = [Type::Refund, Type::Refund, Type::Reverse, Type::Chargeback];
        let is_hold = earlier.payment_type == Type::Authorise;
        let payment_type = *if is_hold { &of_hold[..] } else { &back }.choose(&mut self.random).expect("some");
        let (from, to) = if is_hold { (&earlier.from, &earlier.to) } else { (&earlier.to, &earlier.from) };
        let amounts = [earlier.amount_minor, earlier.amount_minor / 2 + 1, earlier.amount_minor + 20];
        let amount = if payment_type == Type::Void { 0 } else { *amounts.choose(&mut self.random).expect("three") };
        let remainder =
            if self.random.random() && payment_type == Type::Capture { Remainder::Keep } else { Remainder::Release };
        let reference = Some(earlier.id.clone());
        Pay { reference, remainder, ..Pay::new(payment_type, &id, from, to, amount) }
    }

    fn pay(&mut self) {
        let mut pay = self.payment();
        // Now and then one that was made earlier.
        let now = self.world.now;
        if self.random.random_ratio(1, 10) {
            self.world.now.0 -= self.random.random_range(1..30 * HOUR_MICROS);
            pay.lasts_micros = pay.lasts_micros.map(|lasts| lasts + 40 * HOUR_MICROS);
        }
        let at = self.world.now.0;
        let clock = self.world.accounts().get(&pay.from).map_or(at, |account| account.last_event_time.0.max(at));
        let code = self.world.pay(&pay);
        self.world.now = now;
        *self.answers.entry(code).or_default() += 1;
        let mut next = self.model.clone();
        next.expire(&pay.from, clock);
        let is_judged_later = ["posted", "insufficient_funds"].contains(&code);
        if !is_judged_later && !code.ends_with("_limit_exceeded") {
            return;
        }
        let expected = next.pay(&pay, at);
        let found = Some(code).filter(|_| !is_judged_later);
        assert_eq!(found, expected, "seed {}, {pay:?} at {}: {:?}", self.seed, EventTime(at), self.model.rules);
        if code == "posted" {
            self.model = next;
            self.recent.push(pay);
            if self.recent.len() > 12 {
                self.recent.remove(0);
            }
        }
    }

    /// Everything that stands in the stores is what the list adds up to.
    fn compare(&self) {
        let mut found = 0;
        for task in self.world.tasks() {
            for (key, usage) in task.state.values(LIMIT_USAGES) {
                let account =
                    ACCOUNTS.into_iter().find(|account| key.starts_with(&[&[0, 1], account.as_bytes()].concat()));
                let account = account.expect("one of them");
                let rule = self.model.rules.iter().position(|rule| rule.name == usage.limit).expect("one of them");
                let place = (rule, account.to_owned(), usage.subject.clone());
                let expected = self.model.used(rule, account, &usage.subject, self.model.labels[&place]);
                let used = [usage.amount_minor, i128::from(usage.payments)];
                assert_eq!(used, expected.map(i128::from), "seed {}: {place:?} {usage:?}", self.seed);
                found += 1;
            }
        }
        assert!(found > 0, "seed {}: nothing was counted", self.seed);
    }
}

#[test]
fn random_payments_are_counted_as_a_list_of_them_would_be() {
    let commands = std::env::var("TIDEMILL_LEDGER_COMMANDS").ok().and_then(|count| count.parse().ok());
    let mut left: u32 = commands.unwrap_or(30_000);
    let mut answers: BTreeMap<&'static str, u32> = BTreeMap::new();
    let mut seed = 0;
    while left > 0 {
        let stretch = left.min(300);
        let audits = if seed % 10 == 0 { Audits::EveryRecord } else { Audits::OnDemand };
        let mut stream = Stream::new(seed, audits);
        stream.run(stretch);
        while let Some(task) =
            (0..stream.world.task_count()).find(|task| !stream.world.under_way[*task as usize].is_empty())
        {
            stream.deliver(task);
        }
        stream.compare();
        for (code, count) in stream.answers {
            *answers.entry(code).or_default() += count;
        }
        left -= stretch;
        seed += 1;
    }
    println!("{answers:?}");
    for window in ["day", "week", "month", "rolling", "lifetime"] {
        for what in ["amount", "count"] {
            let code = format!("{window}_{what}_limit_exceeded");
            assert!(answers.contains_key(code.as_str()), "nothing was answered with {code}: {answers:?}");
        }
    }
}
