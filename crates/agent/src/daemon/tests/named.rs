//! A device that was given away, and what the daemon keeps of the addresses that servers name.

use kusabi_core::id::OrgId;
use kusabi_core::suite::Purpose;
use kusabi_core::tx::{Act, Action, Named};
use kusabi_ledger::testing::{OFFICER, TestKey};
use kusabi_sim::server::Server;

use super::*;

const GIVEN: [&str; 4] = [
    "http://server",
    "http://second",
    "http://third",
    "http://fourth",
];
const MISSPELT: &str = "http://newcomer.exmaple";
const NEWCOMER: &str = "http://newcomer.example";

/// Numbers of the newcomer's officer, writer and server keys.
const NUMBERS: [u64; 3] = [3000, 3001, 3002];

/// An organisation with a writer and a server.
fn admit(world: &mut World) -> (OrgId, Server) {
    let [officer, writer, ps] = [Purpose::Officer, Purpose::Writer, Purpose::Ps]
        .into_iter()
        .zip(NUMBERS)
        .map(|(purpose, number)| TestKey::new(number, purpose))
        .collect::<Vec<_>>()
        .try_into()
        .unwrap_or_else(|_| unreachable!("three"));
    let ledger = &mut world.shop.ledger;
    let candidate = ledger.world.candidate("newcomer", 1, &[&officer]);
    let org = candidate.name.id();
    let admit = Act::Admit {
        candidate,
        quota: 100,
        seat: false,
    };
    let (_, proposal) = ledger.world.propose(0, vec![admit]);
    ledger.submit(proposal).unwrap();
    for key in [&writer, &ps] {
        let action = Action::Grant {
            org,
            org_version: ledger.world.organisation_of(&org).unwrap().version,
            entry: Box::new(key.entry(&ledger.world.chain, &org)),
        };
        let grant = ledger.world.sign(action, &[&officer]);
        ledger.submit(grant).unwrap();
    }
    (org, Server::new(ps, org))
}

impl Bench {
    fn give_away(&self, to: OrgId) {
        let handle = self.store().kept().unwrap().unwrap().current().handle;
        let mut world = self.world();
        let ledger = &mut world.shop.ledger;
        let action = Action::Transfer {
            org: ledger.world.org,
            to,
            targets: vec![Named {
                handle,
                version: ledger.world.record(&handle).unwrap().version(),
            }],
        };
        let signers = [
            TestKey::new(OFFICER, Purpose::Officer),
            TestKey::new(NUMBERS[1], Purpose::Writer),
        ];
        let [officer, writer] = &signers;
        let transfer = ledger.world.sign(action, &[officer, writer]);
        ledger.submit(transfer).unwrap();
    }

    /// Lives until the log says this.
    fn until(&mut self, said: &str) {
        let lines = Arc::clone(&self.lines);
        let from = lines.lock().unwrap().len();
        self.reach(&|_| {
            let lines = lines.lock().unwrap();
            lines[from..].iter().any(|line| line.contains(said))
        });
    }

    /// Lives until a request goes there.
    fn until_asked(&mut self, url: &str) {
        self.wire.asked.lock().unwrap().clear();
        let wire = Arc::clone(&self.wire);
        self.reach(&|_| wire.asked.lock().unwrap().iter().any(|asked| asked == url));
    }

    fn until_polled(&mut self) {
        let before = self.world().shop.polls;
        self.reach(&|world| world.shop.polls > before);
    }
}

#[test]
fn the_newest_address_that_is_named_is_tried_beside_all_that_were_given() {
    let mut bench = Bench::of(&GIVEN);
    bench.until_polled();
    let (to, server) = admit(&mut bench.world());
    bench.give_away(to);
    bench.until("another organisation's now");
    // Nobody has named an address yet, and the device goes round those that it has.
    for url in GIVEN {
        bench.until_asked(url);
    }

    bench.world().server.hint = Some(MISSPELT);
    bench.until_asked(MISSPELT);
    // It is known after a restart, and keeps the device from none of the others.
    bench.machine.disk.restart();
    bench.until_asked(MISSPELT);
    for url in GIVEN {
        bench.until_asked(url);
    }

    bench
        .wire
        .elsewhere
        .lock()
        .unwrap()
        .insert(NEWCOMER.to_owned(), server);
    bench.world().server.hint = Some(NEWCOMER);
    bench.until_polled();
    let kept = bench.store().kept().unwrap().unwrap();
    assert_eq!(kept.org(), to);
    assert!(!kept.is_lost());
    assert_eq!(bench.store().hint(), Some(NEWCOMER));
    // It takes the place of the one that was named before, which nobody asks any more; and it is known when the agent starts again.
    bench.wire.asked.lock().unwrap().clear();
    bench.machine.disk.restart();
    bench.until_polled();
    bench.until_polled();
    let asked = bench.wire.asked.lock().unwrap().clone();
    assert!(asked.iter().any(|url| url == NEWCOMER), "{asked:?}");
    assert!(asked.iter().all(|url| url != MISSPELT), "{asked:?}");
    bench.check("given away");
}
