//! Appointments and handovers: how one epoch follows another.

use kusabi_core::appointment::CLOSING_BLOCKS;
use kusabi_core::id::{Epoch, HeaderHash, Height};
use kusabi_core::row::Ends;
use kusabi_core::set::EpochSet;
use kusabi_core::suite::Purpose;
use kusabi_core::tx::{Action, Transaction};
use kusabi_ledger::testing::{OFFICER, TestKey, WRITER, World};
use kusabi_ledger::{BlockContext, BlockError, Rejection};

const ALL: [usize; 4] = [0, 1, 2, 3];

/// Four organisations with a validator each, and what leads them to the next epoch.
struct Turn {
    world: World,
    old_set: Vec<u8>,
    next_set: Vec<u8>,
    nodes: Vec<u8>,
}

impl Turn {
    fn new() -> Self {
        let world = World::open_of(4);
        Self {
            old_set: world.epoch_set(0),
            next_set: world.set_of(1, &ALL),
            nodes: world.nodes_in(1, &ALL, &[]),
            world,
        }
    }

    fn appoint(&self, members: &[usize]) -> Transaction {
        self.world
            .appoint(&self.old_set, &self.next_set, &self.nodes, members)
    }

    /// Up to the last block of the epoch.
    fn close(&mut self) {
        let appoint = self.appoint(&ALL);
        self.world.submit(appoint).unwrap();
        for left in (0..CLOSING_BLOCKS).rev() {
            let ran = self.world.run_in(vec![], self.world.context()).unwrap();
            assert_eq!(ran.next_set_hash.is_some(), left == 0);
            assert_eq!(ran.ends, Some(self.last()));
        }
        assert_eq!(self.world.height, self.last());
    }

    fn last(&self) -> Height {
        self.world.ledger().unwrap().ends.unwrap().last
    }

    /// The first block of the next epoch.
    fn context(&self) -> BlockContext {
        BlockContext {
            epoch: Epoch::new(1),
            set_hash: EpochSet::decode(&self.next_set).unwrap().hash(),
            ..self.world.context()
        }
    }

    fn handover(&self, last: (Height, HeaderHash), voters: &[usize]) -> Transaction {
        let sets = (&self.old_set[..], &self.next_set[..], &self.nodes[..]);
        self.world.handover(sets, last, voters, &[0, 1, 2])
    }

    fn ended(&self) -> (Height, HeaderHash) {
        let context = self.world.context();
        (context.parent_height, context.parent)
    }
}

