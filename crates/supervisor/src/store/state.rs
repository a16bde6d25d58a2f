//! What a run starts from, as values.

use std::collections::{BTreeMap, BTreeSet};

use migration::fixed::FixedSettings;
use migration::report::{Binding, ShardStatus};
use migration::{Counts, Incarnation, LedgerEntry, Plan, Position, Receipt, Shard, ShardId, StateOrigin, Token};

use super::NewJob;
use crate::machine::{Extent, ShardStart};

/// Everything a run starts from.
#[derive(Clone, Debug, PartialEq)]
pub struct JobState {
    /// The job's name.
    pub name: String,
    /// The id of its plan.
    pub plan_id: u128,
    /// Which start of the job it is.
    pub origin: StateOrigin,
    /// The number of its last run; 0 if there was none.
    pub last_run: u32,
    /// What it belongs to.
    pub binding: Binding,
    /// What must not change once a record was sent ([`migration::fixed`]), as it was when the state was made.
    pub settings: FixedSettings,
    /// Its plan as it stands now: the frozen one, with what happened to it since.
    pub plan: Plan,
    /// The plan as it was made, if shards were split, files replaced or added since.
    pub frozen: Option<Box<Plan>>,
    /// One for each shard of the plan, in its order.
    pub shards: Vec<ShardCheckpoint>,
    /// What is known of files that can't be read to their end: by shard and segment, up to which place records were
    /// sent, and the hash of the bytes before it.
    pub damages: BTreeMap<(u32, u32), (u64, u128)>,
    /// From which shard a piece of a split one was parted, which may be a piece itself; others are not in it.
    pub parents: BTreeMap<u32, u32>,
    /// Shards of which records may have been sent behind their last commit: an attempt was killed, or is still said to
    /// run, and those after it did not come that far again.
    pub uncertain: BTreeSet<u32>,
}

/// How far a shard has come.
#[derive(Clone, Debug, PartialEq)]
pub struct ShardCheckpoint {
    /// How it stands.
    pub status: ShardStatus,
    /// Up to where it is committed.
    pub position: Position,
    /// What its source needs beside the position to go on there.
    pub token: Option<Token>,
    /// What was committed.
    pub counts: Counts,
    /// Deaths at this position.
    pub deaths: u32,
    /// How long its file of dead letters is by its last commit, bytes.
    pub letters: u64,
    /// What was delivered.
    pub receipt: Receipt,
    /// The number of its last attempt; 0 if there was none.
    pub last_attempt: u32,
}

impl ShardCheckpoint {
    /// How far it is committed.
    pub fn entry(&self) -> LedgerEntry {
        let ShardCheckpoint { position, token, counts, letters, receipt, .. } = self.clone();
        LedgerEntry { position, counts, token, letters, receipt }
    }
}

/// Whether what Kafka says of a shard is more than a state with these has of it: it is taken over forward only.
pub(super) fn is_ahead(entry: &LedgerEntry, status: ShardStatus, position: &Position) -> bool {
    status != ShardStatus::Done && entry.position > *position
}

impl JobState {
    /// That of a job that begins: no shard has committed anything.
    pub fn new(job: &NewJob<'_>) -> JobState {
        let waiting = |shard: &Shard| ShardCheckpoint {
            status: ShardStatus::Waiting,
            position: shard.start,
            token: None,
            counts: Counts::default(),
            deaths: 0,
            letters: 0,
            receipt: Receipt::default(),
            last_attempt: 0,
        };
        JobState {
            name: job.name.to_owned(),
            plan_id: job.plan_id,
            origin: job.origin,
            last_run: 0,
            binding: job.binding.clone(),
            settings: job.settings.to_vec(),
            plan: job.plan.clone(),
            frozen: None,
            shards: job.plan.shards.iter().map(waiting).collect(),
            damages: BTreeMap::new(),
            parents: BTreeMap::new(),
            uncertain: BTreeSet::new(),
        }
    }

    /// Takes over how far Kafka says that shards are, as [`Store::adopt`](super::Store::adopt) does, but not on disk.
    pub fn adopt(&mut self, entries: &[(ShardId, LedgerEntry)]) {
        for (id, entry) in entries {
            let Some(shard) = self.shards.get_mut(id.0 as usize) else { continue };
            if !is_ahead(entry, shard.status, &shard.position) {
                continue;
            }
            let LedgerEntry { position, counts, token, letters, receipt } = entry.clone();
            *shard = ShardCheckpoint { position, counts, token, letters, receipt, deaths: 0, ..shard.clone() };
        }
    }

    /// What was committed, over all shards.
    pub fn counts(&self) -> Counts {
        let mut sum = Counts::default();
        self.shards.iter().for_each(|shard| sum.add(&shard.counts));
        sum
    }

    /// How long each shard's file of dead letters is, as far as it was committed.
    pub fn letters(&self) -> Vec<(ShardId, u64)> {
        self.plan.shards.iter().map(|shard| shard.id).zip(self.shards.iter().map(|shard| shard.letters)).collect()
    }

    /// A shard, the one that it was parted from, and so on up to one of the frozen plan.
    pub(super) fn line_of(&self, shard: u32) -> impl Iterator<Item = u32> {
        std::iter::successors(Some(shard), |piece| self.parents.get(piece).copied())
    }

    /// Which start of the job this is, as Kafka knows it.
    pub fn incarnation(&self) -> Incarnation {
        Incarnation { plan_id: self.plan_id, generation: self.origin.generation }
    }

    /// The plan as it was made: what its id stands for.
    pub fn frozen_plan(&self) -> &Plan {
        self.frozen.as_deref().unwrap_or(&self.plan)
    }

    /// Whether records of it may have been sent: it was run, or Kafka had it.
    pub fn is_begun(&self) -> bool {
        self.last_run > 0 || self.origin.from_topic
    }

    /// Whether every shard is at its end.
    pub fn is_done(&self) -> bool {
        self.shards.iter().all(|shard| shard.status == ShardStatus::Done)
    }

    /// What the machine starts from; a quarantined shard waits again.
    pub(crate) fn starts(&self) -> Vec<ShardStart> {
        let start = |(s, shard): (&ShardCheckpoint, &Shard)| ShardStart {
            extent: Extent::of(&self.plan, shard),
            entry: s.entry(),
            done: s.status == ShardStatus::Done,
            last_attempt: s.last_attempt,
        };
        self.shards.iter().zip(&self.plan.shards).map(start).collect()
    }
}
