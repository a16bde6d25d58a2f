//! What may change between stop and resume: whether a job can go on with what its state began with.
//!
//! Responsible for the comparison of then and now, and for what a user is told. Not responsible for asking brokers or
//! reading the state: both come as values.

use crate::bound_topic::went_back;
use crate::job::SourceRules;
use crate::printable::printable_path;
use crate::report::Binding;
use crate::units::show_count;
use crate::{BoundTopic, Consequence, Exit, Job, SeenTopic, SourceObject, TopicChange, UserError};

/// What a job began with, as its state has it.
#[derive(Clone, Copy, Debug)]
pub struct Then<'a> {
    /// Cluster, topic, and where the topic ended.
    pub binding: &'a Binding,
    /// The plan's id.
    pub plan_id: u128,
    /// The longest line that was a record.
    pub max_line: u64,
    /// How many records each partition acknowledged since.
    pub sent: &'a [u64],
}

/// The same now.
#[derive(Clone, Copy, Debug)]
pub struct Now<'a> {
    /// What a job that began now would be bound to.
    pub binding: &'a Binding,
    /// The id that the frozen plan has with this config's rules.
    pub plan_id: u128,
}

/// What to do about a config that no longer says what a job began with.
const UNDO: &str = "undo the change to continue, or start over with `shardlift run --restart` (which sends everything again)";

/// Whether cluster, topic and mapping are those that the state belongs to, so that the job can be continued. Returns
/// warnings.
pub fn may_go_on(job: &Job, then: &Then<'_>, now: &Now<'_>) -> Result<Vec<String>, UserError> {
    compare(job, then, now, &BoundTopic::of(job, then.binding, now.binding))
}

/// The same for a comparison, which sends nothing: partitions that were added are told, and are no obstacle.
pub fn may_be_compared(job: &Job, then: &Then<'_>, now: &Now<'_>) -> Result<Vec<String>, UserError> {
    let topic = BoundTopic { added_accepted: true, ..BoundTopic::of(job, then.binding, now.binding) };
    compare(job, then, now, &topic)
}

fn compare(job: &Job, then: &Then<'_>, now: &Now<'_>, topic: &BoundTopic) -> Result<Vec<String>, UserError> {
    same_place(job, then.binding, now.binding)?;
    let warnings = same_topic(job, then, now.binding, topic)?;
    same_rules(job, then, now)?;
    Ok(warnings)
}

fn same_place(job: &Job, then: &Binding, now: &Binding) -> Result<(), UserError> {
    let other = |what: String| {
        Err(UserError::new(Exit::Preflight, format!("the state of job {} belongs to {what}", job.name)).hint(
            "go back to it to continue, give this job another job.name, or forget the state with `shardlift run \
             --restart` (which sends everything again)",
        ))
    };
    if now.cluster_id != then.cluster_id {
        return other(format!("another cluster: {} then, {} now", show(&then.cluster_id), show(&now.cluster_id)));
    }
    if now.topic != then.topic {
        return other(format!("another topic: {} then, {} now", then.topic, now.topic));
    }
    Ok(())
}

fn same_topic(job: &Job, then: &Then<'_>, now: &Binding, topic: &BoundTopic) -> Result<Vec<String>, UserError> {
    let mut warnings = Vec::new();
    if let Some(change) = topic.compare(&SeenTopic::from(now)) {
        match topic.consequence(&change) {
            Consequence::Warn => warnings.push(topic.tell(&change)),
            Consequence::Stop => {
                return Err(UserError::new(Exit::Preflight, topic.tell(&change)).hint(
                    "to have every key where it belongs now, send to a new topic, or start over with `shardlift run \
                     --restart` (which sends everything again, beside what is there)",
                ));
            }
            Consequence::Gone => return Err(gone(job, topic, &change)),
        }
    }
    // Where brokers don't tell the id (old ones; no controller for a while) the offsets have to do.
    if (now.topic_id.is_empty() || then.binding.topic_id.is_empty())
        && let Some(change) = ends_before(&now.end_offsets, &then.binding.end_offsets, then.sent)
    {
        return Err(gone(job, topic, &change));
    }
    Ok(warnings)
}

