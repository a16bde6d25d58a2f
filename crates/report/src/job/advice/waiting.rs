//! What a job waits for that waits for delivery reports: brokers that are far away, or that have too much to do, or a
//! topic with too few partitions, or the ends of its own chunks.
//!
//! Responsible for: telling these apart by the job's figures, and the number to try. A number that is not known is not
//! shown, and nothing is asked for that the run has.

use std::time::Duration;

use migration::job::{ChunkLimits, Delivery, LONGEST_TRANSACTION};
use migration::report::{JobReport, Outcome, RunRules};
use migration::units::{show_config_duration, show_count, show_duration, show_size, show_things};
use migration::{Order, Phase, Phases};

/// Brokers whose quickest answer takes this time are far away.
const FAR: Duration = Duration::from_millis(10);
/// A quota is what limits a job if brokers held its records back for this part of its waits.
const HELD_BACK: f64 = 0.2;
/// A partition that gets this part of the records, and twice as many as its fair part, is a hot one.
const HOT: f64 = 0.5;
/// With fewer records no partition is judged by its part.
const JUDGED: u64 = 10_000;
/// With this many partitions or fewer, a worker has hardly anything on its way while it waits for an answer.
const FEW: u64 = 2;
/// Chunks are to be so large that this part of the time is their ends.
const CHUNK_ENDS: f64 = 0.1;
/// What is not more than this number of times as much is not worth trying.
const WORTH: f64 = 1.5;
/// The most workers to try, as a multiple of those there are: with more, brokers or network may be the limit.
const MOST_TIMES: u64 = 8;

/// A job that waits for delivery reports.
pub(super) struct LimitingWait<'a> {
    report: &'a JobReport,
    phases: Phases,
    /// Where most of it waits.
    top: Phase,
    /// The part of the workers' time that this is, in per cent.
    percent: f64,
    rules: Option<RunRules>,
    round_trip: Option<Duration>,
    /// How long an answer takes on average.
    answer: Option<Duration>,
    partitions: Option<u64>,
}

impl<'a> LimitingWait<'a> {
    pub(super) fn new(report: &'a JobReport, phases: Phases, top: Phase, percent: f64) -> Self {
        LimitingWait {
            report,
            phases,
            top,
            percent,
            rules: report.rules(),
            round_trip: report.round_trip(),
            answer: report.work.answers.mean_us().map(Duration::from_micros),
            partitions: partitions(report),
        }
    }

    /// The sentence.
    pub(super) fn advice(&self) -> Option<String> {
        let told = self
            .quota()
            .or_else(|| self.hot_partition())
            .or_else(|| self.full())
            .or_else(|| self.small_chunks())
            .or_else(|| self.few_partitions())
            .or_else(|| self.far());
        told.or_else(|| self.no_more_known())
    }

    /// "71 % of the workers' time is waiting for delivery reports".
    fn share(&self) -> String {
        let what = match self.top {
            Phase::Flush => "the wait for delivery reports at chunk ends",
            _ => "waiting for delivery reports",
        };
        format!("{} % of the workers' time is {what}", self.percent)
    }

    /// The same, if a quota of the brokers is what it waits for.
    pub(super) fn quota(&self) -> Option<String> {
        let held_back = self.report.work.held_back;
        let waited_us = (self.phases.get(Phase::Wait) + self.phases.get(Phase::Flush)) / 1000;
        if held_back.count == 0 || (held_back.total_us as f64) < HELD_BACK * waited_us as f64 {
            return None;
        }
        let [total, longest] = [held_back.total_us, held_back.longest_us].map(|us| show_duration(Duration::from_micros(us)));
        Some(format!(
            "{}, and brokers held records back for {total} in all, up to {longest} at a time: a quota of the cluster limits this \
             run{}; a larger one makes it faster (producer_byte_rate of its user or client id), more workers do not where it is \
             the user's",
            self.share(),
            self.pace().map_or_else(String::new, |pace| format!(" at {pace}")),
        ))
    }

