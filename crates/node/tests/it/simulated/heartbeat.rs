//! The heartbeat that the members decide: blocks follow it, and what a node says of it, also after a restart.

use super::{Founder, open};
use kusabi_core::tx::{Act, Action, Proposal};
use kusabi_node::engine::simulation::Faults;
use std::time::Duration;

const FOUNDED: Duration = Duration::from_secs(60);
const DECIDED: Duration = Duration::from_secs(5);

#[test]
fn a_heartbeat_that_the_members_decide_holds_at_once_and_after_a_restart() {
    let founder = Founder::new();
    let mut simulation = founder.simulation(21);
    let f = founder.clone();
    let (out, stop) = simulation.run(Faults::default(), move |node, world| async move {
        open(&f, &node).await;
        assert_eq!(node.status().heartbeat, FOUNDED);
        let ledger = &f.ledger;
        let act = Act::Heartbeat {
            ms: DECIDED.as_millis().try_into().unwrap(),
        };
        let expires = ledger.time_ms + 24 * 3_600_000;
        let proposal = Proposal::new(ledger.org, expires, vec![act]).unwrap();
        let proposal = Box::new(proposal);
        let proposed = ledger.sign(Action::Propose { proposal }, &[&ledger.officer]);
        node.submit(proposed.as_bytes()).unwrap().await.unwrap();
        assert_eq!(node.status().heartbeat, DECIDED);
        let before = node.status().height.unwrap().get();
        world.sleep(10 * DECIDED + DECIDED / 2).await;
        (before, node.status().height.unwrap().get())
    });
    let (before, after) = out.unwrap_or_else(|| panic!("{stop:?}"));
    assert_eq!(after - before, 10);
    // Known when it answers, and not only with the next block.
    let (out, stop) = simulation.run(Faults::default(), |node, _| async move {
        (node.status().height.unwrap().get(), node.status().heartbeat)
    });
    let (height, heartbeat) = out.unwrap_or_else(|| panic!("{stop:?}"));
    assert!(height <= after + 1);
    assert_eq!(heartbeat, DECIDED);
}
