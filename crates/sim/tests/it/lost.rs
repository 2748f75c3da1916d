//! Devices that were given away and know no server of their new owner's: they go on asking those that they know, and take an address
//! that is named later (spec/device-protocol.md, "Owners").

use kusabi_core::device::{Event, Settings};
use kusabi_core::protocol::reply::Task;
use kusabi_core::suite::Suite;
use kusabi_sim::owner::Owner;
use kusabi_sim::server::{Server, digest, order};

use crate::transfer::{DAY, HOUR, MINUTE, Two};

const NEWCOMER: &str = "https://devices.newcomer.example";
const THIRD: &str = "https://devices.third.example";
/// What somebody names who leads a device about.
const NAMES: [&str; 3] = [
    "https://1.example",
    "https://2.example",
    "https://3.example",
];

/// How many requests a device may send in a day in which it finds nobody: a round is a seek, a handshake and four messages, and at most
/// two of them an hour pass once it has waited for longer and longer.
const REQUESTS_OF_A_DAY: u64 = 300;

impl Two {
    /// A device that knows that it was given away, and not to whom it may speak; its old owner's server named nobody.
    fn lost() -> (Self, usize) {
        let (mut two, unit) = Self::settled();
        two.transfer(unit);
        two.fleet.run_ms(3 * HOUR);
        assert!(two.has_moved(unit));
        assert!(two.fleet.units[unit].device.kept().is_lost());
        assert_eq!(two.fleet.hints[unit], Vec::<String>::new());
        (two, unit)
    }

    fn is_told(&mut self, unit: usize, of: &str) {
        let told = |fleet: &kusabi_sim::fleet::Fleet| {
            fleet.hints[unit].last().is_some_and(|hint| hint == of)
        };
        assert!(
            self.fleet.run_until(3 * HOUR, told),
            "{:?} {:?}",
            self.fleet.hints[unit],
            self.fleet.events[unit]
        );
    }

    /// At the address that it was told of last stands a server of this owner's, which names another one.
    fn serves(&mut self, unit: usize, owner: &Owner, number: u64, hint: Option<&'static str>) {
        let mut server = self.fleet.server_of(owner, number);
        server.hint = hint;
        self.fleet.servers.truncate(1);
        self.fleet.servers.push(server);
        self.fleet.reach(unit, 2);
    }
}

#[test]
fn an_address_that_is_named_after_the_device_has_noticed_is_taken() {
    let (mut two, unit) = Two::lost();
    // However long that takes, it asks at the pace of a device that finds nobody.
    two.fleet.run_ms(DAY);
    let before = two.fleet.requests;
    two.fleet.run_ms(DAY);
    let asked = two.fleet.requests - before;
    assert!((10..REQUESTS_OF_A_DAY).contains(&asked), "{asked} requests");
    assert_eq!(two.fleet.hints[unit], Vec::<String>::new());

    two.fleet.servers[0].hint = Some(NEWCOMER);
    two.is_told(unit, NEWCOMER);
    let takes = two.fleet.server_of(&two.takes, 600);
    two.fleet.servers.push(takes);
    two.fleet.reach(unit, 2);
    let takes = &two.takes;
    let arrived = |fleet: &kusabi_sim::fleet::Fleet| fleet.is_settled_with(unit, takes);
    assert!(two.fleet.run_until(2 * HOUR, arrived));
    assert_eq!(two.fleet.hints[unit], [NEWCOMER]);
    assert_eq!(two.fleet.shop.alarms, []);
    // The old owner's server is spoken to no more.
    two.fleet.servers[0].refusal = None;
    two.fleet.run_ms(DAY);
    assert_eq!(two.fleet.servers[0].refusal, None);
}

#[test]
fn a_factory_key_that_moves_is_told_later_too() {
    let mut two = Two::new(22, kusabi_core::suite::Suite::Curve25519, 1);
    let unit = two
        .fleet
        .provision(kusabi_core::device::Settings::default());
    two.transfer(unit);
    two.fleet.run_ms(3 * HOUR);
    assert!(two.has_moved(unit));
    two.fleet.servers[0].hint = Some(NEWCOMER);
    two.is_told(unit, NEWCOMER);
    two.reachable(unit);
    two.follows(unit);
}

#[test]
fn what_was_named_and_mended_later_is_handed_out_anew_and_each_once() {
    let (mut two, unit) = Two::lost();
    two.fleet.servers[0].hint = Some("https://devices.newcomer.exmaple");
    two.is_told(unit, "https://devices.newcomer.exmaple");
    two.fleet.run_ms(6 * HOUR);
    two.fleet.servers[0].hint = Some(NEWCOMER);
    two.is_told(unit, NEWCOMER);
    two.fleet.run_ms(6 * HOUR);
    assert_eq!(
        two.fleet.hints[unit],
        ["https://devices.newcomer.exmaple", NEWCOMER]
    );
    // A power cut forgets which was the last one; whoever keeps the addresses knows it.
    two.fleet.power_cut(unit);
    two.fleet.run_ms(HOUR);
    assert_eq!(two.fleet.hints[unit].len(), 3);
    assert_eq!(two.fleet.hints[unit][2], NEWCOMER);
}

