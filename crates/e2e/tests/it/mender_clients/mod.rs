//! Stock Mender clients as Debian has them (`mender-client` 3.4.0, `mender-cli` 1.9.0) against the real server, over TLS.

mod cut;
mod shop;

use std::{fs, time::Duration};

use rustix::process::Signal;
use serde_json::Value;

use crate::{fleet::eventually, tools::needs, wire::Message};
use cut::Line;
use shop::{Making, Shop};

/// What the factory put there.
const FACTORY: &str = "factory";

/// An artifact of a camera for devices of type cam-a, signed by the key `ec`.
const fn making<'a>(name: &'a str, camera: &'a str) -> Making<'a> {
    Making {
        name,
        of_type: "cam-a",
        camera,
        key: "ec",
        script: None,
    }
}

#[test]
fn stock_devices_wait_are_accepted_and_install_what_a_release_key_signed() {
    let _with_others = crate::fleet::with_others();
    let shop = Shop::new(None);
    // Each kind of key that a client may have: what it makes itself is RSA.
    let mut one = shop.device("CAM-0001", "cam-a", "ec");
    let mut two = shop.device("CAM-0002", "cam-b", "rsa");
    two.keyed(&shop.url, "ecparam -name prime256v1 -genkey -noout");
    let mut three = shop.device("CAM-0003", "cam-a", "ec");
    three.keyed(&shop.url, "genpkey -algorithm ed25519");
    let mut all = [&mut one, &mut two];
    for stock in &mut all {
        stock.start();
    }

    // Nobody has decided: they are not served, and nothing but their keys and their word is known of them.
    for stock in &all {
        let key = eventually("it asks", || {
            let waiting = shop.waiting().into_iter();
            waiting
                .filter(|(serial, _)| *serial == stock.serial)
                .map(|(_, key)| key)
                .next()
        });
        assert_eq!(key, stock.fingerprint(), "{}", stock.serial);
        stock.hear(0, "waits to be accepted");
    }
    assert_eq!(
        shop.site.operator("device list")["devices"],
        Value::Array(Vec::new())
    );

    for stock in &mut all {
        shop.accept(stock);
    }
    // Somebody knows the third one's key: it need not wait.
    shop.vouch(&mut three);
    three.start();
    shop.told(&three);
    assert!(!three.said(0).contains("waits to be accepted"));
    assert!(shop.waiting().is_empty());
    let shown = shop.site.shown(&one.id);
    assert_eq!(
        [&shown["class"], &shown["state"], &shown["type"]],
        ["mender", "active", "cam-a"]
    );
    let handle = shown["keys"][0]["handle"].as_str().unwrap();
    let record = shop.site.operator(&format!("key lookup {handle}"))["record"].clone();
    assert_eq!([&record["purpose"], &record["status"]], ["act", "active"]);
    assert_eq!(record["suite"], 15);

    // A release of an artifact that is signed with ECDSA, by an order.
    let release = shop.release(&making("camera-2.0", "two"));
    let order = shop.order(&one, &release);
    assert_eq!(shop.end(&one, order).0, "done");
    assert_eq!(one.camera(), "two");
    let shown = shop.site.shown(&one.id);
    let runs = shop.site.operator(&format!("release show {release}"));
    assert_eq!(shown["firmware"], runs["digest"], "{shown}\n{runs}");

    // Of one that is signed with RSA, by a rollout.
    let release = shop.release(&Making {
        of_type: "cam-b",
        key: "rsa",
        ..making("door-2.0", "door two")
    });
    let rollout = shop.site.operator(&format!(
        "rollout new door --release {release} --type cam-b"
    ));
    let rollout = rollout["id"].as_u64().unwrap();
    let devices = eventually("the rollout's end", || {
        let shown = shop.site.operator(&format!("rollout show {rollout}"));
        (shown["state"] == "done").then(|| shown["devices"].clone())
    });
    assert_eq!(devices[0]["state"], "done", "{devices}");
    assert_eq!(two.camera(), "door two");

    // That one is for another type of device.
    let order = shop.order(&one, &release);
    let (outcome, why) = shop.end(&one, order);
    assert_eq!(outcome, "failed");
    assert!(why.contains("not for devices of type cam-a"), "{why}");

    // The server believes both release keys; this device only the one that it was given.
    let release = shop.release(&Making {
        key: "rsa",
        ..making("camera-2.1", "two, RSA")
    });
    let order = shop.order(&one, &release);
    assert_eq!(shop.end(&one, order).0, "failed");
    let said = shop.log(&one, order);
    assert!(said.contains("signature"), "{said}");

    // An install that fails is rolled back, and its log says why.
    let release = shop.release(&Making {
        script: Some((
            "ArtifactCommit_Enter_00_test",
            "echo lens is dirty >&2; exit 1",
        )),
        ..making("camera-3.0", "three")
    });
    let order = shop.order(&one, &release);
    let (outcome, why) = shop.end(&one, order);
    assert_eq!(outcome, "failed");
    assert!(why.contains("log"), "{why}");
    assert_eq!(one.camera(), "two");
    let said = shop.log(&one, order);
    assert!(said.contains("ArtifactCommit_Enter_00_test"), "{said}");
    assert!(said.contains("lens is dirty"), "{said}");
    assert_eq!(shop.site.shown(&one.id)["firmware"], runs["digest"]);

    // A rollout is aborted while a device installs: the device gives up and goes back.
    let release = shop.release(&Making {
        of_type: "cam-b",
        key: "rsa",
        script: Some((
            "ArtifactInstall_Leave_00_wait",
            "touch /srv/waits; while [ ! -e /srv/go ]; do sleep 0.1; done",
        )),
        ..making("door-3.0", "door three")
    });
    let rollout = shop.site.operator(&format!(
        "rollout new doors --release {release} --type cam-b"
    ));
    let rollout = rollout["id"].as_u64().unwrap();
    eventually("it installs", || {
        two.folder.join("srv/waits").exists().then_some(())
    });
    assert_eq!(two.camera(), "door three");
    shop.site.operator(&format!("rollout abort {rollout}"));
    let mark = two.mark();
    fs::write(two.folder.join("srv/go"), "").unwrap();
    two.hear(mark, "aborted");
    eventually("it is as it was", || {
        (two.camera() == "door two").then_some(())
    });
    let devices = shop.site.operator(&format!("rollout show {rollout}"));
    assert_eq!(devices["devices"][0]["state"], "aborted", "{devices}");

    // It is revoked between two calls, with a token that is good for days and an order that waits for it: it gets neither.
    let release = shop.release(&making("camera-4.0", "four"));
    three.signal(Signal::STOP);
    let order = shop.order(&three, &release);
    shop.site
        .operator(&format!("device revoke {} --reason lost", three.id));
    let mark = three.mark();
    three.signal(Signal::CONT);
    three.hear(mark, "Device unauthorized");
    // Twice: it goes on asking, and goes on being told.
    three.hear(mark, "is never taken again");
    let mark = three.mark();
    three.hear(mark, "is never taken again");
    assert_eq!(three.camera(), FACTORY);
    assert!(!three.said(0).contains("camera-4.0"));
    assert_eq!(shop.site.waiting(order), 1);
    // The others are not touched by it.
    let order = shop.order(&one, &release);
    assert_eq!(shop.end(&one, order).0, "done");
    assert_eq!(one.camera(), "four");
}

