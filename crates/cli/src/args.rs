//! The command line: what can be typed, and nothing about what it means.

mod compare;
mod compare_web;
mod dlq;
mod steer;

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use migration::units::parse_duration;

pub use self::compare::{Choice, VariantsArgs};
pub use self::compare_web::WebArgs;
pub use self::dlq::{DlqCommand, DlqRetryArgs, DlqShowArgs, SelectionArgs};
pub use self::steer::{ScaleArgs, ThrottleArgs};

/// Moves a large dataset into Apache Kafka with many single-threaded worker processes, and proves that every record
/// arrived.
#[derive(Debug, Parser)]
#[command(name = "shardlift", version, max_term_width = 100, propagate_version = true)]
#[command(
    after_help = "Exit codes: 0 done · 1 a bug · 2 command line · 3 config · 4 preflight · 5 some records or shards failed · \
    6 verify found a difference · 7 source changed or unreadable · 74 state directory or dead letters · \
    75 stopped, run again to continue · 130, 143 ended at once by a second signal, run again to continue"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Flags that every command takes.
    #[command(flatten)]
    pub global: GlobalArgs,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Look at some data and write a commented orchestrator.toml
    Init(InitArgs),
    /// Check brokers, topic, source and machine before the first record; sends nothing
    Check(CheckArgs),
    /// Show the shards with their ranges; sends nothing, and contacts no broker unless -b names one
    Plan(PlanArgs),
    /// Send; run it again to continue after any stop or crash
    Run(RunArgs),
    /// How far a job has come, while it runs and after
    Status(StatusArgs),
    /// Give a running job more or fewer workers
    Scale(ScaleArgs),
    /// Let a running job commit, then send nothing until `continue`
    Pause(BegunJobArgs),
    /// Let a paused job go on
    Continue(BegunJobArgs),
    /// Limit the records or bytes a second of a running job, all workers together
    Throttle(ThrottleArgs),
    /// Compare the topic with the source: missing, duplicate, altered, misplaced, unexpected records
    Verify(VerifyArgs),
    /// What a job did, from its state: text, JSON, or a page with pictures
    Report(ReportArgs),
    /// Records that were set aside: list them, show them, send them again
    #[command(subcommand)]
    Dlq(DlqCommand),
    /// Run the job's records in several ways side by side, and see which one pays
    #[command(mut_arg("brokers", on_the_command_line))]
    Compare(Box<CompareArgs>),
    /// One run of a comparison, for `compare` itself
    #[command(hide = true)]
    CompareRound,
    /// Run the embedded broker alone; the first line of stdout is its address
    Broker(BrokerArgs),
}

impl Command {
    /// Its name, as `_command` of the JSON has it.
    pub fn name(&self) -> &'static str {
        match self {
            Command::Init(_) => "init",
            Command::Check(_) => "check",
            Command::Plan(_) => "plan",
            Command::Run(_) => "run",
            Command::Status(_) => "status",
            Command::Scale(_) => "scale",
            Command::Pause(_) => "pause",
            Command::Continue(_) => "continue",
            Command::Throttle(_) => "throttle",
            Command::Verify(_) => "verify",
            Command::Report(_) => "report",
            Command::Dlq(DlqCommand::List(_)) => "dlq list",
            Command::Dlq(DlqCommand::Show(_)) => "dlq show",
            Command::Dlq(DlqCommand::Retry(_)) => "dlq retry",
            Command::Compare(args) if args.scene.is_some() => "compare web",
            Command::Compare(_) => "compare",
            Command::CompareRound => "compare-round",
            Command::Broker(_) => "broker",
        }
    }
}

/// Flags that every command takes.
#[derive(Debug, Args)]
pub struct GlobalArgs {
    /// What stdout gets: text for people or one JSON object
    #[arg(short, long, global = true, env = "SHARDLIFT_OUTPUT", default_value = "text", value_name = "text|json")]
    pub output: OutputFormat,
    /// Only errors on stderr
    #[arg(short, long, global = true, env = "SHARDLIFT_QUIET", value_parser = BoolishValueParser::new(), action = ArgAction::SetTrue)]
    pub quiet: bool,
    /// More on stderr; -vv for everything
    #[arg(short, long, global = true, action = ArgAction::Count, env = "SHARDLIFT_VERBOSE")]
    pub verbose: u8,
    /// How progress is shown on stderr; auto = bars on a terminal, else a line each 10 s
    #[arg(long, global = true, env = "SHARDLIFT_PROGRESS", default_value = "auto", value_name = "auto|plain|json|none")]
    pub progress: ProgressChoice,
    /// Colours; NO_COLOR is honoured
    #[arg(long, global = true, env = "SHARDLIFT_COLOR", default_value = "auto", value_name = "auto|always|never")]
    pub color: Color,
}

