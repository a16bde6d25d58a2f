//! The model: attempts of one shard, the client that each has, the network, and the brokers.
//!
//! ```text
//!   attempt ── requests ──> network ──> coordinator (epoch, transaction) ── markers ──> topic, progress topic
//!      ^                       |                                                           ^
//!      └────── answers ────────┴──────────────── records, progress ────────────────────────┘
//! ```
//!
//! What is in it: attempts that start while others live (another machine, or a zombie: an attempt that takes no step is
//! paused), that are killed at any moment, and that succeed; requests that arrive as late as they like, also after
//! their sender is gone; answers that are lost, and the client's repeats; a transaction that runs into its timeout; one
//! transaction of a stranger on the same partition of the progress topic.
//!
//! What is left out: several partitions of the topic (a chunk has several records instead, and each goes alone), loss
//! inside of Kafka, aborts by the attempt (it never asks for one), and time: whatever may come late may come at any
//! time.

use std::fmt;

use super::checker::{Broken, Model};

/// Chunks of the shard.
pub const CHUNKS: u8 = 2;
/// Records of a chunk.
const RECORDS: u8 = 2;
/// A record was committed twice.
pub const TWICE: Broken = Broken("a record is committed twice");
/// Progress is committed over a record that will never be.
pub const LOST: Broken = Broken("a record that progress counts is lost");
/// A record was committed behind one that the source has behind it.
pub const DISORDER: Broken = Broken("a record is committed behind a later one");

/// The rules that can be taken out, and what may go wrong. Numbers as in the design note.
#[derive(Clone, Copy)]
pub struct Rules {
    /// 1: after an ambiguous commit the attempt exits, even if commit said Ok.
    pub exit_after_ambiguous_commit: bool,
    /// 3: progress is sent after all reports of the chunk's records are good.
    pub progress_after_reports: bool,
    /// 4: progress is read after init.
    pub progress_read_after_init: bool,
    /// 4: the scan goes past the end of what is committed, if a record of its own shard is behind it.
    pub scan_past_strangers: bool,
    /// 6: who is fenced exits like after any failure, and a successor goes on.
    pub fenced_is_a_failure: bool,
    /// The mechanism itself: progress is a record of the chunk's transaction.
    pub progress_in_transaction: bool,
    /// The mechanism itself: init gives a new epoch, and what comes with an older one is refused.
    pub epochs: bool,
    /// A proviso: a broker asks the coordinator before it begins a transaction in a partition.
    pub verification: bool,
    pub bounds: Bounds,
}

/// How much may happen. Everything that is possible within them is visited.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Attempts that are started.
    pub attempts: u8,
    /// Answers that are lost or awaited in vain.
    pub faults: u8,
    /// Whether a transaction may run into its timeout, once.
    pub timeout: bool,
    /// Whether another shard has a transaction on the same partition of the progress topic, once.
    pub stranger: bool,
}

/// The mechanism as it is.
pub const ALL: Rules = Rules {
    exit_after_ambiguous_commit: true,
    progress_after_reports: true,
    progress_read_after_init: true,
    scan_past_strangers: true,
    fenced_is_a_failure: true,
    progress_in_transaction: true,
    epochs: true,
    verification: true,
    bounds: Bounds { attempts: 2, faults: 1, timeout: true, stranger: false },
};

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Log {
    Topic,
    Progress,
}

/// A request of an attempt.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Request {
    /// InitProducerId.
    Init,
    /// AddPartitionsToTxn, in the transaction of a chunk.
    Add(u8, Log),
    /// Produce of a record, with its sequence number.
    Record(u8, u8),
    /// Produce of a chunk's progress, with its sequence number.
    Progress(u8, u8),
    /// Produce of a chunk's progress by a client without transactions.
    PlainProgress(u8),
    /// EndTxn (commit) of a chunk's transaction. The brokers do not see which chunk is meant, only the epoch.
    End(u8),
}

