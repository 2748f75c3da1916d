//! Mender artifacts: uploaded through Mender's management API or as contents of releases, above the ledger's release keys.

use crate::{
    releases::{Made, of},
    world::{Got, World, at_once},
};
use axum::{
    body::Body,
    http::{Method, Request, StatusCode},
};
use bytes::Bytes;
use futures_util::stream;
use kusabi_api::{Hex32, Kind};
use kusabi_core::{
    id::{Digest, Handle, KusabiId},
    release::{Content, PayloadParts, TargetParts},
    suite::{BindingContext, ForeignAlgorithm, PublicKeys, Purpose},
    tx::{Action, Entry, Named},
};
use kusabi_ledger::testing::TestKey;
use kusabi_mender::{
    Compression,
    testing::{self, Parts},
};
use serde_json::{Value, json};

/// The seed of the key that signs artifacts, and of one that nobody knows.
pub(crate) const SIGNER: u8 = 7;
const STRANGER: u8 = 8;

/// Real artifact and key (crates/mender/tests/data/make.sh).
const RSA: &[u8] = include_bytes!("../../../mender/tests/data/rsa-gzip.mender");
const RSA_SPKI: &[u8] = include_bytes!("../../../mender/tests/data/rsa.spki");

const ARTIFACTS: &str = "/api/management/v1/deployments/artifacts";

/// A form with these fields, in this order.
pub(crate) fn form(fields: &[(&str, &[u8])]) -> Vec<u8> {
    let mut form = Vec::new();
    for (name, value) in fields {
        let file = match *name {
            "artifact" => "; filename=\"a.mender\"\r\nContent-Type: application/octet-stream",
            _ => "",
        };
        let head =
            format!("--xyz\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n");
        form.extend(head.as_bytes());
        form.extend(*value);
        form.extend(b"\r\n");
    }
    form.extend(b"--xyz--\r\n");
    form
}

/// Error of Mender's form.
#[track_caller]
pub(crate) fn error(got: &Got) -> (u16, String) {
    let body: Value = serde_json::from_slice(&got.body).unwrap();
    assert_eq!(body["request_id"].as_str().unwrap().len(), 36, "{body}");
    (
        got.status.as_u16(),
        body["error"].as_str().unwrap().to_owned(),
    )
}

pub(crate) fn foreign(
    world: &kusabi_ledger::testing::World,
    algorithm: ForeignAlgorithm,
    spki: &[u8],
) -> Entry {
    let context = BindingContext {
        chain: &world.chain,
        owner: &world.org,
        purpose: Purpose::Art,
    };
    let binding = PublicKeys::foreign(algorithm, spki)
        .unwrap()
        .bind(&KusabiId::new([5; 16]), &context);
    let handle = Handle::new(kusabi_core::crypto::sha256(&[b"foreign", spki]));
    Entry::foreign(handle, Purpose::Art, algorithm, spki, binding, None).unwrap()
}

impl World {
    /// Changes the art policy; two old keys sign.
    fn change_policy(&self, added: Vec<Entry>, removed: Vec<Named>) {
        let transaction = {
            let world = self.ledger.world.lock().unwrap();
            let keys = [10, 11].map(|number| TestKey::new(number, Purpose::Art));
            let action = Action::ArtPolicy {
                org: world.org,
                policy_version: world.policy().unwrap().version,
                k: 2,
                added,
                removed,
                signers: 2,
            };
            world.sign(action, &[&keys[0], &keys[1]])
        };
        self.ledger.commit(transaction).unwrap();
    }

    /// A server that knows the key that signs artifacts; the key's handle.
    pub(crate) async fn signing(&self) -> Hex32 {
        self.art_policy();
        self.sign_with(ForeignAlgorithm::P256, &testing::spki(SIGNER))
            .await
    }

    pub(crate) async fn sign_with(&self, algorithm: ForeignAlgorithm, spki: &[u8]) -> Hex32 {
        let entry = foreign(&self.ledger.world.lock().unwrap(), algorithm, spki);
        let handle = Hex32::from(entry.handle().to_bytes());
        self.change_policy(vec![entry], Vec::new());
        self.follow().await;
        handle
    }

