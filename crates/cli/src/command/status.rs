//! `tidemill status`: how far every stage and sink is, whether or not workers run.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use tidemill_runtime::broker::TopicPartition;
use tidemill_runtime::health::{LastError, Phase, ProcessView, Reason, TaskView, WorkerView};
use tidemill_runtime::lag::next_offset;
use tidemill_runtime::provision::open_sink;
use tidemill_runtime::reconciliation::{Balance, RECORDS_UNACCOUNTED, ReconciliationWatch};
use tidemill_runtime::stable_offset::STABLE_OFFSET_STUCK;
use tidemill_runtime::status::{InputStatus, sink_lag, unit_status};

use crate::args::Global;
use crate::command::txn::{self, TransactionView};
use crate::exit::{Exit, Failure};
use crate::live::process_at;
use crate::output;
use crate::session::{Access, Session};

/// Rates are measured over this time.
const SAMPLE: Duration = Duration::from_secs(1);
/// A transaction of our own that is open for longer than any commit interval that is comfortable.
const LONG_TRANSACTION_MS: i64 = 2_000;
/// A failure that is no older may be why a worker has no task.
const RECENT_FAILURE_MS: i64 = 30_000;

#[derive(Serialize)]
struct StatusView {
    pipeline: String,
    broker: String,
    inputs: Vec<InputView>,
    /// What became of the records of each input partition.
    balances: Vec<Balance>,
    sinks: Vec<SinkView>,
    /// Open transactions behind which readers stood still while this was measured.
    holding_back: Vec<TransactionView>,
    /// The process that serves at `http_address`, if one answers.
    process: Option<ProcessView>,
}

#[derive(Serialize)]
struct InputView {
    #[serde(flatten)]
    status: InputStatus,
    records_per_second: u64,
}

#[derive(Serialize)]
struct SinkView {
    sink: String,
    /// Absent when the sink's database does not answer.
    lag_offsets: Option<u64>,
    message: Option<String>,
}

pub(super) fn run(global: &Global) -> Result<Exit, Failure> {
    let session = Session::open(global, Access::Read)?;
    let before = inputs(&session)?;
    let mut watch = ReconciliationWatch::new(session.topology.clone(), session.broker.clone());
    watch.look()?;
    session.clock.sleep(SAMPLE);
    let after = inputs(&session)?;
    let look = watch.look()?;
    let holding_back = holding_back(&session, &before, &after);
    let rates: BTreeMap<(String, u32), u64> =
        before.into_iter().map(|row| ((row.topic, row.partition), row.next_offset)).collect();
    let inputs = after.into_iter().map(|status| {
        let earlier = rates.get(&(status.topic.clone(), status.partition)).copied().unwrap_or(status.next_offset);
        InputView { records_per_second: status.next_offset.saturating_sub(earlier), status }
    });
    let view = StatusView {
        pipeline: session.topology.pipeline.produced_by(),
        broker: session.broker.describe(),
        inputs: inputs.collect(),
        balances: look.balances,
        sinks: sinks(&session)?,
        holding_back,
        process: process_at(&session.topology.http_address),
    };
    let exit = if view.balances.iter().any(|balance| balance.unaccounted > 0) {
        Exit::Findings
    } else if view.sinks.iter().any(|sink| sink.lag_offsets.is_none()) {
        Exit::Unreachable
    } else {
        Exit::Ok
    };
    if global.json {
        output::json(&view)?
    } else {
        print(&view)?
    }
    Ok(exit)
}

/// Whether nothing waits anywhere: every input is processed and every sink has written it.
///
/// Partitions are asked one after another, and a record may move from one that is still to be asked to one that has been.
/// Two equal answers in a row say that nothing moved in between.
pub(super) fn is_idle(session: &Session) -> Result<bool, Failure> {
    let before = inputs(session)?;
    if before.iter().any(|row| row.lag_records > 0) {
        return Ok(false);
    }
    let has_moved = |(before, after): (&InputStatus, &InputStatus)| {
        before.next_offset != after.next_offset || after.lag_records > 0
    };
    if before.iter().zip(&inputs(session)?).any(has_moved) {
        return Ok(false);
    }
    Ok(sinks(session)?.iter().all(|sink| sink.lag_offsets == Some(0)))
}

