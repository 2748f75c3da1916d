//! Problem types (RFC 9457): what a request gets when it is not served.
//!
//! One enum, one table: a [`Kind`] fixes the type URI, the HTTP status, the title and whether trying again can help. Every error of
//! every HTTP API is one of these; `docs/api.md` prints the same table and a test compares the two.

use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Media type of a problem document (RFC 9457, section 3).
pub const MEDIA_TYPE: &str = "application/problem+json";

/// What stands before the slug in a problem's `type`.
pub const TYPE_PREFIX: &str = "urn:kusabi:problem:";

/// Longest problem document that a client reads, in bytes.
pub const MAX_BYTES: usize = 16 * 1024;

/// Longest detail that is taken over from an answer, in characters.
const MAX_DETAIL: usize = 1_024;

/// Whether the same request may succeed later without being changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// No: the request itself has to change.
    No,
    /// Yes, after the pause that the answer names.
    Later,
}

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $name:ident = $slug:literal, $status:literal, $retry:ident, $title:literal;)+) => {
        /// The kinds of problem.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Kind { $($(#[doc = $doc])+ $name,)+ }

        impl Kind {
            /// All kinds, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The last part of the type URI; never reused for another meaning.
            #[must_use]
            pub const fn slug(self) -> &'static str { match self { $(Self::$name => $slug,)+ } }

            /// The HTTP status code.
            #[must_use]
            pub const fn status(self) -> u16 { match self { $(Self::$name => $status,)+ } }

            /// The title: the same for every occurrence (RFC 9457, section 3.1.3).
            #[must_use]
            pub const fn title(self) -> &'static str { match self { $(Self::$name => $title,)+ } }

            /// Whether the same request may succeed later.
            #[must_use]
            pub const fn retry(self) -> Retry { match self { $(Self::$name => Retry::$retry,)+ } }
        }
    };
}

kinds! {
    /// The bytes are not what they should be: no CBOR, wrong shape, a value out of its bounds.
    Malformed = "malformed", 400, No, "The body could not be read";
    /// The bytes can be read, but their canonical encoding differs.
    NotCanonical = "not-canonical", 400, No, "The encoding is not canonical";
    /// A part of the path, of the query or of a header has the wrong form.
    BadParameter = "bad-parameter", 400, No, "A part of the address or of a header has the wrong form";
    /// The request does not say who asks, or with a token that is none (any more).
    Unauthenticated = "unauthenticated", 401, No, "The request does not say who asks";
    /// Who asks is known, and the role does not allow it.
    Forbidden = "forbidden", 403, No, "The role does not allow this";
    /// No such page, block or transaction. An unknown key is not a problem: it gets a proof of absence.
    Unknown = "unknown", 404, No, "There is nothing at this address";
    /// The page exists, the method does not.
    MethodNotAllowed = "method-not-allowed", 405, No, "This address does not take this method";
    /// None of the forms that `Accept` names can be made.
    NotAcceptable = "not-acceptable", 406, No, "The answer has none of the forms asked for";
    /// The client took too long to send its request.
    RequestTimeout = "request-timeout", 408, Later, "The request took too long to arrive";
    /// The transaction speaks of a state that is no longer the ledger's, or was already carried out.
    Conflict = "conflict", 409, No, "The ledger has moved on";
    /// There is something with this name, serial or handle already.
    Exists = "exists", 409, No, "There is one already";
    /// What was asked for happened before, and cannot happen twice.
    AlreadyDone = "already-done", 409, No, "This was done already";
    /// A part of something that is sent in parts begins beyond what has arrived, or another one is sending it now.
    WrongOffset = "wrong-offset", 409, No, "The upload goes on at another place";
    /// The body is above its limit.
    TooLarge = "too-large", 413, No, "The body is too large";
    /// The path or query is above its limit.
    AddressTooLong = "address-too-long", 414, No, "The address is too long";
    /// The body's media type is not the one that is read here.
    UnsupportedMediaType = "unsupported-media-type", 415, No, "The body has another media type than expected";
    /// The range asked for begins beyond the end.
    Range = "range", 416, No, "There is nothing in this range";
    /// The request can be read, and speaks of something that is not so: a type that nobody made, a key of another organisation.
    Unfit = "unfit", 422, No, "The request does not fit what is there";
    /// The idempotency key stands for another request.
    KeyReused = "idempotency-key-reused", 422, No, "The idempotency key stands for another request";
    /// The transaction is for another ledger.
    WrongChain = "wrong-chain", 422, No, "The transaction is for another ledger";
    /// A signature is missing or not good.
    BadSignature = "bad-signature", 422, No, "A signature is not good";
    /// The transaction is well formed, and the ledger's rules forbid it.
    Rejected = "rejected", 422, No, "The ledger's rules forbid this transaction";
    /// The pool of waiting transactions is full.
    PoolFull = "pool-full", 429, Later, "Too many transactions are waiting";
    /// This client, or all clients together, hold too many requests open.
    TooManyRequests = "too-many-requests", 429, Later, "Too many requests at once";
    /// The header lines are above their limit.
    HeaderTooLarge = "header-too-large", 431, No, "The header is too large";
    /// The node failed; its log says why, the answer does not.
    Internal = "internal", 500, No, "The node failed";
    /// The ledger node answered something that it must not answer: a bad proof, a wrong form, too many bytes.
    BadAnswer = "bad-answer", 502, No, "The ledger node's answer is not acceptable";
    /// The ledger node could not be reached, or did not answer in time.
    Unreachable = "unreachable", 502, Later, "The ledger node could not be reached";
    /// The store in which a server keeps firmware does not answer, or refuses.
    FirmwareStore = "firmware-store", 502, Later, "The firmware store does not do its part";
    /// The node has not caught up with the ledger yet.
    Behind = "behind", 503, Later, "The node is behind the ledger";
    /// Too few validators vouch for the newest header.
    Unvouched = "unvouched", 503, Later, "Too few validators vouch for the newest header";
    /// The node is stopping.
    Stopping = "stopping", 503, Later, "The node is stopping";
    /// The subscriber reads more slowly than the ledger grows.
    Lagging = "lagging", 503, Later, "The reader is too slow";
    /// The disk is full. Nothing was lost, nothing was changed.
    NoRoom = "no-room", 507, Later, "There is no room left";
}

