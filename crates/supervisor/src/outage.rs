//! Brokers that don't answer, seen over all workers: one sentence when it begins and one when it is over, however many
//! workers wait.
//!
//! Responsible for what the workers' heartbeats come to for the whole job. Not responsible for when a worker gives up
//! (it does by itself), for the wall clock, or for the sentences (`migration::outage`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use migration::{NoAnswer, Unanswered};

use crate::machine::{AttemptId, AttemptView};

/// From when on it is told that no broker answers: a broker that is restarted takes longer.
const ALL_AFTER: Duration = Duration::from_secs(2);
/// The same of a partition's leader, with others that answer or may: elections, and brokers that hold back a client
/// which sends too fast, take several seconds.
const LEADER_AFTER: Duration = Duration::from_secs(10);
/// A broker that answered within this time is one that does.
const LATELY: Duration = Duration::from_secs(1);

/// An outage that lasts. Times are since the run began.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Lasting {
    pub(crate) since: Duration,
    pub(crate) gives_up: Duration,
    pub(crate) who: Unanswered,
    pub(crate) cause: Option<String>,
}

/// What is to be told.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum OutageNews {
    /// It began, became one of all brokers, or more leaders are away.
    Begun(Lasting),
    /// It is over.
    Over {
        /// Who did not answer.
        who: Unanswered,
        /// For how long.
        lasted: Duration,
        /// How many lines of the clients were not shown since the last time.
        lines: u64,
    },
}

/// What is remembered of an attempt between two looks.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    started: bool,
    acknowledged: u64,
    lines: u64,
}

/// The job's brokers, as its workers see them.
#[derive(Debug)]
pub(crate) struct Outages {
    give_up_after: Duration,
    /// How many partitions the topic has.
    partitions: u32,
    lasting: Option<Lasting>,
    /// Since when the one that lasts does, who is away by now, and the leaders that were told.
    began: Duration,
    told: BTreeSet<i32>,
    attempts: BTreeMap<AttemptId, Seen>,
    /// When a broker last answered any worker.
    answered: Duration,
    /// When all were back last: the others have to be waited for anew.
    back: Duration,
    /// Lines of the clients that were not shown, and not told of.
    lines: u64,
}

impl Outages {
    pub(crate) fn new(give_up_after: Duration, partitions: u32) -> Self {
        Outages {
            give_up_after,
            partitions,
            lasting: None,
            began: Duration::ZERO,
            told: BTreeSet::new(),
            attempts: BTreeMap::new(),
            answered: Duration::ZERO,
            back: Duration::ZERO,
            lines: 0,
        }
    }

    /// `kafka.give_up_after`.
    pub(crate) fn give_up_after(&self) -> Duration {
        self.give_up_after
    }

    /// The outage that lasts, if one does.
    pub(crate) fn lasting(&self) -> Option<&Lasting> {
        self.lasting.as_ref()
    }

    /// How many lines were not shown since the last time that it was told.
    pub(crate) fn take_lines(&mut self) -> u64 {
        std::mem::take(&mut self.lines)
    }

