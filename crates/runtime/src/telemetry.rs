//! Every metric of the engine, by name and type. Labels are bounded; nothing here holds a key or an account.

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry};
use tidemill_core::StateError;

use crate::reconciliation::{Balance, Look, RECORDS_UNACCOUNTED};
use crate::task::Task;
use crate::worker::program::InputProgram;

/// Upper bounds of the time histograms, in seconds.
const SECONDS: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.25, 2.5, 5.0, 10.0];

/// Metrics of one process.
#[derive(Clone, Debug)]
pub struct Telemetry {
    registry: Registry,
    /// Records read, by stage.
    pub records_in: IntCounterVec,
    /// How they ended, by stage and outcome.
    pub outcomes: IntCounterVec,
    pub dead_letters: IntCounterVec,
    pub txn_commits: IntCounter,
    pub txn_aborts: IntCounter,
    pub txn_fenced: IntCounter,
    pub txn_recycled: IntCounter,
    /// By how they had been decided.
    pub txn_finished: IntCounterVec,
    pub txn_commit_seconds: Histogram,
    pub state_catch_up_seconds: Histogram,
    pub group_offsets_disagree: IntCounter,
    /// 1 while readers of the partition are held back for longer than any transaction may take.
    pub stable_offset_stuck: IntGaugeVec,
    pub tasks_owned: IntGaugeVec,
    /// 1 for the phase that a task is in.
    pub task_phase: IntGaugeVec,
    pub restore_offsets_left: IntGaugeVec,
    /// Changes in state logs that starts had to apply, checkpoints among them: little, where a store or a standby was there.
    pub restored_records: IntCounter,
    pub standby: StandbyTelemetry,
    pub txn_open_age_ms: IntGaugeVec,
    pub stores_rebuilt: IntCounterVec,
    pub consumer_lag_records: IntGaugeVec,
    pub standstill: StandstillTelemetry,
    pub sink_records: IntCounterVec,
    pub sink_retries: IntCounterVec,
    pub sink_lag_offsets: IntGaugeVec,
    pub registry_retries: IntCounter,
    pub parking: ParkingTelemetry,
    pub reconciliation: ReconciliationTelemetry,
}

impl Telemetry {
    /// `produced_by` and `pipeline` label the build.
    pub fn new(pipeline: &str, version: &str, config_hash: &str) -> Result<Self, prometheus::Error> {
        let registry = Registry::new_custom(
            Some("tidemill".to_owned()),
            Some([("pipeline".to_owned(), pipeline.to_owned())].into_iter().collect()),
        )?;
        let make = Maker { registry: &registry };
        let telemetry = Self {
            records_in: make.counters("stage_records_in_total", "Records read by a stage.", &["stage"])?,
            outcomes: make.counters("stage_outcomes_total", "How records ended at a stage.", &["stage", "outcome"])?,
            dead_letters: make.counters("dlq_records_total", "Records written to dead letters.", &["stage", "code"])?,
            txn_commits: make.counter("txn_commits_total", "Transactions committed.")?,
            txn_aborts: make.counter("txn_aborts_total", "Transactions aborted and done again.")?,
            txn_fenced: make.counter("txn_fenced_total", "Times a producer was fenced.")?,
            txn_recycled: make
                .counter("txn_recycled_total", "Times the state log had to be asked what is committed.")?,
            txn_finished: make.counters(
                "txn_finished_total",
                "Ended transactions that were still open on partitions, and were ended there.",
                &["decision"],
            )?,
            txn_commit_seconds: make.seconds("txn_commit_seconds", "Time from flush to commit.")?,
            state_catch_up_seconds: make
                .seconds("state_catch_up_seconds", "Time from assignment to a task's start.")?,
            group_offsets_disagree: make.counter(
                "group_offsets_disagree_total",
                "Times the group's committed offset was not the state log's position.",
            )?,
            stable_offset_stuck: make.gauges(
                "stable_offset_stuck",
                "1 while a transaction that does not end holds the partition's readers back.",
                &["topic", "partition"],
            )?,
            tasks_owned: make.gauges("tasks_owned", "Tasks that run here.", &["slot"])?,
            task_phase: make.gauges(
                "task_phase",
                "What a task does: 1 for the phase that it is in.",
                &["slot", "task", "phase"],
            )?,
            restore_offsets_left: make.gauges(
                "restore_offsets_left",
                "Offsets of the state log that a restore has still to apply.",
                &["slot", "task"],
            )?,
            restored_records: make
                .counter("restored_records_total", "Changes in state logs that starts of tasks had to apply.")?,
            standby: StandbyTelemetry::new(&make)?,
            txn_open_age_ms: make.gauges("txn_open_age_ms", "Age of the open transaction; 0 for none.", &["slot"])?,
            stores_rebuilt: make.counters(
                "stores_rebuilt_total",
                "Local stores that were dropped and rebuilt from the state log.",
                &["cause"],
            )?,
            consumer_lag_records: make.gauges(
                "consumer_lag_records",
                "Records not yet processed.",
                &["topic", "partition"],
            )?,
            standstill: StandstillTelemetry::new(&make)?,
            sink_records: make.counters("sink_records_total", "Records written by a sink.", &["sink"])?,
            sink_retries: make.counters("sink_retries_total", "Batches that a sink had to try again.", &["sink"])?,
            sink_lag_offsets: make.gauges("sink_lag_offsets", "Offsets a sink is behind.", &["sink"])?,
            registry_retries: make.counter("registry_retries_total", "Times the schema registry did not answer.")?,
            parking: ParkingTelemetry::new(&make)?,
            reconciliation: ReconciliationTelemetry::new(&make)?,
            registry: registry.clone(),
        };
        let build = make.gauges("build_info", "What runs here.", &["version", "config_hash"])?;
        build.with_label_values(&[version, config_hash]).set(1);
        Ok(telemetry)
    }

