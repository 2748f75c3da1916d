//! Index and pack of a payload, beside the manifest that names them.

use std::{
    fs::{self, File},
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
};

use kusabi_chunks::PackError;
use kusabi_core::{
    id::Digest,
    release::{Content, check_chunk_index},
};
use serde::Serialize;

use crate::{
    exit::Exit,
    failure::{Failure, Result},
    files::{self, Mode},
    page::grouped,
    progress,
    session::Session,
};

/// What was made of a payload.
#[derive(Serialize)]
pub(super) struct Packed {
    index: PathBuf,
    /// `None`: the pack is the payload itself, of which nothing repeats and nothing shrinks.
    pack: Option<PathBuf>,
    chunks: u32,
    pack_bytes: u64,
}

impl Packed {
    pub(super) fn told(&self) -> String {
        let pack = match &self.pack {
            Some(path) => format!("{}, {} bytes", path.display(), grouped(self.pack_bytes)),
            None => String::from("the payload is its own pack"),
        };
        let chunks = grouped(self.chunks.into());
        format!("{}, {chunks} chunks\n{pack}", self.index.display())
    }
}

/// A payload's index and pack, complete and not yet at their places. Dropped, nothing of it stays.
pub(super) struct Packing {
    /// What stands in the manifest.
    content: Content,
    index: Vec<u8>,
    packed: Packed,
    new: New,
}

/// The pack under the name that it is written to. Removed with it, if it is still there.
struct New(PathBuf);

impl Drop for New {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

impl Packing {
    /// The index, as the manifest names it.
    pub(super) const fn content(&self) -> Content {
        self.content
    }

    /// Puts both where they belong.
    pub(super) fn place(self) -> Result<Packed> {
        if let Some(path) = &self.packed.pack {
            fs::rename(&self.new.0, path).map_err(|error| Failure::io("written", path, &error))?;
        }
        files::replace(&self.packed.index, &self.index, Mode::Public)?;
        Ok(self.packed)
    }
}

/// Cuts and compresses a payload for `STEM.pack`, and says for `STEM.chunks` what lies where; `None` where it does not pay.
pub(super) fn pack(
    payload: &Path,
    content: &Content,
    stem: &Path,
    session: &Session,
) -> Result<Option<Packing>> {
    let Some(sizes) = kusabi_chunks::sizes(content.size()) else {
        return Ok(None);
    };
    let with = |ending: &str| {
        let mut name = stem.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    let new = New(with(".pack.new"));
    let io = |error: &std::io::Error| Failure::io("written", &new.0, error);
    let from = File::open(payload).map_err(|error| Failure::io("read", payload, &error))?;
    let to = File::create(&new.0).map_err(|error| io(&error))?;
    let bar = progress::bytes(session.output(), "Packing", content.size());
    let mut out = BufWriter::with_capacity(1 << 20, to);
    let made = kusabi_chunks::pack(from, &sizes, &mut out, |more| bar.inc(more));
    bar.finish_and_clear();
    let (index, head) = made.map_err(|error| match error {
        PackError::Io(error) => io(&error),
        error => Failure::new(Exit::File, format!("{}: {error}", payload.display())).advise(
            "--no-chunks leaves the release without a chunk index; devices fetch all of it",
        ),
    })?;
    out.flush()
        .and_then(|()| out.get_ref().sync_all())
        .map_err(|error| io(&error))?;
    if check_chunk_index(&index, content.size(), |_| {}).is_err() {
        return Err(Failure::new(
            Exit::File,
            format!("{} was changed while it was packed", payload.display()),
        )
        .advise("run the same command again"));
    }
    let named = Content::new(index.len() as u64, Digest::of(&index))
        .map_err(|why| Failure::new(Exit::Internal, why.to_string()))?;
    let itself = head.pack() == content;
    Ok(Some(Packing {
        content: named,
        index,
        packed: Packed {
            index: with(".chunks"),
            pack: (!itself).then(|| with(".pack")),
            chunks: head.count(),
            pack_bytes: head.pack().size(),
        },
        new,
    }))
}
