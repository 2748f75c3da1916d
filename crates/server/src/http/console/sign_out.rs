//! `POST /sign-out`

use super::{
    cookie, see,
    visitor::{Nothing, Sends},
};
use crate::http::{AppState, answer::Answer, extract::Viewer};
use axum::{extract::State, http::header};

/// Ends the session, in the browser and here.
pub(super) async fn end(State(shared): AppState, sent: Sends<Viewer, Nothing>) -> Answer {
    shared.app.end_session(&sent.by, &sent.session.id).await?;
    let mut response = see("/sign-in?out=true")?;
    let name = cookie::session(shared.transport);
    let gone = cookie::set(shared.transport, name, "", 0)?;
    response.headers_mut().append(header::SET_COOKIE, gone);
    Ok(response)
}
