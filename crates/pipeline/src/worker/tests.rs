//! The stepper against doubles, on simulated time.

mod barrier;
mod faults;
mod later;
mod letters;
mod letters_topic;
mod order;
mod pace;
mod sets;

use std::cell::RefCell;
use std::collections::HashSet;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use migration::job::{ChunkLimits, FieldPath, FlushPolicy, OnMissing, RecordRules, TimestampUnit, Validate};
use migration::{
    Chunk, Control, Counts, Failure, FailureKind, Finished, LedgerEntry, Plan, Position, ShardId, TopicSettings, WorkerEvent,
};
use tempfile::TempDir;

use super::ledger::Ledger;
use super::refused::Refused;
use super::{ShardWorker, Step, WaitReason, WorkerSettings};
use crate::dead_letter::{
    self, DeadLetter, DeadLetterFile, LetterSpool, Letters, LettersOrigin, OutgoingLetter, TopicLetter, TopicLetters,
};
use crate::doubles::{Behaviour, MadeRows, MemoryReader, MemorySink, Topic, token_of};
use crate::fate::{self, Look};
use crate::mapping::Mapping;
use crate::{Reader, RecordPlace, Source};

/// What a test runs; attempts share the topic and the dead letters.
struct Rig {
    segments: Rc<Vec<Vec<u8>>>,
    settings: WorkerSettings,
    rules: RecordRules,
    partitions: u32,
    behaviour: Behaviour,
    seed: u64,
    max_line: usize,
    changed: bool,
    /// The reader makes the rows.
    made: bool,
    /// The segment and the byte in it from which on nothing can be read.
    damaged: Option<(u32, u64)>,
    /// The attempt dies right before this step.
    kill_at: Option<u64>,
    folder: TempDir,
    topic: Option<Rc<RefCell<Topic>>>,
    /// How long the dead letters are by the last commit.
    committed_letters: u64,
    /// The number of the attempt, if letters go to a topic.
    letters_attempt: Option<u32>,
    /// How many letters are committed.
    counted_letters: u64,
}

/// What an attempt said.
struct Attempt {
    chunks: Vec<Chunk>,
    log: Vec<String>,
    /// How often it said that it has read everything.
    at_end: usize,
    end: Result<Finished, Failure>,
    /// Simulated time it took.
    elapsed: Duration,
    /// What it says that it took, once it failed.
    taken: Counts,
}

impl Attempt {
    /// It can't go on. What it says that it took holds all that it delivered, `delivered` records.
    fn fail(&mut self, failure: Failure, worker: &mut ShardWorker, delivered: usize, now: Instant) {
        self.end = Err(failure);
        self.taken = worker.progress(now).counts;
        let sent = self.taken.read - self.taken.filtered - self.taken.dead_lettered;
        assert!(delivered as u64 <= sent, "{delivered} delivered, {:?} said to be taken", self.taken);
    }
}

/// Tells an attempt what to do, before each step.
type Script<'a> = &'a mut dyn FnMut(&mut Control, Told);

/// What a script may look at.
struct Told {
    step: u64,
    elapsed: Duration,
    chunks: usize,
    waits: Option<WaitReason>,
}

/// Passed up to there, and nothing sent.
fn entry_at(position: Position) -> LedgerEntry {
    LedgerEntry { position, ..LedgerEntry::default() }
}

impl Rig {
    /// The folder of dead letters, made by the first of them.
    fn letters_folder(&self) -> PathBuf {
        self.folder.path().join("letters")
    }

