//! `kusabi up` and the verbs that ask a server, with a real one.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
};

use kusabi_core::device::Provisioning;
use kusabi_mender::testing::{self, Parts, Signer};
use serde_json::{Value, json};
use snapbox::str;

use crate::{command::Place, up::Up};

fn running() -> (Place, Up) {
    let place = Place::new();
    let up = Up::start(&place);
    (place, up)
}

fn read(path: &Path) -> Provisioning {
    assert_eq!(
        path.metadata().unwrap().mode() & 0o777,
        0o600,
        "{}",
        path.display()
    );
    Provisioning::decode(&fs::read(path).unwrap()).unwrap()
}

/// Handles of the device files of a folder.
fn handles(folder: &Path) -> BTreeSet<String> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "device"))
        .map(|path| read(&path).key.unwrap().id.handle().to_string())
        .collect()
}

fn state_of(place: &Place, handle: &str) -> String {
    let shown = place.run(&format!("key lookup {handle} --json"));
    let shown: Value = serde_json::from_str(&shown.out()).unwrap();
    shown["record"]["status"]
        .as_str()
        .unwrap_or("none")
        .to_owned()
}

#[test]
fn the_first_start_founds_and_the_second_just_runs() {
    let (place, up) = running();
    let founded = up.founded.as_ref().unwrap();
    for key in ["officer_key", "recovery_key", "release_key", "writer_key"] {
        let path = place.path(founded[key].as_str().unwrap());
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600, "{key}");
    }
    let token = place.path(up.ready["token_file"].as_str().unwrap());
    assert_eq!(token.metadata().unwrap().mode() & 0o777, 0o600);
    let secret = fs::read_to_string(&token).unwrap();
    let link = up.ready["first_admin"].as_str().unwrap().to_owned();
    assert!(link.starts_with(up.ready["admin"].as_str().unwrap()));
    place.run("device list").ok().says("No devices.\n");
    place.run("org show --json").ok();
    up.stop();

    // The keys that belong elsewhere are elsewhere.
    for key in ["officer", "recovery", "art"] {
        fs::rename(
            place.path(format!("fleet/keys/{key}.key")),
            place.path(format!("{key}.key")),
        )
        .unwrap();
    }
    let up = Up::start(&place);
    assert!(up.founded.is_none());
    assert_eq!(fs::read_to_string(&token).unwrap(), secret);
    assert_ne!(
        up.ready["first_admin"], *link,
        "the link before it is none any more"
    );
    // Ports have changed, and the profile knows.
    place.run("device list").ok();

    // The database is gone: the server begins anew, and gives this machine another token.
    up.kill();
    fs::remove_dir_all(place.path("fleet/server")).unwrap();
    let up = Up::start(&place);
    assert_ne!(fs::read_to_string(&token).unwrap(), secret);
    place.run("device list").ok();
    up.stop();
}

#[test]
fn provisioning_makes_files_registers_and_tells_the_server() {
    let (place, _up) = running();
    fs::write(
        place.path("devices.csv"),
        "serial,type,group,name\nC1,cam-a,lobby,Front door\nC2,cam-a,lobby;yard,\nC3,cam-b,,\n",
    )
    .unwrap();
    let run = "provision devices.csv --out out --json";
    let said = place.run(run).json();
    assert_eq!((&said["devices"], &said["made"]), (&3.into(), &3.into()));
    assert_eq!(said["keys"]["registered"], 3);
    assert_eq!(said["addresses"][0], "http://127.0.0.1:9");

    let file = read(&place.path("out/C1.device"));
    assert_eq!(file.serial.as_str(), "C1");
    assert_eq!(file.servers.len(), 1);
    assert!(
        file.trust.anchor().height().get() > 0,
        "not behind the day it was made"
    );
    let made = handles(&place.path("out"));
    for handle in &made {
        assert_eq!(state_of(&place, handle), "active");
    }
    let listed = place.run("device list --json").json();
    assert_eq!(listed["devices"].as_array().unwrap().len(), 3);
    let lobby = place.run("device list --group lobby --json").json();
    assert_eq!(lobby["devices"].as_array().unwrap().len(), 2);
    let shown = place.run("device show C1 --json").json();
    assert_eq!(
        (&shown["serial"], &shown["state"]),
        (&"C1".into(), &"registered".into())
    );

    // Nothing secret is in the public files or was said.
    let text = fs::read_to_string(place.path("out/devices.csv")).unwrap();
    let key = file.key.unwrap();
    let said = said.to_string();
    for public in [&text, &said] {
        assert!(!public.contains(key.id.to_text().expose()));
        assert!(!public.contains("kid1"));
    }

    // Again, with a file already on its device: nothing is made, nothing changes.
    fs::remove_file(place.path("out/C2.device")).unwrap();
    let again = place.run(run).json();
    assert_eq!(
        (&again["made"], &again["keys"]["registered"]),
        (&0.into(), &0.into())
    );
    assert!(!place.path("out/C2.device").exists());
    assert_eq!(place.run("device list --json").json(), listed);

    // Somebody edits the table between two runs.
    fs::write(
        place.path("devices.csv"),
        "serial,type,group,name\nC1,cam-b,lobby,Front door\n",
    )
    .unwrap();
    place.run("provision devices.csv --out out").exits(1);
    // The same serials into another folder would be other keys for the same devices.
    fs::write(
        place.path("devices.csv"),
        "serial,type\nC9,cam-a\nC1,cam-a\n",
    )
    .unwrap();
    let taken = place.run("provision devices.csv --out other");
    taken.exits(1);
    assert!(taken.err().contains("line 3"), "{}", taken.err());
    assert!(handles(&place.path("other")).is_empty());
}

