//! A small disk that one machine alone has: a file system in memory, mounted where only what is started through it sees it.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use crate::netns::Namespace;

/// Gone with its value.
pub(crate) struct Volume {
    /// Holds the mount namespace until its standard input ends, also where the test was killed.
    holder: Child,
    /// As the holder sees it.
    folder: PathBuf,
    through: Vec<String>,
}

impl Volume {
    /// A disk of so many MiB at `folder`, which exists, with a copy of what is in `from`. What is started through it runs in
    /// `space` and in `home`.
    pub(crate) fn new(
        space: &Namespace,
        home: &Path,
        folder: &Path,
        from: &Path,
        size_mib: usize,
    ) -> Self {
        let script = format!(
            "mount -t tmpfs -o size={size_mib}m,mode=700 kusabi \"$1\" && cp -a \"$0/.\" \"$1\" && echo ready && exec cat"
        );
        let mut holder = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", &script])
            .args([from, folder])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|why| {
                panic!("`unshare` cannot be run ({why}); it is of the package util-linux")
            });
        let mut said = String::new();
        let mut out = BufReader::new(holder.stdout.take().unwrap());
        out.read_line(&mut said).unwrap();
        assert_eq!(
            said, "ready\n",
            "this test mounts a file system, so it has to run as root"
        );
        let through = [
            "nsenter",
            &format!("--mount=/proc/{}/ns/mnt", holder.id()),
            &format!("--net={}", space.path().display()),
            "sh",
            "-c",
            // Who enters a mount namespace stands at its root.
            r#"cd "$0" && exec "$@""#,
            home.to_str().unwrap(),
        ];
        Self {
            through: through.map(str::to_owned).to_vec(),
            holder,
            folder: folder.to_owned(),
        }
    }

    /// What a command is started through to see it.
    pub(crate) fn through(&self) -> Vec<String> {
        self.through.clone()
    }

    fn ballast(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        let inside = self.folder.strip_prefix("/").unwrap();
        root.join(inside).join("ballast")
    }

    /// Fills it to the last byte: how many that took.
    pub(crate) fn fill(&self) -> usize {
        let mut file = File::create(self.ballast()).unwrap();
        let mut written = 0;
        // At last in small pieces, so that nothing is left.
        for size in [1 << 20, 1 << 12, 1] {
            let piece = vec![0; size];
            while file.write_all(&piece).is_ok() {
                written += size;
            }
        }
        written
    }

    /// Makes room again.
    pub(crate) fn clear(&self) {
        std::fs::remove_file(self.ballast()).unwrap();
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}
