//! A producer on its way to its topic.
//!
//! Responsible for: creating the client, waiting for the first metadata, and whether the topic is the one that the job
//! belongs to. Not responsible for: anything that is sent, or how transactions begin.

use std::rc::Rc;
use std::time::{Duration, Instant};

use migration::{BoundTopic, Consequence, Failure, FailureKind, SeenTopic, TopicChange, TopicSettings};
use pipeline::Trouble;
use rdkafka::types::RDKafkaRespErr as E;

use super::options::{ProducerOptions, TransactionOptions};
use super::sink::{FoundTopic, PROBE_TIMEOUT, Producer};
use super::transaction::Takeover;
use crate::classify::{Verdict, verdict};
use crate::ffi::{
    Client, ClientKind, Code, Sender, Topic, TopicMetadata, TopicSetting, ask_settings, ask_topic, keep_freed_memory,
};
use crate::notice::{Complaints, Patience, until_answered_in};
use crate::options::configure;
use crate::topic_probe::{TopicLook, TopicProbe, is_unknown_topic};
use crate::turns::Turns;

/// From this distance on a round trip is saved by beginning what is waited for later. Nearer that saves nothing, and an
/// error that comes before it is waited for is not told: the client then asks again.
const BEGUN_EARLY_FROM: Duration = Duration::from_millis(15);

/// What a producer waits for until it can send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// Any broker.
    Broker,
    /// A leader of the topic's partitions, which brokers that answer don't know.
    Leader,
    /// That the brokers say which topic it is.
    Topic,
    /// The transactional id: its coordinator, or the end of what a predecessor left open.
    TransactionalId,
    /// How far the shard is.
    Progress,
}

impl Awaited {
    /// What there was none of.
    pub fn lacked(self) -> &'static str {
        match self {
            Awaited::Broker => "no broker answered",
            Awaited::Leader => "the topic had no leader",
            Awaited::Topic => "the brokers did not say which topic it is",
            Awaited::TransactionalId => "the transactional id was not given to this worker",
            Awaited::Progress => "the progress topic did not tell how far the shard is",
        }
    }
}

/// A producer that waits for its brokers' first answer. One client serves however many waits: it goes on connecting
/// between them, and one look-up of a name that lasts is one.
pub struct Connecting {
    options: ProducerOptions,
    client: Rc<Client>,
    complaints: Complaints,
    /// What is to become its transactions, if it is to have any.
    takeover: Option<Takeover>,
    /// What the last wait was for when it ended.
    awaits: Awaited,
}

impl Connecting {
    /// Creates the client. Only after the last fork of this process: the client's threads would be missing in a child.
    pub fn new(options: ProducerOptions) -> Result<Connecting, Failure> {
        keep_freed_memory();
        let conf = configure(&options.all_properties()).map_err(refused)?;
        let client = conf
            .into_client(ClientKind::Producer)
            // The settings were taken one by one and tried before the run: what is missing now is a thread or memory.
            .map_err(|e| Failure::new(FailureKind::Retry, format!("can't create a Kafka producer: {e}")))?;
        let takeover = options.transaction.as_ref().map(|transaction| begin(transaction, &client)).transpose()?;
        Ok(Connecting { options, client, complaints: Complaints::default(), takeover, awaits: Awaited::Broker })
    }

    /// Why the last wait had no answer that helps.
    pub fn trouble(&self) -> Trouble {
        let all = self.awaits == Awaited::Broker;
        Trouble { all, cause: self.complaints.cause(0, |_| all) }
    }

    /// What the last wait was for when it ended.
    pub fn awaits(&self) -> Awaited {
        self.awaits
    }

    /// How many lines the client wrote into the log that are not shown.
    pub fn lines_not_shown(&self) -> u32 {
        self.complaints.hidden()
    }

