//! Which devices hold a component: by the inventories that they signed, then by the bills of materials of the releases that they run
//! ([`boms`]).

mod boms;

use super::{App, Cut, Error};
use crate::store::{inventories, is_id};
use kusabi_api::{
    Hex32,
    admin::{ComponentHolder, ComponentHolding, ComponentPage, InventoryItem},
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
/// What a cursor into the releases begins with; one into the inventories begins with a digest.
const RELEASE: char = 'r';

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
    /// With this package URL. Inventories have none.
    pub purl: Option<String>,
}

impl ComponentQuery {
    fn check(&self) -> Result<(), Error> {
        let texts = [&self.name, &self.prefix, &self.version, &self.purl];
        let long = |text: &String| text.is_empty() || text.len() > NAME_BYTES_MAX;
        if texts.into_iter().flatten().any(long) {
            return Err(Error::Parameter(format!(
                "`name`, `prefix`, `version` and `purl` have 1 to {NAME_BYTES_MAX} bytes"
            )));
        }
        if texts.into_iter().all(Option::is_none) && self.digest.is_none() {
            return Err(Error::Parameter(String::from(
                "say which component: `name`, `prefix`, `version`, `digest` or `purl`",
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

/// Where a page ended.
enum Place {
    /// Behind an inventory, or behind one of the devices that hold it.
    Inventory {
        digest: Option<Hex32>,
        device: Option<String>,
    },
    /// Before a release, or behind one of the devices that run it.
    Release { from: u64, device: String },
}

impl Place {
    fn read(cut: &Cut) -> Result<Self, Error> {
        let Some(cursor) = cut.cursor.as_deref() else {
            return Ok(Self::Inventory {
                digest: None,
                device: None,
            });
        };
        let (at, device) = match cursor.split_once('.') {
            Some((at, device)) => (at, Some(device)),
            None => (cursor, None),
        };
        let device = match device {
            Some(device) if !is_id(device) => return Err(super::page::bad_cursor()),
            device => device.map(str::to_owned),
        };
        if let Some(number) = at.strip_prefix(RELEASE) {
            let from = number.parse().map_err(|_| super::page::bad_cursor())?;
            let device = device.unwrap_or_default();
            return Ok(Self::Release { from, device });
        }
        let digest = at.parse::<Hex32>().map_err(|_| super::page::bad_cursor())?;
        Ok(Self::Inventory {
            digest: Some(digest),
            device,
        })
    }
}

/// A page that is being filled.
struct Filling {
    page: ComponentPage,
    limit: usize,
    /// Bytes that were read for it.
    read: u64,
}

impl Filling {
    fn room(&self) -> usize {
        self.limit - self.page.devices.len()
    }

    /// How many devices to ask for: one more shows that there are more.
    fn count(&self) -> u16 {
        u16::try_from(self.room() + 1).unwrap_or(u16::MAX)
    }

    /// Whether so much more may be read for this page: one thing at least.
    fn takes(&mut self, size: u64) -> bool {
        let more = self.read.saturating_add(size);
        let takes = self.read == 0 || more <= READ_BYTES_MAX;
        if takes {
            self.read = more;
        }
        takes
    }

    /// Adds what fits of the devices behind `after`; the device behind which the next page goes on, where not all fit.
    fn add(&mut self, mut devices: Vec<ComponentHolder>, after: String) -> Option<String> {
        let room = self.room();
        let more = devices.len() > room;
        devices.truncate(room);
        let last = devices.last().map(|one| one.device.clone());
        self.page.devices.append(&mut devices);
        more.then(|| last.unwrap_or(after))
    }
}

impl App {
    /// The devices whose newest signed inventory holds such a component, by inventory and then by ID; then those that run a release whose
    /// bill of materials names one, by release and then by ID. Each of both is read once for a page; a page ends also when much was read,
    /// so that one without devices may have a next one.
    ///
    /// # Errors
    /// Nothing is asked for; a bad cursor or limit; database or disk fail.
    pub async fn components(
        &self,
        query: ComponentQuery,
        cut: &Cut,
    ) -> Result<ComponentPage, Error> {
        query.check()?;
        let place = Place::read(cut)?;
        let mut filling = Filling {
            page: ComponentPage {
                devices: Vec::new(),
                inventories: Vec::new(),
                releases: Vec::new(),
                unsearched: Vec::new(),
                next: None,
            },
            limit: usize::from(cut.limit()?),
            read: 0,
        };
        // It is never closed.
        let _turn = self.components.acquire().await.map_err(|_| Error::Behind)?;
        let (from, device) = match place {
            Place::Release { from, device } => (from, device),
            Place::Inventory { digest, device } => {
                if query.purl.is_none() {
                    let next = self.in_inventories(&query, &mut filling, digest, device);
                    filling.page.next = next.await?;
                }
                if filling.page.next.is_some() {
                    return Ok(filling.page);
                }
                (0, String::new())
            }
        };
        filling.page.next = self.in_releases(&query, &mut filling, from, device).await?;
        Ok(filling.page)
    }

    /// Looks through inventories behind this one or its device; where the next page goes on, if they were not all.
    async fn in_inventories(
        &self,
        query: &ComponentQuery,
        filling: &mut Filling,
        mut digest: Option<Hex32>,
        mut device: Option<String>,
    ) -> Result<Option<String>, Error> {
        loop {
            let within = device.is_some();
            let mut reader = self.store.read("list inventories").await?;
            let found = inventories::distinct(reader.on(), digest, within, DIGESTS).await?;
            drop(reader);
            if found.is_empty() {
                return Ok(None);
            }
            for (next, size) in found {
                let here = digest == Some(next);
                let after = device.take().filter(|_| here).unwrap_or_default();
                if !filling.takes(size) {
                    return Ok(digest.map(|digest| digest.to_string()));
                }
                if let Some(holding) = self.holding(query, next).await? {
                    let mut reader = self.store.read("list holders").await?;
                    let count = filling.count();
                    let devices = inventories::holders(reader.on(), next, &after, count).await?;
                    drop(reader);
                    if !devices.is_empty() && filling.room() > 0 {
                        filling.page.inventories.push(holding);
                    }
                    if let Some(device) = filling.add(devices, after) {
                        return Ok(Some(format!("{next}.{device}")));
                    }
                }
                digest = Some(next);
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
