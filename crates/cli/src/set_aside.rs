//! A job's dead letters and those of its retries: which are still set aside, which are chosen, and in which order they
//! are sent again.
//!
//! A letter is set aside until a retry takes it; one of a retry is a letter like any other. Those of a retry come
//! before the job's own that no retry took yet, and within each those that stand first in the source, so that records
//! of one key keep its order.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use migration::report::{LetterReason, ListedReason, ShownLetter};
use migration::{Exit, Job, Purpose, ShardId, UserError, fixed};
use pipeline::dead_letter::{DeadLetter, LetterPlace, LetterSet, Unsendable};
use pipeline::reason;
use supervisor::JobState;

use crate::letters::Letters;
use crate::letters_topic::{OneByOne, OpenLetters};
use crate::preflight;
use crate::retries::Retries;

/// How many reasons of one job are told apart; more are one.
const MOST_REASONS: usize = 200;
/// What that one is called.
const OTHER_REASONS: &str = "other reasons";

/// The letters of a job or of one of its retries.
struct Origin {
    /// 0: the job's own.
    number: u32,
    letters: Letters,
    open: OpenLetters,
    /// Where each file of the source stands in it.
    ranks: HashMap<String, usize>,
    /// Whether its records were made of what the source has.
    made: bool,
}

/// All letters of a job.
pub struct SetAside<'a> {
    origins: Vec<Origin>,
    retries: &'a Retries,
}

/// A letter that is read.
struct SeenLetter {
    /// Index of its origin.
    origin: usize,
    place: LetterPlace,
    letter: DeadLetter,
    taken_by: Option<u32>,
}

/// Which letters are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Only those of a reason of the listing, from 1.
    pub reason: Option<usize>,
    /// Only those that a shard set aside.
    pub shard: Option<u32>,
    /// Only those that no line can hold whole.
    pub cut: bool,
    /// Those that a retry took, too.
    pub taken: bool,
}

/// A letter that was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChosenLetter {
    origin: usize,
    place: LetterPlace,
    /// The number of its reason in the listing.
    number: usize,
    taken_by: Option<u32>,
    unsendable: Option<Unsendable>,
    /// Where it stands in its source.
    order: (usize, u64),
}

/// Letters that were left out, because no line can hold their records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Which hold only their beginning.
    pub cut: u64,
    /// Rows of CSV that could not be read.
    pub rows: u64,
    /// With a line end in them.
    pub line_ends: u64,
}

impl LeftOut {
    fn add(&mut self, why: Unsendable) {
        *match why {
            Unsendable::Cut => &mut self.cut,
            Unsendable::Row => &mut self.rows,
            Unsendable::LineEnd => &mut self.line_ends,
        } += 1;
    }

    /// How many.
    pub fn all(self) -> u64 {
        self.cut + self.rows + self.line_ends
    }
}

