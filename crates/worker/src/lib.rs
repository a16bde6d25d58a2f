//! What a worker does with its shard: open the source, create the producer, step until the shard is done, say how it
//! went. The same function serves a forked worker and `--single`; they differ in their [`WorkerPort`].
//!
//! Responsible for one attempt. Not responsible for what a record is or how it is delivered (`pipeline`, `kafka`),
//! forking, checkpoints and attempts (`supervisor`), or other ways of stepping a worker (`compare`).

#![forbid(unsafe_code)]

mod topic_check;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use kafka::{Awaited, Connecting, Producer, ProducerOptions, TransactionOptions, Turns, partitioner};
use migration::job::SourceRules;
use migration::printable::printable_path;
use migration::{
    BoundTopic, Compression, Control, Cut, Damage, Failure, FailureKind, Finished, Job, LedgerEntry, Level, NoAnswer, Plan,
    Position, Progress, RefusedRecord, ShardId, Started, TopicLedger, TopicSettings, WaitingFor, WorkerEvent, units,
};
use pipeline::dead_letter::{DeadLetterFile, Letters, LettersOrigin, TopicLetters};
use pipeline::fate::OwnRows;
use pipeline::mapping::Mapping;
use pipeline::worker::ledger::Ledger;
use pipeline::worker::refused::Refused;
use pipeline::worker::{ROWS_A_STEP, ShardWorker, Step, WaitReason, WorkerSettings};
use pipeline::{Reader, Sink, Source, Trouble};
use supervisor::port::{SupervisorGone, WorkerPort};
use supervisor::protocol::MOST_UNTOLD;

use topic_check::TopicCheck;

/// A line that was logged inside a worker, and its level.
pub type LogLine = (Level, String);

/// How often a worker says how far it is. Far below any heartbeat timeout that makes sense.
const HEARTBEAT: Duration = Duration::from_millis(200);

/// The longest wait in the client without a look at control pipe and heartbeat.
const POLL: Duration = Duration::from_millis(50);

/// After a longer wait for its slot a worker looks again whether the topic is the one that it saw, as after a pause.
const LONG_HOLD: Duration = Duration::from_secs(10);

/// How long the brokers have for one answer.
const ANSWER: Duration = Duration::from_secs(5);

/// Why a worker stops before its shard is done.
#[derive(Debug)]
pub enum Ended {
    /// The listener is gone: stop at once and say nothing.
    ListenerGone,
    /// It can't go on.
    Failed(Failure),
}

impl From<std::io::Error> for Ended {
    fn from(_: std::io::Error) -> Self {
        Ended::ListenerGone
    }
}

impl From<SupervisorGone> for Ended {
    fn from(_: SupervisorGone) -> Self {
        Ended::ListenerGone
    }
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Ended::Failed(failure)
    }
}

/// What every worker of a job needs; made before the first fork, only read after it.
#[derive(Debug)]
pub struct WorkerContext {
    /// The job, with the brokers resolved.
    pub job: Job,
    /// Where its records come from.
    pub source: Box<dyn Source>,
    /// Its plan when this run began.
    pub plan: Plan,
    /// The job's dead-letter folder.
    pub dead_letters: PathBuf,
    /// Whose letters those are that go to a topic; `None`: they go to files in that folder.
    pub letters: Option<LettersOrigin>,
    /// What decides which records the topic takes, from preflight.
    pub topic: TopicSettings,
    /// The topic that the job belongs to: no record goes to another one. `None`: whatever topic has the name.
    pub bound: Option<BoundTopic>,
    /// Where progress is kept in Kafka; `None`: the job delivers at least once, and the supervisor's checkpoint has it.
    pub ledger: Option<TopicLedger>,
    /// Takes the lines that were logged in this process since the last call, to be sent to who prints.
    pub take_log: fn() -> Vec<LogLine>,
}

/// One attempt of a shard.
#[derive(Clone, Debug)]
pub struct Attempt<'a> {
    /// The plan as it stands now: shards may have been split since the job began.
    pub plan: &'a Plan,
    /// Which shard.
    pub shard: ShardId,
    /// Its number, for people who read the progress topic.
    pub number: u32,
    /// From where, as the supervisor's checkpoint has it.
    pub from: LedgerEntry,
    /// Records that the brokers refused before.
    pub refused: Vec<RefusedRecord>,
    /// How many records the attempt may set aside.
    pub letters_left: u64,
    /// For how long the shard's attempts before this one have found no broker.
    pub unreachable_for: Duration,
    /// How far away the brokers are, as far as that is known.
    pub round_trip: Option<Duration>,
    /// When the attempt began (the fork).
    pub started: Instant,
}

