//! What a comparison of topic and source found: values, what they mean for the exit code, and why, in a sentence.
//!
//! Responsible for the verdict. Not responsible for the comparison itself, or for how the whole result looks.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::Exit;
use crate::printable::printable_path;
use crate::units::{show_count, show_things};

/// How many files are named that are new.
const FILES_SHOWN: usize = 10;

/// What is read of one partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionRange {
    /// The first offset that is judged: where the partition ended when the job began.
    pub start: i64,
    /// One past the last one: where its log ended when the comparison began.
    pub end: i64,
    /// Offsets before `start` that can be read and are not judged: at most that number of records.
    pub older: i64,
    /// Offsets from `start` on that can't be read any more (retention, DeleteRecords).
    pub gone: i64,
}

/// What differs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyReport {
    /// Non-blank lines of the source, dead letters included.
    pub source_records: u64,
    /// How many of them are dead letters and not expected in the topic.
    pub dead_lettered: u64,
    /// Records that the topic should have beside them, because they were sent again of dead letters.
    pub retried: u64,
    /// How many dead letters hold another length or other bytes than the source has at their place, those of what was
    /// sent again included. The topic may be right.
    pub altered_letters: u64,
    /// Records of the topic since the job began.
    pub topic_records: u64,
    /// Expected and not there; a line that can't become a record and is no dead letter is missing too.
    pub missing: u64,
    /// Surplus copies of expected records.
    pub duplicates: u64,
    /// Pairs of a missing and an unexpected record with the same key and partition, or without a key with the same
    /// value, counted only here: the value is another, or headers or time are.
    pub altered: u64,
    /// Records of the source, surplus copies included, that stand in another partition than their key chooses.
    pub misplaced: u64,
    /// In the topic and not in the source; with the job's headers, where the job sets any. Without headers they may be
    /// other producers'.
    pub unexpected: u64,
    /// In the topic and without the job's headers: other producers'. 0 where the job sets no headers.
    pub others: u64,
    /// Expected and not there, and not counted as missing: the topic is compacted and has a newer record of the same
    /// key and partition, so that nothing tells whether they arrived.
    pub superseded: u64,
    /// Of the superseded ones: the topic has a record of their key that the source does not have and that may be the
    /// job's. It may be another producer's, or an altered one.
    pub doubtful: u64,
    /// Keys of a compacted topic whose newest record is the source's, and an older one than the source's last one.
    pub outdated: u64,
    /// Whether such keys were looked for.
    pub last_values: LastValues,
    /// What was compared besides key and value.
    pub compared: Compared,
    /// Whether the topic is compacted; `None`: the brokers did not tell.
    pub compacted: Option<bool>,
    /// What deletes the topic's oldest records.
    pub retention: Retention,
    /// What was read, by partition.
    pub partitions: Vec<PartitionRange>,
    /// Some differences by name, sorted by kind and place.
    pub examples: Vec<VerifyExample>,
}

/// What was compared of each record besides key and value: what the job sets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compared {
    /// The partition of records with a key.
    pub partitions: bool,
    /// Headers.
    pub headers: bool,
    /// Whether the job sets timestamps. They were compared if `replaced_times` is 0.
    pub times: bool,
    /// Records whose times are the brokers' own: with one of them, no times are compared.
    pub replaced_times: u64,
}

/// Whether the newest record of each key was held against the last one that the source has of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LastValues {
    /// The topic is not compacted, or the brokers don't tell: all records count alike.
    #[default]
    NotCompacted,
    /// It is compacted, and the order of a key's records was not promised, or the topic has other partitions now.
    NotPromised,
    /// It was.
    Compared,
}

impl LastValues {
    /// Its name in the results.
    pub const fn name(self) -> &'static str {
        match self {
            LastValues::NotCompacted => "not-compacted",
            LastValues::NotPromised => "order-not-promised",
            LastValues::Compared => "compared",
        }
    }
}

/// What deletes a topic's oldest records, as its settings are when it is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Retention {
    /// The brokers did not tell.
    #[default]
    Unknown,
    /// The embedded broker keeps no more than this of a partition, whatever is asked of it.
    Embedded,
    /// The topic's own settings.
    Settings {
        /// `retention.ms`; `None`: no record is too old, or `cleanup.policy` deletes none.
        ms: Option<u64>,
        /// `retention.bytes`, the same.
        bytes: Option<u64>,
    },
}

/// What may have taken offsets that can't be read any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taker {
    /// The embedded broker's limit.
    Embedded,
    /// Retention by these settings, or a request to delete records.
    RetentionOrRequest {
        /// `retention.ms`, if it can have been it.
        ms: Option<u64>,
        /// `retention.bytes`, the same.
        bytes: Option<u64>,
    },
    /// A request to delete records: by its settings the topic keeps all, or what the job sent is not old enough.
    Request,
    /// Retention or a request: the topic's settings are not known.
    Unknown,
}

