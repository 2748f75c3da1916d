//! `POST /preferences`: the switches for language and colours.

use super::{cookie, inside, see, visitor::Says};
use crate::{
    http::{AppState, answer::Answer},
    views::{Language, Theme},
};
use axum::{extract::State, http::header};
use kusabi_api::{Kind, Problem};
use serde::Deserialize;

/// The form's fields: one of the two, and where it was sent from.
#[derive(Debug, Deserialize)]
pub(super) struct Fields {
    language: Option<String>,
    theme: Option<String>,
    #[serde(default)]
    back: String,
}

/// Keeps a choice in a cookie.
pub(super) async fn set(State(shared): AppState, said: Says<Fields>) -> Answer {
    let Fields {
        language,
        theme,
        back,
    } = said.form;
    let mut response = see(inside(&back, "/devices"))?;
    let none = |what: &str| Problem::new(Kind::BadParameter, format!("there is no such {what}"));
    let mut choices = Vec::new();
    if let Some(code) = language {
        Language::from_code(&code).ok_or_else(|| none("language"))?;
        choices.push((cookie::LANGUAGE, code));
    }
    if let Some(name) = theme {
        Theme::from_name(&name).ok_or_else(|| none("theme"))?;
        choices.push((cookie::THEME, name));
    }
    for (name, value) in choices {
        let cookie = cookie::keep(shared.transport, name, &value)?;
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(response)
}
