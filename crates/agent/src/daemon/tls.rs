//! TLS to servers, with the feature `tls`: whose certificates are accepted. Nothing that the agent believes rests on it (the protocol
//! protects itself); it is for networks that let nothing else through, and it brings back what the rest does without: a certificate
//! that ends, and a clock that has to be right.

use std::path::PathBuf;

use ureq::config::ConfigBuilder;
use ureq::typestate::AgentScope;

use crate::config::ServerConfig;

/// Why the file of `server.ca` cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("server.ca, {path}: {why}", path = path.display())]
pub struct CaError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub why: String,
}

#[cfg(not(feature = "tls"))]
pub(super) fn trusting(
    client: ConfigBuilder<AgentScope>,
    _: &ServerConfig,
) -> Result<ConfigBuilder<AgentScope>, CaError> {
    Ok(client)
}

/// What a connection that broke says.
#[cfg(not(feature = "tls"))]
pub(super) fn refusal(error: &std::io::Error) -> String {
    error.to_string()
}

#[cfg(feature = "tls")]
pub(super) use with_tls::{refusal, trusting};

#[cfg(feature = "tls")]
mod with_tls {
    use std::io::{self, Read as _};
    use std::path::Path;

    use rustls::{CertificateError, RootCertStore, pki_types::CertificateDer};
    use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

    use super::{AgentScope, CaError, ConfigBuilder, ServerConfig};

    /// Longest file: all that a distribution trusts is a quarter of it.
    const BYTES_MAX: u64 = 1 << 20;

    /// Trusts Mozilla's list, or the owner's authorities.
    pub(in super::super) fn trusting(
        client: ConfigBuilder<AgentScope>,
        server: &ServerConfig,
    ) -> Result<ConfigBuilder<AgentScope>, CaError> {
        let roots = match &server.ca {
            None => RootCerts::WebPki,
            Some(path) => roots(path).map_err(|why| {
                let path = path.clone();
                CaError { path, why }
            })?,
        };
        Ok(client.tls_config(TlsConfig::builder().root_certs(roots).build()))
    }

    fn roots(path: &Path) -> Result<RootCerts, String> {
        let mut pem = Vec::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(BYTES_MAX + 1).read_to_end(&mut pem))
            .map_err(|error| error.to_string())?;
        if pem.len() as u64 > BYTES_MAX {
            return Err(format!("it has more than {BYTES_MAX} bytes"));
        }
        // Tried here: what is no certificate would be passed over later, and then no server would be accepted.
        let mut tried = RootCertStore::empty();
        let mut roots = Vec::new();
        for item in parse_pem(&pem) {
            let root = match item {
                Ok(PemItem::Certificate(root)) => root,
                Ok(_) => continue,
                Err(error) => return Err(format!("it is not PEM: {error}")),
            };
            let number = roots.len() + 1;
            tried
                .add(CertificateDer::from(root.der()))
                .map_err(|error| format!("its certificate {number} cannot be used: {error}"))?;
            roots.push(root);
        }
        if roots.is_empty() {
            return Err("there is no certificate (PEM) in it".into());
        }
        Ok(roots.into())
    }

    /// What a connection that broke says; where a certificate is the reason, what to do.
    pub(in super::super) fn refusal(error: &io::Error) -> String {
        let tls = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let Some(rustls::Error::InvalidCertificate(why)) = tls else {
            return error.to_string();
        };
        let advice = match why {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "`server.ca` names the file of those whose certificates are accepted"
            }
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => {
                "either it ended, or this device's clock is wrong; an http:// address needs neither"
            }
            _ => "it has to be for the name or address that the device was told",
        };
        format!("the server's certificate is not accepted ({why}); {advice}")
    }
}
