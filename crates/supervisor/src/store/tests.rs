//! The checkpoint on a real disk: what survives a crash, what is refused, who may look.

mod additions;
mod sets;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use migration::report::Sample;
use migration::report::verify::{KeptVerdict, Verified, VerifyReport};
use migration::report::{AttemptOutcome, AttemptReport, Outcome, Resent};
use migration::units::show_utc;
use migration::{Compression, Cut, Division, Exit, Phase, Phases, Receipt, Segment, SourceObject, StateOrigin, Token};
use tempfile::TempDir;

use super::*;
use crate::random::Random;

/// What an attempt may send beyond what is on disk.
const MAY_SEND: u64 = 2_000;
/// Nothing is let pass.
const NONE: BTreeSet<Accept> = BTreeSet::new();

/// A folder that is gone when the test is over.
struct Folder(TempDir);

impl Folder {
    fn new(name: &str) -> Self {
        Folder(tempfile::Builder::new().prefix(name).tempdir().unwrap())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

fn plan(shards: u32) -> Plan {
    let object = SourceObject {
        path: "data/a.jsonl".into(),
        bytes: Some(u64::from(shards) * 1000),
        modified_ns: 5,
        fingerprint: 6,
        compression: Compression::None,
        splittable: true,
        record_starts: Vec::new(),
    };
    let mut plan = Plan { objects: vec![object], ..Plan::default() };
    for start in (0..u64::from(shards)).map(|id| id * 1000) {
        plan.add(vec![Segment { object: 0, start, end: start + 1000, bytes: Some(1000) }], 100);
    }
    plan
}

fn binding() -> Binding {
    let text = |text: &str| text.to_owned();
    Binding {
        cluster_id: text("cluster"),
        topic_id: text("topic-id"),
        topic: text("orders"),
        source: text("data/*.jsonl"),
        end_offsets: vec![3, 0, 99],
    }
}

fn create(path: &Path, shards: u32) -> Store {
    Store::create(
        path,
        &NewJob {
            name: "job",
            plan_id: 77,
            plan: &plan(shards),
            binding: &binding(),
            settings: &[],
            origin: StateOrigin::default(),
        },
    )
    .unwrap()
}

fn id(shard: u32, number: u32) -> AttemptId {
    AttemptId { shard: ShardId(shard), number }
}

fn chunk(shard: u32, number: u64, from: u64, to: u64) -> Chunk {
    let position = Position { segment: 0, place: u64::from(shard) * 1000 + to * 10, records: to };
    let counts = Counts { read: to - from, acknowledged: to - from, bytes_read: (to - from) * 10, ..Counts::default() };
    let mut work = Work::default();
    work.phases.spend(Phase::Flush, 7);
    work.flush.record(3);
    Chunk { number, position, token: None, counts, work, letters: 0, receipt: Receipt::default() }
}

fn end(attempt: AttemptId, outcome: AttemptOutcome, after: After) -> AttemptEnd {
    let work = Work::default();
    AttemptEnd {
        attempt,
        outcome,
        reason: "because".into(),
        after,
        deaths: 0,
        resent: Resent::at_most(4),
        work,
        peak_memory_bytes: 9,
        division: None,
        apart: None,
        damage: None,
    }
}

/// What a report says of an attempt, or half of it.
pub(super) fn attempt_report(shard: u32, number: u32, acknowledged: u64) -> AttemptReport {
    AttemptReport {
        shard: ShardId(shard),
        number,
        run: 1,
        pid: 1,
        started_ms: 0,
        elapsed_us: 1,
        outcome: AttemptOutcome::Finished,
        reason: String::new(),
        cpu_us: None,
        peak_memory_bytes: None,
        first_delivery_us: None,
        counts: Counts { read: acknowledged, acknowledged, ..Counts::default() },
        resent: Resent::NONE,
        restart: false,
        work: Work::default(),
    }
}

/// A job whose shards stand like this.
pub(super) fn state_of(shards: &[ShardStatus]) -> JobState {
    let folder = Folder::new(&format!("states-{:?}", std::thread::current().id()));
    let mut state = create(&folder.file("state.sqlite"), shards.len() as u32).load().unwrap();
    state.shards.iter_mut().zip(shards).for_each(|(shard, status)| shard.status = *status);
    state
}

fn usage() -> AttemptUsage {
    AttemptUsage {
        pid: 1234,
        elapsed_us: 50,
        cpu_us: 20,
        first_delivery_us: Some(30),
        peak_memory_bytes: 5,
        ..AttemptUsage::default()
    }
}

/// What would be there after a power cut now.
fn copy(from: &Path, to: &Path) {
    for suffix in ["", "-wal"] {
        let with = |path: &Path| PathBuf::from(format!("{}{suffix}", path.display()));
        let _ = fs::remove_file(with(to));
        if with(from).exists() {
            fs::copy(with(from), with(to)).unwrap();
        }
    }
    let _ = fs::remove_file(format!("{}-shm", to.display()));
}

#[test]
fn a_new_job_comes_back_as_it_was_made() {
    let folder = Folder::new("new");
    let path = folder.file("state.sqlite");
    assert!(!Store::exists(&path) && matches!(Store::open(&path), Err(StateError::Missing { .. })));
    drop(create(&path, 3));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(matches!(
        Store::create(
            &path,
            &NewJob {
                name: "job",
                plan_id: 1,
                plan: &plan(1),
                binding: &binding(),
                settings: &[],
                origin: StateOrigin::default()
            }
        ),
        Err(StateError::Exists { .. })
    ));
    let state = Store::open(&path).unwrap().load().unwrap();
    assert_eq!((state.name.as_str(), state.plan_id, &state.plan, &state.binding), ("job", 77, &plan(3), &binding()));
    assert_eq!(state.shards.len(), 3);
    assert!(state.shards.iter().zip(&plan(3).shards).all(|(s, p)| s.position == p.start && s.last_attempt == 0));
    let names: Vec<_> = fs::read_dir(&folder.0).unwrap().flatten().map(|e| e.file_name()).collect();
    assert_eq!(names, ["state.sqlite"]);
}

#[test]
fn a_running_attempt_is_known_with_its_process_from_its_first_chunk_on() {
    let folder = Folder::new("running");
    let path = folder.file("state.sqlite");
    let mut store = create(&path, 1);
    store.begin_run(1, &NONE).unwrap();
    store.begin_attempt(id(0, 1), MAY_SEND).unwrap();
    let so_far = AttemptUsage { pid: 77, elapsed_us: 5, cpu_us: 0, first_delivery_us: Some(3), ..AttemptUsage::default() };
    store.record_chunk(id(0, 1), &chunk(0, 1, 0, 10), &so_far).unwrap();
    let report = load_report(&Store::read_only(&path).unwrap(), true).unwrap();
    let attempt = &report.attempts[0];
    assert_eq!((attempt.pid, attempt.elapsed_us, attempt.first_delivery_us), (77, 5, Some(3)));
    assert_eq!((attempt.outcome, attempt.counts.read), (AttemptOutcome::Running, 10));
}

#[test]
fn samples_go_with_chunks_and_ends_and_every_second_one_can_be_left_out() {
    let folder = Folder::new("samples");
    let path = folder.file("state.sqlite");
    let mut store = create(&path, 2);
    store.begin_run(1, &NONE).unwrap();
    store.begin_attempt(id(0, 1), MAY_SEND).unwrap();
    let sample = |second: u64| {
        let mut phases = Phases::default();
        phases.spend(Phase::Flush, second * 1_000_000);
        Sample { at_ms: second * 1000, acknowledged: second * 7, cpu_us: second * 11, phases }
    };
    let with = |thin: bool, seconds: std::ops::Range<u64>| {
        let samples = NewSamples { thin, samples: seconds.map(sample).collect() };
        AttemptUsage { samples, ..usage() }
    };
    store.record_chunk(id(0, 1), &chunk(0, 1, 0, 10), &with(false, 0..5)).unwrap();
    store.record_chunk(id(0, 1), &chunk(0, 2, 10, 20), &with(true, 5..7)).unwrap();
    store.begin_attempt(id(1, 1), MAY_SEND).unwrap();
    store.end_attempt(&end(id(1, 1), AttemptOutcome::Died, After::Waiting), &with(false, 3..4), 0..0).unwrap();
    assert_eq!(store.count_samples().unwrap(), 6);
    let samples = load_samples(&Store::read_only(&path).unwrap()).unwrap();
    assert_eq!(samples[&(ShardId(0), 1)], [0, 2, 4, 5, 6].map(sample));
    assert_eq!(samples[&(ShardId(1), 1)], [sample(3)]);
    assert_eq!(samples.len(), 2);
    let report = load_report(&Store::read_only(&path).unwrap(), false).unwrap();
    assert_eq!(
        (report.attempts[0].cpu_us, report.cpu_workers_us),
        (Some(66), 66 + 33),
        "the first one's process is not yet waited for"
    );
}

#[test]
fn the_journal_of_an_earlier_file_never_reaches_a_new_one() {
    let folder = Folder::new("stale");
    let path = folder.file("state.sqlite");
    let mut old = create(&path, 3);
    old.begin_run(1, &NONE).unwrap();
    old.begin_attempt(id(0, 1), MAY_SEND).unwrap();
    old.record_chunk(id(0, 1), &chunk(0, 1, 0, 10), &usage()).unwrap();
    copy(&path, &folder.file("copy"));
    drop(old);
    fs::remove_file(&path).unwrap();
    fs::rename(folder.file("copy-wal"), folder.file("state.sqlite-wal")).unwrap();
    assert_eq!(create(&path, 3).load().unwrap().counts(), Counts::default());
}

#[test]
fn whatever_was_recorded_survives_a_power_cut_at_any_moment() {
    let folder = Folder::new("cut");
    let (path, after) = (folder.file("state.sqlite"), folder.file("after.sqlite"));
    let mut store = create(&path, 2);
    store.begin_run(2, &NONE).unwrap();
    store.begin_attempt(id(0, 1), MAY_SEND).unwrap();
    let mut random = Random::new(3);
    for n in 1..=60 {
        store.record_chunk(id(0, 1), &chunk(0, n, n - 1, n), &usage()).unwrap();
        copy(&path, &after);
        assert_eq!(Store::open(&after).unwrap().load().unwrap().shards[0].position.records, n);
        // A journal cut anywhere is an earlier state, never a wrong one.
        copy(&path, &after);
        let journal = folder.file("after.sqlite-wal");
        let bytes = fs::read(&journal).unwrap();
        let cut = (random.next() % (bytes.len() as u64 + 1)) as usize;
        fs::write(&journal, &bytes[..cut]).unwrap();
        let state = Store::open(&after).unwrap().load().unwrap();
        assert!(state.shards[0].position.records <= n && state.shards[0].counts.balance());
    }
}

#[test]
fn a_chunk_that_goes_back_or_does_not_balance_is_refused_and_changes_nothing() {
    let folder = Folder::new("refuse");
    let path = folder.file("state.sqlite");
    let mut store = create(&path, 1);
    assert!(matches!(store.record_chunk(id(0, 1), &chunk(0, 1, 0, 5), &usage()), Err(StateError::NoRun { .. })));
    store.begin_run(1, &NONE).unwrap();
    store.begin_attempt(id(0, 1), MAY_SEND).unwrap();
    store.record_chunk(id(0, 1), &chunk(0, 1, 0, 50), &usage()).unwrap();
    let before = store.load().unwrap();
    let unbalanced = Chunk { counts: Counts { read: 10, ..Counts::default() }, ..chunk(0, 2, 50, 60) };
    let too_few = Chunk { counts: Counts::default(), ..chunk(0, 2, 50, 60) };
    let back = Chunk { counts: Counts::default(), ..chunk(0, 2, 40, 40) };
    for bad in [unbalanced, too_few, back] {
        assert!(matches!(store.record_chunk(id(0, 1), &bad, &usage()), Err(StateError::Refused { .. })), "{bad:?}");
    }
    assert_eq!(store.load().unwrap(), before);
    let done = After::Done(before.shards[0].position);
    store.end_attempt(&end(id(0, 1), AttemptOutcome::Finished, done), &usage(), 0..0).unwrap();
    assert!(matches!(store.record_chunk(id(0, 1), &chunk(0, 2, 50, 60), &usage()), Err(StateError::Refused { .. })));
    assert!(store.load().unwrap().is_done());
}

#[test]
fn the_length_of_the_dead_letters_is_committed_with_the_chunk() {
    let folder = Folder::new("letters");
    let path = folder.file("state.sqlite");
    let mut store = create(&path, 2);
    store.begin_run(1, &NONE).unwrap();
    store.begin_attempt(id(1, 1), MAY_SEND).unwrap();
    store.record_chunk(id(1, 1), &Chunk { letters: 123, ..chunk(1, 1, 0, 50) }, &usage()).unwrap();
    store.end_attempt(&end(id(1, 1), AttemptOutcome::Died, After::Waiting), &usage(), 0..0).unwrap();
    drop(store);
    let state = Store::open(&path).unwrap().load().unwrap();
    assert_eq!(state.letters(), [(ShardId(0), 0), (ShardId(1), 123)]);
    assert_eq!(state.starts()[1].entry.letters, 123, "a successor starts there");
}

#[test]
fn the_token_of_a_commit_is_handed_to_the_next_attempt() {
    let folder = Folder::new("token");
    let path = folder.file("state.sqlite");
    let mut store = create(&path, 2);
    store.begin_run(1, &NONE).unwrap();
    store.begin_attempt(id(1, 1), MAY_SEND).unwrap();
    let token = |byte| Some(Token::try_from(vec![byte; 1024]).unwrap());
    store.record_chunk(id(1, 1), &Chunk { token: token(7), ..chunk(1, 1, 0, 50) }, &usage()).unwrap();
    assert_eq!(store.load().unwrap().starts().into_iter().map(|start| start.entry.token).collect::<Vec<_>>(), [None, token(7)]);
    let db = Connection::open(&path).unwrap();
    for wrong in ["x'07'", "NULL", "zeroblob(1025)"] {
        db.execute(&format!("UPDATE shards SET token = {wrong} WHERE id = 1"), []).unwrap();
        assert!(matches!(store.load(), Err(StateError::Corrupt { .. })), "{wrong}");
    }
    let right = token(7).map(Vec::from);
    db.execute("UPDATE shards SET token = ?1 WHERE id = 1", [right]).unwrap();
    store.record_chunk(id(1, 1), &chunk(1, 2, 50, 100), &usage()).unwrap();
    assert_eq!(store.load().unwrap().starts()[1].entry.token, None, "a later commit without one");
}

#[test]
fn a_split_is_kept_with_the_end_of_the_attempt_and_the_frozen_plan_stays() {
    let folder = Folder::new("split");
    let (path, before) = (folder.file("s.sqlite"), folder.file("before.sqlite"));
    let mut store = create(&path, 2);
    store.begin_run(2, &NONE).unwrap();
    store.begin_attempt(id(1, 1), MAY_SEND).unwrap();
    store.record_chunk(id(1, 1), &chunk(1, 1, 0, 20), &usage()).unwrap();
    copy(&path, &before);
    let mut now = plan(2);
    let cuts = vec![Cut { segment: 0, place: 1400 }, Cut { segment: 0, place: 1700 }];
    let division = Division::Places(cuts);
    let added = now.split(ShardId(1), &chunk(1, 1, 0, 20).position, &division).unwrap();
    let end = AttemptEnd { division: Some(division), ..end(id(1, 1), AttemptOutcome::Drained, After::Waiting) };
    store.end_attempt(&end, &usage(), added).unwrap();
    drop(store);

    let state = Store::open(&path).unwrap().load().unwrap();
    assert_eq!((&state.plan, state.frozen_plan(), state.shards.len()), (&now, &plan(2), 4));
    assert_eq!(state.shards[1].position.records, 20);
    assert!(state.shards[2].position == now.shards[2].start && state.shards[2].counts == Counts::default());
    let earlier = Store::open(&before).unwrap().load().unwrap();
    assert_eq!((&earlier.plan, earlier.shards.len()), (&plan(2), 2), "a crash before it leaves the plan as it was");

    // A piece is worked on and split like any other shard.
    let mut store = Store::open(&path).unwrap();
    store.begin_run(2, &NONE).unwrap();
    store.begin_attempt(id(3, 1), MAY_SEND).unwrap();
    let from = now.shards[3].start;
    let cuts = vec![Cut { segment: 0, place: 1900 }];
    let division = Division::Places(cuts);
    let added = now.split(ShardId(3), &from, &division).unwrap();
    let end = AttemptEnd { division: Some(division), ..self::end(id(3, 1), AttemptOutcome::Drained, After::Waiting) };
    store.end_attempt(&end, &usage(), added).unwrap();
    assert_eq!(store.load().unwrap().plan, now);

    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute("UPDATE changes SET kind = 'added' WHERE sequence = 1", []).unwrap();
    assert!(matches!(Store::open(&path).and_then(|store| store.load()), Err(StateError::Corrupt { .. })));
    db.execute("DELETE FROM changes WHERE sequence = 0", []).unwrap();
    assert!(matches!(Store::open(&path).and_then(|store| store.load()), Err(StateError::Corrupt { .. })));
}

#[test]
fn the_report_adds_up_over_runs_and_a_new_run_tries_quarantined_shards_again() {
    let folder = Folder::new("report");
    let path = folder.file("state.sqlite");
    let mut store = create(&path, 3);
    assert_eq!(store.begin_run(2, &NONE).unwrap(), 1);
    for (shard, number) in [(0, 1), (1, 1), (2, 1)] {
        store.begin_attempt(id(shard, number), MAY_SEND).unwrap();
        store.record_chunk(id(shard, number), &chunk(shard, 1, 0, 10), &usage()).unwrap();
    }
    let at = store.load().unwrap().shards[0].position;
    store.end_attempt(&end(id(0, 1), AttemptOutcome::Finished, After::Done(at)), &usage(), 0..0).unwrap();
    let quarantine = AttemptEnd { deaths: 5, ..end(id(1, 1), AttemptOutcome::Died, After::Quarantined) };
    store.end_attempt(&quarantine, &usage(), 0..0).unwrap();
    store.note("something happened").unwrap();
    let running = load_report(&Store::read_only(&path).unwrap(), true).unwrap();
    assert_eq!((running.outcome, running.exit), (Outcome::Running, None));
    assert_eq!((running.shards.total, running.shards.done, running.shards.quarantined), (3, 1, 1));
    assert_eq!(
        running.resent,
        Some(Resent::at_most(4)),
        "of the one that died; what a running one sends is not sent again yet"
    );
    assert_eq!(running.work.flush.count(), 1, "of the one that still runs; the others' last word replaced theirs");
    // The supervisor is killed here.
    drop(store);
    let killed = load_report(&Store::read_only(&path).unwrap(), false).unwrap();
    assert_eq!((killed.outcome, killed.exit), (Outcome::Stopped, None), "{:?}", killed.reasons);
    assert_eq!((killed.attempts[2].outcome, killed.resent), (AttemptOutcome::Orphaned, Some(Resent::at_most(4 + MAY_SEND))));

    let mut store = Store::open(&path).unwrap();
    let accept = BTreeSet::from([Accept::PlaintextPassword, Accept::Partitions]);
    assert_eq!(store.begin_run(4, &accept).unwrap(), 2);
    let state = store.load().unwrap();
    assert_eq!((state.shards[1].status, state.shards[1].deaths, state.shards[1].last_attempt), (ShardStatus::Waiting, 0, 1));
    store.begin_attempt(id(1, 2), MAY_SEND).unwrap();
    // Its last heartbeat did not tell.
    let silent = AttemptEnd { peak_memory_bytes: 0, ..end(id(1, 2), AttemptOutcome::Drained, After::Waiting) };
    store.end_attempt(&silent, &usage(), 0..0).unwrap();
    store.end_run(75, &["first".into(), "second".into()], 4, 1000).unwrap();
    let report = load_report(&store, false).unwrap();
    assert_eq!((report.exit, report.reasons.len()), (Some(Exit::Stopped), 2));
    assert_eq!((report.workers.count, report.workers.forked, report.workers.restarts), (4, 4, 1));
    assert_eq!((report.counts.read, report.cpu_workers_us, report.cpu_supervisor_us), (30, 60, 1000));
    let known: Vec<_> = report.attempts.iter().map(|a| (a.resent.most, a.peak_memory_bytes)).collect();
    assert_eq!(known, [(0, Some(9)), (4, Some(9)), (MAY_SEND, Some(5)), (4, Some(5))], "nothing came after the first");
    assert_eq!(report.accepted, ["partitions", "plaintext-password"]);
    assert_eq!((report.runs[0].accepted.len(), report.runs[1].accepted.len()), (0, 2));
    assert_eq!(report.attempts[2].outcome, AttemptOutcome::Orphaned);
    assert_eq!(report.attempts[0].first_delivery_us, Some(30));
    assert_eq!((report.shard_reports[1].attempts, report.events.len(), report.runs.len()), (2, 2, 2));
    assert!(report.events[1].1.starts_with("run 1 was killed, or could not write its state any more, after 20"), "{report:?}");
    assert!(report.events[1].1.ends_with(", when run 2 began"), "{report:?}");
}

#[test]
fn what_is_written_between_two_runs_is_no_sign_of_life_of_the_killed_one() {
    let folder = Folder::new("sign-of-life");
    let path = folder.file("state.sqlite");
    let mut store = create(&path, 1);
    store.begin_run(1, &NONE).unwrap();
    store.note("scaled 1 -> 2").unwrap();
    let told = load_report(&store, true).unwrap();
    let wrote_ms = told.runs[0].started_ms + told.runs[0].elapsed_us.div_ceil(1000) as i64;
    assert!(told.events[0].0 <= wrote_ms, "what a run writes is a sign of its life: {told:?}");
    // It is killed here, five seconds after its begin.
    drop(store);
    let times = "UPDATE runs SET started_ms = 1000000, elapsed_us = 4999001; UPDATE events SET time_ms = 1002000";
    Connection::open(&path).unwrap().execute_batch(times).unwrap();
    let mut store = Store::open(&path).unwrap();
    store.note_refusal("a run was refused").unwrap();
    store.notice("a.gz is another file now").unwrap();
    let events = load_report(&store, false).unwrap().events;
    let killed =
        "run 1 was killed, or could not write its state any more, after 1970-01-01 00:16:45 UTC, its last sign of life";
    let texts: Vec<&str> = events.iter().map(|(_, text)| &text[..]).collect();
    assert_eq!(texts, ["scaled 1 -> 2", killed, "a run was refused", "a.gz is another file now"]);
    assert_eq!(events[1].0, 1_005_000);
    store.begin_run(1, &NONE).unwrap();
    let began = load_report(&store, true).unwrap();
    let begins = format!(" and before {}, when run 2 began", show_utc(began.runs[1].started_ms as u64));
    assert_eq!(began.events[1].1, format!("{killed}{begins}"));
}

#[test]
fn readers_see_whole_states_and_never_stop_the_writer() {
    let folder = Folder::new("readers");
    let path = folder.file("state.sqlite");
    let mut store = create(&path, 1);
    store.begin_run(1, &NONE).unwrap();
    store.begin_attempt(id(0, 1), MAY_SEND).unwrap();
    let reader = Store::read_only(&path).unwrap();
    let held = reader.db.unchecked_transaction().unwrap();
    let seen: i64 = held.query_row("SELECT records FROM shards", [], |row| row.get(0)).unwrap();
    for n in 1..=100 {
        store.record_chunk(id(0, 1), &chunk(0, n, n - 1, n), &usage()).unwrap();
        let state = Store::read_only(&path).unwrap().load().unwrap();
        assert_eq!(state.shards[0].position.records, n);
    }
    assert_eq!(seen, held.query_row("SELECT records FROM shards", [], |row| row.get::<_, i64>(0)).unwrap());
    drop(held);
    assert!(reader.db.execute("DELETE FROM shards", []).is_err());
}

/// A checkpoint with something in it, all in one file.
fn settled(path: &Path) -> JobState {
    let mut store = create(path, 20);
    store.begin_run(1, &NONE).unwrap();
    for shard in 0..15 {
        store.begin_attempt(id(shard, 1), MAY_SEND).unwrap();
        store.record_chunk(id(shard, 1), &chunk(shard, 1, 0, 10 + u64::from(shard)), &usage()).unwrap();
    }
    drop(store);
    Store::open(path).unwrap().load().unwrap()
}

/// What a damaged file is taken for: refused (`None`), or a state.
fn reopened(path: &Path) -> Option<JobState> {
    let mut store = Store::open(path).ok()?;
    let state = store.load().ok()?;
    store.begin_run(1, &NONE).ok()?;
    Some(state)
}

#[test]
fn a_flipped_byte_is_refused_or_changes_nothing_that_a_resume_depends_on() {
    let folder = Folder::new("flip");
    let (path, bad) = (folder.file("state.sqlite"), folder.file("bad.sqlite"));
    let good = settled(&path);
    let bytes = fs::read(&path).unwrap();
    let mut random = Random::new(11);
    let mut refused = 0;
    for _ in 0..300 {
        let mut changed = bytes.clone();
        for _ in 0..=random.next() % 3 {
            let at = (random.next() % bytes.len() as u64) as usize;
            changed[at] ^= 1 << (random.next() % 8);
        }
        copy(&path, &bad);
        fs::write(&bad, &changed).unwrap();
        match reopened(&bad) {
            None => refused += 1,
            Some(state) => assert_eq!(resume(&state), resume(&good)),
        }
    }
    assert!(refused > 25, "{refused}");
}

/// The part of a state that decides what is sent. (Attempts' numbers and times only have to be told apart.)
fn resume(state: &JobState) -> (u128, &Plan, Vec<(ShardStatus, Position, Counts)>) {
    (state.plan_id, &state.plan, state.shards.iter().map(|s| (s.status, s.position, s.counts)).collect())
}

#[test]
fn a_truncated_file_is_refused_or_lost_nothing_that_a_resume_depends_on() {
    let folder = Folder::new("truncate");
    let (path, bad) = (folder.file("state.sqlite"), folder.file("bad.sqlite"));
    let good = settled(&path);
    let bytes = fs::read(&path).unwrap();
    let mut survived = 0;
    for length in (0..bytes.len()).step_by(997) {
        copy(&path, &bad);
        fs::write(&bad, &bytes[..length]).unwrap();
        if let Some(state) = reopened(&bad) {
            assert_eq!(resume(&state), resume(&good), "{length} of {} bytes", bytes.len());
            survived += 1;
        }
    }
    // At most the last page can be missed unnoticed.
    assert!(survived <= 5, "{survived}");
}

#[test]
fn an_old_copy_is_an_earlier_state() {
    let folder = Folder::new("old");
    let (path, old) = (folder.file("state.sqlite"), folder.file("old.sqlite"));
    let before = settled(&path);
    copy(&path, &old);
    let mut store = Store::open(&path).unwrap();
    store.begin_run(1, &NONE).unwrap();
    store.begin_attempt(id(0, 2), MAY_SEND).unwrap();
    store.record_chunk(id(0, 2), &chunk(0, 1, 10, 90), &usage()).unwrap();
    assert_eq!(Store::open(&old).unwrap().load().unwrap(), before);
}

#[test]
fn notices_are_events_and_a_list_of_their_own_each_once() {
    let folder = Folder::new("notices");
    let mut store = create(&folder.file("state.sqlite"), 1);
    store.notice("b.gz is another file now").unwrap();
    store.begin_run(1, &BTreeSet::new()).unwrap();
    store.note("a worker died").unwrap();
    for _ in 0..2 {
        store.notice("a.gz is padded").unwrap();
    }
    let report = load_report(&store, true).unwrap();
    assert_eq!(report.notices, ["b.gz is another file now", "a.gz is padded"]);
    let events: Vec<&str> = report.events.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(events, ["b.gz is another file now", "a worker died", "a.gz is padded", "a.gz is padded"]);
}

/// A scheduler may try every minute.
#[test]
fn a_refusal_is_an_event_once_with_its_last_time_and_no_run() {
    let folder = Folder::new("refusals");
    let mut store = create(&folder.file("state.sqlite"), 1);
    store.begin_run(1, &BTreeSet::new()).unwrap();
    store.end_run(0, &[], 1, 0).unwrap();
    for _ in 0..100 {
        store.note_refusal("not begun (exit 7): a.jsonl is gone").unwrap();
        store.note_refusal("not begun (exit 4): no broker").unwrap();
    }
    store.note_refusal("not begun (exit 7): a.jsonl is gone").unwrap();
    let report = load_report(&store, false).unwrap();
    let events: Vec<&str> = report.events.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(events, ["not begun (exit 4): no broker", "not begun (exit 7): a.jsonl is gone"]);
    assert_eq!((report.runs.len(), report.exit, report.notices.len()), (1, Some(migration::Exit::Done), 0));
    assert!(report.events[0].0 >= report.runs[0].started_ms);
}

#[test]
fn turns_of_the_knobs_are_kept_with_what_they_brought() {
    let folder = Folder::new("turns");
    let path = folder.file("state.sqlite");
    let mut store = create(&path, 1);
    let before = Pace { records_per_second: 100.5, flush_share: 0.75 };
    let turn = |text: &str| SteerEvent { unix_ms: 1_795_422_667_999, text: text.to_owned(), before, after: None };
    let first = store.note_turn(&turn("scaled 2 -> 8"), None).unwrap();
    let second = store.note_turn(&turn("paused"), None).unwrap();
    let after = Pace { records_per_second: 400.0, flush_share: 0.5 };
    store.note_pace(first, &after).unwrap();
    assert_ne!(first, second);
    let expected = [SteerEvent { after: Some(after), ..turn("scaled 2 -> 8") }, turn("paused")];
    assert_eq!(load_report(&Store::read_only(&path).unwrap(), true).unwrap().steering, expected);
    let last = store.note_turn(&turn("continued"), Some((second, after))).unwrap();
    let report = load_report(&Store::read_only(&path).unwrap(), true).unwrap();
    assert_eq!(report.steering[1..], [SteerEvent { after: Some(after), ..turn("paused") }, turn("continued")]);
    assert_eq!(report.events.last().map(|(_, text)| &**text), Some("continued"));
    Connection::open(&path)
        .and_then(|db| db.execute("UPDATE steering SET sequence = sequence + 1000 WHERE sequence = ?1", [last]))
        .unwrap();
    store.note_turn(&turn("paused again"), None).unwrap();
    let kept: Vec<String> =
        load_report(&Store::read_only(&path).unwrap(), true).unwrap().steering.into_iter().map(|turn| turn.text).collect();
    assert_eq!(kept, ["continued", "paused again"], "the newest thousand");
}

#[test]
fn what_is_not_ours_is_named_and_left_alone() {
    let folder = Folder::new("foreign");
    let path = folder.file("state.sqlite");
    fs::write(&path, "not a database, but long enough to be looked at ".repeat(100)).unwrap();
    assert!(matches!(Store::open(&path), Err(StateError::Foreign { .. })));
    fs::write(&path, "").unwrap();
    assert!(matches!(Store::open(&path), Err(StateError::Corrupt { .. })));
    fs::remove_file(&path).unwrap();
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE job (plan_id)").unwrap();
    assert!(matches!(Store::open(&path), Err(StateError::Foreign { .. })));
    fs::remove_file(&path).unwrap();
    drop(create(&path, 1));
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 1).unwrap();
    assert!(matches!(Store::open(&path), Err(StateError::Version { found: 1, known: 12, .. })));
    assert!(matches!(Store::read_only(&path), Err(StateError::Version { .. })));
}

#[test]
fn settings_that_must_not_change_are_kept() {
    let folder = Folder::new("settings");
    let path = folder.file("state.sqlite");
    let settings = [("record.key".to_owned(), ".customer.idd".to_owned()), ("record.headers".to_owned(), String::new())];
    let new = NewJob {
        name: "job",
        plan_id: 7,
        plan: &plan(1),
        binding: &binding(),
        settings: &settings,
        origin: StateOrigin { generation: 3, created_ms: i64::MAX, from_topic: true },
    };
    drop(Store::create(&path, &new).unwrap());
    let before = Store::read_only(&path).unwrap().load().unwrap();
    assert_eq!(before.settings, settings);
    assert!(before.origin == new.origin && before.last_run == 0 && before.is_begun(), "Kafka had it");
    // They may become others; all else stays.
    let other = [("record.key".to_owned(), ".customer.id".to_owned())];
    Store::open(&path).unwrap().change_settings(&other, "the key is another one").unwrap();
    let store = Store::read_only(&path).unwrap();
    assert_eq!(store.load().unwrap(), JobState { settings: other.to_vec(), ..before });
    assert_eq!(load_report(&store, true).unwrap().notices, ["the key is another one"]);
}

#[test]
fn rows_that_do_not_fit_the_plan_are_refused() {
    let damages = [
        "UPDATE shards SET records = records + 1 WHERE id = 3",
        "UPDATE shards SET status = 1 WHERE id = 19",
        "DELETE FROM shards WHERE id = 19",
        "DELETE FROM shards WHERE id = 4",
        "UPDATE end_offsets SET end_offset = 0",
        "UPDATE job SET plan = zeroblob(100)",
        "UPDATE job SET plan_id = zeroblob(16)",
        "UPDATE job SET settings = zeroblob(9)",
        "DELETE FROM job",
        "DROP TABLE shards",
    ];
    let folder = Folder::new("rows");
    let (path, bad) = (folder.file("state.sqlite"), folder.file("bad.sqlite"));
    settled(&path);
    for damage in damages {
        copy(&path, &bad);
        Connection::open(&bad).unwrap().execute_batch(damage).unwrap();
        let refused = Store::open(&bad).and_then(|store| store.load());
        assert!(matches!(refused, Err(StateError::Corrupt { .. })), "{damage}: {refused:?}");
    }
}

#[test]
fn a_full_disk_keeps_the_state_as_it_was() {
    let folder = Folder::new("full");
    let path = folder.file("state.sqlite");
    let mut store = create(&path, 200);
    store.begin_run(1, &NONE).unwrap();
    store.db.pragma_update(None, "max_page_count", 1).unwrap();
    let mut recorded = 0;
    let error = loop {
        store.db.execute("INSERT INTO events (time_ms, text) VALUES (0, ?1)", [" ".repeat(5000)]).unwrap_or(0);
        let result = store.begin_attempt(id(0, recorded + 1), MAY_SEND).and_then(|()| {
            let n = u64::from(recorded);
            let mut chunk = chunk(0, n + 1, n, n + 1);
            chunk.work.partitions = vec![u64::from(u32::MAX); 3000];
            store.record_chunk(id(0, recorded + 1), &chunk, &usage())
        });
        match result {
            Ok(()) => recorded += 1,
            Err(e) => break e,
        }
    };
    assert!(matches!(error, StateError::Disk { .. }), "{error}");
    assert_eq!(Store::read_only(&path).unwrap().load().unwrap().shards[0].position.records, u64::from(recorded));
}

#[test]
fn the_end_of_the_last_run_can_be_corrected() {
    let folder = Folder::new("revise");
    let path = folder.file("state.sqlite");
    let mut store = create(&path, 1);
    for code in [75, 0] {
        store.begin_run(1, &NONE).unwrap();
        store.end_run(code, &[], 1, 0).unwrap();
    }
    store.revise_end(6, &["one record is missing".to_owned()]).unwrap();
    let report = load_report(&store, false).unwrap();
    assert_eq!(report.runs.iter().map(|run| run.exit_code).collect::<Vec<_>>(), [Some(75), Some(6)]);
    assert_eq!((report.exit, report.reasons), (Some(Exit::Difference), vec!["one record is missing".to_owned()]));
}

#[test]
fn a_file_that_nobody_can_write_is_read_whatever_its_name() {
    let folder = Folder::new("still");
    let path = folder.file("a b%41?x#y=ü.sqlite");
    drop(create(&path, 2));
    let db = schema::open_still(&path).unwrap();
    let shards: i64 = db.query_row("SELECT count(*) FROM shards", [], |row| row.get(0)).unwrap();
    assert!(shards > 0);
    drop(db);
    assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 1, "nothing was made beside it");
}

