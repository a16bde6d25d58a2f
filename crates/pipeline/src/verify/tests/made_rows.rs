//! A source that makes its rows: blocks with rows of several objects, whose letters lie at numbers of rows.

use super::*;
use crate::doubles::MadeRows;

#[test]
fn made_rows_of_several_objects_are_compared_and_their_letters_found() {
    let objects = ["{\"k\":\"a\",\"v\":1}\n\nbad\n", "", "worse\n{\"k\":\"b\",\"v\":2}\n{\"k\":\"c\",\"v\":3}\n"];
    let source = MadeRows::new(objects.iter().map(|object| object.as_bytes().to_vec()).collect(), 1_000);
    let shards = ShardRules { target_size: None, order: ShardOrder::Source, by_key: Some(false) };
    let rules = PlanRules::of_one_worker(&shards);
    let dataset = Dataset { plan: source.plan(&rules).unwrap(), ..Dataset::new(&[]) };
    // A letter tells how long the line is, and holds what was made of it.
    let letter = |row: u64, made: &[u8]| [(row, Held::of(made.len() as u64 - 1, made))].into();
    let name = |object| MemorySource::name(object).to_str().unwrap().to_owned();
    let dead: Places = [(name(0), letter(2, b" bad")), (name(2), letter(0, b" worse"))].into();
    let compare_with = |source: &MadeRows, dead: &Places, records: &[(&str, u32)]| {
        let expected = Expected { source, plan: &dataset.plan, rules: &dataset.rules, dead_letters: dead };
        let job = Verification {
            expected: &[expected],
            rules: &dataset.rules,
            partitioner: partition,
            partitions: PARTITIONS,
            last_values: LastValues::NotCompacted,
            limits: tiny(9),
        };
        let sent = |(key, value): &(&str, u32)| {
            let record = (Some(key.as_bytes().to_vec()), format!(" {}", line(key, *value)).into_bytes());
            (at(key), record)
        };
        let mut listings = Listings { surplus: &mut |_| Ok(()), missing: None };
        verify(&job, &mut Topic::new(records.iter().map(sent).collect()), &mut listings, &mut |_| ())
    };
    let compare = |dead: &Places, records: &[(&str, u32)]| compare_with(&source, dead, records).unwrap();
    let report = compare(&dead, &[("a", 1), ("b", 2), ("c", 3)]);
    assert!(report.is_clean(None), "{report:?}");
    assert_eq!((report.source_records, report.dead_lettered, report.altered_letters), (5, 2, 0));

    let lost = compare(&[(name(2), letter(0, b" else"))].into(), &[("a", 1), ("c", 3)]);
    let examples: Vec<_> = lost.examples.iter().map(|e| (e.kind, e.path.clone().unwrap(), e.start.unwrap())).collect();
    let missing = |object, row| (VerifyKind::Missing, name(object), row);
    assert!(matches!(compare_with(&source.clone().once(), &dead, &[]), Err(VerifyError::Source(_))));
    assert_eq!(examples, [missing(0, 2), missing(2, 1), (VerifyKind::Letter, name(2), 0)]);
}
