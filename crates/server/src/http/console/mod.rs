//! The console: pages under the root of the admin listener, one file for each. They call the same use cases as the API; what they show
//! is in [`views`](crate::views).
//!
//! - Every page works as plain links and forms; the script adds comfort.
//! - Who asks is a session ([`visitor`]); a form that changes something carries the session's own field and comes from the same origin.
//! - What goes wrong is the API's problem, shown as a page ([`problem`]), with the same status.

mod account;
mod act;
mod alarms;
mod assets;
mod audit_log;
mod channels;
mod components;
mod cookie;
mod device;
mod devices;
mod first_admin;
mod key;
mod live;
mod mender;
mod new_rollout;
mod order_log;
mod orders;
mod preferences;
mod problem;
mod rollouts;
mod sign_in;
mod sign_out;
mod visitor;
mod words;

pub(super) use live::Followers;
pub(super) use problem::unknown;

use super::{Shared, answer::Answer, failure};
use askama::Template;
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::Response,
    routing::{get, post},
};
use kusabi_api::{Kind, Problem};
use std::sync::Arc;

/// How the admin listener is reached: decides whether cookies may go over connections without TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// HTTP: on loopback, or behind something that speaks TLS.
    Plain,
    /// HTTPS.
    Tls,
}

/// What a page may load: its own files, and nothing in line.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The pages.
pub(super) fn routes(shared: &Arc<Shared>) -> Router<Arc<Shared>> {
    let pages = Router::new()
        .route("/", get(devices::home))
        .route("/account", get(account::show))
        .route("/account/sessions/end", post(account::end_all))
        .route("/account/sessions/{session}/end", post(account::end))
        .route("/alarms", get(alarms::list))
        .route("/alarms/{alarm}/acknowledge", post(alarms::acknowledge))
        .route("/audit-log", get(audit_log::list))
        .route("/channels", get(channels::list))
        .route("/channels/{channel}", post(channels::set))
        .route("/components", get(components::list))
        .route("/devices", get(devices::list))
        .route("/devices/{device}", get(device::show))
        .route(
            "/devices/{device}/acts/{act}",
            get(act::ask).post(act::carry_out),
        )
        .route("/devices/{device}/orders/{order}/log", get(order_log::show))
        .route(
            "/first-admin",
            get(first_admin::show).post(first_admin::create),
        )
        .route("/keys/{handle}", get(key::show))
        .route("/keys/{handle}/proof", get(key::proof))
        .route("/mender", get(mender::list))
        .route("/mender/{set}/{act}", post(mender::decide))
        .route("/orders", get(orders::list))
        .route("/preferences", post(preferences::set))
        .route("/rollouts", get(rollouts::list))
        .route(
            "/rollouts/new",
            get(new_rollout::ask).post(new_rollout::create),
        )
        .route("/rollouts/{rollout}", get(rollouts::show))
        .route("/rollouts/{rollout}/{act}", post(rollouts::act))
        .route("/sign-in", get(sign_in::show).post(sign_in::open))
        .route("/sign-out", post(sign_out::end))
        .route("/words", get(words::show))
        .method_not_allowed_fallback(failure::method)
        .layer(middleware::from_fn_with_state(Arc::clone(shared), every));
    pages
        .route("/assets/{name}", get(assets::show))
        .route("/live", get(live::follow))
}

/// What holds for every page.
async fn every(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let asked = problem::Asked::of(&request);
    let response = next.run(request).await;
    let mut response = problem::as_page(&shared, asked, response).await;
    guard(&mut response);
    response
}

/// The headers that keep a page to itself.
fn guard(response: &mut Response) {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_FRAME_OPTIONS, "DENY"),
        // Not `no-referrer`: forms would say `Origin: null`, and could not be told from another site's.
        (header::REFERRER_POLICY, "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(
        "cross-origin-opener-policy",
        HeaderValue::from_static("same-origin"),
    );
    headers.insert(
        "cross-origin-resource-policy",
        HeaderValue::from_static("same-origin"),
    );
}

/// 200 with a page.
fn page(page: &impl Template) -> Answer {
    page_as(StatusCode::OK, page)
}

/// A page with this status.
fn page_as(status: StatusCode, page: &impl Template) -> Answer {
    let text = page
        .render()
        .map_err(|why| Problem::new(Kind::Internal, format!("no page: {why}")))?;
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    Ok(response)
}

/// 303: what was asked for is done; what to see then is there.
fn see(address: &str) -> Answer {
    let location = HeaderValue::from_str(address)
        .map_err(|_| Problem::new(Kind::BadParameter, "this leads nowhere"))?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

/// An address of this console that came with a request, or `otherwise`: a path, never another site.
fn inside<'a>(address: &'a str, otherwise: &'a str) -> &'a str {
    let path = address.starts_with('/') && !address.starts_with("//");
    let plain = address
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if path && plain { address } else { otherwise }
}

#[cfg(test)]
mod tests {
    use super::inside;

    #[test]
    fn nothing_leads_to_another_site() {
        for good in ["/", "/devices?q=%E3%82%AB&x=//y", "/alarms"] {
            assert_eq!(inside(good, "/devices"), good);
        }
        for bad in [
            "",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "javascript:alert(1)",
            "devices",
            "/a\r\nSet-Cookie: x",
            "/ä",
        ] {
            assert_eq!(inside(bad, "/devices"), "/devices", "{bad:?}");
        }
    }
}
