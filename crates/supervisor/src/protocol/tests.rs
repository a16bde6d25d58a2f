//! Both ends over a real pipe, and hostile bytes.

use std::io::{PipeReader, PipeWriter, Write as _, pipe};

use migration::report::AnswerTimes;
use migration::{FailureKind, Histogram, LedgerEntry, Level, Phase, Phases, Rate, Receipt, Token, WaitingFor};
use proptest::prelude::*;

use super::*;

fn ends() -> (PipeReader, PipeWriter) {
    pipe().expect("a pipe")
}

/// All events in these bytes (after a hello, if wanted), or the error at which they stop.
fn receive(greet: bool, frames: &[(u8, Vec<u8>)]) -> Result<Vec<WorkerEvent>, ProtocolError> {
    let (reader, mut writer) = ends();
    if greet {
        EventSender::greet(&writer).expect("room in the pipe");
    }
    let mut frame = FrameWriter::new();
    frames.iter().for_each(|(kind, payload)| frame.queue(*kind, payload).expect("small"));
    frame.flush(&writer).expect("room in the pipe");
    writer.flush().expect("open");
    drop(writer);
    let mut receiver = EventReceiver::default();
    let mut events = Vec::new();
    while receiver.fill(&reader)? != Filled::Eof {
        while let Some(event) = receiver.next_event()? {
            events.push(event);
        }
    }
    Ok(events)
}

fn work() -> impl Strategy<Value = Work> {
    let small = 0u64..1 << 40;
    let parts = prop::collection::vec(small.clone(), 0..20);
    (
        prop::array::uniform10(small.clone()),
        parts,
        prop::option::of((small.clone(), small.clone())),
        prop::collection::vec(small, 0..9),
    )
        .prop_map(|(phases, partitions, deliveries, flushes)| {
            let mut flush = Histogram::default();
            flushes.into_iter().for_each(|micros| flush.record(micros));
            let quickest_us = deliveries.map(|(first, _)| first / 2);
            let [answers, held_back] = [3, 4].map(|count| AnswerTimes { count, total_us: phases[5], longest_us: phases[6] });
            Work { phases: Phases(phases), flush, partitions, deliveries, quickest_us, answers, held_back, perhaps_doubled: 7 }
        })
}

fn counts() -> impl Strategy<Value = Counts> {
    prop::array::uniform8(0u64..1 << 40).prop_map(
        |[read, acknowledged, filtered, dead_lettered, others, bytes_read, bytes_others, bytes_sent]| Counts {
            read,
            acknowledged,
            filtered,
            dead_lettered,
            others,
            bytes_read,
            bytes_others,
            bytes_sent,
        },
    )
}

fn position() -> impl Strategy<Value = Position> {
    (any::<u32>(), 0u64..1 << 60, 0u64..1 << 40).prop_map(|(segment, place, records)| Position { segment, place, records })
}

fn token() -> impl Strategy<Value = Option<Token>> {
    let bytes = prop_oneof![prop::collection::vec(any::<u8>(), 0..9), Just(vec![7; Token::MOST_BYTES])];
    prop::option::of(bytes.prop_map(|bytes| Token::try_from(bytes).expect("not too long")))
}

fn no_answer() -> impl Strategy<Value = Option<Box<NoAnswer>>> {
    let (partitions, leaders) = (prop::collection::vec(any::<u32>(), 0..9), prop::collection::vec(any::<i32>(), 0..3));
    let seen = (0u64..1 << 40, any::<bool>(), partitions, leaders, prop::option::of(".{0,40}"));
    prop::option::of(seen.prop_map(|(ms, all, partitions, leaders, cause)| {
        Box::new(NoAnswer { silent: std::time::Duration::from_millis(ms), all, partitions, leaders, cause })
    }))
}

