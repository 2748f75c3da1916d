//! Proposals, votes, what they do, and what a member alone may not.

use kusabi_core::genesis::Genesis;
use kusabi_core::id::{ChainId, Height, OrgId};
use kusabi_core::row::{Organisation, PROPOSAL_EVERY_MS, PROPOSALS_AT_ONCE};
use kusabi_core::suite::Purpose;
use kusabi_core::tx::{Act, Action, FREEZE_MS, PROPOSAL_OPEN_MS_MAX, Proposal};
use kusabi_ledger::testing::{TestKey, World};
use kusabi_ledger::{Decisions, Rejection, claims};

use crate::{accept, refuse, revocation, with_key};

const GUEST: u64 = 7_000;

fn quota(org: OrgId, rows: u64) -> Act {
    Act::Quota { org, rows }
}

/// Proposed by member 0; whoever else votes for it.
fn carry(world: &mut World, acts: Vec<Act>, voters: &[usize]) -> Proposal {
    let (proposal, transaction) = world.propose(0, acts);
    accept(world, transaction);
    for voter in voters {
        let vote = world.vote(*voter, &proposal, true);
        accept(world, vote);
    }
    proposal
}

fn is_carried(world: &World, proposal: &Proposal) -> bool {
    world.proposal_row(proposal).unwrap().carried != Height::ZERO
}

fn of(world: &World, member: usize) -> Organisation {
    world.organisation_of(&world.org_of(member)).unwrap()
}

#[test]
fn founders_have_seats_in_their_order() {
    let world = World::open_of(4);
    let members = world.members_row();
    assert_eq!((members.given, members.count()), (4, 4));
    let mut seats: Vec<_> = (0..4).map(|m| of(&world, m).seat.unwrap()).collect();
    seats.sort();
    assert!(seats.iter().map(|seat| seat.number()).eq(0..4));
    assert_eq!(
        (members.heartbeat_ms, members.longest_heartbeat_ms),
        (60_000, 60_000)
    );
}

#[test]
fn ordinary_acts_take_more_than_a_third_and_high_ones_two_thirds() {
    for (n, ordinary, high) in [(1, 1, 1), (2, 2, 2), (3, 2, 2), (4, 2, 3), (7, 3, 5)] {
        let mut world = World::open_of(n);
        let org = world.org;
        let raised = of(&world, 0).quota + 5;
        for (rows, needs) in [(raised, ordinary), (raised - 10, high)] {
            let (proposal, transaction) = world.propose(0, vec![quota(org, rows)]);
            accept(&mut world, transaction);
            for voter in 1..needs {
                assert!(!is_carried(&world, &proposal), "{n}: {voter} of {needs}");
                assert_ne!(of(&world, 0).quota, rows);
                let vote = world.vote(voter, &proposal, true);
                accept(&mut world, vote);
            }
            assert!(is_carried(&world, &proposal), "{n}: {needs}");
            assert_eq!(of(&world, 0).quota, rows);
        }
    }
}

