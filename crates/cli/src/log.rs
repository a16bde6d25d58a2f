//! The log. Only the supervisor prints: inside a worker, lines are kept until the worker sends them as frames.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use migration::Level;
use migration::printable::printable_lines;
use migration::units::show_time_of_day;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// A line and its level.
pub type LogLine = (Level, String);

/// Prints a line somewhere else than straight to stderr (above the progress bars).
type Printer = Box<dyn Fn(&str) + Send>;

static PRINTER: Mutex<Option<Printer>> = Mutex::new(None);

thread_local! {
    /// `Some` in a worker: the lines that wait to be sent.
    static KEPT: RefCell<Option<Vec<LogLine>>> = const { RefCell::new(None) };
}

/// Lines kept at most between two sends; what comes above is dropped.
const KEPT_LINES: usize = 200;

/// Starts logging to stderr.
pub fn start(quiet: bool, verbose: u8, color: bool) {
    let level = match (quiet, verbose) {
        (true, _) => LevelFilter::ERROR,
        (false, 0) => LevelFilter::INFO,
        (false, 1) => LevelFilter::DEBUG,
        (false, _) => LevelFilter::TRACE,
    };
    // A second start (tests) keeps the first subscriber.
    let _ = tracing_subscriber::registry().with(LogLines { color }.with_filter(level)).try_init();
}

/// From now on lines go through `printer`; `None` = straight to stderr again.
pub fn print_through(printer: Option<Printer>) {
    *PRINTER.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = printer;
}

/// Makes this process a worker: its lines are kept instead of printed.
pub fn keep_lines() {
    KEPT.set(Some(Vec::new()));
}

/// Takes the lines kept so far.
pub fn take_lines() -> Vec<LogLine> {
    KEPT.with_borrow_mut(|kept| kept.as_mut().map(std::mem::take).unwrap_or_default())
}

/// Prints one line as the log has it, above the bars if there are any.
pub fn print(level: Level, text: &str, color: bool) {
    let line = render(level, text, color);
    let printer = PRINTER.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    match printer.as_ref() {
        Some(print) => print(&line),
        // A closed stderr is no reason to stop a migration.
        None => drop(writeln!(std::io::stderr(), "{line}")),
    }
}

fn render(level: Level, text: &str, color: bool) -> String {
    let name = level.name();
    let paint = match level {
        Level::Error => "\x1b[31m",
        Level::Warning => "\x1b[33m",
        Level::Info => "\x1b[36m",
        Level::Debug | Level::Trace => "\x1b[2m",
    };
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let time = show_time_of_day(since_1970.as_millis() as u64);
    let text = printable_lines(text);
    if color { format!("{time} {paint}{name}\x1b[0m {text}") } else { format!("{time} {name} {text}") }
}

struct LogLines {
    color: bool,
}

impl<S: Subscriber> Layer<S> for LogLines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let level = match *event.metadata().level() {
            tracing::Level::ERROR => Level::Error,
            tracing::Level::WARN => Level::Warning,
            tracing::Level::INFO => Level::Info,
            tracing::Level::DEBUG => Level::Debug,
            tracing::Level::TRACE => Level::Trace,
        };
        let mut text = Text::default();
        event.record(&mut text);
        let line = text.message + &text.fields;
        let printed_here = KEPT.with_borrow_mut(|kept| match kept {
            Some(lines) if lines.len() < KEPT_LINES => {
                lines.push((level, line.clone()));
                false
            }
            Some(_) => false,
            None => true,
        });
        if printed_here {
            print(level, &line, self.color);
        }
    }
}

#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_never_reach_the_terminal() {
        assert!(render(Level::Warning, "a\x1b[31mb\u{9b}", false).ends_with("Z warning a\\u{1b}[31mb\\u{9b}"));
        assert!(render(Level::Warning, "x", false).ends_with("Z warning x"));
    }
}
