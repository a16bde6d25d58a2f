//! Where a comparison writes to: a topic of its own on the embedded broker, or one on real brokers that is made for it and deleted
//! again. Never the job's topic.

use std::time::Duration;

use kafka::{EmbeddedOptions, PreflightProblem, PreflightProblemKind};
use migration::job::Brokers;
use migration::{Exit, Job};
use process::RunningHelper;

use crate::error::CliError;
use crate::interrupt::Interrupt;
use crate::ui::Ui;
use crate::{embedded, helper, preflight};

/// What its names begin with on real brokers.
const PREFIX: &str = "shardlift-compare-";
/// The topic on an embedded broker.
const EMBEDDED: &str = "compare";
/// How long making or deleting one may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is wanted.
pub struct Wanted<'a> {
    /// How many partitions at least.
    pub partitions: u32,
    /// Round-trip time of an embedded broker.
    pub rtt: Duration,
    /// An existing topic on real brokers to write to instead.
    pub into: Option<&'a str>,
}

/// A topic to write to; the job's brokers and topic are set to it. When it goes, so does what was made for it.
pub struct OwnTopic {
    /// The job, for the brokers.
    job: Job,
    /// Made here, hence deleted here.
    made: bool,
    _broker: Option<RunningHelper>,
}

impl OwnTopic {
    /// Makes it, and points the job at it.
    pub fn make(job: &mut Job, wanted: &Wanted<'_>, interrupt: &Interrupt, ui: &Ui) -> Result<OwnTopic, CliError> {
        if job.kafka.brokers == Brokers::Embedded {
            if let Some(into) = wanted.into {
                let message = format!("--into-topic {into} is for real brokers, and this would use the embedded one");
                return Err(CliError::new(Exit::Usage, message).hint("name the brokers with -b or kafka.brokers"));
            }
            let options = EmbeddedOptions { partitions: wanted.partitions, topics: vec![EMBEDDED.to_owned()], rtt: wanted.rtt };
            let broker = embedded::start(&options)?;
            job.kafka.topic = EMBEDDED.to_owned();
            job.kafka.brokers = Brokers::Bootstrap(vec![embedded::address(&broker)]);
            return Ok(OwnTopic { job: job.clone(), made: false, _broker: Some(broker) });
        }
        if let Some(into) = wanted.into {
            into.clone_into(&mut job.kafka.topic);
            return Ok(OwnTopic { job: job.clone(), made: false, _broker: None });
        }
        let seconds = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs());
        job.kafka.topic = format!("{PREFIX}{seconds}-{}", std::process::id());
        preflight::reach(job, interrupt)?;
        // From here on it may exist, even if making it is interrupted.
        let mut own = OwnTopic { job: job.clone(), made: true, _broker: None };
        if !ui.quiet {
            ui.say(format!("topic {} is made for this comparison and deleted at its end", job.kafka.topic));
        }
        let refused: Option<PreflightProblem> = helper::ask("shardlift topic", Some(interrupt), || {
            Ok(kafka::create_topic(&own.job, &own.job.kafka.topic, wanted.partitions, None, PATIENCE).err())
        })?;
        let Some(problem) = refused else { return Ok(own) };
        // A refusal made nothing; only silence leaves it open.
        own.made = problem.kind == PreflightProblemKind::Unreachable;
        Err(CliError::new(Exit::Preflight, problem).hint("name an existing topic that may be written to with --into-topic"))
    }
}

impl Drop for OwnTopic {
    fn drop(&mut self) {
        if !self.made {
            return;
        }
        let topic = &self.job.kafka.topic;
        // Signals wait meanwhile: this is what they would have to clean up.
        let deleted = helper::ask("shardlift topic", None, || {
            kafka::delete_topic(&self.job, topic, PATIENCE).map_err(|problem| CliError::new(Exit::Preflight, problem))
        });
        if let Err(error) = deleted {
            tracing::error!("{}; delete topic {topic} yourself", error.message);
        }
    }
}
