//! Backup files: written whole or not at all, from a running node or from a stopped one's directory.
//!
//! What a node sends is checked as it comes, from the genesis on and up to a block that was verified by itself: a copy that the
//! network cut short or changed is noticed now, and not when the disk is gone. It stays as `FILE.partial`, and the next run goes
//! on with it.

use std::{
    cell::Cell,
    fs::File,
    io::{self, BufReader, BufWriter, Read, Seek as _, SeekFrom, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use kusabi_core::{
    header::Header,
    id::{ChainId, Height},
};
use kusabi_node::{
    backup::{BackupError, BackupReader, BackupWriter, export_stopped},
    directory::Directory,
    engine::genesis_header,
    handle::FinalBlock,
    history::History,
    outline::Outline,
};
use rustix::fs::OFlags;

use crate::{
    connection::Connection,
    exit::Exit,
    failure::{Failure, Result},
    files,
    founding::Places,
    page::Output,
    progress,
    verb::node::directory_failure,
};

/// How far above the newest block one with a certificate of its own may lie: a proof has at most eight headers that link to it.
const CERTIFIED_WITHIN: u64 = 8;

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
    /// Opens `path.partial`, which an earlier run may have begun. It is this program's own file, never a link to another one.
    fn open(path: &Path) -> Result<Self> {
        if path.symlink_metadata().is_ok() {
            return Err(
                Failure::new(Exit::File, format!("{} is there already", path.display()))
                    .advise("choose another name: a backup is never overwritten"),
            );
        }
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(&partial)
            .map_err(|error| Failure::io("created", &partial, &error))?;
        let ours = file.metadata().is_ok_and(|metadata| metadata.is_file());
        if !ours {
            return Err(
                Failure::new(Exit::File, format!("{} is no file", partial.display()))
                    .advise("choose another name"),
            );
        }
        file.try_lock().map_err(|_| {
            Failure::new(
                Exit::InUse,
                format!("{} is being written by another process", partial.display()),
            )
            .advise("wait until that one has ended, or choose another name")
        })?;
        Ok(Self {
            path: path.to_owned(),
            partial,
            file,
        })
    }

    /// Whether an earlier run has written the beginning of a backup of this ledger.
    ///
    /// Anything else that stands in the file is somebody's, and is left alone.
    fn begun(&self, genesis: &[u8]) -> Result<bool> {
        let head = BackupWriter::new(Vec::new(), genesis)
            .and_then(BackupWriter::finish)
            .map_err(|why| failure(&self.partial, &why))?;
        let mut start = Vec::with_capacity(head.len());
        let mut file = &self.file;
        file.take(head.len() as u64)
            .read_to_end(&mut start)
            .and_then(|_| file.rewind())
            .map_err(|error| Failure::io("read", &self.partial, &error))?;
        if !head.starts_with(&start) {
            return Err(Failure::new(
                Exit::File,
                format!(
                    "{} is not an unfinished backup of this ledger",
                    self.partial.display()
                ),
            )
            .advise("move it away, or choose another name"));
        }
        Ok(start.len() == head.len())
    }

    /// Cuts what an earlier run has written after `length` bytes, and goes on there.
    fn truncate(&mut self, length: u64) -> Result<()> {
        self.file
            .set_len(length)
            .and_then(|()| self.file.seek(SeekFrom::Start(length)))
            .map(drop)
            .map_err(|error| Failure::io("written", &self.partial, &error))
    }

    fn finish(self) -> Result<()> {
        self.file
            .sync_all()
            .map_err(|error| Failure::io("written", &self.path, &error))?;
        files::rename_new(&self.partial, &self.path)
    }
}

/// Writes the blocks of a stopped node.
pub(crate) fn from_directory(data: &Path, to: &Path) -> Result<()> {
    let directory =
        Directory::open(&Places::new(data).node()).map_err(|why| directory_failure(&why))?;
    let mut unfinished = Unfinished::open(to)?;
    unfinished.begun(directory.outline().document())?;
    unfinished.truncate(0)?;
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

/// Writes the blocks of a running node up to its newest, each checked. Says which block that is.
pub(crate) fn from_ledger(connection: &Connection, to: &Path, output: Output) -> Result<Header> {
    let genesis = connection.genesis()?;
    let newest = connection.newest()?;
    let (newest, newest_hash) = (newest.header(), newest.hash());
    let jumps = connection.jumps()?;
    let mut unfinished = Unfinished::open(to)?;
    let first = fetch(connection, Height::new(1).unwrap_or(Height::MAX))?;
    let opening = first.transactions.first().cloned().unwrap_or_default();
    let outline = Outline::new(genesis.clone().into(), opening).map_err(|why| cut(&why))?;
    let genesis_header = genesis_header(&outline).map_err(|why| cut(&why))?;
    let mut history = History::new(outline, genesis_header);

    let bar = progress::bar(output, "Copying blocks", newest.height.get());
    let length = resume(&unfinished, &genesis, newest.height, &mut history)?;
    unfinished.truncate(length)?;
    let failed = |why: BackupError| failure(&unfinished.partial, &why);
    let out = BufWriter::new(&unfinished.file);
    let mut writer = if length == 0 {
        BackupWriter::new(out, &genesis).map_err(failed)?
    } else {
        BackupWriter::resume(out)
    };
    let mut met = false;
    let end = newest.height.get() + CERTIFIED_WITHIN;
    loop {
        let (last, hash) = history.last();
        if last.height == newest.height {
            if hash != newest_hash {
                return Err(cut(&"its newest block is not the one that was verified"));
            }
            met = true;
        }
        // The newest block itself may be certified by one that follows it.
        if met && history.finish().is_ok() {
            break;
        }
        let next = after(last.height, &jumps)
            .filter(|next| next.get() <= end)
            .ok_or_else(|| cut(&"its blocks lead past the newest one that was verified"))?;
        let block = if next.get() == 1 {
            first.clone()
        } else {
            fetch(connection, next)?
        };
        history.push(&block).map_err(|why| cut(&why))?;
        writer.block(&block).map_err(failed)?;
        bar.set_position(next.get());
    }
    bar.finish_and_clear();
    let mut out = writer.finish().map_err(failed)?;
    out.flush()
        .map_err(|error| Failure::io("written", to, &error))?;
    drop(out);
    unfinished.finish()?;
    Ok(*history.last().0)
}

/// The height that follows in this chain: the next one, or where the last recovery from that block went on.
fn after(height: Height, jumps: &[(Height, Height)]) -> Option<Height> {
    jumps
        .iter()
        .rev()
        .find(|(parent, _)| *parent == height)
        .map_or_else(|| height.next(), |(_, from)| Some(*from))
}

fn fetch(connection: &Connection, height: Height) -> Result<FinalBlock> {
    let block = connection
        .block(height)?
        .ok_or_else(|| cut(&format!("it has no block {height}")))?;
    let header = Header::decode(&block.header)
        .map_err(|why| cut(&format!("its block {height} cannot be read: {why}")))?;
    Ok(FinalBlock {
        hash: header.hash(connection.chain()),
        header,
        checkpoint: block.checkpoint,
        transactions: block.transactions,
    })
}

/// What the node sends is not the ledger's history, or not all of it.
fn cut(why: &dyn std::fmt::Display) -> Failure {
    Failure::new(
        Exit::Unproven,
        format!("the node's blocks are not the ledger's whole history: {why}"),
    )
    .advise(
        "nothing was completed: run the same command again, it goes on where this one ended; if it fails again, ask another \
         node with --ledger URL",
    )
}

/// Counts what was read.
struct Counting<'a, R> {
    input: R,
    count: &'a Cell<u64>,
}

impl<R: Read> Read for Counting<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.count.set(self.count.get() + read as u64);
        Ok(read)
    }
}

