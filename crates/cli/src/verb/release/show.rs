//! `kusabi release show`: what a release's file says, and what the ledger proves of it.

use std::path::PathBuf;

use kusabi_core::{release::CHUNK_RECORD_BYTES, row::ReleaseStatus};
use serde::Serialize;

use super::{listed, manifest, read};
use crate::{
    connection::Connection,
    exit::Exit,
    failure::Result,
    page::{Answer, Page, grouped},
    session::Session,
};

/// Show a release's file: what it is made of, who signed it, and whether the ledger lists it
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A manifest, or a signed release
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Do not ask the ledger
    #[arg(long)]
    offline: bool,
}

#[derive(Serialize)]
struct Shown {
    name: String,
    version: String,
    channel: String,
    counter: u64,
    minimum_counter: u64,
    digest: String,
    organisation: String,
    types: Vec<String>,
    payloads: Vec<Payload>,
    signers: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ledger: Option<&'static str>,
}

#[derive(Serialize)]
struct Payload {
    name: String,
    format: String,
    size: u64,
    digest: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    chunk_index: Option<ChunkIndex>,
}

#[derive(Serialize)]
struct ChunkIndex {
    size: u64,
    digest: String,
    chunks: u64,
}

impl Answer for Shown {
    fn page(&self, page: &mut Page) {
        let rest = format!("{} {}", self.name, self.version);
        match self.ledger {
            Some("published") => page.good("Published", &rest),
            Some("withdrawn") => page.bad("Withdrawn", &rest),
            Some(_) => page.careful("Not published", &rest),
            None => page.careful("Release", &rest),
        };
        page.field("digest", &*self.digest)
            .field("organisation", &*self.organisation)
            .field("channel", &*self.channel)
            .field(
                "counter",
                format!("{}, devices keep {}", self.counter, self.minimum_counter),
            )
            .field("for", self.types.join(", "));
        for payload in &self.payloads {
            let chunks = payload.chunk_index.as_ref().map_or_else(
                || String::from("no chunk index"),
                |index| format!("{} chunks", grouped(index.chunks)),
            );
            page.field(
                "payload",
                format!(
                    "{}, {}, {} bytes, {chunks}",
                    payload.name,
                    payload.format,
                    grouped(payload.size)
                ),
            );
        }
        if self.signers.is_empty() {
            page.field("signed by", "nobody yet");
        } else {
            page.field("signed by", self.signers.join("\n"));
        }
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<Exit> {
    let draft = read(&args.file)?;
    let manifest = manifest(draft.manifest())?;
    let ledger = if args.offline {
        None
    } else {
        let connection = Connection::open(session)?;
        Some(
            match listed(&connection, &manifest.org(), &manifest.digest())?.map(|row| row.status())
            {
                Some(ReleaseStatus::Published) => "published",
                Some(ReleaseStatus::Withdrawn) => "withdrawn",
                None => "unlisted",
            },
        )
    };
    session.output().say(&Shown {
        name: manifest.name().to_string(),
        version: manifest.version().to_string(),
        channel: manifest.channel().to_string(),
        counter: manifest.counter(),
        minimum_counter: manifest.minimum_counter(),
        digest: manifest.digest().to_string(),
        organisation: manifest.org().to_string(),
        types: manifest
            .targets()
            .map(|target| target.device_type.to_string())
            .collect(),
        payloads: manifest
            .payloads()
            .map(|payload| Payload {
                name: payload.name.to_string(),
                format: payload.format.to_string(),
                size: payload.content.size(),
                digest: payload.content.digest().to_string(),
                chunk_index: payload.chunk_index.map(|index| ChunkIndex {
                    size: index.size(),
                    digest: index.digest().to_string(),
                    chunks: index.size() / CHUNK_RECORD_BYTES as u64,
                }),
            })
            .collect(),
        signers: draft
            .signatures()
            .iter()
            .map(|signed| signed.signer.to_string())
            .collect(),
        ledger,
    })?;
    Ok(if ledger == Some("withdrawn") {
        Exit::Negative
    } else {
        Exit::Ok
    })
}
