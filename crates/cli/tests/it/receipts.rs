//! `device receipt` and `device heard`: what is no receipt of this device or of a server is refused, and nothing is written of it.

use std::{
    fs,
    sync::{Arc, Mutex},
};

use kusabi_api::{
    Hex,
    admin::{Receipt, device_id},
};
use kusabi_core::{
    evidence::Evidence,
    id::{Digest, Handle, Height, OrgId},
    inventory::SignedInventory,
    protocol::{
        reply::{Order, Task},
        request::OutcomeCode,
    },
    receipt::{Answered, Heard, Speaker},
};
use serde_json::Value;

use crate::{command::Place, proxy::Proxy, up::Up};

const SERVER_KEY: &str = "fleet/keys/ps.key";

/// A fleet with two device keys that stand on the ledger.
struct World {
    place: Place,
    up: Up,
    org: OrgId,
    camera: Handle,
    other: Handle,
    server: Handle,
}

impl World {
    fn new() -> Self {
        let place = Place::new();
        let up = Up::start(&place);
        for name in ["camera", "other"] {
            place.run(&format!("key new {name}.key")).ok();
            place.run(&format!("key register {name}.key")).ok();
        }
        let handle = |key: &str| -> Handle {
            let shown = place.run(&format!("key show {key} --json")).json();
            shown["handle"].as_str().unwrap().parse().unwrap()
        };
        let org = place.run("org show --json").json()["id"].clone();
        Self {
            org: org.as_str().unwrap().parse().unwrap(),
            camera: handle("camera.key"),
            other: handle("other.key"),
            server: handle(SERVER_KEY),
            place,
            up,
        }
    }

    /// The bundle of a text that this key signed.
    fn signed(&self, text: &str, key: &str) -> Vec<u8> {
        fs::write(self.place.path("text"), text).unwrap();
        let line = format!("sign text --key {key} --out signature --force");
        self.place.run(&line).ok();
        fs::read(self.place.path("signature")).unwrap()
    }

    /// A line of the agent's file.
    fn line(&self, text: &str, key: &str, statement: &str) -> String {
        let evidence = Evidence::decode(&self.signed(text, key)).unwrap();
        let signer = evidence.signed().signer;
        let signature = hex(evidence.signature().as_ref());
        format!("{signer} {signature} {statement} {text}")
    }

    /// What a server says that it heard of the camera.
    fn heard(&self, heard: &Heard) -> String {
        let from = Speaker {
            org: self.org,
            device: self.camera,
            height: Height::new(1).unwrap(),
        };
        heard.text(&from, 1_700_000_000_000).to_string()
    }

