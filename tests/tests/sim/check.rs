//! What must hold at the end of every run. A finding begins with the name of its checker.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use tidemill_core::partition::partition_of;
use tidemill_core::{StateValue, Store};
use tidemill_runtime::broker::{Broker, Isolation, TopicPartition};
use tidemill_runtime::parking::{PARKED_INPUTS, PARKED_KEYS};
use tidemill_runtime::reconciliation::{Balance, ReconciliationWatch};
use tidemill_runtime::state_log::{LogError, LogRecord};
use tidemill_runtime::task::checkpoint::{CHECKPOINT_KEY, Checkpoint, RELEASED};

use crate::disk::Content;
use crate::ledger::{
    self, ACCOUNTS, Account, BALANCES, COUNTS, ENTRIES, Entry, INSTRUCTIONS, INSTRUCTIONS_DLQ, Instruction, Leg,
    ODD_ONES, REQUESTS, REQUESTS_DLQ, Request, STATE, TASKS, key_of,
};
use crate::observer::{Observer, Seen, TOPICS};
use crate::process::Machine;

/// Everything that a run has left behind.
pub(crate) struct Evidence<'a> {
    pub(crate) requests: &'a [Request],
    pub(crate) observer: &'a Observer,
    pub(crate) broker: &'a Arc<dyn Broker>,
    pub(crate) machines: &'a [Arc<Machine>],
    pub(crate) group: String,
    /// Whoever stops second meets the rebalance of the first: in Kafka that refuses a release, and the next owner settles.
    pub(crate) may_refuse_releases: bool,
}

type Findings = Vec<String>;

