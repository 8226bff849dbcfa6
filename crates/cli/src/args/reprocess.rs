//! A second pipeline over the same inputs, and positions that are moved.

use std::path::PathBuf;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum ReprocessCommand {
    /// Begins, or goes on: runs the inputs through the pipeline `--as COLOUR` up to where the live one is.
    Start {
        /// Where to begin: `beginning`, a time, or `TOPIC/PARTITION=OFFSET,…`. With state only from the beginning.
        #[arg(long, default_value = "beginning")]
        from: String,
        #[command(flatten)]
        run: ReprocessRunArgs,
        /// Why; kept in the audit trail.
        #[arg(long)]
        reason: String,
    },
    /// Shows which pipeline is live, and how far a reprocess has come.
    Status,
    /// Compares what both pipelines have made of the inputs, and says what made the difference.
    Diff {
        /// Topology of the new pipeline; the one of `--topology` when absent.
        #[arg(long)]
        with: Option<PathBuf>,
        /// Differences of each sort to show.
        #[arg(long, default_value_t = 10)]
        samples: usize,
    },
    /// Stops the live pipeline, brings both to the same place, and turns readers to the new one. Goes on where it was killed.
    Cutover {
        #[command(flatten)]
        run: ReprocessRunArgs,
        /// Takes over although payments have an outcome in the live pipeline and none in the new one.
        #[arg(long)]
        accept_missing: bool,
        /// Why; kept in the audit trail.
        #[arg(long)]
        reason: String,
        /// Does not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Takes the new pipeline away with everything it has made. The live one goes on where it was.
    Abort {
        /// Topology of the new pipeline; the one of `--topology` when absent.
        #[arg(long)]
        with: Option<PathBuf>,
        /// Why; kept in the audit trail.
        #[arg(long)]
        reason: String,
        /// Does not ask.
        #[arg(long)]
        yes: bool,
    },
}

/// How the new pipeline is run.
#[derive(Debug, clap::Args)]
pub(crate) struct ReprocessRunArgs {
    /// Topology of the new pipeline; the one of `--topology` when absent.
    #[arg(long)]
    pub(crate) with: Option<PathBuf>,
    /// Worker threads per unit.
    #[arg(long, env = "TIDEMILL_WORKERS", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) workers: u32,
    /// Instance whose local stores are used, so that `run` finds them filled after the cutover.
    #[arg(long, env = "TIDEMILL_INSTANCE", default_value = "a")]
    pub(crate) instance: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum OffsetsCommand {
    /// Writes a plan: which positions would be moved, and where to.
    Plan(OffsetsPlanArgs),
    /// Carries a plan out, if nothing has moved since and nothing runs.
    Apply(OffsetsApplyArgs),
}

#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("target").required(true).args(["unit", "sink"])))]
pub(crate) struct OffsetsPlanArgs {
    /// Unit whose positions are meant. One with state is refused.
    #[arg(long)]
    pub(crate) unit: Option<String>,
    /// Sink whose positions are meant.
    #[arg(long)]
    pub(crate) sink: Option<String>,
    /// Where to: `beginning`, `end`, an offset, or a time: `2h` ago, or 2026-01-31T12:00:00Z.
    #[arg(long)]
    pub(crate) to: String,
    /// Only this topic.
    #[arg(long)]
    pub(crate) topic: Option<String>,
    /// Only this partition.
    #[arg(long)]
    pub(crate) partition: Option<u32>,
    /// File to write the plan to.
    #[arg(long, short = 'o')]
    pub(crate) out: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(crate) struct OffsetsApplyArgs {
    /// File that `offsets plan` has written.
    pub(crate) plan: PathBuf,
    /// Why; kept in the audit trail.
    #[arg(long)]
    pub(crate) reason: String,
    /// Does not ask.
    #[arg(long)]
    pub(crate) yes: bool,
}
