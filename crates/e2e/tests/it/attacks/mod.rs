//! The paper's threats T3 to T8 and T11 to T17 against a real server and real agents: somebody on the way, in the server's place, at
//! its door, or between it and the ledger. What needs a device's or a server's own keys (T1, T2, T9, T10) is played by `kusabi demo`.

mod evidence;
mod factory;
mod flood;
mod impostor;
mod ledger;
mod replay;
mod secrecy;
mod spoiled;

use kusabi_agent::{
    disk::Linux,
    keystore::{DeviceKey, FileKeyStore},
};
use serde_json::Value;

use crate::fleet::{Device, Site};

/// The keys that a device holds.
fn keys(device: &Device) -> Vec<DeviceKey> {
    let store = FileKeyStore::open(Linux, &device.key_file()).unwrap();
    store
        .names()
        .filter(|name| name.starts_with("key-"))
        .filter_map(|name| store.key(name).unwrap())
        .collect()
}

/// What an attack from outside must not change on the server: which keys the device has, what it is, what was said of it.
fn standing(site: &Site, serial: &str) -> Value {
    let shown = site.shown(serial);
    let fields = ["id", "state", "keys", "inventory", "firmware"];
    let mut standing: Value = fields
        .iter()
        .map(|&field| (field, shown[field].clone()))
        .collect();
    standing["alarms"] = site.alarms().into();
    standing
}
