//! What a restart finds; the checked-in document.

use crate::world::{Database, World, app_of, at_once};
use kusabi_core::{id::OrgId, suite::Purpose};
use kusabi_server::{
    Store,
    app::{By, Caller, Cut, DeviceQuery},
};
use serde_json::json;

#[tokio::test]
async fn a_second_start_finds_everything() {
    let world = World::new().await;
    let id = world.device(100, json!({ "serial": "S-1" })).await;
    let app = world.app().await;
    assert_eq!(app.device(&id).await.unwrap().device.id, id);
    app.authenticate(&world.viewer).await.unwrap();
}

#[tokio::test]
async fn an_organisation_sees_its_own_rows_only() {
    let world = World::new().await;
    world.device(100, json!({ "serial": "S-1" })).await;
    let org = OrgId::new([7; 16]);
    let other = app_of(org, &world.database, &world.ledger, &world.edge).await;
    let devices = other
        .devices(DeviceQuery::default(), &Cut::default())
        .await
        .unwrap();
    assert_eq!(devices.items, []);
    assert!(other.authenticate(&world.admin).await.is_err());
    // Nor can it take the other's device for its own.
    let handle = world.register(101, Purpose::Pre);
    let import = serde_json::from_value(json!({ "handle": handle })).unwrap();
    let refused = other
        .import_device(&By::only(Caller::server()), import)
        .await;
    let why = refused.unwrap_err().to_string();
    assert!(why.contains("belongs to another organisation"), "{why}");
    assert_eq!(other.audit_log(&Cut::default()).await.unwrap().items, []);
}

#[tokio::test]
async fn servers_that_start_at_once_make_one_database() {
    let database = Database::new().await;
    if matches!(database, Database::Sqlite(_)) {
        return; // A file belongs to one server.
    }
    let org = OrgId::new([7; 16]);
    let stores = at_once((0..8).map(|_| database.store(org))).await;
    assert_eq!(stores.len(), 8);
}

#[tokio::test]
async fn a_url_that_is_none_of_postgresql_is_refused() {
    for url in ["", "fleet", "mysql://u:secret@h/d", "sqlite://secret"] {
        let error = Store::postgres(url, OrgId::new([7; 16])).await.unwrap_err();
        let told = format!("{error} {error:?}");
        assert!(told.contains("begin with postgres://"), "{told}");
        assert!(!told.contains("secret"), "{told}");
    }
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x");
    std::fs::write(
        &path,
        "not a database, but long enough to be looked at".repeat(100),
    )
    .unwrap();
    let error = Store::sqlite(&path, OrgId::new([7; 16])).await.unwrap_err();
    assert!(error.to_string().contains("not a database"), "{error}");
    let missing = directory.path().join("no/such/directory/x");
    Store::sqlite(&missing, OrgId::new([7; 16]))
        .await
        .unwrap_err();
}

/// `UPDATE_DOCS=1 cargo test -p kusabi-server --test it document` writes it.
#[test]
fn the_document_is_the_one_checked_in() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
    let made = kusabi_server::http::openapi();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, made).unwrap();
        return;
    }
    let kept = std::fs::read_to_string(path).unwrap();
    assert!(
        made == kept,
        "docs/openapi.json is out of date: UPDATE_DOCS=1 cargo test -p kusabi-server --test it document"
    );
}

#[cfg(unix)]
#[tokio::test]
async fn the_database_is_its_users_alone() {
    use std::{fs, os::unix::fs::PermissionsExt as _};
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("server.sqlite");
    let modes = || {
        let mut modes: Vec<_> = fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let mode = entry.metadata().unwrap().permissions().mode();
                (entry.file_name().into_string().unwrap(), mode & 0o777)
            })
            .collect();
        modes.sort();
        modes
    };
    let private = ["server.sqlite", "server.sqlite-shm", "server.sqlite-wal"]
        .map(|name| (name.to_owned(), 0o600));
    let org = OrgId::new([7; 16]);
    let store = Store::sqlite(&path, org).await.unwrap();
    assert_eq!(modes(), private);
    // One that others could read until now, with what an end without warning left beside it.
    for (name, _) in &private {
        let file = directory.path().join(name);
        fs::set_permissions(file, fs::Permissions::from_mode(0o644)).unwrap();
    }
    let again = Store::sqlite(&path, org).await.unwrap();
    assert_eq!(modes(), private);
    store.close().await;
    again.close().await;
}