/// Runs one attempt to its end.
pub fn work(context: &WorkerContext, attempt: &Attempt<'_>, port: &mut dyn WorkerPort) -> Result<Finished, Ended> {
    let (worker, topic_check) = start(context, attempt, port)?;
    let mut told = Progress { position: attempt.from.position, ..Progress::default() };
    send_shard(context, attempt, port, worker, topic_check.as_ref(), &mut told).map_err(|ended| match (ended, &topic_check) {
        (Ended::Failed(failure), Some(topic_check)) => {
            let mut alive = || port.send(&WorkerEvent::Progress(told.clone())).is_ok();
            Ended::Failed(topic_check.explain(failure, &mut Turns::new(silence(&context.job), &mut alive)))
        }
        (ended, _) => ended,
    })
}

/// `told`: the worker's last heartbeat.
fn send_shard(
    context: &WorkerContext,
    attempt: &Attempt<'_>,
    port: &mut dyn WorkerPort,
    mut worker: ShardWorker,
    topic_check: Option<&TopicCheck>,
    told: &mut Progress,
) -> Result<Finished, Ended> {
    let pieces = match send_rows(context, attempt, port, &mut worker, topic_check, told) {
        Err(Ended::Failed(failure)) => {
            // One window at a time: that is what `workers.memory_limit` has room for.
            worker.close_source();
            let failure = with_hash(context, attempt, &worker.committed(), failure, port)?;
            // The supervisor counts what may be sent again by it.
            *told = tell(&mut worker, Instant::now(), port)?;
            return Err(failure.into());
        }
        other => other?,
    };
    let mut finished = worker.finish()?;
    if !finished.complete && pieces > 1 {
        finished.cuts = Some(cuts(context, attempt, &finished.position, pieces, port)?);
    }
    finished.peak_memory_bytes = peak_memory();
    send_log(context, port)?;
    Ok(finished)
}

/// Steps until the shard is done or drained; gives into how many pieces its rest is to be cut.
fn send_rows(
    context: &WorkerContext,
    attempt: &Attempt<'_>,
    port: &mut dyn WorkerPort,
    worker: &mut ShardWorker,
    topic_check: Option<&TopicCheck>,
    told: &mut Progress,
) -> Result<u32, Ended> {
    let (mut heartbeat_due, mut told_rows) = (attempt.started, 0);
    let (mut paused, mut held_since) = (false, None);
    loop {
        let control = port.control()?;
        let was_paused = std::mem::replace(&mut paused, control.paused) && !control.paused;
        let was_held = was_held_long(&mut held_since, &control);
        if (was_paused || was_held)
            && !control.drain
            && let Some(topic_check) = topic_check
        {
            // A pause may have lasted for days.
            let mut alive = || port.send(&WorkerEvent::Progress(told.clone())).is_ok();
            topic_check.require(&mut Turns::new(silence(&context.job), &mut alive))?;
        }
        let now = Instant::now();
        let came = worker.step(&control, now);
        while let Some(event) = worker.next_event() {
            port.send(&event)?;
        }
        send_log(context, port)?;
        let step = came?;
        if now >= heartbeat_due || worker.taken() - told_rows > MOST_UNTOLD - ROWS_A_STEP {
            *told = tell(worker, now, port)?;
            (heartbeat_due, told_rows) = (now + HEARTBEAT, worker.taken());
        }
        match step {
            Step::Busy => {}
            Step::Wait { until, reason } => {
                let timeout = until.min(heartbeat_due).saturating_duration_since(now).min(POLL);
                match reason {
                    WaitReason::Reports => worker.wait(timeout)?,
                    WaitReason::Recorded | WaitReason::Rate | WaitReason::Continue | WaitReason::Slot | WaitReason::Source => {
                        port.wait(timeout, worker.readable().filter(|_| reason == WaitReason::Source))?;
                        worker.wait(Duration::ZERO)?;
                    }
                }
            }
            Step::Done => return Ok(control.pieces),
        }
    }
}