impl Taker {
    /// Its name in the results.
    pub const fn name(self) -> &'static str {
        match self {
            Taker::Embedded => "embedded-limit",
            Taker::RetentionOrRequest { .. } => "retention-or-delete-records",
            Taker::Request => "delete-records",
            Taker::Unknown => "unknown",
        }
    }
}

impl Retention {
    /// What may have taken records. `age_ms`: how old the oldest can be; `None`: not known.
    pub fn taker(self, age_ms: Option<u64>) -> Taker {
        let Retention::Settings { ms, bytes } = self else {
            return if self == Retention::Embedded { Taker::Embedded } else { Taker::Unknown };
        };
        match (ms.filter(|ms| age_ms.is_none_or(|age| age >= *ms)), bytes) {
            (None, None) => Taker::Request,
            (ms, bytes) => Taker::RetentionOrRequest { ms, bytes },
        }
    }
}

impl VerifyReport {
    /// Whether nothing in the topic contradicts the source but what `allowed` excuses.
    pub fn is_clean(&self, allowed: Option<AllowedDuplicates>) -> bool {
        let excused = allowed.is_some_and(|allowed| self.duplicates <= allowed.at_most);
        let surplus = if excused { 0 } else { self.duplicates };
        [self.missing, surplus, self.altered, self.misplaced, self.wrong(), self.doubtful, self.outdated] == [0; 7]
    }

    /// Unexpected records that only the job can have sent.
    fn wrong(&self) -> u64 {
        if self.compared.headers { self.unexpected } else { 0 }
    }

    /// Records that are not the source's and may be other producers', or altered ones: without headers that can't be
    /// told.
    pub fn not_the_sources(&self) -> u64 {
        self.unexpected - self.wrong()
    }

    /// Offsets before the job's start that can be read and were not judged: at most that number of records.
    pub fn older(&self) -> u64 {
        self.partitions.iter().map(|range| u64::try_from(range.older).unwrap_or(0)).sum()
    }

    /// Offsets that can't be read any more, by partition; only partitions that miss some.
    pub fn gone(&self) -> impl Iterator<Item = (u32, u64)> {
        (0..)
            .zip(&self.partitions)
            .filter_map(|(partition, range)| Some((partition, u64::try_from(range.gone).ok()?)))
            .filter(|gone| gone.1 > 0)
    }
}

/// What is wrong with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VerifyKind {
    /// Not in the topic.
    Missing,
    /// A surplus copy.
    Duplicate,
    /// Another value, or other headers or another time, under the same key and partition.
    Altered,
    /// In another partition than its key chooses.
    Misplaced,
    /// The newest of its key, and not the last one that the source has.
    Outdated,
    /// Not in the source.
    Unexpected,
    /// A dead letter that does not hold what the source has at its place.
    Letter,
}

impl VerifyKind {
    /// Its name in the results.
    pub const fn name(self) -> &'static str {
        match self {
            VerifyKind::Missing => "missing",
            VerifyKind::Duplicate => "duplicate",
            VerifyKind::Altered => "altered",
            VerifyKind::Misplaced => "misplaced",
            VerifyKind::Outdated => "outdated",
            VerifyKind::Unexpected => "unexpected",
            VerifyKind::Letter => "letter",
        }
    }
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct VerifyExample {
    /// What is wrong.
    pub kind: VerifyKind,
    /// Where in the source: the file. Missing and altered records have it, and dead letters; an outdated one has the
    /// place of its key's last record.
    pub path: Option<String>,
    /// Where in the file: the first byte.
    pub start: Option<u64>,
    /// Where in the topic: the partition. All but missing records and dead letters have it.
    pub partition: Option<u32>,
    /// Where in the partition.
    pub offset: Option<i64>,
    /// The first 256 bytes of the key.
    pub key: Option<Vec<u8>>,
    /// The first 256 bytes of the value; an altered record's as it is in the topic, a dead letter's as the source has
    /// it.
    pub value: Vec<u8>,
}

/// Surplus copies that are let pass (`verify.allow_duplicates`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllowedDuplicates {
    /// How many the known deaths explain.
    pub at_most: u64,
}

/// A comparison that was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// What differs.
    pub report: VerifyReport,
    /// The dead letters.
    pub letters: LetterCounts,
    /// How long it took, milliseconds.
    pub elapsed_ms: u64,
    /// With a `--limit` that was reached: how many records from the source's beginning were compared.
    pub limit: Option<u64>,
    /// Files that the source has now and had not when it was planned: nothing of them was compared.
    pub new_files: Vec<PathBuf>,
    /// Which surplus copies are let pass, if any.
    pub allowed: Option<AllowedDuplicates>,
    /// How old what the job sent can be, milliseconds; `None`: its records have times of their own.
    pub age_ms: Option<u64>,
}

/// Dead letters, counted in three ways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LetterCounts {
    /// In the files, as far as they are committed.
    pub committed: u64,
    /// By the state.
    pub counted: u64,
    /// In the files behind that: of chunks that were never committed. They are not looked at.
    pub uncommitted: u64,
}

