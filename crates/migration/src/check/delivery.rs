//! Whether the cluster keeps what exactly-once delivery promises.
//!
//! Responsible for: the provisos of the promise, one finding each, with the setting and the command that mends it. Not
//! responsible for: asking, for what the config itself contradicts, or for the delivery.

use super::facts::{DeliveryFacts, Durability, FoundProgress, ProgressFacts, TransactionTrial};
use super::{Check, Finding, alter_topic, first_broker};
use crate::progress::{PROGRESS_PARTITIONS, SEGMENT_BYTES, SEGMENT_MS, TRANSACTIONAL_PREFIX, topic_settings};
use crate::units::{show_things, show_whole_seconds};
use crate::{Accept, Job};

/// How many replicas each partition has to have: with one gone, a second one still has what was acknowledged.
const REPLICAS: u32 = 3;
/// How many of them have to have a record before it counts.
const IN_SYNC: u32 = 2;
/// The brokers' own topic of transactions.
const TRANSACTION_LOG: &str = "__transaction_state";
/// What is not known of a topic whose settings can't be read.
const UNREAD: &str = "min.insync.replicas is 2 and unclean.leader.election.enable is false";
/// What comes after more replicas, and never before.
const THEN: &str = "then set min.insync.replicas=2: with one replica brokers would refuse every record for it";
/// From how many times our own size on segments of the progress topic are too large, and
const LARGE_SEGMENT: u64 = 4;
/// from how many times our own time on they live too long.
const LONG_SEGMENT: u64 = 24;

/// What was found of a job that delivers exactly once; of another one there is nothing to find. `begun`: the job has
/// committed chunks already.
pub(super) fn delivery(job: &Job, facts: Option<&DeliveryFacts>, begun: bool) -> Vec<Finding> {
    let check = Check::Delivery;
    if !job.exactly_once() {
        return vec![Finding::ok(check, "at least once: nothing to check (kafka.delivery)")];
    }
    let Some(facts) = facts else {
        return vec![Finding::skip(check, "what exactly-once delivery needs could not be asked")];
    };
    let mut found = topics(job, facts, begun);
    found.extend(log(job, facts));
    found.extend(brokers(job, facts));
    found.extend(transactions(job, facts));
    if found.iter().all(|finding| finding.level == super::CheckLevel::Ok) {
        found = vec![Finding::ok(check, kept(job, facts))];
    }
    found
}

/// All of it holds: what that is.
fn kept(job: &Job, facts: &DeliveryFacts) -> String {
    let replicas = facts.topic.replication.map(|replicas| show_things(replicas.into(), "replica")).unwrap_or_default();
    let letters = facts.letters.as_ref().and_then(|_| job.letters_topic()).map(|letters| format!(", {letters}"));
    format!(
        "exactly once: {}{} and {} have {replicas}, brokers verify transactions, one may last {}",
        job.kafka.topic,
        letters.unwrap_or_default(),
        job.checkpoint.topic,
        show_whole_seconds(job.workers.chunk.transaction_timeout())
    )
}

fn topics(job: &Job, facts: &DeliveryFacts, begun: bool) -> Vec<Finding> {
    let (topic, progress) = (&job.kafka.topic, &job.checkpoint.topic);
    let mut found = durable(job, facts, topic, &facts.topic, UNREAD);
    if let (Some(seen), Some(letters)) = (&facts.letters, job.letters_topic()) {
        found.extend(durable(job, facts, &letters, seen, UNREAD));
    }
    match &facts.progress {
        FoundProgress::Absent => found.push(absent(job, begun)),
        FoundProgress::Hidden => found.push(
            Finding::fail(
                Check::Delivery,
                format!("the principal may not see the progress topic {progress} (checkpoint.topic)"),
            )
            .mend(grant_topic(job, facts, &["Read", "Write", "Describe", "DescribeConfigs"])),
        ),
        FoundProgress::Unknown(why) => found.push(Finding::warn(
            Check::Delivery,
            format!("the progress topic {progress} (checkpoint.topic) is not described: {why}"),
        )),
        FoundProgress::There(seen) => {
            found.extend(durable(job, facts, progress, &seen.durability, &format!("{UNREAD}, and cleanup.policy compact")));
            found.extend(kept_for_ever(job, seen));
            found.extend(quick_to_read(job, seen));
            found.extend(progress_rights(job, facts, seen));
        }
    }
    found
}

