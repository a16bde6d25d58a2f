//! What a job's state belongs to: the plan, the source, the cluster and the topic, and whether they are still the same.

use kafka::Preflight;
use migration::bound_topic::went_back;
use migration::job::{Partitioner, RecordRules};
use migration::report::Binding;
use migration::units::show_count;
use migration::{Accept, BoundTopic, Consequence, Exit, Job, Plan, SeenTopic, SourceObject, TopicChange, UserError};
use pipeline::source::{Changes, PlanRules};
use pipeline::{Source, SourceError};
use serde::Serialize;
use supervisor::{JobState, StateDir, StateError, Store};

/// The only delivery there is so far; part of the plan's id.
const DELIVERY: &str = "at-least-once";

/// How many workers run at once.
pub fn slots(job: &Job) -> u32 {
    job.workers.count.map_or_else(processors, |count| count.get()).max(1)
}

/// How many workers `auto` means: the processors of this cgroup.
pub fn processors() -> u32 {
    u32::try_from(process::processors()).unwrap_or(u32::MAX).max(1)
}

/// The dataset that a job names.
pub fn source_of(job: &Job) -> Result<Box<dyn Source>, UserError> {
    let wrong = |error| UserError::new(Exit::Config, error);
    sources::source_of(job)
        .map_err(|error| wrong(error).hint("use [source.jsonl], or a program that turns the rows into JSON lines"))
}

/// Cuts the source as a first run would.
pub fn make_plan(job: &Job) -> Result<Plan, UserError> {
    let source = source_of(job)?;
    let rules =
        PlanRules { shards: &job.shards, flush: job.workers.flush, workers: slots(job), record_limit: job.record_limit };
    let checked = source.plan(&rules).and_then(|plan| source.check(&plan).map(|()| plan));
    checked.map_err(|error| UserError::new(Exit::Source, error))
}

/// The frozen plan of a job that has run, without any lock.
pub fn stored_plan(job: &Job) -> Result<Option<Plan>, UserError> {
    let path = StateDir::store_path(&job.state_path());
    if !Store::exists(&path) {
        return Ok(None);
    }
    let state = Store::read_only(&path).and_then(|store| store.load()).map_err(unusable)?;
    Ok(Some(state.plan))
}

/// An error of the checkpoint as the user sees it.
pub fn unusable(error: StateError) -> UserError {
    UserError::new(Exit::State, error)
}

/// What to do about a config that no longer says what a job began with.
const UNDO: &str = "undo the change to continue, or start over with `shardlift run --restart` (which sends everything again)";

/// What the state of a new job belongs to.
pub fn binding(job: &Job, found: &Preflight) -> Binding {
    Binding {
        cluster_id: found.cluster_id.clone().unwrap_or_default(),
        topic_id: found.topic_id.clone().unwrap_or_default(),
        topic: job.kafka.topic.clone(),
        source: job.source.files().paths.join(", "),
        end_offsets: found.partitions.iter().map(|ends| ends.high).collect(),
    }
}

/// Everything that must not change between stop and resume; workers, rates, limits and broker addresses may.
#[derive(Serialize)]
struct Identity<'a> {
    plan: &'a Plan,
    record: &'a RecordRules,
    topic: &'a str,
    partitioner: Partitioner,
    delivery: &'static str,
    cluster_id: &'a str,
    topic_id: &'a str,
}

/// The plan's id.
pub fn plan_id(job: &Job, plan: &Plan, binding: &Binding) -> Result<u128, UserError> {
    let identity = Identity {
        plan,
        record: &job.record,
        topic: &binding.topic,
        partitioner: job.kafka.partitioner,
        delivery: DELIVERY,
        cluster_id: &binding.cluster_id,
        topic_id: &binding.topic_id,
    };
    let bytes = postcard::to_stdvec(&identity).map_err(|error| UserError::new(Exit::Internal, error))?;
    Ok(supervisor::plan_id(&bytes))
}

/// What the ids of embedded clusters begin with.
const EMBEDDED_CLUSTER: &str = "mockCluster";

/// Whether state belongs to an embedded broker, which died with its run.
pub fn is_of_embedded(binding: &Binding) -> bool {
    binding.cluster_id.starts_with(EMBEDDED_CLUSTER)
}

