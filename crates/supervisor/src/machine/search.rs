//! How many workers `workers.count = "auto"` means: found by trying. A job that waits for far brokers wants far more
//! workers than there are processors, one that computes wants no more, and neither is known before it runs.
//!
//! Responsible for when another number is tried, and for what is made of its rate. It begins with the processors and
//! doubles while a doubling makes the whole job at least a tenth faster; where more workers made it slower, it tries
//! fewer. Then it is quiet, until the rate falls by a quarter. Not responsible for how the number comes about: it gives
//! the machine another one, as `scale` does. It has no clock: `now` is the time since the run began.

use std::time::Duration;

use migration::WaitingFor;
use migration::units::{show_count, show_things};

use super::attempt::Attempt;
use super::values::Action;
use super::{Machine, Stage};

/// A doubling pays from this gain on.
const WORTH_A_DOUBLING: f64 = 1.1;
/// More workers that bring less than this made it worse: perhaps fewer are better.
const WORSE: f64 = 0.9;
/// Within this factor of what decides, a rate is measured for twice the time.
const DOUBT: f64 = 1.12;
/// A rate that falls below this part of what it was is a reason to search again.
const FALLEN: f64 = 0.75;

/// How long the rate of a number is measured,
const WINDOW: Duration = Duration::from_millis(1_500);
/// from this time on after as many workers were connected: their first chunks all begin at once.
const SETTLES: Duration = Duration::from_millis(500);
/// When fewer have connected by then, the rate is that of those.
const SETTLES_BY: Duration = Duration::from_secs(8);
/// How long the rate is measured once the number is found.
const WATCH: Duration = Duration::from_secs(5);
/// In a row below what it was, these are no accident.
const FALLEN_WINDOWS: u32 = 2;
/// Searches are this far apart at least, and twice as far after each one that found what was there before.
const QUIET: Duration = Duration::from_secs(30);
/// At most.
const QUIETEST: Duration = Duration::from_secs(600);
/// With less left than this (seconds) it doesn't pay.
const WORTH_A_TRY: f64 = 10.0;
/// A look is taken this often: workers tell five times a second.
const LOOK: Duration = Duration::from_millis(200);

/// What a search sees of the run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sight {
    pub(super) now: Duration,
    /// Records acknowledged in this run.
    pub(super) acknowledged: u64,
    /// Which part of the dataset is through, 0 to 1; `None`: that is not known.
    pub(super) through: Option<f64>,
    /// How many workers may run.
    pub(super) slots: u32,
    /// How many are connected and stay.
    pub(super) working: u32,
    /// For how many there is something to do.
    pub(super) room: u32,
    /// Whether the rate now says something: neither paused nor without brokers.
    pub(super) telling: bool,
    /// Whether the job's limit holds the workers back.
    pub(super) limited: bool,
}

/// Another number, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Move {
    pub(super) to: u32,
    pub(super) why: String,
}

/// A number of workers and its rate (records a second).
#[derive(Clone, Copy, Debug, PartialEq)]
struct Tried {
    workers: u32,
    rate: f64,
}

/// What is measured now.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Goal {
    /// The number that the search begins with.
    Base,
    /// A larger one.
    More,
    /// A smaller one.
    Fewer,
    /// The one that was found: what a fall is measured by, and how many windows in a row were below.
    Watch { usual: Option<f64>, low: u32 },
}

/// A measurement.
#[derive(Clone, Copy, Debug)]
struct Trial {
    /// When the number was asked for.
    asked: Duration,
    /// When as many were connected.
    settled: Option<Duration>,
    /// When it began, with how many records and which part through.
    begun: Option<(Duration, u64, Option<f64>)>,
    /// Measured for twice the time.
    again: bool,
}

impl Trial {
    fn new(asked: Duration) -> Trial {
        Trial { asked, settled: None, begun: None, again: false }
    }
}

/// A search, and the quiet after it.
#[derive(Clone, Debug)]
pub(super) struct SlotSearch {
    /// No more than this are tried.
    most: u32,
    /// The number that is asked for, as far as this search knows.
    asked: u32,
    goal: Goal,
    trial: Trial,
    /// The best number so far.
    best: Option<Tried>,
    /// Whether a larger number paid in this search.
    climbed: bool,
    /// What the last trial brought, or why this search began.
    because: String,
    /// What the search before found.
    found: Option<u32>,
    /// For how long it is quiet after this search, and when the next may begin.
    quiet: Duration,
    not_before: Duration,
}

