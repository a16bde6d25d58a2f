//! Preflight: what must be known of cluster and topic before any record moves.
//!
//! Responsible for: is a broker there, does the topic exist, may we use it, which topic of which cluster is it, what do
//! its settings refuse, where does each partition begin and end. Not responsible for: what follows from the answers
//! (exit codes, whether state belongs to this topic), or in which process it runs. It creates a client, hence threads.

mod delivery;
mod ends;
mod refusal;
mod retention;
mod settings;
mod similar;

use std::rc::Rc;
use std::time::{Duration, Instant};

use migration::check::facts::{DeliveryFacts, Replicas, Retention};
use migration::config::is_this_machine;
use migration::identity::is_embedded_cluster;
use migration::job::Property;
use migration::report::Binding;
use migration::{Accept, Job, TopicSettings};
use rdkafka::types::RDKafkaRespErr as E;
use serde::{Deserialize, Serialize};

use crate::classify::{Verdict, verdict};
use crate::ffi::{Client, ClientKind, Code, Topic, TopicMetadata, ask_topic, topic_operations, topic_settings};
use crate::notice::{Complaints, Patience, until_answered};
use crate::options::{Role, client_properties, configure};
use crate::problem::{PreflightProblem, PreflightProblemKind, addresses};
use crate::producer::{ProducerOptions, TransactionOptions};
use crate::rights::{Right, grant};
use crate::topic_probe::is_unknown_topic;
use crate::turns::Turns;

pub use delivery::{EnsuredProgress, ask_delivery, ensure_progress_topic};

/// How long the controller may be unknown after the brokers have answered.
const CONTROLLER_TIMEOUT: Duration = Duration::from_millis(200);

/// How many answers the round trip is taken from.
const ROUND_TRIPS: usize = 5;
/// How long each question about a topic may take before a job begins: what it tells is good to know, and not needed.
const LONGEST_DESCRIPTION: Duration = Duration::from_secs(5);
/// How long a list of all topics may take.
const LONGEST_LIST: Duration = Duration::from_secs(2);
/// An answer that takes longer is none.
const LONGEST_ROUND_TRIP: Duration = Duration::from_secs(1);

/// What preflight found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preflight {
    /// The cluster's id; `None`: the brokers have none.
    pub cluster_id: Option<String>,
    /// The topic's id; `None`: the brokers have no topic ids.
    pub topic_id: Option<String>,
    /// By partition.
    pub partitions: Vec<PartitionEnds>,
    /// How many replicas each partition has.
    pub replication: u32,
    /// How well replicated it is now.
    pub replicas: Replicas,
    /// What decides which records the topic takes.
    pub settings: TopicSettings,
    /// What keeps them there; `None`: its settings can't be read.
    pub retention: Option<Retention>,
    /// How long an answer takes, by the median of a few; `None`: there were none.
    pub round_trip: Option<Duration>,
    /// What the principal may do with the topic; `None`: the brokers don't tell.
    pub rights: Option<Vec<Right>>,
    /// What exactly-once delivery rests on; `None`: it was not asked ([`ask_delivery`]).
    pub delivery: Option<DeliveryFacts>,
    /// What a user should know although the run can go on.
    pub warnings: Vec<String>,
}

impl Preflight {
    /// What the state of a job belongs to that begins now.
    pub fn binding(&self, job: &Job) -> Binding {
        Binding {
            cluster_id: self.cluster_id.clone().unwrap_or_default(),
            topic_id: self.topic_id.clone().unwrap_or_default(),
            topic: job.kafka.topic.clone(),
            source: job.source.files().paths.join(", "),
            end_offsets: self.partitions.iter().map(|ends| ends.high).collect(),
        }
    }
}

/// Where a partition begins and ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionEnds {
    /// The first offset that can be read.
    pub low: i64,
    /// The offset that the next record will get.
    pub high: i64,
}

/// Asks cluster and topic of a job whose brokers are addresses by now. `timeout` is how long a broker may not answer.
pub fn preflight(job: &Job, timeout: Duration) -> Result<Preflight, PreflightProblem> {
    try_settings(job)?;
    let asker = Asker::new(job, timeout, false)?;
    asker.ask()
}

