//! The world's server on a loopback port, with what may go wrong on the way.

use std::collections::VecDeque;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use crate::world::World;

/// What goes wrong with an answer.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// The line breaks after so many bytes of the body.
    Cut(usize),
    /// The body is another one.
    Other(Vec<u8>),
    /// The body never ends.
    Endless,
    /// A byte now and then, until the client leaves.
    Slow,
    /// Headers without end.
    Headers,
    /// Another status, with these headers.
    Status(u16, &'static str),
    /// Nothing, until the client leaves.
    Silent,
}

pub(crate) struct Shared {
    pub(crate) world: Mutex<World>,
    /// Rung when an order was given or a request came.
    bell: Condvar,
    /// For requests whose path contains this.
    faults: Mutex<VecDeque<(&'static str, Fault)>>,
    pub(crate) requests: Mutex<Vec<String>>,
    gone: AtomicBool,
    streams: Mutex<Vec<TcpStream>>,
}

/// A running server.
pub(crate) struct Served {
    pub(crate) shared: Arc<Shared>,
    pub(crate) url: String,
}

impl Served {
    pub(crate) fn start() -> Self {
        Self::start_over("http", |shared, stream| shared.serve(stream))
    }

    /// One whose connections are opened by `open`, which gives them to [`Shared::serve`].
    pub(crate) fn start_over(
        scheme: &str,
        open: impl Fn(&Shared, &TcpStream) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let open = Arc::new(open);
        let shared = Arc::new(Shared {
            world: Mutex::new(World::new()),
            bell: Condvar::new(),
            faults: Mutex::default(),
            requests: Mutex::default(),
            gone: AtomicBool::new(false),
            streams: Mutex::default(),
        });
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, shared) = (stream.unwrap(), Arc::clone(&serving));
                let open = Arc::clone(&open);
                thread::spawn(move || {
                    if let Ok(copy) = stream.try_clone() {
                        shared.streams.lock().unwrap().push(copy);
                        let _ = open(&shared, &stream);
                    }
                    let _ = stream.shutdown(Shutdown::Both);
                });
            }
        });
        Self { shared, url }
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.shared.world.lock().unwrap()
    }

    /// Polls that are held are answered.
    pub(crate) fn ring(&self) {
        self.shared.bell.notify_all();
    }

    /// The next answer to a request whose path contains `path` goes wrong.
    pub(crate) fn fault(&self, path: &'static str, fault: Fault) {
        self.shared.faults.lock().unwrap().push_back((path, fault));
    }

    /// Every connection breaks, and new ones are closed at once.
    pub(crate) fn leave(&self) {
        self.shared.gone.store(true, Ordering::SeqCst);
        for stream in self.shared.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    pub(crate) fn come_back(&self) {
        self.shared.gone.store(false, Ordering::SeqCst);
    }

    /// Waits until something holds; each request is a moment to look.
    pub(crate) fn wait_until(&self, what: &str, holds: impl Fn(&World) -> bool) {
        let world = self.world();
        let (_world, wait) = self
            .shared
            .bell
            .wait_timeout_while(world, Duration::from_secs(60), |world| !holds(world))
            .unwrap();
        let requests = self.shared.requests.lock().unwrap();
        assert!(!wait.timed_out(), "{what} did not come; {requests:#?}");
    }

    /// How many requests had this in their path.
    pub(crate) fn count(&self, path: &str) -> usize {
        let requests = self.shared.requests.lock().unwrap();
        requests.iter().filter(|line| line.contains(path)).count()
    }
}

