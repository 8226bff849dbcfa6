//! One file per command.

mod audit;
mod check;
mod completions;
mod consume;
mod demo;
mod dev;
mod dlq;
mod drill;
mod explain;
mod fee;
mod generate;
mod graph;
mod limits;
mod offsets;
mod parked;
mod produce;
mod provision;
mod reconcile;
mod replay;
mod reprocess;
mod run;
mod state;
mod statement;
mod status;
mod trace;
mod txn;
mod verify;

use crate::args::{Args, Command};
use crate::exit::{Exit, Failure};

pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    let global = &args.global;
    match &args.command {
        Command::Check { strict } => check::run(global, *strict),
        Command::Explain { code } => explain::run(global, code.as_deref()),
        Command::Graph { format } => graph::run(global, *format),
        Command::Plan => provision::plan(global),
        Command::Apply { yes } => provision::apply(global, *yes),
        Command::Run(args) => run::run(global, args),
        Command::Produce(args) => produce::run(global, args),
        Command::Generate(args) => generate::run(args),
        Command::Consume(args) => consume::run(global, args),
        Command::Status => status::run(global),
        Command::Reconcile { in_transit: false } => reconcile::run(global),
        Command::Reconcile { in_transit: true } => reconcile::in_transit(global),
        Command::Statement(args) => statement::run(global, args),
        Command::Fee(command) => fee::run(global, command),
        Command::Limits(args) => limits::run(global, args),
        Command::Verify(args) => verify::run(global, args),
        Command::Dlq(command) => dlq::run(global, command),
        Command::Replay(command) => replay::run(global, command),
        Command::Reprocess(command) => reprocess::run(global, command),
        Command::Offsets(command) => offsets::run(global, command),
        Command::Parked(command) => parked::run(global, command),
        Command::Audit(command) => audit::run(global, command),
        Command::State(command) => state::run(global, command),
        Command::Trace { payment_id, unmask } => trace::run(global, payment_id, *unmask),
        Command::Drill(args) => drill::run(global, args),
        Command::Txn(command) => txn::run(global, command),
        Command::Demo(args) => demo::run(global, args),
        Command::Dev(command) => dev::run(command),
        Command::Completions { shell } => completions::run(*shell),
    }
}
