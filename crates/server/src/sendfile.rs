//! Files that leave by a plain connection without being copied through this process.
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
//! Waiting for a disk must hold up neither other connections nor this one's clock: what the kernel does not have in memory is read on a
//! thread that may wait, outside of the time that the client has to take it, and then sent. Whether it is in memory is looked at in
//! places, so a file of which the kernel dropped pages in between costs a short wait.

use bytes::Bytes;
use futures_util::{FutureExt as _, Stream, stream};
use hyper::http::Extensions;
use kusabi_api::serve::{Impatient, Open};
use rustix::{
    fs::sendfile,
    io::{Errno, ReadWriteFlags, preadv2},
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
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    task::JoinHandle,
};

/// Most bytes that one stand-in stands for. What is given out to a slow client cannot be taken back.
const STAND_IN_BYTES: usize = 256 * 1024;

/// What stand-ins are slices of. It is never read: only where it lies counts.
static STAND_IN: [u8; STAND_IN_BYTES] = [0; STAND_IN_BYTES];

/// Stand-ins of one connection that are made and not sent: the library asks for no more than it can write soon.
const WAITING_MAX: usize = 64;

/// Bytes of a block of a file: whole ones are brought into memory, and it is looked for one at its end.
const BLOCK_BYTES: u64 = 64 * 1024;

/// HTTP right on the connection, by which files leave with `sendfile`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Files;

impl Open for Files {
    type Stream = Sendfile;

    async fn open(&self, stream: Impatient<TcpStream>) -> io::Result<Self::Stream> {
        Ok(Sendfile {
            stream,
            outlet: Outlet::default(),
            reading: None,
            in_memory: false,
            copies: false,
        })
    }