    /// The key counts no more.
    pub(crate) async fn end_signer(&self, handle: Hex32) {
        let named = {
            let world = self.ledger.world.lock().unwrap();
            let handle = Handle::new(handle.0);
            let version = world.record(&handle).unwrap().version();
            Named { handle, version }
        };
        self.change_policy(Vec::new(), vec![named]);
        self.follow().await;
    }

    /// The server has followed the ledger to its end.
    pub(crate) async fn follow(&self) {
        let got = self
            .ask(
                &self.admin,
                Method::POST,
                "/api/v1/rebuild",
                &[],
                &Value::Null,
            )
            .await;
        assert_eq!(got.status, StatusCode::OK, "{:?}", got.body);
    }

    pub(crate) async fn send_form(&self, body: impl Into<Body>) -> Got {
        let request = Request::post(ARTIFACTS)
            .header("authorization", format!("Bearer {}", self.operator))
            .header("content-type", "multipart/form-data; boundary=xyz");
        self.send(request.body(body.into()).unwrap()).await
    }

    /// Uploads an artifact as mender-cli does; its ID.
    pub(crate) async fn upload_artifact(&self, artifact: &[u8]) -> String {
        let size = artifact.len().to_string();
        let fields: [(&str, &[u8]); 3] = [
            ("size", size.as_bytes()),
            ("description", b"a test"),
            ("artifact", artifact),
        ];
        let got = self.send_form(form(&fields)).await;
        assert_eq!(got.status, StatusCode::CREATED, "{:?}", got.body);
        assert!(got.body.is_empty());
        let place = got.header("location");
        let id = place.strip_prefix("./management/v1/deployments/artifacts/");
        id.unwrap().to_owned()
    }

    /// An upload that is refused.
    async fn refused(&self, artifact: &[u8]) -> (u16, String) {
        let got = self.send_form(form(&[("artifact", artifact)])).await;
        error(&got)
    }

    async fn artifacts(&self) -> Vec<Value> {
        let list = self.get(ARTIFACTS).await.json();
        list.as_array().unwrap().clone()
    }

    /// What lies in the firmware store: what is on its way, and what is whole.
    fn stored(&self) -> [Vec<String>; 2] {
        ["incoming", "contents"].map(|name| {
            let entries = std::fs::read_dir(self.firmware.path().join(name)).unwrap();
            let mut names: Vec<String> = entries
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        })
    }

    /// A release whose payload for these types is this artifact.
    pub(crate) fn wrap(&self, artifact: &[u8], types: &[&str], counter: u64) -> Made {
        self.wrap_up_to(artifact, types, counter, 0)
    }

    /// The same, with what a device's counter rises to.
    pub(crate) fn wrap_up_to(
        &self,
        artifact: &[u8],
        types: &[&str],
        counter: u64,
        minimum_counter: u64,
    ) -> Made {
        let content = Content::new(artifact.len() as u64, Digest::new(of(artifact).0)).unwrap();
        let mut types: Vec<&str> = types.to_vec();
        types.sort_unstable();
        let made = self.make(&[10, 11], 1, |parts| {
            parts.counter = counter;
            parts.minimum_counter = minimum_counter;
            parts.targets = types
                .iter()
                .map(|name| TargetParts {
                    device_type: (*name).into(),
                    inventory: None,
                    payloads: vec![0],
                })
                .collect();
            parts.payloads = vec![PayloadParts {
                name: "a.mender".into(),
                format: "mender".into(),
                content,
                chunk_index: None,
            }];
        });
        self.publish(made.digest, counter);
        made
    }
}

