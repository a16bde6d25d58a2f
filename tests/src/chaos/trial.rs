//! What came of one trial: figures, and what was wrong.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Instant;

use serde_json::Value;

use super::Delivery;
use super::job::{Job, PARTITIONS, PROGRESS};
use super::oracle::{self, Arrival, Copies, Follower};
use crate::topic::{self, Isolation};

/// An outcome.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The kind of trial.
    pub kind: &'static str,
    /// What the job promised.
    pub delivery: Delivery,
    /// What its moments were drawn from.
    pub seed: u64,
    /// How many brokers the cluster had.
    pub brokers: u32,
    /// Faults that were done to it, and took effect.
    pub faults: u64,
    /// Records of the source.
    pub records: u64,
    /// Records that the topic lacks.
    pub lost: u64,
    /// Surplus copies.
    pub twice: u64,
    /// Surplus copies as `shardlift verify` counts them.
    pub verify: u64,
    /// Readers that agreed on this.
    pub readers: Vec<&'static str>,
    /// Figures in milliseconds, or counts, by their names.
    pub figures: BTreeMap<&'static str, Vec<u64>>,
    /// What was wrong; nothing if all promises were kept.
    pub wrong: Vec<String>,
    /// How long it took.
    pub seconds: f64,
}

impl Outcome {
    /// Of a trial to which nothing was done yet.
    pub fn nothing(kind: &'static str, delivery: Delivery, seed: u64, brokers: u32, records: u64) -> Self {
        Outcome {
            kind,
            delivery,
            seed,
            brokers,
            faults: 0,
            records,
            lost: 0,
            twice: 0,
            verify: 0,
            readers: Vec::new(),
            figures: BTreeMap::new(),
            wrong: Vec::new(),
            seconds: 0.0,
        }
    }

    /// That of a trial. One that panics, as each does that hangs, has this outcome with what the panic said.
    pub fn of(mut self, trial: impl FnOnce() -> Outcome) -> Outcome {
        let began = Instant::now();
        catch_unwind(AssertUnwindSafe(trial)).unwrap_or_else(|panic| {
            self.wrong.push(format!("it panicked: {}", said(panic.as_ref())));
            self.seconds = began.elapsed().as_secs_f64();
            self
        })
    }
}

/// What a panic said.
fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("nothing")
}

/// How much a fault may double with at-least-once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Deaths {
    /// Workers that died.
    pub workers: u64,
    /// Workers that supervisors had when they died, in all.
    pub of_supervisors: u64,
}

/// A trial under way.
pub struct Trial<'a> {
    /// Its job.
    pub job: Job<'a>,
    /// What will be told.
    pub outcome: Outcome,
    /// What the independent reader saw, by time.
    pub arrivals: Vec<Arrival>,
    follower: Option<Follower>,
    began: Instant,
}

impl<'a> Trial<'a> {
    /// Begins one. With exactly-once a reader of committed records follows the topic from now on.
    pub fn begin(kind: &'static str, seed: u64, job: Job<'a>) -> Self {
        let delivery = job.shape.delivery;
        let follower = (delivery == Delivery::ExactlyOnce).then(|| Follower::of_committed(job.place.kafka, &job.name));
        let outcome = Outcome::nothing(kind, delivery, seed, job.place.count, job.place.source.len());
        Trial { job, outcome, arrivals: Vec::new(), follower, began: Instant::now() }
    }

    /// Notes a figure.
    pub fn note(&mut self, figure: &'static str, value: u64) {
        self.outcome.figures.entry(figure).or_default().push(value);
    }

    /// Notes what was wrong.
    pub fn wrong(&mut self, what: impl Into<String>) {
        self.outcome.wrong.push(what.into());
    }