impl Kind {
    /// The kind with this type URI.
    #[must_use]
    pub fn from_uri(uri: &str) -> Option<Self> {
        let slug = uri.strip_prefix(TYPE_PREFIX)?;
        Self::ALL.iter().copied().find(|kind| kind.slug() == slug)
    }

    /// The type URI.
    #[must_use]
    pub fn uri(self) -> String {
        format!("{TYPE_PREFIX}{}", self.slug())
    }

    /// The nearest kind for a status whose body is no problem document of ours.
    #[must_use]
    fn from_status(status: u16) -> Self {
        match status {
            400 => Self::BadParameter,
            429 => Self::TooManyRequests,
            502 | 504 => Self::Unreachable,
            503 => Self::Behind,
            _ => Self::ALL
                .iter()
                .copied()
                .find(|kind| kind.status() == status)
                .unwrap_or(Self::BadAnswer),
        }
    }
}

/// One occurrence of a problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Which problem.
    pub kind: Kind,
    /// A sentence for a person: what happened, to what, what to do.
    pub detail: Cow<'static, str>,
    /// The ledger's code of the broken rule, where the ledger refused ([`Kind::Rejected`], [`Kind::Conflict`] and their like).
    pub code: Option<u16>,
    /// Seconds to wait before trying again.
    pub retry_after_s: Option<u32>,
}

impl core::fmt::Display for Problem {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        if self.detail.is_empty() {
            f.write_str(self.kind.title())
        } else {
            f.write_str(&self.detail)
        }
    }
}

impl core::error::Error for Problem {}

