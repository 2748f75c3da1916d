//! Connections of an HTTP/1.1 listener: accepted, bounded, served, ended. What is served is the caller's.
//!
//! Guarantees: connections, header time and the bytes held of one connection have bounds ([`Bounds`]); a client that sends its header
//! or takes its answer too slowly is cut; stopping lets running requests end, for a while.
//! Does not: bound bodies, or how long an answer takes to begin.

mod slow;

pub use slow::Impatient;

use core::{
    convert::Infallible,
    error::Error,
    future::Future,
    net::SocketAddr,
    pin::pin,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};
use http_body::Body;
use hyper::{
    Request, Response, body::Incoming, http::Extensions, server::conn::http1, service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{io, sync::Arc};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
};

/// Most bytes that hyper holds of one connection; beyond them it answers 431 by itself.
const BUFFER_MAX: usize = 64 * 1024;

/// The bounds of a listener.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Connections at once; further ones wait in the operating system's queue.
    pub connections: usize,
    /// From the first byte of a connection or the end of an answer to the end of the next header: slow and idle clients. Also for
    /// what comes before the first byte ([`Open`]).
    pub header_time: Duration,
    /// A client that takes no byte of its answer for this long is cut.
    pub write_time: Duration,
    /// For running requests to end when stopping.
    pub grace: Duration,
}

/// What a listener counts.
#[derive(Debug, Default)]
pub struct Counts {
    connections: AtomicU64,
    cut: AtomicU64,
}

impl Counts {
    /// Connections that are open.
    pub fn connections(&self) -> u64 {
        self.connections.load(Relaxed)
    }

    /// Connections that were cut because the client sent or took nothing.
    pub fn cut(&self) -> u64 {
        self.cut.load(Relaxed)
    }
}

/// What a request meets.
pub trait Answers: Clone + Send + Sync + 'static {
    /// The body of its answers.
    type Body: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static;

    /// The answer to a request from this address.
    fn answer(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> impl Future<Output = Response<Self::Body>> + Send;
}

/// What happens on a connection before its first request.
pub trait Open: Clone + Send + Sync + 'static {
    /// What HTTP is spoken over.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Makes that stream of a connection.
    fn open(
        &self,
        stream: Impatient<TcpStream>,
    ) -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// What each request on the connection brings along for who answers it.
    fn along(_: &Self::Stream) -> Extensions {
        Extensions::new()
    }
}

/// HTTP right on the connection.
#[derive(Clone, Copy, Debug)]
pub struct Plain;

impl Open for Plain {
    type Stream = Impatient<TcpStream>;

    async fn open(&self, stream: Impatient<TcpStream>) -> io::Result<Self::Stream> {
        Ok(stream)
    }
}

/// Serves until `stopping` turns true; then lets running requests end, for at most [`Bounds::grace`]. Returns how many connections had
/// to be broken off.
pub async fn serve(
    listener: TcpListener,
    open: impl Open,
    answers: impl Answers,
    bounds: Bounds,
    counts: Arc<Counts>,
    mut stopping: watch::Receiver<bool>,
) -> usize {
    let slots = Arc::new(Semaphore::new(bounds.connections));
    let mut tasks = JoinSet::new();
    loop {
        while tasks.try_join_next().is_some() {}
        let accepted = tokio::select! {
            biased;
            () = stopped(&mut stopping) => break,
            accepted = accept(&listener, &slots) => accepted,
        };
        match accepted {
            Ok((stream, peer, slot)) => {
                let (open, answers) = (open.clone(), answers.clone());
                let (counts, stopping) = (Arc::clone(&counts), stopping.clone());
                tasks.spawn(async move {
                    counts.connections.fetch_add(1, Relaxed);
                    let result = connection(stream, peer, &open, &answers, &bounds, stopping).await;
                    counts.connections.fetch_sub(1, Relaxed);
                    drop(slot);
                    if let Err(error) = result {
                        counts.cut.fetch_add(u64::from(timed_out(&*error)), Relaxed);
                        tracing::debug!(%error, "connection ended");
                    }
                });
            }
            Err(error) => {
                // Out of file descriptors, most likely: the kernel offers no event for "there are some again".
                tracing::warn!(%error, "cannot accept connections");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    let ended = tokio::time::timeout(bounds.grace, async {
        while tasks.join_next().await.is_some() {}
    });
    if ended.await.is_err() {
        tracing::warn!(
            connections = tasks.len(),
            "stopping: broke off connections that did not end"
        );
    }
    tasks.len()
}

/// The next connection, once there is room for it.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots)
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return Ok((stream, peer, slot)),
            // The peer gave up before we came: nothing is wrong here.
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
                ) => {}
            Err(e) => return Err(e),
        }
    }
}

async fn connection<O: Open>(
    stream: TcpStream,
    peer: SocketAddr,
    open: &O,
    answers: &impl Answers,
    bounds: &Bounds,
    mut stopping: watch::Receiver<bool>,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    // Answers are whole when they are sent; waiting to fill a segment would only delay them. If it fails, they are late.
    let _ = stream.set_nodelay(true);
    let opened = open.open(Impatient::new(stream, bounds.write_time));
    let stream = tokio::select! {
        opened = tokio::time::timeout(bounds.header_time, opened) => {
            opened.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??
        }
        // Nobody has asked anything on it yet.
        () = stopped(&mut stopping) => return Ok(()),
    };
    let along = &O::along(&stream);
    let service = service_fn(|mut request: Request<Incoming>| async move {
        request.extensions_mut().extend(along.clone());
        Ok::<_, Infallible>(answers.answer(request, peer).await)
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(bounds.header_time)
            .max_buf_size(BUFFER_MAX)
            .serve_connection(TokioIo::new(stream), service)
    );
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = stopped(&mut stopping) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    Ok(result?)
}

/// Whether a connection ended because the client sent or took nothing.
fn timed_out(error: &(dyn Error + 'static)) -> bool {
    let by_clock = |error: &(dyn Error + 'static)| {
        let io = error.downcast_ref::<io::Error>();
        io.is_some_and(|cause| cause.kind() == io::ErrorKind::TimedOut)
    };
    let hyper = error.downcast_ref::<hyper::Error>();
    hyper.is_some_and(hyper::Error::is_timeout)
        || by_clock(error)
        || error.source().is_some_and(by_clock)
}

/// Waits until the server stops; also when the one who would say so is gone.
pub async fn stopped(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|&stopping| stopping).await;
}