#[test]
fn downloads_that_are_cut_go_on_and_not_for_a_device_that_was_revoked_meanwhile() {
    /// After a cut the client waits a minute before it goes on.
    const TWO_WAITS: Duration = Duration::from_secs(200);
    /// After so many bytes of the four MiB.
    const CUT: usize = 1_400_000;
    /// More than anything else that goes over the line.
    const LONG: usize = 300_000;
    let _with_others = crate::fleet::with_others();
    let line = Line::new(3, CUT);
    let shop = Shop::new(Some(&format!("https://{}", line.address)));
    line.lead_to((shop.site.admin.ip(), 7043).into());
    let mut good = shop.device("CAM-0001", "cam-a", "ec");
    let mut lost = shop.device("CAM-0002", "cam-a", "ec");
    for stock in [&mut good, &mut lost] {
        stock.keyed(&shop.url, "ecparam -name prime256v1 -genkey -noout");
        stock.start();
        shop.accept(stock);
    }
    let release = shop.release(&making("camera-2.0", "random"));
    let orders = [&good, &lost].map(|stock| shop.order(stock, &release));
    // Both are in the middle of it. One of them is revoked while they wait: the address that it has leads nowhere any more.
    eventually("the first cuts", || (line.cuts_left() == 1).then_some(()));
    assert_eq!(line.carried(LONG).len(), 2);
    shop.site
        .operator(&format!("device revoke {} --reason lost", lost.id));

    good.hear_within(0, "[ArtifactCommit_Leave]", TWO_WAITS);
    assert_eq!(shop.end(&good, orders[0]).0, "done");
    let made = fs::read(shop.site.place.path("make/camera")).unwrap();
    assert!(fs::read(good.folder.join("srv/camera")).unwrap() == made);
    assert_eq!(line.cuts_left(), 0);
    // Three parts of one download, and what the other had until it was cut.
    let carried = line.carried(LONG);
    assert_eq!(carried.len(), 4, "{carried:?}");
    let whole = made.len() + CUT;
    let sum: usize = carried.iter().sum();
    assert!((whole..whole + LONG).contains(&sum), "{carried:?}");
    // It tried as well, and nothing came.
    assert!(
        lost.said(0)
            .contains("Attempting to resume artifact download")
    );
    assert_eq!(lost.camera(), FACTORY);
}