impl Problem {
    /// A problem of this kind with a sentence about this occurrence. Where trying again can help, the pause is one second.
    pub fn new(kind: Kind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            code: None,
            retry_after_s: match kind.retry() {
                Retry::Later => Some(1),
                Retry::No => None,
            },
        }
    }

    /// The same with the ledger's numeric code.
    #[must_use]
    pub fn with_code(mut self, code: u16) -> Self {
        self.code = Some(code);
        self
    }

    /// The same with another pause, in seconds.
    #[must_use]
    pub fn with_retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// The problem document.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let document = Document {
            kind: Cow::Owned(self.kind.uri()),
            title: Cow::Borrowed(self.kind.title()),
            status: self.kind.status(),
            detail: Cow::Borrowed(&self.detail),
            code: self.code,
            retry_after: self.retry_after_s,
        };
        // A struct of strings and integers always encodes; an empty document is still an answer with the right status.
        serde_json::to_vec(&document).unwrap_or_default()
    }

    /// The problem in an answer with this status. Never fails: what is no problem document of ours becomes the nearest kind.
    #[must_use]
    pub fn from_answer(status: u16, body: &[u8]) -> Self {
        let read = (body.len() <= MAX_BYTES)
            .then(|| serde_json::from_slice::<Document<'_>>(body).ok())
            .flatten();
        match read {
            Some(document) => Self {
                kind: Kind::from_uri(&document.kind)
                    .unwrap_or_else(|| Kind::from_status(document.status)),
                detail: Cow::Owned(shortened(&document.detail)),
                code: document.code,
                retry_after_s: document.retry_after,
            },
            None => Self::new(
                Kind::from_status(status),
                format!("the node answered with status {status} and no problem document"),
            ),
        }
    }
}

/// The first [`MAX_DETAIL`] characters of somebody else's sentence.
fn shortened(detail: &str) -> String {
    match detail.char_indices().nth(MAX_DETAIL) {
        None => detail.to_owned(),
        Some((at, _)) => format!("{}…", &detail[..at]),
    }
}

/// The JSON form.
#[derive(Serialize, Deserialize)]
struct Document<'a> {
    #[serde(rename = "type")]
    kind: Cow<'a, str>,
    title: Cow<'a, str>,
    status: u16,
    #[serde(default)]
    detail: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry_after: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_survives_the_wire() {
        for &kind in Kind::ALL {
            let problem = Problem::new(kind, "a sentence").with_code(7);
            let back = Problem::from_answer(kind.status(), &problem.to_json());
            assert_eq!(back, problem);
        }
    }

    #[test]
    fn a_foreign_detail_is_shortened() {
        for (length, taken) in [(1_024, 1_024), (1_025, 1_025), (5_000, 1_025)] {
            let problem = Problem::new(Kind::Rejected, "ü".repeat(length));
            let read = Problem::from_answer(422, &problem.to_json());
            assert_eq!(read.detail.chars().count(), taken);
            assert_eq!(read.detail.ends_with('…'), length > 1_024);
        }
    }

    #[test]
    fn slugs_are_distinct_and_statuses_are_errors() {
        for (i, a) in Kind::ALL.iter().enumerate() {
            assert!((400..600).contains(&a.status()), "{a:?}");
            assert!(!a.title().ends_with('.'));
            assert!(Kind::ALL[i + 1..].iter().all(|b| a.slug() != b.slug()));
        }
    }

    #[test]
    fn a_strange_answer_is_still_a_problem() {
        assert_eq!(Problem::from_answer(503, b"<html>").kind, Kind::Behind);
        assert_eq!(Problem::from_answer(418, b"").kind, Kind::BadAnswer);
        assert_eq!(
            Problem::from_answer(413, &[b'x'; 20_000]).kind,
            Kind::TooLarge
        );
        let newer = br#"{"type":"urn:kusabi:problem:of-next-year","title":"?","status":429,"detail":"wait"}"#;
        let problem = Problem::from_answer(429, newer);
        assert_eq!(
            (problem.kind, problem.detail.as_ref()),
            (Kind::TooManyRequests, "wait")
        );
    }

    #[test]
    fn the_document_is_as_written_down() {
        let problem = Problem::new(
            Kind::PoolFull,
            "4,096 transactions are waiting; try again in a second",
        );
        assert_eq!(
            String::from_utf8(problem.to_json()).unwrap(),
            r#"{"type":"urn:kusabi:problem:pool-full","title":"Too many transactions are waiting","status":429,"detail":"4,096 transactions are waiting; try again in a second","retry_after":1}"#
        );
    }
}
