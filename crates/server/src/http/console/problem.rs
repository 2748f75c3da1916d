//! What went wrong, as a page in the look of the others, with the status that the API would give.

use super::{guard, page_as, see, visitor};
use crate::{
    http::{AppState, Shared, failure::Failure},
    views::{address, problem::ProblemPage},
};
use axum::{
    extract::{Request, State},
    http::{HeaderMap, Method, Uri, header},
    response::{IntoResponse, Response},
};
use kusabi_api::{Kind, Problem};

/// What is left of a request when its answer is there.
#[derive(Debug)]
pub(super) struct Asked {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

impl Asked {
    pub(super) fn of(request: &Request) -> Self {
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            headers: request.headers().clone(),
        }
    }
}

/// The answer, or the page for the problem that it is.
pub(super) async fn as_page(shared: &Shared, asked: Asked, response: Response) -> Response {
    let Some(problem) = response.extensions().get::<Problem>() else {
        return response;
    };
    let kind = problem.kind;
    let may_ask_again = asked.method == Method::GET || asked.method == Method::HEAD;
    if kind == Kind::Unauthenticated && may_ask_again {
        let next = asked.uri.path_and_query().map(|address| address.as_str());
        if let Ok(response) = see(&address("/sign-in", &[("next", next)])) {
            return response;
        }
    }
    let mut frame = visitor::frame(shared, &asked.headers, &asked.uri);
    // A form's address is no page to come back to.
    if !may_ask_again {
        frame.address = String::from("/devices");
    }
    if let Ok(session) = visitor::session(shared, &asked.headers).await
        && let Ok(signed) = visitor::signed(shared, frame.clone(), &session).await
    {
        frame = signed;
    }
    let (title, hint) = match kind {
        Kind::Forbidden if problem.detail.starts_with("the form") => {
            (frame.t.error_form, frame.t.error_form_hint)
        }
        kind => frame.t.problem(kind),
    };
    let view = ProblemPage {
        status: kind.status(),
        title,
        hint,
        detail: problem.detail.to_string(),
        f: frame,
    };
    match page_as(response.status(), &view) {
        Ok(mut page) => {
            if let Some(after) = response.headers().get(header::RETRY_AFTER) {
                page.headers_mut()
                    .insert(header::RETRY_AFTER, after.clone());
            }
            page
        }
        Err(_) => response,
    }
}

/// No such page: as a page for whoever wants one, else as the API says it.
pub(in crate::http) async fn unknown(State(shared): AppState, request: Request) -> Response {
    let wants_page = request
        .headers()
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.contains("text/html"));
    let asked = Asked::of(&request);
    let failure: Failure = crate::http::failure::unknown().await;
    let response = failure.into_response();
    if !wants_page || request.uri().path().starts_with("/api/") {
        return response;
    }
    let mut page = as_page(&shared, asked, response).await;
    guard(&mut page);
    page
}
