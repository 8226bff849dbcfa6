//! The verdict: what was handed out against what can be read. Knows no broker, so that it can itself be tested.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use tidemill_schemas::{EntryKind, StatusPhase};

use super::oracle::{Account, Expected, Issued, Oracle, limit_minor};

/// Violations that are shown of each rule; all are counted.
const EXAMPLES_MAX: usize = 5;
const POSTED: &str = "ok";
const CONFLICT: &str = "idempotency_conflict";

/// A status record of a payment of this run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SeenStatus {
    pub(super) partition: u32,
    pub(super) payment: usize,
    pub(super) phase: StatusPhase,
    pub(super) code: Arc<str>,
    pub(super) amount_minor: i64,
    pub(super) fee_minor: i64,
}

/// An entry of an account of this run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SeenEntry {
    pub(super) partition: u32,
    pub(super) account: Account,
    pub(super) seq: i64,
    pub(super) payment: usize,
    pub(super) kind: EntryKind,
    pub(super) amount_minor: i64,
    pub(super) balance_after_minor: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SeenBalance {
    pub(super) posted_minor: i64,
    pub(super) seq: i64,
}

/// What an independent reader found, each topic in the order of its partitions and offsets.
#[derive(Clone, Debug, Default)]
pub(super) struct Evidence {
    pub(super) statuses: Vec<SeenStatus>,
    pub(super) entries: Vec<SeenEntry>,
    /// The last of each account.
    pub(super) balances: BTreeMap<Account, SeenBalance>,
    /// Payments found among the dead letters.
    pub(super) dead: Vec<usize>,
    /// Records that bear the name of this run and that it never asked for.
    pub(super) strangers: Vec<String>,
}

/// One thing that must hold.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Rule {
    pub(super) name: &'static str,
    pub(super) checked: u64,
    pub(super) violations: u64,
    pub(super) examples: Vec<String>,
}

impl Rule {
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, checked: 0, violations: 0, examples: Vec::new() }
    }

    pub(super) fn check(&mut self, violation: Option<String>) {
        self.checked += 1;
        if let Some(violation) = violation {
            self.violations += 1;
            if self.examples.len() < EXAMPLES_MAX {
                self.examples.push(violation);
            }
        }
    }
}

/// Answers to one payment.
#[derive(Clone, Debug, Default)]
struct Answers {
    /// Where in the evidence the first outcome stands.
    outcome: Option<usize>,
    outcomes: u32,
    resends: u32,
    conflicts: u32,
    returns: u32,
    dead: u32,
}

/// Entries of one payment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Lines {
    debits: u32,
    fees: u32,
    credits: u32,
    returns: u32,
    fees_returned: u32,
    /// On another account or over another amount than the payment says.
    wrong: u32,
}

/// Judges payments, entries and balances of one run.
pub(super) fn judge(oracle: &Oracle, evidence: &Evidence) -> Vec<Rule> {
    let answers = answers(oracle, evidence);
    let lines = lines(oracle, evidence, &answers);
    let mut rules = answers_as_expected(oracle, evidence, &answers);
    rules.push(entries_as_decided(oracle, evidence, &answers, &lines));
    rules.extend(entries_chain(oracle, evidence));
    rules.extend(order_kept(oracle, evidence));
    rules.push(money_adds_up(evidence));
    rules.push(balances_follow(oracle, evidence));
    rules.push(known(oracle, evidence));
    rules
}

/// Records that bear this run's name are of payments that it handed out.
fn known(oracle: &Oracle, evidence: &Evidence) -> Rule {
    let mut rule = Rule::new("nothing that nobody asked for");
    let of_statuses = evidence.statuses.iter().map(|status| status.payment);
    let of_entries = evidence.entries.iter().map(|entry| entry.payment);
    for number in of_statuses.chain(of_entries).chain(evidence.dead.iter().copied()) {
        rule.check((number >= oracle.payments.len()).then(|| format!("payment {number} was never handed out")));
    }
    for stranger in &evidence.strangers {
        rule.check(Some(stranger.clone()));
    }
    rule
}