impl<'a> SetAside<'a> {
    /// Those of a job whose folder and state these are, and of its retries. Such that are in a topic are read, with the
    /// brokers of `job`.
    pub fn of(
        folder: &Path,
        state: &JobState,
        retries: &'a Retries,
        job: impl FnOnce() -> Result<Job, UserError>,
    ) -> Result<SetAside<'a>, UserError> {
        let own = std::iter::once((0, Letters::of(folder, state), state));
        let again = retries.all.iter().map(|retry| (retry.place.number, retry.letters(), &retry.state));
        let all: Vec<_> = own.chain(again).collect();
        let job = all.iter().any(|(_, letters, _)| letters.topic.is_some()).then(job).transpose()?;
        if let Some(job) = job.as_ref().filter(|_| all.iter().any(|(_, letters, _)| letters.counted > 0)) {
            preflight::require_cluster(job, Purpose::Compare, &state.binding, None)?;
        }
        let origin = |(number, letters, state): (u32, Letters, &JobState)| {
            let open = job.as_ref().map_or(Ok(OpenLetters::Files), |job| OpenLetters::of(&letters, job, None))?;
            let ranks = state.plan.objects.iter().map(|file| file.path.to_string_lossy().into_owned()).zip(0..).collect();
            Ok(Origin { number, letters, open, ranks, made: fixed::makes_records(&state.settings) })
        };
        Ok(SetAside { origins: all.into_iter().map(origin).collect::<Result<_, UserError>>()?, retries })
    }

    fn taken_by(&self, origin: u32, place: LetterPlace) -> Option<u32> {
        let took = |taken: &LetterSet| taken.has(place);
        self.retries.all.iter().find(|retry| retry.rules.taken_of(origin).is_some_and(took)).map(|retry| retry.place.number)
    }

    fn each(&self, visit: &mut dyn FnMut(SeenLetter)) -> Result<(), UserError> {
        for (index, origin) in self.origins.iter().enumerate() {
            origin.open.each(&origin.letters, &mut |place, letter| {
                visit(SeenLetter { origin: index, place, letter, taken_by: self.taken_by(origin.number, place) });
                Ok(())
            })?;
        }
        Ok(())
    }

    /// The reasons with their letters, numbered by their places in it.
    pub fn listing(&self) -> Result<Vec<ListedReason>, UserError> {
        Ok(self.reasons()?.into_iter().map(Listed::finish).collect())
    }

    /// The same, not yet as they are shown.
    fn reasons(&self) -> Result<Vec<Listed>, UserError> {
        let mut found: Vec<BTreeMap<String, Listed>> = self.origins.iter().map(|_| BTreeMap::new()).collect();
        self.each(&mut |seen| {
            let known = &mut found[seen.origin];
            let mut kind = reason::kind(&seen.letter.reason);
            if known.len() >= MOST_REASONS && !known.contains_key(&*kind) {
                kind = OTHER_REASONS.into();
            }
            known.entry(kind.into_owned()).or_default().add(&self.origins[seen.origin], &seen);
        })?;
        Ok(sorted(found))
    }

    /// The letters that are wanted, in the order in which they are sent again.
    pub fn choose(&self, wanted: &Selection) -> Result<Vec<ChosenLetter>, UserError> {
        let numbers: HashMap<(usize, String), usize> =
            self.reasons()?.into_iter().map(|listed| (listed.origin, listed.kind)).zip(1..).collect();
        if let Some(reason) = wanted.reason.filter(|reason| *reason == 0 || *reason > numbers.len()) {
            let there = format!("there is no reason {reason}: `shardlift dlq list` numbers {} of them", numbers.len());
            return Err(UserError::new(Exit::Usage, there));
        }
        let mut chosen = Vec::new();
        self.each(&mut |seen| {
            let SeenLetter { origin, place, ref letter, taken_by } = seen;
            let kind = reason::kind(&letter.reason);
            let of_kind = |kind: &str| numbers.get(&(origin, kind.to_owned())).copied();
            let number = of_kind(&kind).or_else(|| of_kind(OTHER_REASONS)).unwrap_or(0);
            let unsendable = letter.line(self.origins[origin].made).err();
            let is_wanted = (wanted.taken || taken_by.is_none())
                && wanted.reason.is_none_or(|reason| reason == number)
                && wanted.shard.is_none_or(|shard| place.shard.0 == shard)
                && (!wanted.cut || matches!(unsendable, Some(Unsendable::Cut | Unsendable::LineEnd)));
            if is_wanted {
                let rank = self.origins[origin].ranks.get(&letter.path).copied().unwrap_or(usize::MAX);
                let order = (rank, letter.start);
                chosen.push(ChosenLetter { origin, place, number, taken_by, unsendable, order });
            }
        })?;
        // Those of retries are the older ones.
        chosen.sort_by_key(|letter| (letter.origin == 0, letter.origin, letter.order));
        Ok(chosen)
    }

    /// Reads chosen letters one after the other.
    pub fn read(
        &self,
        chosen: &[ChosenLetter],
        visit: &mut dyn FnMut(&ChosenLetter, DeadLetter) -> Result<(), UserError>,
    ) -> Result<(), UserError> {
        let mut readers: HashMap<usize, OneByOne<'_>> = HashMap::new();
        for letter in chosen {
            let Origin { letters, open, .. } = &self.origins[letter.origin];
            let reader = readers.entry(letter.origin).or_insert_with(|| OneByOne::of(letters, open));
            visit(letter, reader.read(letter.place).map_err(|error| letters.unreadable(&error))?)?;
        }
        Ok(())
    }

    /// A chosen letter for a look.
    pub fn shown(&self, chosen: &ChosenLetter, letter: DeadLetter) -> ShownLetter {
        let DeadLetter { reason, path, start, bytes, record, cut } = letter;
        let &ChosenLetter { origin, place, number, taken_by, .. } = chosen;
        let retry = Some(self.origins[origin].number).filter(|number| *number > 0);
        ShownLetter { retry, shard: place.shard, number, reason, path, start, bytes, cut, record, taken_by }
    }

    /// What is taken when these are: of the job's own (0), and of retries by their numbers.
    pub fn taken(&self, chosen: impl IntoIterator<Item = ChosenLetter>) -> Vec<(u32, LetterSet)> {
        let mut taken: BTreeMap<u32, LetterSet> = BTreeMap::new();
        for letter in chosen {
            taken.entry(self.origins[letter.origin].number).or_default().add(letter.place);
        }
        taken.into_iter().collect()
    }

    /// The line that is sent of a letter.
    pub fn line<'l>(&self, chosen: &ChosenLetter, letter: &'l DeadLetter) -> Option<&'l [u8]> {
        letter.line(self.origins[chosen.origin].made).ok()
    }
}

