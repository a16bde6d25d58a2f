//! What can be typed after `dlq`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args, Subcommand};

use super::JobArgs;

/// What `dlq` does.
#[derive(Debug, Subcommand)]
pub enum DlqCommand {
    /// Why records were set aside, where the first ones stand, and which were sent again
    List(JobArgs),
    /// The dead letters one by one, or their records, to be edited
    Show(DlqShowArgs),
    /// Send them again, as a job of its own; run it again to continue after any stop or crash
    Retry(DlqRetryArgs),
}

/// Which dead letters.
#[derive(Clone, Copy, Debug, Args)]
pub struct SelectionArgs {
    /// Only those of one reason, by its number in `dlq list`
    #[arg(long, env = "SHARDLIFT_DLQ_REASON", value_name = "N")]
    pub reason: Option<NonZeroUsize>,
    /// Only those that one shard set aside
    #[arg(long, env = "SHARDLIFT_DLQ_SHARD", value_name = "N")]
    pub shard: Option<u32>,
    /// Only those that don't hold their record whole, in one line
    #[arg(long, env = "SHARDLIFT_DLQ_CUT", value_parser = BoolishValueParser::new(), action = ArgAction::SetTrue)]
    pub cut: bool,
}

/// `dlq show`.
#[derive(Debug, Args)]
pub struct DlqShowArgs {
    /// Which job.
    #[command(flatten)]
    pub job: JobArgs,
    /// Which letters.
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// Those that were sent again, too
    #[arg(long, env = "SHARDLIFT_DLQ_ALL", value_parser = BoolishValueParser::new(), action = ArgAction::SetTrue)]
    pub all: bool,
    /// The first N of them [default: 20; with --records all]
    #[arg(long, env = "SHARDLIFT_DLQ_FIRST", value_name = "N")]
    pub first: Option<NonZeroUsize>,
    /// Print the records instead of masking them
    #[arg(long)]
    pub show_values: bool,
    /// Write the records themselves to stdout, one a line, as `dlq retry --edited` takes them back
    #[arg(long, conflicts_with = "show_values")]
    pub records: bool,
}

/// `dlq retry`.
#[derive(Debug, Args)]
pub struct DlqRetryArgs {
    /// Which job.
    #[command(flatten)]
    pub job: JobArgs,
    /// Which letters.
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// Send the records of this file (JSON lines) in place of them
    #[arg(long, env = "SHARDLIFT_DLQ_EDITED", value_name = "FILE")]
    pub edited: Option<PathBuf>,
    /// Everything in this process, no worker forked
    #[arg(long, env = "SHARDLIFT_SINGLE", conflicts_with = "workers", value_parser = BoolishValueParser::new(), action = ArgAction::SetTrue)]
    pub single: bool,
}
