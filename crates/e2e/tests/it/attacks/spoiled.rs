//! T4 and T5: requests and answers are changed, cut, repeated, lost and put in each other's place.

use std::time::Duration;

use serde_json::Value;

use super::{keys, standing};
use crate::{
    fleet::{ACTIVATED, Device, POLLED, REPORTED, Site},
    middle::{Chance, Deed, Middle, flip, seed},
};

/// Frames that are spoiled in each part.
const SPOILED: usize = 60;
/// Downloads that are: what is asked for later is fetched once what comes before it is whole.
const DOWNLOADS: [fn(&str) -> bool; 8] = [
    manifest, manifest, proofs, proofs, proofs, payload, payload, payload,
];
/// For a device that waits after a failure, until it is told to go on.
const RESTLESS: Duration = Duration::from_millis(300);
/// Longest for a part.
const TRIES_MAX: usize = 400;

fn manifest(path: &str) -> bool {
    path.starts_with("/device/v1/releases/") && !proofs(path)
}

fn proofs(path: &str) -> bool {
    path.ends_with("/proofs")
}

fn payload(path: &str) -> bool {
    path.starts_with("/device/v1/payloads/")
}

/// Keeps a device talking until so many things were done to what it says and hears.
fn until_spoiled(middle: &Middle, device: &Device, wanted: usize) {
    let end = middle.deeds() + wanted;
    for _ in 0..TRIES_MAX {
        if middle.deeds() >= end {
            return;
        }
        let mark = device.mark();
        device.poll();
        device.hear_within(mark, "", RESTLESS);
    }
    panic!("only {} things were done", middle.deeds());
}

/// Has a device poll whom nobody disturbs any more, until it has done it. An answer of before may still come to it, and have it
/// wait.
fn until_polled(device: &Device) {
    let mark = device.mark();
    for _ in 0..TRIES_MAX {
        device.poll();
        if device.hear_within(mark, POLLED, RESTLESS).is_some() {
            return;
        }
    }
    panic!("it never polled");
}

/// What the server shows of the device, without the one alarm that is true: he can keep its freshness receipts from it.
fn undisturbed(site: &Site) -> Value {
    let mut standing = standing(site, "CAM-0001");
    let alarms = standing["alarms"].as_array_mut().unwrap();
    alarms.retain(|alarm| alarm != "stale");
    standing
}

#[test]
fn a_man_in_the_middle_changes_nothing() {
    let _with_others = crate::fleet::with_others();
    let seed = seed();
    let middle = Middle::new();
    let site = Site::found_behind(&middle.url);
    middle.lead_to(site.devices);
    site.provision(&["CAM-0001"], "");
    let mut device = Device::build(&site, "CAM-0001");

    // While it activates: whatever he does, it ends as one device with one device key.
    middle.spoil_frames(seed);
    device.start();
    until_spoiled(&middle, &device, SPOILED);
    middle.behave();
    until_polled(&device);
    device.hear(0, ACTIVATED);
    until_polled(&device);
    device.hear(0, REPORTED);
    let before = undisturbed(&site);
    assert_eq!(before["state"], "active");
    assert_eq!(before["inventory"], "expected");
    assert_eq!(before["alarms"], serde_json::json!([]));
    let held = keys(&device);
    assert_eq!(held.len(), 1);
    let handle = held[0].id().handle().to_string();
    let acts: Vec<_> = before["keys"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|key| key["purpose"] == "act")
        .collect();
    assert_eq!(acts.len(), 1, "{acts:#?}");
    assert_eq!(acts[0]["handle"], handle);

    // While it polls: nothing changes on either side, and it is served afterwards.
    middle.spoil_frames(seed ^ 1);
    until_spoiled(&middle, &device, SPOILED);
    middle.behave();
    until_polled(&device);
    assert_eq!(undisturbed(&site), before);
    assert_eq!(keys(&device)[0].id().handle().to_string(), handle);

    // While it downloads: what was changed is not installed. Each start goes on where the one before had to stop.
    let release = site.release("2.0", 1);
    device.kill();
    let order = site.order(&format!("update CAM-0001 --release {release}"));
    let mut chance = Chance::new(seed ^ 2);
    for (number, download) in DOWNLOADS.into_iter().enumerate() {
        let bit = chance.next();
        middle.think(move |request| {
            if !download(request.path()) {
                return Deed::Pass;
            }
            Deed::Answer(Box::new(move |mut answer| {
                flip(&mut answer.body, bit);
                answer
            }))
        });
        let deeds = middle.deeds();
        device.kill();
        let mark = device.mark();
        device.start();
        let failed = device.hear(mark, "warn task failed task=fetch");
        assert!(middle.deeds() > deeds, "{number}: {failed}");
        assert_eq!(device.camera(), "camera 1.0\n", "{number}");
        assert_eq!(site.waiting(order), 1, "{number}");
    }
    middle.behave();
    device.kill();
    device.start();
    site.answered(order);
    assert_eq!(device.camera(), "camera 2.0\n");
    assert_eq!(undisturbed(&site)["alarms"], before["alarms"]);
}
