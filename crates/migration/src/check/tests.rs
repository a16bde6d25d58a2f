use std::collections::BTreeSet;
use std::time::Duration;

use super::facts::{
    DeliveryFacts, Durability, ExistingRecords, FoundProgress, KnownTopic, ProgressFacts, Replicas, Retention, SampledPlace,
    SourceSample, TransactionTrial,
};
use super::*;
use crate::job::Partitioner;
use crate::{CheckLevel, TopicSettings};

const NOW: i64 = 1_790_000_000_000;
const DAY: u64 = 86_400_000;

fn job(more: &str) -> Job {
    Job::of_text(&format!(
        "job.name = \"j\"\nsource.jsonl.paths = [\"x\"]\nkafka.brokers = [\"b:1\"]\nkafka.topic = \"t\"\n{more}"
    ))
}

fn keyed() -> Job {
    job("record.key = \".id\"\nrecord.timestamp = \".at\"\nrecord.timestamp_unit = \"ms\"\n")
}

/// A thousand records of yesterday with as many keys.
fn sample() -> SourceSample {
    SourceSample {
        files: 1,
        files_sampled: 1,
        rows: 1000,
        row_bytes: 100_000,
        records: 1000,
        record_bytes: 110_000,
        largest: Some((200, SampledPlace::default())),
        objects: 1000,
        looked: 1000,
        fields: vec![(".id".into(), 1000), (".at".into(), 1000), (".customer.name".into(), 990)],
        times_ms: vec![NOW - DAY as i64; 1000],
        keys: (0..1000u32).map(|key| (key.to_be_bytes().to_vec(), 1)).collect(),
        unpacked_bytes: Some(1_000_000),
        ..SourceSample::default()
    }
}

fn facts() -> KnownTopic {
    KnownTopic {
        partitions: 4,
        settings: TopicSettings { max_message_bytes: 1_048_588, ..TopicSettings::default() },
        retention: Some(Retention { ms: Some(7 * DAY), deletes: true, ..Retention::default() }),
        replicas: Replicas { assigned: 3, in_sync: 3, least: Some(2) },
    }
}

fn existing() -> ExistingRecords {
    ExistingRecords {
        records: 50,
        sampled: 50,
        keyed: 50,
        by_murmur2: 50,
        by_crc32: 12,
        hashed: 50,
        values: vec![("JSON object".into(), 50)],
        keys: vec![("text".into(), 50)],
        headers: Vec::new(),
        newest_ms: Some(NOW),
        grew: Some((0, Duration::from_secs(2))),
        throttled: None,
    }
}

fn by_first_byte(key: &[u8], partitions: u32) -> Option<u32> {
    key.last().map(|byte| u32::from(*byte) % partitions)
}

/// What the rules find in all of it.
fn findings(job: &Job, sample: &SourceSample, facts: &KnownTopic, existing: &ExistingRecords) -> Vec<Finding> {
    let plan = Plan::default();
    let seen = Evidence {
        job,
        plan: &plan,
        sample,
        partitions: Some(facts.partitions),
        existing: Some(existing),
        partition_of: by_first_byte,
        now_ms: NOW,
    };
    let mut found = of_source(&seen);
    found.push(of_topic_now(job, facts));
    found.extend(of_topic(&seen, facts));
    found.extend(of_existing(&seen, existing));
    found
}

/// What one check finds in a job that is changed by `change`.
fn after(check: Check, change: impl FnOnce(&mut Job, &mut SourceSample, &mut KnownTopic, &mut ExistingRecords)) -> Finding {
    let (mut job, mut sample, mut facts, mut existing) = (keyed(), sample(), facts(), existing());
    change(&mut job, &mut sample, &mut facts, &mut existing);
    let mut found = findings(&job, &sample, &facts, &existing);
    found.retain(|finding| finding.check == check);
    found.into_iter().max_by_key(|finding| finding.level).expect("each check finds something")
}

