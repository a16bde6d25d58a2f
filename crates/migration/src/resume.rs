//! What may change between stop and resume: whether a job can go on with what its state began with.
//!
//! Responsible for the comparison of then and now, and for what a user is told. Not responsible for asking brokers or
//! reading the state: both come as values.

use crate::bound_topic::went_back;
use crate::cause::one_line;
use crate::fixed;
use crate::printable::printable_path;
use crate::report::Binding;
use crate::units::{show_size, show_things, show_times_apart};
use crate::{BoundTopic, Consequence, Exit, Job, Plan, SeenTopic, SourceObject, TopicChange, UserError};

/// What a job began with, as its state has it.
#[derive(Clone, Copy, Debug)]
pub struct Then<'a> {
    /// Cluster, topic, and where the topic ended.
    pub binding: &'a Binding,
    /// The plan's id.
    pub plan_id: u128,
    /// What must not change once a record was sent.
    pub settings: &'a [(String, String)],
    /// How many records are committed as acknowledged.
    pub acknowledged: u64,
    /// How many records each partition acknowledged since.
    pub sent: &'a [u64],
    /// How many records were set aside.
    pub letters: u64,
    /// Whether an attempt that was killed may have sent some.
    pub uncertain: bool,
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

/// Whether dead letters of a job, which began with `then`, can be sent again to where it sent its records. Rules may be
/// others, but for what `verify` compares of all records together. Returns warnings.
pub fn may_retry(job: &Job, then: &Then<'_>, now: &Binding) -> Result<Vec<String>, UserError> {
    same_place(job, then.binding, now)?;
    let warnings = same_topic(job, then, now, &BoundTopic::of(job, then.binding, now))?;
    match fixed::changes_for_retry(then.settings, &fixed::settings(job)) {
        None => Ok(warnings),
        Some(what) => {
            let error = format!(
                "{what} since job {} began: its dead letters are sent again with the same, so that `verify` can compare \
                 all records of the topic",
                job.name
            );
            Err(UserError::new(Exit::Config, error).hint("undo the change and run `shardlift dlq retry` again"))
        }
    }
}

/// The same refusal where dead letters are sent again: a job is not to be started over for them.
pub fn of_retry(refused: UserError) -> UserError {
    let hint = match refused.exit {
        Exit::Preflight => {
            "a retry goes where the job's records went: have cluster and topic as they were, or accept what the message \
             names, and `shardlift dlq retry` goes on; until then what is set aside stays so"
        }
        Exit::Config => "undo the change, and `shardlift dlq retry` goes on",
        Exit::Source => "put the retry's records back as they were, and `shardlift dlq retry` goes on",
        _ => return refused,
    };
    match refused.hint.as_ref().is_some_and(|told| told.contains("`shardlift run --restart`")) {
        true => refused.hint(hint),
        false => refused,
    }
}

fn compare(job: &Job, then: &Then<'_>, now: &Now<'_>, topic: &BoundTopic) -> Result<Vec<String>, UserError> {
    same_place(job, then.binding, now.binding)?;
    let warnings = same_topic(job, then, now.binding, topic)?;
    same_rules(job, then, now)?;
    Ok(warnings)
}

fn same_place(job: &Job, then: &Binding, now: &Binding) -> Result<(), UserError> {
    same_cluster(job, then, &now.cluster_id)?;
    if now.topic != then.topic {
        return Err(other_place(job, format!("another topic: {} then, {} now", then.topic, now.topic)));
    }
    Ok(())
}

/// Whether the brokers are of the cluster that the state belongs to. As long as that is not known, nothing follows from
/// a topic that they don't have.
pub fn same_cluster(job: &Job, then: &Binding, now: &str) -> Result<(), UserError> {
    if now == then.cluster_id {
        return Ok(());
    }
    Err(other_place(job, format!("another cluster: {} then, {} now", show(&then.cluster_id), show(now))))
}

