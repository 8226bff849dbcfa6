//! The `tidemill` command.
//!
//! Data goes to standard output, everything else to standard error; exit codes are those of [`exit::Exit`].

mod args;
mod command;
mod exit;
mod generator;
mod live;
mod logging;
mod operations;
mod output;
mod reconciliation;
mod reference;
mod session;
mod stop;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let args = args::Args::parse();
    logging::start(args.global.log, args.command.is_long_running());
    match command::run(&args) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            failure.print(args.global.json);
            failure.exit.into()
        }
    }
}
