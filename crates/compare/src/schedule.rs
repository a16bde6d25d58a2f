//! In which order the runs take place: round by round, each round in another order, so that a machine that grows slower
//! hits all settings alike.

/// One run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// From 1.
    pub(crate) round: u32,
    /// What runs.
    pub(crate) subject: Subject,
}

/// What runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// A setting, by its index.
    Setting(u32),
    /// The reference without waits and CPU for each record: what the model's flush is measured with.
    Apart,
}

/// All runs in order.
pub(crate) fn schedule(settings: usize, apart: bool, rounds: u32) -> Vec<Run> {
    let subjects: Vec<Subject> = (0..settings as u32).map(Subject::Setting).chain(apart.then_some(Subject::Apart)).collect();
    (1..=rounds).flat_map(|round| of_round(&subjects, round, rounds)).collect()
}

/// Each round begins elsewhere, and every other one goes backwards: no setting always follows the same one.
fn of_round(subjects: &[Subject], round: u32, rounds: u32) -> Vec<Run> {
    let first = subjects.len() * (round as usize - 1) / rounds.max(1) as usize;
    let turned = subjects[first..].iter().chain(&subjects[..first]).map(|&subject| Run { round, subject });
    let mut runs: Vec<Run> = turned.collect();
    if round.is_multiple_of(2) {
        runs.reverse();
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_round_has_every_subject_once() {
        let runs = schedule(5, true, 3);
        for round in 1..=3 {
            let mut seen: Vec<Subject> = runs.iter().filter(|run| run.round == round).map(|run| run.subject).collect();
            seen.sort_by_key(|subject| match subject {
                Subject::Setting(index) => *index,
                Subject::Apart => u32::MAX,
            });
            let all: Vec<Subject> = (0..5).map(Subject::Setting).chain([Subject::Apart]).collect();
            assert_eq!(seen, all, "round {round}");
        }
        assert!(runs.windows(2).all(|pair| pair[0].round <= pair[1].round), "rounds follow each other");
    }

    #[test]
    fn each_round_has_another_order() {
        let order = |round| -> Vec<Subject> {
            schedule(7, false, 3).iter().filter(|run| run.round == round).map(|run| run.subject).collect()
        };
        assert!(order(1) != order(2) && order(2) != order(3) && order(1) != order(3));
        assert_eq!(schedule(1, false, 1), [Run { round: 1, subject: Subject::Setting(0) }]);
    }
}
