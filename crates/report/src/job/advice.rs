//! What limits a job and what would make it faster, in a sentence from its own figures.

mod waiting;

use migration::job::{Delivery, FlushPolicy};
use migration::report::JobReport;
use migration::{Order, Phase, Phases};

use self::waiting::{LimitingWait, all_partitions_taken};

/// A sentence, or nothing when there is nothing to say.
pub fn advice(report: &JobReport) -> Option<String> {
    if ended_without_brokers(report) {
        return None;
    }
    let phases = without_outages(report);
    let total = phases.total();
    let sent = report.here.filter(|here| here.acknowledged > 0 && total > 0)?.acknowledged;
    let share = |phase: Phase| phases.get(phase) as f64 * 100.0 / total as f64;
    let flushes = report.work.flush.count();
    let each_record = report.rules().map_or(flushes >= sent, |rules| rules.flush == FlushPolicy::Record);
    let (top, percent) = Phase::ALL
        .into_iter()
        .filter(|phase| *phase != Phase::Start)
        .map(|phase| (phase, share(phase)))
        .max_by(|a, b| a.1.total_cmp(&b.1))?;
    let percent = percent.round();
    let by_key = report.order == Some(Order::Key);
    // Nothing is asked for that the run has.
    let auto = report.rules().is_some_and(|rules| rules.auto);
    let more = |text: &'static str| if auto { "" } else { text };
    Some(match top {
        // One wait and one commit at the end of each attempt is the least there can be, whatever else they wait for.
        Phase::Flush if flushes <= report.attempts.len() as u64 => {
            return LimitingWait::new(report, phases, top, percent).quota();
        }
        Phase::Commit if flushes <= report.attempts.len() as u64 => return None,
        Phase::Flush if each_record => format!(
            "{percent} % of the workers' time is flush, one for each record (p50 {:.1} ms): flush = \"chunk\" waits once in a chunk, keeps \
             the same guarantee and removes nearly all of it{}",
            report.work.flush.quantile(0.5) as f64 / 1000.0,
            if all_partitions_taken(report) { "" } else { more("; more workers divide it") }
        ),
        Phase::Flush | Phase::Wait => return LimitingWait::new(report, phases, top, percent).advice(),
        Phase::Outside => format!(
            "{percent} % of the workers' time is waits for something else than Kafka{}",
            more(": more workers overlap them")
        ),
        Phase::Throttled => format!("{percent} % of the workers' time is the rate limit that [limits] asks for"),
        Phase::Commit if report.delivery() == Delivery::ExactlyOnce => format!(
            "{percent} % of the workers' time is commits, which are Kafka's transactions: larger chunks (workers.chunk) commit \
             less often; how long each takes is up to the brokers of __transaction_state and of the progress topic"
        ),
        Phase::Commit => format!(
            "{percent} % of the workers' time is commits, for which the state directory's disk syncs: larger chunks \
             (workers.chunk) commit less often, and a faster disk takes less time for each"
        ),
        // How many files there are, and of which kind, is not known here.
        Phase::Read if by_key && report.counts.others > 0 => format!(
            "{percent} % of the workers' time is reading and decompressing, which each does with all of the source to keep the \
             order of keys: with shards.by_key = false each would read its own shards only (a compressed file is one), and \
             the order would be kept within a shard only"
        ),
        Phase::Read if by_key => format!(
            "{percent} % of the workers' time is reading and decompressing, and all of it was read once: with order by key \
             more workers would each read all of it, and share only what is done with the records"
        ),
        Phase::Read => format!(
            "{percent} % of the workers' time is reading and decompressing{}",
            more(": more workers, if disk and processors allow")
        ),
        Phase::Map | Phase::Enqueue if by_key => format!(
            "{percent} % of the workers' time is our own processing ({}): with order by key each worker finds the keys of all \
             rows, and there is at most a worker for each partition, so that more workers help little",
            top.name()
        ),
        Phase::Map | Phase::Enqueue => {
            format!(
                "{percent} % of the workers' time is our own processing ({}){}",
                top.name(),
                more(": more workers, if there are idle processors")
            )
        }
        Phase::Start | Phase::Other => return None,
    })
}

/// Whether the last run waited for its brokers when it ended: nothing else limited it, and its reason says what to do.
fn ended_without_brokers(report: &JobReport) -> bool {
    let last = report.runs.last().map(|run| run.number);
    report.outages.last().is_some_and(|outage| outage.ended_ms.is_none() && Some(outage.run) == last)
}

/// The workers' time without what they waited for brokers that did not answer: that is no wait which another setting
/// makes shorter.
fn without_outages(report: &JobReport) -> Phases {
    let mut phases = report.work.phases;
    let mut away = away_ns(report);
    for phase in [Phase::Flush, Phase::Wait] {
        let waited = &mut phases.0[phase as usize];
        let taken = away.min(*waited);
        (*waited, away) = (*waited - taken, away - taken);
    }
    phases
}

