use super::*;
use crate::doubles::{Behaviour, MemorySink};

const LIMITS: SinkLimits = SinkLimits { record_bytes: 1_000, batch_bytes: 1_000, batch_records: GROUP_RECORDS, alone: None };

/// A block of records of ten bytes.
fn block(place: u64) -> Rc<Block> {
    Rc::new(Block { bytes: vec![b'x'; 1_000], segment: 0, place, table: None })
}

fn sink(partitions: u32) -> MemorySink {
    MemorySink::new(partitions, Behaviour { patience: 1, ..Behaviour::default() }, 1)
}

fn push(lanes: &mut Lanes, index: usize, block: &Rc<Block>, records: u32) {
    for n in 0..records {
        assert_eq!(lanes.push(index, block, n * 10, 10, Key::Null, None), Push::Taken);
    }
}

/// Serves every report that is there.
fn serve(lanes: &mut Lanes, sink: &mut MemorySink) {
    let mut done = Vec::new();
    sink.poll(std::time::Duration::ZERO, &mut done).unwrap();
    for delivered in done {
        lanes.delivered(delivered, sink, &mut |_, _, _| Ok(())).unwrap();
    }
}

#[test]
fn a_group_is_full_by_bytes_with_overhead_and_headers() {
    let block = block(0);
    // 0.9 x 1,000 bytes hold 23 records of 10 + 28, or 10 of 10 + 28 + 50.
    for (headers, most) in [(0, 23), (50, 10)] {
        let mut lanes = Lanes::new(2, LIMITS, headers);
        push(&mut lanes, 1, &block, most);
        assert_eq!(lanes.push(1, &block, 0, 10, Key::Null, None), Push::Full(Ready::Lane(1)));
    }
}

#[test]
fn groups_fit_the_distance() {
    let records = |ms, room| group_records(ms, room);
    let ms = |ms| Some(Duration::from_millis(ms));
    for near in [None, ms(0), ms(1), ms(2)] {
        assert_eq!(records(near, Some(5_900)), GROUP_RECORDS, "{near:?}");
    }
    assert_eq!(records(ms(4), Some(5_900)), 4_000);
    for far in [ms(6), ms(20), ms(80), ms(60_000)] {
        assert_eq!(records(far, Some(5_900)), 5_723, "a little less than fits, so that the client does not wait for more");
        assert_eq!(records(far, Some(800)), GROUP_RECORDS, "large records are cut by their bytes");
    }
    assert_eq!((records(ms(10), None), records(ms(80), None)), (10_000, MOST_GROUP_RECORDS));
}

#[test]
fn what_is_not_records_has_room_in_a_batch() {
    assert_eq!((group_bytes(1_000_000, false), group_bytes(1_000_000, true)), (997_952, 900_000));
    assert_eq!((group_bytes(1_000, false), group_bytes(1, true), group_bytes(0, true)), (900, 0, 0));
}

#[test]
fn far_away_a_group_is_as_large_as_a_batch() {
    let block = block(0);
    let limits = SinkLimits { batch_bytes: 1_000_000, batch_records: 9_000, ..LIMITS };
    let mut lanes = Lanes::new(2, limits, 0);
    for records in 0..9_000 {
        assert_eq!(lanes.push(1, &block, 0, 10, Key::Null, None), Push::Taken, "{records}");
        assert_eq!(lanes.push_open(&block, 0, 10, None), Push::Taken, "{records}");
    }
    assert_eq!(lanes.push(1, &block, 0, 10, Key::Null, None), Push::Full(Ready::Lane(1)));
    assert_eq!(lanes.push_open(&block, 0, 10, None), Push::Full(Ready::Open));
    let by_bytes = SinkLimits { batch_records: 50_000, ..limits };
    let mut lanes = Lanes::new(1, by_bytes, 0);
    push(&mut lanes, 0, &block, 1);
    let taken = (1..50_000).take_while(|_| lanes.push(0, &block, 0, 10, Key::Null, None) == Push::Taken).count();
    assert_eq!(taken + 1, 997_952 / 38);
}

#[test]
fn a_full_lane_in_flight_blocks_and_goes_on_by_itself() {
    let (mut lanes, mut sink, block) = (Lanes::new(2, LIMITS, 0), sink(2), block(0));
    push(&mut lanes, 0, &block, 23);
    lanes.hand_over(Ready::Lane(0), &mut sink).unwrap();
    push(&mut lanes, 0, &block, 23);
    assert_eq!(lanes.push(0, &block, 0, 10, Key::Null, None), Push::Blocked(Some(0)));
    assert_eq!(lanes.push(1, &block, 0, 10, Key::Null, None), Push::Taken);
    assert_eq!(lanes.slowest(), Some(0));
    serve(&mut lanes, &mut sink);
    assert_eq!(sink.topic().borrow().groups, [23, 23]);
    assert!(!sink.topic().borrow().two_in_flight);
}

#[test]
fn room_is_made_by_the_fullest_idle_lane() {
    let block = block(0);
    let mut lanes = Lanes::new(4, LIMITS, 0);
    push(&mut lanes, 2, &block, 1);
    push(&mut lanes, 1, &block, 5);
    push(&mut lanes, 3, &block, 7);
    let mut sink = sink(4);
    assert_eq!(lanes.for_room(), Some(Ready::Lane(3)));
    lanes.hand_over(Ready::Lane(3), &mut sink).unwrap();
    assert_eq!(lanes.for_room(), None, "seven in flight will make more room than the six that are left");
    push(&mut lanes, 2, &block, 8);
    assert_eq!(lanes.for_room(), Some(Ready::Lane(2)), "fourteen are left");
    serve(&mut lanes, &mut sink);
    lanes.hand_over(Ready::Lane(2), &mut sink).unwrap();
    serve(&mut lanes, &mut sink);
    assert_eq!(lanes.for_room(), Some(Ready::Lane(1)));
}