#[test]
fn an_organisation_is_admitted_votes_and_registers() {
    let mut world = World::open_of(3);
    let [a, b] = [GUEST, GUEST + 1].map(|number| TestKey::new(number, Purpose::Officer));
    let candidate = world.candidate("newcomer", 2, &[&a, &b]);
    let org = candidate.name.id();
    let admit = Act::Admit {
        candidate: candidate.clone(),
        quota: 10,
        seat: true,
    };
    let proposal = carry(&mut world, vec![admit.clone()], &[1]);
    let row = world.organisation_of(&org).unwrap();
    assert_eq!((row.officers_k, row.officers_n), (2, 2));
    assert_eq!(
        (row.rows, row.active, row.quota, row.version),
        (2, 2, 10, 1)
    );
    assert_eq!(row.seat.unwrap().number(), 3);
    assert_eq!(world.members_row().count(), 4);
    for officer in [&a, &b] {
        let record = world.record(&officer.handle).unwrap();
        assert_eq!((record.owner(), record.purpose()), (org, Purpose::Officer));
        assert!(record.is_bound(&officer.id, &world.chain));
    }

    // Its officers act for it, and only both together.
    let writer = TestKey::new(GUEST + 2, Purpose::Writer);
    let grant = Action::Grant {
        org,
        org_version: 1,
        entry: Box::new(writer.entry(&world.chain, &org)),
    };
    let alone = world.sign(grant.clone(), &[&a]);
    refuse(&mut world, alone, Rejection::TooFewSignatures);
    let both = world.sign(grant, &[&a, &b]);
    accept(&mut world, both);

    // And vote, which now takes three of four.
    let org_1 = world.org_of(1);
    let lowered = quota(org_1, of(&world, 1).quota - 1);
    let lowering = carry(&mut world, vec![lowered], &[2]);
    assert!(!is_carried(&world, &lowering));
    let vote = world.vote_of(org, &lowering, true, &[&a, &b]);
    accept(&mut world, vote);
    assert!(is_carried(&world, &lowering));

    // What is carried is not voted on, the same is not proposed twice, a name is not taken twice.
    let late = world.vote(2, &proposal, true);
    refuse(&mut world, late, Rejection::ProposalCarried);
    let (again, transaction) = world.propose(1, vec![admit]);
    accept(&mut world, transaction.clone());
    refuse(&mut world, transaction, Rejection::ProposalExists);
    let second = world.vote(2, &again, true);
    accept(&mut world, second);
    let third = world.vote(0, &again, true);
    refuse(&mut world, third, Rejection::OrganisationExists);
}

#[test]
fn an_application_is_signed_by_each_of_its_officers_for_this_ledger() {
    let mut world = World::open_of(1);
    let [a, b] = [GUEST, GUEST + 1].map(|number| TestKey::new(number, Purpose::Officer));
    let admit = |candidate| Act::Admit {
        candidate,
        quota: 10,
        seat: true,
    };
    let good = world.candidate("newcomer", 1, &[&a, &b]);
    let mut swapped = good.clone();
    let [first, second] = swapped.officers.as_mut_slice() else {
        panic!("two officers");
    };
    std::mem::swap(&mut first.signature, &mut second.signature);
    let mut renamed = good.clone();
    renamed.name = "other".parse().unwrap();
    let mut lowered = world.candidate("newcomer", 2, &[&a, &b]);
    lowered.threshold = 1;
    let here = std::mem::replace(&mut world.chain, ChainId::new([9; 32]));
    let elsewhere = world.candidate("newcomer", 1, &[&a, &b]);
    world.chain = here;
    for candidate in [swapped, renamed, lowered, elsewhere] {
        let (_, transaction) = world.propose(0, vec![admit(candidate)]);
        refuse(&mut world, transaction, Rejection::AdmissionUnsigned);
    }
    // Alone on its ledger a member decides at once.
    let (proposal, transaction) = world.propose(0, vec![admit(good)]);
    accept(&mut world, transaction);
    assert!(is_carried(&world, &proposal));
    assert_eq!(world.members_row().count(), 2);
}

