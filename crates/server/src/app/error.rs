//! Why a use case does not do what it was asked.

use crate::{blob::BlobError, store::StoreError};
use kusabi_api::{Problem, admin::Role, verify::VerifyError};

/// Why a use case does not do what it was asked. `http` has the one mapping to problems.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nobody is known by this secret.
    #[error("send `Authorization: Bearer …` with a token that is not revoked")]
    Unauthenticated,
    /// A Mender device gets no token.
    #[error("{0}")]
    NotAccepted(&'static str),
    /// The role is too low.
    #[error("this needs the role `{}`, the token's is `{}`", needed.name(), has.name())]
    Forbidden {
        /// The role that it takes.
        needed: Role,
        /// The role of the caller.
        has: Role,
    },
    /// There is no such thing.
    #[error("there is no {what} `{id}`")]
    Unknown {
        /// What kind of thing.
        what: &'static str,
        /// Its ID, as asked.
        id: String,
    },
    /// There is one already.
    #[error("{what} has this {by} already: `{id}`")]
    Exists {
        /// What kind of thing.
        what: &'static str,
        /// What they would have in common.
        by: &'static str,
        /// The ID of the one that is there.
        id: String,
    },
    /// It was done, and cannot be done twice.
    #[error("{0}")]
    AlreadyDone(String),
    /// What is there stands in the way.
    #[error("{0}")]
    Conflict(String),
    /// The body is not what it should be.
    #[error("{0}")]
    Malformed(String),
    /// There is more of it than is kept.
    #[error("{0}")]
    TooMuch(String),
    /// What is asked does not fit what is there.
    #[error("{0}")]
    Unfit(String),
    /// A part of the address or of a header has the wrong form.
    #[error("{0}")]
    Parameter(String),
    /// The idempotency key stands for another request.
    #[error("another request was sent with this idempotency key; take a new key for a new request")]
    KeyReused,
    /// The ledger node has not caught up.
    #[error("the ledger node has not caught up yet, or does not answer in time; try again")]
    Behind,
    /// Too many ask for what costs the server a question to the ledger, or this source does.
    #[error(
        "too many ask at once, or you do too often; nothing was done, come back in {wait_secs} s"
    )]
    Crowded {
        /// When to come back, in seconds.
        wait_secs: u32,
    },
    /// The ledger gave no acceptable answer.
    #[error(transparent)]
    Ledger(#[from] VerifyError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A content is not taken or not given.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// What it follows from is another by now; who asks looks again.
    #[error(
        "what this follows from has changed meanwhile, each of the {} times that it was tried; nothing was acknowledged, try again",
        super::TRIES
    )]
    Stale,
    /// Nothing of the content lies in the range asked for.
    #[error("the content has {size} bytes, and the range begins beyond them")]
    Range {
        /// How many bytes there are.
        size: u64,
    },
    /// A task of the server ended by itself.
    #[error("a task of the server failed: {0}")]
    Task(#[from] tokio::task::JoinError),
    /// The operating system gives no random bytes.
    #[error("no random bytes: {0}")]
    Random(#[from] std::io::Error),
    /// What this program wrote down cannot be read again, or the other way round.
    #[error("no JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl Error {
    /// The same for a further one who waited for the same answer of the ledger.
    pub(crate) fn again(&self) -> Self {
        match self {
            Self::Ledger(why) => Self::Ledger(why.clone()),
            _ => Self::Behind,
        }
    }
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        Self::Ledger(problem.into())
    }
}