#[tokio::test]
async fn a_signed_artifact_is_taken_in_listed_fetched_and_deleted() {
    let world = World::new().await;
    world.signing().await;
    let artifact = Parts::new("app-1.2", b"content").signed(SIGNER);
    let id = world.upload_artifact(&artifact).await;
    let digest = of(&artifact);
    assert_eq!(world.stored(), [vec![], vec![digest.to_string()]]);

    let list = world.artifacts().await;
    assert_eq!(list.len(), 1);
    let one = &list[0];
    assert_eq!(
        (
            &one["id"],
            &one["name"],
            &one["description"],
            &one["size"],
            &one["signed"]
        ),
        (
            &json!(id),
            &json!("app-1.2"),
            &json!("a test"),
            &json!(artifact.len()),
            &json!(true)
        )
    );
    assert_eq!(one["device_types_compatible"], json!(["board"]));
    assert_eq!(one["info"], json!({ "format": "mender", "version": 3 }));
    assert_eq!(
        one["artifact_provides"],
        json!({ "artifact_name": "app-1.2" })
    );
    assert_eq!(one["artifact_depends"], json!({ "device_type": ["board"] }));
    let file = &one["updates"][0]["files"][0];
    assert_eq!(one["updates"][0]["type_info"]["type"], "single-file");
    assert_eq!(
        (&file["name"], &file["size"]),
        (&json!("app.bin"), &json!(7))
    );
    assert_eq!(file["checksum"], json!(of(b"content")));
    // What Go's time decodes.
    for time in [&one["modified"], &file["date"]] {
        assert!(time.as_str().unwrap().ends_with('Z') && time.as_str().unwrap().contains('T'));
    }
    assert_eq!(world.get(&format!("{ARTIFACTS}/{id}")).await.json(), *one);
    let page = world
        .get(&format!("{ARTIFACTS}/list?page=1&per_page=1"))
        .await;
    assert_eq!(
        (page.header("x-total-count"), page.json()),
        ("1", json!([one]))
    );
    let beyond = world
        .get(&format!("{ARTIFACTS}/list?page=2&per_page=1"))
        .await;
    assert_eq!(beyond.json(), json!([]));
    for bad in ["page=0", "per_page=0", "per_page=501"] {
        let got = world.get(&format!("{ARTIFACTS}/list?{bad}")).await;
        assert_eq!(error(&got).0, 400, "{bad}");
    }

    // The same bytes again, without a size, in small pieces: nothing changes.
    let body = form(&[("artifact", &artifact)]);
    let pieces: Vec<_> = body
        .chunks(100)
        .map(|piece| Ok::<_, std::io::Error>(Bytes::copy_from_slice(piece)))
        .collect();
    let again = world
        .send_form(Body::from_stream(stream::iter(pieces)))
        .await;
    assert_eq!(again.status, StatusCode::CREATED);
    assert!(again.header("location").ends_with(&id));
    assert_eq!(world.artifacts().await, list);
    let (log, _) = world.pages(&world.admin, "/api/v1/audit-log").await;
    let uploads = log.iter().filter(|entry| entry["act"] == "artifact.upload");
    assert_eq!(uploads.count(), 1);

    // Only an operator; nobody without a token.
    let address = format!("{ARTIFACTS}/{id}");
    let viewer = world.ask(&world.viewer, Method::DELETE, &address, &[], &Value::Null);
    assert_eq!(error(&viewer.await).0, 403);
    let nobody = world.ask("", Method::GET, ARTIFACTS, &[], &Value::Null);
    assert_eq!(nobody.await.status, StatusCode::UNAUTHORIZED);

    let gone = world.ask(&world.operator, Method::DELETE, &address, &[], &Value::Null);
    let gone = gone.await;
    assert_eq!((gone.status, gone.body.len()), (StatusCode::NO_CONTENT, 0));
    assert_eq!(world.stored(), [vec![], vec![]] as [Vec<String>; 2]);
    assert_eq!(world.artifacts().await, Vec::<Value>::new());
    for address in [format!("{ARTIFACTS}/{id}"), format!("{ARTIFACTS}/x%00y")] {
        assert_eq!(error(&world.get(&address).await).0, 404);
    }
    // It can come back.
    assert_eq!(world.upload_artifact(&artifact).await, id);
}

