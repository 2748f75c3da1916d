//! `kusabi release new` and `import`: what they refuse, and what lies there afterwards. No ledger and no server is asked.

use std::{collections::BTreeMap, fs, path::Path};

use kusabi_core::{
    id::Digest,
    release::{Label, Manifest},
};
use kusabi_mender::testing::{self, Parts};

use crate::command::{Place, Ran};

/// A root file system, a payload, and the agent's configuration of two types.
fn place() -> Place {
    let place = Place::new();
    for dir in ["root/etc", "root/usr"] {
        fs::create_dir_all(place.path(dir)).unwrap();
    }
    for (name, content) in [("etc/conf", "1"), ("usr/app", "1"), ("usr/lib", "2")] {
        fs::write(place.path("root").join(name), content).unwrap();
    }
    fs::write(place.path("app.tar"), vec![7; 2 << 20]).unwrap();
    config(&place, "a.toml", "cam-a", &["/etc"]);
    config(&place, "b.toml", "cam-b", &["/usr"]);
    place
}

fn config(place: &Place, name: &str, device_type: &str, paths: &[&str]) {
    let text = format!(
        "state = \"/var/lib/kusabi\"\n[device]\ntype = \"{device_type}\"\n[inventory]\nroot = \"/\"\npaths = {paths:?}\n"
    );
    fs::write(place.path(name), text).unwrap();
}

fn new(place: &Place, rest: &str) -> Ran {
    place.run(&format!(
        "release new --org acme --name app --version 1 --payload app.tar --json {rest}"
    ))
}

/// Digests of the files in a folder, by their names.
fn files(folder: &Path) -> BTreeMap<String, Digest> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            let name = entry.file_name().into_string().unwrap();
            files.insert(name, Digest::of(&fs::read(entry.path()).unwrap()));
        }
    }
    files
}

#[test]
fn two_types_that_are_expected_to_differ_have_an_inventory_each() {
    let place = place();
    let made = new(
        &place,
        "--counter 1 --type cam-a --type cam-b --rootfs root --agent-config cam-a=a.toml --out out",
    );
    let made = made.json();
    assert_eq!(
        made["inventories"],
        serde_json::json!([
            {"file": "out/app-1-cam-a.inventory", "components": 1},
            {"file": "out/app-1-cam-b.inventory", "components": 3},
        ])
    );
    assert_eq!(made["rules"], "out/app-1.rules");
    // What the manifest names is there.
    let there = files(&place.path("out"));
    let bytes = fs::read(place.path("out/app-1.manifest")).unwrap();
    let manifest = Manifest::decode(&bytes).unwrap();
    for device_type in ["cam-a", "cam-b"] {
        let target = manifest.target(&Label::new(device_type).unwrap()).unwrap();
        let name = format!("app-1-{device_type}.inventory");
        assert_eq!(there[&name], target.inventory.unwrap().digest());
    }
    assert_eq!(there.len(), 6, "{there:?}");

    // One walk that serves all types has one file.
    let made = new(
        &place,
        "--counter 1 --type cam-a --type cam-b --rootfs root --out all",
    )
    .json();
    assert_eq!(
        made["inventories"],
        serde_json::json!([{"file": "all/app-1-all.inventory", "components": 3}])
    );
}

/// Rules that watch nothing are not signed.
#[test]
fn a_configuration_that_does_not_fit_is_no_expectation() {
    let place = place();
    config(&place, "misspelt.toml", "cam-a", &["/etc", "/usr/locla"]);
    config(&place, "nothing.toml", "cam-a", &[]);
    for (config, code, why) in [
        (
            "misspelt.toml",
            10,
            "root has no /usr/locla, which misspelt.toml inventories",
        ),
        (
            "nothing.toml",
            10,
            "nothing.toml says no paths to inventory",
        ),
        (
            "b.toml",
            10,
            "b.toml is the configuration of devices of type cam-b, and not of cam-a",
        ),
        (
            "cam-a=b.toml",
            10,
            "b.toml is the configuration of devices of type cam-b, and not of cam-a",
        ),
    ] {
        let refused = new(
            &place,
            &format!("--counter 1 --type cam-a --rootfs root --agent-config {config} --out out"),
        );
        refused.exits(code);
        assert!(refused.err().contains(why), "{}", refused.err());
        assert!(files(&place.path("out")).is_empty());
    }
    // One configuration is of one type.
    let refused = new(
        &place,
        "--counter 1 --type cam-a --type cam-b --rootfs root --agent-config a.toml",
    );
    refused.exits(10);
    assert!(refused.err().contains("and not of cam-b"));
    // What is told to a server as a type's inventory is looked at in the same way, before anything is asked of it.
    for config in ["misspelt.toml", "nothing.toml", "b.toml"] {
        let told = format!("device expected cam-a root --agent-config {config}");
        place.run(&told).exits(10);
    }
}