fn other_place(job: &Job, what: String) -> UserError {
    UserError::new(Exit::Preflight, format!("the state of job {} belongs to {what}", job.name)).hint(
        "go back to it to continue, give this job another job.name, or forget the state with `shardlift run \
         --restart` (which sends everything again)",
    )
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

/// Where dead letters go from now on, if that is another place than the job began with. Only for one that may go on:
/// none is set aside.
pub fn letters_move(job: &Job, then: &[(String, String)]) -> Option<String> {
    let (before, now) = (letters_place(job, then), letters_place(job, &fixed::settings(job)));
    (before != now).then(|| {
        format!("dead letters of job {} go to {now} from now on, and no more to {before}: none is set aside yet", job.name)
    })
}

/// Where dead letters go by these settings.
fn letters_place(job: &Job, settings: &[(String, String)]) -> String {
    match fixed::letters_topic(settings) {
        Some(topic) => format!("topic {topic}"),
        None => format!("files below {}", printable_path(&job.state_path())),
    }
}

/// Where dead letters go was changed, and may not be: `why` says what is there.
pub fn letters_stay(job: &Job, then: &[(String, String)], why: impl std::fmt::Display) -> UserError {
    let what = fixed::changes(then, &fixed::settings(job)).unwrap_or_else(|| "where dead letters go changed".to_owned());
    UserError::new(Exit::Config, format!("{what} since job {} began: {why}", job.name)).hint(
        "keep dead_letters.to and dead_letters.topic as they were to continue, or start over with `shardlift run \
         --restart` (which sends everything again)",
    )
}

/// Records are set aside: all of them are to be in one place.
pub fn letters_are_set_aside(job: &Job, then: &[(String, String)], letters: u64) -> UserError {
    let are = if letters == 1 { "is" } else { "are" };
    let place = letters_place(job, then);
    letters_stay(job, then, format!("{} {are} set aside in {place}", show_things(letters, "record")))
}

fn same_rules(job: &Job, then: &Then<'_>, now: &Now<'_>) -> Result<(), UserError> {
    let settings = fixed::settings(job);
    let letters_alone = now.plan_id == then.plan_id && fixed::differ_in_letters_alone(then.settings, &settings);
    if letters_alone && then.letters == 0 {
        return Ok(());
    }
    let changed = fixed::changes(then.settings, &settings);
    // The id knows more than the settings' names do only if another version of this program made it.
    let other = || (now.plan_id != then.plan_id).then(|| "what the plan's id stands for changed".to_owned());
    let Some(what) = changed.or_else(other) else { return Ok(()) };
    let name = &job.name;
    let refused = |why: String, hint: String| {
        Err(UserError::new(Exit::Config, format!("{what} since job {name} began: {why}")).hint(hint))
    };
    match sent_nothing(then, now.binding) {
        NothingSent::Sure => refused(
            "no record of it was sent yet".to_owned(),
            "`shardlift run` begins the job anew with this config; undo the change to look at what the earlier run left"
                .to_owned(),
        ),
        NothingSent::NotSure(_) | NothingSent::Sent if letters_alone => {
            Err(letters_are_set_aside(job, then.settings, then.letters))
        }
        NothingSent::NotSure(why) => refused(
            format!("no record of it was acknowledged, but whether none was sent can't be told: {why}"),
            UNDO.to_owned(),
        ),
        NothingSent::Sent => refused("half of the topic would follow other rules".to_owned(), UNDO.to_owned()),
    }
}

/// Whether a job's records are all unsent.
enum NothingSent {
    /// None was acknowledged, and the topic ends where it did.
    Sure,
    /// None was acknowledged; the text says what speaks against it.
    NotSure(String),
    /// Some were acknowledged.
    Sent,
}

fn sent_nothing(then: &Then<'_>, now: &Binding) -> NothingSent {
    if then.acknowledged > 0 || then.sent.iter().any(|records| *records > 0) {
        return NothingSent::Sent;
    }
    if then.uncertain {
        return NothingSent::NotSure("a worker that was killed may have sent some".to_owned());
    }
    let (before, ends) = (&then.binding.end_offsets, &now.end_offsets);
    if before.len() != ends.len() {
        return NothingSent::NotSure(format!("the topic had {} partitions, and has {}", before.len(), ends.len()));
    }
    let moved = (0..).zip(before.iter().zip(ends)).filter(|(_, (before, end))| before != end);
    let moved: Vec<(u32, (&i64, &i64))> = moved.collect();
    let Some((partition, (before, end))) = moved.first() else { return NothingSent::Sure };
    let more = if moved.len() > 1 { format!(", and {} more moved", moved.len() - 1) } else { String::new() };
    NothingSent::NotSure(format!("partition {partition} ended at {before} when the job began, and ends at {end}{more}"))
}

/// A job that begins anew by itself, because nothing of it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anew {
    job: String,
    what: String,
    letters: u64,
}

