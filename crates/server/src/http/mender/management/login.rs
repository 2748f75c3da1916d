//! `POST /api/management/v1/useradm/auth/login`

use crate::{
    app::Error,
    http::{AppState, extract::shown, failure::Failure},
};
use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};

/// Whoever shows an API token as password gets it back, to be shown with the rest. The name beside it is not looked at.
pub(super) async fn login(
    State(shared): AppState,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let token = password(&headers).ok_or(Error::Unauthenticated)?;
    shared.app.authenticate(&token).await?;
    let media_type = HeaderValue::from_static("application/jwt");
    Ok(([(header::CONTENT_TYPE, media_type)], token).into_response())
}

/// The password of RFC 7617.
fn password(headers: &HeaderMap) -> Option<String> {
    let pair = String::from_utf8(STANDARD.decode(shown(headers, "basic")).ok()?).ok()?;
    let (_, password) = pair.split_once(':')?;
    Some(password.to_owned())
}
