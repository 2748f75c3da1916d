//! Attacks on updates, as the Uptane standard lists them, by a server that holds all that a server holds: its key, the releases, the
//! ledger's answers. What stands under the same names elsewhere is not repeated here: docs/threat-model.md, "Updates, by Uptane's list".

use std::fs;

use kusabi_agent::daemon::{Daemon, Once};
use kusabi_core::id::Digest;
use kusabi_core::protocol::reply::Task;
use kusabi_core::protocol::request::OutcomeCode;
use kusabi_core::release::{Content, ManifestParts, PayloadParts, ReleaseDraft, TargetParts};
use kusabi_core::suite::Purpose;
use kusabi_core::tx::Action;
use kusabi_ledger::testing::TestKey;

use crate::daemon::Site;
use crate::server::Fault;
use crate::world::{TYPE, World};

/// How often a server tells the same lie.
const LIES: usize = 4;

impl World {
    /// What a release of these files says, whose payloads they are.
    fn parts(&self, version: &str, counter: u64, files: &[(&str, &[u8])]) -> ManifestParts {
        let payload = |(name, bytes): &(&str, &[u8])| PayloadParts {
            name: (*name).into(),
            format: "raw".into(),
            content: Content::new(bytes.len() as u64, Digest::of(bytes)).unwrap(),
            chunk_index: None,
        };
        ManifestParts {
            org: self.shop.ledger.world.org,
            name: "camera".into(),
            version: version.into(),
            channel: "stable".into(),
            counter,
            minimum_counter: counter,
            targets: vec![TargetParts {
                device_type: TYPE.into(),
                inventory: None,
                payloads: (0..files.len()).collect(),
            }],
            payloads: files.iter().map(payload).collect(),
            documents: vec![],
        }
    }

    /// Puts it on this server, signed by these keys; its digest.
    fn offer(&mut self, parts: &ManifestParts, files: &[(&str, &[u8])], by: &[&TestKey]) -> Digest {
        let mut draft = ReleaseDraft::new(parts.encode().unwrap()).unwrap();
        let chain = self.shop.ledger.world.chain;
        for key in by {
            draft.sign(&chain, key.handle, &key.key).unwrap();
        }
        let digest = Digest::of(draft.manifest());
        self.manifests.insert(digest, draft.encode().unwrap());
        for (_, bytes) in files {
            self.payloads.insert(Digest::of(bytes), bytes.to_vec());
        }
        digest
    }

    /// Has the ledger list a release, if these keys are enough for it.
    fn publish(&mut self, digest: Digest, counter: u64, by: &[&TestKey]) -> bool {
        let world = &self.shop.ledger.world;
        let action = Action::Publish {
            org: world.org,
            policy_version: world.policy().unwrap().version,
            digest,
            minimum_counter: counter,
        };
        let publish = world.sign(action, by);
        self.shop.ledger.submit(publish).is_ok()
    }

    /// A release that its owner made: signed, published, on the server.
    fn whole(&mut self, version: &str, counter: u64, files: &[(&str, &[u8])]) -> Digest {
        let art = TestKey::new(600, Purpose::Art);
        assert_eq!(art.handle, self.art.handle);
        let parts = self.parts(version, counter, files);
        let digest = self.offer(&parts, files, &[&art]);
        assert!(self.publish(digest, counter, &[&art]));
        digest
    }
}

impl Site {
    /// It is ordered, and refused with this word.
    fn refuses(&self, what: &str, task: Task, code: OutcomeCode) {
        let before = self.running();
        let order = self.order(task);
        assert_eq!(self.rounds(), Once::OrderFailed, "{what}\n{}", self.said());
        assert_eq!(self.outcome(order), Some(code), "{what}\n{}", self.said());
        assert_eq!(self.running(), before, "{what}");
    }

    /// It is ordered, installed and kept.
    fn installs(&self, what: &str, release: Digest) {
        let order = self.order(Task::Update(release));
        assert_eq!(self.rounds(), Once::Done, "{what}\n{}", self.said());
        assert_eq!(self.outcome(order), Some(OutcomeCode::Done), "{what}");
        assert_eq!(self.running().0, Some(release), "{what}");
    }

    /// It is ordered; as long as the server goes on so, nothing comes of it.
    fn waits(&self, what: &str, release: Digest, mut lie: impl FnMut()) -> u64 {
        let before = self.running();
        let order = self.order(Task::Update(release));
        for _ in 0..LIES {
            lie();
            assert_eq!(self.once(), Once::Unfinished, "{what}\n{}", self.said());
            assert_eq!(self.running(), before, "{what}");
        }
        assert_eq!(self.outcome(order), None, "{what}");
        order
    }

    /// The release that was committed, the counter, and the camera's program, as the next start finds them.
    fn running(&self) -> (Option<Digest>, u64, Option<Vec<u8>>) {
        let status = Daemon::status(&self.config(0)).unwrap();
        (status.release, status.counter, self.file("camera"))
    }

    fn file(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.path("slots/current").join(name)).ok()
    }
}

