//! The checkpoint on disk.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::OnceLock;

use migration::report::Binding;
use migration::{Chunk, Compression, Counts, Plan, Position, Segment, ShardId, SourceObject};
use supervisor::store::{AttemptUsage, NewJob};
use supervisor::{AttemptId, StateError, Store, load_report, load_samples};

/// The data are changes of a sound checkpoint: places and bytes. It is refused or can be read, by each reader.
pub(crate) fn checkpoint(data: &[u8]) {
    static SOUND: OnceLock<Vec<u8>> = OnceLock::new();
    let mut file = SOUND.get_or_init(sound).clone();
    let mut changes = data;
    while let [high, middle, low, length, rest @ ..] = changes {
        let place = u32::from_be_bytes([0, *high, *middle, *low]) as usize % file.len();
        let (bytes, left) = rest.split_at(usize::from(length % 16).min(rest.len()));
        changes = left;
        for (old, new) in file[place..].iter_mut().zip(bytes) {
            *old = *new;
        }
        if *length == 255 {
            file.truncate(place.max(1));
        }
    }
    let folder = crate::folder();
    let path = folder.path().join("checkpoint.db");
    std::fs::write(&path, &file).expect("a file can be written");
    let _ = read(&path);
    let _ = go_on(&path);
}

fn read(path: &Path) -> Result<(), StateError> {
    let store = Store::read_only(path)?;
    if let Ok(state) = store.load() {
        let _ = (state.counts(), state.letters(), state.frozen_plan().shards.len());
    }
    let _ = load_report(&store, false);
    let _ = load_samples(&store);
    Ok(())
}

fn go_on(path: &Path) -> Result<(), StateError> {
    let mut store = Store::open(path)?;
    store.load()?;
    let slots = store.begin_run(3, &BTreeSet::new())?;
    store.end_run(75, &["because".to_owned()], slots, 1)
}

/// The bytes of a checkpoint with some history.
fn sound() -> Vec<u8> {
    let folder = crate::folder();
    let path = folder.path().join("checkpoint.db");
    make(&path).expect("a checkpoint can be made");
    std::fs::read(&path).expect("it is there")
}

fn make(path: &Path) -> Result<(), StateError> {
    let object = SourceObject {
        path: "data/a.jsonl".into(),
        bytes: Some(2000),
        modified_ns: 5,
        fingerprint: 6,
        compression: Compression::None,
        splittable: true,
        record_starts: Vec::new(),
    };
    let mut plan = Plan { objects: vec![object], ..Plan::default() };
    for start in [0, 1000] {
        plan.add(vec![Segment { object: 0, start, end: start + 1000, bytes: Some(1000) }], 100);
    }
    let text = |text: &str| text.to_owned();
    let binding = Binding {
        cluster_id: text("cluster"),
        topic_id: text("topic-id"),
        topic: text("orders"),
        source: text("data/*.jsonl"),
        end_offsets: vec![3, 0],
    };
    let settings = [(text("kafka.topic"), text("orders"))];
    let mut store = Store::create(
        path,
        &NewJob {
            name: "job",
            plan_id: 77,
            plan: &plan,
            binding: &binding,
            settings: &settings,
            origin: migration::StateOrigin::default(),
        },
    )?;
    store.begin_run(2, &BTreeSet::new())?;
    store.note("noted")?;
    let attempt = AttemptId { shard: ShardId(0), number: 1 };
    store.begin_attempt(attempt, 100)?;
    let counts = Counts { read: 50, acknowledged: 50, bytes_read: 500, ..Counts::default() };
    let position = Position { segment: 0, place: 500, records: 50 };
    let chunk = Chunk { number: 1, position, counts, ..Chunk::default() };
    store.record_chunk(attempt, &chunk, &AttemptUsage::default())?;
    store.end_run(75, &[text("stopped")], 2, 9)
}
