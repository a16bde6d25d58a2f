//! The phase `verify`: what a complete job is held against: its dead letters, its files, and, if that is wanted, the
//! topic.

use migration::report::JobReport;
use migration::report::verify::Verified;
use migration::{Cause, Causes, Exit, SourceObject, UserError, advice};
use supervisor::{JobState, Store};
use worker::WorkerContext;

use super::pass::Pass;
use super::plan;
use super::report::Reported;
use crate::letters::{self, Letters};
use crate::surplus_file::SurplusFile;
use crate::verify::{Compared, Lists, Sent};
use crate::{helper, source, state, verify};

/// A run of which all is known.
pub struct Judged {
    /// What its workers were given.
    pub context: WorkerContext,
    /// The job now.
    pub report: JobReport,
    /// What speaks against exit 0.
    pub causes: Causes,
    /// Whether that is more than the state has.
    pub revised: bool,
    /// What the comparison found, if there was one.
    pub verified: Option<Verified>,
}

/// What is asked for of a comparison.
#[derive(Default)]
pub struct Comparing {
    /// Whether there is to be one.
    pub wanted: bool,
    /// What gets each surplus copy.
    pub list: Option<SurplusFile>,
}

/// Judges what may be judged. The topic of an embedded broker is always compared, for it can be only while the broker
/// lives.
pub fn verify(pass: &Pass<'_>, reported: Reported, comparing: Comparing) -> Judged {
    let Reported { context, report, causes: before, alone } = reported;
    let complete = report.shards.done == report.shards.total;
    if comparing.wanted && !complete {
        tracing::warn!("not verified: the job is not complete");
    }
    let mut judge = Judge { pass, context: &context, report: &report, causes: before.clone() };
    let mut verified = None;
    if complete && alone && may_judge(before.exit()) {
        judge.letters();
        if comparing.wanted || pass.broker.is_some() {
            verified = judge.topic(comparing.list);
        } else {
            judge.files();
        }
    }
    let causes = judge.causes;
    Judged { revised: causes != before, context, report, causes, verified }
}

/// After a second signal, or when the state says nothing that can be relied on, there is nothing to compare.
fn may_judge(exit: Exit) -> bool {
    !matches!(exit, Exit::Signal(_) | Exit::State | Exit::Internal)
}

struct Judge<'a> {
    pass: &'a Pass<'a>,
    context: &'a WorkerContext,
    report: &'a JobReport,
    causes: Causes,
}

impl Judge<'_> {
    /// Whether each record that was set aside is where the state says.
    fn letters(&mut self) {
        // Those in a topic are there: each was acknowledged before its chunk was committed.
        if self.report.counts.dead_lettered == 0 || self.context.letters.is_some() {
            return;
        }
        let (report, folder) = (self.report, &self.context.dead_letters);
        if let Err(error) = helper::ask("shardlift plan", Some(&self.pass.interrupt), || letters::require(report, folder)) {
            self.against(error, "");
        }
    }

    /// Whether the files are those of the plan. A comparison looks at them itself.
    fn files(&mut self) {
        let (job, plan) = (&self.pass.job, &self.context.plan);
        match helper::ask("shardlift plan", Some(&self.pass.interrupt), || source::check_files(job, plan)) {
            Ok(retimed) => self.retimed(&retimed),
            Err(error) => self.against(error, ""),
        }
    }

    /// Files that have another time since the run began, which is accepted: kept, so that the next look knows it.
    fn retimed(&mut self, retimed: &[(u32, SourceObject)]) {
        let kept = plan::keep_replaced(self.pass, &self.context.plan, retimed);
        if let Err(error) = kept.map_err(state::unusable) {
            self.against(error, "");
        }
    }

    /// What the comparison of topic and source found. It is kept with the job.
    fn topic(&mut self, list: Option<SurplusFile>) -> Option<Verified> {
        let slow = advice::slow_reading(self.pass.job.workers.flush, self.report.counts.acknowledged);
        if let Some(warning) = slow.filter(|_| self.pass.broker.is_some()) {
            tracing::warn!("{warning}");
        }
        let (found, compared) = self.compare(list).map_err(|error| self.against(error, "not verified: ")).ok()?;
        let Compared { verified, list } = found;
        verify::keep(&self.pass.store_path(), &verified, &compared);
        if let Some(cause) = Cause::of(verified.exit()) {
            self.causes.add(cause, verified.reason());
        }
        if let Err(error) = list.map_or(Ok(()), SurplusFile::keep) {
            self.against(error, "");
        }
        Some(verified)
    }

    /// What the comparison found, and in which state the job was then.
    fn compare(&self, list: Option<SurplusFile>) -> Result<(Compared, JobState), UserError> {
        let Pass { job, dir, interrupt, ui, .. } = self.pass;
        // The plan as it stands now: shards may have been split in this run, and records are in order only within a
        // shard.
        let kept = Store::read_only(&self.pass.store_path()).and_then(|store| store.load()).map_err(state::unusable)?;
        let letters = Letters::of(dir.path(), &kept);
        let retries = verify::retries_of(dir.path(), &kept)?;
        let sent = Sent { plan: &kept.plan, letters: &letters, retries: &retries, report: self.report };
        let found = verify::verify(job, sent, Lists { surplus: list, missing: None }, Some(interrupt), ui)?;
        verify::require_same_retries(dir.path(), &kept, &retries)?;
        Ok((found, kept))
    }

    fn against(&mut self, error: UserError, what: &str) {
        self.pass.ui.complain(&error);
        self.causes.add(Cause::of(error.exit).unwrap_or(Cause::Internal), format!("{what}{}", error.message));
    }
}
