//! Files that leave by a plain connection without passing through this process.
//!
//! A body of the HTTP library is bytes in memory, so a file that it sends is copied twice: into a buffer, and out of it. The kernel can
//! send a file by itself (`sendfile(2)`), but the library has no body for that. So a file's body is made of *stand-ins* here: slices of
//! one static buffer, whose length says how many bytes are meant, and whose address says that they are stand-ins. The library treats
//! them as any other bytes: it writes the header before them, counts them, and waits when the client is slow. At the socket, below the
//! library, a [`Sendfile`] tells them by their address and has the kernel send what they stand for. What the buffer holds never leaves:
//!
//! - stand-ins are made for a connection that has an [`Outlet`] only, and that is one of [`Files`]: no TLS, no proxy in the process;
//! - the connection takes vectored writes, so the library hands slices down where they lie instead of copying them together;
//! - stand-ins come to the socket in the order in which they were made, each whole or without what of it was sent: anything else is
//!   an error, and the connection ends.
//!
//! Waiting for a disk must not hold up other connections: what the kernel does not have in memory is read on a thread that may wait,
//! and then sent.

use bytes::Bytes;
use futures_util::{FutureExt as _, Stream, stream};
use hyper::http::Extensions;
use kusabi_api::serve::{Impatient, Open};
use rustix::{
    fs::sendfile,
    io::{ReadWriteFlags, preadv2},
};
use std::{
    collections::VecDeque,
    fs::File,
    io::{self, IoSlice, IoSliceMut},
    ops::Range,
    os::unix::fs::FileExt as _,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
    task::JoinHandle,
};

/// Most bytes that one stand-in stands for.
const STAND_IN_BYTES: usize = 512 * 1024;

/// What stand-ins are slices of. It is never read: only where it lies counts.
static STAND_IN: [u8; STAND_IN_BYTES] = [0; STAND_IN_BYTES];

/// Stand-ins of one connection that are made and not sent: the library asks for no more than it can write soon.
const WAITING_MAX: usize = 64;

/// Bytes between two places at which it is looked whether a file is in memory, and of a read that brings it there.
const LOOK_BYTES: usize = 64 * 1024;

/// HTTP right on the connection, by which files leave with `sendfile`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Files;

impl Open for Files {
    type Stream = Impatient<Sendfile>;

    async fn open(&self, stream: Impatient<TcpStream>) -> io::Result<Self::Stream> {
        Ok(stream.map(Sendfile::new))
    }

    fn along(stream: &Self::Stream) -> Extensions {
        let mut along = Extensions::new();
        along.insert(stream.get_ref().outlet.clone());
        along
    }
}

/// By which files leave a connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outlet(Arc<Mutex<VecDeque<Meant>>>);

/// What a stand-in stands for, as far as it was not sent.
#[derive(Clone, Debug)]
struct Meant {
    file: Arc<File>,
    at: u64,
    left: usize,
}

impl Outlet {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Meant>> {
        // The queue is whole whenever the lock is free.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A body: stand-ins for the bytes of a file in this range, which is inside of it.
    pub(crate) fn stand_ins(
        self,
        file: File,
        range: Range<u64>,
    ) -> impl Stream<Item = Bytes> + Send {
        let begun = (self, Arc::new(file), range);
        stream::unfold(begun, async |(outlet, file, Range { start, end })| {
            let length = (end.saturating_sub(start)).min(STAND_IN_BYTES as u64);
            let left = usize::try_from(length).ok().filter(|&left| left > 0)?;
            let stand_in = outlet.stand_in(Meant {
                file: Arc::clone(&file),
                at: start,
                left,
            });
            Some((stand_in, (outlet, file, start + length..end)))
        })
    }