/// Follows the blocks below `end` that an earlier run has written, as far as they are good: the length of that part, 0 for none.
fn resume(
    unfinished: &Unfinished,
    genesis: &[u8],
    end: Height,
    history: &mut History,
) -> Result<u64> {
    // A run that ended in its first write has nothing to go on with.
    if !unfinished.begun(genesis)? {
        return Ok(0);
    }
    let count = Cell::new(0);
    let reader = BackupReader::new(Counting {
        input: BufReader::new(&unfinished.file),
        count: &count,
    })
    .map_err(|why| failure(&unfinished.partial, &why))?;
    let mut good = count.get();
    for block in reader {
        let Ok(block) = block else { break };
        if block.header.height >= end || history.push(&block).is_err() {
            break;
        }
        good = count.get();
    }
    Ok(good)
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

/// The backup of one ledger where another one is meant.
pub(crate) fn of_another_chain(path: &Path, found: &ChainId, expected: &ChainId) -> Failure {
    Failure::new(
        Exit::OtherChain,
        format!(
            "{} is of the ledger {found}, not of {expected}",
            path.display()
        ),
    )
    .advise("name the right file; if that ledger is meant, name it with --chain")
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
        BackupError::OtherChain { expected, found } => of_another_chain(path, found, expected),
        BackupError::Outline(_) => {
            Failure::new(Exit::Genesis, format!("{}: {why}", path.display())).advise(damaged)
        }
        BackupError::Engine(error) => {
            Failure::new(Exit::Damaged, format!("{}: {why}", path.display()))
                .advise(error.advice(false))
        }
        BackupError::Node(_) => Failure::new(Exit::Unavailable, why.to_string()),
        why => Failure::new(Exit::Damaged, format!("{}: {why}", path.display())).advise(damaged),
    }
}