fn assert_found(finding: &Finding, level: CheckLevel, said: &[&str]) {
    let line = finding.line();
    assert_eq!(finding.level, level, "{line}");
    said.iter().for_each(|part| assert!(line.contains(part), "{part:?} is not in {line}"));
}

#[test]
fn a_healthy_job_passes_every_check() {
    let found = findings(&keyed(), &sample(), &facts(), &existing());
    found.iter().for_each(|finding| assert_eq!(finding.level, CheckLevel::Ok, "{}", finding.line()));
    assert_eq!(refusal(&found, &BTreeSet::new()), None);
}

#[test]
fn event_times_older_than_retention_are_refused_with_both_commands() {
    let old = |_: &mut Job, sample: &mut SourceSample, _: &mut KnownTopic, _: &mut ExistingRecords| {
        sample.times_ms[..400].fill(NOW - 30 * DAY as i64);
    };
    let finding = after(Check::Retention, old);
    assert_found(
        &finding,
        CheckLevel::Fail,
        &[
            "40 % of 1,000 sampled records",
            "retention.ms = 604800000 (7 days) of topic t",
            "kafka-configs.sh --bootstrap-server b:1 --alter --entity-type topics --entity-name t --add-config retention.ms=-1",
            "--delete-config retention.ms",
            "--accept retention",
        ],
    );
    assert!(finding.refuses(&BTreeSet::new()) && !finding.refuses(&BTreeSet::from([Accept::Retention])));
    let one = after(Check::Retention, |_, sample, _, _| sample.times_ms[0] = 0);
    assert_found(&one, CheckLevel::Warn, &["1 of 1,000 sampled records", "1970"]);
    let real = after(Check::Retention, |_, sample, _, _| sample.times_ms[0] = NOW - 30 * DAY as i64);
    assert_eq!(real.level, CheckLevel::Fail);
    let own = after(Check::Retention, |job, sample, facts, existing| {
        old(job, sample, facts, existing);
        facts.retention = Some(Retention { ms_is_own: true, ..facts.retention.clone().expect("it is known") });
    });
    assert!(own.line().contains("--add-config retention.ms=604800000"), "{}", own.line());
    for keeps in [
        Retention { ms: None, deletes: true, ..Retention::default() },
        Retention { ms: Some(DAY), deletes: false, ..Retention::default() },
        Retention { ms: Some(DAY), deletes: true, append_time: true, ..Retention::default() },
    ] {
        let kept = after(Check::Retention, |job, sample, facts, existing| {
            old(job, sample, facts, existing);
            facts.retention = Some(keeps.clone());
        });
        assert_eq!(kept.level, CheckLevel::Ok, "{keeps:?}");
    }
    assert_eq!(after(Check::Retention, |_, _, facts, _| facts.retention = None).level, CheckLevel::Skip);
}

#[test]
fn more_bytes_than_a_partition_keeps_are_refused() {
    let finding = after(Check::RetentionSize, |_, _, facts, _| {
        facts.retention = Some(Retention { bytes: Some(100_000), deletes: true, ..Retention::default() });
    });
    assert_found(
        &finding,
        CheckLevel::Fail,
        &["295.4 KiB", "97.7 KiB each", "--add-config retention.bytes=-1", "--delete-config retention.bytes"],
    );
    let compressed = after(Check::RetentionSize, |job, _, facts, _| {
        *job = self::job("record.key = \".id\"\nkafka.properties.\"compression.type\" = \"lz4\"\n");
        facts.retention = Some(Retention { bytes: Some(100_000), deletes: true, ..Retention::default() });
    });
    assert_found(&compressed, CheckLevel::Warn, &["before compression"]);
    let enough = after(Check::RetentionSize, |_, _, facts, _| {
        facts.retention = Some(Retention { bytes: Some(310_000), deletes: true, ..Retention::default() });
    });
    assert_eq!(enough.level, CheckLevel::Ok);
}

