//! Files that came later on disk: what waits, where it goes on, and in which order the plan's changes are applied.

use super::*;

/// Files of these numbers that came later: shards of their own, or (`whole`) one.
fn later(numbers: Range<u64>, whole: bool) -> Plan {
    let object = |number: u64| SourceObject { path: format!("{number}.gz").into(), ..packed_plan().objects[0].clone() };
    let mut plan = Plan { objects: numbers.map(object).collect(), ..Plan::default() };
    let segments = (0..plan.objects.len() as u32).map(|object| Segment { object, ..packed_plan().segments[0].clone() });
    if whole {
        let segments = segments.collect();
        plan.add(segments, 20);
    } else {
        segments.collect::<Vec<_>>().into_iter().for_each(|segment| plan.add(vec![segment], 10));
    }
    plan
}

/// Two sets of two partitions each, which read the same compressed files.
fn sets() -> Plan {
    let mut plan = packed_plan();
    let segments = std::mem::take(&mut plan.segments);
    plan.shards.clear();
    plan.add(segments, 40);
    plan.into_sets(4, 2)
}

fn create_with(path: &Path, plan: &Plan) -> Store {
    Store::create(
        path,
        &NewJob {
            name: "job",
            plan_id: 7,
            plan,
            binding: &binding(),
            settings: &[],
            origin: migration::StateOrigin::default(),
        },
    )
    .unwrap()
}

/// An attempt that sends this many records up to a place, and ends so.
fn send(store: &mut Store, id: AttemptId, to: Position, outcome: AttemptOutcome, after: After) {
    store.begin_attempt(id, MAY_SEND).unwrap();
    let passed = to.records - store.load().unwrap().shards[id.shard.0 as usize].position.records;
    let counts = Counts { read: passed, acknowledged: passed, ..Counts::default() };
    let token = Token::try_from(vec![9]).ok();
    store.record_chunk(id, &Chunk { number: 1, position: to, counts, token, ..Chunk::default() }, &usage()).unwrap();
    store.end_attempt(&AttemptEnd { resent: Resent::at_most(2_000), ..end(id, outcome, after) }, &usage(), 0..0).unwrap();
}

fn place(segment: u32, place: u64, records: u64) -> Position {
    Position { segment, place, records }
}