fn inputs(session: &Session) -> Result<Vec<InputStatus>, Failure> {
    let mut rows = Vec::new();
    for unit in &session.topology.units {
        rows.extend(unit_status(session.broker.as_ref(), &session.topology, unit, session.clock.unix_ms())?);
    }
    Ok(rows)
}

/// A transaction is open for milliseconds when all is well, so only what did not move between two looks is worth a word.
fn holding_back(session: &Session, before: &[InputStatus], after: &[InputStatus]) -> Vec<TransactionView> {
    let still = |(before, after): &(&InputStatus, &InputStatus)| {
        before.unstable_offsets > 0 && after.unstable_offsets > 0 && before.end_offset == after.end_offset
    };
    let partitions: Vec<TopicPartition> = before
        .iter()
        .zip(after)
        .filter(still)
        .map(|(_, row)| TopicPartition::new(row.topic.as_str(), row.partition))
        .collect();
    if partitions.is_empty() {
        return Vec::new();
    }
    match session.broker.open_transactions(&partitions) {
        Ok(open) => txn::views(session, &open),
        Err(error) => {
            tracing::warn!(code = STABLE_OFFSET_STUCK, %error, "whose transactions hold readers back cannot be found out");
            Vec::new()
        }
    }
}

fn sinks(session: &Session) -> Result<Vec<SinkView>, Failure> {
    let mut views = Vec::new();
    for plan in &session.topology.sinks {
        let positions = open_sink(plan)?.positions();
        let view = match positions {
            Ok(positions) => {
                let next_offset = |partition: &TopicPartition| next_offset(&positions, partition);
                let lag = sink_lag(session.broker.as_ref(), &session.topology, plan, next_offset)?;
                SinkView { sink: plan.name.clone(), lag_offsets: Some(lag), message: None }
            }
            Err(error) => SinkView { sink: plan.name.clone(), lag_offsets: None, message: Some(error.to_string()) },
        };
        views.push(view);
    }
    Ok(views)
}

fn print(view: &StatusView) -> Result<(), Failure> {
    output::line(&format!("{} on {}\n", view.pipeline, view.broker))?;
    let rows: Vec<Vec<String>> = view
        .inputs
        .iter()
        .map(|row| {
            let status = &row.status;
            vec![
                status.topic.clone(),
                status.partition.to_string(),
                if status.owner.is_empty() { "-".to_owned() } else { status.owner.clone() },
                output::count(status.next_offset),
                output::count(status.lag_records),
                output::count(status.unstable_offsets),
                status.lag_seconds.map_or_else(|| "0".to_owned(), |seconds| seconds.to_string()),
                output::count(row.records_per_second),
            ]
        })
        .collect();
    output::table(&["topic", "partition", "owner", "next offset", "lag", "unstable", "lag s", "records/s"], &rows)?;
    print_balances(&view.balances)?;
    output::line("")?;
    let rows: Vec<Vec<String>> = view
        .sinks
        .iter()
        .map(|sink| {
            let lag = sink.lag_offsets.map_or_else(|| "unknown".to_owned(), output::count);
            vec![sink.sink.clone(), lag, sink.message.clone().unwrap_or_default()]
        })
        .collect();
    output::table(&["sink", "lag", ""], &rows)?;
    if !view.holding_back.is_empty() {
        output::line("\nopen transactions that hold readers back:")?;
        txn::print(&view.holding_back)?;
    }
    match &view.process {
        Some(process) => print_process(process),
        None => {
            output::line("\nno process answers at `pipeline.http_address`, so what the workers do is not known here")
        }
    }
}

