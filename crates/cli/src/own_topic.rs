//! Where a comparison writes to: a topic of its own on the embedded broker, or one on real brokers that is made for it
//! like the job's and deleted again. Never the job's topic.

use std::time::{Duration, Instant};

use kafka::{EmbeddedOptions, NewTopic, PreflightProblem, PreflightProblemKind, TopicShape};
use migration::job::Brokers;
use migration::units::{show_size, show_things};
use migration::{Exit, Job, UserError};
use process::RunningHelper;

use crate::interrupt::Interrupt;
use crate::ui::Ui;
use crate::{embedded, helper, preflight};

/// What its names begin with on real brokers.
const PREFIX: &str = "shardlift-compare-";
/// The topic on an embedded broker.
const EMBEDDED: &str = "compare";
/// How long making or deleting one may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long brokers may take to carry out a request to make one after its answer is no longer waited for.
const STRAGGLER: Duration = Duration::from_secs(2);
const REST: Duration = Duration::from_millis(500);
/// What a partition keeps at most when a comparison writes as fast as the brokers take it.
const RETENTION_BYTES: u64 = 256 << 20;

/// What is wanted.
pub struct Wanted<'a> {
    /// How many partitions; without it as many as the job's topic has.
    pub partitions: Option<u32>,
    /// And at least this number.
    pub least_partitions: u32,
    /// Whether runs don't wait for each record, so that they write gigabytes.
    pub in_bulk: bool,
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
    made: Made,
    _broker: Option<RunningHelper>,
}

/// Whether it is there because of us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Made {
    /// No.
    No,
    /// Yes.
    Yes,
    /// A broker was asked to, and its answer was not heard.
    Perhaps,
}

impl OwnTopic {
    /// Makes it, and points the job at it.
    pub fn make(job: &mut Job, wanted: &Wanted<'_>, interrupt: &Interrupt, ui: &Ui) -> Result<OwnTopic, UserError> {
        if job.kafka.brokers == Brokers::Embedded {
            if let Some(into) = wanted.into {
                let message = format!("--into-topic {into} is for real brokers, and this would use the embedded one");
                return Err(UserError::new(Exit::Usage, message).hint("name the brokers with -b on the command line"));
            }
            let options = EmbeddedOptions {
                partitions: wanted.like(None).partitions,
                topics: vec![EMBEDDED.to_owned()],
                rtt: wanted.rtt,
            };
            let broker = embedded::start(&options)?;
            job.kafka.topic = EMBEDDED.to_owned();
            job.kafka.brokers = Brokers::Bootstrap(vec![embedded::address(&broker)]);
            return Ok(OwnTopic { job: job.clone(), made: Made::No, _broker: Some(broker) });
        }
        if let Some(into) = wanted.into {
            into.clone_into(&mut job.kafka.topic);
            return Ok(OwnTopic { job: job.clone(), made: Made::No, _broker: None });
        }
        let model = preflight::topic_shape(job, interrupt)?;
        let new = wanted.like(model);
        let seconds = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let jobs_own = std::mem::replace(&mut job.kafka.topic, format!("{PREFIX}{seconds}-{}", std::process::id()));
        if !ui.quiet {
            announce(&job.kafka.topic, &new, model.map(|_| jobs_own.as_str()), ui);
        }
        // From here on it may exist, even if making it is interrupted.
        let mut own = OwnTopic { job: job.clone(), made: Made::Perhaps, _broker: None };
        let refused: Option<PreflightProblem> = helper::ask("shardlift topic", Some(interrupt), || {
            Ok(kafka::create_topic(&own.job, &own.job.kafka.topic, &new, PATIENCE).err())
        })?;
        let Some(problem) = refused else {
            own.made = Made::Yes;
            return Ok(own);
        };
        // A refusal made nothing; only silence leaves it open.
        if problem.kind != PreflightProblemKind::Unreachable {
            own.made = Made::No;
        }
        Err(UserError::new(Exit::Preflight, problem).hint("name an existing topic that may be written to with --into-topic"))
    }

