//! How far read models are behind, while payments come in.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::Deserialize;
use tidemill_runtime::broker::{Broker, Isolation, TopicPartition};

use crate::failure::{During, Result};
use crate::pipeline::tidemill::Tidemill;

const INTERVAL: Duration = Duration::from_secs(1);

pub(super) struct Sink {
    pub(super) name: &'static str,
    /// As in `topology.toml`; the dead letters beside them are left out.
    topics: &'static [&'static str],
}

pub(super) const SINKS: [Sink; 2] = [
    Sink {
        name: "postgres",
        topics: &[
            "payments.status.v1",
            "payments.decisions.v1",
            "ledger.entries.v1",
            "ledger.balances.v1",
            "accounts.status.v1",
            "alerts.triggered.v1",
            "notifications.requested.v1",
        ],
    },
    Sink { name: "redis", topics: &["ledger.balances.v1"] },
];

/// How far one sink was behind.
#[derive(Clone, Debug)]
pub(super) struct Behind {
    pub(super) sink: &'static str,
    pub(super) offsets_median: u64,
    pub(super) offsets_max: u64,
    /// The offsets it was behind at most, at the rate at which its topics grew.
    pub(super) seconds_max: f64,
}

/// One look: offsets that each sink is behind, and the sum of the ends of its topics.
struct Look {
    at: Instant,
    behind: Vec<u64>,
    ends: Vec<u64>,
}

#[derive(Deserialize)]
struct Status {
    sinks: Vec<SinkStatus>,
}

#[derive(Deserialize)]
struct SinkStatus {
    sink: String,
    /// Absent when the database does not answer.
    lag_offsets: Option<u64>,
}

/// Looks once a second until it is over.
pub(super) fn watch(tidemill: &Tidemill, broker: &dyn Broker, is_over: &AtomicBool) -> Result<Vec<Behind>> {
    let mut looks = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        std::thread::sleep(INTERVAL);
        looks.push(look(tidemill, broker)?);
    }
    // Payments have stopped some time before it is over: what grew is what counts.
    looks.dedup_by(|later, earlier| later.ends == earlier.ends);
    let (Some(first), Some(last)) = (looks.first(), looks.last()) else { return Ok(Vec::new()) };
    let seconds = (last.at - first.at).as_secs_f64();
    let behind = SINKS.iter().enumerate().map(|(number, sink)| {
        let mut offsets: Vec<u64> = looks.iter().map(|look| look.behind[number]).collect();
        offsets.sort_unstable();
        let offsets_max = offsets.last().copied().unwrap_or(0);
        let per_s = (last.ends[number] - first.ends[number]) as f64 / seconds.max(1.0);
        Behind {
            sink: sink.name,
            offsets_median: offsets[offsets.len() / 2],
            offsets_max,
            seconds_max: offsets_max as f64 / per_s.max(1.0),
        }
    });
    Ok(behind.collect())
}

fn look(tidemill: &Tidemill, broker: &dyn Broker) -> Result<Look> {
    let at = Instant::now();
    let ends = SINKS.iter().map(|sink| end(broker, sink.topics)).collect::<Result<_>>()?;
    let said = tidemill.run(&["status", "--json"])?;
    let status: Status = serde_json::from_str(&said).during("read what `tidemill status` says")?;
    let behind = SINKS.iter().map(|sink| {
        let found = status.sinks.iter().find(|status| status.sink == sink.name);
        found.and_then(|status| status.lag_offsets).ok_or_else(|| format!("sink {} says nothing", sink.name))
    });
    Ok(Look { at, behind: behind.collect::<std::result::Result<_, _>>()?, ends })
}

fn end(broker: &dyn Broker, topics: &[&str]) -> Result<u64> {
    let partitions = broker.topics().during("list the topics")?;
    let mut sum = 0;
    for topic in partitions.iter().filter(|topic| topics.contains(&topic.name.as_str())) {
        for partition in 0..topic.partitions {
            let partition = TopicPartition::new(topic.name.as_str(), partition);
            sum += broker.watermarks(&partition, Isolation::ReadCommitted).during("ask for the end of a topic")?.high;
        }
    }
    Ok(sum)
}