/// Given away, and given on, while it is off: it has only the first owner's address, whose server knows the second owner's, which knows the
/// third one's.
#[test]
fn a_device_that_was_given_on_while_it_was_off_arrives_at_its_last_owner() {
    let (mut two, unit) = Two::settled();
    let third = two.fleet.admit("third", 3100);
    let handle = two.fleet.current(unit);
    two.transfer(unit);
    assert!(two.fleet.transfer(&handle, &two.takes, &third));
    two.fleet.servers[0].hint = Some(NEWCOMER);
    two.is_told(unit, NEWCOMER);
    assert_eq!(two.fleet.units[unit].device.kept().org(), third.org);
    assert!(
        !two.has_moved(unit),
        "it has come to the third owner at once"
    );

    let second = two.fleet.server_of(&two.takes, 600);
    two.fleet.servers.push(second);
    two.fleet.servers[1].hint = Some(THIRD);
    two.fleet.reach(unit, 2);
    two.is_told(unit, THIRD);
    // In the same place: one is kept at a time.
    two.serves(unit, &third, 601, None);
    let arrived = |fleet: &kusabi_sim::fleet::Fleet| fleet.is_settled_with(unit, &third);
    assert!(
        two.fleet.run_until(2 * HOUR, arrived),
        "{:?}",
        two.fleet.events[unit]
    );
    assert_eq!(two.fleet.hints[unit], [NEWCOMER, THIRD]);
    assert_eq!(two.fleet.shop.alarms, []);
}

/// Any organisation of the ledger can have a server that knows the device's handle, and answer in the place of another one.
#[test]
fn who_names_addresses_without_end_neither_keeps_the_device_busy_nor_from_those_that_it_has() {
    let (mut two, unit) = Two::lost();
    let liar = two.fleet.admit("liar", 3100);
    let handle = two.fleet.current(unit);
    two.fleet.shop.device(liar.org, &handle);
    two.serves(unit, &liar, 601, None);
    // One address after the other, at each of which it answers itself.
    let mut told = 0;
    let mut names = |two: &mut Two, ms: u64| {
        let end = two.fleet.now().plus_ms(ms);
        while two.fleet.now() < end && !two.fleet.is_settled_with(unit, &two.takes) {
            two.fleet.servers[1].hint = Some(NAMES[told % NAMES.len()]);
            let known = two.fleet.hints[unit].len();
            if two
                .fleet
                .run_until(HOUR, |fleet| fleet.hints[unit].len() > known)
            {
                told += 1;
                two.fleet.reach(unit, 2);
            }
        }
        told
    };
    let before = two.fleet.requests;
    let told = names(&mut two, DAY);
    let asked = two.fleet.requests - before;
    assert!(told > 20, "it was told {told} times");
    // At most five times in a round, which is an hour long.
    assert!(
        asked < 3 * REQUESTS_OF_A_DAY,
        "{asked} requests, {told} names"
    );
    // It has no power by that, and what the device has from the beginning is tried all the time.
    two.fleet.publish_by(&liar, digest(1));
    let device = two.fleet.shop.device(liar.org, &handle);
    let update = order(1, Task::Update(digest(1)));
    two.fleet.shop.orders.insert(device, vec![update]);
    two.fleet.run_ms(DAY);
    assert_eq!(two.fleet.installs[unit], []);
    let adopted = |event: &Event| matches!(event, Event::ServerAdopted { .. });
    assert!(!two.fleet.events[unit].iter().any(adopted));
    let moved = Event::Moved { to: liar.org };
    assert!(!two.fleet.events[unit].contains(&moved));
    // Its owner's server is found while the other one goes on like that.
    two.fleet.servers[0] = two.fleet.server_of(&two.takes, 600);
    names(&mut two, DAY);
    assert!(two.fleet.is_settled_with(unit, &two.takes));
}

/// The old owner's server at the first address names a dead one each time that it is asked; at the second one stands the new owner's.
#[test]
fn who_names_dead_addresses_keeps_the_device_from_none_of_those_that_it_was_given() {
    let mut two = Two::new(23, Suite::Curve25519, 2);
    let unit = two.fleet.provision(Settings::default());
    assert!(two.fleet.run_until(HOUR, |fleet| fleet.is_settled(unit)));
    two.fleet.servers[0].hint = Some(NAMES[0]);
    // At the address that is named stands somebody who has nothing to do with it.
    let liar = two.fleet.admit("liar", 3100);
    let nobody = two.fleet.server_of(&liar, 601);
    two.fleet.servers.push(nobody);
    // Until it has been led about for a while, the old owner's stands at the second one as well.
    let takes = two.fleet.server_of(&two.takes, 600);
    two.transfer(unit);
    let mut told = 0;
    let mut goes_on = |two: &mut Two, ms: u64| {
        let end = two.fleet.now().plus_ms(ms);
        while two.fleet.now() < end && !two.fleet.is_settled_with(unit, &two.takes) {
            two.fleet.servers[0].hint = Some(NAMES[told % NAMES.len()]);
            let known = two.fleet.hints[unit].len();
            let is_told = two
                .fleet
                .run_until(HOUR, |fleet| fleet.hints[unit].len() > known);
            if is_told {
                told += 1;
                two.fleet.reach(unit, 3);
            }
        }
        told
    };
    assert!(goes_on(&mut two, DAY) > 10);
    two.fleet.servers[1] = takes;
    goes_on(&mut two, 6 * HOUR);
    assert!(
        two.fleet.is_settled_with(unit, &two.takes),
        "{:?}",
        two.fleet.events[unit]
    );
}

