//! `/account`

use super::{
    cookie, page, see,
    visitor::{Looks, Nothing, Sends},
};
use crate::{
    http::{
        AppState,
        answer::Answer,
        extract::{Parameters, Viewer},
    },
    views::account::{Account, SessionRow},
};
use axum::{extract::State, http::header};

pub(super) async fn show(State(shared): AppState, looks: Looks<Viewer>) -> Answer {
    let f = looks.frame;
    let sessions = shared.app.sessions(&looks.session.caller).await?;
    let sessions = sessions.iter().map(|session| SessionRow {
        short: session.id.chars().take(12).collect(),
        this: session.id == looks.session.id,
        since: f.age(session.created_ms),
        until: f.clock(session.expires_ms),
        end: format!("/account/sessions/{}/end", session.id),
    });
    page(&Account {
        sessions: sessions.collect(),
        f,
    })
}

/// Ends one session; one's own is signing out.
pub(super) async fn end(
    State(shared): AppState,
    Parameters(session): Parameters<String>,
    sent: Sends<Viewer, Nothing>,
) -> Answer {
    shared.app.end_session(&sent.by, &session).await?;
    if session == sent.session.id {
        return see("/sign-in?out=true");
    }
    see("/account")
}

/// Ends all of them, this one, too.
pub(super) async fn end_all(State(shared): AppState, sent: Sends<Viewer, Nothing>) -> Answer {
    shared.app.end_sessions(&sent.by).await?;
    let mut response = see("/sign-in?out=true")?;
    let name = cookie::session(shared.transport);
    let gone = cookie::set(shared.transport, name, "", 0)?;
    response.headers_mut().append(header::SET_COOKIE, gone);
    Ok(response)
}