    fn stand_in(&self, meant: Meant) -> Bytes {
        let stand_in = STAND_IN.get(..meant.left).unwrap_or(&STAND_IN);
        self.lock().push_back(meant);
        Bytes::from_static(stand_in)
    }
}

fn is_stand_in(bytes: &[u8]) -> bool {
    !bytes.is_empty() && STAND_IN.as_ptr_range().contains(&bytes.as_ptr())
}

/// A connection at which stand-ins become what they stand for.
#[derive(Debug)]
pub(crate) struct Sendfile {
    stream: TcpStream,
    outlet: Outlet,
    /// Brings what is sent next into memory.
    reading: Option<JoinHandle<io::Result<()>>>,
    /// Bytes of the first stand-in that were found in memory, or brought there.
    in_memory: usize,
}

impl Sendfile {
    fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            outlet: Outlet::default(),
            reading: None,
            in_memory: 0,
        }
    }

    /// Sends some of what a stand-in stands for, of which `length` bytes are left.
    fn poll_send(&mut self, cx: &mut Context<'_>, length: usize) -> Poll<io::Result<usize>> {
        let first = self.outlet.lock().front().cloned();
        let waiting = self.outlet.lock().len();
        let Some(meant) = first.filter(|meant| meant.left == length && waiting <= WAITING_MAX)
        else {
            let why = "what stands for a file was changed on its way to the connection";
            return Poll::Ready(Err(io::Error::other(why)));
        };
        ready!(self.stream.poll_write_ready(cx))?;
        ready!(self.poll_in_memory(cx, &meant))?;
        let to_send = self.in_memory;
        loop {
            ready!(self.stream.poll_write_ready(cx))?;
            let sent = self.stream.try_io(Interest::WRITABLE, || {
                let mut at = meant.at;
                Ok(sendfile(&self.stream, &meant.file, Some(&mut at), to_send)?)
            });
            match sent {
                // Contents never change; somebody has been at the directory.
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                Ok(sent) => {
                    self.in_memory -= sent;
                    self.sent(sent);
                    return Poll::Ready(Ok(sent));
                }
                Err(why)
                    if matches!(
                        why.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                    ) => {}
                Err(why) => return Poll::Ready(Err(why)),
            }
        }
    }

    /// Takes note of what was sent of the first stand-in.
    fn sent(&self, sent: usize) {
        let mut waiting = self.outlet.lock();
        if let Some(first) = waiting.front_mut() {
            first.at += sent as u64;
            first.left = first.left.saturating_sub(sent);
            if first.left == 0 {
                waiting.pop_front();
            }
        }
    }

    /// Until bytes of the first stand-in are in memory.
    fn poll_in_memory(&mut self, cx: &mut Context<'_>, meant: &Meant) -> Poll<io::Result<()>> {
        if self.in_memory == 0 && self.reading.is_none() {
            self.in_memory = in_memory(meant);
            if self.in_memory == 0 {
                let meant = meant.clone();
                self.reading = Some(tokio::task::spawn_blocking(move || bring(&meant)));
            }
        }
        if let Some(reading) = &mut self.reading {
            let read = ready!(reading.poll_unpin(cx));
            self.reading = None;
            read.map_err(io::Error::other)??;
            self.in_memory = meant.left;
        }
        Poll::Ready(Ok(()))
    }
}

/// How many bytes of it, from its beginning, the kernel has in memory, as far as one looks; none, where the file system cannot say.
fn in_memory(meant: &Meant) -> usize {
    let is_there = |at: usize| {
        let (mut byte, at) = ([0], meant.at + at as u64);
        let read = preadv2(
            &meant.file,
            &mut [IoSliceMut::new(&mut byte)],
            at,
            ReadWriteFlags::NOWAIT,
        );
        read.is_ok_and(|read| read == 1)
    };
    let mut found = 0;
    while found < meant.left {
        // The last byte before the next look, so that what is found ends where it was looked.
        let next = (found + LOOK_BYTES).min(meant.left);
        if !is_there(next - 1) {
            break;
        }
        found = next;
    }
    found
}

/// Reads it, so that the kernel has it in memory.
fn bring(meant: &Meant) -> io::Result<()> {
    let mut buffer = vec![0; LOOK_BYTES.min(meant.left)];
    let mut read = 0;
    while read < meant.left {
        let next = buffer.len().min(meant.left - read);
        let piece = buffer.get_mut(..next).unwrap_or_default();
        match meant.file.read_at(piece, meant.at + read as u64) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => read += length,
            Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
            Err(why) => return Err(why),
        }
    }
    Ok(())
}