/// For how long attempts ran while no broker answered, all together. While some did, workers went on that had records
/// for them.
fn away_ns(report: &JobReport) -> u64 {
    let mut away_ms = 0;
    for outage in &report.outages {
        let Some(began_ms) = outage.all_ms else { continue };
        // One that the run ended in is none of the next run's.
        for attempt in report.attempts.iter().filter(|attempt| attempt.run == outage.run) {
            let ended_ms = attempt.started_ms + (attempt.elapsed_us / 1000) as i64;
            let until = outage.ended_ms.unwrap_or(i64::MAX).min(ended_ms);
            away_ms += until.saturating_sub(began_ms.max(attempt.started_ms)).max(0) as u64;
        }
    }
    away_ms.saturating_mul(1_000_000)
}

#[cfg(test)]
mod tests {
    use migration::report::OutageReport;

    use super::super::example;
    use super::*;

    #[test]
    fn a_wait_for_brokers_that_are_away_is_no_reason_for_another_setting() {
        let mut report = example::report();
        report.work.phases = Phases::default();
        report.work.phases.spend(Phase::Flush, 5_000_000_000);
        report.work.phases.spend(Phase::Map, 1_000_000_000);
        assert!(advice(&report).expect("flush limits it").contains("chunk ends"));
        let attempt = &report.attempts[0];
        let (run, began_ms) = (attempt.run, attempt.started_ms);
        let outage = OutageReport { run, began_ms, all_ms: Some(began_ms), ended_ms: Some(began_ms + 4_500) };
        let mut told = |outage: OutageReport| {
            report.outages = vec![outage];
            advice(&report).expect("something limits it")
        };
        assert!(told(outage).contains("our own processing"), "then our own work does");
        let leader = OutageReport { all_ms: None, ..outage };
        assert!(told(leader).contains("chunk ends"), "the other workers went on");
        let last = report.runs.last().expect("runs").number;
        report.outages = vec![OutageReport { run: last, ended_ms: None, ..outage }];
        assert_eq!(advice(&report), None, "what it ended with says what to do");
    }

    #[test]
    fn a_commit_is_the_disks_or_kafkas() {
        let told = |report: JobReport| {
            let mut report = report;
            report.work.phases = Phases::default();
            report.work.phases.spend(Phase::Commit, 1_000);
            advice(&report).expect("commits limit it")
        };
        let once = told(example::shared(0));
        assert!(once.contains("Kafka's transactions") && once.contains("__transaction_state"), "{once}");
        assert!(!once.contains("disk"), "{once}");
        let least = told(example::report());
        assert!(least.contains("commit less often, and a faster disk takes less time for each"), "{least}");
    }

    #[test]
    fn an_outage_counts_in_its_own_run_and_ends_with_it() {
        let mut report = example::report();
        let [first, last] = [0, report.attempts.len() - 1].map(|at| report.attempts[at].clone());
        assert!(first.run < last.run && first.started_ms < last.started_ms);
        report.attempts = vec![first.clone(), last];
        let away_ms = 1_000;
        let began_ms = first.started_ms + (first.elapsed_us / 1000) as i64 - away_ms;
        report.outages = vec![OutageReport { run: first.run, began_ms, all_ms: Some(began_ms), ended_ms: None }];
        assert_eq!(away_ns(&report), away_ms as u64 * 1_000_000);
    }

    #[test]
    fn nothing_is_asked_for_that_the_run_has() {
        let told = |auto| {
            let mut report = example::waiting(Phase::Read, 80, 4);
            report.runs.last_mut().and_then(|run| run.rules.as_mut()).expect("rules").auto = auto;
            advice(&report).expect("reading limits it")
        };
        assert!(told(false).ends_with(": more workers, if disk and processors allow"));
        assert!(told(true).ends_with("reading and decompressing"));
    }

    #[test]
    fn more_workers_are_no_advice_where_each_reads_all() {
        let told = |order, phase, others| {
            let mut report = JobReport { order: Some(order), ..example::report() };
            report.counts.others = others;
            report.work.phases = Phases::default();
            report.work.phases.spend(phase, 1_000);
            advice(&report).expect("this phase limits it")
        };
        assert!(told(Order::Shard, Phase::Read, 0).contains("more workers, if disk"));
        let shared = told(Order::Key, Phase::Read, 9);
        assert!(shared.contains("shards.by_key = false") && !shared.contains("more workers"), "{shared}");
        let alone = told(Order::Key, Phase::Read, 0);
        assert!(!alone.contains("by_key = false"), "nothing was read twice: {alone}");
        assert!(alone.contains("more workers would each read all of it"), "{alone}");
        for phase in [Phase::Map, Phase::Enqueue] {
            assert!(told(Order::Shard, phase, 0).contains("more workers, if there are idle processors"));
            assert!(told(Order::Key, phase, 9).contains("finds the keys of all rows"));
            assert!(told(Order::Key, phase, 9).ends_with("more workers help little"));
        }
    }
}