/// Two shards: of two compressed files each.
fn packed_plan() -> Plan {
    let object = |number: u64| SourceObject {
        path: format!("{number}.gz").into(),
        bytes: Some(100),
        modified_ns: 1,
        fingerprint: u128::from(number),
        compression: Compression::Gzip,
        splittable: false,
        record_starts: Vec::new(),
    };
    let segment = |object| Segment { object, start: 0, end: Segment::WHOLE, bytes: Some(100) };
    let mut plan = Plan { objects: (0..4).map(object).collect(), ..Plan::default() };
    plan.add(vec![segment(0), segment(1)], 20);
    plan.add(vec![segment(2), segment(3)], 20);
    plan
}

#[test]
fn a_file_that_took_the_place_of_a_damaged_one_is_kept_beside_the_frozen_plan() {
    let folder = Folder::new("replaced");
    let path = folder.file("state.sqlite");
    let (frozen, binding) = (packed_plan(), Binding::default());
    let mut store = Store::create(
        &path,
        &NewJob { name: "job", plan_id: 7, plan: &frozen, binding: &binding, settings: &[], origin: StateOrigin::default() },
    )
    .unwrap();
    assert_eq!(store.load().unwrap().sent_of(0), Ok(None));
    for outcome in [AttemptOutcome::Running, AttemptOutcome::Died, AttemptOutcome::Orphaned, AttemptOutcome::Stopped] {
        let path = folder.file("killed.sqlite");
        let mut killed = Store::create(
            &path,
            &NewJob {
                name: "job",
                plan_id: 7,
                plan: &frozen,
                binding: &binding,
                settings: &[],
                origin: StateOrigin::default(),
            },
        )
        .unwrap();
        killed.begin_run(1, &NONE).unwrap();
        killed.begin_attempt(id(0, 1), MAY_SEND).unwrap();
        if outcome != AttemptOutcome::Running {
            killed.end_attempt(&end(id(0, 1), outcome, After::Waiting), &usage(), 0..0).unwrap();
        }
        let state = killed.load().unwrap();
        assert!(
            state.sent_of(0).is_err_and(|why| why.contains("killed")),
            "{outcome:?}: it may have sent what was not committed"
        );
        drop(killed);
        std::fs::remove_file(&path).unwrap();
    }
    // Shard 0 is committed into its first file, which can't be read further; its second file is cut off, and shard 1 is
    // done.
    store.begin_run(1, &NONE).unwrap();
    store.begin_attempt(id(0, 1), MAY_SEND).unwrap();
    let counts = Counts { read: 3, acknowledged: 3, ..Counts::default() };
    let position = Position { segment: 0, place: 30, records: 3 };
    let part = Chunk { number: 1, position, counts, ..Chunk::default() };
    store.record_chunk(id(0, 1), &part, &usage()).unwrap();
    assert!(store.load().unwrap().sent_of(0).is_err(), "nothing is known of what was sent");
    let mut plan = frozen.clone();
    let cuts = vec![Cut { segment: 1, place: 0 }];
    let division = Some(Division::Places(cuts));
    plan.split(ShardId(0), &position, division.as_ref().unwrap()).unwrap();
    let damage = Some(migration::Damage { segment: 0, hash: Some(99_u128.to_be_bytes()) });
    let failed =
        AttemptEnd { division, damage, resent: Resent::NONE, ..end(id(0, 1), AttemptOutcome::Unreadable, After::Quarantined) };
    store.end_attempt(&failed, &usage(), 2..3).unwrap();
    store.begin_attempt(id(1, 1), MAY_SEND).unwrap();
    let all = Position { segment: 1, place: 50, records: 3 };
    store.record_chunk(id(1, 1), &Chunk { number: 1, position: all, counts, ..Chunk::default() }, &usage()).unwrap();
    let finished = AttemptEnd { resent: Resent::NONE, ..end(id(1, 1), AttemptOutcome::Finished, After::Done(all)) };
    store.end_attempt(&finished, &usage(), 0..0).unwrap();
    let state = store.load().unwrap();
    assert_eq!((state.sent_of(0), state.sent_of(1)), (Ok(Some((30, 99))), Ok(None)));
    assert!(state.sent_of(2).is_err() && state.sent_of(3).is_err() && state.sent_of(4).is_err());

    let whole = SourceObject { bytes: Some(150), fingerprint: 5, ..frozen.objects[0].clone() };
    store.replace_objects(&[(0, whole.clone())], &[]).unwrap();
    let other = SourceObject { bytes: Some(70), fingerprint: 6, ..frozen.objects[1].clone() };
    store.replace_objects(&[(1, other.clone()), (1, other.clone())], &[]).unwrap();
    let state = Store::open(&path).unwrap().load().unwrap();
    assert_eq!((&state.plan.objects[0], &state.plan.objects[1], state.frozen_plan()), (&whole, &other, &frozen));
    assert_eq!(state.plan.shards.iter().map(|shard| shard.bytes).collect::<Vec<_>>(), [Some(150), Some(200), Some(70)]);
    assert_eq!(state.shards[0].position, position);
    drop(store);
    let other_order = "UPDATE changes SET sequence = 9 WHERE sequence = 0; UPDATE changes SET sequence = 0 WHERE sequence = 1; \
                       UPDATE changes SET sequence = 1 WHERE sequence = 9";
    for damage in ["UPDATE changes SET change = x'010005'", "UPDATE damages SET place = 20", other_order] {
        let bad = folder.file("bad.sqlite");
        copy(&path, &bad);
        Connection::open(&bad).unwrap().execute_batch(damage).unwrap();
        assert!(matches!(Store::open(&bad).and_then(|store| store.load()), Err(StateError::Corrupt { .. })), "{damage}");
    }
}

