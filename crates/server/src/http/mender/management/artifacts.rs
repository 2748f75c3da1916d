//! `/api/management/v1/deployments/artifacts…`: what mender-cli uploads, lists, fetches and deletes.

use super::{
    paging::{PER_PAGE_MAX, Paged, Paging},
    time,
};
use crate::{
    app::{
        Error, Parts,
        mender::{About, DESCRIPTION_BYTES_MAX},
    },
    blob::{BlobError, PIECE_TIME},
    http::{
        AppState, Shared,
        extract::{Asks, Command, Empty, Operator, Parameters, Streamed, Viewer, Wanted},
        failure::Failure,
    },
    store::mender_artifacts::Row,
};
use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use multer::{Field, Multipart};
use serde_json::{Value, json};
use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

/// Most bytes between two fields of a form: the name of the next one and what it is.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Longest number in a form.
const SIZE_BYTES_MAX: usize = 32;

/// The pages.
pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route(
            "/api/management/v1/deployments/artifacts",
            get(all).post(upload),
        )
        .route("/api/management/v1/deployments/artifacts/list", get(list))
        .route(
            "/api/management/v1/deployments/artifacts/{id}",
            get(show).delete(delete),
        )
        .route(
            "/api/management/v1/deployments/artifacts/{id}/download",
            get(download),
        )
}

/// Takes an artifact in: a form with `size` (may be left out), `description` (too) and last `artifact`.
async fn upload(
    State(shared): AppState,
    headers: HeaderMap,
    sent: Streamed<Operator>,
) -> Result<Response, Failure> {
    let mut form = Form::new(&headers, sent.parts)?;
    let mut about = About::default();
    let artifact = loop {
        let Some(field) = form.next().await? else {
            return Err(malformed("the form has no field `artifact`").into());
        };
        match field.name() {
            Some("artifact") => break field,
            Some("description") => {
                about.description = text(field, DESCRIPTION_BYTES_MAX).await?;
            }
            Some("size") => {
                let size = text(field, SIZE_BYTES_MAX).await?;
                let size = size.trim().parse();
                about.size = Some(size.map_err(|_| malformed("`size` is a number of bytes"))?);
            }
            _ => {
                let why = "the form has `size`, `description` and `artifact`, in this order";
                return Err(malformed(why).into());
            }
        }
    };
    let row = shared
        .app
        .upload_artifact(sent.by, about, form.rest(artifact))
        .await?;
    let mut response = StatusCode::CREATED.into_response();
    let place = format!("./management/v1/deployments/artifacts/{}", row.id);
    if let Ok(place) = HeaderValue::try_from(place) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    Ok(response)
}

/// The artifacts, the newest first.
async fn list(
    State(shared): AppState,
    _: Asks<Viewer>,
    uri: Uri,
    Wanted(paging): Wanted<Paging>,
) -> Result<Response, Failure> {
    let part = paging.part()?;
    let (rows, total) = shared.app.artifacts(part.skip(), part.count()).await?;
    let rows: Vec<Value> = rows.iter().map(shown).collect();
    Ok(Paged::new(&uri, part, total).with(&rows))
}

/// The same for tools that know no pages: as many of the newest as a page can have.
async fn all(State(shared): AppState, _: Asks<Viewer>) -> Result<Response, Failure> {
    let (rows, total) = shared.app.artifacts(0, PER_PAGE_MAX).await?;
    let rows: Vec<Value> = rows.iter().map(shown).collect();
    let mut response = Json(rows).into_response();
    let headers = response.headers_mut();
    headers.insert("x-total-count", HeaderValue::from(total));
    Ok(response)
}

/// One artifact.
async fn show(
    State(shared): AppState,
    _: Asks<Viewer>,
    Parameters(id): Parameters<String>,
) -> Result<Response, Failure> {
    Ok(Json(shown(&shared.app.artifact(&id).await?)).into_response())
}

/// Where it is fetched.
async fn download(
    State(shared): AppState,
    Parameters(id): Parameters<String>,
    command: Command<Viewer, Empty>,
) -> Result<Response, Failure> {
    let app = &shared.app;
    let (uri, expires_ms) = app.open_download(&command.by, &id).await?;
    let body = json!({ "uri": uri, "expire": time(expires_ms), "method": "GET" });
    Ok(Json(body).into_response())
}

