//! What the rounds of the web scene say together: medians, and sentences made of the figures.

use crate::figures::Spread;
use crate::statistics::spread;
use crate::web::figures::{WebComparison, WebFlush, WebRound, WebSummary};

/// Below this number of cores the process that asks was not what limited the server.
const BUSY: f64 = 0.9;

/// Plain requests that wait less than this number of times as long are hardly delayed.
const DELAYED: f64 = 1.5;

/// A line for each flush that has a figure, in the order of [`WebFlush::ALL`].
pub fn summarise(rounds: &[WebRound]) -> Vec<WebSummary> {
    WebFlush::ALL.into_iter().filter_map(|flush| summary(flush, rounds)).collect()
}

fn summary(flush: WebFlush, rounds: &[WebRound]) -> Option<WebSummary> {
    let good: Vec<&WebRound> = rounds.iter().filter(|round| round.flush == flush && round.failure.is_none()).collect();
    let spread =
        |figure: fn(&WebRound) -> f64| spread(&good.iter().map(|round| figure(round)).collect::<Vec<_>>()).unwrap_or_default();
    (!good.is_empty()).then(|| WebSummary {
        flush,
        plain_p50_us: spread(|round| round.plain.quantile(0.5) as f64),
        plain_p99_us: spread(|round| round.plain.quantile(0.99) as f64),
        produce_p50_us: spread(|round| round.produce.quantile(0.5) as f64),
        produce_p99_us: spread(|round| round.produce.quantile(0.99) as f64),
        plain_per_second: spread(|round| per_second(round.plain.count(), round)),
        produce_per_second: spread(|round| per_second(round.produce.count(), round)),
        thread_cpu_cores: spread(|round| round.thread_cpu_us as f64 / round.elapsed_us.max(1) as f64),
        cpu_cores: spread(|round| round.cpu_us as f64 / round.elapsed_us.max(1) as f64),
        heartbeat_p50_us: spread(|round| round.heartbeat.quantile(0.5) as f64),
        heartbeat_p99_us: spread(|round| round.heartbeat.quantile(0.99) as f64),
        ticks_per_flush_ms: spread(|round| round.ticks_in_flush as f64 * 1e3 / round.flush_us.max(1) as f64),
        rounds: good.len() as u32,
        records: good.iter().map(|round| round.records).sum(),
    })
}

fn per_second(count: u64, round: &WebRound) -> f64 {
    count as f64 * 1e6 / round.elapsed_us.max(1) as f64
}

/// What a user should know of the results, in sentences.
pub fn advice(comparison: &WebComparison) -> Vec<String> {
    let of = |flush| comparison.results.iter().find(|result| result.flush == flush);
    let (blocking, cooperative, wakeup) = (of(WebFlush::Blocking), of(WebFlush::Cooperative), of(WebFlush::Wakeup));
    let mut sentences = Vec::new();
    // One round is no fact.
    if comparison.conditions.rounds > 1 {
        sentences.extend(blocking.zip(cooperative).map(|(blocking, cooperative)| freed(blocking, cooperative)));
        if cooperative.is_none() {
            sentences.extend(blocking.zip(wakeup).map(|(blocking, wakeup)| freed(blocking, wakeup)));
        }
        sentences.extend(cooperative.zip(wakeup).map(|(cooperative, wakeup)| woken(cooperative, wakeup)));
    }
    if comparison.conditions.shared_producer && cooperative.is_some() {
        sentences.push(
            "the producer was shared: the cooperative flush waits until its queue is empty, so each request waits for the records \
             of the others too; without --shared-producer each connection has its own"
                .to_owned(),
        );
    }
    sentences.extend(busy(&comparison.rounds));
    sentences
}

/// What a flush that lets the thread go does for other requests.
fn freed(blocking: &WebSummary, better: &WebSummary) -> String {
    let ratio = |slow: Spread, fast: Spread| show_ratio(slow.median, fast.median);
    let name = match better.flush {
        WebFlush::Blocking => "a blocking flush",
        WebFlush::Cooperative => "a cooperative flush",
        WebFlush::Wakeup => "a wake-up by the report",
    };
    let (slow, fast) = (blocking.plain_p50_us.median, better.plain_p50_us.median);
    if slow < DELAYED * fast {
        return format!(
            "at this round trip a blocking flush hardly delays requests that need no record: {} ms (p50), with {name} {} ms; it answers {} \
             produce requests a second, {name} {}",
            show_ms(slow),
            show_ms(fast),
            blocking.produce_per_second.median.round(),
            better.produce_per_second.median.round(),
        );
    }
    format!(
        "with a blocking flush a request that needs no record waits {} ms (p50), because the call stops the server's only thread; \
         with {name} {} ms: {} times less ({} times at p99), and {} produce requests a second",
        show_ms(slow),
        show_ms(fast),
        ratio(blocking.plain_p50_us, better.plain_p50_us),
        ratio(blocking.plain_p99_us, better.plain_p99_us),
        more_or_fewer(better.produce_per_second.median, blocking.produce_per_second.median),
    )
}

/// How a rate compares with another, in words: "0.4 times as many" is hard to read.
fn more_or_fewer(rate: f64, than: f64) -> String {
    if rate < than {
        format!("fewer ({} instead of {})", rate.round(), than.round())
    } else {
        format!("{} times as many", show_ratio(rate, than))
    }
}

/// What waiting for the own report adds to that.
fn woken(cooperative: &WebSummary, wakeup: &WebSummary) -> String {
    let per_request = |result: &WebSummary| result.thread_cpu_cores.median * 1e6 / result.produce_per_second.median.max(1e-9);
    format!(
        "woken by its own report a produce request takes {} ms (p50) instead of {} ms in the loop, at {:.0} instead of {:.0} \
         microseconds of the thread's CPU for each (plain requests included)",
        show_ms(wakeup.produce_p50_us.median),
        show_ms(cooperative.produce_p50_us.median),
        per_request(wakeup),
        per_request(cooperative),
    )
}

