//! What the web scene is asked to measure and what came out: plain values, serialised like those of [`crate::figures`].

use migration::{Exit, Histogram};
use serde::{Deserialize, Serialize};

use crate::figures::{Environment, Spread};

/// How the web server's produce route waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WebFlush {
    /// Blocking flush inside the request.
    Blocking,
    /// `poll(0)` and yield.
    Cooperative,
    /// Woken by the report.
    Wakeup,
}

impl WebFlush {
    /// All, in order.
    pub const ALL: [WebFlush; 3] = [WebFlush::Blocking, WebFlush::Cooperative, WebFlush::Wakeup];

    /// Each of these once, in the order of tables.
    pub fn in_order(asked: &[WebFlush]) -> Vec<WebFlush> {
        WebFlush::ALL.into_iter().filter(|flush| asked.contains(flush)).collect()
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            WebFlush::Blocking => "blocking",
            WebFlush::Cooperative => "cooperative",
            WebFlush::Wakeup => "wakeup",
        }
    }
}

/// One run of the web scene.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WebRound {
    /// How it flushed.
    pub flush: WebFlush,
    /// From 1.
    pub round: u32,
    /// How long the clients asked.
    pub elapsed_us: u64,
    /// Of the requests that need no record.
    pub plain: Histogram,
    /// Of the requests that wait for their record's delivery report.
    pub produce: Histogram,
    /// Records whose delivery report came in this run, those before the clock started included.
    pub records: u64,
    /// CPU of the server's one thread.
    pub thread_cpu_us: u64,
    /// CPU of the server, the client's threads included.
    pub cpu_us: u64,
    /// CPU of the process that asked: near the elapsed time it was the bottleneck itself.
    pub load_cpu_us: u64,
    /// How late each tick of a 1 ms heartbeat on the server's thread was.
    pub heartbeat: Histogram,
    /// Ticks that came while at least one request waited for its report.
    pub ticks_in_flush: u64,
    /// How long that was.
    pub flush_us: u64,
    /// Why there is no figure.
    pub failure: Option<String>,
}

impl WebRound {
    /// For people. `rounds`: of how many.
    pub fn tell(&self, rounds: u32) -> String {
        let head = format!("round {} of {rounds}, {}", self.round, self.flush.name());
        match &self.failure {
            Some(failure) => format!("{head}: failed: {failure}"),
            None => format!(
                "{head}: plain p50 {:.2} ms, produce p50 {:.2} ms",
                self.plain.quantile(0.5) as f64 / 1e3,
                self.produce.quantile(0.5) as f64 / 1e3
            ),
        }
    }
}

/// What is the same for all runs of the web scene.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WebConditions {
    /// Round-trip time of the embedded broker; `None` on real brokers.
    pub rtt_us: Option<u64>,
    /// Brokers.
    pub brokers: String,
    /// The topic that was written to.
    pub topic: String,
    /// Connections that ask for the produce route, one request after the other.
    pub clients: u32,
    /// Connections that ask for the plain route.
    pub others: u32,
    /// How long each of those rests between an answer and its next request.
    pub pause_us: u64,
    /// How long.
    pub seconds: f64,
    /// How often each flush ran.
    pub rounds: u32,
    /// One producer for all requests instead of one for each connection.
    pub shared_producer: bool,
    /// The source's paths as configured; its first records were sent in turn.
    pub source: Vec<String>,
    /// The producers' properties that matter for speed.
    pub properties: Vec<(String, String)>,
}

/// A flush over its rounds. Latencies in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct WebSummary {
    /// Which.
    pub flush: WebFlush,
    /// Medians over the rounds.
    pub plain_p50_us: Spread,
    /// The 99th of a hundred.
    pub plain_p99_us: Spread,
    /// Of the produce route.
    pub produce_p50_us: Spread,
    /// The 99th of a hundred.
    pub produce_p99_us: Spread,
    /// Plain requests a second.
    pub plain_per_second: Spread,
    /// Produce requests a second.
    pub produce_per_second: Spread,
    /// Processors in use by the server's thread.
    pub thread_cpu_cores: Spread,
    /// Processors in use by the server, the client's threads included.
    pub cpu_cores: Spread,
    /// Delay of a 1 ms heartbeat on the server's thread.
    pub heartbeat_p50_us: Spread,
    /// The 99th of a hundred.
    pub heartbeat_p99_us: Spread,
    /// Heartbeat ticks for each millisecond in which a request waited for its report.
    pub ticks_per_flush_ms: Spread,
    /// Rounds that gave a figure.
    pub rounds: u32,
    /// Records whose delivery report came, over all rounds.
    pub records: u64,
}

/// The whole web scene.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WebComparison {
    /// What is the same for all.
    pub conditions: WebConditions,
    /// Where it ran.
    pub environment: Environment,
    /// Every run, in order.
    pub rounds: Vec<WebRound>,
    /// A line for each flush.
    pub results: Vec<WebSummary>,
    /// What the figures say, in sentences.
    pub advice: Vec<String>,
    /// Whether it was interrupted.
    pub interrupted: bool,
}

impl WebComparison {
    /// How the command ends that made it of these flushes.
    pub fn exit(&self, flushes: &[WebFlush]) -> Exit {
        if self.interrupted {
            return Exit::Stopped;
        }
        // A flush without any figure: the comparison is not what was asked for.
        let has_figures = |flush: &WebFlush| self.results.iter().any(|result| result.flush == *flush);
        if flushes.iter().all(has_figures) { Exit::Done } else { Exit::Failed }
    }
}
