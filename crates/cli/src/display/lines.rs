//! What the terminal shows, as lines of a given width: pure, so that snapshots can be tested.

use std::time::Duration;

use migration::Outage;
use migration::steer::{Fewer, SteerEvent};
use migration::units::{show_count, show_size, show_whole_seconds};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// A run at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct View {
    /// The job's name.
    pub job: String,
    /// `running`, `waiting` for brokers, `draining`, `paused`.
    pub state: &'static str,
    /// Share of the job that is done, 0 to 1.
    pub done: f64,
    /// Records read, those in progress included.
    pub records: u64,
    /// How many the plan expects; 0: that is not known.
    pub total: u64,
    /// Bytes read a second, lately.
    pub byte_rate: f64,
    /// Dead letters so far.
    pub dead_letters: u64,
    /// Records a second, lately.
    pub rate: f64,
    /// Since this run's start.
    pub elapsed: Duration,
    /// The estimated rest.
    pub eta: Option<Duration>,
    /// Shards done and in all.
    pub shards: (u64, u64),
    /// Quarantined shards.
    pub quarantined: u64,
    /// How many workers are asked for.
    pub asked: u32,
    /// Why fewer run, if that is not about to change.
    pub fewer: Option<Fewer>,
    /// That brokers don't answer, while it lasts.
    pub outage: Option<Outage>,
    /// One for each running worker, by slot.
    pub workers: Vec<WorkerView>,
    /// The last turn of the knobs in this run.
    pub turn: Option<SteerEvent>,
}

/// A worker at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WorkerView {
    /// Its shard.
    pub shard: u32,
    /// Which attempt of it.
    pub attempt: u32,
    /// Share of the shard that is done, 0 to 1.
    pub done: f64,
    /// Records a second, lately.
    pub rate: f64,
    /// Share of its time spent in flush, 0 to 1.
    pub flush: f64,
    /// What it waits for, if it does not move.
    pub waiting_for: Option<String>,
}

/// At most this many workers get a line each; the rest is summed up in one.
const WORKER_LINES: usize = 16;

/// The lines, none wider than `width` columns.
pub fn lines(view: &View, width: usize) -> Vec<String> {
    let mut lines = vec![overall(view, width), totals(view, width)];
    lines.extend(view.outage.as_ref().map(|outage| format!("  {}", outage.headline(view.state == "draining"))));
    lines.extend(remarks(view));
    lines.extend(view.turn.as_ref().map(|turn| format!("  {}", turn_line(turn))));
    for worker in view.workers.iter().take(WORKER_LINES) {
        lines.push(one_worker(worker, width));
    }
    if view.workers.len() > WORKER_LINES {
        lines.push(format!("  and {} more workers", view.workers.len() - WORKER_LINES));
    }
    lines.iter().map(|line| fit(line, width)).collect()
}

/// The same in one grep-able line.
pub fn plain(view: &View) -> String {
    format!(
        "progress job={} state={} done={:.1}% records={} rate={:.0}/s dead_letters={} shards={}/{} quarantined={} workers={} \
         asked={} flush={:.0}% elapsed={}s eta={}",
        view.job,
        view.state,
        view.done * 100.0,
        view.records,
        view.rate,
        view.dead_letters,
        view.shards.0,
        view.shards.1,
        view.quarantined,
        view.workers.len(),
        view.asked,
        mean_flush(view) * 100.0,
        view.elapsed.as_secs(),
        view.eta.map_or("unknown".to_owned(), |eta| format!("{}s", eta.as_secs())),
    )
}

fn overall(view: &View, width: usize) -> String {
    let left = format!("{:>3.0} % ", (view.done * 100.0).floor());
    let right = match (view.eta, view.state) {
        (Some(eta), _) => format!(" {} left", show_whole_seconds(Duration::from_secs(eta.as_secs().max(1)))),
        (None, "running") => format!(" {}", show_whole_seconds(Duration::from_secs(view.elapsed.as_secs()))),
        (None, state) => format!(" {state}"),
    };
    let room = width.saturating_sub(left.width() + right.width()).clamp(8, 50);
    format!("{left}{}{right}", bar(view.done, room))
}

