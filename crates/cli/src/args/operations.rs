//! What operators do on a bad day.

use std::path::PathBuf;

use clap::Subcommand;

use super::key_value;

#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct DlqFilter {
    /// Only dead letters with this code.
    #[arg(long)]
    pub(crate) code: Option<String>,
    /// Only those of this stage.
    #[arg(long)]
    pub(crate) stage: Option<String>,
    /// Only those of this class: decode, schema, validation, business, bug, poison.
    #[arg(long)]
    pub(crate) class: Option<String>,
    /// Only those that name this field, as a JSON pointer.
    #[arg(long)]
    pub(crate) field: Option<String>,
    /// Only those that failed in this way, as `stats` shows it.
    #[arg(long)]
    pub(crate) fingerprint: Option<String>,
    /// Only records with this key.
    #[arg(long)]
    pub(crate) key: Option<String>,
    /// Only values that name this registered schema.
    #[arg(long)]
    pub(crate) schema_id: Option<String>,
    /// Failed at or after this: `2h`, `30m`, `1d`, or a time such as 2026-01-31T12:00:00Z.
    #[arg(long)]
    pub(crate) since: Option<String>,
    /// Failed before this.
    #[arg(long)]
    pub(crate) until: Option<String>,
    /// Only values whose field says this: `/currency=EUR`. May be given more than once.
    #[arg(long = "where", value_name = "POINTER=VALUE", value_parser = key_value)]
    pub(crate) values: Vec<(String, String)>,
    /// Only this partition.
    #[arg(long)]
    pub(crate) partition: Option<u32>,
    /// First offset.
    #[arg(long)]
    pub(crate) from: Option<u64>,
    /// Offset after the last.
    #[arg(long)]
    pub(crate) to: Option<u64>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DlqCommand {
    /// Lists dead letters by topic and code.
    Ls {
        /// Dead-letter topic; all of the topology when absent.
        topic: Option<String>,
        #[command(flatten)]
        filter: DlqFilter,
    },
    /// Shows what fails: by cause, with the trend, the oldest and an example.
    Stats {
        /// Dead-letter topic; all of the topology when absent.
        topic: Option<String>,
        #[command(flatten)]
        filter: DlqFilter,
    },
    /// Shows one dead letter: what failed, where, and the original bytes.
    Show {
        topic: String,
        partition: u32,
        offset: u64,
        /// Shows the payload, which may hold personal data.
        #[arg(long)]
        unmask: bool,
    },
    /// Writes a plan: which letters would be sent back, and what would become of each today.
    Plan(DlqPlanArgs),
    /// Changes values in a plan, and judges them anew.
    Edit(DlqEditArgs),
    /// Carries a plan out: each letter goes back once, however often this runs and wherever it is killed.
    Apply(DlqApplyArgs),
    /// Gives letters up. What waits behind them goes on.
    Discard {
        topic: String,
        #[command(flatten)]
        filter: DlqFilter,
        /// Why; kept in the audit trail.
        #[arg(long)]
        reason: String,
        /// Does not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Writes letters to standard output as JSON lines.
    Export {
        topic: String,
        #[command(flatten)]
        filter: DlqFilter,
        /// Shows personal data, which is masked otherwise.
        #[arg(long)]
        unmask: bool,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct DlqPlanArgs {
    pub(crate) topic: String,
    #[command(flatten)]
    pub(crate) filter: DlqFilter,
    /// File to write the plan to.
    #[arg(long, short = 'o')]
    pub(crate) out: PathBuf,
    /// Where they go: `stage` (the one that failed), `origin` (the topic it read), or the name of a topic to look at them.
    #[arg(long, default_value = "stage")]
    pub(crate) destination: String,
    /// Also sends those that would fail again.
    #[arg(long)]
    pub(crate) include_failing: bool,
    /// Also sends those that have come back three times.
    #[arg(long)]
    pub(crate) override_loop: bool,
}

#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("change").required(true).args(["patch", "value", "script"])))]
pub(crate) struct DlqEditArgs {
    /// File that `dlq plan` has written; it is written anew.
    pub(crate) plan: PathBuf,
    /// File with a JSON Patch (RFC 6902) for the decoded value of each letter.
    #[arg(long)]
    pub(crate) patch: Option<PathBuf>,
    /// Field and its new JSON value: `/currency="EUR"`. May be given more than once.
    #[arg(long, value_name = "POINTER=JSON", value_parser = key_value)]
    pub(crate) value: Vec<(String, String)>,
    /// File with a script in rhai that changes the variable `value`, the decoded value of each letter.
    #[arg(long)]
    pub(crate) script: Option<PathBuf>,
    /// Only letters with this code.
    #[arg(long)]
    pub(crate) code: Option<String>,
    /// Only the letter at this place: `PARTITION@OFFSET`. May be given more than once.
    #[arg(long)]
    pub(crate) only: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct DlqApplyArgs {
    /// File that `dlq plan` has written.
    pub(crate) plan: PathBuf,
    /// Letters per second; as fast as possible when absent.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(crate) rate: Option<u64>,
    /// Pauses when so many of a hundred letters that were sent have failed again.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=101))]
    pub(crate) failed_percent_max: u64,
    /// Waits while more records than this wait for the stage.
    #[arg(long)]
    pub(crate) lag_records_max: Option<u64>,
    /// Why; kept with each letter and in the audit trail.
    #[arg(long)]
    pub(crate) reason: String,
    /// Does not ask.
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ReplayCommand {
    /// Shows the last replay of each dead-letter topic.
    Status,
    /// Has the replay of a topic wait, whoever runs it.
    Pause {
        topic: String,
        #[arg(long)]
        reason: String,
    },
    /// Has it go on. Its process goes on by itself; if that has ended, apply the plan again.
    Resume {
        topic: String,
        #[arg(long)]
        reason: String,
    },
    /// Ends it. What was sent stays sent; another replay may begin.
    Cancel {
        topic: String,
        #[arg(long)]
        reason: String,
    },
    /// Shows what the audit trail says about replays.
    Log,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ParkedCommand {
    /// Lists keys whose records wait, with how many do.
    Ls {
        /// Topic whose records wait; all when absent.
        topic: Option<String>,
    },
    /// Shows one key, and the records that wait for it.
    Show {
        topic: String,
        key: String,
        /// Shows the payloads, which may hold personal data.
        #[arg(long)]
        unmask: bool,
    },
    /// Has what waits go on without the failed record, which stays a dead letter.
    Release {
        topic: String,
        key: String,
        #[arg(long)]
        reason: String,
        /// Does not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Gives the failed record up, and has what waits go on.
    Discard {
        topic: String,
        key: String,
        #[arg(long)]
        reason: String,
        /// Does not ask.
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Lists what operators have done.
    Ls {
        /// Only the last so many.
        #[arg(long, short = 'n')]
        limit: Option<usize>,
        /// Only this verb: `dlq.apply`, `txn.abort`.
        #[arg(long)]
        verb: Option<String>,
    },
    /// Checks the whole trail: every flipped bit, gap and change of order is found.
    Verify {
        /// File with signed checkpoints, to find an end that was cut off or written anew.
        #[arg(long, requires = "public_key")]
        checkpoints: Option<PathBuf>,
        /// File with the key that they must be signed with.
        #[arg(long)]
        public_key: Option<PathBuf>,
    },
    /// Makes a pair of keys: FILE is secret, FILE.pub is not.
    Keygen { file: PathBuf },
    /// Verifies the trail and appends a signed checkpoint of it to a file, which belongs where operators cannot write.
    Checkpoint {
        /// File with the secret key.
        #[arg(long)]
        key: PathBuf,
        /// File to append to.
        #[arg(long)]
        to: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum StateCommand {
    /// Shows the value of one key.
    Get {
        store: String,
        key: String,
        #[command(flatten)]
        at: StateAt,
    },
    /// Lists keys of a store.
    Scan {
        store: String,
        /// Only keys that begin so.
        #[arg(long, default_value = "")]
        prefix: String,
        /// Stops after this many.
        #[arg(long, short = 'n', default_value_t = 100)]
        limit: usize,
        #[command(flatten)]
        at: StateAt,
    },
}

#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct StateAt {
    /// Shows personal data, which is masked otherwise.
    #[arg(long)]
    pub(crate) unmask: bool,
    /// Only this task.
    #[arg(long)]
    pub(crate) task: Option<u32>,
    /// As of this offset of the task's state log instead of now.
    #[arg(long, requires = "task")]
    pub(crate) at_offset: Option<u64>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct DrillArgs {
    /// Payments of the producer's bad deploy.
    #[arg(long, short = 'n', default_value_t = 23_000)]
    pub(crate) payments: u64,
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Folder of the drill's broker, state, read model and plans.
    #[arg(long, default_value = "data/drill")]
    pub(crate) dir: PathBuf,
}