#[test]
fn who_is_no_member_has_no_vote() {
    let mut world = World::open_of(3);
    let officer = TestKey::new(GUEST, Purpose::Officer);
    let candidate = world.candidate("guest", 1, &[&officer]);
    let org = candidate.name.id();
    let admit = Act::Admit {
        candidate,
        quota: 100,
        seat: false,
    };
    carry(&mut world, vec![admit], &[1]);
    assert_eq!(world.organisation_of(&org).unwrap().seat, None);
    let own = world.org;
    let raise = quota(own, of(&world, 0).quota + 1);
    let (proposal, transaction) = world.propose(1, vec![raise.clone()]);
    accept(&mut world, transaction);
    let vote = world.vote_of(org, &proposal, true, &[&officer]);
    refuse(&mut world, vote, Rejection::NoSeat);
    let own_proposal = Proposal::new(org, proposal.expires_ms(), vec![raise]).unwrap();
    let action = Action::Propose {
        proposal: Box::new(own_proposal),
    };
    let transaction = world.sign(action, &[&officer]);
    refuse(&mut world, transaction, Rejection::NoSeat);

    // Strangers: another organisation's officer, a writer, nobody at all.
    let org_2 = world.org_of(2);
    let foreign = world.vote_of(org_2, &proposal, true, &[&world.officer]);
    refuse(&mut world, foreign, Rejection::ForeignSigner);
    let writer = world.vote_of(own, &proposal, true, &[&world.writer]);
    refuse(&mut world, writer, Rejection::SignerPurpose);
    let nobody = TestKey::new(9_999, Purpose::Officer);
    let unknown = world.vote_of(own, &proposal, true, &[&nobody]);
    refuse(&mut world, unknown, Rejection::UnknownSigner);

    // Seated, it votes.
    carry(&mut world, vec![Act::Seat { org }], &[1]);
    let vote = world.vote_of(org, &proposal, true, &[&officer]);
    accept(&mut world, vote);
    assert!(is_carried(&world, &proposal));
}

#[test]
fn a_vote_for_another_chain_or_for_other_words_is_none() {
    let mut world = World::open_of(4);
    let org = world.org;
    let raise = |world: &World, by| quota(org, of(world, 0).quota + by);
    let acts = vec![raise(&world, 1)];
    let (proposal, transaction) = world.propose(0, acts);
    accept(&mut world, transaction);
    let mut elsewhere = World::open_of(4);
    elsewhere.chain = ChainId::new([7; 32]);
    let vote = elsewhere.vote(1, &proposal, true);
    assert_eq!(
        claims(vote, &world.chain, &world.state).unwrap_err(),
        Rejection::WrongChain
    );
    let acts = vec![raise(&world, 2)];
    let other = Proposal::new(org, proposal.expires_ms(), acts).unwrap();
    let vote = world.vote(1, &other, true);
    refuse(&mut world, vote, Rejection::UnknownProposal);
}

#[test]
fn a_no_may_become_a_yes_and_a_yes_stands() {
    let mut world = World::open_of(7);
    let org = world.org;
    let acts = vec![quota(org, of(&world, 0).quota + 1)];
    let (proposal, transaction) = world.propose(0, acts);
    accept(&mut world, transaction);
    let no = world.vote(1, &proposal, false);
    accept(&mut world, no.clone());
    let row = world.proposal_row(&proposal).unwrap();
    assert_eq!((row.yes.count(), row.no.count()), (1, 1));
    let yes = world.vote(1, &proposal, true);
    accept(&mut world, yes);
    let row = world.proposal_row(&proposal).unwrap();
    assert_eq!((row.yes.count(), row.no.count()), (2, 0));
    // Whoever kept the bytes of the no cannot turn it back.
    refuse(&mut world, no, Rejection::VoteStands);
    let own_no = world.vote(0, &proposal, false);
    refuse(&mut world, own_no, Rejection::VoteStands);
}

#[test]
fn a_proposal_has_a_deadline_within_ninety_days() {
    let mut world = World::open_of(4);
    let (org, now) = (world.org, world.time_ms);
    let acts = vec![quota(org, of(&world, 0).quota + 1)];
    for (expires, fine) in [
        (now, false),
        (now + 1, true),
        (now + PROPOSAL_OPEN_MS_MAX, true),
        (now + PROPOSAL_OPEN_MS_MAX + 1, false),
    ] {
        let proposal = Proposal::new(org, expires, acts.clone()).unwrap();
        let action = Action::Propose {
            proposal: Box::new(proposal),
        };
        let transaction = world.sign(action, &[&world.officer]);
        if fine {
            accept(&mut world, transaction);
        } else {
            refuse(&mut world, transaction, Rejection::ProposalDeadline);
        }
    }
    let proposal = Proposal::new(org, now + 1, acts).unwrap();
    world.time_ms = now + 2;
    let vote = world.vote(1, &proposal, true);
    refuse(&mut world, vote, Rejection::ProposalExpired);
}

