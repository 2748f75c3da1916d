//! Components by the bills of materials of the releases that devices run: what whoever built a release says is in it.

use super::{ComponentQuery, Filling, RELEASE, SHOWN_MAX};
use crate::{
    app::{App, Error},
    store::releases,
};
use bytes::Bytes;
use kusabi_api::{
    Hex, Hex32,
    admin::ComponentRelease,
    sbom::{self, SbomComponent},
};
use kusabi_core::release::SignedManifest;

/// How many releases are looked up at a time.
const RELEASES: u16 = 64;

impl ComponentQuery {
    /// Whether a bill of materials means it with this.
    fn names(&self, component: &SbomComponent) -> bool {
        let holds =
            |wanted: &Option<String>, is: &dyn Fn(&str) -> bool| wanted.as_deref().is_none_or(is);
        holds(&self.name, &|name| component.is_called(name))
            && holds(&self.prefix, &|prefix| component.begins(prefix))
            && holds(&self.version, &|version| {
                component.version.as_deref() == Some(version)
            })
            && holds(&self.purl, &|purl| component.is_at(purl))
            && self
                .digest
                .is_none_or(|digest| component.digest == Some(digest))
    }
}

impl App {
    /// Looks through the releases from this one on, the first one behind this device; where the next page goes on, if they were not all.
    pub(super) async fn in_releases(
        &self,
        query: &ComponentQuery,
        filling: &mut Filling,
        mut from: u64,
        mut device: String,
    ) -> Result<Option<String>, Error> {
        let first = from;
        loop {
            let mut reader = self
                .store
                .read("list the releases that devices run")
                .await?;
            let found = releases::running(reader.on(), from, RELEASES).await?;
            drop(reader);
            if found.is_empty() {
                return Ok(None);
            }
            for (number, digest, signed) in found {
                let after = match number == first {
                    true => std::mem::take(&mut device),
                    false => String::new(),
                };
                from = number + 1;
                let signed = SignedManifest::decode(&signed).map_err(|_| {
                    Error::Unfit(format!("the stored manifest of {digest} cannot be read"))
                })?;
                let manifest = signed.manifest();
                let documents: Vec<_> = manifest
                    .documents()
                    .filter(|document| document.kind.as_str() == sbom::KIND)
                    .map(|document| document.content)
                    .collect();
                let mut components = Vec::new();
                let mut searched = true;
                for content in documents {
                    if content.size() > sbom::BYTES_MAX {
                        searched = false;
                        continue;
                    }
                    if !filling.takes(content.size()) {
                        return Ok(Some(format!("{RELEASE}{number}.{after}")));
                    }
                    let content = Hex(content.digest().to_bytes());
                    match self.in_bom(query, digest, content).await? {
                        Some(named) => components.extend(named),
                        None => searched = false,
                    }
                }
                if !searched {
                    filling.page.unsearched.push(digest);
                }
                if components.is_empty() {
                    continue;
                }
                let mut reader = self.store.read("list who runs a release").await?;
                let count = filling.count();
                let devices = releases::runners(reader.on(), digest, &after, count).await?;
                drop(reader);
                if !devices.is_empty() && filling.room() > 0 {
                    let more = components.len().saturating_sub(SHOWN_MAX);
                    components.truncate(SHOWN_MAX);
                    components.shrink_to_fit();
                    filling.page.releases.push(ComponentRelease {
                        digest,
                        name: manifest.name().as_str().to_owned(),
                        version: manifest.version().as_str().to_owned(),
                        components,
                        more: u32::try_from(more).unwrap_or(u32::MAX),
                    });
                }
                if let Some(device) = filling.add(devices, after) {
                    return Ok(Some(format!("{RELEASE}{number}.{device}")));
                }
            }
        }
    }

    /// What a bill of materials names of it; `None`: it cannot be searched.
    async fn in_bom(
        &self,
        query: &ComponentQuery,
        release: Hex32,
        content: Hex32,
    ) -> Result<Option<Vec<SbomComponent>>, Error> {
        // A server without a firmware store has none.
        if self.blobs().is_err() {
            return Ok(None);
        }
        let Some(bytes) = self.whole_bytes(content).await? else {
            return Ok(None);
        };
        let query = query.clone();
        let read = tokio::task::spawn_blocking(move || look(&query, &bytes));
        let read = read.await?;
        if let Err(why) = &read {
            tracing::debug!(%release, %why, "a release's bill of materials cannot be searched");
        }
        Ok(read.ok())
    }
}

fn look(query: &ComponentQuery, bytes: &Bytes) -> Result<Vec<SbomComponent>, sbom::SbomError> {
    let mut all = sbom::components(bytes)?;
    all.retain(|component| query.names(component));
    Ok(all)
}
