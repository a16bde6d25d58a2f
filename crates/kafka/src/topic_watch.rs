//! Watching a job's topic while its workers send: for a helper process, with a client of its own.
//!
//! Responsible for: one look, and where brokers tell no topic id, whether a partition ends before an offset that it had
//! reached. Not responsible for: when to look, what follows, or the process. It creates a client, hence threads.

use std::rc::Rc;
use std::time::{Duration, Instant};

use migration::bound_topic::went_back;
use migration::{BoundTopic, Job, TopicChange};

use crate::ffi::{Client, ClientKind};
use crate::options::{Role, client_properties, configure};
use crate::topic_probe::{TopicLook, TopicProbe};
use crate::turns::Turns;

/// A second look, after a partition seemed to end too early: a new leader may know its end a little later.
const SECOND_LOOK: Duration = Duration::from_secs(1);

/// Looks at a topic again and again.
pub struct TopicWatch {
    client: Rc<Client>,
    probe: TopicProbe,
    /// The highest offset that each partition was seen to end at.
    reached: Vec<i64>,
}

impl TopicWatch {
    /// Makes the client. `reached`: where each partition of the topic ends at least. Nothing is contacted before the
    /// first look.
    pub fn new(job: &Job, bound: &BoundTopic, reached: Vec<i64>) -> Result<TopicWatch, String> {
        let conf = configure(&client_properties(job, Role::Admin))?;
        let client = conf.into_client(ClientKind::Consumer)?;
        let probe = TopicProbe::new(&client, bound).map_err(|code| format!("can't use topic {:?}: {code}", bound.name))?;
        Ok(TopicWatch { client, probe, reached })
    }

    /// Looks at the topic; the brokers have `timeout` for it.
    pub fn look(&mut self, timeout: Duration) -> TopicLook {
        let deadline = Instant::now() + timeout;
        let look = self.probe.look(timeout, &mut Turns::one(&mut || true));
        // Its log lines are those that the workers' clients have too.
        while self.client.serve(Duration::ZERO).is_some() {}
        if look != TopicLook::Same || self.probe.bound().id.is_some() {
            return look;
        }
        if self.ends_too_early(deadline).is_none() {
            return TopicLook::Same;
        }
        std::thread::sleep(SECOND_LOOK);
        self.ends_too_early(deadline + SECOND_LOOK).map_or(TopicLook::Same, TopicLook::Changed)
    }

    /// Compares each partition's end with what it had reached before; one that does not tell its end in time is left
    /// out.
    fn ends_too_early(&mut self, deadline: Instant) -> Option<TopicChange> {
        for (partition, reached) in (0u32..).zip(&mut self.reached) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            let Ok((_, end)) = self.client.watermarks(&self.probe.bound().name, partition, left) else { continue };
            let change = went_back(partition, *reached, end);
            if change.is_some() {
                return change;
            }
            *reached = end;
        }
        None
    }
}
