//! The server that the session names: its admin API, with a token from a file.
//!
//! What a server says of devices is its own word, and is shown as that. What it says of keys is looked up on the ledger.

use std::future::Future;

use kusabi_api::{
    Kind, Problem,
    admin::{Device, DeviceDetail, Group, GroupCreate, PAGE_MAX, Page, Text},
    client::{AdminClient, AdminToken, Limits, admin::Devices},
    problem::Retry,
};
use tokio::runtime::Runtime;

use crate::{
    exit::Exit,
    failure::{Failure, Result},
    files,
    keyfile::hex,
    session::Session,
};

/// A token has some 80 bytes.
const TOKEN_LIMIT: u64 = 4_096;

/// A bundle of certificates.
const CA_LIMIT: u64 = 4 << 20;

/// An open way to the server.
pub(crate) struct Fleet {
    runtime: Runtime,
    client: AdminClient,
}

impl Fleet {
    /// Finds the address and the token; nothing is asked yet.
    pub(crate) fn open(session: &Session) -> Result<Self> {
        let address = session.server()?;
        let file = session.token_file()?;
        let token = files::read_secret(&file, TOKEN_LIMIT)?;
        let token = std::str::from_utf8(&token)
            .map_err(|_| Failure::new(Exit::File, format!("{} is not text", file.display())))?;
        let token = AdminToken::parse(token)
            .map_err(|why| Failure::new(Exit::File, format!("{}: {why}", file.display())))?;
        let authorities = session
            .server_ca()?
            .map(|path| files::read(&path, CA_LIMIT))
            .transpose()?;
        let client = AdminClient::new(&address, token, authorities.as_deref(), Limits::default())
            .map_err(|why| Failure::new(Exit::Usage, why.to_string()))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::new(Exit::Internal, format!("no runtime: {error}")))?;
        Ok(Self { runtime, client })
    }

    /// The client, for questions that are asked at once.
    pub(crate) const fn client(&self) -> &AdminClient {
        &self.client
    }

    /// The address of the server.
    pub(crate) fn address(&self) -> &str {
        self.client.address()
    }

    /// Waits for an answer.
    pub(crate) fn ask<T>(&self, answer: impl Future<Output = Result<T, Problem>>) -> Result<T> {
        self.wait(answer).map_err(|why| refusal(&why))
    }

    /// The same, for those who look at the problem themselves.
    pub(crate) fn wait<T>(&self, answer: impl Future<Output = T>) -> T {
        self.runtime.block_on(answer)
    }

    /// Items of a list up to `most`, and whether there are more.
    pub(crate) fn list<T>(
        &self,
        most: usize,
        page: impl AsyncFn(Option<String>, u16) -> Result<Page<T>, Problem>,
    ) -> Result<(Vec<T>, bool)> {
        let mut items = Vec::new();
        let mut cursor = None;
        loop {
            let wanted = u16::try_from(most - items.len()).map_or(PAGE_MAX, |n| n.min(PAGE_MAX));
            let page = self.ask(page(cursor.take(), wanted))?;
            let came = page.items.len();
            items.extend(page.items);
            let more = page.next.is_some() && came > 0;
            if !more || items.len() >= most {
                items.truncate(most);
                return Ok((items, more));
            }
            cursor = page.next;
        }
    }

    /// The device that a person means: by its ID, or by its serial.
    pub(crate) fn device(&self, named: &str) -> Result<DeviceDetail> {
        let id = self.device_id(named)?;
        self.ask(self.client.device(&id))
    }

    /// The ID of the device that a person means.
    pub(crate) fn device_id(&self, named: &str) -> Result<String> {
        if named.starts_with("dev_") {
            return Ok(named.to_owned());
        }
        let device = self.with_serial(&text("the serial", named)?)?;
        device.map(|device| device.id).ok_or_else(|| {
            Failure::new(
                Exit::Negative,
                format!("the server knows no device with the serial {named}"),
            )
            .advise("a device is named by its serial or by its ID, dev_…: kusabi device list")
        })
    }

    /// The device with a serial, if there is one.
    pub(crate) fn with_serial(&self, serial: &Text) -> Result<Option<Device>> {
        let which = Devices {
            serial: Some(serial.clone()),
            ..Devices::default()
        };
        let page = self.ask(self.client.devices(&which, None, 1))?;
        Ok(page.items.into_iter().next())
    }

    /// The group that a person means: by its ID, or by its name.
    pub(crate) fn group(&self, named: &str) -> Result<Group> {
        self.ask(self.client.groups())?
            .into_iter()
            .find(|group| group.id == named || group.name.as_str() == named)
            .ok_or_else(|| {
                Failure::new(Exit::Negative, format!("the server knows no group {named}"))
            })
    }

    /// The group with this name, made if there is none.
    pub(crate) fn group_made(&self, groups: &mut Vec<Group>, name: &Text) -> Result<String> {
        if let Some(group) = groups.iter().find(|group| group.name == *name) {
            return Ok(group.id.clone());
        }
        let create = GroupCreate { name: name.clone() };
        match self.wait(self.client.create_group(&create)) {
            Ok(group) => {
                let id = group.id.clone();
                groups.push(group);
                Ok(id)
            }
            // Somebody else made it meanwhile, or the answer of a first attempt was lost.
            Err(problem) if problem.kind == Kind::Exists => {
                *groups = self.ask(self.client.groups())?;
                let found = groups.iter().find(|group| group.name == *name);
                found
                    .map(|group| group.id.clone())
                    .ok_or_else(|| refusal(&problem))
            }
            Err(problem) => Err(refusal(&problem)),
        }
    }
}

/// A name, a serial, a type as the server takes it.
pub(crate) fn text(what: &str, value: &str) -> Result<Text> {
    Text::new(value).map_err(|why| Failure::new(Exit::Usage, format!("{what} \"{value}\": {why}")))
}

/// A new idempotency key.
pub(crate) fn idempotency_key(session: &Session) -> String {
    use rand_core::Rng as _;
    let mut key = [0; 16];
    session.rng().fill_bytes(&mut key);
    hex(&key)
}

/// Why the server did not do it, with the exit code of each reason.
pub(crate) fn refusal(problem: &Problem) -> Failure {
    let what = problem.to_string();
    match problem.kind {
        Kind::Unauthenticated => Failure::new(
            Exit::Refused,
            "the server does not know the token, or it was revoked",
        )
        .advise("check --token-file; an admin makes another token, and `kusabi up` one for its own machine"),
        Kind::Forbidden => Failure::new(Exit::Refused, format!("the server refused: {what}"))
            .advise("ask an admin for a token with that role"),
        Kind::Unknown => Failure::new(Exit::Negative, what),
        Kind::BadAnswer => Failure::new(Exit::Unproven, what)
            .advise("is there a kusabi server at this address? check --server, and its version"),
        Kind::Unreachable => Failure::new(Exit::Unavailable, what).advise(
            "is the server running? `kusabi up --data DIR`, or `kusabi server run --data DIR`, starts it; --server URL names another",
        ),
        Kind::Internal => Failure::new(Exit::Unavailable, what).advise("the server's log says why"),
        kind if kind.retry() == Retry::Later => Failure::new(Exit::Unavailable, what)
            .advise("run the same command again later: it is safe"),
        _ => Failure::new(Exit::Refused, format!("the server refused: {what}")),
    }
}
