//! The files of a world and its plan: what a source and `migration::Plan` are in earnest, simple enough to be plainly
//! right. Each record is known by its file and its number there, so that it can be told what became of it.

use migration::{Cut, Position};

use crate::machine::{Before, Extent, SetSize};

/// Bytes of each record.
pub(super) const RECORD: u64 = 10;

/// What became of a record.
#[derive(Clone, Copy, Debug, Default)]
struct Fate {
    sent: u32,
    /// When it was sent last: the number of that sending.
    last: u64,
    /// By commits.
    counted: u32,
}

#[derive(Clone, Debug)]
struct File {
    records: Vec<Fate>,
    /// It can be cut anywhere.
    plain: bool,
    /// From this record on it can't be read.
    damage: Option<u64>,
    /// Nothing ever takes its place.
    for_good: bool,
}

/// A segment: records of a file.
#[derive(Clone, Copy, Debug)]
struct Piece {
    file: usize,
    from: u64,
    to: u64,
}

/// Files, and the shards that are made of them.
#[derive(Clone, Debug, Default)]
pub(in crate::machine) struct FakePlan {
    files: Vec<File>,
    shards: Vec<Vec<Piece>>,
    /// Of each shard where it starts, unless that is its first record.
    parted_at: Vec<Option<Position>>,
    /// Of each shard the partitions that are its own, if the shards have sets of these; else empty.
    sets: Vec<Vec<u64>>,
    /// Of how many partitions they have sets; 0: of none.
    partitions: u64,
    /// A set was cut by place: what lies behind goes out before what lies before it.
    out_of_order: bool,
    /// How many records were sent so far.
    sendings: u64,
}

impl FakePlan {
    /// Adds a shard of whole files, each of this number of records.
    pub(super) fn add_shard(&mut self, files: &[u64], plain: impl Fn(usize) -> bool) {
        let first = self.files.len();
        let records = |count: u64| vec![Fate::default(); count as usize];
        let file = |(i, &count)| File { records: records(count), plain: plain(i), damage: None, for_good: false };
        self.files.extend(files.iter().enumerate().map(file));
        let pieces = files.iter().enumerate().map(|(i, &to)| Piece { file: first + i, from: 0, to });
        self.shards.push(pieces.collect());
        self.parted_at.push(None);
        self.sets.push(Vec::new());
    }

    /// Makes shards of the only one that all read the same, each with a set of some of these partitions.
    pub(super) fn part_all(&mut self, partitions: u64, sets: u64) {
        let whole = self.shards[0].clone();
        let parted = |set| (0..partitions).filter(|partition| partition % sets == set).collect();
        self.sets = (0..sets).map(parted).collect();
        (self.shards, self.parted_at) = (vec![whole; sets as usize], vec![None; sets as usize]);
        self.partitions = partitions;
    }

    /// Files that came later: a shard of their own, or, of sets, more for each shard that reads the last record. These
    /// shards, each with how many segments it had.
    pub(super) fn grow(&mut self, files: &[u64], plain: impl Fn(usize) -> bool) -> Vec<(usize, u32)> {
        let sets = self.has_sets();
        self.add_shard(files, plain);
        if !sets {
            return Vec::new();
        }
        let new = self.shards.pop().unwrap_or_default();
        self.parted_at.pop();
        self.sets.pop();
        let end_of = |pieces: &Vec<Piece>| pieces.last().map(|piece| (piece.file, piece.to));
        let end = self.shards.iter().map(end_of).max().flatten();
        let mut grown = Vec::new();
        for (shard, pieces) in self.shards.iter_mut().enumerate().filter(|(_, pieces)| end_of(pieces) == end) {
            grown.push((shard, pieces.len() as u32));
            pieces.extend(&new);
        }
        grown
    }

    pub(super) fn has_sets(&self) -> bool {
        self.partitions > 0
    }

    /// The partition that a record's key chooses.
    fn partition(&self, file: usize, record: u64) -> u64 {
        let mixed = (file as u64 * 1_000 + record).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
        mixed % self.partitions.max(1)
    }

    /// Whether a record is a shard's own.
    fn owns(&self, shard: usize, file: usize, record: u64) -> bool {
        !self.has_sets() || self.sets[shard].contains(&self.partition(file, record))
    }

