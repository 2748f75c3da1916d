//! Network namespaces: machines of their own as far as the network goes, gone with their values.

use std::{
    ffi::c_short,
    fs::{self, File},
    net::Ipv4Addr,
    os::{fd::AsFd as _, unix::fs::OpenOptionsExt as _},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
};

use rustix::{
    fs::OFlags,
    ioctl::{Setter, ioctl, opcode},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

/// What a namespace calls the end of its line.
const LINE: &str = "line";

/// Packets that wait at the end of a line before the kernel drops them.
const WAITING_MAX: usize = 2_000;

pub(crate) struct Namespace {
    name: String,
}

impl Namespace {
    /// An empty one, but for its own loopback.
    pub(crate) fn new() -> Self {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        sweep();
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("kusabi-{}-{number}", std::process::id());
        ip(&format!("netns add {name}"));
        let space = Self { name };
        ip(&format!("-n {} link set lo up", space.name));
        space
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What a command is started through to run there.
    pub(crate) fn enter(&self) -> [&str; 4] {
        ["ip", "netns", "exec", &self.name]
    }

    /// Its file.
    pub(crate) fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.name)
    }

    /// A thread there: what it opens belongs to this namespace.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        run: impl FnOnce() -> T + Send + 'static,
    ) -> std::thread::JoinHandle<T> {
        let file = File::open(self.path()).unwrap();
        std::thread::spawn(move || {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            run()
        })
    }

    /// Gives it a line to a network of 254 addresses. Whoever holds the file reads what it sends, a packet at a time, and writes
    /// what it is to receive.
    pub(crate) fn line(&self, address: Ipv4Addr) -> File {
        let file = self.spawn(tun).join().unwrap();
        let name = &self.name;
        ip(&format!("-n {name} address add {address}/24 dev {LINE}"));
        ip(&format!(
            "-n {name} link set {LINE} up txqueuelen {WAITING_MAX}"
        ));
        file
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let removed = Command::new("ip")
            .args(["netns", "delete", &self.name])
            .status();
        if !removed.is_ok_and(|status| status.success()) {
            eprintln!("the network namespace {} is left", self.name);
        }
    }
}

/// `struct ifreq`, as far as a TUN device is asked for with it.
#[repr(C)]
struct Wanted {
    name: [u8; 16],
    flags: c_short,
    rest: [u8; 22],
}

/// A new TUN device of the namespace that this thread is in (Linux, Documentation/networking/tuntap.rst).
fn tun() -> File {
    const TUNSETIFF: u32 = opcode::write::<std::ffi::c_int>(b'T', 202);
    const IFF_TUN: c_short = 0x0001;
    const IFF_NO_PI: c_short = 0x1000;
    let path = "/dev/net/tun";
    let file = File::options()
        .read(true)
        .write(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path);
    let file = file.unwrap_or_else(|why| {
        panic!(
            "{path} cannot be opened ({why}); this test carries packets through it: load the kernel's module `tun`, and in a \
             container hand the device in (docker run --privileged)"
        )
    });
    let mut wanted = Wanted {
        name: [0; 16],
        flags: IFF_TUN | IFF_NO_PI,
        rest: [0; 22],
    };
    wanted.name[..LINE.len()].copy_from_slice(LINE.as_bytes());
    // SAFETY: TUNSETIFF takes a `struct ifreq`, of which the kernel reads these fields.
    #[expect(unsafe_code, reason = "no library of the project knows TUN devices")]
    let set = unsafe { ioctl(&file, Setter::<TUNSETIFF, Wanted>::new(wanted)) };
    set.unwrap_or_else(|why| panic!("no TUN device ({why}); this test has to run as root"));
    file
}

/// Takes away what a test left that was killed.
fn sweep() {
    for found in fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        let name = found.file_name();
        let name = name.to_string_lossy();
        let process = name
            .strip_prefix("kusabi-")
            .and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        if process.is_some_and(|id| !Path::new(&format!("/proc/{id}")).exists()) {
            // Another test process may take it away at the same time.
            let _ = Command::new("ip").args(["netns", "delete", &name]).output();
        }
    }
}

/// Runs `ip`, which has to succeed.
pub(crate) fn ip(line: &str) {
    let ran = Command::new("ip").args(line.split(' ')).output();
    let ran = ran.unwrap_or_else(|why| {
        panic!(
            "`ip` cannot be run ({why}); it is of the package iproute2: apt-get install iproute2"
        )
    });
    assert!(
        ran.status.success(),
        "`ip {line}` failed; this test makes network namespaces, so it has to run as root: {}",
        String::from_utf8_lossy(&ran.stderr)
    );
}