fn same_rules(job: &Job, then: &Then<'_>, now: &Now<'_>) -> Result<(), UserError> {
    let changed = |what: String| Err(UserError::new(Exit::Config, what).hint(UNDO));
    let max_line = job.source.files().max_line;
    if max_line != then.max_line {
        let (then, now) = (show_count(then.max_line), show_count(max_line));
        return changed(format!(
            "{}.max_line is {now} bytes, and was {then} when job {} began: which lines are records would change in the middle",
            job.source.table(),
            job.name
        ));
    }
    let rules = match &job.source {
        SourceRules::Jsonl(_) => "[record] or kafka.partitioner",
        SourceRules::Csv(_) => "[source.csv], [record] or kafka.partitioner",
    };
    if now.plan_id != then.plan_id {
        return changed(format!(
            "the config's {rules} changed since job {} began: half of the topic would follow other rules",
            job.name
        ));
    }
    Ok(())
}

/// What was sent so far went with the topic.
fn gone(job: &Job, topic: &BoundTopic, change: &TopicChange) -> UserError {
    let message = format!("{}; the state of job {} belongs to the topic that was there before", topic.tell(change), job.name);
    UserError::new(Exit::Preflight, message).hint(
        "forget the state with `shardlift run --restart` (which sends everything again), or give this job another job.name",
    )
}

/// Whether a partition ends before an offset that it must have: its end when the job began, and one more for each
/// record that it acknowledged since. Offsets never go down: deleting records moves a partition's beginning only.
fn ends_before(now: &[i64], then: &[i64], sent: &[u64]) -> Option<TopicChange> {
    (0u32..).zip(then.iter().zip(now)).find_map(|(partition, (then, now))| {
        let sent = sent.get(partition as usize).copied().unwrap_or(0);
        went_back(partition, then.saturating_add_unsigned(sent), *now)
    })
}

/// A topic that was there when the job began, and does not exist now.
pub fn topic_is_deleted(job: &Job) -> UserError {
    let (topic, job) = (&job.kafka.topic, &job.name);
    UserError::new(Exit::Preflight, format!("topic {topic} was deleted; what job {job} sent went with it")).hint(
        "create a topic with the partitions that you want and forget the state with `shardlift run --restart` (which \
         sends everything again)",
    )
}

/// A job that began on real brokers must not be forgotten because this run names none.
pub fn is_of_real_brokers(job: &Job, then: &Binding) -> UserError {
    let cluster = show(&then.cluster_id);
    UserError::new(
        Exit::Preflight,
        format!(
            "the state of job {} belongs to topic {} of the real cluster {cluster}, but this run would use the embedded broker",
            job.name, then.topic
        ),
    )
    .hint(
        "name its brokers with -b or kafka.brokers to continue, give this job another job.name, or forget the state with \
         `shardlift run --restart`",
    )
}

/// What to do about planned files that are not as they were.
const PUT_BACK: &str =
    "put the files back as they were to continue, or start over with `shardlift run --restart` (which sends everything again)";

/// Planned files are not as they were; `what` says how.
pub fn files_changed(what: impl std::fmt::Display) -> UserError {
    UserError::new(Exit::Source, what).hint(PUT_BACK)
}

/// The source has files that are not planned, and that is all.
pub fn files_added(what: impl std::fmt::Display) -> UserError {
    UserError::new(Exit::Source, what).hint(
        "send new files with a job of their own (another job.name, and paths that mean only them), or move them to \
         where no path means them",
    )
}

/// Records that were set aside are not where the state says; `what` says which.
pub fn letters_gone(what: impl std::fmt::Display) -> UserError {
    UserError::new(Exit::State, what).hint(
        "find who moved or removed the files, put them back as they were and run again; else `shardlift run --restart` \
         sets the records aside anew (and sends everything again)",
    )
}