fn refused(result: Result<Vec<kusabi_ledger::Write>, BlockError>) -> Rejection {
    match result {
        Err(BlockError::Transaction { rejection, .. }) => rejection,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_appointment_ends_the_epoch_and_a_handover_opens_the_next() {
    let mut turn = Turn::new();
    let before = turn.world.ledger().unwrap();
    let appoint = turn.appoint(&[0, 1, 2]);
    turn.world.submit(appoint).unwrap();
    let row = turn.world.ledger().unwrap();
    let last = turn.world.height.get() + CLOSING_BLOCKS;
    let ends = Ends {
        last: Height::new(last).unwrap(),
        next_set_hash: EpochSet::decode(&turn.next_set).unwrap().hash(),
    };
    assert_eq!((row.ends, row.version), (Some(ends), before.version + 1));
    assert_eq!((row.epoch, row.set_hash), (before.epoch, before.set_hash));

    // Until then everything goes on.
    let key = TestKey::new(30, Purpose::App);
    let register = turn.world.register(&[&key]);
    turn.world.submit(register).unwrap();
    while turn.world.height < ends.last {
        let ran = turn.world.run_in(vec![], turn.world.context()).unwrap();
        let closes = (turn.world.height == ends.last).then_some(ends.next_set_hash);
        assert_eq!((ran.ends, ran.next_set_hash), (Some(ends.last), closes));
    }
    // Not a block further in this epoch, empty or not; nor in the next without the handover.
    let register = turn.world.register(&[&TestKey::new(31, Purpose::App)]);
    assert_eq!(turn.world.block(vec![]), Err(BlockError::Ended));
    assert_eq!(
        turn.world.block(vec![register.clone()]),
        Err(BlockError::Ended)
    );
    let context = turn.context();
    assert_eq!(turn.world.block_in(vec![], context), Err(BlockError::Epoch));
    let handover = turn.handover(turn.ended(), &[0, 1, 2]);
    let late = vec![register.clone(), handover.clone()];
    assert_eq!(
        refused(turn.world.block_in(late, context)),
        Rejection::EpochPlace
    );

    let ran = turn
        .world
        .run_in(vec![handover.clone(), register], context)
        .unwrap();
    assert_eq!((ran.ends, ran.next_set_hash), (None, None));
    let row = turn.world.ledger().unwrap();
    assert_eq!(
        (row.epoch, row.set_hash),
        (Epoch::new(1), ends.next_set_hash)
    );
    assert_eq!((row.ends, row.skipped), (None, before.skipped));
    assert_eq!(turn.world.height.get(), last + 1);
    assert_eq!(
        refused(turn.world.block(vec![handover])),
        Rejection::EpochPlace
    );

    // And on to the next, in which one member has no vote.
    let voting = [0, 1, 3];
    turn.old_set = std::mem::replace(&mut turn.next_set, turn.world.set_of(2, &voting));
    turn.nodes = turn.world.nodes_in(2, &voting, &[]);
    turn.close();
    let context = BlockContext {
        epoch: Epoch::new(2),
        ..turn.context()
    };
    let handover = turn.handover(turn.ended(), &[3, 1, 0]);
    turn.world.block_in(vec![handover], context).unwrap();
    assert_eq!(turn.world.ledger().unwrap().epoch, Epoch::new(2));
}

#[test]
fn who_may_appoint() {
    let mut turn = Turn::new();
    let writer = TestKey::new(WRITER, Purpose::Writer);
    let submit = |turn: &mut Turn, transaction| turn.world.submit(transaction).unwrap_err();
    let too_few = turn.appoint(&[0, 1]);
    assert_eq!(submit(&mut turn, too_few), Rejection::AppointmentRefused);

    let good = turn.appoint(&ALL);
    let Action::Appoint {
        org,
        old_set,
        appointment,
        nodes,
    } = good.action().clone()
    else {
        panic!("{good:?}");
    };
    let action = |old_set: &[u8], appointment: &[u8], nodes: &[u8]| Action::Appoint {
        org,
        old_set: old_set.to_vec(),
        appointment: appointment.to_vec(),
        nodes: nodes.to_vec(),
    };
    let other_nodes = turn.world.nodes_in(1, &ALL, &["here:1"]);
    let three = turn.world.nodes_in(1, &[0, 1, 2], &[]);
    for (old_set, appointment, nodes, expected) in [
        (
            &turn.next_set[..],
            &appointment[..],
            &nodes[..],
            Rejection::OldSet,
        ),
        (&[1, 2], &appointment, &nodes, Rejection::OldSet),
        (&old_set, &[1, 2], &nodes, Rejection::AppointmentRefused),
        (&old_set, &appointment, &[0x80], Rejection::AppointmentNodes),
        (
            &old_set,
            &appointment,
            &other_nodes,
            Rejection::AppointmentNodes,
        ),
        (&old_set, &appointment, &three, Rejection::AppointmentNodes),
    ] {
        let transaction = turn
            .world
            .sign(action(old_set, appointment, nodes), &[&writer]);
        assert_eq!(turn.world.submit(transaction).unwrap_err(), expected);
    }
    // Nodes that the officers did sign for, and that are not those of the set.
    let unfit = turn.world.appoint(&old_set, &turn.next_set, &three, &ALL);
    assert_eq!(submit(&mut turn, unfit), Rejection::AppointmentNodes);
    // The same vote keys once more.
    let stale = turn.world.epoch_set(1);
    let stale = turn.world.appoint(&old_set, &stale, &nodes, &ALL);
    assert!(matches!(
        submit(&mut turn, stale),
        Rejection::AppointmentNodes | Rejection::VoteKeyUsed
    ));

    // Brought by one writer or officer, and by nobody else.
    let good = action(&old_set, &appointment, &nodes);
    let app = TestKey::new(40, Purpose::App);
    let register = turn.world.register(&[&app]);
    turn.world.submit(register).unwrap();
    let by_app = turn.world.sign(good.clone(), &[&app]);
    assert_eq!(submit(&mut turn, by_app), Rejection::SignerPurpose);
    let officer = TestKey::new(OFFICER, Purpose::Officer);
    let by_two = turn.world.sign(good.clone(), &[&officer, &writer]);
    assert_eq!(submit(&mut turn, by_two), Rejection::SuperfluousSignature);
    let by_stranger = turn
        .world
        .sign(good.clone(), &[&turn.world.others[0].officer]);
    assert_eq!(submit(&mut turn, by_stranger), Rejection::ForeignSigner);
    let by_officer = turn.world.sign(good.clone(), &[&officer]);
    turn.world.submit(by_officer).unwrap();
    let again = turn.world.sign(good, &[&writer]);
    assert_eq!(submit(&mut turn, again), Rejection::EpochEnds);
}

#[test]
fn a_handover_is_to_the_set_that_was_appointed_and_from_the_last_block() {
    let mut turn = Turn::new();
    let early = turn.handover(turn.ended(), &ALL);
    let context = turn.context();
    assert_eq!(
        refused(turn.world.block_in(vec![early], context)),
        Rejection::HandoverMismatch,
        "nobody was appointed"
    );
    turn.close();
    let context = turn.context();
    let (height, hash) = turn.ended();
    let before = Height::new(height.get() - 1).unwrap();
    let other_set = turn.world.set_of(1, &[0, 1, 2]);
    let other_nodes = turn.world.nodes_in(1, &[0, 1, 2], &[]);
    let other = (&turn.old_set[..], &other_set[..], &other_nodes[..]);
    let to_other = turn.world.handover(other, (height, hash), &ALL, &ALL);
    let other_context = BlockContext {
        set_hash: EpochSet::decode(&other_set).unwrap().hash(),
        ..context
    };
    for (transaction, context, expected) in [
        (
            turn.handover((height, hash), &[0, 1]),
            context,
            Rejection::HandoverRefused,
        ),
        (
            turn.handover((before, hash), &ALL),
            context,
            Rejection::HandoverRefused,
        ),
        (
            turn.handover((height, HeaderHash::new([7; 32])), &ALL),
            context,
            Rejection::HandoverRefused,
        ),
        (to_other.clone(), context, Rejection::HandoverMismatch),
        (to_other, other_context, Rejection::HandoverMismatch),
        (
            turn.handover((height, hash), &ALL),
            other_context,
            Rejection::HandoverMismatch,
        ),
    ] {
        assert_eq!(
            refused(turn.world.block_in(vec![transaction], context)),
            expected
        );
    }
    let good = turn.handover((height, hash), &ALL);
    let Action::Handover {
        old_set, handover, ..
    } = good.action().clone()
    else {
        panic!("{good:?}");
    };
    let with_other_nodes = Action::Handover {
        old_set,
        handover,
        nodes: turn.world.nodes_in(1, &ALL, &["here:1"]),
    };
    let with_other_nodes = turn.world.sign(with_other_nodes, &[]);
    assert_eq!(
        refused(turn.world.block_in(vec![with_other_nodes], context)),
        Rejection::AppointmentNodes
    );
    // Any quorum's votes will do.
    let good = turn.handover((height, hash), &[3, 2, 1]);
    turn.world.block_in(vec![good], context).unwrap();
}
