//! The third stage: what a config means. Rules between keys, secrets; the result is a [`Job`].

use super::Typed;
use super::checks;
use super::context::Context;
use super::error::{ConfigErrors, ErrorCode, Problems};
use super::exposure::{as_read, credentials};
use super::java::java_name;
use super::key::{ConfigKey, Declared, KeyTable as _, Merged};
use super::origin::{At, ValueOrigin};
use super::properties::{PropertyRule, is_secret_property, property_rule};
use super::schema::KEYS;
use super::secrets::resolve;
use super::security::security;
use super::suggest::nearest;
use super::typed::tick;
use super::value::{EntryValue, NamedValue, TypedValue};
use crate::Accept;
use crate::job::{
    Brokers, CheckpointRules, ChunkLimits, CsvFormat, CsvHeader, CsvSource, DeadLetterRules, Delivery, FlushPolicy, Job,
    JsonlSource, KafkaRules, LONGEST_TRANSACTION, LettersTo, OnMissing, Property, RecordRules, ShardRules, SourceRules,
    TimestampUnit, WorkerRules, letters_topic,
};
use crate::units::show_duration;

impl Typed {
    /// What was typed means this job, or these are all the problems that could be found at once.
    pub fn mean(self, ctx: &Context<'_>) -> Result<Job, ConfigErrors> {
        let (mut merged, mut problems) = self.merge(ctx.config_dir);
        one_source(&merged, &mut problems);
        require(&merged, &mut problems);
        contradictions(&merged, &mut problems);
        contradictions_of_csv(&merged, &mut problems);
        contradictions_of_letters(&merged, ctx.contacts_brokers, &mut problems);
        embedded_security(&merged, &mut problems);
        exactly_once(&merged, ctx.contacts_brokers, &mut problems);
        let accepts_space = merged.get(&Job::ACCEPT).contains(&Accept::SecretSpace);
        let properties = properties(merged.entries(&KafkaRules::PROPERTIES), ctx, accepts_space, &mut problems);
        credentials(&merged, &properties, ctx.contacts_brokers, &mut problems);
        security(&merged, &properties, ctx, &mut problems);
        problems.result()?;
        merged.set(&KafkaRules::PROPERTIES, TypedValue::Properties(properties));
        Ok(Job::read(&merged))
    }
}

/// Two tables below `[source]`: the error points at the second.
fn one_source(merged: &Merged<'_>, problems: &mut Problems) {
    let mut sources: Vec<_> = merged.sources.iter().collect();
    sources.sort_by_key(|(_, origin)| origin.rank());
    if let [(first, before), (second, origin), ..] = sources.as_slice() {
        let message = format!("two sources: `{first}` {} and `{second}`", problems.whence(before));
        let error = problems.add(ErrorCode::Contradiction, origin, message);
        error.help(format!("a job has exactly one source: delete [{second}] or [{first}]"));
    }
}

fn require(merged: &Merged<'_>, problems: &mut Problems) {
    let of_source = |key: &Declared| SourceRules::TABLES.contains(&key.table());
    let [first, ..] = SourceRules::TABLES;
    let wanted = |key: &Declared| match merged.sources.len() {
        _ if !of_source(key) => true,
        0 => key.table() == first,
        1 => merged.has_source(key.table()),
        _ => false,
    };
    for key in KEYS.iter().filter(|key| key.required && wanted(key)) {
        if !merged.has(key) && !merged.refused.contains(key.path) {
            let error = problems.add(ErrorCode::Missing, &ValueOrigin::Default, format!("`{}` is missing", key.path));
            error.help(add_below(key));
            if of_source(key) && merged.sources.is_empty() {
                let others = KEYS.iter().filter(|other| of_source(other) && other.required && other.path != key.path);
                others.for_each(|other| {
                    error.help(format!("or {}", add_below(other)));
                });
            }
        }
    }
}

fn add_below(key: &Declared) -> String {
    format!("add below [{}]: {} = {}", key.table(), key.name(), key.example)
}

