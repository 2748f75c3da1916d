//! Who may start a handshake when there is much to do: a bound, and a cookie below it that costs no memory.

use core::fmt;

use zeroize::ZeroizeOnDrop;

use crate::crypto::{constant_time_eq, first_16, hmac_sha256};
use crate::protocol::Time;
use crate::protocol::frame::Cookie;

const MINUTE_MS: u64 = 60_000;

/// The door before the handshakes of one server process.
#[derive(ZeroizeOnDrop)]
pub struct Door {
    secret: [u8; 32],
    /// From so many handshakes in progress on, a cookie is asked for.
    #[zeroize(skip)]
    calm_max: u32,
    /// So many are never exceeded.
    #[zeroize(skip)]
    in_progress_max: u32,
}

/// What becomes of a hello before anything is computed for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may be read.
    Come,
    /// It is to come back with this cookie.
    Retry(Cookie),
    /// There are too many.
    Busy,
}

impl Door {
    /// A door with a secret that lives as long as the process.
    #[must_use]
    pub const fn new(secret: [u8; 32], calm_max: u32, in_progress_max: u32) -> Self {
        Self {
            secret,
            calm_max,
            in_progress_max,
        }
    }

    /// Judges a hello from `source` (the peer's address, as bytes) while `in_progress` handshakes are being computed.
    #[must_use]
    pub fn admit(
        &self,
        in_progress: u32,
        now: Time,
        source: &[u8],
        cookie: Option<&Cookie>,
    ) -> Admission {
        if in_progress < self.calm_max {
            return Admission::Come;
        }
        let minute = now.ms() / MINUTE_MS;
        let good = cookie.is_some_and(|cookie| {
            [minute, minute.saturating_sub(1)]
                .iter()
                .any(|minute| constant_time_eq(&self.cookie(*minute, source), cookie))
        });
        if !good {
            Admission::Retry(self.cookie(minute, source))
        } else if in_progress < self.in_progress_max {
            Admission::Come
        } else {
            Admission::Busy
        }
    }

    fn cookie(&self, minute: u64, source: &[u8]) -> Cookie {
        let parts: [&[u8]; 3] = [b"kusabi.cookie.v1", &minute.to_be_bytes(), source];
        first_16(&hmac_sha256(&self.secret, &parts))
    }
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door")
            .field("calm_max", &self.calm_max)
            .field("in_progress_max", &self.in_progress_max)
            .finish_non_exhaustive()
    }
}