/// The same for a job that begins: brokers that can't be reached probably have another address, so it is said within a
/// few seconds. Ones that are slow have `timeout` all the same.
pub fn first_preflight(job: &Job, timeout: Duration) -> Result<Preflight, PreflightProblem> {
    try_settings(job)?;
    let asker = Asker::new(job, timeout, true)?;
    asker.ask()
}

/// The id of the cluster that a job's brokers are of, which are addresses by now; `None`: they have none. `first`: as
/// [`first_preflight`] has it.
pub fn cluster_id(job: &Job, first: bool, timeout: Duration) -> Result<Option<String>, PreflightProblem> {
    try_settings(job)?;
    let asker = Asker::new(job, timeout, first)?;
    let found = asker.answered(timeout, true, |timeout| asker.client.metadata(None, timeout))?;
    asker.keep_credentials_here(&found.hosts)?;
    Ok(asker.client.cluster_id(timeout))
}

/// Makes each kind of client that the job will need from its settings, without an address: nothing is contacted. What a
/// client refuses only when it is made (two settings that contradict each other, a certificate that can't be read) is
/// found here instead of by every worker.
fn try_settings(job: &Job) -> Result<(), PreflightProblem> {
    let mut options = ProducerOptions::for_job(job, "check", TopicSettings::default().max_message_bytes);
    options.transaction = job.exactly_once().then(|| TransactionOptions::of_any_shard(job));
    let producer = options.all_properties();
    let reader = client_properties(job, Role::Reader);
    for (kind, properties) in [(ClientKind::Producer, producer), (ClientKind::Consumer, reader)] {
        let alone: Vec<_> = properties.into_iter().filter(|(name, _)| name != "bootstrap.servers").collect();
        configure(&alone).and_then(|conf| conf.into_client(kind)).map_err(|error| refused_settings(job, error))?;
    }
    Ok(())
}

fn refused_settings(job: &Job, error: String) -> PreflightProblem {
    let secrets = job.kafka.properties.iter().filter_map(|(_, value)| match value {
        Property::Secret(secret) => Some(secret.value.as_str()),
        Property::Plain(_) => None,
    });
    let error = secrets.fold(error, |error, secret| error.replace(secret, "***"));
    let shown = |name: &str| match job.kafka.properties.iter().rfind(|(given, _)| given == name)? {
        (_, Property::Plain(value)) => Some(value.clone()),
        (_, Property::Secret(_)) => Some("***".to_owned()),
    };
    if let Some(message) = settings::refused(&error, shown) {
        return PreflightProblem::new(PreflightProblemKind::BadConfig, format!("kafka.properties: {message}"));
    }
    PreflightProblem::new(
        PreflightProblemKind::BadConfig,
        format!("the Kafka client refuses the properties of this job: {error}"),
    )
}

/// A topic's partitions, and how many replicas each has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicShape {
    /// Partitions.
    pub partitions: u32,
    /// Replicas of each.
    pub replication: u32,
}

/// Asks for the shape of a job's topic only, for a job that begins.
pub fn topic_shape(job: &Job, timeout: Duration) -> Result<TopicShape, PreflightProblem> {
    let asker = Asker::new(job, timeout, true)?;
    asker.metadata().map(|found| TopicShape { partitions: found.partitions.len() as u32, replication: found.replication })
}

/// Waits until a broker answers; false if none did within `timeout`.
pub fn wait_for_brokers(job: &Job, timeout: Duration) -> bool {
    let Ok(asker) = Asker::new(job, timeout, false) else { return false };
    let mut complaints = asker.complaints.borrow_mut();
    let ask = |timeout| asker.client.metadata(None, timeout);
    until_answered(&asker.client, timeout, Patience::UntilTimeout, &mut complaints, ask).is_ok()
}

struct Asker<'a> {
    job: &'a Job,
    client: Rc<Client>,
    timeout: Duration,
    /// Whether a job begins: what can't be reached is probably elsewhere.
    first: bool,
    complaints: std::cell::RefCell<Complaints>,
}