    fn hot_partition(&self) -> Option<String> {
        let by_partition = &self.report.work.partitions;
        let (partitions, sent) = (self.partitions?, by_partition.iter().sum::<u64>());
        let (hot, records) = (0u32..).zip(by_partition).max_by_key(|(_, records)| **records)?;
        let part = *records as f64 / sent.max(1) as f64;
        if self.report.keyed != Some(true) || sent < JUDGED || part < HOT || part * (partitions as f64) < 2.0 {
            return None;
        }
        Some(format!(
            "{}, and {:.0} % of the records went to partition {hot} of {partitions}, whose answers they wait for: a key that \
             spreads them over all partitions (record.key) makes it faster, more workers hardly do",
            self.share(),
            part * 100.0,
        ))
    }

    fn full(&self) -> Option<String> {
        let (round_trip, answer) = self.round_trip.zip(self.answer)?;
        // A broker answers a connection's requests one by one, and five of a worker may be there at once: answers that
        // take a few times as long as the quickest are no sign of a busy one.
        if answer < round_trip * 3 + Duration::from_millis(50) {
            return None;
        }
        Some(format!(
            "{}: an answer takes {}, of which the way to the brokers and back is {}, so that records queue at the brokers or on \
             the way there; more than the {} would wait in the same queue, and faster brokers (disks, replication, network) or \
             compression make it shorter",
            self.share(),
            show_duration(answer),
            show_duration(round_trip),
            show_things(self.report.workers.count, "worker"),
        ))
    }

    fn small_chunks(&self) -> Option<String> {
        if self.top != Phase::Flush {
            return None;
        }
        let flushes = self.report.work.flush.count();
        let Some(rules) = self.rules else {
            return Some(format!("{}: larger chunks (workers.chunk) wait less often", self.share()));
        };
        let (settings, left) = larger_chunk(self.report, &self.phases, &rules)?;
        Some(format!(
            "{}, one for each {} (p50 {}): {} makes that about {:.0} %",
            self.share(),
            show_things((self.report.here?.read / flushes).max(1), "record"),
            show_duration(Duration::from_micros(self.report.work.flush.quantile(0.5))),
            settings.join(" with "),
            left * 100.0,
        ))
    }

    fn few_partitions(&self) -> Option<String> {
        let partitions = self.partitions?;
        let has = show_things(partitions, "partition");
        if all_partitions_taken(self.report) {
            let all = if partitions == 1 { "and it has a worker" } else { "and each has a worker" };
            return Some(format!(
                "{}{}: order by key gives a partition to one worker, the topic has {has}, {all}; a topic with more partitions \
                 takes more workers, and so does shards.by_key = false, which keeps the order within a shard only",
                self.share(),
                self.distance().map_or_else(String::new, |distance| format!(" from brokers {distance}")),
            ));
        }
        let distance = self.distance().filter(|_| partitions <= FEW)?;
        let workers = self.more_workers().map_or_else(String::new, |workers| format!(", and so do more workers: {workers}"));
        Some(format!(
            "{} from brokers {distance}: a worker has no more than one group of records of a partition on its way, and the topic \
             has {has}; a topic with more partitions takes more at a time{workers}",
            self.share(),
        ))
    }

    fn far(&self) -> Option<String> {
        let distance = self.distance()?;
        let slower = self.answer.filter(|answer| self.round_trip.is_some_and(|round_trip| *answer > round_trip));
        if slower.is_some_and(|answer| self.round_trip.is_some_and(|round_trip| answer > round_trip * 2)) {
            return None;
        }
        let answers = slower.map_or_else(String::new, |answer| format!(", which take {} to answer", show_duration(answer)));
        let more = match self.more_workers() {
            Some(workers) => format!("more workers wait at the same time: {workers}"),
            None => self.found().unwrap_or_else(|| format!("{} wait at the same time", self.workers())),
        };
        Some(format!("{} from brokers {distance}{answers}: {more}", self.share()))
    }