    /// Unless something holds, it was wrong.
    pub fn expect(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.wrong(what());
        }
    }

    /// Judges a job that is done: its report, the topic by several readers, and `verify`.
    pub fn judge(&mut self, machine: u32, report: &Result<Value, String>, deaths: Deaths, all_readers: bool) {
        match report {
            Ok(report) => self.judge_report(report),
            Err(what) => self.wrong(what.clone()),
        }
        let Trial { job, .. } = self;
        let (kafka, source) = (job.place.kafka, job.place.source);
        let (delivery, isolation) = (job.shape.delivery, oracle::isolation(job.shape.delivery));
        let seen = oracle::read(kafka, &job.name, isolation, source, job.shape.keyed.then_some(PARTITIONS));
        self.arrivals = seen.arrivals;
        self.outcome.lost = seen.copies.lost();
        self.outcome.twice = seen.copies.twice();
        self.outcome.readers.push("kcat");
        self.expect(seen.copies.lost() == 0, || format!("{} records are lost", seen.copies.lost()));
        self.expect(seen.copies.unexpected() == 0, || format!("{} records are not the source's", seen.copies.unexpected()));
        if let Some(order) = &seen.order {
            let bad = order.other_keys + order.misplaced + order.first_copies.records + order.last_copies.records;
            self.expect(bad == 0, || format!("order: {order:?}"));
        }
        let bound = match delivery {
            Delivery::AtLeastOnce => self.job.shape.chunk * (deaths.workers + 2 * deaths.of_supervisors),
            Delivery::ExactlyOnce => 0,
        };
        let twice = seen.copies.twice();
        self.expect(twice <= bound, || format!("{twice} records are there twice, at most {bound} may be ({deaths:?})"));
        if let (Ok(report), Delivery::AtLeastOnce) = (report, delivery) {
            let told = report["records"]["resent"].as_u64().unwrap_or(0);
            self.expect(twice <= told, || format!("{twice} records are there twice, the report tells at most {told}"));
        }
        if let Some(follower) = self.follower.take() {
            let followed = follower.copies(self.job.place.source, seen.copies.seen());
            self.agree("a reader of committed records during the run", &followed, &seen.copies);
            self.outcome.readers.push("follower");
        }
        if all_readers {
            let (kafka, source) = (self.job.place.kafka, self.job.place.source);
            let wanted = seen.copies.seen();
            let other = oracle::read_with_verifiable_consumer(kafka, &self.job.name, isolation, source, wanted);
            self.agree("Kafka's VerifiableConsumer", &other, &seen.copies);
            self.outcome.readers.push("VerifiableConsumer");
        }
        self.verify(machine, &seen.copies);
        if !self.outcome.wrong.is_empty() {
            let examples = seen.copies.examples();
            self.wrong(format!("places in the source and copies seen: {examples:?}"));
        }
    }

    fn judge_report(&mut self, report: &Value) {
        let records = self.outcome.records;
        self.expect(report["outcome"] == "done", || format!("the outcome is {}", report["outcome"]));
        self.expect(report["records"]["acknowledged"] == records, || format!("the report counts {}", report["records"]));
        self.expect(report["balances"] == true, || format!("the report does not balance: {}", report["records"]));
    }

    fn agree(&mut self, reader: &str, seen: &Copies, kcat: &Copies) {
        let figures = |copies: &Copies| (copies.lost(), copies.twice(), copies.unexpected(), copies.seen());
        let (one, other) = (figures(seen), figures(kcat));
        self.expect(one == other, || format!("{reader} sees lost, twice, unknown, all: {one:?}, kcat afterwards {other:?}"));
    }

    /// `verify` has to count what the independent reader counted.
    fn verify(&mut self, machine: u32, copies: &Copies) {
        let verified = self.job.command(machine, &["verify", "-o", "json"]);
        let Ok(json) = serde_json::from_str::<Value>(&verified.stdout) else {
            return self.wrong(format!("verify ended with {}: {}", verified.code, super::job::last_lines(&verified.stderr)));
        };
        let count = |name: &str| json[name].as_u64().unwrap_or(u64::MAX);
        self.outcome.verify = count("duplicates");
        let told = (count("missing"), count("duplicates"), count("unexpected"), count("topic_records"));
        let seen = (copies.lost(), copies.twice(), copies.unexpected(), copies.seen());
        self.expect(told == seen, || format!("verify counts missing, twice, unknown, all: {told:?}, kcat {seen:?}"));
        let code = if copies.lost() + copies.twice() == 0 { 0 } else { 6 };
        self.expect(verified.code == code, || format!("verify ended with {}", verified.code));
    }

    /// Ends it: the topic goes, and what was wrong is kept with all that tells of it.
    pub fn end(mut self) -> Outcome {
        self.outcome.seconds = self.began.elapsed().as_secs_f64();
        let processes = self.job.program.processes();
        if !processes.is_empty() {
            std::thread::sleep(std::time::Duration::from_secs(2));
            let left = self.job.program.processes();
            self.expect(left.is_empty(), || format!("processes are left: {left:?}"));
        }
        if self.outcome.wrong.is_empty() {
            self.job.place.kafka.delete_topic(&self.job.name);
        } else {
            self.keep();
        }
        self.outcome.clone()
    }

    /// Writes what the topics hold beside the job's state, and keeps the folder.
    fn keep(&mut self) {
        let folder = self.job.program.keep();
        let processes = self.job.program.processes();
        let told = format!("{:#?}\n{:#?}\n{processes:#?}\n", self.outcome, self.job.shape);
        std::fs::write(folder.join("outcome.txt"), told).expect("the folder can be written");
        self.job.program.end_all();
        for (isolation, name) in [(Isolation::Committed, "committed.txt"), (Isolation::Uncommitted, "all.txt")] {
            dump(&self.job, &self.job.name, isolation, &folder.join(name));
        }
        if self.job.shape.delivery == Delivery::ExactlyOnce {
            dump(&self.job, PROGRESS, Isolation::Uncommitted, &folder.join("progress.txt"));
            dump(&self.job, PROGRESS, Isolation::Committed, &folder.join("progress-committed.txt"));
        }
        self.wrong(format!("kept: {}", folder.display()));
    }
}