#[tokio::test]
async fn what_no_release_key_signed_is_refused_at_the_door_and_leaves_nothing() {
    let world = World::new().await;
    let artifact = Parts::new("app-1.2", b"content");
    world.art_policy();
    world.follow().await;
    // Keys of suite 1 sign no artifacts.
    let (status, why) = world.refused(&artifact.signed(SIGNER)).await;
    assert!(
        status == 422 && why.contains("no release key"),
        "{status} {why}"
    );
    world
        .sign_with(ForeignAlgorithm::P256, &testing::spki(SIGNER))
        .await;

    let (status, why) = world.refused(&artifact.unsigned()).await;
    assert!(
        status == 400 && why.contains("not signed"),
        "{status} {why}"
    );
    let (status, why) = world.refused(&artifact.signed(STRANGER)).await;
    assert!(
        status == 400 && why.contains("none of the 1 keys"),
        "{status} {why}"
    );

    // The refusal does not wait for the rest, which never comes.
    let head = {
        let mut body = form(&[("artifact", &artifact.unsigned())]);
        body.truncate(body.len() - 1200);
        body
    };
    let pieces = stream::iter([Ok::<_, std::io::Error>(Bytes::from(head))]);
    let endless = futures_util::StreamExt::chain(pieces, stream::pending());
    let got = world.send_form(Body::from_stream(endless)).await;
    assert!(error(&got).1.contains("not signed"), "{:?}", got.body);

    // Whatever of it is changed. (What follows the archive's end is nobody's.)
    let whole = artifact.signed(SIGNER);
    for at in (0..whole.len() - 1024).step_by(97) {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        let got = world.send_form(form(&[("artifact", &changed)])).await;
        if got.status == StatusCode::CREATED {
            // A byte that no reader looks at, like a time: another file, the same artifact.
            let id = got
                .header("location")
                .rsplit('/')
                .next()
                .unwrap()
                .to_owned();
            let shown = world.get(&format!("{ARTIFACTS}/{id}")).await.json();
            assert_eq!(
                shown["updates"][0]["files"][0]["checksum"],
                json!(of(b"content"))
            );
            let address = format!("{ARTIFACTS}/{id}");
            let gone = world.ask(&world.operator, Method::DELETE, &address, &[], &Value::Null);
            assert_eq!(gone.await.status, StatusCode::NO_CONTENT);
        } else {
            assert_eq!(error(&got).0, 400, "byte {at}: {:?}", got.body);
        }
    }
    assert_eq!(world.stored(), [vec![], vec![]] as [Vec<String>; 2]);
    assert_eq!(world.artifacts().await, Vec::<Value>::new());
}

#[tokio::test]
async fn keys_count_as_the_ledger_proves_it_when_an_artifact_comes() {
    let world = World::new().await;
    let handle = world.signing().await;
    world.sign_with(ForeignAlgorithm::Rsa, RSA_SPKI).await;
    let id = world.upload_artifact(RSA).await;
    assert_eq!(
        world.get(&format!("{ARTIFACTS}/{id}")).await.json()["signed"],
        true
    );

    // The whole of a foreign key is a node's word: one that is not what the ledger proves is not used.
    let artifact = Parts::new("app-1.2", b"content");
    let mut connection = world.database.connection().await;
    sqlx::query("UPDATE art_keys SET spki = $1 WHERE handle = $2")
        .bind(testing::spki(STRANGER))
        .bind(handle.0.to_vec())
        .execute(&mut connection)
        .await
        .unwrap();
    assert_eq!(world.refused(&artifact.signed(STRANGER)).await.0, 400);
    assert_eq!(world.refused(&artifact.signed(SIGNER)).await.0, 400);
    sqlx::query("UPDATE art_keys SET spki = $1 WHERE handle = $2")
        .bind(testing::spki(SIGNER))
        .bind(handle.0.to_vec())
        .execute(&mut connection)
        .await
        .unwrap();
    world.upload_artifact(&artifact.signed(SIGNER)).await;
    world.end_signer(handle).await;
    let (status, why) = world
        .refused(&Parts::new("app-1.3", b"c").signed(SIGNER))
        .await;
    assert!(status == 400 && why.contains("none of the 1 keys"), "{why}");
    // A ledger that does not answer: nothing is believed.
    world.ledger.set_gone(true);
    assert!(world.refused(RSA).await.0 >= 500);
}

