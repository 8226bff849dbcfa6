//! The benchmark chain: one job, the same bytes in and the same results out, for every engine; exactly once, and checked.
//! What the job is, topic by topic and step by step, is in `bench/README.md`.

mod compare;
mod copy;
mod engine;
mod job;
mod load;
mod payments;
mod topics;
mod verify;

use clap::{Args, Subcommand};

pub(crate) use crate::chain::topics::connect;
use crate::failure::Result;

#[derive(Args)]
pub(crate) struct ChainOptions {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Creates the topics that an engine writes, or deletes them
    Topics(topics::TopicsOptions),
    /// Writes the payments, into a new topic
    Load(load::LoadOptions),
    /// Works until the input is drained, and prints the result: this engine
    Run(engine::EngineOptions),
    /// Copies the payments without doing the job: how fast the client library and the broker are
    Copy(copy::CopyOptions),
    /// All engines in turns, with a report
    Compare(compare::CompareOptions),
    /// What a payment costs as accounts and tasks grow, with a report
    Curves(compare::CurvesOptions),
    /// Computes what an engine should have written, and says where it has written something else
    Verify(verify::VerifyOptions),
}

pub(crate) fn run(options: &ChainOptions) -> Result<()> {
    match &options.command {
        Command::Topics(options) => topics::run(options),
        Command::Load(options) => load::run(options),
        Command::Run(options) => engine::run(options),
        Command::Copy(options) => copy::run(options),
        Command::Compare(options) => compare::run(options),
        Command::Curves(options) => compare::curves(options),
        Command::Verify(options) => verify::run(options),
    }
}