/// With as much as there is room for.
fn totals(view: &View, width: usize) -> String {
    let records = show_count(view.records);
    let total = if view.total > 0 { format!(" of ~{}", show_count(view.total.max(view.records))) } else { String::new() };
    let (rate, bytes) = (show_count(view.rate as u64), show_size(view.byte_rate as u64));
    let shards = format!("shards {}/{}", view.shards.0, view.shards.1);
    let shortest = format!("{records} records · {rate}/s · {shards}");
    let longer = [
        format!("{records}{total} records · {rate}/s · {bytes}/s · {shards}"),
        format!("{records}{total} records · {rate}/s · {shards}"),
    ];
    longer.into_iter().find(|line| line.width() <= width).unwrap_or(shortest)
}

/// What is not as it should be, or not as it was asked.
fn remarks(view: &View) -> Vec<String> {
    let (mut said, mut lines) = (Vec::new(), Vec::new());
    if view.dead_letters > 0 {
        said.push(format!("{} dead letters", show_count(view.dead_letters)));
    }
    if view.quarantined > 0 {
        said.push(format!("{} quarantined", view.quarantined));
    }
    if view.state != "running" && view.eta.is_some() {
        said.push(view.state.to_owned());
    }
    if view.asked as usize > view.workers.len() && matches!(view.state, "running" | "waiting") {
        let running = format!("{} of {} workers", view.workers.len(), view.asked);
        match view.fewer {
            Some(fewer) => lines.push(format!("  {running}: {fewer}")),
            None => said.push(running),
        }
    }
    if !said.is_empty() {
        lines.insert(0, format!("  {}", said.join(" · ")));
    }
    lines
}

/// What was turned last and when, and what it brought when that is known.
fn turn_line(turn: &SteerEvent) -> String {
    match &turn.after {
        None => turn.headline(),
        Some(after) => format!(
            "{}: {}/s -> {}/s, flush {:.0} % -> {:.0} %",
            turn.headline(),
            show_count(turn.before.records_per_second as u64),
            show_count(after.records_per_second as u64),
            turn.before.flush_share * 100.0,
            after.flush_share * 100.0
        ),
    }
}

fn one_worker(worker: &WorkerView, width: usize) -> String {
    let attempt = if worker.attempt > 1 { format!(" attempt {}", worker.attempt) } else { String::new() };
    let bar = if width >= 60 { format!("{} ", bar(worker.done, 12)) } else { String::new() };
    let tail = match &worker.waiting_for {
        Some(what) => format!("waiting for {what}"),
        None => format!("flush {:.0} %", worker.flush * 100.0),
    };
    format!(
        "  shard {:05}{attempt} {bar}{:>3.0} % {}/s {tail}",
        worker.shard,
        (worker.done * 100.0).floor(),
        show_count(worker.rate as u64)
    )
}

fn bar(done: f64, width: usize) -> String {
    let full = ((done.clamp(0.0, 1.0) * width as f64) as usize).min(width);
    format!("{}{}", "█".repeat(full), "░".repeat(width - full))
}

fn mean_flush(view: &View) -> f64 {
    view.workers.iter().map(|w| w.flush).sum::<f64>() / view.workers.len().max(1) as f64
}

