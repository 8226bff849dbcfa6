//! The load: payments that are handed out, written with every acknowledgement waited for, and noted.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tidemill_core::partition;
use tidemill_runtime::broker::{BrokerError, BrokerErrorKind, Outgoing, Producer, ProducerOptions};

use super::oracle::{Account, Expected, Issued, Oracle, REFUSALS, Sending, Sent, Tally};
use crate::exit::Failure;
use crate::session::Session;
use crate::stop::Stop;

/// Records are written this often, and then waited for.
const BATCH_INTERVAL: Duration = Duration::from_millis(40);
const BATCH_RECORDS_MAX: u64 = 2_000;
/// A broker that is killed is back long before. After this nobody knows what became of a batch.
const ACKNOWLEDGE_DEADLINE: Duration = Duration::from_secs(90);
const REOPEN_WAIT: Duration = Duration::from_millis(250);
/// The latest payments, of which resends are chosen: none that a pipeline may have forgotten.
const RECENT_MAX: usize = 500;

/// How many of a thousand records are what.
const RESENDS: u32 = 20;
const CONFLICTS: u32 = 5;
const REFUSED: u32 = 15;
const RETURNED: u32 = 10;
const DEAD: u32 = 5;

pub(super) struct Load<'a> {
    pub(super) session: &'a Session,
    pub(super) topic: &'a str,
    pub(super) customers: u32,
    pub(super) rate: u64,
    pub(super) duration: Duration,
    pub(super) started_at: Instant,
}

/// Makes payments from a seed.
pub(super) struct Issuer {
    random: ChaCha8Rng,
    customers: u32,
    /// In the order of sending.
    recent: VecDeque<usize>,
}

impl Issuer {
    pub(super) fn new(seed: u64, customers: u32) -> Self {
        Self { random: ChaCha8Rng::seed_from_u64(seed), customers, recent: VecDeque::new() }
    }

    /// The next record to send. Only what was acknowledged is sent again, so that it is certain which came first.
    pub(super) fn next(&mut self, oracle: &mut Oracle, sent_ms: u32) -> (usize, Sending) {
        let fate = self.random.random_range(0..1_000_u32);
        if fate < RESENDS + CONFLICTS && !self.recent.is_empty() {
            let number = self.recent[self.random.random_range(0..self.recent.len())];
            return (number, if fate < RESENDS { Sending::Resend } else { Sending::Conflict });
        }
        let fate = self.random.random_range(0..1_000_u32);
        let expected = match fate {
            _ if fate < REFUSED => Expected::Refused(REFUSALS.choose(&mut self.random).copied().unwrap_or(REFUSALS[0])),
            _ if fate < REFUSED + RETURNED => Expected::Returned,
            _ if fate < REFUSED + RETURNED + DEAD => Expected::Dead,
            _ => Expected::Decided,
        };
        let credit = match expected {
            Expected::Returned => Account::Nobody(self.random.random_range(0..8)),
            _ => Account::Merchant(self.random.random_range(0..merchants(self.customers))),
        };
        oracle.payments.push(Issued {
            debit: self.random.random_range(0..self.customers),
            credit,
            amount_minor: self.random.random_range(100..4_000),
            expected,
            sent_ms,
            first: Tally::default(),
            resends: Tally::default(),
            conflicts: Tally::default(),
        });
        (oracle.payments.len() - 1, Sending::First)
    }

    pub(super) fn acknowledged(&mut self, number: usize, issued: &Issued) {
        if !matches!(issued.expected, Expected::Decided | Expected::Returned) {
            return;
        }
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(number);
    }
}

pub(super) fn merchants(customers: u32) -> u32 {
    (customers / 8).max(4)
}

/// A producer that is opened again when it is beyond use.
pub(super) struct Writer<'a> {
    session: &'a Session,
    producer: Option<Box<dyn Producer>>,
}

pub(super) struct Record {
    pub(super) key: String,
    pub(super) value: Vec<u8>,
    pub(super) timestamp_ms: i64,
}

impl<'a> Writer<'a> {
    pub(super) fn new(session: &'a Session) -> Self {
        Self { session, producer: None }
    }

    /// Writes all of them, and says whether all are known to be written.
    pub(super) fn write(&mut self, topic: &str, records: &[Record], stop: &Stop) -> Result<Sent, Failure> {
        let written = self.try_write(topic, records, stop);
        match written {
            Ok(()) => Ok(Sent::Acknowledged),
            Err(error) if matches!(error.kind, BrokerErrorKind::Misconfigured | BrokerErrorKind::NotFound) => {
                Err(error.into())
            }
            Err(error) => {
                tracing::warn!(%error, records = records.len(), "whether these records were written is not known");
                self.producer = None;
                Ok(Sent::Unknown)
            }
        }
    }

