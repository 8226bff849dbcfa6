//! The reader of results, the same for every engine: `read_committed`, on a thread of its own.
//!
//! It notes when each partition gives output again, and checks on the way that nothing is lost, doubled, out of order or
//! computed from a state that is too old.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tidemill_runtime::broker::{Broker, Isolation, RecordBatch, TopicPartition};

use crate::failure::{During, Result};
use crate::restart::job::BalanceChanged;

const BATCH_RECORDS_MAX: usize = 10_000;
const POLL_WAIT: Duration = Duration::from_millis(20);

/// What was read of one engine's results so far.
#[derive(Debug)]
pub(crate) struct Audit {
    topic: String,
    /// Deposits with lower numbers opened the accounts.
    accounts: i64,
    pub(crate) opened: u64,
    partitions: Vec<Partition>,
    sequences: HashMap<String, i64>,
    fault: Option<String>,
}

#[derive(Clone, Debug, Default)]
struct Partition {
    next_offset: u64,
    last_opened: Option<i64>,
    last_live: Option<i64>,
    /// Where what an engine wrote before it was killed ends.
    end: u64,
    resumed_at: Option<Instant>,
}

impl Audit {
    pub(crate) fn new(topic: String, accounts: u64, next_offsets: Vec<u64>) -> Self {
        let partition = |next_offset| Partition { next_offset, ..Partition::default() };
        Self {
            topic,
            accounts: i64::try_from(accounts).unwrap_or(i64::MAX),
            opened: 0,
            partitions: next_offsets.into_iter().map(partition).collect(),
            sequences: HashMap::new(),
            fault: None,
        }
    }

    fn add(&mut self, number: usize, offset: u64, value: &[u8], now: Instant) -> Result<()> {
        let result = BalanceChanged::of_value(value)?;
        let partition = &mut self.partitions[number];
        partition.next_offset = offset + 1;
        if offset >= partition.end {
            partition.resumed_at.get_or_insert(now);
        }
        let wrong = |what: &str| Err(format!("{}-{number}@{offset}: {what}: {result:?}", self.topic).into());
        if result.deposit < self.accounts {
            if partition.last_opened.is_some_and(|last| result.deposit <= last) || result.seq != 1 {
                return wrong("an account is opened twice, or out of order");
            }
            partition.last_opened = Some(result.deposit);
            self.opened += 1;
            return Ok(());
        }
        if partition.last_live.is_some_and(|last| result.deposit != last + 1) {
            return wrong("a live deposit is lost, doubled or out of order");
        }
        partition.last_live = Some(result.deposit);
        let before = self.sequences.insert(result.account.clone(), result.seq);
        if before.map_or(result.seq < 2, |before| result.seq != before + 1) {
            return wrong("the state behind this result is not that of the deposit before");
        }
        Ok(())
    }
}

/// A reader at work.
pub(crate) struct Observer {
    audit: Arc<Mutex<Audit>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Observer {
    /// Goes on where the audit stands.
    pub(crate) fn start(broker: Arc<dyn Broker>, audit: Audit) -> Self {
        let audit = Arc::new(Mutex::new(audit));
        let stop = Arc::new(AtomicBool::new(false));
        let (shared, stopped) = (Arc::clone(&audit), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            if let Err(error) = read(broker.as_ref(), &shared, &stopped) {
                lock(&shared).fault = Some(error.to_string());
            }
        });
        Self { audit, stop, thread: Some(thread) }
    }

    /// Hands the audit over for the next time.
    pub(crate) fn stop(mut self) -> Result<Audit> {
        self.join();
        let empty = Audit::new(String::new(), 0, Vec::new());
        let audit = std::mem::replace(&mut *lock(&self.audit), empty);
        match &audit.fault {
            Some(fault) => Err(fault.clone().into()),
            None => Ok(audit),
        }
    }

    pub(crate) fn opened(&self) -> Result<u64> {
        Ok(self.checked()?.opened)
    }

    /// Whether the results of these live deposits, one of each partition, have been read.
    pub(crate) fn has_reached(&self, numbers: &[i64]) -> Result<bool> {
        let audit = self.checked()?;
        let reached = |(partition, number): (&Partition, &i64)| {
            // A partition to which nothing has been sent yet is where it should be.
            *number < audit.accounts || partition.last_live.is_some_and(|last| last >= *number)
        };
        Ok(audit.partitions.iter().zip(numbers).all(reached))
    }