/// A file as layouts 1 to 8 had it, as far as it is looked at before its version is known: `letters` came with 4.
fn file_of_layout(path: &Path, version: i64) {
    let db = Connection::open(path).unwrap();
    let letters = if version >= 4 { "letters INTEGER NOT NULL," } else { "" };
    db.execute_batch(&format!(
        "PRAGMA application_id = {}; PRAGMA user_version = {version};
        CREATE TABLE job (
            one INTEGER PRIMARY KEY CHECK (one = 1), name TEXT NOT NULL, created_ms INTEGER NOT NULL, plan_id BLOB NOT NULL,
            cluster_id TEXT NOT NULL, topic_id TEXT NOT NULL, topic TEXT NOT NULL, source TEXT NOT NULL,
            plan BLOB NOT NULL, checksum INTEGER NOT NULL
        ) STRICT;
        CREATE TABLE shards (
            id INTEGER PRIMARY KEY, status INTEGER NOT NULL, segment INTEGER NOT NULL, place INTEGER NOT NULL,
            records INTEGER NOT NULL, read INTEGER NOT NULL, acknowledged INTEGER NOT NULL, filtered INTEGER NOT NULL,
            dead_lettered INTEGER NOT NULL, bytes_read INTEGER NOT NULL, bytes_sent INTEGER NOT NULL, deaths INTEGER NOT NULL,
            {letters} checksum INTEGER NOT NULL
        ) STRICT;
        INSERT INTO job VALUES (1, 'job', 0, x'00000000000000000000000000000007', 'c', 'i', 't', 's', x'', 0);",
        schema::APPLICATION_ID
    ))
    .unwrap();
}

