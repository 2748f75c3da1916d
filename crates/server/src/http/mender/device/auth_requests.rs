//! `POST /api/devices/v1/authentication/auth_requests`

use super::AppState;
use crate::{
    app::mender::AuthRequest,
    http::{
        extract::{Peer, receive},
        failure::Failure,
    },
};
use axum::{
    extract::{Request, State},
    http::{HeaderValue, header},
    response::{IntoResponse as _, Response},
};

/// A token as text; 401 for who gets none, for whatever reason.
pub(super) async fn ask(State(app): AppState, request: Request) -> Result<Response, Failure> {
    let Peer(source) = Peer::of(request.extensions());
    let signature = request
        .headers()
        .get("x-men-signature")
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    let body = receive(request).await?;
    let asks = AuthRequest {
        body: &body,
        signature: &signature,
        source,
    };
    let token = app.mender_token(asks).await?;
    // What Mender's own server says that it is. No client looks into it.
    let media_type = HeaderValue::from_static("application/jwt");
    Ok(([(header::CONTENT_TYPE, media_type)], token).into_response())
}