#[test]
fn mender_cli_uploads_lists_and_deletes_and_what_no_release_key_signed_is_refused_with_the_reason()
{
    let _with_others = crate::fleet::with_others();
    needs("mender-cli", "mender-cli");
    let shop = Shop::new(None);
    let token = fs::read_to_string(shop.site.place.path("fleet/token")).unwrap();
    let token = token.trim();
    let cli = |line: &str| {
        let ran = shop.mender_cli(&line.split(' ').collect::<Vec<_>>());
        let said = [ran.stdout, ran.stderr].concat();
        (ran.status.success(), String::from_utf8(said).unwrap())
    };
    let artifact = |name: &str, key: &str| {
        let file = shop.artifact(&Making {
            key,
            ..making(name, name)
        });
        assert!(file.exists());
    };

    artifact("camera-1.0", "ec");
    let (good, said) = cli("artifacts upload camera-1.0.mender");
    assert!(!good, "nobody is logged in: {said}");
    let (good, said) = cli("login --username anybody --password wrong");
    assert!(!good && said.contains("401"), "{said}");
    let (good, said) = cli(&format!("login --username anybody --password {token}"));
    assert!(good, "{said}");

    artifact("camera-1.1", "rsa");
    for name in ["camera-1.0", "camera-1.1"] {
        let (good, said) = cli(&format!("artifacts upload {name}.mender"));
        assert!(good, "{said}");
    }
    // The same once more is no conflict.
    let (good, said) = cli("artifacts upload camera-1.0.mender");
    assert!(good, "{said}");
    let (good, said) = cli("artifacts list --detail 3");
    assert!(good, "{said}");
    assert!(
        said.contains("camera-1.0") && said.contains("camera-1.1") && said.contains("cam-a"),
        "{said}"
    );

    artifact("camera-1.2", "wrong");
    artifact("camera-1.3", "");
    let signed = fs::read(shop.site.place.path("camera-1.1.mender")).unwrap();
    let member = |name: &str| {
        let mut at = (0..signed.len()).step_by(512);
        at.find(|&at| signed[at..].starts_with(name.as_bytes()))
            .unwrap()
            + 512
    };
    for (name, at) in [
        // Not the manifest that was signed; and not what stands in it.
        ("manifest", member("manifest\0")),
        ("payload", member("data/0000.tar.gz\0") + 40),
    ] {
        let mut bytes = signed.clone();
        // Another hexadecimal digit, in the manifest.
        bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
        fs::write(shop.site.place.path(format!("{name}.mender")), bytes).unwrap();
    }
    for (name, reason) in [
        ("camera-1.2", "signature is of none of the 2 keys"),
        ("camera-1.3", "is not signed"),
        ("manifest", "changed after it was signed"),
        ("payload", "data/0000.tar.gz"),
    ] {
        let (good, said) = cli(&format!("artifacts upload {name}.mender"));
        assert!(!good && said.contains("400"), "{name}: {said}");
        // This mender-cli does not show what the server says.
        let (status, why) = upload(&shop, token, name);
        assert_eq!(status, 400, "{name}: {why}");
        assert!(why.contains(reason), "{name}: {why}");
    }

    // What is uploaded is there for a release that is made of it, and then stays.
    let imported = "release import camera-1.1.mender --key keys/rsa.pub --counter 0";
    shop.site.operator(imported);
    shop.site.operator("release sign camera-1.1.manifest");
    shop.site.operator("release publish camera-1.1.release");
    let listed = shop.site.get("/api/management/v1/deployments/artifacts");
    let id = |name: &str| {
        let mut all = listed.as_array().unwrap().iter();
        let found = all.find(|one| one["name"] == name).unwrap();
        found["id"].as_str().unwrap().to_owned()
    };
    assert_eq!(listed.as_array().unwrap().len(), 2, "{listed}");
    let (good, said) = cli(&format!("artifacts delete {}", id("camera-1.1")));
    assert!(!good && said.contains("409"), "{said}");
    let (good, said) = cli(&format!("artifacts delete {}", id("camera-1.0")));
    assert!(good, "{said}");
    let (_, said) = cli("artifacts list");
    assert!(
        !said.contains("camera-1.0") && said.contains("camera-1.1"),
        "{said}"
    );
    let (good, said) = cli("devices list");
    assert!(good, "{said}");
}

/// Uploads an artifact; the status, and what the server says to it.
fn upload(shop: &Shop, token: &str, name: &str) -> (u16, String) {
    let field = |name: &str| {
        format!("--edge\r\ncontent-disposition: form-data; name=\"{name}\"; filename=\"a\"\r\n\r\n")
    };
    let artifact = fs::read(shop.site.place.path(format!("{name}.mender"))).unwrap();
    let body = [field("artifact").as_bytes(), &artifact, b"\r\n--edge--\r\n"].concat();
    let request = Message {
        head: format!(
            "POST /api/management/v1/deployments/artifacts HTTP/1.1\r\nhost: server\r\nauthorization: Bearer {token}\r\n\
             content-type: multipart/form-data; boundary=edge\r\n\r\n"
        ),
        body,
    };
    let answer = request.ask(shop.site.admin).unwrap();
    let said: Value = serde_json::from_slice(&answer.body).unwrap();
    let why = said["error"].as_str().unwrap().to_owned();
    (answer.path().parse().unwrap(), why)
}