fn activated() -> Site {
    let site = Site::new();
    assert_eq!(site.rounds(), Once::Done, "{}", site.said());
    site
}

#[test]
fn arbitrary_software_that_no_release_key_signed_is_not_installed() {
    let site = activated();
    let files: [(&str, &[u8]); 1] = [("camera", b"good, says the thief")];
    // Keys that the thief has: one of nobody, and one that a stolen writer key put on the ledger.
    let nobody = TestKey::new(3000, Purpose::Art);
    let device = TestKey::new(3001, Purpose::Act);
    let ps = TestKey::new(500, Purpose::Ps);
    site.server.world().shop.ledger.register(&[&device]);
    for (what, key) in [("nobody", &nobody), ("device", &device), ("server", &ps)] {
        let mut world = site.server.world();
        let parts = world.parts(what, 0, &files);
        let forged = world.offer(&parts, &files, &[key]);
        assert!(!world.publish(forged, 0, &[key]), "{what}");
        drop(world);
        site.refuses(what, Task::Update(forged), OutcomeCode::Unproven);
        site.refuses(what, Task::Repair(forged), OutcomeCode::Unproven);
    }
    // A release that is listed, signed by such a key in its signers' place.
    let mut world = site.server.world();
    let good: [(&str, &[u8]); 1] = [("camera", b"good two")];
    let release = world.whole("2", 0, &good);
    let honest = world.manifests[&release].clone();
    let parts = world.parts("2", 0, &good);
    assert_eq!(world.offer(&parts, &good, &[&device]), release);
    drop(world);
    site.waits("signed by a device's key", release, || {});
    site.server.world().manifests.insert(release, honest);
    site.installs("as its owner made it", release);
    assert_eq!(site.file("camera").unwrap(), b"good two");
}

#[test]
fn rollback_below_the_counter_is_refused_however_it_is_ordered() {
    let site = activated();
    let (hole, patched, later) = {
        let mut world = site.server.world();
        let hole = world.whole("1", 3, &[("camera", b"good with a hole")]);
        let patched = world.whole("2", 4, &[("camera", b"good and patched")]);
        let later = world.whole("3", 4, &[("camera", b"good and newer")]);
        (hole, patched, later)
    };
    site.installs("before the hole was known", hole);
    site.installs("the patch", patched);
    for task in [Task::Update(hole), Task::Repair(hole)] {
        site.refuses("the hole", task, OutcomeCode::Unsupported);
    }
    // A later one, and the order again: the counter is what counts, and it stays over restarts.
    site.installs("a later one", later);
    site.refuses("the hole", Task::Update(hole), OutcomeCode::Unsupported);
    assert_eq!(site.running().1, 4);
    // The way back to what closes the same holes is open, by design.
    site.installs("back to the patch", patched);
}

#[test]
fn freeze_by_fast_forward_needs_a_release_that_the_device_keeps() {
    let site = activated();
    let far = u64::MAX / 2;
    let (bad, held, next) = {
        let mut world = site.server.world();
        // Whoever orders it, the owner signed it: it fails its self-test, or its payload never comes.
        let bad = world.whole("bad", far, &[("camera", b"bad and far ahead")]);
        let held = world.whole("held", far, &[("camera", b"good, and never sent")]);
        world.payloads.remove(&Digest::of(b"good, and never sent"));
        let next = world.whole("2", 1, &[("camera", b"good two")]);
        (bad, held, next)
    };
    site.refuses("fails its test", Task::Update(bad), OutcomeCode::Failed);
    assert_eq!(site.running().1, 0);
    // What only says that it is far ahead is not even fetched.
    let mut world = site.server.world();
    let thief = TestKey::new(3000, Purpose::Art);
    let files: [(&str, &[u8]); 1] = [("camera", b"good, says the thief")];
    let parts = world.parts("forged", far, &files);
    let forged = world.offer(&parts, &files, &[&thief]);
    drop(world);
    site.refuses("forged", Task::Update(forged), OutcomeCode::Unproven);
    site.installs("the next one", next);
    assert_eq!(site.running().1, 1);
    site.waits("never sent", held, || {});
    assert_eq!(site.running().1, 1);
}

