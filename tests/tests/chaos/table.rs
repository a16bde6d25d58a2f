//! The table of docs/reliability.md: the matrix of faults, row by row, with what was counted for each.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::Value;
use whole_program::chaos::Delivery;
use whole_program::chaos::trials::KINDS;
use whole_program::root;

use crate::results;

/// Where the table stands in the document.
const MARKS: [&str; 2] = ["<!-- scripts/campaign --table: begin -->\n", "<!-- scripts/campaign --table: end -->\n"];

/// A row of the matrix.
struct Row {
    fault: &'static str,
    promise: &'static str,
    /// Tests by their names, as the documents name them, and other words.
    tests: &'static str,
    /// Kinds of trials, each with the figure that is told of it and what it should be.
    trials: &'static [(&'static str, Option<(&'static str, &'static str)>)],
    /// What could not be tested, and why.
    not_here: &'static str,
}

const fn row(fault: &'static str, promise: &'static str, tests: &'static str) -> Row {
    Row { fault, promise, tests, trials: &[], not_here: "" }
}

const ROWS: &[Row] = &[
    Row {
        trials: &[
            ("worker-kills", Some(("noticed", "p99 <= 50 ms"))),
            ("first-commit", Some(("next-ack", "p99 <= 1,500 ms"))),
            ("first-commit", Some(("first-commit", "p50 <= 200 ms, p99 <= 500 ms"))),
        ],
        ..row(
            "worker SIGKILL at a random moment",
            "replaced, others unaffected; a chunk doubled at most; exactly-once none",
            "`worker_kills::killed_workers_lose_nothing`, `worker_kills::killed_workers_of_a_gzip_file_lose_nothing`, \
             `random_worlds_keep_the_rules`",
        )
    },
    row(
        "worker panic, abort, out of memory",
        "the same, with the reason",
        "`a crash is replaced and its reason kept`, `a_worker_that_panics_says_that_it_failed_and_not_what_it_took`, \
         `a_window_needs_memory_that_is_named`",
    ),
    row(
        "a record that always kills its worker",
        "quarantined, the rest completes; with order by key nothing behind it is sent",
        "`a shard that always kills is quarantined, the next run tries again`, \
         `five_deaths_at_one_position_quarantine_the_shard_and_the_others_go_on`, \
         `nothing_behind_a_line_that_kills_its_worker_is_sent`",
    ),
    Row {
        trials: &[
            ("stopped-workers", Some(("replaced", "<= heartbeat_timeout + 1 s; here it is 2 s"))),
            ("zombies", Some(("still-at-work", "0"))),
        ],
        not_here: "10 minutes: the timeout is set to 2 s instead, so that it passes often",
        ..row(
            "worker stopped (SIGSTOP) shorter and longer than the timeout; a zombie that wakes",
            "nothing, or killed and replaced; a zombie is fenced",
            "`a worker without a heartbeat is killed and replaced`",
        )
    },
    Row {
        trials: &[("supervisor-kills", Some(("gone", "<= 1,000 ms")))],
        ..row(
            "supervisor SIGKILL, run again",
            "workers stop, no orphans, running again continues; two chunks a worker doubled at most",
            "`supervisor_kills::a_killed_supervisor_loses_nothing`, \
             `supervisor_kills::a_killed_single_process_loses_nothing`, \
             `supervisor_kills::a_second_after_its_kill_no_process_is_left`",
        )
    },
    Row {
        trials: &[("signals", Some(("drained", "<= 20,000 ms")))],
        ..row(
            "SIGINT or SIGTERM, to the process and to the group",
            "drain, state saved, exit 75; nothing doubled",
            "`signals::sigint_to_the_group_drains`, `signals::sigterm_to_the_supervisor_drains`, \
             `signals::ctrl_c_in_a_terminal_drains`",
        )
    },
    row("second signal", "immediate, resumable", "`signals::a_second_signal_stops_at_once`"),
    Row {
        trials: &[("mixed-one-broker", None), ("mixed-three-brokers", None)],
        ..row(
            "broker restart, clean and hard; leader change; all down",
            "stall, go on; nothing lost or doubled",
            "`broker_outage::a_clean_stop_of_the_broker_is_waited_out`, `broker_outage::a_killed_broker_is_waited_out`, \
             `broker_outage::killed_leaders_of_three_brokers_are_waited_out`",
        )
    },
    row("every retriable error code on every API", "invisible but for counters", "`retriable_errors_are_invisible`"),
    row(
        "every permanent code",
        "shard fails or record set aside; never done",
        "`a_permanent_error_of_the_broker_is_a_refusal_of_every_record_of_the_batch_and_of_nothing_else`, \
         `refusals::a_right_withdrawn_in_mid_run_is_never_done`",
    ),
    Row {
        trials: &[("mixed-one-broker", None), ("mixed-three-brokers", None)],
        ..row(
            "acknowledgement lost",
            "de-duplicated by the broker",
            "`refusals::cut_connections_double_nothing_where_the_settings_refuse`",
        )
    },
    Row { trials: &[("late-ends", Some(("answer", "")))], ..row("late EndTxn", "fenced", "") },
    Row {
        trials: &[("mixed-one-broker", None), ("mixed-three-brokers", None)],
        ..row(
            "RTT spike, network cut and heal, one way, half open",
            "slower, stall, go on",
            "`a_producer_that_gets_no_answer_says_often_that_it_is_alive`",
        )
    },
    row(
        "topic deleted, or made again",
        "stop with a clear error, no auto-create, never exit 0",
        "`refusals::a_topic_deleted_in_mid_run_is_never_done`, `topic_changes::a_topic_made_again_in_a_pause_gets_no_record`, \
         `topic_changes::a_topic_made_again_just_before_the_end_is_no_success`",
    ),
    row(
        "partitions added during the run",
        "with keys stop before a record goes elsewhere; without a warning",
        "`topic_changes::added_partitions_stop_a_job_with_keys`, \
         `topic_changes::added_partitions_are_told_where_no_key_is_concerned`",
    ),
    row(
        "records that the topic refuses, with connections cut",
        "set aside exactly, the others once",
        "`refusals::cut_connections_double_nothing_where_the_settings_refuse`, \
         `refusals::a_setting_that_comes_in_mid_run_sets_aside_what_the_broker_names`",
    ),
    row(
        "a stop while a limit is exceeded, in any order",
        "the limit's exit code",
        "`a_stop_and_a_limit_end_with_the_limit_in_any_order`, `a stop does not hide that the limit was passed`",
    ),
    Row {
        trials: &[("disk-full", Some(("ended", "")))],
        ..row(
            "disk full or read-only state directory",
            "at-least-once: stop, drain, clear error, state readable; exactly-once: the job goes on. Run again: resumed",
            "`door::a_state_folder_that_goes_in_mid_run_ends_with_74`",
        )
    },
    Row {
        trials: &[("source-changed", None)],
        ..row(
            "source truncated, appended, replaced, deleted",
            "exit 7, shard not done; as it was again: goes on",
            "`exit_codes::a_source_that_changes_in_mid_run_exits_with_7`, `a changed source stops the job`",
        )
    },
    row(
        "checkpoint corrupted, truncated, old copy",
        "refused or an earlier valid state",
        "`a_damaged_checkpoint_exits_with_74`, `a_truncated_file_is_refused_or_lost_nothing_that_a_resume_depends_on`",
    ),
    Row {
        trials: &[("double-starts", Some(("refused", "<= 1,000 ms"))), ("two-machines", None)],
        ..row(
            "two supervisors: one state directory; two machines",
            "the second exits 75 within 1 s; on two machines each may fence the other, nothing doubled",
            "`one supervisor a job`",
        )
    },
    row(
        "torn, corrupt or flooding frames",
        "dropped or worker killed; memory bounded",
        "`a_corrupted_byte_never_gives_a_wrong_frame`, `a flood of frames is survived`, \
         `garbage_floods_and_foreign_kinds_end_at_once`",
    ),
    row(
        "1 GiB line, invalid UTF-8, NUL, deep JSON, zip bomb, `../`, ANSI escapes",
        "bounded memory, dead letter, escaped logs",
        "`hostile_files`, `hostile_lines`, `a_line_of_a_gibibyte_takes_little_memory`",
    ),
    row("secrets", "never in logs, `ps`, /proc, core files, state", "`a_secret_is_shown_nowhere`, `no_error_shows_a_secret`"),
    row(
        "descriptor or process limit too low",
        "preflight refuses with the number needed",
        "`too_few_descriptors_are_refused_at_once`, `a_low_limit_of_descriptors_is_raised`",
    ),
];

