//! `/sign-in`: a token for a session.

use super::{
    cookie, inside, page, page_as, see,
    visitor::{Anyone, Says},
};
use crate::{
    app::Error,
    http::{
        AppState, Shared,
        answer::Answer,
        extract::{Peer, Wanted},
    },
    views::sign_in::SignIn,
};
use axum::{
    extract::State,
    http::{StatusCode, header},
    response::Response,
};
use kusabi_api::Problem;
use serde::Deserialize;

const HOME: &str = "/devices";

/// Why one is here.
#[derive(Debug, Deserialize)]
pub(super) struct Why {
    #[serde(default)]
    next: String,
    #[serde(default)]
    out: bool,
}

/// The form's fields.
#[derive(Deserialize)]
pub(super) struct Fields {
    token: String,
    #[serde(default)]
    next: String,
}

pub(super) async fn show(Anyone(f): Anyone, Wanted(why): Wanted<Why>) -> Answer {
    if f.who.is_some() {
        return see(inside(&why.next, HOME));
    }
    let note = match () {
        () if why.out => Some(f.t.signed_out),
        () if !why.next.is_empty() && why.next != "/" => Some(f.t.sign_in_first),
        () => None,
    };
    page(&SignIn {
        next: inside(&why.next, HOME).to_owned(),
        bad: false,
        note,
        f,
    })
}

pub(super) async fn open(State(shared): AppState, Peer(peer): Peer, said: Says<Fields>) -> Answer {
    let Fields { token, next } = said.form;
    let _turn = shared.sign_ins.turn(peer).await?;
    let next = inside(&next, HOME);
    match shared.app.open_session(token.trim()).await {
        Ok(opened) => {
            let mut response = see(next)?;
            give(&shared, &mut response, &opened)?;
            Ok(response)
        }
        Err(Error::Unauthenticated) => page_as(
            StatusCode::FORBIDDEN,
            &SignIn {
                next: next.to_owned(),
                bad: true,
                note: None,
                f: said.frame,
            },
        ),
        Err(other) => Err(other.into()),
    }
}

/// Gives the browser the session.
pub(super) fn give(
    shared: &Shared,
    response: &mut Response,
    opened: &crate::app::Opened,
) -> Result<(), Problem> {
    let name = cookie::session(shared.transport);
    let cookie = cookie::set(
        shared.transport,
        name,
        &opened.secret,
        opened.lasts_ms / 1000,
    )?;
    response.headers_mut().append(header::SET_COOKIE, cookie);
    Ok(())
}