impl<'a> Asker<'a> {
    fn new(job: &'a Job, timeout: Duration, first: bool) -> Result<Self, PreflightProblem> {
        let bad = |message: String| PreflightProblem::new(PreflightProblemKind::BadConfig, message);
        let conf = configure(&client_properties(job, Role::Admin)).map_err(bad)?;
        let client = conf.into_client(ClientKind::Consumer).map_err(|e| bad(format!("can't create a Kafka client: {e}")))?;
        Ok(Asker { job, client, timeout, first, complaints: Complaints::logged_once().into() })
    }

    fn ask(&self) -> Result<Preflight, PreflightProblem> {
        let topic = &self.job.kafka.topic;
        let mut found = Preflight::default();
        let metadata = self.metadata()?;
        found.replication = metadata.replication;
        // Before anything else is asked: a leader that is not where it says it is would answer nothing of it.
        found.replicas.assigned = metadata.replication;
        found.replicas.in_sync = metadata.in_sync.iter().copied().min().unwrap_or(0);
        found.partitions = self.ends(metadata.partitions, &metadata.addresses)?;
        found.cluster_id = self.client.cluster_id(self.timeout);
        // The embedded broker has neither controller nor settings: asking it would only take time.
        if metadata.brokers.contains(&self.client.controller(CONTROLLER_TIMEOUT)) {
            self.describe(&mut found);
        } else if !found.cluster_id.as_ref().is_some_and(|id| is_embedded_cluster(id)) {
            found.warnings.push(format!(
                "the cluster has no controller now: topic {topic:?} is recognised by its offsets only, {}",
                without(&found.settings)
            ));
        }
        found.round_trip = self.round_trip();
        self.complaints.borrow_mut().hear_all(&self.client);
        Ok(found)
    }

    /// Adds what only the admin API tells.
    fn describe(&self, found: &mut Preflight) {
        let topic = &self.job.kafka.topic;
        let timeout = if self.first { self.timeout.min(LONGEST_DESCRIPTION) } else { self.timeout };
        match ask_topic(&self.client, topic, timeout).and_then(|question| question.answer(&mut Turns::one(&mut || true))) {
            Ok(seen) => found.topic_id = seen.id,
            Err((_, text)) => found.warnings.push(format!(
                "the brokers don't tell the id of topic {topic:?} ({text}): a recreated topic is recognised by its offsets only"
            )),
        }
        match topic_operations(&self.client, topic, timeout) {
            Ok(operations) => found.rights = operations.map(|operations| Right::of(&operations)),
            Err((_, text)) => found.warnings.push(format!(
                "the brokers don't tell what may be done with topic {topic:?} ({text}): the first record will show it"
            )),
        }
        match topic_settings(&self.client, topic, timeout) {
            Ok(settings) => {
                let (retention, least_in_sync) = retention::read(&settings);
                found.retention = Some(retention);
                found.replicas.least = least_in_sync;
                let pairs = settings.iter().map(|setting| (setting.name.as_str(), setting.value.as_str()));
                let (settings, understood) = TopicSettings::read(pairs);
                found.settings = settings;
                if let Err(strange) = understood {
                    found.warnings.push(format!(
                        "the settings of topic {topic:?} are not all understood ({strange}): batches are limited to {} bytes, and \
                         what else those mean the brokers decide",
                        settings.max_message_bytes
                    ));
                }
            }
            Err((_, text)) => found
                .warnings
                .push(format!("the settings of topic {topic:?} can't be read ({text}): {}", without(&found.settings))),
        }
    }

    /// The median of a few answers: the first one pays for a connection.
    fn round_trip(&self) -> Option<Duration> {
        let asked = || {
            let since = Instant::now();
            self.client.metadata(None, LONGEST_ROUND_TRIP).ok().map(|_| since.elapsed())
        };
        // One that is not answered is the last one: the others would not be answered either.
        let mut times: Vec<Duration> = (0..ROUND_TRIPS).map_while(|_| asked()).collect();
        times.sort_unstable();
        times.get(times.len() / 2).copied()
    }

    fn metadata(&self) -> Result<TopicMetadata, PreflightProblem> {
        self.metadata_within(self.timeout, true)
    }