#[test]
fn a_table_that_is_wrong_does_nothing() {
    let place = Place::new();
    fs::write(place.path("t.csv"), "serial,type\nC1,cam-a\nC2,cam a\n").unwrap();
    place
        .run("provision t.csv --out out")
        .exits(5)
        .complains(str![[r#"
error: t.csv, line 3, column 2 (type): a type has 1 to 64 characters of A-Z, a-z, 0-9, '.', '_', '+', '-', a letter or digit first, so that releases can name it
  hint: mend the table and run the same command again: nothing of it was used

"#]]);
    assert!(!place.path("out").exists());
}

#[test]
fn a_run_that_is_killed_goes_on_and_loses_no_key() {
    let (place, _up) = running();
    let count = 120;
    let line = format!("provision --count {count} --type cam-a --out out --json");
    let mut seen = BTreeSet::new();
    for wanted in [1, 20, 70, count] {
        let mut child = place.command(&line).spawn().unwrap();
        while child.try_wait().unwrap().is_none() {
            let there = fs::read_dir(place.path("out")).map_or(0, |entries| {
                entries
                    .filter(|entry| {
                        let name = entry.as_ref().unwrap().file_name();
                        name.to_string_lossy().ends_with(".device")
                    })
                    .count()
            });
            if there >= wanted {
                child.kill().unwrap();
            }
            std::thread::yield_now();
        }
        child.wait().unwrap();
        let now = handles(&place.path("out"));
        assert!(seen.is_subset(&now), "a key was lost");
        seen = now;
    }
    let said = place.run(&line).json();
    let all = handles(&place.path("out"));
    assert!(seen.is_subset(&all));
    assert_eq!(all.len(), count);
    let keys = &said["keys"];
    let registered = keys["registered"].as_u64().unwrap() + keys["already"].as_u64().unwrap();
    assert_eq!(registered, count as u64);
    let devices = place.run("device list --json").json();
    assert_eq!(devices["devices"].as_array().unwrap().len(), count);
}

#[test]
fn a_factory_without_a_network() {
    let (place, up) = running();
    place.run("provision --public --out org.kusabi").ok();
    let public = Provisioning::decode(&fs::read(place.path("org.kusabi")).unwrap()).unwrap();
    assert!(public.key.is_none());

    // Another home: no profile, no ledger, no server.
    let made = place.run_at(
        "factory",
        "provision --count 2 --prefix F --type cam-a --out out --offline org.kusabi --org home --json",
    );
    let made = made.json();
    assert_eq!(made["made"], 2);
    assert!(made.get("keys").is_none());
    place.run("device list").ok().says("No devices.\n");
    let file = read(&place.path("out/F000001.device"));
    assert_eq!(file.servers, public.servers);
    assert_eq!(
        state_of(&place, &file.key.unwrap().id.handle().to_string()),
        "none"
    );

    place.run("batch submit out/devices.list").ok();
    place.run("device import out/devices.csv").ok();
    place.run("device import out/devices.csv").ok();
    let listed = place.run("device list --json").json();
    assert_eq!(listed["devices"].as_array().unwrap().len(), 2);
    up.stop();
}

#[test]
fn what_is_not_there_is_said() {
    let (place, up) = running();
    place.run("device show C9").exits(1).complains(str![[r#"
error: the server knows no device with the serial C9
  hint: a device is named by its serial or by its ID, dev_…: kusabi device list

"#]]);
    place.run("device order update C9").exits(2);
    fs::write(place.path("bad"), "kusabi_token_none\n").unwrap();
    fs::set_permissions(place.path("bad"), fs::Permissions::from_mode(0o600)).unwrap();
    place.run("device list --token-file bad").exits(3);
    fs::set_permissions(place.path("bad"), fs::Permissions::from_mode(0o644)).unwrap();
    place.run("device list --token-file bad").exits(5);
    place
        .run("device list --server http://192.0.2.1:1")
        .exits(2);

    fs::rename(place.path("fleet/keys/writer.key"), place.path("w.key")).unwrap();
    let missing = place.run("provision --count 1 --out out");
    missing.exits(5);
    assert!(
        missing
            .err()
            .contains("profile.toml names it as the writer's key"),
        "{}",
        missing.err()
    );
    place
        .run("provision --count 1 --out out --writer w.key")
        .ok();
    up.stop();
    place.run("device list").exits(4);
}

#[test]
fn a_release_from_its_files_to_the_server() {
    let (place, _up) = running();
    fs::create_dir(place.path("root")).unwrap();
    fs::write(place.path("root/app"), "1").unwrap();
    fs::write(place.path("app.tar"), vec![7; 5 << 20]).unwrap();
    let new = "release new --name app --version 1.0 --counter 1 --type cam-a --payload app.tar --rootfs root --json";
    let made = place.run(new).json();
    place.run(new).exits(5);
    let whole = new.replace("1.0", "1.1") + " --no-chunks";
    place.run(&whole).ok();
    assert!(!place.path("app-1.1-app.tar.chunks").exists());
    place.run("release publish app-1.0.manifest").exits(2);
    place.run("release show app-1.0.manifest").ok();
    let signed = place.run("release sign app-1.0.manifest --json").json();
    assert_eq!(signed["signatures"], 1);
    assert_eq!(signed["digest"], made["digest"]);

    // The server gets it only when it is listed; and a payload that was changed is another one, which is found before it is listed.
    place.run("release upload app-1.0.release").exits(3);
    let payload = fs::read(place.path("app.tar")).unwrap();
    fs::write(place.path("app.tar"), vec![8; 5 << 20]).unwrap();
    place.run("release publish app-1.0.release").exits(5);
    fs::write(place.path("app.tar"), payload).unwrap();
    fs::create_dir(place.path("away")).unwrap();
    // Contents are found by what is in them: the other version's is the same.
    fs::remove_file(place.path("app-1.1-all.inventory")).unwrap();
    for name in [
        "app-1.0-all.inventory",
        "app-1.0-app.tar.chunks",
        "app-1.0-app.tar.pack",
    ] {
        let (here, away) = (place.path(name), place.path("away").join(name));
        fs::rename(&here, &away).unwrap();
        place.run("release publish app-1.0.release").exits(5);
        fs::rename(&away, &here).unwrap();
    }
    place.run("release upload app-1.0.release").exits(3);
    let published = place.run("release publish app-1.0.release --json").json();
    assert_eq!(published["new"], true);
    // Payload, inventory, and of the payload the chunk index and the pack.
    assert_eq!(published["uploaded"]["contents"], 4);
    assert!(place.path("app-1.0-app.tar.chunks").exists());
    let (pack, payload) = (place.path("app-1.0-app.tar.pack"), place.path("app.tar"));
    let size = |path: &std::path::Path| fs::metadata(path).unwrap().len();
    assert!(size(&pack) < size(&payload) / 100, "one chunk, many times");
    let listed = place.run("release list --json").json();
    assert_eq!(listed["releases"][0]["digest"], made["digest"]);
    let contents = listed["releases"][0]["contents"].as_array().unwrap();
    assert!(contents.iter().all(|content| content["complete"] == true));
    let again = place.run("release publish app-1.0.release --json").json();
    assert_eq!(again["uploaded"]["bytes"], 0);

    place
        .run("provision --count 2 --type cam-a --group all --out out")
        .ok();
    let order = place.run("device order update --group all --release app-1.0.release --json");
    assert_eq!(order.json()["devices"], 2);
    assert_eq!(
        place.run("order list --json").json()["orders"][0]["release"],
        made["digest"]
    );

    let digest = made["digest"].as_str().unwrap();
    place.run(&format!("release withdraw {digest}")).ok();
    place.run(&format!("release withdraw {digest}")).ok();
    place.run("release show app-1.0.release").exits(1);
    place.run("release publish app-1.0.release").exits(1);
    place
        .run("device order update --group all --release app-1.0.release")
        .exits(3);
}

#[test]
fn a_release_from_a_mender_artifact() {
    let (place, _up) = running();
    let parts = Parts::with_types("app-1.0", &["cam-b", "cam-a"], &[("app.bin", b"one")]);
    fs::write(place.path("app.mender"), parts.signed(7)).unwrap();
    fs::write(place.path("unsigned.mender"), parts.unsigned()).unwrap();
    let mut tampered = parts.signed(7);
    // In the manifest, which stands in the fourth block.
    tampered[3 * 512] ^= 1;
    fs::write(place.path("tampered.mender"), tampered).unwrap();
    for (name, seed) in [("key.pem", 7), ("other.pem", 8)] {
        fs::write(place.path(name), testing::pem(seed)).unwrap();
    }
    let import = |file: &str, rest: &str| {
        place.run(&format!("release import {file}.mender --counter 1 {rest}"))
    };
    import("app", "").exits(2);
    import("app", "--key key.pem --unsigned").exits(2);
    import("app", "--key other.pem").exits(1);
    import("app", "--key app.mender").exits(5);
    import("tampered", "--key key.pem").exits(1);
    import("unsigned", "--key key.pem").exits(1);

    // Keys of the ledger: of another role, of an algorithm that no artifact has, and one that did not sign this one.
    place.run("key new app.key --purpose app").ok();
    place.run("key register app.key").ok();
    place
        .run("key new second.key --purpose art --suite p256")
        .ok();
    place.run("org art --sign 1 --add second.key").ok();
    for (key, why) in [
        ("app.key", "is no release key"),
        ("fleet/keys/art.key", "no Mender client verifies"),
        ("second.key", "is of none of the 1 keys"),
    ] {
        let shown = place.run(&format!("key show {key} --json")).json();
        let handle = shown["handle"].as_str().unwrap();
        let refused = import("app", &format!("--key {handle}"));
        refused.exits(1);
        assert!(refused.err().contains(why), "{}", refused.err());
    }

    // A key of others is a release key that signs no release; the whole of it comes from the ledger, proven.
    place.run("org art --sign 1 --foreign app.mender").exits(5);
    let set = place
        .run("org art --sign 1 --foreign key.pem --json")
        .json();
    assert_eq!((&set["sign"], &set["keys"]), (&1.into(), &2.into()));
    let foreign = set["foreign"][0]["handle"].as_str().unwrap();
    // Whoever ends it later need not have noted its handle.
    let listed = || {
        let shown = place.run("org show --keys --json").json();
        let keys = shown["keys"].as_array().unwrap().clone();
        let foreign = keys.into_iter().filter(|key| key["foreign"] == true);
        foreign
            .map(|key| (key["role"].clone(), key["handle"].clone()))
            .collect::<Vec<_>>()
    };
    assert!(listed().contains(&("art".into(), foreign.into())));
    // The same key does not stand there twice: it would go on counting when one of both is removed.
    let twice = place.run("org art --sign 1 --foreign key.pem");
    twice.exits(2);
    assert!(twice.err().contains(foreign), "{}", twice.err());
    place
        .run("org art --sign 1 --foreign key.pem --foreign key.pem")
        .exits(2);
    let made = import("app", &format!("--key {foreign} --name other --json")).json();
    assert_eq!(made["signed_by"], foreign);
    place
        .run(&format!("org art --sign 1 --remove {foreign}"))
        .ok();
    assert!(listed().is_empty());
    let ended = import("app", &format!("--key {foreign} --name third"));
    ended.exits(1);
    assert!(ended.err().contains("has ended"), "{}", ended.err());

    let made = import("app", "--key other.pem --key key.pem --json").json();
    assert_eq!(made["signed_by"], "key.pem");
    assert_eq!(made["types"], serde_json::json!(["cam-a", "cam-b"]));
    import("app", "--key key.pem").exits(5);
    let shown = place
        .run("release show app-1.0.manifest --offline --json")
        .json();
    assert_eq!(shown["payloads"][0]["format"], "mender");
    assert_eq!(shown["payloads"][0]["digest"], made["artifact_digest"]);
    place.run("release sign app-1.0.manifest").ok();
    place.run("release publish app-1.0.release").ok();
    let listed = place.run("release list --json").json();
    assert_eq!(listed["releases"][0]["digest"], made["digest"]);
    assert_eq!(listed["releases"][0]["contents"][0]["complete"], true);

    let made = import("unsigned", "--unsigned --name loose --json").json();
    assert_eq!(made["signed_by"], Value::Null);
    // Names that a release cannot have.
    for (name, types) in [("app", "cam-a"), ("a b-1", "cam-a"), ("app-1", "cam a")] {
        let parts = Parts::with_types(name, &[types], &[("app.bin", b"one")]);
        fs::write(place.path("odd.mender"), parts.signed(7)).unwrap();
        import("odd", "--key key.pem").exits(2);
    }
}

#[test]
fn two_release_keys_on_two_machines() {
    let (place, _up) = running();
    place.run("key new second.key --purpose art").ok();
    let set = place.run("org art --sign 2 --add second.key --json").json();
    assert_eq!((&set["sign"], &set["keys"]), (&2.into(), &2.into()));
    fs::write(place.path("app.bin"), "x").unwrap();
    place
        .run("release new --name app --version 2 --counter 1 --type cam-a --payload app.bin")
        .ok();
    let version = set["version"].as_u64().unwrap();
    for (key, out) in [("fleet/keys/art.key", "one"), ("second.key", "two")] {
        let signed = place.run(&format!(
            "release sign app-2.manifest --key {key} --out {out}.release --policy-version {version}"
        ));
        signed.ok();
    }
    let few = place.run("release publish one.release --key fleet/keys/art.key");
    few.exits(1);
    let merged = place.run("release merge one.release two.release --out both.release --json");
    assert_eq!(merged.json()["publishing"], 2);
    place.run("release publish both.release").ok();
}

#[test]
fn a_device_is_revoked() {
    let (place, _up) = running();
    place.run("provision --count 1 --prefix C --out out").ok();
    let file = read(&place.path("out/C000001.device"));
    let handle = file.key.unwrap().id.handle().to_string();
    place.run("device revoke C000001").ok();
    assert_eq!(state_of(&place, &handle), "revoked");
    place.run("device revoke C000001").ok();
}

#[test]
fn the_doctor_finds_what_is_wrong() {
    let (place, up) = running();
    // Nobody answers where devices are sent to.
    let looked = place.run("doctor --data fleet --json");
    looked.exits(1);
    let checks: Value = serde_json::from_str(&looked.out()).unwrap();
    let failed: Vec<_> = checks["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|check| check["verdict"] == "fail")
        .map(|check| check["what"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(failed, ["device address"]);
    fs::set_permissions(
        place.path("fleet/keys/ps.key"),
        fs::Permissions::from_mode(0o640),
    )
    .unwrap();
    assert!(place.run("doctor --data fleet").out().contains("chmod 600"));
    up.stop();
    let down = place.run("doctor");
    down.exits(1);
    assert!(down.out().contains("kusabi node run"), "{}", down.out());
}

#[test]
fn a_server_apart_from_its_node() {
    use crate::node::Node;
    let place = Place::new();
    let node = Node::start(&place);
    place.run("key new server/ps.key --purpose ps").exits(5);
    fs::create_dir(place.path("server")).unwrap();
    place.run("key new server/ps.key --purpose ps").ok();
    let run = "server run --data server --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0";
    // Nobody granted the key yet; and nobody may talk to it from elsewhere in clear.
    place.run(run).exits(1);
    node.run(&place, "org grant server/ps.key").ok();
    place
        .run("server run --data server --listen 127.0.0.1:0 --admin-listen 0.0.0.0:0")
        .exits(2);
    let server = Up::start_as(&place, "server run --data server");
    let (admin, token) = (&server.ready["admin"], &server.ready["token_file"]);
    let fleet = format!(
        "--server {} --token-file {}",
        admin.as_str().unwrap(),
        token.as_str().unwrap()
    );
    place
        .run(&format!("provision --count 2 --out out {fleet}"))
        .ok();
    let listed = place.run(&format!("device list --json {fleet}")).json();
    assert_eq!(listed["devices"].as_array().unwrap().len(), 2);
    place.run(&format!("rebuild {fleet}")).ok();
    server.stop();
}

#[test]
fn devices_in_the_field() {
    let (place, _up) = running();
    place.run("enrol list").ok().says("Nobody asks.\n");
    place
        .run("enrol token t --type cam-a --uses 3 --days 7")
        .ok();
    assert_eq!(place.path("t").metadata().unwrap().mode() & 0o777, 0o600);
    place.run("enrol token t").exits(5);
    fs::write(place.path("serials"), "C1\nC2\n\nC1\n").unwrap();
    let named = place.run("enrol serials serials --json").json();
    assert_eq!(named["new"], 2);
    assert_eq!(place.run("enrol serials serials --json").json()["new"], 0);
    place.run("enrol accept C1").exits(1);
    place.run("enrol refuse C1").exits(1);
}

/// A request for a token as a stock client sends it: status line, and the body.
fn ask_as_mender(address: &str, identity: &Value, signer: &Signer) -> (String, String) {
    let body = json!({ "id_data": identity.to_string(), "pubkey": signer.pem() }).to_string();
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "POST /api/devices/v1/authentication/auth_requests HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
         Content-Length: {}\r\nX-MEN-Signature: {}\r\n\r\n{body}",
        body.len(),
        signer.sign(body.as_bytes())
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

#[test]
fn stock_mender_devices() {
    let place = Place::new();
    // Over a network only with TLS, and the address is theirs.
    for wrong in [
        "up --data fleet --mender-listen 0.0.0.0:0 --mender-url http://mender.example",
        "up --data fleet --mender-listen 127.0.0.1:0 --mender-url mender.example",
        "up --data fleet --mender-listen 127.0.0.1:0",
    ] {
        place.run(wrong).exits(2);
    }
    assert!(!place.path("fleet").exists());
    let up = Up::start_as(
        &place,
        "up --data fleet --ledger-listen 127.0.0.1:0 --device-url http://127.0.0.1:9 \
         --mender-listen 127.0.0.1:0 --mender-url http://127.0.0.1:9",
    );
    let address = up.ready["mender"].as_str().unwrap();
    place
        .run("mender list")
        .ok()
        .says("No Mender device asks.\n");
    let (first, second) = (Signer::rsa(), Signer::ed25519(2));
    let identity = json!({ "mac": "02:00:00:00:00:01", "sn": "M-1" });
    let (status, body) = ask_as_mender(address, &identity, &first);
    assert_eq!(status, "HTTP/1.1 401 Unauthorized");
    assert!(body.contains("kusabi mender accept"), "{body}");
    let listed = place.run("mender list --json").json();
    let set = listed["devices"][0]["auth_sets"][0]["id"].as_str().unwrap();
    let table = place.run("mender list");
    assert!(table.out().contains(set), "{}", table.out());
    assert!(
        table.out().contains("mac=02:00:00:00:00:01 sn=M-1"),
        "{}",
        table.out()
    );
    place.run("mender accept M-2").exits(1);
    let accepted = place.run("mender accept M-1 --json").json();
    assert_eq!(accepted["state"], "accepted");
    let (status, token) = ask_as_mender(address, &identity, &first);
    assert_eq!(status, "HTTP/1.1 200 OK", "{token}");
    let id = accepted["id"].as_str().unwrap();
    let shown = place.run(&format!("device show {id}"));
    assert!(
        shown.out().contains("stock Mender client"),
        "{}",
        shown.out()
    );
    for never in ["inventory", "receipt"] {
        assert!(!shown.out().contains(never), "{}", shown.out());
    }
    let devices = place.run("device list --json").json();
    assert_eq!(devices["devices"][0]["class"], "mender");
    // The ledger holds its key, and says so with proof.
    let handle = accepted["auth_sets"][0]["handle"].as_str().unwrap();
    place.run(&format!("key lookup {handle}")).ok();
    place.run("mender accept M-1").exits(1);
    // Whoever knows its identity asks with a key of his own: neither is taken for the other.
    let decoy = Signer::ed25519(3);
    let (status, _) = ask_as_mender(address, &identity, &decoy);
    assert_eq!(status, "HTTP/1.1 401 Unauthorized");
    for verb in [
        "accept M-1",
        &format!("accept {id}"),
        &format!("reject {id}"),
    ] {
        let ran = place.run(&format!("mender {verb}"));
        ran.exits(1);
        assert!(ran.err().contains("came with 2 keys"), "{}", ran.err());
    }
    // It is marked as one who waits beside a key that is served.
    let table = place.run("mender list");
    assert!(table.out().contains("pending (1)"), "{}", table.out());
    assert!(
        table.out().contains("Another key is served"),
        "{}",
        table.out()
    );
    let sets = place.run("mender list --all --json").json();
    let sets = sets["devices"][0]["auth_sets"].as_array().unwrap();
    let waits = sets.iter().find(|set| set["state"] == "pending").unwrap();
    let waits = waits["id"].as_str().unwrap();
    // Of the key that was decided it is said how it stands now; the device is served with its own one still.
    let refused = place.run(&format!("mender reject {waits}"));
    let line = |name: &str| {
        let out = refused.out();
        let line = out.lines().find(|line| line.trim().starts_with(name));
        line.unwrap_or_else(|| panic!("no {name} in {out}"))
            .to_owned()
    };
    assert!(line("auth set").ends_with(waits), "{}", refused.out());
    assert!(line("state").ends_with("rejected"), "{}", refused.out());
    assert!(
        line("another key").ends_with("accepted"),
        "{}",
        refused.out()
    );
    let rejected = place.run(&format!("mender reject {id} --json")).json();
    assert_eq!(rejected["state"], "rejected");
    let (status, _) = ask_as_mender(address, &identity, &first);
    assert_eq!(status, "HTTP/1.1 401 Unauthorized");
    // Another one is vouched for before it comes.
    fs::write(place.path("second.pem"), second.pem()).unwrap();
    fs::write(place.path("none.pem"), "none").unwrap();
    place
        .run("mender preauthorize none.pem --identity sn=M-2")
        .exits(5);
    place
        .run("mender preauthorize second.pem --identity sn")
        .exits(2);
    place
        .run("mender preauthorize second.pem --identity sn=M-2")
        .ok();
    place
        .run("mender preauthorize second.pem --identity sn=M-2")
        .exits(3);
    let (status, _) = ask_as_mender(address, &json!({ "sn": "M-2" }), &second);
    assert_eq!(status, "HTTP/1.1 200 OK");
    let all = place.run("mender list --all --json").json();
    let mut states: Vec<_> = all["devices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["state"].as_str().unwrap())
        .collect();
    states.sort_unstable();
    assert_eq!(states, ["accepted", "rejected"]);
    // With several keys all of them end.
    fs::write(place.path("third.pem"), Signer::p256(4).pem()).unwrap();
    let vouched = place.run("mender preauthorize third.pem --identity sn=M-2 --json");
    let id = vouched.json()["id"].as_str().unwrap().to_owned();
    let revoked = place.run(&format!("device revoke {id} --json")).json();
    assert_eq!(revoked["keys"].as_array().unwrap().len(), 2, "{revoked}");
    let (status, _) = ask_as_mender(address, &json!({ "sn": "M-2" }), &second);
    assert_eq!(status, "HTTP/1.1 401 Unauthorized");
    let again = place.run(&format!("device revoke {id} --json")).json();
    assert_eq!(again["new"], false);
    up.stop();
}

#[test]
fn a_verb_that_there_is_not() {
    let place = Place::new();
    let ran = place.run("foo");
    ran.exits(2);
    assert!(
        ran.err().contains("kusabi knows: up, provision, device"),
        "{}",
        ran.err()
    );
    let ran = place.run("device lst --json");
    ran.exits(2);
    assert!(
        ran.err().contains("kusabi device knows: list, show"),
        "{}",
        ran.err()
    );
}
