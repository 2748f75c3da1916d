//! Server and agents are killed again and again, at any moment, while orders are given.

use std::{fs, thread, time::Duration};

use crate::{
    fleet::{Device, POLLED, Site},
    middle::{Chance, seed},
};

/// Kills.
const ROUNDS: usize = 30;
/// Every so many rounds there is a new release.
const RELEASE_EVERY: usize = 6;
/// Longest time from an order to the kill, in milliseconds.
const MOMENT_MS: usize = 500;

const SERIALS: [&str; 3] = ["CAM-0001", "CAM-0002", "CAM-0003"];

#[test]
fn no_order_is_lost_and_no_alarm_is_false() {
    let _with_others = crate::fleet::with_others();
    let mut chance = Chance::new(seed());
    let mut site = Site::found();
    site.provision(&SERIALS, "");
    let mut devices: Vec<_> = SERIALS
        .iter()
        .map(|serial| Device::build(&site, serial))
        .collect();
    // Only the first one has its device key already; the others are killed while they make theirs.
    devices[0].activate();
    devices[1].start();
    devices[2].start();

    let mut orders = Vec::new();
    let mut newest = String::new();
    for round in 0..ROUNDS {
        if round % RELEASE_EVERY == 1 {
            let number = round / RELEASE_EVERY + 2;
            newest = format!("{number}.0");
            let release = site.release(&newest, number as u64);
            orders.push(site.order(&format!("update --group lobby --release {release}")));
        } else {
            let whom = SERIALS[chance.below(SERIALS.len())];
            orders.push(site.order(&format!("report {whom}")));
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "the moment of the kill is what the test is about"
        )]
        thread::sleep(Duration::from_millis(chance.below(MOMENT_MS) as u64));
        if round % 2 == 0 {
            site.kill();
            site.up();
        } else {
            let which = chance.below(devices.len());
            devices[which].kill();
            devices[which].start();
        }
    }
    // Somebody was at one of the disks meanwhile.
    fs::write(
        devices[2].folder.join("etc/camera.conf"),
        "mode = \"night\"\n",
    )
    .unwrap();
    for serial in SERIALS {
        orders.push(site.order(&format!("report {serial}")));
    }

    for device in &devices {
        let mark = device.mark();
        device.poll();
        device.hear(mark, POLLED);
    }
    for &order in &orders {
        site.answered(order);
    }
    for (device, inventory) in devices.iter().zip(["expected", "expected", "differs"]) {
        let shown = site.shown(&device.serial);
        assert_eq!(shown["state"], "active", "{shown:#}");
        assert_eq!(shown["inventory"], inventory, "{shown:#}");
        assert_eq!(device.camera(), format!("camera {newest}\n"));
    }
    assert_eq!(site.alarms(), ["inventory"]);
    println!("{ROUNDS} kills, {} orders", orders.len());
}
