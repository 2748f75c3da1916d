//! Devices that were given away and know no server of their new owner's: they go on asking those that they know, and take an address
//! that is named later (spec/device-protocol.md, "Owners").

use kusabi_core::device::Event;
use kusabi_core::protocol::reply::Task;
use kusabi_sim::owner::Owner;
use kusabi_sim::server::{digest, order};

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