/// The table, from a file of results.
pub fn table(results: &Path) -> String {
    let results = results::read(results);
    let mut text = all_in_all(&results);
    text.push_str("| fault | promise | tests | trials | result, figures |\n|---|---|---|---|---|\n");
    for row in ROWS {
        let mut kinds: Vec<&str> = Vec::new();
        row.trials.iter().for_each(|(kind, _)| {
            if !kinds.contains(kind) {
                kinds.push(kind);
            }
        });
        let mut trials: Vec<String> = kinds.iter().flat_map(|kind| counted(&results, kind)).collect();
        if kinds.is_empty() {
            trials.push("the tests, with every change".to_owned());
        }
        if !row.not_here.is_empty() {
            trials.push(format!("not here: {}", row.not_here));
        }
        let mut found: Vec<String> = kinds.iter().flat_map(|kind| found(&results, kind)).collect();
        for (kind, figure) in row.trials {
            if let Some((figure, goal)) = figure {
                found.extend(Delivery::ALL.iter().filter_map(|delivery| figure_of(&results, kind, *delivery, figure, goal)));
            }
        }
        if kinds.is_empty() {
            found.push("—".to_owned());
        } else if found.is_empty() {
            found.push("no trial yet".to_owned());
        }
        let tests = if row.tests.is_empty() { "—" } else { row.tests };
        text += &format!("| {} | {} | {tests} | {} | {} |\n", row.fault, row.promise, trials.join("; "), found.join("; "));
    }
    text
}