/// What stdout gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProgressChoice {
    /// Bars on a terminal, else plain.
    Auto,
    /// One line each 10 s.
    Plain,
    /// One JSON object a second.
    Json,
    /// Nothing.
    None,
}

/// Whether to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal without `NO_COLOR`.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Which job, and what the command line changes in it.
#[derive(Clone, Debug, Args)]
pub struct JobArgs {
    /// What every command that reads a config takes.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// The topic; replaces kafka.topic
    #[arg(short, long, env = "SHARDLIFT_TOPIC", value_name = "TOPIC")]
    pub topic: Option<String>,
    /// How many workers; replaces workers.count
    #[arg(short, long, env = "SHARDLIFT_WORKERS", value_name = "N|auto")]
    pub workers: Option<String>,
}

/// Which job, or which of its retries.
#[derive(Clone, Debug, Args)]
pub struct BegunJobArgs {
    /// The job.
    #[command(flatten)]
    pub job: JobArgs,
    /// The retry N of its dead letters (JOB.retry-N) in place of the job
    #[arg(long, env = "SHARDLIFT_RETRY", value_name = "N")]
    pub retry: Option<std::num::NonZeroU32>,
}

/// A config file, and what the command line changes in it.
#[derive(Clone, Debug, Args)]
pub struct ConfigArgs {
    /// The config file
    #[arg(short, long, env = "SHARDLIFT_CONFIG", default_value = "orchestrator.toml", value_name = "FILE")]
    pub config: PathBuf,
    /// Brokers, comma-separated, or `embedded`; replaces kafka.brokers
    #[arg(short, long, env = "SHARDLIFT_BROKERS", value_delimiter = ',', value_name = "HOST:PORT,…")]
    pub brokers: Vec<String>,
    /// A librdkafka property, as in kcat; may be repeated [env: SHARDLIFT_PROPERTIES, one a line]
    #[arg(short = 'X', long = "property", value_name = "KEY=VALUE", action = ArgAction::Append)]
    pub properties: Vec<String>,
    /// Any key of the config, VALUE in TOML or a bare word; may be repeated [env: SHARDLIFT_SET, one a line]
    #[arg(long, value_name = "PATH=VALUE", action = ArgAction::Append)]
    pub set: Vec<String>,
    /// Let pass what a check refuses, by the name that its message has; may be repeated; replaces checks.accept
    #[arg(long, env = "SHARDLIFT_ACCEPT", value_delimiter = ',', value_name = "NAME", action = ArgAction::Append)]
    pub accept: Vec<String>,
    /// Only the first N non-blank lines in source order, as a job of its own
    #[arg(long, env = "SHARDLIFT_LIMIT", value_name = "N")]
    pub limit: Option<std::num::NonZeroU64>,
}

/// `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Which job.
    #[command(flatten)]
    pub job: JobArgs,
    /// Make the progress topic of a job that delivers exactly once, if it is not there, and nothing else
    #[arg(long)]
    pub create: bool,
}

/// `plan`.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// Which job.
    #[command(flatten)]
    pub job: JobArgs,
    /// Print keys and values of the first records instead of masking them
    #[arg(long)]
    pub show_values: bool,
}

