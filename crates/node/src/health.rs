//! How a node is doing: whether it serves a ledger that goes on, and what it waits for where it does not.
//!
//! The engine feels once a second who is connected (`engine::pulse`); the judgement here is made whenever somebody asks.

use crate::handle::Newest;
use kusabi_api::ledger::Followed;
use kusabi_core::{id::Height, quorum::quorum};
use std::{
    fmt,
    time::{Duration, Instant},
};

/// Among several validators the ledger has stopped, as far as this node sees, when it has shown no new block for so many
/// heartbeats.
const HEARTBEATS: u32 = 3;
/// But not sooner: with a short heartbeat a leader that is down takes some turns.
const STALE_MIN: Duration = Duration::from_secs(10);
/// For so long fewer nodes may be connected than a quorum takes: others are restarted, connections break.
const SHORT: Duration = Duration::from_secs(30);

/// The members end an epoch at the latest after so long, for vote keys are fresh in each.
const EPOCH_MAX: Duration = Duration::from_hours(24 * 30);
/// How often it is said that an epoch has lasted longer.
const REMIND_MS: u64 = 24 * 3_600_000;

/// What the engine felt last.
#[derive(Clone, Debug)]
pub(crate) struct Pulse {
    /// The node's clock, in milliseconds since 1970.
    pub(crate) clock_ms: u64,
    /// The other validators' nodes; `None` before this one speaks with them, and where there are none.
    pub(crate) peers: Option<Peers>,
    /// How many more validators have to say what they know of its key's votes before it votes, where that takes long.
    pub(crate) awaits: usize,
}

/// The other validators' nodes, as one node sees them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peers {
    /// How many of them are connected.
    pub connected: usize,
    /// Addresses of those that are not.
    pub missing: Vec<String>,
    /// Since when fewer are connected than a quorum takes.
    pub(crate) short_since: Option<Instant>,
}

impl From<&Peers> for kusabi_api::ledger::Peers {
    fn from(peers: &Peers) -> Self {
        Self {
            connected: peers.connected as u64,
            of: peers.of() as u64,
            missing: peers.missing.clone(),
        }
    }
}

impl Peers {
    /// How many there are.
    #[must_use]
    pub fn of(&self) -> usize {
        self.connected + self.missing.len()
    }

    /// How many validators a quorum takes: of these and the node itself.
    fn quorum(&self) -> usize {
        quorum(self.of() + 1)
    }

    /// Whether fewer are connected than a quorum takes.
    fn short(&self) -> bool {
        self.connected + 1 < self.quorum()
    }

    /// The same, felt anew at `now` with those that are `missing` now.
    pub(crate) fn anew(
        before: Option<&Self>,
        connected: usize,
        missing: Vec<String>,
        now: Instant,
    ) -> Self {
        let mut peers = Self {
            connected,
            missing,
            short_since: None,
        };
        if peers.short() {
            let since = before.and_then(|before| before.short_since);
            peers.short_since = Some(since.unwrap_or(now));
        }
        peers
    }
}

/// The nodes that a follower follows, as it sees them.
#[derive(Clone, Debug, Default)]
pub struct Following {
    /// All of them, in the order in which they were named.
    pub nodes: Vec<Followed>,
    /// Which of them gives it blocks now.
    pub(crate) from: Option<usize>,
    /// Since when none does.
    pub(crate) none_since: Option<Instant>,
    /// The newest height for which it saw a quorum's signatures.
    pub(crate) newest: Height,
}

impl Following {
    /// Heights between this one and the newest.
    fn behind(&self, height: Height) -> u64 {
        self.newest.get().saturating_sub(height.get())
    }

    /// As a follower's status shows it.
    pub(crate) fn view(&self, height: Height) -> kusabi_api::ledger::Following {
        let from = self.from.and_then(|from| self.nodes.get(from));
        kusabi_api::ledger::Following {
            from: from.map(|node| node.address.clone()),
            behind: self.behind(height),
            nodes: self.nodes.clone(),
        }
    }