    /// From now on only records at or behind these offsets count as output of the restarted engine.
    pub(crate) fn await_output(&self, ends: &[u64]) -> Result<()> {
        let mut audit = self.checked()?;
        for (partition, end) in audit.partitions.iter_mut().zip(ends) {
            partition.end = *end;
            partition.resumed_at = None;
        }
        Ok(())
    }

    /// When each partition gave output again; `None` as long as one of them has not.
    pub(crate) fn resumed_at(&self) -> Result<Option<Vec<Instant>>> {
        Ok(self.checked()?.partitions.iter().map(|partition| partition.resumed_at).collect())
    }

    fn checked(&self) -> Result<MutexGuard<'_, Audit>> {
        let audit = lock(&self.audit);
        match &audit.fault {
            Some(fault) => Err(fault.clone().into()),
            None => Ok(audit),
        }
    }

    fn join(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            lock(&self.audit).fault = Some("the reader panicked".to_owned());
        }
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.join();
    }
}

fn read(broker: &dyn Broker, audit: &Mutex<Audit>, stop: &AtomicBool) -> Result<()> {
    let mut reader = broker.reader(Isolation::ReadCommitted).during("open a reader")?;
    let starts: Vec<u64> = lock(audit).partitions.iter().map(|partition| partition.next_offset).collect();
    let topic: Arc<str> = Arc::from(lock(audit).topic.as_str());
    for (number, start) in (0..).zip(starts) {
        reader.assign(&TopicPartition::new(Arc::clone(&topic), number), start).during("read the results")?;
    }
    let mut batch = RecordBatch::default();
    while !stop.load(Ordering::Relaxed) {
        reader.poll(&mut batch, BATCH_RECORDS_MAX, POLL_WAIT).during("read the results")?;
        let now = Instant::now();
        let mut audit = lock(audit);
        for index in 0..batch.len() {
            let view = batch.view(index, &[]);
            audit.add(view.origin.partition as usize, view.origin.offset, view.value.unwrap_or_default(), now)?;
        }
    }
    Ok(())
}

fn lock(audit: &Mutex<Audit>) -> MutexGuard<'_, Audit> {
    audit.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tidemill_core::Event;

    use super::*;

    /// Deposits `number/seq` of one account, three accounts in all; the last column is what is wrong with the last.
    #[test]
    fn faults_of_an_engine_are_seen() {
        let cases = [
            ("0/1 1/1 3/2 4/3", ""),
            ("0/1 0/1", "opened twice"),
            ("1/1 0/1", "opened twice"),
            ("0/2", "opened twice"),
            ("3/2 3/3", "lost, doubled"),
            ("3/2 5/3", "lost, doubled"),
            ("4/2 3/3", "lost, doubled"),
            ("3/1", "the state behind"),
            ("3/2 4/2", "the state behind"),
            ("3/2 4/4", "the state behind"),
        ];
        for (results, expected) in cases {
            let mut audit = Audit::new("balances".to_owned(), 3, vec![0]);
            let mut last = Ok(());
            for (offset, result) in (0..).zip(results.split(' ')) {
                assert!(last.is_ok(), "{results}: only the last is wrong");
                let (number, seq) = result.split_once('/').expect("number/seq");
                let (number, seq) = (number.parse().expect("a number"), seq.parse().expect("a number"));
                let changed = BalanceChanged::sample("a-0", number, seq);
                let mut value = vec![0; 5];
                changed.encode(&mut value).expect("it can be encoded");
                last = audit.add(0, offset, &value, Instant::now());
            }
            let message = last.err().map(|error| error.to_string()).unwrap_or_default();
            assert!(message.contains(expected) && message.is_empty() == expected.is_empty(), "{results}: {message}");
        }
    }

    #[test]
    fn only_what_was_written_after_the_kill_counts_as_output() {
        let mut audit = Audit::new("balances".to_owned(), 1, vec![0]);
        audit.partitions[0].end = 1;
        for (offset, is_output) in [(0, false), (1, true)] {
            let mut value = vec![0; 5];
            let number = i64::try_from(offset).expect("small") + 1;
            BalanceChanged::sample("a-0", number, number + 1).encode(&mut value).expect("it can be encoded");
            audit.add(0, offset, &value, Instant::now()).expect("nothing is wrong");
            assert_eq!(audit.partitions[0].resumed_at.is_some(), is_output);
        }
    }
}
