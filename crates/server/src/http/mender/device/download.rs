//! `GET /api/devices/v1/download/{secret}`

use super::AppState;
use crate::{
    app::{App, mender::Fetched},
    http::{failure::Failure, firmware::contents},
    sendfile::Outlet,
};
use axum::{
    Extension,
    body::{Body, BodyDataStream, Bytes},
    extract::{Path, State},
    http::HeaderMap,
    response::Response,
};
use futures_util::{Stream, StreamExt as _, stream};
use std::{io, sync::Arc, time::Duration};
use tokio::time::Instant;

/// How long an open download goes on until it is looked whether it still may. It is looked before a piece is given out, so that one
/// whose client takes nothing costs nothing.
const LOOK_TIME: Duration = Duration::from_secs(5);

/// An artifact, or the range of it that is asked for. Stock clients send no token here: the address is the secret. They need the length
/// and the bytes as they are, and go on after a cut with a range.
pub(super) async fn show(
    State(app): AppState,
    Path(secret): Path<String>,
    outlet: Option<Extension<Outlet>>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let fetched = app.mender_download(&secret).await?;
    let response = contents::send(&app, fetched.whole, &headers, outlet, "no-store").await?;
    Ok(response.map(|body| Body::from_stream(watched(app, fetched, body.into_data_stream()))))
}

/// The pieces of a download, for as long as it may go on; then the connection is cut.
fn watched(
    app: Arc<App>,
    fetched: Fetched,
    pieces: BodyDataStream,
) -> impl Stream<Item = Result<Bytes, axum::Error>> {
    let begun = (app, fetched, pieces, Instant::now());
    stream::try_unfold(begun, async |(app, fetched, mut pieces, mut looked)| {
        let Some(piece) = pieces.next().await.transpose()? else {
            return Ok(None);
        };
        if looked.elapsed() >= LOOK_TIME {
            match app.mender_may_fetch(&fetched).await {
                Ok(true) => {}
                Ok(false) => {
                    let over = "its order has ended, or its device is not served any more";
                    return Err(axum::Error::new(io::Error::other(over)));
                }
                // What a database that does not answer has to say is waited for, not guessed.
                Err(why) => tracing::warn!(%why, "a download goes on without a look"),
            }
            looked = Instant::now();
        }
        Ok(Some((piece, (app, fetched, pieces, looked))))
    })
}