/// A request on its way.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Travelling {
    attempt: u8,
    epoch: u8,
    request: Request,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Answer {
    Good,
    /// The transaction is being ended; ask again.
    Again,
    /// Fenced by a newer epoch.
    Fenced,
    /// Invalid transaction state, out of sequence.
    Refused,
}

/// What happens next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    Starts(u8),
    Killed(u8),
    Scans(u8, u8),
    Arrives(Travelling, &'static str),
    AnswerLost(Travelling),
    AwaitedInVain(Travelling),
    Marker(Log, bool),
    TimedOut,
    StrangerBegins,
    StrangerEnds,
}

#[derive(Clone, PartialEq, Eq, Hash, Default, Debug)]
struct Attempt {
    alive: bool,
    /// Its producer's, from the answer of init.
    epoch: Option<u8>,
    /// The chunks that were committed when it read progress.
    from: Option<u8>,
    /// The chunks that are committed, as it believes.
    committed: u8,
    /// Partitions that it added to the open transaction.
    added: Vec<Log>,
    /// Records of the open chunk with a good report.
    good: u8,
    /// The open chunk's progress has a good report.
    progress_good: bool,
    /// The open chunk's commit said Ok, and progress goes outside of it.
    outside: bool,
    /// The open commit was asked for more than once.
    ambiguous: bool,
    /// Its requests without an answer.
    awaits: Vec<Request>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Transaction {
    None {
        after_commit: bool,
    },
    Ongoing(Vec<Log>),
    /// Decided; its markers are not yet written to these.
    Ending {
        commit: bool,
        markers: Vec<Log>,
    },
}

#[derive(Clone, PartialEq, Eq, Hash, Default, Debug)]
struct Partition {
    /// The newest epoch that it saw, and that epoch's next sequence number.
    epoch: u8,
    next: u8,
    /// Records or progress of the transaction without a marker, and of those with one that said commit.
    open: Vec<u8>,
    committed: Vec<u8>,
}

/// A stranger's transaction on the progress topic's partition.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Stranger {
    Before,
    /// Open; `visible` is the shard's newest progress in front of it.
    Open {
        visible: u8,
    },
    After,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct World {
    attempts: Vec<Attempt>,
    network: Vec<Travelling>,
    /// The coordinator's.
    epoch: u8,
    transaction: Transaction,
    topic: Partition,
    progress: Partition,
    stranger: Stranger,
    attempts_left: u8,
    faults_left: u8,
    may_time_out: bool,
    /// Rule 6 broken: an attempt believes that another owner has the shard.
    gave_up: bool,
}

impl World {
    /// Attempts are left, so that the shard should still be finished.
    pub fn may_go_on(&self) -> bool {
        self.attempts_left > 0
    }

    /// Everything is committed and known to be.
    pub fn is_done(&self) -> bool {
        self.newest_progress() == CHUNKS && self.topic.committed.len() == usize::from(CHUNKS * RECORDS)
    }

    pub fn has_zombie(&self) -> bool {
        self.attempts.iter().filter(|attempt| attempt.alive && attempt.from.is_some()).count() > 1
    }

    /// A commit is under way whose sender is gone, and its epoch is still the newest.
    pub fn has_late_commit(&self) -> bool {
        let is_late = |sent: &Travelling| !self.attempts[usize::from(sent.attempt)].alive && sent.epoch == self.epoch;
        self.network.iter().any(|sent| matches!(sent.request, Request::End(_)) && is_late(sent))
    }

    fn newest_progress(&self) -> u8 {
        self.progress.committed.last().copied().unwrap_or(0)
    }

    fn send(&mut self, attempt: u8, request: Request) {
        let sender = &mut self.attempts[usize::from(attempt)];
        if !sender.awaits.contains(&request) {
            sender.awaits.push(request);
            sender.awaits.sort_unstable();
        }
        let epoch = sender.epoch.unwrap_or(0);
        self.network.push(Travelling { attempt, epoch, request });
        self.network.sort_unstable();
    }