/// Whether a worker has its slot now for which it waited long. `since`: since when it has waited.
fn was_held_long(since: &mut Option<Instant>, control: &Control) -> bool {
    if control.hold {
        since.get_or_insert_with(Instant::now);
        return false;
    }
    since.take().is_some_and(|since| since.elapsed() >= LONG_HOLD)
}

/// A heartbeat.
fn tell(worker: &mut ShardWorker, now: Instant, port: &mut dyn WorkerPort) -> Result<Progress, Ended> {
    let progress = Progress { peak_memory_bytes: peak_memory(), ..worker.progress(now) };
    port.send(&WorkerEvent::Progress(progress.clone()))?;
    Ok(progress)
}

/// Adds to the failure of a file of which records were sent what proves that another one begins with the same. Without
/// it that file can't be replaced, but nothing else is lost.
fn with_hash(
    context: &WorkerContext,
    attempt: &Attempt<'_>,
    committed: &Position,
    mut failure: Failure,
    port: &mut dyn WorkerPort,
) -> Result<Failure, Ended> {
    let Some(damage) = failure.damage.as_mut().filter(|damage| damage.segment == committed.segment) else { return Ok(failure) };
    let shard = &attempt.plan.shards[attempt.shard.0 as usize];
    let segment = attempt.plan.segments(shard).get(damage.segment as usize);
    let Some(object) = segment.filter(|segment| segment.start == 0).map(|segment| attempt.plan.object(segment)) else {
        return Ok(failure);
    };
    let Ok(mut beginning) = context.source.beginning(object, committed.place) else { return Ok(failure) };
    let mut heartbeat_due = Instant::now() + HEARTBEAT;
    while let Ok(hash) = beginning.step() {
        // A stop is waited for no longer than a chunk: what can't be read is said without the proof.
        if port.control()?.drain {
            break;
        }
        if hash.is_some() {
            damage.hash = hash.map(u128::to_be_bytes);
            break;
        }
        if Instant::now() >= heartbeat_due {
            port.send(&WorkerEvent::Progress(migration::Progress { position: *committed, ..Default::default() }))?;
            heartbeat_due = Instant::now() + HEARTBEAT;
        }
    }
    Ok(failure)
}

/// Where the rest of the shard can be cut. What can't be read now is left to its next reader: a split is no need.
fn cuts(
    context: &WorkerContext,
    attempt: &Attempt<'_>,
    from: &Position,
    pieces: u32,
    port: &mut dyn WorkerPort,
) -> Result<Vec<Cut>, Ended> {
    match context.source.cuts(attempt.plan, attempt.shard, from, pieces) {
        Ok(cuts) => Ok(cuts),
        Err(error) => {
            let text = format!("it is not split: {}", Failure::from(error).message);
            port.send(&WorkerEvent::Log { level: Level::Warning, text })?;
            Ok(Vec::new())
        }
    }
}

fn start(
    context: &WorkerContext,
    attempt: &Attempt<'_>,
    port: &mut dyn WorkerPort,
) -> Result<(ShardWorker, Option<TopicCheck>), Ended> {
    // Where an attempt goes on is known first: by the supervisor's word, or by its producer's. What is wrong with files
    // is known before a client connects wherever it can be.
    let begun = |from| Files::open(context, attempt, from);
    let (files, connected) = match &context.ledger {
        None => (begun(attempt.from.clone())?, None),
        Some(_) => {
            let (producer, topic) = connect(context, attempt, port)?;
            let start =
                || LedgerEntry { position: attempt.plan.shards[attempt.shard.0 as usize].start, ..LedgerEntry::default() };
            let from = match (producer.resumed(), &context.ledger) {
                (Some(entry), Some(ledger)) => checked(ledger, attempt, entry)?,
                _ => start(),
            };
            (begun(from)?, Some((producer, topic)))
        }
    };
    if let Letters::File(file) = &files.letters
        && file.missing() > 0
    {
        let text = format!(
            "{}: {} bytes of dead letters that were committed are gone: `verify` can't tell what the topic should hold without them",
            printable_path(file.path()),
            file.missing()
        );
        port.send(&WorkerEvent::Notice(text))?;
    }
    let (producer, topic) = match connected {
        Some(connected) => connected,
        None => connect(context, attempt, port)?,
    };
    port.send(&WorkerEvent::Started(Started { topic: producer.seen().clone(), from: files.from.clone() }))?;
    let topic_check = producer.probe().map(|probe| TopicCheck::new(probe, answer_time(&context.job)));
    let control = port.control()?;
    // While it had no slot its start cost none.
    let started = attempt.started + Duration::from_micros(control.held_us);
    let attempt = Attempt { started: started.min(Instant::now()), ..attempt.clone() };
    Ok((files.worker(context, &attempt, Box::new(producer), topic), topic_check))
}

