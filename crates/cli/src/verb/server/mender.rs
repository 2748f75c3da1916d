//! Where a server serves stock Mender devices.

use std::{net::SocketAddr, path::PathBuf};

use kusabi_server::serve::ForMender;
use serde::Deserialize;

use super::run::{clear, tls};
use crate::{
    exit::Exit,
    failure::{Failure, Result},
};

/// What the command line says of it.
#[derive(Debug, clap::Args)]
pub(crate) struct Mender {
    /// Address for stock Mender devices [default: none are served]; port 0 takes a free one
    #[arg(long, value_name = "IP:PORT", requires = "mender_url")]
    mender_listen: Option<SocketAddr>,
    /// Where stock Mender devices reach it: the ServerURL of their configuration
    #[arg(long, value_name = "URL", requires = "mender_listen")]
    mender_url: Option<String>,
    /// Certificate (PEM, with those above it) of the address for stock Mender devices
    #[arg(long, value_name = "FILE", requires = "mender_tls_key")]
    mender_tls_chain: Option<PathBuf>,
    /// Its private key (PEM)
    #[arg(long, value_name = "FILE", requires = "mender_tls_chain")]
    mender_tls_key: Option<PathBuf>,
}

/// What a configuration file says of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MenderSection {
    listen: SocketAddr,
    url: String,
    pub(super) tls_chain: Option<PathBuf>,
    pub(super) tls_key: Option<PathBuf>,
}

impl MenderSection {
    /// Files that it names.
    pub(super) fn files(&mut self) -> [&mut Option<PathBuf>; 2] {
        [&mut self.tls_chain, &mut self.tls_key]
    }
}

impl Mender {
    /// Where stock Mender devices are served, if they are; the command line comes first.
    pub(crate) fn listener(&self, file: Option<MenderSection>) -> Result<Option<ForMender>> {
        let (file, chain, key) = match file {
            Some(file) => (Some((file.listen, file.url)), file.tls_chain, file.tls_key),
            None => (None, None, None),
        };
        let given = self.mender_listen.zip(self.mender_url.clone());
        let Some((listen, url)) = given.or(file) else {
            return Ok(None);
        };
        let host = ["https://", "http://"]
            .iter()
            .find_map(|scheme| url.strip_prefix(scheme));
        if host.is_none_or(|host| host.is_empty() || host.contains(['?', '#', ' '])) {
            let why = format!(
                "{url} is no address for Mender devices; write the ServerURL of their configuration, like https://mender.example"
            );
            return Err(Failure::new(Exit::Usage, why));
        }
        let tls = tls(
            self.mender_tls_chain.clone().or(chain),
            self.mender_tls_key.clone().or(key),
        )?;
        clear(
            listen,
            tls.as_ref(),
            "give --mender-tls-chain and --mender-tls-key",
        )?;
        Ok(Some(ForMender {
            listen,
            url: url.trim_end_matches('/').to_owned(),
            tls,
        }))
    }
}
