//! How far a comparison is: one line that is drawn again on a terminal, one each 10 s elsewhere, JSON on request.

use std::io::Write as _;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use migration::units::{show_count, show_whole_seconds};
use pipeline::verify::{Expected, VerifyProgress};
use serde_json::json;
use unicode_width::UnicodeWidthStr as _;

use crate::display::{Screen, terminal_size};
use crate::log;
use crate::ui::ProgressStyle;

/// How often a terminal is drawn.
const BARS_EVERY: Duration = Duration::from_millis(200);
const PLAIN_EVERY: Duration = Duration::from_secs(10);
const JSON_EVERY: Duration = Duration::from_secs(1);
/// Before this a reading has no rate to go by.
const ENOUGH: Duration = Duration::from_secs(1);
/// Nothing came for this time: it stands still, and nothing is said of its rest.
const STILL: Duration = Duration::from_secs(2);

/// How far all helpers together are with counting.
pub struct Counting {
    /// The source's part of each, and the topic's once it is read.
    parts: Vec<(VerifyProgress, Option<VerifyProgress>)>,
    records: u64,
    offsets: u64,
}

impl Counting {
    /// Of helpers that have all of this to read.
    pub fn new(helpers: usize, expected: &[Expected<'_>], offsets: &[u64]) -> Counting {
        let records = expected.iter().map(|expected| expected.plan.records_estimate()).sum();
        Counting { parts: vec![Default::default(); helpers], records, offsets: offsets.iter().sum() }
    }

    /// Takes what a helper says of itself, and says it of all: of the source as long as any of them reads it.
    pub fn hear(&mut self, helper: usize, at: VerifyProgress) -> VerifyProgress {
        if let Some(part) = self.parts.get_mut(helper) {
            if at.topic { part.1 = Some(at) } else { part.0 = at }
        }
        let source = || self.parts.iter().map(|(source, _)| source);
        if self.parts.iter().any(|(_, topic)| topic.is_none()) {
            let (records, done) = (source().map(|at| at.records).sum(), source().map(|at| at.done).sum());
            return VerifyProgress { records, done, of: self.records, about: true, ..VerifyProgress::default() };
        }
        let topic = || self.parts.iter().filter_map(|(_, topic)| *topic);
        let (records, done) = (topic().map(|at| at.records).sum(), topic().map(|at| at.done).sum());
        VerifyProgress { topic: true, records, done, of: self.offsets, ..VerifyProgress::default() }
    }
}

/// How far helpers are that match slices.
pub struct Matching(Vec<Option<VerifyProgress>>);

impl Matching {
    /// Of this number of helpers.
    pub fn new(helpers: usize) -> Matching {
        Matching(vec![None; helpers])
    }

    /// Takes what a helper says of itself: what is told is the one with the lowest slice.
    pub fn hear(&mut self, helper: usize, at: VerifyProgress) -> VerifyProgress {
        if let Some(known) = self.0.get_mut(helper) {
            *known = Some(at);
        }
        self.0.iter().flatten().min_by_key(|at| at.slice).copied().unwrap_or(at)
    }
}

/// Tells now and then how far a comparison is.
pub struct Teller {
    style: ProgressStyle,
    began: Instant,
    said: Option<Instant>,
    reading: Reading,
    screen: Option<Arc<Mutex<Screen>>>,
}

/// One reading of one side.
#[derive(Clone, Copy)]
struct Reading {
    began: Instant,
    moved: Instant,
    at: VerifyProgress,
}

/// What is told of a reading.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Told {
    at: VerifyProgress,
    /// Share of this reading, 0 to 1; `None`: its size is not known, or was estimated too low.
    share: Option<f64>,
    /// Records a second.
    rate: Option<f64>,
    /// The rest of this reading.
    left: Option<Duration>,
    elapsed: Duration,
}

impl Teller {
    /// One for a comparison that begins. Log lines stand above its line.
    pub fn new(style: ProgressStyle) -> Teller {
        let screen = (style == ProgressStyle::Bars).then(|| Arc::new(Mutex::new(Screen::default())));
        if let Some(screen) = &screen {
            let above = Arc::clone(screen);
            log::print_through(Some(Box::new(move |line| lock(&above).print_above(line))));
        }
        let began = Instant::now();
        Teller { style, began, said: None, reading: Reading { began, moved: began, at: VerifyProgress::default() }, screen }
    }