fn of<'a>(results: &'a [Value], kind: &'a str, delivery: Delivery) -> impl Iterator<Item = &'a Value> {
    results.iter().filter(move |line| line["kind"] == kind && line["delivery"] == delivery.name())
}

fn sum<'a>(lines: impl Iterator<Item = &'a Value>, name: &str) -> u64 {
    lines.filter_map(|line| line[name].as_u64()).sum()
}

/// How much was done in all.
fn all_in_all(results: &[Value]) -> String {
    let with_faults = || results.iter().filter(|line| line["faults"].as_u64().is_some_and(|faults| faults > 0));
    let without = results.len() - with_faults().count();
    let (faults, jobs) = (grouped(sum(with_faults(), "faults")), grouped(with_faults().count() as u64));
    format!("In all {faults} faults in {jobs} jobs. (In {without} more no fault took effect; they count for nothing.)\n\n")
}

/// What was done, of each promise.
fn counted(results: &[Value], kind: &str) -> Vec<String> {
    let unit = KINDS.iter().find(|known| known.name == kind).expect("a kind of the table is one").unit;
    let count = |delivery: Delivery| {
        let jobs = of(results, kind, delivery).filter(|line| line["faults"] != 0).count();
        let faults = sum(of(results, kind, delivery), "faults");
        (jobs > 0).then(|| format!("{kind}, {}: {} {unit} in {} jobs", delivery.name(), grouped(faults), grouped(jobs as u64)))
    };
    Delivery::ALL.iter().filter_map(|delivery| count(*delivery)).collect()
}

