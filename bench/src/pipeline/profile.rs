//! Where the time of a payment goes: stacks sampled by `perf` while payments wait, as a flame graph and as the share of
//! each step.

use std::fs::File;
use std::io::{BufReader, Cursor};
use std::path::Path;
use std::process::{Command, Stdio};

use inferno::collapse::Collapse as _;
use inferno::collapse::perf::Folder;
use inferno::flamegraph;

use crate::failure::{During, Result};
use crate::machine;

pub(super) const SECONDS: &str = "8";
const SAMPLES_PER_S: &str = "499";
/// Bytes of each stack that are kept to be unwound. Programs are built without frame pointers.
const CALL_GRAPH: &str = "dwarf,32768";

/// A step, and words of which one is in the name of its outermost function. The first step that fits, from the innermost
/// function outwards, is the one that a sample counts for.
const STEPS: [(&str, &[&str]); 24] = [
    ("decode_payment: JSON", &["decode_payment", "strict_json", "envelope"]),
    ("validate_payment", &["validate_payment"]),
    ("dedupe_payment", &["dedupe_payment"]),
    ("profile_counterparty", &["profile_counterparty"]),
    ("profile_payer", &["profile_payer"]),
    ("score_fraud", &["score_fraud", "rhai::"]),
    ("charge_fee", &["charge_fee"]),
    ("price_exchange", &["price_exchange"]),
    ("post_ledger", &["post_ledger"]),
    ("fan_out_notifications", &["fan_out_notifications"]),
    ("events from Avro", &["EventDecoder>::decode", "tidemill_schemas::avro::read"]),
    ("events to Avro", &["Event>::encode", "tidemill_schemas::avro::write"]),
    ("lz4", &["lz4"]),
    ("stores on disk: reading", &["DiskStore as tidemill_runtime::store::TaskStore>::get", "TaskStore>::scan"]),
    ("stores on disk: writing out", &["TaskStore>::apply", "lsm_tree::compaction", "fjall::"]),
    ("stores in memory", &["tidemill_runtime::store", "tidemill_runtime::task::state"]),
    ("state log", &["tidemill_runtime::state_log"]),
    ("checkpoints, following, restoring", &["tidemill_runtime::task"]),
    ("records to Kafka", &["kafka::wire::produce", "Producer>::send", "kafka::producer", "batch::"]),
    ("records from Kafka", &["Reader>::poll", "kafka::wire::fetch", "kafka::reader"]),
    ("requests of transactions", &["kafka::"]),
    ("telemetry", &["telemetry", "prometheus"]),
    ("the worker around the steps", &["tidemill_runtime::worker", "tidemill_runtime::"]),
    ("threads of tokio and librdkafka", &["tokio", "rd_kafka"]),
];

/// What no step is known of.
const REST: &str = "the rest";

#[derive(Clone, Debug)]
pub(super) struct Profile {
    /// Share of each step in the time that was sampled, the greatest first.
    pub(super) steps: Vec<(&'static str, f64)>,
}

impl Profile {
    /// Samples a process that is at work, and draws the flame graph.
    pub(super) fn take(pid: u32, folder: &Path, drawing: Option<&Path>) -> Result<Self> {
        let data = folder.join("perf.data");
        let mut record = Command::new("perf");
        record.args(["record", "--quiet", "--freq", SAMPLES_PER_S, "--call-graph", CALL_GRAPH, "--pid"]);
        record.arg(pid.to_string()).arg("--output").arg(&data).args(["--", "sleep", SECONDS]);
        let status = record.stdout(Stdio::null()).status().during("run `perf record`")?;
        if !status.success() {
            return Err(format!("`perf record` ended with {status}").into());
        }
        let folded = fold(&data)?;
        if let Some(drawing) = drawing {
            let mut options = flamegraph::Options::default();
            "The default topology under full load".clone_into(&mut options.title);
            options.subtitle = Some(machine::describe());
            // What is thinner than this cannot be seen, and made the file ten times as large.
            options.min_width = 0.1;
            let file = File::create(drawing).during("write the flame graph")?;
            flamegraph::from_reader(&mut options, folded.as_bytes(), file).during("draw the flame graph")?;
        }
        Ok(Self::of(&folded))
    }

    fn of(folded: &str) -> Self {
        let mut counts: Vec<(&'static str, u64)> = Vec::new();
        for line in folded.lines() {
            let Some((stack, count)) = line.rsplit_once(' ') else { continue };
            let (step, count) = (step_of(stack), count.parse().unwrap_or(0));
            match counts.iter_mut().find(|(known, _)| *known == step) {
                Some((_, sum)) => *sum += count,
                None => counts.push((step, count)),
            }
        }
        let samples: u64 = counts.iter().map(|(_, count)| count).sum();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let steps = counts.into_iter().map(|(step, count)| (step, count as f64 / samples.max(1) as f64)).collect();
        Self { steps }
    }
}

/// Stacks, one a line with the time that was spent there.
fn fold(data: &Path) -> Result<String> {
    let mut script = Command::new("perf");
    script.args(["script", "--no-inline", "--input"]).arg(data).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut script = script.spawn().during("run `perf script`")?;
    let output = script.stdout.take().ok_or("a child without standard output")?;
    let mut folded = Cursor::new(Vec::new());
    Folder::default().collapse(BufReader::new(output), &mut folded).during("read what `perf script` says")?;
    script.wait().during("run `perf script`")?;
    String::from_utf8(folded.into_inner()).during("read what `perf script` says")
}

fn step_of(stack: &str) -> &'static str {
    stack.rsplit(';').find_map(step_of_function).unwrap_or(REST)
}

fn step_of_function(name: &str) -> Option<&'static str> {
    STEPS.iter().find(|(_, words)| words.iter().any(|word| name.contains(word))).map(|(step, _)| *step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_counts_for_the_innermost_step() {
        let worker = "tidemill;tidemill_runtime::worker::Worker::run";
        let cases = [
            (
                format!("{worker};<tidemill_processors::post_ledger::PostLedger as Processor>::process;malloc"),
                "post_ledger",
            ),
            (
                format!("{worker};tidemill_processors::post_ledger::process;tidemill_runtime::task::state::get"),
                "stores in memory",
            ),
            (format!("{worker};[unknown]"), "the worker around the steps"),
            ("tidemill;start_thread".to_owned(), REST),
        ];
        for (stack, step) in &cases {
            assert_eq!(step_of(stack), *step, "{stack}");
        }
        let folded = format!("{} 3\n{} 1\n", cases[0].0, cases[3].0);
        let profile = Profile::of(&folded);
        assert_eq!(profile.steps, vec![("post_ledger", 0.75), (REST, 0.25)]);
    }
}
