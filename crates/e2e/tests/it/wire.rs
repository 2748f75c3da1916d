//! HTTP as somebody writes it who wants to see and change each byte.

use std::{
    io::{Read, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// Longest wait for an answer: more than a poll is held back.
const ANSWER_WAIT: Duration = Duration::from_secs(45);

/// One HTTP message: its head with the empty line at its end, and its body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Message {
    /// Reads one; `None` where the other side says no more.
    pub(crate) fn read(from: &mut impl Read) -> Option<Self> {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            from.read_exact(&mut byte).ok()?;
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).ok()?;
        let mut body = Vec::new();
        let length = field(&head, "content-length").and_then(|text| text.parse().ok());
        match length {
            Some(length) => {
                body.resize(length, 0);
                from.read_exact(&mut body).ok()?;
            }
            // A request without a length has no body; an answer without one ends with its connection.
            None if head.starts_with("HTTP/") => {
                from.read_to_end(&mut body).ok()?;
            }
            None => {}
        }
        Some(Self { head, body })
    }

    /// The path that is asked for, or the status of an answer.
    pub(crate) fn path(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    /// The bytes, with the length of the body as it is now and no further message on this connection.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.bytes_and("close")
    }

    /// The same on a connection that stays open.
    pub(crate) fn kept_alive(&self) -> Vec<u8> {
        self.bytes_and("keep-alive")
    }

    fn bytes_and(&self, connection: &str) -> Vec<u8> {
        let mut lines = self.head.trim_end().split("\r\n");
        let mut bytes = lines.next().unwrap_or_default().as_bytes().to_vec();
        bytes.extend(b"\r\n");
        for line in lines {
            let name = line.split(':').next().unwrap_or_default();
            if ["content-length", "connection"]
                .iter()
                .all(|known| !name.eq_ignore_ascii_case(known))
            {
                bytes.extend(line.as_bytes());
                bytes.extend(b"\r\n");
            }
        }
        let length = self.body.len();
        bytes.extend(
            format!("connection: {connection}\r\ncontent-length: {length}\r\n\r\n").as_bytes(),
        );
        bytes.extend(&self.body);
        bytes
    }

    /// Sends it to a server; what that says to it.
    pub(crate) fn ask(&self, server: SocketAddr) -> Option<Self> {
        let mut stream = TcpStream::connect(server).ok()?;
        stream.set_read_timeout(Some(ANSWER_WAIT)).ok()?;
        stream.write_all(&self.bytes()).ok()?;
        Self::read(&mut stream)
    }

    /// A frame of the device protocol.
    pub(crate) fn frame(body: &[u8]) -> Self {
        Self {
            head: "POST /device/v1 HTTP/1.1\r\nhost: server\r\ncontent-type: application/kusabi+cbor\r\n\r\n"
                .to_owned(),
            body: body.to_vec(),
        }
    }
}

/// A field of a head.
fn field<'h>(head: &'h str, wanted: &str) -> Option<&'h str> {
    head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case(wanted).then(|| value.trim())
    })
}

/// `GET`, with more lines for the head; status and body.
pub(crate) fn get(server: SocketAddr, path: &str, head: &str) -> (u16, Vec<u8>) {
    let request = Message {
        head: format!("GET {path} HTTP/1.1\r\nhost: {server}\r\n{head}\r\n"),
        body: Vec::new(),
    };
    let answer = request.ask(server).unwrap();
    (answer.path().parse().unwrap(), answer.body)
}
