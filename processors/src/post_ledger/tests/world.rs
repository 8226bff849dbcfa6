//! Two tasks of the ledger with the instructions between them, audited after every record.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;

use tidemill_core::money::decimal;
use tidemill_core::partition::partition_of;
use tidemill_core::processor::{MovesMoney, Signature};
use tidemill_core::{
    AnyEvent, Context, Currency, Event, EventTime, Flow, Meta, Outcome, Processor, ProcessorSpec, Reject,
};
use tidemill_schemas::account::AccountAction;
use tidemill_schemas::payment::PaymentBody;
use tidemill_schemas::{
    AccountCommand, AccountStatus, Alert, CounterpartyProfile, Decision, Instruction, LedgerEntry, PayerProfile,
    PaymentStatus, PricedPayment, ScoredPayment, Verdict,
};
use tidemill_testkit::Driver;

use super::super::SPEC;
use super::super::accounts::{ACCOUNTS, Account};
use crate::score_fraud::FRAUD_DECLINED;

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
    pub(super) id: String,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) amount_minor: i64,
    pub(super) fee_minor: i64,
    pub(super) currency: String,
    pub(super) verdict: Verdict,
}

impl Pay {
    pub(super) fn body_hash(&self) -> String {
        format!("{}-{}-{}", self.to, self.amount_minor, self.currency)
    }
}

pub(super) struct World {
    tasks: Vec<Driver>,
    /// Instructions that nobody has read, per partition.
    under_way: Vec<VecDeque<Instruction>>,
    pub(super) entries: BTreeMap<String, Vec<LedgerEntry>>,
    pub(super) statuses: Vec<PaymentStatus>,
    pub(super) account_statuses: Vec<AccountStatus>,
    pub(super) alerts: Vec<Alert>,
    pub(super) now: EventTime,
    requests_sent: u32,
}

impl World {
    pub(super) fn new(settings: &str) -> Self {
        let task = |task| {
            let mut driver = Driver::new(&[(&DECLINE, ""), (&SPEC, settings)]);
            driver.task = task;
            driver
        };
        Self {
            tasks: (0..TASKS).map(task).collect(),
            under_way: (0..TASKS).map(|_| VecDeque::new()).collect(),
            entries: BTreeMap::new(),
            statuses: Vec::new(),
            account_statuses: Vec::new(),
            alerts: Vec::new(),
            now: EventTime::parse("2026-01-31T12:00:00Z").expect("RFC 3339"),
            requests_sent: 0,
        }
    }

