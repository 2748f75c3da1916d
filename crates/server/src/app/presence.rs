//! What the server is: under which keys it acts and where devices reach it.

use super::App;
use kusabi_api::{Hex, admin::Server};
use kusabi_core::id::Handle;

/// What whoever starts a server knows of it and the database does not.
#[derive(Clone, Debug, Default)]
pub struct Presence {
    /// Its server keys.
    pub keys: Vec<Handle>,
    /// Where devices reach it, the best first.
    pub device_urls: Vec<String>,
    /// The writer with which it registers what it accepted.
    pub writer: Option<Handle>,
    /// Where stock Mender devices reach it, without a slash at the end; `None`: they do not.
    pub mender_url: Option<String>,
}

impl App {
    /// The same server, present under these keys and addresses.
    #[must_use]
    pub fn with_presence(mut self, presence: Presence) -> Self {
        self.presence = presence;
        self
    }

    /// Whether stock Mender devices are served here.
    pub(crate) const fn serves_mender(&self) -> bool {
        self.presence.mender_url.is_some()
    }

    /// How it describes itself. No word of it needs to be believed: keys and organisation are on the ledger.
    #[must_use]
    pub fn server(&self) -> Server {
        let hex = |handle: &Handle| Hex(handle.to_bytes());
        Server {
            organisation: Hex(self.org().to_bytes()),
            chain: Hex(self.ledger.trust().anchor().chain().to_bytes()),
            keys: self.presence.keys.iter().map(hex).collect(),
            device_urls: self.presence.device_urls.clone(),
            writer: self.presence.writer.as_ref().map(hex),
            version: String::from(env!("CARGO_PKG_VERSION")),
        }
    }
}