    fn try_write(&mut self, topic: &str, records: &[Record], stop: &Stop) -> Result<(), BrokerError> {
        let partitions = self.session.topology.topics.get(topic).map_or(1, |topic| topic.partitions);
        let producer = match &mut self.producer {
            Some(producer) => producer,
            none => none.insert(self.session.broker.producer(&ProducerOptions::Idempotent)?),
        };
        for record in records {
            producer.send(&Outgoing {
                topic,
                partition: partition::partition_of(record.key.as_bytes(), partitions),
                timestamp_ms: record.timestamp_ms,
                key: Some(record.key.as_bytes()),
                value: Some(&record.value),
                headers: &[],
            })?;
        }
        let started_at = Instant::now();
        loop {
            match producer.flush(Duration::from_secs(5)) {
                Err(error)
                    if error.kind == BrokerErrorKind::Retriable
                        && started_at.elapsed() < ACKNOWLEDGE_DEADLINE
                        && !stop.is_set() => {}
                ended => return ended,
            }
        }
    }
}

impl Load<'_> {
    /// Opens the accounts.
    pub(super) fn open_accounts(&self, oracle: &Oracle, topic: &str, stop: &Stop) -> Result<u64, Failure> {
        let run = &oracle.run;
        let customers = (0..self.customers).map(Account::Customer);
        let accounts = customers.chain((0..merchants(self.customers)).map(Account::Merchant));
        let records: Vec<Record> = accounts
            .map(|account| Record {
                key: run.account(account),
                value: run.opening(account),
                timestamp_ms: run.first_created_ms,
            })
            .collect();
        let mut writer = Writer::new(self.session);
        // To open an account again is answered and changes nothing, so these may be sent until they are acknowledged.
        while writer.write(topic, &records, stop)? == Sent::Unknown && !stop.is_set() {
            std::thread::sleep(REOPEN_WAIT);
        }
        Ok(records.len() as u64)
    }

    /// Sends payments at the rate until the time is over or somebody says stop. While the broker is away nothing is sent,
    /// and what was missed meanwhile is not made up for.
    pub(super) fn run(
        &self,
        oracle: &mut Oracle,
        issuer: &mut Issuer,
        stop: &Stop,
        mut tick: impl FnMut(&Oracle) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut writer = Writer::new(self.session);
        let first_at = Instant::now();
        let mut batch_at = first_at;
        while first_at.elapsed() < self.duration && !stop.is_set() {
            std::thread::sleep(BATCH_INTERVAL.saturating_sub(batch_at.elapsed()));
            let due = u64::try_from(batch_at.elapsed().as_micros()).unwrap_or(u64::MAX).saturating_mul(self.rate);
            let count = (due / 1_000_000).clamp(1, BATCH_RECORDS_MAX).min(self.rate.div_ceil(10));
            batch_at = Instant::now();
            let sent_ms = u32::try_from(self.started_at.elapsed().as_millis()).unwrap_or(u32::MAX);
            let handed_out: Vec<(usize, Sending)> = (0..count).map(|_| issuer.next(oracle, sent_ms)).collect();
            let record = |(number, sending): &(usize, Sending)| {
                let issued = &oracle.payments[*number];
                Record {
                    key: oracle.run.account(Account::Customer(issued.debit)),
                    value: oracle.run.request(*number, issued, *sending),
                    timestamp_ms: oracle.run.timestamp_ms(*number),
                }
            };
            let records: Vec<Record> = handed_out.iter().map(record).collect();
            let sent = writer.write(self.topic, &records, stop)?;
            for (number, sending) in handed_out {
                oracle.note(number, sending, sent);
                if sent == Sent::Acknowledged && sending == Sending::First {
                    issuer.acknowledged(number, &oracle.payments[number]);
                }
            }
            if sent == Sent::Unknown {
                std::thread::sleep(REOPEN_WAIT);
            }
            tick(oracle)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::oracle::Run;
    use super::*;

    fn issued(seed: u64) -> Vec<(usize, Sending)> {
        let run = Run { name: "verify-1".to_owned(), first_created_ms: 0, step_ms: 1 };
        let mut oracle = Oracle { run, payments: Vec::new() };
        let mut issuer = Issuer::new(seed, 100);
        let next = |_| {
            let (number, sending) = issuer.next(&mut oracle, 0);
            issuer.acknowledged(number, &oracle.payments[number]);
            (number, sending)
        };
        (0..5_000).map(next).collect()
    }

    #[test]
    fn the_same_seed_hands_out_the_same_and_every_kind_occurs() {
        assert_eq!(issued(1), issued(1));
        assert_ne!(issued(1), issued(2));
        for sending in [Sending::First, Sending::Resend, Sending::Conflict] {
            assert!(issued(1).iter().filter(|(_, found)| *found == sending).count() > 10, "{sending:?}");
        }
    }
}
