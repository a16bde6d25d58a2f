//! Whether this machine, and the state's folder on it, are fit for the job.

use std::path::PathBuf;

use super::{Check, Finding};
use crate::printable::printable_path;
use crate::units::{show_count, show_size, show_things};
use crate::{Accept, Exit, Job, UserError};

/// What a worker takes beside its records in flight: the client's own, the block that is read, code and stacks.
const BESIDE: u64 = 40 << 20;
/// What a worker takes before its first record: the next shard's connects while the one before it ends.
const EARLY: u64 = 16 << 20;
/// Less room than this on the state's disk ends a run soon.
const LITTLE_ROOM: u64 = 1 << 20;
/// Less than this is worth a warning.
const SOME_ROOM: u64 = 64 << 20;

/// What the machine allows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MachineFacts {
    /// How many workers run at once.
    pub workers: u32,
    /// Bytes of memory there are, and what allows no more.
    pub memory: Option<(u64, String)>,
    /// Why descriptors or processes do not suffice, if so.
    pub limits: Option<String>,
}

/// The most memory that a worker comes to, and the early one behind it, in bytes.
pub fn memory_of_a_worker(job: &Job) -> u64 {
    let limit = job.workers.memory_limit;
    (2 * job.workers.in_flight + BESIDE).min(limit) + EARLY.min(limit)
}

/// Are there memory, descriptors and processes for all workers?
pub fn of_machine(job: &Job, facts: &MachineFacts) -> Finding {
    let check = Check::Machine;
    if let Some(limit) = &facts.limits {
        return Finding::fail(check, limit.clone());
    }
    let workers = show_things(facts.workers.into(), "worker");
    let each = memory_of_a_worker(job);
    let needed = u64::from(facts.workers).saturating_mul(each);
    match &facts.memory {
        None => Finding::skip(check, "how much memory there is can't be told"),
        Some((there, by)) if needed > *there => {
            let fact = format!("{workers} may take {}, and {by} allows {}", show_size(needed), show_size(*there));
            // It is the most that they may come to: a number that was not asked for is told.
            let asked = job.workers.count.is_some();
            let found = if asked { Finding::fail(check, fact) } else { Finding::warn(check, fact) };
            found
                .mend(format!(
                    "use {} with -w, or a smaller workers.in_flight; or --accept machine",
                    show_things((*there / each.max(1)).max(1), "worker")
                ))
                .accept(Accept::Machine)
        }
        Some((there, _)) => Finding::ok(check, format!("{workers} may take {} of {}", show_size(needed), show_size(*there))),
    }
}

/// What an earlier run left, and what a run makes of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum EarlierRun {
    /// Nothing.
    #[default]
    None,
    /// What could not be asked; why.
    Unknown(String),
    /// A process works on the job, or on a retry of it: which, in words.
    Running(String),
    /// The job goes on. It is done if all shards are.
    Begun {
        /// Shards that are done.
        done: u64,
        /// All.
        total: u64,
    },
    /// The job goes on from what its progress topic has, and this folder has not.
    Elsewhere {
        /// Who began it.
        made_by: String,
        /// Shards with progress.
        moved: u64,
        /// All.
        total: u64,
        /// Records that were acknowledged.
        records: u64,
    },
    /// Nothing was sent, and it begins anew; why.
    Anew(String),
    /// A run does not go on with it.
    Refused(UserError),
}

/// The job's folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateFacts {
    /// Where it is, or will be.
    pub path: PathBuf,
    /// Why it can't be written to, if so.
    pub unwritable: Option<String>,
    /// Bytes that may still be written there.
    pub free: Option<u64>,
    /// The kind of its file system, if that is on another machine.
    pub network: Option<&'static str>,
    /// Who owns it or may write there, if that is not this user alone.
    pub objection: Option<String>,
    /// What is in it.
    pub earlier: EarlierRun,
}

/// Can the state be kept there, and what does a run make of an earlier one's?
pub fn of_state(job: &Job, facts: &StateFacts) -> Vec<Finding> {
    match (of_folder(facts), &facts.earlier) {
        (None, earlier) => vec![of_earlier(job, facts, earlier)],
        (Some(found), EarlierRun::None) => vec![found],
        (Some(found), earlier) => vec![found, of_earlier(job, facts, earlier)],
    }
}

/// What is not as it should be with the folder.
fn of_folder(facts: &StateFacts) -> Option<Finding> {
    let check = Check::State;
    let path = printable_path(&facts.path);
    let fail = |fact: String| Finding::fail(check, fact).ends_with(Exit::State);
    if let Some(why) = &facts.unwritable {
        return Some(fail(format!("{path} can't be written to: {why}")).mend("choose another job.state_dir"));
    }
    if let Some(kind) = facts.network {
        let found = fail(format!("{path} is on {kind}: locks and syncs are not those of a local disk there"))
            .mend("choose a job.state_dir on a local disk; or --accept network-disk");
        return Some(found.accept(Accept::NetworkDisk));
    }
    if let Some(what) = &facts.objection {
        let found = fail(format!("{path} is not only this user's: {what}"))
            .mend("choose another job.state_dir, have it given to this user, or --accept owner");
        return Some(found.accept(Accept::Owner));
    }
    let found = match facts.free {
        Some(free) if free < LITTLE_ROOM => fail(format!("{path} has only {} of room", show_size(free))),
        Some(free) if free < SOME_ROOM => {
            Finding::warn(check, format!("{path} has only {} of room: dead letters may fill it", show_size(free)))
        }
        _ => return None,
    };
    Some(found.mend("make room, or choose another job.state_dir"))
}

