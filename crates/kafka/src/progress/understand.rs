//! What the records of a job in the progress topic come to.
//!
//! Responsible for: which of them belong to the newest start of the job, and whether it can go on from them. Not
//! responsible for: reading them, or what is done where it can't.

use std::collections::BTreeMap;

use migration::job::Partitioner;
use migration::progress::{DamagedJob, plan_key, shard_key};
use migration::{Incarnation, LedgerEntry, ShardId, ShardProgress, StoredJob, StoredPlan};

use super::parts::{self, Found};
use super::record;
use super::scan::NewestValues;
use crate::partitioner;

/// What a look at the topic came to.
#[derive(Debug, PartialEq)]
pub(super) enum SeenJob {
    /// It has no record of the job.
    Nothing,
    /// The job as its workers left it.
    Whole(Box<StoredJob>),
    /// The job can't go on from these.
    Damaged(JobDamage),
}

/// JobRecords from which a job can't go on.
#[derive(Debug, Default, PartialEq)]
pub(super) struct JobDamage {
    pub(super) damage: DamagedJob,
    /// Whether it may only be that a plan is being written.
    pub(super) may_pass: bool,
    /// Keys of records that can't be understood. Who starts over removes them, or each later start would find them.
    pub(super) unreadable: Vec<String>,
}

/// Puts together what was read. An error: which record of a key is the newest can't be told, and no start of the job in
/// this topic will be able to.
pub(super) fn understand(topic: &str, job: &str, newest: &NewestValues, partitions: u32) -> Result<SeenJob, String> {
    let (mut parts, mut shards) = (BTreeMap::new(), BTreeMap::new());
    for ((partition, key), value) in newest {
        if partitioner::choose(Partitioner::Murmur2)(key, partitions) != Some(*partition) {
            let key = String::from_utf8_lossy(key);
            return Err(format!(
                "progress topic {topic:?}: {key:?} stands in partition {partition}, where no shardlift would look for it now: \
                 partitions were added, or another program wrote it. Which record is the newest can't be told any more: begin \
                 anew with --restart and another checkpoint.topic"
            ));
        }
        let Some(own) = std::str::from_utf8(key).ok().and_then(|key| key.strip_prefix(job)) else { continue };
        let number = |of: &str| own.strip_prefix(of).and_then(|text| text.parse::<u32>().ok());
        if let Some(part) = number("/plan/").filter(|part| plan_key("", *part) == own) {
            parts.insert(part, value.as_slice());
        } else if let Some(shard) = number("/shard/").map(ShardId).filter(|shard| shard_key("", *shard) == own) {
            shards.insert(shard, value.as_slice());
        }
    }
    let records = JobRecords::read(job, &parts, shards);
    Ok(records.judge(parts::decode(parts.into_iter())).unwrap_or_else(|mut damaged| {
        damaged.damage =
            DamagedJob { generation: records.generation(), what: format!("progress topic {topic:?}: {}", damaged.damage.what) };
        SeenJob::Damaged(damaged)
    }))
}

/// The shards of starts before this one: those of which it is marked that they are over, and such as had progress.
pub(super) fn older(job: &str, newest: &NewestValues, of: Incarnation) -> Vec<ShardId> {
    let shard = |key: &[u8]| {
        let number = std::str::from_utf8(key).ok()?.strip_prefix(job)?.strip_prefix("/shard/")?.parse().ok()?;
        Some(ShardId(number)).filter(|shard| shard_key(job, *shard).as_bytes() == key)
    };
    let is_older =
        |progress: ShardProgress| progress.of.generation < of.generation || progress.of == of && record::is_mark(&progress);
    let of_older = newest.iter().filter(|(_, value)| record::decode(value).is_ok_and(is_older));
    of_older.filter_map(|((_, key), _)| shard(key)).collect()
}

/// The records of a job, one by one.
struct JobRecords<'a> {
    job: &'a str,
    /// The newest start of which there is a part of the plan; 0: none.
    planned: u32,
    shards: Vec<(ShardId, ShardProgress)>,
    /// Keys of those that can't be understood, with the reason.
    unreadable: Vec<(String, String)>,
}

