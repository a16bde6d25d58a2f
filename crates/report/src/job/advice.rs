//! What limits a job and what would make it faster, in a sentence from its own figures.

use migration::report::JobReport;
use migration::units::{show_count, show_size};
use migration::{Order, Phase};

/// A sentence, or nothing when there is nothing to say.
pub fn advice(report: &JobReport) -> Option<String> {
    let phases = &report.work.phases;
    let total = phases.total();
    if total == 0 || report.counts.acknowledged == 0 {
        return None;
    }
    let share = |phase: Phase| phases.get(phase) as f64 * 100.0 / total as f64;
    let flushes = report.work.flush.count();
    let each_record = flushes >= report.counts.acknowledged;
    let (top, percent) = Phase::ALL
        .into_iter()
        .filter(|phase| *phase != Phase::Start)
        .map(|phase| (phase, share(phase)))
        .max_by(|a, b| a.1.total_cmp(&b.1))?;
    let percent = percent.round();
    let by_key = report.order == Some(Order::Key);
    Some(match top {
        // One wait and one commit at the end of each attempt is the least there can be.
        Phase::Flush | Phase::Commit if flushes <= report.attempts.len() as u64 => return None,
        Phase::Flush if each_record => format!(
            "{percent} % of the workers' time is flush, one for each record (p50 {:.1} ms): flush = \"chunk\" waits once in a chunk, keeps \
             the same guarantee and removes nearly all of it; more workers divide it",
            report.work.flush.quantile(0.5) as f64 / 1000.0
        ),
        Phase::Flush => {
            format!("{percent} % of the workers' time is the wait at chunk ends: larger chunks (workers.chunk) wait less often")
        }
        Phase::Wait => format!(
            "{percent} % of the workers' time is waiting for delivery reports: brokers, network or workers.in_flight limit this run, at {} records/s and \
             {}/s; \
             more workers{} help only while the brokers are not busy",
            show_count(report.records_per_second().round() as u64),
            show_size((report.counts.bytes_sent as f64 * 1e6 / report.elapsed_us.max(1) as f64) as u64),
            if by_key { " (at most one for each partition)" } else { "" }
        ),
        Phase::Outside => {
            format!("{percent} % of the workers' time is waits for something else than Kafka: more workers overlap them")
        }
        Phase::Throttled => format!("{percent} % of the workers' time is the rate limit that [limits] asks for"),
        Phase::Commit => format!(
            "{percent} % of the workers' time is commits (the state directory's disk): larger chunks or a faster disk commit less often"
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
        Phase::Read => {
            format!("{percent} % of the workers' time is reading and decompressing: more workers, if disk and processors allow")
        }
        Phase::Map | Phase::Enqueue if by_key => format!(
            "{percent} % of the workers' time is our own processing ({}): with order by key each worker finds the keys of all \
             rows, and there is at most a worker for each partition, so that more workers help little",
            top.name()
        ),
        Phase::Map | Phase::Enqueue => {
            format!(
                "{percent} % of the workers' time is our own processing ({}): more workers, if there are idle processors",
                top.name()
            )
        }
        Phase::Start | Phase::Other => return None,
    })
}

#[cfg(test)]
mod tests {
    use migration::Phases;

    use super::super::example;
    use super::*;

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