impl AsyncRead for Sendfile {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Sendfile {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if is_stand_in(bytes) {
            return self.poll_send(cx, bytes.len());
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let before = parts.iter().position(|part| is_stand_in(part));
        let (bytes, rest) = parts.split_at(before.unwrap_or(parts.len()));
        if bytes.iter().all(|part| part.is_empty())
            && let Some(stand_in) = rest.first()
        {
            return self.poll_send(cx, stand_in.len());
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    /// Else the library would copy stand-ins together with the header.
    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{body::Body, response::Response};
    use futures_util::StreamExt as _;
    use hyper::{Request, body::Incoming};
    use kusabi_api::serve::{Answers, Bounds, Counts, serve};
    use std::{net::SocketAddr, time::Duration};
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
        sync::watch,
    };

    const SIZE: usize = 3 * STAND_IN_BYTES + 4711;

    /// No two places of it within 64 KiB look alike, and none is like what stand-ins are slices of.
    fn content() -> Vec<u8> {
        (0..SIZE as u32)
            .map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8 | 1)
            .collect()
    }

    fn file() -> tempfile::NamedTempFile {
        use std::io::Write as _;
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&content()).unwrap();
        file
    }

    /// Sends the range `/FROM-TO` of a file, said to be as long as `says` makes of it, and each piece as `shape` changes it.
    #[derive(Clone)]
    struct Sends {
        path: std::path::PathBuf,
        says: u64,
        shape: fn(Bytes) -> Bytes,
    }

    impl Answers for Sends {
        type Body = Body;

        async fn answer(&self, request: Request<Incoming>, _: SocketAddr) -> Response {
            let outlet = request.extensions().get::<Outlet>().unwrap().clone();
            let range = request.uri().path().trim_start_matches('/');
            let (from, to) = range.split_once('-').unwrap();
            let (from, to): (u64, u64) = (from.parse().unwrap(), to.parse().unwrap());
            let file = File::open(&self.path).unwrap();
            let shape = self.shape;
            let pieces = outlet.stand_ins(file, from..to);
            let body = Body::from_stream(pieces.map(move |piece| io::Result::Ok(shape(piece))));
            Response::builder()
                .header("content-length", (to - from).wrapping_add(self.says))
                .body(body)
                .unwrap()
        }
    }

    struct Served {
        address: SocketAddr,
        _stop: watch::Sender<bool>,
    }

    async fn served(sends: Sends) -> Served {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let bounds = Bounds {
            connections: 16,
            header_time: Duration::from_secs(20),
            write_time: Duration::from_secs(20),
            grace: Duration::ZERO,
        };
        let (_stop, stopping) = watch::channel(false);
        let counts = Arc::new(Counts::default());
        tokio::spawn(serve(listener, Files, sends, bounds, counts, stopping));
        Served { address, _stop }
    }

    fn of(file: &tempfile::NamedTempFile) -> Sends {
        Sends {
            path: file.path().to_owned(),
            says: 0,
            shape: |piece| piece,
        }
    }

