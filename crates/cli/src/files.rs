//! Files that must not be lost, torn, overwritten or read by others.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::{
        fd::AsRawFd as _,
        unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
};

use rustix::fs::{AtFlags, CWD, OFlags, RenameFlags, linkat, renameat_with};
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
/// At no moment do the bytes stand under a second name that a kill could leave behind: a secret that is moved away later is
/// then really gone. The file has no name until it is whole, where the file system knows such files; elsewhere it is renamed.
pub(crate) fn create(path: &Path, bytes: &[u8], mode: Mode) -> Result<()> {
    let failed = |error: io::Error| Failure::io("created", path, &error);
    refuse_existing(path)?;
    sweep(path);
    create_nameless(path, bytes, mode)
        .or_else(|error| match error.kind() {
            io::ErrorKind::AlreadyExists | io::ErrorKind::StorageFull => Err(error),
            _ => create_renamed(path, bytes, mode),
        })
        .map_err(failed)?;
    sync_folder(path).map_err(failed)
}

/// Refuses what [`create`] would, before anything is done.
pub(crate) fn refuse_existing(path: &Path) -> Result<()> {
    match path.symlink_metadata() {
        Ok(_) => Err(Failure::io(
            "created",
            path,
            &io::ErrorKind::AlreadyExists.into(),
        )),
        Err(_) if !folder_of(path).is_dir() => Err(Failure::io(
            "created",
            path,
            &io::ErrorKind::NotFound.into(),
        )),
        Err(_) => Ok(()),
    }
}

/// A file that gets its only name when it is whole (`O_TMPFILE`, Linux).
fn create_nameless(path: &Path, bytes: &[u8], mode: Mode) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .mode(mode.bits())
        .custom_flags(OFlags::TMPFILE.bits().cast_signed())
        .open(folder_of(path))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    let nameless = format!("/proc/self/fd/{}", file.as_raw_fd());
    linkat(CWD, nameless, CWD, path, AtFlags::SYMLINK_FOLLOW)?;
    Ok(())
}

/// A file under a name of its own that becomes the right one, which must be free.
fn create_renamed(path: &Path, bytes: &[u8], mode: Mode) -> io::Result<()> {
    let temporary = write_temporary(path, bytes, mode)?;
    let renamed = renameat_with(CWD, &temporary, CWD, path, RenameFlags::NOREPLACE)
        .map_err(io::Error::from)
        .or_else(|error| match error.kind() {
            io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported => {
                let mut file = exclusive(path, mode)?;
                file.write_all(bytes)?;
                file.sync_all()
            }
            _ => Err(error),
        });
    // Gone already, if it was renamed.
    let _ = fs::remove_file(&temporary);
    renamed
}

/// Gives a file, complete on disk, its name in the same folder, which must be free; durable when it returns.
pub(crate) fn rename_new(from: &Path, to: &Path) -> Result<()> {
    renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)
        .map_err(io::Error::from)
        .or_else(|error| match error.kind() {
            // The file system has no such renaming.
            io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported if !to.exists() => {
                fs::rename(from, to)
            }
            _ => Err(error),
        })
        .and_then(|()| sync_folder(to))
        .map_err(|error| Failure::io("written", to, &error))
}

/// Removes what commands that were killed have left beside `path` while they wrote it.
pub(crate) fn sweep(path: &Path) {
    let Some(start) = temporary_start(path) else {
        return;
    };
    let Ok(entries) = fs::read_dir(folder_of(path)) else {
        return;
    };
    for entry in entries.filter_map(|entry| entry.ok()) {
        let name = entry.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.strip_prefix(&start))
            .and_then(|number| number.parse::<u32>().ok());
        // A process that lives is not done with it.
        if let Some(number) = number
            && !Path::new("/proc").join(number.to_string()).exists()
        {
            let _ = fs::remove_file(entry.path());
        }
    }
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

/// `.NAME.`, which the number of the process that writes follows.
fn temporary_start(path: &Path) -> Option<String> {
    Some(format!(".{}.", path.file_name()?.to_str()?))
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

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// A name is on the disk only when its folder is.
fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder_of(path))?.sync_all()
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
    fn both_ways_of_creating_leave_one_name_and_never_replace() {
        for make in [create_nameless, create_renamed] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a.key");
            make(&path, b"one", Mode::Secret).unwrap();
            assert_eq!(path.metadata().unwrap().nlink(), 1);
            assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
            let again = make(&path, b"two", Mode::Secret).unwrap_err();
            assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(fs::read(&path).unwrap(), b"one");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn what_a_killed_command_left_is_swept_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        // No process has this number; this one has its own.
        let alive = format!(".a.key.{}", std::process::id());
        for name in [
            ".a.key.4294967295",
            ".b.key.4294967295",
            ".a.key.backup",
            &alive,
        ] {
            fs::write(place(name), "x").unwrap();
        }
        sweep(&place("a.key"));
        assert!(!place(".a.key.4294967295").exists());
        for kept in [".b.key.4294967295", ".a.key.backup", &alive] {
            assert!(place(kept).exists(), "{kept}");
        }
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
