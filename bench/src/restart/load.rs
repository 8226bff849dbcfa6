//! The input: one deposit for every account, then a trickle of live deposits.
//!
//! Live deposits of a partition are numbered without gaps from the number of accounts on, so that whoever reads the
//! results can tell a lost one and a doubled one.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tidemill_core::partition::partition_of;
use tidemill_runtime::broker::{Broker, Outgoing, Producer, ProducerOptions};

use crate::failure::{During, Result};
use crate::restart::job::{account_name, deposit};
use crate::restart::setup::Setup;

const FLUSH_DEADLINE: Duration = Duration::from_secs(300);
/// Half of the live deposits go to this many accounts, so that their sequences grow and show a state that is too old.
const BUSY_ACCOUNTS: u64 = 1_000;
const SEED: u64 = 20_260_105;
/// 2026-01-05T08:00:00Z.
const SENT_AT_MS: i64 = 1_767_600_000_000;
const AMOUNT_MINOR: i64 = 1_00;

/// Writes one deposit for each of `accounts` accounts.
pub(crate) fn open_accounts(setup: &Setup, broker: &dyn Broker, accounts: u64) -> Result<()> {
    let mut producer = broker.producer(&ProducerOptions::Idempotent).during("open a producer")?;
    let topic = setup.input();
    for number in 0..accounts {
        send(producer.as_mut(), &topic, setup.tasks, number, number)?;
    }
    producer.flush(FLUSH_DEADLINE).during("write the deposits")
}

/// How many of the first `accounts` accounts lie in each partition.
pub(crate) fn accounts_by_partition(partitions: u32, accounts: u64) -> Vec<u64> {
    let mut counts = vec![0; partitions as usize];
    for number in 0..accounts {
        counts[partition_of(account_name(number).as_bytes(), partitions) as usize] += 1;
    }
    counts
}

/// Live deposits at a steady rate, on a thread of its own, until it is dropped.
pub(crate) struct Trickle {
    stop: Arc<AtomicBool>,
    /// The last number that was sent to each partition.
    last: Arc<Vec<AtomicI64>>,
    failure: mpsc::Receiver<String>,
    thread: Option<JoinHandle<()>>,
}

struct Source {
    setup: Setup,
    producer: Box<dyn Producer>,
    random: ChaCha8Rng,
    accounts: u64,
    last: Arc<Vec<AtomicI64>>,
}

impl Trickle {
    /// `next` is the number of the first deposit of each partition.
    pub(crate) fn start(setup: &Setup, accounts: u64, next: &[i64], records_per_s: u32) -> Result<Self> {
        let producer = setup.broker()?.producer(&ProducerOptions::Idempotent).during("open a producer")?;
        let last: Arc<Vec<AtomicI64>> = Arc::new(next.iter().map(|next| AtomicI64::new(next - 1)).collect());
        let stop = Arc::new(AtomicBool::new(false));
        let random = ChaCha8Rng::seed_from_u64(SEED);
        let mut source = Source { setup: setup.clone(), producer, random, accounts, last: Arc::clone(&last) };
        let (report, failure) = mpsc::channel();
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            if let Err(error) = source.run(&stopped, records_per_s) {
                // Nobody listens once the run is over.
                let _unheard = report.send(error.to_string());
            }
        });
        Ok(Self { stop, last, failure, thread: Some(thread) })
    }

    /// What an engine that has caught up has given the result of; an error if the trickle has dried up.
    pub(crate) fn last(&self) -> Result<Vec<i64>> {
        if let Ok(failure) = self.failure.try_recv() {
            return Err(format!("the live load ended: {failure}").into());
        }
        Ok(self.last.iter().map(|last| last.load(Ordering::Acquire)).collect())
    }
}

impl Drop for Trickle {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Its failure, if it had one, has been reported.
            let _ended = thread.join();
        }
    }
}

impl Source {
    fn run(&mut self, stop: &AtomicBool, records_per_s: u32) -> Result<()> {
        let topic = self.setup.input();
        let started_at = Instant::now();
        let interval = Duration::from_secs(1) / records_per_s.max(1);
        for sent in 0_u32.. {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let partition = sent % self.setup.tasks;
            let account = self.draw(partition);
            let last = &self.last[partition as usize];
            let number = last.load(Ordering::Acquire) + 1;
            send(self.producer.as_mut(), &topic, self.setup.tasks, account, number as u64)?;
            last.store(number, Ordering::Release);
            let due_at = started_at + interval * (sent + 1);
            std::thread::sleep(due_at.saturating_duration_since(Instant::now()));
        }
        self.producer.flush(FLUSH_DEADLINE).during("write the live deposits")
    }

    /// An account whose key falls in the partition.
    fn draw(&mut self, partition: u32) -> u64 {
        loop {
            let among = if self.random.random() { BUSY_ACCOUNTS.min(self.accounts) } else { self.accounts };
            let account = self.random.random_range(0..among);
            if partition_of(account_name(account).as_bytes(), self.setup.tasks) == partition {
                return account;
            }
        }
    }
}

fn send(producer: &mut dyn Producer, topic: &str, partitions: u32, account: u64, number: u64) -> Result<()> {
    let key = account_name(account);
    let record = Outgoing {
        topic,
        partition: partition_of(key.as_bytes(), partitions),
        timestamp_ms: SENT_AT_MS,
        key: Some(key.as_bytes()),
        value: Some(&deposit(number, AMOUNT_MINOR)),
        headers: &[],
    };
    producer.send(&record).during("write a deposit")
}