#[test]
fn a_wrong_unit_is_told_with_the_one_that_fits_and_refused_where_times_decide() {
    let as_us = |sample: &mut SourceSample| sample.times_ms.iter_mut().for_each(|time| *time /= 1000);
    let finding = after(Check::Timestamps, |_, sample, _, _| as_us(sample));
    assert_found(&finding, CheckLevel::Fail, &["all 1,000 sampled records", "1970", "--accept timestamps"]);
    let told = after(Check::Timestamps, |job, sample, facts, _| {
        job.record.timestamp_unit = crate::job::TimestampUnit::Microseconds;
        as_us(sample);
        facts.retention = Some(Retention::default());
    });
    assert_found(&told, CheckLevel::Warn, &["record.timestamp_unit = \"us\"", "record.timestamp_unit = \"ms\" would give"]);
}

#[test]
fn times_that_the_topic_refuses_or_replaces_are_refused() {
    let refused = after(Check::Timestamps, |_, _, facts, _| facts.settings.before_max_ms = Some(3_600_000));
    assert_found(&refused, CheckLevel::Fail, &["message.timestamp.before.max.ms = 3600000", "dead letters"]);
    let late = after(Check::Timestamps, |_, sample, facts, _| {
        sample.times_ms[0] = NOW + 10 * DAY as i64;
        facts.settings.after_max_ms = Some(3_600_000);
    });
    assert_found(&late, CheckLevel::Fail, &["1 of 1,000 sampled records", "message.timestamp.after.max.ms"]);
    let allowed = after(Check::Timestamps, |job, sample, facts, _| {
        sample.times_ms[0] = NOW + 10 * DAY as i64;
        facts.settings.after_max_ms = Some(3_600_000);
        job.limits.max_bad_records = 1;
    });
    assert_eq!(allowed.level, CheckLevel::Ok);
    let replaced = after(Check::Timestamps, |_, _, facts, _| {
        facts.retention = Some(Retention { append_time: true, ..Retention::default() });
    });
    assert_found(&replaced, CheckLevel::Fail, &["LogAppendTime", "record.timestamp are lost"]);
}

#[test]
fn a_compacted_topic_takes_no_record_without_a_key() {
    let compacted = |facts: &mut KnownTopic| {
        facts.settings.compacted = true;
        facts.retention = Some(Retention::default());
    };
    let none = after(Check::Cleanup, |job, _, facts, _| {
        job.record.key = None;
        compacted(facts);
    });
    assert_found(&none, CheckLevel::Fail, &["takes no record without a key: the job names none", "--accept cleanup"]);
    assert_eq!(after(Check::Cleanup, |_, _, facts, _| compacted(facts)).level, CheckLevel::Ok);
    let live = after(Check::Cleanup, |_, _, facts, existing| {
        compacted(facts);
        existing.grew = Some((7, Duration::from_secs(2)));
    });
    assert_found(&live, CheckLevel::Warn, &["others write to it now"]);
}

#[test]
fn a_topic_without_enough_replicas_is_refused() {
    let few = after(Check::Topic, |_, _, facts, _| facts.replicas.in_sync = 1);
    let said = ["1 in-sync replica of 3, and min.insync.replicas is 2", "start the brokers that are missing"];
    assert_found(&few, CheckLevel::Fail, &said);
    let made_so = after(Check::Topic, |_, _, facts, _| (facts.replicas.assigned, facts.replicas.in_sync) = (1, 1));
    let said = ["topic t has 1 replica, fewer than min.insync.replicas = 2", "kafka-reassign-partitions.sh", "replicas=1`"];
    assert_found(&made_so, CheckLevel::Fail, &said);
    assert!(!made_so.line().contains("start the brokers"), "none is missing: {}", made_so.line());
    assert_eq!(after(Check::Topic, |_, _, facts, _| facts.replicas.least = None).level, CheckLevel::Ok);
}