fn contradictions(merged: &Merged<'_>, problems: &mut Problems) {
    // A value equal to the default says nothing new, so it contradicts nothing.
    let on_missing = merged.at(&RecordRules::ON_MISSING);
    let no_key = merged.get(&RecordRules::KEY).is_none() && !merged.refused(&RecordRules::KEY);
    if no_key && on_missing.value != OnMissing::DeadLetter {
        let message = "`record.on_missing` without `record.key`: no key can be missing";
        problems.add(ErrorCode::Contradiction, &on_missing.origin, message).help("delete `on_missing`, or add `key`");
    }
    let by_key = merged.at(&ShardRules::BY_KEY);
    if no_key && by_key.value == Some(true) {
        let message = "`shards.by_key` is true without `record.key`: there is no key to order by";
        problems
            .add(ErrorCode::Contradiction, &by_key.origin, message)
            .help("delete `by_key`, or add below [record]: key = \".customer_id\"");
    }
    let unit = merged.at(&RecordRules::TIMESTAMP_UNIT);
    let no_timestamp = merged.get(&RecordRules::TIMESTAMP).is_none() && !merged.refused(&RecordRules::TIMESTAMP);
    if no_timestamp && unit.value != TimestampUnit::Rfc3339 {
        let message = "`record.timestamp_unit` without `record.timestamp`: no field is read";
        problems.add(ErrorCode::Contradiction, &unit.origin, message).help("delete `timestamp_unit`, or add `timestamp`");
    }
    let csv = merged.has_source(CsvSource::MAX_LINE.declared().table());
    let max_line = if csv { &CsvSource::MAX_LINE } else { &JsonlSource::MAX_LINE };
    above(merged, max_line, &WorkerRules::IN_FLIGHT, 1, problems);
    above(merged, &WorkerRules::IN_FLIGHT, &WorkerRules::MEMORY_LIMIT, 2, problems);
}

fn contradictions_of_csv(merged: &Merged<'_>, problems: &mut Problems) {
    let (delimiter, quote) = (merged.at(&CsvFormat::DELIMITER), merged.at(&CsvFormat::QUOTE));
    if delimiter.value == quote.value && !merged.refused(&CsvFormat::DELIMITER) && !merged.refused(&CsvFormat::QUOTE) {
        let (typed, key) = if quote.typed() { (quote, "quote") } else { (delimiter, "delimiter") };
        let message = "`source.csv.delimiter` and `source.csv.quote` are the same character";
        problems.add(ErrorCode::Contradiction, &typed.origin, message).help(format!("change `{key}`"));
    }
    let CsvHeader::Names(names) = merged.get(&CsvFormat::HEADER) else { return };
    for entry in merged.entries(&CsvFormat::TYPES).iter().filter(|entry| !names.contains(&entry.name.value)) {
        let message = format!("{} in [source.csv.types] is none of the columns that `header` names", tick(&entry.name.value));
        let error = problems.add(ErrorCode::Contradiction, &entry.name.origin, message);
        error.suggest(nearest(&entry.name.value, names.iter().map(String::as_str))).help("delete it, or add it to `header`");
    }
}

/// The job's topic, if there is one to judge: it has no default.
fn topic(merged: &Merged<'_>) -> Option<At<String>> {
    let is_there = merged.has(KafkaRules::TOPIC.declared()) && !merged.refused(&KafkaRules::TOPIC);
    is_there.then(|| merged.at(&KafkaRules::TOPIC))
}

/// Letters in a topic are told from records and progress by their topic, and outlive the run.
fn contradictions_of_letters(merged: &Merged<'_>, contacts_brokers: bool, problems: &mut Problems) {
    let (to, named) = (merged.at(&DeadLetterRules::TO), merged.at(&DeadLetterRules::TOPIC));
    if to.value == LettersTo::File {
        if named.value.is_some() && !merged.refused(&DeadLetterRules::TO) {
            let message = "`dead_letters.topic` without `dead_letters.to = \"topic\"`: letters go to files";
            problems.add(ErrorCode::Contradiction, &named.origin, message).help("delete `topic`, or set `to` to \"topic\"");
        }
        return;
    }
    if contacts_brokers && merged.get(&KafkaRules::BROKERS) == Brokers::Embedded && !merged.refused(&KafkaRules::BROKERS) {
        let message = "`dead_letters.to` is \"topic\" with the embedded broker, which dies with the run";
        problems.add(ErrorCode::Contradiction, &to.origin, message).help("delete it, or name the cluster in `kafka.brokers`");
    }
    let Some(topic) = topic(merged).filter(|_| !merged.refused(&DeadLetterRules::TOPIC)) else { return };
    let topic = topic.value;
    let origin = if named.value.is_some() { &named.origin } else { &to.origin };
    let letters = named.value.clone().unwrap_or_else(|| letters_topic(&topic));
    let others = [("kafka.topic", topic), ("checkpoint.topic", merged.get(&CheckpointRules::TOPIC))];
    for (key, _) in others.iter().filter(|(_, other)| *other == letters) {
        let message = format!("the topic of dead letters is {letters:?}, and so is `{key}`");
        problems.add(ErrorCode::Contradiction, origin, message).help("name another topic in `dead_letters.topic`");
    }
    if let Err(refusal) = checks::topic(&letters) {
        let message = format!("no topic can have the name of the dead letters, {letters:?}: {}", refusal.why);
        problems.add(ErrorCode::Contradiction, origin, message).help("name one in `dead_letters.topic`");
    }
}

