//! Payments that wait, and an engine that is started on them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidemill_runtime::broker::{Broker, Isolation, Reader, RecordBatch, TopicPartition};
use tidemill_schemas::{PaymentStatus, StatusPhase};

use crate::failure::{During, Result};
use crate::machine;
use crate::pipeline::PipelineOptions;
use crate::pipeline::tidemill::Tidemill;

const STATUSES: &str = "payments.status.v1";
const BATCH_RECORDS_MAX: usize = 10_000;
const POLL_WAIT: Duration = Duration::from_millis(20);
/// An engine that starts takes no longer, and one that works is never silent for so long.
const SILENCE_MAX: Duration = Duration::from_secs(15);
const SETTLE: &str = "2";
/// Of the wire format: a zero byte and the id of the schema.
const HEADER_BYTES: usize = 5;

/// From the first outcome that could be read to the last.
#[derive(Clone, Debug)]
pub(super) struct Throughput {
    pub(super) payments: u64,
    pub(super) seconds: f64,
    pub(super) engine_us: f64,
    pub(super) broker_us: f64,
    pub(super) rss_mib: u64,
    pub(super) load_average: String,
}

/// Outcomes that have been read, and what had been spent by then.
#[derive(Clone, Copy)]
struct Mark {
    at: Instant,
    outcomes: u64,
    engine_s: f64,
    broker_s: f64,
}

impl Throughput {
    pub(super) fn measure(tidemill: &Tidemill, options: &PipelineOptions, broker: &dyn Broker) -> Result<Self> {
        let accounts = options.accounts.to_string();
        tidemill.produce(&["generate", "accounts", "--accounts", &accounts], "accounts.requested.v1", "account")?;
        tidemill.run(&["run", "--until-idle", "--workers", SETTLE])?;
        let mut reader = open(broker)?;
        queue(tidemill, options)?;
        let load_average = machine::load_average();
        let engine = tidemill.start(options.workers)?;
        let marks = follow(reader.as_mut(), || {
            (machine::cpu_seconds(engine.pid()), options.broker_pid.map_or(0.0, machine::cpu_seconds))
        })?;
        let rss_mib = machine::peak_rss_mib(engine.pid());
        engine.stop()?;
        tidemill.run(&["reconcile"])?;
        let [first, last] = marks;
        let payments = last.outcomes - first.outcomes;
        let us = |seconds: f64| seconds * 1e6 / payments.max(1) as f64;
        Ok(Self {
            payments,
            seconds: (last.at - first.at).as_secs_f64(),
            engine_us: us(last.engine_s - first.engine_s),
            broker_us: us(last.broker_s - first.broker_s),
            rss_mib,
            load_average,
        })
    }
}

/// Payments that nobody works on yet.
pub(super) fn queue(tidemill: &Tidemill, options: &PipelineOptions) -> Result<()> {
    let (payments, accounts) = (options.payments.to_string(), options.accounts.to_string());
    let generate = ["generate", "payments", "--payments", &payments, "--accounts", &accounts];
    tidemill.produce(&generate, "payments.requested.v1", "debit_account")
}

/// Reads what comes after everything that is there.
fn open(broker: &dyn Broker) -> Result<Box<dyn Reader>> {
    let mut reader = broker.reader(Isolation::ReadCommitted).during("open a reader")?;
    let topic: Arc<str> = STATUSES.into();
    let topics = broker.topics().during("list the topics")?;
    let partitions = topics.iter().find(|info| info.name == STATUSES).map_or(0, |info| info.partitions);
    for partition in (0..partitions).map(|number| TopicPartition::new(Arc::clone(&topic), number)) {
        let end =
            broker.watermarks(&partition, Isolation::ReadUncommitted).during("ask for the end of the statuses")?;
        reader.assign(&partition, end.high).during("read the statuses")?;
    }
    Ok(reader)
}

/// The marks at the first outcomes and at the last, which is known by the silence after it.
fn follow(reader: &mut dyn Reader, cpu_s: impl Fn() -> (f64, f64)) -> Result<[Mark; 2]> {
    let decoder = (PaymentStatus::CODEC.decoder)(PaymentStatus::CODEC.schema).during("read the schema")?;
    let mut batch = RecordBatch::default();
    let (mut outcomes, mut heard_at) = (0, Instant::now());
    let mut marks: Option<[Mark; 2]> = None;
    while heard_at.elapsed() < SILENCE_MAX {
        reader.poll(&mut batch, BATCH_RECORDS_MAX, POLL_WAIT).during("read the statuses")?;
        let before = outcomes;
        for index in 0..batch.len() {
            let value = batch.view(index, &[]).value.unwrap_or_default();
            let event = decoder.decode(value.get(HEADER_BYTES..).unwrap_or_default()).during("decode a status")?;
            let status = event.downcast_ref::<PaymentStatus>().ok_or("not a status")?;
            outcomes += u64::from(status.phase != StatusPhase::Update);
        }
        if outcomes > before {
            heard_at = Instant::now();
            let (engine_s, broker_s) = cpu_s();
            let mark = Mark { at: heard_at, outcomes, engine_s, broker_s };
            marks = Some([marks.map_or(mark, |[first, _]| first), mark]);
        }
    }
    marks.ok_or_else(|| "the engine gave no outcome".into())
}
