//! Connections: accepted, bounded, served, ended.

use super::{
    app::{Api, stopped},
    slow::Impatient,
};
use axum::{body::Body, extract::Request};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use kusabi_api::Ledger;
use std::{convert::Infallible, io, pin::pin, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
};

/// Most bytes that hyper holds of one connection; beyond them it answers 431 by itself.
const BUFFER_MAX: usize = 64 * 1024;

/// Serves until `stopping` (the one that the API was made with) turns true; then lets running requests end, for at most
/// [`Limits::grace`](super::Limits::grace). Returns how many connections had to be broken off.
pub async fn serve<L: Ledger + ?Sized + 'static>(listener: TcpListener, api: Api<L>) -> usize {
    let limits = api.app.limits;
    let mut stopping = api.app.stopping.clone();
    let slots = Arc::new(Semaphore::new(limits.connections));
    let mut tasks = JoinSet::new();
    loop {
        while tasks.try_join_next().is_some() {}
        let accepted = tokio::select! {
            biased;
            () = stopped(&mut stopping) => break,
            accepted = accept(&listener, &slots) => accepted,
        };
        match accepted {
            Ok((stream, slot)) => {
                tasks.spawn(connection(stream, slot, api.clone()));
            }
            Err(error) => {
                // Out of file descriptors, most likely: the kernel offers no event for "there are some again".
                tracing::warn!(%error, "cannot accept connections");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    let ended = tokio::time::timeout(limits.grace, async {
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
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots)
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return Ok((stream, slot)),
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

async fn connection<L: Ledger + ?Sized + 'static>(
    stream: TcpStream,
    _slot: OwnedSemaphorePermit,
    api: Api<L>,
) {
    let limits = api.app.limits;
    let metrics = &api.app.metrics;
    let mut stopping: watch::Receiver<bool> = api.app.stopping.clone();
    // Answers are whole when they are sent; waiting to fill a segment would only delay them. If it fails, they are late.
    let _ = stream.set_nodelay(true);
    metrics.connections.add(1);
    let service = service_fn(|request: Request<Incoming>| {
        let api = &api;
        async move { Ok::<_, Infallible>(api.call(request.map(Body::new)).await) }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_time)
            .max_buf_size(BUFFER_MAX)
            .serve_connection(
                TokioIo::new(Impatient::new(stream, limits.write_time)),
                service
            )
    );
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = stopped(&mut stopping) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    metrics.connections.sub(1);
    if let Err(error) = result {
        let timed_out = std::error::Error::source(&error)
            .and_then(|cause| cause.downcast_ref::<io::Error>())
            .is_some_and(|cause| cause.kind() == io::ErrorKind::TimedOut);
        metrics.cut.add(u64::from(timed_out || error.is_timeout()));
        tracing::debug!(%error, "connection ended");
    }
}