    /// Takes what a comparison says of itself.
    pub fn hear(&mut self, at: VerifyProgress) {
        let now = Instant::now();
        if self.reading.turn_to(at, now) && self.screen.is_some() {
            self.said = Some(now - BARS_EVERY);
        }
        let every = match self.style {
            ProgressStyle::None => return,
            ProgressStyle::Bars => BARS_EVERY,
            ProgressStyle::Plain => PLAIN_EVERY,
            ProgressStyle::Json => JSON_EVERY,
        };
        if now < *self.said.get_or_insert(now) + every {
            return;
        }
        self.said = Some(now);
        let told = self.reading.told(now, now - self.began);
        match (&self.screen, self.style) {
            (Some(screen), _) => lock(screen).draw(vec![line(&told, terminal_size().1)]),
            (None, ProgressStyle::Json) => say(&event(&told).to_string()),
            (None, _) => say(&plain(&told)),
        }
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        if let Some(screen) = self.screen.take() {
            log::print_through(None);
            lock(&screen).clear();
        }
    }
}

fn lock(screen: &Mutex<Screen>) -> MutexGuard<'_, Screen> {
    screen.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn say(line: &str) {
    // A closed stderr is no reason to stop.
    drop(writeln!(std::io::stderr(), "{line}"));
}

impl Reading {
    /// Takes what is told of it. True: it is another reading.
    fn turn_to(&mut self, at: VerifyProgress, now: Instant) -> bool {
        let same = (at.slice, at.topic, at.of) == (self.at.slice, self.at.topic, self.at.of) && at.done >= self.at.done;
        if !same {
            (self.began, self.moved) = (now, now);
        } else if at.done > self.at.done {
            self.moved = now;
        }
        self.at = at;
        !same
    }

    fn told(&self, now: Instant, elapsed: Duration) -> Told {
        let VerifyProgress { records, done, of, .. } = self.at;
        let took = now.duration_since(self.began);
        let moves = took >= ENOUGH && now.duration_since(self.moved) < STILL;
        let share = (of > 0 && done <= of).then(|| done as f64 / of as f64);
        let rate = moves.then(|| records as f64 / took.as_secs_f64());
        let rest = share.filter(|share| moves && *share > 0.0).map(|share| took.as_secs_f64() * (1.0 - share) / share);
        Told { at: self.at, share, rate, left: rest.map(Duration::from_secs_f64), elapsed }
    }
}

fn side(at: &VerifyProgress) -> &'static str {
    if at.topic { "topic" } else { "source" }
}

/// What is counted.
fn unit(at: &VerifyProgress) -> &'static str {
    if at.topic { "offsets" } else { "records" }
}

/// A time in whole seconds, at least one.
fn seconds(time: Duration) -> String {
    show_whole_seconds(time.max(Duration::from_secs(1)))
}

/// A terminal's line: what does not fit is left out, the least wanted first.
fn line(told: &Told, columns: usize) -> String {
    let at = &told.at;
    let slice = if at.slice > 0 { format!(" slice {} of {},", at.slice, at.slices) } else { String::new() };
    let mut line = format!("verify:{slice} {}", side(at));
    line += &told.share.map_or_else(String::new, |share| format!(" {:.0} %", (share * 100.0).floor()));
    let about = if at.about { "about " } else { "" };
    let parts = [
        told.rate.map(|rate| format!("{} records/s", show_count(rate as u64))),
        told.left.map(|left| format!("{about}{} left", seconds(left))),
        Some(match told.share {
            Some(_) => format!("{} of {about}{} {}", show_count(at.done), show_count(at.of), unit(at)),
            None => format!("{} {}", show_count(at.done), unit(at)),
        }),
        Some(told.elapsed).filter(|elapsed| elapsed.as_secs() > 0).map(seconds),
    ];
    for part in parts.iter().flatten() {
        let longer = format!("{line} · {part}");
        if longer.width() <= columns {
            line = longer;
        }
    }
    line
}