/// Whether a job that may not go on as its state has it begins anew by itself, because nothing of it was sent.
/// `refused` says what is not as it was: a setting, the order that is asked for, or the source.
pub fn begins_anew(job: &Job, then: &Then<'_>, now: &Binding, refused: &UserError) -> Option<Anew> {
    // Under the same paths, files that are gone are no reason: a disk that is not mounted must not make the job
    // smaller.
    let other_paths = || job.source.files().paths.join(", ") != then.binding.source;
    let about_the_job = refused.exit == Exit::Config || refused.exit == Exit::Source && other_paths();
    if !about_the_job || !matches!(sent_nothing(then, now), NothingSent::Sure) {
        return None;
    }
    let what = fixed::changes(then.settings, &fixed::settings(job)).unwrap_or_else(|| one_line(&refused.message));
    Some(Anew { job: job.name.clone(), what, letters: then.letters })
}

impl Anew {
    /// What a run says that begins.
    pub fn told(&self) -> String {
        let letters = self.letters(if self.letters == 1 { "is" } else { "are" });
        format!("{}; no record of job {} was sent yet, so it begins anew{letters}", self.what, self.job)
    }

    /// What a look at the plan says, which does not know where the topic ends now.
    pub fn foretold(&self) -> String {
        format!(
            "{}; no record of job {} was sent yet, so `run` begins it anew with this plan unless its topic got records \
             meanwhile{}",
            self.what,
            self.job,
            self.letters("will be")
        )
    }