impl Shared {
    pub(crate) fn serve(&self, stream: impl io::Read + io::Write) -> io::Result<()> {
        let mut reader = BufReader::new(stream);
        loop {
            if self.gone.load(Ordering::SeqCst) {
                return Ok(());
            }
            let mut lines = Vec::new();
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line)? == 0 {
                    return Ok(());
                }
                if line.trim().is_empty() {
                    break;
                }
                lines.push(line.trim().to_owned());
            }
            let header = |name: &str| {
                lines.iter().find_map(|line| {
                    let (key, value) = line.split_once(':')?;
                    key.eq_ignore_ascii_case(name)
                        .then(|| value.trim().to_owned())
                })
            };
            let length = header("content-length").map_or(0, |length| length.parse().unwrap());
            let mut body = vec![0; length];
            reader.read_exact(&mut body)?;
            let range = header("range");
            let path = lines[0].split(' ').nth(1).unwrap_or_default().to_owned();
            let line = format!("{} {}", lines[0], range.as_deref().unwrap_or_default());
            self.requests.lock().unwrap().push(line);
            self.bell.notify_all();
            self.respond(reader.get_mut(), &path, &body, range.as_deref())?;
            self.bell.notify_all();
        }
    }

    fn respond(
        &self,
        stream: &mut (impl io::Read + io::Write),
        path: &str,
        body: &[u8],
        range: Option<&str>,
    ) -> io::Result<()> {
        let found = if body.is_empty() {
            self.world.lock().unwrap().get(path)
        } else {
            Some(self.answer(body))
        };
        let fault = {
            let mut faults = self.faults.lock().unwrap();
            let at = faults.iter().position(|(part, _)| path.contains(part));
            at.and_then(|at| faults.remove(at)).map(|(_, fault)| fault)
        };
        let Some(whole) = found else {
            return stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
        };
        let (status, extra, mut bytes) = match range.and_then(|range| range.strip_prefix("bytes="))
        {
            Some(range) => {
                let (from, to) = range.split_once('-').unwrap();
                let (from, to): (usize, usize) = (from.parse().unwrap(), to.parse().unwrap());
                let extra = format!("Content-Range: bytes {from}-{to}/{}\r\n", whole.len());
                ("206 Partial Content", extra, whole[from..=to].to_vec())
            }
            None => ("200 OK", String::new(), whole),
        };
        match fault {
            None => {}
            Some(Fault::Other(other)) => bytes = other,
            Some(Fault::Cut(after)) => {
                write!(
                    stream,
                    "HTTP/1.1 {status}\r\n{extra}Content-Length: {}\r\n\r\n",
                    bytes.len()
                )?;
                stream.write_all(&bytes[..after.min(bytes.len())])?;
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            Some(Fault::Endless) => {
                write!(
                    stream,
                    "HTTP/1.1 {status}\r\n{extra}Transfer-Encoding: chunked\r\n\r\n"
                )?;
                loop {
                    stream.write_all(b"400\r\n")?;
                    stream.write_all(&[7; 0x400])?;
                    stream.write_all(b"\r\n")?;
                }
            }
            Some(Fault::Slow) => {
                write!(
                    stream,
                    "HTTP/1.1 {status}\r\n{extra}Content-Length: {}\r\n\r\n",
                    bytes.len()
                )?;
                for byte in &bytes {
                    stream.write_all(&[*byte])?;
                    // A byte each half second: what is waited for never comes.
                    let guard = self.world.lock().unwrap();
                    let never =
                        self.bell
                            .wait_timeout_while(guard, Duration::from_millis(500), |_| true);
                    drop(never);
                }
            }
            Some(Fault::Headers) => {
                stream.write_all(b"HTTP/1.1 200 OK\r\n")?;
                loop {
                    stream.write_all(b"X-More: and more and more and more\r\n")?;
                }
            }
            Some(Fault::Status(status, headers)) => {
                return write!(
                    stream,
                    "HTTP/1.1 {status} Fault\r\n{headers}Content-Length: 0\r\n\r\n"
                );
            }
            Some(Fault::Silent) => {
                let mut byte = [0];
                let _ = stream.read(&mut byte)?;
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
        }
        write!(
            stream,
            "HTTP/1.1 {status}\r\n{extra}Content-Length: {}\r\n\r\n",
            bytes.len()
        )?;
        stream.write_all(&bytes)
    }

    /// Answers a request; a poll that may wait does, until there is an order.
    fn answer(&self, request: &[u8]) -> Vec<u8> {
        let mut world = self.world.lock().unwrap();
        let answer = world.answer(request);
        let hold = world.server.hold_secs;
        if hold > 0 {
            self.bell.notify_all();
            let hold = Duration::from_secs(hold.into());
            let waiting = |world: &mut World| {
                world.shop.orders.values().all(Vec::is_empty) && !self.gone.load(Ordering::SeqCst)
            };
            drop(self.bell.wait_timeout_while(world, hold, waiting));
        }
        answer
    }
}