#[test]
fn a_done_set_waits_again_where_the_new_files_begin() {
    let folder = Folder::new("added-sets");
    let (path, before) = (folder.file("s.sqlite"), folder.file("before.sqlite"));
    let mut store = create_with(&path, &sets());
    store.begin_run(2, &NONE).unwrap();
    send(&mut store, id(0, 1), place(1, 10, 30), AttemptOutcome::Died, After::Waiting);
    let all = place(3, 70, 40);
    send(&mut store, id(0, 2), all, AttemptOutcome::Finished, After::Done(all));
    send(&mut store, id(1, 1), place(1, 5, 9), AttemptOutcome::Drained, After::Waiting);
    store.end_run(75, &[], 2, 0).unwrap();
    drop(store);
    copy(&path, &before);
    let mut store = Store::open(&path).unwrap();
    let compared = store.load().unwrap();
    store.extend_plan(&later(7..9, true), 5, "came").unwrap();
    let outdated = store.keep_verified(&Default::default(), &compared);
    assert!(matches!(outdated, Err(StateError::Outdated { .. })), "the plan grew while it was compared: {outdated:?}");
    drop(store);

    let (earlier, state) = (Store::open(&before).unwrap().load().unwrap(), Store::open(&path).unwrap().load().unwrap());
    assert_eq!(
        (&earlier.plan, earlier.shards[0].status),
        (&sets(), ShardStatus::Done),
        "a crash before it leaves all as it was"
    );
    let mut now = sets();
    now.extend(later(7..9, true), 5).unwrap();
    assert_eq!((&state.plan, state.frozen_plan(), state.plan_id), (&now, &sets(), earlier.plan_id));
    let (done, waits) = (&state.shards[0], &state.shards[1]);
    assert_eq!((done.status, done.position, &done.token), (ShardStatus::Waiting, place(4, 0, 40), &None));
    assert_eq!((done.counts, &state.shards[1]), (earlier.shards[0].counts, &earlier.shards[1]), "counts go on");
    assert!(waits.token.is_some() && !state.is_done());
    assert!(state.starts().iter().all(|start| !start.done && start.extent.segments == 6));
    // What the first attempt of the done set sent twice is still no more than what the second one sent.
    let most = |path: &Path| load_report(&Store::open(path).unwrap(), false).unwrap().attempts[0].resent.most;
    assert_eq!((most(&before), most(&path)), (10, 10));

    // It goes on, is split behind the addition, grows again, and is done.
    let mut store = Store::open(&path).unwrap();
    store.begin_run(2, &NONE).unwrap();
    send(&mut store, id(0, 3), place(4, 3, 45), AttemptOutcome::Drained, After::Waiting);
    store.begin_attempt(id(0, 4), MAY_SEND).unwrap();
    let division = Division::Partitions(2);
    let added = now.split(ShardId(0), &place(4, 3, 45), &division).unwrap();
    let end = AttemptEnd { division: Some(division), ..end(id(0, 4), AttemptOutcome::Drained, After::Waiting) };
    store.end_attempt(&end, &usage(), added).unwrap();
    store.extend_plan(&later(9..10, true), 5, "came").unwrap();
    now.extend(later(9..10, true), 5).unwrap();
    let state = store.load().unwrap();
    assert_eq!((&state.plan, state.shards.len(), state.frozen_plan()), (&now, 3, &sets()));
    assert!(state.plan.keeps_order_of_keys());
    assert_eq!(state.shards[2].position, place(4, 3, 45));
    let all = place(6, 70, 60);
    for (shard, number) in [(0, 5), (1, 2), (2, 1)] {
        send(&mut store, id(shard, number), all, AttemptOutcome::Finished, After::Done(all));
    }
    assert!(store.load().unwrap().is_done());
    drop(store);

    for damage in [
        "UPDATE changes SET change = zeroblob(3) WHERE sequence = 0",
        "UPDATE changes SET kind = 'split' WHERE sequence = 0",
        "DELETE FROM changes WHERE sequence = 0",
        "DELETE FROM changes WHERE sequence = 2",
        "DELETE FROM shards WHERE id = 2",
        "UPDATE changes SET sequence = 9 WHERE sequence = 1; UPDATE changes SET sequence = 1 WHERE sequence = 2; \
         UPDATE changes SET sequence = 2 WHERE sequence = 9",
    ] {
        let bad = folder.file("bad.sqlite");
        copy(&path, &bad);
        Connection::open(&bad).unwrap().execute_batch(damage).unwrap();
        assert!(matches!(Store::open(&bad).and_then(|store| store.load()), Err(StateError::Corrupt { .. })), "{damage}");
    }
}

#[test]
fn files_that_came_later_are_new_shards_that_wait() {
    let folder = Folder::new("added-shards");
    let path = folder.file("s.sqlite");
    let mut store = create_with(&path, &packed_plan());
    store.begin_run(1, &NONE).unwrap();
    for shard in [0, 1] {
        let all = place(1, 50, 3);
        send(&mut store, id(shard, 1), all, AttemptOutcome::Finished, After::Done(all));
    }
    let done = store.load().unwrap();
    store.extend_plan(&later(4..6, false), 1, "two came").unwrap();
    store.extend_plan(&later(6..7, false), 1, "one came").unwrap();
    let state = Store::open(&path).unwrap().load().unwrap();
    assert_eq!(state.shards[..2], done.shards[..], "what is done stays done");
    let new = &state.shards[2..];
    assert!(
        new.len() == 3 && new.iter().all(|shard| shard.status == ShardStatus::Waiting && shard.counts == Counts::default())
    );
    assert_eq!((state.plan.objects.len(), state.plan.later_objects(), &state.plan.additions), (7, 3, &vec![4, 6]));
    // A file that came later and has another time only.
    let other = SourceObject { modified_ns: 9, ..state.plan.objects[6].clone() };
    store.replace_objects(&[(6, other.clone())], &["another time".to_owned()]).unwrap();
    assert_eq!(store.load().unwrap().plan.objects[6], other);
    // What makes no sense leaves no trace.
    let limited = Plan { limit_reached: true, ..later(8..9, false) };
    assert!(matches!(store.extend_plan(&limited, 1, "none"), Err(StateError::Refused { .. })));
    assert_eq!(store.load().unwrap().plan.objects.len(), 7);
    let told = load_report(&store, false).unwrap();
    let texts: Vec<&str> = told.events.iter().map(|(_, text)| &text[..]).filter(|text| !text.starts_with("run ")).collect();
    assert_eq!((texts, told.notices), (vec!["two came", "one came", "another time"], vec!["another time".to_owned()]));
}
