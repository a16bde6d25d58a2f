//! Progress of a run: bars on a terminal, a grep-able line each 10 s elsewhere, JSON events on request. All on stderr.

mod eta;
mod lines;
mod screen;
mod view;

use self::eta::Eta;
use self::lines::{View, WorkerView};
pub use self::screen::Screen;
pub use self::view::Viewer;

use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use report::wrapped::wrapped_at;
use serde_json::json;

use crate::log;
use crate::ui::{ProgressStyle, Ui};

/// In a narrower terminal the lines of the log are broken by the terminal itself.
const NARROWEST: usize = 40;

/// How often each style speaks.
const BARS_EVERY: Duration = Duration::from_millis(100);
const PLAIN_EVERY: Duration = Duration::from_secs(10);
const JSON_EVERY: Duration = Duration::from_secs(1);

/// Shows views of a run.
pub struct Display {
    style: ProgressStyle,
    said: Option<Instant>,
    bars: Option<Bars>,
}

impl Display {
    /// A display in the style that the user asked for. Nothing is drawn before the first view.
    pub fn new(ui: &Ui) -> Self {
        Display { style: ui.progress, said: None, bars: (ui.progress == ProgressStyle::Bars).then(Bars::new) }
    }

    /// Shows a view, if this style speaks now.
    pub fn show(&mut self, view: &View) {
        let every = match self.style {
            ProgressStyle::None => return,
            ProgressStyle::Bars => BARS_EVERY,
            ProgressStyle::Plain => PLAIN_EVERY,
            ProgressStyle::Json => JSON_EVERY,
        };
        let now = Instant::now();
        let due = *self.said.get_or_insert(now) + every;
        if now < due {
            return;
        }
        self.said = Some(now);
        match &mut self.bars {
            Some(bars) => bars.draw(view),
            None if self.style == ProgressStyle::Json => say(&event(view).to_string()),
            None => say(&lines::plain(view)),
        }
    }

    /// Takes the bars away.
    pub fn end(&mut self) {
        if let Some(bars) = self.bars.take() {
            bars.clear();
        }
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        self.end();
    }
}

fn say(line: &str) {
    // A closed stderr is no reason to stop a migration.
    drop(writeln!(std::io::stderr(), "{line}"));
}

fn event(view: &View) -> serde_json::Value {
    json!({
        "_event": "progress",
        "state": view.state,
        "done": view.done,
        "records": view.records,
        "records_estimate": (view.total > 0).then_some(view.total),
        "bytes_per_second": view.byte_rate,
        "dead_letters": view.dead_letters,
        "records_per_second": view.rate,
        "elapsed_ms": view.elapsed.as_millis() as u64,
        "eta_ms": view.eta.map(|eta| eta.as_millis() as u64),
        "shards": { "total": view.shards.1, "done": view.shards.0, "quarantined": view.quarantined },
        "asked": view.asked,
        "fewer_because": view.fewer.map(|fewer| fewer.to_string()),
        "outage": view.outage.as_ref().map(report::standing::outage),
        "last_turn": view.turn.as_ref().map(|turn| json!({
            "unix_ms": turn.unix_ms,
            "text": turn.text,
            "records_per_second_before": turn.before.records_per_second,
            "records_per_second_after": turn.after.map(|after| after.records_per_second),
        })),
        "workers": view.workers.iter().map(|worker| json!({
            "shard": worker.shard,
            "attempt": worker.attempt,
            "done": worker.done,
            "records_per_second": worker.rate,
            "flush_share": worker.flush,
            "waiting_for": worker.waiting_for,
        })).collect::<Vec<_>>(),
    })
}

/// The bars of a terminal. Log lines appear above them.
struct Bars {
    screen: Arc<Mutex<Screen>>,
}

impl Bars {
    fn new() -> Self {
        let screen = Arc::new(Mutex::new(Screen::default()));
        let above = Arc::clone(&screen);
        log::print_through(Some(Box::new(move |line| lock(&above).print_above(&wrapped(line)))));
        Bars { screen }
    }

    fn draw(&mut self, view: &View) {
        let (rows, columns) = terminal_size();
        let mut texts = lines::lines(view, columns);
        // One row stays free for the cursor.
        texts.truncate(rows.saturating_sub(1).max(1));
        lock(&self.screen).draw(texts);
    }

    fn clear(self) {
        log::print_through(None);
        lock(&self.screen).clear();
    }
}

/// A line of the log for the terminal as it is now.
fn wrapped(line: &str) -> String {
    let (_, columns) = terminal_size();
    wrapped_at(columns.max(NARROWEST), line, "", "  ").replace('\n', "\r\n")
}

fn lock(screen: &Mutex<Screen>) -> MutexGuard<'_, Screen> {
    screen.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Rows and columns of the terminal behind stderr.
pub fn terminal_size() -> (usize, usize) {
    console::Term::stderr().size_checked().map_or((24, 80), |(rows, columns)| (rows.into(), columns.into()))
}
