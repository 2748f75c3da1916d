//! Who decides, what they propose, and how those vote who lie.

use super::super::{Founder, lying::Crime};
use crate::random::Random;
use kusabi_core::{
    id::{Handle, OrgId},
    row::Seat,
    suite::Purpose,
    tx::{Act, Action, Named, Proposal, Transaction},
};
use kusabi_ledger::testing::{TestKey, World as Ledger};
use kusabi_node::engine::simulation::hostile::BlockCrime;
use std::{ops::Range, sync::Arc};

/// Rows that the founders may have.
pub(super) const QUOTA: u64 = 1 << 40;
/// When the first proposal runs out; each later one a moment before.
const OPEN_MS: u64 = 7 * 24 * 3_600_000;
/// Seats that the newcomer may have had one after the other.
const SEATS: usize = 4;

/// Who acts: the founders, of whom the last lie, and behind them an organisation that wants to be a member.
pub(super) struct Council {
    pub(super) founder: Arc<Founder>,
    newcomer: TestKey,
    /// Takes devices in the name of member 1.
    taker: TestKey,
    pub(super) liars: Range<usize>,
    made: u64,
}

/// A proposal, and what each of those who vote says; `true` is yes.
#[derive(Clone)]
pub(super) struct Case {
    pub(super) proposal: Proposal,
    pub(super) proposed: Transaction,
    pub(super) votes: Vec<Transaction>,
}

impl Council {
    pub(super) fn new(founder: Arc<Founder>, liars: Range<usize>) -> Self {
        Self {
            newcomer: TestKey::new(7_000, Purpose::Officer),
            taker: TestKey::new(7_001, Purpose::Writer),
            founder,
            liars,
            made: 0,
        }
    }

    fn ledger(&self) -> &Ledger {
        &self.founder.ledger
    }

    pub(super) fn founders(&self) -> usize {
        self.ledger().members()
    }

    fn officer(&self, member: usize) -> &TestKey {
        match member.checked_sub(1) {
            None => &self.ledger().officer,
            Some(other) => {
                let other = self.ledger().others.get(other);
                other.map_or(&self.newcomer, |other| &other.officer)
            }
        }
    }

    pub(super) fn org(&self, member: usize) -> OrgId {
        if member < self.founders() {
            self.ledger().org_of(member)
        } else {
            let candidate = self.ledger().candidate("newcomer", 1, &[&self.newcomer]);
            candidate.name.id()
        }
    }

    /// The writer of member 1, by its officer.
    pub(super) fn grant(&self) -> Transaction {
        let org = self.org(1);
        let action = Action::Grant {
            org,
            org_version: 1,
            entry: Box::new(self.taker.entry(&self.ledger().chain, &org)),
        };
        self.ledger().sign(action, &[self.officer(1)])
    }

    fn act(&self, random: &mut Random) -> Act {
        let (n, number) = (self.founders(), self.made + 1);
        let of = |random: &mut Random, from: usize| self.org(from + random.below(n + 1 - from));
        match random.below(10) {
            0 | 1 => Act::Quota {
                org: of(random, 0),
                rows: QUOTA + number,
            },
            2 => Act::Quota {
                org: of(random, 0),
                rows: QUOTA - number,
            },
            // Not the one whose clients register keys all the time.
            3 | 4 => Act::Freeze { org: of(random, 1) },
            5 => Act::Thaw { org: of(random, 1) },
            6 | 7 => Act::Admit {
                candidate: self.ledger().candidate("newcomer", 1, &[&self.newcomer]),
                quota: QUOTA,
                seat: random.below(4) != 0,
            },
            8 if random.below(2) == 0 => Act::Remove { org: self.org(n) },
            8 => Act::Seat { org: self.org(n) },
            _ => Act::Heartbeat {
                ms: 60_000 - u32::try_from(number).unwrap(),
            },
        }
    }

    /// Somebody proposes something, and some vote.
    pub(super) fn case(&mut self, random: &mut Random) -> Case {
        let first = self.act(random);
        let mut acts = vec![first];
        if random.below(3) == 0 && acts[0].org().is_some() {
            let ms = 58_999 - u32::try_from(self.made).unwrap();
            acts.push(Act::Heartbeat { ms });
        }
        let by = random.below(self.founders() + 1);
        let mut case = self.proposed(by, acts);
        for voter in 0..=self.founders() {
            if voter != by && random.below(8) > 2 {
                let yes = random.below(4) > 0;
                case.votes.push(self.vote(voter, &case.proposal, yes));
                // Who lies says the one here and the other there.
                if self.liars.contains(&voter) {
                    case.votes.push(self.vote(voter, &case.proposal, !yes));
                }
            }
        }
        case
    }

