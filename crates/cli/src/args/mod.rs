//! The command line. Every flag that an operator sets for good has a `TIDEMILL_*` twin.

mod operations;
mod reprocess;

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use tidemill_topology::Colour;

pub(crate) use self::operations::{
    AuditCommand, DlqApplyArgs, DlqCommand, DlqEditArgs, DlqFilter, DlqPlanArgs, DrillArgs, ParkedCommand,
    ReplayCommand, StateAt, StateCommand,
};
pub(crate) use self::reprocess::{
    OffsetsApplyArgs, OffsetsCommand, OffsetsPlanArgs, ReprocessCommand, ReprocessRunArgs,
};
use crate::logging::{LogLevel, Running};

/// Kafka-native stream processing for payments: exactly once, and balanced to the last minor unit.
#[derive(Debug, Parser)]
#[command(
    name = "tidemill",
    version,
    after_help = "Exit codes: 0 ok, 1 findings, 2 wrong use, 3 partial, 4 dependency unreachable, 5 refused, 78 configuration, 130 interrupted."
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Global {
    /// Topology file.
    #[arg(long, short = 't', global = true, env = "TIDEMILL_TOPOLOGY", default_value = "topology.toml")]
    pub(crate) topology: PathBuf,
    /// Broker to use instead of the one in the file.
    #[arg(long, global = true, env = "TIDEMILL_BROKER")]
    pub(crate) broker: Option<BrokerArg>,
    /// Setting to override: `broker.bootstrap_servers=host:9092`. May be given more than once.
    #[arg(long = "set", global = true, value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) overrides: Vec<(String, String)>,
    /// Pipeline over the same inputs that is meant, by its colour; the live one when absent.
    #[arg(long = "as", global = true, value_name = "COLOUR", env = "TIDEMILL_AS", value_parser = colour)]
    pub(crate) colour: Option<Colour>,
    /// JSON on standard output instead of text.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// How much is logged on standard error.
    #[arg(long, global = true, env = "TIDEMILL_LOG", default_value = "warn")]
    pub(crate) log: LogLevel,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum BrokerArg {
    Embedded,
    Kafka,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Checks the topology file without connecting to anything, and reports all findings at once.
    Check {
        /// Counts warnings as findings.
        #[arg(long)]
        strict: bool,
    },
    /// Explains the topology (chains, transactions, hops), or one code.
    Explain { code: Option<String> },
    /// Draws the topology.
    Graph {
        #[arg(long, default_value = "mermaid")]
        format: GraphFormat,
    },
    /// Shows what is missing on the broker, in the registry and in the databases.
    Plan,
    /// Creates what `plan` shows.
    Apply {
        /// Does not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Runs workers and sinks until it is told to stop.
    Run(RunArgs),
    /// Writes records into a topic, from JSON lines or CSV, plain or gzip.
    Produce(ProduceArgs),
    /// Writes generated payments or accounts to standard output as JSON lines.
    Generate(GenerateArgs),
    /// Reads records of a topic, decoded, as JSON lines.
    Consume(ConsumeArgs),
    /// Shows how far every stage and sink is.
    Status,
    /// Checks that every payment has exactly one outcome and that all money balances.
    Reconcile {
        /// Shows what has left its payers and reached nobody yet: amount, number and age. Reads the SQL read models only.
        #[arg(long)]
        in_transit: bool,
    },
    /// Prints what was booked on one account over a period, from a SQL read model.
    Statement(StatementArgs),
    /// Looks at fees.
    #[command(subcommand)]
    Fee(FeeCommand),
    /// Shows what an account has used of the limits on its payments, and what they leave.
    Limits(LimitsArgs),
    /// Proves with payments of its own, under load, that nothing is lost, doubled or out of order.
    Verify(VerifyArgs),
    /// Looks at dead letters, and sends them back to the stage that failed.
    #[command(subcommand)]
    Dlq(DlqCommand),
    /// Looks at replays of dead letters, and pauses or ends them.
    #[command(subcommand)]
    Replay(ReplayCommand),
    /// Looks at keys whose records wait behind a failed one, and has them go on.
    #[command(subcommand)]
    Parked(ParkedCommand),
    /// Runs the same inputs through a second pipeline, compares it with the live one, and has it take over.
    #[command(subcommand)]
    Reprocess(ReprocessCommand),
    /// Moves positions: has a unit without state, or a sink, read from elsewhere.
    #[command(subcommand)]
    Offsets(OffsetsCommand),
    /// Looks at what operators have done, and checks that nobody has changed it.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Looks at the state of tasks, as of now or of an earlier offset.
    #[command(subcommand)]
    State(StateCommand),
    /// Follows a payment through every topic of the pipeline.
    Trace {
        /// Id of the payment, as its sender gave it.
        payment_id: String,
        /// Shows personal data, which is masked otherwise.
        #[arg(long)]
        unmask: bool,
    },
    /// Rehearses a bad day on the embedded broker: a producer's bad deploy, its dead letters, and their way back.
    Drill(DrillArgs),
    /// Looks at open transactions, and ends those that nobody else will.
    #[command(subcommand)]
    Txn(TxnCommand),
    /// Generates payments and runs the whole pipeline on the embedded broker.
    Demo(DemoArgs),
    /// Tools for development.
    #[command(subcommand)]
    Dev(DevCommand),
    /// Prints completions for a shell.
    Completions { shell: clap_complete::Shell },
}

impl Command {
    pub(crate) fn is_long_running(&self) -> Running {
        match self {
            Self::Run(_) => Running::Service,
            _ => Running::Once,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum GraphFormat {
    Mermaid,
    Dot,
    Json,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// Worker threads per unit in this process.
    #[arg(long, env = "TIDEMILL_WORKERS", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) workers: u32,
    /// Runs only the units of these stages, and no sinks unless `--sinks` is given.
    #[arg(long = "stage", value_name = "STAGE")]
    pub(crate) stages: Vec<String>,
    /// Runs the sinks although stages are named.
    #[arg(long)]
    pub(crate) sinks: bool,
    /// Stable name of this process among those of the pipeline. Two processes must not share one.
    #[arg(long, env = "TIDEMILL_INSTANCE", default_value = "a")]
    pub(crate) instance: String,
    /// Ends once everything has been processed.
    #[arg(long)]
    pub(crate) until_idle: bool,
    /// What a stop means for the tasks: others get them at once, or this instance finds them again within a session.
    #[arg(long, env = "TIDEMILL_ON_STOP", default_value = "leave")]
    pub(crate) on_stop: OnStopArg,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnStopArg {
    Leave,
    Stay,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ProduceArgs {
    /// Topic to write to.
    pub(crate) topic: String,
    /// File to read, standard input when absent; `.gz` is unpacked.
    #[arg(long, short = 'f')]
    pub(crate) file: Option<PathBuf>,
    /// The input is CSV with a header line.
    #[arg(long)]
    pub(crate) csv: bool,
    /// Field of the record and how it is made of the columns: `debit_account=c-{CUSTOMER_ID}`, `currency=EUR`.
    #[arg(long = "map", value_name = "FIELD=TEMPLATE", value_parser = key_value)]
    pub(crate) map: Vec<(String, String)>,
    /// Field whose value is the key of the record. Events know their own.
    #[arg(long, default_value = "debit_account")]
    pub(crate) key: String,
    /// Field that holds the record's time (RFC 3339).
    #[arg(long, default_value = "created_at")]
    pub(crate) time: String,
    /// One record for each distinct value of the key, for opening accounts from a list of payments.
    #[arg(long)]
    pub(crate) distinct: bool,
    /// Records per second; as fast as possible when absent.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) rate: Option<u64>,
    /// Stops after this many records.
    #[arg(long)]
    pub(crate) limit: Option<u64>,
    /// Records to expect, for the progress bar.
    #[arg(long)]
    pub(crate) total: Option<u64>,
    /// Takes back what lies under the key of each line's event: a schedule, a rule set or a quote that is to be forgotten.
    #[arg(long, conflicts_with = "raw")]
    pub(crate) tombstone: bool,
    /// Writes each line as it is, also where the topology says that events of one kind lie in the topic.
    #[arg(long)]
    pub(crate) raw: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum FeeCommand {
    /// Prices a payment by the schedules in force, without making it.
    Preview(PreviewArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct PreviewArgs {
    /// Decimal amount: `40.00`.
    #[arg(long)]
    pub(crate) amount: String,
    /// ISO 4217 code.
    #[arg(long)]
    pub(crate) currency: String,
    /// Type of payment.
    #[arg(long = "type", default_value = "transfer")]
    pub(crate) payment_type: String,
    #[arg(long)]
    pub(crate) channel: Option<String>,
    /// Debit account.
    #[arg(long)]
    pub(crate) account: Option<String>,
    #[arg(long)]
    pub(crate) customer: Option<String>,
    /// Segment of the debit account.
    #[arg(long)]
    pub(crate) segment: Option<String>,
    /// When the payment is made, RFC 3339; now when absent.
    #[arg(long, value_name = "TIME")]
    pub(crate) at: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct LimitsArgs {
    /// Debit account.
    pub(crate) account: String,
    /// As of when what is left is shown, RFC 3339; now when absent.
    #[arg(long, value_name = "TIME")]
    pub(crate) at: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct StatementArgs {
    /// Account to print.
    pub(crate) account: String,
    /// First day (`2026-01-01`, from midnight UTC), or an instant with its offset (RFC 3339).
    #[arg(long, value_name = "TIME")]
    pub(crate) from: String,
    /// The first day, or the instant, that does not belong to it any more.
    #[arg(long, value_name = "TIME")]
    pub(crate) until: String,
    /// `camt053` is ISO 20022 camt.053.001.08. `--json` is the same as `json`.
    #[arg(long, default_value = "text")]
    pub(crate) format: StatementFormat,
    /// Sink whose tables are read; the first SQL sink of the topology when absent.
    #[arg(long)]
    pub(crate) sink: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StatementFormat {
    Text,
    Csv,
    Json,
    Camt053,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Generated {
    Payments,
    Accounts,
}

#[derive(Debug, clap::Args)]
pub(crate) struct GenerateArgs {
    #[arg(default_value = "payments")]
    pub(crate) what: Generated,
    /// Number of payments.
    #[arg(long, short = 'n', default_value_t = 50_000)]
    pub(crate) payments: u64,
    /// Number of customer accounts.
    #[arg(long, default_value_t = 2_000)]
    pub(crate) accounts: u32,
    /// The same seed gives the same output.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ConsumeArgs {
    pub(crate) topic: String,
    /// Only this partition.
    #[arg(long)]
    pub(crate) partition: Option<u32>,
    /// Starts at this offset of each partition.
    #[arg(long)]
    pub(crate) offset: Option<u64>,
    /// Only records with this key.
    #[arg(long)]
    pub(crate) key: Option<String>,
    /// Only records whose field has this value: `status=RJCT`, `meta.record_id=…`. May be given more than once.
    #[arg(long = "where", value_name = "FIELD=VALUE", value_parser = key_value)]
    pub(crate) filters: Vec<(String, String)>,
    /// Stops after this many records.
    #[arg(long, short = 'n', value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: Option<u64>,
    /// Waits for new records at the end instead of stopping.
    #[arg(long)]
    pub(crate) follow: bool,
    /// Shows personal data, which is masked otherwise.
    #[arg(long)]
    pub(crate) unmask: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TxnCommand {
    /// Lists the transactions that are open on the pipeline's topics.
    List,
    /// Lists those that no coordinator knows: they hold readers back for good.
    FindHanging,
    /// Aborts a transaction that hangs, on all partitions of the cluster where it does.
    Abort(TxnAbortArgs),
}

#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("which").required(true).args(["producer_id", "partition"])))]
pub(crate) struct TxnAbortArgs {
    /// Producer whose transaction it is.
    #[arg(long, value_name = "ID")]
    pub(crate) producer_id: Option<i64>,
    /// Partition that it holds back: `payments.requested.v1-0`.
    #[arg(long, value_name = "TOPIC-N")]
    pub(crate) partition: Option<String>,
    /// Why; logged with what was done.
    #[arg(long)]
    pub(crate) reason: String,
    /// Also aborts what its coordinator still runs. That can split a transaction in two: make sure that its producer and
    /// its coordinator are gone for good.
    #[arg(long)]
    pub(crate) force_running: bool,
    /// Does not ask.
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct DemoArgs {
    /// Payments to generate.
    #[arg(long, short = 'n', default_value_t = 50_000)]
    pub(crate) payments: u64,
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Folder of the demo's broker, state and read model.
    #[arg(long, default_value = "data/demo")]
    pub(crate) dir: PathBuf,
    /// Worker threads.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) workers: u32,
}

/// What can be done to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FaultArg {
    /// Killed without warning, and started again at once.
    Kill,
    /// Killed without warning, and started again once others have taken its tasks over.
    Lose,
    /// Stopped for longer than its session lasts, then let go on.
    Freeze,
    /// Asked to end, and started again later.
    Leave,
}

impl FaultArg {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Lose => "lose",
            Self::Freeze => "freeze",
            Self::Leave => "leave",
        }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct VerifyArgs {
    /// Records per second.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub(crate) rate: u64,
    /// Seconds of load.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) duration: u64,
    /// Accounts of payers to open.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) accounts: u32,
    /// The same seed hands out the same payments and makes the same faults; one is chosen and printed when absent.
    #[arg(long, env = "TIDEMILL_SEED")]
    pub(crate) seed: Option<u64>,
    /// Seconds to wait for the last outcome.
    #[arg(long, default_value_t = 120)]
    pub(crate) drain_timeout: u64,
    /// Worker threads per unit in each process that this command runs the pipeline in.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) workers: u32,
    /// Processes of the pipeline to start; 0 if it runs already.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=16))]
    pub(crate) instances: u32,
    /// Faults to make in the processes that were started.
    #[arg(long, value_delimiter = ',')]
    pub(crate) faults: Vec<FaultArg>,
    /// Seconds within which the tasks of a process must go on after a fault.
    #[arg(long, default_value_t = 20)]
    pub(crate) recovery_bound: u64,
    /// Setting to override in the started processes alone.
    #[arg(long = "instance-set", value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) instance_overrides: Vec<(String, String)>,
    /// Folder of the started processes: their logs and stores.
    #[arg(long, default_value = "data/verify")]
    pub(crate) dir: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DevCommand {
    /// Prints the JSON Schema of the topology file, for editors.
    TopologySchema,
    /// Lists processors, event kinds and sinks.
    Catalog,
    /// Prints the Avro schema of an event kind.
    Schema { kind: String },
}

fn colour(text: &str) -> Result<Colour, String> {
    Colour::parse(text).ok_or_else(|| format!("`{text}` is no colour: a lowercase letter, then letters and digits"))
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("`{text}` is not of the form KEY=VALUE"))?;
    Ok((key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Args::command().debug_assert();
    }
}