    fn no_more_known(&self) -> Option<String> {
        let more = match self.found() {
            Some(found) => format!("; {found}"),
            None if all_partitions_taken(self.report) => String::new(),
            None => "; more workers help only while the brokers are not busy".to_owned(),
        };
        Some(format!("{}: brokers, network or workers.in_flight limit this run, at {}{more}", self.share(), self.pace()?))
    }

    /// "80.2 ms away", if that is far.
    fn distance(&self) -> Option<String> {
        self.round_trip.filter(|trip| *trip >= FAR).map(|trip| format!("{} away", show_duration(trip)))
    }

    fn pace(&self) -> Option<String> {
        let (records, bytes) = (self.report.records_per_second()?, self.report.per_second(|here| here.bytes_sent)?);
        Some(format!("{} records/s and {}/s", show_count(records.round() as u64), show_size(bytes as u64)))
    }

    fn workers(&self) -> String {
        show_things(self.report.workers.count, "worker")
    }

    /// What `auto` does or did, if the run has that.
    fn found(&self) -> Option<String> {
        self.rules.filter(|rules| rules.auto)?;
        Some(match self.report.outcome {
            Outcome::Running => "workers.count = \"auto\" tries more workers while that pays".to_owned(),
            _ => format!("workers.count = \"auto\" had come to {} when the run ended", self.workers()),
        })
    }

    /// What to do for more workers, with the number to try; `None`: there are as many as there can be, or the run finds
    /// the number itself.
    fn more_workers(&self) -> Option<String> {
        let (rules, now) = (self.rules?, self.report.workers.count);
        if rules.auto {
            let most = u64::from(rules.most_workers);
            return (rules.bounded_by_config && now >= most && self.room(u64::MAX) > now)
                .then(|| format!("workers.max = {}", self.room(2 * most)));
        }
        let room = self.room(rules.most_workers.into());
        let workers = workers_that_pay(self.report, &self.phases, &rules).min(MOST_TIMES * now).min(room);
        if (workers as f64) < WORTH * now as f64 {
            return None;
        }
        let found = "workers.count = \"auto\" finds the number";
        Some(match self.report.outcome {
            Outcome::Running => format!("`shardlift scale {workers}`, or {found}"),
            _ => format!("workers.count = {workers}, or {found}"),
        })
    }

    /// No more workers than this have something to do, of `most`.
    fn room(&self, most: u64) -> u64 {
        let by_partitions = self.partitions.filter(|_| self.report.order == Some(Order::Key));
        // With exactly-once no shard is divided for others.
        let by_shards = Some(self.report.shards.total).filter(|_| self.report.delivery() == Delivery::ExactlyOnce);
        by_partitions.into_iter().chain(by_shards).fold(most, u64::min)
    }
}

/// How many partitions the topic had when the job began; `None`: that is not known.
fn partitions(report: &JobReport) -> Option<u64> {
    Some(u64::from(report.binding.partitions())).filter(|partitions| *partitions > 0)
}

/// Whether order by key leaves nothing to do for another worker.
pub(super) fn all_partitions_taken(report: &JobReport) -> bool {
    report.order == Some(Order::Key) && partitions(report).is_some_and(|partitions| report.workers.count >= partitions)
}

/// With how many workers the processors have as much to do as they can, by what workers took so far.
fn workers_that_pay(report: &JobReport, phases: &Phases, rules: &RunRules) -> u64 {
    let waits = [Phase::Wait, Phase::Flush, Phase::Outside, Phase::Throttled].map(|phase| phases.get(phase));
    let total = phases.total().max(1);
    let used_us = match report.cpu_workers_us {
        // Those that run have told nothing yet.
        0 => total.saturating_sub(waits.iter().sum()) / 1000,
        known => known,
    };
    let each = used_us as f64 * 1000.0 / total as f64;
    (f64::from(rules.processors) / each.max(0.001)) as u64
}