#[tokio::test]
async fn malformed_artifacts_forms_and_sizes_are_refused_with_the_reason() {
    let world = World::new().await;
    world.signing().await;
    let artifact = Parts::new("app-1.2", b"content").signed(SIGNER);
    // Truncated anywhere: within it, and behind it within the form.
    let body = form(&[("artifact", &artifact)]);
    for length in (0..body.len()).step_by(601).chain([body.len() - 3]) {
        let got = world.send_form(body[..length].to_vec()).await;
        let (status, why) = error(&got);
        assert!(matches!(status, 400 | 408), "{length}: {status} {why}");
    }
    for length in (0..artifact.len() - 1024).step_by(997) {
        assert_eq!(world.refused(&artifact[..length]).await.0, 400, "{length}");
    }
    // A bomb: little that becomes much.
    let mut bomb = Parts::new("app-1.2", b"content");
    bomb.compression = Compression::Gzip;
    bomb.header[2].1 = vec![b' '; 64 << 20];
    let (status, why) = world.refused(&bomb.signed(SIGNER)).await;
    assert!(status == 400 && why.contains("meta-data"), "{why}");
    // Sizes that lie.
    let lies = [
        ((artifact.len() + 1).to_string(), 400),
        (String::from("1"), 400),
        (String::from("-1"), 400),
        (String::from("99999999999999999999999"), 400),
        (((64_u64 << 30) + 1).to_string(), 413),
    ];
    for (size, expected) in lies {
        let fields: [(&str, &[u8]); 2] = [("size", size.as_bytes()), ("artifact", &artifact)];
        let got = world.send_form(form(&fields)).await;
        assert_eq!(error(&got).0, expected, "{size}: {:?}", got.body);
    }
    // Forms of another make.
    let much = vec![b'x'; 5000];
    let forms: [&[(&str, &[u8])]; 6] = [
        &[],
        &[("description", b"d")],
        &[("artifact", &artifact), ("description", b"d")],
        &[("other", b"d"), ("artifact", &artifact)],
        &[("description", &much), ("artifact", &artifact)],
        &[("description", b"\0"), ("artifact", &artifact)],
    ];
    for fields in forms {
        let (status, why) = error(&world.send_form(form(fields)).await);
        assert!(matches!(status, 400 | 408), "{status} {why}");
    }
    let endless = format!(
        "--xyz\r\nContent-Disposition: form-data; name=\"artifact\"; x=\"{}",
        "y".repeat(1 << 20)
    );
    let pieces: Vec<_> = endless
        .as_bytes()
        .chunks(1000)
        .map(|piece| Ok::<_, std::io::Error>(Bytes::copy_from_slice(piece)))
        .collect();
    let (status, why) = error(
        &world
            .send_form(Body::from_stream(stream::iter(pieces)))
            .await,
    );
    assert!(status == 400 && why.contains("between two fields"), "{why}");
    let no_form = Request::post(ARTIFACTS)
        .header("authorization", format!("Bearer {}", world.operator))
        .body(Body::from(artifact.clone()))
        .unwrap();
    assert_eq!(error(&world.send(no_form).await).0, 400);
    assert_eq!(world.stored(), [vec![], vec![]] as [Vec<String>; 2]);
    world.upload_artifact(&artifact).await;
}

#[tokio::test]
async fn of_two_artifacts_of_one_name_for_the_same_devices_one_is_there() {
    let world = World::new().await;
    world.signing().await;
    let typed = |types: &[&str], content: &[u8]| {
        Parts::with_types("app-1.2", types, &[("app.bin", content)]).signed(SIGNER)
    };
    let (one, other) = (
        typed(&["board"], b"one"),
        typed(&["board", "tablet"], b"other"),
    );
    let one_again = one.clone();
    // At once, of different bytes and of the same.
    let bodies = [&one, &other, &one_again].map(|artifact| form(&[("artifact", artifact)]));
    let got = at_once(bodies.into_iter().map(|body| world.send_form(body))).await;
    let statuses: Vec<u16> = got.iter().map(|got| got.status.as_u16()).collect();
    let (won, lost) = match statuses[0] {
        201 => (&one, &other),
        _ => (&other, &one),
    };
    let made = got
        .iter()
        .filter(|got| got.status == StatusCode::CREATED)
        .count();
    let refused = got
        .iter()
        .filter(|got| got.status == StatusCode::CONFLICT)
        .count();
    assert_eq!(made + refused, 3, "{statuses:?}");
    assert!(made >= 1 && refused >= 1, "{statuses:?}");
    assert_eq!(world.stored(), [vec![], vec![of(won).to_string()]]);
    let (status, why) = world.refused(lost).await;
    assert!(status == 409 && why.contains("name"), "{why}");
    assert_eq!(world.stored(), [vec![], vec![of(won).to_string()]]);
    // For others it may be.
    world.upload_artifact(&typed(&["phone"], b"one")).await;
    let mut depends = Parts::with_types("app-1.2", &["board"], &[("app.bin", b"two")]);
    depends.header[1].1 =
        br#"{"type":"single-file","artifact_depends":{"app.version":"1"}}"#.to_vec();
    world.upload_artifact(&depends.signed(SIGNER)).await;
    assert_eq!(world.artifacts().await.len(), 3);
}

