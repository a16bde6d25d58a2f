//! From file, environment and flags to a [`Job`]: flag beats environment beats file.

use std::num::NonZeroU64;
use std::path::Path;

use migration::config::{CheckProperties, ConfigErrors, Context, Typed};
use migration::job::{Brokers, Delivery, KafkaRules, VerifyRules, WorkerRules};
use migration::printable::printable_path;
use migration::{Exit, Job, UserError};

use crate::args::{ConfigArgs, JobArgs, JudgeArgs, VerifyArgs};

/// Reads the config and applies what the command line and the environment change in it.
pub fn load(args: &JobArgs) -> Result<Job, UserError> {
    read(args.into(), &Reading::ALL)
}

/// The same for a command that compares topic and source.
pub fn load_to_judge(args: &JobArgs, judge: &JudgeArgs) -> Result<Job, UserError> {
    read(Keys { allow_duplicates: judge.allow_duplicates, ..args.into() }, &Reading::ALL)
}

/// The same for `verify`, whose workers read.
pub fn load_to_verify(args: &VerifyArgs) -> Result<Job, UserError> {
    let (topic, verify_workers) = (args.topic.as_deref(), args.workers);
    let allow_duplicates = args.judge.allow_duplicates;
    read(Keys { topic, verify_workers, allow_duplicates, ..Keys::of(&args.config) }, &Reading::ALL)
}

/// The same for a command that has no flag for the topic or for the number of workers.
pub fn load_config(config: &ConfigArgs) -> Result<Job, UserError> {
    read(Keys::of(config), &Reading::ALL)
}

/// The same for a comparison: on the brokers that the command line names, else on the embedded one, with nothing of the
/// config that is for real brokers.
pub fn load_for_comparison(config: &ConfigArgs) -> Result<(Job, LeftAlone), UserError> {
    if !config.brokers.is_empty() {
        return load_config(config).map(|mut job| {
            let left_alone = LeftAlone { brokers: Brokers::Embedded, delivery: compared_delivery(&mut job) };
            (job, left_alone)
        });
    }
    let unset = || "not needed".to_owned();
    let check = |given: &[(String, String)]| {
        let kept: Vec<_> = given.iter().filter(|(name, _)| !is_of_real_brokers(name)).cloned().collect();
        kafka::check_properties(&kept)
    };
    let reading = Reading {
        env: &|name| Some(std::env::var(name).unwrap_or_else(|_| unset())),
        read_secret_file: &|path| Ok(std::fs::read_to_string(path).unwrap_or_else(|_| unset())),
        check_properties: &check,
        contacts_brokers: false,
    };
    let mut job = read(Keys::of(config), &reading)?;
    job.kafka.properties.retain(|(name, _)| !is_of_real_brokers(name));
    let brokers = std::mem::replace(&mut job.kafka.brokers, Brokers::Embedded);
    let delivery = compared_delivery(&mut job);
    Ok((job, LeftAlone { brokers, delivery }))
}

/// Each way of sending that is compared delivers at least once, whatever the job does. Returns what the job does.
fn compared_delivery(job: &mut Job) -> Delivery {
    std::mem::replace(&mut job.kafka.delivery, Delivery::AtLeastOnce)
}

/// What a config says and a comparison does otherwise.
pub struct LeftAlone {
    /// Brokers that are not contacted; the embedded one, if there are none.
    brokers: Brokers,
    /// How the job delivers.
    delivery: Delivery,
}

impl LeftAlone {
    /// What is done otherwise, a sentence each.
    pub fn told(&self) -> Vec<String> {
        let brokers = match &self.brokers {
            Brokers::Embedded => None,
            Brokers::Bootstrap(brokers) => Some(brokers.join(",")),
        };
        let brokers = brokers.map(|brokers| {
            format!("this runs on the embedded broker, and {brokers} is not contacted: `-b {brokers}` compares there")
        });
        let delivery = (self.delivery == Delivery::ExactlyOnce).then(|| {
            "the job delivers exactly once, and every setting that is compared delivers at least once: no transactions are measured"
                .to_owned()
        });
        brokers.into_iter().chain(delivery).collect()
    }
}

/// Whether a property of the client says how real brokers are reached: the embedded one has neither TLS nor users, and
/// an address of its own.
fn is_of_real_brokers(property: &str) -> bool {
    const OF_THEM: [&str; 7] =
        ["security.", "sasl.", "ssl.", "enable.ssl.", "https.", "broker.address.family", "client.dns.lookup"];
    OF_THEM.iter().any(|prefix| property.starts_with(prefix))
}

/// The same without the values of its secrets, and so without librdkafka's opinion of them, for a command that contacts
/// no broker: it says where the job is and what it is called.
pub fn load_without_secrets(args: &JobArgs) -> Result<Job, UserError> {
    let unread = || "not needed".to_owned();
    let reading = Reading {
        env: &|_| Some(unread()),
        read_secret_file: &|_| Ok(unread()),
        check_properties: &|_| Vec::new(),
        contacts_brokers: false,
    };
    read(args.into(), &reading)
}

/// How a config is read.
struct Reading<'a> {
    env: &'a dyn Fn(&str) -> Option<String>,
    read_secret_file: &'a dyn Fn(&Path) -> std::io::Result<String>,
    check_properties: &'a CheckProperties<'a>,
    contacts_brokers: bool,
}

/// Whether what can be read at a path is a folder.
fn is_folder(path: &Path) -> std::io::Result<bool> {
    let meta = std::fs::metadata(path)?;
    // To open a pipe would wait for its writer, and take what is in it.
    if meta.is_file() {
        std::fs::File::open(path)?;
    }
    Ok(meta.is_dir())
}

