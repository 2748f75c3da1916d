//! docs/first-device.md with the devices in a second network namespace: they reach the server by an address of its own over a
//! wire, and nothing else of this machine.

use std::{
    fs,
    net::SocketAddr,
    process::{Command, Stdio},
};

use crate::{
    fleet::{Device, REPORTED, Site, eventually},
    netns::{Namespace, ip},
};

/// A network namespace at the other end of a wire; gone with its value.
struct There {
    space: Namespace,
    link: String,
}

/// The server's end of the wire, and the devices' (RFC 2544's test range, which no network routes).
const HERE: &str = "198.18.77.1";
const THERE: &str = "198.18.77.2";

impl There {
    fn new() -> Self {
        let there = Self {
            space: Namespace::new(),
            link: format!("ksb{}", std::process::id()),
        };
        let (name, link) = (there.space.name(), &there.link);
        ip(&format!(
            "link add {link} type veth peer name {link}p netns {name}"
        ));
        ip(&format!("address add {HERE}/30 dev {link}"));
        ip(&format!("link set {link} up"));
        ip(&format!("-n {name} address add {THERE}/30 dev {link}p"));
        ip(&format!("-n {name} link set {link}p up"));
        there
    }
}

impl Drop for There {
    fn drop(&mut self) {
        // The other end goes with it. Gone already where the namespace is.
        let _ = Command::new("ip")
            .args(["link", "delete", &self.link])
            .stderr(Stdio::null())
            .status();
    }
}

#[test]
fn the_first_device_in_another_network() {
    let _with_others = crate::fleet::with_others();
    let there = There::new();
    let site = Site::found_at(format!("{HERE}:7041").parse::<SocketAddr>().unwrap(), None);
    site.provision(&["CAM-0001", "CAM-0002"], "");

    // It gets the agent, its configuration and its own file.
    let mut device = Device::build(&site, "CAM-0001").through(&there.space.enter());
    device.start_as(&["check"]);
    assert_eq!(device.ended(), Some(0));
    device.activate();
    let connected = device.hear(0, "info connected");
    assert!(
        connected.contains(&format!("server=http://{HERE}:7041")),
        "{connected}"
    );
    assert!(!device.folder.join("device.kusabi").exists());
    let shown = site.shown("CAM-0001");
    assert_eq!(
        (&shown["state"], &shown["inventory"]),
        (&"active".into(), &"expected".into())
    );

    // Somebody was at its disk.
    fs::write(device.folder.join("etc/camera.conf"), "mode = \"night\"\n").unwrap();
    fs::write(device.folder.join("etc/cron.hourly"), "#!/bin/sh\n").unwrap();
    let mark = device.mark();
    let order = site.order("report CAM-0001");
    device.hear(mark, REPORTED);
    site.answered(order);
    let told = site.asked("device inventory CAM-0001");
    assert_eq!(told["verdict"], "differs");
    let items: Vec<_> = told["differences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| [&item["kind"], &item["name"]].map(|text| text.as_str().unwrap()))
        .collect();
    assert_eq!(
        items,
        [["changed", "etc/camera.conf"], ["added", "etc/cron.hourly"]]
    );
    assert_eq!(site.alarms(), ["inventory"]);

    // Firmware.
    let release = site.release("2.0", 1);
    let order = site.order(&format!("update CAM-0001 --release {release}"));
    site.answered(order);
    assert_eq!(device.camera(), "camera 2.0\n");
    let slots = device.folder.join("data/slots");
    for link in ["current", "committed"] {
        assert_eq!(fs::read_link(slots.join(link)).unwrap().to_str(), Some("b"));
    }

    // One that is installed already makes its key itself and asks.
    site.operator("provision --public --out org.kusabi");
    site.operator(&format!(
        "enrol token cam.token --type {} --group lobby --uses 1 --days 7",
        crate::fleet::TYPE
    ));
    let mut old = Device::bare(&site, "CAM-0900").through(&there.space.enter());
    let (token, file) = (old.folder.join("cam.token"), old.folder.join("org.kusabi"));
    fs::copy(site.place.path("cam.token"), &token).unwrap();
    fs::copy(site.place.path("org.kusabi"), &file).unwrap();
    old.start_as(&[
        "enrol",
        "--token-file",
        token.to_str().unwrap(),
        "--file",
        file.to_str().unwrap(),
        "--label",
        "CAM-0900",
    ]);
    let made = old.hear(0, "info key made handle=");
    let waits = old.hear(0, "info enrolment state=\"waiting to be accepted\"");
    let handle = made.rsplit('=').next().unwrap();
    assert!(waits.ends_with(handle), "{waits}");
    let list = site.operator("enrol list");
    assert_eq!(list["enrolments"][0]["label"], "CAM-0900");
    assert_eq!(list["enrolments"][0]["handle"], handle);
    site.operator("enrol accept CAM-0900");
    let mark = old.mark();
    old.poll();
    old.hear(mark, "info enrolled");
    assert_eq!(old.ended(), Some(0));
    old.start();
    old.hear(mark, REPORTED);
    let listed = eventually("CAM-0900 is one of the fleet", || {
        let shown = site.shown("CAM-0900");
        (shown["state"] == "active" && shown["inventory"] == "expected").then_some(shown)
    });
    assert_eq!(listed["keys"][0]["handle"], handle);

    // One that is stolen is revoked: its open session ends, and no other begins.
    let mark = device.mark();
    site.operator("device revoke CAM-0001 --reason lost");
    device.poll();
    device.hear(mark, "warn the server cannot");
    assert_eq!(site.shown("CAM-0001")["state"], "revoked");
}
