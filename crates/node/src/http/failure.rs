//! Problems as answers.

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use kusabi_api::{Kind, Problem, problem};

/// A problem on its way out; the only way in which this API says no.
pub(super) struct Failure(pub(super) Problem);

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut problem = self.0;
        if problem.kind == Kind::Internal {
            // What failed is for the log; the client learns that it was not its fault.
            tracing::error!(detail = %problem.detail, "request failed");
            problem.detail = "the node failed; its log says why".into();
        }
        let retry_after = problem.retry_after_s;
        let mut response = Response::new(Body::from(problem.to_json()));
        *response.status_mut() = StatusCode::from_u16(problem.kind.status())
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static(problem::MEDIA_TYPE),
        );
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// No such page.
pub(super) async fn unknown() -> Failure {
    Failure(Problem::new(
        Kind::Unknown,
        "there is no such page; the pages of the ledger begin with /v1/",
    ))
}

/// The page is there, the method is not.
pub(super) async fn method(request: Request) -> Failure {
    Failure(Problem::new(
        Kind::MethodNotAllowed,
        format!("this page does not take {}", request.method()),
    ))
}