/// The embedded broker speaks plain text only: a worker would wait for it until `give_up_after`.
fn embedded_security(merged: &Merged<'_>, problems: &mut Problems) {
    let brokers = merged.at(&KafkaRules::BROKERS);
    let embedded = brokers.value == Brokers::Embedded && !merged.refused(&KafkaRules::BROKERS);
    let secured = |entry: &&NamedValue| match &entry.value.value {
        EntryValue::Plain(text) => entry.name.value == "security.protocol" && as_read(text) != "plaintext",
        EntryValue::Env(_) | EntryValue::File(_) => false,
    };
    if let Some(entry) = merged.entries(&KafkaRules::PROPERTIES).iter().find(secured).filter(|_| embedded) {
        let whence = problems.whence(&brokers.origin);
        let message = format!("`security.protocol` with the embedded broker {whence}, which has no security");
        problems
            .add(ErrorCode::Contradiction, &entry.name.origin, message)
            .help("delete it, or name the cluster in `kafka.brokers`");
    }
}

/// What can't be had with exactly-once delivery. Which brokers it will be matters only to a command that contacts them.
fn exactly_once(merged: &Merged<'_>, contacts_brokers: bool, problems: &mut Problems) {
    let delivery = merged.at(&KafkaRules::DELIVERY);
    if delivery.value != Delivery::ExactlyOnce {
        return;
    }
    let whence = problems.whence(&delivery.origin);
    let mut refuse = |typed: bool, origin: &ValueOrigin, message: String, help: &str| {
        let origin = if typed { origin } else { &delivery.origin };
        problems.add(ErrorCode::Contradiction, origin, message).help(help);
    };
    let brokers = merged.at(&KafkaRules::BROKERS);
    if contacts_brokers && brokers.value == Brokers::Embedded && !merged.refused(&KafkaRules::BROKERS) {
        let message = format!(
            "`kafka.delivery` is \"exactly-once\" {whence} with the embedded broker, which can't judge transactions: what was aborted \
             stays visible there"
        );
        refuse(
            brokers.typed(),
            &brokers.origin,
            message,
            "name a cluster in `kafka.brokers` (-b HOST:PORT), or delete `delivery`",
        );
    }
    let flush = merged.at(&WorkerRules::FLUSH);
    if flush.value == FlushPolicy::Record {
        let message = format!(
            "`workers.flush` is \"record\" and `kafka.delivery` is \"exactly-once\" {whence}: a transaction holds a whole chunk, and \
             readers see none of it before its end"
        );
        refuse(
            flush.typed(),
            &flush.origin,
            message,
            "delete `flush`: a chunk's end waits for each record; or delete `delivery`",
        );
    }
    let progress = merged.at(&CheckpointRules::TOPIC);
    if let Some(topic) = topic(merged).filter(|topic| topic.value == progress.value) {
        let message = format!(
            "`checkpoint.topic` is {:?}, the topic that the job sends to: progress would stand between the records",
            progress.value
        );
        let (typed, origin) = match progress.typed() {
            true => (true, &progress.origin),
            false => (topic.typed(), &topic.origin),
        };
        refuse(typed, origin, message, "name a topic of its own for progress: one serves many jobs");
    }
    let interval = merged.at(&ChunkLimits::INTERVAL);
    let longest = LONGEST_TRANSACTION / ChunkLimits::TRANSACTION_INTERVALS;
    if interval.value > longest {
        let message = format!(
            "`workers.chunk.interval` {} is too long for `kafka.delivery` \"exactly-once\" {whence}: a chunk is a transaction of up to \
             twice its time, and brokers allow {} (transaction.max.timeout.ms)",
            show_duration(interval.value),
            show_duration(LONGEST_TRANSACTION)
        );
        let help = format!("lower `interval` to at most \"{}s\", or delete `delivery`", longest.as_secs());
        refuse(interval.typed(), &interval.origin, message, &help);
    }
}

