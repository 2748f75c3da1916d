//! Whom the daemon asks: the addresses that the device was given, and one that a server named.

use kusabi_core::device::{ADDRESSES_MAX, Kept};
use kusabi_core::id::Digest;

use super::heart::{Feed, Heart};
use super::store::{Profile, StoreError};
use super::worker::Under;
use crate::config::Config;
use crate::disk::Disk;

impl<D: Disk + Clone> Heart<D> {
    /// The addresses.
    pub(crate) fn addresses(&self) -> &[String] {
        &self.urls
    }

    /// A release, with what the device believes now.
    pub(super) fn under(&self, digest: Digest) -> Under {
        let mut urls = self.urls.clone();
        let further = self.update.as_ref().map_or(0, |update| update.further);
        let at = self.server.saturating_add(further) % urls.len().max(1);
        urls.rotate_left(at);
        Under {
            digest,
            trust: Box::new(self.device.kept().trust().clone()),
            org: self.device.kept().org(),
            urls,
        }
    }

    /// Where a server of the new owner may be: tried beside the others, also after a restart.
    pub(super) fn try_beside(&mut self, url: String) -> Result<(), StoreError> {
        if self.urls.contains(&url) {
            return Ok(());
        }
        if let Err(why) = super::speaks(&url) {
            self.log
                .warn("no address for this device", &[("why", &why)]);
            return Ok(());
        }
        let named = self.store.hint().map(ToOwned::to_owned);
        self.store.put_hint(&url)?;
        self.log.info(
            "an address of the owner's, as another organisation's server says",
            &[("server", &url)],
        );
        // One at a time, the newest, beside all that the device was given.
        let full = self.urls.len() >= ADDRESSES_MAX;
        if full || (named.is_some() && self.urls.last() == named.as_ref()) {
            self.urls.pop();
        }
        self.urls.push(url);
        self.feeds.push_back(Feed::Reach);
        Ok(())
    }

    pub(super) fn url(&self) -> String {
        self.urls.get(self.server).cloned().unwrap_or_default()
    }
}

/// The addresses that are tried: the configuration's, or those of the provisioning file; and behind them one that a server named. Where
/// there are more than the machine knows of, it is told so.
pub(super) fn urls(
    config: &Config,
    profile: &Profile,
    hint: Option<&str>,
    kept: &mut Kept,
) -> Vec<String> {
    let mut given = if config.server.addresses.is_empty() {
        profile.addresses.clone()
    } else {
        config.server.addresses.clone()
    };
    if let Some(hint) = hint
        && !given.iter().any(|url| url == hint)
    {
        given.push(hint.to_owned());
    }
    kept.reach(given.len());
    (0..kept.servers().len())
        .filter_map(|at| given.get(at).or_else(|| given.last()).cloned())
        .collect()
}