#[test]
fn votes_of_the_departed_do_not_count_and_fewer_members_need_fewer() {
    let mut world = World::open_of(4);
    let org = world.org;
    // Two of four are for it; three would be needed.
    let lower = vec![quota(org, of(&world, 0).quota - 1)];
    let (proposal, transaction) = world.propose(1, lower);
    accept(&mut world, transaction);
    let vote = world.vote(2, &proposal, true);
    accept(&mut world, vote.clone());
    refuse(&mut world, vote, Rejection::VoteStands);
    // One of them is removed: one vote of three is left, so one more carries it.
    let gone = world.org_of(2);
    let removal = carry(&mut world, vec![Act::Remove { org: gone }], &[1, 3]);
    assert!(is_carried(&world, &removal));
    let departed = world.vote(2, &proposal, true);
    refuse(&mut world, departed, Rejection::NoSeat);
    let stands = world.vote(1, &proposal, true);
    refuse(&mut world, stands, Rejection::VoteStands);
    // Back again, it has another seat, and its old vote is not its vote.
    let back = carry(&mut world, vec![Act::Seat { org: gone }], &[1]);
    assert!(is_carried(&world, &back));
    assert_eq!(of(&world, 2).seat.unwrap().number(), 4);
    let (yes, members) = (
        world.proposal_row(&proposal).unwrap().yes,
        world.members_row(),
    );
    assert_eq!((yes.count(), yes.count_in(&members.seats)), (2, 1));

    // A yes that stands counts once more when others have gone.
    let vote = world.vote(3, &proposal, true);
    accept(&mut world, vote);
    assert!(!is_carried(&world, &proposal));
    world.time_ms += 1;
    carry(&mut world, vec![Act::Remove { org: gone }], &[1, 3]);
    let again = world.vote(1, &proposal, true);
    accept(&mut world, again);
    assert!(is_carried(&world, &proposal));
}

#[test]
fn a_vote_of_an_earlier_seat_is_none_of_the_next_one() {
    let mut world = World::open_of(4);
    // Signed, and held by whoever saw it; and one that was counted.
    let (held_for, counted_for) = (
        quota(world.org, of(&world, 0).quota - 1),
        quota(world.org, of(&world, 0).quota - 2),
    );
    let (counted_in, transaction) = world.propose(0, vec![counted_for]);
    accept(&mut world, transaction);
    let counted = world.vote(2, &counted_in, true);
    accept(&mut world, counted.clone());
    let (held_in, transaction) = world.propose(0, vec![held_for]);
    accept(&mut world, transaction);
    let held = [true, false].map(|yes| world.vote(2, &held_in, yes));
    let org = world.org_of(2);
    carry(&mut world, vec![Act::Remove { org }], &[1, 3]);
    refuse(&mut world, counted.clone(), Rejection::NoSeat);
    carry(&mut world, vec![Act::Seat { org }], &[1]);
    assert_ne!(of(&world, 2).seat.unwrap().number(), 2);
    refuse(&mut world, counted, Rejection::OtherSeat);
    for vote in held {
        refuse(&mut world, vote, Rejection::OtherSeat);
    }
    // Neither was another's seat ever theirs to name.
    let stolen = Action::Vote {
        org,
        seat: of(&world, 1).seat.unwrap(),
        proposal: Box::new(held_in.clone()),
        yes: true,
    };
    let stolen = world.sign(stolen, &[&world.others[1].officer]);
    refuse(&mut world, stolen, Rejection::OtherSeat);
    let again = world.vote(2, &held_in, true);
    accept(&mut world, again);
    assert_eq!(world.proposal_row(&held_in).unwrap().yes.count(), 2);
}

#[test]
fn members_whose_quotas_are_full_still_decide() {
    let mut world = World::open_of(2);
    for member in 0..2 {
        let org = world.org_of(member);
        let full = quota(org, of(&world, member).rows);
        world.time_ms += 1;
        carry(&mut world, vec![full], &[1]);
    }
    let key = TestKey::new(42, Purpose::App);
    let register = world.register(&[&key]);
    refuse(&mut world, register.clone(), Rejection::Quota);
    let org = world.org;
    let raise = quota(org, of(&world, 0).quota + 1);
    let raised = carry(&mut world, vec![raise], &[1]);
    assert!(is_carried(&world, &raised));
    accept(&mut world, register);
}