#[test]
fn a_field_that_no_record_has_is_refused_with_those_there_are() {
    let finding = after(Check::Mapping, |_, sample, _, _| sample.without_key = 1000);
    assert_found(
        &finding,
        CheckLevel::Fail,
        &["no record of 1,000 has .id (record.key); fields are .id, .at, .customer.name", "--accept mapping"],
    );
    // A row that is not JSON hides nothing.
    let one_bad = after(Check::Mapping, |_, sample, _, _| {
        (sample.looked, sample.without_key) = (999, 999);
        sample.set_aside = vec![("not JSON".into(), 1, SampledPlace::default())];
    });
    assert_found(&one_bad, CheckLevel::Fail, &["no record of 999 has .id"]);
    let time = after(Check::Mapping, |_, sample, _, _| sample.without_time = 1000);
    assert_found(&time, CheckLevel::Fail, &["no record of 1,000 has .at (record.timestamp)"]);
}

#[test]
fn what_would_be_set_aside_is_held_against_the_limit() {
    let bad = |sample: &mut SourceSample, rows: u64| {
        let place = SampledPlace { path: "d/a".into(), start: 120 };
        sample.set_aside = vec![("no field .id".into(), rows, place)];
    };
    let few = after(Check::Mapping, |_, sample, _, _| bad(sample, 5));
    assert_found(
        &few,
        CheckLevel::Warn,
        &["5 of 1,000 sampled rows would be set aside", "no field .id (first at d/a byte 120)"],
    );
    let many = after(Check::Mapping, |_, sample, _, _| bad(sample, 100));
    assert_found(&many, CheckLevel::Fail, &["10 % of 1,000 sampled rows"]);
    let allowed = after(Check::Mapping, |job, sample, _, _| {
        bad(sample, 100);
        job.limits.max_bad_records = 100;
    });
    assert_eq!(allowed.level, CheckLevel::Ok);
}

#[test]
fn records_that_are_too_large_are_told_and_refused_if_they_are_many() {
    let large = |sample: &mut SourceSample| sample.largest = Some((2 << 20, SampledPlace { path: "d/a".into(), start: 7 }));
    let one = after(Check::Sizes, |_, sample, _, _| large(sample));
    assert_found(&one, CheckLevel::Warn, &["d/a byte 7", "--add-config max.message.bytes=4194304"]);
    let many = after(Check::Sizes, |_, sample, _, _| {
        large(sample);
        sample.record_bytes = 1000 << 20;
    });
    assert_found(&many, CheckLevel::Fail, &["--accept sizes"]);
}

#[test]
fn a_key_or_partition_that_gets_too_much_is_told() {
    let key = after(Check::Skew, |_, sample, _, _| sample.keys = vec![(vec![1], 600), (vec![2], 400)]);
    assert_found(&key, CheckLevel::Warn, &["one key has 60 %"]);
    let partition = after(Check::Skew, |_, sample, _, _| {
        sample.keys = (0..500u32).map(|key| (vec![(key % 256) as u8, 4], 2)).collect();
    });
    assert_found(&partition, CheckLevel::Warn, &["partition 0 gets 100 %"]);
    assert_eq!(after(Check::Skew, |job, _, _, _| job.record.key = None).level, CheckLevel::Ok);
    assert_eq!(after(Check::Skew, |_, _, facts, _| facts.partitions = 1).level, CheckLevel::Skip);
}