/// What became of everything that was read, and above all what does not add up.
fn print_balances(balances: &[Balance]) -> Result<(), Failure> {
    let rows: Vec<Vec<String>> = balances
        .iter()
        .filter(|balance| balance.taken > 0 || balance.unaccounted > 0)
        .map(|balance| {
            let figures = [
                balance.taken,
                balance.posted + balance.applied,
                balance.passed,
                balance.rejected,
                balance.duplicate,
                balance.parked,
                balance.dead,
                balance.discarded,
            ];
            let under_way = balance.under_way.map_or_else(|| "-".to_owned(), output::count);
            let figures = figures.into_iter().map(output::count).chain([under_way, output::count(balance.unaccounted)]);
            [balance.topic.clone(), balance.partition.to_string()].into_iter().chain(figures).collect()
        })
        .collect();
    output::line("")?;
    output::table(
        &[
            "topic",
            "partition",
            "in",
            "posted",
            "passed",
            "rejected",
            "duplicate",
            "parked",
            "dead",
            "discarded",
            "under way",
            "unaccounted",
        ],
        &rows,
    )?;
    for balance in balances {
        for finding in &balance.findings {
            let Balance { topic, partition, .. } = balance;
            output::line(&format!("DOES NOT ADD UP  {RECORDS_UNACCOUNTED}: {topic} partition {partition}: {finding}"))?;
        }
    }
    Ok(())
}

/// What the process here does, and above all what keeps a task from running.
fn print_process(process: &ProcessView) -> Result<(), Failure> {
    output::line("")?;
    let threads = || process.workers.iter().chain(&process.sinks).chain(&process.standbys);
    let rows: Vec<Vec<String>> = threads().flat_map(rows_of).collect();
    output::table(&["worker", "task", "does", "for s", "because"], &rows)?;
    for worker in threads() {
        if let Some(age_ms) = worker.transaction_age_ms.filter(|age_ms| *age_ms >= LONG_TRANSACTION_MS) {
            let age_ms = output::count(age_ms.unsigned_abs());
            output::line(&format!("{}: its transaction has been open for {age_ms} ms", worker.slot))?;
        }
        if let Some(LastError { at_ms, message, failures }) = &worker.last_error {
            let at = jiff::Timestamp::from_millisecond(*at_ms).map(|at| at.to_string()).unwrap_or_default();
            output::line(&format!("{}: last failure at {at}, {failures} in a row: {message}", worker.slot))?;
        }
    }
    Ok(())
}

/// One row per task. One that has none has a row as well, or nobody would see it.
fn rows_of(worker: &WorkerView) -> Vec<Vec<String>> {
    if worker.tasks.is_empty() {
        let recent = worker.last_error.as_ref().filter(|error| worker.stepped_at_ms - error.at_ms < RECENT_FAILURE_MS);
        let why = match (recent, worker.is_prepared) {
            (Some(error), _) => format!("it begins again after a failure: {}", error.message),
            (None, false) => "it is not ready yet".to_owned(),
            (None, true) => "its group has given it no task".to_owned(),
        };
        return vec![vec![worker.slot.clone(), "-".to_owned(), "nothing".to_owned(), String::new(), why]];
    }
    let row = |task: &TaskView| {
        let [number, seconds] = [u64::from(task.task), task.for_ms.unsigned_abs() / 1_000].map(output::count);
        vec![worker.slot.clone(), number, task.phase.name().to_owned(), seconds, why(task)]
    };
    worker.tasks.iter().map(row).collect()
}

fn why(task: &TaskView) -> String {
    if let Some(Reason { code, message }) = &task.reason {
        return format!("{code}: {message}");
    }
    match &task.restore {
        None => String::new(),
        Some(view) if task.phase == Phase::Following => {
            format!("a standby, {} offsets behind the state log", output::count(view.restore.left()))
        }
        Some(view) => {
            let left =
                view.seconds_left.map_or_else(String::new, |seconds| format!(", {} s left", output::count(seconds)));
            format!("{} % of the state log applied, {} bytes{left}", view.percent, output::count(view.restore.bytes))
        }
    }
}