#[test]
fn a_member_makes_sixteen_proposals_at_once_and_then_one_an_hour() {
    let mut world = World::open_of(4);
    let (org, rows) = (world.org, of(&world, 0).rows);
    let wish = |world: &World, n| {
        let raised = of(world, 0).quota + n;
        world.propose(0, vec![quota(org, raised)]).1
    };
    for n in 1..=PROPOSALS_AT_ONCE {
        let transaction = wish(&world, n);
        accept(&mut world, transaction);
    }
    assert_eq!(of(&world, 0).rows, rows);
    let one_more = wish(&world, 17);
    refuse(&mut world, one_more, Rejection::TooManyProposals);
    // Others are not concerned.
    let (_, others) = world.propose(1, vec![Act::Freeze { org }]);
    accept(&mut world, others);
    world.time_ms += PROPOSAL_EVERY_MS - 1;
    let early = wish(&world, 17);
    refuse(&mut world, early, Rejection::TooManyProposals);
    world.time_ms += 1;
    let on_time = wish(&world, 17);
    accept(&mut world, on_time);
    let next = wish(&world, 18);
    refuse(&mut world, next, Rejection::TooManyProposals);
}

/// What the rules do not prevent (spec/governance.md), and what members do then.
#[test]
fn who_takes_a_candidates_handle_stops_that_admission_and_not_the_next() {
    let mut world = World::open_of(4);
    let officer = TestKey::new(GUEST, Purpose::Officer);
    let admit = |world: &World, officer: &TestKey| Act::Admit {
        candidate: world.candidate("newcomer", 1, &[officer]),
        quota: 10,
        seat: true,
    };
    let act = admit(&world, &officer);
    let proposal = carry(&mut world, vec![act], &[1]);
    let mut taking = TestKey::new(40, Purpose::App);
    taking.handle = officer.handle;
    let taken = world.register(&[&taking]);
    accept(&mut world, taken);
    let last = world.vote(2, &proposal, true);
    refuse(&mut world, last, Rejection::HandleTaken);
    // Whoever did it signed for it, and is stopped by more than a third. The next application has other handles.
    let culprit = world.record(&officer.handle).unwrap().owner();
    let (freeze, transaction) = world.propose(1, vec![Act::Freeze { org: culprit }]);
    accept(&mut world, transaction);
    let vote = world.vote(2, &freeze, true);
    accept(&mut world, vote);
    let mut taking = TestKey::new(41, Purpose::App);
    let fresh = TestKey::new(GUEST + 1, Purpose::Officer);
    taking.handle = fresh.handle;
    let (admission, transaction) = world.propose(1, vec![admit(&world, &fresh)]);
    accept(&mut world, transaction);
    let taken = world.register(&[&taking]);
    refuse(&mut world, taken, Rejection::Frozen);
    for voter in [2, 3] {
        let vote = world.vote(voter, &admission, true);
        accept(&mut world, vote);
    }
    assert!(is_carried(&world, &admission));
}