impl<'a> JobRecords<'a> {
    fn read(job: &'a str, parts: &BTreeMap<u32, &[u8]>, shards: BTreeMap<ShardId, &[u8]>) -> JobRecords<'a> {
        let mut records = JobRecords { job, planned: 0, shards: Vec::new(), unreadable: Vec::new() };
        for (&part, value) in parts {
            match parts::generation(part, value) {
                Ok(generation) => records.planned = records.planned.max(generation),
                Err(why) => records.unreadable.push((plan_key(job, part), why)),
            }
        }
        for (shard, value) in shards {
            match record::decode(value) {
                Ok(progress) => records.shards.push((shard, progress)),
                Err(why) => records.unreadable.push((shard_key(job, shard), format!("shard {shard}: {why}"))),
            }
        }
        records
    }

    /// The newest start of which a shard has progress; 0: none.
    fn progressed(&self) -> u32 {
        self.shards.iter().map(|(_, progress)| progress.of.generation).max().unwrap_or(0)
    }

    fn generation(&self) -> u32 {
        self.planned.max(self.progressed())
    }

    /// What they come to. Of an error the generation is left out, and where it was seen.
    fn judge(&self, plan: Result<Found, String>) -> Result<SeenJob, JobDamage> {
        let name = self.job;
        let damaged = |what: String| JobDamage { damage: DamagedJob { generation: 0, what }, ..JobDamage::default() };
        if let Some((_, why)) = self.unreadable.first() {
            let unreadable = self.unreadable.iter().map(|(key, _)| key.clone()).collect();
            return Err(JobDamage { unreadable, ..damaged(format!("job {name:?}: {why}")) });
        }
        let plan = match plan.map_err(|why| damaged(format!("job {name:?}: {why}")))? {
            Found::Nothing if self.shards.is_empty() => return Ok(SeenJob::Nothing),
            Found::Nothing => return Err(damaged(self.without_plan("no plan of it"))),
            Found::Incomplete => {
                let what = format!(
                    "the plan of job {name:?} is not there as a whole: parts of it were deleted, or it is being written (then \
                     this passes within a minute)"
                );
                return Err(JobDamage { may_pass: true, ..damaged(what) });
            }
            Found::Plan(plan) => *plan,
        };
        if self.progressed() > plan.of.generation {
            let what = self.without_plan(&format!("only the plan of start {}", plan.of.generation));
            // A new plan and the marks beside it are not seen at one moment.
            return Err(JobDamage { may_pass: true, ..damaged(what) });
        }
        let shards = self.entries_of(&plan);
        if let Some((shard, _)) = shards.iter().find(|(shard, _)| shard.0 as usize >= plan.plan.shards.len()) {
            let what =
                format!("job {name:?}: it has progress of shard {shard}, and its plan {} shards", plan.plan.shards.len());
            return Err(damaged(what));
        }
        Ok(SeenJob::Whole(Box::new(StoredJob { plan, shards })))
    }

    /// What older starts, and other plans of this one, left means nothing.
    fn entries_of(&self, plan: &StoredPlan) -> Vec<(ShardId, LedgerEntry)> {
        let of_it = self.shards.iter().filter(|(_, progress)| progress.of == plan.of && !record::is_mark(progress));
        of_it.map(|(shard, progress)| (*shard, progress.entry.clone())).collect()
    }

    fn without_plan(&self, there_is: &str) -> String {
        let newest = self.progressed();
        let shards = self.shards.iter().filter(|(_, progress)| progress.of.generation == newest).count();
        format!(
            "it has how far {shards} shards of job {:?} are (start {newest}) and {there_is}: the plan's records expired or were \
             deleted, or another program wrote there. Is its cleanup.policy compact alone?",
            self.job
        )
    }
}

#[cfg(test)]
mod tests {
    use migration::Plan;

    use super::*;

    const PARTITIONS: u32 = 16;

    fn progress(generation: u32, plan_id: u128) -> ShardProgress {
        ShardProgress { of: Incarnation { plan_id, generation }, attempt: 1, entry: LedgerEntry::default() }
    }

    fn plan(generation: u32, made_by: &str) -> StoredPlan {
        let mut of_shards = Plan::default();
        (0..8).for_each(|_| of_shards.add(Vec::new(), 0));
        StoredPlan {
            of: Incarnation { plan_id: 7, generation },
            name: "orders".into(),
            created_ms: 1,
            made_by: made_by.into(),
            parent_ms: None,
            plan: of_shards,
            binding: Default::default(),
            settings: Vec::new(),
        }
    }