impl Evidence<'_> {
    /// All findings; empty when everything holds.
    pub(crate) fn check(&self) -> Findings {
        let mut findings = Findings::new();
        self.outcomes(&mut findings);
        self.order(&mut findings);
        self.entries(&mut findings);
        self.state(&mut findings);
        self.checkpoints(&mut findings);
        self.cleaning(&mut findings);
        self.ends(&mut findings);
        self.reconciliation(&mut findings);
        self.stores(&mut findings);
        findings
    }

    fn instructions(&self) -> Vec<Vec<Instruction>> {
        decoded(self.observer.partitions(INSTRUCTIONS))
    }

    fn all_entries(&self) -> Vec<Vec<Entry>> {
        decoded(self.observer.partitions(ENTRIES))
    }

    /// Every request has exactly one outcome, and every step towards it was taken once.
    fn outcomes(&self, findings: &mut Findings) {
        let mut dead: BTreeMap<u64, usize> = BTreeMap::new();
        for seen in self.observer.partitions(REQUESTS_DLQ).iter().flatten() {
            let request: Request =
                postcard::from_bytes(seen.value.as_deref().unwrap_or_default()).expect("a request as it was sent");
            *dead.entry(request.id).or_default() += 1;
        }
        let mut legs: BTreeMap<(u64, Leg), usize> = BTreeMap::new();
        for instruction in self.instructions().iter().flatten() {
            *legs.entry((instruction.id, instruction.leg)).or_default() += 1;
        }
        let mut entries: BTreeMap<(u64, i64), usize> = BTreeMap::new();
        for entry in self.all_entries().iter().flatten() {
            *entries.entry((entry.id, entry.amount.signum())).or_default() += 1;
        }
        for request in self.requests {
            let id = request.id;
            let settled = request.settled();
            let is_refused = settled.is_some_and(|settled| settled.is_refused());
            let moves = usize::from(settled.is_some() && !is_refused);
            let expected = [
                ("dead letters", request.dead_letters(), dead.get(&id)),
                ("debit instructions", usize::from(settled.is_some()), legs.get(&(id, Leg::Debit))),
                ("credit instructions", moves, legs.get(&(id, Leg::Credit))),
                ("refusals", usize::from(is_refused), entries.get(&(id, 0))),
                ("debit entries", moves, entries.get(&(id, -1))),
                ("credit entries", moves, entries.get(&(id, 1))),
            ];
            for (what, expected, found) in expected {
                let found = found.copied().unwrap_or_default();
                if found != expected {
                    findings.push(format!("outcome: request {id} has {found} {what} instead of {expected}"));
                }
            }
        }
        if self.observer.count(INSTRUCTIONS_DLQ) > 0 {
            findings.push("outcome: an instruction became a dead letter".to_owned());
        }
    }

    /// Order per key is kept on every hop, and payers are counted as their requests came in: one that failed and was mended
    /// in its own place, before everything that came behind it.
    fn order(&self, findings: &mut Findings) {
        let mut expected: BTreeMap<u8, Vec<(u64, u64)>> = BTreeMap::new();
        for request in self.requests.iter().filter_map(Request::settled) {
            let of_payer = expected.entry(request.payer).or_default();
            of_payer.push((of_payer.len() as u64 + 1, request.id));
        }
        let instructions = self.instructions();
        let mut found: BTreeMap<u8, Vec<(u64, u64)>> = BTreeMap::new();
        let mut last: BTreeMap<(u8, u8), u64> = BTreeMap::new();
        for instruction in instructions.iter().flatten().filter(|instruction| instruction.leg == Leg::Debit) {
            found.entry(instruction.payer).or_default().push((instruction.payer_seq, instruction.id));
            let before = last.insert((instruction.payer, instruction.account), instruction.payer_seq);
            if before.is_some_and(|before| before >= instruction.payer_seq) {
                findings.push(format!("order: {instruction:?} comes after number {before:?} of its payer"));
            }
        }
        found.values_mut().for_each(|of_payer| of_payer.sort_unstable());
        if found != expected {
            let payer = expected.iter().find(|(payer, of_payer)| found.get(payer) != Some(of_payer));
            let found = payer.and_then(|(payer, _)| found.get(payer));
            findings.push(format!("order: payer and (number, request): expected {payer:?}, found {found:?}"));
        }
        for (partition, (instructions, entries)) in instructions.iter().zip(self.all_entries()).enumerate() {
            let expected: Vec<_> =
                instructions.iter().map(|instruction| (instruction.id, instruction.account)).collect();
            let found: Vec<_> = entries.iter().map(|entry| (entry.id, entry.account)).collect();
            if expected != found {
                let at = expected.iter().zip(&found).take_while(|(expected, found)| expected == found).count();
                findings.push(format!(
                    "order: entry {at} of partition {partition} is {:?} and should be {:?}; {} of {}",
                    found.get(at),
                    expected.get(at),
                    found.len(),
                    expected.len()
                ));
            }
        }
    }

    /// Entries of an account are numbered without a gap, each balance follows from the one before, and money is neither
    /// made nor lost.
    fn entries(&self, findings: &mut Findings) {
        let mut accounts: BTreeMap<u8, Account> = BTreeMap::new();
        let mut sum = 0;
        for entry in self.all_entries().iter().flatten().filter(|entry| entry.seq > 0) {
            let account =
                accounts.entry(entry.account).or_insert(Account { number: entry.account, ..Account::default() });
            if entry.seq != account.seq + 1 {
                findings.push(format!("gapless: {entry:?} comes after number {}", account.seq));
            }
            if entry.balance != account.balance + entry.amount {
                findings.push(format!("balance: {entry:?} comes after a balance of {}", account.balance));
            }
            account.seq = entry.seq;
            account.balance = entry.balance;
            sum += entry.amount;
        }
        if sum != 0 {
            findings.push(format!("conservation: all entries add up to {sum}"));
        }
        let mut published: BTreeMap<u8, Account> = BTreeMap::new();
        for account in decoded::<Account>(self.observer.partitions(BALANCES)).into_iter().flatten() {
            let before = published.insert(account.number, account);
            if before.is_some_and(|before| before.seq >= account.seq) {
                findings.push(format!("balance: {account:?} was published after {before:?}"));
            }
        }
        if published != accounts {
            findings.push(format!("balance: published {published:?}, entries say {accounts:?}"));
        }
    }

    /// The fold of the state log is what the requests amount to.
    fn state(&self, findings: &mut Findings) {
        let mut accounts: BTreeMap<Vec<u8>, Account> = BTreeMap::new();
        for entry in self.all_entries().iter().flatten().filter(|entry| entry.seq > 0) {
            let account = Account { number: entry.account, seq: entry.seq, balance: entry.balance };
            accounts.insert(key_of('a', entry.account), account);
        }
        let mut counts: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
        for request in self.requests.iter().filter_map(Request::settled) {
            *counts.entry(key_of('p', request.payer)).or_default() += 1;
        }
        let odd: BTreeSet<_> =
            counts.iter().filter(|(_, count)| **count % 2 == 1).map(|(key, _)| key.clone()).collect();
        let (mut found_accounts, mut found_counts, mut found_odd) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        for (number, log) in (0..TASKS).zip(self.observer.partitions(STATE)) {
            let fold = fold(log, 0..u64::MAX);
            for (key, account) in values(&fold, ACCOUNTS) {
                if partition_of(&key, TASKS) != number {
                    findings.push(format!("state: {account:?} is kept by task {number}"));
                }
                found_accounts.insert(key, account);
            }
            found_counts.extend(values(&fold, COUNTS).map(|(key, count)| (key, count.0)));
            found_odd.extend(values(&fold, ODD_ONES).map(|(key, _)| key));
            let parked: Vec<_> = values(&fold, PARKED_KEYS).map(|(_, parked)| parked).collect();
            let input = values(&fold, PARKED_INPUTS).next().map(|(_, input)| input).unwrap_or_default();
            if !parked.is_empty() || (input.keys, input.records, input.releasing) != (0, 0, 0) {
                findings.push(format!("parked: task {number} holds back {parked:?}, and says {input:?}"));
            }
        }
        if found_accounts != accounts {
            findings.push(format!("state: accounts are {found_accounts:?} and should be {accounts:?}"));
        }
        if found_counts != counts || found_odd != odd {
            findings.push(format!("state: counts are {found_counts:?} and should be {counts:?}"));
        }
    }

    /// What the broker still has of a state log comes to the same as all that was ever in it.
    fn cleaning(&self, findings: &mut Findings) {
        for (number, log) in (0..TASKS).zip(self.observer.partitions(STATE)) {
            let partition = TopicPartition::new(STATE, number);
            let low = self.broker.watermarks(&partition, Isolation::ReadCommitted).expect("watermarks").low;
            let (dead, kept) = log.split_at(log.partition_point(|seen| seen.offset < low));
            if fold(kept, 0..u64::MAX) != fold(log, 0..u64::MAX) {
                let count = dead.len();
                findings
                    .push(format!("cleaning: {count} records of task {number} were deleted before {low} and missing"));
            }
        }
    }

    /// Every checkpoint that was ever committed agrees with the inputs: positions never go back, and the figures count
    /// each record before them once.
    fn checkpoints(&self, findings: &mut Findings) {
        for (number, log) in self.observer.partitions(STATE).iter().enumerate() {
            let mut before: BTreeMap<String, u64> = BTreeMap::new();
            for (seen, checkpoint) in log.iter().filter_map(|seen| Some((seen, checkpoint_of(seen)?))) {
                for (input, topic) in [("count/requests", REQUESTS), ("move/instructions", INSTRUCTIONS)] {
                    let Some(position) = checkpoint.positions.get(topic).copied() else {
                        findings.push(format!("checkpoint: {number}@{} has no position in {topic}", seen.offset));
                        continue;
                    };
                    let records = &self.observer.partitions(topic)[number];
                    let read = records.iter().filter(|record| record.offset < position).count() as u64;
                    let counted: u64 = checkpoint.figures.get(input).map_or(0, |figures| figures.values().sum());
                    let at = seen.offset;
                    if counted != read {
                        findings.push(format!(
                            "checkpoint: {number}@{at} counts {counted} of {topic}, and stands behind {read}"
                        ));
                    }
                    if before.insert(topic.to_owned(), position).is_some_and(|before| before > position) {
                        findings.push(format!("checkpoint: {number}@{at} goes back to {position} in {topic}"));
                    }
                }
            }
        }
    }

    /// Everything that came in is accounted for, and nothing is on its way any more.
    fn reconciliation(&self, findings: &mut Findings) {
        let mut watch = ReconciliationWatch::new(Arc::new(ledger::topology()), Arc::clone(self.broker));
        for _ in 0..2 {
            let look = watch.look().expect("the broker answers");
            findings.extend(look.findings().map(|finding| format!("reconciliation: {finding}")));
            let on_its_way = |balance: &&Balance| balance.under_way.unwrap_or(0) + balance.parked > 0;
            let balances = look.balances.iter().filter(on_its_way);
            findings.extend(balances.map(|balance| format!("reconciliation: at the end there is {balance:?}")));
        }
    }

    /// At the end everything is read, released, mirrored in the group, and no transaction is open.
    fn ends(&self, findings: &mut Findings) {
        for number in 0..TASKS {
            let log = &self.observer.partitions(STATE)[number as usize];
            let checkpoint = last_checkpoint(log);
            let partitions = [REQUESTS, INSTRUCTIONS].map(|topic| TopicPartition::new(topic, number));
            for partition in &partitions {
                let records = &self.observer.partitions(&partition.topic)[number as usize];
                let position = checkpoint.positions.get(&*partition.topic).copied().unwrap_or_default();
                if records.last().is_some_and(|last| last.offset >= position) {
                    findings.push(format!("checkpoint: task {number} ends before the end of {}", partition.topic));
                }
            }
            // Without a release nobody has committed since the broker may have forgotten what was.
            if checkpoint.owner == RELEASED {
                self.group_offsets(number, &checkpoint, findings);
            }
        }
        for (partition, readable, end) in open_partitions(self.broker) {
            findings.push(format!("open_transaction: {partition:?} can be read to {readable} of {end}"));
        }
    }

    /// The mirror for people's tools shows what the state log says.
    fn group_offsets(&self, number: u32, checkpoint: &Checkpoint, findings: &mut Findings) {
        let partitions = [REQUESTS, INSTRUCTIONS].map(|topic| TopicPartition::new(topic, number));
        let committed = self.broker.committed(&self.group, &partitions).expect("offsets of the group");
        for partition in partitions {
            let found = committed.iter().find(|(of, _)| *of == partition).map(|(_, offset)| *offset);
            let expected = checkpoint.positions.get(&*partition.topic).copied();
            if found != expected {
                findings.push(format!("group_offsets: {partition:?} at {found:?}, the log says {expected:?}"));
            }
        }
    }

    /// Every store on every disk is what the state log says at the store's offset, however old it is. Who builds a store
    /// from a log that was cleaned has not seen the carried entries before it comes to where the pass ended: should that
    /// be interrupted, the store is what the log says from its beginning of that time on.
    pub(crate) fn stores(&self, findings: &mut Findings) {
        for machine in self.machines {
            for (path, content) in machine.disk.contents() {
                let number =
                    path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse::<usize>().ok());
                let log = &self.observer.partitions(STATE)[number.expect("a folder per task")];
                // A store that was written for a transaction that an operator aborted is rebuilt when it is opened.
                let is_last = |seen: &Seen| seen.offset + 1 == content.next_offset;
                if content.next_offset > 0 && !log.iter().any(is_last) {
                    continue;
                }
                let expected = fold(log, 0..content.next_offset);
                let is_unfinished = || beginnings(log).any(|low| fold(log, low..content.next_offset) == content.pairs);
                if expected != content.pairs && !is_unfinished() {
                    let differs = |key: &&Vec<u8>| expected.get(*key) != content.pairs.get(*key);
                    let keys = expected.keys().chain(content.pairs.keys());
                    let key = keys.filter(differs).map(|key| String::from_utf8_lossy(key)).next();
                    let place = path.display();
                    let offset = content.next_offset;
                    findings.push(format!("store: {place} at {offset} is not the fold of its log: {key:?} differs"));
                }
            }
        }
    }

    /// After a machine without stores has taken everything over: its stores are the fold of the whole log.
    pub(crate) fn restored(&self, contents: &BTreeMap<std::path::PathBuf, Content>) -> Findings {
        let mut findings = Findings::new();
        if contents.len() != TASKS as usize {
            findings.push(format!("restart: {} of {TASKS} tasks were restored", contents.len()));
        }
        for (number, log) in (0..TASKS).zip(self.observer.partitions(STATE)) {
            let checkpoint = last_checkpoint(log);
            if checkpoint.owner != RELEASED && !self.may_refuse_releases {
                findings.push(format!("restart: task {number} was not released by {}", checkpoint.owner));
            }
            self.group_offsets(number, &checkpoint, &mut findings);
        }
        for (path, content) in contents {
            let number = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse::<usize>().ok());
            let log = &self.observer.partitions(STATE)[number.expect("a folder per task")];
            if content.pairs != fold(log, 0..u64::MAX) {
                findings.push(format!("restart: {} is not the fold of the whole log", path.display()));
            }
        }
        findings
    }
}