impl Drop for Trial<'_> {
    /// One that panics has not come to its end: what tells of it is kept all the same.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let Outcome { kind, delivery, seed, .. } = self.outcome;
        eprintln!("{kind} {} seed {seed} panicked; kept: {}", delivery.name(), self.job.program.folder().display());
        // A second panic would end this process, and leave the brokers.
        let kept = catch_unwind(AssertUnwindSafe(|| {
            self.wrong("it panicked");
            self.job.place.kafka.heal();
            self.keep();
        }));
        if kept.is_err() {
            eprintln!("not all of it could be written");
        }
    }
}

/// A line for each record of a topic: partition, offset, time, place in the source or key and value.
fn dump(job: &Job, topic: &str, isolation: Isolation, path: &Path) {
    use std::io::Write;
    let file = std::fs::File::create(path).expect("the folder can be written");
    let mut out = std::io::BufWriter::new(file);
    topic::read(job.place.kafka.bootstrap(), topic, isolation, |record| {
        let value = record.value.as_deref().unwrap_or_default();
        let what = match job.place.source.place(value) {
            Some(place) => place.to_string(),
            None => format!(
                "{:?} {}",
                record.key.map(|key| String::from_utf8_lossy(&key).into_owned()),
                String::from_utf8_lossy(value)
            ),
        };
        writeln!(out, "{} {} {} {what}", record.partition, record.offset, record.timestamp).expect("it can be written");
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing() -> Outcome {
        Outcome::nothing("signals", Delivery::AtLeastOnce, 7, 1, 100)
    }

    #[test]
    fn a_trial_that_panics_has_an_outcome_with_what_was_wrong() {
        let waited = nothing().of(|| panic!("waited {} s in vain", 60));
        assert_eq!(waited.wrong, ["it panicked: waited 60 s in vain"]);
        assert_eq!((waited.kind, waited.seed, waited.faults), ("signals", 7, 0));
        assert_eq!(nothing().of(|| panic!("no reason")).wrong, ["it panicked: no reason"]);
        assert!(nothing().of(nothing).wrong.is_empty());
    }
}