    fn letters(&self, are: &str) -> String {
        let letters = show_things(self.letters, "dead letter");
        if self.letters == 0 { String::new() } else { format!("; {letters} of before {are} dropped") }
    }
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
const PUT_BACK: &str = "put the files back as they were and where they were to continue (a job needs all of its files, those that were sent \
     too, until it is verified), or start over with `shardlift run --restart` (which sends everything again)";

/// Planned files are not as they were; `what` says how.
pub fn files_changed(what: impl std::fmt::Display) -> UserError {
    UserError::new(Exit::Source, what).hint(PUT_BACK)
}

/// Planned files have other times of modification, and that is all that can be told.
pub fn files_retimed(what: impl std::fmt::Display) -> UserError {
    UserError::new(Exit::Source, what).hint(
        "if their bytes are the planned ones (a `touch`, a copy, a restored backup; what is between the first and last \
         64 KiB was not compared), run again with --accept mtime; else put them back as they were",
    )
}

/// The source has files that are not planned, and that is all.
pub fn files_added(job: &Job, what: impl std::fmt::Display) -> UserError {
    let other = "send them with a job of their own (another job.name, and paths that mean only them), or move them to where \
                 no path means them";
    let add = "`shardlift run --add` adds new files to the plan and sends them behind all others; or";
    let hint = if job.record_limit.is_none() && !job.exactly_once() { format!("{add} {other}") } else { other.to_owned() };
    UserError::new(Exit::Source, what).hint(hint)
}

/// New files can't be added to a job with a limit of records.
pub fn limit_has_an_end() -> UserError {
    UserError::new(Exit::Usage, "--add and --limit can't stand together: the first records of a dataset have an end")
        .hint("give the job without --limit its new files")
}

/// New files can't be added to a job that delivers exactly once.
pub fn exactly_once_has_an_end() -> UserError {
    UserError::new(Exit::Usage, "--add is not in this version for a job that delivers exactly once: its plan is as it began")
        .hint("begin another job (job.name) with the new files; it may have the same topic and progress topic")
}

/// What `run --add` says where there is nothing to add. `planned`: the job has a plan.
pub fn nothing_to_add(job: &Job, planned: bool) -> String {
    match planned {
        true => format!("--add: no file of the source is new, so nothing is added to the plan of job {}", job.name),
        false => format!("--add: job {} has no plan yet, and begins with all files of the source", job.name),
    }
}

/// Says which files were added to a plan: for the log, and for the job's history.
pub fn added_notice(files: u64, names: &str, bytes: u64) -> String {
    let (were, come) = if files == 1 { ("was", "its records come") } else { ("were", "their records come") };
    format!(
        "{} of {} {were} added to the plan, and {come} behind all others: {names}",
        show_things(files, "new file"),
        show_size(bytes)
    )
}

/// What a look at a plan says of files that came since: what `run` makes of them.
pub fn files_came(job: &Job, names: &str, files: u64) -> String {
    let (match_, is, it) = if files == 1 { ("matches", "is", "it") } else { ("match", "are", "them") };
    let then = match job.exactly_once() {
        true => format!("; it delivers exactly once, so that another job has to send {it}"),
        false => format!(", and `run --add` sends {it} behind all others"),
    };
    format!("{names}: {match_} the source's paths and {is} not planned: `run` refuses to go on (exit 7){then}")
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

/// Says which files took the place of others of a plan, or have other times, the first ten of each by name: for the
/// log, and for the job's history.
pub fn replaced_notices(plan: &Plan, replaced: &[(u32, SourceObject)]) -> Vec<String> {
    const NAMED: usize = 10;
    let (mut other, mut retimed) = (Vec::new(), Vec::new());
    for (index, object) in replaced {
        let (path, planned) = (printable_path(&object.path), plan.objects.get(*index as usize));
        match planned.filter(|planned| planned.differs_in_time_alone(object)) {
            Some(planned) => {
                let (then, now) = show_times_apart(planned.modified_ns, object.modified_ns);
                retimed.push(format!(
                    "{path} was modified at {now} and not at {then}, as planned: it is taken to be the same, for its size \
                     and its first and last 64 KiB are"
                ));
            }
            None => {
                other.push(format!("{path} is another file now: nothing else of it was sent than this one has, too"));
            }
        }
    }
    let mut notices = Vec::new();
    for (mut told, more) in [(other, "are other ones now"), (retimed, "have other times of modification")] {
        let beyond = told.len().saturating_sub(NAMED);
        told.truncate(NAMED);
        notices.extend(told);
        notices.extend((beyond > 0).then(|| format!("{beyond} more files of the source {more}")));
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
    use crate::job::{Brokers, DeadLetterRules, FieldPath, LettersTo, Partitioner, SourceRules};
    use crate::{Accept, Identity};

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
        let settings = fixed::settings(job);
        let acknowledged = sent.iter().sum();
        let then = Then { binding: then, plan_id: PLAN, settings: &settings, acknowledged, sent, letters: 0, uncertain: false };
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
        let settings = fixed::settings(&job);
        let began = Then {
            binding: &then,
            plan_id: PLAN,
            settings: &settings,
            acknowledged: 0,
            sent: &[],
            letters: 0,
            uncertain: false,
        };
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

    /// What a job that began with `job()`, and sent this many records into partition 0, says of another config while
    /// its topic ends there.
    fn of_another(other: &Job, sent: u64, end: i64) -> (Option<UserError>, Option<String>) {
        let (began, now) = (found("c", Some("id"), &[5]), found("c", Some("id"), &[end]));
        let (settings, sent) = (fixed::settings(&job()), [sent]);
        let then = Then {
            binding: &began,
            plan_id: plan_id(&job(), &began),
            settings: &settings,
            acknowledged: sent[0],
            sent: &sent,
            letters: 330_184,
            uncertain: false,
        };
        let refused = may_go_on(other, &then, &Now { binding: &now, plan_id: plan_id(other, &now) }).err();
        let anew = refused.as_ref().and_then(|refused| begins_anew(other, &then, &now, refused).map(|anew| anew.told()));
        (refused, anew)
    }

    fn with_key() -> Job {
        let mut other = job();
        other.record.key = Some(FieldPath(vec!["id".into()]));
        other
    }

    #[test]
    fn another_mapping_is_refused_by_name_once_something_was_sent_and_another_number_of_workers_is_not() {
        let mut other = job();
        other.workers.count = std::num::NonZeroU32::new(7);
        other.limits.rate_records = Some(1);
        other.kafka.brokers = Brokers::Bootstrap(vec!["b:2".into()]);
        assert_eq!(of_another(&other, 1, 6), (None, None));
        let mut crc = job();
        crc.kafka.partitioner = Partitioner::Crc32;
        let mut shorter = job();
        let SourceRules::Jsonl(source) = &mut shorter.source else { panic!("the test's job has JSON lines") };
        source.files.max_line /= 2;
        let mut headed = job();
        headed.record.headers.push(("source".into(), "x".into()));
        for (other, what) in [
            (with_key(), "record.key was not set and is .id"),
            (crc, "kafka.partitioner was murmur2 and is crc32"),
            (shorter, "source.jsonl.max_line was 4,194,304 and is 2,097,152"),
            (headed, "record.headers.source was not set and is \"x\""),
        ] {
            let (refused, anew) = of_another(&other, 1, 6);
            let refused = refused.expect("another mapping");
            assert_eq!((refused.exit, anew), (Exit::Config, None));
            assert_eq!(refused.message, format!("{what} since job j began: half of the topic would follow other rules"));
        }
    }

    #[test]
    fn a_job_of_which_nothing_was_sent_begins_anew_with_other_rules() {
        let (refused, anew) = of_another(&with_key(), 0, 5);
        let expected = "record.key was not set and is .id; no record of job j was sent yet, so it begins anew; \
                        330,184 dead letters of before are dropped";
        assert_eq!(anew.as_deref(), Some(expected));
        // What only looks says that.
        let refused = refused.expect("it does not go on");
        assert!(refused.message.ends_with("since job j began: no record of it was sent yet"), "{}", refused.message);
        assert!(refused.hint.as_ref().is_some_and(|hint| hint.contains("`shardlift run` begins the job anew")), "{refused:?}");
        // Somebody wrote there meanwhile: it may have been this job.
        let (refused, anew) = of_another(&with_key(), 0, 9);
        assert_eq!(anew, None);
        let message = refused.expect("it can't be told").message;
        assert_eq!(
            message,
            "record.key was not set and is .id since job j began: no record of it was acknowledged, but whether none was sent \
             can't be told: partition 0 ended at 5 when the job began, and ends at 9"
        );
    }

    #[test]
    fn where_letters_go_may_change_while_there_are_none() {
        let began = found("c", Some("id"), &[5]);
        let topic = Job { dead_letters: DeadLetterRules { to: LettersTo::Topic, topic: None }, ..job() };
        let files = job();
        let of = |before: &Job, after: &Job, letters: u64| {
            let settings = fixed::settings(before);
            let then = Then {
                binding: &began,
                plan_id: PLAN,
                settings: &settings,
                acknowledged: 1,
                sent: &[1],
                letters,
                uncertain: false,
            };
            let now = Now { binding: &began, plan_id: PLAN };
            let gone_on = may_go_on(after, &then, &now).map_err(|error| (error.exit, error.message));
            gone_on.map(|_| letters_move(after, &settings))
        };
        assert_eq!(of(&files, &files, 3), Ok(None));
        let moved = "dead letters of job j go to topic t-dead-letters from now on, and no more to files below .shardlift/j: \
                     none is set aside yet";
        assert_eq!(of(&files, &topic, 0), Ok(Some(moved.replace(".shardlift", "/.shardlift"))));
        assert!(of(&topic, &files, 0).is_ok_and(|told| told.is_some_and(|told| told.contains("to files below"))));
        let refused = "dead_letters.topic was not set and is t-dead-letters since job j began: 3 records are set aside in \
                       files below /.shardlift/j";
        assert_eq!(of(&files, &topic, 3), Err((Exit::Config, refused.to_owned())));
        let refused = "dead_letters.topic was t-dead-letters and is not set since job j began: 1 record is set aside in topic \
                       t-dead-letters";
        assert_eq!(of(&topic, &files, 1), Err((Exit::Config, refused.to_owned())));
        let keyed = Job { dead_letters: topic.dead_letters.clone(), ..with_key() };
        assert!(of(&files, &keyed, 0).is_err_and(|(_, message)| message.contains("half of the topic")));
    }

    #[test]
    fn what_a_look_at_a_plan_says_of_new_files_is_what_a_run_does() {
        let mut once = job();
        once.kafka.delivery = crate::job::Delivery::ExactlyOnce;
        assert!(files_came(&job(), "b", 1).ends_with("and `run --add` sends it behind all others"));
        let said = files_came(&once, "b and c", 2);
        assert!(said.ends_with("(exit 7); it delivers exactly once, so that another job has to send them"), "{said}");
    }

    #[test]
    fn a_job_is_not_to_be_started_over_for_its_dead_letters() {
        let real = is_of_real_brokers(&job(), &found("c", None, &[5]));
        let (config, source) = (UserError::new(Exit::Config, "k changed").hint(UNDO), files_changed("records.jsonl is gone"));
        for refused in [topic_is_deleted(&job()), real, config, source] {
            let told = of_retry(refused.clone());
            let hint = told.hint.unwrap_or_default();
            assert!(refused.hint.is_some_and(|hint| hint.contains("--restart")), "it would be told so of a job");
            assert!(told.message == refused.message && hint.contains("`shardlift dlq retry` goes on"), "{hint}");
            assert!(!hint.contains("shardlift run"), "{hint}");
        }
        for hint in ["mend it", "run it first with `shardlift run`"] {
            let other = UserError::new(Exit::Preflight, "no broker answers, or nothing was sent").hint(hint);
            assert_eq!(of_retry(other.clone()), other);
        }
    }

    #[test]
    fn only_what_the_job_itself_says_lets_it_begin_anew() {
        let (job, began) = (job(), found("c", Some("id"), &[5]));
        let settings = fixed::settings(&job);
        let then = Then {
            binding: &began,
            plan_id: PLAN,
            settings: &settings,
            acknowledged: 0,
            sent: &[],
            letters: 1,
            uncertain: false,
        };
        let anew = |exit| {
            begins_anew(&job, &then, &began, &UserError::new(exit, "a.jsonl is gone"))
                .map(|anew| (anew.told(), anew.foretold()))
        };
        assert_eq!(anew(Exit::Preflight), None, "another topic is no reason");
        assert_eq!(anew(Exit::State), None);
        let same_paths = Binding { source: job.source.files().paths.join(", "), ..began.clone() };
        let gone = UserError::new(Exit::Source, "a.jsonl is gone");
        assert!(begins_anew(&job, &Then { binding: &same_paths, ..then }, &began, &gone).is_none(), "it is put back");
        let killed = Then { uncertain: true, ..then };
        assert!(begins_anew(&job, &killed, &began, &UserError::new(Exit::Config, "another key")).is_none());
        assert_eq!(
            anew(Exit::Source),
            Some((
                "a.jsonl is gone; no record of job j was sent yet, so it begins anew; 1 dead letter of before is dropped"
                    .into(),
                "a.jsonl is gone; no record of job j was sent yet, so `run` begins it anew with this plan unless \
                 its topic got records meanwhile; 1 dead letter of before will be dropped"
                    .into()
            ))
        );
    }

    #[test]
    fn new_files_are_added_unless_the_job_has_a_limit() {
        let hint = |job: &Job| files_added(job, "new").hint.unwrap_or_default();
        assert!(hint(&job()).starts_with("`shardlift run --add` adds new files"));
        assert!(hint(&Job { record_limit: Some(5), ..job() }).starts_with("send them with a job of their own"));
    }

    #[test]
    fn files_that_are_others_and_files_with_another_time_are_told_apart() {
        let object = |name: &str, modified_ns, fingerprint| SourceObject {
            path: name.into(),
            bytes: Some(1),
            modified_ns,
            fingerprint,
            compression: crate::Compression::None,
            splittable: true,
            record_starts: Vec::new(),
        };
        let plan = Plan { objects: vec![object("a", 0, 0), object("b", 0, 0)], ..Plan::default() };
        let told = replaced_notices(&plan, &[(0, object("a", 2_000_000_000, 0)), (1, object("b", 0, 1))]);
        let expected = [
            "b is another file now: nothing else of it was sent than this one has, too",
            "a was modified at 1970-01-01 00:00:02 UTC and not at 1970-01-01 00:00:00 UTC, as planned: it is taken to be the \
             same, for its size and its first and last 64 KiB are",
        ];
        assert_eq!(told, expected);
        let many: Vec<_> = (0..12).map(|_| (1, object("b", 0, 1))).collect();
        assert_eq!(replaced_notices(&plan, &many)[10..], ["2 more files of the source are other ones now"]);
    }
}
