//! Machines with other people's update systems: a file tree of their own where those want theirs, and programs that tests make
//! artifacts with.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use crate::fleet::{Device, PATIENCE, Site};

/// A mount namespace in which a script has made what a machine needs; gone with its value.
pub(crate) struct Space {
    /// Holds the namespace until its standard input ends, also where the test was killed.
    holder: Child,
    through: [String; 2],
}

impl Space {
    /// `make` is run in it, and `undo` at its end, by a shell that stands in `folder`.
    pub(crate) fn new(folder: &Path, make: &str, undo: &str) -> Self {
        let script = format!("set -e; {make}\necho ready; cat; {undo}");
        let mut holder = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", &script])
            .current_dir(folder)
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
            "this test mounts file systems, so it has to run as root"
        );
        let through = [
            "nsenter".into(),
            format!("--mount=/proc/{}/ns/mnt", holder.id()),
        ];
        Self { holder, through }
    }

    /// What a command is started through to run there.
    pub(crate) fn enter(&self) -> [&str; 2] {
        self.through.each_ref().map(String::as_str)
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

/// Fails where a program is not there, and says what brings it.
pub(crate) fn needs(program: &str, package: &str) {
    let found = Command::new("sh")
        .args(["-c", "command -v \"$0\"", program])
        .stdout(Stdio::null())
        .status();
    assert!(
        found.unwrap().success(),
        "this test needs `{program}`, which is not here: apt-get install {package}"
    );
}

/// Runs a script that has to succeed, in this folder; what it printed.
pub(crate) fn sh(folder: &Path, script: &str) -> String {
    let ran = Command::new("sh")
        .args(["-ec", script])
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&ran.stdout).into_owned(),
        String::from_utf8_lossy(&ran.stderr),
    );
    assert!(ran.status.success(), "{script}\n{out}{err}");
    out
}

/// Writes a program.
pub(crate) fn program(path: &Path, script: &str) {
    fs::write(path, format!("#!/bin/sh\n{script}")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A site with one device whose machine is the test's: it says which start of the machine this is.
pub(crate) struct Bench {
    pub(crate) site: Site,
    pub(crate) device: Device,
    starts: u32,
}

pub(crate) const SERIAL: &str = "CAM-0001";

impl Bench {
    /// The device is not started yet.
    pub(crate) fn new() -> Self {
        let site = Site::found();
        site.provision(&[SERIAL], "");
        let device = Device::build(&site, SERIAL);
        let mut bench = Self {
            site,
            device,
            starts: 0,
        };
        bench.new_boot_id();
        bench
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.device.folder.clone()
    }

    fn new_boot_id(&mut self) {
        self.starts += 1;
        let id = format!("start {}\n", self.starts);
        fs::write(self.device.folder.join("boot-id"), id).unwrap();
    }

    /// Orders a release; how much the device had said before.
    pub(crate) fn order(&self, release: &str) -> (usize, u64) {
        let mark = self.device.mark();
        let order = self
            .site
            .order(&format!("update {SERIAL} --release {release}"));
        (mark, order)
    }

    /// Waits until the agent has the machine go down, and ends it.
    pub(crate) fn goes_down(&mut self, mark: usize) {
        self.device
            .hear(mark, "info the machine goes down for an update");
        self.device.kill();
    }

    /// The machine starts again, and with it the agent; how much it had said before.
    pub(crate) fn comes_up(&mut self) -> usize {
        self.new_boot_id();
        let mark = self.device.mark();
        self.device.start();
        mark
    }

    /// Waits until the update has ended, as the device says it and as the server knows it.
    pub(crate) fn ends(&self, mark: usize, order: u64, outcome: &str) {
        let said = self
            .device
            .hear_within(mark, "info update ended", 2 * PATIENCE);
        let said = said.unwrap_or_else(|| panic!("{}", self.device.said(0).join("\n")));
        assert!(said.ends_with(&format!("outcome={outcome}")), "{said}");
        self.site.answered(order);
    }

    /// Lines that the device said since, with this in them.
    pub(crate) fn lines(&self, mark: usize, with: &str) -> Vec<String> {
        let said = self.device.said(mark).into_iter();
        said.filter(|line| line.contains(with)).collect()
    }
}
