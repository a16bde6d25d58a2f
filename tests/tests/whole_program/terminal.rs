//! The display through a pseudo-terminal at 80 and 40 columns (row 15): no line is wider, the time left is right within
//! 30 % from a tenth of a steady run on, and nothing is left behind.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::time::{Duration, Instant};

use nix::pty::{Winsize, openpty};
use whole_program::scene::{PATIENCE, Scene, config};
use whole_program::suite::{Clusters, Test};
use whole_program::test;
use whole_program::waiting::wait_child;

/// The tests of this module.
pub const TESTS: &[Test] = &[
    test!(Waits, Kafka, at_80_columns_no_line_is_wider),
    test!(Light, Kafka, the_time_left_is_right),
    test!(Waits, Kafka, at_40_columns_no_line_is_wider),
    test!(Waits, Kafka, without_a_terminal_one_line_each_10_s),
];

/// What came out of a terminal at one moment.
struct Piece {
    at: Duration,
    bytes: Vec<u8>,
}

/// A steady run of two workers in a pseudo-terminal of `columns` columns: what it drew, and how long it lasted.
fn drawn(clusters: &Clusters, columns: u16, seconds: u64) -> (Vec<Piece>, Duration) {
    let scene = Scene::new(clusters.one(), &format!("terminal-{columns}"));
    let keys = [("workers.count", "2"), ("limits.rate_records", "5_000"), ("shards.target_size", "\"1MiB\"")];
    scene.program.write("orchestrator.toml", config(&scene.topic, scene.kafka.bootstrap(), &keys));
    scene.orders(40, 5_000 * seconds);
    let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let terminal = openpty(Some(&size), None).expect("a pseudo-terminal can be opened");
    let mut command = scene.program.command(&["run", "-o", "json"]);
    command.env("TERM", "xterm-256color").env_remove("NO_COLOR");
    command.stdout(File::create(scene.program.join("result")).expect("a file can be created")).stderr(terminal.slave);
    let start = Instant::now();
    let mut child = command.spawn().expect("the program can be started");
    drop(command); // with our copy of the terminal's other end
    let mut master = File::from(terminal.master);
    let mut pieces = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match master.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => pieces.push(Piece { at: start.elapsed(), bytes: buffer[..count].to_vec() }),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => break, // EIO: the other end is closed
        }
    }
    let status = wait_child(&mut child, PATIENCE).expect("it ends with its terminal");
    let elapsed = start.elapsed();
    let screen =
        String::from_utf8_lossy(&pieces.iter().flat_map(|piece| piece.bytes.clone()).collect::<Vec<u8>>()).into_owned();
    assert_eq!(status.code(), Some(0), "{screen}");
    scene.program.assert_nothing_left();
    (pieces, elapsed)
}

/// The texts between line ends and cursor movements, with their widths in columns. A width counts from the column at
/// which the text starts.
fn texts(bytes: &[u8]) -> Vec<(String, usize)> {
    let text = String::from_utf8_lossy(bytes);
    let mut texts = Vec::new();
    let (mut current, mut column, mut widest) = (String::new(), 0, 0);
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '\r' | '\n' => {
                texts.push((std::mem::take(&mut current), widest));
                (column, widest) = (0, 0);
            }
            '\u{1b}' => {
                assert_eq!(chars.next(), Some('['), "only control sequences that we know");
                let parameters: String = std::iter::from_fn(|| chars.next_if(|char| !char.is_ascii_alphabetic())).collect();
                let end = chars.next().expect("a control sequence ends");
                assert!("mKJABDG?hl".contains(end), "an unknown control sequence: {parameters}{end}");
                if end == 'D' {
                    column = 0;
                }
            }
            char => {
                assert!(!char.is_control(), "a control character is drawn: {char:?}");
                current.push(char);
                column += 1; // none of what we draw is wider than one column
                widest = widest.max(column);
            }
        }
    }
    texts.push((current, widest));
    texts
}

fn assert_width(pieces: &[Piece], columns: u16) -> Vec<String> {
    let all: Vec<u8> = pieces.iter().flat_map(|piece| piece.bytes.clone()).collect();
    let texts = texts(&all);
    for (text, width) in &texts {
        assert!(*width <= usize::from(columns), "{width} columns of {columns}: {text:?}");
    }
    texts.into_iter().map(|(text, _)| text.trim_end().to_owned()).filter(|text| !text.is_empty()).collect()
}

