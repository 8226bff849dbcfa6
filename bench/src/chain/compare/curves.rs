//! What a payment costs as accounts and tasks grow: the same job, one of them varied at a time.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;

use crate::chain::compare::process::Engine;
use crate::chain::compare::report::write_where;
use crate::chain::compare::{CompareOptions, Comparison, Run};
use crate::chain::load::{self, Load};
use crate::chain::topics::{Input, connect};
use crate::failure::{During, Result};

/// Where the other of the two stands meanwhile.
const ACCOUNTS: u64 = 100_000;
const TASKS: u32 = 8;

#[derive(Args)]
pub(crate) struct CurvesOptions {
    /// Kafka, as `dev/stack env` prints it
    #[arg(long, env = "TIDEMILL_BOOTSTRAP")]
    bootstrap: String,
    /// Process of the broker on this machine; its processor time is left out when absent
    #[arg(long)]
    broker_pid: Option<u32>,
    #[arg(long, default_value_t = 3_000_000)]
    payments: u64,
    #[arg(long, value_delimiter = ',', default_values = ["10000", "100000", "1000000", "5000000"])]
    accounts: Vec<u64>,
    #[arg(long, value_delimiter = ',', default_values = ["1", "2", "8", "64"])]
    tasks: Vec<u32>,
    #[arg(long, value_delimiter = ',', default_values = ["tidemill", "rocksdb"])]
    engines: Vec<Engine>,
    /// Folder for stores and logs
    #[arg(long)]
    folder: PathBuf,
    /// Folder of the report, `curves.md`
    #[arg(long)]
    write: Option<PathBuf>,
}

/// One point of a curve.
struct Point {
    accounts: u64,
    tasks: u32,
    run: Run,
}

pub(crate) fn run(options: &CurvesOptions) -> Result<()> {
    fs::create_dir_all(&options.folder).during("make the folder")?;
    if options.engines.iter().any(|engine| engine.is_streams()) {
        crate::restart::build_peer()?;
    }
    let started_at = Timestamp::now();
    let by_accounts = options.accounts.iter().map(|accounts| (*accounts, TASKS));
    let by_tasks = options.tasks.iter().map(|tasks| (ACCOUNTS, *tasks));
    let mut points = Vec::new();
    for (accounts, tasks) in by_accounts.chain(by_tasks) {
        for run in measure(options, started_at, accounts, tasks)? {
            points.push(Point { accounts, tasks, run });
        }
    }
    let mut text = String::new();
    let _infallible = render(&mut text, options, &points, started_at);
    println!("{text}");
    if let Some(folder) = &options.write {
        fs::create_dir_all(folder).during("make the folder of the report")?;
        fs::write(folder.join("curves.md"), text).during("write the report")?;
    }
    Ok(())
}

fn measure(options: &CurvesOptions, started_at: Timestamp, accounts: u64, tasks: u32) -> Result<Vec<Run>> {
    let broker = connect(&options.bootstrap)?;
    let stamp = started_at.as_second();
    let input = Input { topic: format!("bench.curve-{stamp}-{accounts}-{tasks}"), partitions: tasks };
    load::write(broker.as_ref(), &input, Load::A, options.payments, accounts)?;
    let settings = CompareOptions {
        bootstrap: options.bootstrap.clone(),
        broker_pid: options.broker_pid,
        payments: options.payments,
        accounts,
        rounds: 1,
        engines: options.engines.clone(),
        threads: 2,
        commit_ms: 100,
        commit_ms_low: 100,
        rates: Vec::new(),
        latency_s: 0,
        folder: options.folder.clone(),
        write: None,
    };
    let comparison = Comparison { options: &settings, broker, stamp };
    let one =
        |engine: &Engine| comparison.one(*engine, &comparison.place(*engine, &format!("{accounts}-{tasks}"), &input));
    let runs = options.engines.iter().map(one).collect::<Result<Vec<Run>>>()?;
    comparison.broker.delete_topic(&input.topic).during("delete the payments")?;
    Ok(runs)
}

fn render(out: &mut String, options: &CurvesOptions, points: &[Point], started_at: Timestamp) -> std::fmt::Result {
    writeln!(out, "# Cost as accounts and tasks grow\n")?;
    writeln!(
        out,
        "Written by `make bench-curves`: the [chain](chain.md) with {} payments, 2 threads, one run for each line, every \
         run verified.\nA task is a partition of each topic, with a store of its own.\n",
        options.payments
    )?;
    writeln!(
        out,
        "| | accounts | tasks | payments/s | engine µs a payment | broker µs a payment | peak RSS, MiB |\n|---|---|---|---|---|---|---|"
    )?;
    for Point { accounts, tasks, run } in points {
        let all = run.all;
        let (rate, engine_us, broker_us) = (all.payments_per_s(), all.engine_us(), all.broker_us());
        writeln!(
            out,
            "| {} | {accounts} | {tasks} | {rate:.0} | {engine_us:.1} | {broker_us:.1} | {} |",
            run.engine.title(),
            run.rss_mib
        )?;
    }
    writeln!(out, "\n## Where\n")?;
    write_where(out, started_at)
}