    /// What the camera says that it did.
    fn answered(&self) -> Answered {
        Answered {
            org: self.org,
            device: self.camera,
            server: self.server,
            order: Order {
                id: 7,
                task: Task::Rotate,
            },
            code: OutcomeCode::Done,
            height: Height::new(1).unwrap(),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The same text with another character at `at`.
fn changed(text: &str, at: usize) -> String {
    let mut bytes = text.as_bytes().to_vec();
    bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
    String::from_utf8(bytes).unwrap()
}

#[test]
fn of_a_devices_file_only_what_servers_signed_becomes_evidence() {
    let world = World::new();
    let statement = [7; SignedInventory::LEN];
    let report = world.heard(&Heard::Report(Digest::of(&statement)));
    let good = world.line(&report, SERVER_KEY, &hex(&statement));
    let by_a_device = world.line(&report, "other.key", "-");
    let about_an_order = world.line(&world.answered().text(), SERVER_KEY, "-");
    let elsewhere = report.replace(&world.org.to_string(), &"ab".repeat(16));
    let elsewhere = world.line(&elsewhere, SERVER_KEY, "-");
    let [signer, signature, beside, text] = good.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{good}");
    };
    let stranger = "ab".repeat(32);
    let not_his = "the signature is not by the signer's key";
    let no_form = "the line has not the form of one";
    let refused = [
        // One character of each word, and of the text where it stays JSON and where it does not.
        (
            format!("{} {signature} {beside} {text}", changed(signer, 9)),
            "the ledger has no key",
        ),
        (
            format!("{stranger} {signature} {beside} {text}"),
            "the ledger has no key",
        ),
        (
            format!("{signer} {} {beside} {text}", changed(signature, 9)),
            not_his,
        ),
        (
            format!("{signer} {signature} {} {text}", changed(beside, 9)),
            "the statement beside it is another one",
        ),
        (
            format!(
                "{signer} {signature} {beside} {}",
                text.replace("1700000000000", "1700000000001")
            ),
            not_his,
        ),
        (
            format!("{signer} {signature} {beside} {}", changed(text, 0)),
            "its text is not what a receipt says",
        ),
        (format!("{signer} {signature} {beside} {text} "), not_his),
        // Cut anywhere, as a file is whose end is lost.
        (
            good[..good.len() - 1].to_owned(),
            "its text is not what a receipt says",
        ),
        (good[..signer.len() + 9].to_owned(), no_form),
        (format!("{signer} {signature} {}", &beside[..9]), no_form),
        (format!("{signer} {signature} {beside}"), no_form),
        (format!("{signer}  {signature} {beside} {text}"), no_form),
        (String::new(), no_form),
        // Signed, but not by a server of the organisation of which it speaks, or about something else.
        (by_a_device, "its signer's key is for something else"),
        (elsewhere, "its signer is of another organisation"),
        (about_an_order, "it is about something else"),
    ];
    let mut file: Vec<u8> = refused
        .iter()
        .flat_map(|(line, _)| [line.as_bytes(), b"\n"].concat())
        .collect();
    file.extend(b"\xff\xfe\n");
    // The good one is last, behind all of them.
    file.extend(good.as_bytes());
    fs::write(world.place.path("receipts"), &file).unwrap();
    let ran = world.place.run("device heard receipts --out heard --json");
    ran.exits(1);
    let made: Value = serde_json::from_str(&ran.out()).unwrap();
    let told = made["refused"].as_array().unwrap();
    assert_eq!(told.len(), refused.len() + 1, "{told:#?}");
    for (at, (line, why)) in refused.iter().enumerate() {
        assert_eq!(told[at][0], at + 1);
        let said = told[at][1].as_str().unwrap();
        assert!(said.contains(why), "{line}: {said}");
    }
    assert_eq!(
        told[refused.len()][1],
        "this is no receipt: the line has not the form of one"
    );

    // Of those nothing is there, and the good one is.
    let [one] = &made["receipts"].as_array().unwrap()[..] else {
        panic!("{made}");
    };
    let mut names: Vec<_> = fs::read_dir(world.place.path("heard"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let name = format!(
        "heard-report-{}",
        &Digest::of(report.as_bytes()).to_string()[..16]
    );
    assert_eq!(
        names,
        ["json", "json.kusabi", "statement"].map(|ending| format!("{name}.{ending}"))
    );
    let file = one["statement"].as_str().unwrap();
    assert_eq!(fs::read_to_string(world.place.path(file)).unwrap(), report);
    let verified = world.place.run(&format!("verify {file} --json")).json();
    assert_eq!(verified["verdict"], "valid-now");
    assert_eq!(verified["signer"], world.server.to_string());

    // A file that is no such file at all; and one in which nothing stands yet.
    fs::write(world.place.path("receipts"), vec![b'x'; (128 << 10) + 1]).unwrap();
    world.place.run("device heard receipts --out none").exits(5);
    fs::write(world.place.path("receipts"), "").unwrap();
    world.place.run("device heard receipts --out none").ok();
    assert!(!world.place.path("none").exists());
}

#[test]
fn of_a_server_only_what_this_device_signed_of_this_order_is_taken() {
    let world = World::new();
    let answer = Arc::new(Mutex::new(String::new()));
    let given = Arc::clone(&answer);
    let admin = world.up.ready["admin"].as_str().unwrap();
    let proxy = Proxy::before(admin.trim_end_matches('/'), move |path, answer| {
        if !path.ends_with("/receipt") {
            return answer;
        }
        let body = given.lock().unwrap().clone();
        let length = body.len();
        format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
            .into_bytes()
    });
    let token = world.up.ready["token_file"].as_str().unwrap();
    let ask = |handle: Handle, order: u64, text: &str, evidence: &[u8]| {
        let receipt = Receipt {
            statement: text.to_owned(),
            evidence: evidence.to_vec().into(),
        };
        *answer.lock().unwrap() = serde_json::to_string(&receipt).unwrap();
        let device = device_id(&Hex(handle.to_bytes()));
        world.place.run(&format!(
            "device receipt {device} {order} --out answer.json --json --server {} --token-file {token}",
            proxy.address
        ))
    };
    let refused = |what: &str, handle, order, text: &str, evidence: &[u8], why: &str| {
        let ran = ask(handle, order, text, evidence);
        ran.exits(1);
        assert!(ran.err().contains(why), "{what}: {}", ran.err());
        assert!(!world.place.path("answer.json").exists(), "{what}");
        assert!(!world.place.path("answer.json.kusabi").exists(), "{what}");
    };
    let by = |key: &str, text: &str| world.signed(text, key);
    let said = world.answered();
    let text = said.text().to_string();
    let (camera, other) = (world.camera, world.other);
    let good = by("camera.key", &text);

    let not_this = "its signer is not this device";
    refused("another device's", other, 7, &text, &good, not_this);
    let forged = by("other.key", &text);
    refused("signed by another", camera, 7, &text, &forged, not_this);
    let forged = by(SERVER_KEY, &text);
    refused("signed by the server", camera, 7, &text, &forged, not_this);

    let about = "it is about something else";
    refused("of another order", camera, 8, &text, &good, about);
    let otherwise = Answered {
        device: other,
        ..said
    }
    .text()
    .to_string();
    let signed = by("camera.key", &otherwise);
    refused(
        "about another device",
        camera,
        7,
        &otherwise,
        &signed,
        about,
    );
    let report = world.heard(&Heard::Report(Digest::ZERO));
    let signed = by("camera.key", &report);
    refused("about no order", camera, 7, &report, &signed, about);
    let elsewhere = Answered {
        org: OrgId::new([9; 16]),
        ..said
    }
    .text()
    .to_string();
    let signed = by("camera.key", &elsewhere);
    let why = "its signer is of another organisation";
    refused(
        "of another organisation",
        camera,
        7,
        &elsewhere,
        &signed,
        why,
    );

    let not_his = "the signature is not by the signer's key";
    let lie = text.replace("done", "failed");
    refused("another outcome", camera, 7, &lie, &good, not_his);
    let spaced = format!("{text}\n");
    refused("a byte more", camera, 7, &spaced, &good, not_his);
    let cut = &text[..text.len() - 1];
    let why = "its text is not what a receipt says";
    refused("a text that is cut", camera, 7, cut, &good, why);
    let why = "this is not an evidence bundle";
    let cut = &good[..good.len() - 1];
    refused("a bundle that is cut", camera, 7, &text, cut, why);
    refused("no bundle", camera, 7, &text, b"", why);
    // The signature stands at the bundle's end.
    let mut bent = good.clone();
    *bent.last_mut().unwrap() ^= 1;
    refused("another signature", camera, 7, &text, &bent, not_his);

    let fetched = ask(camera, 7, &text, &good).json();
    assert_eq!(fetched["said"]["content"]["outcome"], "done");
    let verified = world.place.run("verify answer.json --json").json();
    assert_eq!(verified["verdict"], "valid-now");
    assert_eq!(verified["signer"], camera.to_string());

    // What is there is not replaced, nor is half of it written.
    fs::remove_file(world.place.path("answer.json")).unwrap();
    ask(camera, 7, &text, &good).exits(5);
    assert!(!world.place.path("answer.json").exists());

    // The device has another key now: it is the same device, by its first one.
    fs::remove_file(world.place.path("answer.json.kusabi")).unwrap();
    world.place.run("key rotate camera.key next.key").ok();
    let next = world.place.run("key show next.key --json").json();
    let next: Handle = next["handle"].as_str().unwrap().parse().unwrap();
    let text = Answered {
        device: next,
        ..said
    }
    .text()
    .to_string();
    let signed = by("next.key", &text);
    refused("of the other device", other, 7, &text, &signed, not_this);
    ask(camera, 7, &text, &signed).ok();
}
