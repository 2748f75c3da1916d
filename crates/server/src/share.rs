//! Shares: how much of something each source, account or device may have, at once and over time, where there is no telling who is
//! honest.

use governor::{Quota, RateLimiter, clock, middleware::NoOpMiddleware, state};
use std::{
    fmt,
    hash::{BuildHasher as _, Hash, RandomState},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    num::NonZeroU32,
    time::{Duration, Instant},
};

/// So many at once, and one more after each `every`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowance {
    pub(crate) at_once: NonZeroU32,
    pub(crate) every: Duration,
}

impl Allowance {
    /// Both above 0; a duration of 0 counts as a nanosecond.
    pub(crate) const fn new(at_once: NonZeroU32, every: Duration) -> Self {
        Self { at_once, every }
    }

    fn quota(self) -> Quota {
        Quota::with_period(self.every)
            .unwrap_or_else(|| Quota::per_second(NonZeroU32::MAX))
            .allow_burst(self.at_once)
    }
}

/// The runtime's clock: tests stop it.
#[derive(Clone, Copy, Debug, Default)]
struct Clock;

impl clock::Clock for Clock {
    type Instant = Instant;

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }
}

type Limiter<K, S> = RateLimiter<K, S, Clock, NoOpMiddleware<Instant>>;

/// The share of one.
#[derive(Debug)]
pub(crate) struct Share(Limiter<state::NotKeyed, state::InMemoryState>);

impl Share {
    pub(crate) fn new(allowance: Allowance) -> Self {
        Self(RateLimiter::direct_with_clock(allowance.quota(), Clock))
    }

    /// Takes one.
    ///
    /// # Errors
    /// After how long there is one.
    pub(crate) fn take(&self) -> Result<(), Duration> {
        let now = clock::Clock::now(&Clock);
        self.0.check().map_err(|not| not.wait_time_from(now))
    }
}

/// Places of the table of [`Shares`]: in two bytes.
type Place = u16;

/// The shares of many, in a table that does not grow with them: each has a place, by a hash whose key this process drew. Who shares
/// another's place shares his share; that hits one in 65,536, and nobody can choose whom.
#[derive(Debug)]
pub(crate) struct Shares {
    limiter: Limiter<Place, state::keyed::HashMapStateStore<Place>>,
    places: RandomState,
}

impl Shares {
    pub(crate) fn new(allowance: Allowance) -> Self {
        Self {
            limiter: RateLimiter::hashmap_with_clock(allowance.quota(), Clock),
            places: RandomState::new(),
        }
    }

    /// Takes one of somebody's share.
    ///
    /// # Errors
    /// After how long there is one.
    pub(crate) fn take(&self, who: &impl Hash) -> Result<(), Duration> {
        let [.., high, low] = self.places.hash_one(who).to_be_bytes();
        let now = clock::Clock::now(&Clock);
        self.limiter
            .check_key(&Place::from_be_bytes([high, low]))
            .map_err(|not| not.wait_time_from(now))
    }
}

/// Whether somebody who has `own` of the `taken` places of a room that has `places` gets a further one: as long as he has fewer than are
/// free. So one alone gets half of them, the next half of what he leaves, and nobody has to say in advance how many there will be. It
/// takes many to fill the room together: fifteen, where it has 20,000 places.
pub(crate) const fn is_room(places: u64, taken: u64, own: u64) -> bool {
    own < places.saturating_sub(taken)
}

/// Whole seconds to wait, at least one.
pub(crate) fn secs(wait: Duration) -> u32 {
    let whole = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    u32::try_from(whole).unwrap_or(u32::MAX).max(1)
}

/// Where a request comes from, as far as shares go: an IPv4 address, or the first 64 bits of an IPv6 address, of which one subscriber
/// has all the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    V4(Ipv4Addr),
    V6([u16; 4]),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(address) => address.fmt(f),
            Self::V6([a, b, c, d]) => {
                write!(f, "{}/64", Ipv6Addr::new(*a, *b, *c, *d, 0, 0, 0, 0))
            }
        }
    }
}

impl Source {
    /// The source of this peer. `None`: this machine itself, or a proxy on it; behind that one cannot be told from another.
    pub(crate) fn of(peer: IpAddr) -> Option<Self> {
        let peer = peer.to_canonical();
        if peer.is_loopback() {
            return None;
        }
        Some(match peer {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Self::V6([a, b, c, d])
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREE: Allowance = Allowance::new(NonZeroU32::new(3).unwrap(), Duration::from_secs(10));

    #[tokio::test(start_paused = true)]
    async fn a_share_is_so_many_at_once_and_one_more_after_a_while() {
        let share = Share::new(THREE);
        for _ in 0..3 {
            assert_eq!(share.take(), Ok(()));
        }
        let wait = share.take().unwrap_err();
        assert_eq!(secs(wait), 10);
        // Who asks in vain does not wait longer for it.
        assert!(share.take().unwrap_err() <= wait);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(share.take(), Ok(()));
        assert!(share.take().is_err());
        tokio::time::advance(Duration::from_secs(1000)).await;
        for _ in 0..3 {
            assert_eq!(share.take(), Ok(()), "never more than at once");
        }
        assert!(share.take().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn many_sources_take_no_more_room_than_the_table_has() {
        let shares = Shares::new(THREE);
        for number in 0..200_000_u32 {
            let _ = shares.take(&number);
        }
        assert!(shares.limiter.len() <= 1 << 16);
        // All places are spent three times over by now.
        let refused = (200_000..201_000_u32).filter(|number| shares.take(number).is_err());
        assert!(refused.count() > 500);
    }

    #[test]
    fn one_leaves_room_for_others_and_few_do_not_fill_it() {
        const PLACES: u64 = 20_000;
        let mut taken = 0;
        let mut fill = || {
            let mut own = 0;
            while is_room(PLACES, taken, own) {
                own += 1;
                taken += 1;
            }
            own
        };
        assert_eq!(fill(), PLACES / 2);
        assert_eq!(fill(), PLACES / 4);
        let further = std::iter::repeat_with(fill).take_while(|own| *own > 0);
        assert_eq!(further.count(), 13);
        assert_eq!(taken, PLACES);
        assert!(!is_room(PLACES, PLACES, 0));
        assert!(
            !is_room(PLACES, PLACES + 1, 0),
            "after the bound was lowered"
        );
    }

    #[test]
    fn a_source_is_an_address_or_a_subscribers_network() {
        let of = |address: &str| Source::of(address.parse().unwrap());
        assert_eq!(of("127.0.0.1"), None);
        assert_eq!(of("::1"), None);
        assert_eq!(of("::ffff:127.0.0.9"), None);
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff:1:2:3"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert!(of("::").is_some(), "who cannot be told is one source, too");
    }
}