fn absent(job: &Job, begun: bool) -> Finding {
    let progress = &job.checkpoint.topic;
    let found = |fact: String| Finding::fail(Check::Delivery, fact);
    if begun {
        return found(format!(
            "the progress topic {progress} (checkpoint.topic) is gone, and with it how far the job is: going on would send \
             records again"
        ))
        .mend("set checkpoint.topic as it was when the job began; if the topic was deleted, begin another job into an empty topic");
    }
    let settings: String = topic_settings(REPLICAS).iter().map(|(name, value)| format!(" --config {name}={value}")).collect();
    found(format!("the progress topic {progress} (checkpoint.topic) does not exist")).mend(format!(
        "`shardlift check --create` makes it, or: kafka-topics.sh --bootstrap-server {} --create --topic {progress} --partitions \
         {PROGRESS_PARTITIONS} --replication-factor {REPLICAS}{settings}",
        first_broker(job)
    ))
}

/// Replicas, and what an election may do to them. `unread`: what is not known if the settings can't be read.
fn durable(job: &Job, facts: &DeliveryFacts, name: &str, seen: &Durability, unread: &str) -> Vec<Finding> {
    let fail = |fact: String| Finding::fail(Check::Delivery, fact).accept(Accept::Unreplicated);
    let test = "for a test cluster: --accept unreplicated";
    let mut found = Vec::new();
    if let Some(replicas) = seen.replication.filter(|replicas| *replicas < REPLICAS) {
        let fact = format!(
            "topic {name} has {} of each partition, and exactly-once needs {REPLICAS} (replication.factor): what is acknowledged \
             is lost with the brokers that have it",
            show_things(replicas.into(), "replica")
        );
        found.push(fail(fact).mend(format!(
            "add replicas to it with kafka-reassign-partitions.sh, or make it anew with --replication-factor {REPLICAS} --config \
             min.insync.replicas={IN_SYNC}; {test}"
        )));
    }
    match seen.least {
        Some(least) if least < IN_SYNC => {
            let fact = format!(
                "topic {name} has min.insync.replicas = {least}, and exactly-once needs {IN_SYNC}: a record may be acknowledged that \
                 one broker alone has"
            );
            let mend = match is_alone(seen) {
                true => format!("add replicas first, as above; {THEN}"),
                false => alter_topic(job, name, &format!("--add-config min.insync.replicas={IN_SYNC}")),
            };
            found.push(fail(fact).mend(format!("{mend}; {test}")));
        }
        Some(_) if seen.unclean.is_some() => {}
        _ => found.push(unknown(job, facts, name, unread)),
    }
    if seen.unclean == Some(true) {
        let fact = format!(
            "topic {name} has unclean.leader.election.enable = true: a replica that lacks acknowledged records may become leader, and \
             they are gone"
        );
        let mend = alter_topic(job, name, "--add-config unclean.leader.election.enable=false");
        found.push(fail(fact).mend(format!("{mend}; {test}")));
    }
    found
}

/// Whether there is no second replica that could be in sync.
fn is_alone(seen: &Durability) -> bool {
    seen.replication.is_some_and(|replicas| replicas < IN_SYNC)
}

/// What is not known of a topic whose settings can't be read.
fn unknown(job: &Job, facts: &DeliveryFacts, name: &str, unread: &str) -> Finding {
    let fact = format!("the settings of topic {name} can't be read (DescribeConfigs): whether {unread} is not known");
    let what = format!("--operation Describe --operation DescribeConfigs --topic {name}");
    Finding::warn(Check::Delivery, fact).mend(acls(job, facts, &what))
}

