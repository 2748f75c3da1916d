//! Who looks at a page or sends a form, checked. Handlers never see a raw request.

use super::cookie;
use crate::{
    app::{By, Idempotency, Session},
    http::{
        Shared,
        extract::{Needs, receive},
        failure::Failure,
    },
    views::{Frame, Language, Theme, Who},
};
use axum::{
    extract::{FromRequest, FromRequestParts, Request},
    http::{HeaderMap, Uri, header, request::Parts},
};
use kusabi_api::{Hex, Kind, Problem};
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use std::{marker::PhantomData, sync::Arc};
use subtle::ConstantTimeEq as _;

/// The media type of forms.
const FORM: &str = "application/x-www-form-urlencoded";

/// The frame of a page for whoever sent these headers.
pub(super) fn frame(shared: &Shared, headers: &HeaderMap, uri: &Uri) -> Frame {
    let language = cookie::find(headers, cookie::LANGUAGE)
        .and_then(Language::from_code)
        .unwrap_or_else(|| {
            let header = headers.get(header::ACCEPT_LANGUAGE);
            Language::accepted(
                header
                    .and_then(|value| value.to_str().ok())
                    .unwrap_or_default(),
            )
        });
    Frame {
        t: language.texts(),
        language,
        theme: cookie::find(headers, cookie::THEME)
            .and_then(Theme::from_name)
            .unwrap_or_default(),
        address: uri
            .path_and_query()
            .map_or("/", |address| address.as_str())
            .to_owned(),
        now_ms: shared.app.now_ms(),
        org: Hex(shared.app.org().to_bytes()).to_string(),
        who: None,
        open_alarms: 0,
        mender: shared.app.serves_mender(),
    }
}

/// The session that these headers name.
pub(super) async fn session(shared: &Shared, headers: &HeaderMap) -> Result<Session, Failure> {
    let secret = cookie::find(headers, cookie::session(shared.transport)).unwrap_or_default();
    Ok(shared.app.session(secret).await?)
}

/// The frame, with who is signed in.
pub(super) async fn signed(
    shared: &Shared,
    mut frame: Frame,
    session: &Session,
) -> Result<Frame, Failure> {
    frame.open_alarms = shared.app.count_open_alarms(Frame::ALARMS_MAX + 1).await?;
    frame.who = Some(Who {
        token: session.caller.id().to_owned(),
        name: session.name.as_str().to_owned(),
        role: session.caller.role(),
        csrf: Hex(session.csrf).to_string(),
    });
    Ok(frame)
}

/// Anyone.
#[derive(Debug)]
pub(super) struct Anyone(pub(super) Frame);

impl FromRequestParts<Arc<Shared>> for Anyone {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, Failure> {
        let frame = frame(shared, &parts.headers, &parts.uri);
        // Whoever is signed in keeps his frame; who is not is welcome, too.
        match session(shared, &parts.headers).await {
            Ok(session) => Ok(Self(signed(shared, frame, &session).await?)),
            Err(Failure(problem)) if problem.kind == Kind::Unauthenticated => Ok(Self(frame)),
            Err(other) => Err(other),
        }
    }
}

/// Someone who is signed in, with at least the role `R`.
#[derive(Debug)]
pub(super) struct Looks<R> {
    pub(super) frame: Frame,
    pub(super) session: Session,
    role: PhantomData<R>,
}

impl<R: Needs> FromRequestParts<Arc<Shared>> for Looks<R> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, Failure> {
        let session = session(shared, &parts.headers).await?;
        session.caller.require(R::ROLE)?;
        let frame = frame(shared, &parts.headers, &parts.uri);
        Ok(Self {
            frame: signed(shared, frame, &session).await?,
            session,
            role: PhantomData,
        })
    }
}

/// A form of someone who is signed in, with at least the role `R`.
#[derive(Debug)]
pub(super) struct Sends<R, T> {
    pub(super) frame: Frame,
    pub(super) session: Session,
    pub(super) by: By,
    pub(super) form: T,
    role: PhantomData<R>,
}

