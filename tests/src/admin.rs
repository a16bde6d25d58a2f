//! The few administrative requests that tests make of a Kafka, spoken by ourselves: a JVM for each would cost seconds.
//!
//! Responsible for: topics, their settings and records, rights, another producer's transaction. Not for: brokers as
//! processes (`scripts/kafka`), records (kcat).

mod transaction;
mod wire;

use std::thread::sleep;
use std::time::{Duration, Instant};

pub use transaction::OpenTransaction;
use wire::{Answer, Request};

/// How long a request may be tried, and how long all brokers may take to know of a change.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a broker may take over one request, in milliseconds.
const TIMEOUT_MS: i32 = 30_000;
/// The kind of resource that a topic is.
const TOPIC: i8 = 2;
/// Who clients are that have no name.
pub const NAMELESS: &str = "User:ANONYMOUS";
/// The kind of resource that a transactional id is.
const TRANSACTIONAL_ID: i8 = 5;
/// How a resource is named: by its whole name.
const LITERAL: i8 = 3;
/// Or by what its name begins with.
const PREFIXED: i8 = 4;

/// What a rule about rights says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// It may.
    Allow,
    /// It may not, whatever else is said.
    Deny,
}

/// What rights are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "Kafka's own names")]
pub enum Operation {
    All = 2,
    Read = 3,
    Write = 4,
    Create = 5,
    Delete = 6,
    Alter = 7,
    Describe = 8,
    DescribeConfigs = 10,
    AlterConfigs = 11,
    IdempotentWrite = 12,
}

/// A partition as a broker knows it.
struct Partition {
    number: i32,
    leader: i32,
}

/// What a broker knows: brokers' ids and addresses, topics with their partitions.
struct Metadata {
    brokers: Vec<(i32, String)>,
    topics: Vec<(i16, String, Vec<Partition>)>,
}

/// Asks a cluster; each request has a connection of its own.
#[derive(Clone)]
pub struct Admin {
    brokers: Vec<String>,
}

impl Admin {
    /// For a cluster at `host:port,…`.
    pub fn new(bootstrap: &str) -> Self {
        Admin { brokers: bootstrap.split(',').map(str::to_owned).collect() }
    }

    /// Creates a topic and waits until all brokers know it and each partition has a leader.
    pub fn create_topic(&self, name: &str, partitions: u32, configs: &[&str]) {
        let pairs: Vec<(&str, &str)> = configs.iter().map(|config| pair(config)).collect();
        let partitions = i32::try_from(partitions).expect("partitions are few");
        let request = Request::new(19, 4).count(1).text(name).i32(partitions).i16(-1).count(0);
        let request = request.list(&pairs, |request, (key, value)| request.text(key).text(value)).i32(TIMEOUT_MS).i8(0);
        let errors = self.ask(&request).after_throttle().list(|topic| (topic.text(), topic.i16(), topic.text()));
        check(&format!("create topic {name}"), errors[0].1, &errors[0].2);
        self.await_partitions(name, partitions);
    }

    /// Deletes a topic and waits until no broker knows it.
    pub fn delete_topic(&self, name: &str) {
        let request = Request::new(20, 1).count(1).text(name).i32(TIMEOUT_MS);
        let errors = self.ask(&request).after_throttle().list(|topic| (topic.text(), topic.i16()));
        check(&format!("delete topic {name}"), errors[0].1, "");
        self.await_brokers(&format!("topic {name} is gone"), |broker| {
            Ok(self.metadata(broker)?.topics.iter().all(|topic| topic.1 != name))
        });
    }

    /// The names of all topics, Kafka's own among them.
    pub fn topics(&self) -> Vec<String> {
        self.metadata(&self.brokers[0]).expect("the broker answers").topics.into_iter().map(|topic| topic.1).collect()
    }