#[test]
fn what_final_transactions_decided_is_what_the_rows_say() {
    let mut world = World::open_of(4);
    let genesis = Genesis::decode(&world.document).unwrap();
    let mut decisions = Decisions::new(&genesis).unwrap();
    let officer = TestKey::new(GUEST, Purpose::Officer);
    let candidate = world.candidate("newcomer", 1, &[&officer]);
    let (newcomer, gone) = (candidate.name.id(), world.org_of(3));
    let (own, org_1) = (world.org, world.org_of(1));
    let admit = Act::Admit {
        candidate,
        quota: 1,
        seat: false,
    };
    // With two of four: carried where more than a third is enough.
    let raise = |world: &World| quota(own, of(world, 0).quota + 1);
    let lower = |world: &World| quota(org_1, of(world, 1).quota - 1);
    let mut carried = 0;
    let acts: [&dyn Fn(&World) -> Act; 9] = [
        &raise,
        &lower,
        &|_| Act::Freeze { org: org_1 },
        &|_| Act::Thaw { org: org_1 },
        &|_| Act::Freeze { org: org_1 },
        &|_| Act::Remove { org: gone },
        &lower,
        &|_| admit.clone(),
        &|_| Act::Seat { org: newcomer },
    ];
    for act in acts {
        world.time_ms += 1;
        let (proposal, transaction) = world.propose(0, vec![act(&world)]);
        let votes = [1, 2].map(|voter| world.vote(voter, &proposal, true));
        for transaction in [transaction].into_iter().chain(votes) {
            if is_open(&world, &proposal) {
                accept(&mut world, transaction.clone());
                let (height, time_ms) = (world.height, world.time_ms);
                let said = decisions.follow(transaction.action(), height, time_ms);
                let done = is_carried(&world, &proposal);
                assert_eq!(said.unwrap(), done.then_some(&proposal));
                carried += usize::from(done);
            }
        }
    }
    assert_eq!(carried, acts.len());
    assert_eq!(world.members_row().count(), 4);
}

fn is_open(world: &World, proposal: &Proposal) -> bool {
    world
        .proposal_row(proposal)
        .is_none_or(|row| row.carried == Height::ZERO)
}

#[test]
fn a_removed_organisation_adds_nothing_and_still_revokes() {
    let mut world = World::open_of(4);
    let key = with_key(&mut world, 40, Purpose::App);
    let (org, writer) = (world.org, TestKey::new(41, Purpose::Writer));
    let (removal, transaction) = world.propose(1, vec![Act::Remove { org }]);
    accept(&mut world, transaction);
    for voter in [2, 3] {
        let vote = world.vote(voter, &removal, true);
        accept(&mut world, vote);
    }
    let register = world.register(&[&TestKey::new(42, Purpose::App)]);
    refuse(&mut world, register, Rejection::Removed);
    let grant = world.grant(&writer);
    refuse(&mut world, grant, Rejection::Removed);
    let revoke = world.sign(revocation(&world, &[&key]), &[&world.officer]);
    accept(&mut world, revoke);
}

#[test]
fn the_last_member_stays() {
    let mut world = World::open_of(1);
    let org = world.org;
    let (_, transaction) = world.propose(0, vec![Act::Remove { org }]);
    refuse(&mut world, transaction, Rejection::LastMember);
}

#[test]
fn a_freeze_stops_additions_for_three_days_and_its_repeat_is_a_high_act() {
    let mut world = World::open_of(4);
    let org = world.org;
    let key = with_key(&mut world, 40, Purpose::App);
    let freeze = |world: &mut World, voters: &[usize]| {
        let (proposal, transaction) = world.propose(1, vec![Act::Freeze { org }]);
        accept(world, transaction);
        for voter in voters {
            let vote = world.vote(*voter, &proposal, true);
            accept(world, vote);
        }
        is_carried(world, &proposal)
    };
    assert!(freeze(&mut world, &[2]));
    assert_eq!(of(&world, 0).frozen_until_ms, world.time_ms + FREEZE_MS);
    let register = world.register(&[&TestKey::new(42, Purpose::App)]);
    refuse(&mut world, register.clone(), Rejection::Frozen);
    let (_, propose) = world.propose(0, vec![Act::Thaw { org }]);
    refuse(&mut world, propose, Rejection::Frozen);
    let revoke = world.sign(revocation(&world, &[&key]), &[&world.officer]);
    accept(&mut world, revoke);
    // Others go on.
    let (thaw, propose) = world.propose(1, vec![Act::Thaw { org }]);
    accept(&mut world, propose);
    // The frozen one votes.
    let vote = world.vote(0, &thaw, true);
    accept(&mut world, vote);
    accept(&mut world, register);

    // Thawed or run out, the next one is a high act.
    world.time_ms += 1;
    assert!(!freeze(&mut world, &[2]));
    world.time_ms += 1;
    assert!(freeze(&mut world, &[2, 3]));
    world.time_ms += FREEZE_MS - 1;
    let register = world.register(&[&TestKey::new(43, Purpose::App)]);
    refuse(&mut world, register.clone(), Rejection::Frozen);
    world.time_ms += 1;
    accept(&mut world, register);
}