    async fn ask(stream: &mut TcpStream, ranges: &[(usize, usize)]) {
        for (from, to) in ranges {
            let request = format!("GET /{from}-{to} HTTP/1.1\r\nHost: here\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
        }
    }

    /// The length that the next header says.
    async fn header(stream: &mut TcpStream) -> usize {
        let mut header = Vec::new();
        while !header.ends_with(b"\r\n\r\n") {
            header.push(stream.read_u8().await.unwrap());
        }
        let header = String::from_utf8(header).unwrap();
        let mut lines = header.lines();
        assert_eq!(lines.next(), Some("HTTP/1.1 200 OK"));
        let length = lines.find_map(|line| line.strip_prefix("content-length: "));
        length.unwrap().parse().unwrap()
    }

    /// The bytes of each of these ranges come, one after the other.
    async fn takes(stream: &mut TcpStream, content: &[u8], ranges: &[(usize, usize)]) {
        for &(from, to) in ranges {
            assert_eq!(header(stream).await, to - from);
            let mut body = vec![0; to - from];
            stream.read_exact(&mut body).await.unwrap();
            assert!(body == content[from..to], "{from} to {to}");
        }
    }

    const RANGES: [(usize, usize); 9] = [
        (0, SIZE),
        (0, 0),
        (0, 1),
        (SIZE - 1, SIZE),
        (STAND_IN_BYTES - 1, STAND_IN_BYTES + 1),
        (STAND_IN_BYTES, 2 * STAND_IN_BYTES),
        (LOOK_BYTES - 1, 2 * LOOK_BYTES + 1),
        (5, SIZE - 5),
        (0, SIZE),
    ];

    #[tokio::test]
    async fn every_range_is_what_the_file_has_there_one_after_the_other_and_asked_for_at_once() {
        let (file, content) = (file(), content());
        let server = served(of(&file)).await;
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        for range in RANGES {
            ask(&mut stream, &[range]).await;
            takes(&mut stream, &content, &[range]).await;
        }
        ask(&mut stream, &RANGES).await;
        takes(&mut stream, &content, &RANGES).await;
    }

    #[tokio::test]
    async fn clients_that_take_little_at_a_time_each_get_their_own() {
        let (file, content) = (file(), content());
        let server = served(of(&file)).await;
        let clients = (0..6_usize).map(async |client| {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.set_recv_buffer_size(4096).unwrap();
            let mut stream = socket.connect(server.address).await.unwrap();
            let from = client * 1000;
            ask(&mut stream, &[(from, SIZE)]).await;
            assert_eq!(header(&mut stream).await, SIZE - from);
            let (mut at, mut piece) = (from, [0; 3001]);
            while at < SIZE {
                let read = stream.read(&mut piece).await.unwrap();
                assert!(read > 0, "it ended at {at}");
                assert!(piece[..read] == content[at..at + read], "at {at}");
                at += read;
                tokio::task::yield_now().await;
            }
        });
        futures_util::future::join_all(clients).await;
    }

    #[tokio::test]
    async fn what_is_not_in_memory_is_brought_there() {
        use rustix::fs::{Advice, fadvise};
        let (file, content) = (file(), content());
        file.as_file().sync_all().unwrap();
        fadvise(file.as_file(), 0, None, Advice::DontNeed).unwrap();
        let meant = Meant {
            file: Arc::new(File::open(file.path()).unwrap()),
            at: 100,
            left: STAND_IN_BYTES,
        };
        // A file system may keep it all the same, or not say; what was brought is there if it can say at all.
        bring(&meant).unwrap();
        let said = in_memory(&meant);
        assert!(said == STAND_IN_BYTES || said == 0, "{said}");
        fadvise(file.as_file(), 0, None, Advice::DontNeed).unwrap();
        let server = served(of(&file)).await;
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        ask(&mut stream, &RANGES[..1]).await;
        takes(&mut stream, &content, &RANGES[..1]).await;
    }

    /// What comes after the header, to the end of the connection.
    async fn rest(server: &Served) -> Vec<u8> {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        ask(&mut stream, &[(0, SIZE)]).await;
        header(&mut stream).await;
        let mut rest = Vec::new();
        // The end, or a reset: both say that it is not whole.
        let _ = stream.read_to_end(&mut rest).await;
        rest
    }

    #[tokio::test]
    async fn a_file_that_was_cut_short_ends_the_connection_where_it_ends() {
        let (file, content) = (file(), content());
        let half = SIZE / 2;
        file.as_file().set_len(half as u64).unwrap();
        let came = rest(&served(of(&file)).await).await;
        assert!(came.len() <= half && came == content[..came.len()]);
    }

    #[tokio::test]
    async fn a_stand_in_that_was_changed_on_its_way_never_leaves() {
        let (file, content) = (file(), content());
        let shapes: [fn(Bytes) -> Bytes; 2] = [
            |piece| piece.slice(1..),
            |piece| piece.slice(..piece.len() - 1),
        ];
        for shape in shapes {
            let sends = Sends { shape, ..of(&file) };
            assert_eq!(rest(&served(sends).await).await, b"");
        }
        // Said to be shorter than it is, the library cuts the last one.
        let sends = Sends {
            says: 0_u64.wrapping_sub(1),
            ..of(&file)
        };
        let came = rest(&served(sends).await).await;
        assert!(came.len() < SIZE && came == content[..came.len()]);
    }
}