fn answers(oracle: &Oracle, evidence: &Evidence) -> Vec<Answers> {
    let mut answers = vec![Answers::default(); oracle.payments.len()];
    for (index, status) in evidence.statuses.iter().enumerate() {
        let Some(of_payment) = answers.get_mut(status.payment) else { continue };
        match status.phase {
            StatusPhase::Outcome => {
                of_payment.outcomes += 1;
                of_payment.outcome.get_or_insert(index);
            }
            StatusPhase::Repeat if status.code.as_ref() == CONFLICT => of_payment.conflicts += 1,
            StatusPhase::Repeat => of_payment.resends += 1,
            StatusPhase::Update => of_payment.returns += 1,
        }
    }
    for number in &evidence.dead {
        if let Some(of_payment) = answers.get_mut(*number) {
            of_payment.dead += 1;
        }
    }
    answers
}

fn answers_as_expected(oracle: &Oracle, evidence: &Evidence, answers: &[Answers]) -> Vec<Rule> {
    let mut once = Rule::new("every acknowledged payment has one outcome");
    let mut marked = Rule::new("resends and conflicts are marked as such");
    let mut expected = Rule::new("outcomes are those that were due");
    for (number, (issued, answers)) in oracle.payments.iter().zip(answers).enumerate() {
        let id = || oracle.run.payment_id(number, issued.sent_ms);
        let found = if issued.expected == Expected::Dead { answers.dead } else { answers.outcomes };
        let [least, most] = [issued.first.acknowledged, issued.first.max()];
        once.check(outside(found, [least, most]).map(|how| format!("{how}: {} has {found} outcomes", id())));
        for (what, found, tally) in
            [("resends", answers.resends, issued.resends), ("conflicts", answers.conflicts, issued.conflicts)]
        {
            let [least, most] = [tally.acknowledged, tally.max()];
            let wrong = outside(found, [least, most]);
            marked.check(
                wrong.map(|how| format!("{how}: {} has {found} answers to {what}, {least} to {most} were sent", id())),
            );
        }
        if let Some(status) = answers.outcome.map(|index| &evidence.statuses[index]) {
            expected.check(unexpected(issued, status).map(|why| format!("{}: {why}", id())));
        }
        if issued.expected != Expected::Dead && answers.dead > 0 {
            expected.check(Some(format!("{} is among the dead letters", id())));
        }
    }
    vec![once, marked, expected]
}

fn outside(found: u32, [least, most]: [u32; 2]) -> Option<&'static str> {
    match found {
        found if found < least => Some("lost"),
        found if found > most => Some("doubled"),
        _ => None,
    }
}

fn unexpected(issued: &Issued, status: &SeenStatus) -> Option<String> {
    match issued.expected {
        Expected::Dead => Some(format!("answered with {}, although it cannot be read", status.code)),
        Expected::Refused(code) if *status.code != *code => Some(format!("{} instead of {code}", status.code)),
        Expected::Refused(_) => None,
        Expected::Decided | Expected::Returned if status.amount_minor != issued.amount_minor => {
            Some(format!("decided over {} instead of {}", status.amount_minor, issued.amount_minor))
        }
        Expected::Decided | Expected::Returned => None,
    }
}

