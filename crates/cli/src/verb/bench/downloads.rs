//! What giving firmware out costs: the same file from `kusabi up` and from nginx, in turn, each download hashed to its end; then many
//! devices at once, and what they add to the server's memory.

use std::{
    fs, io,
    io::Write as _,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    ops::Range,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    rc::Rc,
    time::{Duration, Instant},
};

use kusabi_api::Hex32;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::Barrier,
    task::{JoinSet, LocalSet},
};

use super::{process::Process, release, server::Site, unmeasurable};
use crate::{
    failure::Result,
    page::{Answer, Page},
};

/// Downloads of each server that count; one before them does not.
const ROUNDS: usize = 5;
/// Devices that download at once.
const AT_ONCE: usize = 200;
/// Bytes that each of them fetches at most.
const PART_BYTES: u64 = 16 << 20;
/// How long they all let the server wait, with their connections full.
const STALL: Duration = Duration::from_secs(2);
/// What the client reads at a time.
const READ_BYTES: usize = 256 * 1024;

/// What a server's downloads took, for each GiB.
#[derive(Debug, Serialize)]
pub(super) struct Served {
    /// CPU seconds of the server's process, one figure for each round, the smallest first.
    pub(super) cpu_s: Vec<f64>,
    /// The same by the clock, with the client's hashing.
    pub(super) seconds: Vec<f64>,
}

impl Served {
    fn of(mut rounds: Vec<(f64, f64)>) -> Self {
        let mut sorted = |pick: fn(&(f64, f64)) -> f64| {
            rounds.sort_by(|a, b| pick(a).total_cmp(&pick(b)));
            rounds.iter().map(pick).collect()
        };
        Self {
            cpu_s: sorted(|round| round.0),
            seconds: sorted(|round| round.1),
        }
    }
}

/// The middle one of sorted figures.
fn middle(sorted: &[f64]) -> f64 {
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

/// Everything about downloads.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) bytes: u64,
    pub(super) kusabi: Served,
    pub(super) nginx: Served,
    /// Devices at once, and what each fetched.
    pub(super) at_once: usize,
    pub(super) part_bytes: u64,
    /// Bytes of the server's process before them.
    pub(super) idle_resident: u64,
    /// The most that it had while they downloaded.
    pub(super) loaded_resident: u64,
}

impl Answer for Report {
    fn page(&self, page: &mut Page) {
        let mib = |bytes: u64| bytes >> 20;
        page.good(
            "Measured",
            &format!("downloads of {} MiB, hashed by the client", mib(self.bytes)),
        );
        for (name, served) in [("kusabi", &self.kusabi), ("nginx", &self.nginx)] {
            let span = |sorted: &[f64]| {
                let ends = (sorted.first(), sorted.last());
                let (first, last) = (ends.0.copied(), ends.1.copied());
                format!(
                    "{:.2} s ({:.2} to {:.2})",
                    middle(sorted),
                    first.unwrap_or_default(),
                    last.unwrap_or_default()
                )
            };
            page.field(
                name,
                format!(
                    "{} of CPU a GiB\n{} by the clock",
                    span(&served.cpu_s),
                    span(&served.seconds)
                ),
            );
        }
        page.field(
            "kusabi to nginx",
            format!(
                "{:.2}× the CPU, {:.2}× the bytes a second",
                middle(&self.kusabi.cpu_s) / middle(&self.nginx.cpu_s),
                middle(&self.nginx.seconds) / middle(&self.kusabi.seconds)
            ),
        )
        .field(
            format!("{} at once", self.at_once),
            format!(
                "{} MiB each: {:.0} MB resident at most, {:.0} MB before",
                mib(self.part_bytes),
                self.loaded_resident as f64 / 1e6,
                self.idle_resident as f64 / 1e6
            ),
        );
    }
}

