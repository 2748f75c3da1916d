//! Which devices hold a component.

use super::{App, Cut, Error};
use crate::store::{inventories, is_id};
use kusabi_api::{
    Hex32,
    admin::{ComponentHolding, ComponentPage, InventoryItem},
};
use kusabi_core::inventory::{Component, Inventory, NAME_BYTES_MAX};

/// How many questions are answered at a time: each has one inventory in memory, 16 MiB at most.
pub(super) const AT_ONCE: usize = 2;
/// Bytes of inventories that are read for one page, unless one alone has more.
const READ_BYTES_MAX: u64 = 32 << 20;
/// How many inventories are looked up at a time.
const DIGESTS: u16 = 64;
/// Most components of one inventory that are shown: a prefix may fit all of them.
const SHOWN_MAX: usize = 8;

/// Which components: those for which all that is said holds, and something is.
#[derive(Clone, Debug, Default)]
pub struct ComponentQuery {
    /// With this name, in the escaped form of inventories.
    pub name: Option<String>,
    /// With a name that begins so.
    pub prefix: Option<String>,
    /// With this version.
    pub version: Option<String>,
    /// With this content.
    pub digest: Option<Hex32>,
}

impl ComponentQuery {
    fn check(&self) -> Result<(), Error> {
        let texts = [&self.name, &self.prefix, &self.version];
        let long = |text: &String| text.is_empty() || text.len() > NAME_BYTES_MAX;
        if texts.into_iter().flatten().any(long) {
            return Err(Error::Parameter(format!(
                "`name`, `prefix` and `version` have 1 to {NAME_BYTES_MAX} bytes"
            )));
        }
        if texts.into_iter().all(Option::is_none) && self.digest.is_none() {
            return Err(Error::Parameter(String::from(
                "say which component: `name`, `prefix`, `version` or `digest`",
            )));
        }
        Ok(())
    }

    fn is(&self, component: &Component<'_>) -> bool {
        let name = component.name();
        self.name.as_deref().is_none_or(|wanted| wanted == name)
            && self
                .prefix
                .as_deref()
                .is_none_or(|prefix| name.starts_with(prefix))
            && self
                .version
                .as_deref()
                .is_none_or(|wanted| component.version() == Some(wanted))
            && self
                .digest
                .is_none_or(|wanted| wanted.0 == component.digest().to_bytes())
    }
}

/// Where a page ended: behind an inventory, or behind one of the devices that hold it.
struct Place {
    digest: Option<Hex32>,
    device: Option<String>,
}

impl Place {
    fn read(cut: &Cut) -> Result<Self, Error> {
        let Some(cursor) = cut.cursor.as_deref() else {
            return Ok(Self {
                digest: None,
                device: None,
            });
        };
        let (digest, device) = match cursor.split_once('.') {
            Some((digest, device)) => (digest, Some(device)),
            None => (cursor, None),
        };
        match digest.parse::<Hex32>() {
            Ok(digest) if device.is_none_or(is_id) => Ok(Self {
                digest: Some(digest),
                device: device.map(str::to_owned),
            }),
            _ => Err(super::page::bad_cursor()),
        }
    }
}

impl App {
    /// The devices whose newest signed inventory holds such a component, by inventory and then by ID. Each distinct inventory is read once
    /// for a page; a page ends also when much was read, so that one without devices may have a next one.
    ///
    /// # Errors
    /// Nothing is asked for; a bad cursor or limit; the database.
    pub async fn components(
        &self,
        query: ComponentQuery,
        cut: &Cut,
    ) -> Result<ComponentPage, Error> {
        query.check()?;
        let limit = usize::from(cut.limit()?);
        let mut place = Place::read(cut)?;
        // It is never closed.
        let _turn = self.components.acquire().await.map_err(|_| Error::Behind)?;
        let mut page = ComponentPage {
            devices: Vec::new(),
            inventories: Vec::new(),
            next: None,
        };
        let mut read = 0u64;
        loop {
            let within = place.device.is_some();
            let mut reader = self.store.read("list inventories").await?;
            let found = inventories::distinct(reader.on(), place.digest, within, DIGESTS).await?;
            drop(reader);
            if found.is_empty() {
                return Ok(page);
            }
            for (digest, size) in found {
                let here = place.digest == Some(digest);
                let after = place.device.take().filter(|_| here).unwrap_or_default();
                if read > 0 && read.saturating_add(size) > READ_BYTES_MAX {
                    page.next = place.digest.map(|digest| digest.to_string());
                    return Ok(page);
                }
                read = read.saturating_add(size);
                let holding = self.holding(&query, digest).await?;
                if let Some(holding) = holding {
                    let room = limit - page.devices.len();
                    let mut reader = self.store.read("list holders").await?;
                    let count = u16::try_from(room + 1).unwrap_or(u16::MAX);
                    let mut devices =
                        inventories::holders(reader.on(), digest, &after, count).await?;
                    drop(reader);
                    let more = devices.len() > room;
                    devices.truncate(room);
                    if !devices.is_empty() {
                        page.inventories.push(holding);
                    }
                    let last = devices.last().map(|one| one.device.clone());
                    page.devices.append(&mut devices);
                    if more {
                        let device = last.unwrap_or(after);
                        page.next = Some(format!("{digest}.{device}"));
                        return Ok(page);
                    }
                }
                place.digest = Some(digest);
            }
        }
    }

    /// What of an inventory is meant; `None` when nothing is, or no device holds it any more.
    async fn holding(
        &self,
        query: &ComponentQuery,
        digest: Hex32,
    ) -> Result<Option<ComponentHolding>, Error> {
        let mut reader = self.store.read("read an inventory").await?;
        let Some(bytes) = inventories::content(reader.on(), digest).await? else {
            return Ok(None);
        };
        drop(reader);
        let query = query.clone();
        let looked = tokio::task::spawn_blocking(move || look(&query, digest, &bytes));
        Ok(looked.await?)
    }
}

fn look(query: &ComponentQuery, digest: Hex32, bytes: &[u8]) -> Option<ComponentHolding> {
    // It was decoded before it was written.
    let inventory = Inventory::decode(bytes).ok()?;
    let mut found = inventory
        .components()
        .filter(|component| query.is(component));
    let components: Vec<InventoryItem> = found
        .by_ref()
        .take(SHOWN_MAX)
        .map(|component| crate::device::item(&component))
        .collect();
    if components.is_empty() {
        return None;
    }
    let more = u32::try_from(found.count()).unwrap_or(u32::MAX);
    Some(ComponentHolding {
        digest,
        components,
        more,
    })
}