#[test]
fn a_state_of_an_older_layout_says_what_to_do() {
    let folder = Folder::new("older");
    for version in [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 99] {
        let path = folder.file(&format!("{version}.sqlite"));
        file_of_layout(&path, version);
        for opened in [Store::open(&path), Store::read_only(&path)] {
            let said = opened.unwrap_err().to_string();
            let what = format!(
                "{version}.sqlite is a job's state in version {version} of its format, and this program reads version 12"
            );
            assert!(said.contains(&what) && said.contains("finish the job with the program that wrote it"), "{said}");
            assert!(said.contains("or start over with --restart (which sends everything again)"), "{said}");
        }
        let left: i64 = Connection::open(&path).unwrap().query_row("SELECT count(*) FROM job", [], |row| row.get(0)).unwrap();
        assert_eq!(left, 1, "it is left as it was");
    }
}

/// What a comparison found: this number of records is missing.
fn verified(missing: u64) -> Verified {
    let report = VerifyReport { source_records: 50, topic_records: 50 - missing, missing, ..VerifyReport::default() };
    Verified { report, elapsed_ms: 5, new_files: vec!["new.jsonl".into()], ..Verified::default() }
}

#[test]
fn what_a_comparison_found_stays_until_another_and_tells_what_it_is_about() {
    let folder = Folder::new("verified");
    let path = folder.file("state.sqlite");
    let mut store = create(&path, 2);
    let kept = |path: &Path| load_report(&Store::read_only(path).unwrap(), false).unwrap().verified;
    assert_eq!((kept(&path), store.verified().unwrap()), (None, None));
    let run = |store: &mut Store, attempt, chunk: Option<Chunk>, outcome| {
        store.begin_run(1, &NONE).unwrap();
        store.begin_attempt(attempt, MAY_SEND).unwrap();
        if let Some(chunk) = chunk {
            store.record_chunk(attempt, &chunk, &usage()).unwrap();
        }
        let end = AttemptEnd { resent: Resent::NONE, ..end(attempt, outcome, After::Waiting) };
        store.end_attempt(&end, &usage(), 0..0).unwrap();
        store.end_run(75, &[], 1, 1).unwrap();
    };
    run(&mut store, id(0, 1), Some(chunk(0, 1, 0, 50)), AttemptOutcome::Drained);
    let compared = store.load().unwrap();
    store.keep_verified(&verified(3), &compared).unwrap();
    store.keep_verified(&verified(2), &compared).unwrap();
    let of = |missing, run, sent_since| {
        move |kept: Option<KeptVerdict>| {
            let kept = kept.expect("one is kept");
            assert!(kept.unix_ms > 0);
            assert_eq!((kept.run, kept.verified, kept.sent_since), (run, verified(missing), sent_since));
        }
    };
    of(2, 1, false)(kept(&path));
    // A run that sends nothing changes nothing; one that does leaves it, and says so.
    run(&mut store, id(0, 2), None, AttemptOutcome::Unreachable);
    of(2, 1, false)(kept(&path));
    run(&mut store, id(0, 3), Some(chunk(0, 1, 50, 60)), AttemptOutcome::Drained);
    of(2, 1, true)(kept(&path));
    // One that began before these runs, or before the job was started over, is about what it was then.
    let started_over = JobState { origin: StateOrigin { created_ms: 1, ..StateOrigin::default() }, ..store.load().unwrap() };
    for outdated in [&compared, &started_over] {
        assert!(matches!(store.keep_verified(&verified(9), outdated), Err(StateError::Outdated { .. })));
    }
    of(2, 1, true)(kept(&path));
    let compared = store.load().unwrap();
    store.keep_verified(&verified(0), &compared).unwrap();
    of(0, 3, false)(kept(&path));
    assert_eq!(store.verified().unwrap(), Some(verified(0)));

    let db = Connection::open(&path).unwrap();
    db.execute("UPDATE verified SET run = 4 WHERE run = 1", []).unwrap();
    assert!(matches!(store.verified(), Err(StateError::Corrupt { .. })));
}

