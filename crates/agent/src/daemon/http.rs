//! The real [`Net`]: HTTP by `ureq`, without redirects, proxies, cookies or compression.
//!
//! Whatever the other side does, a call ends: time and size of everything are bounded, headers too. With the feature `tls` it speaks
//! to `https://` addresses, too ([`tls`](super::tls)).

use std::io::Read as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kusabi_core::protocol::ANSWER_LEN_MAX;
use ureq::http::{HeaderMap, Response, StatusCode, header};
use ureq::{Agent, Body};

use super::net::{Net, NetError, Sink};
use super::pace::Pace;
use super::tls::{self, CaError};
use crate::config::ServerConfig;
use crate::updater::PIECE_BYTES;

/// Media type of the device protocol.
const MEDIA_TYPE: &str = "application/kusabi+cbor";
const CONNECT: Duration = Duration::from_secs(10);
const SMALL: Duration = Duration::from_secs(30);
/// How long one part of a download may take; what came until then is kept.
const PART: Duration = Duration::from_secs(120);
/// Longest headers of an answer.
const HEADERS_BYTES_MAX: usize = 16 << 10;

/// HTTP.
#[derive(Debug)]
pub struct Http {
    /// For the device protocol; another one after each request that was given up.
    asking: Mutex<Agent>,
    getting: Agent,
    config: ureq::config::Config,
    pace: Option<Pace>,
}

impl Http {
    /// A client with no connection yet.
    ///
    /// # Errors
    /// The certificates of its authorities cannot be used (only with the feature `tls`).
    pub fn new(server: &ServerConfig) -> Result<Self, CaError> {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .user_agent(concat!("kusabi-agent/", env!("CARGO_PKG_VERSION")))
            .max_response_header_size(HEADERS_BYTES_MAX)
            .input_buffer_size(32 << 10)
            .output_buffer_size(8 << 10)
            .max_idle_connections(2)
            .max_idle_connections_per_host(1)
            .timeout_connect(Some(CONNECT))
            .timeout_resolve(Some(CONNECT));
        let config = tls::trusting(config, server)?.build();
        Ok(Self {
            asking: Mutex::new(config.new_agent()),
            getting: config.new_agent(),
            config,
            pace: None,
        })
    }

    /// Downloads take no more than so many bytes in a second.
    #[must_use]
    pub fn limited(mut self, bytes_per_s: Option<u64>) -> Self {
        self.pace = bytes_per_s.map(Pace::new);
        self
    }

    fn call(
        &self,
        url: &str,
        range: Option<&str>,
        within: Duration,
    ) -> Result<Response<Body>, NetError> {
        let mut request = self
            .getting
            .get(url)
            .config()
            .timeout_global(Some(within))
            .build();
        if let Some(range) = range {
            request = request.header(header::RANGE, range);
        }
        request.call().map_err(failed)
    }
}

impl Net for Http {
    fn ask(&self, url: &str, request: &[u8], within: Duration) -> Result<Vec<u8>, NetError> {
        let agent = self
            .asking
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let response = agent
            .post(url)
            .header(header::CONTENT_TYPE, MEDIA_TYPE)
            .config()
            .timeout_global(Some(within))
            .build()
            .send(request)
            .map_err(failed)?;
        read(successful(response)?, ANSWER_LEN_MAX)
    }

    fn give_up(&self) {
        let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *asking, self.config.new_agent()).shutdown();
    }

    fn get(&self, url: &str, limit: usize) -> Result<Vec<u8>, NetError> {
        read(successful(self.call(url, None, SMALL)?)?, limit)
    }

    fn get_part(
        &self,
        url: &str,
        from: u64,
        end: u64,
        sink: &mut Sink<'_>,
    ) -> Result<(), NetError> {
        let range = format!("bytes={from}-{}", end.saturating_sub(1));
        let mut response = successful(self.call(url, Some(&range), PART)?)?;
        // A server that knows no ranges sends all of it: what is here already is passed over.
        let mut skip = if response.status() == StatusCode::PARTIAL_CONTENT {
            let starts = starts_at(response.headers());
            if starts != Some(from) {
                return Err(NetError::Answer(
                    "the server sent another part than the one asked for",
                ));
            }
            0
        } else {
            from
        };
        let mut left = end.saturating_sub(from);
        let pace = self.pace.as_ref();
        let mut piece = vec![0; pace.map_or(PIECE_BYTES, Pace::piece)];
        let mut body = response.body_mut().as_reader();
        while left > 0 {
            let read = match body.read(&mut piece) {
                Ok(0) => return Ok(()),
                Ok(read) => read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(NetError::Unreachable(error.to_string())),
            };
            if let Some(pace) = pace {
                pace.wait(read);
            }
            let passed = skip.min(read as u64);
            skip -= passed;
            let bytes = piece
                .get(usize::try_from(passed).unwrap_or(read)..read)
                .unwrap_or_default();
            let take = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
            let bytes = bytes.get(..take).unwrap_or_default();
            left -= bytes.len() as u64;
            if !bytes.is_empty() {
                sink(bytes)?;
            }
        }
        Ok(())
    }

    fn stop(&self) {
        self.getting.clone().shutdown();
        let asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        asking.clone().shutdown();
        if let Some(pace) = &self.pace {
            pace.stop();
        }
    }
}

fn successful(response: Response<Body>) -> Result<Response<Body>, NetError> {
    if response.status() == StatusCode::OK || response.status() == StatusCode::PARTIAL_CONTENT {
        return Ok(response);
    }
    let after = response.headers().get(header::RETRY_AFTER);
    let after = after.and_then(|value| value.to_str().ok()?.trim().parse().ok());
    Err(NetError::Status(response.status().as_u16(), after))
}

fn read(mut response: Response<Body>, limit: usize) -> Result<Vec<u8>, NetError> {
    let config = response.body_mut().with_config().limit(limit as u64);
    config.read_to_vec().map_err(failed)
}

/// Where a part begins: `bytes 100-199/1000`.
fn starts_at(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(header::CONTENT_RANGE)?.to_str().ok()?;
    let (start, _) = range.strip_prefix("bytes ")?.split_once('-')?;
    start.trim().parse().ok()
}

fn failed(error: ureq::Error) -> NetError {
    match error {
        ureq::Error::BodyExceedsLimit(_) => NetError::TooLong,
        ureq::Error::Io(error) => NetError::Unreachable(tls::refusal(&error)),
        ureq::Error::Timeout(_) => {
            NetError::Unreachable("the server did not answer in time".into())
        }
        ureq::Error::HostNotFound => NetError::Unreachable("the server's name is not known".into()),
        error => NetError::Unreachable(error.to_string()),
    }
}
