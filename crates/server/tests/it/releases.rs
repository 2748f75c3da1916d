//! Releases: taken in, uploaded in parts, fetched in ranges.

use crate::world::World;
use axum::{
    body::Body,
    http::{Method, Request, StatusCode},
};
use bytes::Bytes;
use futures_util::stream;
use kusabi_api::{Hex, Hex32, Kind};
use kusabi_core::{
    crypto::sha256,
    id::{Digest, OrgId},
    inventory::{Component, ComponentKind, InventoryWriter},
    proof::Proof,
    release::{
        ChunkIndexDraft, Content, CutSizes, ManifestParts, PayloadParts, ReleaseDraft,
        SignedManifest, TargetParts,
    },
    suite::Purpose,
    tx::Action,
};
use kusabi_ledger::testing::TestKey;
use kusabi_server::app::Expected;
use serde_json::{Value, json};

const ART: [u64; 3] = [10, 11, 12];

/// What a release of a test is made of.
pub(crate) struct Made {
    pub(crate) digest: Hex32,
    pub(crate) signed: Vec<u8>,
    pub(crate) payload: Vec<u8>,
    pub(crate) inventory: Vec<u8>,
}

pub(crate) fn of(bytes: &[u8]) -> Hex32 {
    Hex(sha256(&[bytes]))
}

fn content(bytes: &[u8]) -> Content {
    Content::new(bytes.len() as u64, Digest::new(of(bytes).0)).unwrap()
}

fn inventory(names: &[&str]) -> Vec<u8> {
    let mut writer = InventoryWriter::new(Vec::new());
    for name in names {
        let digest = Digest::new([7; 32]);
        let one = Component::new(name, None, ComponentKind::File, 10, digest).unwrap();
        writer.put(&one).unwrap();
    }
    writer.finish().1
}

impl World {
    /// Sets an art policy of two keys out of three.
    pub(crate) fn art_policy(&self) {
        let transaction = {
            let world = self.ledger.world.lock().unwrap();
            let keys = ART.map(|number| TestKey::new(number, Purpose::Art));
            let action = Action::ArtPolicy {
                org: world.org,
                policy_version: 0,
                k: 2,
                added: keys.iter().map(|key| world.entry(key)).collect(),
                removed: Vec::new(),
                signers: 3,
            };
            world.sign(action, &[&world.officer, &keys[0], &keys[1]])
        };
        self.ledger.commit(transaction).unwrap();
    }

    /// A manifest, signed by these of the art keys, with a payload of this many bytes.
    pub(crate) fn make(
        &self,
        signers: &[u64],
        size: usize,
        change: impl Fn(&mut ManifestParts),
    ) -> Made {
        let payload: Vec<u8> = (0..size).map(|at| (at * 7 % 251) as u8).collect();
        let inventory = inventory(&["etc/passwd", "usr/bin/camera"]);
        let world = self.ledger.world.lock().unwrap();
        let mut parts = ManifestParts {
            org: world.org,
            name: "camera-os".into(),
            version: "1.2".into(),
            channel: "stable".into(),
            counter: 4,
            minimum_counter: 3,
            targets: vec![TargetParts {
                device_type: "cam-2".into(),
                inventory: Some(content(&inventory)),
                payloads: vec![0],
            }],
            payloads: vec![PayloadParts {
                name: "root".into(),
                format: "raw".into(),
                content: content(&payload),
                chunk_index: None,
            }],
            documents: Vec::new(),
        };
        change(&mut parts);
        let mut draft = ReleaseDraft::new(parts.encode().unwrap()).unwrap();
        for &number in signers {
            let key = TestKey::new(number, Purpose::Art);
            draft.sign(&world.chain, key.handle, &key.key).unwrap();
        }
        Made {
            digest: of(draft.manifest()),
            signed: draft.encode().unwrap(),
            payload,
            inventory,
        }
    }

    fn by_art(&self, action: Action) {
        let transaction = {
            let world = self.ledger.world.lock().unwrap();
            let keys = [10, 11].map(|number| TestKey::new(number, Purpose::Art));
            world.sign(action, &[&keys[0], &keys[1]])
        };
        self.ledger.commit(transaction).unwrap();
    }

    pub(crate) fn publish(&self, digest: Hex32, minimum_counter: u64) {
        let (org, policy_version) = {
            let world = self.ledger.world.lock().unwrap();
            (world.org, world.policy().unwrap().version)
        };
        self.by_art(Action::Publish {
            org,
            policy_version,
            digest: Digest::new(digest.0),
            minimum_counter,
        });
    }