    fn new(lines: impl IntoIterator<Item = String>) -> Self {
        let text = lines.into_iter().fold(String::new(), |text, line| text + &line + "\n");
        Rig {
            segments: Rc::new(vec![text.into_bytes()]),
            settings: WorkerSettings {
                flush: FlushPolicy::Chunk,
                chunk: ChunkLimits { records: 1_000_000, bytes: 256 << 20, interval: Duration::from_secs(1) },
                in_flight: 1 << 20,
                partitioner: |key, partitions| {
                    let hash = key.iter().fold(7u32, |hash, &byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte)));
                    (!key.is_empty()).then_some(hash % partitions)
                },
                give_up_after: Duration::from_secs(900),
                headers_bytes: 0,
                topic: TopicSettings::default(),
                own: None,
                letters_left: u64::MAX,
                refused: Refused::default(),
                ledger: Ledger::Checkpoint,
            },
            rules: RecordRules {
                key: None,
                on_missing: OnMissing::Null,
                validate: Validate::Field,
                timestamp: None,
                timestamp_unit: TimestampUnit::Milliseconds,
                headers: Vec::new(),
            },
            partitions: 4,
            behaviour: Behaviour::default(),
            seed: 1,
            max_line: 1 << 20,
            changed: false,
            made: false,
            damaged: None,
            kill_at: None,
            folder: tempfile::tempdir().unwrap(),
            topic: None,
            committed_letters: 0,
            letters_attempt: None,
            counted_letters: 0,
        }
    }

    fn keyed(mut self) -> Self {
        self.rules.key = Some(FieldPath(vec!["k".to_owned()]));
        self
    }

    fn worker(&mut self, from: Position) -> ShardWorker {
        if self.made {
            let token = (from.records > 0).then(|| token_of(&from));
            let made = self.made_rows().open(&Plan::default(), ShardId(0), &from, token.as_ref()).unwrap();
            return self.worker_of(made, from);
        }
        let mut reader = MemoryReader::new(Rc::clone(&self.segments), from.segment, from.place, self.max_line).with_tokens();
        if self.changed {
            reader = reader.changed();
        }
        if let Some((segment, place)) = self.damaged {
            reader = reader.damaged(segment, place);
        }
        self.worker_of(Box::new(reader), from)
    }

    fn worker_of(&mut self, reader: Box<dyn Reader>, from: Position) -> ShardWorker {
        let mut sink = MemorySink::new(self.partitions, self.behaviour.clone(), self.seed);
        match &self.topic {
            Some(topic) => sink = sink.onto(Rc::clone(topic)),
            None => self.topic = Some(sink.topic()),
        }
        let objects: Vec<_> = (0..self.segments.len()).map(|index| PathBuf::from(format!("{index}.jsonl"))).collect();
        let letters =
            DeadLetterFile::open(&self.letters_folder(), ShardId(0), &objects, self.committed_letters, |path, options| {
                options.open(path)
            })
            .unwrap();
        let letters = match self.letters_attempt {
            None => Letters::File(letters),
            Some(attempt) => {
                let origin = LettersOrigin { job: "orders".to_owned(), began: 7 };
                Letters::Topic(TopicLetters::new(origin, ShardId(0), attempt, &objects, self.counted_letters))
            }
        };
        let mapping = Mapping::new(&self.rules);
        ShardWorker::new(self.settings.clone(), reader, mapping, Box::new(sink), letters, entry_at(from), Instant::now())
    }

    /// The segments as a source of made rows.
    fn made_rows(&self) -> MadeRows {
        MadeRows::new(self.segments.to_vec(), self.max_line)
    }

    /// Runs one attempt; every chunk is recorded at once unless the script takes that back.
    fn run(&mut self, from: Position, script: Script<'_>) -> Attempt {
        let mut worker = self.worker(from);
        let start = Instant::now();
        let before = self.stored();
        let mut attempt = Attempt {
            chunks: Vec::new(),
            log: Vec::new(),
            at_end: 0,
            end: Ok(finished(from)),
            elapsed: Duration::ZERO,
            taken: Counts::default(),
        };
        let mut control = Control::default();
        let (mut waits, mut judge) = (None, CommitJudge::new(self, from));
        for step in 0.. {
            if self.kill_at == Some(step) {
                attempt.end = Err(Failure::new(FailureKind::Retry, "killed"));
                return attempt;
            }
            control.recorded = attempt.chunks.len() as u64;
            script(&mut control, Told { step, elapsed: attempt.elapsed, chunks: attempt.chunks.len(), waits });
            let now = start + attempt.elapsed;
            let came = worker.step(&control, now);
            let before_step = attempt.chunks.len();
            collect(&mut worker, &mut attempt);
            self.counted_letters += attempt.chunks[before_step..].iter().map(|chunk| chunk.counts.dead_lettered).sum::<u64>();
            if let Some(last) = attempt.chunks.last() {
                self.committed_letters = last.letters;
            }
            judge.look_at(self, &attempt.chunks);
            waits = None;
            match came {
                Ok(Step::Busy) => attempt.elapsed += Duration::from_nanos(500),
                Ok(Step::Wait { until, reason }) => {
                    assert!(until <= now + Duration::from_secs(1), "a wait without a look at the control pipe");
                    waits = Some(reason);
                    let served = if reason == WaitReason::Reports { Duration::from_millis(1) } else { Duration::ZERO };
                    if let Err(failure) = worker.wait(served) {
                        attempt.fail(failure, &mut worker, self.stored() - before, now);
                        return attempt;
                    }
                    let rest = until.saturating_duration_since(now).max(Duration::from_micros(1));
                    attempt.elapsed += if reason == WaitReason::Reports { rest.min(Duration::from_millis(1)) } else { rest };
                }
                Ok(Step::Done) => {
                    attempt.end = worker.finish();
                    return attempt;
                }
                Err(failure) => {
                    attempt.fail(failure, &mut worker, self.stored() - before, now);
                    return attempt;
                }
            }
            assert!(step < 5_000_000, "the attempt does not end");
        }
        attempt
    }

    fn run_through(&mut self) -> Attempt {
        self.run(Position::default(), &mut |_, _| ())
    }

    fn letters(&self) -> Vec<DeadLetter> {
        if self.letters_attempt.is_some() {
            return self.topic_letters().into_iter().map(|letter| letter.letter).collect();
        }
        dead_letter::read_all(&self.letters_folder(), &[(ShardId(0), self.committed_letters)], |path, options| {
            options.open(path)
        })
        .unwrap()
    }

    /// The letters that the topic of letters has.
    fn topic_letters(&self) -> Vec<TopicLetter> {
        let origin = LettersOrigin { job: "orders".to_owned(), began: 7 };
        let topic = self.topic.as_ref().unwrap().borrow();
        let parse = |letter: &OutgoingLetter| {
            let bytes = letter.headers.iter().map(|(name, value)| (name.as_bytes(), Some(value.as_bytes())));
            TopicLetter::of(&origin, &bytes.collect::<Vec<_>>(), &letter.value).expect("a letter of the job")
        };
        topic.letters.iter().map(parse).collect()
    }

    /// Those of them that are committed, and how many are not.
    fn committed_topic_letters(&self) -> (Vec<DeadLetter>, u64) {
        let file = tempfile::tempfile().unwrap();
        let mut spool = LetterSpool::new(file.try_clone().unwrap());
        self.topic_letters().iter().for_each(|letter| spool.add(letter, 0).unwrap());
        let spooled = spool.end(&[(ShardId(0), self.counted_letters)]).unwrap();
        assert_eq!(spooled.gone, []);
        let mut letters = Vec::new();
        spooled
            .each(&file, &mut |place, letter| {
                assert_eq!(spooled.read(&file, place).unwrap(), letter);
                letters.push(letter);
                Ok(())
            })
            .unwrap();
        (letters, spooled.uncommitted)
    }

    /// How many records the topic holds.
    fn stored(&self) -> usize {
        self.topic.as_ref().map_or(0, |topic| topic.borrow().partitions.iter().map(Vec::len).sum())
    }

    /// The numbers of the delivered records, by partition.
    fn delivered(&self) -> Vec<Vec<u64>> {
        let topic = self.topic.as_ref().unwrap().borrow();
        topic.partitions.iter().map(|stored| stored.iter().map(|m| number(&m.value)).collect()).collect()
    }

    /// Of each line, whether it is the worker's own.
    fn own_lines(&self) -> Vec<bool> {
        let mut mapping = Mapping::new(&self.rules);
        let whose = |(line, (segment, start)): (&&[u8], (u32, u64))| {
            let look = match line {
                line if line.len() > self.max_line => Look::Bad("too long"),
                line if fate::is_blank(line) => Look::Blank,
                line => Look::Record(line),
            };
            let own = self.settings.own.as_ref();
            own.is_none_or(|own| {
                own.whose(&mut mapping, look, || RecordPlace { segment, start, bytes: 0 }) != fate::Whose::Others
            })
        };
        self.lines().iter().zip(self.places()).map(whose).collect()
    }

    /// Of each line, its segment and where it stands there: its byte, or its number where the reader makes the rows.
    fn places(&self) -> Vec<(u32, u64)> {
        let of = |(segment, bytes): (u32, &Vec<u8>)| {
            let lines = bytes.split_inclusive(|&b| b == b'\n');
            let starts = lines.scan(0, |next, line| Some(std::mem::replace(next, *next + line.len() as u64)));
            let made = self.made;
            starts.zip(0..).map(move |(start, number)| (segment, if made { number } else { start })).collect::<Vec<_>>()
        };
        (0..).zip(self.segments.iter()).flat_map(of).collect()
    }

    fn lines(&self) -> Vec<&[u8]> {
        self.segments.iter().flat_map(|segment| segment.split_inclusive(|&b| b == b'\n')).map(|l| &l[..l.len() - 1]).collect()
    }
}