#[test]
fn keys_that_lie_elsewhere_are_refused() {
    let other = after(Check::Partitioner, |job, _, _, _| job.kafka.partitioner = Partitioner::Crc32);
    assert_found(
        &other,
        CheckLevel::Fail,
        &[
            "12 of 50 sampled keys",
            "kafka.partitioner = \"crc32\"",
            "all where murmur2 does",
            "set kafka.partitioner = \"murmur2\"",
        ],
    );
    let neither = after(Check::Partitioner, |_, _, _, existing| existing.by_murmur2 = 13);
    assert_found(&neither, CheckLevel::Fail, &["12 where crc32 does", "a way of their own", "--accept partitioner"]);
    let few = after(Check::Partitioner, |_, _, _, existing| (existing.hashed, existing.by_murmur2) = (3, 2));
    assert_eq!(few.level, CheckLevel::Warn);
    assert_eq!(after(Check::Partitioner, |_, _, _, existing| existing.hashed = 0).level, CheckLevel::Skip);
}

#[test]
fn other_producers_and_records_of_another_form_are_told() {
    let live = after(Check::Existing, |_, _, _, existing| existing.grew = Some((40, Duration::from_secs(2))));
    assert_found(&live, CheckLevel::Warn, &["others write to t now: 40 records in 2.0 s"]);
    assert!(!live.line().contains("another machine"), "{}", live.line());
    let once = after(Check::Existing, |job, _, _, existing| {
        job.kafka.delivery = crate::job::Delivery::ExactlyOnce;
        existing.grew = Some((40, Duration::from_secs(2)));
    });
    assert_found(&once, CheckLevel::Warn, &["an older start of this job on another machine", "are duplicates"]);
    let avro = after(Check::Existing, |_, _, _, existing| existing.values = vec![("Confluent Avro".into(), 50)]);
    assert_found(&avro, CheckLevel::Warn, &["values of another form (Confluent Avro)"]);
    let keyless = after(Check::Existing, |_, _, _, existing| existing.keyed = 0);
    assert_found(&keyless, CheckLevel::Warn, &["have no keys"]);
    let empty = after(Check::Existing, |_, _, _, existing| *existing = ExistingRecords::default());
    assert_found(&empty, CheckLevel::Ok, &["t is empty"]);
}

#[test]
fn quotas_and_clocks_are_told() {
    let held = after(Check::Quota, |_, _, _, existing| existing.throttled = Some(Duration::from_millis(120)));
    assert_found(&held, CheckLevel::Warn, &["120 ms"]);
    let empty = after(Check::Quota, |_, _, _, existing| *existing = ExistingRecords::default());
    assert_eq!(empty.level, CheckLevel::Skip);
    let late = after(Check::Partitioner, |_, _, _, existing| (existing.sampled, existing.hashed) = (0, 0));
    assert_found(&late, CheckLevel::Skip, &["came in time"]);
    let ahead = after(Check::Clock, |_, _, _, existing| existing.newest_ms = Some(NOW + 400_000));
    assert_found(&ahead, CheckLevel::Warn, &["this machine's clock"]);
    assert_eq!(after(Check::Clock, |_, _, _, existing| existing.newest_ms = None).level, CheckLevel::Skip);
}

#[test]
fn all_refusals_are_in_the_error_and_the_worst_exit_wins() {
    let found = [
        Finding::fail(Check::Retention, "too old").mend("hold it").accept(Accept::Retention),
        Finding::fail(Check::Formats, "it is Parquet").ends_with(Exit::Source),
        Finding::warn(Check::Skew, "one key"),
    ];
    let error = refusal(&found, &BTreeSet::new()).expect("two refuse");
    assert_eq!(error.exit, Exit::Source);
    assert_eq!(error.to_string(), "error: retention: too old\n  next: hold it\nerror: formats: it is Parquet");
    assert_eq!((error.messages().len(), error.hints()), (2, vec!["hold it"]));
    let error = refusal(&found[..1], &BTreeSet::from([Accept::Retention]));
    assert_eq!(error, None);
}

#[test]
fn each_check_has_a_name_of_its_own() {
    let names: BTreeSet<&str> = Check::ALL.iter().map(|check| check.name()).collect();
    assert_eq!(names.len(), Check::ALL.len());
}