    /// Forgets what can change nothing any more: what is refused as too old whenever it arrives, and awaited by no
    /// attempt.
    fn forget(&mut self) {
        let World { attempts, network, epoch, topic, progress, .. } = self;
        network.retain(|late| {
            let is_awaited = attempts[usize::from(late.attempt)].awaits.contains(&late.request);
            let newest = match late.request {
                Request::Add(..) | Request::End(_) => *epoch,
                Request::Record(..) => topic.epoch,
                Request::Progress(..) => progress.epoch,
                Request::Init | Request::PlainProgress(_) => late.epoch,
            };
            is_awaited || late.epoch >= newest
        });
    }

    /// An attempt that is gone leaves nothing but its requests on their way.
    fn gone(&mut self, attempt: u8) {
        self.attempts[usize::from(attempt)] = Attempt::default();
    }
}

impl Rules {
    /// What an attempt does until it has to wait for something.
    fn goes_on(&self, world: &mut World, number: u8) {
        let attempt = &mut world.attempts[usize::from(number)];
        if !attempt.alive {
            return;
        }
        let (Some(_), Some(from)) = (attempt.epoch, attempt.from) else {
            let may_init = self.progress_read_after_init || attempt.from.is_some();
            if attempt.epoch.is_none() && may_init && attempt.awaits.is_empty() {
                world.send(number, Request::Init);
            }
            return;
        };
        if attempt.committed == CHUNKS {
            return; // it is at the shard's end
        }
        let chunk = attempt.committed + 1;
        let mut wanted = Vec::new();
        if attempt.outside {
            wanted.push(Request::PlainProgress(chunk));
        } else {
            let records_are_good = attempt.good == RECORDS;
            if !records_are_good {
                let sequence = (attempt.committed - from) * RECORDS + attempt.good;
                let record = attempt.committed * RECORDS + attempt.good + 1;
                wanted.push(attempt.adds(chunk, Log::Topic).unwrap_or(Request::Record(record, sequence)));
            }
            let progress_is_due = records_are_good || !self.progress_after_reports;
            if self.progress_in_transaction && !attempt.progress_good && progress_is_due {
                let progress = Request::Progress(chunk, attempt.committed - from);
                wanted.push(attempt.adds(chunk, Log::Progress).unwrap_or(progress));
            }
            if wanted.is_empty() {
                wanted.push(Request::End(chunk));
            }
        }
        for request in wanted {
            if !world.attempts[usize::from(number)].awaits.contains(&request) {
                world.send(number, request);
            }
        }
    }

    /// An attempt has the answer to a request that it awaits.
    fn answered(&self, world: &mut World, sent: Travelling, answer: Answer) {
        let attempt = &mut world.attempts[usize::from(sent.attempt)];
        attempt.awaits.retain(|awaited| *awaited != sent.request);
        match (answer, sent.request) {
            (Answer::Good, Request::Init) => attempt.epoch = Some(world.epoch),
            (Answer::Good, Request::Add(_, log)) => {
                attempt.added.push(log);
                attempt.added.sort_unstable();
            }
            (Answer::Good, Request::Record(..)) => attempt.good += 1,
            (Answer::Good, Request::Progress(..)) => attempt.progress_good = true,
            (Answer::Good, Request::PlainProgress(_)) => attempt.next_chunk(),
            (Answer::Good, Request::End(_)) if attempt.ambiguous && self.exit_after_ambiguous_commit => {
                return world.gone(sent.attempt);
            }
            (Answer::Good, Request::End(_)) if self.progress_in_transaction => attempt.next_chunk(),
            (Answer::Good, Request::End(_)) => attempt.outside = true,
            (Answer::Again, _) => {
                attempt.ambiguous = true;
                world.send(sent.attempt, sent.request);
            }
            (Answer::Fenced, _) => {
                world.gave_up |= !self.fenced_is_a_failure;
                return world.gone(sent.attempt);
            }
            (Answer::Refused, _) => return world.gone(sent.attempt),
        }
        self.goes_on(world, sent.attempt);
    }