impl SlotSearch {
    /// One that begins with `slots` workers and tries no more than `most`.
    pub(super) fn new(slots: u32, most: u32, now: Duration) -> SlotSearch {
        SlotSearch {
            most: most.max(slots),
            asked: slots,
            goal: Goal::Base,
            trial: Trial::new(now),
            best: None,
            climbed: false,
            because: String::new(),
            found: None,
            quiet: QUIET,
            not_before: Duration::ZERO,
        }
    }

    /// Looks at the run; gives another number when it is time for one.
    pub(super) fn look(&mut self, sight: &Sight) -> Option<Move> {
        if sight.slots != self.asked {
            // There are no processes for more.
            (self.most, self.asked) = (sight.slots, sight.slots);
            return self.settle_on(sight.slots, sight.now);
        }
        let over = self.measure(sight)?;
        let (_, acknowledged, through) = self.trial.begun?;
        let rate = sight.acknowledged.saturating_sub(acknowledged) as f64 / over.as_secs_f64();
        let tried = Tried { workers: sight.slots, rate };
        if let Goal::Watch { usual, low } = self.goal {
            self.watch(usual, low, tried, sight);
            return None;
        }
        if sight.limited {
            // A rate that is the limit's says nothing of the number.
            return self.settle_on(self.best.map_or(sight.slots, |best| best.workers), sight.now);
        }
        let worth_it = seconds_left(sight.through, through, over) >= WORTH_A_TRY;
        self.judge(tried, worth_it, sight)
    }

    /// Goes on measuring; gives the time that it took when it is over.
    fn measure(&mut self, sight: &Sight) -> Option<Duration> {
        let trial = &mut self.trial;
        if !sight.telling {
            *trial = Trial::new(sight.now);
            return None;
        }
        let late = sight.now.saturating_sub(trial.asked) >= SETTLES_BY;
        if trial.settled.is_none() && (sight.working == 0 || sight.working < sight.slots && !late) {
            return None;
        }
        let settled = *trial.settled.get_or_insert(sight.now);
        if sight.now.saturating_sub(settled) < SETTLES {
            return None;
        }
        let (begun, ..) = *trial.begun.get_or_insert((sight.now, sight.acknowledged, sight.through));
        let over = sight.now.saturating_sub(begun);
        let wanted = match self.goal {
            Goal::Watch { .. } => WATCH,
            _ if trial.again => 2 * WINDOW,
            _ => WINDOW,
        };
        (over >= wanted).then_some(over)
    }

    /// What the rate of a number means. `worth_it`: more workers can help what is left.
    fn judge(&mut self, tried: Tried, worth_it: bool, sight: &Sight) -> Option<Move> {
        let Some(best) = self.best else { return self.go_up(tried, worth_it, sight) };
        let (gain, needed) = (tried.rate / best.rate.max(1e-9), needed(best.workers, tried.workers));
        if !self.trial.again && gain < needed * DOUBT && gain > needed / DOUBT {
            self.trial.again = true;
            return None;
        }
        self.because = format!("{} brought {gain:.2}x", show_count(tried.workers.into()));
        match (self.goal, gain >= needed) {
            (Goal::Fewer, true) => self.go_down(tried, sight),
            (_, true) => {
                self.climbed = true;
                self.go_up(tried, worth_it, sight)
            }
            (Goal::More, false) if gain < WORSE && !self.climbed => self.go_down(best, sight),
            (_, false) => self.settle_on(best.workers, sight.now),
        }
    }

    fn go_up(&mut self, from: Tried, worth_it: bool, sight: &Sight) -> Option<Move> {
        self.best = Some(from);
        let to = from.workers.saturating_mul(2).min(self.most).min(sight.room);
        if to <= from.workers || !worth_it {
            return self.settle_on(from.workers, sight.now);
        }
        self.goal = Goal::More;
        self.move_to(to, sight.now)
    }

    fn go_down(&mut self, from: Tried, sight: &Sight) -> Option<Move> {
        self.best = Some(from);
        if from.workers == 1 {
            return self.settle_on(1, sight.now);
        }
        self.goal = Goal::Fewer;
        self.move_to(from.workers / 2, sight.now)
    }