/// A server key of any organisation, at an address of the old owner's: it puts no address in the place of the true one.
#[test]
fn a_stranger_on_the_path_takes_no_name_away() {
    let (mut two, unit) = Two::lost();
    two.fleet.servers[0].hint = Some(NEWCOMER);
    two.is_told(unit, NEWCOMER);
    // Nobody answers there for a while, as long as the old owner's server is gone and a stranger answers in its place.
    let liar = two.fleet.admit("liar", 3100);
    let handle = two.fleet.current(unit);
    two.fleet.shop.device(liar.org, &handle);
    let mut stranger = two.fleet.server_of(&liar, 601);
    stranger.hint = Some(NAMES[0]);
    two.fleet.servers[0] = stranger;
    let nobody = two.fleet.server_of(&liar, 602);
    two.fleet.servers.push(nobody);
    two.fleet.reach(unit, 2);
    two.fleet.run_ms(DAY);
    assert_eq!(two.fleet.hints[unit], [NEWCOMER]);
    two.fleet.servers[1] = two.fleet.server_of(&two.takes, 600);
    two.follows(unit);
    assert_eq!(two.fleet.hints[unit], [NEWCOMER]);
}

/// More owners in between than a device turns to at once: it arrives all the same, in the next round.
#[test]
fn a_device_that_was_given_on_by_many_arrives() {
    let (mut two, unit) = Two::lost();
    let owners: Vec<Owner> = (0..5_u64)
        .map(|n| {
            two.fleet.admit(
                ["one", "two", "three", "four", "five"][n as usize],
                3100 + 100 * n,
            )
        })
        .collect();
    let handle = two.fleet.current(unit);
    for owner in &owners {
        two.fleet.shop.device(owner.org, &handle);
    }
    const HOPS: [&str; 6] = [
        "https://hop-1.example",
        "https://hop-2.example",
        "https://hop-3.example",
        "https://hop-4.example",
        "https://hop-5.example",
        "https://hop-6.example",
    ];
    // Each names the next one's address; at the last one stands whose it is.
    let mut stand: Vec<Option<Server>> = (0..HOPS.len())
        .map(|at| {
            let owner = owners.get(at).unwrap_or(&two.takes);
            let mut server = two.fleet.server_of(owner, 610 + at as u64);
            server.hint = HOPS.get(at + 1).copied();
            Some(server)
        })
        .collect();
    two.fleet.servers[0].hint = Some(HOPS[0]);
    let end = two.fleet.now().plus_ms(2 * DAY);
    let mut stands = None;
    while two.fleet.now() < end && !two.fleet.is_settled_with(unit, &two.takes) {
        let known = two.fleet.hints[unit].len();
        two.fleet
            .run_until(HOUR, |fleet| fleet.hints[unit].len() > known);
        if two.fleet.hints[unit].len() == known {
            continue;
        }
        let last = two.fleet.hints[unit].last().unwrap();
        let at = HOPS.iter().position(|hop| hop == last).unwrap();
        if let Some(before) = stands.replace(at) {
            stand[before] = two.fleet.servers.pop();
        }
        two.fleet.servers.push(stand[at].take().unwrap());
        two.fleet.reach(unit, 2);
    }
    assert!(
        two.fleet.is_settled_with(unit, &two.takes),
        "{:?}",
        two.fleet.hints[unit]
    );
}

#[test]
fn a_server_that_does_not_know_the_question_is_left_in_peace() {
    let (mut two, unit) = Two::settled();
    two.fleet.servers[0].elder = true;
    two.transfer(unit);
    two.fleet.run_ms(DAY);
    assert!(two.has_moved(unit));
    let before = two.fleet.requests;
    two.fleet.run_ms(DAY);
    let asked = two.fleet.requests - before;
    assert!((10..REQUESTS_OF_A_DAY).contains(&asked), "{asked} requests");
    two.fleet.servers[0].elder = false;
    two.fleet.servers[0].hint = Some(NEWCOMER);
    two.is_told(unit, NEWCOMER);
    two.fleet.run_ms(MINUTE);
    two.reachable(unit);
    two.follows(unit);
}
