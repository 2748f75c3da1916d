//! Somebody between the command and its node, who may change every answer.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

/// What becomes of the node's answer to a path: the whole answer, head and body.
type Rule = dyn Fn(&str, Vec<u8>) -> Vec<u8> + Send + Sync;

/// A proxy on a port of its own; it ends with the test.
pub(crate) struct Proxy {
    pub(crate) address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// Stands before the node at `address`.
    pub(crate) fn before(
        address: &str,
        rule: impl Fn(&str, Vec<u8>) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let node = address.strip_prefix("http://").unwrap().to_owned();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let proxy = Self {
            address: format!("http://{}", listener.local_addr().unwrap()),
            asked: asked.clone(),
        };
        let rule: Arc<Rule> = Arc::new(rule);
        std::thread::spawn(move || {
            for stream in listener.incoming().filter_map(Result::ok) {
                let (node, rule, asked) = (node.clone(), rule.clone(), asked.clone());
                // A client that leaves early is not the test's subject.
                std::thread::spawn(move || pass(stream, &node, &*rule, &asked));
            }
        });
        proxy
    }

    /// The paths that were asked for since the last call.
    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

/// An answer that is a problem document.
pub(crate) fn problem(status: u16, slug: &str, detail: &str) -> Vec<u8> {
    let body = serde_json::json!({
        "type": kusabi_api::problem::TYPE_PREFIX.to_owned() + slug,
        "title": "no",
        "status": status,
        "detail": detail,
    })
    .to_string();
    format!(
        "HTTP/1.1 {status} No\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn pass(mut client: TcpStream, node: &str, rule: &Rule, asked: &Mutex<Vec<String>>) -> Option<()> {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte).ok()?;
        request.push(byte[0]);
    }
    let head = String::from_utf8(request).ok()?;
    let path = head.split(' ').nth(1)?.to_owned();
    let length = head
        .lines()
        .find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.trim().parse().ok())?
        })
        .unwrap_or(0_usize);
    let mut body = vec![0; length];
    client.read_exact(&mut body).ok()?;
    asked.lock().unwrap().push(path.clone());

    let mut answer = Vec::new();
    if let Ok(mut server) = TcpStream::connect(node) {
        let head = head.replacen("\r\n", "\r\nconnection: close\r\n", 1);
        server.write_all(head.as_bytes()).ok()?;
        server.write_all(&body).ok()?;
        server.read_to_end(&mut answer).ok()?;
    }
    client.write_all(&rule(&path, answer)).ok()?;
    client.flush().ok()
}
