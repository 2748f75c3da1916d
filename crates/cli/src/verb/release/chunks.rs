//! Index and pack of a payload, beside the manifest that names them.

use std::{
    fs::File,
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

/// Cuts and compresses a payload into `STEM.pack`, and says in `STEM.chunks` what lies where; `None` where it does not pay.
pub(super) fn pack(
    payload: &Path,
    content: &Content,
    stem: &Path,
    session: &Session,
) -> Result<Option<(Content, Packed)>> {
    let Some(sizes) = kusabi_chunks::sizes(content.size()) else {
        return Ok(None);
    };
    let with = |ending: &str| {
        let mut name = stem.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    let (index_path, pack_path) = (with(".chunks"), with(".pack"));
    let new = with(".pack.new");
    let io = |path: &Path, error: &std::io::Error| Failure::io("write", path, error);
    let from = File::open(payload).map_err(|error| Failure::io("read", payload, &error))?;
    let to = File::create(&new).map_err(|error| io(&new, &error))?;
    let bar = progress::bytes(session.output(), "Packing", content.size());
    let mut out = BufWriter::with_capacity(1 << 20, to);
    let made = kusabi_chunks::pack(from, &sizes, &mut out, |more| bar.inc(more));
    bar.finish_and_clear();
    let kept = made.map_err(|error| match error {
        PackError::Io(error) => io(&new, &error),
        error => Failure::new(Exit::File, format!("{}: {error}", payload.display())).advise(
            "--no-chunks leaves the release without a chunk index; devices fetch all of it",
        ),
    });
    let kept = kept.and_then(|made| {
        let written = out.flush().and_then(|()| out.get_ref().sync_all());
        written.map(|()| made).map_err(|error| io(&new, &error))
    });
    let (index, head) = match kept {
        Ok(made) => made,
        Err(failure) => {
            let _ = std::fs::remove_file(&new);
            return Err(failure);
        }
    };
    if check_chunk_index(&index, content.size(), |_| {}).is_err() {
        let _ = std::fs::remove_file(&new);
        return Err(Failure::new(
            Exit::File,
            format!("{} was changed while it was packed", payload.display()),
        )
        .advise("run the same command again"));
    }
    let itself = head.pack() == content;
    let placed = match itself {
        true => std::fs::remove_file(&new),
        false => std::fs::rename(&new, &pack_path),
    };
    placed.map_err(|error| io(&pack_path, &error))?;
    files::replace(&index_path, &index, Mode::Public)?;
    let named = Content::new(index.len() as u64, Digest::of(&index))
        .map_err(|why| Failure::new(Exit::Internal, why.to_string()))?;
    let packed = Packed {
        index: index_path,
        pack: (!itself).then_some(pack_path),
        chunks: head.count(),
        pack_bytes: head.pack().size(),
    };
    Ok(Some((named, packed)))
}