    /// Looks at the workers; says what is to be told.
    pub(crate) fn look(&mut self, views: &[AttemptView<'_>], now: Duration) -> Vec<OutageNews> {
        self.hear(views, now);
        let silent: Vec<&NoAnswer> = views.iter().filter_map(|view| view.progress.no_answer.as_deref()).collect();
        let found = self.find(&silent, now);
        if let Some(lasting) = self.lasting.take_if(|lasting| is_over(lasting, self.answered, found.is_none())) {
            self.back = now;
            return vec![self.over(lasting.who)];
        }
        let Some(found) = found else {
            // Who waits now has waited for less.
            let longest = silent.iter().map(|seen| seen.silent).max().unwrap_or_default();
            if let Some(lasting) = &mut self.lasting {
                lasting.gives_up = (now + self.give_up_after).saturating_sub(longest);
            }
            return Vec::new();
        };
        match &mut self.lasting {
            Some(lasting) if lasting.who == Unanswered::All || found.who != Unanswered::All => {
                lasting.gives_up = found.gives_up;
                lasting.cause = found.cause.or(lasting.cause.take());
                if lasting.who == Unanswered::All {
                    return Vec::new();
                }
                // Heartbeats are not exact. Later than that: another one is away than at first.
                if found.since > lasting.since + LATELY {
                    lasting.since = found.since;
                }
                lasting.who = found.who;
                let told = self.told.len();
                self.told.extend(leaders_of(&lasting.who));
                if self.told.len() == told { Vec::new() } else { vec![OutageNews::Begun(lasting.clone())] }
            }
            lasting => {
                (self.began, self.told) = (found.since, leaders_of(&found.who).collect());
                *lasting = Some(found.clone());
                vec![OutageNews::Begun(found)]
            }
        }
    }

    /// That it is over, for all that were told.
    fn over(&mut self, mut who: Unanswered) -> OutageNews {
        if let Unanswered::Leaders { leaders, .. } = &mut who {
            *leaders = std::mem::take(&mut self.told).into_iter().collect();
        }
        let lasted = self.answered.saturating_sub(self.began);
        OutageNews::Over { who, lasted, lines: std::mem::take(&mut self.lines) }
    }

    /// Whether a broker answered any of them since the last look, and what their clients wrote.
    fn hear(&mut self, views: &[AttemptView<'_>], now: Duration) {
        let before = std::mem::take(&mut self.attempts);
        for view in views {
            let is = Seen {
                started: view.started,
                acknowledged: view.progress.counts.acknowledged,
                lines: view.progress.lines_not_shown.into(),
            };
            let was = before.get(&view.attempt).copied().unwrap_or_default();
            if is.started && !was.started || is.acknowledged > was.acknowledged {
                self.answered = now;
            }
            self.lines += is.lines.saturating_sub(was.lines);
            self.attempts.insert(view.attempt, is);
        }
    }

    /// What the silent ones come to, if they are silent for long enough.
    fn find(&self, silent: &[&NoAnswer], now: Duration) -> Option<Lasting> {
        let all = silent.iter().any(|seen| seen.all) && now.saturating_sub(self.answered) >= LATELY;
        let after = if all { ALL_AFTER } else { LEADER_AFTER }.min(self.give_up_after / 2);
        // One that waits for less may be served the next moment.
        let waiting: Vec<&NoAnswer> = silent.iter().copied().filter(|seen| seen.silent >= after).collect();
        let longest = waiting.iter().map(|seen| seen.silent).max()?;
        if now.saturating_sub(self.back) < after {
            return None;
        }
        let began = now.saturating_sub(longest);
        let (who, since) = match all {
            true => (Unanswered::All, began.max(self.answered)),
            false => (self.leaders(&waiting), began),
        };
        let cause = match all {
            true => silent.iter().filter(|seen| seen.all).find_map(|seen| seen.cause.clone()),
            false => waiting.iter().find_map(|seen| seen.cause.clone()),
        };
        // What was told of before is over.
        Some(Lasting { since: since.max(self.back), gives_up: began + self.give_up_after, who, cause })
    }

    fn leaders(&self, silent: &[&NoAnswer]) -> Unanswered {
        let leaders: BTreeSet<i32> = silent.iter().flat_map(|seen| seen.leaders.iter().copied()).collect();
        let partitions: BTreeSet<u32> = silent.iter().flat_map(|seen| seen.partitions.iter().copied()).collect();
        Unanswered::Leaders {
            leaders: leaders.into_iter().collect(),
            partitions: partitions.into_iter().collect(),
            of: self.partitions,
        }
    }
}

/// Brokers answer again as soon as one does; a leader, when no worker waits for as long as makes an outage.
fn is_over(lasting: &Lasting, answered: Duration, none_waits: bool) -> bool {
    answered > lasting.since && (lasting.who == Unanswered::All || none_waits)
}

fn leaders_of(who: &Unanswered) -> impl Iterator<Item = i32> {
    let leaders: &[i32] = if let Unanswered::Leaders { leaders, .. } = who { leaders } else { &[] };
    leaders.iter().copied()
}

#[cfg(test)]
mod tests {
    use migration::{Counts, Progress, ShardId};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Two workers over time: what each has acknowledged, and what it sees.
    struct Two {
        outages: Outages,
        now: Duration,
        acknowledged: [u64; 2],
        silent: [Option<NoAnswer>; 2],
    }

    impl Two {
        fn new() -> Two {
            let outages = Outages::new(900 * SECOND, 8);
            let mut two = Two { outages, now: SECOND, acknowledged: [1, 1], silent: [None, None] };
            assert_eq!(two.look(), []);
            two
        }

        fn look(&mut self) -> Vec<OutageNews> {
            let progress = |i: usize| Progress {
                counts: Counts { acknowledged: self.acknowledged[i], ..Counts::default() },
                no_answer: self.silent[i].clone().map(Box::new),
                lines_not_shown: if self.silent[i].is_some() { 3 } else { 0 },
                ..Progress::default()
            };
            let told = [progress(0), progress(1)];
            let views: Vec<AttemptView<'_>> = (0..2)
                .map(|i| AttemptView {
                    attempt: AttemptId { shard: ShardId(i), number: 1 },
                    slot: i,
                    started: true,
                    progress: &told[i as usize],
                    ahead: Counts::default(),
                })
                .collect();
            self.outages.look(&views, self.now)
        }

        /// A second passes in which these see nothing of their brokers.
        fn wait(&mut self, all: bool, workers: &[usize]) -> Vec<OutageNews> {
            self.now += SECOND;
            for i in 0..2 {
                if workers.contains(&i) {
                    let silent = self.silent[i].as_ref().map_or(Duration::ZERO, |seen| seen.silent) + SECOND;
                    let (partitions, leaders) = (vec![i as u32], vec![3 - i as i32]);
                    self.silent[i] = Some(NoAnswer { silent, all, partitions, leaders, cause: Some("k:1: refused".into()) });
                } else {
                    self.acknowledged[i] += 100;
                    self.silent[i] = None;
                }
            }
            self.look()
        }
    }

    #[test]
    fn an_outage_is_told_once_for_all_workers_and_so_is_its_end() {
        let mut two = Two::new();
        let told: Vec<OutageNews> = (0..30).flat_map(|_| two.wait(true, &[0, 1])).collect();
        let [OutageNews::Begun(lasting)] = &told[..] else { panic!("{told:?}") };
        assert_eq!((lasting.since, lasting.gives_up), (SECOND, 901 * SECOND));
        assert_eq!((&lasting.who, lasting.cause.as_deref()), (&Unanswered::All, Some("k:1: refused")));
        // The first one that is answered ends it.
        let told: Vec<OutageNews> = [two.wait(true, &[1]), two.wait(true, &[]), two.wait(true, &[])].concat();
        let who = Unanswered::All;
        assert_eq!(told, [OutageNews::Over { who, lasted: 31 * SECOND, lines: 6 }]);
        assert_eq!(two.outages.lasting(), None);
    }

    #[test]
    fn a_short_stall_is_not_worth_a_word() {
        let mut two = Two::new();
        let told: Vec<OutageNews> = (0..40).flat_map(|i| two.wait(false, if i % 9 == 8 { &[] } else { &[0, 1] })).collect();
        assert_eq!(told, []);
    }

    #[test]
    fn a_leader_that_is_away_is_told_by_its_partitions_until_no_worker_waits() {
        let mut two = Two::new();
        let told: Vec<OutageNews> = (0..30).flat_map(|_| two.wait(false, &[1])).collect();
        let [OutageNews::Begun(lasting)] = &told[..] else { panic!("{told:?}") };
        let of = |partitions: &[u32]| Unanswered::Leaders { leaders: vec![2], partitions: partitions.to_vec(), of: 8 };
        assert_eq!(lasting.who, of(&[1]));
        // Then the others go too.
        let told: Vec<OutageNews> = (0..3).flat_map(|_| two.wait(true, &[0, 1])).collect();
        assert!(matches!(&told[..], [OutageNews::Begun(Lasting { who: Unanswered::All, .. })]), "{told:?}");
        assert!(matches!(&two.wait(false, &[1])[..], [OutageNews::Over { who: Unanswered::All, .. }]), "one is back");
        let told: Vec<OutageNews> = (0..10).flat_map(|_| two.wait(false, &[1])).collect();
        let [OutageNews::Begun(lasting)] = &told[..] else { panic!("{told:?}") };
        assert_eq!((&lasting.who, lasting.since), (&of(&[1]), two.now - 10 * SECOND), "it begins where the other one ended");
        let told = two.wait(false, &[]);
        assert!(matches!(&told[..], [OutageNews::Over { who, .. }] if *who == of(&[1])), "{told:?}");
    }

    #[test]
    fn leaders_that_go_away_later_are_told_and_all_of_them_when_it_is_over() {
        let mut two = Two::new();
        let of = |leaders: &[i32], partitions: &[u32]| Unanswered::Leaders {
            leaders: leaders.to_vec(),
            partitions: partitions.to_vec(),
            of: 8,
        };
        let told: Vec<OutageNews> = (0..20).flat_map(|_| two.wait(false, &[1])).collect();
        assert!(matches!(&told[..], [OutageNews::Begun(lasting)] if lasting.who == of(&[2], &[1])), "{told:?}");
        let told: Vec<OutageNews> = (0..12).flat_map(|_| two.wait(false, &[0, 1])).collect();
        let [OutageNews::Begun(lasting)] = &told[..] else { panic!("{told:?}") };
        assert_eq!((&lasting.who, lasting.since), (&of(&[2, 3], &[0, 1]), SECOND));
        // The first one is back, which is shown; then it is away again, which was told.
        let told: Vec<OutageNews> = (0..3).flat_map(|_| two.wait(false, &[0])).collect();
        assert_eq!(told, []);
        let lasting = two.outages.lasting().expect("the other one is away");
        assert_eq!((&lasting.who, lasting.since), (&of(&[3], &[0]), 21 * SECOND));
        let told: Vec<OutageNews> = (0..12).flat_map(|_| two.wait(false, &[0, 1])).collect();
        assert_eq!(told, []);
        let told = two.wait(false, &[]);
        let [OutageNews::Over { who, lasted, .. }] = &told[..] else { panic!("{told:?}") };
        assert!(matches!(who, Unanswered::Leaders { leaders, .. } if leaders == &[2, 3]), "{who:?}");
        assert_eq!(*lasted, 48 * SECOND);
    }

    #[test]
    fn a_leader_is_back_although_other_workers_wait_for_a_moment() {
        let mut two = Two::new();
        let told: Vec<OutageNews> = (0..12).flat_map(|_| two.wait(false, &[1])).collect();
        assert!(matches!(&told[..], [OutageNews::Begun(_)]), "{told:?}");
        let told = two.wait(false, &[0]);
        assert!(matches!(&told[..], [OutageNews::Over { .. }]), "{told:?}");
        assert_eq!(two.outages.lasting(), None);
    }

    #[test]
    fn who_waits_anew_has_all_of_its_time() {
        let mut two = Two::new();
        (0..5).for_each(|_| drop(two.wait(true, &[0, 1])));
        assert_eq!(two.outages.lasting().expect("it lasts").gives_up, 901 * SECOND);
        // Its workers leave, or are told to pause.
        let now = two.now + 950 * SECOND;
        assert_eq!(two.outages.look(&[], now), []);
        assert_eq!(two.outages.lasting().expect("none was answered").gives_up, now + 900 * SECOND);
    }

    #[test]
    fn a_worker_that_connects_is_an_answer() {
        let mut outages = Outages::new(20 * SECOND, 8);
        let look = |outages: &mut Outages, started: bool, now: u32| {
            let no_answer = (!started).then(|| Box::new(NoAnswer { silent: now * SECOND, all: true, ..NoAnswer::default() }));
            let progress = Progress { no_answer, ..Progress::default() };
            let attempt = AttemptId { shard: ShardId(0), number: 1 };
            let view = AttemptView { attempt, slot: 0, started, progress: &progress, ahead: Counts::default() };
            outages.look(&[view], now * SECOND)
        };
        assert_eq!(look(&mut outages, false, 1), []);
        assert!(matches!(&look(&mut outages, false, 5)[..], [OutageNews::Begun(_)]));
        let lasted = 6 * SECOND;
        assert_eq!(look(&mut outages, true, 6), [OutageNews::Over { who: Unanswered::All, lasted, lines: 0 }]);
    }
}
