//! A provisioning file was copied on its way, and the thief starts first.

use std::fs;

use crate::fleet::{ACTIVATED, Device, POLLED, Site, eventually};

#[test]
fn a_factory_key_that_was_spent_by_somebody_else_is_told_to_the_owner() {
    let _with_others = crate::fleet::with_others();
    let site = Site::found();
    site.provision(&["CAM-0001"], "");
    let mut thief = Device::build(&site, "CAM-0001");
    let own = site.place.path("devices/thief");
    fs::rename(&thief.folder, &own).unwrap();
    thief.moved(own);
    let mut device = Device::build(&site, "CAM-0001");
    thief.activate();

    device.start();
    device.hear(0, "warn the server cannot");
    let alarm = eventually("the alarm", || site.alarms().pop());
    assert_eq!(alarm, "fork");
    let said = device.said(0);
    assert!(
        !said
            .iter()
            .any(|line| line.starts_with(ACTIVATED) || line.starts_with(POLLED)),
        "{said:#?}"
    );
    // The owner ends the key that took the place.
    let mark = thief.mark();
    site.operator("device revoke CAM-0001 --reason compromised");
    thief.poll();
    thief.hear(mark, "warn the server cannot");
    assert_eq!(site.shown("CAM-0001")["state"], "revoked");
}
