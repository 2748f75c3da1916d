//! HTTP as the daemon needs it.

use std::fmt;
use std::time::Duration;

/// Why a request came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NetError {
    /// No connection, or it broke, or it took too long.
    Unreachable(String),
    /// Another status than the one hoped for; how long to wait, in seconds, if the server said so.
    Status(u16, Option<u32>),
    /// More came than may come.
    TooLong,
    /// The answer is none to what was asked.
    Answer(&'static str),
    /// Whoever takes the bytes wants no more.
    Stopped,
}

impl fmt::Display for NetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) => f.write_str(why),
            Self::Status(404, _) => f.write_str("the server does not have it (status 404)"),
            Self::Status(status, _) => write!(f, "the server answers with status {status}"),
            Self::TooLong => f.write_str("the server sent more than it may"),
            Self::Answer(why) => f.write_str(why),
            Self::Stopped => f.write_str("stopped"),
        }
    }
}

impl std::error::Error for NetError {}

/// What takes the bytes of a download; an error ends it.
pub type Sink<'a> = dyn FnMut(&[u8]) -> Result<(), NetError> + 'a;

/// What speaks to servers. Each call ends within its time, whatever the other side does.
pub trait Net: Send + Sync + 'static {
    /// Posts a request of the device protocol; gives its answer, of at most 16,384 bytes.
    ///
    /// # Errors
    /// [`NetError`]
    fn ask(&self, url: &str, request: &[u8], within: Duration) -> Result<Vec<u8>, NetError>;

    /// Ends what [`ask`](Self::ask) waits for.
    fn give_up(&self);

    /// Gets something small.
    ///
    /// # Errors
    /// [`NetError`]
    fn get(&self, url: &str, limit: usize) -> Result<Vec<u8>, NetError>;

    /// Gets the bytes from `from` on, up to but without `end`, or as many of them as come.
    ///
    /// # Errors
    /// [`NetError`], the sink's among them; the sink may have got some bytes before.
    fn get_part(&self, url: &str, from: u64, end: u64, sink: &mut Sink<'_>)
    -> Result<(), NetError>;

    /// Ends everything, from now on.
    fn stop(&self);
}