/// The settings under which [`CHUNK_ENDS`] of the time would be the ends of chunks, or as little as there can be, and
/// how much that is; `None`: chunks can't be larger, or not by much.
fn larger_chunk(report: &JobReport, phases: &Phases, rules: &RunRules) -> Option<(Vec<String>, f64)> {
    let (flushes, total) = (report.work.flush.count(), phases.total());
    let share = phases.get(Phase::Flush) as f64 / total.max(1) as f64;
    let wanted = share / (1.0 - share).max(0.001) * (1.0 - CHUNK_ENDS) / CHUNK_ENDS;
    // A chunk is no larger than what is left of its shard when an attempt begins.
    let most = flushes as f64 / report.attempts.len().max(1) as f64;
    let factor = wanted.min(most);
    let here = report.here.filter(|_| flushes > 0 && factor >= WORTH)?;
    let of = |all: f64| all / flushes as f64 * factor;
    let (records, bytes) = (of(here.read as f64), of(here.bytes_read as f64));
    let between = Duration::from_nanos(of(total as f64 * (1.0 - share)) as u64);
    let longest = match report.delivery() {
        Delivery::ExactlyOnce => LONGEST_TRANSACTION / ChunkLimits::TRANSACTION_INTERVALS,
        Delivery::AtLeastOnce => Duration::MAX,
    };
    let (limits, mut settings) = (rules.chunk, Vec::new());
    if (limits.records as f64) < records {
        settings.push(format!("workers.chunk.records = {}", show_count(round_up(records, 1.0)).replace(',', "_")));
    }
    if (limits.bytes as f64) < bytes {
        settings.push(format!("workers.chunk.bytes = \"{}MiB\"", round_up(bytes, MIB) / (1 << 20)));
    }
    if limits.interval < between.min(longest) {
        let rounded = if between < Duration::from_secs(1) { 0.1 } else { 1.0 };
        let interval = Duration::from_millis(round_up(between.as_secs_f64() * 1e3, rounded * 1e3)).min(longest);
        settings.push(format!("workers.chunk.interval = \"{}\"", show_config_duration(interval)));
    }
    (!settings.is_empty()).then_some((settings, share / (share + factor * (1.0 - share))))
}

const MIB: f64 = 1_048_576.0;

/// The next number of no more than two digits and zeros, and a multiple of `unit`.
fn round_up(value: f64, unit: f64) -> u64 {
    // What a sum of fractions is off by is no reason for the next one.
    let units = (value / unit - 1e-6).ceil().max(1.0);
    let step = 10f64.powf((units.log10().floor() - 1.0).max(0.0));
    ((units / step).ceil() * step * unit) as u64
}

#[cfg(test)]
mod tests {
    use migration::report::AnswerTimes;

    use super::super::super::{advice, example};
    use super::*;

    /// A job that waits for four fifths of its time, with two workers; `change` makes it what the case is about.
    fn told(phase: Phase, change: impl FnOnce(&mut JobReport)) -> String {
        let mut report = example::waiting(phase, 80, 2);
        // No chunk is too small, unless that is the case.
        rules(&mut report).chunk.records = 1_000_000;
        change(&mut report);
        advice(&report).expect("its waits limit it")
    }

    fn rules(report: &mut JobReport) -> &mut RunRules {
        report.runs.last_mut().and_then(|run| run.rules.as_mut()).expect("the example has rules")
    }

    /// The quickest answer and the mean one, milliseconds.
    fn answers(report: &mut JobReport, quickest: u64, mean: u64) {
        report.attempts[0].run = 2;
        report.attempts[0].work.quickest_us = Some(quickest * 1000);
        report.work.answers = AnswerTimes { count: 100, total_us: 100 * mean * 1000, longest_us: 2 * mean * 1000 };
    }