    /// Parts the set of a shard into some, all but the first of which begin at `from`.
    pub(super) fn part(&mut self, shard: usize, from: &Position, sets: usize) {
        let whole = std::mem::take(&mut self.sets[shard]);
        assert!(sets > 1 && whole.len() >= sets, "{whole:?} in {sets}");
        for set in 0..sets {
            let own = whole.iter().copied().skip(set).step_by(sets).collect();
            if set == 0 {
                self.sets[shard] = own;
                continue;
            }
            self.sets.push(own);
            self.shards.push(self.shards[shard].clone());
            self.parted_at.push(Some(*from));
        }
    }

    pub(super) fn shards(&self) -> usize {
        self.shards.len()
    }

    pub(super) fn files(&self) -> usize {
        self.files.len()
    }

    /// How many records a shard reads, those before its start included.
    pub(super) fn size(&self, shard: usize) -> u64 {
        self.shards[shard].iter().map(|piece| piece.to - piece.from).sum()
    }

    pub(super) fn extent(&self, shard: usize) -> Extent {
        let (pieces, size) = (&self.shards[shard], self.size(shard));
        Extent {
            bytes: Some(size * RECORD),
            records_estimate: size,
            before: self.before(shard),
            set: self.has_sets().then(|| SetSize { partitions: self.sets[shard].len() as u32, of: self.partitions as u32 }),
            segments: pieces.len() as u32,
            splittable: pieces.iter().all(|piece| self.files[piece.file].plain),
        }
    }

    pub(super) fn start(&self, shard: usize) -> Position {
        let first = Position { segment: 0, place: self.start_of(shard, 0), records: 0 };
        self.parted_at[shard].unwrap_or(first)
    }

    fn before(&self, shard: usize) -> Before {
        let (records, plain) = (self.start(shard).records, self.shards[shard].iter().all(|piece| self.files[piece.file].plain));
        Before { records, bytes: if plain { records * RECORD } else { 0 } }
    }

    /// Where a segment begins.
    pub(super) fn start_of(&self, shard: usize, segment: u32) -> u64 {
        self.shards[shard][segment as usize].from * RECORD
    }

    /// What a worker may say when it is `records` behind the shard's start and at or behind `from`: between two
    /// segments it is at the end of the one or at the start of the other.
    pub(super) fn positions(&self, shard: usize, records: u64, from: &Position) -> Vec<Position> {
        let mut before = 0;
        let mut found = Vec::new();
        for (segment, piece) in (0..).zip(&self.shards[shard]) {
            let len = piece.to - piece.from;
            if (before..=before + len).contains(&records) {
                found.push(Position { segment, place: (piece.from + records - before) * RECORD, records });
            }
            before += len;
        }
        found.retain(|position| (position.segment, position.place) >= (from.segment, from.place));
        found
    }

    /// How many records of the shard can be read when a worker begins at `from`, those before it included, and which
    /// segment ends that.
    pub(super) fn readable(&self, shard: usize, from: &Position) -> (u64, Option<u32>) {
        let mut records = from.records;
        for (segment, piece) in (0..).zip(&self.shards[shard]).skip(from.segment as usize) {
            let begin = if segment == from.segment { from.place / RECORD } else { piece.from };
            if let Some(damage) = self.damage_in(piece) {
                return (records + damage.saturating_sub(begin), Some(segment));
            }
            records += piece.to - begin;
        }
        (records, None)
    }

    /// The first segment whose file is not as planned, as a worker sees that at the shard's end.
    pub(super) fn changed(&self, shard: usize) -> Option<u32> {
        (0..).zip(&self.shards[shard]).find(|(_, piece)| self.damage_in(piece).is_some()).map(|(segment, _)| segment)
    }

    fn damage_in(&self, piece: &Piece) -> Option<u64> {
        self.files[piece.file].damage.filter(|damage| *damage < piece.to || *damage <= piece.from)
    }

    /// Where what is behind `from` can be cut into about this number of pieces.
    pub(super) fn cuts(&self, shard: usize, from: &Position, pieces: u64) -> Vec<Cut> {
        let left = self.size(shard) - from.records;
        let wanted = (1..pieces).filter_map(|i| self.cut_near(shard, from.records + left * i / pieces));
        let mut cuts: Vec<Cut> = wanted.filter(|cut| (cut.segment, cut.place) > (from.segment, from.place)).collect();
        cuts.dedup();
        cuts
    }