/// Whether the files are the planned ones can't be told.
pub fn files_unreadable(error: impl std::fmt::Display) -> UserError {
    UserError::new(Exit::Source, error).hint("restore the files, or mend the source's paths, and run again")
}

/// Says which files took the place of others, the first ten by name: for the log, and for the job's history.
pub fn replaced_notices(replaced: &[(u32, SourceObject)]) -> Vec<String> {
    const NAMED: usize = 10;
    let told = |(_, object): &(u32, SourceObject)| {
        format!("{} is another file now: nothing else of it was sent than this one has, too", printable_path(&object.path))
    };
    let mut notices: Vec<String> = replaced.iter().take(NAMED).map(told).collect();
    if replaced.len() > NAMED {
        notices.push(format!("{} more files of the source are other ones now", replaced.len() - NAMED));
    }
    notices
}

fn show(id: &str) -> &str {
    if id.is_empty() { "(no id)" } else { id }
}

#[cfg(test)]
mod tests {
    use std::hash::{Hash as _, Hasher as _};

    use super::*;
    use crate::job::{Brokers, FieldPath, Partitioner};
    use crate::{Accept, Identity, Plan};

    fn job() -> Job {
        Job::of_text("[job]\nname = \"j\"\n[source.jsonl]\npaths = [\"x\"]\n[kafka]\nbrokers = [\"a:1\"]\ntopic = \"t\"\n")
    }

    fn found(cluster: &str, topic_id: Option<&str>, ends: &[i64]) -> Binding {
        Binding {
            cluster_id: cluster.into(),
            topic_id: topic_id.unwrap_or_default().into(),
            topic: "t".into(),
            source: "x".into(),
            end_offsets: ends.to_vec(),
        }
    }

    const PLAN: u128 = 7;

    /// Whether a job that began with `then` may go on with `now`.
    fn check(job: &Job, then: &Binding, now: &Binding, sent: &[u64]) -> Result<Vec<String>, UserError> {
        let then = Then { binding: then, plan_id: PLAN, max_line: self::job().source.files().max_line, sent };
        may_go_on(job, &then, &Now { binding: now, plan_id: PLAN })
    }

    #[test]
    fn state_belongs_to_one_cluster_and_one_topic() {
        let (job, then) = (job(), found("c", Some("id"), &[5, 5]));
        let exit = |now: &Binding| check(&job, &then, now, &[]).map_err(|error| error.exit);
        assert_eq!(exit(&found("c", Some("id"), &[9, 5])), Ok(Vec::new()));
        assert_eq!(exit(&found("d", Some("id"), &[9, 5])), Err(Exit::Preflight), "another cluster");
        assert_eq!(exit(&found("c", Some("other"), &[9, 5])), Err(Exit::Preflight), "made again");
        assert_eq!(exit(&found("c", Some("id"), &[9])), Err(Exit::Preflight), "fewer partitions");
        assert_eq!(exit(&found("c", Some("id"), &[9, 5, 0])).map(|warnings| warnings.len()), Ok(1), "more partitions");
        let elsewhere = Binding { topic: "u".into(), ..found("c", Some("id"), &[9, 5]) };
        assert_eq!(exit(&elsewhere), Err(Exit::Preflight), "another topic");
        // The id is asked before the offsets: a topic made again that has grown since is another one all the same.
        let error = check(&job, &then, &found("c", Some("other"), &[900, 500]), &[1, 1]).unwrap_err();
        assert!(error.message.contains("deleted and made again (its id was id, is other)"), "{}", error.message);
    }