impl Reading<'static> {
    /// With everything that a command needs which contacts brokers.
    const ALL: Self = Reading {
        env: &|name| std::env::var(name).ok(),
        read_secret_file: &|path| std::fs::read_to_string(path),
        check_properties: &kafka::check_properties,
        contacts_brokers: true,
    };
}

/// What the command line says about the config.
#[derive(Clone, Copy)]
struct Keys<'a> {
    config: &'a ConfigArgs,
    topic: Option<&'a str>,
    workers: Option<&'a str>,
    verify_workers: Option<NonZeroU64>,
    allow_duplicates: Option<bool>,
}

impl<'a> Keys<'a> {
    /// Those that every command with a config has.
    fn of(config: &'a ConfigArgs) -> Self {
        Keys { config, topic: None, workers: None, verify_workers: None, allow_duplicates: None }
    }
}

impl<'a> From<&'a JobArgs> for Keys<'a> {
    fn from(args: &'a JobArgs) -> Self {
        Keys { topic: args.topic.as_deref(), workers: args.workers.as_deref(), ..Keys::of(&args.config) }
    }
}

fn read(keys: Keys<'_>, reading: &Reading<'_>) -> Result<Job, UserError> {
    let args = keys.config;
    let shown = printable_path(&args.config);
    let text = std::fs::read_to_string(&args.config).map_err(|error| missing(&shown, &error))?;
    let file = std::path::absolute(&args.config).map_err(|error| missing(&shown, &error))?;
    let mut typed = Typed::parse(&text, &shown).map_err(wrong)?;
    override_keys(&mut typed, keys);
    let &Reading { env, read_secret_file, check_properties, contacts_brokers } = reading;
    let config_dir = file.parent().unwrap_or(Path::new("/"));
    let context = Context { config_dir, env, read_secret_file, check_properties, is_folder: &is_folder, contacts_brokers };
    let job = typed.mean(&context).map_err(wrong)?;
    Ok(match args.limit {
        Some(limit) => job.limited(limit.get()),
        None => job,
    })
}

fn missing(path: &str, error: &std::io::Error) -> UserError {
    UserError::new(Exit::Config, format!("cannot read the config {path}: {error}"))
        .hint("name it with -c FILE, or make one with `shardlift init --from 'data/*.jsonl'`")
}

fn wrong(errors: ConfigErrors) -> UserError {
    UserError::new(errors.exit(), errors)
}

/// The environment first, then the flags; in each, the general `--set` and `-X` before the flags of their own.
fn override_keys(typed: &mut Typed, keys: Keys<'_>) {
    let Keys { config: args, topic, workers, verify_workers, allow_duplicates } = keys;
    for pair in lines_of("SHARDLIFT_SET") {
        typed.set_assignment(&pair, "SHARDLIFT_SET");
    }
    for pair in lines_of("SHARDLIFT_PROPERTIES") {
        typed.set_property(&pair, "SHARDLIFT_PROPERTIES");
    }
    // An empty value is an error like any other: a script's unset variable must not send to the config's brokers
    // instead.
    let joined = |list: &[String]| (!list.is_empty()).then(|| list.join(","));
    let own = [
        (KafkaRules::BROKERS.declared(), joined(&args.brokers)),
        (KafkaRules::TOPIC.declared(), topic.map(str::to_owned)),
        (WorkerRules::COUNT.declared(), workers.map(str::to_owned)),
        (Job::ACCEPT.declared(), joined(&args.accept)),
    ];
    // clap gives the flag's value, else the variable's.
    let own: Vec<_> = own
        .into_iter()
        .filter_map(|(key, value)| {
            let flag = key.flag?;
            let from_variable = value.is_some() && std::env::var(flag.variable).ok() == value;
            Some((key.path, if from_variable { flag.variable } else { flag.long }, from_variable, value))
        })
        .collect();
    let set_own = |typed: &mut Typed, wanted: bool| {
        for (path, origin, from_variable, value) in &own {
            if let Some(value) = value.as_ref().filter(|_| *from_variable == wanted) {
                typed.set_text(path, value, origin);
            }
        }
    };
    set_own(typed, true);
    // A word of clap's own, which is no text: `1` and `yes` are true, too.
    let allow = VerifyRules::ALLOW_DUPLICATES.declared();
    let set_allow = |typed: &mut Typed, wanted: bool| {
        let (Some(value), Some(flag)) = (allow_duplicates, allow.flag) else { return };
        let from_variable = lines_of(flag.variable).first().is_some_and(|text| is_true(text) == value);
        if from_variable == wanted {
            let origin = if from_variable { flag.variable } else { flag.long };
            typed.set_assignment(&format!("{}={value}", allow.path), origin);
        }
    };
    // A number, which clap has checked.
    let readers = VerifyRules::WORKERS.declared();
    let set_readers = |typed: &mut Typed, wanted: bool| {
        let (Some(value), Some(flag)) = (verify_workers, readers.flag) else { return };
        let from_variable = lines_of(flag.variable).first() == Some(&value.to_string());
        if from_variable == wanted {
            let origin = if from_variable { flag.variable } else { flag.long };
            typed.set_assignment(&format!("{}={value}", readers.path), origin);
        }
    };
    set_allow(typed, true);
    set_readers(typed, true);
    for pair in &args.set {
        typed.set_assignment(pair, "--set");
    }
    for pair in &args.properties {
        typed.set_property(pair, "-X");
    }
    set_own(typed, false);
    set_allow(typed, false);
    set_readers(typed, false);
}

/// Whether a variable says yes.
fn is_true(text: &str) -> bool {
    ["1", "true", "yes", "y", "t", "on"].contains(&text.to_lowercase().as_str())
}

/// A list in a variable: one entry a line, because values may hold commas.
fn lines_of(variable: &str) -> Vec<String> {
    let text = std::env::var(variable).unwrap_or_default();
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}
