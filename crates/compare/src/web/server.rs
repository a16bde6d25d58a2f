//! The HTTP server: everything of ours on one thread. It serves the loopback interface only, until it is told to stop.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::unix::pipe;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::task::{LocalSet, spawn_local};

use super::meter::heartbeat;
use super::produce::ProduceHandler;
use super::route;

/// Serves on a free port, which `ready` is told, until `control` is closed. What goes wrong in a request is that
/// request's answer.
pub fn serve(handler: ProduceHandler, control: OwnedFd, ready: impl FnOnce(SocketAddr) -> io::Result<()>) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let control = pipe::Receiver::from_owned_fd(control)?;
        let handler = Rc::new(handler);
        handler.start_waking()?;
        spawn_local(heartbeat(Rc::clone(&handler.meter)));
        ready(listener.local_addr()?)?;
        spawn_local(accept(listener, handler));
        closed(&control).await
    })
}

/// Returns when the other end is closed; whatever comes before is discarded.
async fn closed(pipe: &pipe::Receiver) -> io::Result<()> {
    loop {
        pipe.readable().await?;
        match pipe.try_read(&mut [0; 64]) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

async fn accept(listener: TcpListener, handler: Rc<ProduceHandler>) {
    loop {
        // Without a connection no client is answered, and the one that asks notices; there is nothing else to tell.
        if let Ok((stream, _)) = listener.accept().await {
            spawn_local(answer_all(stream, Rc::clone(&handler)));
        }
    }
}

/// Answers the requests of one connection, one after the other, until its other end closes it.
async fn answer_all(stream: TcpStream, handler: Rc<ProduceHandler>) {
    // Without it small answers would wait for the other end's acknowledgement.
    drop(stream.set_nodelay(true));
    let service = service_fn(|request: Request<Incoming>| {
        let handler = Rc::clone(&handler);
        async move { Ok::<_, Infallible>(answer(&handler, &request).await) }
    });
    drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
}

async fn answer(handler: &ProduceHandler, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    match (request.method(), request.uri().path()) {
        (&Method::POST, route::PRODUCE) => match handler.produce().await {
            Ok(()) => response(StatusCode::OK, "delivered\n"),
            Err(failure) => response(StatusCode::SERVICE_UNAVAILABLE, format!("{failure}\n")),
        },
        (&Method::GET, route::PLAIN) => response(StatusCode::OK, "here\n"),
        (&Method::POST, route::BEGIN) => {
            handler.meter.begin();
            response(StatusCode::OK, "")
        }
        (&Method::POST, route::END) => match postcard::to_stdvec(&handler.meter.end()) {
            Ok(figures) => response(StatusCode::OK, figures),
            Err(error) => response(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        },
        (_, route::PRODUCE | route::PLAIN | route::BEGIN | route::END) => response(StatusCode::METHOD_NOT_ALLOWED, ""),
        _ => response(StatusCode::NOT_FOUND, ""),
    }
}

fn response(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
}