fn lines(oracle: &Oracle, evidence: &Evidence, answers: &[Answers]) -> Vec<Lines> {
    let mut lines = vec![Lines::default(); oracle.payments.len()];
    for entry in &evidence.entries {
        let Some(issued) = oracle.payments.get(entry.payment) else { continue };
        let fee = answers[entry.payment].outcome.map_or(0, |index| evidence.statuses[index].fee_minor);
        let (payer, amount) = (Account::Customer(issued.debit), issued.amount_minor);
        let is_back = entry.kind == EntryKind::Fee && entry.amount_minor > 0;
        let of_payment = &mut lines[entry.payment];
        let (count, account, due) = match entry.kind {
            EntryKind::Debit => (&mut of_payment.debits, payer, -amount),
            EntryKind::Fee if is_back => (&mut of_payment.fees_returned, payer, fee),
            EntryKind::Fee => (&mut of_payment.fees, payer, -fee),
            EntryKind::Credit => (&mut of_payment.credits, issued.credit, amount),
            EntryKind::Return => (&mut of_payment.returns, payer, amount),
            // The run makes none, so one of these is somebody's mistake.
            EntryKind::Hold | EntryKind::Release | EntryKind::Exchange | EntryKind::Spread => {
                of_payment.wrong += 1;
                continue;
            }
        };
        *count += 1;
        if (entry.account, entry.amount_minor) != (account, due) {
            of_payment.wrong += 1;
        }
    }
    lines
}

fn entries_as_decided(oracle: &Oracle, evidence: &Evidence, answers: &[Answers], lines: &[Lines]) -> Rule {
    let mut rule = Rule::new("what is posted has its debit, fee and credit once");
    for (number, ((issued, answers), found)) in oracle.payments.iter().zip(answers).zip(lines).enumerate() {
        let status = answers.outcome.map(|index| &evidence.statuses[index]);
        let posted = status.filter(|status| status.code.as_ref() == POSTED);
        let due = match posted {
            None => Lines::default(),
            Some(status) => {
                let comes_back = u32::from(issued.expected == Expected::Returned);
                Lines {
                    debits: 1,
                    fees: u32::from(status.fee_minor > 0),
                    credits: 1 - comes_back,
                    returns: comes_back,
                    // Whether the fee comes back, too, is a setting of the topology.
                    fees_returned: found.fees_returned.min(comes_back),
                    wrong: 0,
                }
            }
        };
        let wrong = (*found != due || answers.returns != due.returns).then(|| {
            let id = oracle.run.payment_id(number, issued.sent_ms);
            let code = status.map_or("no outcome", |status| &status.code);
            format!("{id} ({code}): {found:?} and {} returns told, due {due:?}", answers.returns)
        });
        rule.check(wrong);
    }
    rule
}

fn entries_chain(oracle: &Oracle, evidence: &Evidence) -> Vec<Rule> {
    #[derive(Default)]
    struct Last {
        partition: u32,
        seq: i64,
        balance_minor: i64,
    }
    let mut gapless = Rule::new("entries of an account are numbered without gaps");
    let mut chained = Rule::new("each balance is the one before and the amount");
    let mut covered = Rule::new("no account is overdrawn");
    let mut last: BTreeMap<Account, Last> = BTreeMap::new();
    for entry in &evidence.entries {
        let place = || format!("{} entry {}", oracle.run.account(entry.account), entry.seq);
        let before =
            last.entry(entry.account).or_insert_with(|| Last { partition: entry.partition, ..Last::default() });
        let follows = entry.seq == before.seq + 1 && entry.partition == before.partition;
        gapless.check((!follows).then(|| {
            let Last { partition, seq, .. } = before;
            format!("{} in partition {} follows {seq} in partition {partition}", place(), entry.partition)
        }));
        let due = before.balance_minor + entry.amount_minor;
        chained.check(
            (entry.balance_after_minor != due)
                .then(|| format!("{}: balance {} instead of {due}", place(), entry.balance_after_minor)),
        );
        if entry.amount_minor < 0 {
            let floor = -limit_minor(entry.account);
            covered.check(
                (entry.balance_after_minor < floor)
                    .then(|| format!("{}: balance {} is below {floor}", place(), entry.balance_after_minor)),
            );
        }
        *before = Last { partition: before.partition, seq: entry.seq, balance_minor: entry.balance_after_minor };
    }
    vec![gapless, chained, covered]
}