/// Parts those that a line can hold from the others, of which rows of CSV stay if they are to be edited.
pub fn part(chosen: Vec<ChosenLetter>, with_rows: bool) -> (Vec<ChosenLetter>, LeftOut) {
    let mut left = LeftOut::default();
    let kept = chosen.into_iter().filter(|letter| match letter.unsendable {
        None => true,
        Some(Unsendable::Row) if with_rows => true,
        Some(why) => {
            left.add(why);
            false
        }
    });
    (kept.collect(), left)
}

/// A reason so far.
#[derive(Default)]
struct Listed {
    /// Index of the origin of its letters.
    origin: usize,
    /// What they have in common.
    kind: String,
    reason: ListedReason,
    /// Where its first letter stands in the source.
    rank: usize,
    shards: std::collections::BTreeSet<ShardId>,
    taken: BTreeMap<u32, u64>,
}

impl Listed {
    fn add(&mut self, origin: &Origin, seen: &SeenLetter) {
        let SeenLetter { place, letter, taken_by, .. } = seen;
        let rank = origin.ranks.get(&letter.path).copied().unwrap_or(usize::MAX);
        let found = &mut self.reason.found;
        if found.letters == 0 || (rank, letter.start) < (self.rank, found.start) {
            self.rank = rank;
            *found = LetterReason {
                reason: letter.reason.clone(),
                letters: found.letters,
                path: letter.path.clone(),
                start: letter.start,
                fields: Vec::new(),
            };
        }
        found.letters += 1;
        self.reason.retry = Some(origin.number).filter(|number| *number > 0);
        self.shards.insert(place.shard);
        match letter.line(origin.made) {
            Ok(_) => {}
            Err(Unsendable::Cut) => self.reason.cut += 1,
            Err(Unsendable::Row) => self.reason.rows += 1,
            Err(Unsendable::LineEnd) => self.reason.line_ends += 1,
        }
        match taken_by {
            Some(retry) => *self.taken.entry(*retry).or_default() += 1,
            None => self.reason.set_aside += 1,
        }
    }

