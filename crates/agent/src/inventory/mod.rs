//! Takes the inventory of configured paths (spec/firmware.md, "Inventory").
//!
//! It walks in the order of the format and hands each component on at once, so that memory holds one directory per level and
//! no more. Symbolic links below a configured path are components and are not followed; sockets, pipes and device nodes are
//! passed over, and none of them can make it wait.
//!
//! It says what the disk holds while it reads. A file that changes meanwhile is taken as it was read.

mod cache;
mod tree;
mod walk;

use std::io;
use std::path::PathBuf;

use kusabi_core::inventory::{InventoryError, RulesError};

pub use cache::HashCache;
pub use tree::{Kind, Live, Node, Stamp, Tree};
pub use walk::{Walk, Walked};

/// What ends a walk before its end: whoever may write below its paths can give it more to read than there are days.
pub struct Bounds<'a> {
    /// Most bytes that are read.
    pub bytes: u64,
    /// Asked with each name and each piece of a file; says why the walk is to end, if it is.
    pub ends: &'a dyn Fn() -> Option<&'static str>,
}

impl Bounds<'_> {
    /// Without an end but the tree's.
    pub const NONE: Self = Self {
        bytes: u64::MAX,
        ends: &|| None,
    };
}

impl std::fmt::Debug for Bounds<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Bounds");
        shown.field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// Why no inventory was taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WalkError {
    /// A file or directory cannot be read.
    #[error("{path} cannot be read: {error}", path = path.display())]
    Disk {
        /// What.
        path: PathBuf,
        /// What the disk said.
        #[source]
        error: io::Error,
    },
    /// A directory lists it, and nothing is there under that name, though the tree does not change.
    #[error("{path} is listed by its directory and not found there: the image is damaged, or the directory is indexed in a way that is not read here (ext4 that was made where char is unsigned: tune2fs -O ^dir_index IMAGE, then e2fsck -fy IMAGE)", path = path.display())]
    Lost {
        /// What.
        path: PathBuf,
    },
    /// More files and directories than are looked at.
    #[error("{path}: more than {max} files and directories up to here, which is all that is walked; in an image that is damaged, directories may lie in each other", path = path.display())]
    TooMany {
        /// Where the walk ended.
        path: PathBuf,
        /// How many are walked.
        max: usize,
    },
    /// It cannot stand in an inventory.
    #[error("{path}: {error}", path = path.display())]
    Component {
        /// What.
        path: PathBuf,
        /// Which rule it breaks.
        #[source]
        error: InventoryError,
    },
    /// More than may be read.
    #[error("with {path} there is more to read than {bytes} bytes; inventory fewer paths", path = path.display())]
    TooMuch {
        /// The file with which it is too much.
        path: PathBuf,
        /// How much may be read.
        bytes: u64,
    },
    /// The names of a directory, and of those that it lies in, are more than memory is given for.
    #[error("{path} has too many names, or too long ones; pass it over", path = path.display())]
    Names {
        /// The directory.
        path: PathBuf,
    },
    /// It was told to end.
    #[error("the walk ends at {path}: {why}", path = path.display())]
    Ended {
        /// How far it came.
        path: PathBuf,
        /// Why.
        why: &'static str,
    },
    /// The inventory cannot be written.
    #[error("the inventory cannot be written: {0}")]
    Write(#[source] io::Error),
    /// A configured path is not one below the root.
    #[error("{path} is no path to take an inventory of: name it without '.' and '..'", path = path.display())]
    Path {
        /// The path.
        path: PathBuf,
    },
    /// A path that is to be passed over is no pattern.
    #[error("{path}: {error}", path = path.display())]
    Pattern {
        /// The path.
        path: PathBuf,
        /// Which rule it breaks.
        #[source]
        error: RulesError,
    },
    /// A configured path lies below a symbolic link.
    #[error("{path} lies below the symbolic link {link}: name the path that the link points to", path = path.display(), link = link.display())]
    BelowLink {
        /// The path.
        path: PathBuf,
        /// The link.
        link: PathBuf,
    },
    /// A configured path lies within another one.
    #[error("{inner} lies within {outer}, which is inventoried already", inner = inner.display(), outer = outer.display())]
    Nested {
        /// The one that lies within.
        inner: PathBuf,
        /// The other one.
        outer: PathBuf,
    },
}

#[cfg(test)]
mod tests;
