//! What a comparison is asked to measure and what came out: plain values between the modules that measure and those
//! that draw.
//!
//! Everything here is serialised: a round's figures are written to disk as soon as they are known, and the result is
//! embedded in the HTML page as it is in `-o json`.

use migration::job::FlushPolicy;
use migration::{Exit, Histogram, Phases};
use serde::{Deserialize, Serialize};

use crate::conclusion::Conclusion;

/// Who steps the shard workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Variant {
    /// One process, one thread, blocking flush.
    Single,
    /// N green threads on one OS thread, blocking flush inside the task.
    GreenBlocking,
    /// N green threads: `poll(0)`, then yield for 1 ms, until the producer's queue is empty.
    GreenCooperative,
    /// N green threads: each is woken when its own record is delivered.
    GreenWakeup,
    /// N OS threads.
    Threads,
    /// N forked worker processes: the supervisor.
    Processes,
    /// One thread and the binding's own flush.
    StockFlush,
}

impl Variant {
    /// All, in the order of tables and charts.
    pub const ALL: [Variant; 7] = [
        Variant::Single,
        Variant::GreenBlocking,
        Variant::GreenCooperative,
        Variant::GreenWakeup,
        Variant::Threads,
        Variant::Processes,
        Variant::StockFlush,
    ];

    /// Its name on the command line, in tables and in the JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Variant::Single => "single",
            Variant::GreenBlocking => "green-blocking",
            Variant::GreenCooperative => "green-cooperative",
            Variant::GreenWakeup => "green-wakeup",
            Variant::Threads => "threads",
            Variant::Processes => "processes",
            Variant::StockFlush => "stock-flush",
        }
    }

    /// Whether it runs with one worker only.
    pub const fn is_alone(self) -> bool {
        matches!(self, Variant::Single | Variant::StockFlush)
    }

    /// Whether its workers can share one producer.
    pub const fn can_share(self) -> bool {
        matches!(self, Variant::GreenBlocking | Variant::GreenCooperative | Variant::GreenWakeup)
    }
}

/// One row of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Setting {
    /// Who steps.
    pub variant: Variant,
    /// How many workers.
    pub workers: u32,
    /// When they wait for delivery reports.
    pub flush: FlushPolicy,
    /// One producer for all workers instead of one each.
    pub shared_producer: bool,
}

/// What is the same for all settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Conditions {
    /// Round-trip time of the embedded broker; `None` on real brokers.
    pub rtt_us: Option<u64>,
    /// Brokers, as they were named; `embedded` for the embedded one.
    pub brokers: String,
    /// The topic that was written to, and its partitions.
    pub topic: String,
    /// Its partitions.
    pub partitions: u32,
    /// Replicas of each partition, all of which a delivery report waits for; `None` on the embedded broker.
    pub replication: Option<u32>,
    /// How a key chooses its partition, as configured.
    pub partitioner: String,
    /// Whether each key's records keep the source's order, each worker having a set of partitions.
    #[serde(default)]
    pub by_key: bool,
    /// The most records of a chunk.
    pub chunk_records: u64,
    /// And the most bytes.
    pub chunk_bytes: u64,
    /// And the most time that it lasts.
    pub chunk_interval_ms: u64,
    /// Bytes that each worker has in flight at most.
    pub in_flight_bytes: u64,
    /// Other waits for each record.
    pub wait_us: u64,
    /// CPU for each record beside the pipeline's own.
    pub cpu_us: u64,
    /// When each setting stops.
    pub seconds: f64,
    /// Or after this number of records.
    pub records: Option<u64>,
    /// How often each setting ran.
    pub rounds: u32,
    /// The producer's properties that matter for speed, `linger.ms` among them, for each flush policy that was run.
    pub properties: Vec<(FlushPolicy, Vec<(String, String)>)>,
    /// What some settings' producers have instead of these.
    pub properties_instead: Vec<(Setting, Vec<(String, String)>)>,
    /// The source's paths as configured, and whether it was repeated because it is short.
    pub source: Vec<String>,
    /// Whether the source was read more than once in a run.
    pub source_repeated: bool,
}

/// Where it ran.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// This program's version.
    pub version: String,
    /// The Kafka client's version.
    pub client: String,
    /// Kernel name and release.
    pub system: String,
    /// Processors that this process may use.
    pub processors: u32,
    /// Their model.
    pub processor: String,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// When it began, milliseconds since the Unix epoch.
    pub started_unix_ms: u64,
    /// What was typed, without secrets.
    pub command: String,
}