    /// Gives a topic more partitions, `partitions` in all, and waits until all brokers know them.
    pub fn add_partitions(&self, topic: &str, partitions: u32) {
        let partitions = i32::try_from(partitions).expect("partitions are few");
        let request = Request::new(37, 1).count(1).text(topic).i32(partitions).i32(-1).i32(TIMEOUT_MS).i8(0);
        let errors = self.ask(&request).after_throttle().list(|topic| (topic.text(), topic.i16(), topic.text()));
        check(&format!("add partitions to {topic}"), errors[0].1, &errors[0].2);
        self.await_partitions(topic, partitions);
    }

    /// Sets `key=value` configs of a topic and waits until all brokers know them.
    pub fn alter_topic(&self, topic: &str, configs: &[&str]) {
        const SET: i8 = 0;
        let pairs: Vec<(&str, &str)> = configs.iter().map(|config| pair(config)).collect();
        let request = Request::new(44, 0).count(1).i8(TOPIC).text(topic);
        let request = request.list(&pairs, |request, (key, value)| request.text(key).i8(SET).text(value)).i8(0);
        let errors = self.ask(&request).after_throttle().list(|topic| (topic.i16(), topic.text(), topic.i8(), topic.text()));
        check(&format!("alter topic {topic}"), errors[0].0, &errors[0].1);
        self.await_brokers(&format!("{topic} has {configs:?}"), |broker| {
            let known = self.topic_configs(broker, topic)?;
            Ok(pairs.iter().all(|(key, value)| known.iter().any(|(name, now)| name == key && now == value)))
        });
    }

    /// A topic's settings, as one broker knows them.
    fn topic_configs(&self, broker: &str, topic: &str) -> std::io::Result<Vec<(String, String)>> {
        const ALL: i32 = -1;
        let request = Request::new(32, 1).count(1).i8(TOPIC).text(topic).i32(ALL).i8(0);
        let mut answer = request.send(broker)?.after_throttle();
        let mut found = answer.list(|topic| {
            let (error, said) = (topic.i16(), topic.text());
            check("describe a topic", error, &said);
            topic.i8(); // that it is a topic
            topic.text();
            topic.list(|config| {
                let (name, value) = (config.text(), config.text());
                config.i8(); // whether it is fixed
                config.i8(); // where it comes from
                config.i8(); // whether it is a secret
                config.list(|synonym| (synonym.text(), synonym.text(), synonym.i8()));
                (name, value)
            })
        });
        Ok(found.remove(0))
    }

    /// Deletes a partition's records before `offset`.
    pub fn delete_records(&self, topic: &str, partition: u32, offset: u64) {
        let partition = i32::try_from(partition).expect("partitions are few");
        let offset = i64::try_from(offset).expect("offsets are below 2^63");
        let request = Request::new(21, 1).count(1).text(topic).count(1).i32(partition).i64(offset).i32(TIMEOUT_MS);
        retried(&format!("delete records of {topic}"), || {
            let mut answer = request.send(&self.leader(topic, partition))?.after_throttle();
            let errors = answer.list(|topic| (topic.text(), topic.list(|part| (part.i32(), part.i64(), part.i16()))));
            Ok((errors[0].1[0].2, ()))
        });
    }

    /// The ends of a topic's partitions in their log, open transactions included.
    pub fn end_offsets(&self, topic: &str) -> Vec<u64> {
        const LATEST: i64 = -1;
        let end = |partition: &Partition| {
            let request = Request::new(2, 2).i32(-1).i8(0).count(1).text(topic).count(1).i32(partition.number).i64(LATEST);
            let offset = retried(&format!("tell the end of {topic}"), || {
                let mut answer = request.send(&self.leader(topic, partition.number))?.after_throttle();
                let found =
                    answer.list(|topic| (topic.text(), topic.list(|part| (part.i32(), part.i16(), part.i64(), part.i64()))));
                let (_, error, _, offset) = found[0].1[0];
                Ok((error, offset))
            });
            u64::try_from(offset).expect("a log has an end")
        };
        self.partitions(topic).iter().map(end).collect()
    }