/// An error if `small` is more than a `share`-th of `large`. It points at the one that was typed, `small` if both were.
fn above(
    merged: &Merged<'_>,
    small: &'static ConfigKey<u64>,
    large: &'static ConfigKey<u64>,
    share: u64,
    problems: &mut Problems,
) {
    let (small_path, large_path) = (small.declared().path, large.declared().path);
    let refused = merged.refused(small) || merged.refused(large);
    let (small, large) = (merged.at(small), merged.at(large));
    if refused || small.value <= large.value / share {
        return;
    }
    let part = if share == 1 { "" } else { "half of " };
    let message = format!(
        "`{small_path}` {} {} is more than {part}`{large_path}` {} {}",
        size(small.value),
        problems.whence(&small.origin),
        size(large.value),
        problems.whence(&large.origin),
    );
    let origin = if small.typed() { &small.origin } else { &large.origin };
    let (most, least) = (size(large.value / share), size(small.value.saturating_mul(share)));
    problems
        .add(ErrorCode::Contradiction, origin, message)
        .help(format!("lower `{small_path}` to at most {most}, or raise `{large_path}` to at least {least}"));
}

fn properties(
    entries: &[NamedValue],
    ctx: &Context<'_>,
    accepts_space: bool,
    problems: &mut Problems,
) -> Vec<(String, Property)> {
    let mut out = Vec::new();
    for entry in entries {
        let name = &entry.name.value;
        if let Some(instead) = java_name(name) {
            let message = format!("{} is a property of Kafka's Java clients; librdkafka has none of that name", tick(name));
            let error = problems.add(ErrorCode::JavaName, &entry.name.origin, message).help(instead);
            if is_secret_property(name) {
                error.hide_value();
            }
        } else if let Some(PropertyRule::Owned(why)) = property_rule(name) {
            let message = format!("{} is set by shardlift", tick(name));
            problems.add(ErrorCode::OwnedProperty, &entry.name.origin, message).help(format!("delete it; {why}"));
        } else if let Some(value) = resolve(entry, ctx, accepts_space, problems) {
            if name.contains('\0') || value.expose().contains('\0') {
                let message = format!("{} contains a NUL character", tick(name));
                problems.add(ErrorCode::BadValue, &entry.name.origin, message).help("librdkafka's properties are C strings");
            } else {
                out.push((name.clone(), value));
            }
        }
    }
    let exposed: Vec<_> = out.iter().map(|(name, value)| (name.clone(), value.expose().to_owned())).collect();
    for problem in (ctx.check_properties)(&exposed) {
        let entry = entries.iter().find(|entry| entry.name.value == problem.name);
        let origin = entry.map_or(&ValueOrigin::Default, |entry| &entry.name.origin);
        // librdkafka quotes the value that it refuses.
        let message = match out.iter().find(|(name, _)| *name == problem.name) {
            Some((_, Property::Secret(secret))) => problem.message.replace(&secret.value, "***"),
            _ => problem.message.clone(),
        };
        let error = problems.add(ErrorCode::BadProperty, origin, format!("{}: {message}", tick(&problem.name)));
        error.suggest(problem.did_you_mean.as_deref());
        if problem.did_you_mean.as_deref().is_some_and(is_secret_property) {
            error.hide_value();
        }
    }
    out
}

/// A size as it can be written into a config: never rounded.
fn size(bytes: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1_000_000, "MB"), (1000, "kB")];
    match units.iter().find(|(factor, _)| bytes >= *factor && bytes.is_multiple_of(*factor)) {
        Some((factor, unit)) => format!("{}{unit}", bytes / factor),
        None => format!("{bytes}B"),
    }
}