    fn finish(self) -> ListedReason {
        let (shards, taken) = (self.shards.into_iter().collect(), self.taken.into_iter().collect());
        ListedReason { shards, taken, ..self.reason }
    }
}

/// The reasons of each origin with the most frequent first, then by the first place.
fn sorted(found: Vec<BTreeMap<String, Listed>>) -> Vec<Listed> {
    let mut all = Vec::new();
    for (origin, kinds) in found.into_iter().enumerate() {
        let mut kinds: Vec<_> = kinds.into_iter().map(|(kind, listed)| Listed { origin, kind, ..listed }).collect();
        kinds.sort_by_key(|listed| {
            let found = &listed.reason.found;
            (std::cmp::Reverse(found.letters), listed.rank, found.start)
        });
        all.extend(kinds);
    }
    all
}

#[cfg(test)]
mod tests {
    use pipeline::RecordPlace;
    use pipeline::dead_letter::{self, DeadLetterFile, LettersOrigin};

    use super::*;

    /// Letters of one origin in a folder: shard, reason, file, place and record of each.
    fn origin(folder: &Path, number: u32, made: bool, letters: &[(u32, &str, u32, u64, &str)]) -> Origin {
        let files = ["/d/b.jsonl", "/d/a.jsonl"].map(std::path::PathBuf::from);
        let folder = folder.join(number.to_string());
        let mut committed: BTreeMap<u32, u64> = BTreeMap::new();
        for &(shard, reason, segment, start, record) in letters {
            let length = committed.entry(shard).or_default();
            let mut file = DeadLetterFile::open(&folder, ShardId(shard), &files, *length, process::open_private_below).unwrap();
            let place = RecordPlace { segment, start, bytes: record.len() as u64 };
            if record.ends_with('…') {
                file.append_head(place, reason, record.as_bytes()).unwrap();
            } else {
                file.append(place, reason, record.as_bytes()).unwrap();
            }
            file.sync().unwrap();
            *length = file.length();
        }
        let counted = letters.len() as u64;
        let committed = committed.into_iter().map(|(shard, length)| (ShardId(shard), length)).collect();
        let ranks = files.iter().map(|file| file.to_string_lossy().into_owned()).zip(0..).collect();
        let letters = Letters {
            topic: None,
            job_folder: folder.clone(),
            folder,
            committed,
            counts: Vec::new(),
            counted,
            origin: LettersOrigin { job: "orders".to_owned(), began: 0 },
        };
        Origin { number, letters, open: OpenLetters::Files, ranks, made }
    }

    fn taken(origins: &[Origin], of: u32, wanted: impl Fn(&DeadLetter) -> bool) -> LetterSet {
        let mut set = LetterSet::default();
        let origin = origins.iter().find(|origin| origin.number == of).unwrap();
        let Letters { folder, committed, .. } = &origin.letters;
        dead_letter::each(folder, committed, process::open_private_below, &mut |place, letter| {
            if wanted(&letter) {
                set.add(place);
            }
            Ok(())
        })
        .unwrap();
        set
    }

    fn records(letters: &SetAside<'_>, wanted: &Selection) -> Vec<String> {
        let mut found = Vec::new();
        letters
            .read(&letters.choose(wanted).unwrap(), &mut |_, letter| {
                found.push(String::from_utf8(letter.record).unwrap());
                Ok(())
            })
            .unwrap();
        found
    }

    const NO_KEY: &str = "no field .k";