    /// What is the matter with each, where no one can be had.
    fn troubles(&self) -> Vec<String> {
        let troubles = self.nodes.iter().map(|node| {
            let trouble = node.trouble.as_deref().unwrap_or("is being asked");
            format!("{}: {trouble}", node.address)
        });
        troubles.collect()
    }

    /// Whether none gives blocks, and it is known of each why.
    fn at_a_loss(&self) -> bool {
        self.from.is_none() && self.nodes.iter().all(|node| node.trouble.is_some())
    }
}

/// What a node waits for before it serves a ledger that goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitsFor {
    /// It reads what is on its disk.
    Disk,
    /// It shows older blocks than there are.
    CatchingUp {
        /// Height of the newest that it shows.
        height: Height,
        /// How old that is, where this is known.
        age: Option<Duration>,
    },
    /// A follower: blocks that it knows there are.
    Behind {
        /// Height of the newest that it shows.
        height: Height,
        /// Height of the newest that it saw a quorum's signatures for.
        newest: Height,
        /// How old the one that it shows is, where this is known.
        age: Option<Duration>,
    },
    /// A follower: a node that gives it blocks. What is the matter with those that it knows.
    Nodes(Vec<String>),
    /// More nodes of validators.
    Quorum(Peers),
    /// The first block of the ledger, or of an epoch that was recovered or handed over to, now that a quorum is connected.
    FirstBlock(Peers),
    /// What other validators know of its key's votes; so many have not said it that it does not vote yet, nor follow those who do.
    Answers(usize),
    /// A new block, though a quorum is connected.
    Block {
        /// Height of the newest.
        height: Height,
        /// For how long there was none.
        quiet: Duration,
        /// Time between two when nothing happens.
        heartbeat: Duration,
        /// Who is connected.
        peers: Option<Peers>,
    },
}

impl WaitsFor {
    /// Whether it is the same for a person: ages and heights grow, and say nothing new.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        let connected = |peers: &Peers| (peers.connected, peers.missing.clone());
        match (self, other) {
            (Self::Quorum(a), Self::Quorum(b)) | (Self::FirstBlock(a), Self::FirstBlock(b)) => {
                connected(a) == connected(b)
            }
            (a, b) => std::mem::discriminant(a) == std::mem::discriminant(b),
        }
    }
}

impl fmt::Display for WaitsFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk => f.write_str("starting: reading what is on the disk"),
            Self::CatchingUp { height, age: None } => write!(f, "catching up: height {height}"),
            Self::CatchingUp {
                height,
                age: Some(age),
            } => write!(
                f,
                "catching up: height {height}, whose block is {} old",
                Span(*age)
            ),
            Self::Behind {
                height,
                newest,
                age,
            } => {
                write!(f, "catching up: height {height} of {newest}")?;
                match age {
                    None => Ok(()),
                    Some(age) => write!(f, ", whose block is {} old", Span(*age)),
                }
            }
            Self::Nodes(troubles) => write!(
                f,
                "none of the nodes that it follows gives blocks: {}",
                troubles.join("; ")
            ),
            Self::Quorum(peers) => write!(
                f,
                "no quorum: connected to {} of {} other validators, {} of {} validators are needed; not connected: {}",
                peers.connected,
                peers.of(),
                peers.quorum(),
                peers.of() + 1,
                peers.missing.join(", ")
            ),
            Self::Answers(missing) => write!(
                f,
                "not voting yet: {missing} more of the other validators have to say what they know of this vote key's votes; they do not \
                 run, do not reach this node, or run an older version"
            ),
            Self::FirstBlock(peers) => write!(
                f,
                "connected to {} of {} other validators, enough for the first block",
                peers.connected,
                peers.of()
            ),
            Self::Block {
                height,
                quiet,
                heartbeat,
                peers,
            } => {
                write!(
                    f,
                    "no new block for {} after height {height}, and one should come every {}",
                    Span(*quiet),
                    Span(*heartbeat)
                )?;
                match peers {
                    None => Ok(()),
                    Some(peers) => write!(
                        f,
                        "; connected to {} of {} other validators",
                        peers.connected,
                        peers.of()
                    ),
                }
            }
        }
    }
}

