//! Errors on their way out: the one mapping of what went wrong to a problem document.

use crate::{app::Error, blob::BlobError};
use axum::{
    body::Body,
    extract::Request,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use kusabi_api::{Kind, Problem, problem, verify::VerifyError};

/// A problem on its way out; the only way in which this API says no.
#[derive(Debug)]
pub(super) struct Failure(pub(super) Problem);

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Unauthenticated | Error::NotAccepted(_) => Kind::Unauthenticated,
            Error::Forbidden { .. } => Kind::Forbidden,
            Error::Unknown { .. } => Kind::Unknown,
            Error::Exists { .. } => Kind::Exists,
            Error::AlreadyDone(_) | Error::Conflict(_) => Kind::AlreadyDone,
            Error::Malformed(_) => Kind::Malformed,
            Error::TooMuch(_) => Kind::TooLarge,
            Error::Unfit(_) => Kind::Unfit,
            Error::Range { .. } => Kind::Range,
            Error::Blob(why) => blob(why),
            Error::Parameter(_) => Kind::BadParameter,
            Error::KeyReused => Kind::KeyReused,
            Error::Behind => Kind::Behind,
            Error::Crowded { wait_secs } => {
                let problem = Problem::new(Kind::TooManyRequests, error.to_string());
                return Self(problem.with_retry_after(*wait_secs));
            }
            Error::Stale => {
                let problem = Problem::new(Kind::TooManyRequests, error.to_string());
                return Self(problem.with_retry_after(1));
            }
            Error::Ledger(VerifyError::Ledger(problem)) => return Self(problem.clone()),
            Error::Ledger(_) => Kind::BadAnswer,
            Error::Store(why) if why.is_busy() => {
                let detail =
                    "others write to the database for too long; nothing was changed, try again";
                return Self(Problem::new(Kind::TooManyRequests, detail));
            }
            Error::Store(why) if why.is_full() => {
                tracing::error!(%why, "the database has no room left");
                return Self(no_room());
            }
            Error::Store(_) | Error::Random(_) | Error::Json(_) | Error::Task(_) => Kind::Internal,
        };
        if kind == Kind::NoRoom {
            tracing::error!(why = %chain(&error), "the firmware store has no room left");
            return Self(no_room());
        }
        if kind == Kind::FirmwareStore {
            tracing::error!(why = %chain(&error), "the firmware store failed");
            let detail = "the store of firmware does not answer, or refuses; the server's log says why. What has arrived is kept: when the store is back, send the rest";
            return Self(Problem::new(kind, detail).with_retry_after(30));
        }
        Self(Problem::new(kind, chain(&error)))
    }
}

fn no_room() -> Problem {
    let detail = "the server's disk is full; nothing was changed, and what had arrived is kept: make room, then send it again";
    Problem::new(Kind::NoRoom, detail).with_retry_after(60)
}

fn blob(why: &BlobError) -> Kind {
    match why {
        why if why.is_full() => Kind::NoRoom,
        BlobError::WrongOffset { .. } | BlobError::Busy => Kind::WrongOffset,
        BlobError::TooLong { .. } => Kind::TooLarge,
        BlobError::BrokeOff => Kind::RequestTimeout,
        BlobError::WrongDigest { .. }
        | BlobError::Inventory(_)
        | BlobError::ChunkIndex(_)
        | BlobError::Artifact(_) => Kind::Unfit,
        BlobError::Store(_) | BlobError::Silent => Kind::FirmwareStore,
        BlobError::Io { .. } | BlobError::Address(_) => Kind::Internal,
    }
}

/// An error with its causes.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let part = error.to_string();
        if !text.ends_with(&part) {
            text = format!("{text}: {part}");
        }
        cause = error.source();
    }
    text
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut problem = self.0;
        if problem.kind == Kind::Internal {
            // What failed is for the log; the client learns that it was not its fault.
            tracing::error!(detail = %problem.detail, "request failed");
            problem.detail = "the server failed; its log says why".into();
        }
        let mut response = Response::new(Body::from(problem.to_json()));
        // For the console, which shows it as a page.
        response.extensions_mut().insert(problem.clone());
        *response.status_mut() = StatusCode::from_u16(problem.kind.status())
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static(problem::MEDIA_TYPE),
        );
        if problem.kind == Kind::Unauthenticated {
            // RFC 9110, section 15.5.2: a 401 says how to authenticate.
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = problem.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// No such page.
pub(super) async fn unknown() -> Failure {
    Failure(Problem::new(
        Kind::Unknown,
        "there is no such page; `/openapi.json` lists those that there are",
    ))
}

/// The page is there, the method is not.
pub(super) async fn method(request: Request) -> Failure {
    Failure(Problem::new(
        Kind::MethodNotAllowed,
        format!("this page does not take {}", request.method()),
    ))
}
