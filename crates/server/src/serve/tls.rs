//! TLS of the admin listener, by two files of PEM.

use kusabi_api::serve::{Impatient, Open};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject as _};
use std::{io, path::PathBuf, sync::Arc};
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{self, ServerConfig, crypto::ring},
    server::TlsStream,
};

/// Where the certificate lies.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// PEM: the certificate and those that lead to its authority.
    pub chain: PathBuf,
    /// PEM: its private key (PKCS#8, PKCS#1 or SEC1), readable by the server alone.
    pub key: PathBuf,
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The certificates cannot be read.
    #[error("cannot read certificates (PEM) from {}: {source}", path.display())]
    Chain {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// There is no certificate in the file.
    #[error("there is no certificate in {}", .0.display())]
    Empty(PathBuf),
    /// The key cannot be read.
    #[error("cannot read a private key (PEM) from {}: {source}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// They do not go together.
    #[error("the certificate in {} and the key in {} cannot be used: {source}", files.chain.display(), files.key.display())]
    Unfit {
        /// The files.
        files: TlsFiles,
        /// Why.
        source: rustls::Error,
    },
}

/// A certificate with its key.
#[derive(Clone)]
pub(super) struct Tls(TlsAcceptor);

impl Tls {
    /// Reads both files, once: after a renewal the server is started again.
    pub(super) fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let chain = CertificateDer::pem_file_iter(&files.chain)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|source| TlsError::Chain {
                path: files.chain.clone(),
                source,
            })?;
        if chain.is_empty() {
            return Err(TlsError::Empty(files.chain.clone()));
        }
        let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|source| TlsError::Key {
            path: files.key.clone(),
            source,
        })?;
        let unfit = |source| TlsError::Unfit {
            files: files.clone(),
            source,
        };
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(unfit)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(unfit)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }
}

impl Open for Tls {
    type Stream = TlsStream<Impatient<TcpStream>>;

    async fn open(&self, stream: Impatient<TcpStream>) -> io::Result<Self::Stream> {
        self.0.accept(stream).await
    }
}
