//! The sentences, by the regime that the figures show.

use super::*;
use crate::figures::{Conditions, Environment, Spread};

const SINGLE: Variant = Variant::Single;
const PROCESSES: Variant = Variant::Processes;
const BLOCKING: Variant = Variant::GreenBlocking;
const WAKEUP: Variant = Variant::GreenWakeup;
const STOCK: Variant = Variant::StockFlush;
const RECORD: FlushPolicy = FlushPolicy::Record;
const CHUNK: FlushPolicy = FlushPolicy::Chunk;

/// A row: who, how many, when it flushes, its relative speed, its part of time in flush.
type Row = (Variant, u32, FlushPolicy, f64, f64);

/// The first row is the reference, with 100 records a second and 400 us of CPU for each; a chunk costs a thousandth of
/// it.
fn comparison(wait_us: u64, rows: &[Row]) -> Comparison {
    let flat = |median: f64| Spread { median, least: median, most: median };
    let results = (0..).zip(rows).map(|(setting, &(variant, _, flush, speed, in_flush))| Summary {
        setting,
        rounds: 3,
        records_per_second: flat(100.0 * speed),
        relative_speed: Some(flat(speed)),
        flush_share: flat(in_flush),
        thread_cpu_cores: flat(if variant == WAKEUP { 0.97 } else { 0.1 }),
        cpu_us_per_record: flat(if flush == RECORD { 400.0 } else { 0.4321 }),
        ..Summary::default()
    });
    let settings =
        rows.iter().map(|&(variant, workers, flush, ..)| Setting { variant, workers, flush, shared_producer: false });
    let model = Model { wait_us: wait_us as f64, cpu_us: 500.0, flush_us: 9_500.0, rounds: Vec::new() };
    Comparison {
        conditions: Conditions { wait_us, ..Conditions::default() },
        model: (rows[0].2 == RECORD).then_some(model),
        environment: Environment { processors: 2, ..Environment::default() },
        settings: settings.collect(),
        reference: Some(0),
        rounds: Vec::new(),
        results: results.collect(),
        conclusion: None,
        advice: Vec::new(),
        interrupted: false,
    }
}

const FLUSHING: Row = (SINGLE, 1, RECORD, 1.0, 0.95);