    /// What the slot waited for answers again.
    pub(crate) fn close_circuits(&self, slot: &str, reasons: &[&str]) {
        for reason in reasons {
            self.standstill.circuit_open.with_label_values(&[slot, reason]).set(0);
        }
    }

    /// All metrics in the Prometheus text format.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        prometheus::TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

/// What standbys do, which nobody waits for.
#[derive(Clone, Debug)]
pub struct StandbyTelemetry {
    pub records: IntCounter,
    pub lag_offsets: IntGaugeVec,
}

impl StandbyTelemetry {
    fn new(make: &Maker<'_>) -> Result<Self, prometheus::Error> {
        Ok(Self {
            records: make.counter("standby_records_total", "Changes in state logs that standbys have applied.")?,
            lag_offsets: make.gauges(
                "standby_lag_offsets",
                "Offsets of the state log that a standby has still to apply.",
                &["standby", "task"],
            )?,
        })
    }
}

/// What tells why something stands still.
#[derive(Clone, Debug)]
pub struct StandstillTelemetry {
    /// What is written and cannot be read yet, because a transaction before it is open.
    pub unstable_offsets: IntGaugeVec,
    /// When a worker or sink last failed, in seconds since 1970; 0 if it never has.
    pub last_failure_seconds: IntGaugeVec,
    /// 1 while a worker or sink reads nothing because of what the reason names.
    pub circuit_open: IntGaugeVec,
}

impl StandstillTelemetry {
    fn new(make: &Maker<'_>) -> Result<Self, prometheus::Error> {
        Ok(Self {
            unstable_offsets: make.gauges(
                "unstable_offsets",
                "Offsets behind the first transaction that is still open.",
                &["topic", "partition"],
            )?,
            last_failure_seconds: make.gauges(
                "last_failure_timestamp_seconds",
                "When a worker or sink last failed; 0 for never.",
                &["slot"],
            )?,
            circuit_open: make.gauges(
                "circuit_open",
                "1 while a worker or sink waits for a dependency and reads nothing.",
                &["slot", "reason"],
            )?,
        })
    }
}

/// What waits behind failed records.
#[derive(Clone, Debug)]
pub struct ParkingTelemetry {
    pub keys: IntGaugeVec,
    pub records: IntGaugeVec,
    /// When the first of those was parked that have been without a break, in seconds since 1970; 0 for none.
    pub since_seconds: IntGaugeVec,
}

impl ParkingTelemetry {
    fn new(make: &Maker<'_>) -> Result<Self, prometheus::Error> {
        let labels = &["topic", "partition"];
        Ok(Self {
            keys: make.gauges("parked_keys", "Keys whose records wait behind a failed one.", labels)?,
            records: make.gauges("parked_records", "Records that wait behind a failed one of their key.", labels)?,
            since_seconds: make.gauges(
                "parked_since_timestamp_seconds",
                "Since when keys have been parked without a break; 0 for none.",
                labels,
            )?,
        })
    }

    /// The task is somebody else's to report.
    pub(crate) fn forget(&self, inputs: &[InputProgram], number: u32) {
        let number = number.to_string();
        for input in inputs.iter().filter(|input| input.parking.is_some()) {
            for gauges in [&self.keys, &self.records, &self.since_seconds] {
                // One that was never set is none to take away.
                let _never_set = gauges.remove_label_values(&[input.topic.as_ref(), number.as_str()]);
            }
        }
    }