/// What the progress topic has of the attempt's shard, if it can be of that: a reader that begins behind its end would
/// find the shard done.
fn checked(ledger: &TopicLedger, attempt: &Attempt<'_>, entry: &LedgerEntry) -> Result<LedgerEntry, Failure> {
    let shard = &attempt.plan.shards[attempt.shard.0 as usize];
    entry.check(attempt.plan.segments(shard), shard).map(|()| entry.clone()).map_err(|why| {
        let (topic, key) = (&ledger.topic, ledger.shard_key(attempt.shard));
        let what = format!(
            "progress topic {topic:?}, key {key:?}: it can't be progress of this shard: {why}. Nothing more is sent: find out \
             what wrote it, or start over with --restart"
        );
        Failure::new(FailureKind::Ledger, what)
    })
}

/// How long the brokers have for one answer.
fn answer_time(job: &Job) -> Duration {
    ANSWER.min(job.kafka.give_up_after)
}

/// How long a worker may say nothing while it waits for brokers: one that takes all of it twice in a row is still far
/// from being taken for dead.
fn silence(job: &Job) -> Duration {
    ANSWER.min(job.workers.heartbeat_timeout / 4)
}

/// An error if the shard's letters are at another place than this attempt's would be: the job was gone on with
/// elsewhere with another `dead_letters.to` at the same time. A file's length is never 0 where letters are in it.
fn letters_are_here(context: &WorkerContext, attempt: &Attempt<'_>, from: &LedgerEntry) -> Result<(), Failure> {
    let (letters, in_files) = (from.counts.dead_lettered, from.letters > 0);
    if context.ledger.is_none() || letters == 0 || in_files == context.letters.is_none() {
        return Ok(());
    }
    let place = if in_files { "files" } else { "a topic" };
    let what = format!(
        "{} of shard {} are in {place}, where another run of the job put them, with another dead_letters.to than this one's",
        units::show_things(letters, "dead letter"),
        attempt.shard
    );
    Err(Failure::new(FailureKind::Ledger, what))
}

/// What a worker reads and where its dead letters go: open before its client, so that what is wrong there is known
/// first.
pub struct Files {
    from: LedgerEntry,
    reader: Box<dyn Reader>,
    letters: Letters,
}

impl Files {
    /// Opens both, to go on from there.
    pub fn open(context: &WorkerContext, attempt: &Attempt<'_>, from: LedgerEntry) -> Result<Files, Failure> {
        letters_are_here(context, attempt, &from)?;
        let plan = attempt.plan;
        let reader = context.source.open(plan, attempt.shard, &from.position, from.token.as_ref()).map_err(|error| {
            let damage = Some(Damage { segment: from.position.segment, hash: None });
            Failure { damage, ..error.into() }
        })?;
        let shard = &plan.shards[attempt.shard.0 as usize];
        let paths: Vec<_> = plan.segments(shard).iter().map(|segment| plan.object(segment).path.clone()).collect();
        if let Some(origin) = &context.letters {
            let committed = from.counts.dead_lettered;
            let letters = TopicLetters::new(origin.clone(), attempt.shard, attempt.number, &paths, committed);
            return Ok(Files { from, reader, letters: Letters::Topic(letters) });
        }
        let folder = &context.dead_letters;
        let letters = DeadLetterFile::open(folder, attempt.shard, &paths, from.letters, process::open_private_below);
        let letters = letters.map_err(|error| {
            let message = format!("cannot write dead letters to {}: {error}", printable_path(folder));
            Failure::new(FailureKind::State, message)
        })?;
        Ok(Files { from, reader, letters: Letters::File(letters) })
    }