#[test]
fn each_regime_has_its_sentences() {
    let see = "see what one flush for each chunk gives on this data: --flush record,chunk.";
    let table: &[(&str, u64, &[Row], &[&str])] = &[
        ("nothing but the reference", 0, &[FLUSHING], &["95 % of the time of one worker is flush.", see]),
        ("little flush", 0, &[(SINGLE, 1, RECORD, 1.0, 0.1)], &["10 % of the time of one worker is flush."]),
        (
            "processes are proportional",
            0,
            &[FLUSHING, (PROCESSES, 2, RECORD, 2.0, 0.95), (PROCESSES, 8, RECORD, 7.9, 0.95)],
            &[
                "95 % of the time of one worker is flush: 8 processes gave 7.9 times the speed; counting only the client's CPU, about 50 \
                 processes would fill this machine's processors.",
                see,
                "fastest here: processes × 8, 790 records a second, 7.9 times the reference, 400 microseconds of CPU for each record.",
            ],
        ),
        (
            "something else limits processes",
            0,
            &[FLUSHING, (PROCESSES, 28, RECORD, 12.0, 0.95)],
            &[
                "95 % of the time of one worker is flush: 28 processes gave 12 times the speed.",
                see,
                "fastest here: processes × 28, 1,200 records a second, 12 times the reference, 400 microseconds of CPU for each record.",
            ],
        ),
        (
            "one process is no scale",
            0,
            &[FLUSHING, (PROCESSES, 1, RECORD, 1.0, 0.95)],
            &["95 % of the time of one worker is flush.", see],
        ),
        (
            "chunks: what one worker gains, not what many do",
            0,
            &[FLUSHING, (SINGLE, 1, CHUNK, 900.0, 0.2), (PROCESSES, 8, RECORD, 7.9, 0.95), (PROCESSES, 8, CHUNK, 2_500.0, 0.2)],
            &[
                "95 % of the time of one worker is flush: 8 processes gave 7.9 times the speed; counting only the client's CPU, about 50 \
                 processes would fill this machine's processors.",
                "one flush for each chunk gives one worker 900 times the speed, with the same guarantee.",
                "fastest here: processes × 8, flush = \"chunk\", 250,000 records a second, 2,500 times the reference, 0.432 \
                 microseconds of CPU for each record.",
            ],
        ),
        (
            "chunks that gain nothing",
            2_500,
            &[FLUSHING, (SINGLE, 1, CHUNK, 1.1, 0.2)],
            &["95 % of the time of one worker is flush."],
        ),
        (
            "chunks alone: processes are what gains",
            0,
            &[(SINGLE, 1, CHUNK, 1.0, 0.2), (PROCESSES, 2, CHUNK, 1.9, 0.2)],
            &[
                "fastest here: processes × 2, flush = \"chunk\", 190 records a second, 1.9 times the reference, 0.432 microseconds of \
               CPU for each record.",
            ],
        ),
        (
            "the pipeline's own CPU remains",
            1_500,
            &[FLUSHING],
            &[
                "95 % of the time of one worker is flush.",
                // (1.5 + 0.5 + 9.5) / (1.5 + 0.5)
                "without a flush for each record (flush = \"chunk\") one worker would be up to 5.8 times as fast: the rest is its own \
                 waits and CPU.",
            ],
        ),
        (
            "blocking green threads are held up",
            100_000,
            &[FLUSHING, (BLOCKING, 2, RECORD, 1.24, 0.96), (BLOCKING, 28, RECORD, 1.23, 0.97)],
            &[
                "95 % of the time of one worker is flush.",
                "28 green threads with a blocking flush give 1.23 times the speed: the flush stops the one thread that they share.",
            ],
        ),
        (
            "blocking green threads whose waits are long overlap",
            100_000,
            &[FLUSHING, (BLOCKING, 2, RECORD, 1.9, 0.3)],
            &[
                "95 % of the time of one worker is flush.",
                "fastest here: green-blocking × 2, 190 records a second, 1.9 times the reference, 400 microseconds of CPU for each record.",
            ],
        ),
        (
            "blocking green threads whose CPU is what is short",
            100_000,
            &[FLUSHING, (BLOCKING, 7, RECORD, 1.3, 0.2)],
            &["95 % of the time of one worker is flush."],
        ),
        (
            "a full thread, and a slow binding",
            100_000,
            &[FLUSHING, (WAKEUP, 64, RECORD, 23.0, 0.9), (WAKEUP, 64, CHUNK, 90.0, 0.9), (STOCK, 1, RECORD, 0.1, 0.99)],
            &[
                "95 % of the time of one worker is flush.",
                "green-wakeup with 64 tasks gives 23 times the speed and keeps its one thread busy for 97 % of the time: more tasks \
                 can't help.",
                "the binding's own flush is 10 times slower than waiting for the report itself.",
                "fastest here: green-wakeup × 64, flush = \"chunk\", 9,000 records a second, 90 times the reference, 0.432 \
                 microseconds of CPU for each record.",
            ],
        ),
    ];
    for (regime, wait_us, rows, sentences) in table {
        assert_eq!(advice(&comparison(*wait_us, rows)), *sentences, "{regime}");
    }
}

#[test]
fn the_highest_rate_is_the_fastest_and_says_which_other_it_may_be() {
    let rows = [FLUSHING, (PROCESSES, 2, RECORD, 4.0, 0.9), (WAKEUP, 2, RECORD, 4.5, 0.5)];
    let mut found = comparison(0, &rows);
    // By the rounds' own references the other is ahead; by the rate, which the sentence tells, this one.
    found.results[1].records_per_second = Spread { median: 500.0, least: 440.0, most: 510.0 };
    let said = |found: &Comparison| advice(found).into_iter().next_back().unwrap();
    let told =
        "fastest here: processes × 2, 500 records a second, 4.0 times the reference, 400 microseconds of CPU for each record";
    assert_eq!(said(&found), format!("{told} (not told apart from green-wakeup × 2: their rounds overlap)."));
    found.results[1].records_per_second.least = 460.0;
    assert_eq!(said(&found), format!("{told}."));
}

#[test]
fn without_a_reference_nothing_is_said() {
    let found = Comparison { reference: None, ..comparison(0, &[FLUSHING]) };
    assert_eq!(advice(&found), [""; 0]);
}

#[test]
fn three_digits_whatever_the_size() {
    for (figure, text) in
        [(0.0, "0.00"), (0.04321, "0.0432"), (0.4321, "0.432"), (4.321, "4.32"), (43.21, "43.2"), (4321.0, "4321")]
    {
        assert_eq!(three_digits(figure), text);
    }
}
