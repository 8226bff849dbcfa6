//! An independent reader: what can be read with `read_committed` of the topics that this run's records end in.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidemill_core::{Event, EventKind};
use tidemill_runtime::broker::{Broker, BrokerError, Isolation, RecordBatch, TopicPartition};
use tidemill_runtime::codecs::Codecs;
use tidemill_schemas::{AccountBalance, AccountStatus, CODECS, LedgerEntry, PaymentStatus};
use tidemill_topology::Topology;
use tidemill_topology::plan::Role;

use super::judge::{Evidence, SeenBalance, SeenEntry, SeenStatus};
use super::oracle::Run;
use crate::exit::{Exit, Failure};
use crate::session::Session;

const BATCH_RECORDS_MAX: usize = 5_000;
const POLL_WAIT: Duration = Duration::from_millis(50);
/// A broker that is killed is back long before.
const ANSWER_DEADLINE: Duration = Duration::from_secs(90);
const RETRY_WAIT: Duration = Duration::from_millis(250);

/// The topics of this topology, by what lies in them.
#[derive(Clone, Debug)]
pub(super) struct Places {
    pub(super) payments: String,
    pub(super) accounts: String,
    pub(super) statuses: String,
    pub(super) account_statuses: String,
    pub(super) entries: String,
    pub(super) balances: String,
    /// Of unreadable payments.
    pub(super) dead_letters: String,
}

impl Places {
    pub(super) fn of(topology: &Topology) -> Result<Self, Failure> {
        let by_kind = |kind: EventKind| {
            let found = topology.topics.values().find(|topic| topic.kind == Some(kind) && topic.role != Role::Ingest);
            found.map(|topic| topic.name.clone()).ok_or_else(|| missing(&format!("no stage writes {}", kind.name)))
        };
        let inputs = || topology.units.iter().flat_map(|unit| &unit.stages).flat_map(|stage| &stage.inputs);
        let read_by = |processor: &str| {
            let found = inputs().find(|input| input.chain.iter().any(|link| link.processor.name == processor));
            found.ok_or_else(|| missing(&format!("no stage has the processor {processor}")))
        };
        let payments = read_by("decode_payment")?;
        Ok(Self {
            payments: payments.topic.clone(),
            dead_letters: payments.dead_letters.clone(),
            accounts: read_by("decode_account")?.topic.clone(),
            statuses: by_kind(PaymentStatus::KIND)?,
            account_statuses: by_kind(AccountStatus::KIND)?,
            entries: by_kind(LedgerEntry::KIND)?,
            balances: by_kind(AccountBalance::KIND)?,
        })
    }

    fn read(&self) -> [&str; 5] {
        [&self.statuses, &self.entries, &self.balances, &self.account_statuses, &self.dead_letters]
    }
}

fn missing(what: &str) -> Failure {
    Failure::new(Exit::Config, format!("{what}, so payments cannot be followed from end to end")).hint(
        "`verify` needs the way from `decode_payment` to `post_ledger`, with its answers and entries written out.",
    )
}

/// Where each partition ended, so that what comes after can be told from what was there.
pub(super) type Offsets = BTreeMap<TopicPartition, u64>;

pub(super) fn ends(session: &Session, topics: &[&str]) -> Result<Offsets, Failure> {
    let mut offsets = Offsets::new();
    for partition in partitions(&session.topology, topics) {
        let watermarks = ask(|| session.broker.watermarks(&partition, Isolation::ReadUncommitted))?;
        offsets.insert(partition, watermarks.high);
    }
    Ok(offsets)
}

/// Ends of everything that [`Records`] reads.
pub(super) fn starts(session: &Session, places: &Places) -> Result<Offsets, Failure> {
    ends(session, &places.read())
}

pub(super) fn partitions(topology: &Topology, topics: &[&str]) -> Vec<TopicPartition> {
    let count = |topic: &str| topology.topics.get(topic).map_or(0, |topic| topic.partitions);
    topics
        .iter()
        .flat_map(|topic| (0..count(topic)).map(move |partition| TopicPartition::new(*topic, partition)))
        .collect()
}

/// Asks again while the broker is away.
pub(super) fn ask<T>(question: impl Fn() -> Result<T, BrokerError>) -> Result<T, BrokerError> {
    let started_at = Instant::now();
    loop {
        match question() {
            Err(_) if started_at.elapsed() < ANSWER_DEADLINE => std::thread::sleep(RETRY_WAIT),
            answered => return answered,
        }
    }
}