    fn metadata_within(&self, timeout: Duration, last: bool) -> Result<TopicMetadata, PreflightProblem> {
        let name = &self.job.kafka.topic;
        let topic = Topic::new(&self.client, name)
            .map_err(|e| PreflightProblem::new(PreflightProblemKind::BadConfig, format!("can't use topic {name:?}: {e}")))?;
        let found = self.answered(timeout, last, |timeout| {
            let found = self.client.metadata(Some(&topic), timeout)?;
            match Code(found.code) {
                Code::NONE if found.partitions.is_empty() => Err(Code::of(E::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE)),
                Code::NONE => Ok(found),
                error => Err(error),
            }
        })?;
        self.keep_credentials_here(&found.hosts)?;
        Ok(found)
    }

    /// The addresses that brokers tell may be others than the ones that the config names.
    fn keep_credentials_here(&self, hosts: &[String]) -> Result<(), PreflightProblem> {
        let far = hosts.iter().find(|host| !is_this_machine(host));
        let Some(host) = far.filter(|_| self.job.must_stay_on_this_machine()) else { return Ok(()) };
        Err(PreflightProblem::new(
            PreflightProblemKind::BadConfig,
            format!(
                "the brokers at {} send clients on to {host:?}: the credentials would travel there unencrypted. Use security.protocol = \
                 SASL_SSL, or let it pass with --accept plaintext-password",
                self.brokers()
            ),
        ))
    }

    fn problem(&self, code: Code, complaints: &Complaints) -> PreflightProblem {
        use PreflightProblemKind as K;
        let topic = &self.job.kafka.topic;
        let brokers = self.brokers();
        if let Some((_, text)) = &complaints.hopeless {
            return PreflightProblem::new(
                K::NoTrust,
                format!(
                    "the brokers at {brokers} refuse the connection: {text}. Check security.protocol and the sasl.* and ssl.* properties"
                ),
            );
        }
        // With one replica of which two have to be in sync no record would be taken.
        let delivers = self.job.exactly_once() && !self.job.accept.contains(&Accept::Unreplicated);
        let few = if delivers { "" } else { " (with one broker: --replication-factor 1)" };
        let similar = if is_unknown_topic(code) { self.similar() } else { String::new() };
        match (code.known(), verdict(code)) {
            (Some(E::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART | E::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC), _) => {
                PreflightProblem::new(
                    K::NoTopic,
                    format!(
                        "topic {topic:?} does not exist on {brokers}{similar}. Create it, for example{few} with: kafka-topics.sh \
                     --bootstrap-server {} --create --topic {topic} --partitions 16 --replication-factor 3{}",
                        brokers.split(',').next().unwrap_or_default(),
                        if delivers { " --config min.insync.replicas=2" } else { "" }
                    ),
                )
            }
            (Some(E::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED | E::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED), _) => {
                PreflightProblem::new(
                    K::NotAuthorised,
                    format!(
                        "the principal may not see topic {topic:?} ({code}): it needs Describe, Write and Read on it. Grant them with: {}",
                        grant(self.job, &[Right::Describe, Right::DescribeConfigs, Right::Write, Right::Read])
                    ),
                )
            }
            (Some(E::RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION), _) => {
                PreflightProblem::new(K::NoTopic, format!("{topic:?} is not a valid name of a topic ({code})"))
            }
            (_, Verdict::AllRejected) => PreflightProblem::new(K::Other, format!("topic {topic:?}: {code}")),
            _ => PreflightProblem::new(
                K::Unreachable,
                format!("no broker answered at {brokers} within {:?}: {}", self.timeout, complaints.reason(code)),
            ),
        }
    }

    /// Names that are there and like the topic's.
    fn similar(&self) -> String {
        let names = self.client.topic_names(LONGEST_LIST).unwrap_or_default();
        match similar::to(&self.job.kafka.topic, &names).as_slice() {
            [] => String::new(),
            [one] => format!(" (there is {one:?})"),
            several => {
                format!(" (there are {})", several.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", "))
            }
        }
    }

    fn brokers(&self) -> String {
        addresses(self.job)
    }
}

/// What a run does where the topic's settings can't be read.
fn without(assumed: &TopicSettings) -> String {
    format!(
        "batches are limited to {} bytes, and records that the topic refuses are found only when it refuses them, which is slower",
        assumed.max_message_bytes
    )
}
