//! `tidemill completions`.

use clap::CommandFactory;

use crate::args::Args;
use crate::exit::{Exit, Failure};

pub(super) fn run(shell: clap_complete::Shell) -> Result<Exit, Failure> {
    clap_complete::generate(shell, &mut Args::command(), "tidemill", &mut std::io::stdout());
    Ok(Exit::Ok)
}
