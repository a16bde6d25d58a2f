//! The helper process that watches a job's topic while its workers send: the supervisor has no client of its own.
//!
//! Responsible for: a look every 10 s, one on demand before a run ends with 0, and that the helper's end is never a
//! run's. Not responsible for: what a change means (`migration::bound_topic`) or what follows (the supervisor's
//! machine).

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use kafka::TopicLook;
use migration::{BoundTopic, Exit, Job, TopicChange, UserError};
use process::{ChildEnds, HelperOptions, Interest, RunningHelper, Told};
use serde::{Deserialize, Serialize};

use crate::helper;
use crate::interrupt::Interrupt;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(10);
/// How long the brokers have for an answer to one look.
const ANSWER: Duration = Duration::from_secs(5);
/// How long the brokers have for the last look of a run, as long as `kafka.give_up_after` is not shorter.
const LAST_ANSWER: Duration = Duration::from_secs(20);
/// How long the helper may take to end; it keeps nothing that could be lost.
const PATIENCE: Duration = Duration::from_millis(100);

/// What the helper says: a line of JSON each.
#[derive(Debug, Serialize, Deserialize)]
struct Said {
    /// Whether it was asked.
    asked: bool,
    look: TopicLook,
}

/// The watching helper, seen from the supervisor's process. Dropping it ends the helper.
#[derive(Debug)]
pub struct TopicWatcher {
    helper: Option<RunningHelper>,
    heard: Vec<u8>,
    /// The last change that was news.
    told: Option<TopicChange>,
}

impl TopicWatcher {
    /// Starts the helper. `reached`: where each partition ends at least.
    pub fn start(job: &Job, bound: &BoundTopic, reached: &[i64]) -> Result<TopicWatcher, UserError> {
        let options = HelperOptions { timeout: Some(LAST_ANSWER), ..HelperOptions::named("shardlift topic") };
        let helper = process::start_helper(&options, |ends| watch(&ends, job, bound, reached))
            .map_err(|error| helper::not_started("the topic can't be watched", error))?;
        Ok(TopicWatcher { helper: Some(helper), heard: Vec::new(), told: None })
    }

    /// What the helper found by itself since the last call; does not wait.
    pub fn news(&mut self) -> Vec<TopicChange> {
        let news: Vec<TopicChange> =
            self.hear().into_iter().filter(|said| !said.asked).filter_map(|said| changed(said.look)).collect();
        self.told = news.last().cloned().or(self.told.take());
        news
    }

    /// Whether a change was the last news.
    pub fn has_told(&self, change: &TopicChange) -> bool {
        self.told.as_ref() == Some(change)
    }

    /// Whether a child that ended was the helper. The job goes on without it: the last look is made anew.
    pub fn has_ended(&mut self, pid: i32) -> bool {
        let own = self.helper.as_ref().is_some_and(|helper| helper.pid.as_raw() == pid);
        if own {
            self.helper = None;
        }
        own
    }

    /// The last look, before a run ends with 0.
    pub fn last_look(&mut self, job: &Job, bound: &BoundTopic, reached: &[i64], interrupt: &Interrupt) -> TopicLook {
        let deadline = Instant::now() + LAST_ANSWER.min(job.kafka.give_up_after);
        if self.helper.is_some()
            && let Some(look) = self.ask(deadline, interrupt)
        {
            return look;
        }
        let left = deadline.saturating_duration_since(Instant::now()).max(ANSWER);
        helper::ask("shardlift topic", Some(interrupt), || {
            let watch = kafka::TopicWatch::new(job, bound, reached.to_vec());
            watch.map(|mut watch| watch.look(left)).map_err(|error| UserError::new(Exit::Internal, error))
        })
        .unwrap_or_else(|error| TopicLook::Unanswered(error.message))
    }

    /// Asks the running helper until the brokers answer or the time is up. `None`: the helper is gone.
    fn ask(&mut self, deadline: Instant, interrupt: &Interrupt) -> Option<TopicLook> {
        self.helper.as_ref()?.tell(b"?").ok()?;
        loop {
            for said in self.hear() {
                match said.look {
                    TopicLook::Unanswered(_) if said.asked && Instant::now() < deadline => {
                        self.helper.as_ref()?.tell(b"?").ok()?;
                    }
                    look if said.asked || changed(look.clone()).is_some() => return Some(look),
                    _ => {}
                }
            }
            let helper = self.helper.as_ref()?;
            let left = deadline.saturating_duration_since(Instant::now());
            let entries = [(false, helper.events(), Interest::Read), (true, interrupt.as_fd(), Interest::Read)];
            let ready = process::poll(&entries, Some(left)).ok()?;
            if ready.iter().any(|ready| ready.token) {
                return Some(TopicLook::Unanswered("stopped by a signal".to_owned()));
            }
            if ready.is_empty() {
                return Some(TopicLook::Unanswered(format!("no answer within {:?}", LAST_ANSWER)));
            }
        }
    }

    fn hear(&mut self) -> Vec<Said> {
        let Some(helper) = &self.helper else { return Vec::new() };
        // Its end is told by its being reaped; here it only says nothing more.
        if !helper.hear(&mut self.heard).unwrap_or(false) {
            self.helper = None;
        }
        let Some(end) = self.heard.iter().rposition(|byte| *byte == b'\n') else { return Vec::new() };
        let lines: Vec<u8> = self.heard.drain(..=end).collect();
        lines.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
    }
}

impl Drop for TopicWatcher {
    fn drop(&mut self) {
        if let Some(helper) = self.helper.take() {
            // Whatever goes wrong here, the helper dies with this process.
            drop(helper.stop(PATIENCE));
        }
    }
}

fn changed(look: TopicLook) -> Option<TopicChange> {
    match look {
        TopicLook::Changed(change) => Some(change),
        TopicLook::Same | TopicLook::Unanswered(_) => None,
    }
}

/// The helper's part.
fn watch(ends: &ChildEnds, job: &Job, bound: &BoundTopic, reached: &[i64]) -> u8 {
    let Ok(mut out) = ends.events.try_clone().map(File::from) else { return 1 };
    let mut topic = match kafka::TopicWatch::new(job, bound, reached.to_vec()) {
        Ok(topic) => topic,
        Err(error) => {
            drop(writeln!(std::io::stderr(), "error: {error}"));
            return 1;
        }
    };
    if writeln!(out, "ready").is_err() {
        return 1;
    }
    let mut told = None;
    loop {
        let asked = match ends.wait_for_word(EVERY) {
            Told::Closed => break,
            Told::Something => true,
            Told::Nothing => false,
        };
        let look = topic.look(ANSWER);
        let change = changed(look.clone());
        if !asked && (change.is_none() || change == told) {
            continue;
        }
        told = change;
        let Ok(line) = serde_json::to_string(&Said { asked, look }) else { return 1 };
        if writeln!(out, "{line}").is_err() {
            break;
        }
    }
    // Ending a client takes its time, and this process ends right after.
    std::mem::forget(topic);
    0
}