/// Partitions in which a transaction is open, how far they can be read, and where they end.
pub(crate) fn open_partitions(broker: &Arc<dyn Broker>) -> Vec<(TopicPartition, u64, u64)> {
    let partitions = TOPICS.iter().flat_map(|topic| (0..TASKS).map(|number| TopicPartition::new(*topic, number)));
    let watermarks = partitions.map(|partition| {
        let high = |isolation| broker.watermarks(&partition, isolation).expect("watermarks").high;
        let (readable, end) = (high(Isolation::ReadCommitted), high(Isolation::ReadUncommitted));
        (partition, readable, end)
    });
    watermarks.filter(|(_, readable, end)| readable < end).collect()
}

pub(crate) fn last_checkpoint(log: &[Seen]) -> Checkpoint {
    log.iter().rev().find_map(checkpoint_of).unwrap_or_default()
}

fn state_record(seen: &Seen) -> LogRecord<'_> {
    LogRecord::decode(seen.key.as_deref(), seen.value.as_deref()).expect("a record of a state log")
}

fn checkpoint_of(seen: &Seen) -> Option<Checkpoint> {
    state_record(seen).decode_checkpoint().expect("a checkpoint")
}

/// Offsets that the log was cleaned to.
fn beginnings(log: &[Seen]) -> impl Iterator<Item = u64> + '_ {
    let checkpoints = log.iter().filter_map(|seen| state_record(seen).decode_checkpoint().expect("a checkpoint"));
    checkpoints.map(|checkpoint| checkpoint.cleaning.dead_before).filter(|low| *low > 0)
}

