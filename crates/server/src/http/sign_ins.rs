//! Attempts to sign in, with a token or the first admin's link: a bound for each source, and for all at once.
//!
//! Nobody is shut out for good by others' attempts: a share grows again, sessions that are open go on, and tokens go on being taken by
//! the API. A source is this machine where a proxy on it stands before the listener; of that one's clients nothing is known, so they
//! have no share that one of them could use up. What limits them is the proxy, and that few are looked at at once. (A secret has 32
//! random bytes: it is not guessed, however many try. What is bounded is the work.)

use crate::{
    app::Error,
    share::{Allowance, Shares, Source, secs},
};
use std::{net::IpAddr, num::NonZeroU32, time::Duration};
use tokio::sync::{Semaphore, SemaphorePermit};

/// What an office behind one address needs in the morning, then one each five seconds.
const SHARE: Allowance = Allowance::new(NonZeroU32::new(60).unwrap(), Duration::from_secs(5));

/// Most that are looked at at once: hellos may take half of the database's readers (`device::greet`), and one is left for the others.
const AT_ONCE: usize = 1;

/// See the module.
#[derive(Debug)]
pub(super) struct SignIns {
    shares: Shares,
    turns: Semaphore,
}

impl Default for SignIns {
    fn default() -> Self {
        Self {
            shares: Shares::new(SHARE),
            turns: Semaphore::new(AT_ONCE),
        }
    }
}

impl SignIns {
    /// A turn for an attempt of this peer, good or not; to be kept until it is looked at.
    ///
    /// # Errors
    /// [`Error::Crowded`]: its share is used up.
    pub(super) async fn turn(&self, peer: IpAddr) -> Result<SemaphorePermit<'_>, Error> {
        if let Some(source) = Source::of(peer) {
            self.shares.take(&source).map_err(|wait| Error::Crowded {
                wait_secs: secs(wait),
            })?;
        }
        // It is never closed.
        self.turns.acquire().await.map_err(|_| Error::Behind)
    }
}