impl<R: Needs, T: DeserializeOwned> FromRequest<Arc<Shared>> for Sends<R, T> {
    type Rejection = Failure;

    async fn from_request(request: Request, shared: &Arc<Shared>) -> Result<Self, Failure> {
        check_origin(request.headers())?;
        // Who may not do it is told so before a byte of the body is looked at.
        let session = session(shared, request.headers()).await?;
        session.caller.require(R::ROLE)?;
        let frame = frame(shared, request.headers(), request.uri());
        let mut hasher = Sha256::new();
        hasher.update(b"form ");
        hasher.update(request.uri().path());
        hasher.update(b"\n");
        let body = read(request).await?;
        hasher.update(&body);
        let fields: Fields = parse(&body)?;
        let csrf = Hex(session.csrf).to_string();
        // Of the same length, or not equal.
        if !bool::from(fields.csrf.as_bytes().ct_eq(csrf.as_bytes())) {
            return Err(foreign());
        }
        let idempotency = match fields.once {
            once if once.is_empty() => None,
            once if once.len() <= 64 && once.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
                Some(Idempotency {
                    key: format!("form-{once}"),
                    request: hasher.finalize().into(),
                })
            }
            _ => {
                return Err(
                    Problem::new(Kind::BadParameter, "`once` is what stood in the form").into(),
                );
            }
        };
        Ok(Self {
            frame: signed(shared, frame, &session).await?,
            by: By {
                caller: session.caller.clone(),
                idempotency,
            },
            session,
            form: parse(&body)?,
            role: PhantomData,
        })
    }
}

/// A form of anyone.
#[derive(Debug)]
pub(super) struct Says<T> {
    pub(super) frame: Frame,
    pub(super) form: T,
}

impl<T: DeserializeOwned> FromRequest<Arc<Shared>> for Says<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, shared: &Arc<Shared>) -> Result<Self, Failure> {
        check_origin(request.headers())?;
        let frame = frame(shared, request.headers(), request.uri());
        let form = parse(&read(request).await?)?;
        Ok(Self { frame, form })
    }
}

/// What every form of a session may carry beside its own fields.
#[derive(Debug, serde::Deserialize)]
struct Fields {
    #[serde(default)]
    csrf: String,
    /// Makes a form that is sent twice one act.
    #[serde(default)]
    once: String,
}

/// A form without fields of its own.
#[derive(Debug, serde::Deserialize)]
pub(super) struct Nothing {}

fn foreign() -> Failure {
    Failure(Problem::new(
        Kind::Forbidden,
        "the form does not come from this session of this console; nothing was changed",
    ))
}

/// A form of another site is refused. Browsers say where a form comes from: `Sec-Fetch-Site` where they trust the address, `Origin`
/// with every `POST`. What says neither is no browser, and holds no cookie that it was not given.
fn check_origin(headers: &HeaderMap) -> Result<(), Failure> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    if let Some(site) = text("sec-fetch-site") {
        return match site {
            "same-origin" | "none" => Ok(()),
            _ => Err(foreign()),
        };
    }
    let Some(origin) = text("origin") else {
        return Ok(());
    };
    let host = text("host").unwrap_or_default();
    let same = origin
        .split_once("://")
        .is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host));
    if same { Ok(()) } else { Err(foreign()) }
}

async fn read(request: Request) -> Result<axum::body::Bytes, Problem> {
    let media_type = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .map_or("", str::trim);
    if !media_type.eq_ignore_ascii_case(FORM) {
        let detail = format!("a form is sent with Content-Type: {FORM}");
        return Err(Problem::new(Kind::UnsupportedMediaType, detail));
    }
    receive(request).await
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    serde_urlencoded::from_bytes(body)
        .map_err(|why| Problem::new(Kind::Malformed, format!("the form cannot be read: {why}")))
}