#[tokio::test]
async fn an_artifact_is_the_content_of_a_release_whichever_came_first() {
    let world = World::new().await;
    world.signing().await;
    let artifact = Parts::new("app-1.2", b"content").signed(SIGNER);
    let id = world.upload_artifact(&artifact).await;
    let made = world.wrap(&artifact, &["board"], 4);
    let release = world.upload(&made).await.json();
    assert_eq!(
        release["contents"],
        json!([{ "digest": of(&artifact), "size": artifact.len(), "received": artifact.len(), "complete": true }])
    );
    let address = format!("{ARTIFACTS}/{id}");
    let delete = world.ask(&world.operator, Method::DELETE, &address, &[], &Value::Null);
    let (status, why) = error(&delete.await);
    assert!(status == 409 && why.contains("camera-os 1.2"), "{why}");

    // The release first, and its content by the way of all contents: whoever signed it is noted.
    for (name, seed, signed) in [
        ("app-2.0", Some(SIGNER), true),
        ("app-3.0", Some(STRANGER), false),
        ("app-4.0", None, false),
    ] {
        let parts = Parts::new(name, name.as_bytes());
        let artifact = seed.map_or_else(|| parts.unsigned(), |seed| parts.signed(seed));
        let made = world.wrap(&artifact, &["board"], 5);
        world.upload(&made).await.json();
        let put = world
            .put(
                &format!("/api/v1/contents/{}", of(&artifact)),
                artifact.clone(),
            )
            .await;
        assert_eq!(put.json()["complete"], true);
        let list = world.artifacts().await;
        let one = list.iter().find(|one| one["name"] == name).unwrap();
        assert_eq!(one["signed"], signed, "{name}");
    }
    // The one of a key that did not count then: uploaded once it does, it is the same one, signed.
    world
        .sign_with(ForeignAlgorithm::P256, &testing::spki(STRANGER))
        .await;
    world
        .upload_artifact(&Parts::new("app-3.0", b"app-3.0").signed(STRANGER))
        .await;
    let list = world.artifacts().await;
    assert_eq!(list.len(), 4);
    assert!(
        list.iter()
            .any(|one| one["name"] == "app-3.0" && one["signed"] == true)
    );

    // What is none is refused, and dropped.
    let mut broken = Parts::new("app-5.0", b"content").signed(SIGNER);
    broken[1500] ^= 1;
    let made = world.wrap(&broken, &["board"], 6);
    world.upload(&made).await.json();
    let address = format!("/api/v1/contents/{}", of(&broken));
    let (kind, why) = world.put(&address, broken).await.problem();
    assert!(
        kind == Kind::Unfit && why.contains("no Mender artifact"),
        "{why}"
    );
    assert_eq!(world.get(&address).await.json()["received"], 0);
}

