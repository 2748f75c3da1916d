//! Devices that were given away and find their new owner's server by what servers of before name.

use super::{
    HINT, THEIRS, admit, admit_as, has_followed, move_key, rest, stands, theirs, transfer,
};
use crate::raw::Told;
use crate::site::{Client, How, Server, Site};
use kusabi_api::{Hex, admin::device_id};
use kusabi_core::{
    device::{Event, Input},
    id::OrgId,
    protocol::{reply::SealedProblem, request::Ask},
    suite::Purpose,
};
use kusabi_ledger::testing::TestKey;

const THIRD: u64 = THEIRS + 100;
const ON: &str = "https://devices.third.example";

/// A server of the first owner's that names this one's.
fn names(org: OrgId, url: &str) -> How {
    How {
        successors: [(org, url.into())].into(),
        ..How::default()
    }
}

/// Lets a device that has one address speak, at it and at the one that it was told of last, until this holds.
async fn until(
    device: &mut Client,
    home: &Server,
    named: &[(&str, &Server)],
    holds: impl Fn(&Client) -> bool,
) {
    for _ in 0..60 {
        let mut request = device.input(Input::Tick);
        while let Some(sent) = request {
            let told = device.hints.last().map(String::as_str);
            let there = named.iter().find(|(url, _)| Some(*url) == told);
            let server = match (device.address, there) {
                (0, _) => home,
                (_, Some((_, server))) => server,
                (at, None) => panic!("nobody serves at the address {at}, {told:?}"),
            };
            let known = device.hints.len();
            let answer = server.post(&sent).await;
            request = device.answered(&answer);
            if device.hints.len() > known {
                device.unit.addresses = 2;
                let further = device.input(Input::Reach(2));
                request = request.or(further);
            }
        }
        if holds(device) {
            return;
        }
        device.later(600);
    }
    panic!("it does not come to that: {:?}", device.events);
}

#[tokio::test]
async fn an_address_that_is_named_after_the_device_has_noticed_is_told() {
    let mut site = Site::new().await;
    let to = admit(&site);
    let mut device = site.active().await;
    rest(&site).await;
    let old = device.current();
    transfer(&site, old, to);
    site.settled().await;
    device
        .until(&site.server, |device| device.saw(&Event::Moved { to }))
        .await;
    // It asks and is told nothing, for nothing was named.
    for _ in 0..20 {
        device.later(1800);
        device.speak(&site.server, Input::Tick).await;
    }
    assert_eq!(device.hints, Vec::<String>::new());
    assert!(device.unit.device.kept().is_lost());

    // The operator names it, and starts the server again.
    site.restart_as(names(to, HINT)).await;
    let other = site.another(theirs(to)).await;
    let followed = |device: &Client| has_followed(device, to);
    until(&mut device, &site.server, &[(HINT, &other)], followed).await;
    assert_eq!(device.hints, [HINT]);
    let new = device_id(&Hex(old.to_bytes()));
    other
        .until(async || stands(&other, &new, "active").await)
        .await;
    assert!(other.alarms(&new).await.is_empty());
    assert!(site.server.alarms(&device.id).await.is_empty());
    other.stop().await;
}

/// Off while it goes from the first owner to the second and on to the third, each of whose servers knows the next one's address only.
#[tokio::test]
async fn a_device_that_was_given_on_while_it_was_off_is_led_from_one_owner_to_the_next() {
    let mut site = Site::new().await;
    let second = admit(&site);
    let third = admit_as(&site, "third", THIRD);
    let mut device = site.active().await;
    rest(&site).await;
    let key = device.current();
    site.restart_as(names(second, HINT)).await;
    let hers = site
        .another(How {
            successors: [(third, ON.into())].into(),
            ..theirs(second)
        })
        .await;
    transfer(&site, key, second);
    site.settled().await;
    // Their server takes it in as it follows the ledger.
    let there = device_id(&Hex(key.to_bytes()));
    hers.until(async || stands(&hers, &there, "active").await)
        .await;
    let signers = [
        TestKey::new(THEIRS, Purpose::Officer),
        TestKey::new(THIRD + 1, Purpose::Writer),
    ];
    let [officer, writer] = &signers;
    move_key(&site, key, Some(second), Some(third), &[officer, writer]);
    site.settled().await;
    hers.until(async || stands(&hers, &there, "moved").await)
        .await;
    let given = async || stands(&site.server, &device.id, "moved").await;
    site.server.until(given).await;

    let last = site
        .another(How {
            ps: THIRD + 2,
            ..theirs(third)
        })
        .await;
    device.power_cut();
    let named = [(HINT, &hers), (ON, &last)];
    let followed = |device: &Client| has_followed(device, third);
    until(&mut device, &site.server, &named, followed).await;
    assert_eq!(device.hints, [HINT, ON]);
    assert!(!device.saw(&Event::Moved { to: second }));
    let record = site.chain.lock().record(&device.current()).unwrap();
    assert_eq!((record.owner(), record.predecessor()), (third, Some(key)));
    hers.stop().await;
    last.stop().await;
}

/// The first owner's operator may name the last one as well, and that is what counts.
#[tokio::test]
async fn the_present_owners_address_goes_before_that_of_the_one_it_was_given_to() {
    let mut site = Site::new().await;
    let second = admit(&site);
    let third = admit_as(&site, "third", THIRD);
    let mut device = site.active().await;
    rest(&site).await;
    let key = device.current();
    transfer(&site, key, second);
    let signers = [
        TestKey::new(THEIRS, Purpose::Officer),
        TestKey::new(THIRD + 1, Purpose::Writer),
    ];
    let [officer, writer] = &signers;
    move_key(&site, key, Some(second), Some(third), &[officer, writer]);
    site.restart_as(How {
        successors: [(second, HINT.into()), (third, ON.into())].into(),
        ..How::default()
    })
    .await;
    site.settled().await;
    let last = site
        .another(How {
            ps: THIRD + 2,
            ..theirs(third)
        })
        .await;
    let followed = |device: &Client| has_followed(device, third);
    until(&mut device, &site.server, &[(ON, &last)], followed).await;
    assert_eq!(device.hints, [ON]);
    last.stop().await;
}

#[tokio::test]
async fn where_the_owners_servers_are_is_told_to_devices_of_others_only() {
    let mut site = Site::new().await;
    let to = admit(&site);
    let key = TestKey::new(7500, Purpose::Act);
    site.chain.commit(|world| world.register(&[&key]));
    site.settled().await;
    let refused = Told::Problem(SealedProblem::NotAllowed);
    let told = site.raw(&key).await.ask(&site.server, Ask::Where).await;
    assert_eq!(told, refused);
    transfer(&site, key.handle, to);
    site.settled().await;
    let told = site.raw(&key).await.ask(&site.server, Ask::Where).await;
    assert_eq!(told, Told::Moved(None));
    site.restart_as(names(to, HINT)).await;
    let told = site.raw(&key).await.ask(&site.server, Ask::Where).await;
    assert_eq!(told, Told::Moved(Some(HINT.into())));
}