/// Cuts a line to `width` columns.
fn fit(line: &str, width: usize) -> String {
    if line.width() <= width {
        return line.to_owned();
    }
    let mut out = String::new();
    let mut used = 0;
    for c in line.chars() {
        let columns = c.width().unwrap_or(0);
        if used + columns + 1 > width {
            break;
        }
        used += columns;
        out.push(c);
    }
    out.push('…');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use migration::steer::Pace;

    fn view() -> View {
        View {
            job: "orders".into(),
            state: "running",
            done: 0.4321,
            records: 1_234_567,
            dead_letters: 3,
            rate: 98_765.4,
            elapsed: Duration::from_secs(12),
            eta: Some(Duration::from_secs(75)),
            shards: (5, 12),
            quarantined: 0,
            asked: 2,
            turn: None,
            total: 3_000_000,
            byte_rate: 13.1 * 1048576.0,
            fewer: None,
            outage: None,
            workers: vec![
                WorkerView { shard: 5, attempt: 1, done: 0.25, rate: 50_000.0, flush: 0.031, waiting_for: None },
                WorkerView {
                    shard: 6,
                    attempt: 2,
                    done: 0.9,
                    rate: 48_765.0,
                    flush: 0.0,
                    waiting_for: Some("partition 3, leader 1".into()),
                },
            ],
        }
    }

    #[test]
    fn at_80_columns() {
        let expected = [
            " 43 % █████████████████████░░░░░░░░░░░░░░░░░░░░░░░░░░░░░ 1 min 15 s left",
            "1,234,567 of ~3,000,000 records · 98,765/s · 13.1 MiB/s · shards 5/12",
            "  3 dead letters",
            "  shard 00005 ███░░░░░░░░░  25 % 50,000/s flush 3 %",
            "  shard 00006 attempt 2 ██████████░░  90 % 48,765/s waiting for partition 3, le…",
        ];
        assert_eq!(lines(&view(), 80), expected);
    }

    #[test]
    fn a_turn_has_a_line_and_asked_workers_that_miss_are_named() {
        let before = Pace { records_per_second: 1210.0, flush_share: 0.77 };
        let turn = SteerEvent { unix_ms: 1_795_422_667_999, text: "scaled 2 -> 8".into(), before, after: None };
        let mut view = View { asked: 8, turn: Some(turn), ..view() };
        let shown = lines(&view, 80);
        assert_eq!(shown[2], "  3 dead letters · 2 of 8 workers");
        assert_eq!(shown[3], "  scaled 2 -> 8 at 08:31:07Z");
        view.turn.as_mut().expect("set above").after = Some(Pace { records_per_second: 4800.0, flush_share: 0.75 });
        view.fewer = Some(Fewer::Partitions(2));
        let shown = lines(&view, 80);
        assert_eq!(shown[2], "  3 dead letters");
        assert_eq!(shown[3], "  2 of 8 workers: order by key gives each of the 2 partitions left one worker");
        assert_eq!(shown[4], "  scaled 2 -> 8 at 08:31:07Z: 1,210/s -> 4,800/s, flush 77 % -> 75 %");
    }

    #[test]
    fn at_40_columns() {
        let expected = [
            " 43 % ███████░░░░░░░░░░░ 1 min 15 s left",
            "1,234,567 records · 98,765/s · shards 5…",
            "  3 dead letters",
            "  shard 00005  25 % 50,000/s flush 3 %",
            "  shard 00006 attempt 2  90 % 48,765/s …",
        ];
        assert_eq!(lines(&view(), 40), expected);
    }

    #[test]
    fn an_outage_stands_in_place_of_the_time_left() {
        let outage = Outage {
            since_unix_ms: 1_795_422_667_999,
            gives_up_unix_ms: 1_795_423_567_999,
            give_up_after: Duration::from_secs(900),
            who: migration::Unanswered::All,
            cause: Some("k:9092: connection refused".into()),
        };
        let view =
            View { state: "waiting", eta: None, dead_letters: 0, rate: 0.0, byte_rate: 0.0, outage: Some(outage), ..view() };
        let shown = lines(&view, 80);
        assert!(shown[0].ends_with("░ waiting"), "{shown:?}");
        assert_eq!(shown[1], "1,234,567 of ~3,000,000 records · 0/s · 0 B/s · shards 5/12");
        assert_eq!(shown[2], "  no broker answers since 08:31:07Z, giving up at 08:46:07Z");
        assert!(plain(&view).contains(" state=waiting ") && plain(&view).ends_with(" eta=unknown"));
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let mut view = view();
        view.workers = vec![view.workers[1].clone(); 40];
        for width in 1..200 {
            for line in lines(&view, width) {
                assert!(line.width() <= width, "{width}: {line}");
            }
        }
    }

    #[test]
    fn the_plain_line_is_grepable() {
        assert_eq!(
            plain(&view()),
            "progress job=orders state=running done=43.2% records=1234567 rate=98765/s dead_letters=3 shards=5/12 quarantined=0 \
             workers=2 asked=2 flush=2% elapsed=12s eta=75s"
        );
    }
}
