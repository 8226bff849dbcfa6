//! From the creation of a payment to its credit entry in the hands of a `read_committed` reader.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tidemill_runtime::broker::{Isolation, ProducerOptions, RecordBatch, TopicPartition};
use tidemill_runtime::kafka::KafkaBroker;

use crate::chain::load::send;
use crate::chain::payments::Payments;
use crate::chain::topics::Place;
use crate::failure::{During, Result};

const BATCH_RECORDS_MAX: usize = 10_000;
const POLL_WAIT: Duration = Duration::from_millis(5);
const FIRST_ENTRY_DEADLINE: Duration = Duration::from_secs(60);
const FLUSH_DEADLINE: Duration = Duration::from_secs(30);
const CREDIT: &[u8] = b"\"kind\":\"credit\"";
/// Where the id begins in an entry.
const ID_START: usize = "{\"payment\":\"".len();

#[derive(Clone, Copy, Debug)]
pub(super) struct Latency {
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) p999_ms: f64,
    pub(super) entries: usize,
}

/// Sends payments at a steady rate, twice as long as it measures.
pub(super) fn measure(place: &Place, rate: u32, seconds: u64, accounts: u64) -> Result<Latency> {
    let stop = AtomicBool::new(false);
    let latencies = std::thread::scope(|scope| {
        let sending = scope.spawn(|| pay(place, rate, accounts, &stop));
        let latencies = read(place, Duration::from_secs(seconds));
        stop.store(true, Ordering::Relaxed);
        sending.join().unwrap_or_else(|_| Err("the sender panicked".into()))?;
        latencies
    })?;
    Latency::of(latencies)
}

impl Latency {
    fn of(mut latencies_ms: Vec<f64>) -> Result<Self> {
        latencies_ms.sort_by(f64::total_cmp);
        let entries = latencies_ms.len();
        let at =
            |share: f64| latencies_ms.get(((entries as f64 * share) as usize).min(entries.saturating_sub(1))).copied();
        let found = at(0.5).zip(at(0.99)).zip(at(0.999));
        let ((p50_ms, p99_ms), p999_ms) = found.ok_or("no credit entry was read")?;
        Ok(Self { p50_ms, p99_ms, p999_ms, entries })
    }
}

fn pay(place: &Place, rate: u32, accounts: u64, stop: &AtomicBool) -> Result<()> {
    // A payment must not wait for others to be sent with it.
    let properties = BTreeMap::from([("linger.ms".to_owned(), "0".to_owned())]);
    let broker = KafkaBroker::connect(&place.bootstrap, &properties).during("open a client")?;
    let mut producer = tidemill_runtime::broker::Broker::producer(broker.as_ref(), &ProducerOptions::Idempotent)
        .during("open a producer")?;
    let mut payments = Payments::new(accounts);
    let interval = Duration::from_secs(1) / rate.max(1);
    let started_at = Instant::now();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let due_at = started_at + interval * number;
        let now = Instant::now();
        if due_at > now {
            std::thread::sleep(due_at - now);
        }
        let record = payments.next_valid(unix_ms() as i64);
        send(producer.as_mut(), &place.input, &record)?;
    }
    producer.flush(FLUSH_DEADLINE).during("write the payments")
}

/// Latencies of all credit entries that are read in this time, which begins when as much has passed since the first one.
fn read(place: &Place, measured: Duration) -> Result<Vec<f64>> {
    let broker = place.broker()?;
    let mut reader = broker.reader(Isolation::ReadCommitted).during("open a reader")?;
    let topic: Arc<str> = place.entries().into();
    for partition in 0..place.input.partitions {
        reader.assign(&TopicPartition::new(Arc::clone(&topic), partition), 0).during("read the entries")?;
    }
    let mut latencies_ms = Vec::new();
    let mut batch = RecordBatch::default();
    let opened_at = Instant::now();
    let mut first_at: Option<Instant> = None;
    loop {
        reader.poll(&mut batch, BATCH_RECORDS_MAX, POLL_WAIT).during("read the entries")?;
        let now_ms = unix_ms();
        let since_first = first_at.map_or(Duration::ZERO, |at| at.elapsed());
        if since_first > measured * 2 {
            return Ok(latencies_ms);
        }
        if first_at.is_none() && opened_at.elapsed() > FIRST_ENTRY_DEADLINE {
            return Err("the engine wrote nothing within a minute".into());
        }
        for index in 0..batch.len() {
            let value = batch.view(index, &[]).value.unwrap_or_default();
            let Some(created_ms) = created_ms(value) else { continue };
            first_at.get_or_insert_with(Instant::now);
            if since_first > measured {
                latencies_ms.push(now_ms - created_ms);
            }
        }
    }
}

/// A UUIDv7 begins with when it was made, and the payment was made then.
fn created_ms(entry: &[u8]) -> Option<f64> {
    entry.windows(CREDIT.len()).any(|window| window == CREDIT).then_some(())?;
    let digits: Vec<u8> = entry.get(ID_START..ID_START + 13)?.iter().copied().filter(|byte| *byte != b'-').collect();
    let millis = u64::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?;
    Some(millis as f64)
}

fn unix_ms() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64() * 1_000.0
}
