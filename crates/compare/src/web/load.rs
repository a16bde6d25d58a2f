//! The load: connections that ask the server, each one request after the other, and how long each answer took.
//!
//! A closed loop on purpose: every connection is a visitor who waits for the answer before doing anything else, as the
//! connections of the story did. So a stall of the server counts once for each connection, not once for each request
//! that more visitors would have made meanwhile: the figures of a server that stalls are rather too good than too bad.
//! A request that began before the end of the clock counts however long it takes.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::HOST;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use migration::Histogram;
use process::own_cpu;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::{sleep, timeout};

use super::meter::ServerFigures;
use super::route;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who asks, and how long.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// Connections that ask for the produce route, without rest.
    pub clients: u32,
    /// Connections that ask for the plain route.
    pub others: u32,
    /// How long each of those rests between an answer and its next request.
    pub pause: Duration,
    /// How long they begin new requests.
    pub duration: Duration,
}

/// What came out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LoadFigures {
    /// From the first request to the last answer.
    pub elapsed_us: u64,
    /// From request to answer, plain route.
    pub plain: Histogram,
    /// The same of the produce route.
    pub produce: Histogram,
    /// Answers of the produce route, those before the clock started included.
    pub delivered: u64,
    /// CPU of this process while the clock ran.
    pub cpu_us: u64,
    /// What the server says of itself.
    pub server: ServerFigures,
}

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A connection or request failed.
    #[error("asking the server for {route}: {source}")]
    Io {
        /// What was asked for.
        route: &'static str,
        /// The system's or HTTP library's words.
        source: io::Error,
    },
    /// The server said no.
    #[error("the server answered {route} with {status}: {words}")]
    Refused {
        /// What was asked for.
        route: &'static str,
        /// The HTTP status.
        status: u16,
        /// Why, in the server's words.
        words: String,
    },
    /// No answer.
    #[error("the server did not answer {route} within {PATIENCE:?}")]
    Silent {
        /// What was asked for.
        route: &'static str,
    },
    /// A task of this process ended badly, or the server's figures can't be read.
    #[error("{0}")]
    Other(String),
}

/// Asks until the time is over. One thread.
pub fn ask(address: SocketAddr, load: &Load) -> Result<LoadFigures, LoadError> {
    let runtime = Builder::new_current_thread().enable_all().build().map_err(|error| LoadError::Other(error.to_string()))?;
    LocalSet::new().block_on(&runtime, ask_all(address, load))
}

async fn ask_all(address: SocketAddr, load: &Load) -> Result<LoadFigures, LoadError> {
    let mut manager = Visitor::arrive(address, route::BEGIN).await?;
    let clients = arrive_all(address, route::PRODUCE, load.clients).await?;
    let others = arrive_all(address, route::PLAIN, load.others).await?;
    manager.ask(route::BEGIN).await?;
    let cpu_before = own_cpu().total_us();
    let start = Instant::now();
    let end = start + load.duration;
    let visits = |visitors: Vec<Visitor>, pause| -> Vec<JoinHandle<_>> {
        visitors.into_iter().map(|visitor| spawn_local(visitor.stay(end, pause))).collect()
    };
    let (clients, others) = (visits(clients, Duration::ZERO), visits(others, load.pause));
    let (produce, plain) = (together(clients).await?, together(others).await?);
    let elapsed = start.elapsed();
    let cpu_us = own_cpu().total_us() - cpu_before;
    let server = manager.ask(route::END).await?;
    let server = postcard::from_bytes(&server).map_err(|error| LoadError::Other(format!("the server's figures: {error}")))?;
    Ok(LoadFigures {
        elapsed_us: u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
        delivered: produce.count() + u64::from(load.clients),
        plain,
        produce,
        cpu_us,
        server,
    })
}

/// Connects and lets each connection ask once, before the clock starts.
async fn arrive_all(address: SocketAddr, route: &'static str, count: u32) -> Result<Vec<Visitor>, LoadError> {
    let mut visitors = Vec::new();
    for _ in 0..count {
        let mut visitor = Visitor::arrive(address, route).await?;
        visitor.ask(route).await?;
        visitors.push(visitor);
    }
    Ok(visitors)
}

/// Waits for all and adds up what they saw; the first error counts.
async fn together(visits: Vec<JoinHandle<Result<Histogram, LoadError>>>) -> Result<Histogram, LoadError> {
    let mut all = Histogram::default();
    for visit in visits {
        all.merge(&visit.await.map_err(|error| LoadError::Other(error.to_string()))??);
    }
    Ok(all)
}

/// One connection.
struct Visitor {
    route: &'static str,
    connection: SendRequest<Empty<Bytes>>,
}

impl Visitor {
    async fn arrive(address: SocketAddr, route: &'static str) -> Result<Visitor, LoadError> {
        let failed = |source| LoadError::Io { route, source };
        let stream = TcpStream::connect(address).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(io::Error::other(error)))?;
        // What goes wrong there is what the next request says.
        spawn_local(async { drop(connection.await) });
        Ok(Visitor { route, connection: sender })
    }

    /// Asks one request after the other until `end`; a rest that would last longer is not begun.
    async fn stay(mut self, end: Instant, pause: Duration) -> Result<Histogram, LoadError> {
        let mut latencies = Histogram::default();
        loop {
            let asked = Instant::now();
            self.ask(self.route).await?;
            latencies.record(u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX));
            if Instant::now() + pause >= end {
                return Ok(latencies);
            }
            if !pause.is_zero() {
                sleep(pause).await;
            }
        }
    }

    async fn ask(&mut self, route: &'static str) -> Result<Bytes, LoadError> {
        timeout(PATIENCE, self.exchange(route)).await.unwrap_or(Err(LoadError::Silent { route }))
    }

    async fn exchange(&mut self, route: &'static str) -> Result<Bytes, LoadError> {
        let failed = |error: hyper::Error| LoadError::Io { route, source: io::Error::other(error) };
        let method = if route == route::PLAIN { Method::GET } else { Method::POST };
        let request = Request::builder().method(method).uri(route).header(HOST, "localhost").body(Empty::new());
        let request = request.map_err(|error| LoadError::Other(error.to_string()))?;
        self.connection.ready().await.map_err(failed)?;
        let response = self.connection.send_request(request).await.map_err(failed)?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(failed)?.to_bytes();
        if status == StatusCode::OK {
            return Ok(body);
        }
        let words = String::from_utf8_lossy(&body).trim_end().to_owned();
        Err(LoadError::Refused { route, status: status.as_u16(), words })
    }
}