    pub(crate) fn withdraw(&self, digest: Hex32) {
        let org = self.ledger.world.lock().unwrap().org;
        self.by_art(Action::WithdrawRelease {
            org,
            digest: Digest::new(digest.0),
            version: 1,
        });
    }

    pub(crate) async fn upload(&self, made: &Made) -> crate::world::Got {
        let address = format!("/api/v1/releases/{}", made.digest);
        self.put(&address, made.signed.clone()).await
    }

    /// A release that is here, its contents too.
    pub(crate) async fn whole(&self, size: usize) -> Made {
        let made = self.make(&[10, 11], size, |_| {});
        self.publish(made.digest, 4);
        self.upload(&made).await.json();
        for bytes in [&made.payload, &made.inventory] {
            let address = format!("/api/v1/contents/{}", of(bytes));
            assert_eq!(
                self.put(&address, bytes.clone()).await.json()["complete"],
                true
            );
        }
        made
    }
}

#[tokio::test]
async fn a_published_and_signed_release_is_taken_in_and_listed() {
    let world = World::new().await;
    world.art_policy();
    let made = world.make(&[10, 11], 1000, |_| {});
    world.publish(made.digest, 4);
    let got = world.upload(&made).await;
    assert_eq!(got.status, StatusCode::CREATED);
    let release = got.json();
    assert_eq!(release["digest"], json!(made.digest));
    assert_eq!(release["name"], "camera-os");
    assert_eq!(release["types"], json!(["cam-2"]));
    assert_eq!(
        (&release["state"], &release["counter"]),
        (&json!("published"), &json!(4))
    );
    let expected = json!([
        { "digest": of(&made.payload), "size": 1000, "received": 0, "complete": false },
        { "digest": of(&made.inventory), "size": made.inventory.len(), "received": 0, "complete": false },
    ]);
    assert_eq!(release["contents"], expected);

    // A repeat changes nothing, and leaves no second entry in the log.
    assert_eq!(world.upload(&made).await.json(), release);
    // One more signature does.
    let more = world.make(&[10, 11, 12], 1000, |_| {});
    assert_eq!(
        world.upload(&more).await.json()["signers"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
    assert_eq!(
        world.upload(&made).await.json()["signers"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
    let (entries, _) = world.pages(&world.admin, "/api/v1/audit-log").await;
    let uploads = entries
        .iter()
        .filter(|entry| entry["act"] == "release.upload");
    assert_eq!(uploads.count(), 2);

    // Several pages, the newest first.
    let mut digests = vec![made.digest];
    for counter in 5..8 {
        let one = world.make(&[10, 11], 1000, |parts| parts.counter = counter);
        world.publish(one.digest, counter);
        world.upload(&one).await.json();
        digests.insert(0, one.digest);
    }
    let (all, pages) = world.pages(&world.viewer, "/api/v1/releases?limit=2").await;
    let listed: Vec<_> = all.iter().map(|one| one["digest"].clone()).collect();
    assert_eq!((json!(listed), pages), (json!(digests), 2));
    assert!(
        all.iter()
            .all(|one| one["contents"].as_array().unwrap().len() == 2)
    );
}

#[tokio::test]
async fn what_devices_would_refuse_is_refused_with_the_reason() {
    let world = World::new().await;
    world.art_policy();
    let refused = async |made: &Made, why: &str| {
        let (kind, detail) = world.upload(made).await.problem();
        assert_eq!(kind, Kind::Unfit, "{detail}");
        assert!(detail.contains(why), "{detail}");
        let shown = world
            .get(&format!("/api/v1/releases/{}", made.digest))
            .await;
        assert_eq!(shown.kind(), Kind::Unknown);
    };
    refused(&world.make(&[10, 11], 10, |_| {}), "does not list").await;

    let listed = |signers: &[u64], counter: u64| {
        let made = world.make(signers, 10, |parts| parts.counter = counter);
        world.publish(made.digest, counter);
        made
    };
    refused(&listed(&[10], 5), "too few signers").await;
    // A key that is on the ledger, and no release key.
    world.register(20, Purpose::Act);
    refused(&listed(&[10, 11, 20], 6), "is no release key").await;
    refused(&listed(&[10, 21], 7), "is not on the ledger").await;
    let mut forged = listed(&[10, 11], 8);
    *forged.signed.last_mut().unwrap() ^= 1;
    refused(&forged, "signature").await;

    let foreign = world.make(&[10, 11], 10, |parts| parts.org = OrgId::new([9; 16]));
    world.publish(foreign.digest, 4);
    refused(&foreign, "another organisation").await;
    let counter = world.make(&[10, 11], 10, |parts| parts.counter = 9);
    world.publish(counter.digest, 8);
    refused(&counter, "another counter").await;
    let withdrawn = listed(&[10, 11], 10);
    world.withdraw(withdrawn.digest);
    refused(&withdrawn, "withdrawn").await;

    // Another digest than the address says, and what is no manifest at all.
    let one = listed(&[10, 11], 11);
    let address = format!("/api/v1/releases/{}", withdrawn.digest);
    let (kind, detail) = world.put(&address, one.signed.clone()).await.problem();
    assert!(
        kind == Kind::Unfit && detail.contains("has the digest"),
        "{detail}"
    );
    for bytes in [
        vec![],
        vec![0xff; 40],
        one.signed[..one.signed.len() - 1].to_vec(),
    ] {
        let address = format!("/api/v1/releases/{}", one.digest);
        assert_eq!(world.put(&address, bytes).await.kind(), Kind::Malformed);
    }
    let too_long = world.put(&address, vec![0; 70_000]).await;
    assert_eq!(too_long.kind(), Kind::TooLarge);

    // Not by a viewer, and not when the ledger is not there.
    let address = format!("/api/v1/releases/{}", one.digest);
    let viewer = world.ask(&world.viewer, Method::PUT, &address, &[], &Value::Null);
    assert_eq!(viewer.await.kind(), Kind::Forbidden);
    world.ledger.set_gone(true);
    assert_eq!(world.upload(&one).await.kind(), Kind::Unreachable);
}

#[tokio::test]
async fn an_upload_is_cut_resumed_and_checked() {
    let world = World::new().await;
    world.art_policy();
    let made = world.make(&[10, 11], 300_000, |_| {});
    world.publish(made.digest, 4);
    let digest = of(&made.payload);
    let address = format!("/api/v1/contents/{digest}");
    // Nothing names it yet: nobody fills the disk with what no release holds.
    assert_eq!(world.get(&address).await.kind(), Kind::Unknown);
    assert_eq!(
        world.put(&address, made.payload.clone()).await.kind(),
        Kind::Unknown
    );
    world.upload(&made).await.json();
    let device = format!("/device/v1/payloads/{digest}");

    // The line breaks: what came is kept.
    let pieces = [
        Ok(Bytes::copy_from_slice(&made.payload[..100_000])),
        Err(std::io::Error::other("cut")),
    ];
    let cut = world
        .put(&address, Body::from_stream(stream::iter(pieces)))
        .await;
    assert_eq!(cut.kind(), Kind::RequestTimeout);
    assert_eq!(world.get(&address).await.json()["received"], 100_000);
    assert_eq!(world.fetch(&device, &[]).await.kind(), Kind::Unknown);

    // A gap is refused, and told where to go on; an overlap is passed over.
    let (kind, detail) = world
        .put(&format!("{address}?offset=100001"), "x")
        .await
        .problem();
    assert!(
        kind == Kind::WrongOffset && detail.contains("100000"),
        "{detail}"
    );
    let part = made.payload[50_000..200_000].to_vec();
    let got = world
        .put(&format!("{address}?offset=50000"), part)
        .await
        .json();
    assert_eq!(
        (&got["received"], &got["complete"]),
        (&json!(200_000), &json!(false))
    );
    // Another server goes on with it.
    let other = World {
        router: kusabi_server::http::router(world.app().await),
        ..world
    };
    let world = other;
    let part = made.payload[200_000..].to_vec();
    let got = world
        .put(&format!("{address}?offset=200000"), part)
        .await
        .json();
    assert_eq!(
        got,
        json!({ "digest": digest, "size": 300_000, "received": 300_000, "complete": true })
    );
    assert_eq!(world.put(&address, made.payload.clone()).await.json(), got);
    let fetched = world.fetch(&device, &[]).await;
    assert!(fetched.body == made.payload);

    // Bytes that do not make the digest are dropped; so is what is longer.
    let inventory = format!("/api/v1/contents/{}", of(&made.inventory));
    let mut wrong = made.inventory.clone();
    wrong[20] ^= 1;
    let (kind, detail) = world.put(&inventory, wrong).await.problem();
    assert_eq!(kind, Kind::Unfit, "{detail}");
    assert_eq!(world.get(&inventory).await.json()["received"], 0);
    let long = [&made.inventory[..], b"x"].concat();
    assert_eq!(world.put(&inventory, long).await.kind(), Kind::TooLarge);
    assert_eq!(
        world.put(&inventory, made.inventory.clone()).await.json()["complete"],
        true
    );

    for offset in ["-1", "x", "18446744073709551616"] {
        let got = world.put(&format!("{inventory}?offset={offset}"), "").await;
        assert_eq!(got.kind(), Kind::BadParameter, "{offset}");
    }
}

/// Index and pack of a payload that is cut every 16 KiB, each chunk a byte shorter: nobody unpacks it here.
fn chunked(payload: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut draft = ChunkIndexDraft::new(CutSizes::new(4096, 16_384, 16_384).unwrap());
    let mut pack = Vec::new();
    for chunk in payload.chunks(16_384) {
        let digest = Digest::of(chunk);
        if !draft.repeat(&digest) {
            pack.extend_from_slice(draft.put(digest, chunk, &chunk[1..]));
        }
    }
    (draft.finish().unwrap().0, pack)
}

#[tokio::test]
async fn a_pack_is_taken_once_its_index_names_it() {
    let world = World::new().await;
    world.art_policy();
    let size = 300_000;
    let payload = world.make(&[10, 11], size, |_| {}).payload;
    let (index, pack) = chunked(&payload);
    let indexed = |index: &[u8], version: &'static str| {
        let named = content(index);
        move |parts: &mut ManifestParts| {
            parts.version = version.into();
            parts.payloads[0].chunk_index = Some(named);
        }
    };
    let contents = |release: &Value| -> Vec<Hex32> {
        let all = release["contents"].as_array().unwrap();
        let digests = all.iter().map(|one| one["digest"].as_str().unwrap());
        digests.map(|digest| digest.parse().unwrap()).collect()
    };
    let address = |bytes: &[u8]| format!("/api/v1/contents/{}", of(bytes));

    // One that is signed and none: it is dropped, and what it might name is not known.
    let mut wrong = index.clone();
    wrong[70] ^= 1;
    wrong.truncate(index.len() - 80);
    let other = world.make(&[10, 11], size, indexed(&wrong, "0.9"));
    world.publish(other.digest, 4);
    world.upload(&other).await.json();
    let (kind, detail) = world.put(&address(&wrong), wrong.clone()).await.problem();
    assert!(
        kind == Kind::Unfit && detail.contains("no chunk index"),
        "{detail}"
    );
    assert_eq!(world.get(&address(&wrong)).await.json()["received"], 0);

    let made = world.make(&[10, 11], size, indexed(&index, "1.2"));
    world.publish(made.digest, 4);
    let release = world.upload(&made).await.json();
    assert!(!contents(&release).contains(&of(&pack)));
    // Nobody fills the disk with what no index names.
    let early = world.put(&address(&pack), pack.clone()).await;
    assert_eq!(early.kind(), Kind::Unknown);
    assert_eq!(
        world.put(&address(&index), index.clone()).await.json()["complete"],
        true
    );
    let shown = format!("/api/v1/releases/{}", made.digest);
    let named = world.get(&shown).await.json();
    assert_eq!(contents(&named).last(), Some(&of(&pack)));
    assert_eq!(contents(&named).len(), contents(&release).len() + 1);
    assert_eq!(
        world.put(&address(&pack), pack.clone()).await.json()["complete"],
        true
    );
    // Again changes nothing.
    assert_eq!(
        world.put(&address(&index), index.clone()).await.json()["complete"],
        true
    );
    assert_eq!(contents(&world.get(&shown).await.json()), contents(&named));

    // Another release with the same index has its pack at once.
    let next = world.make(&[10, 11], size, indexed(&index, "1.3"));
    world.publish(next.digest, 4);
    let release = world.upload(&next).await.json();
    let all = release["contents"].as_array().unwrap();
    let its = all
        .iter()
        .find(|one| one["digest"] == of(&pack).to_string());
    assert_eq!(its.unwrap()["complete"], true);

    let device = format!("/device/v1/payloads/{}", of(&pack));
    let part = world
        .fetch(&device, &[("range", "bytes=16383-32765")])
        .await;
    assert_eq!(part.body, &pack[16_383..32_766]);
}

#[tokio::test]
async fn a_full_disk_says_so_and_loses_nothing() {
    let world = World::new().await;
    world.art_policy();
    let made = world.make(&[10, 11], 50_000, |_| {});
    world.publish(made.digest, 4);
    world.upload(&made).await.json();
    let digest = of(&made.payload);
    let address = format!("/api/v1/contents/{digest}");
    // `/dev/full` is a disk without room for a byte.
    let file = world
        .firmware
        .path()
        .join("incoming")
        .join(digest.to_string());
    std::os::unix::fs::symlink("/dev/full", &file).unwrap();
    let got = world.put(&address, made.payload.clone()).await;
    let retry = got.header("retry-after").to_owned();
    let (kind, detail) = got.problem();
    assert_eq!(
        (kind, kind.status(), &*retry),
        (Kind::NoRoom, 507, "60"),
        "{detail}"
    );
    assert!(
        !detail.contains("/dev") && detail.contains("make room"),
        "{detail}"
    );

    // There is room again.
    std::fs::remove_file(&file).unwrap();
    assert_eq!(
        world.put(&address, made.payload.clone()).await.json()["complete"],
        true
    );
}

#[tokio::test]
async fn a_store_that_fails_is_told_apart_from_what_is_not_there() {
    let world = World::new().await;
    world.art_policy();
    let made = world.whole(50_000).await;
    let digest = of(&made.payload);
    let file = world
        .firmware
        .path()
        .join("contents")
        .join(digest.to_string());
    // A link that leads to itself: nothing can be read, and nothing says that it is not there.
    std::fs::rename(&file, file.with_extension("away")).unwrap();
    std::os::unix::fs::symlink(&file, &file).unwrap();
    let admin = format!("/api/v1/contents/{digest}");
    let device = format!("/device/v1/payloads/{digest}");
    for got in [world.get(&admin).await, world.fetch(&device, &[]).await] {
        let retry = got.header("retry-after").to_owned();
        let (kind, detail) = got.problem();
        assert_eq!(
            (kind, kind.status(), &*retry),
            (Kind::FirmwareStore, 502, "30"),
            "{detail}"
        );
        assert!(!detail.contains('/'), "{detail}");
    }

    // It is back.
    std::fs::remove_file(&file).unwrap();
    std::fs::rename(file.with_extension("away"), &file).unwrap();
    assert_eq!(world.get(&admin).await.json()["complete"], true);
}

#[tokio::test]
async fn devices_fetch_by_digest_and_in_ranges() {
    let world = World::new().await;
    world.art_policy();
    let made = world.whole(100_000).await;
    let digest = of(&made.payload);
    let address = format!("/device/v1/payloads/{digest}");
    let etag = format!("\"{digest}\"");

    let all = world.fetch(&address, &[]).await;
    assert_eq!(all.status, StatusCode::OK);
    assert!(all.body == made.payload);
    assert_eq!(all.header("content-length"), "100000");
    assert_eq!(
        (all.header("etag"), all.header("accept-ranges")),
        (&*etag, "bytes")
    );

    for (range, from, to) in [
        ("bytes=0-", 0, 100_000),
        ("bytes=99999-", 99_999, 100_000),
        ("bytes=10-19", 10, 20),
        ("bytes=-5", 99_995, 100_000),
        ("bytes=30000-999999", 30_000, 100_000),
    ] {
        let part = world
            .fetch(&address, &[("range", range), ("if-range", &etag)])
            .await;
        assert_eq!(part.status, StatusCode::PARTIAL_CONTENT, "{range}");
        assert!(part.body == made.payload[from..to], "{range}");
        let expected = format!("bytes {from}-{}/100000", to - 1);
        assert_eq!(part.header("content-range"), expected);
        assert_eq!(part.header("content-length"), (to - from).to_string());
    }
    let beyond = world.fetch(&address, &[("range", "bytes=100000-")]).await;
    assert_eq!(beyond.header("content-range"), "bytes */100000");
    assert_eq!(beyond.kind(), Kind::Range);
    let changed = [("range", "bytes=10-"), ("if-range", "\"other\"")];
    assert_eq!(world.fetch(&address, &changed).await.status, StatusCode::OK);

    // The manifest and its proofs, which a device checks by itself.
    let address = format!("/device/v1/releases/{}", made.digest);
    let manifest = world.fetch(&address, &[]).await;
    assert_eq!(manifest.header("content-type"), "application/kusabi+cbor");
    assert!(manifest.body == made.signed);
    SignedManifest::decode(&manifest.body).unwrap();
    let proofs = world.fetch(&format!("{address}/proofs"), &[]).await;
    assert_eq!(proofs.status, StatusCode::OK);
    let mut decoder = minicbor::Decoder::new(&proofs.body);
    assert_eq!(decoder.array().unwrap(), Some(3));
    Proof::decode(decoder.bytes().unwrap()).unwrap();
    Proof::decode(decoder.bytes().unwrap()).unwrap();
    let signers = decoder.array_iter::<minicbor::bytes::ByteVec>().unwrap();
    assert_eq!(
        signers
            .map(|proof| Proof::decode(&proof.unwrap()).map(drop).unwrap())
            .count(),
        2
    );

    // Nothing else is there, whatever the name.
    let nobody = Hex([5; 32]);
    for address in [
        format!("/device/v1/payloads/{nobody}"),
        format!("/device/v1/releases/{nobody}"),
        format!("/device/v1/releases/{nobody}/proofs"),
    ] {
        assert_eq!(
            world.fetch(&address, &[]).await.kind(),
            Kind::Unknown,
            "{address}"
        );
    }
    let upper = digest.to_string().to_uppercase();
    for name in [
        "..",
        "%2e%2e%2fincoming",
        "a",
        &upper,
        "..%2f..%2fetc%2fpasswd",
        "%00",
        "%f0%28",
    ] {
        for address in [
            format!("/device/v1/payloads/{name}"),
            format!("/device/v1/releases/{name}"),
        ] {
            assert_eq!(
                world.fetch(&address, &[]).await.kind(),
                Kind::BadParameter,
                "{address}"
            );
        }
    }
}

#[tokio::test]
async fn what_a_device_should_hold_is_found_by_type_and_release() {
    let world = World::new().await;
    world.art_policy();
    let made = world.whole(10).await;
    let app = world.app().await;
    let type_of = |name: &str| Some(name.parse::<kusabi_api::admin::Text>().unwrap());
    let expected = async |name: Option<&str>, release: Option<Hex32>| {
        let name = name.and_then(type_of);
        let found = app.expected_inventory(name.as_ref(), release.map(|digest| digest.0));
        match found.await.unwrap() {
            Expected::Said(bytes) => Some(bytes.to_vec()),
            Expected::Unsaid => None,
            Expected::Unknown(why) | Expected::Lost(why) => panic!("{why}"),
        }
    };
    assert_eq!(
        expected(Some("cam-2"), Some(made.digest)).await,
        Some(made.inventory)
    );
    assert_eq!(expected(Some("cam-3"), Some(made.digest)).await, None);
    assert_eq!(expected(None, Some(made.digest)).await, None);
    assert_eq!(expected(Some("cam-2"), None).await, None);

    let factory = inventory(&["etc/hostname"]);
    let got = world
        .ask_bytes("/api/v1/types/cam-2/expected", &factory)
        .await;
    assert_eq!(got.status, StatusCode::CREATED);
    let recorded = got.json();
    assert_eq!(
        (&recorded["type"], &recorded["components"]),
        (&json!("cam-2"), &json!(1))
    );
    assert_eq!(expected(Some("cam-2"), None).await, Some(factory.clone()));
    let again = world
        .ask_bytes("/api/v1/types/cam-2/expected", &factory)
        .await;
    assert_eq!(again.json(), recorded);

    // What is no canonical inventory is refused and leaves nothing behind.
    let mut long = factory.clone();
    long.push(0);
    for bytes in [
        &[][..],
        b"no inventory",
        &long,
        &factory[..factory.len() - 1],
    ] {
        let got = world.ask_bytes("/api/v1/types/cam-2/expected", bytes).await;
        assert_eq!(got.kind(), Kind::Unfit);
    }
    let incoming = std::fs::read_dir(world.firmware.path().join("incoming"));
    assert_eq!(incoming.unwrap().count(), 0);
    assert_eq!(expected(Some("cam-2"), None).await, Some(factory.clone()));
    for name in [
        "%00",
        "..",
        "%2e",
        "a%2fb",
        "%3Cscript%3E",
        &"x".repeat(65),
        "%E3%81%82",
    ] {
        let address = format!("/api/v1/types/{name}/expected");
        let got = world.ask_bytes(&address, &factory).await;
        assert!(
            matches!(got.kind(), Kind::BadParameter | Kind::Unknown),
            "{name}"
        );
    }
    let (types, _) = world.pages(&world.viewer, "/api/v1/types?limit=1").await;
    assert_eq!(types, [recorded]);
}

impl World {
    async fn ask_bytes(&self, address: &str, body: &[u8]) -> crate::world::Got {
        let request = Request::post(address)
            .header("authorization", format!("Bearer {}", self.operator))
            .body(Body::from(body.to_vec()));
        self.send(request.unwrap()).await
    }
}
