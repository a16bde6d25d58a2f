//! A source that has nothing yet stops neither delivery reports nor a drain, a pause, a commit or a heartbeat.

use super::*;
use crate::source::Next;
use crate::{BlockPool, Rows, SourceError};

/// Gives one block of its rows, then says later until it is told to end. Asked again before that is over, it says so.
struct Waiting {
    rows: Box<dyn Reader>,
    given: bool,
    over: Rc<RefCell<bool>>,
    asked: Rc<RefCell<u64>>,
}

impl Reader for Waiting {
    fn next(&mut self, pool: &mut BlockPool, into: &mut Rows) -> Result<Next, SourceError> {
        *self.asked.borrow_mut() += 1;
        if self.given && !*self.over.borrow() {
            into.clear();
            return Ok(Next::Later { until: Instant::now() + Duration::from_secs(3600) });
        }
        self.given = true;
        self.rows.next(pool, into)
    }

    fn unchanged(&mut self) -> Result<(), SourceError> {
        self.rows.unchanged()
    }

    fn segment(&self) -> u32 {
        self.rows.segment()
    }
}

/// An attempt at ten records whose source then waits, and what ends that.
struct Scene {
    rig: Rig,
    worker: ShardWorker,
    now: Instant,
    over: Rc<RefCell<bool>>,
    asked: Rc<RefCell<u64>>,
    chunks: Vec<Chunk>,
}

impl Scene {
    fn new() -> Scene {
        let mut rig = Rig::new(plain(10));
        rig.behaviour.patience = 1;
        let (over, asked) = (Rc::new(RefCell::new(false)), Rc::default());
        let rows = Box::new(MemoryReader::new(Rc::clone(&rig.segments), 0, 0, 1_000));
        let reader = Waiting { rows, given: false, over: Rc::clone(&over), asked: Rc::clone(&asked) };
        let worker = rig.worker_of(Box::new(reader), Position::default());
        Scene { rig, worker, now: Instant::now(), over, asked, chunks: Vec::new() }
    }

    /// One step, after which the caller waits as it is told to, but no longer than `most`.
    fn step(&mut self, control: &Control, most: Duration) -> Step {
        let control = Control { recorded: self.chunks.len() as u64, ..*control };
        let step = self.worker.step(&control, self.now).unwrap();
        while let Some(event) = self.worker.next_event() {
            let WorkerEvent::Committed(chunk) = event else {
                assert_eq!(event, WorkerEvent::AtEnd);
                continue;
            };
            self.chunks.push(chunk);
        }
        if let Step::Wait { until, .. } = step {
            self.worker.wait(Duration::ZERO).unwrap();
            self.now += until.saturating_duration_since(self.now).min(most);
        }
        step
    }

    /// Steps until the source is waited for.
    fn until_it_waits(&mut self, control: &Control) {
        let waits = |step| matches!(step, Step::Wait { reason: WaitReason::Source, .. });
        assert!((0..100).any(|_| waits(self.step(control, Duration::ZERO))), "it does not wait for its source");
    }

    /// Steps until it is done.
    fn until_done(&mut self, control: &Control) {
        assert!((0..1_000).any(|_| self.step(control, Duration::from_millis(50)) == Step::Done), "it is not done");
    }
}

#[test]
fn a_wait_for_the_source_ends_in_time_for_the_chunk_and_the_heartbeat_tells_what_was_taken() {
    let mut scene = Scene::new();
    let control = Control::default();
    scene.until_it_waits(&control);
    let began = scene.now;
    let progress = scene.worker.progress(scene.now);
    assert_eq!((progress.counts.read, progress.position.records, scene.chunks.len()), (10, 10, 0));
    while scene.chunks.is_empty() {
        let step = scene.step(&control, Duration::from_secs(3600));
        assert!(!matches!(step, Step::Wait { until, .. } if until > scene.now + Duration::from_secs(1)));
        assert!(scene.now - began < Duration::from_secs(3), "its interval is over");
    }
    assert_eq!((scene.chunks[0].counts.acknowledged, scene.rig.stored()), (10, 10));
    assert!(*scene.asked.borrow() < 20, "asked {} times", scene.asked.borrow());
    *scene.over.borrow_mut() = true;
    scene.until_done(&control);
    assert!(scene.worker.finish().unwrap().complete);
}

#[test]
fn a_drain_does_not_wait_for_the_source() {
    let mut scene = Scene::new();
    scene.until_it_waits(&Control::default());
    scene.until_done(&Control { drain: true, ..Control::default() });
    assert_eq!((scene.chunks.len(), scene.chunks[0].counts.acknowledged), (1, 10));
    let finished = scene.worker.finish().unwrap();
    assert_eq!((finished.complete, finished.position.records), (false, 10));
}

#[test]
fn a_pause_commits_what_was_taken_before_the_source_waited() {
    let mut scene = Scene::new();
    scene.until_it_waits(&Control::default());
    let paused = Control { paused: true, ..Control::default() };
    let waits = |step| matches!(step, Step::Wait { reason: WaitReason::Continue, .. });
    assert!((0..100).any(|_| waits(scene.step(&paused, Duration::from_millis(1)))));
    assert_eq!(scene.chunks.len(), 1);
    let asked = *scene.asked.borrow();
    scene.step(&paused, Duration::from_millis(1));
    assert_eq!(*scene.asked.borrow(), asked, "a paused worker does not ask its source");
}