    /// A worker that reads them and sends to `sink`.
    pub fn worker(
        self,
        context: &WorkerContext,
        attempt: &Attempt<'_>,
        sink: Box<dyn Sink>,
        topic: TopicSettings,
    ) -> ShardWorker {
        let job = &context.job;
        let partitioner = partitioner::choose(job.kafka.partitioner);
        let settings = WorkerSettings {
            own: OwnRows::of(attempt.plan, &attempt.plan.shards[attempt.shard.0 as usize], partitioner),
            flush: job.workers.flush,
            chunk: job.workers.chunk,
            in_flight: job.workers.in_flight,
            partitioner,
            give_up_after: job.kafka.give_up_after,
            headers_bytes: job.record.headers.iter().map(|(name, value)| name.len() + value.len()).sum(),
            topic,
            letters_left: attempt.letters_left,
            refused: Refused::of(&attempt.refused),
            ledger: if context.ledger.is_some() { Ledger::Topic } else { Ledger::Checkpoint },
        };
        let mapping = Mapping::new(&job.record);
        ShardWorker::new(settings, self.reader, mapping, sink, self.letters, self.from, attempt.started)
    }
}

/// Creates the producer, and says what the topic's settings are now: an attempt decides by those of its start. Where
/// they can't be read, those of preflight hold. It waits for an answer of the brokers in short turns, so that the
/// worker stays alive to its supervisor; when none comes for `give_up_after`, the job gives up.
fn connect(
    context: &WorkerContext,
    attempt: &Attempt<'_>,
    port: &mut dyn WorkerPort,
) -> Result<(Producer, TopicSettings), Ended> {
    let job = &context.job;
    let mut options = ProducerOptions::for_job(job, &attempt.shard.to_string(), context.topic.max_message_bytes);
    options.metadata_timeout = answer_time(job);
    options.round_trip = attempt.round_trip;
    options.mean_record_bytes = mean_record_bytes(job, attempt.plan);
    options.bound.clone_from(&context.bound);
    options.transaction =
        context.ledger.as_ref().map(|ledger| TransactionOptions::new(job, ledger, attempt.shard, attempt.number));
    let mut connecting = Connecting::new(options)?;
    let mut waiting_since = Instant::now().checked_sub(attempt.unreachable_for).unwrap_or_else(Instant::now);
    // What it waits for, and since when.
    let mut lacks = (Awaited::Broker, waiting_since);
    // What the last wait came to: for heartbeats in the next one, in which the client is busy.
    let (mut no_answer, mut lines) = (None, 0);
    loop {
        let mut alive = || say_alive(attempt, port, no_answer.as_ref(), lines).is_ok_and(|control| !control.drain);
        let failure = match connecting.wait(&mut Turns::new(silence(job), &mut alive)) {
            Err(failure) if failure.kind == FailureKind::Unreachable => failure,
            Err(failure) => return Err(failure.into()),
            Ok(producer) => {
                let topic = producer.settings().unwrap_or(context.topic);
                return Ok((producer, topic));
            }
        };
        send_log(context, port)?;
        let Trouble { all, cause } = connecting.trouble();
        // What is waited for although brokers answer is known by their answers only.
        let cause = cause.or_else(|| (!all).then(|| failure.message.clone()));
        if lacks.0 != connecting.awaits() {
            lacks = (connecting.awaits(), Instant::now());
        }
        let seen = NoAnswer { silent: waiting_since.elapsed(), all, cause, ..NoAnswer::default() };
        (no_answer, lines) = (Some(seen.clone()), connecting.lines_not_shown());
        let control = say_alive(attempt, port, no_answer.as_ref(), lines)?;
        if control.drain {
            return Err(failure.into());
        }
        if control.paused {
            // No rest of the job waits for this worker now.
            waiting_since = Instant::now();
            lacks.1 = waiting_since;
        }
        if seen.silent >= job.kafka.give_up_after {
            let (what, since) = lacks;
            return Err(Failure::new(FailureKind::GaveUp, gave_up(&seen, what, since.elapsed(), &failure)).into());
        }
    }
}