/// Deletes one that no release is made of.
async fn delete(
    State(shared): AppState,
    Parameters(id): Parameters<String>,
    command: Command<Operator, Empty>,
) -> Result<Response, Failure> {
    shared.app.delete_artifact(&command.by, &id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// An artifact as Mender's tools decode it.
fn shown(row: &Row) -> Value {
    let facts = &row.facts;
    let modified = time(row.created_ms);
    let updates: Vec<Value> = facts
        .payloads
        .iter()
        .map(|payload| {
            let files: Vec<Value> = payload
                .files
                .iter()
                .map(|file| {
                    json!({
                        "name": file.name, "checksum": file.digest, "size": file.size, "date": modified,
                    })
                })
                .collect();
            json!({ "type_info": { "type": payload.module }, "files": files, "meta_data": [] })
        })
        .collect();
    let mut depends: serde_json::Map<String, Value> = facts
        .depends
        .iter()
        .map(|(key, values)| (key.clone(), json!(values)))
        .collect();
    depends.insert(String::from("device_type"), json!(facts.device_types));
    json!({
        "id": row.id,
        "name": row.name,
        "description": row.description,
        "device_types_compatible": facts.device_types,
        "info": { "format": "mender", "version": 3 },
        "signed": row.signer.is_some(),
        "updates": updates,
        "artifact_provides": facts.provides,
        "artifact_depends": depends,
        "clears_artifact_provides": facts.clears,
        "size": row.size,
        "modified": modified,
    })
}

/// A form as it comes. The library holds what it has not found the end of and reads on as long as there is something: it is given piece
/// after piece, and between fields no more than a bound.
struct Form {
    fields: Multipart<'static>,
    /// What may still come before the next field.
    room: Arc<AtomicUsize>,
}

impl Form {
    fn new(headers: &HeaderMap, parts: Parts) -> Result<Self, Error> {
        let kind = headers.get(header::CONTENT_TYPE);
        let boundary = kind
            .and_then(|kind| kind.to_str().ok())
            .and_then(|kind| multer::parse_boundary(kind).ok())
            .ok_or_else(|| malformed("an artifact is sent as a form, multipart/form-data"))?;
        let room = Arc::new(AtomicUsize::new(0));
        let pieces = Gauged {
            parts,
            room: Arc::clone(&room),
            yields: false,
        };
        Ok(Self {
            fields: Multipart::new(pieces, boundary),
            room,
        })
    }

    async fn next(&mut self) -> Result<Option<Field<'static>>, Error> {
        self.room.store(HEAD_BYTES_MAX, Relaxed);
        let next = in_time(self.fields.next_field()).await?;
        self.room.store(usize::MAX, Relaxed);
        next.map_err(|why| unread(&why))
    }

    /// The last field, and then the end of the form: what breaks off before that is not whole.
    fn rest(self, last: Field<'static>) -> Parts {
        let state = Some((self, Some(last)));
        Box::pin(stream::unfold(state, |state| async move {
            let (mut form, field) = state?;
            if let Some(mut field) = field {
                match field.chunk().await {
                    Ok(Some(piece)) => return Some((Ok(piece), Some((form, Some(field))))),
                    Ok(None) => {}
                    Err(why) => return Some((Err(axum::Error::new(why)), None)),
                }
            }
            match form.next().await {
                Ok(None) => None,
                Ok(Some(_)) => {
                    let why = "the form has a field behind the artifact";
                    Some((Err(axum::Error::new(malformed(why))), None))
                }
                Err(why) => Some((Err(axum::Error::new(why)), None)),
            }
        }))
    }
}

/// The text of a field.
async fn text(mut field: Field<'static>, bytes_max: usize) -> Result<String, Error> {
    let name = field.name().unwrap_or_default().to_owned();
    let mut text = Vec::new();
    loop {
        let piece = in_time(field.chunk()).await?;
        let piece = piece.map_err(|why| unread(&why))?;
        let Some(piece) = piece else { break };
        if text.len().saturating_add(piece.len()) > bytes_max {
            return Err(malformed(&format!(
                "`{name}` has at most {bytes_max} bytes"
            )));
        }
        text.extend_from_slice(&piece);
    }
    let text = String::from_utf8(text).map_err(|_| malformed(&format!("`{name}` is no UTF-8")))?;
    match text.contains('\0') {
        true => Err(malformed(&format!("`{name}` has a NUL in it"))),
        false => Ok(text),
    }
}

/// What comes of the form, if it comes.
async fn in_time<T>(coming: impl Future<Output = T>) -> Result<T, Error> {
    let come = tokio::time::timeout(PIECE_TIME, coming).await;
    Ok(come.map_err(|_| BlobError::BrokeOff)?)
}

fn unread(why: &multer::Error) -> Error {
    match why {
        multer::Error::StreamReadFailed(why) => {
            malformed(&format!("the form did not come whole: {why}"))
        }
        why => malformed(&format!("the form cannot be read: {why}")),
    }
}

fn malformed(why: &str) -> Error {
    Error::Malformed(why.to_owned())
}

/// Gives piece after piece, so that none waits in memory behind another.
struct Gauged {
    parts: Parts,
    room: Arc<AtomicUsize>,
    yields: bool,
}

impl Stream for Gauged {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if std::mem::take(&mut self.yields) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let piece = self.parts.poll_next_unpin(context);
        if let Poll::Ready(Some(Ok(piece))) = &piece {
            self.yields = true;
            let room = self.room.load(Relaxed);
            if room == 0 {
                let why = malformed("too much stands between two fields of the form");
                return Poll::Ready(Some(Err(axum::Error::new(why))));
            }
            if room != usize::MAX {
                self.room.store(room.saturating_sub(piece.len()), Relaxed);
            }
        }
        piece
    }
}