    fn along(stream: &Self::Stream) -> Extensions {
        let mut along = Extensions::new();
        along.insert(stream.outlet.clone());
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

    /// The first of what waits, if `left` bytes of it are left.
    fn first(&self, left: usize) -> Option<Meant> {
        let waiting = self.lock();
        let first = waiting.front().filter(|first| first.left == left);
        first.filter(|_| waiting.len() <= WAITING_MAX).cloned()
    }

    /// Takes note of what was sent of the first one.
    fn sent(&self, sent: usize) {
        let mut waiting = self.lock();
        if let Some(first) = waiting.front_mut() {
            first.at += sent as u64;
            first.left = first.left.saturating_sub(sent);
            if first.left == 0 {
                waiting.pop_front();
            }
        }
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
    stream: Impatient<TcpStream>,
    outlet: Outlet,
    /// Brings the first of what waits into memory.
    reading: Option<JoinHandle<io::Result<()>>>,
    /// Whether the first of what waits was found there, or brought there, since the client took some of it.
    in_memory: bool,
    /// The file system, or what this process may do, has no `sendfile`.
    copies: bool,
}

impl Drop for Sendfile {
    fn drop(&mut self) {
        if let Some(reading) = &self.reading {
            reading.abort();
        }
    }
}

impl Sendfile {
    /// Sends some of what a stand-in stands for, of which `length` bytes are left.
    fn poll_send(&mut self, cx: &mut Context<'_>, length: usize) -> Poll<io::Result<usize>> {
        let Some(meant) = self.outlet.first(length) else {
            let why = "what stands for a file was changed on its way to the connection";
            return Poll::Ready(Err(io::Error::other(why)));
        };
        ready!(self.poll_in_memory(cx, &meant))?;
        let copies = &mut self.copies;
        let sent = self.stream.poll_write_by(cx, |stream| {
            if !*copies {
                let mut at = meant.at;
                match sendfile(stream, &meant.file, Some(&mut at), meant.left) {
                    Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM) => {
                        *copies = true;
                    }
                    sent => return Ok(sent?),
                }
            }
            copy(stream, &meant)
        });
        if sent.is_pending() {
            // Until the client takes more of it, the kernel may need the memory for something else.
            self.in_memory = false;
        }
        let sent = ready!(sent)?;
        if sent == 0 {
            // Contents never change; somebody has been at the directory.
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        self.in_memory = sent < meant.left;
        self.outlet.sent(sent);
        Poll::Ready(Ok(sent))
    }

    /// Until what is meant is in memory.
    fn poll_in_memory(&mut self, cx: &mut Context<'_>, meant: &Meant) -> Poll<io::Result<()>> {
        if self.reading.is_none() && !self.in_memory {
            self.in_memory = in_memory(meant);
        }
        if self.in_memory {
            return Poll::Ready(Ok(()));
        }
        let reading = self.reading.get_or_insert_with(|| {
            let meant = meant.clone();
            tokio::task::spawn_blocking(move || bring(&meant))
        });
        let read = ready!(reading.poll_unpin(cx));
        self.reading = None;
        read.map_err(io::Error::other)??;
        self.in_memory = true;
        Poll::Ready(Ok(()))
    }
}

/// Writes some of it without the kernel's help.
fn copy(stream: &TcpStream, meant: &Meant) -> io::Result<usize> {
    let mut buffer = vec![0; meant.left.min(BLOCK_BYTES as usize)];
    let read = meant.file.read_at(&mut buffer, meant.at)?;
    match buffer.get(..read) {
        Some(read) if !read.is_empty() => Ok(rustix::io::write(stream, read)?),
        _ => Ok(0),
    }
}

/// Whether the kernel has it in memory, as far as one looks; no, where the file system cannot say.
fn in_memory(meant: &Meant) -> bool {
    let end = meant.at + meant.left as u64;
    let is_there = |at| {
        let mut byte = [0];
        let slices = &mut [IoSliceMut::new(&mut byte)];
        let read = preadv2(&meant.file, slices, at, ReadWriteFlags::NOWAIT);
        read.is_ok_and(|read| read == 1)
    };
    let blocks = meant.at / BLOCK_BYTES..end.div_ceil(BLOCK_BYTES);
    blocks
        .map(|block| ((block + 1) * BLOCK_BYTES).min(end))
        .all(|end| is_there(end - 1))
}

/// Reads the blocks in which it lies, so that the kernel has them in memory: whole ones, so that one that is found at its end is there.
fn bring(meant: &Meant) -> io::Result<()> {
    let end = meant.at + meant.left as u64;
    let mut at = meant.at - meant.at % BLOCK_BYTES;
    let mut buffer = vec![0; BLOCK_BYTES as usize];
    while at < end {
        match meant.file.read_at(&mut buffer, at) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => at += read as u64,
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

    /// As where there is no `sendfile`.
    #[derive(Clone)]
    struct Copies;

    impl Open for Copies {
        type Stream = Sendfile;

        async fn open(&self, stream: Impatient<TcpStream>) -> io::Result<Sendfile> {
            let mut stream = Files.open(stream).await?;
            stream.copies = true;
            Ok(stream)
        }

        fn along(stream: &Sendfile) -> Extensions {
            Files::along(stream)
        }
    }

    async fn served(sends: Sends) -> Served {
        served_by(Files, sends).await
    }

    async fn served_by(open: impl Open, sends: Sends) -> Served {
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
        tokio::spawn(serve(listener, open, sends, bounds, counts, stopping));
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
        (BLOCK_BYTES as usize - 1, 2 * BLOCK_BYTES as usize + 1),
        (5, SIZE - 5),
        (0, SIZE),
    ];

    #[tokio::test]
    async fn every_range_is_what_the_file_has_there_one_after_the_other_and_asked_for_at_once() {
        let (file, content) = (file(), content());
        for server in [served(of(&file)).await, served_by(Copies, of(&file)).await] {
            let mut stream = TcpStream::connect(server.address).await.unwrap();
            for range in RANGES {
                ask(&mut stream, &[range]).await;
                takes(&mut stream, &content, &[range]).await;
            }
            ask(&mut stream, &RANGES).await;
            takes(&mut stream, &content, &RANGES).await;
        }
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
        bring(&meant).unwrap();
        let more = Meant {
            at: 0,
            left: STAND_IN_BYTES + BLOCK_BYTES as usize,
            ..meant.clone()
        };
        // Whole blocks came; or the file system cannot say.
        assert_eq!(in_memory(&meant), in_memory(&more));
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
        // Of the stand-in in which it ends the kernel may have sent what there was, or nothing.
        assert!(
            (STAND_IN_BYTES..=half).contains(&came.len()),
            "{}",
            came.len()
        );
        assert!(came == content[..came.len()]);
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