    /// Deletes it, if it was made here. An error says what is left.
    pub fn delete(mut self) -> Result<(), UserError> {
        self.remove()
    }

    fn remove(&mut self) -> Result<(), UserError> {
        let made = std::mem::replace(&mut self.made, Made::No);
        if made == Made::No {
            return Ok(());
        }
        let topic = &self.job.kafka.topic;
        // Signals wait meanwhile: this is what they would have to clean up.
        let deleted = helper::ask("shardlift topic", None, || {
            let delete =
                || kafka::delete_topic(&self.job, topic, PATIENCE).map_err(|problem| UserError::new(Exit::Failed, problem));
            delete()?;
            // The request to make it may be carried out after this one: what is not there yet can't be deleted yet.
            let until = Instant::now() + if made == Made::Perhaps { STRAGGLER } else { Duration::ZERO };
            while Instant::now() < until {
                std::thread::sleep(REST);
                delete()?;
            }
            Ok(())
        });
        deleted.map_err(|error| {
            UserError::new(Exit::Failed, format!("the topic of this comparison was not deleted: {}", error.message))
                .hint(format!("delete topic {topic} yourself: it was made for this comparison"))
        })
    }
}

impl Wanted<'_> {
    /// A topic like the job's, so that a delivery report waits for as many replicas.
    fn like(&self, model: Option<TopicShape>) -> NewTopic {
        let usual = model.map_or(embedded::PARTITIONS, |model| model.partitions);
        NewTopic {
            partitions: self.partitions.unwrap_or_else(|| usual.max(self.least_partitions)),
            replication: model.map(|model| model.replication).filter(|&replicas| replicas > 0),
            retention_bytes: self.in_bulk.then_some(RETENTION_BYTES),
        }
    }
}

fn announce(topic: &str, new: &NewTopic, like: Option<&str>, ui: &Ui) {
    let partitions = show_things(u64::from(new.partitions), "partition");
    let replication = match (new.replication, like) {
        (Some(replication), Some(like)) => format!("replication {replication} as {like} has"),
        _ => "the brokers' default replication".to_owned(),
    };
    ui.say(format!("topic {topic} is made for this comparison ({partitions}, {replication}) and deleted at its end"));
    if let Some(bytes) = new.retention_bytes {
        ui.say(format!(
            "runs that don't wait for each record write as much as the brokers take, gigabytes: the topic's retention.bytes is {} a \
             partition, which brokers look at every few minutes; --records limits a run",
            show_size(bytes)
        ));
    }
}

impl Drop for OwnTopic {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            tracing::error!("{error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(partitions: Option<u32>, least_partitions: u32, in_bulk: bool) -> Wanted<'static> {
        Wanted { partitions, least_partitions, in_bulk, rtt: Duration::ZERO, into: None }
    }

    #[test]
    fn the_topic_is_like_the_jobs() {
        let jobs = Some(TopicShape { partitions: 6, replication: 3 });
        let like = |wanted: Wanted<'_>, model| {
            let new = wanted.like(model);
            (new.partitions, new.replication)
        };
        assert_eq!(like(wanted(None, 0, false), jobs), (6, Some(3)));
        assert_eq!(like(wanted(None, 28, false), jobs), (28, Some(3)), "who shares a producer needs a partition each");
        assert_eq!(like(wanted(Some(2), 28, false), jobs), (2, Some(3)), "what was asked for counts");
        assert_eq!(like(wanted(None, 0, false), None), (embedded::PARTITIONS, None), "no topic yet: the brokers' default");
        let unknown = Some(TopicShape { partitions: 6, replication: 0 });
        assert_eq!(like(wanted(None, 0, false), unknown), (6, None));
    }

    #[test]
    fn only_who_writes_in_bulk_needs_a_limit() {
        assert_eq!(wanted(None, 0, false).like(None).retention_bytes, None);
        assert_eq!(wanted(None, 0, true).like(None).retention_bytes, Some(RETENTION_BYTES));
    }
}
