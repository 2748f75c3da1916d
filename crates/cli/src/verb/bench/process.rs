//! What the operating system knows of a process and of a folder.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Serialize;

/// Unit of CPU time in `/proc/<pid>/stat`: Linux shows user space a hundred ticks a second on every architecture (`USER_HZ`).
const TICK: Duration = Duration::from_millis(10);

/// A process by its number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Process(pub(super) u32);

fn unreadable(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{what} cannot be read"))
}

impl Process {
    /// This process.
    pub(super) fn own() -> Self {
        Self(std::process::id())
    }

    fn file(self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.0))
    }

    /// CPU time of all its threads, user and system, so far. In steps of 10 ms.
    pub(super) fn cpu(self) -> io::Result<Duration> {
        let stat = fs::read_to_string(self.file("stat"))?;
        // The name of the program stands in brackets and may hold anything; fields are counted after it.
        let (_, fields) = stat.rsplit_once(") ").ok_or_else(|| unreadable("stat"))?;
        let mut ticks = fields.split(' ').skip(11).map(str::parse::<u32>);
        match (ticks.next(), ticks.next()) {
            (Some(Ok(user)), Some(Ok(system))) => Ok(TICK * (user + system)),
            _ => Err(unreadable("stat")),
        }
    }

    fn number(self, file: &str, name: &str) -> io::Result<u64> {
        fs::read_to_string(self.file(file))?
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok())
            .ok_or_else(|| unreadable(name))
    }

    /// Bytes in memory now, and the most that ever were.
    pub(super) fn resident(self) -> io::Result<(u64, u64)> {
        Ok((
            1024 * self.number("status", "VmRSS:")?,
            1024 * self.number("status", "VmHWM:")?,
        ))
    }

    /// Bytes that it caused to be written to disk.
    pub(super) fn written(self) -> io::Result<u64> {
        self.number("io", "write_bytes:")
    }
}

/// Bytes of a folder.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Disk {
    /// Sum of the files' lengths.
    pub(super) apparent: u64,
    /// What they take of the disk.
    pub(super) allocated: u64,
    /// Files.
    pub(super) files: u64,
    /// Allocated bytes of each folder that holds files, the largest first.
    pub(super) folders: Vec<(String, u64)>,
}

/// Measures a folder with everything in it.
pub(super) fn disk(folder: &Path) -> io::Result<Disk> {
    let mut disk = Disk::default();
    let mut open = vec![folder.to_owned()];
    while let Some(at) = open.pop() {
        let mut here = 0;
        for entry in fs::read_dir(&at)? {
            let entry = entry?;
            let metadata = match entry.metadata() {
                // The node may take a file away while we look.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                metadata => metadata?,
            };
            if metadata.is_dir() {
                open.push(entry.path());
            } else {
                disk.files += 1;
                disk.apparent += metadata.len();
                here += metadata.blocks() * 512;
            }
        }
        disk.allocated += here;
        if here > 0 {
            let name = at.strip_prefix(folder).unwrap_or(&at);
            disk.folders.push((name.display().to_string(), here));
        }
    }
    disk.folders
        .sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    Ok(disk)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_understood() {
        let own = Process::own();
        let before = own.cpu().unwrap();
        let mut digest = [0; 32];
        while own.cpu().unwrap() < before + TICK {
            digest = kusabi_core::crypto::sha256(&[&digest]);
        }
        let (now, most) = own.resident().unwrap();
        assert!(0 < now && now <= most);
        own.written().unwrap();
    }

    #[test]
    fn folders_are_summed() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("inner")).unwrap();
        fs::write(folder.path().join("inner/a"), [0; 5000]).unwrap();
        fs::write(folder.path().join("b"), [0; 10]).unwrap();
        let disk = disk(folder.path()).unwrap();
        assert_eq!((disk.apparent, disk.files), (5010, 2));
        assert!(disk.allocated >= 5010);
    }
}