impl Verified {
    /// What it means for the exit code.
    pub fn exit(&self) -> Exit {
        match (self.is_clean(), self.new_files.is_empty()) {
            (_, false) => Exit::Source,
            (true, true) => Exit::Done,
            (false, true) => Exit::Difference,
        }
    }

    /// Why that is so, in a sentence for the report of a run.
    pub fn reason(&self) -> String {
        let new = self.more_files();
        let differs = match (self.report.is_clean(self.allowed), &new) {
            (true, _) if self.is_clean() => return new.unwrap_or_default(),
            (true, _) if self.report.altered_letters > 0 => "dead letters do not hold the source's records",
            (true, _) => "the dead letters differ from the state: it can't be told what the topic should hold",
            (false, None) => "the topic differs from the source",
            (false, Some(_)) => "the topic differs from the planned files",
        };
        let differs = match self.why_different() {
            Some(why) => format!("{differs}: {why}"),
            None => differs.to_owned(),
        };
        new.map_or_else(|| differs.clone(), |new| format!("{new}; and {differs}"))
    }

    /// What is to be said of a difference besides its counts.
    pub fn why_different(&self) -> Option<String> {
        let why: Vec<_> = [self.duplicates_above(), self.doubt(), self.outdated()].into_iter().flatten().collect();
        (!why.is_empty()).then(|| why.join("; "))
    }

    /// In a compacted topic: that what may have replaced records of the source may be altered ones.
    fn doubt(&self) -> Option<String> {
        let doubtful = self.report.doubtful;
        let (are, their) = if doubtful == 1 { ("is", "its") } else { ("are", "their") };
        (doubtful > 0).then(|| {
            format!(
                "{} {are} not there, and under {their} key stands what the source does not have: another producer's newer \
                 record, or an altered one, which only record.headers could tell",
                show_things(doubtful, "record")
            )
        })
    }

    /// In a compacted topic: that what stands last of a key is not what the source has last.
    fn outdated(&self) -> Option<String> {
        let keys = show_things(self.report.outdated, "key");
        (self.report.outdated > 0).then(|| format!("of {keys} the newest record is not the last one of the source"))
    }

    /// With duplicates allowed: that there are more than the known deaths explain.
    fn duplicates_above(&self) -> Option<String> {
        let found = self.report.duplicates;
        let AllowedDuplicates { at_most } = self.allowed.filter(|allowed| found > allowed.at_most)?;
        let (found, most) = (show_things(found, "duplicate"), show_count(at_most));
        Some(format!("{found}, and the known deaths explain at most {most}"))
    }

    /// What may have taken offsets that can't be read any more. Other producers' records may have any time, and take
    /// what stands beside them along when they are too old.
    pub fn taker(&self) -> Taker {
        let alone = self.report.others == 0 && self.report.not_the_sources() == 0;
        self.report.retention.taker(self.age_ms.filter(|_| alone))
    }

    /// Which files the source has now that were not compared.
    pub fn more_files(&self) -> Option<String> {
        let names = self.new_files.iter().take(FILES_SHOWN).map(|path| printable_path(path)).collect::<Vec<_>>().join(", ");
        let more = match self.new_files.len().saturating_sub(FILES_SHOWN) {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        (!self.new_files.is_empty()).then(|| {
            format!("{names}{more}: not planned, not sent, not compared; `run --add` sends what is new (not with --limit)")
        })
    }

    /// Whether nothing speaks against it: neither the topic nor the number of dead letters.
    pub fn is_clean(&self) -> bool {
        self.report.is_clean(self.allowed) && self.letters.committed == self.letters.counted && self.report.altered_letters == 0
    }

    /// The verdict.
    pub fn verdict(&self) -> Verdict {
        match &self.report {
            _ if !self.is_clean() || !self.new_files.is_empty() => Verdict::Different,
            r if r.superseded > 0 => Verdict::Compacted,
            r if r.not_the_sources() > 0 || r.duplicates > 0 => Verdict::Complete,
            _ => Verdict::Same,
        }
    }
}

/// What a comparison came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The topic holds what the source says.
    Same,
    /// Every record of the source is there, and nothing is wrong; but without headers it can't be told whose the other
    /// records are, or there are surplus copies that are let pass.
    Complete,
    /// Something differs, or was not compared.
    Different,
    /// Nothing contradicts the source, but the topic is compacted, and of some records nothing can be told.
    Compacted,
}

impl Verdict {
    /// Its name in the results.
    pub const fn name(self) -> &'static str {
        match self {
            Verdict::Same => "same",
            Verdict::Complete => "complete",
            Verdict::Different => "different",
            Verdict::Compacted => "compacted",
        }
    }
}

/// What the last comparison of a job found, as its state keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptVerdict {
    /// After which run it was made.
    pub run: u32,
    /// When it ended, milliseconds since 1970.
    pub unix_ms: i64,
    /// What it found.
    pub verified: Verified,
    /// Whether a later run sent records, or may have: it says nothing of those.
    pub sent_since: bool,
}