    #[test]
    fn far_brokers_are_a_reason_for_more_workers_and_for_how_many() {
        let far = |change: fn(&mut JobReport)| {
            told(Phase::Wait, |report| {
                answers(report, 80, 95);
                change(report);
            })
        };
        let wait = "80 % of the workers' time is waiting for delivery reports from brokers 80.0 ms away, which take 95.0 ms to \
                    answer: ";
        let said = |change| far(change).strip_prefix(wait).map(str::to_owned).unwrap_or_else(|| far(change));
        let more = "more workers wait at the same time: ";
        let auto = ", or workers.count = \"auto\" finds the number";
        assert_eq!(said(|_| {}), format!("{more}workers.count = 10{auto}"), "two processors, a fifth of one for each worker");
        assert_eq!(said(|report| report.outcome = Outcome::Running), format!("{more}`shardlift scale 10`{auto}"));
        assert_eq!(said(|report| rules(report).most_workers = 6), format!("{more}workers.count = 6{auto}"));
        assert_eq!(said(|report| report.order = Some(Order::Key)), format!("{more}workers.count = 8{auto}"), "partitions");
        assert_eq!(said(|report| report.workers.count = 9), "9 workers wait at the same time", "as many as pay");
        let ended = "workers.count = \"auto\" had come to 2 workers when the run ended";
        assert_eq!(said(|report| rules(report).auto = true), ended);
        let most = |report: &mut JobReport| (rules(report).auto, rules(report).most_workers) = (true, 2);
        assert_eq!(said(most), format!("{more}workers.max = 4"));
        assert_eq!(said(|report| report.cpu_workers_us = 1_000_000), format!("{more}workers.count = 16{auto}"), "and no more");
        let unknown = far(|report| report.work.answers = AnswerTimes::default());
        assert!(unknown.contains("80.0 ms away: more workers"), "a figure that is not known is not shown: {unknown}");
    }

    #[test]
    fn full_brokers_and_quotas_are_no_reason_for_more_workers() {
        let full = told(Phase::Wait, |report| answers(report, 2, 180));
        assert!(full.contains("an answer takes 180.0 ms, of which the way to the brokers and back is 2.0 ms"), "{full}");
        assert!(full.contains("more than the 2 workers would wait in the same queue"), "{full}");
        assert!(told(Phase::Flush, |report| answers(report, 2, 180)).contains("an answer takes 180.0 ms"));
        let connection = told(Phase::Wait, |report| answers(report, 2, 12));
        assert!(connection.contains("brokers, network or workers.in_flight"), "its own five requests: {connection}");

        let held_back = |seconds: u64| AnswerTimes { count: 90, total_us: seconds * 1_000_000, longest_us: 990_000 };
        let quota = |seconds| {
            told(Phase::Flush, |report| {
                answers(report, 2, 180);
                report.work.held_back = held_back(seconds);
            })
        };
        let said = quota(80);
        assert!(said.contains("brokers held records back for 1 min 20 s in all, up to 990.0 ms at a time: a quota"), "{said}");
        assert!(said.contains("limits this run at 1,000 records/s and 195.3 KiB/s"), "{said}");
        assert!(!quota(5).contains("quota"), "it is not what it waits for");
        let mut once = example::waiting(Phase::Flush, 80, 2);
        once.attempts = vec![once.attempts[0].clone(); 60];
        assert_eq!(advice(&once), None, "a wait for each attempt is the least there can be");
        once.work.held_back = held_back(80);
        assert!(advice(&once).is_some_and(|said| said.contains("a quota of the cluster")));
    }