/// What came of it.
fn found(results: &[Value], kind: &str) -> Vec<String> {
    let tell = |delivery: Delivery| {
        let of_kind = || of(results, kind, delivery);
        of_kind().next()?;
        let [lost, twice, verify] = ["lost", "twice", "verify"].map(|name| sum(of_kind(), name));
        let wrong = of_kind().filter(|line| line["wrong"].as_array().is_some_and(|wrong| !wrong.is_empty())).count();
        let twice = match (twice, twice == verify) {
            (0, true) => "0 twice".to_owned(),
            (_, true) => format!("{} twice, each within its bound, `verify` counts the same", grouped(twice)),
            _ => format!("{} twice, `verify` counts {}", grouped(twice), grouped(verify)),
        };
        let wrong = if wrong > 0 { format!(", {wrong} JOBS WITH SOMETHING WRONG") } else { String::new() };
        Some(format!("{kind}, {}: {} lost, {twice}{wrong}", delivery.name(), grouped(lost)))
    };
    Delivery::ALL.iter().filter_map(|delivery| tell(*delivery)).collect()
}

/// A figure's middle and its slow end.
fn figure_of(results: &[Value], kind: &str, delivery: Delivery, figure: &str, goal: &str) -> Option<String> {
    let values = of(results, kind, delivery).filter_map(|line| line["figures"][figure].as_array());
    let mut all: Vec<u64> = values.flatten().filter_map(Value::as_u64).collect();
    all.sort_unstable();
    let last = all.last()?;
    if figure == "answer" {
        return Some(format!("the broker's answers to them: {}", answers(&all)));
    }
    let at = |share: f64| grouped(all[((all.len() - 1) as f64 * share).round() as usize]);
    let goal = if goal.is_empty() { String::new() } else { format!(" (goal: {goal})") };
    let unit = if figure == "still-at-work" { "" } else { " ms" };
    Some(format!(
        "{figure}, {}: p50 {}{unit}, p99 {}{unit}, at most {}{unit}{goal}",
        delivery.name(),
        at(0.5),
        at(0.99),
        grouped(*last)
    ))
}

/// How often each of Kafka's error codes came; they are in order.
fn answers(codes: &[u64]) -> String {
    let name = |code: u64| match code {
        0 => "none (the transaction that it is about had ended so)".to_owned(),
        47 => "INVALID_PRODUCER_EPOCH".to_owned(),
        48 => "INVALID_TXN_STATE".to_owned(),
        90 => "PRODUCER_FENCED".to_owned(),
        999 => "no answer".to_owned(),
        other => format!("error {other}"),
    };
    let runs = codes.chunk_by(|one, other| one == other);
    runs.map(|run| format!("{} times {}", run.len(), name(run[0]))).collect::<Vec<_>>().join(", ")
}

/// A number with commas.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The document, and the text with this table in the place of its own.
fn document(table: &str) -> (PathBuf, String, String) {
    let path = root().join("docs/reliability.md");
    let text = std::fs::read_to_string(&path).expect("the document can be read");
    let begin = text.find(MARKS[0]).expect("the document has the mark of the begin") + MARKS[0].len();
    let end = text.find(MARKS[1]).expect("the document has the mark of the end");
    let new = format!("{}{table}{}", &text[..begin], &text[end..]);
    (path, text, new)
}

/// The table in the document is that of the results.
pub fn is_up_to_date() {
    let (_, text, new) = document(&table(&results::place()));
    assert!(text == new, "docs/reliability.md has another table: UPDATE_SNAPSHOTS=1 scripts/campaign --table writes it");
}

/// Prints it, and with `UPDATE_SNAPSHOTS=1` writes it.
pub fn main(words: &[String]) -> ExitCode {
    let results = match words {
        [] => results::place(),
        [flag, path] if flag == "--results" => PathBuf::from(path),
        _ => {
            eprintln!("usage: scripts/campaign --table [--results FILE]");
            return ExitCode::from(2);
        }
    };
    let table = table(&results);
    print!("{table}");
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some_and(|value| value == "1") {
        let (path, _, new) = document(&table);
        std::fs::write(path, new).expect("the document can be written");
    }
    ExitCode::SUCCESS
}