#[test]
fn what_no_shard_can_have_is_not_adopted() {
    let folder = Folder::new("adopted");
    let mut store = create(&folder.file("state.sqlite"), 1);
    let good = LedgerEntry::default().with(&chunk(0, 1, 0, 30));
    store.adopt(&[(ShardId(0), good.clone())]).unwrap();
    let before = store.load().unwrap();
    let overflowing = Counts { acknowledged: u64::MAX, filtered: 1, ..good.counts };
    let far = Position { place: 400, records: 40, ..good.position };
    let error = store.adopt(&[(ShardId(0), LedgerEntry { position: far, counts: overflowing, ..good })]).unwrap_err();
    assert!(matches!(&error, StateError::Refused { what, .. } if what.contains("its figures can't be")), "{error}");
    assert_eq!(resume(&store.load().unwrap()), resume(&before));
}

#[test]
fn what_was_committed_elsewhere_is_none_of_what_attempts_here_did() {
    let folder = Folder::new("elsewhere");
    let mut store = create(&folder.file("state.sqlite"), 1);
    store.begin_run(1, &BTreeSet::new()).unwrap();
    store.adopt(&[(ShardId(0), LedgerEntry::default().with(&chunk(0, 1, 0, 30)))]).unwrap();
    let report = load_report(&store, false).unwrap();
    assert_eq!((report.counts.read, report.elsewhere().unwrap().read, report.records_per_second()), (30, 30, None));
    store.begin_attempt(id(0, 1), MAY_SEND).unwrap();
    store.record_chunk(id(0, 1), &chunk(0, 1, 30, 40), &AttemptUsage::default()).unwrap();
    let report = load_report(&store, false).unwrap();
    assert_eq!((report.counts.read, report.here.unwrap().read, report.elsewhere().unwrap().read), (40, 10, 30));
    assert!(report.records_per_second().is_some());
}
