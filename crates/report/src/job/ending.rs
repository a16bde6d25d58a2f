//! How a job's last run ended, in a sentence, and what to do next.

use std::time::Duration;

use migration::report::JobReport;
use migration::units::show_duration;

/// How the last run of a job ended, and what to do next. `now`: since 1970. `command`: what goes on with it.
pub fn ending(report: &JobReport, now: Duration, command: &str) -> (String, String) {
    let goes_on = format!("`{command}` continues where the state says");
    let Some(run) = report.runs.last() else { return ("it has not begun to send".to_owned(), goes_on) };
    let began = Duration::from_millis(run.started_ms.unsigned_abs());
    let ended = began + Duration::from_micros(run.elapsed_us);
    let seconds = now.saturating_sub(ended).as_secs().max(1);
    let ago = format!("{} ago", show_duration(Duration::from_secs(seconds)));
    let reasons = if run.reasons.is_empty() { String::new() } else { format!(" ({})", run.reasons.join("; ")) };
    match run.exit_code {
        None => (format!("its last run was killed; its last sign of life is {ago}"), goes_on),
        Some(0) => (
            format!("it ended {ago}, and every shard is done"),
            "there is nothing left to steer; `shardlift status` has its report".to_owned(),
        ),
        Some(code @ (75 | 128..)) => (format!("it was stopped {ago}, with exit code {code}{reasons}"), goes_on),
        Some(code) => (
            format!("it ended {ago}, with exit code {code}{reasons}"),
            "`shardlift status` has its report; look at that before you run it again".to_owned(),
        ),
    }
}
