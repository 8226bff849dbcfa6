//! Samples how far behind everything is, for the metrics. Runs apart from the workers and disturbs none of them.

use std::sync::Arc;

use tidemill_core::Sink;
use tidemill_core::sink::SinkPosition;
use tidemill_topology::plan::SinkPlan;

use crate::broker::TopicPartition;
use crate::provision::open_sink;
use crate::status::{sink_lag, unit_status};
use crate::worker::Shared;

/// Keeps the connections that it asks through.
pub struct LagSampler {
    shared: Arc<Shared>,
    sinks: Vec<(SinkPlan, Box<dyn Sink>)>,
}

impl LagSampler {
    /// A sink whose settings are refused is left out: its own worker reports that.
    pub fn new(shared: Arc<Shared>) -> Self {
        let sinks = shared.topology.sinks.iter().filter_map(|plan| Some((plan.clone(), open_sink(plan).ok()?)));
        Self { sinks: sinks.collect(), shared }
    }

    /// Brings the gauges up to date. What does not answer keeps its last value.
    pub fn sample(&mut self) {
        let Shared { topology, broker, clock, telemetry, .. } = self.shared.as_ref();
        for unit in &topology.units {
            let Ok(rows) = unit_status(broker.as_ref(), topology, unit, clock.unix_ms()) else { continue };
            for row in rows {
                let labels = [row.topic.as_str(), &row.partition.to_string()];
                let lag = i64::try_from(row.lag_records).unwrap_or(i64::MAX);
                telemetry.consumer_lag_records.with_label_values(&labels).set(lag);
                let unstable = i64::try_from(row.unstable_offsets).unwrap_or(i64::MAX);
                telemetry.standstill.unstable_offsets.with_label_values(&labels).set(unstable);
            }
        }
        for (plan, sink) in &mut self.sinks {
            let Ok(positions) = sink.positions() else { continue };
            let next_offset = |partition: &TopicPartition| next_offset(&positions, partition);
            if let Ok(lag) = sink_lag(broker.as_ref(), topology, plan, next_offset) {
                let lag = i64::try_from(lag).unwrap_or(i64::MAX);
                telemetry.sink_lag_offsets.with_label_values(&[&plan.name]).set(lag);
            }
        }
    }
}

/// Where a sink stands in a partition; 0 where it never was.
pub fn next_offset(positions: &[SinkPosition], partition: &TopicPartition) -> u64 {
    positions
        .iter()
        .find(|position| position.topic == partition.topic && position.partition == partition.partition)
        .map_or(0, |position| position.next_offset)
}