fn event() -> impl Strategy<Value = WorkerEvent> {
    let cut = (any::<u32>(), 0u64..1 << 60).prop_map(|(segment, place)| migration::Cut { segment, place });
    let cuts = prop::option::of(prop::collection::vec(cut, 0..4));
    let waiting = prop_oneof![
        Just(None),
        Just(Some(WaitingFor::Recorded)),
        (any::<u32>(), any::<Option<i32>>()).prop_map(|(partition, leader)| Some(WaitingFor::Partition { partition, leader })),
    ];
    prop_oneof![
        (prop::option::of(".{0,40}"), any::<u32>(), position(), counts(), token()).prop_map(
            |(id, partitions, position, counts, token)| {
                let topic = migration::SeenTopic { id, partitions };
                WorkerEvent::Started(Started { topic, from: LedgerEntry { position, counts, token, ..LedgerEntry::default() } })
            }
        ),
        (position(), counts(), work(), 0u64..1 << 40, waiting, no_answer()).prop_map(
            |(position, counts, work, peak_memory_bytes, waiting_for, no_answer)| {
                let lines_not_shown = (peak_memory_bytes / 3) as u32;
                WorkerEvent::Progress(Progress {
                    position,
                    counts,
                    work,
                    peak_memory_bytes,
                    waiting_for,
                    no_answer,
                    lines_not_shown,
                })
            }
        ),
        (0u64..1 << 40, position(), token(), counts(), work(), 0u64..1 << 40).prop_map(
            |(number, position, token, counts, work, letters)| {
                WorkerEvent::Committed(Chunk {
                    number,
                    position,
                    token,
                    counts,
                    work,
                    letters,
                    receipt: Receipt { records: number, sum: u128::from(letters) << 64 },
                })
            }
        ),
        (proptest::sample::select(&Level::ALL[..]), ".{0,80}").prop_map(|(level, text)| WorkerEvent::Log { level, text }),
        ".{0,80}".prop_map(WorkerEvent::Notice),
        Just(WorkerEvent::AtEnd),
        ".{0,80}".prop_map(|text| WorkerEvent::Failed(Failure::new(FailureKind::Unreachable, text))),
        (position(), any::<bool>(), cuts, work(), 0u64..1 << 40).prop_map(
            |(position, complete, cuts, work, peak_memory_bytes)| {
                WorkerEvent::Finished(Finished { position, complete, cuts, work, peak_memory_bytes })
            }
        ),
    ]
}