/// Two orders: the debits of an account are those of the outcomes, one for one; and what one payer sent to one
/// counterparty is decided as it was sent.
fn order_kept(oracle: &Oracle, evidence: &Evidence) -> Vec<Rule> {
    let mut as_decided = Rule::new("entries of an account follow the order of the outcomes");
    let mut as_sent = Rule::new("outcomes of a payer and a payee follow the order of sending");
    let mut decided: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    let mut last_of_pair: BTreeMap<(u32, Account), usize> = BTreeMap::new();
    for status in evidence.statuses.iter().filter(|status| status.phase == StatusPhase::Outcome) {
        let Some(issued) = oracle.payments.get(status.payment) else { continue };
        if status.code.as_ref() == POSTED {
            decided.entry(issued.debit).or_default().push(status.payment);
        }
        // What was never acknowledged may have been written late, by a connection that was thought dead.
        let is_ordered =
            matches!(issued.expected, Expected::Decided | Expected::Returned) && issued.first.acknowledged > 0;
        if is_ordered {
            let before = last_of_pair.insert((issued.debit, issued.credit), status.payment);
            as_sent.check(before.filter(|before| *before >= status.payment).map(|before| {
                let [one, other] = [before, status.payment]
                    .map(|number| oracle.run.payment_id(number, oracle.payments[number].sent_ms));
                format!("{other} was decided after {one}")
            }));
        }
    }
    let mut posted: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for entry in evidence.entries.iter().filter(|entry| entry.kind == EntryKind::Debit) {
        if let Account::Customer(number) = entry.account {
            posted.entry(number).or_default().push(entry.payment);
        }
    }
    for (customer, decided) in &decided {
        let posted = posted.get(customer).map_or(&[][..], Vec::as_slice);
        let differs = decided.iter().zip(posted).position(|(one, other)| one != other);
        let account = || oracle.run.account(Account::Customer(*customer));
        as_decided.check(match differs {
            Some(index) => Some(format!("{}: debit {} is of another payment than outcome {0}", account(), index + 1)),
            None if decided.len() != posted.len() => {
                Some(format!("{}: {} debits, {} posted outcomes", account(), posted.len(), decided.len()))
            }
            None => None,
        });
    }
    vec![as_decided, as_sent]
}

fn money_adds_up(evidence: &Evidence) -> Rule {
    let mut rule = Rule::new("debits equal credits, and fees are those that were told");
    let mut moved: i128 = 0;
    let mut fees: i128 = 0;
    for entry in &evidence.entries {
        match entry.kind {
            EntryKind::Fee if entry.amount_minor < 0 => fees -= i128::from(entry.amount_minor),
            EntryKind::Fee => {}
            _ => moved += i128::from(entry.amount_minor),
        }
    }
    rule.check((moved != 0).then(|| format!("debits and credits differ by {moved}")));
    let is_posted = |status: &&SeenStatus| status.phase == StatusPhase::Outcome && status.code.as_ref() == POSTED;
    let told: i128 = evidence.statuses.iter().filter(is_posted).map(|status| i128::from(status.fee_minor)).sum();
    rule.check((fees != told).then(|| format!("fees of {fees} charged, {told} told")));
    rule
}

fn balances_follow(oracle: &Oracle, evidence: &Evidence) -> Rule {
    let mut rule = Rule::new("the balance of an account is that of its last entry");
    let last: BTreeMap<Account, &SeenEntry> = evidence.entries.iter().map(|entry| (entry.account, entry)).collect();
    for (account, entry) in last {
        let due = SeenBalance { posted_minor: entry.balance_after_minor, seq: entry.seq };
        let found = evidence.balances.get(&account);
        rule.check(
            (found != Some(&due)).then(|| format!("{}: {found:?} instead of {due:?}", oracle.run.account(account))),
        );
    }
    rule
}