/// A job that began on real brokers must not be forgotten because this run names none.
pub fn not_of_embedded(job: &Job, then: &Binding) -> UserError {
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

/// Whether the files are those of the plan. Files that took the place of one of which nothing was sent, or only what they begin with,
/// are given back: the plan is the same with them.
pub fn check_source(job: &Job, state: &JobState) -> Result<Vec<(u32, SourceObject)>, UserError> {
    let replaced = match job.record_limit {
        None => source_of(job)?.replaced(&state.plan, &|object| state.sent_of(object)),
        Some(_) => Ok(Vec::new()),
    };
    let mut plan = state.plan.clone();
    let replaced = replaced.and_then(|replaced| {
        for (object, facts) in &replaced {
            plan.replace(*object, facts.clone()).map_err(SourceError)?;
        }
        Ok(replaced)
    });
    let replaced = replaced.map_err(|error| UserError::new(Exit::Source, error).hint(PUT_BACK))?;
    check_files(job, &plan, state.is_done())?;
    Ok(replaced)
}

/// What to do about planned files that are not as they were.
const PUT_BACK: &str =
    "put the files back as they were to continue, or start over with `shardlift run --restart` (which sends everything again)";

/// Whether the files are those of the plan. `sent`: everything planned was sent.
pub fn check_files(job: &Job, plan: &Plan, sent: bool) -> Result<(), UserError> {
    let changes = source_changes(job, plan)?;
    if changes.is_empty() { Ok(()) } else { Err(not_as_planned(&changes, sent)) }
}

/// How the files that the source means now differ from those of the plan.
pub fn source_changes(job: &Job, plan: &Plan) -> Result<Changes, UserError> {
    source_of(job)?.changes(plan).map_err(|error| {
        UserError::new(Exit::Source, error).hint("restore the files, or mend the source's paths, and run again")
    })
}

/// The files are not those of the plan.
pub fn not_as_planned(changes: &Changes, sent: bool) -> UserError {
    UserError::new(Exit::Source, changes.error(sent)).hint(if changes.only_new() {
        "send new files with a job of their own (another job.name, and paths that mean only them), or move them to where no path means \
         them"
    } else {
        PUT_BACK
    })
}

/// The topic that a job belongs to. `found`: as it is now; a state that began while no broker told the id has it from there.
pub fn bound_topic(job: &Job, binding: &Binding, found: &Preflight) -> BoundTopic {
    let id = Some(binding.topic_id.clone()).filter(|id| !id.is_empty()).or_else(|| found.topic_id.clone());
    BoundTopic {
        name: binding.topic.clone(),
        id,
        partitions: u32::try_from(binding.end_offsets.len()).unwrap_or(u32::MAX),
        keyed: job.record.key.is_some(),
        added_accepted: job.accepts(Accept::Partitions),
    }
}

/// What of the topic is compared: its id and its partitions.
fn seen_topic(found: &Preflight) -> SeenTopic {
    SeenTopic { id: found.topic_id.clone(), partitions: u32::try_from(found.partitions.len()).unwrap_or(u32::MAX) }
}

/// Where each partition of the topic ends at least: where it ends now.
pub fn reached(found: &Preflight) -> Vec<i64> {
    found.partitions.iter().map(|ends| ends.high).collect()
}

/// What an earlier run left, and how many records each partition acknowledged.
pub fn load(store: &Store) -> Result<(JobState, Vec<u64>), StateError> {
    Ok((store.load()?, supervisor::load_report(store, false)?.work.partitions))
}

/// Whether cluster, topic and mapping are those that the state belongs to, so that the job can be continued. Returns warnings.
/// `sent`: how many records each partition acknowledged so far.
pub fn check_binding(job: &Job, state: &JobState, found: &Preflight, sent: &[u64]) -> Result<Vec<String>, UserError> {
    check_topic(job, state, found, sent, &bound_topic(job, &state.binding, found))
}

/// The same for a comparison, which sends nothing: partitions that were added are told, and are no obstacle.
pub fn check_binding_to_read(job: &Job, state: &JobState, found: &Preflight, sent: &[u64]) -> Result<Vec<String>, UserError> {
    let topic = BoundTopic { added_accepted: true, ..bound_topic(job, &state.binding, found) };
    check_topic(job, state, found, sent, &topic)
}

fn check_topic(
    job: &Job,
    state: &JobState,
    found: &Preflight,
    sent: &[u64],
    topic: &BoundTopic,
) -> Result<Vec<String>, UserError> {
    let now = binding(job, found);
    let then = &state.binding;
    let other = |what: String| {
        Err(UserError::new(Exit::Preflight, format!("the state of job {} belongs to {what}", job.name)).hint(
            "go back to it to continue, give this job another job.name, or forget the state with `shardlift run --restart` (which sends \
             everything again)",
        ))
    };
    if now.cluster_id != then.cluster_id {
        return other(format!("another cluster: {} then, {} now", show(&then.cluster_id), show(&now.cluster_id)));
    }
    if now.topic != then.topic {
        return other(format!("another topic: {} then, {} now", then.topic, now.topic));
    }
    let mut warnings = Vec::new();
    if let Some(change) = topic.compare(&seen_topic(found)) {
        match topic.consequence(&change) {
            Consequence::Warn => warnings.push(topic.tell(&change)),
            Consequence::Stop => {
                return Err(UserError::new(Exit::Preflight, topic.tell(&change)).hint(
                    "to have every key where it belongs now, send to a new topic, or start over with `shardlift run --restart` (which \
                     sends everything again, beside what is there)",
                ));
            }
            Consequence::Gone => return gone(job, topic, &change),
        }
    }
    // Where brokers don't tell the id (old ones; no controller for a while) the offsets have to do.
    if (now.topic_id.is_empty() || then.topic_id.is_empty())
        && let Some(change) = ends_before(&now.end_offsets, &then.end_offsets, sent)
    {
        return gone(job, topic, &change);
    }
    if job.source.files().max_line != state.plan.max_line {
        let (then, now) = (show_count(state.plan.max_line), show_count(job.source.files().max_line));
        return Err(UserError::new(
            Exit::Config,
            format!(
                "source.jsonl.max_line is {now} bytes, and was {then} when job {} began: which lines are records would change in the middle",
                job.name
            ),
        )
        .hint(UNDO));
    }
    if plan_id(job, state.frozen_plan(), then)? != state.plan_id {
        return Err(UserError::new(
            Exit::Config,
            format!("the config's [record] or kafka.partitioner changed since job {} began: half of the topic would follow other rules", job.name),
        )
        .hint(UNDO));
    }
    Ok(warnings)
}

/// What was sent so far went with the topic.
fn gone(job: &Job, topic: &BoundTopic, change: &TopicChange) -> Result<Vec<String>, UserError> {
    let message = format!("{}; the state of job {} belongs to the topic that was there before", topic.tell(change), job.name);
    Err(UserError::new(Exit::Preflight, message).hint(
        "forget the state with `shardlift run --restart` (which sends everything again), or give this job another job.name",
    ))
}

/// Whether a partition ends before an offset that it must have: its end when the job began, and one more for each record that it
/// acknowledged since. Offsets never go down: deleting records moves a partition's beginning only.
fn ends_before(now: &[i64], then: &[i64], sent: &[u64]) -> Option<TopicChange> {
    (0u32..).zip(then.iter().zip(now)).find_map(|(partition, (then, now))| {
        let sent = sent.get(partition as usize).copied().unwrap_or(0);
        went_back(partition, then.saturating_add_unsigned(sent), *now)
    })
}

fn show(id: &str) -> &str {
    if id.is_empty() { "(no id)" } else { id }
}

#[cfg(test)]
mod tests {
    use migration::job::SourceRules;

    use super::*;

    fn job() -> Job {
        let text = "[job]\nname = \"j\"\n[source.jsonl]\npaths = [\"x\"]\n[kafka]\nbrokers = [\"a:1\"]\ntopic = \"t\"\n";
        let context = migration::config::Context {
            config_dir: std::path::Path::new("/"),
            env: &|_| None,
            read_secret_file: &|_| Err(std::io::ErrorKind::NotFound.into()),
            check_properties: &|_| Vec::new(),
            contacts_brokers: true,
        };
        migration::config::Typed::parse(text, "test").expect("valid").mean(&context).expect("valid")
    }

    fn found(cluster: &str, topic_id: Option<&str>, ends: &[i64]) -> Preflight {
        let partitions = ends.iter().map(|&high| kafka::PartitionEnds { low: 0, high }).collect();
        let (cluster_id, topic_id) = (Some(cluster.to_owned()), topic_id.map(str::to_owned));
        Preflight { cluster_id, topic_id, partitions, replication: 1, ..Preflight::default() }
    }

    /// The state of a job that began with what `then` says.
    fn begun(job: &Job, then: &Preflight) -> JobState {
        let binding = binding(job, then);
        let plan = Plan { max_line: job.source.files().max_line, ..Plan::default() };
        let plan_id = plan_id(job, &plan, &binding).expect("encodable");
        JobState {
            name: job.name.clone(),
            created_ms: 0,
            plan_id,
            binding,
            plan,
            unsplit: None,
            shards: Vec::new(),
            damages: Default::default(),
            origins: Default::default(),
            uncertain: Default::default(),
        }
    }

    #[test]
    fn state_belongs_to_one_cluster_and_one_topic() {
        let job = job();
        let state = begun(&job, &found("c", Some("id"), &[5, 5]));
        let exit = |now: &Preflight| check_binding(&job, &state, now, &[]).map_err(|error| error.exit);
        assert_eq!(exit(&found("c", Some("id"), &[9, 5])), Ok(Vec::new()));
        assert_eq!(exit(&found("d", Some("id"), &[9, 5])), Err(Exit::Preflight), "another cluster");
        assert_eq!(exit(&found("c", Some("other"), &[9, 5])), Err(Exit::Preflight), "made again");
        assert_eq!(exit(&found("c", Some("id"), &[9])), Err(Exit::Preflight), "fewer partitions");
        assert_eq!(exit(&found("c", Some("id"), &[9, 5, 0])).map(|warnings| warnings.len()), Ok(1), "more partitions");
        // The id is asked before the offsets: a topic made again that has grown since is another one all the same.
        let error = check_binding(&job, &state, &found("c", Some("other"), &[900, 500]), &[1, 1]).unwrap_err();
        assert!(error.message.contains("deleted and made again (its id was id, is other)"), "{}", error.message);
    }

    #[test]
    fn keys_end_a_job_whose_topic_got_more_partitions() {
        let mut job = job();
        job.record.key = Some(migration::job::FieldPath(vec!["k".into()]));
        let state = begun(&job, &found("c", Some("id"), &[5, 5]));
        let more = found("c", Some("id"), &[9, 5, 0]);
        let error = check_binding(&job, &state, &more, &[]).unwrap_err();
        assert_eq!(error.exit, Exit::Preflight);
        assert!(
            error.message.contains("partitions 2 -> 3") && error.message.contains("--accept partitions"),
            "{}",
            error.message
        );
        // What reads only, tells it.
        assert_eq!(check_binding_to_read(&job, &state, &more, &[]).map(|warnings| warnings.len()).ok(), Some(1));
        job.accept.insert(Accept::Partitions);
        assert_eq!(check_binding(&job, &state, &more, &[]).map(|warnings| warnings.len()).ok(), Some(1));
        assert_eq!(bound_topic(&job, &state.binding, &more).partitions, 2, "a key's partition is that of the plan");
        assert!(check_binding(&job, &state, &found("c", Some("id"), &[9]), &[]).is_err(), "fewer is another topic");
    }

    #[test]
    fn without_ids_a_partition_must_hold_what_it_acknowledged() {
        let job = job();
        let state = begun(&job, &found("c", None, &[5, 5]));
        let check =
            |ends: &[i64], sent: &[u64]| check_binding(&job, &state, &found("c", None, ends), sent).map_err(|e| e.message);
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
        assert!(check_binding(&job, &begun(&job, &with), &without, &[]).is_ok());
        assert!(check_binding(&job, &begun(&job, &without), &with, &[]).is_ok());
        let lower = found("c", None, &[4]);
        assert!(check_binding(&job, &begun(&job, &with), &lower, &[]).is_err(), "the offsets still tell");
    }

    #[test]
    fn another_mapping_is_refused_and_another_number_of_workers_is_not() {
        let (job, now) = (job(), found("c", Some("id"), &[5]));
        let state = begun(&job, &now);
        let mut other = job.clone();
        other.workers.count = std::num::NonZeroU32::new(7);
        other.limits.rate_records = Some(1);
        other.kafka.brokers = migration::job::Brokers::Bootstrap(vec!["b:2".into()]);
        assert!(check_binding(&other, &state, &now, &[]).is_ok());
        other.kafka.partitioner = Partitioner::Crc32;
        assert_eq!(check_binding(&other, &state, &now, &[]).map_err(|error| error.exit), Err(Exit::Config));
        for max_line in [job.source.files().max_line / 2, job.source.files().max_line * 2] {
            let mut other = job.clone();
            let SourceRules::Jsonl(source) = &mut other.source else { panic!("the test's job has JSON lines") };
            source.files.max_line = max_line;
            let error = check_binding(&other, &state, &now, &[]).expect_err("another limit");
            assert_eq!(error.exit, Exit::Config);
            let expected = format!("source.jsonl.max_line is {} bytes, and was 4,194,304 when", show_count(max_line));
            assert!(error.message.starts_with(&expected), "{}", error.message);
        }
        let mut other = job.clone();
        other.record.headers.push(("source".into(), "x".into()));
        assert_eq!(check_binding(&other, &state, &now, &[]).map_err(|error| error.exit), Err(Exit::Config));
    }

    #[test]
    fn the_state_of_a_real_cluster_is_not_an_embedded_brokers() {
        let of = |cluster: &str| Binding { cluster_id: cluster.into(), ..Binding::default() };
        assert!(is_of_embedded(&of("mockCluster55e8")));
        assert!(!is_of_embedded(&of("MkU3OEVBNTcwNTJENDM2Qk")) && !is_of_embedded(&of("")));
    }
}
