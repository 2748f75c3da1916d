//! Backup files: written whole or not at all, from a running node or from a stopped one's directory.

use std::{
    fs::File,
    io::{BufReader, BufWriter, Write as _},
    path::{Path, PathBuf},
};

use kusabi_core::{
    header::Header,
    id::{ChainId, Height},
};
use kusabi_node::{
    backup::{BackupError, BackupReader, BackupWriter, export_stopped},
    directory::Directory,
    handle::FinalBlock,
    outline::Outline,
};

use crate::{
    connection::Connection,
    exit::Exit,
    failure::{Failure, Result},
    founding::Places,
    page::Output,
    progress,
    verb::node::directory_failure,
};

/// What a backup file holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    pub(crate) chain: ChainId,
    pub(crate) blocks: u64,
    pub(crate) last: Header,
}

/// A backup that is being written under another name.
struct Unfinished {
    path: PathBuf,
    partial: PathBuf,
    file: File,
}

impl Unfinished {
    fn create(path: &Path) -> Result<Self> {
        if path.exists() {
            return Err(
                Failure::new(Exit::File, format!("{} is there already", path.display()))
                    .advise("choose another name: a backup is never overwritten"),
            );
        }
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&partial)
            .map_err(|error| Failure::io("created", &partial, &error))?;
        Ok(Self {
            path: path.to_owned(),
            partial,
            file,
        })
    }

    fn finish(self) -> Result<()> {
        self.file
            .sync_all()
            .and_then(|()| std::fs::rename(&self.partial, &self.path))
            .map_err(|error| Failure::io("written", &self.path, &error))
    }
}

/// Writes the blocks of a stopped node.
pub(crate) fn from_directory(data: &Path, to: &Path) -> Result<()> {
    let directory =
        Directory::open(&Places::new(data).node()).map_err(|why| directory_failure(&why))?;
    let unfinished = Unfinished::create(to)?;
    let out = BufWriter::new(&unfinished.file);
    let failed = |why: BackupError| failure(&unfinished.partial, &why);
    let mut writer = BackupWriter::new(out, directory.outline().document()).map_err(failed)?;
    export_stopped(&directory, &mut writer).map_err(failed)?;
    let mut out = writer.finish().map_err(failed)?;
    out.flush()
        .map_err(|error| Failure::io("written", to, &error))?;
    drop(out);
    unfinished.finish()
}

/// Writes the blocks of a running node up to its newest, as they come: who restores or audits them checks each.
pub(crate) fn from_ledger(connection: &Connection, to: &Path, output: Output) -> Result<()> {
    let genesis = connection.genesis()?;
    let newest = connection.newest()?;
    let steps = connection.walk()?;
    let unfinished = Unfinished::create(to)?;
    let failed = |why: BackupError| failure(&unfinished.partial, &why);
    let mut writer =
        BackupWriter::new(BufWriter::new(&unfinished.file), &genesis).map_err(failed)?;
    let bar = progress::bar(output, "Copying blocks", newest.get());
    let mut next = Height::ZERO.next();
    while let Some(height) = next.filter(|height| *height <= newest) {
        if let Some(block) = connection.block(height)? {
            writer
                .block(&final_block(connection.chain(), block)?)
                .map_err(failed)?;
            bar.set_position(height.get());
            next = height.next();
        } else {
            // A recovery jumped over this height; it says where it went on (spec/proof.md, "Recovery").
            next = steps
                .iter()
                .filter_map(|step| step.bytes.get(1..9)?.try_into().ok())
                .filter_map(|from| Height::new(u64::from_be_bytes(from)).ok())
                .filter(|from| *from > height)
                .min();
        }
    }
    bar.finish_and_clear();
    let mut out = writer.finish().map_err(failed)?;
    out.flush()
        .map_err(|error| Failure::io("written", to, &error))?;
    drop(out);
    unfinished.finish()
}

fn final_block(chain: &ChainId, block: kusabi_api::Block) -> Result<FinalBlock> {
    let header = Header::decode(&block.header).map_err(|why| {
        Failure::new(
            Exit::Unproven,
            format!("the node's block cannot be read: {why}"),
        )
    })?;
    Ok(FinalBlock {
        hash: header.hash(chain),
        header,
        checkpoint: block.checkpoint,
        transactions: block.transactions,
    })
}

/// Opens a backup file.
pub(crate) fn open(path: &Path) -> Result<BackupReader<BufReader<File>>> {
    let file = File::open(path).map_err(|error| Failure::io("read", path, &error))?;
    BackupReader::new(BufReader::new(file)).map_err(|why| failure(path, &why))
}

/// Reads a backup file once, for what it holds. Only its form is checked.
pub(crate) fn extent(path: &Path) -> Result<Extent> {
    let reader = open(path)?;
    let chain = ChainId::of(reader.document());
    let mut extent = None;
    for block in reader {
        let block = block.map_err(|why| failure(path, &why))?;
        let blocks = extent.map_or(0, |extent: Extent| extent.blocks) + 1;
        extent = Some(Extent {
            chain,
            blocks,
            last: block.header,
        });
    }
    extent.ok_or_else(|| failure(path, &BackupError::Empty))
}

/// The outline that a backup begins with.
pub(crate) fn outline(path: &Path) -> Result<Outline> {
    let mut reader = open(path)?;
    let document = reader.document().clone();
    let first = match reader.next() {
        Some(block) => block.map_err(|why| failure(path, &why))?,
        None => return Err(failure(path, &BackupError::Empty)),
    };
    let genesis = first
        .transactions
        .first()
        .cloned()
        .ok_or_else(|| failure(path, &BackupError::Empty))?;
    Outline::new(document, genesis)
        .map_err(|why| Failure::new(Exit::Genesis, format!("{}: {why}", path.display())))
}

/// Why a backup cannot be used.
pub(crate) fn failure(path: &Path, why: &BackupError) -> Failure {
    let damaged = "take an older or another copy; the ledger's nodes have the same blocks";
    match why {
        BackupError::Io(error) => Failure::io("read or written", path, error),
        BackupError::Magic => Failure::new(
            Exit::File,
            format!("{} is not a backup of a ledger", path.display()),
        )
        .advise("`kusabi backup FILE` makes one"),
        BackupError::OtherChain { found, expected } => Failure::new(
            Exit::OtherChain,
            format!(
                "{} is a backup of the ledger {found}, not of {expected}",
                path.display()
            ),
        )
        .advise("name the right file, or the right chain with --chain"),
        BackupError::Outline(_) => {
            Failure::new(Exit::Genesis, format!("{}: {why}", path.display())).advise(damaged)
        }
        BackupError::Node(_) => Failure::new(Exit::Unavailable, why.to_string()),
        why => Failure::new(Exit::Damaged, format!("{}: {why}", path.display())).advise(damaged),
    }
}