    /// The brokers take a request. None: they hold it until the markers are written.
    fn served(&self, world: &mut World, sent: Travelling) -> Option<Answer> {
        let is_old = self.epochs && sent.epoch < world.epoch;
        Some(match sent.request {
            Request::Init => match &world.transaction {
                Transaction::Ending { .. } => return None,
                Transaction::Ongoing(_) => {
                    world.ends(false, self.epochs);
                    return None;
                }
                Transaction::None { .. } => {
                    world.epoch += u8::from(self.epochs);
                    world.transaction = Transaction::None { after_commit: false };
                    Answer::Good
                }
            },
            Request::Add(..) | Request::End(_) if is_old => Answer::Fenced,
            Request::Add(_, log) => match &mut world.transaction {
                Transaction::Ending { .. } => return None,
                Transaction::Ongoing(logs) => {
                    if !logs.contains(&log) {
                        logs.push(log);
                        logs.sort_unstable();
                    }
                    Answer::Good
                }
                Transaction::None { .. } => {
                    world.transaction = Transaction::Ongoing(vec![log]);
                    Answer::Good
                }
            },
            Request::End(_) => match world.transaction {
                Transaction::Ongoing(_) => {
                    world.ends(true, false);
                    Answer::Good
                }
                Transaction::Ending { commit: true, .. } => Answer::Again,
                Transaction::None { after_commit: true } => Answer::Good,
                _ => Answer::Refused,
            },
            Request::Record(record, sequence) => self.appended(world, sent.epoch, Log::Topic, record, sequence),
            Request::Progress(chunk, sequence) => self.appended(world, sent.epoch, Log::Progress, chunk, sequence),
            Request::PlainProgress(chunk) => {
                world.progress.committed.push(chunk);
                Answer::Good
            }
        })
    }

    /// A partition's leader takes a record of a transaction.
    fn appended(&self, world: &mut World, epoch: u8, log: Log, value: u8, sequence: u8) -> Answer {
        let is_added = epoch == world.epoch && matches!(&world.transaction, Transaction::Ongoing(logs) if logs.contains(&log));
        let partition = world.partition(log);
        if self.epochs {
            if epoch < partition.epoch {
                return Answer::Fenced;
            }
            let next = if epoch == partition.epoch { partition.next } else { 0 };
            if sequence < next {
                return Answer::Good; // it has it
            }
            if sequence > next {
                return Answer::Refused;
            }
        }
        if self.verification && partition.open.is_empty() && !is_added {
            return Answer::Refused;
        }
        partition.epoch = epoch;
        partition.next = sequence + 1;
        partition.open.push(value);
        Answer::Good
    }
}

impl Attempt {
    fn adds(&self, chunk: u8, log: Log) -> Option<Request> {
        (!self.added.contains(&log)).then_some(Request::Add(chunk, log))
    }

    fn next_chunk(&mut self) {
        self.committed += 1;
        self.added.clear();
        self.good = 0;
        self.progress_good = false;
        self.outside = false;
        self.ambiguous = false;
    }
}

impl World {
    fn partition(&mut self, log: Log) -> &mut Partition {
        match log {
            Log::Topic => &mut self.topic,
            Log::Progress => &mut self.progress,
        }
    }

    /// The coordinator decides. Where it aborts by itself, what is under way gets an epoch that is too old.
    fn ends(&mut self, commit: bool, new_epoch: bool) {
        if let Transaction::Ongoing(markers) = &self.transaction {
            self.transaction = Transaction::Ending { commit, markers: markers.clone() };
            self.epoch += u8::from(new_epoch);
        }
    }

    fn marked(&mut self, log: Log) {
        let Transaction::Ending { commit, markers } = &mut self.transaction else { return };
        let commit = *commit;
        markers.retain(|other| *other != log);
        if markers.is_empty() {
            self.transaction = Transaction::None { after_commit: commit };
        }
        let epoch = self.epoch;
        let partition = self.partition(log);
        let open = std::mem::take(&mut partition.open);
        if commit {
            partition.committed.extend(open);
        }
        if epoch > partition.epoch {
            partition.epoch = epoch;
            partition.next = 0;
        }
    }

