//! A made-up comparison for tests: the story's variants with figures that the story would have.

use migration::job::FlushPolicy;
use migration::{Histogram, Phase, Phases};

use crate::figures::{Comparison, Conditions, Environment, Model, Round, Setting, Spread, Summary, Variant};

/// Single, and seven green threads, threads and processes with 1, 2, 4, 8 workers.
pub(crate) fn story() -> Comparison {
    let mut settings = vec![setting(Variant::Single, 1)];
    for variant in
        [Variant::GreenBlocking, Variant::GreenCooperative, Variant::GreenWakeup, Variant::Threads, Variant::Processes]
    {
        settings.extend([1, 2, 4, 8].map(|workers| setting(variant, workers)));
    }
    settings.push(setting(Variant::StockFlush, 1));
    let speeds: Vec<f64> = settings.iter().map(speed).collect();
    let rounds = (1..=5).flat_map(|number| (0..).zip(&settings).map(move |(i, setting)| round(i, number, setting))).collect();
    let results = (0..).zip(&speeds).map(|(i, speed)| summary(i, *speed)).collect();
    Comparison {
        conditions: Conditions {
            rtt_us: Some(10_000),
            brokers: "embedded".into(),
            topic: "orders".into(),
            partitions: 16,
            replication: None,
            partitioner: "murmur2".into(),
            by_key: false,
            chunk_records: 5_000,
            chunk_bytes: 8 << 20,
            chunk_interval_ms: 1_000,
            in_flight_bytes: 16 << 20,
            wait_us: 2_500,
            cpu_us: 300,
            seconds: 5.0,
            records: None,
            rounds: 5,
            properties: vec![(FlushPolicy::Record, vec![("linger.ms".into(), "0".into()), ("acks".into(), "all".into())])],
            properties_instead: Vec::new(),
            source: vec!["data/orders-*.jsonl".into()],
            source_repeated: false,
        },
        environment: Environment {
            version: "0.1.0".into(),
            client: "2.12.1".into(),
            system: "Linux 6.1.0".into(),
            processors: 2,
            processor: "A processor <of some kind> & more".into(),
            memory_bytes: 8 << 30,
            started_unix_ms: 1_795_000_000_000,
            command: "shardlift compare --workers 1,2,4,8".into(),
        },
        settings,
        reference: Some(0),
        rounds,
        results,
        conclusion: None,
        advice: vec!["77 % of the time is flush: processes scale to about 12 on this broker".into()],
        interrupted: false,
        model: Some(Model { wait_us: 2_500.0, cpu_us: 850.0, flush_us: 10_250.0, rounds: Vec::new() }),
    }
}

fn setting(variant: Variant, workers: u32) -> Setting {
    Setting { variant, workers, flush: FlushPolicy::Record, shared_producer: false }
}

/// How many times as fast as `single`.
fn speed(setting: &Setting) -> f64 {
    let n = f64::from(setting.workers);
    match setting.variant {
        Variant::Single => 1.0,
        Variant::GreenBlocking => 1.25 - 0.25 / n,
        Variant::GreenCooperative => n * 0.9,
        Variant::GreenWakeup => n * 0.98,
        Variant::Threads => n * 0.95,
        Variant::Processes => n * 0.9375,
        Variant::StockFlush => 0.1,
    }
}

fn round(index: u32, number: u32, setting: &Setting) -> Round {
    let mut phases = Phases::default();
    let each = 5_000_000_000 * u64::from(setting.workers);
    let parts = [(Phase::Read, 2), (Phase::Map, 5), (Phase::Enqueue, 1), (Phase::Wait, 15), (Phase::Flush, 77)];
    parts.into_iter().for_each(|(phase, percent)| phases.spend(phase, each / 100 * percent));
    let wave = |of: u32, at: u32| (at * 250, 0.05 * of as f32 + 0.01 * ((at * 7 + of) % 5) as f32);
    let alone = setting.variant != Variant::Processes;
    Round {
        setting: index,
        round: number,
        records: (73.0 * 5.0 * speed(setting)) as u64,
        elapsed_us: 5_000_000,
        phases,
        cpu_us: 300_000,
        thread_cpu_us: 250_000,
        latency: durations(10_000),
        heartbeat: durations(9_000),
        ticks_in_flush: 10,
        flush_us: 3_850_000,
        peak_memory_bytes: 40 << 20,
        rtt_us: vec![10_200; setting.workers as usize],
        cpu_over_time: (0..20).map(|at| wave(setting.workers, at)).collect(),
        cpu_by_worker: if alone {
            Vec::new()
        } else {
            (0..setting.workers).map(|w| (0..20).map(|at| wave(1, at + w)).collect()).collect()
        },
        failure: None,
        ran_out: false,
        set_aside: 0,
    }
}

fn durations(least: u64) -> Histogram {
    let mut histogram = Histogram::default();
    (0..100).for_each(|i| histogram.record(least + i * i));
    histogram
}

fn around(median: f64) -> Spread {
    Spread { median, least: median * 0.98, most: median * 1.02 }
}

fn summary(setting: u32, speed: f64) -> Summary {
    let rate = 72.98 * speed;
    Summary {
        setting,
        rounds: 5,
        records: (rate * 5.0) as u64,
        elapsed_us: 5_000_000,
        records_per_second: around(rate),
        relative_speed: Some(around(speed)),
        relative_speed_error: Some(0.05),
        flush_share: around(0.77),
        cpu_cores: around(0.06 * speed),
        thread_cpu_cores: around(0.05 * speed),
        cpu_us_per_record: around(850.0),
        latency: durations(10_000),
        heartbeat: durations(9_000),
        ticks_per_flush_ms: 0.01,
        peak_memory_bytes: 40 << 20,
        predicted_records_per_second: Some(73.5 * speed),
        predicted_flush_share: Some(0.76),
        notes: Vec::new(),
    }
}
