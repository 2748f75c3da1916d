//! What a request is, checked: who asks and whether he may, which part of a list, which body. Handlers never see a raw request.

use super::{Shared, failure::Failure};
use crate::app::{By, Caller, Cut, Idempotency, Parts as BodyParts};
use axum::{
    body::Bytes,
    extract::{ConnectInfo, FromRequest, FromRequestParts, Path, Query, Request},
    http::{Extensions, HeaderMap, header, request::Parts},
};
use kusabi_api::{Kind, Problem, admin::Role, media};
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use std::{
    convert::Infallible,
    marker::PhantomData,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

/// For a body to arrive.
const BODY_TIME: Duration = Duration::from_secs(15);

/// Most characters of an idempotency key.
const KEY_CHARS_MAX: usize = 128;

/// A role as a type, so that a handler cannot be written without naming one.
pub(super) trait Needs {
    const ROLE: Role;
}

macro_rules! roles {
    ($($(#[doc = $doc:literal])+ $name:ident),+) => { $(
        $(#[doc = $doc])+
        #[derive(Debug)]
        pub(super) enum $name {}
        impl Needs for $name { const ROLE: Role = Role::$name; }
    )+ };
}

roles! {
    /// Who reads.
    Viewer,
    /// Who runs the fleet.
    Operator,
    /// Who decides who may do what.
    Admin
}

/// What is shown by this scheme (RFC 9110, 11.4); nothing where there is nothing.
pub(super) fn shown<'h>(headers: &'h HeaderMap, scheme: &str) -> &'h str {
    headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(name, _)| name.eq_ignore_ascii_case(scheme))
        .map_or("", |(_, secret)| secret.trim())
}

async fn caller<R: Needs>(headers: &HeaderMap, shared: &Shared) -> Result<Caller, Failure> {
    let caller = shared.app.authenticate(shown(headers, "bearer")).await?;
    caller.require(R::ROLE)?;
    Ok(caller)
}

/// A question of someone who has at least the role `R`.
#[derive(Debug)]
pub(super) struct Asks<R>(PhantomData<R>);

impl<R: Needs> FromRequestParts<Arc<Shared>> for Asks<R> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, Failure> {
        caller::<R>(&parts.headers, shared).await?;
        Ok(Self(PhantomData))
    }
}

/// A command of someone who has at least the role `R`, with its body.
#[derive(Debug)]
pub(super) struct Command<R, B> {
    pub(super) by: By,
    pub(super) body: B,
    role: PhantomData<R>,
}

impl<R: Needs, B: ReadBody> FromRequest<Arc<Shared>> for Command<R, B> {
    type Rejection = Failure;

    async fn from_request(request: Request, shared: &Arc<Shared>) -> Result<Self, Failure> {
        // Who may not do it is told so before a byte of the body is looked at.
        let caller = caller::<R>(request.headers(), shared).await?;
        let key = idempotency_key(request.headers())?;
        let mut hasher = Sha256::new();
        hasher.update(request.method().as_str());
        hasher.update(b" ");
        hasher.update(request.uri().path());
        hasher.update(b"\n");
        let headers = request.headers().clone();
        let bytes = receive(request).await?;
        hasher.update(&bytes);
        let body = B::read(&headers, &bytes)?;
        let idempotency = key.map(|key| Idempotency {
            key,
            request: hasher.finalize().into(),
        });
        Ok(Self {
            by: By {
                caller,
                idempotency,
            },
            body,
            role: PhantomData,
        })
    }
}

/// A command whose body is taken in as it comes; it may be of any length. It is safe to repeat, so it takes no idempotency key.
pub(super) struct Streamed<R> {
    pub(super) by: By,
    pub(super) parts: BodyParts,
    role: PhantomData<R>,
}

impl<R: Needs> FromRequest<Arc<Shared>> for Streamed<R> {
    type Rejection = Failure;

    async fn from_request(request: Request, shared: &Arc<Shared>) -> Result<Self, Failure> {
        let caller = caller::<R>(request.headers(), shared).await?;
        let parts = request.into_body().into_data_stream();
        Ok(Self {
            by: By::only(caller),
            parts: Box::pin(parts),
            role: PhantomData,
        })
    }
}

/// A body of JSON from someone who has no token yet.
#[derive(Debug)]
pub(super) struct Open<B>(pub(super) B);

