//! What every file of a run has in common: the organisation, what the devices are to believe, and where their server is.

use std::path::Path;

use arrayvec::{ArrayString, ArrayVec};
use kusabi_core::{
    device::{
        Address, FactoryKey, KeyOrigin, Provisioning, SERVERS_MAX, Server, Trust, URL_LEN_MAX,
    },
    id::{ChainId, Handle, OrgId, OrgName},
    suite::Purpose,
};

use crate::{
    connection::Connection,
    exit::Exit,
    failure::{Failure, Result},
    files,
    fleet::Fleet,
    session::Session,
};

pub(super) struct Basis {
    pub(super) org: OrgId,
    pub(super) name: Option<OrgName>,
    trust: Trust,
    servers: ArrayVec<Address, SERVERS_MAX>,
}

impl Basis {
    /// Asks the server for its addresses and keys, and the ledger for what is true of them: the newest checkpoint and every
    /// server key are verified before a device is told of them.
    pub(super) fn ask(
        connection: &Connection,
        org: OrgName,
        addresses: &[String],
        fleet: &Fleet,
    ) -> Result<Self> {
        let said = fleet.ask(fleet.client().server())?;
        if said.chain.0 != connection.chain().to_bytes() {
            return Err(Failure::new(
                Exit::OtherChain,
                format!(
                    "the server {} is of another ledger: {}",
                    fleet.address(),
                    said.chain
                ),
            )
            .advise("check --server and --chain"));
        }
        if said.organisation.0 != org.id().to_bytes() {
            return Err(Failure::new(
                Exit::Usage,
                format!("the server {} is not of the organisation {org}", fleet.address()),
            )
            .advise("one server serves one organisation: name its own with --org, or another server with --server"));
        }
        let handle = said.keys.first().ok_or_else(|| {
            Failure::new(
                Exit::Negative,
                format!(
                    "the server {} names no key of its own, so no device could know it",
                    fleet.address()
                ),
            )
        })?;
        let server = server(connection, &Handle::new(handle.0), &org.id())?;
        let addresses = if addresses.is_empty() {
            &said.device_urls
        } else {
            addresses
        };
        let servers = addresses
            .iter()
            .map(|address| {
                Ok(Address {
                    url: url(address)?,
                    server,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        if servers.is_empty() {
            return Err(Failure::new(
                Exit::Usage,
                "the server does not say where devices reach it",
            )
            .advise("give --address URL, as it is seen from the devices"));
        }
        let servers = ArrayVec::try_from(servers.as_slice()).map_err(|_| {
            Failure::new(
                Exit::Usage,
                format!(
                    "{} addresses are named, and a device keeps {SERVERS_MAX}",
                    servers.len()
                ),
            )
        })?;
        connection.newest()?;
        let trusted = connection.trust();
        let trust = Trust::new(*trusted.anchor(), trusted.set())
            .map_err(|why| Failure::new(Exit::Internal, why.to_string()))?;
        Ok(Self {
            org: org.id(),
            name: Some(org),
            trust,
            servers,
        })
    }

    /// From a file that was made where there was a network. Whoever carries it answers for it: what it says is believed.
    pub(super) fn from_file(path: &Path, session: &Session) -> Result<Self> {
        let bytes = files::read(path, Provisioning::LEN_MAX as u64)?;
        let file = Provisioning::decode(&bytes)
            .map_err(|why| Failure::new(Exit::File, format!("{}: {why}", path.display())))?;
        if file.key.is_some() {
            return Err(Failure::new(
                Exit::Usage,
                format!("{} is a device's own file, with its key", path.display()),
            )
            .advise("kusabi provision --public makes the file that is needed here"));
        }
        let chain = file.trust.anchor().chain();
        if let Some(known) = session.known_chain()?.filter(|known| *known != chain) {
            return Err(Failure::new(
                Exit::OtherChain,
                format!(
                    "{} is of chain {chain}, and {known} was expected",
                    path.display()
                ),
            )
            .advise("check --chain and the profile; if they are right, this file is not yours"));
        }
        let name = session.org(None).ok().filter(|name| name.id() == file.org);
        Ok(Self {
            org: file.org,
            name,
            trust: file.trust,
            servers: file.servers,
        })
    }

    pub(super) fn chain(&self) -> ChainId {
        self.trust.anchor().chain()
    }

    /// The organisation's name, or its ID where the name is not known.
    pub(super) fn org_name(&self) -> String {
        self.name
            .map_or_else(|| self.org.to_string(), |name| name.to_string())
    }

    pub(super) fn addresses(&self) -> Vec<String> {
        self.servers
            .iter()
            .map(|address| address.url.to_string())
            .collect()
    }

    /// A device's file, or the organisation's where there is no key.
    pub(super) fn file(
        &self,
        key_origin: KeyOrigin,
        serial: &str,
        key: Option<FactoryKey>,
    ) -> Result<Provisioning> {
        Ok(Provisioning {
            trust: self.trust.clone(),
            org: self.org,
            key_origin,
            serial: ArrayString::from(serial).map_err(|_| {
                Failure::new(Exit::Internal, format!("the serial {serial} is too long"))
            })?,
            servers: self.servers.clone(),
            key,
        })
    }
}

/// A server key, as the ledger proves it: active, for this purpose, of this organisation.
fn server(connection: &Connection, handle: &Handle, org: &OrgId) -> Result<Server> {
    let record = connection.known_record(handle)?;
    let refused = |why: &str| {
        Failure::new(
            Exit::Negative,
            format!("the server's key {handle} {why}: no device would accept it"),
        )
        .advise("an officer grants a server its key: kusabi org grant KEYFILE")
    };
    if record.purpose() != Purpose::Ps {
        return Err(refused("is no server key"));
    }
    if record.owner() != *org {
        return Err(refused("belongs to another organisation"));
    }
    if !record.is_active() {
        return Err(refused("has ended"));
    }
    Ok(Server {
        handle: *handle,
        keys: *record.keys(),
    })
}

/// An address as devices take it.
fn url(address: &str) -> Result<ArrayString<URL_LEN_MAX>> {
    let wrong = |why: &str| {
        Failure::new(Exit::Usage, format!("--address {address}: {why}"))
            .advise("like http://server.example:7041")
    };
    let address = address.trim_end_matches('/');
    let rest = ["http://", "https://"]
        .iter()
        .find_map(|scheme| address.strip_prefix(scheme));
    if rest.is_none_or(str::is_empty) {
        return Err(wrong(
            "it begins with http:// or https://, and a host follows",
        ));
    }
    if !address.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(wrong("it is of visible ASCII characters"));
    }
    ArrayString::from(address).map_err(|_| wrong("it is longer than a device keeps"))
}
