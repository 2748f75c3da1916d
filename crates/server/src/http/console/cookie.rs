//! Cookies: the session's, and those of the two switches.

use super::Transport;
use axum::http::{HeaderMap, HeaderValue, header};
use kusabi_api::{Kind, Problem};

/// A year, in seconds: how long a switch is remembered.
const YEAR_S: u64 = 365 * 24 * 60 * 60;

/// The cookie that holds the choice of language.
pub(super) const LANGUAGE: &str = "kusabi_language";

/// The cookie that holds the choice of colours.
pub(super) const THEME: &str = "kusabi_theme";

/// The session's cookie. Under TLS its name binds it to this very host (RFC 6265bis, section 4.1.3.2).
pub(super) const fn session(transport: Transport) -> &'static str {
    match transport {
        Transport::Plain => "kusabi_session",
        Transport::Tls => "__Host-kusabi_session",
    }
}

/// The value of a cookie.
pub(super) fn find<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(found, _)| *found == name)
        .map(|(_, value)| value)
}

/// A cookie for this many seconds, sent back to this site only and shown to no script; 0 takes it away. `value` is of our making.
pub(super) fn set(
    transport: Transport,
    name: &str,
    value: &str,
    seconds: u64,
) -> Result<HeaderValue, Problem> {
    let secure = match transport {
        Transport::Plain => "",
        Transport::Tls => "; Secure",
    };
    let line =
        format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
    HeaderValue::from_str(&line).map_err(|_| Problem::new(Kind::Internal, "no cookie"))
}

/// A switch, kept for a year.
pub(super) fn keep(transport: Transport, name: &str, value: &str) -> Result<HeaderValue, Problem> {
    set(transport, name, value, YEAR_S)
}