#[tokio::test]
async fn artifacts_of_one_name_for_the_same_devices_are_of_the_same_releases() {
    let world = World::new().await;
    world.signing().await;
    let variant = |needs: Option<&str>, content: &[u8]| {
        let mut parts = Parts::new("app-1.2", content);
        if let Some(needs) = needs {
            parts.header[1].1 = json!({
                "type": "single-file", "artifact_depends": { "app.version": needs },
            })
            .to_string()
            .into_bytes();
        }
        parts.signed(SIGNER)
    };
    let content = |artifact: &[u8]| format!("/api/v1/contents/{}", of(artifact));
    let put = async |artifact: &[u8]| world.put(&content(artifact), artifact.to_vec()).await;
    let first = variant(None, b"one");
    let made = world.wrap(&first, &["board"], 4);
    world.upload(&made).await.json();
    put(&first).await.json();
    // Other bytes under its name, as another release's, or by themselves: no device could say which of them it has.
    let other = variant(None, b"other");
    let made = world.wrap(&other, &["board"], 5);
    world.upload(&made).await.json();
    let (kind, why) = put(&other).await.problem();
    assert!(
        kind == Kind::AlreadyDone && why.contains("another name"),
        "{kind:?} {why}"
    );
    assert!(why.contains("camera-os 1.2"), "{why}");
    assert_eq!(world.get(&content(&other)).await.json()["received"], 0);
    let (status, why) = world.refused(&other).await;
    assert!(
        status == 409 && why.contains("another name"),
        "{status} {why}"
    );
    assert_eq!(world.stored(), [vec![], vec![of(&first).to_string()]]);
    // A variant for devices that have something else is refused where it is another release.
    let old = variant(Some("1"), b"for old ones");
    world.upload_artifact(&old).await;
    let made = world.wrap(&old, &["board"], 6);
    let (kind, why) = world.upload(&made).await.problem();
    assert!(
        kind == Kind::AlreadyDone && why.contains("another name"),
        "{kind:?} {why}"
    );
    let releases = world.get("/api/v1/releases").await.json();
    assert_eq!(releases["items"].as_array().unwrap().len(), 2, "{releases}");
    // In one release they are one, and stay so.
    let mut both = ["1", "2"].map(|needs| {
        let mut parts = Parts::with_types("app-1.2", &["phone"], &[("app.bin", needs.as_bytes())]);
        parts.header[1].1 = json!({
            "type": "single-file", "artifact_depends": { "app.version": needs },
        })
        .to_string()
        .into_bytes();
        parts.signed(SIGNER)
    });
    both.sort_by_key(|artifact| of(artifact).to_string());
    let payloads = both.each_ref().map(|artifact| PayloadParts {
        name: of(artifact).to_string(),
        format: "mender".into(),
        content: Content::new(artifact.len() as u64, Digest::new(of(artifact).0)).unwrap(),
        chunk_index: None,
    });
    let made = world.make(&[10, 11], 1, |release| {
        release.counter = 7;
        release.payloads = payloads.to_vec();
        release.targets = vec![TargetParts {
            device_type: "phone".into(),
            inventory: None,
            payloads: vec![0, 1],
        }];
    });
    world.publish(made.digest, 7);
    world.upload(&made).await.json();
    for artifact in &both {
        assert_eq!(put(artifact).await.json()["complete"], true);
    }
    let made = world.wrap(&both[1], &["phone"], 8);
    let (kind, why) = world.upload(&made).await.problem();
    assert!(
        kind == Kind::AlreadyDone && why.contains("another name"),
        "{kind:?} {why}"
    );
}

#[tokio::test]
async fn an_artifact_whose_key_comes_later_is_signed_from_then_on() {
    let world = World::new().await;
    world.signing().await;
    let artifact = Parts::new("app-2.0", b"content").signed(STRANGER);
    let made = world.wrap(&artifact, &["board"], 4);
    world.upload(&made).await.json();
    let address = format!("/api/v1/contents/{}", of(&artifact));
    world.put(&address, artifact.clone()).await.json();
    let signed = async || world.artifacts().await[0]["signed"].clone();
    assert_eq!(signed().await, false);
    world
        .sign_with(ForeignAlgorithm::P256, &testing::spki(STRANGER))
        .await;
    world.upload(&made).await.json();
    assert_eq!(signed().await, true);
    let (log, _) = world.pages(&world.admin, "/api/v1/audit-log").await;
    let notes = log.iter().filter(|entry| entry["act"] == "artifact.note");
    assert_eq!(notes.count(), 1);
}

