//! Addresses under which artifacts are fetched.

use super::{judging::is_aborted, orders::within};
use crate::{
    app::{App, Error, blobs::Whole},
    store::{
        mender_devices,
        mender_orders::{self as rows, Download},
        rollouts::is_withdrawn,
    },
};
use kusabi_api::{
    Hex, Hex32,
    admin::{OrderState, Target},
};

/// How long an artifact can be fetched under the address that a device or a person got.
const DOWNLOAD_MS: u64 = 24 * 60 * 60 * 1000;

/// An artifact on its way to whoever knows its address.
#[derive(Debug)]
pub(crate) struct Fetched {
    download: Download,
    pub(crate) whole: Whole,
}

impl App {
    /// A new address of an artifact, and what is kept of it.
    pub(super) fn download(
        &self,
        digest: Hex32,
        holder: &str,
        order: u64,
    ) -> Result<(String, Download), Error> {
        let base = self.presence.mender_url.as_deref().ok_or_else(|| {
            Error::Unfit(String::from(
                "this server has no address at which Mender devices reach it, so that nothing can be fetched from it; give it one: [mender] in server.toml",
            ))
        })?;
        let secret = Hex(self.edge.random()?).to_string();
        let download = Download {
            hash: kusabi_core::crypto::sha256(&[secret.as_bytes()]),
            digest,
            holder: holder.to_owned(),
            order,
            expires_ms: self.edge.now_ms().saturating_add(DOWNLOAD_MS),
        };
        Ok((format!("{base}/api/devices/v1/download/{secret}"), download))
    }

    /// An address under which a person fetches an artifact, and when it ends.
    ///
    /// # Errors
    /// There is no such artifact; the database.
    pub(crate) async fn open_download(
        &self,
        by: &crate::app::By,
        id: &str,
    ) -> Result<(String, u64), Error> {
        let artifact = self.artifact(id).await?;
        let (uri, download) = self.download(artifact.digest, by.caller.id(), 0)?;
        let now_ms = self.edge.now_ms();
        let download = &download;
        self.store
            .tx("give an address of an artifact", move |tx| {
                Box::pin(
                    async move { Ok::<_, Error>(rows::open(tx.on(), download, now_ms).await?) },
                )
            })
            .await?;
        Ok((uri, download.expires_ms))
    }

    /// What is fetched under an address. Nobody has to say who he is: who knows the address may.
    ///
    /// # Errors
    /// It has expired or never was, it [may not be fetched](Self::mender_may_fetch), or the bytes are gone; the database.
    pub(crate) async fn mender_download(&self, secret: &str) -> Result<Fetched, Error> {
        let gone = || Error::Unknown {
            what: "artifact under this address: it has expired or its order has ended; ask for the next deployment, not under",
            id: String::from("…"),
        };
        let hash = kusabi_core::crypto::sha256(&[secret.as_bytes()]);
        let download = {
            let mut reader = self.store.read("find an address of an artifact").await?;
            rows::opened(reader.on(), hash, self.edge.now_ms()).await?
        };
        let download = download.ok_or_else(gone)?;
        within(&self.mender.fetching, &download.holder)?;
        let Some(whole) = self.whole(download.digest).await? else {
            tracing::error!(digest = %download.digest, "an artifact that a device fetches is not in the firmware store any more");
            return Err(gone());
        };
        let fetched = Fetched { download, whole };
        match self.mender_may_fetch(&fetched).await? {
            true => Ok(fetched),
            false => Err(gone()),
        }
    }

    /// Whether what has an address may be fetched: its order is under way, its rollout not aborted, its release not withdrawn, the key that signed it in force, and
    /// its device served. No token is shown with an address, and it is good for longer than any of this may be.
    ///
    /// # Errors
    /// The database.
    pub(crate) async fn mender_may_fetch(&self, fetched: &Fetched) -> Result<bool, Error> {
        let Fetched { download, .. } = fetched;
        if download.order == 0 {
            return Ok(true);
        }
        let mut reader = self
            .store
            .read("see whether an artifact may be fetched")
            .await?;
        let order = rows::order(reader.on(), &download.holder, download.order).await?;
        let Some((target, Some(release), OrderState::Sent)) = order else {
            return Ok(false);
        };
        if let Target::Rollout(id) = target
            && is_aborted(reader.on(), id).await?
        {
            return Ok(false);
        }
        if is_withdrawn(reader.on(), release).await?
            || !mender_devices::is_served(reader.on(), &download.holder).await?
        {
            return Ok(false);
        }
        drop(reader);
        Ok(!self.signer_ended(download.digest).await?)
    }
}