/// Sees to it that nothing is committed that is neither delivered nor set aside at that moment.
struct CommitJudge {
    lines: Vec<Option<u64>>,
    /// Lines that were found to be right.
    judged: usize,
    chunks: usize,
    /// What of each partition is in `seen`.
    looked: Vec<usize>,
    seen: HashSet<u64>,
}

impl CommitJudge {
    fn new(rig: &Rig, from: Position) -> Self {
        let own = rig.own_lines();
        let number = |(line, own): (&&[u8], bool)| (own && !line.trim_ascii().is_empty()).then(|| number(line));
        let lines = rig.lines().iter().zip(own).map(number).collect();
        let (judged, looked) = (from.records as usize, vec![0; rig.partitions as usize]);
        CommitJudge { lines, judged, chunks: 0, looked, seen: HashSet::new() }
    }

    fn look_at(&mut self, rig: &Rig, chunks: &[Chunk]) {
        for chunk in &chunks[self.chunks..] {
            let topic = rig.topic.as_ref().unwrap().borrow();
            for (looked, stored) in self.looked.iter_mut().zip(&topic.partitions) {
                self.seen.extend(stored[*looked..].iter().map(|message| number(&message.value)));
                *looked = stored.len();
            }
            let records = chunk.position.records as usize;
            let mut missing: Vec<u64> = self.lines[self.judged..records].iter().flatten().copied().collect();
            missing.retain(|number| !self.seen.contains(number));
            if !missing.is_empty() {
                let letters: HashSet<u64> = rig.letters().iter().map(|letter| number(&letter.record)).collect();
                missing.retain(|number| !letters.contains(number));
            }
            assert!(missing.is_empty(), "committed up to {records}, but {missing:?} are neither delivered nor set aside");
            self.judged = records;
        }
        self.chunks = chunks.len();
    }
}