/// Settings of a job with exactly-once delivery whose letters go to a topic.
const LETTERS: &str = "kafka.delivery = \"exactly-once\"\ndead_letters.to = \"topic\"";

/// A cluster that keeps what exactly-once delivery promises.
fn kept() -> DeliveryFacts {
    let durable = Durability { replication: Some(3), least: Some(2), unclean: Some(false) };
    DeliveryFacts {
        topic: durable.clone(),
        letters: None,
        progress: FoundProgress::There(ProgressFacts {
            durability: durable.clone(),
            compacted: Some(true),
            segment_bytes: Some(16 << 20),
            segment_ms: Some(604_800_000),
            missing: Vec::new(),
        }),
        log: Some(durable),
        is_recent: Some(true),
        verifies: Some(true),
        longest: Some(Duration::from_secs(900)),
        trial: TransactionTrial::Granted,
        user: Some("ann".into()),
    }
}

fn progress(change: impl FnOnce(&mut ProgressFacts)) -> impl FnOnce(&mut DeliveryFacts) {
    |facts| match &mut facts.progress {
        FoundProgress::There(seen) => change(seen),
        _ => unreachable!("it is there"),
    }
}

/// What is found when one thing is not as it should be.
fn delivery_after(change: impl FnOnce(&mut DeliveryFacts)) -> Finding {
    delivery_of("kafka.delivery = \"exactly-once\"", change)
}

