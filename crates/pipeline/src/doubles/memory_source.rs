//! A dataset that is in memory.

use std::path::PathBuf;
use std::rc::Rc;

use migration::job::ShardOrder;
use migration::{Compression, Cut, Plan, Position, Segment, ShardId, SourceObject, Token};

use super::{MemoryReader, token_of};
use crate::source::{Beginning, Changes, PlanRules, Probes, Sent};
use crate::{Reader, Source, SourceError};

/// Byte strings of lines, one object each, named `0.jsonl`, `1.jsonl` and so on. It is cut at line starts. It knows no
/// limit on the number of records, and nothing can take an object's place.
#[derive(Clone, Debug)]
pub struct MemorySource {
    objects: Vec<Vec<u8>>,
    max_line: u64,
    changed: bool,
    tokens: bool,
}

impl MemorySource {
    /// A dataset of some objects. Lines longer than `max_line` are no records.
    pub fn new(objects: Vec<Vec<u8>>, max_line: u64) -> Self {
        MemorySource { objects, max_line, changed: false, tokens: false }
    }

    /// The same, found to be changed at the end of each shard.
    pub fn changed(self) -> Self {
        MemorySource { changed: true, ..self }
    }

    /// The same, of which a shard is opened behind its start only with the token that its reader gave.
    pub fn with_tokens(self) -> Self {
        MemorySource { tokens: true, ..self }
    }

    /// The name of an object.
    pub fn name(object: usize) -> PathBuf {
        PathBuf::from(format!("{object}.jsonl"))
    }

    /// What an object holds.
    pub fn bytes(&self, object: usize) -> &[u8] {
        &self.objects[object]
    }

    fn pieces_of(&self, object: usize, target: u64) -> impl Iterator<Item = Segment> {
        let bytes = &self.objects[object];
        let mut ends = Vec::new();
        let (mut start, mut end) = (0, 0);
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            end += line.len() as u64;
            if end - start >= target || end == bytes.len() as u64 {
                ends.push((start, end));
                start = end;
            }
        }
        ends.into_iter().map(move |(start, end)| Segment { object: object as u32, start, end, bytes: Some(end - start) })
    }
}

impl Source for MemorySource {
    fn plan(&self, rules: &PlanRules<'_>) -> Result<Plan, SourceError> {
        let target = rules.shards.target_size.unwrap_or(u64::MAX);
        let mut pieces: Vec<Segment> = (0..self.objects.len()).flat_map(|object| self.pieces_of(object, target)).collect();
        if rules.shards.order == ShardOrder::LargestFirst {
            pieces.sort_by_key(|piece| std::cmp::Reverse(piece.bytes));
        }
        let objects = self.objects.iter().enumerate().map(|(index, bytes)| SourceObject {
            path: MemorySource::name(index),
            bytes: Some(bytes.len() as u64),
            modified_ns: 0,
            fingerprint: 0,
            compression: Compression::None,
            splittable: true,
            record_starts: Vec::new(),
        });
        let mut plan = Plan { objects: objects.collect(), max_line: self.max_line, ..Plan::default() };
        pieces.into_iter().for_each(|piece| plan.add(vec![piece], 1));
        Ok(plan)
    }

    fn check(&self, _: &Plan) -> Result<(), SourceError> {
        Ok(())
    }

    fn open(
        &self,
        plan: &Plan,
        shard: ShardId,
        from: &Position,
        token: Option<&Token>,
    ) -> Result<Box<dyn Reader>, SourceError> {
        let expected = (self.tokens && from.records > 0).then(|| token_of(from));
        if token != expected.as_ref() {
            return Err(SourceError(format!("memory: opened with {token:?} instead of {expected:?}")));
        }
        let segments = plan.segments(&plan.shards[shard.0 as usize]);
        let bytes = segments.iter().map(|segment| self.objects[segment.object as usize][..segment.end as usize].to_vec());
        let starts = segments.iter().map(|segment| segment.start as usize).collect();
        let reader = MemoryReader::new(Rc::new(bytes.collect()), from.segment, from.place, plan.max_line as usize);
        let reader = reader.starting_at(starts);
        let reader = if self.tokens { reader.with_tokens() } else { reader };
        Ok(Box::new(if self.changed { reader.changed() } else { reader }))
    }

    fn changes(&self, _: &Plan) -> Result<Changes, SourceError> {
        Ok(Changes::default())
    }

    fn cuts(&self, _: &Plan, _: ShardId, _: &Position, _: u32) -> Result<Vec<Cut>, SourceError> {
        Ok(Vec::new())
    }

    fn probes(&self, plan: &Plan, object: u32) -> Result<Probes, SourceError> {
        let bytes = vec![self.objects[object as usize].clone()];
        let reader = MemoryReader::new(Rc::new(bytes), 0, 0, plan.max_line as usize);
        Ok(Probes { readers: vec![Box::new(reader)], unpacked: 1.0 })
    }

    fn replaced(&self, _: &Plan, _: &dyn Fn(u32) -> Result<Sent, String>) -> Result<Vec<(u32, SourceObject)>, SourceError> {
        Ok(Vec::new())
    }

    fn beginning(&self, _: &SourceObject, _: u64) -> Result<Box<dyn Beginning>, SourceError> {
        Err(SourceError("memory: nothing can take an object's place".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_with_tokens_goes_on_with_the_token_of_the_place_only() {
        let source = MemorySource::new(vec![b"{}\n{}\n".to_vec()], 100).with_tokens();
        let mut plan = Plan { max_line: 100, ..Plan::default() };
        plan.add(vec![Segment { object: 0, start: 0, end: 6, bytes: Some(6) }], 2);
        let (start, second) = (Position::default(), Position { segment: 0, place: 3, records: 1 });
        let mut reader = source.open(&plan, ShardId(0), &start, None).unwrap();
        let token = reader.token(&second);
        assert!(source.open(&plan, ShardId(0), &second, token.as_ref()).is_ok());
        assert!(source.open(&plan, ShardId(0), &second, None).is_err());
        assert!(source.open(&plan, ShardId(0), &second, Some(&token_of(&start))).is_err());
        assert!(MemorySource::new(vec![b"{}\n".to_vec()], 100).open(&plan, ShardId(0), &second, token.as_ref()).is_err());
    }
}