/// A span of time for people: seconds up to two minutes, then minutes up to two hours, then hours.
struct Span(Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_secs() {
            0 => write!(f, "{} ms", self.0.as_millis()),
            seconds @ ..120 => write!(f, "{seconds} s"),
            seconds @ ..7_200 => write!(f, "{} min", seconds / 60),
            seconds => write!(f, "{} h", seconds / 3_600),
        }
    }
}

/// What the judgement is made of.
#[derive(Debug)]
pub(crate) struct Signs<'a> {
    /// How many validators the ledger has.
    pub(crate) validators: usize,
    pub(crate) heartbeat: Duration,
    /// Whether the node answers: it shows all that was final here before.
    pub(crate) begun: bool,
    /// Whether it shows all blocks that there are before the newest epoch's first one.
    pub(crate) at_opening: bool,
    pub(crate) newest: Option<Newest>,
    pub(crate) pulse: Option<&'a Pulse>,
    /// Whom a follower follows.
    pub(crate) following: Option<&'a Following>,
    /// Time of the epoch's first block, in milliseconds since 1970, where there is one.
    pub(crate) epoch_began_ms: Option<u64>,
    pub(crate) now: Instant,
}

impl Signs<'_> {
    /// How old the newest block is, by the node's clock.
    pub(crate) fn age(&self) -> Option<Duration> {
        let (newest, pulse) = (self.newest?, self.pulse?);
        let age_ms = pulse.clock_ms.saturating_sub(newest.time_ms);
        (newest.height > Height::ZERO).then(|| Duration::from_millis(age_ms))
    }

    /// How old the epoch is, by the node's clock: keys grow older also while the ledger stands still.
    pub(crate) fn epoch_age(&self) -> Option<Duration> {
        let (began_ms, pulse) = (self.epoch_began_ms?, self.pulse?);
        let age_ms = pulse.clock_ms.saturating_sub(began_ms);
        Some(Duration::from_millis(age_ms))
    }

    /// How old the epoch is, where that is older than it should become.
    ///
    /// That of a lone validator may become as old as it likes. Epochs turn so that vote keys taken from one machine after the other
    /// never add up to a quorum of one epoch. A lone validator's key is a quorum by itself: whoever copies it has the ledger at
    /// once, and has the next key in the same way; and each turn is one more step that every device has to follow.
    pub(crate) fn epoch_overdue(&self) -> Option<Duration> {
        self.epoch_age()
            .filter(|age| self.validators > 1 && *age > EPOCH_MAX)
    }

    /// What the node waits for; nothing, when it is ready.
    pub(crate) fn waits_for(&self) -> Option<WaitsFor> {
        if let Some(following) = self.following {
            return self.waits_for_others(following);
        }
        let peers = self.pulse.and_then(|pulse| pulse.peers.as_ref());
        let height = self.newest.map_or(Height::ZERO, |newest| newest.height);
        let awaits = self.pulse.map_or(0, |pulse| pulse.awaits);
        if !self.begun {
            return Some(match (self.newest, peers) {
                (None, _) => WaitsFor::Disk,
                (Some(_), _) if !self.at_opening => WaitsFor::CatchingUp { height, age: None },
                (Some(_), None) => WaitsFor::Disk,
                // Nobody has what comes next: a quorum makes it.
                (Some(_), Some(peers)) if peers.short() => WaitsFor::Quorum(peers.clone()),
                (Some(_), Some(_)) if awaits > 0 => WaitsFor::Answers(awaits),
                (Some(_), Some(peers)) => WaitsFor::FirstBlock(peers.clone()),
            });
        }
        if self.validators <= 1 {
            // It is the quorum.
            return None;
        }
        let short = peers.filter(|peers| peers.short());
        let since = |since: Instant| self.now.saturating_duration_since(since);
        let stale = (self.heartbeat * HEARTBEATS).max(STALE_MIN);
        let quiet = self.newest.and_then(|newest| newest.seen).map(since);
        let quiet = quiet.filter(|quiet| *quiet > stale);
        let late = self.newest.is_some_and(|newest| newest.late);
        let age = self.age().filter(|age| *age > stale && !late);
        match short {
            Some(peers)
                if quiet.is_some()
                    || age.is_some()
                    || peers.short_since.map(since) > Some(SHORT) =>
            {
                Some(WaitsFor::Quorum(peers.clone()))
            }
            _ if awaits > 0 => Some(WaitsFor::Answers(awaits)),
            _ => match (quiet, age) {
                (Some(quiet), _) => Some(WaitsFor::Block {
                    height,
                    quiet,
                    heartbeat: self.heartbeat,
                    peers: peers.cloned(),
                }),
                (None, Some(_)) => Some(WaitsFor::CatchingUp { height, age }),
                (None, None) => None,
            },
        }
    }
}

