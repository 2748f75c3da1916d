//! A client that costs as little as one can: many kept connections on one thread, requests put together by hand, answers read by
//! length. It speaks just enough HTTP/1.1 to ask a node for proofs, or a server for answers, as fast as it can make them.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};

use kusabi_api::media;
use kusabi_core::id::Handle;

/// An answer is at most one of the device protocol, or a proof, with its header lines.
const ANSWER_MAX: usize = 20 * 1024;

/// One kept connection.
pub(super) struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    answer: Vec<u8>,
    address: SocketAddr,
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

impl Connection {
    pub(super) async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            request: Vec::new(),
            answer: Vec::new(),
            address,
        })
    }

    /// Asks for a key's record and gives the proof's bytes.
    async fn key(&mut self, handle: &Handle) -> io::Result<&[u8]> {
        use std::io::Write as _;
        self.request.clear();
        write!(
            self.request,
            "GET /v1/keys/{handle} HTTP/1.1\r\nhost: {}\r\naccept: {}\r\n\r\n",
            self.address,
            media::PROOF
        )?;
        Ok(self.exchange().await?)
    }

    /// Sends a frame of the device protocol and gives the answer's, to be decrypted where it lies.
    pub(super) async fn frame(&mut self, frame: &[u8]) -> io::Result<&mut [u8]> {
        use std::io::Write as _;
        self.request.clear();
        write!(
            self.request,
            "POST /device/v1 HTTP/1.1\r\nhost: {}\r\ncontent-type: application/kusabi+cbor\r\ncontent-length: {}\r\n\r\n",
            self.address,
            frame.len()
        )?;
        self.request.extend_from_slice(frame);
        // A server closes a connection that was idle for long. Whoever wrote into it just then asks again, as devices do: the
        // protocol answers a repeated request as it answered the first one.
        if self.stream.write_all(&self.request).await.is_err() || self.is_closed().await? {
            self.open_again().await?;
        }
        self.receive().await
    }

    /// Whether the other end closed instead of answering; else the answer has begun.
    async fn is_closed(&mut self) -> io::Result<bool> {
        self.answer.clear();
        match self.stream.read_buf(&mut self.answer).await {
            Ok(read) => Ok(read == 0),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(true),
            Err(error) => Err(error),
        }
    }

    async fn open_again(&mut self) -> io::Result<()> {
        self.stream = TcpStream::connect(self.address).await?;
        self.stream.set_nodelay(true)?;
        self.answer.clear();
        self.stream.write_all(&self.request).await
    }

    async fn exchange(&mut self) -> io::Result<&mut [u8]> {
        self.stream.write_all(&self.request).await?;
        self.answer.clear();
        self.receive().await
    }

    /// The rest of an answer.
    async fn receive(&mut self) -> io::Result<&mut [u8]> {
        let (start, end) = loop {
            if let Some(body) = body(&self.answer)? {
                break body;
            }
            if self.stream.read_buf(&mut self.answer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        };
        if self.answer.len() != end {
            return Err(broken("more than one answer came"));
        }
        self.answer
            .get_mut(start..end)
            .ok_or_else(|| broken("an answer without a body"))
    }
}

/// One answer on a connection of its own.
pub(super) async fn first(address: SocketAddr, handle: &Handle) -> io::Result<Vec<u8>> {
    let mut connection = Connection::open(address).await?;
    Ok(connection.key(handle).await?.to_vec())
}

/// Where the body stands, once all of it is there.
fn body(answer: &[u8]) -> io::Result<Option<(usize, usize)>> {
    let Some(head) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
        return if answer.len() > ANSWER_MAX {
            Err(broken("an answer without an end of its header"))
        } else {
            Ok(None)
        };
    };
    let text = answer
        .get(..head)
        .and_then(|head| std::str::from_utf8(head).ok())
        .ok_or_else(|| broken("a header that is no text"))?;
    let mut lines = text.split("\r\n");
    let status = lines.next().unwrap_or_default();
    if !status.starts_with("HTTP/1.1 200 ") {
        return Err(broken(&format!("the answer was {status:?}")));
    }
    let length: usize = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok())
        .filter(|length| *length <= ANSWER_MAX)
        .ok_or_else(|| broken("an answer without a length"))?;
    let start = head + 4;
    Ok((answer.len() >= start + length).then_some((start, start + length)))
}

