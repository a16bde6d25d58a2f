//! What is asked of a run from outside: by a command over the control socket, or by a signal.

use std::time::Duration;

use migration::Level;
use migration::steer::Steer;

use super::{Driver, Hands};
use crate::control::{Answer, Request, Steered};
use crate::machine::Input;
use crate::setup::no_room;
use crate::watch::Snapshot;

/// A run and the hands that hold its workers: what can be steered.
pub(crate) struct DriverWithHands<'a, 'b> {
    driver: &'a mut Driver<'b>,
    hands: &'a mut dyn Hands,
}

impl Steered for DriverWithHands<'_, '_> {
    fn now(&self) -> Duration {
        self.driver.now()
    }

    fn obey(&mut self, request: Request) -> Answer {
        self.driver.obey(request, self.hands)
    }

    fn snapshot(&self) -> Snapshot {
        self.driver.snapshot()
    }
}

impl<'a> Driver<'a> {
    /// The same with the hands that hold its workers.
    pub(crate) fn with<'b>(&'b mut self, hands: &'b mut dyn Hands) -> DriverWithHands<'b, 'a> {
        DriverWithHands { driver: self, hands }
    }

    /// Does what a command asks, and gives the answer.
    fn obey(&mut self, request: Request, hands: &mut dyn Hands) -> Answer {
        match request {
            Request::Steer(steer) => match self.machine.objection(&steer).or_else(|| self.no_room(&steer)) {
                Some(objection) => Answer::Refused(objection),
                None => {
                    self.give(Input::Steer(steer), hands);
                    Answer::Standing(self.machine.standing())
                }
            },
            Request::State | Request::Watch => Answer::State(Box::new(self.snapshot().without_details())),
        }
    }

    /// Why the system has no room for the workers that a wish adds, as far as that is certain.
    fn no_room(&self, steer: &Steer) -> Option<String> {
        let Steer::Scale(scale) = steer else { return None };
        no_room(self.machine.wanted_slots(*scale).saturating_sub(self.machine.attempts().len() as u64))
    }

    /// Takes a signal that steers; what can't be done is said in the log, because a signal has no answer.
    pub(crate) fn steer_by_signal(&mut self, name: &str, steer: Steer, hands: &mut dyn Hands) {
        if let Answer::Refused(objection) = self.obey(Request::Steer(steer), hands) {
            self.watcher.log(Level::Warning, &format!("{name}: {objection}"));
        }
    }
}