    /// Waits for the topic's metadata and, with transactions, for the transactional id and the shard's progress; each
    /// for `metadata_timeout` at most and in turns. When no broker answers it can be asked again.
    pub fn wait(&mut self, turns: &mut Turns<'_>) -> Result<Producer, Failure> {
        let Connecting { options, client, complaints, takeover, awaits } = self;
        let unusable = |e: Code| refused(format!("can't use topic {:?}: {e}", options.topic));
        let topic = Topic::new(client, &options.topic).map_err(unusable)?;
        let ask = |timeout| {
            let found = client.metadata(Some(&topic), timeout)?;
            match Code(found.code) {
                Code::NONE if found.partitions.is_empty() => Err(Code::of(E::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE)),
                Code::NONE => Ok(found),
                error => Err(error),
            }
        };
        let since = Instant::now();
        takeover.iter().for_each(Takeover::wake_reader);
        let answer = until_answered_in(turns, client, options.metadata_timeout, Patience::UntilTimeout, complaints, ask);
        let answered = answer.is_ok() || answer.as_ref().is_err_and(|code| code.0 > 0);
        *awaits = if answered { Awaited::Leader } else { Awaited::Broker };
        let metadata = answer.map_err(|code| no_metadata(options, code, complaints, since.elapsed()))?;
        let probe = options.bound.as_ref().map(|bound| TopicProbe::new(client, bound)).transpose().map_err(unusable)?;
        *awaits = Awaited::Topic;
        if let Some(takeover) = takeover.as_mut() {
            takeover.wake_reader();
            // Without a measurement the metadata tell, which have three round trips in them.
            if options.round_trip.map_or(since.elapsed() >= BEGUN_EARLY_FROM * 3, |time| time >= BEGUN_EARLY_FROM) {
                takeover.begin(client);
            }
        }
        let found = recognise(options, client, &topic, takeover.as_mut(), &metadata, probe, turns)?;
        if let Some(bytes) = found.settings.map(|settings| settings.max_message_bytes)
            && bytes != options.max_message_bytes
        {
            // How large a batch may be is a property of the client: one with another limit is made anew, before it has
            // taken a transactional id over.
            let options = ProducerOptions { max_message_bytes: bytes, ..options.clone() };
            let complaints = std::mem::take(complaints);
            *self = Connecting { complaints, ..Connecting::new(options)? };
            return self.wait(turns);
        }
        let partitions = options.bound.as_ref().map_or(found.seen.partitions, |bound| bound.partitions);
        let mut sender = Sender::new(topic, partitions, &options.headers).map_err(refused)?;
        if let Some(letters) = &options.letters {
            let unusable = |e: Code| refused(format!("can't use topic {letters:?} of the dead letters: {e}"));
            sender.set_letters_topic(Topic::new(client, letters).map_err(unusable)?);
        }
        let begun = match (takeover, &options.transaction) {
            (Some(takeover), Some(transaction)) => {
                Some(takeover.go(transaction, client, complaints, options.metadata_timeout, turns, awaits)?)
            }
            _ => None,
        };
        let leaders = metadata.partitions.iter().map(|&(_, leader)| (leader >= 0).then_some(leader)).collect();
        Ok(Producer::new(options, sender, leaders, found, std::mem::take(complaints), begun))
    }
}

impl Producer {
    /// Creates the client, and waits for the topic's metadata. Only after the last fork of this process: the client's
    /// threads would be missing in a child.
    pub fn create(options: &ProducerOptions) -> Result<Producer, Failure> {
        Connecting::new(options.clone())?.wait(&mut Turns::one(&mut || true))
    }
}

/// A client that reads the progress topic, beside the producer's.
fn begin(transaction: &TransactionOptions, client: &Rc<Client>) -> Result<Takeover, Failure> {
    let properties = transaction.reader.clone();
    let reader = configure(&properties).map_err(refused)?.into_client(ClientKind::Consumer);
    let reader = reader.map_err(|e| Failure::new(FailureKind::Retry, format!("can't create a Kafka consumer: {e}")))?;
    Takeover::new(transaction, client, reader, properties)
}

fn refused(what: String) -> Failure {
    Failure::new(FailureKind::Permanent, what)
}