#[test]
fn acts_that_would_change_nothing_or_too_much_are_refused() {
    let mut world = World::open_of(1);
    let org = world.org;
    let nobody = OrgId::new([5; 16]);
    let row = of(&world, 0);
    for (act, why) in [
        (quota(org, row.rows - 1), Rejection::QuotaBelowRows),
        (quota(org, row.quota), Rejection::NoEffect),
        (quota(nobody, 5), Rejection::UnknownOrganisation),
        (Act::Thaw { org }, Rejection::NoEffect),
        (Act::Seat { org }, Rejection::NoEffect),
        (Act::Heartbeat { ms: 60_000 }, Rejection::NoEffect),
        (Act::Heartbeat { ms: 60_001 }, Rejection::HeartbeatTooLong),
    ] {
        let (_, transaction) = world.propose(0, vec![act]);
        refuse(&mut world, transaction, why);
    }
    // All or nothing.
    let acts = vec![
        Act::Heartbeat { ms: 1_000 },
        quota(org, row.quota + 1),
        quota(nobody, 5),
    ];
    let (_, transaction) = world.propose(0, acts);
    refuse(&mut world, transaction, Rejection::UnknownOrganisation);
    let acts = vec![Act::Heartbeat { ms: 1_000 }, quota(org, row.quota + 1)];
    let proposal = carry(&mut world, acts, &[]);
    assert!(is_carried(&world, &proposal));
    assert_eq!(of(&world, 0).quota, row.quota + 1);
    assert_eq!(world.members_row().heartbeat_ms, 1_000);
    // Each names the one before.
    let newest = world.members_row().newest;
    assert_eq!(newest, Some(proposal.id()));
    let next = carry(&mut world, vec![quota(org, row.quota + 9)], &[]);
    assert_eq!(world.proposal_row(&next).unwrap().previous, newest);
}

#[test]
fn there_are_sixteen_members_at_most() {
    let mut world = World::open_of(16);
    let officer = TestKey::new(GUEST, Purpose::Officer);
    let candidate = world.candidate("newcomer", 1, &[&officer]);
    let admit = |seat| Act::Admit {
        candidate: candidate.clone(),
        quota: 10,
        seat,
    };
    let (proposal, transaction) = world.propose(0, vec![admit(true)]);
    accept(&mut world, transaction);
    for voter in 1..10 {
        let vote = world.vote(voter, &proposal, true);
        accept(&mut world, vote);
    }
    let vote = world.vote(10, &proposal, true);
    refuse(&mut world, vote, Rejection::NoSeatLeft);
    let voters: Vec<_> = (1..11).collect();
    carry(&mut world, vec![admit(false)], &voters);
    assert!(world.organisation_of(&candidate.name.id()).is_some());
}

#[test]
fn how_many_officers_act_together_is_their_own_affair() {
    let mut world = World::open_of(2);
    let second = with_key(&mut world, 50, Purpose::Officer);
    let set = |world: &World, k, signers: &[&TestKey]| {
        let action = Action::Officers {
            org: world.org,
            org_version: world.organisation().version,
            k,
        };
        world.sign(action, signers)
    };
    let all = set(&world, 3, &[&world.officer]);
    refuse(&mut world, all, Rejection::OfficersThreshold);
    let same = set(&world, 1, &[&world.officer]);
    refuse(&mut world, same, Rejection::NoEffect);
    let both = set(&world, 2, &[&world.officer]);
    accept(&mut world, both);
    let alone = set(&world, 1, &[&world.officer]);
    refuse(&mut world, alone, Rejection::TooFewSignatures);
    let back = set(&world, 1, &[&world.officer, &second]);
    accept(&mut world, back);
}