impl Signs<'_> {
    /// The same for a follower. That it is not the newest for a moment is no news: each block comes to it last.
    fn waits_for_others(&self, following: &Following) -> Option<WaitsFor> {
        let Some(newest) = self.newest else {
            return Some(WaitsFor::Disk);
        };
        let (height, age) = (newest.height, self.age());
        let since = |since: Instant| self.now.saturating_duration_since(since);
        let alone = following.none_since.map(since) > Some(SHORT);
        if (!self.begun && following.at_a_loss()) || alone {
            return Some(WaitsFor::Nodes(following.troubles()));
        }
        let behind = || match following.behind(height) {
            0 => WaitsFor::CatchingUp { height, age },
            _ => WaitsFor::Behind {
                height,
                newest: following.newest,
                age,
            },
        };
        if !self.begun {
            return Some(behind());
        }
        let stale = (self.heartbeat * HEARTBEATS).max(STALE_MIN);
        let quiet = newest.seen.map(since).unwrap_or_default();
        if following.behind(height) > 0 && quiet > STALE_MIN {
            return Some(behind());
        }
        if quiet > stale {
            return Some(WaitsFor::Block {
                height,
                quiet,
                heartbeat: self.heartbeat,
                peers: None,
            });
        }
        (age > Some(stale) && !newest.late).then(behind)
    }
}

/// That an epoch has lasted longer than it should, and what to do, in words.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Overdue(pub(crate) Duration);

impl fmt::Display for Overdue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days = |time: Duration| time.as_secs() / 86_400;
        write!(
            f,
            "the epoch is {} days old, and it should end after {} at the latest: the members appoint the next one, with fresh vote \
             keys (kusabi epoch new)",
            days(self.0),
            days(EPOCH_MAX)
        )
    }
}

/// Keeps when it was last said that the epoch has to be ended.
#[derive(Debug, Default)]
pub(crate) struct Reminder {
    told_ms: Option<u64>,
}

