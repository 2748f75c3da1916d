//! Files that must not be lost, torn, overwritten or read by others.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use crate::{
    exit::Exit,
    failure::{Failure, Result},
};

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The owner alone: 0600.
    Secret,
    /// Everybody: 0644.
    Public,
}

impl Mode {
    const fn bits(self) -> u32 {
        match self {
            Self::Secret => 0o600,
            Self::Public => 0o644,
        }
    }
}

/// Creates a file that did not exist: either it is there in full and on the disk, or it is not there.
///
/// The bytes go to a temporary name first; a hard link gives them their own name and fails if that is taken.
pub(crate) fn create(path: &Path, bytes: &[u8], mode: Mode) -> Result<()> {
    let failed = |error: &io::Error| Failure::io("created", path, error);
    if path.symlink_metadata().is_ok() {
        return Err(failed(&io::ErrorKind::AlreadyExists.into()));
    }
    let temporary = write_temporary(path, bytes, mode).map_err(|error| failed(&error))?;
    let linked = fs::hard_link(&temporary, path).or_else(|error| match error.kind() {
        // Some file systems know no links; an exclusive creation is the next best thing.
        io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied => {
            let mut file = exclusive(path, mode)?;
            file.write_all(bytes)?;
            file.sync_all()
        }
        _ => Err(error),
    });
    let _ = fs::remove_file(&temporary);
    linked.map_err(|error| failed(&error))?;
    sync_folder(path).map_err(|error| failed(&error))
}

/// Replaces a file: a reader sees the old bytes or the new ones, also after a power cut.
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: Mode) -> Result<()> {
    let failed = |error: io::Error| Failure::io("written", path, &error);
    let temporary = write_temporary(path, bytes, mode).map_err(failed)?;
    fs::rename(&temporary, path)
        .inspect_err(|_| {
            let _ = fs::remove_file(&temporary);
        })
        .map_err(failed)?;
    sync_folder(path).map_err(failed)
}

/// Reads a file of at most `limit` bytes that only its owner may read.
pub(crate) fn read_secret(path: &Path, limit: u64) -> Result<Zeroizing<Vec<u8>>> {
    let file = File::open(path).map_err(|error| Failure::io("read", path, &error))?;
    let metadata = file
        .metadata()
        .map_err(|error| Failure::io("read", path, &error))?;
    if metadata.is_file() && metadata.mode() & 0o077 != 0 {
        return Err(Failure::new(
            Exit::File,
            format!(
                "{} holds a secret, and others may read it (mode {:04o})",
                path.display(),
                metadata.mode() & 0o7777
            ),
        )
        .advise(format!(
            "chmod 600 {}\nand if others could have read it, replace the key: kusabi key rotate",
            path.display()
        )));
    }
    bounded(file, path, limit).map(Zeroizing::new)
}

/// Reads a file of at most `limit` bytes.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let file = File::open(path).map_err(|error| Failure::io("read", path, &error))?;
    bounded(file, path, limit)
}

/// Reads a secret line from standard input.
pub(crate) fn read_secret_line(what: &str) -> Result<Zeroizing<String>> {
    // Room for the longest line at once: growing would leave copies behind.
    let mut line = Zeroizing::new(String::with_capacity(4_096));
    io::stdin()
        .lock()
        .take(4_096)
        .read_to_string(&mut line)
        .map_err(|error| {
            Failure::new(
                Exit::File,
                format!("{what} could not be read from standard input: {error}"),
            )
        })?;
    let line = Zeroizing::new(line.trim().to_owned());
    if line.is_empty() {
        return Err(Failure::new(
            Exit::Usage,
            format!("{what} was expected on standard input, and nothing came"),
        ));
    }
    Ok(line)
}

/// Makes a folder (and those above it) that only its owner may enter.
pub(crate) fn make_folder(path: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                not_writable(path)
            }
            io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => Failure::new(
                Exit::NotWritable,
                format!("{} is a file, and a directory is needed", path.display()),
            )
            .advise("choose another path"),
            _ => Failure::io("created", path, &error),
        })
}

/// The sentence for a directory in which nothing can be written.
pub(crate) fn not_writable(path: &Path) -> Failure {
    Failure::new(
        Exit::NotWritable,
        format!("the directory {} cannot be written", path.display()),
    )
    .advise("run as the user who owns it, or choose another directory")
}

fn bounded(file: File, path: &Path, limit: u64) -> Result<Vec<u8>> {
    let size = file.metadata().map_or(0, |metadata| metadata.len());
    let capacity = usize::try_from(size.min(limit)).unwrap_or(0) + 1;
    let mut bytes = Vec::with_capacity(capacity);
    let read = file.take(limit + 1).read_to_end(&mut bytes);
    if let Err(error) = read {
        return Err(match error.kind() {
            io::ErrorKind::IsADirectory => Failure::new(
                Exit::File,
                format!("{} is a directory, and a file is needed", path.display()),
            ),
            _ => Failure::io("read", path, &error),
        });
    }
    if bytes.len() as u64 > limit {
        return Err(Failure::new(
            Exit::File,
            format!(
                "{} is larger than the {limit} bytes that such a file may have",
                path.display()
            ),
        ));
    }
    Ok(bytes)
}

fn exclusive(path: &Path, mode: Mode) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode.bits())
        .open(path)
}

fn write_temporary(path: &Path, bytes: &[u8], mode: Mode) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::IsADirectory)?;
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}", std::process::id()));
    let temporary = path.with_file_name(temporary);
    // Left by a process of the same number that was killed here.
    let _ = fs::remove_file(&temporary);
    let mut file = exclusive(&temporary, mode)?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .inspect_err(|_| {
            let _ = fs::remove_file(&temporary);
        })?;
    Ok(temporary)
}

/// A name is on the disk only when its folder is.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_is_created_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.key");
        create(&path, b"one", Mode::Secret).unwrap();
        let again = create(&path, b"two", Mode::Secret).unwrap_err();
        assert_eq!(again.exit(), Exit::File);
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_secret_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.key");
        for mode in [0o640, 0o604, 0o620, 0o610] {
            fs::write(&path, b"x").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(read_secret(&path, 10).unwrap_err().exit(), Exit::File);
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        assert_eq!(&**read_secret(&path, 10).unwrap(), b"x");
    }

    #[test]
    fn bounds_hold() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, b"12345").unwrap();
        assert_eq!(read(&path, 5).unwrap(), b"12345");
        assert_eq!(read(&path, 4).unwrap_err().exit(), Exit::File);
    }
}