/// Measures downloads of a file of so many bytes.
pub(super) async fn measure(bytes: u64, folder: &Path) -> Result<Report> {
    let files = folder.join("files");
    fs::create_dir_all(&files).map_err(unmeasurable)?;
    let file = files.join("payload");
    let digest = noise(&file, bytes).map_err(unmeasurable)?;
    let data = folder.join("site");
    let site = Site::start(&data)?;
    release::publish(&data, &file, &["--no-chunks"])?;
    let kusabi = Place {
        address: site.devices()?,
        path: format!("/device/v1/payloads/{}", Hex32::from(digest)),
        server: site.server.process(),
    };
    let peer = Nginx::start(folder, &files).await?;
    let nginx = Place {
        address: peer.address,
        path: "/payload".to_owned(),
        server: Process(peer.child.id()),
    };
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        // Who is first changes.
        let mut turns = [(&kusabi, &mut ours), (&nginx, &mut theirs)];
        if round % 2 == 1 {
            turns.reverse();
        }
        for (place, rounds) in turns {
            let took = place.download(bytes, &digest).await?;
            if round > 0 {
                rounds.push(took);
            }
        }
    }
    drop(peer);
    let (idle_resident, _) = kusabi.server.resident().map_err(unmeasurable)?;
    let part_bytes = PART_BYTES.min(bytes);
    let loaded_resident = crowd(&Rc::new(kusabi), bytes, part_bytes).await?;
    site.server.kill()?;
    Ok(Report {
        bytes,
        kusabi: Served::of(ours),
        nginx: Served::of(theirs),
        at_once: AT_ONCE,
        part_bytes,
        idle_resident,
        loaded_resident,
    })
}

/// Writes a file that no compression makes smaller; its SHA-256.
fn noise(file: &Path, bytes: u64) -> io::Result<[u8; 32]> {
    let mut out = fs::File::create(file)?;
    let mut hasher = Sha256::new();
    let mut block = vec![0; 1 << 20];
    let mut left = bytes;
    while left > 0 {
        let length = usize::try_from(left).map_or(block.len(), |left| left.min(block.len()));
        let (part, _) = block.split_at_mut(length);
        getrandom::fill(part).map_err(io::Error::other)?;
        hasher.update(&*part);
        out.write_all(part)?;
        left -= length as u64;
    }
    out.sync_all()?;
    Ok(hasher.finalize().into())
}

/// Where a server gives the file out.
struct Place {
    address: SocketAddr,
    path: String,
    server: Process,
}

impl Place {
    /// Asks for bytes of the file on a connection of its own, and reads the answer's header; what came of the body with it.
    async fn ask(&self, range: &Range<u64>) -> io::Result<(TcpStream, Vec<u8>)> {
        let mut stream = TcpStream::connect(self.address).await?;
        let request = format!(
            "GET {} HTTP/1.1\r\nhost: {}\r\nrange: bytes={}-{}\r\nconnection: close\r\n\r\n",
            self.path,
            self.address,
            range.start,
            range.end.saturating_sub(1)
        );
        stream.write_all(request.as_bytes()).await?;
        let mut came = Vec::with_capacity(READ_BYTES);
        loop {
            if stream.read_buf(&mut came).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(end) = came.windows(4).position(|four| four == b"\r\n\r\n") {
                if !came.starts_with(b"HTTP/1.1 206 ") {
                    let head = String::from_utf8_lossy(&came).into_owned();
                    return Err(io::Error::other(head));
                }
                came.drain(..end + 4);
                return Ok((stream, came));
            }
        }
    }

    /// Downloads the whole file; what it took of the server's processor and by the clock, for a GiB.
    async fn download(&self, bytes: u64, digest: &[u8; 32]) -> Result<(f64, f64)> {
        let cpu = self.server.cpu().map_err(unmeasurable)?;
        let start = Instant::now();
        let came = self.ask(&(0..bytes)).await.map_err(unmeasurable)?;
        let (length, hash) = drain(came).await.map_err(unmeasurable)?;
        let seconds = start.elapsed().as_secs_f64();
        if (length, &hash) != (bytes, digest) {
            return Err(unmeasurable("a download brought other bytes"));
        }
        let cpu = self.server.cpu().map_err(unmeasurable)? - cpu;
        let gib = bytes as f64 / f64::from(1 << 30);
        Ok((cpu.as_secs_f64() / gib, seconds / gib))
    }
}

