//! T11: another server answers in the server's place, with a key and a ledger of its own.

use super::{keys, standing};
use crate::{
    fleet::{ACTIVATED, CONNECTED, Device, POLLED, Site},
    middle::Middle,
};

/// How often the device is sent to the wrong server.
const TRIES: usize = 5;

/// The device speaks to whoever stands there, and says what is wrong.
fn refuses(device: &Device) {
    for _ in 0..TRIES {
        let mark = device.mark();
        device.poll();
        device.hear(mark, "warn answer refused");
        let said = device.said(mark);
        assert!(
            !said.iter().any(|line| line.starts_with(CONNECTED)
                || line.starts_with(POLLED)
                || line.starts_with("info server key adopted")),
            "{said:#?}"
        );
    }
}

#[test]
fn a_server_of_another_ledger_is_not_spoken_to() {
    let _with_others = crate::fleet::with_others();
    let middle = Middle::new();
    let site = Site::found_behind(&middle.url);
    // It calls itself the same; its ledger is another one.
    let impostor = Site::found_behind(&middle.url);
    site.provision(&["CAM-0001"], "");
    let mut device = Device::build(&site, "CAM-0001");

    // At its first start.
    middle.lead_to(impostor.devices);
    device.start();
    refuses(&device);
    assert_eq!(site.shown("CAM-0001")["state"], "registered");

    // The right one is spoken to at once.
    middle.lead_to(site.devices);
    device.poll();
    device.hear(0, ACTIVATED);
    let mark = device.mark();
    device.poll();
    device.hear(mark, POLLED);
    let before = standing(&site, "CAM-0001");
    let held = keys(&device)[0].id().handle();

    // And when it has long been at work.
    middle.lead_to(impostor.devices);
    device.kill();
    device.start();
    refuses(&device);
    assert_eq!(keys(&device)[0].id().handle(), held);
    let known = impostor.operator("device list");
    assert_eq!(known["devices"], serde_json::json!([]));

    middle.lead_to(site.devices);
    let mark = device.mark();
    device.poll();
    device.hear(mark, POLLED);
    let mut after = standing(&site, "CAM-0001");
    after["inventory"] = before["inventory"].clone();
    assert_eq!(after, before);
}