/// Says so when the measuring process was itself at its limit.
fn busy(rounds: &[WebRound]) -> Option<String> {
    let cores = |round: &&WebRound| round.load_cpu_us as f64 / round.elapsed_us.max(1) as f64;
    let busiest = rounds.iter().filter(|round| round.failure.is_none()).max_by(|a, b| cores(a).total_cmp(&cores(b)))?;
    (cores(&busiest) >= BUSY).then(|| {
        format!(
            "the process that asks used {:.2} cores with {}: the server may be faster than these figures; ask with fewer --clients \
             or --others",
            cores(&busiest),
            busiest.flush.name()
        )
    })
}

fn show_ms(micros: f64) -> String {
    let ms = micros / 1e3;
    if ms < 9.95 { format!("{ms:.2}") } else { format!("{ms:.1}") }
}

fn show_ratio(more: f64, less: f64) -> String {
    let ratio = more / less.max(1e-9);
    if ratio < 9.95 { format!("{ratio:.1}") } else { format!("{ratio:.0}") }
}

#[cfg(test)]
mod tests {
    use crate::figures::Environment;
    use crate::web::figures::WebConditions;
    use migration::Histogram;

    use super::*;

    fn histogram(micros: u64, count: usize) -> Histogram {
        let mut histogram = Histogram::default();
        (0..count).for_each(|_| histogram.record(micros));
        histogram
    }

    fn round(flush: WebFlush, number: u32, plain_us: u64, produce: usize) -> WebRound {
        WebRound {
            flush,
            round: number,
            elapsed_us: 2_000_000,
            plain: histogram(plain_us, 100),
            produce: histogram(10_000, produce),
            records: produce as u64 + 8,
            thread_cpu_us: 500_000,
            cpu_us: 1_000_000,
            load_cpu_us: 100_000,
            heartbeat: histogram(50, 10),
            ticks_in_flush: 1_000,
            flush_us: 1_000_000,
            failure: None,
        }
    }

    fn comparison(rounds: Vec<WebRound>) -> WebComparison {
        WebComparison {
            conditions: WebConditions {
                rtt_us: Some(10_000),
                brokers: "embedded".to_owned(),
                topic: "orders".to_owned(),
                clients: 8,
                others: 2,
                pause_us: 1_000,
                seconds: 2.0,
                rounds: 3,
                shared_producer: false,
                source: Vec::new(),
                properties: Vec::new(),
            },
            environment: Environment::default(),
            results: summarise(&rounds),
            rounds,
            advice: Vec::new(),
            interrupted: false,
        }
    }

    #[test]
    fn figures_are_medians_over_the_rounds_that_have_one() {
        let mut rounds: Vec<WebRound> =
            [100, 900, 200].into_iter().zip(1..).map(|(produce, n)| round(WebFlush::Blocking, n, 80_000, produce)).collect();
        rounds.push(WebRound { failure: Some("no".to_owned()), ..round(WebFlush::Blocking, 4, 1, 1) });
        rounds.push(WebRound { failure: Some("no".to_owned()), ..round(WebFlush::Wakeup, 4, 1, 1) });
        let results = summarise(&rounds);
        assert_eq!(results.len(), 1, "a flush without a figure has no line");
        let result = results[0];
        assert_eq!(result.produce_per_second, Spread { median: 100.0, least: 50.0, most: 450.0 });
        assert_eq!((result.rounds, result.records), (3, 1_224));
        assert_eq!((result.thread_cpu_cores.median, result.cpu_cores.median), (0.25, 0.5));
        assert_eq!(result.ticks_per_flush_ms.median, 1.0);
    }

    #[test]
    fn the_advice_has_the_figures() {
        let rounds = vec![
            round(WebFlush::Blocking, 1, 80_000, 200),
            round(WebFlush::Cooperative, 1, 500, 1_000),
            round(WebFlush::Wakeup, 1, 400, 1_200),
        ];
        let advice = advice(&comparison(rounds));
        assert_eq!(advice.len(), 2, "{advice:?}");
        assert!(advice[0].contains("cooperative") && advice[0].contains(" 5.0 times as many produce requests"), "{advice:?}");
        assert!(advice[1].contains("417 instead of 500"), "{advice:?}");
        let slower = vec![round(WebFlush::Blocking, 1, 80_000, 2_000), round(WebFlush::Cooperative, 1, 500, 1_000)];
        let advice = super::advice(&comparison(slower));
        assert!(advice[0].contains("fewer (500 instead of 1000) produce requests"), "{advice:?}");
    }

    #[test]
    fn a_delay_that_is_none_is_not_called_one() {
        let rounds = vec![round(WebFlush::Blocking, 1, 500, 4_000), round(WebFlush::Cooperative, 1, 400, 1_000)];
        let advice = advice(&comparison(rounds));
        assert!(advice[0].contains("hardly delays") && advice[0].contains("answers 2000 produce"), "{advice:?}");
    }

    #[test]
    fn a_busy_load_and_a_shared_producer_are_said() {
        let mut comparison = comparison(vec![round(WebFlush::Cooperative, 1, 500, 1_000)]);
        assert_eq!(advice(&comparison), Vec::<String>::new());
        comparison.conditions.shared_producer = true;
        comparison.rounds[0].load_cpu_us = 1_960_000;
        let advice = advice(&comparison);
        assert_eq!(advice.len(), 2, "{advice:?}");
        assert!(advice[0].contains("--shared-producer") && advice[1].contains("0.98 cores"), "{advice:?}");
    }
}