    /// What a scan finds, if it need not wait.
    fn scanned(&self, past_strangers: bool) -> Option<u8> {
        match self.stranger {
            Stranger::Open { visible } if !past_strangers => Some(visible),
            // An own record is behind the stranger's: it waits for the end of that transaction.
            Stranger::Open { visible } if visible != self.newest_progress() => None,
            _ if !self.progress.open.is_empty() => None,
            _ => Some(self.newest_progress()),
        }
    }
}

impl Model for Rules {
    type State = World;
    type Step = Step;

    fn first(&self) -> World {
        World {
            attempts: Vec::new(),
            network: Vec::new(),
            epoch: 0,
            transaction: Transaction::None { after_commit: false },
            topic: Partition::default(),
            progress: Partition::default(),
            stranger: if self.bounds.stranger { Stranger::Before } else { Stranger::After },
            attempts_left: self.bounds.attempts,
            faults_left: self.bounds.faults,
            may_time_out: self.bounds.timeout,
            gave_up: false,
        }
    }

    fn steps(&self, world: &World) -> Vec<(Step, World)> {
        let mut steps = Vec::new();
        let mut step = |step: Step, change: &dyn Fn(&mut World)| {
            let mut next = world.clone();
            change(&mut next);
            steps.push((step, next));
        };
        if world.may_go_on() && !world.gave_up {
            let number = world.attempts.len() as u8;
            step(Step::Starts(number), &|next| {
                next.attempts_left -= 1;
                next.attempts.push(Attempt { alive: true, ..Attempt::default() });
                self.goes_on(next, number);
            });
        }
        for (number, attempt) in (0..).zip(&world.attempts).filter(|(_, attempt)| attempt.alive) {
            step(Step::Killed(number), &|next| next.gone(number));
            let may_scan = attempt.epoch.is_some() || !self.progress_read_after_init;
            if let (true, None, Some(found)) = (may_scan, attempt.from, world.scanned(self.scan_past_strangers)) {
                step(Step::Scans(number, found), &|next| {
                    let attempt = &mut next.attempts[usize::from(number)];
                    (attempt.from, attempt.committed) = (Some(found), found);
                    self.goes_on(next, number);
                });
            }
        }
        for (place, sent) in world.network.iter().enumerate() {
            if place > 0 && world.network[place - 1] == *sent {
                continue;
            }
            let mut served = world.clone();
            let answer = self.served(&mut served, *sent);
            let Some(answer) = answer else {
                if served != *world {
                    steps.push((Step::Arrives(*sent, "the open transaction is aborted first"), served));
                }
                continue;
            };
            served.network.remove(place);
            let awaited = world.attempts[usize::from(sent.attempt)].awaits.contains(&sent.request);
            let mut heard = served.clone();
            if awaited {
                self.answered(&mut heard, *sent, answer);
            }
            let words = match (answer, awaited && !heard.attempts[usize::from(sent.attempt)].alive) {
                (Answer::Good, false) => "Ok",
                (Answer::Good, true) => "Ok, but the commit was ambiguous: the attempt exits",
                (Answer::Again, _) => "it is being ended, ask again",
                (Answer::Fenced, true) => "fenced: the attempt exits",
                (Answer::Fenced, false) => "fenced",
                (Answer::Refused, true) => "refused: the attempt exits",
                (Answer::Refused, false) => "refused",
            };
            steps.push((Step::Arrives(*sent, words), heard));
            if awaited && world.faults_left > 0 {
                let mut repeated = |step: Step, mut next: World| {
                    next.faults_left -= 1;
                    next.attempts[usize::from(sent.attempt)].ambiguous |= matches!(sent.request, Request::End(_));
                    next.send(sent.attempt, sent.request);
                    steps.push((step, next));
                };
                repeated(Step::AnswerLost(*sent), served);
                repeated(Step::AwaitedInVain(*sent), world.clone());
            }
        }
        let mut step = |step: Step, change: &dyn Fn(&mut World)| {
            let mut next = world.clone();
            change(&mut next);
            steps.push((step, next));
        };
        match &world.transaction {
            Transaction::Ending { commit, markers } => {
                for log in markers {
                    step(Step::Marker(*log, *commit), &|next| next.marked(*log));
                }
            }
            Transaction::Ongoing(_) if world.may_time_out => step(Step::TimedOut, &|next| {
                next.ends(false, self.epochs);
                next.may_time_out = false;
            }),
            _ => {}
        }
        match world.stranger {
            Stranger::Before if world.progress.open.is_empty() => step(Step::StrangerBegins, &|next| {
                next.stranger = Stranger::Open { visible: next.newest_progress() };
            }),
            Stranger::Open { .. } => step(Step::StrangerEnds, &|next| next.stranger = Stranger::After),
            _ => {}
        }
        if self.epochs {
            steps.iter_mut().for_each(|(_, next)| next.forget());
        }
        steps
    }

