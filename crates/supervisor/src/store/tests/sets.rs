//! Sets of partitions on disk: splits by partitions, and files that several sets read.

use super::*;

/// Two sets of two partitions each, which read two compressed files.
fn sets() -> Plan {
    let mut plan = packed_plan();
    (plan.segments, plan.shards) = (Vec::new(), Vec::new());
    let segment = |object| Segment { object, start: 0, end: Segment::WHOLE, bytes: Some(100) };
    plan.add(vec![segment(0), segment(1)], 20);
    plan.into_sets(4, 2)
}

fn create_sets(path: &Path) -> Store {
    Store::create(
        path,
        &NewJob {
            name: "job",
            plan_id: 7,
            plan: &sets(),
            binding: &binding(),
            settings: &[],
            origin: migration::StateOrigin::default(),
        },
    )
    .unwrap()
}

fn place(segment: u32, place: u64, records: u64) -> Position {
    Position { segment, place, records }
}

/// What an attempt commits that goes on from `from`: half of the rows are its own.
fn part(from: Position, to: Position) -> Chunk {
    let passed = to.records - from.records;
    let own = passed / 2;
    let counts = Counts { read: own, acknowledged: own, others: passed - own, bytes_others: 1, ..Counts::default() };
    let token = Token::try_from(vec![9]).unwrap();
    Chunk { number: 1, position: to, token: Some(token), counts, ..Chunk::default() }
}

/// An attempt that commits up to `to`, if that is further, and ends like this.
fn attempt(store: &mut Store, id: AttemptId, to: Position, end: &AttemptEnd, added: Range<u32>) {
    store.begin_attempt(id, MAY_SEND).unwrap();
    let from = store.load().unwrap().shards[id.shard.0 as usize].position;
    if to > from {
        store.record_chunk(id, &part(from, to), &usage()).unwrap();
    }
    store.end_attempt(&AttemptEnd { attempt: id, ..end.clone() }, &usage(), added).unwrap();
}

fn drained(division: Option<Division>) -> AttemptEnd {
    let none = Resent::NONE;
    AttemptEnd { division, resent: none, ..end(id(0, 1), AttemptOutcome::Drained, After::Waiting) }
}

/// It met what can't be read, behind bytes of this hash.
fn unreadable(segment: u32, hash: u128) -> AttemptEnd {
    let damage = Some(migration::Damage { segment, hash: Some(hash.to_be_bytes()) });
    AttemptEnd { damage, resent: Resent::NONE, ..end(id(0, 1), AttemptOutcome::Unreadable, After::Quarantined) }
}

#[test]
fn a_split_by_partitions_is_resumed_where_the_parted_set_was_committed() {
    let folder = Folder::new("parted");
    let path = folder.file("s.sqlite");
    let mut store = create_sets(&path);
    store.begin_run(2, &NONE).unwrap();
    let (at, mut now) = (place(0, 30, 7), sets());
    let added = now.split(ShardId(1), &at, &Division::Partitions(2)).unwrap();
    attempt(&mut store, id(1, 1), at, &drained(Some(Division::Partitions(2))), added);
    drop(store);

    let mut store = Store::open(&path).unwrap();
    let state = store.load().unwrap();
    assert_eq!((&state.plan, state.frozen_plan(), &state.parents), (&now, &sets(), &[(2, 1)].into()));
    assert!(state.plan.keeps_order_of_keys());
    let starts = state.starts();
    assert_eq!(
        (starts[2].entry.position, &starts[2].entry.token, starts[2].entry.counts),
        (at, &starts[1].entry.token, Counts::default())
    );
    assert!(starts[2].entry.token.is_some() && starts[2].extent.before.records == 7);
    assert_eq!(state.shards[1].counts.passed(), 7, "what it did before stays with the set that was parted");

    // The piece goes on like any other shard: its position counts from the dataset's beginning, its counts do not.
    store.begin_run(2, &NONE).unwrap();
    attempt(&mut store, id(2, 1), place(1, 5, 15), &drained(None), 0..0);
    let state = store.load().unwrap();
    assert_eq!((state.shards[2].position.records, state.shards[2].counts.passed()), (15, 8));
    drop(store);

    for damage in [
        "UPDATE changes SET change = x'0001001407010200'",
        "UPDATE changes SET kind = 'replaced'",
        "UPDATE changes SET sequence = 1",
        "DELETE FROM changes",
        "DELETE FROM shards WHERE id = 2",
        "UPDATE shards SET others = others + 1 WHERE id = 2",
    ] {
        let bad = folder.file("bad.sqlite");
        copy(&path, &bad);
        Connection::open(&bad).unwrap().execute_batch(damage).unwrap();
        assert!(matches!(Store::open(&bad).and_then(|store| store.load()), Err(StateError::Corrupt { .. })), "{damage}");
    }
}