/// `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Which job.
    #[command(flatten)]
    pub job: JobArgs,
    /// Everything in this process, no worker forked
    #[arg(long, env = "SHARDLIFT_SINGLE", conflicts_with = "workers", value_parser = BoolishValueParser::new(), action = ArgAction::SetTrue)]
    pub single: bool,
    /// Forget the state and start over (asks; without a terminal it needs --yes)
    #[arg(long)]
    pub restart: bool,
    /// Don't ask
    #[arg(long, requires = "restart")]
    pub yes: bool,
    /// Add files that match the source's paths now to the plan, behind all others
    #[arg(long, conflicts_with = "restart")]
    pub add: bool,
    /// Verify at the end (always done on the embedded broker)
    #[arg(long, env = "SHARDLIFT_VERIFY", value_parser = BoolishValueParser::new(), action = ArgAction::SetTrue)]
    pub verify: bool,
    /// How it is verified.
    #[command(flatten)]
    pub judge: JudgeArgs,
}

/// How topic and source are compared.
#[derive(Clone, Debug, Args)]
pub struct JudgeArgs {
    /// Let duplicates pass, as far as the known deaths explain them; replaces verify.allow_duplicates
    #[arg(
        long,
        env = "SHARDLIFT_ALLOW_DUPLICATES",
        value_parser = BoolishValueParser::new(),
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_name = "true|false"
    )]
    pub allow_duplicates: Option<bool>,
    /// Write where in the topic each surplus copy stands, with its key: a JSON line each
    // No variable: it is about one comparison, and a `run` without one refuses it.
    #[arg(long, value_name = "FILE")]
    pub duplicates: Option<PathBuf>,
}

/// `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Which job.
    #[command(flatten)]
    pub job: BegunJobArgs,
    /// Show a running job as `run` does, until it ends
    #[arg(long, env = "SHARDLIFT_WATCH", value_parser = BoolishValueParser::new(), action = ArgAction::SetTrue)]
    pub watch: bool,
}

/// `report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Which job.
    #[command(flatten)]
    pub job: BegunJobArgs,
    /// Also write one self-contained HTML page with pictures
    #[arg(long, env = "SHARDLIFT_REPORT_HTML", value_name = "FILE")]
    pub html: Option<PathBuf>,
}

/// `verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Which job.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// The topic; replaces kafka.topic
    #[arg(short, long, env = "SHARDLIFT_TOPIC", value_name = "TOPIC")]
    pub topic: Option<String>,
    /// How many processes read at the same time; replaces verify.workers
    #[arg(short, long, env = "SHARDLIFT_VERIFY_WORKERS", value_name = "N")]
    pub workers: Option<std::num::NonZeroU64>,
    /// How it is compared.
    #[command(flatten)]
    pub judge: JudgeArgs,
    /// Print keys and values of the examples instead of masking them
    #[arg(long)]
    pub show_values: bool,
    /// Send what the topic lacks, and compare again; does not restore order (asks; without a terminal it needs --yes)
    #[arg(long)]
    pub repair: bool,
    /// Don't ask
    #[arg(long, requires = "repair")]
    pub yes: bool,
    /// Compare the topic with count and sum of what was delivered, as each commit kept them, not with the source: for
    /// topics to which only this job wrote
    #[arg(long, conflicts_with_all = ["repair", "duplicates", "allow_duplicates", "workers"])]
    pub receipts: bool,
}

/// `init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// The data: a path or a pattern such as 'data/*.jsonl'; may be repeated
    #[arg(long, env = "SHARDLIFT_FROM", value_delimiter = ',', required = true, value_name = "PATTERN")]
    pub from: Vec<String>,
    /// The topic to write into the config
    #[arg(short, long, env = "SHARDLIFT_TOPIC", value_name = "TOPIC")]
    pub topic: Option<String>,
    /// The key's field, such as .customer.id, or `none`; without it one that looks like a key
    #[arg(long, env = "SHARDLIFT_KEY", value_name = "PATH|none")]
    pub key: Option<String>,
    /// The field of the records' time, or `none`; without it one that looks so is written as a comment
    #[arg(long, env = "SHARDLIFT_TIMESTAMP", value_name = "PATH|none")]
    pub timestamp: Option<String>,
    /// Brokers to write into the config
    #[arg(short, long, env = "SHARDLIFT_BROKERS", value_delimiter = ',', value_name = "HOST:PORT,…")]
    pub brokers: Vec<String>,
    /// Where to write the config; an existing file is never replaced
    #[arg(short, long, env = "SHARDLIFT_CONFIG", default_value = "orchestrator.toml", value_name = "FILE")]
    pub config: PathBuf,
}