fn finished(position: Position) -> Finished {
    Finished { position, complete: false, cuts: None, work: Default::default(), peak_memory_bytes: 0 }
}

/// How many chunks a worker said that it committed.
fn commits(worker: &mut ShardWorker) -> usize {
    let events = std::iter::from_fn(|| worker.next_event());
    events.filter(|event| matches!(event, WorkerEvent::Committed(_))).count()
}

fn collect(worker: &mut ShardWorker, attempt: &mut Attempt) {
    while let Some(event) = worker.next_event() {
        match event {
            WorkerEvent::Committed(chunk) => attempt.chunks.push(chunk),
            WorkerEvent::Log { text, .. } => attempt.log.push(text),
            WorkerEvent::AtEnd => attempt.at_end += 1,
            other => panic!("{other:?}"),
        }
    }
}

/// The number after `"n":` of a line.
fn number(line: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(line);
    let digits = text.split("\"n\":").nth(1).unwrap_or("").chars().take_while(char::is_ascii_digit);
    digits.collect::<String>().parse().unwrap()
}

fn plain(count: u64) -> impl Iterator<Item = String> {
    (0..count).map(|n| format!("{{\"n\":{n}}}"))
}

fn keys(count: u64, keys: NonZeroU64) -> impl Iterator<Item = String> {
    (0..count)
        .map(move |n| format!("{{\"k\":\"key-{}\",\"n\":{n},\"pad\":\"0123456789012345678901234567890123456789\"}}", n % keys))
}