proptest! {
    #[test]
    fn events_come_back_as_they_were(events in prop::collection::vec(event(), 0..10)) {
        let (reader, writer) = ends();
        let mut sender = EventSender::greet(&writer).unwrap();
        let mut receiver = EventReceiver::default();
        let mut back = Vec::new();
        for event in &events {
            sender.send(event).unwrap();
            receiver.fill(&reader).unwrap();
            back.extend(receiver.next_event().unwrap());
        }
        prop_assert_eq!(back, events);
    }

    #[test]
    fn any_payload_is_survived(kind in any::<u8>(), payload in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = receive(true, &[(kind, payload.clone())]);
        let _ = receive(false, &[(kind, payload)]);
    }

    #[test]
    fn a_cut_or_bent_event_is_never_another_panic(event in event(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut payload = encode(EVENT, &event).unwrap();
        let at = at.index(payload.len());
        let _ = receive(true, &[(EVENT, payload[..at].to_vec())]);
        payload[at] = byte;
        let _ = receive(true, &[(EVENT, payload)]);
    }

    #[test]
    fn the_newest_control_counts(recorded in prop::collection::vec(any::<u64>(), 1..20)) {
        let (reader, writer) = ends();
        let mut sender = ControlSender::default();
        for &recorded in &recorded {
            let rate = Rate { records: 0.1, bytes: f64::INFINITY };
            sender.put(&Control { recorded, drain: true, pieces: 3, paused: false, hold: true, held_us: 5, rate }).unwrap();
            sender.flush(&writer).unwrap();
        }
        drop(writer);
        let mut receiver = ControlReceiver::new(Control::default());
        prop_assert_eq!(receiver.newest(&reader).unwrap(), None);
        prop_assert_eq!(receiver.newest.recorded, *recorded.last().unwrap());
    }
}

#[test]
fn the_first_frame_must_be_hello_of_this_version() {
    let event = encode(EVENT, &WorkerEvent::Started(Started::default())).unwrap();
    assert!(matches!(receive(false, &[(EVENT, event.clone())]), Err(ProtocolError::Kind { kind: EVENT, .. })));
    let other = encode(HELLO, &(VERSION + 1)).unwrap();
    assert!(matches!(receive(false, &[(HELLO, other)]), Err(ProtocolError::Version(v)) if v == VERSION + 1));
    assert!(matches!(receive(true, &[(77, event.clone())]), Err(ProtocolError::Kind { kind: 77, .. })));
    let trailing = [event, vec![0]].concat();
    assert!(matches!(receive(true, &[(EVENT, trailing)]), Err(ProtocolError::Payload { .. })));
}

#[test]
fn figures_that_would_overflow_a_sum_are_refused() {
    let huge = Counts { read: u64::MAX, acknowledged: u64::MAX, ..Counts::default() };
    let chunk = |chunk: Chunk| encode(EVENT, &WorkerEvent::Committed(chunk)).unwrap();
    let bad = [
        Chunk { counts: huge, ..Chunk::default() },
        Chunk { letters: u64::MAX, ..Chunk::default() },
        Chunk { position: Position { records: u64::MAX, ..Position::default() }, ..Chunk::default() },
        Chunk { position: Position { place: u64::MAX, ..Position::default() }, ..Chunk::default() },
        Chunk { work: Work { phases: Phases([u64::MAX; Phase::ALL.len()]), ..Work::default() }, ..Chunk::default() },
        Chunk { work: Work { partitions: vec![u64::MAX], ..Work::default() }, ..Chunk::default() },
    ];
    for bad in bad {
        assert!(matches!(receive(true, &[(EVENT, chunk(bad))]), Err(ProtocolError::Implausible(_))));
    }
    let from = LedgerEntry { counts: huge, ..LedgerEntry::default() };
    let started = encode(EVENT, &WorkerEvent::Started(Started { from, ..Started::default() })).unwrap();
    assert!(matches!(receive(true, &[(EVENT, started)]), Err(ProtocolError::Implausible(_))));
    assert!(receive(true, &[(EVENT, chunk(Chunk::default()))]).is_ok());
}

#[test]
fn a_token_that_is_too_long_is_refused() {
    // As a worker with another idea of its length would write it: the last bytes of a `Started` are its token, the
    // length of its letters, and its receipt.
    let with = |bytes: usize| {
        let mut payload = encode(EVENT, &WorkerEvent::Started(Started::default())).unwrap();
        assert_eq!(payload.split_off(payload.len() - 4), [0; 4], "no token, no letters, and nothing delivered");
        payload.push(1);
        payload.extend(postcard::to_stdvec(&vec![7u8; bytes]).unwrap());
        payload.extend([0; 3]);
        receive(true, &[(EVENT, payload)])
    };
    assert!(with(Token::MOST_BYTES).is_ok());
    assert!(matches!(with(Token::MOST_BYTES + 1), Err(ProtocolError::Payload { kind: EVENT, .. })));
}

#[test]
fn long_texts_are_cut_at_a_character() {
    let (reader, writer) = ends();
    let mut sender = EventSender::greet(&writer).unwrap();
    sender.send(&WorkerEvent::Log { level: Level::Error, text: "ä".repeat(1 << 20) }).unwrap();
    let mut receiver = EventReceiver::default();
    receiver.fill(&reader).unwrap();
    let Some(WorkerEvent::Log { text, .. }) = receiver.next_event().unwrap() else { panic!("no line") };
    assert_eq!(text, "ä".repeat(LONGEST_TEXT / 2));
}