/// A record of this run.
pub(super) enum Own {
    Status { seen: SeenStatus, sent_ms: u32 },
    Entry(SeenEntry),
    Balance(super::oracle::Account, SeenBalance),
    Opened(super::oracle::Account, String),
    Dead(usize),
    Stranger(String),
}

/// Takes the records of one run out of what is read.
pub(super) struct Records {
    places: Places,
    run: Run,
    codecs: Codecs,
    codes: HashSet<Arc<str>>,
}

impl Records {
    pub(super) fn new(session: &Session, places: &Places, run: &Run) -> Self {
        let codecs = Codecs::new(Arc::clone(&session.registry), CODECS);
        Self { places: places.clone(), run: run.clone(), codecs, codes: HashSet::new() }
    }

    /// `None` for a record of somebody else.
    pub(super) fn own(&mut self, batch: &RecordBatch, index: usize) -> Result<Option<Own>, Failure> {
        let view = batch.view(index, &[]);
        let (topic, partition) = (view.origin.topic, view.origin.partition);
        let Some(value) = view.value else { return Ok(None) };
        if topic == self.places.dead_letters {
            return Ok(self.dead(value));
        }
        // Records of others, and every marker of theirs, are none of our business; keys are account names.
        let is_own = view.key.is_some_and(|key| key.starts_with(self.run.name.as_bytes()));
        if !is_own {
            return Ok(None);
        }
        if topic == self.places.statuses {
            let status: PaymentStatus = self.decode(PaymentStatus::KIND, value)?;
            Ok(Some(self.status(partition, &status)))
        } else if topic == self.places.entries {
            let entry: LedgerEntry = self.decode(LedgerEntry::KIND, value)?;
            Ok(Some(self.entry(partition, &entry)))
        } else if topic == self.places.balances {
            let balance: AccountBalance = self.decode(AccountBalance::KIND, value)?;
            let seen = SeenBalance { posted_minor: balance.posted_minor, seq: balance.seq };
            Ok(Some(match self.run.account_of(&balance.account_id) {
                Some(account) => Own::Balance(account, seen),
                None => Own::Stranger(format!("balance of {}", balance.account_id)),
            }))
        } else {
            let status: AccountStatus = self.decode(AccountStatus::KIND, value)?;
            Ok(Some(match self.run.account_of(&status.account_id) {
                Some(account) => Own::Opened(account, status.code),
                None => Own::Stranger(format!("status of {}", status.account_id)),
            }))
        }
    }

    fn decode<E: Event>(&mut self, kind: EventKind, value: &[u8]) -> Result<E, Failure> {
        let started_at = Instant::now();
        loop {
            match self.codecs.decode(kind, value) {
                Ok(event) => {
                    return event.downcast::<E>().map_err(|event| {
                        Failure::new(Exit::Findings, format!("{:?} where {} was due", event.kind(), kind.name))
                    });
                }
                Err(tidemill_runtime::codecs::ValueError::Unavailable(_)) if started_at.elapsed() < ANSWER_DEADLINE => {
                    std::thread::sleep(RETRY_WAIT);
                }
                Err(error) => {
                    return Err(Failure::new(Exit::Findings, format!("a {} cannot be read: {error:?}", kind.name)));
                }
            }
        }
    }

    fn status(&mut self, partition: u32, status: &PaymentStatus) -> Own {
        let code = match self.codes.get(status.code.as_str()) {
            Some(code) => Arc::clone(code),
            None => {
                let code: Arc<str> = Arc::from(status.code.as_str());
                self.codes.insert(Arc::clone(&code));
                code
            }
        };
        match self.run.payment_of(&status.payment_id) {
            Some((payment, sent_ms)) if status.source == self.run.source() => Own::Status {
                seen: SeenStatus {
                    partition,
                    payment,
                    phase: status.phase,
                    code,
                    amount_minor: status.amount_minor,
                    fee_minor: status.fee_minor,
                },
                sent_ms,
            },
            _ => Own::Stranger(format!("status of {} from {}", status.payment_id, status.source)),
        }
    }