/// An answer that was kept, to be verified afterwards.
pub(super) struct Kept {
    pub(super) handle: Handle,
    pub(super) proof: Vec<u8>,
}

/// What came of asking.
#[derive(Default)]
pub(super) struct Asked {
    pub(super) answers: u64,
    pub(super) elapsed: Duration,
    /// Microseconds of each answer.
    pub(super) latencies_us: Vec<u32>,
    /// How many proofs had this many bytes.
    pub(super) lengths: Vec<u64>,
    pub(super) kept: Vec<Kept>,
}

/// Until when to ask.
#[derive(Clone, Copy)]
pub(super) enum Until {
    Passed(Duration),
    Answers(u64),
}

/// A small generator of numbers (SplitMix64): which keys are asked for.
pub(super) struct Numbers(u64);

impl Numbers {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) const fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}

/// Asks over `connections` kept connections at once, each with the next question as soon as it has an answer. One answer of
/// `keep_each` is kept.
pub(super) async fn ask(
    address: SocketAddr,
    connections: u64,
    until: Until,
    keep_each: u64,
    seed: u64,
    question: impl Fn(&mut Numbers) -> Handle + Copy + Send + 'static,
) -> io::Result<Asked> {
    let mut open = Vec::new();
    for _ in 0..connections {
        open.push(Connection::open(address).await?);
    }
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for (number, mut connection) in (0u64..).zip(open) {
        tasks.spawn(async move {
            let mut numbers = Numbers::new(seed ^ (number << 32));
            let mut asked = Asked {
                lengths: vec![0; ANSWER_MAX + 1],
                ..Asked::default()
            };
            loop {
                let more = match until {
                    Until::Passed(window) => start.elapsed() < window,
                    Until::Answers(all) => asked.answers < all.div_ceil(connections),
                };
                if !more {
                    break;
                }
                let handle = question(&mut numbers);
                let before = Instant::now();
                let proof = connection.key(&handle).await?;
                let took = before.elapsed().as_micros();
                if let Some(count) = asked.lengths.get_mut(proof.len()) {
                    *count += 1;
                }
                if asked.answers.is_multiple_of(keep_each) {
                    asked.kept.push(Kept {
                        handle,
                        proof: proof.to_vec(),
                    });
                }
                asked.answers += 1;
                asked
                    .latencies_us
                    .push(u32::try_from(took).unwrap_or(u32::MAX));
            }
            Ok::<_, io::Error>(asked)
        });
    }
    let mut all = Asked {
        lengths: vec![0; ANSWER_MAX + 1],
        ..Asked::default()
    };
    while let Some(done) = tasks.join_next().await {
        let asked = done.map_err(io::Error::other)??;
        all.answers += asked.answers;
        all.latencies_us.extend(asked.latencies_us);
        all.kept.extend(asked.kept);
        for (sum, count) in all.lengths.iter_mut().zip(asked.lengths) {
            *sum += count;
        }
    }
    all.elapsed = start.elapsed();
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_or_waited_for() {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-type: x\r\nContent-Length: 3\r\n\r\nabc";
        for cut in 0..answer.len() {
            assert_eq!(body(&answer[..cut]).unwrap(), None, "{cut}");
        }
        assert_eq!(
            body(answer).unwrap(),
            Some((answer.len() - 3, answer.len()))
        );
    }

    #[test]
    fn what_is_no_proof_is_an_error() {
        for bad in [
            "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n",
        ] {
            body(bad.as_bytes()).unwrap_err();
        }
    }

    #[test]
    fn numbers_cover_the_range() {
        let mut numbers = Numbers::new(1);
        let mut seen = [0; 10];
        for _ in 0..1000 {
            seen[numbers.below(10) as usize] += 1;
        }
        assert!(seen.iter().all(|&n| n > 50), "{seen:?}");
    }
}