/// The same of a job with these settings.
fn delivery_of(settings: &str, change: impl FnOnce(&mut DeliveryFacts)) -> Finding {
    let mut facts = kept();
    change(&mut facts);
    let mut found = of_delivery(&job(settings), Some(&facts), false);
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

#[test]
fn exactly_once_is_checked_only_where_it_is_promised() {
    let at_least = of_delivery(&job(""), None, false);
    assert_eq!(at_least[0].level, CheckLevel::Ok);
    assert_found(&at_least[0], CheckLevel::Ok, &["at least once: nothing to check"]);
    assert_found(
        &delivery_after(|_| {}),
        CheckLevel::Ok,
        &["exactly once: t and shardlift-progress have 3 replicas", "one may last 1 min 00 s"],
    );
    let unasked = of_delivery(&job("kafka.delivery = \"exactly-once\""), None, false);
    assert_eq!(unasked[0].level, CheckLevel::Skip);
}

/// `min.insync.replicas = 2` on a topic with one replica makes brokers refuse every record.
#[test]
fn replicas_come_before_how_many_of_them_have_to_be_in_sync() {
    let one = || Durability { replication: Some(1), least: Some(1), unclean: Some(false) };
    for changed in [DeliveryFacts { topic: one(), ..kept() }, DeliveryFacts { log: Some(one()), ..kept() }] {
        let found = of_delivery(&job("kafka.delivery = \"exactly-once\""), Some(&changed), false);
        let told: String = found.iter().map(|finding| finding.line() + "\n").collect();
        let (first, then) = (told.find("kafka-reassign-partitions.sh"), told.find("then set min.insync.replicas=2"));
        assert!(first.is_some() && first < then, "{told}");
        assert!(!told.contains("--add-config"), "{told}");
    }
}

#[test]
fn what_can_lose_acknowledged_records_is_refused_unless_that_is_accepted() {
    let alter = "kafka-configs.sh --bootstrap-server b:1 --alter --entity-type topics --entity-name";
    for (found, said) in [
        (delivery_after(|facts| facts.topic.replication = Some(2)), vec!["topic t has 2 replicas", "--replication-factor 3"]),
        (
            delivery_after(|facts| facts.topic.least = Some(1)),
            vec!["topic t has min.insync.replicas = 1", alter, " t --add-config min.insync.replicas=2"],
        ),
        (
            delivery_after(|facts| facts.topic.unclean = Some(true)),
            vec!["topic t has unclean.leader", " t --add-config unclean.leader.election.enable=false"],
        ),
        (
            delivery_after(progress(|seen| seen.durability.replication = Some(1))),
            vec!["topic shardlift-progress has 1 replica of", "kafka-reassign-partitions.sh"],
        ),
        (
            delivery_after(progress(|seen| seen.durability.least = Some(1))),
            vec![" shardlift-progress --add-config min.insync.replicas=2"],
        ),
        (
            delivery_after(progress(|seen| seen.durability.unclean = Some(true))),
            vec![" shardlift-progress --add-config unclean.leader.election.enable=false"],
        ),
        (
            delivery_after(|facts| facts.log = Some(Durability { replication: Some(1), least: Some(1), unclean: None })),
            vec![
                "__transaction_state has 1 replica (transaction.state.log.replication.factor) and min.insync.replicas = 1",
                "kafka-reassign-partitions.sh",
            ],
        ),
        (
            delivery_after(|facts| facts.log = Some(Durability { replication: Some(3), least: Some(2), unclean: Some(true) })),
            vec![
                "__transaction_state has unclean.leader.election.enable = true",
                "; `kafka-configs.sh",
                " __transaction_state --add-config unclean.leader.election.enable=false",
            ],
        ),
        (
            delivery_of(LETTERS, |facts| facts.letters = Some(Durability { replication: Some(1), ..facts.topic.clone() })),
            vec!["topic t-dead-letters has 1 replica of each partition"],
        ),
        (
            delivery_of(LETTERS, |facts| facts.letters = Some(Durability { least: Some(1), ..facts.topic.clone() })),
            vec![" t-dead-letters --add-config min.insync.replicas=2"],
        ),
    ] {
        assert_found(&found, CheckLevel::Fail, &said);
        assert!(found.line().contains("--accept unreplicated"), "{}", found.line());
        assert!(found.refuses(&BTreeSet::new()) && !found.refuses(&BTreeSet::from([Accept::Unreplicated])), "{}", found.line());
    }
}

#[test]
fn what_exactly_once_can_not_do_without_is_refused_whatever_is_accepted() {
    let accepted = BTreeSet::from(Accept::ALL);
    let acls = "kafka-acls.sh --bootstrap-server b:1 --add --allow-principal User:ann";
    for (found, said) in [
        (
            delivery_after(|facts| facts.progress = FoundProgress::Absent),
            vec![
                "shardlift-progress (checkpoint.topic) does not exist",
                "`shardlift check --create`",
                "kafka-topics.sh",
                "--partitions 16 --replication-factor 3 --config cleanup.policy=compact --config min.insync.replicas=2",
                "--config segment.bytes=16777216 --config segment.ms=3600000",
            ],
        ),
        (
            delivery_after(|facts| facts.progress = FoundProgress::Hidden),
            vec![acls, "--operation Read --operation Write --operation Describe", "--topic shardlift-progress"],
        ),
        (
            delivery_after(progress(|seen| seen.missing = vec!["Read".into()])),
            vec!["may not Read the progress topic", acls, " --operation Read --topic shardlift-progress"],
        ),
        (
            delivery_after(progress(|seen| seen.compacted = Some(false))),
            vec!["is not compacted", "--add-config cleanup.policy=compact"],
        ),
        (delivery_after(|facts| facts.is_recent = Some(false)), vec!["older than Apache Kafka 3.6.1", "at-least-once"]),
        (
            delivery_after(|facts| facts.verifies = Some(false)),
            vec!["--entity-type brokers --entity-default --add-config transaction.partition.verification.enable=true"],
        ),
        (
            delivery_after(|facts| facts.longest = Some(Duration::from_secs(59))),
            vec!["transaction.max.timeout.ms of the brokers is 59000", "set transaction.max.timeout.ms=60000"],
        ),
        (delivery_after(|facts| facts.trial = TransactionTrial::TooLong), vec!["the brokers take no such time"]),
        (
            delivery_after(|facts| facts.trial = TransactionTrial::NotAuthorised),
            vec![
                "begin with \"shardlift.\"",
                acls,
                "--operation Write --operation Describe --resource-pattern-type prefixed --transactional-id shardlift.",
            ],
        ),
        (
            delivery_after(|facts| facts.trial = TransactionTrial::Failed("no coordinator".into())),
            vec!["no transactional producer can be made: no coordinator"],
        ),
    ] {
        assert_found(&found, CheckLevel::Fail, &said);
        assert!(found.refuses(&accepted) && found.exit == Exit::Preflight, "{}", found.line());
    }
    let once = job("kafka.delivery = \"exactly-once\"\nworkers.chunk.interval = \"200s\"");
    let found = of_delivery(&once, Some(&DeliveryFacts { longest: Some(Duration::from_secs(300)), ..kept() }), false);
    assert_found(&found[0], CheckLevel::Fail, &["may last 6 min 40 s", "workers.chunk.interval to at most \"150000ms\""]);
    let gone = of_delivery(&once, Some(&DeliveryFacts { progress: FoundProgress::Absent, ..kept() }), true);
    assert_found(&gone[0], CheckLevel::Fail, &["is gone, and with it how far the job is"]);
    assert!(!gone[0].line().contains("--create"), "{}", gone[0].line());
}

#[test]
fn what_can_not_be_told_is_said_and_refuses_nothing() {
    for (found, said) in [
        (
            delivery_after(|facts| facts.verifies = None),
            vec!["partition.verification", "--operation DescribeConfigs --cluster"],
        ),
        (
            delivery_after(|facts| (facts.verifies, facts.is_recent) = (None, None)),
            vec!["3.6.1 or later", "User:ann --operation DescribeConfigs --cluster"],
        ),
        (
            delivery_after(|facts| facts.topic = Durability { replication: Some(3), ..Durability::default() }),
            vec!["topic t can't be read", "User:ann --operation Describe --operation DescribeConfigs --topic t"],
        ),
        (
            delivery_after(progress(|seen| {
                (seen.durability, seen.compacted) = (Durability { replication: Some(3), ..Durability::default() }, None);
            })),
            vec!["topic shardlift-progress can't be read", "and cleanup.policy compact is not known"],
        ),
        (
            delivery_after(progress(|seen| seen.segment_bytes = Some(1 << 30))),
            vec!["segment.bytes = 1073741824 and segment.ms = 604800000", "segment.bytes=16777216,segment.ms=3600000"],
        ),
        (
            delivery_after(|facts| facts.log = None),
            vec!["__transaction_state can't be read", "it has 3 replicas", "DescribeConfigs --topic __transaction_state"],
        ),
        (
            delivery_after(|facts| facts.log = Some(Durability { replication: Some(3), ..Durability::default() })),
            vec!["__transaction_state can't be read", "unclean.leader.election.enable is false is not known"],
        ),
        (
            delivery_of(LETTERS, |facts| facts.letters = Some(Durability { replication: Some(3), ..Durability::default() })),
            vec!["topic t-dead-letters can't be read"],
        ),
        (delivery_after(|facts| facts.progress = FoundProgress::Unknown("busy".into())), vec!["is not described: busy"]),
    ] {
        assert_found(&found, CheckLevel::Warn, &said);
        assert!(!found.refuses(&BTreeSet::new()));
    }
    assert_eq!(delivery_after(|facts| facts.longest = None).level, CheckLevel::Ok);
    // Segments that are large but short-lived, or the reverse.
    assert_eq!(delivery_after(progress(|seen| seen.segment_ms = Some(3_600_000))).level, CheckLevel::Ok);
    let letters = delivery_of(LETTERS, |facts| facts.letters = Some(facts.topic.clone()));
    assert_found(&letters, CheckLevel::Ok, &["exactly once: t, t-dead-letters and shardlift-progress have 3 replicas"]);
}