    /// Adds a rule for a topic and a principal. A topic with a rule allows nothing beside what its rules allow; other
    /// topics are not concerned.
    pub fn add_rule(&self, topic: &str, principal: &str, rule: Rule, operation: Operation) {
        let permission = if rule == Rule::Deny { 2 } else { 3 };
        let request = Request::new(30, 1).count(1).i8(TOPIC).text(topic).i8(LITERAL).text(principal).text("*");
        let request = request.i8(operation as i8).i8(permission);
        let errors = self.ask(&request).after_throttle().list(|rule| (rule.i16(), rule.text()));
        check(&format!("{rule:?} {operation:?} for topic {topic}"), errors[0].0, &errors[0].1);
        let added = (operation as i8, permission);
        self.await_brokers(&format!("{topic} has the rule"), |broker| Ok(self.rules(broker, topic)?.contains(&added)));
    }

    /// Lets a principal use transactional ids with this prefix. Rules of other principals stay as they are.
    pub fn allow_transactional_ids(&self, prefix: &str, principal: &str) {
        const ALLOW: i8 = 3;
        let request = Request::new(30, 1).count(1).i8(TRANSACTIONAL_ID).text(prefix).i8(PREFIXED).text(principal).text("*");
        let request = request.i8(Operation::Write as i8).i8(ALLOW);
        let errors = self.ask(&request).after_throttle().list(|rule| (rule.i16(), rule.text()));
        check(&format!("transactional ids {prefix} for {principal}"), errors[0].0, &errors[0].1);
    }

    /// Takes all rules of a topic away.
    pub fn remove_rules(&self, topic: &str) {
        const ANY: i8 = 1;
        let request = Request::new(31, 1).count(1).i8(TOPIC).text(topic).i8(LITERAL).no_text().no_text().i8(ANY).i8(ANY);
        let mut answer = self.ask(&request).after_throttle();
        answer.i32(); // one filter, one answer
        let (error, said) = (answer.i16(), answer.text());
        check(&format!("remove the rules of topic {topic}"), error, &said);
        self.await_brokers(&format!("{topic} has no rule"), |broker| Ok(self.rules(broker, topic)?.is_empty()));
    }

    /// The rules of a topic, as one broker knows them: operation and permission of each.
    fn rules(&self, broker: &str, topic: &str) -> std::io::Result<Vec<(i8, i8)>> {
        const ANY: i8 = 1;
        let request = Request::new(29, 1).i8(TOPIC).text(topic).i8(LITERAL).no_text().no_text().i8(ANY).i8(ANY);
        let mut answer = request.send(broker)?.after_throttle();
        let (error, said) = (answer.i16(), answer.text());
        check("describe rules", error, &said);
        let found = answer.list(|resource| {
            resource.i8(); // that it is a topic
            resource.text();
            resource.i8(); // how it is named
            resource.list(|rule| {
                rule.text(); // who
                rule.text(); // from where
                (rule.i8(), rule.i8())
            })
        });
        Ok(found.into_iter().flatten().collect())
    }

    /// Opens a transaction of another producer with values, without keys, in one partition.
    pub fn open_transaction(&self, topic: &str, partition: u32, values: &[&str], timeout: Duration) -> OpenTransaction {
        OpenTransaction::begin(self.clone(), topic, partition, values, timeout)
    }

    /// Sends a request that any broker can answer or pass on.
    fn ask(&self, request: &Request) -> Answer {
        request.send(&self.brokers[0]).unwrap_or_else(|error| panic!("{} does not answer: {error}", self.brokers[0]))
    }

    fn metadata(&self, broker: &str) -> std::io::Result<Metadata> {
        let mut answer = Request::new(3, 1).i32(-1).send(broker)?;
        let brokers = answer.list(|broker| {
            let (id, host, port) = (broker.i32(), broker.text(), broker.i32());
            broker.text(); // rack
            (id, format!("{host}:{port}"))
        });
        answer.i32(); // the controller
        let topics = answer.list(|topic| {
            let (error, name) = (topic.i16(), topic.text());
            topic.i8(); // whether it is Kafka's own
            let partitions = topic.list(|partition| {
                partition.i16(); // the leader's absence is an error of the partition, and its id -1
                let found = Partition { number: partition.i32(), leader: partition.i32() };
                partition.list(Answer::i32); // replicas
                partition.list(Answer::i32); // those in sync
                found
            });
            (error, name, partitions)
        });
        Ok(Metadata { brokers, topics })
    }

