//! `kusabi release upload`: hands a published release to a server.

use std::{
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use kusabi_api::{Hex, admin::Content};
use kusabi_core::{id::Digest, release::Manifest};
use serde::Serialize;

use super::{manifest, read, read_signed};
use crate::{
    digest::digest_of_file,
    exit::Exit,
    failure::{Failure, Result},
    fleet::Fleet,
    page::{Answer, Page, grouped},
    progress,
    session::Session,
};

/// Bytes that are sent at a time: what is repeated at most when the connection breaks.
const PIECE: usize = 4 << 20;

/// Hand a published release to the server: its manifest, and the contents that it lacks
///
/// Goes on where it broke off.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The signed file that `kusabi release sign` made
    #[arg(value_name = "FILE.release")]
    file: PathBuf,
    /// Where the payloads lie: files, or folders to look in [default: the folder of FILE.release]
    #[arg(long, value_name = "PATH")]
    from: Vec<PathBuf>,
}

/// What a server has got.
#[derive(Serialize)]
pub(super) struct Uploaded {
    server: String,
    contents: usize,
    bytes: u64,
}

impl Uploaded {
    pub(super) fn fields(&self, page: &mut Page) {
        page.field("server", &*self.server).field(
            "uploaded",
            format!(
                "{} bytes; the server has all {} contents",
                grouped(self.bytes),
                self.contents
            ),
        );
    }
}

#[derive(Serialize)]
struct Shown {
    file: PathBuf,
    #[serde(flatten)]
    uploaded: Uploaded,
}

impl Answer for Shown {
    fn page(&self, page: &mut Page) {
        page.good("Uploaded", &self.file.display().to_string());
        self.uploaded.fields(page);
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<Exit> {
    let signed = read_signed(&args.file)?;
    let draft = read(&args.file)?;
    let manifest = manifest(draft.manifest())?;
    let places = places(&args.file, &args.from);
    let uploaded = upload(&signed, &manifest, &places, session)?;
    session.output().say(&Shown {
        file: args.file.clone(),
        uploaded,
    })?;
    Ok(Exit::Ok)
}

/// Where contents are looked for.
pub(super) fn places(file: &Path, named: &[PathBuf]) -> Vec<PathBuf> {
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // Expected inventories lie beside the release, also where the payloads lie elsewhere.
    let mut places = named.to_vec();
    places.push(folder.to_owned());
    places
}

/// Hands in what the server lacks.
pub(super) fn upload(
    signed: &[u8],
    manifest: &Manifest<'_>,
    places: &[PathBuf],
    session: &Session,
) -> Result<Uploaded> {
    let fleet = Fleet::open(session)?;
    let digest = Hex(manifest.digest().to_bytes());
    let signed = Bytes::copy_from_slice(signed);
    let mut release = fleet.ask(fleet.client().upload_release(digest, signed))?;
    let mut sent = 0;
    // Once more: the server knows a pack when it has the index that names it.
    for _ in 0..2 {
        let missing: Vec<Content> = release
            .contents
            .iter()
            .copied()
            .filter(|content| !content.complete)
            .collect();
        if missing.is_empty() {
            break;
        }
        // All are found before the first is sent.
        let found = missing
            .iter()
            .map(|content| find(content, manifest, places, session))
            .collect::<Result<Vec<_>>>()?;
        for (content, path) in missing.iter().zip(&found) {
            sent += send(&fleet, content, path, session)?;
        }
        release = fleet.ask(fleet.client().release(digest))?;
    }
    Ok(Uploaded {
        server: fleet.address().to_owned(),
        contents: release.contents.len(),
        bytes: sent,
    })
}

/// The file with this content: of its size, then of its digest.
fn find(
    content: &Content,
    manifest: &Manifest<'_>,
    places: &[PathBuf],
    session: &Session,
) -> Result<PathBuf> {
    let digest = Digest::new(content.digest.0);
    for path in places.iter().flat_map(|place| candidates(place)) {
        let sized = path
            .metadata()
            .is_ok_and(|metadata| metadata.is_file() && metadata.len() == content.size);
        if sized && digest_of_file(&path, session.output())? == digest {
            return Ok(path);
        }
    }
    let mut payloads = manifest.payloads();
    let its = payloads.find_map(|payload| {
        let index = payload.chunk_index.map(|index| index.digest());
        if payload.content.digest() == digest {
            Some(format!("the payload {}", payload.name))
        } else if index == Some(digest) {
            Some(format!("the chunk index of {}", payload.name))
        } else {
            None
        }
    });
    let name = its.unwrap_or_else(|| String::from("a content (inventory, document or pack)"));
    let looked: Vec<_> = places
        .iter()
        .map(|place| place.display().to_string())
        .collect();
    Err(Failure::new(
        Exit::File,
        format!(
            "{name} with {} bytes and the digest {digest} is not in {}",
            grouped(content.size),
            looked.join(", ")
        ),
    )
    .advise("name its file or folder with --from; a file that was changed since the manifest was made is another one"))
}

/// A file itself, or the files in a folder.
fn candidates(place: &Path) -> Vec<PathBuf> {
    let Ok(entries) = place.read_dir() else {
        return vec![place.to_owned()];
    };
    let mut paths: Vec<_> = entries
        .filter_map(|entry| entry.ok())
        .map(|entry| entry.path())
        .collect();
    paths.sort();
    paths
}

/// Sends a content from where the server has come; how many bytes that were.
fn send(fleet: &Fleet, content: &Content, path: &Path, session: &Session) -> Result<u64> {
    let failed = |error: std::io::Error| Failure::io("read", path, &error);
    let mut file = File::open(path).map_err(failed)?;
    let mut there = *content;
    let mut sent = 0;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let bar = progress::bytes(session.output(), &name, content.size);
    while !there.complete {
        bar.set_position(there.received);
        file.seek(SeekFrom::Start(there.received)).map_err(failed)?;
        let mut piece = Vec::with_capacity(PIECE);
        (&mut file)
            .take(PIECE as u64)
            .read_to_end(&mut piece)
            .map_err(failed)?;
        let (offset, length) = (there.received, piece.len() as u64);
        there = fleet.ask(
            fleet
                .client()
                .upload_piece(content.digest, offset, piece.into()),
        )?;
        // A server that does not come on, though bytes came, would be asked for ever.
        if !there.complete && there.received <= offset {
            return Err(Failure::new(
                Exit::File,
                format!(
                    "the server does not take {} from byte {} on: was the file changed meanwhile?",
                    path.display(),
                    grouped(offset)
                ),
            )
            .advise("run the same command again; it checks the files first"));
        }
        sent += length;
    }
    bar.finish_and_clear();
    Ok(sent)
}
