//! Some tasks of the ledger with the instructions between them, audited after every record.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt::Write as _;

use tidemill_core::money::decimal;
use tidemill_core::partition::partition_of;
use tidemill_core::processor::{MovesMoney, Signature};
use tidemill_core::{AnyEvent, Context, Currency, Event, EventTime, Flow, Outcome, Processor, ProcessorSpec, Reject};
use tidemill_schemas::account::AccountAction;
use tidemill_schemas::payment::PaymentBody;
use tidemill_schemas::{
    AccountCommand, AccountStatus, Alert, Exchange, FeeTerms, Instruction, InstructionKind, LedgerEntry, Merchant,
    PaymentStatus, PaymentType, PricedPayment, Remainder, ScoredPayment, Verdict,
};
use tidemill_testkit::Driver;

use super::super::SPEC;
use super::super::accounts::Account;
use super::super::payment_limits::{LIMIT_USAGES, Usage};
use super::audit;
use crate::score_fraud::FRAUD_DECLINED;
use crate::validate_payment::body_hash;

pub(super) const TASKS: u32 = 2;

/// Stands before the ledger: declines every scored payment and lets all else through.
static DECLINE: ProcessorSpec = ProcessorSpec {
    name: "decline_scored",
    summary: "Declines every scored payment.",
    signatures: &[Signature { takes: ScoredPayment::KIND, gives: Some(PricedPayment::KIND) }],
    stores: &[],
    ports: &[],
    references: &[],
    codes: &[FRAUD_DECLINED],
    decodes: None,
    moves_money: MovesMoney::No,
    example: "",
    build: |_| Ok(Box::new(DeclineScored)),
};

struct DeclineScored;

impl Processor for DeclineScored {
    fn process(&self, event: AnyEvent, _context: &mut Context<'_>) -> Result<Flow, Reject> {
        if event.is::<ScoredPayment>() {
            Err(Reject::new(&FRAUD_DECLINED).about(event))
        } else {
            Ok(Flow::Continue(event))
        }
    }
}

/// A payment request of a test.
#[derive(Clone, Debug)]
pub(super) struct Pay {
    pub(super) payment_type: PaymentType,
    pub(super) id: String,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) amount_minor: i64,
    pub(super) fee_minor: i64,
    pub(super) fee_terms: FeeTerms,
    pub(super) currency: String,
    pub(super) reference: Option<String>,
    /// After `created_at`.
    pub(super) lasts_micros: Option<i64>,
    pub(super) remainder: Remainder,
    pub(super) verdict: Verdict,
    /// What an exchange was priced at.
    pub(super) exchange: Option<Exchange>,
    /// After `created_at`: when it is carried out, and until when it is tried again.
    pub(super) waits_micros: Option<i64>,
    pub(super) retries_micros: Option<i64>,
    /// What other accounts of a journal pay, and what its accounts are paid.
    pub(super) debits: BTreeMap<String, i64>,
    pub(super) credits: BTreeMap<String, i64>,
    pub(super) card: Option<String>,
    pub(super) merchant: Option<Merchant>,
}

impl Pay {
    pub(super) fn new(payment_type: PaymentType, id: &str, from: &str, to: &str, amount_minor: i64) -> Self {
        Self {
            payment_type,
            id: id.to_owned(),
            from: from.to_owned(),
            to: to.to_owned(),
            amount_minor,
            fee_minor: 0,
            fee_terms: FeeTerms::default(),
            currency: "EUR".to_owned(),
            reference: None,
            lasts_micros: None,
            remainder: Remainder::Release,
            verdict: Verdict::Accept,
            exchange: None,
            waits_micros: None,
            retries_micros: None,
            debits: BTreeMap::new(),
            credits: BTreeMap::new(),
            card: None,
            merchant: None,
        }
    }
}

/// How often the whole state is looked at: that costs more than the records themselves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Audits {
    EveryRecord,
    OnDemand,
}