/// `compare`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct CompareArgs {
    /// Something else than variants of the same job.
    #[command(subcommand)]
    pub scene: Option<CompareScene>,
    /// Which variants, and how.
    #[command(flatten)]
    pub variants: VariantsArgs,
}

/// What `compare` compares besides the variants.
#[derive(Debug, Subcommand)]
pub enum CompareScene {
    /// Web requests that wait for their record, beside ones that don't, under each flush
    #[command(mut_arg("brokers", on_the_command_line))]
    Web(WebArgs),
}

/// Brokers of a comparison: no variable and no config makes one write as fast as it can to the brokers of production.
fn on_the_command_line(brokers: clap::Arg) -> clap::Arg {
    brokers
        .env(clap::builder::Resettable::<clap::builder::OsStr>::Reset)
        .help("Real brokers to compare on, comma-separated; only on the command line, without it the embedded broker")
}

/// `broker`.
#[derive(Debug, Args)]
pub struct BrokerArgs {
    /// Partitions of each topic
    #[arg(long, env = "SHARDLIFT_BROKER_PARTITIONS", default_value = "16", value_parser = clap::value_parser!(u32).range(1..=1000), value_name = "N")]
    pub partitions: u32,
    /// Topics that it has; may be repeated
    #[arg(
        short,
        long = "topic",
        env = "SHARDLIFT_BROKER_TOPICS",
        value_delimiter = ',',
        default_value = "orders",
        value_name = "TOPIC"
    )]
    pub topics: Vec<String>,
    /// Round-trip time of each request, such as 5ms
    #[arg(long, env = "SHARDLIFT_BROKER_RTT", default_value = "0ms", value_parser = parse_rtt, value_name = "DURATION")]
    pub rtt: Duration,
}

/// The round trip of the embedded broker. With a longer one nothing answers before those who wait give up.
pub fn parse_rtt(text: &str) -> Result<Duration, String> {
    let most = Duration::from_secs(1);
    parse_duration(text).and_then(|rtt| if rtt <= most { Ok(rtt) } else { Err(format!("`{text}` is more than 1s")) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_flags_of_keys_are_those_of_their_declarations() {
        let mut root = Cli::command();
        root.build();
        let command = |name: &str| root.find_subcommand(name).expect("a command");
        for (key, flag) in migration::config::KEYS.iter().filter_map(|key| Some((key, key.flag?))) {
            // A flag may be one key's for a run and another one's for a comparison.
            let same = |arg: &&clap::Arg| {
                let named = arg.get_long().is_some_and(|long| flag.long == format!("--{long}"));
                named && arg.get_env().and_then(|env| env.to_str()) == Some(flag.variable)
            };
            let found = ["run", "verify"].into_iter().find_map(|name| command(name).get_arguments().find(same));
            let arg = found.unwrap_or_else(|| panic!("no flag {} with the variable {}", flag.long, flag.variable));
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            assert!(
                help.contains(&format!("replaces {}", key.path)),
                "{} does not say that it replaces {}",
                flag.long,
                key.path
            );
        }
    }

    #[test]
    fn a_comparison_takes_brokers_from_the_command_line_only() {
        let mut root = Cli::command();
        root.build();
        let compare = root.find_subcommand("compare").expect("a command");
        let web = compare.find_subcommand("web").expect("a command");
        for command in [compare, web] {
            let brokers = command.get_arguments().find(|arg| arg.get_long() == Some("brokers")).expect("a flag");
            assert_eq!(brokers.get_env(), None, "{}", command.get_name());
        }
    }

    /// Kubernetes injects SHARDLIFT_PORT and SHARDLIFT_SERVICE_* for a service of that name.
    #[test]
    fn no_flag_maps_to_a_variable_that_kubernetes_injects() {
        let mut root = Cli::command();
        root.build();
        for command in root.get_subcommands() {
            for arg in command.get_arguments() {
                let Some(name) = arg.get_env().and_then(|e| e.to_str()) else { continue };
                assert!(name.starts_with("SHARDLIFT_"), "{name}");
                assert!(name != "SHARDLIFT_PORT" && !name.starts_with("SHARDLIFT_SERVICE"), "{name}");
            }
        }
    }
}