/// What these offsets of the log amount to.
fn fold(log: &[Seen], offsets: Range<u64>) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut pairs = BTreeMap::new();
    for seen in log.iter().filter(|seen| offsets.contains(&seen.offset)) {
        let record = state_record(seen);
        let apply = |(key, value): (&[u8], Option<&[u8]>)| {
            match value {
                Some(value) => pairs.insert(key.to_vec(), value.to_vec()),
                None => pairs.remove(key),
            };
            Ok::<_, LogError>(())
        };
        record.for_each_change(apply).expect("changes");
        if let Some(checkpoint) = record.checkpoint {
            pairs.insert(CHECKPOINT_KEY.to_vec(), checkpoint.to_vec());
        }
    }
    pairs
}

fn values<V: StateValue + 'static>(
    pairs: &BTreeMap<Vec<u8>, Vec<u8>>,
    store: Store<V>,
) -> impl Iterator<Item = (Vec<u8>, V)> + '_ {
    pairs.iter().filter_map(move |(full, value)| {
        let key = full.strip_prefix(store.name().as_bytes())?.strip_prefix(b"\0")?;
        Some((key.to_vec(), store.decode(value).expect("a value of this store")))
    })
}

fn decoded<E: serde::de::DeserializeOwned>(partitions: &[Vec<Seen>]) -> Vec<Vec<E>> {
    let event = |seen: &Seen| ledger::decode(seen.value.as_deref().unwrap_or_default());
    partitions.iter().map(|partition| partition.iter().map(event).collect()).collect()
}