/// Each worker that starts reads what is not compacted yet.
fn quick_to_read(job: &Job, seen: &ProgressFacts) -> Option<Finding> {
    let (bytes, ms) = (seen.segment_bytes?, seen.segment_ms?);
    (bytes > LARGE_SEGMENT * SEGMENT_BYTES && ms > LONG_SEGMENT * SEGMENT_MS).then(|| {
        let progress = &job.checkpoint.topic;
        let fact = format!(
            "the progress topic {progress} (checkpoint.topic) has segment.bytes = {bytes} and segment.ms = {ms}: the newest segment is \
             not compacted, and each worker that starts reads it"
        );
        let change = format!("--add-config segment.bytes={SEGMENT_BYTES},segment.ms={SEGMENT_MS}");
        Finding::warn(Check::Delivery, fact).mend(alter_topic(job, progress, &change))
    })
}

/// The newest record of each key has to stay.
fn kept_for_ever(job: &Job, seen: &ProgressFacts) -> Option<Finding> {
    let progress = &job.checkpoint.topic;
    (seen.compacted == Some(false)).then(|| {
        let fact = format!(
            "the progress topic {progress} (checkpoint.topic) is not compacted, or deletes too (cleanup.policy): how far a job is \
             would be forgotten after a while"
        );
        Finding::fail(Check::Delivery, fact).mend(alter_topic(job, progress, "--add-config cleanup.policy=compact"))
    })
}

fn progress_rights(job: &Job, facts: &DeliveryFacts, seen: &ProgressFacts) -> Option<Finding> {
    let missing: Vec<&str> = seen.missing.iter().map(String::as_str).collect();
    (!missing.is_empty()).then(|| {
        let fact = format!(
            "the principal may not {} the progress topic {} (checkpoint.topic), though it may see it",
            missing.join(" or "),
            job.checkpoint.topic
        );
        Finding::fail(Check::Delivery, fact).mend(grant_topic(job, facts, &missing))
    })
}

/// The brokers' own record of which transactions were committed.
fn log(job: &Job, facts: &DeliveryFacts) -> Option<Finding> {
    let Some(seen) = &facts.log else {
        let unread = format!("it has {REPLICAS} replicas, {UNREAD}");
        return Some(unknown(job, facts, TRANSACTION_LOG, &unread));
    };
    let (mut wrong, mut changes) = (Vec::new(), Vec::new());
    if let Some(replicas) = seen.replication.filter(|replicas| *replicas < REPLICAS) {
        wrong.push(format!("{} (transaction.state.log.replication.factor)", show_things(replicas.into(), "replica")));
    }
    if let Some(least) = seen.least.filter(|least| *least < IN_SYNC) {
        wrong.push(format!("min.insync.replicas = {least} (transaction.state.log.min.isr)"));
        if !is_alone(seen) {
            changes.push(format!("min.insync.replicas={IN_SYNC}"));
        }
    }
    if seen.unclean == Some(true) {
        wrong.push("unclean.leader.election.enable = true".to_owned());
        changes.push("unclean.leader.election.enable=false".to_owned());
    }
    if wrong.is_empty() {
        let unread = seen.least.is_none() || seen.unclean.is_none();
        return unread.then(|| unknown(job, facts, TRANSACTION_LOG, UNREAD));
    }
    let fact = format!(
        "the brokers' transaction log {TRANSACTION_LOG} has {}, and exactly-once needs {REPLICAS} replicas, {IN_SYNC} in sync and no \
         unclean election: with a broker it may lose which transactions were committed",
        wrong.join(" and ")
    );
    let few = seen.replication.is_some_and(|replicas| replicas < REPLICAS);
    let mut mend = Vec::new();
    mend.extend(few.then(|| "add replicas with kafka-reassign-partitions.sh".to_owned()));
    mend.extend((is_alone(seen) && seen.least.is_some_and(|least| least < IN_SYNC)).then(|| THEN.to_owned()));
    mend.extend(
        (!changes.is_empty()).then(|| alter_topic(job, TRANSACTION_LOG, &format!("--add-config {}", changes.join(",")))),
    );
    let mend = format!("{}; for a test cluster: --accept unreplicated", mend.join("; "));
    Some(Finding::fail(Check::Delivery, fact).mend(mend).accept(Accept::Unreplicated))
}

