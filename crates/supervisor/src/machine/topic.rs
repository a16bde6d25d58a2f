//! What a change of the topic means for the workers that run. What it means for the job is `migration::bound_topic`.

use std::time::Duration;

use migration::{Cause, Consequence, Level, TopicChange};

use super::attempt::clean;
use super::stage::Stage;
use super::values::Action;
use super::{Machine, log};

impl Machine {
    /// A worker or the helper that watches the topic saw that it is not as it was when the job began.
    pub(super) fn topic_changed(&mut self, change: TopicChange, now: Duration, out: &mut Vec<Action>) {
        let Some(topic) = &self.rules.topic else { return };
        let text = clean(&topic.tell(&change));
        match topic.consequence(&change) {
            Consequence::Warn if self.told.as_ref() == Some(&change) => {}
            Consequence::Warn => {
                log(out, Level::Warning, text, true);
                self.told = Some(change);
            }
            Consequence::Stop => self.stop(Cause::Preflight, &text, now, out),
            Consequence::Gone => self.topic_is_gone(&text, now, out),
        }
    }

    /// Whatever is sent from now on does not arrive in the job's topic: no worker is given time for it.
    pub(super) fn topic_is_gone(&mut self, reason: &str, now: Duration, out: &mut Vec<Action>) {
        self.stop(Cause::Preflight, reason, now, out);
        if self.stage < (Stage::Killing { leave_at: Duration::ZERO }) {
            self.kill_all(reason, now, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use migration::{BoundTopic, Exit, Failure, FailureKind, SeenTopic, ShardId, TopicChange, WorkerEvent};

    use super::super::values::{AttemptId, Ended, Ending, Input, Rules};
    use super::*;
    use crate::machine::tests::world::{SECOND, World, rules};

    const ADDED: TopicChange = TopicChange::Added { was: 3, is: 7 };

    fn bound(keyed: bool, added_accepted: bool) -> Rules {
        let topic = BoundTopic { name: "t".into(), id: Some("A".into()), partitions: 3, keyed, added_accepted };
        Rules { topic: Some(topic), ..rules(2) }
    }

    fn made_again() -> TopicChange {
        TopicChange::MadeAgain { was: "A".into(), is: "B".into() }
    }

    /// A machine with two workers, both told to work on.
    fn working(rules: Rules) -> Machine {
        let mut machine = Machine::new(rules, &crate::machine::tests::world::fresh(2), 1);
        machine.on(Input::Tick, Duration::ZERO);
        for shard in 0..2 {
            let seen = SeenTopic { id: Some("A".into()), partitions: 3 };
            let actions = started(&mut machine, shard, seen);
            assert_eq!((killed(&actions), drained(&actions)), (0, 0), "{actions:?}");
        }
        machine
    }

    fn id(shard: u32) -> AttemptId {
        AttemptId { shard: ShardId(shard), number: 1 }
    }

    fn started(machine: &mut Machine, shard: u32, seen: SeenTopic) -> Vec<Action> {
        machine.on(
            Input::Event {
                attempt: id(shard),
                event: WorkerEvent::Started(migration::Started { topic: seen, ..Default::default() }),
            },
            SECOND,
        )
    }

    fn killed(actions: &[Action]) -> usize {
        actions.iter().filter(|action| matches!(action, Action::Kill(_))).count()
    }

    fn drained(actions: &[Action]) -> usize {
        actions.iter().filter(|action| matches!(action, Action::Tell(_, control) if control.drain)).count()
    }

    /// How the run ends once its workers are reaped, and that is on disk.
    fn end(machine: &mut Machine) -> Ended {
        let mut last = Vec::new();
        for shard in 0..2 {
            last.extend(machine.on(Input::Ended { attempt: id(shard), ending: Ending::Signal(9) }, SECOND));
            last.extend(machine.on(Input::Closed { attempt: id(shard), split: None }, SECOND));
        }
        match last.into_iter().find_map(|action| if let Action::End(ended) = action { Some(ended) } else { None }) {
            Some(ended) => ended,
            None => panic!("it has not ended"),
        }
    }

    #[test]
    fn a_topic_that_is_gone_ends_the_job_at_once() {
        for change in [TopicChange::Deleted, made_again()] {
            let mut machine = working(bound(true, true));
            let actions = machine.on(Input::Topic(change), SECOND);
            assert_eq!((killed(&actions), drained(&actions)), (2, 0), "nothing more is sent: {actions:?}");
            let ended = end(&mut machine);
            assert_eq!(ended.causes.exit(), Exit::Preflight);
            assert!(ended.causes.reasons()[0].starts_with("topic t was deleted"), "{:?}", ended.causes);
        }
    }

    #[test]
    fn a_worker_that_finds_another_topic_ends_the_job() {
        // It says so itself, or its `Started` does.
        let mut machine = working(bound(true, false));
        let failure = Failure::new(FailureKind::Topic, "topic t was deleted and made again (its id was A, is B)");
        machine.on(Input::Event { attempt: id(0), event: WorkerEvent::Failed(failure) }, SECOND);
        let actions = machine.on(Input::Ended { attempt: id(0), ending: Ending::Code(1) }, SECOND);
        assert_eq!((killed(&actions), drained(&actions)), (1, 0), "{actions:?}");
        let mut other = working(bound(true, false));
        let actions = started(&mut other, 1, SeenTopic { id: Some("B".into()), partitions: 3 });
        assert_eq!(killed(&actions), 2, "{actions:?}");
        assert_eq!(end(&mut machine), end(&mut other), "one reason, wherever it was found");
    }

    #[test]
    fn added_partitions_stop_a_job_with_keys_and_are_told_once_without() {
        for (keyed, accepted, stops) in [(true, false, true), (true, true, false), (false, false, false)] {
            let mut machine = working(bound(keyed, accepted));
            let actions = machine.on(Input::Topic(ADDED), SECOND);
            assert_eq!((drained(&actions), killed(&actions)), (if stops { 2 } else { 0 }, 0), "{keyed} {accepted}");
            assert_eq!(machine.stopping(), stops);
            let told = |actions: &[Action]| actions.iter().filter(|action| matches!(action, Action::Log { .. })).count();
            assert_eq!(told(&actions), 1, "{actions:?}");
            let again = started(&mut machine, 1, SeenTopic { id: Some("A".into()), partitions: 7 });
            assert_eq!(told(&again), 0, "{again:?}");
            if stops {
                assert_eq!(end(&mut machine).causes.exit(), Exit::Preflight);
            }
        }
    }

    #[test]
    fn the_rest_of_a_job_with_accepted_partitions_is_sent() {
        let mut world = World::new(1, 4, 10, bound(true, true));
        world.give(Input::Topic(ADDED));
        world.be_good(1000);
        assert_eq!(world.ended.map(|ended| ended.causes.exit()), Some(Exit::Done));
    }
}
