//! Files of JSON lines and of CSV: what they are by their first bytes, unpacking, cutting, reading from anywhere.

use std::collections::BTreeMap;
use std::path::PathBuf;

use migration::job::{CsvFormat, CsvHeader, CsvSource, CsvType, FileRules, JsonlSource, ShardOrder, ShardRules, WindowLimit};
use migration::{Division, Plan, Position, ShardId, Token};
use pipeline::source::{PlanRules, SourceError, wait_for_rows};
use pipeline::{BlockPool, Rows, Source};
use sources::csv::CsvFiles;
use sources::jsonl::JsonlFiles;

const MAX_LINE: u64 = 200;

/// The data are options and a file.
pub(crate) fn jsonl(data: &[u8]) {
    let (options, data) = crate::first(data);
    let (size, file) = crate::first(data);
    each_way(file, size, |files| {
        Box::new(JsonlFiles::new(JsonlSource { raw: options & 1 == 0, files }, WindowLimit::default()))
    });
}

/// The data are options and a file.
pub(crate) fn csv(data: &[u8]) {
    let (options, data) = crate::first(data);
    let (size, file) = crate::first(data);
    let has = |bit: u8| options & (1 << bit) != 0;
    let types = [("n", CsvType::Number), ("b", CsvType::Bool), ("j", CsvType::Json)];
    let format = CsvFormat {
        delimiter: if has(0) { b';' } else { b',' },
        quote: if has(1) { b'\'' } else { b'"' },
        header: if has(2) { CsvHeader::Names(vec!["n".into(), "b".into(), "x\"".into()]) } else { CsvHeader::FirstRow },
        multiline: !has(3),
        null: if has(4) { "NULL".into() } else { String::new() },
        types: types.into_iter().map(|(name, kind)| (name.to_owned(), kind)).collect::<BTreeMap<_, _>>(),
    };
    each_way(file, size, |files| Box::new(CsvFiles::new(CsvSource { format: format.clone(), files }, WindowLimit::default())));
}

/// A row as it was read.
#[derive(Clone, Debug, PartialEq)]
struct Read {
    text: Vec<u8>,
    whole: u64,
    bad: Option<String>,
    after: Position,
    token: Option<Token>,
}

/// Its content, wherever it was read from.
type Content = (Vec<u8>, u64, Option<String>);

fn content(rows: &[Read]) -> Vec<Content> {
    rows.iter().map(|row| (row.text.clone(), row.whole, row.bad.clone())).collect()
}

/// Read whole, in shards, and from a position on, a file has the same rows.
fn each_way(file: &[u8], size: u8, source: impl Fn(FileRules) -> Box<dyn Source>) {
    let folder = crate::folder();
    let path: PathBuf = folder.path().join("file");
    std::fs::write(&path, file).expect("a file can be written");
    let path = path.to_str().expect("temporary folders have names that are text").to_owned();
    let source = source(FileRules { paths: vec![path], max_line: MAX_LINE });
    let planned = |target: u64| {
        let shards = ShardRules { target_size: Some(target), order: ShardOrder::Source, by_key: Some(false) };
        source.plan(&PlanRules::of_one_worker(&shards))
    };
    let Ok(plan) = planned(1 << 30) else {
        planned(u64::from(size) + 1).expect_err("a file that is refused is refused whole");
        return;
    };
    let all = |plan: &Plan, ids: std::ops::Range<u32>| -> Result<Vec<Read>, SourceError> {
        let shards = ids.map(|id| rows(source.as_ref(), plan, ShardId(id), &plan.shards[id as usize].start, None));
        shards.collect::<Result<Vec<_>, _>>().map(|shards| shards.concat())
    };
    assert!(plan.shards.len() < 2, "{plan:?}");
    let whole = all(&plan, 0..plan.shards.len() as u32);

    let cut = planned(u64::from(size) + 1).expect("the same file was planned");
    match (&whole, all(&cut, 0..cut.shards.len() as u32)) {
        (Ok(whole), Ok(shards)) => assert_eq!(content(&shards), content(whole), "in {} shards", cut.shards.len()),
        (Err(_), Err(_)) => {}
        (whole, shards) => panic!("whole: {whole:?}\nin shards: {shards:?}"),
    }

    let Ok(whole) = whole else { return };
    if whole.is_empty() {
        return;
    }
    let at = usize::from(size) % whole.len();
    let (from, token) = (&whole[at].after, whole[at].token.as_ref());
    let rest = rows(source.as_ref(), &plan, ShardId(0), from, token).expect("what was read can be read");
    assert_eq!(content(&rest), content(&whole[at + 1..]), "from row {at} on");
    let cuts = source.cuts(&plan, ShardId(0), from, 3).expect("what was read can be cut");
    assert!(cuts.len() < 3, "{cuts:?}");
    if cuts.is_empty() {
        return;
    }
    let mut split = plan.clone();
    let added = split.split(ShardId(0), from, &Division::Places(cuts)).expect("it can be cut there");
    let mut pieces = rows(source.as_ref(), &split, ShardId(0), from, token).expect("what was read can be read");
    pieces.extend(all(&split, added).expect("what was read can be read"));
    assert_eq!(content(&pieces), content(&whole[at + 1..]), "split behind row {at}: {split:?}");
}

fn rows(
    source: &dyn Source,
    plan: &Plan,
    shard: ShardId,
    from: &Position,
    token: Option<&Token>,
) -> Result<Vec<Read>, SourceError> {
    let mut reader = source.open(plan, shard, from, token)?;
    let (mut pool, mut into, mut all) = (BlockPool::new(0), Rows::default(), Vec::new());
    let mut records = from.records;
    while wait_for_rows(reader.as_mut(), &mut pool, &mut into)? {
        let Some(block) = &into.block else { continue };
        for (index, row) in (0..).zip(&into.rows) {
            records += 1;
            let after = Position { segment: block.segment_of(index as usize), place: row.after, records };
            let bad = into.bad.iter().find(|(bad, _)| *bad == index).map(|(_, reason)| reason.clone());
            let token = reader.token(&after);
            all.push(Read { text: row.text(block).to_vec(), whole: row.whole, bad, after, token });
        }
    }
    reader.unchanged()?;
    Ok(all)
}