    fn broken(&self, world: &World) -> Option<Broken> {
        let committed = &world.topic.committed;
        if let Some(pair) = committed.windows(2).find(|pair| pair[1] <= pair[0]) {
            let again = committed.iter().filter(|record| **record == pair[1]).count() > 1;
            return Some(if again { TWICE } else { DISORDER });
        }
        // Where the coordinator has decided to commit, what has no marker yet is as good as committed.
        let decided = match &world.transaction {
            Transaction::Ending { commit: true, markers } if markers.contains(&Log::Topic) => world.topic.open.as_slice(),
            _ => &[],
        };
        let believed = world.attempts.iter().map(|attempt| attempt.committed).max().unwrap_or(0);
        let counted = believed.max(world.newest_progress());
        let is_lost = |record: u8| !committed.contains(&record) && !decided.contains(&record);
        (1..=counted * RECORDS).any(is_lost).then_some(LOST)
    }
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} attempts, requests repeated: {}", self.attempts, self.faults)?;
        f.write_str(if self.timeout { ", one timeout of a transaction" } else { "" })?;
        f.write_str(if self.stranger { ", one transaction of another shard" } else { "" })
    }
}

impl fmt::Display for Travelling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let attempt = self.attempt + 1;
        match self.request {
            Request::Init => write!(f, "attempt {attempt}'s InitProducerId"),
            Request::Add(chunk, Log::Topic) => {
                write!(f, "attempt {attempt}'s AddPartitionsToTxn for the records of chunk {chunk}")
            }
            Request::Add(chunk, Log::Progress) => {
                write!(f, "attempt {attempt}'s AddPartitionsToTxn for the progress of chunk {chunk}")
            }
            Request::Record(record, _) => write!(f, "attempt {attempt}'s record {record}"),
            Request::Progress(chunk, _) => write!(f, "attempt {attempt}'s progress of chunk {chunk}"),
            Request::PlainProgress(chunk) => write!(f, "attempt {attempt}'s progress of chunk {chunk} (no transaction)"),
            Request::End(chunk) => write!(f, "attempt {attempt}'s EndTxn of chunk {chunk}"),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Starts(attempt) => write!(f, "attempt {} starts", attempt + 1),
            Step::Killed(attempt) => write!(f, "attempt {} is killed", attempt + 1),
            Step::Scans(attempt, found) => write!(f, "attempt {} reads progress: {found} chunks are committed", attempt + 1),
            Step::Arrives(sent, answer) => write!(f, "{sent} arrives: {answer}"),
            Step::AnswerLost(sent) => write!(f, "{sent} arrives, its answer is lost; the client sends it again"),
            Step::AwaitedInVain(sent) => write!(f, "{sent} is late; the client sends it again"),
            Step::Marker(log, commit) => {
                let log = match log {
                    Log::Topic => "the topic",
                    Log::Progress => "the progress topic",
                };
                write!(f, "the marker of the {} is written to {log}", if *commit { "commit" } else { "abort" })
            }
            Step::TimedOut => write!(f, "the transaction runs into its timeout and is aborted"),
            Step::StrangerBegins => write!(f, "another shard's transaction begins on the partition of the progress topic"),
            Step::StrangerEnds => write!(f, "the other shard's transaction ends"),
        }
    }
}
