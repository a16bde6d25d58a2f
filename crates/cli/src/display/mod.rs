//! Progress of a run: bars on a terminal, a grep-able line each 10 s elsewhere, JSON events on request. All on stderr.

mod eta;
mod lines;

pub use eta::Eta;
pub use lines::{View, WorkerView};

use std::io::Write;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle as BarStyle};
use serde_json::json;

use crate::log;
use crate::ui::{ProgressStyle, Ui};

/// How often each style speaks.
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
            ProgressStyle::Bars => Duration::ZERO,
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
        "dead_letters": view.dead_letters,
        "records_per_second": view.rate,
        "elapsed_ms": view.elapsed.as_millis() as u64,
        "eta_ms": view.eta.map(|eta| eta.as_millis() as u64),
        "shards": { "total": view.shards.1, "done": view.shards.0, "quarantined": view.quarantined },
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

/// One indicatif bar for each line; their texts are ours. No steady tick: that would be a thread.
struct Bars {
    all: MultiProgress,
    lines: Vec<ProgressBar>,
}

impl Bars {
    fn new() -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10));
        let above = all.clone();
        log::print_through(Some(Box::new(move |line| {
            above.suspend(|| say(line));
        })));
        Bars { all, lines: Vec::new() }
    }

    fn draw(&mut self, view: &View) {
        let width = usize::from(console_width());
        let texts = lines::lines(view, width);
        while self.lines.len() > texts.len() {
            if let Some(bar) = self.lines.pop() {
                bar.finish_and_clear();
                self.all.remove(&bar);
            }
        }
        while self.lines.len() < texts.len() {
            let style = BarStyle::with_template("{msg}").expect("a constant template");
            self.lines.push(self.all.add(ProgressBar::no_length().with_style(style)));
        }
        for (bar, text) in self.lines.iter().zip(texts) {
            bar.set_message(text);
            bar.tick();
        }
    }

    fn clear(self) {
        log::print_through(None);
        for bar in &self.lines {
            bar.finish_and_clear();
        }
        drop(self.all.clear());
    }
}

/// Columns of the terminal behind stderr.
fn console_width() -> u16 {
    console::Term::stderr().size_checked().map_or(80, |(_, columns)| columns)
}
