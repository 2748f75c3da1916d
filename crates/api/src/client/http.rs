//! What all clients do alike: one address, bounds in bytes and time, and problems instead of surprises.

use super::Limits;
use crate::{
    media,
    problem::{self, Kind, Problem, Retry},
};
use bytes::{Bytes, BytesMut};
use core::time::Duration;
use reqwest::{
    ClientBuilder, Method, RequestBuilder, Response, Url,
    header::{ACCEPT, RETRY_AFTER},
};
use serde::de::DeserializeOwned;

/// Requests to one address.
#[derive(Clone, Debug)]
pub(super) struct Http {
    client: reqwest::Client,
    base: Url,
    pub(super) limits: Limits,
    /// What is at the address, for sentences: "ledger node", "server".
    who: &'static str,
}

impl Http {
    /// The address of a `who`, of one of these schemes.
    pub(super) fn new(
        address: &str,
        schemes: &[&str],
        limits: Limits,
        who: &'static str,
        configure: impl FnOnce(ClientBuilder) -> ClientBuilder,
    ) -> Result<Self, Problem> {
        let bad = |why: &str| {
            Problem::new(
                Kind::BadParameter,
                format!("{address:?} is not the address of a {who}: {why}"),
            )
        };
        let mut base = Url::parse(address).map_err(|e| bad(&e.to_string()))?;
        if !schemes.contains(&base.scheme()) {
            return Err(bad(&format!(
                "it must begin with {}://",
                schemes.join(":// or ")
            )));
        }
        if !base.username().is_empty() || base.password().is_some() {
            return Err(bad("it must hold neither name nor password"));
        }
        if base.query().is_some() || base.fragment().is_some() {
            return Err(bad("it must end with the host, the port or a path"));
        }
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let builder = reqwest::Client::builder()
            .connect_timeout(limits.connect)
            // Below the 15 s after which a node closes an idle connection: a submission that meets the close on its way
            // could not say whether it arrived.
            .pool_idle_timeout(Duration::from_secs(10))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .retry(reqwest::retry::never())
            .user_agent(concat!("kusabi/", env!("CARGO_PKG_VERSION")));
        // A client that only speaks http:// works on a machine that trusts no authorities, too.
        #[cfg(feature = "tls")]
        let builder = match base.scheme() {
            "https" => builder,
            _ => builder.tls_certs_only(Vec::<reqwest::Certificate>::new()),
        };
        let client = configure(builder)
            .build()
            .map_err(|e| Problem::new(Kind::Internal, format!("no HTTP client: {e}")))?;
        Ok(Self {
            client,
            base,
            limits,
            who,
        })
    }

    pub(super) const fn base(&self) -> &Url {
        &self.base
    }

    pub(super) fn request(
        &self,
        method: Method,
        path: &str,
        accept: &str,
    ) -> Result<RequestBuilder, Problem> {
        let url = self
            .base
            .join(path)
            .map_err(|e| Problem::new(Kind::Internal, format!("no address for {path}: {e}")))?;
        Ok(self.client.request(method, url).header(ACCEPT, accept))
    }

    /// A reading request: tried again while that can help.
    pub(super) async fn get(&self, path: &str, accept: &str, max: usize) -> Result<Bytes, Problem> {
        let request = || self.request(Method::GET, path, accept);
        self.repeated(request, max).await
    }

    pub(super) async fn get_json<T: DeserializeOwned>(
        &self,
        path: &str,
        max: usize,
    ) -> Result<T, Problem> {
        self.read_json(&self.get(path, media::JSON, max).await?)
    }

    /// A request that may be sent again, for twice is the same as once: tried again while that can help.
    pub(super) async fn repeated(
        &self,
        request: impl Fn() -> Result<RequestBuilder, Problem>,
        max: usize,
    ) -> Result<Bytes, Problem> {
        let mut attempt = 1;
        loop {
            let request = request()?.timeout(self.limits.request);
            let problem = match self.receive(request, max).await {
                Ok(bytes) => return Ok(bytes),
                Err(problem) => problem,
            };
            if attempt >= self.limits.attempts || problem.kind.retry() == Retry::No {
                return Err(problem);
            }
            let asked = Duration::from_secs(u64::from(problem.retry_after_s.unwrap_or(0)));
            let grown = Duration::from_millis(100) * 4_u32.saturating_pow(attempt - 1);
            tokio::time::sleep(asked.max(grown).min(self.limits.pause_max)).await;
            attempt += 1;
        }
    }

    /// Sends one request and reads its answer.
    pub(super) async fn receive(
        &self,
        request: RequestBuilder,
        max: usize,
    ) -> Result<Bytes, Problem> {
        let response = request.send().await.map_err(|e| self.unreachable(e))?;
        self.body(response, max).await
    }

    /// The body of an answer, or the problem in it.
    pub(super) async fn body(&self, mut response: Response, max: usize) -> Result<Bytes, Problem> {
        let status = response.status();
        if !status.is_success() {
            let pause = response
                .headers()
                .get(RETRY_AFTER)
                .and_then(|value| value.to_str().ok()?.parse().ok());
            let document = self
                .bounded(&mut response, problem::MAX_BYTES)
                .await
                .unwrap_or_default();
            let mut problem = Problem::from_answer(status.as_u16(), &document);
            problem.retry_after_s = pause.or(problem.retry_after_s);
            return Err(problem);
        }
        self.bounded(&mut response, max).await
    }

    async fn bounded(&self, response: &mut Response, max: usize) -> Result<Bytes, Problem> {
        let too_large = || {
            Problem::new(
                Kind::BadAnswer,
                format!("the {}'s answer is larger than {max} bytes", self.who),
            )
        };
        if response.content_length().is_some_and(|n| n > max as u64) {
            return Err(too_large());
        }
        let chunk = response.chunk().await;
        let Some(first) = chunk.map_err(|e| self.unreachable(e))? else {
            return Ok(Bytes::new());
        };
        let mut all: Option<BytesMut> = None;
        let mut length = first.len();
        // Most answers are one chunk: hand that out without copying.
        while let Some(chunk) = response.chunk().await.map_err(|e| self.unreachable(e))? {
            length += chunk.len();
            if length > max {
                return Err(too_large());
            }
            all.get_or_insert_with(|| BytesMut::from(&first[..]))
                .extend_from_slice(&chunk);
        }
        if length > max {
            return Err(too_large());
        }
        Ok(all.map_or(first, BytesMut::freeze))
    }

    pub(super) fn read_json<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, Problem> {
        serde_json::from_slice(bytes).map_err(|e| {
            Problem::new(
                Kind::BadAnswer,
                format!("the {}'s answer cannot be read: {e}", self.who),
            )
        })
    }

    pub(super) fn unreachable(&self, error: reqwest::Error) -> Problem {
        let who = self.who;
        let timed_out = error.is_timeout();
        let mut sentence = if timed_out {
            format!("the {who} did not answer in time")
        } else if error.is_connect() {
            format!("no connection to the {who}")
        } else {
            format!("the connection to the {who} broke")
        };
        // The innermost cause is the one that says something ("connection refused"); the ones between repeat the outer one.
        let error = error.without_url();
        let mut cause: &dyn core::error::Error = &error;
        while let Some(next) = cause.source() {
            cause = next;
        }
        if !timed_out {
            sentence = format!("{sentence}: {cause}");
        }
        Problem::new(Kind::Unreachable, sentence)
    }
}
