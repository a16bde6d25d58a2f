//! A made-up web scene for tests.

use migration::Histogram;

use crate::figures::{Environment, Spread};
use crate::web::figures::{WebComparison, WebConditions, WebFlush, WebRound, WebSummary};

/// Three flushes with the story's figures.
pub(crate) fn scene() -> WebComparison {
    let rounds = (1..=3).flat_map(|number| WebFlush::ALL.map(|flush| round(flush, number))).collect();
    WebComparison {
        conditions: WebConditions {
            rtt_us: Some(10_000),
            brokers: "embedded".into(),
            topic: "orders".into(),
            clients: 8,
            others: 2,
            seconds: 5.0,
            rounds: 3,
            pause_us: 1_000,
            shared_producer: true,
            source: vec!["data/orders.jsonl".into()],
            properties: vec![("linger.ms".into(), "0".into())],
        },
        environment: Environment { version: "0.1.0".into(), processors: 2, ..Environment::default() },
        rounds,
        results: WebFlush::ALL.map(summary).to_vec(),
        advice: vec!["a blocking flush delays requests that need no record 160 times".into()],
        interrupted: false,
    }
}

/// Median of the plain route and of the produce route, microseconds.
fn medians(flush: WebFlush) -> (f64, f64) {
    match flush {
        WebFlush::Blocking => (80_000.0, 85_000.0),
        WebFlush::Cooperative => (900.0, 12_500.0),
        WebFlush::Wakeup => (500.0, 10_900.0),
    }
}

fn around(median: f64) -> Spread {
    Spread { median, least: median * 0.95, most: median * 1.05 }
}

fn summary(flush: WebFlush) -> WebSummary {
    let (plain, produce) = medians(flush);
    WebSummary {
        flush,
        plain_p50_us: around(plain),
        plain_p99_us: around(plain * 2.0),
        produce_p50_us: around(produce),
        produce_p99_us: around(produce * 1.5),
        plain_per_second: around(2e6 / plain),
        produce_per_second: around(8e6 / produce),
        thread_cpu_cores: around(0.3),
        cpu_cores: around(0.4),
        heartbeat_p50_us: around(plain),
        heartbeat_p99_us: around(plain * 2.0),
        ticks_per_flush_ms: around(0.9),
        rounds: 3,
        records: 12_345,
    }
}

fn round(flush: WebFlush, number: u32) -> WebRound {
    let (plain, produce) = medians(flush);
    let histogram = |median: f64| {
        let mut histogram = Histogram::default();
        (0..100).for_each(|i| histogram.record((median * (0.5 + f64::from(i) / 100.0)) as u64));
        histogram
    };
    WebRound {
        flush,
        round: number,
        elapsed_us: 5_000_000,
        plain: histogram(plain),
        produce: histogram(produce),
        thread_cpu_us: 1_500_000,
        cpu_us: 2_000_000,
        records: 4_115,
        load_cpu_us: 500_000,
        heartbeat: histogram(plain),
        ticks_in_flush: 4_000,
        flush_us: 4_500_000,
        failure: None,
    }
}