impl Reminder {
    /// Whether it is to be said at this time: once a day, also where the clock was set back.
    pub(crate) fn is_due(&mut self, clock_ms: u64) -> bool {
        let due = self
            .told_ms
            .is_none_or(|told_ms| clock_ms.abs_diff(told_ms) >= REMIND_MS);
        if due {
            self.told_ms = Some(clock_ms);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kusabi_core::id::Epoch;

    const HEARTBEAT: Duration = Duration::from_secs(60);
    const CLOCK_MS: u64 = 1_000_000_000;

    fn peers(connected: usize, of: usize, short_since: Option<Instant>) -> Peers {
        let missing = (connected..of).map(|n| format!("n{n}.example:7043"));
        Peers {
            connected,
            missing: missing.collect(),
            short_since,
        }
    }

    /// A node of four that began, whose newest block came at `seen` and is as old.
    fn judge(peers: Option<Peers>, seen: Instant, now: Instant) -> Option<WaitsFor> {
        let age = now.saturating_duration_since(seen).as_millis();
        judge_with(peers, seen, now, CLOCK_MS - u64::try_from(age).unwrap())
    }

    fn judge_with(
        peers: Option<Peers>,
        seen: Instant,
        now: Instant,
        time_ms: u64,
    ) -> Option<WaitsFor> {
        let pulse = Pulse {
            awaits: 0,
            clock_ms: CLOCK_MS,
            peers,
        };
        Signs {
            validators: 4,
            heartbeat: HEARTBEAT,
            begun: true,
            at_opening: false,
            newest: Some(newest(12, time_ms, seen)),
            pulse: Some(&pulse),
            following: None,
            epoch_began_ms: None,
            now,
        }
        .waits_for()
    }

    fn newest(height: u64, time_ms: u64, seen: Instant) -> Newest {
        Newest {
            height: Height::new(height).unwrap(),
            time_ms,
            epoch: Epoch::ZERO,
            hash: kusabi_core::id::HeaderHash::ZERO,
            view: 40,
            seen: Some(seen),
            late: false,
        }
    }

    fn later(at: Instant, seconds: u64) -> Instant {
        at + Duration::from_secs(seconds)
    }

    #[test]
    fn a_short_moment_without_a_quorum_is_none_and_a_long_one_is() {
        let begin = Instant::now();
        let short = |connected| Some(peers(connected, 3, Some(begin)));
        for (connected, after, ready) in [(1, 30, true), (1, 31, false), (0, 31, false)] {
            let now = later(begin, after);
            let waits_for = judge(short(connected), now, now);
            assert_eq!(waits_for.is_none(), ready, "{connected} {after}");
        }
        let now = later(begin, 31);
        let said = judge(short(1), now, now).unwrap().to_string();
        assert_eq!(
            said,
            "no quorum: connected to 1 of 3 other validators, 3 of 4 validators are needed; \
             not connected: n1.example:7043, n2.example:7043"
        );
        // With two others there is one.
        assert_eq!(judge(Some(peers(2, 3, None)), now, now), None);
    }

    #[test]
    fn how_long_it_is_short_is_counted_from_the_first_moment() {
        let begin = Instant::now();
        let missing = |n: usize| vec![String::from("a:1"); n];
        let first = Peers::anew(None, 1, missing(2), begin);
        let then = Peers::anew(Some(&first), 0, missing(3), later(begin, 9));
        assert_eq!(then.short_since, Some(begin));
        let enough = Peers::anew(Some(&then), 2, missing(1), later(begin, 10));
        assert_eq!(enough.short_since, None);
        let again = Peers::anew(Some(&enough), 1, missing(2), later(begin, 11));
        assert_eq!(again.short_since, Some(later(begin, 11)));
    }

    #[test]
    fn no_block_for_three_heartbeats_is_said_whoever_is_connected() {
        let begin = Instant::now();
        for (after, ready) in [(180, true), (181, false)] {
            let now = later(begin, after);
            let waits_for = judge(Some(peers(3, 3, None)), begin, now);
            assert_eq!(waits_for.is_none(), ready, "{after}");
        }
        let said = judge(Some(peers(3, 3, None)), begin, later(begin, 181)).unwrap();
        assert_eq!(
            said.to_string(),
            "no new block for 3 min after height 12, and one should come every 60 s; connected to 3 of 3 other validators"
        );
        // Where a quorum is missing as well, this is the reason.
        let since = Some(later(begin, 175));
        let said = judge(Some(peers(1, 3, since)), begin, later(begin, 181));
        assert!(matches!(said, Some(WaitsFor::Quorum(_))), "{said:?}");
    }

    #[test]
    fn old_blocks_that_keep_coming_are_a_node_that_catches_up() {
        let now = Instant::now();
        let said = judge_with(Some(peers(3, 3, None)), now, now, CLOCK_MS - 600_000).unwrap();
        assert_eq!(
            said.to_string(),
            "catching up: height 12, whose block is 10 min old"
        );
        // Where the ledger's own time runs after the clocks, its blocks are old everywhere.
        let pulse = Pulse {
            awaits: 0,
            clock_ms: CLOCK_MS,
            peers: Some(peers(3, 3, None)),
        };
        let late = Newest {
            late: true,
            ..newest(12, CLOCK_MS - 600_000, now)
        };
        let signs = Signs {
            validators: 4,
            heartbeat: HEARTBEAT,
            begun: true,
            at_opening: false,
            newest: Some(late),
            pulse: Some(&pulse),
            following: None,
            epoch_began_ms: None,
            now,
        };
        assert_eq!(signs.waits_for(), None);
        // A clock that is behind the block's time says nothing.
        let ahead = judge_with(Some(peers(3, 3, None)), now, now, CLOCK_MS + 600_000);
        assert_eq!(ahead, None);
    }

    #[test]
    fn what_a_node_waits_for_before_it_begins() {
        let now = Instant::now();
        let judge_at = |at_opening, newest: Option<Newest>, peers: Option<Peers>| {
            let pulse = Pulse {
                awaits: 0,
                clock_ms: CLOCK_MS,
                peers,
            };
            let signs = Signs {
                validators: 4,
                heartbeat: HEARTBEAT,
                begun: false,
                at_opening,
                newest,
                pulse: Some(&pulse),
                following: None,
                epoch_began_ms: None,
                now,
            };
            signs.waits_for().unwrap().to_string()
        };
        let judge = |newest, peers| judge_at(true, newest, peers);
        assert_eq!(judge(None, None), "starting: reading what is on the disk");
        let unread = judge_at(false, None, Some(peers(0, 3, Some(now))));
        assert_eq!(unread, "starting: reading what is on the disk");
        let genesis = Some(newest(0, 0, now));
        let said = judge(genesis, Some(peers(1, 3, Some(now))));
        assert!(said.starts_with("no quorum: connected to 1 of 3"), "{said}");
        assert_eq!(
            judge(genesis, Some(peers(2, 3, None))),
            "connected to 2 of 3 other validators, enough for the first block"
        );
        let twelve = Some(newest(12, 0, now));
        let catching_up = judge_at(false, twelve, Some(peers(1, 3, Some(now))));
        assert_eq!(catching_up, "catching up: height 12");
        // With all that there was before a recovery, it is others who are missing.
        let said = judge(twelve, Some(peers(1, 3, Some(now))));
        assert!(said.starts_with("no quorum: connected to 1 of 3"), "{said}");
        assert_eq!(
            judge(twelve, Some(peers(2, 3, None))),
            "connected to 2 of 3 other validators, enough for the first block"
        );
    }

    #[test]
    fn a_lone_validator_is_ready_however_old_its_newest_block_is() {
        let begin = Instant::now();
        let pulse = Pulse {
            awaits: 0,
            clock_ms: CLOCK_MS,
            peers: None,
        };
        let signs = |begun| Signs {
            validators: 1,
            heartbeat: HEARTBEAT,
            begun,
            at_opening: false,
            newest: Some(newest(12, 0, begin)),
            pulse: Some(&pulse),
            following: None,
            epoch_began_ms: None,
            now: later(begin, 100_000),
        };
        assert_eq!(signs(true).waits_for(), None);
        assert!(signs(false).waits_for().is_some());
    }

    #[test]
    fn what_a_follower_waits_for() {
        let begin = Instant::now();
        let node = |address: &str, trouble: Option<&str>| Followed {
            address: address.to_owned(),
            trouble: trouble.map(str::to_owned),
            lied: false,
        };
        let good = Following {
            nodes: vec![node("http://a", None), node("http://b", Some("is away"))],
            from: Some(0),
            none_since: None,
            newest: Height::new(12).unwrap(),
        };
        let judge = |following: &Following, begun, after: u64, old_ms: u64| {
            let pulse = Pulse {
                awaits: 0,
                clock_ms: CLOCK_MS,
                peers: None,
            };
            Signs {
                // That of a lone validator is ready whatever happens; whoever follows it is not.
                validators: 1,
                heartbeat: HEARTBEAT,
                begun,
                at_opening: false,
                newest: Some(newest(12, CLOCK_MS - old_ms, begin)),
                pulse: Some(&pulse),
                following: Some(following),
                epoch_began_ms: None,
                now: later(begin, after),
            }
            .waits_for()
            .map(|waits_for| waits_for.to_string())
        };
        assert_eq!(judge(&good, true, 180, 180_000), None);
        assert_eq!(
            judge(&good, true, 181, 0).unwrap(),
            "no new block for 3 min after height 12, and one should come every 60 s"
        );
        assert_eq!(
            judge(&good, true, 0, 600_000).unwrap(),
            "catching up: height 12, whose block is 10 min old"
        );
        let behind = Following {
            newest: Height::new(40).unwrap(),
            ..good.clone()
        };
        assert_eq!(judge(&behind, true, 10, 10_000), None);
        assert_eq!(
            judge(&behind, true, 11, 11_000).unwrap(),
            "catching up: height 12 of 40, whose block is 11 s old"
        );
        assert_eq!(
            judge(&behind, false, 0, 1_000).unwrap(),
            "catching up: height 12 of 40, whose block is 1 s old"
        );
        let lost = Following {
            nodes: vec![
                node("http://a", Some("lies: no")),
                node("http://b", Some("is away")),
            ],
            from: None,
            none_since: Some(begin),
            ..good
        };
        let said =
            "none of the nodes that it follows gives blocks: http://a: lies: no; http://b: is away";
        assert_eq!(judge(&lost, true, 30, 30_000), None);
        assert_eq!(judge(&lost, true, 31, 31_000).unwrap(), said);
        assert_eq!(judge(&lost, false, 0, 1_000).unwrap(), said);
    }

    #[test]
    fn growing_ages_are_no_news() {
        let now = Instant::now();
        let quorum = |n| WaitsFor::Quorum(peers(n, 3, Some(now)));
        assert!(quorum(1).same(&WaitsFor::Quorum(peers(1, 3, None))));
        assert!(!quorum(1).same(&quorum(0)));
        let height = |n| WaitsFor::CatchingUp {
            height: Height::new(n).unwrap(),
            age: None,
        };
        assert!(height(1).same(&height(2)));
        assert!(!height(1).same(&WaitsFor::Disk));
    }

    /// Of a ledger with so many validators, whose epoch began at 1,000 ms, and whose node's clock says this.
    fn overdue(validators: usize, clock_ms: u64) -> Option<Duration> {
        let pulse = Pulse {
            awaits: 0,
            clock_ms,
            peers: None,
        };
        let signs = Signs {
            validators,
            heartbeat: HEARTBEAT,
            begun: true,
            at_opening: false,
            newest: None,
            pulse: Some(&pulse),
            following: None,
            epoch_began_ms: Some(1_000),
            now: Instant::now(),
        };
        let age_ms = clock_ms.saturating_sub(1_000);
        assert_eq!(signs.epoch_age(), Some(Duration::from_millis(age_ms)));
        signs.epoch_overdue()
    }

    #[test]
    fn an_epoch_is_overdue_after_thirty_days_by_the_clock_that_is_given() {
        const DAY_MS: u64 = 86_400_000;
        // A clock behind the epoch's beginning.
        assert_eq!(overdue(4, 0), None);
        assert_eq!(overdue(4, 1_000 + 30 * DAY_MS), None);
        let age = overdue(4, 1_001 + 30 * DAY_MS).unwrap();
        let said = Overdue(age).to_string();
        assert!(
            said.contains("30 days old") && said.contains("kusabi epoch new"),
            "{said}"
        );
        // Thirty years ahead.
        let said = Overdue(overdue(4, 10_957 * DAY_MS).unwrap()).to_string();
        assert!(said.contains("10956 days old"), "{said}");
        // A lone validator may keep its key.
        assert_eq!(overdue(1, 10_957 * DAY_MS), None);
        // Nothing is known of an epoch that has no block yet, or before the clock was felt.
        let nothing = Signs {
            validators: 4,
            heartbeat: HEARTBEAT,
            begun: true,
            at_opening: false,
            newest: None,
            pulse: None,
            following: None,
            epoch_began_ms: Some(1_000),
            now: Instant::now(),
        };
        assert_eq!(nothing.epoch_age(), None);
    }

    #[test]
    fn a_reminder_comes_once_a_day() {
        let mut reminder = Reminder::default();
        let hour_ms = 3_600_000;
        let at = 1_800_000_000_000;
        let due = [0, 1, 23, 24, 25, 47, 48].map(|hour| reminder.is_due(at + hour * hour_ms));
        assert_eq!(due, [true, false, false, true, false, false, true]);
        // A clock that was a year ahead and was set right.
        assert!(reminder.is_due(at - 365 * 24 * hour_ms));
        assert!(!reminder.is_due(at - 365 * 24 * hour_ms + 1));
    }
}