/// Their version, and whether a producer that lost its transaction can add records to the next one.
fn brokers(job: &Job, facts: &DeliveryFacts) -> Option<Finding> {
    let check = Check::Delivery;
    if facts.is_recent == Some(false) {
        let fact = "the brokers are older than Apache Kafka 3.6.1: they don't verify that a record belongs to an open transaction, and one \
                    that arrives late may be in the next";
        return Some(Finding::fail(check, fact).mend("upgrade the brokers, or set kafka.delivery = \"at-least-once\""));
    }
    match facts.verifies {
        Some(true) => None,
        Some(false) => {
            let name = "transaction.partition.verification.enable";
            let fact = format!("{name} is false on the brokers: a record that arrives late may be in the next transaction");
            let mend = format!(
                "kafka-configs.sh --bootstrap-server {} --alter --entity-type brokers --entity-default --add-config {name}=true",
                first_broker(job)
            );
            Some(Finding::fail(check, fact).mend(mend))
        }
        None => {
            let what = match facts.is_recent {
                Some(_) => "whether transaction.partition.verification.enable is on",
                None => "whether they are 3.6.1 or later, with transaction.partition.verification.enable on,",
            };
            let fact = format!("the brokers' settings can't be read: {what} is not known, and exactly-once needs it");
            Some(Finding::warn(check, fact).mend(acls(job, facts, "--operation DescribeConfigs --cluster")))
        }
    }
}

/// Whether a transactional producer of this job can be made.
fn transactions(job: &Job, facts: &DeliveryFacts) -> Option<Finding> {
    let (check, needed) = (Check::Delivery, job.workers.chunk.transaction_timeout());
    let too_long = |limit: String| {
        let fact = format!(
            "a transaction of this job may last {} (twice workers.chunk.interval, at least a minute), and {limit}",
            show_whole_seconds(needed)
        );
        let raise = format!("set transaction.max.timeout.ms={} in the brokers' configuration", needed.as_millis());
        let lower = facts.longest.map(|longest| longest / crate::job::ChunkLimits::TRANSACTION_INTERVALS);
        Finding::fail(check, fact).mend(match lower.filter(|_| facts.longest >= Some(crate::job::LEAST_TRANSACTION)) {
            Some(lower) => format!("set workers.chunk.interval to at most \"{}ms\", or {raise}", lower.as_millis()),
            None => raise,
        })
    };
    if let Some(longest) = facts.longest.filter(|longest| *longest < needed) {
        return Some(too_long(format!("transaction.max.timeout.ms of the brokers is {}", longest.as_millis())));
    }
    match &facts.trial {
        TransactionTrial::Granted => None,
        TransactionTrial::TooLong => Some(too_long("the brokers take no such time (transaction.max.timeout.ms)".into())),
        TransactionTrial::NotAuthorised => {
            let fact = format!(
                "the principal may not use transactional ids that begin with {TRANSACTIONAL_PREFIX:?}: it needs Write and Describe on them"
            );
            let what = "--operation Write --operation Describe --resource-pattern-type prefixed --transactional-id";
            Some(Finding::fail(check, fact).mend(acls(job, facts, &format!("{what} {TRANSACTIONAL_PREFIX}"))))
        }
        TransactionTrial::Failed(why) => {
            let fact = format!("no transactional producer can be made: {why}");
            let mend = "look at the brokers' logs: the topic __transaction_state needs as many brokers as \
                        transaction.state.log.replication.factor says, and transaction.state.log.min.isr of them now";
            Some(Finding::fail(check, fact).mend(mend))
        }
    }
}

fn grant_topic(job: &Job, facts: &DeliveryFacts, operations: &[&str]) -> String {
    let operations: String = operations.iter().map(|operation| format!("--operation {operation} ")).collect();
    acls(job, facts, &format!("{operations}--topic {}", job.checkpoint.topic))
}

/// The command that grants something.
fn acls(job: &Job, facts: &DeliveryFacts, what: &str) -> String {
    format!(
        "kafka-acls.sh --bootstrap-server {} --add --allow-principal User:{} {what}",
        first_broker(job),
        facts.user.as_deref().unwrap_or("NAME")
    )
}