/// Reads and hashes a body to its end.
async fn drain((mut stream, head): (TcpStream, Vec<u8>)) -> io::Result<(u64, [u8; 32])> {
    let mut hasher = Sha256::new();
    hasher.update(&head);
    let mut length = head.len() as u64;
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            return Ok((length, hasher.finalize().into()));
        }
        hasher.update(buffer.get(..read).unwrap_or_default());
        length += read as u64;
    }
}

/// Many devices fetch a part each: all have asked before one reads on, they let the server wait a while, and then they read as fast as
/// they can. The most that the server's process had.
async fn crowd(place: &Rc<Place>, bytes: u64, part_bytes: u64) -> Result<u64> {
    let asked = Rc::new(Barrier::new(AT_ONCE));
    let mut tasks = JoinSet::new();
    let local = LocalSet::new();
    for number in 0..AT_ONCE as u64 {
        let (place, asked) = (Rc::clone(place), Rc::clone(&asked));
        let start = (bytes - part_bytes) * number / AT_ONCE as u64;
        tasks.spawn_local_on(
            async move {
                let came = place.ask(&(start..start + part_bytes)).await?;
                asked.wait().await;
                tokio::time::sleep(STALL).await;
                let (length, _) = drain(came).await?;
                if length == part_bytes {
                    Ok(())
                } else {
                    Err(io::Error::other("a download broke off"))
                }
            },
            &local,
        );
    }
    let most = async {
        let mut most = 0;
        let mut look = tokio::time::interval(Duration::from_millis(20));
        loop {
            tokio::select! {
                _ = look.tick() => {
                    let (now, _) = place.server.resident().map_err(unmeasurable)?;
                    most = most.max(now);
                }
                done = tasks.join_next() => match done {
                    Some(done) => done.map_err(unmeasurable)?.map_err(unmeasurable)?,
                    None => return Ok(most),
                },
            }
        }
    };
    local.run_until(most).await
}

/// The peer: nginx with one process, as Debian has it but for its log of requests.
struct Nginx {
    child: Child,
    address: SocketAddr,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // It may be gone already; nothing of it is needed any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Nginx {
    /// Serves a folder; what it writes goes below `folder`.
    async fn start(folder: &Path, files: &Path) -> Result<Self> {
        // Free a moment ago; if it is taken meanwhile, nginx says so and ends.
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let address = free.and_then(|socket| socket.local_addr());
        let address = address.map_err(unmeasurable)?;
        let folder = folder.join("nginx");
        fs::create_dir_all(&folder).map_err(unmeasurable)?;
        let at = |name: &str| folder.join(name).display().to_string();
        let config = format!(
            "daemon off; master_process off; pid {};\nevents {{ worker_connections 768; }}\nhttp {{ sendfile on; tcp_nopush on; access_log off;\nclient_body_temp_path {}; proxy_temp_path {}; fastcgi_temp_path {}; uwsgi_temp_path {}; scgi_temp_path {};\nserver {{ listen {address}; root {}; }} }}\n",
            at("pid"),
            at("body"),
            at("proxy"),
            at("fastcgi"),
            at("uwsgi"),
            at("scgi"),
            files.display()
        );
        let file = folder.join("nginx.conf");
        fs::write(&file, config).map_err(unmeasurable)?;
        let child = Command::new(program())
            .arg("-e")
            .arg("stderr")
            .arg("-c")
            .arg(&file)
            .stdin(Stdio::null())
            .spawn()
            .map_err(|why| {
                unmeasurable(format!(
                    "nginx, which downloads are compared with, does not start: {why} (Debian: apt install nginx-light)"
                ))
            })?;
        let mut nginx = Self { child, address };
        for _ in 0..500 {
            if TcpStream::connect(address).await.is_ok() {
                return Ok(nginx);
            }
            if let Some(end) = nginx.child.try_wait().map_err(unmeasurable)? {
                return Err(unmeasurable(format!("nginx ended: {end}")));
            }
            // It has no way to say that it listens.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Err(unmeasurable("nginx does not answer"))
    }
}

/// Where Debian has it, which is not on everybody's path.
fn program() -> PathBuf {
    let debian = PathBuf::from("/usr/sbin/nginx");
    if debian.exists() {
        debian
    } else {
        PathBuf::from("nginx")
    }
}