pub(super) struct World {
    settings: String,
    audits: Audits,
    tasks: Vec<Driver>,
    /// Instructions that nobody has read, per partition.
    pub(super) under_way: Vec<VecDeque<Instruction>>,
    pub(super) entries: BTreeMap<String, Vec<LedgerEntry>>,
    /// Balances as a reader of the entries adds them up, on both accounts of each.
    pub(super) rebuilt_minor: BTreeMap<String, i128>,
    pub(super) statuses: Vec<PaymentStatus>,
    pub(super) account_statuses: Vec<AccountStatus>,
    pub(super) alerts: Vec<Alert>,
    /// Accounts that have been allowed to be below their limit.
    pub(super) forced: BTreeSet<String>,
    pub(super) now: EventTime,
    /// A payment keeps the time at which it was first sent.
    sent_at: HashMap<(String, String), EventTime>,
    requests_sent: u32,
}

impl World {
    pub(super) fn new(settings: &str) -> Self {
        Self::of_tasks(TASKS, settings, Audits::EveryRecord)
    }

    pub(super) fn of_tasks(tasks: u32, settings: &str, audits: Audits) -> Self {
        Self {
            settings: settings.to_owned(),
            audits,
            tasks: (0..tasks).map(|number| task(number, settings)).collect(),
            under_way: (0..tasks).map(|_| VecDeque::new()).collect(),
            entries: BTreeMap::new(),
            rebuilt_minor: BTreeMap::new(),
            statuses: Vec::new(),
            account_statuses: Vec::new(),
            alerts: Vec::new(),
            forced: BTreeSet::new(),
            now: EventTime::parse("2026-01-31T12:00:00Z").expect("RFC 3339"),
            sent_at: HashMap::new(),
            requests_sent: 0,
        }
    }

    /// Nothing but what the stores hold survives a restart.
    pub(super) fn restart(&mut self, number: u32) {
        let before = &mut self.tasks[number as usize];
        let state = std::mem::take(&mut before.state);
        *before = task(number, &self.settings);
        before.state = state;
    }