#[test]
fn mix_and_match_of_two_releases_is_never_installed() {
    let site = activated();
    let one: [(&str, &[u8]); 2] = [("camera", b"good one"), ("model", b"model one")];
    let two: [(&str, &[u8]); 2] = [("camera", b"good two"), ("model", b"model two")];
    let (first, second) = {
        let mut world = site.server.world();
        (world.whole("1", 0, &one), world.whole("2", 0, &two))
    };
    site.installs("the first", first);
    // All of it is signed and listed; only not together.
    let of = |release: Digest| site.server.world().manifests[&release].clone();
    let address = |bytes: &[u8]| -> &'static str {
        Box::leak(format!("/payloads/{}", Digest::of(bytes)).into_boxed_str())
    };
    // In the order in which they are asked for: what came right is kept.
    let lies: [(&'static str, Vec<u8>); LIES] = [
        ("/releases/", of(first)),
        (address(two[0].1), one[0].1.into()),
        (address(two[1].1), one[1].1.into()),
        // Its own camera as its model.
        (address(two[1].1), two[0].1.into()),
    ];
    let mut lies = lies.iter();
    let order = site.waits("mixed", second, || {
        let (path, bytes) = lies.next().unwrap();
        site.server.fault(path, Fault::Other(bytes.clone()));
    });
    let names = |one: [&str; 2]| one.map(|name| site.file(name).unwrap());
    assert_eq!(names(["camera", "model"]), [one[0].1, one[1].1]);
    assert_eq!(site.rounds(), Once::Done, "{}", site.said());
    assert_eq!(site.outcome(order), Some(OutcomeCode::Done));
    assert_eq!(names(["camera", "model"]), [two[0].1, two[1].1]);
}

#[test]
fn partial_bundles_are_not_installed() {
    let site = activated();
    let files: [(&str, &[u8]); 3] = [
        ("camera", b"good two"),
        ("model", b"a model"),
        ("radio", b"a radio's firmware"),
    ];
    let release = site.server.world().whole("2", 0, &files);
    // Each part in turn is held back, and the device starts anew each time.
    let mut orders = vec![];
    for (name, bytes) in files {
        let held = site.server.world().payloads.remove(&Digest::of(bytes));
        orders.push(site.waits(name, release, || {}));
        for (other, _) in files {
            assert_eq!(site.file(other), None, "{name} is held back");
            assert!(!site.path("slots/b").join(other).exists(), "{other}");
        }
        site.server
            .world()
            .payloads
            .insert(Digest::of(bytes), held.unwrap());
        if name != "radio" {
            continue;
        }
        // And one that comes in part.
        let path: &'static str = Box::leak(format!("/{}", Digest::of(bytes)).into_boxed_str());
        site.server.fault(path, Fault::Cut(5));
        assert_eq!(site.once(), Once::Unfinished, "{}", site.said());
        assert_eq!(site.file("camera"), None);
    }
    assert_eq!(site.rounds(), Once::Done, "{}", site.said());
    for order in orders {
        assert_eq!(site.outcome(order), Some(OutcomeCode::Done));
    }
    for (name, bytes) in files {
        assert_eq!(site.file(name).unwrap(), bytes);
    }
}

#[test]
fn releases_for_other_devices_are_refused() {
    let site = activated();
    let files: [(&str, &[u8]); 1] = [("camera", b"good for others")];
    let art = TestKey::new(600, Purpose::Art);
    let offer = |change: &dyn Fn(&mut ManifestParts)| {
        let mut world = site.server.world();
        let mut parts = world.parts("others", 0, &files);
        change(&mut parts);
        let digest = world.offer(&parts, &files, &[&art]);
        // Its owner has the ledger list it, for the devices that it is for.
        assert!(world.publish(digest, 0, &[&art]));
        digest
    };
    let other_type = offer(&|parts| parts.targets[0].device_type = "cam-b".into());
    let other_channel = offer(&|parts| parts.channel = "beta".into());
    for (what, release) in [
        ("another type", other_type),
        ("another channel", other_channel),
    ] {
        for task in [Task::Update(release), Task::Repair(release)] {
            site.refuses(what, task, OutcomeCode::Unsupported);
        }
    }
}

#[test]
fn fewer_stolen_release_keys_than_the_policy_asks_for_install_nothing() {
    let site = activated();
    let files: [(&str, &[u8]); 1] = [("camera", b"good two")];
    let [stolen, other] = [600, 601].map(|number| TestKey::new(number, Purpose::Art));
    {
        let ledger = &mut site.server.world().shop.ledger;
        let world = &ledger.world;
        let action = Action::ArtPolicy {
            org: world.org,
            policy_version: world.policy().unwrap().version,
            k: 2,
            added: vec![world.entry(&other)],
            removed: vec![],
            signers: 2,
        };
        let policy = world.sign(action, &[&stolen, &other]);
        ledger.submit(policy).unwrap();
    }
    // What the thief makes by himself: the ledger does not list it.
    let mut world = site.server.world();
    let bad: [(&str, &[u8]); 1] = [("camera", b"good, says the thief")];
    let parts = world.parts("forged", 0, &bad);
    let forged = world.offer(&parts, &bad, &[&stolen]);
    assert!(!world.publish(forged, 0, &[&stolen]));
    // And what the ledger lists, but with his signature only.
    let parts = world.parts("2", 0, &files);
    let release = world.offer(&parts, &files, &[&stolen, &other]);
    assert!(world.publish(release, 0, &[&stolen, &other]));
    let signed = world.manifests[&release].clone();
    assert_eq!(world.offer(&parts, &files, &[&stolen]), release);
    drop(world);
    site.refuses("unlisted", Task::Update(forged), OutcomeCode::Unproven);
    site.waits("one of two", release, || {});
    site.server.world().manifests.insert(release, signed);
    site.installs("both have signed", release);
}
