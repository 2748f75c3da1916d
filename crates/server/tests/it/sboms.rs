//! Which devices hold a component, by the bills of materials of the releases that they run.

use crate::{
    browser::{Browser, tags},
    mender_artifacts::SIGNER,
    mender_deployments::{Client, Field},
    releases::of,
};
use axum::http::StatusCode;
use kusabi_api::Hex32;
use kusabi_core::{
    id::Digest,
    release::{Content, PayloadParts, TargetParts},
};
use kusabi_mender::testing::Parts;
use serde_json::{Value, json};

const BOM: &str = r#"{"bomFormat":"CycloneDX","specVersion":"1.5","components":[
    {"type":"library","name":"zlib","version":"1.3"},
    {"type":"library","group":"debian","name":"openssl","version":"3.0.1","purl":"pkg:deb/debian/openssl@3.0.1?arch=arm64"},
    {"type":"library","name":"openssl-doc","version":"3.0.1"}]}"#;

impl Field {
    /// A release with this bill of materials, which is not uploaded yet.
    async fn release_with(&self, artifact: &str, counter: u64, bom: &[u8]) -> Hex32 {
        let world = &self.world;
        let artifact = Parts::new(artifact, b"content").signed(SIGNER);
        world.upload_artifact(&artifact).await;
        let named = |bytes: &[u8]| Content::new(bytes.len() as u64, Digest::new(of(bytes).0));
        let made = world.make(&[10, 11], 1, |parts| {
            parts.counter = counter;
            parts.targets = vec![TargetParts {
                device_type: "board".into(),
                inventory: None,
                payloads: vec![0],
            }];
            parts.payloads = vec![PayloadParts {
                name: "a.mender".into(),
                format: "mender".into(),
                content: named(&artifact).unwrap(),
                chunk_index: None,
            }];
            parts.documents = vec![("sbom".into(), named(bom).unwrap())];
        });
        world.publish(made.digest, counter);
        world.upload(&made).await.json();
        made.digest
    }

    async fn put_content(&self, bytes: &[u8]) {
        let address = format!("/api/v1/contents/{}", of(bytes));
        let got = self.world.put(&address, bytes.to_vec()).await.json();
        assert_eq!(got["complete"], true);
    }

    /// Says what a client is told to install, and that it did.
    async fn runs(&self, client: &Client) {
        let order = json!({
            "kind": "update", "release": self.release, "target": { "device": client.id },
        });
        self.world.post("/api/v1/orders", order).await.json();
        let told = Client::told(&client.next().await);
        client.says(told["id"].as_str().unwrap(), "success").await;
    }

    /// The devices of all pages of this size, and releases that could not be searched.
    async fn with(&self, query: &str, limit: usize) -> (Vec<String>, Vec<Value>) {
        let (mut found, mut unsearched) = (Vec::new(), Vec::new());
        let mut cursor = String::new();
        loop {
            let address = format!("/api/v1/components?{query}&limit={limit}{cursor}");
            let page = self.world.get(&address).await.json();
            let devices = page["devices"].as_array().unwrap();
            assert!(devices.len() <= limit);
            for device in devices {
                let releases = page["releases"].as_array().unwrap();
                // What names it stands on the same page.
                let of_it = |one: &&Value| one["digest"] == device["release"];
                assert_eq!(releases.iter().filter(of_it).count(), 1, "{page}");
                assert!(device["inventory"].is_null() && device["at_ms"].is_null());
                found.push(device["device"].as_str().unwrap().to_owned());
            }
            unsearched.extend(page["unsearched"].as_array().unwrap().iter().cloned());
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => {
                    found.sort();
                    unsearched.dedup();
                    return (found, unsearched);
                }
            }
        }
    }
}

#[tokio::test]
async fn a_bill_of_materials_finds_the_devices_that_run_its_release() {
    let mut field = Field::new().await;
    let mut clients = Vec::new();
    for number in 1..=5 {
        clients.push(field.client(number).await);
    }
    let named = field.release_with("app-2", 5, BOM.as_bytes()).await;
    field.release = named;
    for client in &clients[..3] {
        field.runs(client).await;
    }
    // Not uploaded: nobody can say what is in it.
    let (_, unsearched) = field.with("name=openssl", 10).await;
    assert_eq!(unsearched, [json!(named)]);
    field.put_content(BOM.as_bytes()).await;
    // No CycloneDX.
    let text = b"openssl 3.0.1".as_slice();
    let other = field.release_with("app-3", 6, text).await;
    field.put_content(text).await;
    field.release = other;
    field.runs(&clients[3]).await;
    // A release that nobody runs is not looked at.
    field.release_with("app-4", 7, b"missing").await;

    let mut ids: Vec<_> = clients[..3].iter().map(|one| one.id.clone()).collect();
    ids.sort();
    let none: Vec<String> = Vec::new();
    for limit in [1, 2, 3, 4, 200] {
        for (query, wanted) in [
            ("name=openssl", &ids),
            ("name=debian/openssl", &ids),
            ("name=openssl&version=3.0.1", &ids),
            ("prefix=openssl", &ids),
            ("version=1.3", &ids),
            ("purl=pkg:deb/debian/openssl", &ids),
            ("purl=pkg:deb/debian/openssl@3.0.1%3Farch=arm64", &ids),
            ("purl=pkg:deb/debian/openssl&name=openssl", &ids),
            ("name=openssl&version=1.3", &none),
            ("purl=pkg:deb/debian/open", &none),
            ("name=OpenSSL", &none),
            ("name=%00", &none),
        ] {
            let (found, unsearched) = field.with(query, limit).await;
            assert_eq!(&found, wanted, "{query}, {limit}");
            assert_eq!(unsearched, [json!(other)], "{query}, {limit}");
        }
    }
    let page = field
        .world
        .get("/api/v1/components?prefix=openssl")
        .await
        .json();
    let release = &page["releases"][0];
    assert_eq!(
        (&release["name"], &release["version"], &release["more"]),
        (&json!("camera-os"), &json!("1.2"), &json!(0))
    );
    assert_eq!(release["components"][0]["group"], "debian");
    assert_eq!(release["components"].as_array().unwrap().len(), 2);
    for bad in [
        "purl=",
        "name=x&cursor=r",
        "name=x&cursor=rx.",
        "name=x&cursor=r1.%00",
    ] {
        let got = field.world.get(&format!("/api/v1/components?{bad}")).await;
        assert_eq!(got.status, StatusCode::BAD_REQUEST, "{bad}");
    }

    let mut browser = Browser::signed_in(&field.world, &field.world.viewer).await;
    let page = browser
        .page("/components?name=openssl*&version=3.0.1")
        .await;
    let links = tags(&page);
    let links: Vec<_> = links
        .iter()
        .filter_map(|tag| tag.attribute("href"))
        .collect();
    for id in &ids {
        assert!(links.contains(&&*format!("/devices/{id}")), "{page}");
    }
    assert!(page.contains("openssl 3.0.1 and 1 more"), "{page}");
    assert!(page.contains("could not be searched"), "{page}");
    let page = browser.page("/components?purl=pkg:npm/none").await;
    assert!(page.contains("No device holds it."), "{page}");
    let page = browser.page("/components").await;
    assert!(!page.contains("No device holds it."), "{page}");
}