    #[test]
    fn what_no_retry_took_is_chosen_the_retries_first_and_in_the_order_of_the_source() {
        let folder = tempfile::tempdir().unwrap();
        let own = [
            (3, NO_KEY, 1, 50, "a50"),
            (3, NO_KEY, 0, 70, "b70"),
            (0, NO_KEY, 1, 10, "a10"),
            (0, "bad at 7", 0, 20, "b20"),
            (0, "bad at 9", 1, 99, "taken"),
        ];
        let origins = vec![
            origin(folder.path(), 0, false, &own),
            origin(folder.path(), 1, false, &[(0, NO_KEY, 0, 5, "again5"), (1, NO_KEY, 0, 2, "again2")]),
        ];
        let by = taken(&origins, 0, |letter| letter.record == b"taken");
        let took = |retries: &[(u32, &LetterSet)]| -> Retries {
            let all = retries.iter().map(|(number, set)| crate::retries::tests::retry(*number, vec![(0, (*set).clone())]));
            Retries { all: all.collect(), next: 9 }
        };
        let retries = took(&[(1, &by)]);
        let letters = SetAside { origins, retries: &retries };
        let all = Selection::default();
        assert_eq!(records(&letters, &all), ["again2", "again5", "b20", "b70", "a10", "a50"]);
        assert_eq!(records(&letters, &Selection { taken: true, ..all }).last().unwrap(), "taken");
        assert_eq!(records(&letters, &Selection { shard: Some(3), ..all }), ["b70", "a50"]);

        let listing = letters.listing().unwrap();
        let told: Vec<_> = listing.iter().map(|one| (one.retry, one.found.letters, one.set_aside, one.taken.clone())).collect();
        assert_eq!(told, [(None, 3, 3, vec![]), (None, 2, 1, vec![(1, 1)]), (Some(1), 2, 2, vec![])]);
        let first = &listing[0].found;
        assert_eq!((first.path.as_str(), first.start), ("/d/b.jsonl", 70), "the first one in the source");
        assert_eq!(listing[0].shards, [ShardId(0), ShardId(3)]);
        assert_eq!(records(&letters, &Selection { reason: Some(2), ..all }), ["b20"]);
        assert_eq!(records(&letters, &Selection { reason: Some(3), ..all }), ["again2", "again5"]);
        for wrong in [0, 4] {
            assert_eq!(letters.choose(&Selection { reason: Some(wrong), ..all }).unwrap_err().exit, Exit::Usage);
        }
        // What was chosen is taken, and nothing is left.
        let sets = letters.taken(letters.choose(&all).unwrap());
        assert_eq!(sets.iter().map(|(of, _)| *of).collect::<Vec<_>>(), [0, 1]);
        let mut second = crate::retries::tests::retry(2, sets);
        second.rules.letters = 6;
        let retries = Retries { all: took(&[(1, &by)]).all.into_iter().chain([second]).collect(), next: 9 };
        let letters = SetAside { origins: letters.origins, retries: &retries };
        assert_eq!(records(&letters, &all), [""; 0]);
    }

    #[test]
    fn what_no_line_can_hold_is_parted() {
        let folder = tempfile::tempdir().unwrap();
        let own = [
            (0, NO_KEY, 0, 0, "{}"),
            (0, "too long", 0, 10, "{\"a\":…"),
            (0, "bad row", 0, 20, "1,2"),
            (0, "bad row", 0, 30, "1,\"\n\""),
        ];
        let retries = Retries::default();
        let letters = SetAside { origins: vec![origin(folder.path(), 0, true, &own)], retries: &retries };
        let all = Selection::default();
        let parted = |with_rows| {
            let (kept, left) = part(letters.choose(&all).unwrap(), with_rows);
            (kept.len(), left)
        };
        assert_eq!(parted(false), (1, LeftOut { cut: 1, rows: 1, line_ends: 1 }));
        assert_eq!(parted(true), (2, LeftOut { cut: 1, rows: 0, line_ends: 1 }));
        let cut = Selection { cut: true, ..all };
        assert_eq!(records(&letters, &cut), ["{\"a\":…", "1,\"\n\""]);
        let listing = letters.listing().unwrap();
        assert_eq!(
            listing.iter().map(|one| (one.cut, one.rows, one.line_ends)).collect::<Vec<_>>(),
            [(0, 1, 1), (0, 0, 0), (1, 0, 0)]
        );
    }
}