#[test]
fn a_release_that_is_there_keeps_what_its_manifest_names() {
    let place = place();
    let rest = "--counter 1 --type cam-a --rootfs root --agent-config a.toml";
    new(&place, rest).ok();
    let before = files(&place.path(""));
    assert!(before.contains_key("app-1-app.tar.pack"));
    fs::write(place.path("app.tar"), vec![8; 3 << 20]).unwrap();
    fs::write(place.path("root/etc/conf"), "2").unwrap();
    new(&place, rest).exits(5);
    let mut after = files(&place.path(""));
    after.insert(String::from("app.tar"), before["app.tar"]);
    assert_eq!(after, before);

    // What cannot be a release leaves nothing.
    for wrong in ["--channel a/b", "--document x"] {
        new(&place, &format!("{rest} --out wrong {wrong}")).exits(2);
        assert!(files(&place.path("wrong")).is_empty(), "{wrong}");
    }
}

#[test]
fn payloads_of_one_name_are_refused_before_anything_is_written() {
    let place = place();
    for (folder, byte) in [("a", 1), ("b", 2)] {
        fs::create_dir(place.path(folder)).unwrap();
        fs::write(place.path(folder).join("root.tar"), vec![byte; 2 << 20]).unwrap();
    }
    let made = place.run("release new --org acme --name app --version 1 --counter 1 --type cam-a --type cam-b --payload cam-a=a/root.tar --payload cam-b=b/root.tar --out out --json");
    made.exits(2);
    assert!(made.err().contains("the same name"), "{}", made.err());
    assert!(!place.path("out").exists() || files(&place.path("out")).is_empty());
}

/// Of an artifact that a stranger signed nothing is read behind the signature: here stands no header at all.
#[test]
fn an_artifact_is_read_when_its_signature_counts() {
    let place = place();
    let parts = Parts::new("app-1.0", b"one");
    let mut members = parts.members(Some(7));
    members[3].1 = b"no header".to_vec();
    fs::write(place.path("app.mender"), testing::tar(&members)).unwrap();
    for (seed, code, why) in [(8, 1, "is of none of the 1 keys"), (7, 5, "header.tar.gz")] {
        fs::write(place.path("key.pem"), testing::pem(seed)).unwrap();
        let refused =
            place.run("release import app.mender --org acme --counter 1 --key key.pem --json");
        refused.exits(code);
        assert!(refused.err().contains(why), "{}", refused.err());
    }
}

/// The same as from the folder that the image in the artifact was made of.
#[test]
fn an_artifacts_payload_says_what_is_expected() {
    let place = place();
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_dir_all(".", place.path("root")).unwrap();
    let image = tar.into_inner().unwrap();
    let put = |artifact: &str, files: &[(&str, &[u8])]| {
        let artifact = Parts::with_types(artifact, &["cam-a"], files).signed(7);
        fs::write(place.path("app.mender"), artifact).unwrap();
    };
    fs::write(place.path("key.pem"), testing::pem(7)).unwrap();
    let import = |rest: &str| {
        place.run(&format!(
            "release import app.mender --org acme --counter 1 --key key.pem --json {rest}"
        ))
    };
    put("app-1", &[("root.tar", &image)]);
    let said = import("--rootfs-payload --agent-config a.toml --out imported").json();
    assert_eq!(
        said["inventories"],
        serde_json::json!([{"file": "imported/app-1-all.inventory", "components": 1}])
    );
    new(
        &place,
        "--counter 1 --type cam-a --rootfs root --agent-config a.toml --out made",
    )
    .ok();
    let (imported, made) = (files(&place.path("imported")), files(&place.path("made")));
    let names: Vec<_> = imported.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        ["app-1-all.inventory", "app-1.manifest", "app-1.rules"]
    );
    for same in ["app-1-all.inventory", "app-1.rules"] {
        assert_eq!(imported[same], made[same], "{same}");
    }

    // What says nothing of one root file system makes nothing, and leaves nothing.
    put("app-2", &[("a.tar", &image), ("b.tar", &image)]);
    let two = import("--rootfs-payload --out none");
    two.exits(2);
    assert!(two.err().contains("has 2 files"), "{}", two.err());
    put("app-3", &[("root.img", &[1; 4096])]);
    import("--rootfs-payload --out none").exits(5);
    import("--agent-config a.toml --out none").exits(2);
    assert!(files(&place.path("none")).is_empty());
}
