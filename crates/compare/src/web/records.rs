//! The records that the produce route sends: the first ones of the user's source, mapped as the job says, one after the
//! other and then from the start again.

use std::cell::Cell;
use std::rc::Rc;

use kafka::partitioner;
use migration::{Failure, FailureKind, Job, Plan, TopicSettings};
use pipeline::fate::{self, Look, Takes};
use pipeline::mapping::Mapping;
use pipeline::source::wait_for_rows;
use pipeline::{Block, BlockPool, Group, Rows, SinkLimits};

/// The most records that are kept.
const MOST: usize = 1_000;

/// Bytes of the source that are kept at most.
const MOST_BYTES: usize = 4 << 20;

/// Some records in memory.
pub struct Records {
    /// Each is a group of its own.
    samples: Vec<Group>,
    partitioner: fn(&[u8], u32) -> Option<u32>,
    next: Cell<usize>,
}

impl Records {
    /// Reads the first records of the plan's first shard that the topic takes (`record_bytes` for key and value
    /// together). Rows that would be dead letters in a run are left out.
    pub fn read(job: &Job, plan: &Plan, record_bytes: usize) -> Result<Records, Failure> {
        let nothing = |what: &str| Failure::new(FailureKind::Source, format!("the source has no record to send: {what}"));
        let shard = plan.shards.first().ok_or_else(|| nothing("it is empty"))?;
        let mut reader = sources::source_of(&job.source, job.workers.windows()).open(plan, shard.id, &shard.start, None)?;
        let headers: usize = job.record.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        let limits =
            SinkLimits { record_bytes, batch_bytes: record_bytes, batch_records: pipeline::lanes::GROUP_RECORDS, alone: None };
        let mut chooser = Chooser {
            mapping: Mapping::new(&job.record),
            takes: Takes::now(limits, headers, TopicSettings::default()),
            samples: Vec::new(),
            refused: None,
        };
        let (mut pool, mut rows) = (BlockPool::new(MOST_BYTES), Rows::default());
        while chooser.samples.len() < MOST && pool.has_room(0) && wait_for_rows(reader.as_mut(), &mut pool, &mut rows)? {
            if let Some(block) = rows.block.clone() {
                chooser.choose(&block, &rows);
            }
        }
        if chooser.samples.is_empty() {
            return Err(nothing(&chooser.refused.unwrap_or_else(|| "its first rows are blank".to_owned())));
        }
        let partitioner = partitioner::choose(job.kafka.partitioner);
        Ok(Records { samples: chooser.samples, partitioner, next: Cell::new(0) })
    }

    /// The next record and its partition; without a key the partitions take turns.
    pub fn take(&self, partitions: u32) -> (u32, Group) {
        let number = self.next.replace(self.next.get().wrapping_add(1));
        let group = self.samples[number % self.samples.len()].select([0]);
        let by_key = group.message(0).key.and_then(|key| (self.partitioner)(key, partitions));
        let by_turn = || (number % partitions.max(1) as usize) as u32;
        (by_key.unwrap_or_else(by_turn), group)
    }
}

/// Which rows become samples.
struct Chooser {
    mapping: Mapping,
    takes: Takes,
    samples: Vec<Group>,
    /// Why the first row that became none was left out.
    refused: Option<String>,
}

impl Chooser {
    fn choose(&mut self, block: &Rc<Block>, rows: &Rows) {
        for (index, look) in rows.looks() {
            if self.samples.len() == MOST {
                return;
            }
            let refused = match look {
                Look::Blank => continue,
                Look::Bad(reason) => reason.to_owned(),
                Look::Record(text) => match fate::record(&mut self.mapping, &self.takes, text) {
                    Ok(mapped) => {
                        let row = &rows.rows[index];
                        let mut sample = Group::default();
                        sample.push(block, row.start, row.len, mapped.key, mapped.timestamp);
                        self.samples.push(sample);
                        continue;
                    }
                    Err(reason) => reason,
                },
            };
            self.refused.get_or_insert(refused);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::path::Path;

    use migration::config::{Context, Typed};
    use pipeline::source::PlanRules;
    use tempfile::NamedTempFile;

    use super::*;

    /// A job whose source is one file with these lines.
    fn job_of(lines: &str, key: &str) -> (NamedTempFile, Job, Plan) {
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(lines.as_bytes()).unwrap();
        let config = format!(
            "job.name = \"web\"\nkafka.topic = \"web\"\nsource.jsonl.paths = [{:?}]\nrecord.key = {key:?}\n",
            file.path().display().to_string()
        );
        let context = Context {
            config_dir: Path::new("/"),
            env: &|_| None,
            read_secret_file: &|_| Err(std::io::ErrorKind::NotFound.into()),
            check_properties: &|_| Vec::new(),
            is_folder: &|_| Ok(false),
            contacts_brokers: true,
        };
        let job = Typed::parse(&config, "test").unwrap().mean(&context).unwrap();
        let rules = PlanRules { flush: job.workers.flush, ..PlanRules::of_one_worker(&job.shards) };
        let plan = sources::source_of(&job.source, job.workers.windows()).plan(&rules).unwrap();
        (file, job, plan)
    }

    #[test]
    fn usable_lines_take_turns_with_their_keys() {
        let long = "x".repeat(200);
        let lines = format!("{{\"k\":\"a\"}}\n\n{{\"no\":1}}\n{{\"k\":\"{long}\"}}\n{{\"k\":\"\\u0062\"}}\n");
        let (_file, job, plan) = job_of(&lines, ".k");
        let records = Records::read(&job, &plan, 100).unwrap();
        let taken: Vec<(u32, Vec<u8>, Vec<u8>)> = (0..3)
            .map(|_| {
                let (partition, group) = records.take(16);
                assert_eq!(group.len(), 1);
                let message = group.message(0);
                (partition, message.key.unwrap().to_vec(), message.value.to_vec())
            })
            .collect();
        assert_eq!((&taken[0].1[..], &taken[0].2[..]), (&b"a"[..], &b"{\"k\":\"a\"}"[..]));
        assert_eq!(taken[1].1, b"b", "the key is unescaped; blank, keyless and too large lines are left out");
        assert_eq!(taken[2], taken[0], "from the start again, to the key's partition");
    }

    #[test]
    fn a_source_without_a_usable_record_says_why() {
        let (_file, job, plan) = job_of("{\"no\":1}\n", ".k");
        let failure = Records::read(&job, &plan, 100).err().unwrap();
        assert_eq!(failure.kind, FailureKind::Source);
        assert!(failure.message.contains("no field .k"), "{failure}");
    }
}
