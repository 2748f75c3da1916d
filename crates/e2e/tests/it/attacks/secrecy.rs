//! T7: what somebody hears who takes down every byte of a device's life.

use std::fs;

use kusabi_core::{device::Provisioning, id::KusabiId};

use super::keys;
use crate::{
    fleet::{Device, Site, eventually},
    middle::Middle,
};

/// Something that must not be heard, in each form in which it could be.
fn forms(name: &str, bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    vec![
        (name.to_owned(), bytes.to_vec()),
        (format!("{name} in hexadecimal"), hex.clone().into_bytes()),
        (
            format!("{name} in HEXADECIMAL"),
            hex.to_uppercase().into_bytes(),
        ),
    ]
}

/// The forms of an ID, its handle and its private key.
pub(super) fn secrets(of: &str, id: &KusabiId, seed: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut all = forms(&format!("the kusabi-ID of the {of} key"), id.expose());
    let text = id.to_text();
    all.push((
        format!("the kusabi-ID of the {of} key as text"),
        text.expose().into(),
    ));
    let handle = id.handle();
    all.extend(forms(
        &format!("the handle of the {of} key"),
        handle.as_bytes(),
    ));
    all.extend(forms(&format!("the private {of} key"), seed));
    all
}

pub(super) fn holds(heard: &[u8], wanted: &[u8]) -> bool {
    heard.windows(wanted.len()).any(|window| window == wanted)
}

/// A whole life; `origin` says who makes the device key.
fn life(origin: &str) {
    let _with_others = crate::fleet::with_others();
    let middle = Middle::new();
    let site = Site::found_behind(&middle.url);
    middle.lead_to(site.devices);
    site.provision(&["CAM-0001"], &format!("--key-origin {origin}"));
    let mut device = Device::build(&site, "CAM-0001");
    let file = fs::read(device.folder.join("device.kusabi")).unwrap();
    let factory = Provisioning::decode(&file).unwrap().key.unwrap();

    device.activate();
    site.answered(site.order("report CAM-0001"));
    let release = site.release("2.0", 1);
    site.answered(site.order(&format!("update CAM-0001 --release {release}")));
    assert_eq!(device.camera(), "camera 2.0\n");
    let held = keys(&device);
    assert_eq!(held.len(), 1);

    let heard = middle.heard();
    let mut sought = secrets("factory", &factory.id, factory.seed.expose());
    for key in &held {
        // version, purpose, suite, ID 16, seed 32 (kusabi-agent's key store).
        let encoded = key.encode();
        sought.extend(secrets("device", key.id(), &encoded[19..51]));
    }
    for (name, bytes) in &sought {
        assert!(!holds(&heard, bytes), "{name} crossed in clear");
    }
    // The same search finds what does cross: the release's digest, and the firmware.
    let digest = eventually("the release that it says it runs", || {
        let shown = site.shown("CAM-0001");
        shown["firmware"].as_str().map(str::to_owned)
    });
    assert!(holds(&heard, digest.as_bytes()));
    assert!(holds(&heard, b"camera 2.0\n"));
    println!("{} bytes searched for {} things", heard.len(), sought.len());
}

#[test]
fn no_id_no_handle_and_no_key_crosses_in_clear() {
    life("device");
}

#[test]
fn nor_where_the_server_makes_the_key() {
    life("server");
}