/// A line that can be searched.
fn plain(told: &Told) -> String {
    let VerifyProgress { slice, slices, records, done, of, about, .. } = told.at;
    let slice = if slice > 0 { format!(" slice={slice}/{slices}") } else { String::new() };
    let share = told.share.map_or_else(String::new, |share| format!(" done={:.1}%", share * 100.0));
    let rate = told.rate.map_or_else(String::new, |rate| format!(" rate={rate:.0}/s"));
    let left = told.left.map_or_else(String::new, |left| format!(" left={}s", left.as_secs()));
    let (side, about) = (side(&told.at), if about { "~" } else { "" });
    format!(
        "verify reading={side}{slice}{share} records={records} at={done} of={about}{of}{rate}{left} elapsed={}s",
        told.elapsed.as_secs()
    )
}

fn event(told: &Told) -> serde_json::Value {
    let VerifyProgress { slice, slices, records, done, of, about, .. } = told.at;
    json!({
        "_event": "verify",
        "reading": side(&told.at),
        "slice": slice,
        "slices": slices,
        "records": records,
        "unit": unit(&told.at),
        "done": done,
        "of": of,
        "of_estimated": about,
        "records_per_second": told.rate,
        "left_ms": told.left.map(|left| left.as_millis() as u64),
        "elapsed_ms": told.elapsed.as_millis() as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(of: u64, about: bool) -> (Reading, Instant) {
        let began = Instant::now();
        let at = VerifyProgress { of, about, ..VerifyProgress::default() };
        (Reading { began, moved: began, at }, began)
    }

    #[test]
    fn a_reading_has_share_rate_and_rest_while_it_moves() {
        let (mut reading, began) = reading(10_000_000, true);
        let later = |seconds| began + Duration::from_secs(seconds);
        let at = |done| VerifyProgress { done, records: done, ..reading.at };
        let (some, more) = (at(2_500_000), at(11_000_000));
        reading.turn_to(some, later(5));
        let told = reading.told(later(5), Duration::from_secs(5));
        assert_eq!((told.share, told.rate, told.left), (Some(0.25), Some(500_000.0), Some(Duration::from_secs(15))));
        let text = "verify: source 25 % · 500,000 records/s · about 15 s left · 2,500,000 of about 10,000,000 records";
        assert_eq!(line(&told, 200), format!("{text} · 5 s"));
        assert_eq!(line(&told, 80), "verify: source 25 % · 500,000 records/s · about 15 s left · 5 s");
        assert_eq!(
            plain(&told),
            "verify reading=source done=25.0% records=2500000 at=2500000 of=~10000000 rate=500000/s left=15s elapsed=5s"
        );
        // It stands still: no rate, no rest.
        let told = reading.told(later(8), Duration::from_secs(8));
        assert_eq!((told.share, told.rate, told.left), (Some(0.25), None, None));
        // More than was estimated: no share of it.
        reading.turn_to(more, later(20));
        let told = reading.told(later(20), Duration::from_secs(20));
        assert_eq!((told.share, told.left), (None, None));
        assert_eq!(line(&told, 80), "verify: source · 550,000 records/s · 11,000,000 records · 20 s");
    }

    #[test]
    fn a_reading_of_the_topic_begins_at_its_own_zero() {
        let (mut reading, began) = reading(0, true);
        let topic =
            |done| VerifyProgress { slice: 2, slices: 5, topic: true, records: done / 2, done, of: 4_000, about: false };
        reading.turn_to(topic(0), began + Duration::from_secs(100));
        reading.turn_to(topic(1_000), began + Duration::from_secs(102));
        let told = reading.told(began + Duration::from_secs(102), Duration::from_secs(102));
        assert_eq!((told.share, told.rate, told.left), (Some(0.25), Some(250.0), Some(Duration::from_secs(6))));
        let text = "verify: slice 2 of 5, topic 25 % · 250 records/s · 6 s left";
        assert!(line(&told, 80).starts_with(text), "{}", line(&told, 80));
        let event = event(&told);
        assert_eq!((&event["of"], &event["left_ms"], &event["unit"]), (&json!(4000), &json!(6000), &json!("offsets")));
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let at = VerifyProgress {
            slice: 100,
            slices: 123,
            topic: false,
            records: u64::MAX / 2,
            done: u64::MAX / 2,
            of: u64::MAX,
            about: true,
        };
        let day = Duration::from_secs(86_400);
        let told = Told { at, share: Some(0.5), rate: Some(1e9), left: Some(day), elapsed: day };
        for columns in [40, 80, 120] {
            assert!(line(&told, columns).width() <= columns, "{}", line(&told, columns));
        }
    }
}