    /// Where the shard can be cut at a record, or behind it.
    pub(super) fn cut_near(&self, shard: usize, records: u64) -> Option<Cut> {
        let mut before = 0;
        for (segment, piece) in (0..).zip(&self.shards[shard]) {
            let inside = records.saturating_sub(before);
            let whole = inside == 0 || self.files[piece.file].plain && inside < piece.to - piece.from;
            if whole {
                return Some(Cut { segment, place: (piece.from + inside) * RECORD });
            }
            before += piece.to - piece.from;
        }
        None
    }

    /// Cuts a shard that is committed up to `from`; what each cut begins is a shard of its own behind all others.
    /// False: the cuts make no sense, and nothing is cut.
    pub(super) fn cut(&mut self, shard: usize, from: &Position, cuts: &[Cut]) -> bool {
        let mut before = Cut { segment: from.segment, place: from.place };
        for cut in cuts {
            let Some(piece) = self.shards[shard].get(cut.segment as usize) else { return false };
            let inside = (piece.from * RECORD..piece.to * RECORD).contains(&cut.place) && self.files[piece.file].plain;
            if *cut <= before || !(cut.place == piece.from * RECORD || inside) {
                return false;
            }
            before = *cut;
        }
        let mut left = self.shards[shard].clone();
        let mut parts = Vec::new();
        for cut in cuts.iter().rev() {
            let mut right = left.split_off(cut.segment as usize);
            if cut.place > right[0].from * RECORD {
                left.push(Piece { to: cut.place / RECORD, ..right[0] });
                right[0].from = cut.place / RECORD;
            }
            parts.push(right);
        }
        self.shards[shard] = left;
        for part in parts.into_iter().rev() {
            self.shards.push(part);
            self.parted_at.push(None);
            self.sets.push(self.sets[shard].clone());
        }
        self.out_of_order = true;
        true
    }

    /// A worker sends what is its shard's own between two positions.
    pub(super) fn send(&mut self, shard: usize, from: &Position, to: &Position) {
        for (file, record) in self.own_between(shard, from, to) {
            let damage = self.files[file].damage;
            assert!(damage.is_none_or(|damage| record < damage), "record {record} of file {file} can't be read");
            if self.keeps_order() {
                let before = self.before_in_partition(file, record);
                assert!(before.is_none_or(|fate| fate.sent > 0), "record {record} of file {file} overtakes");
            }
            self.sendings += 1;
            let fate = &mut self.files[file].records[record as usize];
            (fate.sent, fate.last) = (fate.sent + 1, self.sendings);
        }
    }

    /// Whether each partition's records are sent in the order of the files.
    fn keeps_order(&self) -> bool {
        self.has_sets() && !self.out_of_order
    }

    /// What became of the record that comes before one in its partition.
    fn before_in_partition(&self, file: usize, record: u64) -> Option<Fate> {
        let partition = self.partition(file, record);
        let all = self.files[..=file].iter().enumerate().rev().flat_map(|(number, f)| {
            let end = if number == file { record as usize } else { f.records.len() };
            (0..end).rev().map(move |record| (number, record, f.records[record]))
        });
        all.into_iter().find(|(file, record, _)| self.partition(*file, *record as u64) == partition).map(|(.., fate)| fate)
    }

    /// When all was sent: each record was counted once, and the last copies of each partition are in order, too.
    pub(super) fn check_all(&self) {
        for (number, file) in self.files.iter().enumerate() {
            for (record, fate) in file.records.iter().enumerate() {
                assert_eq!(fate.counted, 1, "record {record} of file {number}");
                let before = self.before_in_partition(number, record as u64).filter(|_| self.keeps_order());
                assert!(before.is_none_or(|before| before.last < fate.last), "record {record} of file {number} came first");
            }
        }
    }

    /// A commit counts what is a shard's own between two positions; how many records that is, and how many are others'.
    pub(super) fn count(&mut self, shard: usize, from: &Position, to: &Position) -> (u64, u64) {
        let all = self.own_between(shard, from, to);
        for &(file, record) in &all {
            let fate = &mut self.files[file].records[record as usize];
            fate.counted += 1;
            assert!(
                fate.sent > 0 && fate.counted == 1,
                "record {record} of file {file} is counted once, when it was sent: {fate:?}"
            );
        }
        let own = all.len() as u64;
        (own, self.between(shard, from, to).len() as u64 - own)
    }

    /// How many records between two positions are the shard's own, and how many others'.
    pub(super) fn counts_between(&self, shard: usize, from: &Position, to: &Position) -> (u64, u64) {
        let own = self.own_between(shard, from, to).len() as u64;
        (own, self.between(shard, from, to).len() as u64 - own)
    }