    /// JobRecords where they belong.
    fn newest(records: &[(String, Vec<u8>)]) -> NewestValues {
        let place = |key: &str| partitioner::choose(Partitioner::Murmur2)(key.as_bytes(), PARTITIONS).expect("a key has one");
        records.iter().map(|(key, value)| ((place(key), key.clone().into_bytes()), value.clone())).collect()
    }

    fn shard(number: u32, progress: &ShardProgress) -> (String, Vec<u8>) {
        (shard_key("orders", ShardId(number)), record::encode(progress))
    }

    fn parts_of(plan: &StoredPlan) -> Vec<(String, Vec<u8>)> {
        (0..).map(|part| plan_key("orders", part)).zip(parts::encode(plan)).collect()
    }

    fn seen(records: &[(String, Vec<u8>)]) -> SeenJob {
        understand("progress", "orders", &newest(records), PARTITIONS).expect("they stand where they belong")
    }

    fn damaged(records: &[(String, Vec<u8>)]) -> JobDamage {
        match seen(records) {
            SeenJob::Damaged(damaged) => damaged,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn progress_without_its_plan_is_no_job_that_never_began() {
        assert_eq!(seen(&[]), SeenJob::Nothing);
        // What is another's, and no shard's record at all.
        let others = [("orders/shard/7".to_owned(), b"x".to_vec()), ("orders/other".to_owned(), Vec::new())];
        assert_eq!(seen(&others), SeenJob::Nothing);
        let left = [shard(0, &progress(1, 7)), shard(4, &progress(2, 7)), shard(5, &progress(2, 7))];
        let found = damaged(&left);
        assert_eq!((found.damage.generation, found.may_pass), (2, false));
        assert!(found.damage.what.contains("how far 2 shards of job \"orders\" are (start 2) and no plan of it"), "{found:?}");
        let found = damaged(&[&left[..], &parts_of(&plan(1, "a"))].concat());
        assert_eq!(found.damage.generation, 2);
        assert!(found.damage.what.contains("and only the plan of start 1"), "{found:?}");
        let SeenJob::Whole(whole) = seen(&[&left[..], &parts_of(&plan(2, "a"))].concat()) else { panic!("it is whole") };
        assert_eq!(whole.shards.iter().map(|(shard, _)| shard.0).collect::<Vec<_>>(), [4, 5]);
        let found = damaged(&[parts_of(&plan(2, "a")), vec![shard(8, &progress(2, 7))]].concat());
        assert_eq!(
            found.damage.what,
            "progress topic \"progress\": job \"orders\": it has progress of shard 00008, and its plan 8 shards"
        );
    }

    #[test]
    fn what_is_damaged_says_behind_which_start_a_new_one_begins_and_what_it_removes() {
        let parts = parts_of(&plan(3, &"x".repeat(1_000_000)));
        let found = damaged(&parts[1..]);
        assert_eq!((found.damage.generation, found.may_pass, found.unreadable.len()), (3, true, 0));
        assert!(found.damage.what.contains("not there as a whole"), "{found:?}");
        // One part, and one shard, of a version that is not known.
        let strange = |(key, mut value): (String, Vec<u8>)| {
            value[0] = 9;
            (key, value)
        };
        let records =
            [parts[0].clone(), strange(parts[1].clone()), strange(shard(6, &progress(3, 7))), shard(7, &progress(4, 7))];
        let found = damaged(&records);
        assert_eq!((found.damage.generation, found.may_pass), (4, false));
        assert_eq!(found.unreadable, ["orders/plan/1", "orders/shard/00006"]);
        assert!(found.damage.what.contains("part 1 of the plan: it has version 9"), "{found:?}");
        // A start that can't be counted on from is none.
        let last = damaged(&[shard(7, &progress(u32::MAX, 7))]);
        assert_eq!((last.damage.generation, &last.unreadable[..]), (0, &["orders/shard/00007".to_owned()][..]));
    }

    #[test]
    fn a_record_where_none_is_looked_for_is_told_with_what_helps() {
        let (key, value) = shard(0, &progress(1, 7));
        let right = partitioner::choose(Partitioner::Murmur2)(key.as_bytes(), PARTITIONS).expect("a key has one");
        let moved: NewestValues = [(((right + 1) % PARTITIONS, key.into_bytes()), value)].into();
        let why = understand("progress", "orders", &moved, PARTITIONS).expect_err("it stands elsewhere");
        assert!(why.contains("partitions were added, or another program wrote it"), "{why}");
    }
}