/// One run of one setting in a process of its own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Round {
    /// Index into [`Comparison::settings`].
    pub setting: u32,
    /// From 1.
    pub round: u32,
    /// Records acknowledged while the clock ran.
    pub records: u64,
    /// How long the clock ran: from the first worker's start to the last one's end.
    pub elapsed_us: u64,
    /// Wall time of all workers by phase while the clock ran.
    pub phases: Phases,
    /// CPU time of the process and its workers while the clock ran, the client's threads included.
    pub cpu_us: u64,
    /// CPU time of the one thread that steps (of all workers' threads, where there are several).
    pub thread_cpu_us: u64,
    /// From hand-over to delivery report, by record.
    pub latency: Histogram,
    /// How late each tick of a 1 ms heartbeat on the workers' thread was.
    pub heartbeat: Histogram,
    /// Heartbeat ticks that came while a flush was under way.
    pub ticks_in_flush: u64,
    /// How long flushes were under way in which such a tick could have come.
    pub flush_us: u64,
    /// Peak resident memory of the process and its workers together.
    pub peak_memory_bytes: u64,
    /// Of each worker: the median time to deliver a warm-up record.
    pub rtt_us: Vec<u64>,
    /// A worker had no more records before the clock stopped.
    pub ran_out: bool,
    /// Records that workers set aside; a run of the job would count them as dead letters.
    pub set_aside: u64,
    /// CPU in use over time: milliseconds since the clock began, and cores.
    pub cpu_over_time: Vec<(u32, f32)>,
    /// The same for each worker process, where there are several.
    pub cpu_by_worker: Vec<Vec<(u32, f32)>>,
    /// Why there is no figure.
    pub failure: Option<String>,
}

/// A figure over the rounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The middle one.
    pub median: f64,
    /// The least.
    pub least: f64,
    /// The greatest.
    pub most: f64,
}

/// A setting over its rounds: a line of the table. Each figure is the median over the rounds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Index into [`Comparison::settings`].
    pub setting: u32,
    /// Rounds that gave a figure.
    pub rounds: u32,
    /// Records of the median round.
    pub records: u64,
    /// How long the median round's clock ran.
    pub elapsed_us: u64,
    /// Records a second.
    pub records_per_second: Spread,
    /// How many times as fast as the reference, by the same round; `None` without a reference.
    pub relative_speed: Option<Spread>,
    /// Standard error of the relative speed's mean over the rounds.
    pub relative_speed_error: Option<f64>,
    /// Part of the workers' time in flush, 0 to 1.
    pub flush_share: Spread,
    /// Processors in use.
    pub cpu_cores: Spread,
    /// Processors in use by the stepping thread alone.
    pub thread_cpu_cores: Spread,
    /// CPU for each record, microseconds.
    pub cpu_us_per_record: Spread,
    /// All rounds' latencies.
    pub latency: Histogram,
    /// All rounds' heartbeat delays.
    pub heartbeat: Histogram,
    /// Heartbeat ticks for each millisecond of flush.
    pub ticks_per_flush_ms: f64,
    /// Peak memory.
    pub peak_memory_bytes: u64,
    /// What the model says, in records a second; `None` where it says nothing.
    pub predicted_records_per_second: Option<f64>,
    /// What the model says about `flush_share`; `None` where it says nothing.
    pub predicted_flush_share: Option<f64>,
    /// Rounds far from the others, and a round-trip time that moved: for people.
    pub notes: Vec<String>,
}

/// What the model of a record is made of, microseconds: waits `d`, CPU of the stepping thread `c`, flush `f`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// `d`: the other waits as they were asked for.
    pub wait_us: f64,
    /// `c`: what the reference's thread computes for a record, the CPU that was asked for included.
    pub cpu_us: f64,
    /// `f`: a record of one worker that neither waits nor computes for it, measured apart where waits or CPU were asked
    /// for.
    pub flush_us: f64,
    /// The runs that `f` was measured in, if it was measured apart; their `setting` is the reference's.
    pub rounds: Vec<Round>,
}

/// A whole comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// What is the same for all.
    pub conditions: Conditions,
    /// What the predictions stand on; `None` without a reference that flushes each record.
    #[serde(default)]
    pub model: Option<Model>,
    /// Where it ran.
    pub environment: Environment,
    /// The rows, in order.
    pub settings: Vec<Setting>,
    /// The row that the others are measured against.
    pub reference: Option<u32>,
    /// Every run, in the order in which they ran.
    pub rounds: Vec<Round>,
    /// A line for each row that has a figure.
    pub results: Vec<Summary>,
    /// What a run of the job should be told; `None`: the rounds don't say.
    #[serde(default)]
    pub conclusion: Option<Conclusion>,
    /// What a user should do, in sentences.
    pub advice: Vec<String>,
    /// Whether it was interrupted before all rounds had run.
    pub interrupted: bool,
}

impl Comparison {
    /// How the command ends that made it.
    pub fn exit(&self) -> Exit {
        if self.interrupted {
            return Exit::Stopped;
        }
        // A row without any figure: the comparison is not what was asked for.
        let has_figures = |index: usize| self.results.iter().any(|result| result.setting as usize == index);
        if (0..self.settings.len()).all(has_figures) { Exit::Done } else { Exit::Failed }
    }
}