/// What the topic is like now. A failure if it is not the one that the job belongs to, or if no broker tells.
///
/// The second metadata answer is needed in any case: the client leaves the connection on which the first one came for
/// one to a broker that it names, and asks for a producer id there when it hears metadata again; else a timer of 500 ms
/// would. The topic's id and settings are asked for at the same time, so that they cost no round trip of their own, and
/// with transactions that second question is the one for the progress topic, which is needed. Note 0010 has the whole
/// sequence.
fn recognise(
    options: &ProducerOptions,
    client: &Client,
    topic: &Topic,
    takeover: Option<&mut Takeover>,
    metadata: &TopicMetadata,
    probe: Option<TopicProbe>,
    turns: &mut Turns<'_>,
) -> Result<FoundTopic, Failure> {
    let timeout = options.metadata_timeout;
    let bound = options.bound.as_ref();
    // Brokers without topic ids may answer no admin request at all (the embedded one), or only after long.
    let known = bound.filter(|bound| bound.id.is_some());
    let settings = known.map(|bound| ask_settings(client, &bound.name, timeout));
    let question = known.map(|bound| ask_topic(client, &bound.name, timeout));
    let wait = turns.bound(PROBE_TIMEOUT.min(timeout));
    match takeover {
        Some(takeover) => takeover.look(client, wait),
        None => _ = client.metadata(Some(topic), wait),
    }
    turns.go_on();
    let partitions = metadata.partitions.len() as u32;
    let answer = question.map(|question| question.and_then(|question| question.answer(turns)));
    let (Some(bound), Some(probe)) = (bound, probe) else {
        return Ok(FoundTopic { seen: SeenTopic { id: None, partitions }, settings: None, probe: None });
    };
    let seen = match answer {
        None => Ok(SeenTopic { id: None, partitions }),
        Some(answer) => answer,
    };
    let suspicious = match &seen {
        Ok(seen) => bound.compare(seen).is_some_and(|change| bound.consequence(&change) == Consequence::Gone),
        Err(_) => true,
    };
    if suspicious {
        match probe.look(timeout, turns) {
            TopicLook::Changed(change) if bound.consequence(&change) == Consequence::Gone => return Err(gone(bound, &change)),
            TopicLook::Same | TopicLook::Changed(_) => {}
            TopicLook::Unanswered(text) => {
                let what = format!("topic {:?}: the brokers don't tell which topic it is: {text}", bound.name);
                return Err(Failure::new(FailureKind::Unreachable, what));
            }
        }
    }
    let settings = settings.and_then(|question| understood(question.and_then(|question| question.answer(turns)).ok()?));
    let seen = seen.unwrap_or_else(|_| SeenTopic { id: bound.id.clone(), partitions });
    Ok(FoundTopic { seen, settings, probe: Some(probe) })
}

/// Settings that are all understood; of others nothing is taken over, and what was known before goes on to hold.
fn understood(settings: Vec<TopicSetting>) -> Option<TopicSettings> {
    let pairs = settings.iter().map(|setting| (setting.name.as_str(), setting.value.as_str()));
    let (settings, understood) = TopicSettings::read(pairs);
    understood.is_ok().then_some(settings)
}

/// The topic is not the one that the job belongs to.
fn gone(bound: &BoundTopic, change: &TopicChange) -> Failure {
    Failure::new(FailureKind::Topic, bound.tell(change))
}

/// Why no metadata came. A wait may end before its time.
fn no_metadata(options: &ProducerOptions, code: Code, complaints: &Complaints, waited: Duration) -> Failure {
    let (topic, reason) = (&options.topic, complaints.reason(code));
    match (verdict(code), &options.bound) {
        // The job's own preflight has seen it.
        (_, Some(bound)) if is_unknown_topic(code) => gone(bound, &TopicChange::Deleted),
        (Verdict::AllRejected, _) => Failure::new(FailureKind::Permanent, format!("topic {topic:?}: {code}")),
        _ => {
            let ms = options.metadata_timeout.min(waited).as_millis();
            Failure::new(FailureKind::Unreachable, format!("no metadata of topic {topic:?} within {ms} ms: {reason}"))
        }
    }
}