    /// What all who do not lie want, and those who lie do not: a larger quota, and nobody among them who lies.
    pub(super) fn wanted(&mut self) -> Vec<Case> {
        let mut acts = vec![Act::Quota {
            org: self.org(0),
            rows: 2 * QUOTA,
        }];
        let liars = self.liars.clone().map(|liar| self.org(liar));
        acts.extend(liars.map(|org| Act::Remove { org }));
        let case = |act| {
            let mut case = self.proposed(0, vec![act]);
            let n = self.founders();
            let votes = (1..n).map(|voter| {
                let yes = !self.liars.contains(&voter);
                self.vote(voter, &case.proposal, yes)
            });
            // Whichever seat it has by then, if any.
            let seats = n..n + SEATS;
            let newcomer = seats.map(|number| self.vote_of_seat(n, number, &case.proposal, true));
            case.votes = votes.chain(newcomer).collect();
            case
        };
        acts.into_iter().map(case).collect()
    }

    fn proposed(&mut self, by: usize, acts: Vec<Act>) -> Case {
        self.made += 1;
        let expires = self.ledger().time_ms + OPEN_MS - self.made;
        let proposal = Proposal::new(self.org(by), expires, acts).unwrap();
        Case {
            proposed: self.propose(&proposal, by),
            votes: Vec::new(),
            proposal,
        }
    }

    /// A proposal, signed by an officer of this member, whoever proposes it.
    fn propose(&self, proposal: &Proposal, signer: usize) -> Transaction {
        let action = Action::Propose {
            proposal: Box::new(proposal.clone()),
        };
        self.ledger().sign(action, &[self.officer(signer)])
    }

    /// A vote of the first seat that its organisation ever has.
    fn vote(&self, voter: usize, proposal: &Proposal, yes: bool) -> Transaction {
        self.vote_of_seat(voter, voter, proposal, yes)
    }

    /// A vote of a founder's seat, or of the newcomer's with this number.
    fn vote_of_seat(
        &self,
        voter: usize,
        number: usize,
        proposal: &Proposal,
        yes: bool,
    ) -> Transaction {
        let org = self.org(voter);
        let row = self.ledger().organisation_of(&org);
        let seat = row.and_then(|row| row.seat);
        let action = Action::Vote {
            org,
            seat: seat.unwrap_or_else(|| Seat::new(u8::try_from(number).unwrap())),
            proposal: Box::new(proposal.clone()),
            yes,
        };
        self.ledger().sign(action, &[self.officer(voter)])
    }

    /// The first who lies proposes to remove member 0, as it may; nobody votes for it.
    pub(super) fn coup(&mut self) -> Case {
        let acts = vec![Act::Remove { org: self.org(0) }];
        self.proposed(self.liars.start, acts)
    }

    /// What would carry a proposal if anybody believed it: votes in the names of others, and of their seats, signed by who lies; and
    /// what would make others say things, or count for nothing that was said.
    pub(super) fn forged(&self, proposal: &Proposal) -> Vec<Transaction> {
        let liar = self.liars.start;
        let elsewhere = Proposal::new(self.org(0), proposal.expires_ms(), proposal.acts().to_vec());
        let elsewhere = elsewhere.unwrap();
        let mut forged = vec![
            self.propose(&elsewhere, liar),
            self.vote(liar, &elsewhere, true),
        ];
        let officer = self.officer(liar);
        for other in 0..liar {
            let org = self.org(other);
            let seat = self.ledger().organisation_of(&org).unwrap().seat;
            for org in [org, self.org(liar)] {
                let action = Action::Vote {
                    org,
                    seat: seat.unwrap(),
                    proposal: Box::new(proposal.clone()),
                    yes: true,
                };
                forged.push(self.ledger().sign(action, &[officer]));
            }
        }
        forged
    }

    /// How a member lies: as any may, or with blocks in which members decide what they did not.
    pub(super) fn crime(&self, forged: &[Transaction], random: &mut Random) -> Crime {
        if random.below(14) < 4 {
            let forged = forged[random.below(forged.len())].as_bytes().to_vec();
            Crime::Block(BlockCrime::Transaction(forged))
        } else {
            Crime::of(&self.founder, &self.liars, random)
        }
    }

    /// A device of member 0, as it is registered, and as it goes over to member 1.
    pub(super) fn device(&self, number: u64) -> (Handle, [Transaction; 2]) {
        let key = TestKey::new(50_000 + number, Purpose::Act);
        let action = Action::Transfer {
            org: self.org(0),
            to: self.org(1),
            targets: vec![Named {
                handle: key.handle,
                version: 1,
            }],
        };
        let moved = self.ledger().sign(action, &[self.officer(0), &self.taker]);
        (key.handle, [self.ledger().register(&[&key]), moved])
    }
}

impl Case {
    pub(super) fn transactions(&self) -> impl Iterator<Item = &Transaction> {
        [&self.proposed].into_iter().chain(&self.votes)
    }
}