    pub(super) fn pay(&mut self, pay: &Pay) -> &'static str {
        let priced = self.priced(pay);
        match pay.verdict {
            Verdict::Decline => self.send(ScoredPayment { payment: priced.payment, decision: None }),
            Verdict::Accept => self.send(priced),
        }
    }

    pub(super) fn priced(&mut self, pay: &Pay) -> PricedPayment {
        let created_at = *self.sent_at.entry((pay.from.clone(), pay.id.clone())).or_insert(self.now);
        let mut payment = PaymentBody {
            payment_id: pay.id.clone(),
            source: "bank".to_owned(),
            payment_type: pay.payment_type,
            debit_account: pay.from.clone(),
            credit_account: pay.to.clone(),
            amount_minor: pay.amount_minor,
            currency: pay.currency.clone(),
            created_at,
            merchant: pay.merchant.clone(),
            card: pay.card.clone(),
            customer: None,
            reference: pay.reference.clone(),
            expires_at: pay.lasts_micros.map(|micros| EventTime(created_at.0 + micros)),
            remainder: pay.remainder,
            execute_at: pay.waits_micros.map(|micros| EventTime(created_at.0 + micros)),
            retry_until: pay.retries_micros.map(|micros| EventTime(created_at.0 + micros)),
            debits: pay.debits.clone(),
            credits: pay.credits.clone(),
            quote: pay.exchange.as_ref().map(|exchange| exchange.quote.clone()),
            ..crate::fixture::payment_body()
        };
        payment.body_hash = body_hash(&payment);
        let fee_schedule = if pay.fee_minor > 0 { "standard@1".to_owned() } else { String::new() };
        PricedPayment {
            payment,
            fee_minor: pay.fee_minor,
            fee_schedule,
            fee_terms: pay.fee_terms,
            exchange: pay.exchange.clone().map(Box::new),
            dates: None,
        }
    }

    /// Every task sees two payments made now. They are refused, for nobody has such an account.
    pub(super) fn tick(&mut self) {
        for task in 0..self.task_count() {
            let mut names = (0..).map(|number: u32| format!("nobody-{number}"));
            let from = names.find(|name| self.owner(name) == task).expect("some name is owned by each task");
            for _ in 0..2 {
                let id = format!("tick-{}", self.statuses.len());
                assert_eq!(self.pay(&Pay::new(PaymentType::Transfer, &id, &from, "a", 1)), "debit_account_not_found");
            }
        }
    }

    /// A request with an id of its own.
    pub(super) fn request(&mut self, account: &str, action: AccountAction) -> &'static str {
        self.requests_sent += 1;
        let request_id = format!("r{}", self.requests_sent);
        if matches!(action, AccountAction::ChangeLimit { .. }) {
            self.forced.insert(account.to_owned());
        }
        self.send(self.command(&request_id, account, action))
    }

    pub(super) fn command(&self, request_id: &str, account: &str, action: AccountAction) -> AccountCommand {
        AccountCommand {
            request_id: request_id.to_owned(),
            source: "bank".to_owned(),
            account: account.to_owned(),
            created_at: self.now,
            action,
        }
    }

    /// Lets one task read its next instruction, if there is one.
    pub(super) fn deliver(&mut self, task: u32) -> Option<(Instruction, &'static str)> {
        let instruction = self.under_way[task as usize].pop_front()?;
        let code = self.send(instruction.clone());
        Some((instruction, code))
    }

    /// Until nothing is under way.
    pub(super) fn deliver_all(&mut self) {
        while (0..self.task_count()).any(|task| self.deliver(task).is_some()) {}
        assert!(self.in_transit_minor().values().all(|minor| *minor == 0), "quiet, but money is in transit");
        audit::quiet(self);
    }

    pub(super) fn task_count(&self) -> u32 {
        u32::try_from(self.tasks.len()).expect("a few")
    }

    pub(super) fn owner(&self, account: &str) -> u32 {
        partition_of(account.as_bytes(), self.task_count())
    }

    /// Sends a record to the task that owns its key, takes in what it emits, and audits everything.
    pub(super) fn send(&mut self, event: impl Event) -> &'static str {
        let mut key = Vec::new();
        event.key(&mut key);
        let number = partition_of(&key, self.task_count());
        let driver = &mut self.tasks[number as usize];
        let before = (self.audits == Audits::EveryRecord).then(|| driver.state.dump());
        let ran = driver.send_event(event);
        if let Some(before) = before {
            audit::of_reject(&ran, before, driver.state.dump());
        }
        let code = ran.code();
        for entry in ran.on::<LedgerEntry>("entries") {
            self.take_entry(entry);
        }
        for instruction in ran.on::<Instruction>("instructions") {
            let partition = self.owner(&instruction.account_id);
            self.under_way[partition as usize].push_back(instruction.clone());
        }
        self.statuses.extend(ran.on::<PaymentStatus>("status").into_iter().cloned());
        self.account_statuses.extend(ran.on::<AccountStatus>("account_status").into_iter().cloned());
        for alert in ran.on::<Alert>("alerts") {
            self.forced.insert(alert.subject.clone());
            self.alerts.push(alert.clone());
        }
        if self.audits == Audits::EveryRecord {
            audit::everything(self);
        }
        code
    }

    fn take_entry(&mut self, entry: &LedgerEntry) {
        if entry.amount_minor != 0 {
            let amount_minor = i128::from(entry.amount_minor);
            *self.rebuilt_minor.entry(entry.account_id.clone()).or_default() += amount_minor;
            *self.rebuilt_minor.entry(entry.contra_account_id.clone()).or_default() -= amount_minor;
        }
        // A position is the contra account of other lines, too, which are not its entries.
        if entry.account_id.starts_with("fx_position.") || entry.account_id.starts_with("clearing.") {
            return;
        }
        let entries = self.entries.entry(entry.account_id.clone()).or_default();
        let last = entries.last().map(|last| (last.seq, last.balance_after_minor, last.pending_after_minor));
        let (seq, balance, pending) = last.unwrap_or_default();
        assert_eq!(entry.seq, seq + 1, "{}: a gap in the sequence", entry.account_id);
        assert_eq!(entry.balance_after_minor, balance + entry.amount_minor, "{}: the chain breaks", entry.account_id);
        assert_eq!(entry.pending_after_minor, pending + entry.hold_minor, "{}: the holds break", entry.account_id);
        if self.audits == Audits::OnDemand {
            entries.clear();
        }
        entries.push(entry.clone());
    }

    pub(super) fn tasks(&self) -> &[Driver] {
        &self.tasks
    }

    pub(super) fn accounts(&self) -> BTreeMap<String, Account> {
        audit::accounts(&self.tasks)
    }

    /// By currency, over all tasks.
    pub(super) fn in_transit_minor(&self) -> BTreeMap<String, i128> {
        self.internal_minor("in_transit.")
    }

    /// What is on its way, by the instructions that nobody has read.
    pub(super) fn under_way_minor(&self) -> BTreeMap<String, i128> {
        let mut open: BTreeMap<String, i128> = BTreeMap::new();
        let money = self.under_way.iter().flatten();
        let moves = |kind| !matches!(kind, InstructionKind::Announce | InstructionKind::Collect);
        for instruction in money.filter(|instruction| moves(instruction.kind)) {
            *open.entry(instruction.currency.clone()).or_default() += i128::from(instruction.amount_minor);
        }
        open
    }

    pub(super) fn internal_minor(&self, prefix: &str) -> BTreeMap<String, i128> {
        let mut totals = BTreeMap::new();
        for (_, account) in self.accounts().into_iter().filter(|(id, _)| id.starts_with(prefix)) {
            *totals.entry(account.currency.as_str().to_owned()).or_default() += i128::from(account.posted_minor);
        }
        totals
    }

    pub(super) fn task_of(&mut self, account: &str) -> &mut Driver {
        let owner = self.owner(account);
        &mut self.tasks[owner as usize]
    }

    /// `debit -60.00 = -60.00 (in_transit), hold 20.00 = -60.00 (b)`
    pub(super) fn entries_text(&self, account: &str) -> String {
        let mut text = String::new();
        for entry in self.entries.get(account).into_iter().flatten() {
            let separator = if text.is_empty() { "" } else { ", " };
            let kind = format!("{:?}", entry.kind).to_lowercase();
            let contra = entry.contra_account_id.split('.').next().unwrap_or_default();
            let moved = if entry.amount_minor == 0 { entry.hold_minor } else { entry.amount_minor };
            let amount = money(moved, &entry.currency);
            let after = money(entry.balance_after_minor, &entry.currency);
            let schedule = entry.fee_schedule.as_ref().map(|schedule| format!(", {schedule}")).unwrap_or_default();
            write!(text, "{separator}{kind} {amount} = {after} ({contra}{schedule})").expect("strings take all");
        }
        text
    }

    /// What an account has used of limits, as it was last written: `day 60.00 2, card (card …7788) 10.00 1`
    pub(super) fn used_text(&self, account: &str) -> String {
        let task = &self.tasks[self.owner(account) as usize];
        let usages = task.state.values(LIMIT_USAGES);
        let own = usages.into_iter().filter(|(key, _)| key.starts_with(&Usage::prefix(account)));
        let texts = own.filter(|(_, usage)| usage.amount_minor != 0 || usage.payments != 0).map(|(_, usage)| {
            let minor = i64::try_from(usage.amount_minor).expect("fits 64 bits");
            let subject = if usage.subject.is_empty() { String::new() } else { format!("({}) ", usage.subject) };
            format!("{} {subject}{} {}", usage.limit, money(minor, usage.currency.as_str()), usage.payments)
        });
        texts.collect::<Vec<_>>().join(", ")
    }

    /// `outcome ACSC ok fee 0.40, update RJCT credit_account_closed fee 0.00`
    pub(super) fn status_text(&self, payment_id: &str) -> String {
        let own = self.statuses.iter().filter(|status| status.payment_id == payment_id);
        let texts = own.map(|status| {
            let phase = format!("{:?}", status.phase).to_lowercase();
            let fee = money(status.fee_minor, &status.currency);
            let reason = status.reason.as_deref().filter(|reason| reason.contains(": ")).unwrap_or_default();
            format!("{phase} {:?} {} fee {fee} {reason}", status.status, status.code).trim().to_owned()
        });
        texts.collect::<Vec<_>>().join(", ")
    }
}

fn task(number: u32, settings: &str) -> Driver {
    let mut driver = Driver::new(&[(&DECLINE, ""), (&SPEC, settings)]);
    driver.task = number;
    driver
}

pub(super) fn money(minor: i64, currency: &str) -> String {
    let exponent = Currency::parse(currency).expect("a known currency").exponent();
    decimal(i128::from(minor), exponent)
}

/// Whether a store may change with a refusal: it holds outcomes, or what hangs on the clock that moves with them.
pub(super) fn is_memory(store: &str) -> bool {
    store.contains("outcomes") || store == "due_payments"
}

/// The outcome of a resend.
pub(super) const DUPLICATE: Outcome = Outcome::Duplicate;
