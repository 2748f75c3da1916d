//! Whom the daemon asks: the addresses that the device was given, and one that a server named.

use kusabi_core::device::{Kept, SERVERS_MAX};
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
        self.store.put_hint(&url)?;
        self.log.info(
            "an address of the owner's, as another organisation's server says",
            &[("server", &url)],
        );
        // One at a time, the newest, beside all that the device was given.
        let places = self.urls.len().max(self.given + 1);
        self.urls.truncate(self.given);
        self.urls.resize(places, url);
        // Before a poll that waits: that would begin at the next address.
        self.feeds.push_front(Feed::Reach);
        Ok(())
    }

    /// How many addresses there are, where the last one is what a server named.
    pub(super) fn named(&self) -> Option<usize> {
        let addresses = self.given + 1;
        (self.store.hint().is_some() && self.urls.len() >= addresses).then_some(addresses)
    }

    pub(super) fn url(&self) -> String {
        self.urls.get(self.server).cloned().unwrap_or_default()
    }
}

/// The addresses that are tried: the configuration's, or those of the provisioning file; and behind them one that a server named. Where
/// there are more than the machine knows of, it is told so. Says how many were given.
pub(super) fn urls(
    config: &Config,
    profile: &Profile,
    hint: Option<&str>,
    kept: &mut Kept,
) -> (Vec<String>, usize) {
    let mut urls = if config.server.addresses.is_empty() {
        profile.addresses.clone()
    } else {
        config.server.addresses.clone()
    };
    urls.truncate(SERVERS_MAX);
    let given = urls.len();
    if let Some(hint) = hint
        && !urls.iter().any(|url| url == hint)
    {
        urls.push(hint.to_owned());
    }
    kept.reach(urls.len());
    let urls = (0..kept.servers().len())
        .filter_map(|at| urls.get(at).or_else(|| urls.last()).cloned())
        .collect();
    (urls, given)
}