    fn own_between(&self, shard: usize, from: &Position, to: &Position) -> Vec<(usize, u64)> {
        let mut all = self.between(shard, from, to);
        all.retain(|&(file, record)| self.owns(shard, file, record));
        all
    }

    fn between(&self, shard: usize, from: &Position, to: &Position) -> Vec<(usize, u64)> {
        let segments = (0u32..).zip(&self.shards[shard]).filter(|(segment, _)| (from.segment..=to.segment).contains(segment));
        let records = segments.flat_map(|(segment, piece)| {
            let begin = if segment == from.segment { from.place / RECORD } else { piece.from };
            let end = if segment == to.segment { to.place / RECORD } else { piece.to };
            assert!(piece.from <= begin && end <= piece.to, "{from:?} and {to:?} lie in the shard");
            (begin..end).map(|record| (piece.file, record))
        });
        records.collect()
    }

    /// Whether each record of a shard that can be read was counted.
    pub(super) fn is_counted(&self, shard: usize) -> bool {
        self.shards[shard].iter().all(|piece| {
            let damage = self.files[piece.file].damage;
            let end = damage.unwrap_or(piece.to).clamp(piece.from, piece.to);
            self.counted(shard, &Piece { to: end, ..*piece })
        })
    }

    /// Whether each record of a piece that is the shard's own was counted.
    fn counted(&self, shard: usize, piece: &Piece) -> bool {
        let own = (piece.from..piece.to).filter(|record| self.owns(shard, piece.file, *record));
        own.into_iter().all(|record| self.files[piece.file].records[record as usize].counted == 1)
    }

    /// The segments of a shard, each with how often its records were counted, for a message.
    pub(super) fn tell(&self, shard: usize) -> String {
        let piece = |piece: &Piece| {
            let File { records, plain, damage, .. } = &self.files[piece.file];
            let counted: String =
                records[piece.from as usize..piece.to as usize].iter().map(|fate| fate.counted.to_string()).collect();
            format!("{piece:?}, plain {plain}, damage {damage:?}, counted {counted}")
        };
        self.shards[shard].iter().map(piece).collect::<Vec<_>>().join("\n")
    }

    /// Whether each record of a shard was counted.
    pub(super) fn is_complete(&self, shard: usize) -> bool {
        self.shards[shard].iter().all(|piece| self.counted(shard, piece))
    }

    /// A file can't be read any more, from a place on that `random` chooses. For good: nothing ever takes its place.
    pub(super) fn damage(&mut self, file: usize, random: u64, for_good: bool) {
        let file = &mut self.files[file];
        let place = random % (file.records.len() as u64).max(1);
        file.damage = Some(file.damage.map_or(place, |damage| damage.min(place)));
        file.for_good |= for_good;
    }

    /// A whole copy takes the place of a damaged file. Where no shard has cut it, and `positions` say that none is at
    /// its end, it may be shorter or longer than the plan's, if it begins with what was sent. Whether there was one
    /// that was replaced.
    pub(super) fn mend(&mut self, file: usize, positions: &[(Position, bool)], random: u64) -> bool {
        let damaged = self.files[file].damage.is_some() && !self.files[file].for_good;
        if !damaged {
            return false;
        }
        self.files[file].damage = None;
        let pieces = self.shards.iter().enumerate().flat_map(|(shard, pieces)| {
            pieces.iter().enumerate().filter(|(_, piece)| piece.file == file).map(move |(segment, _)| (shard, segment))
        });
        let pieces: Vec<(usize, usize)> = pieces.collect();
        let len = self.files[file].records.len() as u64;
        let replaceable = |&(shard, segment): &(usize, usize)| {
            let (position, done) = positions[shard];
            let Piece { from, to, .. } = self.shards[shard][segment];
            !done && position.segment as usize <= segment && (from, to) == (0, len)
        };
        if pieces.iter().all(replaceable) {
            let within = pieces.iter().filter(|(shard, segment)| positions[*shard].0.segment as usize == *segment);
            let sent = within.map(|(shard, _)| positions[*shard].0.place / RECORD).max().unwrap_or(0);
            let count = sent + random % 20;
            self.files[file].records.resize(count as usize, Fate::default());
            pieces.iter().for_each(|(shard, segment)| self.shards[*shard][*segment].to = count);
        }
        true
    }
}