#[test]
fn rows_whose_counts_do_not_fit_their_shard_are_refused() {
    let folder = Folder::new("fit");
    let path = folder.file("s.sqlite");
    let rewrite = |path: &Path, plan_id: u128, id: u32, change: &dyn Fn(&mut ShardRow)| {
        let mut db = Connection::open(path).unwrap();
        let tx = db.transaction().unwrap();
        let mut row = ShardRow::read(&tx, plan_id, ShardId(id)).unwrap();
        change(&mut row);
        row.write(&tx, plan_id).unwrap();
        tx.commit().unwrap();
    };
    let refused = |path: &Path| match Store::open(path).and_then(|store| store.load()) {
        Err(StateError::Corrupt { what, .. }) => what,
        other => panic!("{other:?}"),
    };
    // All rows of an ordinary shard are its own.
    drop(create(&path, 1));
    rewrite(&path, 77, 0, &|row| {
        (row.counts.others, row.position.records, row.position.place) = (3, 3, 30);
    });
    assert!(refused(&path).contains("passed over rows of others"), "{}", refused(&path));
    // A piece counts from its start on.
    let parted = folder.file("parted.sqlite");
    let mut store = create_sets(&parted);
    store.begin_run(2, &NONE).unwrap();
    attempt(&mut store, id(0, 1), place(0, 30, 7), &drained(Some(Division::Partitions(2))), 2..3);
    drop(store);
    rewrite(&parted, 7, 2, &|row| row.counts.others = 7);
    assert!(refused(&parted).contains("do not balance"), "{}", refused(&parted));
    rewrite(&parted, 7, 2, &|row| (row.counts.others, row.position) = (0, place(0, 20, 7)));
    assert!(refused(&parted).contains("before its start"), "{}", refused(&parted));
}

#[test]
fn a_file_at_which_several_sets_stopped_can_be_replaced_up_to_where_the_furthest_came() {
    let folder = Folder::new("several");
    let mut store = create_sets(&folder.file("s.sqlite"));
    store.begin_run(2, &NONE).unwrap();
    let sent = |store: &Store, object| store.load().unwrap().sent_of(object);
    assert_eq!((sent(&store, 0), sent(&store, 1)), (Ok(None), Ok(None)));
    // One came to the damage, the other was stopped before it, in the file before it.
    attempt(&mut store, id(0, 1), place(1, 40, 9), &unreadable(1, 99), 0..0);
    attempt(&mut store, id(1, 1), place(0, 10, 2), &drained(None), 0..0);
    assert_eq!(sent(&store, 1), Ok(Some((40, 99))));
    assert!(sent(&store, 0).is_err_and(|why| why.contains("all of it")), "one is behind it");
    // The other comes further than what is known, then to the same place.
    attempt(&mut store, id(1, 2), place(1, 35, 8), &drained(None), 0..0);
    assert_eq!(sent(&store, 1), Ok(Some((40, 99))));
    attempt(&mut store, id(1, 3), place(1, 45, 10), &drained(None), 0..0);
    assert!(sent(&store, 1).is_err_and(|why| why.contains("before byte 45")), "no hash is known there");
    attempt(&mut store, id(1, 4), place(1, 45, 10), &unreadable(1, 7), 0..0);
    assert_eq!(sent(&store, 1), Ok(Some((45, 7))));
    // All sets read the new file from then on.
    let whole = SourceObject { bytes: Some(150), fingerprint: 5, ..sets().objects[1].clone() };
    store.replace_objects(&[(1, whole.clone())], &[]).unwrap();
    let state = store.load().unwrap();
    assert_eq!((&state.plan.objects[1], state.plan.bytes()), (&whole, 250));
    assert!(state.plan.shards.iter().all(|shard| shard.bytes == Some(250)));
    // And what is parted from one afterwards as well.
    store.begin_run(2, &NONE).unwrap();
    attempt(&mut store, id(0, 2), place(1, 60, 14), &drained(Some(Division::Partitions(2))), 2..3);
    let state = store.load().unwrap();
    assert_eq!((state.plan.shards[2].bytes, state.shards[2].position), (Some(250), place(1, 60, 14)));
    assert!(state.sent_of(1).is_err_and(|why| why.contains("before byte 60")));
}

#[test]
fn a_worker_that_was_killed_is_forgiven_when_others_delivered_again_what_it_may_have_sent() {
    let folder = Folder::new("forgiven");
    let mut store = create_sets(&folder.file("s.sqlite"));
    store.begin_run(2, &NONE).unwrap();
    let killed = |most| AttemptEnd { resent: Resent::at_most(most), ..end(id(0, 1), AttemptOutcome::Died, After::Waiting) };
    let sent = |store: &Store| store.load().unwrap().sent_of(1);
    attempt(&mut store, id(0, 1), place(0, 10, 10), &killed(6), 0..0);
    assert!(sent(&store).is_err_and(|why| why.contains("killed")));
    // Five own rows, then one more.
    attempt(&mut store, id(0, 2), place(0, 20, 20), &drained(None), 0..0);
    assert!(sent(&store).is_err_and(|why| why.contains("killed")));
    attempt(&mut store, id(0, 3), place(1, 22, 22), &unreadable(1, 99), 0..0);
    assert_eq!(sent(&store), Ok(Some((22, 99))));
    // Another set's attempts do not make up for it, nor does a piece's.
    attempt(&mut store, id(1, 1), place(0, 10, 10), &killed(2), 0..0);
    assert!(sent(&store).is_err_and(|why| why.contains("killed")));
    attempt(&mut store, id(1, 2), place(0, 10, 10), &drained(Some(Division::Partitions(2))), 2..3);
    attempt(&mut store, id(2, 1), place(1, 22, 22), &unreadable(1, 99), 0..0);
    assert!(sent(&store).is_err_and(|why| why.contains("killed")), "of the parted set nothing was sent again");
    attempt(&mut store, id(1, 3), place(1, 22, 22), &unreadable(1, 99), 0..0);
    assert_eq!(sent(&store), Ok(Some((22, 99))));
}