fn of_earlier(job: &Job, facts: &StateFacts, earlier: &EarlierRun) -> Finding {
    let (check, name) = (Check::State, &job.name);
    match earlier {
        EarlierRun::None => {
            let path = printable_path(&facts.path);
            Finding::ok(check, format!("{path}: local and writable, no earlier run of job {name}"))
        }
        EarlierRun::Unknown(why) => Finding::skip(check, format!("whether `run` goes on with job {name} is not known: {why}")),
        EarlierRun::Running(what) => {
            Finding::fail(check, what.clone()).ends_with(Exit::Stopped).mend("wait for its end, or stop it")
        }
        EarlierRun::Begun { done, total } if done == total => {
            Finding::ok(check, format!("job {name} is done, all {}: `run` sends nothing", show_things(*total, "shard")))
        }
        EarlierRun::Begun { done, total } => {
            let done = show_count(*done);
            Finding::ok(
                check,
                format!("job {name} has begun, {done} of {} done: `run` goes on with it", show_things(*total, "shard")),
            )
        }
        EarlierRun::Elsewhere { made_by, moved, total, records } => Finding::ok(
            check,
            format!(
                "job {name} was begun by {made_by}: {} of {} with progress, {} acknowledged: `run` goes on from there",
                show_count(*moved),
                show_things(*total, "shard"),
                show_things(*records, "record")
            ),
        ),
        EarlierRun::Anew(told) => Finding::ok(check, told.clone()),
        EarlierRun::Refused(error) => Finding::of_error(check, error.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CheckLevel;

    fn job() -> Job {
        Job::of_text("job.name = \"j\"\nsource.jsonl.paths = [\"x\"]\nkafka.topic = \"t\"\nworkers.count = 40\n")
    }

    #[test]
    fn workers_need_memory_and_limits() {
        let facts = |workers, memory: u64| MachineFacts { workers, memory: Some((memory, "the cgroup".into())), limits: None };
        assert_eq!(of_machine(&job(), &facts(4, 1 << 30)).level, CheckLevel::Ok);
        let few = of_machine(&job(), &facts(40, 1 << 30));
        assert_eq!((few.level, few.accept), (CheckLevel::Fail, Some(Accept::Machine)));
        assert!(
            few.line().contains("40 workers may take 4.7 GiB, and the cgroup allows 1.0 GiB; use 8 workers"),
            "{}",
            few.line()
        );
        let limited = MachineFacts { limits: Some("no descriptors".into()), ..facts(1, 1 << 30) };
        assert_eq!(of_machine(&job(), &limited).level, CheckLevel::Fail);
        assert_eq!(of_machine(&job(), &MachineFacts::default()).level, CheckLevel::Skip);
    }

    #[test]
    fn the_state_needs_a_local_writable_disk_of_its_own_with_room() {
        let good = StateFacts { path: "/s/j".into(), free: Some(1 << 30), ..StateFacts::default() };
        let levels = |facts: &StateFacts| of_state(&job(), facts).iter().map(|found| found.level).collect::<Vec<_>>();
        assert_eq!(levels(&good), [CheckLevel::Ok]);
        let of = |change: &dyn Fn(&mut StateFacts)| {
            let mut facts = good.clone();
            change(&mut facts);
            let found = of_state(&job(), &facts);
            assert_eq!(found.len(), 1, "{found:?}");
            found.into_iter().next().unwrap()
        };
        for (finding, level, accept) in [
            (of(&|facts| facts.unwritable = Some("read-only".into())), CheckLevel::Fail, None),
            (of(&|facts| facts.network = Some("NFS")), CheckLevel::Fail, Some(Accept::NetworkDisk)),
            (of(&|facts| facts.objection = Some("mode 777".into())), CheckLevel::Fail, Some(Accept::Owner)),
            (of(&|facts| facts.free = Some(1 << 19)), CheckLevel::Fail, None),
            (of(&|facts| facts.free = Some(10 << 20)), CheckLevel::Warn, None),
            (of(&|facts| facts.earlier = EarlierRun::Begun { done: 1, total: 2 }), CheckLevel::Ok, None),
            (of(&|facts| facts.earlier = EarlierRun::Unknown("unasked".into())), CheckLevel::Skip, None),
        ] {
            assert_eq!((finding.level, finding.accept), (level, accept), "{}", finding.line());
            assert!(level != CheckLevel::Fail || finding.exit == Exit::State);
        }
        let done = of(&|facts| facts.earlier = EarlierRun::Begun { done: 2, total: 2 });
        assert_eq!(done.fact, "job j is done, all 2 shards: `run` sends nothing");
        let running = of(&|facts| facts.earlier = EarlierRun::Running("pid 7".into()));
        assert_eq!((running.level, running.exit), (CheckLevel::Fail, Exit::Stopped));
        // Neither hides the other.
        let refused = EarlierRun::Refused(UserError::new(Exit::Config, "another key"));
        let both = StateFacts { free: Some(10 << 20), earlier: refused, ..good };
        assert_eq!(levels(&both), [CheckLevel::Warn, CheckLevel::Fail]);
        assert_eq!(of_state(&job(), &both)[1].exit, Exit::Config);
    }
}
