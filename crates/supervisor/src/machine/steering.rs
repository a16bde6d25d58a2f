//! What a user asks of a running job: other slots, a pause, another limit. What each wish changes, which wish can't be
//! taken, and how the job stands afterwards.

use std::time::Duration;

use migration::Rate;
use migration::steer::{Scale, Standing, Steer};
use migration::units::{show_count, show_size, show_things};

use super::search::SlotSearch;
use super::{Action, Machine};

impl Machine {
    /// Why a wish can't be taken, if so: the machine leaves such a one alone.
    pub fn objection(&self, steer: &Steer) -> Option<String> {
        if self.stopping() {
            return Some("the job is stopping: nothing that is asked has an effect any more".to_owned());
        }
        match *steer {
            Steer::Scale(scale) => self.scale_objection(scale),
            Steer::Throttle { records: None, bytes: None } => Some("neither limit is named".to_owned()),
            Steer::Throttle { records, bytes } => {
                let wrong = [records, bytes].into_iter().flatten().any(|rate| rate.is_nan() || rate <= 0.0);
                wrong.then(|| "a limit is above 0; pause the job to send nothing".to_owned())
            }
            Steer::Pause | Steer::Continue => None,
        }
    }

    fn scale_objection(&self, scale: Scale) -> Option<String> {
        let most = self.rules.most_slots;
        let wanted = self.wanted_slots(scale);
        if most == 1 {
            return Some("the job runs in one process (--single); run it without --single to have workers".to_owned());
        }
        if wanted == 0 {
            return Some("a job has at least 1 worker; pause it to send nothing".to_owned());
        }
        (wanted > u64::from(most))
            .then(|| format!("{} workers are more than the {} that can run here", show_count(wanted), show_count(most.into())))
    }

    /// How many workers a wish means.
    pub fn wanted_slots(&self, scale: Scale) -> u64 {
        let slots = u64::from(self.rules.slots);
        match scale {
            Scale::To(n) => n.into(),
            Scale::Up(n) => slots + u64::from(n),
            Scale::Down(n) => slots.saturating_sub(n.into()).max(1),
            Scale::Auto => u64::from(self.rules.auto_slots.clamp(1, self.rules.most_slots)),
        }
    }

    /// How the job stands.
    pub fn standing(&self) -> Standing {
        let admitted = || self.attempts.values().filter(|a| a.alive() && !a.held);
        let leaving = admitted().filter(|a| a.surplus).count();
        let staying = admitted().filter(|a| !a.surplus).count();
        let early = self.attempts.values().filter(|a| a.held).count();
        Standing {
            asked: self.rules.slots,
            running: staying as u32,
            leaving: leaving as u32,
            waiting: (self.ready.len() + self.delayed.len() + early) as u64,
            paused: self.paused,
            rate: self.rules.rate,
            stopping: self.stopping(),
            counts: self.totals.counts,
            fewer: self.fewer(),
        }
    }

    /// Takes a wish. One that changes nothing leaves no trace.
    pub(super) fn steer(&mut self, steer: Steer, now: Duration, out: &mut Vec<Action>) {
        if self.objection(&steer).is_some() {
            return;
        }
        let text = match steer {
            Steer::Scale(scale) => self.scale(scale, now),
            Steer::Pause => (!std::mem::replace(&mut self.paused, true)).then(|| "paused".to_owned()),
            Steer::Continue => self.end_pause().then(|| "continued".to_owned()),
            Steer::Throttle { records, bytes } => self.throttle(records, bytes),
        };
        out.extend(text.map(Action::Steered));
    }

    /// A number ends a search for one. `auto` begins a search, if none is under way or watches over what it found.
    fn scale(&mut self, scale: Scale, now: Duration) -> Option<String> {
        let searched = self.search.is_some();
        if scale == Scale::Auto && searched {
            return None;
        }
        let wanted = u32::try_from(self.wanted_slots(scale)).ok()?;
        self.search = (scale == Scale::Auto).then(|| SlotSearch::new(wanted, self.rules.most_auto_slots, now));
        let before = std::mem::replace(&mut self.rules.slots, wanted);
        (self.shortage, self.fork_failures) = (None, 0);
        match scale {
            Scale::Auto => Some(format!("scaled {before} -> auto, from {} on", show_things(wanted.into(), "worker"))),
            _ if before == wanted && searched => Some(format!("stays at {}", show_things(wanted.into(), "worker"))),
            _ => (before != wanted).then(|| format!("scaled {before} -> {wanted}")),
        }
    }

    fn end_pause(&mut self) -> bool {
        self.rules.paused = false;
        // No worker tried meanwhile.
        self.shards.iter_mut().for_each(|shard| shard.unreachable_since = None);
        std::mem::replace(&mut self.paused, false)
    }

    fn throttle(&mut self, records: Option<f64>, bytes: Option<f64>) -> Option<String> {
        let Rate { records: r, bytes: b } = self.rules.rate;
        let new = Rate { records: records.unwrap_or(r), bytes: bytes.unwrap_or(b) };
        let before = std::mem::replace(&mut self.rules.rate, new);
        (before != new).then(|| show_rate(new))
    }
}

/// "throttled to 50,000 records/s and 20.0 MiB/s".
fn show_rate(rate: Rate) -> String {
    let records = rate.records.is_finite().then(|| format!("{} records/s", show_number(rate.records)));
    let bytes = rate.bytes.is_finite().then(|| format!("{}/s", show_size(rate.bytes as u64)));
    let limits: Vec<String> = [records, bytes].into_iter().flatten().collect();
    if limits.is_empty() { "throttle taken away".to_owned() } else { format!("throttled to {}", limits.join(" and ")) }
}

/// A whole number as one, a small fraction with its digits.
fn show_number(number: f64) -> String {
    if number < 10.0 && number.fract() != 0.0 { number.to_string() } else { show_count(number.round() as u64) }
}