/// The mean size of a plan's records, key and value, as far as its bytes tell: those of compressed files and of CSV,
/// whose rows become objects, don't.
fn mean_record_bytes(job: &Job, plan: &Plan) -> Option<u64> {
    // Most keys are no longer.
    const KEY: u64 = 16;
    let same = matches!(job.source, SourceRules::Jsonl(_));
    let plain = same && plan.objects.iter().all(|object| object.compression == Compression::None);
    let value = plan.bytes().checked_div(plan.records_estimate()).filter(|_| plain)?;
    Some(value.saturating_add(if job.record.key.is_some() { KEY } else { 0 }))
}

/// Why a worker gives up that has sent nothing. `what` it waited for last, and for how long; before that for others.
fn gave_up(seen: &NoAnswer, what: Awaited, lacked: Duration, failure: &Failure) -> String {
    let waited = units::show_whole_seconds(seen.silent);
    let cause = seen.cause.as_ref().unwrap_or(&failure.message);
    let what = what.lacked();
    let what = if seen.silent.saturating_sub(lacked) < 2 * ANSWER {
        format!("{what} for {waited}")
    } else {
        format!("no record could be sent for {waited}, and for the last {} {what}", units::show_whole_seconds(lacked))
    };
    format!("{what} (kafka.give_up_after): {cause}")
}

/// For an attempt that has sent nothing yet.
fn say_alive(
    attempt: &Attempt<'_>,
    port: &mut dyn WorkerPort,
    no_answer: Option<&NoAnswer>,
    lines_not_shown: u32,
) -> Result<Control, Ended> {
    let waiting_for = no_answer.map(|_| WaitingFor::Broker);
    let (position, no_answer) = (attempt.from.position, no_answer.cloned().map(Box::new));
    let progress = Progress { position, waiting_for, no_answer, lines_not_shown, ..Progress::default() };
    port.send(&WorkerEvent::Progress(progress))?;
    Ok(port.control()?)
}

fn send_log(context: &WorkerContext, port: &mut dyn WorkerPort) -> Result<(), Ended> {
    for (level, text) in (context.take_log)() {
        port.send(&WorkerEvent::Log { level, text })?;
    }
    Ok(())
}

/// The most memory that this process has had, bytes; 0 where the system does not say.
pub fn peak_memory() -> u64 {
    // Without /proc there is no figure, which is no reason to stop.
    process::own_memory().map_or(0, |memory| memory.peak_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_gives_up_says_what_it_waited_for_last() {
        let failure = Failure::new(FailureKind::Unreachable, "the coordinator gives no answer");
        let told = |what, lacked: u64| {
            let seen = NoAnswer { silent: Duration::from_secs(900), ..NoAnswer::default() };
            gave_up(&seen, what, Duration::from_secs(lacked), &failure)
        };
        let end = "(kafka.give_up_after): the coordinator gives no answer";
        assert_eq!(told(Awaited::Broker, 900), format!("no broker answered for 15 min 00 s {end}"));
        assert_eq!(told(Awaited::Leader, 895), format!("the topic had no leader for 15 min 00 s {end}"));
        assert_eq!(
            told(Awaited::TransactionalId, 20),
            format!(
                "no record could be sent for 15 min 00 s, and for the last 20 s the transactional id was not given to this \
                 worker {end}"
            )
        );
    }

    #[test]
    fn what_can_not_be_progress_of_the_shard_stops_the_job() {
        let mut plan = Plan::default();
        plan.add(vec![migration::Segment { object: 0, start: 0, end: 100, bytes: Some(100) }], 5);
        let attempt = Attempt {
            plan: &plan,
            shard: ShardId(0),
            number: 1,
            from: LedgerEntry::default(),
            refused: Vec::new(),
            letters_left: 0,
            unreachable_for: Duration::ZERO,
            round_trip: None,
            started: Instant::now(),
        };
        let ledger = TopicLedger { topic: "p".into(), job: "orders".into(), of: migration::Incarnation::default() };
        let entry = |segment| LedgerEntry { position: Position { segment, place: 60, records: 0 }, ..LedgerEntry::default() };
        assert_eq!(checked(&ledger, &attempt, &entry(0)), Ok(entry(0)));
        let failure = checked(&ledger, &attempt, &entry(999)).expect_err("its end is not the shard's");
        assert_eq!(failure.kind, FailureKind::Ledger);
        assert!(failure.message.contains("key \"orders/shard/00000\"") && failure.message.contains("--restart"), "{failure}");
    }
}