    #[test]
    fn keys_end_a_job_whose_topic_got_more_partitions() {
        let mut job = job();
        job.record.key = Some(FieldPath(vec!["k".into()]));
        let then = found("c", Some("id"), &[5, 5]);
        let more = found("c", Some("id"), &[9, 5, 0]);
        let error = check(&job, &then, &more, &[]).unwrap_err();
        assert_eq!(error.exit, Exit::Preflight);
        assert!(
            error.message.contains("partitions 2 -> 3") && error.message.contains("--accept partitions"),
            "{}",
            error.message
        );
        // What reads only, tells it.
        let began = Then { binding: &then, plan_id: PLAN, max_line: job.source.files().max_line, sent: &[] };
        let compared = may_be_compared(&job, &began, &Now { binding: &more, plan_id: PLAN });
        assert_eq!(compared.map(|warnings| warnings.len()).ok(), Some(1));
        job.accept.insert(Accept::Partitions);
        assert_eq!(check(&job, &then, &more, &[]).map(|warnings| warnings.len()).ok(), Some(1));
        assert_eq!(BoundTopic::of(&job, &then, &more).partitions, 2, "a key's partition is that of the plan");
        assert!(check(&job, &then, &found("c", Some("id"), &[9]), &[]).is_err(), "fewer is another topic");
    }

    #[test]
    fn without_ids_a_partition_must_hold_what_it_acknowledged() {
        let (job, then) = (job(), found("c", None, &[5, 5]));
        let check =
            |ends: &[i64], sent: &[u64]| check(&job, &then, &found("c", None, ends), sent).map_err(|error| error.message);
        assert_eq!(check(&[25, 5], &[20]), Ok(Vec::new()));
        // Made again, and filled by others beyond where the job began.
        let message = check(&[24, 5], &[20]).unwrap_err();
        assert!(message.contains("partition 0 had reached offset 25, and ends at 24"), "{message}");
        assert!(check(&[25, 4], &[]).is_err());
    }

    #[test]
    fn a_topic_id_that_brokers_can_not_tell_now_is_no_other_topic() {
        let job = job();
        let (with, without) = (found("c", Some("id"), &[5]), found("c", None, &[5]));
        assert!(check(&job, &with, &without, &[]).is_ok());
        assert!(check(&job, &without, &with, &[]).is_ok());
        let lower = found("c", None, &[4]);
        assert!(check(&job, &with, &lower, &[]).is_err(), "the offsets still tell");
    }

    /// The id that a plan has with this config's rules.
    fn plan_id(job: &Job, binding: &Binding) -> u128 {
        let mut hasher = std::hash::DefaultHasher::new();
        format!("{:?}", Identity::of(job, &Plan::default(), binding)).hash(&mut hasher);
        hasher.finish().into()
    }

    #[test]
    fn another_mapping_is_refused_and_another_number_of_workers_is_not() {
        let (job, now) = (job(), found("c", Some("id"), &[5]));
        let then = Then { binding: &now, plan_id: plan_id(&job, &now), max_line: job.source.files().max_line, sent: &[] };
        let check = |other: &Job| may_go_on(other, &then, &Now { binding: &now, plan_id: plan_id(other, &now) });
        let mut other = job.clone();
        other.workers.count = std::num::NonZeroU32::new(7);
        other.limits.rate_records = Some(1);
        other.kafka.brokers = Brokers::Bootstrap(vec!["b:2".into()]);
        assert!(check(&other).is_ok());
        other.kafka.partitioner = Partitioner::Crc32;
        assert_eq!(check(&other).map_err(|error| error.exit), Err(Exit::Config));
        for max_line in [job.source.files().max_line / 2, job.source.files().max_line * 2] {
            let mut other = job.clone();
            let SourceRules::Jsonl(source) = &mut other.source else { panic!("the test's job has JSON lines") };
            source.files.max_line = max_line;
            let error = check(&other).expect_err("another limit");
            assert_eq!(error.exit, Exit::Config);
            let expected = format!("source.jsonl.max_line is {} bytes, and was 4,194,304 when", show_count(max_line));
            assert!(error.message.starts_with(&expected), "{}", error.message);
        }
        let mut other = job.clone();
        other.record.headers.push(("source".into(), "x".into()));
        assert_eq!(check(&other).map_err(|error| error.exit), Err(Exit::Config));
    }
}