    #[test]
    fn too_few_partitions_are_told_with_their_number() {
        let keyed = |change: fn(&mut JobReport)| {
            told(Phase::Wait, |report| {
                answers(report, 80, 95);
                (report.order, report.workers.count) = (Some(Order::Key), 8);
                change(report);
            })
        };
        let taken = keyed(|_| {});
        assert!(
            taken.contains("80.0 ms away: order by key gives a partition to one worker, the topic has 8 partitions, and each")
        );
        assert!(taken.contains("shards.by_key = false"), "{taken}");
        assert!(!keyed(|report| report.workers.count = 4).contains("by_key = false"), "there is room for more workers");
        assert!(keyed(|report| answers(report, 2, 500)).contains("queue at the brokers"), "full ones come first");
        let unknown = keyed(|report| report.binding.end_offsets.clear());
        assert!(!unknown.contains("partition"), "{unknown}");

        let few = |partitions, auto| {
            told(Phase::Wait, |report| {
                answers(report, 80, 95);
                report.binding.end_offsets = vec![0; partitions];
                rules(report).auto = auto;
            })
        };
        assert!(few(2, false).contains("and the topic has 2 partitions; a topic with more partitions takes more at a time"));
        assert!(
            few(2, false).ends_with("and so do more workers: workers.count = 10, or workers.count = \"auto\" finds the number")
        );
        assert!(few(2, true).ends_with("takes more at a time"));
        assert!(!few(3, false).contains("partition"));
    }

    #[test]
    fn a_hot_partition_is_told_where_keys_choose_it() {
        let hot = |keyed, records| {
            told(Phase::Wait, |report| {
                answers(report, 80, 95);
                report.keyed = Some(keyed);
                report.work.partitions = vec![records, 5_000];
            })
        };
        assert!(hot(true, 45_000).contains("90 % of the records went to partition 0 of 8, whose answers they wait for"));
        for other in [hot(false, 45_000), hot(true, 4_900), hot(true, 1_000)] {
            assert!(!other.contains("went to partition"), "{other}");
        }
    }

    #[test]
    fn a_chunk_to_try_follows_from_what_its_ends_take() {
        let chunk = |change: fn(&mut JobReport)| {
            let mut report = example::waiting(Phase::Flush, 80, 2);
            answers(&mut report, 5, 6);
            change(&mut report);
            advice(&report).expect("chunks limit it")
        };
        // A chunk is 2 s of which 400 ms are its own: 36 times as much would make its end a tenth.
        let said = chunk(|_| {});
        assert!(
            said.contains("the wait for delivery reports at chunk ends, one for each 1,000 records (p50 9.1 ms): "),
            "{said}"
        );
        assert!(
            said.ends_with("workers.chunk.records = 36_000 with workers.chunk.interval = \"15s\" makes that about 10 %"),
            "{said}"
        );
        let wide = chunk(|report| rules(report).chunk.interval = Duration::from_secs(60));
        assert!(wide.ends_with(": workers.chunk.records = 36_000 makes that about 10 %"), "{wide}");
        // Each attempt has one at least.
        let short = chunk(|report| report.attempts = vec![report.attempts[0].clone(); 20]);
        assert!(short.contains("workers.chunk.records = 3_000 with") && short.ends_with("about 57 %"), "{short}");
        let has = chunk(|report| {
            rules(report).chunk.records = 1_000_000;
            rules(report).chunk.interval = Duration::from_secs(60);
        });
        assert!(!has.contains("chunk."), "its chunks may be as large: {has}");
        let unknown = chunk(|report| report.runs.iter_mut().for_each(|run| run.rules = None));
        assert!(unknown.ends_with("larger chunks (workers.chunk) wait less often"), "{unknown}");
    }

    #[test]
    fn a_number_to_try_is_a_round_one() {
        let numbers = [0.2, 1.0, 9.1, 10.0, 10.1, 99.0, 101.0, 35_999.9, 36_001.0].map(|value| round_up(value, 1.0));
        assert_eq!(numbers, [1, 1, 10, 10, 11, 99, 110, 36_000, 37_000]);
        assert_eq!((round_up(14_400.0, 1000.0), round_up(MIB * 1.5, MIB)), (15_000, 2 << 20));
    }
}