    fn entry(&self, partition: u32, entry: &LedgerEntry) -> Own {
        match (self.run.account_of(&entry.account_id), self.run.payment_of(&entry.payment_id)) {
            (Some(account), Some((payment, _))) => Own::Entry(SeenEntry {
                partition,
                account,
                seq: entry.seq,
                payment,
                kind: entry.kind,
                amount_minor: entry.amount_minor,
                balance_after_minor: entry.balance_after_minor,
            }),
            _ => Own::Stranger(format!("entry {} of {} for {}", entry.seq, entry.account_id, entry.payment_id)),
        }
    }

    fn dead(&self, value: &[u8]) -> Option<Own> {
        let text = String::from_utf8_lossy(value);
        let id = text.split_once(r#""id":""#)?.1.split('"').next()?;
        let (number, _) = self.run.payment_of(id)?;
        Some(Own::Dead(number))
    }
}

/// Everything of this run that can be read now.
pub(super) fn evidence(session: &Session, places: &Places, run: &Run, from: &Offsets) -> Result<Evidence, Failure> {
    let mut evidence = Evidence::default();
    let mut records = Records::new(session, places, run);
    for (partition, start) in from {
        read_partition(session.broker.as_ref(), partition, *start, |batch, index| {
            match records.own(batch, index)? {
                Some(Own::Status { seen, .. }) => evidence.statuses.push(seen),
                Some(Own::Entry(entry)) => evidence.entries.push(entry),
                Some(Own::Balance(account, balance)) => {
                    evidence.balances.insert(account, balance);
                }
                Some(Own::Dead(number)) => evidence.dead.push(number),
                Some(Own::Stranger(what)) => evidence.strangers.push(what),
                Some(Own::Opened(..)) | None => {}
            }
            Ok(())
        })?;
    }
    Ok(evidence)
}

fn read_partition(
    broker: &dyn Broker,
    partition: &TopicPartition,
    start: u64,
    mut visit: impl FnMut(&RecordBatch, usize) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let end = ask(|| broker.watermarks(partition, Isolation::ReadCommitted))?.high;
    let mut reader = broker.reader(Isolation::ReadCommitted)?;
    reader.assign(partition, start)?;
    let mut batch = RecordBatch::default();
    let mut next_offset = start;
    let mut moved_at = Instant::now();
    while next_offset < end {
        reader.poll(&mut batch, BATCH_RECORDS_MAX, POLL_WAIT)?;
        for index in 0..batch.len() {
            visit(&batch, index)?;
        }
        if let Some(last) = batch.metas().last() {
            next_offset = last.offset + 1;
            moved_at = Instant::now();
        } else if reader.reached_end(partition) {
            break;
        }
        if moved_at.elapsed() > ANSWER_DEADLINE {
            let place = format!("{}-{}", partition.topic, partition.partition);
            return Err(Failure::new(Exit::Unreachable, format!("{place} cannot be read on from {next_offset}")));
        }
    }
    Ok(())
}

/// Partitions where something is written that cannot be read: a transaction that has not ended. What others write goes
/// on meanwhile, so each partition is given until `deadline` to become readable up to where it ended when it was asked.
pub(super) fn unreadable(session: &Session, deadline: Duration) -> Result<(usize, Vec<String>), Failure> {
    let topics: Vec<&str> = session.topology.topics.keys().map(String::as_str).collect();
    let ends = ends(session, &topics)?;
    let started_at = Instant::now();
    let mut stuck = Vec::new();
    for (partition, end) in &ends {
        loop {
            let readable = ask(|| session.broker.watermarks(partition, Isolation::ReadCommitted))?.high;
            if readable >= *end {
                break;
            }
            if started_at.elapsed() > deadline {
                let place = format!("{}-{}", partition.topic, partition.partition);
                stuck.push(format!("{place} can be read up to {readable} and ends at {end}"));
                break;
            }
            std::thread::sleep(RETRY_WAIT);
        }
    }
    Ok((ends.len(), stuck))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_topology_has_every_place() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../topology.toml");
        let text = std::fs::read_to_string(file).expect("the default topology is there");
        let options = tidemill_topology::Options::default();
        let (topology, _) = tidemill_topology::compile(file, &text, &crate::session::CATALOG, &options)
            .expect("the default topology compiles");
        let places = Places::of(&topology).expect("everything is there");
        let found = [&places.payments, &places.accounts, &places.statuses, &places.entries, &places.dead_letters];
        let expected = [
            "payments.requested.v1",
            "accounts.requested.v1",
            "payments.status.v1",
            "ledger.entries.v1",
            "payments.requested.v1.dlq",
        ];
        assert_eq!(found, expected);
    }
}
