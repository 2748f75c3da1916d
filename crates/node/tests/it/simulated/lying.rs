//! Members that lie throughout, each in its way.

use super::Founder;
use crate::random::Random;
use kusabi_core::{
    id::{HeaderHash, Height},
    tx::Transaction,
};
use kusabi_node::{
    engine::simulation::{
        consortium::Fleet,
        hostile::{BlockCrime, TurnCrime, VoteCrime},
    },
    outline::Outline,
};
use std::{fmt, ops::Range};

/// How a member lies throughout.
#[derive(Clone, Debug)]
pub(super) enum Crime {
    Block(BlockCrime),
    Turn(TurnCrime),
    /// Nothing is left of it but its vote keys of all epochs.
    Votes(VoteCrime),
}

impl Crime {
    /// One of them.
    pub(super) fn of(founder: &Founder, liars: &Range<usize>, random: &mut Random) -> Self {
        let false_ends = || {
            let ends = (0..2).flat_map(|epoch| false_handovers(founder, epoch, liars));
            ends.map(|end| end.as_bytes().to_vec()).collect::<Vec<_>>()
        };
        match random.below(15) {
            0 => Self::Turn(TurnCrime::Silent),
            1 => Self::Turn(TurnCrime::Twice),
            2 => Self::Turn(TurnCrime::Forged),
            3 => Self::Turn(TurnCrime::Tells(false_ends())),
            4 => Self::Block(BlockCrime::Root),
            5 => Self::Block(BlockCrime::Future),
            6 => Self::Block(BlockCrime::Censoring),
            7 => Self::Block(BlockCrime::NextSet),
            8 => Self::Block(BlockCrime::Opening(false_ends().swap_remove(0))),
            9 => {
                // A lone member appoints itself and its friends.
                let next = founder
                    .ledger
                    .set_of(1, &(liars.clone().collect::<Vec<_>>()));
                let old = founder.ledger.epoch_set(0);
                let nodes = founder
                    .ledger
                    .nodes_in(1, &liars.clone().collect::<Vec<_>>(), &[]);
                let officers: Vec<_> = liars.clone().collect();
                let appoint = founder.ledger.appoint(&old, &next, &nodes, &officers);
                Self::Block(BlockCrime::Transaction(appoint.as_bytes().to_vec()))
            }
            10 => Self::Votes(VoteCrime::Twice),
            11 => Self::Turn(TurnCrime::Forgets),
            12 => Self::Turn(TurnCrime::Babbles),
            13 => Self::Turn(TurnCrime::Mute),
            _ => Self::Votes(VoteCrime::Both),
        }
    }

    async fn begin(&self, fleet: &Fleet, member: usize, outline: &Outline) {
        match self.clone() {
            Self::Block(crime) => fleet.start_lying(member, crime).await,
            Self::Turn(crime) => fleet.start_turning(member, crime).await,
            Self::Votes(crime) => fleet.start_voting(member, outline, crime).await,
        }
    }
}

/// Those who lie.
pub(super) struct Lying {
    pub(super) liars: Range<usize>,
    /// What each does.
    pub(super) crimes: Vec<Crime>,
}

impl Lying {
    fn each(&self) -> impl Iterator<Item = (usize, &Crime)> {
        self.liars.clone().zip(&self.crimes)
    }

    /// Starts them in the newest epoch of an outline.
    pub(super) async fn begin(&self, fleet: &Fleet, outline: &Outline) {
        for (member, crime) in self.each() {
            crime.begin(fleet, member, outline).await;
        }
    }

    /// They go on in an epoch that has begun; or whoever has stolen all vote keys of the one before takes their places.
    pub(super) async fn go_on(&self, fleet: &Fleet, outline: &Outline, stolen: bool) {
        for (member, crime) in self.each() {
            if stolen {
                fleet.start_voting_from_the_past(member, outline).await;
            } else if matches!(crime, Crime::Votes(_)) {
                crime.begin(fleet, member, outline).await;
            }
        }
    }

    pub(super) fn end(&self, fleet: &Fleet) {
        for member in self.liars.clone() {
            fleet.kill(member);
        }
    }
}

/// What they do, without the bytes of it.
impl fmt::Display for Lying {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.crimes.iter().map(|crime| match crime {
            Crime::Turn(TurnCrime::Tells(_)) => "tells of false ends".into(),
            Crime::Block(BlockCrime::Opening(_)) => "opens with a false end".into(),
            Crime::Block(BlockCrime::Transaction(_)) => "puts in what nobody may".into(),
            other => format!("{other:?}"),
        });
        f.write_str(&names.collect::<Vec<_>>().join(", "))
    }
}

/// Handovers of an epoch that are none: the vote keys of those who lie alone, those of all without the officers, those of all
/// with the officers of those who lie.
pub(super) fn false_handovers(
    founder: &Founder,
    epoch: u64,
    liars: &Range<usize>,
) -> Vec<Transaction> {
    let ledger = &founder.ledger;
    let (liars, all): (Vec<_>, Vec<_>) = (liars.clone().collect(), (0..ledger.members()).collect());
    let old = match epoch {
        0 => ledger.epoch_set(0),
        _ => ledger.set_of(epoch, &all),
    };
    let next = ledger.set_of(epoch + 1, &liars);
    let nodes = ledger.nodes_in(epoch + 1, &liars, &[]);
    let last = (Height::new(40).unwrap(), HeaderHash::new([5; 32]));
    let sets = (&old[..], &next[..], &nodes[..]);
    [(&liars, &all), (&all, &liars)]
        .into_iter()
        .map(|(voters, officers)| ledger.handover(sets, last, voters, officers))
        .collect()
}
