//! Types of devices: what one holds as it leaves the factory, and what it should hold under a release.

use super::{App, By, Cut, Error, act::Done, blobs::want, contents::Parts};
use crate::{
    blob::{Blob, Found, draft_name},
    store::{contents, releases, types},
};
use bytes::Bytes;
use kusabi_api::{
    Hex, Hex32,
    admin::{DeviceType, Page, Text},
};
use kusabi_core::{
    inventory::INVENTORY_BYTES_MAX,
    release::{Label, SignedManifest},
};
use serde_json::json;
use std::sync::Arc;

/// What a device should hold.
#[derive(Clone, Debug)]
pub enum Expected {
    /// Nobody said.
    Unsaid,
    /// The device runs a release that is not known here: why nothing can be expected of it.
    Unknown(String),
    /// It is named, and it is not here: why.
    Lost(String),
    /// A canonical inventory of at most 16 MiB.
    Said(Bytes),
}

impl App {
    /// The types, by name.
    ///
    /// # Errors
    /// A bad cursor or limit; the database.
    pub async fn types(&self, cut: &Cut) -> Result<Page<DeviceType>, Error> {
        let after = cut.cursor.as_deref().unwrap_or_default();
        if !after.is_empty() {
            label("type", after)?;
        }
        let count = cut.fetch()?;
        let mut reader = self.store.read("list types").await?;
        let types = types::list(reader.on(), after, count).await?;
        cut.page(types, |one| one.device_type.clone())
    }

    /// Records what devices of a type hold as they leave the factory: a canonical inventory (spec/firmware.md). It takes the place of what
    /// was recorded before.
    ///
    /// # Errors
    /// The name is no label; the bytes are no canonical inventory; database or disk fail.
    pub async fn expect(
        self: &Arc<Self>,
        by: &By,
        name: &str,
        parts: Parts,
    ) -> Result<DeviceType, Error> {
        label("type", name)?;
        self.blobs()?;
        let incoming = draft_name(&self.new_id("type")?);
        let app = Arc::clone(self);
        let receiving = tokio::spawn(async move { app.receive_expected(&incoming, parts).await });
        let (found, blob) = receiving.await??;
        let recorded = self.act(by, "type.expect", move |tx, now_ms| {
            Box::pin(async move {
                let recorded = DeviceType {
                    device_type: name.to_owned(),
                    expected: Hex(found.digest),
                    size: found.size,
                    components: found.inventory.map_or(0, |summary| summary.count()),
                    created_ms: now_ms,
                };
                let before = types::find(tx.on(), name).await?;
                let row = contents::Row::new(recorded.expected, recorded.size, true);
                let news = want(tx, &row, blob, now_ms).await?;
                if let Some(before) = before.filter(|before| before.expected == recorded.expected)
                    && !news
                {
                    return Ok(Done::nothing(before));
                }
                types::put(tx.on(), &recorded).await?;
                let detail = json!({
                    "expected": recorded.expected, "components": recorded.components,
                });
                Ok(Done::changed(recorded, name, detail))
            })
        });
        match recorded.await {
            Err(why @ (Error::Conflict(_) | Error::Unfit(_))) => {
                self.discard(blob).await;
                Err(why)
            }
            recorded => recorded,
        }
    }

    /// Takes an inventory in; what was found in it, and where its bytes are.
    async fn receive_expected(&self, name: &str, parts: Parts) -> Result<(Found, Blob), Error> {
        let blobs = self.blobs()?;
        let claim = blobs.claim(name)?;
        let done = async {
            blobs.receive(&claim, INVENTORY_BYTES_MAX, 0, parts).await?;
            let found = blobs.inspect(&claim, true).await?;
            let blob = self.place(&claim, Hex(found.digest)).await?;
            Ok((found, blob))
        };
        let done = done.await;
        if done.is_err() {
            // Nothing can go on with it: its name is known to this request only.
            blobs.drop_received(&claim).await?;
        }
        done
    }

    /// The inventory that a device of this type should have: under this release, or as it left the factory.
    ///
    /// # Errors
    /// Database or disk fail.
    pub async fn expected_inventory(
        &self,
        device_type: Option<&Text>,
        release: Option<[u8; 32]>,
    ) -> Result<Expected, Error> {
        let Some(device_type) = device_type.map(Text::as_str) else {
            return Ok(Expected::Unsaid);
        };
        let Ok(name) = Label::new(device_type) else {
            return Ok(Expected::Unsaid);
        };
        let mut reader = self.store.read("find an expected inventory").await?;
        let digest: Option<Hex32> = match release {
            None => types::find(reader.on(), device_type)
                .await?
                .map(|one| one.expected),
            Some(release) => {
                let release = Hex(release);
                let signed = releases::signed(reader.on(), release).await?;
                let signed = signed
                    .as_deref()
                    .map(SignedManifest::decode)
                    .and_then(Result::ok);
                let Some(signed) = signed else {
                    let why = format!("its release {release} is not known here");
                    return Ok(Expected::Unknown(why));
                };
                let target = signed.manifest().target(&name);
                let content = target.and_then(|target| target.inventory);
                content.map(|content| Hex(content.digest().to_bytes()))
            }
        };
        drop(reader);
        let Some(digest) = digest else {
            return Ok(Expected::Unsaid);
        };
        Ok(match self.whole_bytes(digest).await? {
            Some(bytes) => Expected::Said(bytes),
            None => Expected::Lost(format!(
                "the bytes of the expected one, {digest}, are not here"
            )),
        })
    }
}

pub(crate) fn label<'a>(what: &str, name: &'a str) -> Result<Label<'a>, Error> {
    Label::new(name).map_err(|_| {
        Error::Parameter(format!(
            "a {what}'s name has 1 to 64 characters of A-Z, a-z, 0-9, '.', '_', '+', '-', a letter or digit first"
        ))
    })
}
