//! Which tests run at the same time: those that wait beside one that works and one that has a broker's outage, then the
//! light ones that judge a time, beside each other only, then those that must be alone.

use std::any::Any;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{Builder, scope};
use std::time::Instant;

use super::outcomes::Outcomes;
use super::{Chosen, Clusters, Lane};

/// How many tests that wait run at once.
const WAITING: usize = 4;
/// As large as a main thread's.
const STACK: usize = 8 << 20;

/// Runs all tests.
pub(super) fn run(tests: &[Chosen], clusters: &Clusters, outcomes: &Outcomes, one_at_a_time: bool) {
    if one_at_a_time {
        tests.iter().for_each(|chosen| run_one(chosen, clusters, outcomes));
        return;
    }
    let lane = |wanted: &[Lane]| tests.iter().filter(|chosen| wanted.contains(&chosen.test.lane)).collect::<Vec<_>>();
    let light = lane(&[Lane::Light]);
    let at_once = light.len();
    beside_each_other(
        &[(lane(&[Lane::Outage]), 1), (lane(&[Lane::Works]), 1), (lane(&[Lane::Waits]), WAITING)],
        clusters,
        outcomes,
    );
    beside_each_other(&[(light, at_once)], clusters, outcomes);
    lane(&[Lane::Alone, Lane::Nightly]).into_iter().for_each(|chosen| run_one(chosen, clusters, outcomes));
}

/// Runs queues of tests at the same time, each on a number of threads.
fn beside_each_other(queues: &[(Vec<&Chosen>, usize)], clusters: &Clusters, outcomes: &Outcomes) {
    let places: Vec<AtomicUsize> = queues.iter().map(|_| AtomicUsize::new(0)).collect();
    scope(|scope| {
        for ((queue, threads), place) in queues.iter().zip(&places) {
            for _ in 0..*threads {
                scope.spawn(|| {
                    while let Some(chosen) = queue.get(place.fetch_add(1, Ordering::Relaxed)) {
                        run_one(chosen, clusters, outcomes);
                    }
                });
            }
        }
    });
}

/// Runs a test on a thread with its name, so that whatever is printed of a panic names it.
fn run_one(chosen: &Chosen, clusters: &Clusters, outcomes: &Outcomes) {
    let begin = Instant::now();
    let ended = scope(|scope| {
        let thread = Builder::new().name(chosen.name.clone()).stack_size(STACK);
        thread.spawn_scoped(scope, || (chosen.test.run)(clusters)).expect("a thread can be started").join()
    });
    outcomes.ended(&chosen.name, begin.elapsed(), ended.map_err(|payload| message(&*payload)));
}

/// What a panic said.
fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().cloned();
    text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_else(|| "no message".to_owned())
}