    pub(super) fn pay(&mut self, pay: &Pay) -> &'static str {
        let PricedPayment { payment, decision, .. } = self.priced(pay);
        match pay.verdict {
            Verdict::Decline => self.send(ScoredPayment { payment, decision }),
            Verdict::Accept => self.send(self.priced(pay)),
        }
    }

    pub(super) fn priced(&self, pay: &Pay) -> PricedPayment {
        let payment = PaymentBody {
            payment_id: pay.id.clone(),
            source: "bank".to_owned(),
            payment_type: "transfer".to_owned(),
            debit_account: pay.from.clone(),
            credit_account: pay.to.clone(),
            amount_minor: pay.amount_minor,
            currency: pay.currency.clone(),
            created_at: self.now,
            body_hash: pay.body_hash(),
            merchant: None,
            ..crate::fixture::payment_body()
        };
        let decision = decision(&payment, pay.verdict);
        PricedPayment { payment, decision, fee_minor: pay.fee_minor, fee_schedule: "standard@1".to_owned() }
    }

    /// A request with an id of its own.
    pub(super) fn request(&mut self, account: &str, action: AccountAction) -> &'static str {
        self.requests_sent += 1;
        let request_id = format!("r{}", self.requests_sent);
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
        while (0..TASKS).any(|task| self.deliver(task).is_some()) {}
        assert!(self.in_transit_minor().values().all(|minor| *minor == 0), "quiet, but money is in transit");
    }

    /// Sends a record to the task that owns its key, takes in what it emits, and audits everything.
    pub(super) fn send(&mut self, event: impl Event) -> &'static str {
        let mut key = Vec::new();
        event.key(&mut key);
        let driver = &mut self.tasks[partition_of(&key, TASKS) as usize];
        let before = driver.state.dump();
        let ran = driver.send_event(event);
        if ran.outcome == Outcome::Duplicate {
            assert_eq!(driver.state.dump(), before, "a resend changed the state");
        }
        if ran.reject.is_some() {
            let mut after = driver.state.dump();
            for (store, values) in before {
                if !store.contains("outcomes") {
                    assert_eq!(after.remove(store), Some(values), "a reject changed {store}");
                }
            }
            assert!(after.keys().all(|store| store.contains("outcomes")), "a reject wrote {:?}", after.keys());
        }
        let code = ran.code();
        for entry in ran.on::<LedgerEntry>("entries") {
            self.take_entry(entry);
        }
        for instruction in ran.on::<Instruction>("instructions") {
            let partition = partition_of(instruction.account_id.as_bytes(), TASKS);
            self.under_way[partition as usize].push_back(instruction.clone());
        }
        self.statuses.extend(ran.on::<PaymentStatus>("status").into_iter().cloned());
        self.account_statuses.extend(ran.on::<AccountStatus>("account_status").into_iter().cloned());
        self.alerts.extend(ran.on::<Alert>("alerts").into_iter().cloned());
        self.audit();
        code
    }

    fn take_entry(&mut self, entry: &LedgerEntry) {
        let entries = self.entries.entry(entry.account_id.clone()).or_default();
        let (seq, balance) = entries.last().map_or((0, 0), |last| (last.seq, last.balance_after_minor));
        assert_eq!(entry.seq, seq + 1, "{}: a gap in the sequence", entry.account_id);
        assert_eq!(entry.balance_after_minor, balance + entry.amount_minor, "{}: the chain breaks", entry.account_id);
        entries.push(entry.clone());
    }

    /// What holds at every moment, whatever was sent.
    fn audit(&mut self) {
        let mut totals: BTreeMap<String, i128> = BTreeMap::new();
        for (id, account) in self.accounts() {
            *totals.entry(account.currency.clone()).or_default() += i128::from(account.posted_minor);
            assert!(account.is_internal() || account.available_minor() >= 0, "{id} is overdrawn: {account:?}");
            if let Some(last) = self.entries.get(&id).and_then(|entries| entries.last()) {
                assert_eq!(last.balance_after_minor, account.posted_minor, "{id}: entries and balance differ");
            }
        }
        assert!(totals.values().all(|total| *total == 0), "the books do not balance: {totals:?}");
        let mut open: BTreeMap<String, i128> = BTreeMap::new();
        for instruction in self.under_way.iter().flatten() {
            *open.entry(instruction.currency.clone()).or_default() += i128::from(instruction.amount_minor);
        }
        let mut in_transit = self.in_transit_minor();
        in_transit.retain(|_, minor| *minor != 0);
        assert_eq!(in_transit, open, "in transit is not what is under way");
    }

    pub(super) fn accounts(&self) -> BTreeMap<String, Account> {
        let stores = self.tasks.iter().filter_map(|task| task.state.dump().remove(ACCOUNTS.name()));
        stores
            .flatten()
            .map(|(id, bytes)| {
                let id = String::from_utf8(id).expect("names are text");
                (id, ACCOUNTS.decode(&bytes).expect("an account"))
            })
            .collect()
    }

    /// By currency, over all tasks.
    pub(super) fn in_transit_minor(&self) -> BTreeMap<String, i128> {
        self.internal_minor("in_transit.")
    }

    pub(super) fn internal_minor(&self, prefix: &str) -> BTreeMap<String, i128> {
        let mut totals = BTreeMap::new();
        for (_, account) in self.accounts().into_iter().filter(|(id, _)| id.starts_with(prefix)) {
            *totals.entry(account.currency).or_default() += i128::from(account.posted_minor);
        }
        totals
    }

    pub(super) fn task_of(&mut self, account: &str) -> &mut Driver {
        &mut self.tasks[partition_of(account.as_bytes(), TASKS) as usize]
    }

    /// `debit -60.00 = -60.00 (in_transit), fee -0.40 = -60.40 (fees, standard@1)`
    pub(super) fn entries_text(&self, account: &str) -> String {
        let mut text = String::new();
        for entry in self.entries.get(account).into_iter().flatten() {
            let separator = if text.is_empty() { "" } else { ", " };
            let kind = format!("{:?}", entry.kind).to_lowercase();
            let contra = entry.contra_account_id.split('.').next().unwrap_or_default();
            let amount = money(entry.amount_minor, &entry.currency);
            let after = money(entry.balance_after_minor, &entry.currency);
            let schedule = entry.fee_schedule.as_ref().map(|schedule| format!(", {schedule}")).unwrap_or_default();
            write!(text, "{separator}{kind} {amount} = {after} ({contra}{schedule})").expect("strings take all");
        }
        text
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

pub(super) fn money(minor: i64, currency: &str) -> String {
    let exponent = Currency::parse(currency).expect("a known currency").exponent();
    decimal(i128::from(minor), exponent)
}

/// A payment that the rules let through.
pub(super) fn scored(payment: PaymentBody) -> ScoredPayment {
    ScoredPayment { decision: decision(&payment, Verdict::Accept), payment }
}

fn decision(payment: &PaymentBody, verdict: Verdict) -> Decision {
    Decision {
        meta: Meta::default(),
        payment_id: payment.payment_id.clone(),
        source: payment.source.clone(),
        debit_account: payment.debit_account.clone(),
        verdict,
        score: 0,
        threshold: 100,
        rules: Vec::new(),
        rule_set: "none@1".to_owned(),
        payer: PayerProfile::default(),
        counterparty: CounterpartyProfile::default(),
        event_time: payment.created_at,
    }
}