impl<B: ReadBody> FromRequest<Arc<Shared>> for Open<B> {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &Arc<Shared>) -> Result<Self, Failure> {
        let headers = request.headers().clone();
        let bytes = receive(request).await?;
        Ok(Self(B::read(&headers, &bytes)?))
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    let key = value.to_str().unwrap_or_default();
    if key.is_empty() || key.len() > KEY_CHARS_MAX {
        return Err(Problem::new(
            Kind::BadParameter,
            format!("an idempotency key has 1 to {KEY_CHARS_MAX} printable ASCII characters"),
        ));
    }
    Ok(Some(key.to_owned()))
}

pub(super) async fn receive(request: Request) -> Result<Bytes, Problem> {
    receive_up_to(request, super::BODY_BYTES_MAX).await
}

/// A body of at most so many bytes, which the route's own limit lets through.
pub(super) async fn receive_up_to(request: Request, bytes_max: usize) -> Result<Bytes, Problem> {
    match tokio::time::timeout(BODY_TIME, Bytes::from_request(request, &())).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(why)) if why.status().as_u16() == Kind::TooLarge.status() => Err(Problem::new(
            Kind::TooLarge,
            format!("a body has at most {bytes_max} bytes"),
        )),
        Ok(Err(_)) => Err(Problem::new(Kind::Malformed, "the body broke off")),
        Err(_) => Err(Problem::new(
            Kind::RequestTimeout,
            format!("the body did not arrive within {} s", BODY_TIME.as_secs()),
        )),
    }
}

/// What a body can be.
pub(super) trait ReadBody: Sized {
    fn read(headers: &HeaderMap, bytes: &[u8]) -> Result<Self, Problem>;
}

/// A body of JSON.
#[derive(Debug)]
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned> ReadBody for Json<T> {
    fn read(headers: &HeaderMap, bytes: &[u8]) -> Result<Self, Problem> {
        let media_type = headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split(';').next())
            .map_or("", str::trim);
        if !media_type.eq_ignore_ascii_case(media::JSON) {
            return Err(Problem::new(
                Kind::UnsupportedMediaType,
                format!("send the body with Content-Type: {}", media::JSON),
            ));
        }
        serde_json::from_slice(bytes)
            .map(Self)
            .map_err(|why| Problem::new(Kind::Malformed, why.to_string()))
    }
}

/// A body of bytes, whatever they are.
#[derive(Debug)]
pub(super) struct Octets(pub(super) Vec<u8>);

impl ReadBody for Octets {
    fn read(_: &HeaderMap, bytes: &[u8]) -> Result<Self, Problem> {
        Ok(Self(bytes.to_vec()))
    }
}

/// No body.
#[derive(Debug)]
pub(super) struct Empty;

impl ReadBody for Empty {
    fn read(_: &HeaderMap, bytes: &[u8]) -> Result<Self, Problem> {
        if bytes.is_empty() {
            Ok(Self)
        } else {
            Err(Problem::new(Kind::Malformed, "this request has no body"))
        }
    }
}

/// Whose connection it is: of a proxy, where there is one before the listener. What it says of its clients is not believed: anyone can
/// say it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) IpAddr);

impl Peer {
    pub(super) fn of(extensions: &Extensions) -> Self {
        let peer = extensions.get::<ConnectInfo<SocketAddr>>();
        Self(peer.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |peer| peer.0.ip()))
    }
}

impl<S: Sync> FromRequestParts<S> for Peer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.extensions))
    }
}

/// The variable parts of the path.
#[derive(Debug)]
pub(super) struct Parameters<T>(pub(super) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Arc<Shared>> for Parameters<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, Failure> {
        match Path::from_request_parts(parts, shared).await {
            Ok(Path(value)) => Ok(Self(value)),
            Err(why) => Err(Problem::new(Kind::BadParameter, why.body_text()).into()),
        }
    }
}

/// The query.
#[derive(Debug)]
pub(super) struct Wanted<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequestParts<Arc<Shared>> for Wanted<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, Failure> {
        match Query::from_request_parts(parts, shared).await {
            Ok(Query(value)) => Ok(Self(value)),
            Err(why) => Err(Problem::new(Kind::BadParameter, why.body_text()).into()),
        }
    }
}

/// The query of a list without filters.
#[derive(Debug, serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Cutting {
    /// `next` of the page before.
    cursor: Option<String>,
    /// How many items: 1 to 200, 50 when not said.
    limit: Option<u16>,
}

impl From<Cutting> for Cut {
    fn from(cutting: Cutting) -> Self {
        Self {
            cursor: cutting.cursor,
            limit: cutting.limit,
        }
    }
}