    /// What the committed state of the task says.
    pub(crate) fn report(&self, inputs: &[InputProgram], task: &mut Task) -> Result<(), StateError> {
        let number = task.number.to_string();
        for input in inputs.iter().filter(|input| input.parking.is_some()) {
            let parked = task.lot(input).input()?;
            let labels = [input.topic.as_ref(), number.as_str()];
            self.keys.with_label_values(&labels).set(gauge(parked.keys));
            self.records.with_label_values(&labels).set(gauge(parked.records));
            let since_ms = if parked.keys > 0 { parked.since_ms } else { 0 };
            self.since_seconds.with_label_values(&labels).set(since_ms / 1_000);
        }
        Ok(())
    }
}

/// Whether what came in is what came out, by input partition.
#[derive(Clone, Debug)]
pub struct ReconciliationTelemetry {
    pub records: IntGaugeVec,
    /// Records that are not accounted for: since the beginning, and by the last look alone.
    pub imbalance: IntGaugeVec,
    /// When it was last found that no more records are missing than before, in seconds since 1970.
    pub balanced_seconds: IntGaugeVec,
}

impl ReconciliationTelemetry {
    fn new(make: &Maker<'_>) -> Result<Self, prometheus::Error> {
        Ok(Self {
            records: make.gauges(
                "reconcile_records",
                "What became of the records of a partition since the pipeline began; `in` is all of them.",
                &["topic", "partition", "outcome"],
            )?,
            imbalance: make.gauges(
                "reconcile_imbalance",
                "Records that are not accounted for: of all (`total`), and since the look before (`last`).",
                &["topic", "partition", "window"],
            )?,
            balanced_seconds: make.gauges(
                "reconcile_balanced_timestamp_seconds",
                "End of the last window in which the partition added up; 0 for none.",
                &["topic", "partition"],
            )?,
        })
    }

    /// Says that a partition does not add up, and how.
    pub(crate) fn alarm(&self, balance: &Balance) {
        let Balance { unit, stage, topic, partition, unaccounted, findings, .. } = balance;
        if findings.is_empty() {
            return;
        }
        let finding = findings.join("; ");
        tracing::error!(code = RECORDS_UNACCOUNTED, unit, stage, topic, partition, unaccounted, "{finding}");
        self.imbalance.with_label_values(&[topic.as_str(), &partition.to_string(), "total"]).set(gauge(*unaccounted));
    }

    /// Takes over what a look has found, given the one before.
    pub fn report(&self, look: &Look, before: Option<&Look>, now_ms: i64) {
        for (index, balance) in look.balances.iter().enumerate() {
            let before = before.and_then(|before| before.balances.get(index));
            let unaccounted_before = before.map_or(0, |before| before.unaccounted);
            if balance.unaccounted != unaccounted_before {
                self.alarm(balance);
            }
            let partition = balance.partition.to_string();
            let labels = [balance.topic.as_str(), partition.as_str()];
            let more = balance.unaccounted.saturating_sub(unaccounted_before);
            for (window, count) in [("total", balance.unaccounted), ("last", more)] {
                self.imbalance.with_label_values(&[labels[0], labels[1], window]).set(gauge(count));
            }
            let balanced = self.balanced_seconds.with_label_values(&labels);
            if more == 0 {
                balanced.set(now_ms / 1_000);
            }
            let outcomes = [
                ("in", Some(balance.taken)),
                ("posted", Some(balance.posted)),
                ("applied", Some(balance.applied)),
                ("passed", Some(balance.passed)),
                ("duplicate", Some(balance.duplicate)),
                ("rejected", Some(balance.rejected)),
                ("discarded", Some(balance.discarded)),
                ("parked", Some(balance.parked)),
                ("dead", Some(balance.dead)),
                ("under_way", balance.under_way),
            ];
            for (outcome, count) in outcomes.into_iter().filter_map(|(outcome, count)| Some((outcome, count?))) {
                self.records.with_label_values(&[labels[0], labels[1], outcome]).set(gauge(count));
            }
        }
    }
}

fn gauge(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

struct Maker<'a> {
    registry: &'a Registry,
}

impl Maker<'_> {
    fn counter(&self, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
        let metric = IntCounter::new(name, help)?;
        self.registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, prometheus::Error> {
        let metric = IntCounterVec::new(Opts::new(name, help), labels)?;
        self.registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, prometheus::Error> {
        let metric = IntGaugeVec::new(Opts::new(name, help), labels)?;
        self.registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn seconds(&self, name: &str, help: &str) -> Result<Histogram, prometheus::Error> {
        let metric = Histogram::with_opts(HistogramOpts::new(name, help).buckets(SECONDS.to_vec()))?;
        self.registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_carry_the_prefix_and_the_pipeline() {
        let telemetry = Telemetry::new("payments", "1", "00000000").expect("names are unique");
        telemetry.txn_commits.inc();
        let text = telemetry.render().expect("it can be rendered");
        assert!(text.contains(r#"tidemill_txn_commits_total{pipeline="payments"} 1"#), "{text}");
        assert!(text.contains("tidemill_build_info"), "{text}");
    }
}
