//! The API behind a listener.

use super::app::Api;
use axum::{body::Body, extract::Request, response::Response};
use hyper::body::Incoming;
use kusabi_api::{
    Ledger,
    serve::{Answers, Bounds, Plain},
};
use std::{net::SocketAddr, sync::Arc};
use tokio::net::TcpListener;

impl<L: Ledger + ?Sized + 'static> Answers for Api<L> {
    type Body = Body;

    async fn answer(&self, request: Request<Incoming>, _: SocketAddr) -> Response {
        self.call(request.map(Body::new)).await
    }
}

/// Serves until `stopping` (the one that the API was made with) turns true; then lets running requests end, for at most
/// [`Limits::grace`](super::Limits::grace). Returns how many connections had to be broken off.
pub async fn serve<L: Ledger + ?Sized + 'static>(listener: TcpListener, api: Api<L>) -> usize {
    let limits = api.app.limits;
    let bounds = Bounds {
        connections: limits.connections,
        header_time: limits.header_time,
        write_time: limits.write_time,
        grace: limits.grace,
    };
    let counts = Arc::clone(&api.app.metrics.listener);
    let stopping = api.app.stopping.clone();
    kusabi_api::serve::serve(listener, Plain, api, bounds, counts, stopping).await
}
