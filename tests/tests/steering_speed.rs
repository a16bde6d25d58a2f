//! What turning the knobs does to the rate, counted by the broker's clock: more workers at a distance, a shard that is split, a
//! throttle that is kept.

use std::process::ExitCode;
use std::time::Duration;

use whole_program::scene::Scene;
use whole_program::suite::{Clusters, Need, ROUND_TRIP, Test, main as run};
use whole_program::timeline::{ARRIVAL, Timeline};

fn main() -> ExitCode {
    run(&[Test { name: "one_record_a_round_trip", needs: Need::Kafka, run: one_record_a_round_trip }])
}

/// A scene whose broker is a round trip away, with a flush after each record.
fn distant<'a>(clusters: &'a Clusters, topic: &str, keys: &[(&str, &str)]) -> Scene<'a> {
    let scene = Scene::with_topic(clusters.distant(), topic, 8, &[ARRIVAL]);
    let brokers = format!("[\"{}\"]", clusters.distant().distant());
    scene.configure(&[&[("kafka.brokers", brokers.as_str()), ("workers.flush", "\"record\"")], keys].concat());
    scene
}

/// What the other tests stand on: through the proxy, one worker that flushes after each record sends one a round trip.
fn one_record_a_round_trip(clusters: &Clusters) {
    let scene = distant(clusters, "one", &[("workers.count", "1")]);
    scene.orders(60, 600);
    let report = scene.run(&[]).expect_code(0).json();
    let timeline = Timeline::read(scene.kafka.bootstrap(), &scene.topic);
    let first = timeline.first_from(0).expect("there are records");
    let rate = timeline.rate(first, Duration::from_secs(2));
    println!("one worker, {} ms away: {rate:.0}/s; flush {}", ROUND_TRIP.as_millis(), report["flush"]);
    // A busy machine is slower than its network.
    let bound = 1.0 / ROUND_TRIP.as_secs_f64();
    assert!((0.25 * bound..bound).contains(&rate), "{rate}/s at {ROUND_TRIP:?}");
    scene.program.assert_nothing_left();
}