    fn partitions(&self, topic: &str) -> Vec<Partition> {
        let metadata = self.metadata(&self.brokers[0]).expect("the broker answers");
        let found = metadata.topics.into_iter().find(|(_, name, _)| name == topic);
        let mut partitions = found.unwrap_or_else(|| panic!("there is no topic {topic}")).2;
        partitions.sort_by_key(|partition| partition.number);
        partitions
    }

    /// The address of a partition's leader.
    fn leader(&self, topic: &str, partition: i32) -> String {
        let start = Instant::now();
        loop {
            let leader = self.partitions(topic).into_iter().find(|found| found.number == partition).map(|found| found.leader);
            let brokers = self.metadata(&self.brokers[0]).expect("the broker answers").brokers;
            if let Some((_, address)) = brokers.into_iter().find(|(id, _)| Some(*id) == leader) {
                return address;
            }
            assert!(start.elapsed() < PATIENCE, "partition {partition} of {topic} has no leader");
            sleep(Duration::from_millis(20));
        }
    }

    /// The address of the broker that coordinates a transaction.
    fn coordinator(&self, transaction: &str) -> String {
        const TRANSACTION: i8 = 1;
        retried("find a transaction's coordinator", || {
            let mut answer = Request::new(10, 1).text(transaction).i8(TRANSACTION).send(&self.brokers[0])?.after_throttle();
            let (error, _, _) = (answer.i16(), answer.text(), answer.i32());
            Ok((error, format!("{}:{}", answer.text(), answer.i32())))
        })
    }

    fn await_partitions(&self, topic: &str, partitions: i32) {
        self.await_brokers(&format!("topic {topic} has {partitions} partitions with leaders"), |broker| {
            let metadata = self.metadata(broker)?;
            let found = metadata.topics.iter().find(|(error, name, _)| *error == 0 && name == topic);
            Ok(found.is_some_and(|(_, _, found)| {
                found.len() as i32 == partitions && found.iter().all(|partition| partition.leader >= 0)
            }))
        });
    }

    /// Waits until all brokers that answer know something.
    fn await_brokers(&self, what: &str, knows: impl Fn(&str) -> std::io::Result<bool>) {
        let start = Instant::now();
        for broker in &self.brokers {
            while !knows(broker).unwrap_or(broker != &self.brokers[0]) {
                assert!(start.elapsed() < PATIENCE, "{broker} does not know within {PATIENCE:?} that {what}");
                sleep(Duration::from_millis(10));
            }
        }
    }
}

impl Answer {
    /// Skips how long the broker asks us to wait, with which many answers begin.
    fn after_throttle(mut self) -> Self {
        self.i32();
        self
    }
}

/// The parts of `key=value`.
fn pair(config: &str) -> (&str, &str) {
    config.split_once('=').unwrap_or_else(|| panic!("a config is key=value, not {config:?}"))
}

/// Panics unless a broker's error code is 0.
fn check(what: &str, error: i16, said: &str) {
    assert_eq!(error, 0, "can't {what}: Kafka's error {error} {said}");
}

/// Asks until the answer is no error that passes: a leader or a coordinator that does not know yet that it is one, a
/// transaction that is being ended.
fn retried<T>(what: &str, ask: impl Fn() -> std::io::Result<(i16, T)>) -> T {
    const PASSING: [i16; 7] = [3, 5, 6, 14, 15, 16, 51];
    let start = Instant::now();
    loop {
        let (error, answer) = ask().unwrap_or_else(|error| panic!("can't {what}: {error}"));
        if PASSING.contains(&error) && start.elapsed() < PATIENCE {
            sleep(Duration::from_millis(50));
            continue;
        }
        check(what, error, "");
        return answer;
    }
}