#[test]
fn only_records_that_may_go_to_any_partition_keep_their_blocks() {
    let (mut lanes, mut sink, block) = (Lanes::new(2, LIMITS, 0), sink(2), block(0));
    push(&mut lanes, 1, &block, 5);
    assert_eq!((Rc::strong_count(&block), lanes.copies_memory() >= 50), (1, true), "copied");
    assert_eq!(lanes.push_open(&block, 0, 10, None), Push::Taken);
    assert_eq!(Rc::strong_count(&block), 2, "shared");
    lanes.flush(&mut sink).unwrap();
    while lanes.busy() {
        serve(&mut lanes, &mut sink);
    }
    lanes.check_accounts();
    assert!(lanes.copies_memory() > 0, "a spare group has some");
    lanes.drop_spares();
    assert_eq!((Rc::strong_count(&block), lanes.copies_memory()), (1, 0), "nothing is left of delivered groups");
}

#[test]
fn copies_stay_within_their_limit_but_one_record_always_goes() {
    let (mut lanes, mut sink, block) = (Lanes::new(3, LIMITS, 0), sink(3), block(0));
    lanes.limit_copies(2_500);
    push(&mut lanes, 0, &block, 1);
    push(&mut lanes, 1, &block, 1);
    assert_eq!(lanes.push(2, &block, 0, 10, Key::Null, None), Push::NoRoom);
    assert!(lanes.copies_memory() <= 2_500);
    lanes.hand_over(lanes.for_room().unwrap(), &mut sink).unwrap();
    assert_eq!(lanes.push(2, &block, 0, 10, Key::Null, None), Push::NoRoom, "it is in flight");
    serve(&mut lanes, &mut sink);
    push(&mut lanes, 2, &block, 1);
    lanes.limit_copies(0);
    lanes.flush(&mut sink).unwrap();
    serve(&mut lanes, &mut sink);
    push(&mut lanes, 0, &block, 1);
    assert_eq!(lanes.push(1, &block, 0, 10, Key::Null, None), Push::NoRoom);
}

#[test]
fn records_without_a_key_join_one_lane_until_its_group_goes() {
    let (mut lanes, mut sink, block) = (Lanes::new(3, LIMITS, 0), sink(3), block(0));
    let mut pushed = 0;
    while pushed < 2 * 23 * 3 {
        match lanes.push_any(&block, 0, 10, Key::Null, None) {
            Push::Taken => pushed += 1,
            Push::Full(ready) => lanes.hand_over(ready, &mut sink).unwrap(),
            other => panic!("{other:?} at {pushed}"),
        }
    }
    assert_eq!(sink.topic().borrow().groups, [23, 23, 23]);
    assert_eq!(lanes.push_any(&block, 0, 10, Key::Null, None), Push::Blocked(None));
}

#[test]
fn a_refused_group_is_halved_in_order_before_anything_newer() {
    let (mut lanes, mut handed) = (Lanes::new(1, LIMITS, 0), Handed::default());
    let text = (0..8).map(|n| format!("record-{n:03}")).collect::<String>();
    let block = Rc::new(Block { bytes: text.into_bytes(), ..Block::default() });
    push(&mut lanes, 0, &block, 5);
    lanes.hand_over(Ready::Lane(0), &mut handed).unwrap();
    for n in 5..8 {
        lanes.push(0, &block, n * 10, 10, Key::Null, None);
    }
    lanes.flush(&mut handed).unwrap();
    let (mut dead, mut order) = (Vec::new(), Vec::new());
    // The reports are made here: whatever holds record 3 is refused.
    while let Some(sent) = handed.0.take() {
        let texts: Vec<_> = sent.messages().map(|m| String::from_utf8_lossy(m.value).into_owned()).collect();
        let bad = texts.iter().any(|text| text == "record-003");
        if !bad {
            order.extend(texts.clone());
        }
        let refused = (0..if bad { sent.len() } else { 0 })
            .map(|index| crate::RejectedRecord { index, reason: "no".to_owned(), blame: Blame::Unknown })
            .collect();
        let acknowledged = if bad { 0 } else { sent.len() };
        let delivered = Delivered { partition: 0, group: sent, acknowledged, refused };
        lanes
            .delivered(delivered, &mut handed, &mut |group, index, _| {
                dead.push(String::from_utf8_lossy(group.message(index).value).into_owned());
                Ok(())
            })
            .unwrap();
    }
    assert_eq!(dead, ["record-003"]);
    assert_eq!(order, [0, 1, 2, 4, 5, 6, 7].map(|n| format!("record-{n:03}")));
    assert!(!lanes.busy());
    lanes.check_accounts();
}

/// Keeps the one group that was handed over.
#[derive(Default)]
struct Handed(Option<Group>);

impl Sink for Handed {
    fn partitions(&self) -> u32 {
        1
    }
    fn limits(&self) -> SinkLimits {
        LIMITS
    }
    fn hand_over(&mut self, _partition: u32, group: Group) -> Result<(), Failure> {
        assert!(self.0.replace(group).is_none(), "two groups of a partition in flight");
        Ok(())
    }
    fn poll(&mut self, _timeout: std::time::Duration, _done: &mut Vec<Delivered>) -> Result<(), Failure> {
        Ok(())
    }
    fn outstanding(&self) -> usize {
        self.0.as_ref().map_or(0, Group::len)
    }
    fn leader(&self, _partition: u32) -> Option<i32> {
        None
    }
    fn deliveries(&self) -> Option<(u64, u64)> {
        None
    }
    fn finish(self: Box<Self>) -> Result<(), Failure> {
        Ok(())
    }
}