/// A text with each number as one `9`, and each run of a bar's characters as one.
fn shape(text: &str) -> String {
    let mut shape = String::new();
    for char in text.chars() {
        let class = if char.is_ascii_digit() || (char == ',' && shape.ends_with('9')) { '9' } else { char };
        if !("9█░ ".contains(class) && shape.ends_with(class)) {
            shape.push(class);
        }
    }
    shape.trim().to_owned()
}

fn at_80_columns_no_line_is_wider(clusters: &Clusters) {
    let (pieces, _) = drawn(clusters, 80, 5);
    let texts = assert_width(&pieces, 80);
    let shapes: Vec<String> = texts.iter().map(|text| shape(text)).collect();
    for expected in ["9 % █░ 9 s left", "9 of ~9 records · 9/s · 9.9 KiB/s · shards 9/9", "shard 9 █░ 9 % 9/s "] {
        assert!(shapes.iter().any(|shape| shape.starts_with(expected)), "never drawn: {expected}\n{}", shapes.join("\n"));
    }
}

fn the_time_left_is_right(clusters: &Clusters) {
    let (pieces, elapsed) = drawn(clusters, 100, 14);
    assert!(elapsed >= Duration::from_secs(13), "the rate limit was exceeded: 14 s of work took {elapsed:?}");
    assert_time_left(&pieces, elapsed);
}

fn at_40_columns_no_line_is_wider(clusters: &Clusters) {
    let (pieces, _) = drawn(clusters, 40, 5);
    let shapes: Vec<String> = assert_width(&pieces, 40).iter().map(|text| shape(text)).collect();
    for expected in ["9 records · 9/s · shards 9/9", "shard 9 9 % 9/s "] {
        assert!(shapes.iter().any(|shape| shape.starts_with(expected)), "never drawn: {expected}\n{}", shapes.join("\n"));
    }
}

/// From a tenth of the run on the time left is right within 30 %, plus the second to which it is rounded.
fn assert_time_left(pieces: &[Piece], elapsed: Duration) {
    let mut checked = 0;
    let mut worst: f64 = 0.0;
    for piece in pieces.iter().filter(|piece| piece.at >= elapsed / 10) {
        for left in texts(&piece.bytes).iter().filter_map(|(text, _)| time_left(text)) {
            let truth = (elapsed - piece.at).as_secs_f64();
            let error = (left - truth).abs();
            assert!(
                error <= 0.3 * truth + 1.0,
                "{left} s left at {:.1} s of {:.1} s",
                piece.at.as_secs_f64(),
                elapsed.as_secs_f64()
            );
            if truth > 3.0 {
                worst = worst.max(error / truth);
            }
            checked += 1;
        }
    }
    assert!(checked >= 15, "the time left was shown {checked} times only");
    println!("time left: {checked} times right, at worst {:.0} % wrong", worst * 100.0);
}

/// The seconds of `… 12.00 s left` or `… 1 min 05 s left`.
fn time_left(text: &str) -> Option<f64> {
    let time = text.trim_end().strip_suffix(" s left")?;
    let time = time.rsplit(['█', '░']).next()?.trim();
    match time.split_once(" min ") {
        Some((minutes, seconds)) => Some(minutes.parse::<f64>().ok()? * 60.0 + seconds.parse::<f64>().ok()?),
        None => time.parse().ok(),
    }
}

fn without_a_terminal_one_line_each_10_s(clusters: &Clusters) {
    let scene = Scene::new(clusters.one(), "no-terminal");
    scene.configure(&[("workers.count", "2"), ("limits.rate_records", "5_000")]);
    scene.orders(41, 60_000);
    let finished = scene.run(&[]).expect_code(0);
    assert!(!finished.stderr.contains('\u{1b}'), "no control sequence: {:?}", finished.stderr);
    let lines: Vec<&str> = finished.stderr.lines().filter(|line| line.starts_with("progress ")).collect();
    // The program's start and end, which no line falls into, may take their time.
    let most = finished.elapsed.as_secs() / 10;
    assert!((1..=most).contains(&(lines.len() as u64)), "one line each 10 s of {:?}: {}", finished.elapsed, finished.stderr);
    for word in ["state=running", "records=", "rate=", "eta=", "workers="] {
        assert!(lines[0].contains(word), "{word}: {}", lines[0]);
    }
    // Nothing but the result on stdout, and with -q nothing on stderr either.
    finished.json();
    let quiet = scene.run(&["-q"]).expect_code(0);
    assert_eq!(quiet.stderr, "");
    scene.program.assert_nothing_left();
}