#[tokio::test]
async fn a_content_that_was_here_before_a_release_named_it_is_read_when_it_does() {
    let world = World::new().await;
    world.signing().await;
    let artifact = Parts::new("app-2.0", b"content").signed(SIGNER);
    let made = world.wrap(&artifact, &["board"], 4);
    world.upload(&made).await.json();
    // The server died between the two: it has its name, and nobody noted it.
    let path = world.firmware.path().join("contents");
    std::fs::write(path.join(of(&artifact).to_string()), &artifact).unwrap();
    let address = format!("/api/v1/contents/{}", of(&artifact));
    assert_eq!(world.put(&address, "").await.json()["complete"], true);
    assert_eq!(world.artifacts().await[0]["signed"], true);
    // It was complete as something else when the release came.
    let mut connection = world.database.connection().await;
    sqlx::query("DELETE FROM mender_artifacts")
        .execute(&mut connection)
        .await
        .unwrap();
    assert!(world.artifacts().await.is_empty());
    assert_eq!(world.put(&address, "").await.json()["complete"], true);
    assert_eq!(world.artifacts().await.len(), 1);
}

#[tokio::test]
async fn an_artifact_that_is_deleted_while_it_comes_to_another_server_is_whole_or_not_there() {
    let world = World::new().await;
    world.signing().await;
    let artifact = Parts::new("app-1.2", &vec![7; 20_000]).signed(SIGNER);
    let other = kusabi_server::http::router(std::sync::Arc::new(world.app().await));
    let (mut deleted, mut refused) = (0, 0);
    for _ in 0..40 {
        let id = world.upload_artifact(&artifact).await;
        let address = format!("{ARTIFACTS}/{id}");
        let delete = world.ask(&world.operator, Method::DELETE, &address, &[], &Value::Null);
        let upload = Request::post(ARTIFACTS)
            .header("authorization", format!("Bearer {}", world.operator))
            .header("content-type", "multipart/form-data; boundary=xyz")
            .body(Body::from(form(&[("artifact", &artifact)])));
        let upload = crate::world::call(&other, upload.unwrap());
        let (delete, upload) = tokio::join!(delete, upload);
        deleted += u32::from(delete.status == StatusCode::NO_CONTENT);
        match upload.status {
            StatusCode::CREATED => {}
            _ => {
                let (status, why) = error(&upload);
                assert!(
                    status == 409 && why.contains("upload it again"),
                    "{status} {why}"
                );
                refused += 1;
            }
        }
        let there = !world.artifacts().await.is_empty();
        let bytes = !world.stored()[1].is_empty();
        assert_eq!(there, bytes, "a row without bytes, or bytes without a row");
        assert!(upload.status == StatusCode::CREATED || !there);
    }
    assert!(deleted > 0, "{deleted} deleted, {refused} refused");
}

#[tokio::test]
async fn a_disk_that_is_full_is_said_and_a_line_that_breaks_leaves_nothing() {
    let world = World::new().await;
    world.signing().await;
    let artifact = Parts::new("app-1.2", &vec![7; 300_000]).signed(SIGNER);
    let body = form(&[("artifact", &artifact)]);
    let pieces = [
        Ok(Bytes::copy_from_slice(&body[..6000])),
        Err(std::io::Error::other("cut")),
    ];
    let got = world
        .send_form(Body::from_stream(stream::iter(pieces)))
        .await;
    assert_eq!(error(&got).0, 408);
    assert_eq!(world.stored(), [vec![], vec![]] as [Vec<String>; 2]);

    // `/dev/full` is a disk without room for a byte.
    let full = world.edge.next_ids(64).into_iter().map(|id| {
        let path = world
            .firmware
            .path()
            .join("incoming")
            .join(format!("draft_artifact_{id}"));
        std::os::unix::fs::symlink("/dev/full", &path).unwrap();
        path
    });
    let full: Vec<_> = full.collect();
    let got = world.send_form(body.clone()).await;
    let (status, why) = error(&got);
    assert!(
        status == 507 && why.contains("disk is full"),
        "{status} {why}"
    );
    full.iter()
        .for_each(|path| drop(std::fs::remove_file(path)));
    assert_eq!(world.stored(), [vec![], vec![]] as [Vec<String>; 2]);
    world.upload_artifact(&artifact).await;
}