    /// The search is over.
    fn settle_on(&mut self, workers: u32, now: Duration) -> Option<Move> {
        self.quiet = if self.found == Some(workers) { QUIETEST.min(2 * self.quiet) } else { QUIET };
        (self.found, self.not_before) = (Some(workers), now + self.quiet);
        self.goal = Goal::Watch { usual: None, low: 0 };
        self.move_to(workers, now)
    }

    fn move_to(&mut self, to: u32, now: Duration) -> Option<Move> {
        self.trial = Trial::new(now);
        let from = std::mem::replace(&mut self.asked, to);
        (from != to).then(|| Move { to, why: self.because.clone() })
    }

    /// The number was found: a rate that stays below what it was begins another search.
    fn watch(&mut self, usual: Option<f64>, low: u32, seen: Tried, sight: &Sight) {
        (self.trial.begun, self.trial.again) = (Some((sight.now, sight.acknowledged, sight.through)), false);
        // Near the end there is less to do; and while no broker answers, no number helps.
        if sight.working < sight.slots || sight.limited || seen.rate == 0.0 {
            return;
        }
        let usual = usual.map_or(seen.rate, |usual| usual.max(seen.rate));
        let low = if seen.rate < FALLEN * usual { low + 1 } else { 0 };
        self.goal = Goal::Watch { usual: Some(usual), low };
        if low >= FALLEN_WINDOWS && sight.now >= self.not_before {
            let (was, is) = (show_count(usual.round() as u64), show_count(seen.rate.round() as u64));
            self.because = format!("the rate fell from {was} to {is} records/s");
            (self.goal, self.best, self.climbed) = (Goal::Base, None, false);
            self.trial = Trial::new(sight.now);
        }
    }
}

/// Which gain another number must bring: a doubling a tenth, a part of one its part, and fewer workers no loss.
fn needed(from: u32, to: u32) -> f64 {
    let doublings = (f64::from(to) / f64::from(from.max(1))).log2();
    if doublings > 0.0 { WORTH_A_DOUBLING.powf(doublings) } else { 1.0 }
}

/// How long the rest takes at this pace, in seconds.
fn seconds_left(through: Option<f64>, before: Option<f64>, over: Duration) -> f64 {
    match (through, before) {
        (Some(through), Some(before)) if through > before => (1.0 - through) / (through - before) * over.as_secs_f64(),
        _ => f64::INFINITY,
    }
}

impl Machine {
    /// Tries another number of workers, if the job is to find it and it is time.
    pub(super) fn search_for_slots(&mut self, now: Duration, out: &mut Vec<Action>) {
        if self.search.is_none() || self.stage != Stage::Working {
            return;
        }
        let sight = self.sight(now);
        let Some(Move { to, why }) = self.search.as_mut().and_then(|search| search.look(&sight)) else { return };
        let from = std::mem::replace(&mut self.rules.slots, to);
        let why = if why.is_empty() { why } else { format!(": {why}") };
        let workers = show_things(to.into(), "worker");
        out.push(Action::Steered(format!("auto: {} -> {workers}{why}", show_count(from.into()))));
    }

    /// When a search wants to look again.
    pub(super) fn next_search(&self) -> Option<Duration> {
        let looks = self.search.is_some() && self.stage == Stage::Working && !self.attempts.is_empty();
        looks.then(|| self.last_input + LOOK)
    }

    fn sight(&self, now: Duration) -> Sight {
        let staying = || self.attempts.values().filter(|attempt| attempt.alive() && !attempt.held && !attempt.surplus);
        let waiting = self.ready.len() + self.delayed.len() + self.closing.len();
        let ahead: u64 = self.attempts.values().map(|attempt| attempt.ahead().acknowledged).sum();
        let all = self.totals.counts.acknowledged + ahead;
        let bytes = self.totals.bytes;
        Sight {
            now,
            acknowledged: all.saturating_sub(self.taken_over.acknowledged),
            through: (bytes > 0).then(|| self.bytes_done() as f64 / bytes as f64),
            slots: self.rules.slots,
            working: staying().filter(|attempt| attempt.started).count() as u32,
            room: (self.attempts.len() + waiting) as u32,
            telling: !self.paused && !staying().any(Attempt::has_no_broker),
            limited: self.sharing.is_limited(now),
        }
    }
}

impl Attempt {
    fn has_no_broker(&self) -> bool {
        matches!(self.progress.waiting_for, Some(WaitingFor::Broker))
    }
}

#[cfg(test)]
mod tests;
