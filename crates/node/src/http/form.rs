//! Which form the answer has: `Accept` (RFC 9110, section 12.5.1) and preferences (RFC 7240).

use super::app::text;
use axum::http::{HeaderMap, HeaderValue, header};
use kusabi_api::{Kind, Problem, media};
use std::time::Duration;

/// The form of an answer that can be bytes or JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The format's bytes.
    Binary,
    /// JSON.
    Json,
}

/// The form that the client wants, where `binary` is the media type of the bytes. Bytes, unless JSON ranks higher; without a
/// preference bytes.
pub(super) fn form(headers: &HeaderMap, binary: &str) -> Result<Form, Problem> {
    if !headers.contains_key(header::ACCEPT) {
        return Ok(Form::Binary);
    }
    let (mut bytes, mut json) = (0, 0);
    for value in headers.get_all(header::ACCEPT) {
        for range in value.to_str().unwrap_or_default().split(',') {
            let (name, quality) = media_range(range);
            let weight = |exact: u32| if quality == 0 { 0 } else { quality * 4 + exact };
            if name.eq_ignore_ascii_case(binary) || name.eq_ignore_ascii_case(media::OCTETS) {
                bytes = bytes.max(weight(2));
            } else if name.eq_ignore_ascii_case(media::JSON) {
                json = json.max(weight(2));
            } else if name == "*/*" || name.eq_ignore_ascii_case("application/*") {
                bytes = bytes.max(weight(1));
                json = json.max(weight(0));
            }
        }
    }
    match (bytes, json) {
        (0, 0) => Err(Problem::new(
            Kind::NotAcceptable,
            format!("this page can be had as {binary} and as {}", media::JSON),
        )),
        (bytes, json) if json > bytes => Ok(Form::Json),
        _ => Ok(Form::Binary),
    }
}

/// Name and quality in thousandths; what has no readable quality counts as not wanted.
fn media_range(range: &str) -> (&str, u32) {
    let mut parts = range.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default();
    let quality = parts
        .find_map(|p| p.strip_prefix("q=").or_else(|| p.strip_prefix("Q=")))
        .map_or(1000, |q| match q.parse::<f32>() {
            Ok(q) if (0.0..=1.0).contains(&q) => (q * 1000.0) as u32,
            _ => 0,
        });
    (name, quality)
}

/// How long the client wants to wait: `Prefer: wait=N`, `Prefer: respond-async`. What cannot be read is passed over (RFC 7240, 2).
pub(super) fn wait(headers: &HeaderMap) -> Option<Duration> {
    let mut wait = None;
    let mut async_ = false;
    for value in headers.get_all("prefer") {
        for preference in value.to_str().unwrap_or_default().split([',', ';']) {
            let preference = preference.trim();
            if preference.eq_ignore_ascii_case("respond-async") {
                async_ = true;
            } else if let Some((name, seconds)) = preference.split_once('=')
                && name.trim_end().eq_ignore_ascii_case("wait")
            {
                wait = wait.or_else(|| seconds.trim().trim_matches('"').parse::<u32>().ok());
            }
        }
    }
    wait.map(|s| Duration::from_secs(u64::from(s)))
        .or_else(|| async_.then_some(Duration::ZERO))
}

/// Refuses a body of another media type; parameters are passed over.
pub(super) fn body_is(headers: &HeaderMap, what: &str, media_type: &str) -> Result<(), Problem> {
    let name = text(headers, header::CONTENT_TYPE)
        .and_then(|value| value.split(';').next())
        .map(str::trim);
    if name.is_some_and(|name| name.eq_ignore_ascii_case(media_type)) {
        return Ok(());
    }
    Err(Problem::new(
        Kind::UnsupportedMediaType,
        format!("send {what} with Content-Type: {media_type}"),
    ))
}

/// Whether the client has the answer with this entity tag already.
pub(super) fn known(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let tag = tag.to_str().unwrap_or_default().trim_start_matches("W/");
    headers.get_all(header::IF_NONE_MATCH).iter().any(|value| {
        value
            .to_str()
            .unwrap_or_default()
            .split(',')
            .any(|one| one.trim() == "*" || one.trim().trim_start_matches("W/") == tag)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: header::HeaderName, values: &[&'static str]) -> HeaderMap {
        values
            .iter()
            .map(|v| (name.clone(), HeaderValue::from_static(v)))
            .collect()
    }

    #[test]
    fn accept() {
        let form =
            |values: &[&'static str]| form(&headers(header::ACCEPT, values), media::PROOF).ok();
        for bytes in [
            "*/*",
            "application/octet-stream",
            media::PROOF,
            "application/*;q=0.5",
            "text/html, */*;q=0.1",
        ] {
            assert_eq!(form(&[bytes]), Some(Form::Binary), "{bytes}");
        }
        for json in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/json, */*;q=0.8",
            "*/*;q=0.1,application/json;q=0.2",
        ] {
            assert_eq!(form(&[json]), Some(Form::Json), "{json}");
        }
        assert_eq!(form(&[]), Some(Form::Binary));
        assert_eq!(form(&["text/html", "application/json"]), Some(Form::Json));
        assert_eq!(
            form(&["application/json", media::PROOF]),
            Some(Form::Binary)
        );
        for none in [
            "text/html",
            "",
            "application/json;q=0",
            "application/json;q=nan",
            "*/*;q=x",
        ] {
            assert_eq!(form(&[none]), None, "{none}");
        }
    }

    #[test]
    fn prefer() {
        let wait = |values: &[&'static str]| {
            wait(&headers(header::HeaderName::from_static("prefer"), values)).map(|d| d.as_secs())
        };
        assert_eq!(wait(&[]), None);
        assert_eq!(wait(&["wait=7"]), Some(7));
        assert_eq!(wait(&["respond-async"]), Some(0));
        assert_eq!(wait(&["respond-async, wait=3"]), Some(3));
        assert_eq!(wait(&["handling=lenient", "Wait = \"2\""]), Some(2));
        assert_eq!(wait(&["wait=-1"]), None);
        assert_eq!(wait(&["wait=99999999999999"]), None);
    }

    #[test]
    fn entity_tags() {
        let known = |v| {
            known(
                &headers(header::IF_NONE_MATCH, &[v]),
                &HeaderValue::from_static("\"a\""),
            )
        };
        assert!(known("\"a\"") && known("W/\"a\"") && known("\"b\", \"a\"") && known("*"));
        assert!(!known("\"b\"") && !known("a"));
    }
}
