//! Measurements: Tidemill beside its peers, on one broker, with the same records. `README.md` says what is measured and
//! how to repeat it.
//!
//! Invariant: an engine under measurement is a process of its own, so that it can be killed; the engine of this
//! repository is this program again, with the verb `worker`.

mod chain;
mod failure;
mod ledger;
mod machine;
mod pipeline;
mod restart;
mod store;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::failure::Result;

#[derive(Parser)]
#[command(name = "bench", about = "Measures Tidemill beside its peers, on one broker, with the same records")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// One job for every engine: payments in, entries and balances out, exactly once
    Chain(chain::ChainOptions),
    /// Measures the ledger alone: transfers in memory, without broker
    Ledger(ledger::LedgerOptions),
    /// The default topology with all its hops: throughput, latency, and how far read models are behind
    Pipeline(pipeline::PipelineOptions),
    /// Kills engines that hold much state and measures how long it takes until they give output again
    Restart(restart::RestartOptions),
    /// Measures the local store alone: opening after a kill, reads, writes
    Store(store::StoreOptions),
    /// Measures what the state of a payment costs: reads, log, local store
    StoreMixed(store::mixed::MixedOptions),
    /// The engine under measurement; started by `restart`, ends when its standard input is closed
    #[command(hide = true)]
    Worker(restart::worker::WorkerOptions),
    /// Fills a store until it is killed; started by `store`
    #[command(hide = true)]
    StoreFill(store::FillOptions),
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Chain(options) => chain::run(&options),
        Command::Ledger(options) => ledger::run(&options),
        Command::Pipeline(options) => pipeline::run(&options),
        Command::Restart(options) => restart::run(&options),
        Command::Store(options) => store::run(&options),
        Command::StoreMixed(options) => store::mixed::run(&options),
        Command::Worker(options) => restart::worker::run(&options),
        Command::StoreFill(options) => store::fill(&options),
    }
}
