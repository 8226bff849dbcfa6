//! `tidemill produce`: records from JSON lines or CSV into a topic.
//!
//! Where senders decide the form of a value, a line is the value. Everywhere else the topology says which kind of event
//! lies in the topic, and a line becomes one, in the registered schema.

mod lines;
mod typed;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidemill_core::partition;
use tidemill_runtime::broker::{Broker, BrokerError, BrokerErrorKind, Outgoing, Producer, ProducerOptions};

use crate::args::{Global, ProduceArgs};
use crate::exit::{Exit, Failure};
use crate::output::{self, Progress};
use crate::session::{Access, Session};
use crate::stop::Stop;

use lines::{LineError, Unusable, lines};
use typed::Typed;

const FLUSH_DEADLINE: Duration = Duration::from_secs(60);
const FLUSH_RECORDS: u64 = 20_000;

pub(super) fn run(global: &Global, args: &ProduceArgs) -> Result<Exit, Failure> {
    let session = Session::open(global, Access::Write)?;
    if matches!(session.topology.broker, tidemill_topology::plan::Broker::Embedded { .. }) {
        session.provision()?;
    }
    let mut target = Target::open(&session.broker, &args.topic)?;
    let mut typed = typed(&session, args)?;
    let stop = Stop::on_signals()?;
    let mut progress = Progress::new("produced", args.total.or(args.limit).unwrap_or(0));
    let started_at = Instant::now();
    let mut seen = HashSet::new();
    let (mut done, mut skipped) = (0_u64, 0_u64);
    for (number, line) in (1_u64..).zip(lines(args)?) {
        if stop.is_set() || args.limit.is_some_and(|limit| done >= limit) {
            break;
        }
        let line = line.and_then(|line| match &mut typed {
            None => Ok(line),
            Some(typed) => typed.encode(&line).map_err(LineError::Unusable),
        });
        let line = match line {
            Ok(line) => line,
            Err(LineError::Unusable(Unusable { code, field, message })) => {
                skipped += 1;
                tracing::warn!(line = number, code, field, error = message, "line skipped");
                continue;
            }
            Err(LineError::Unreadable(message)) => {
                target.flush()?;
                let message = format!("the input cannot be read after line {}: {message}", number - 1);
                return Err(
                    Failure::new(Exit::Partial, message).hint(format!("{done} records were written before it."))
                );
            }
        };
        if args.distinct && !line.key.as_ref().is_some_and(|key| seen.insert(key.clone())) {
            continue;
        }
        let now_ms = session.clock.unix_ms();
        let timestamp_ms = line.timestamp_ms.unwrap_or(now_ms);
        let value = Some(line.value.as_slice()).filter(|_| !args.tombstone);
        match target.send(line.key.as_deref(), value, timestamp_ms) {
            Err(error) if error.kind == BrokerErrorKind::RecordRefused => {
                skipped += 1;
                tracing::warn!(line = number, %error, "line skipped");
                continue;
            }
            sent => sent?,
        }
        done += 1;
        if done.is_multiple_of(FLUSH_RECORDS) {
            target.flush()?;
        }
        if let Some(rate) = args.rate {
            pace(started_at, done, rate);
        }
        progress.set(done);
    }
    target.flush()?;
    progress.finish();
    report(global, args, [done, skipped], started_at.elapsed())?;
    Ok(match (stop.is_set(), skipped) {
        (true, _) => Exit::Interrupted,
        (false, 0) => Exit::Ok,
        (false, _) => Exit::Partial,
    })
}

/// How lines become events, unless the senders decide their form.
fn typed(session: &Session, args: &ProduceArgs) -> Result<Option<Typed>, Failure> {
    let typed = if args.raw { None } else { Typed::of(session, &args.topic)? };
    if args.tombstone && typed.is_none() {
        let message = format!("{} is no topic of events, so a line does not say which key to take back", args.topic);
        return Err(Failure::new(Exit::Usage, message));
    }
    Ok(typed)
}

fn report(global: &Global, args: &ProduceArgs, [done, skipped]: [u64; 2], took: Duration) -> Result<(), Failure> {
    let seconds = took.as_secs_f64();
    let result = serde_json::json!({"event": "result", "topic": args.topic, "records": done, "skipped": skipped, "seconds": (seconds * 1000.0).round() / 1000.0});
    if global.json {
        return output::json(&result);
    }
    eprintln!("{} records to {} in {seconds:.1} s, {skipped} lines skipped", output::count(done), args.topic);
    Ok(())
}

/// A topic to write to, with keys in the partitions where Kafka's own producers put them.
pub(super) struct Target {
    producer: Box<dyn Producer>,
    topic: String,
    partitions: u32,
    without_key: u32,
}

impl Target {
    pub(super) fn open(broker: &Arc<dyn Broker>, topic: &str) -> Result<Self, Failure> {
        let topics = broker.topics()?;
        let info = topics.iter().find(|info| info.name == topic).ok_or_else(|| {
            let failure = Failure::new(Exit::Findings, format!("there is no topic {topic} on {}", broker.describe()));
            match tidemill_core::diagnostic::nearest(topic, topics.iter().map(|info| info.name.as_str())) {
                Some(near) => failure.hint(format!("Did you mean {near}?")),
                None => failure.hint("Create the topology's topics with `tidemill apply`."),
            }
        })?;
        let producer = broker.producer(&ProducerOptions::Idempotent)?;
        Ok(Self { producer, topic: topic.to_owned(), partitions: info.partitions, without_key: 0 })
    }

    /// Without a value, a tombstone.
    pub(super) fn send(
        &mut self,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        timestamp_ms: i64,
    ) -> Result<(), BrokerError> {
        let partition = match key {
            Some(key) => partition::partition_of(key, self.partitions),
            None => {
                self.without_key = (self.without_key + 1) % self.partitions;
                self.without_key
            }
        };
        self.producer.send(&Outgoing { topic: &self.topic, partition, timestamp_ms, key, value, headers: &[] })
    }

    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        Ok(self.producer.flush(FLUSH_DEADLINE)?)
    }
}

fn pace(started_at: Instant, done: u64, rate: u64) {
    let due = Duration::from_micros(done.saturating_mul(1_000_000) / rate.max(1));
    std::thread::sleep(due.saturating_sub(started_at.elapsed()));
}
