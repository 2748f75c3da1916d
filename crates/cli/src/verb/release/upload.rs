//! `kusabi release upload`: hands a published release to a server.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use kusabi_api::{Hex, admin::Content as Wanted};
use kusabi_core::{
    id::Digest,
    release::{CHUNK_INDEX_HEAD_BYTES, ChunkIndexHead, Content, Manifest},
};
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
    let mut contents = Contents::new(&manifest, places(&args.file, &args.from));
    let uploaded = upload(&signed, &mut contents, session)?;
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

/// Where the contents of a release lie on this machine.
pub(super) struct Contents<'a> {
    manifest: &'a Manifest<'a>,
    places: Vec<PathBuf>,
    /// What was found: it is not hashed a second time.
    found: BTreeMap<Digest, PathBuf>,
}

impl<'a> Contents<'a> {
    /// They are looked for in these files, and in these folders.
    pub(super) const fn new(manifest: &'a Manifest<'a>, places: Vec<PathBuf>) -> Self {
        Self {
            manifest,
            places,
            found: BTreeMap::new(),
        }
    }

    /// Finds all that the manifest names, and the packs that its chunk indices name.
    pub(super) fn find_all(&mut self, session: &Session) -> Result<()> {
        for payload in self.manifest.payloads() {
            self.find(&payload.content, session)?;
            let Some(index) = payload.chunk_index else {
                continue;
            };
            let path = self.find(&index, session)?;
            let pack = pack_of(&path, &index, &payload.content)?;
            self.find(&pack, session)?;
        }
        for inventory in self
            .manifest
            .targets()
            .filter_map(|target| target.inventory)
        {
            self.find(&inventory, session)?;
        }
        for document in self.manifest.documents() {
            self.find(&document.content, session)?;
        }
        Ok(())
    }

    /// The file with this content: of its size, then of its digest.
    fn find(&mut self, content: &Content, session: &Session) -> Result<PathBuf> {
        let digest = content.digest();
        if let Some(path) = self.found.get(&digest) {
            return Ok(path.clone());
        }
        for path in self.places.iter().flat_map(|place| candidates(place)) {
            let sized = path
                .metadata()
                .is_ok_and(|metadata| metadata.is_file() && metadata.len() == content.size());
            if sized && digest_of_file(&path, session.output())? == digest {
                self.found.insert(digest, path.clone());
                return Ok(path);
            }
        }
        let mut payloads = self.manifest.payloads();
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
        let looked: Vec<_> = self
            .places
            .iter()
            .map(|place| place.display().to_string())
            .collect();
        Err(Failure::new(
            Exit::File,
            format!(
                "{name} with {} bytes and the digest {digest} is not in {}",
                grouped(content.size()),
                looked.join(", ")
            ),
        )
        .advise("name its file or folder with --from; a file that was changed since the manifest was made is another one"))
    }
}

/// The pack that a chunk index names.
fn pack_of(path: &Path, index: &Content, payload: &Content) -> Result<Content> {
    let mut head = [0; CHUNK_INDEX_HEAD_BYTES];
    File::open(path)
        .and_then(|mut file| file.read_exact(&mut head))
        .map_err(|error| Failure::io("read", path, &error))?;
    let head = ChunkIndexHead::decode(&head, index.size(), payload.size())
        .map_err(|why| Failure::new(Exit::File, format!("{}: {why}", path.display())))?;
    Ok(*head.pack())
}

/// Hands in what the server lacks.
pub(super) fn upload(
    signed: &[u8],
    contents: &mut Contents<'_>,
    session: &Session,
) -> Result<Uploaded> {
    let fleet = Fleet::open(session)?;
    let digest = Hex(contents.manifest.digest().to_bytes());
    let signed = Bytes::copy_from_slice(signed);
    let mut release = fleet.ask(fleet.client().upload_release(digest, signed))?;
    let mut sent = 0;
    // Once more: the server knows a pack when it has the index that names it.
    for _ in 0..2 {
        let missing: Vec<Wanted> = release
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
            .map(|wanted| {
                let content = Content::new(wanted.size, Digest::new(wanted.digest.0))
                    .map_err(|why| Failure::new(Exit::Internal, why.to_string()))?;
                contents.find(&content, session)
            })
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
fn send(fleet: &Fleet, content: &Wanted, path: &Path, session: &Session) -> Result<u64> {
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
