//! Where the partitions of a topic begin and end.
//!
//! Responsible for: one time limit over all partitions, however many of them have no leader, and naming those that are
//! missing when it is over. Not responsible for: what is done with the offsets.

use std::time::{Duration, Instant};

use super::{Asker, PartitionEnds, PreflightProblem, PreflightProblemKind};
use crate::classify::{Verdict, verdict};
use crate::ffi::{Code, ask_ends};
use crate::topic_probe::is_unknown_topic;

/// The first wait for a partition's leader to tell its offsets; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Between two questions for offsets that were not told.
const REST: Duration = Duration::from_millis(50);

impl Asker<'_> {
    /// Where each partition begins and ends. One time holds for all of them together, and what is missing then is
    /// named. `partitions`: error and leader of each; `brokers`: numbers and addresses.
    pub(super) fn ends(
        &self,
        mut partitions: Vec<(i32, i32)>,
        brokers: &[(i32, String)],
    ) -> Result<Vec<PartitionEnds>, PreflightProblem> {
        let since = Instant::now();
        let deadline = since + self.timeout;
        let left = || deadline.saturating_duration_since(Instant::now());
        let mut found = vec![None; partitions.len()];
        let mut wait = FIRST_WAIT;
        loop {
            let missing = self.ask_leaders(&partitions, &mut found, left().min(wait))?;
            if missing.is_empty() {
                return Ok(found.into_iter().flatten().collect());
            }
            let over = left().is_zero();
            if self.first || over {
                let silent = missing.iter().find_map(|(_, why)| match why {
                    Missing::Answer(broker, _) => Some(*broker),
                    Missing::Leader => None,
                });
                if let Some(problem) = silent.and_then(|broker| self.advertised(broker, brokers, since.elapsed())) {
                    return Err(problem);
                }
            }
            if over {
                return Err(self.without_ends(&missing));
            }
            // A new leader, a broker that restarts: ask again, not in a tight loop.
            std::thread::sleep(left().min(REST));
            wait = wait.saturating_mul(2);
            match self.metadata_within(left().min(wait).max(REST), false) {
                Ok(metadata) => partitions.iter_mut().zip(metadata.partitions).for_each(|(old, new)| *old = new),
                // Some broker of a cluster that is in motion: it may answer the next time.
                Err(problem) if problem.kind == PreflightProblemKind::Unreachable => {}
                Err(problem) => return Err(problem),
            }
        }
    }

    /// Asks the leaders of those partitions whose ends are not known, all at once, for `wait`. Gives the partitions
    /// that are missing, and why.
    fn ask_leaders(
        &self,
        partitions: &[(i32, i32)],
        found: &mut [Option<PartitionEnds>],
        wait: Duration,
    ) -> Result<Vec<(u32, Missing)>, PreflightProblem> {
        let topic = &self.job.kafka.topic;
        let wait = wait.max(Duration::from_millis(1));
        let (mut asked, mut missing) = (Vec::new(), Vec::new());
        for (partition, (ends, &(_, leader))) in (0u32..).zip(found.iter().zip(partitions)) {
            match ends {
                Some(_) => {}
                None if leader < 0 => missing.push((partition, Missing::Leader)),
                None => asked.push(partition),
            }
        }
        if asked.is_empty() {
            return Ok(missing);
        }
        // A request that fails as a whole names none: each of its partitions is missing.
        let answers = ask_ends(&self.client, topic, &asked, wait).unwrap_or_else(|(code, _)| vec![Err(code); asked.len()]);
        for (partition, answer) in asked.into_iter().zip(answers) {
            match answer {
                Ok((low, high)) => found[partition as usize] = Some(PartitionEnds { low, high }),
                // The cluster has just said that the topic is there: of a new one a broker may hear later than the
                // others.
                Err(code) if verdict(code) == Verdict::AllRejected && !is_unknown_topic(code) => {
                    let message = format!("offsets of partition {partition} of topic {topic:?}: {code}");
                    return Err(PreflightProblem::new(PreflightProblemKind::NotAuthorised, message));
                }
                Err(code) => missing.push((partition, Missing::Answer(partitions[partition as usize].1, code))),
            }
        }
        missing.sort_by_key(|(partition, _)| *partition);
        Ok(missing)
    }

    /// Partitions whose ends no broker told in time.
    fn without_ends(&self, missing: &[(u32, Missing)]) -> PreflightProblem {
        let (leaderless, others): (Vec<_>, Vec<_>) = missing.iter().partition(|(_, why)| matches!(why, Missing::Leader));
        let mut reasons = Vec::new();
        if !leaderless.is_empty() {
            let (which, verb) = named(&leaderless);
            reasons.push(format!("{which} {verb} no leader"));
        }
        if let Some((_, Missing::Answer(broker, code))) = others.first() {
            let (which, verb) = named(&others);
            reasons.push(format!("{which} {verb} a leader that does not tell them (broker {broker}: {code})"));
        }
        let message =
            format!("no offsets of topic {:?} within {:?}: {}", self.job.kafka.topic, self.timeout, reasons.join("; "));
        PreflightProblem::new(PreflightProblemKind::Unreachable, message)
    }
}

/// Why a partition's ends are not known.
#[derive(Clone, Copy, Debug)]
enum Missing {
    /// It has no leader.
    Leader,
    /// This broker, its leader, answered with an error or not at all.
    Answer(i32, Code),
}

/// Names partitions, with the verb that follows.
fn named(partitions: &[&(u32, Missing)]) -> (String, &'static str) {
    const MOST: usize = 10;
    let mut numbers: Vec<String> = partitions.iter().take(MOST).map(|(partition, _)| partition.to_string()).collect();
    if partitions.len() > MOST {
        numbers.push(format!("{} more", partitions.len() - MOST));
    }
    match numbers.as_slice() {
        [only] => (format!("partition {only}"), "has"),
        [before @ .., last] => (format!("partitions {} and {last}", before.join(", ")), "have"),
        [] => (String::new(), "have"),
    }
}
