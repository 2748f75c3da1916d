//! Clients that behave badly on a real socket, and one that behaves well.

use super::world::{GENESIS, HANDLE, Memory, Server, id_of};
use bytes::Bytes;
use kusabi_api::{
    HttpLedger, Kind, Ledger,
    ledger::{MAX_TRANSACTION, Submitted, Transaction},
};
use kusabi_core::id::{Epoch, Handle, Height, StateKey};
use kusabi_node::http::Limits;
use std::time::{Duration, Instant};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Limits short enough to wait for.
fn short() -> Limits {
    Limits {
        header_time: Duration::from_millis(200),
        body_time: Duration::from_millis(200),
        write_time: Duration::from_millis(200),
        grace: Duration::from_millis(300),
        ..Limits::default()
    }
}

/// Sends bytes and reads until the server closes.
async fn exchange(server: &Server, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    read_all(&mut stream).await
}

async fn read_all(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    let reading = async {
        // A reset after an early answer is a close too.
        while let Ok(n @ 1..) = stream.read(&mut buffer).await {
            answer.extend(&buffer[..n]);
        }
    };
    tokio::time::timeout(Duration::from_secs(20), reading)
        .await
        .expect("the server did not close");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn everything_over_a_socket() {
    let memory = Memory {
        submit: Box::new(|bytes, _| Ok(Submitted::Pending { id: id_of(bytes) })),
        ..Memory::default()
    };
    let server = Server::start(memory, Limits::default()).await;
    let client = HttpLedger::new(&server.url()).unwrap();
    let key = StateKey::record(&Handle::new(HANDLE));
    assert_eq!(
        client.lookup(key, Height::ZERO).await.unwrap(),
        "proof of presence"
    );
    assert_eq!(
        client
            .lookup(StateKey::ledger(), Height::ZERO)
            .await
            .unwrap(),
        "proof of absence"
    );
    assert_eq!(client.checkpoint(Height::ZERO).await.unwrap(), "checkpoint");
    assert_eq!(client.genesis().await.unwrap(), GENESIS);
    assert_eq!(client.walk(Epoch::ZERO).await.unwrap().len(), 1);
    assert_eq!(client.status().await.unwrap().height, 3);
    let block = client.block(Height::new(2).unwrap()).await.unwrap();
    assert_eq!(block.header, "header 2");
    let unknown = client.block(Height::new(9).unwrap()).await.unwrap_err();
    assert_eq!(
        (unknown.kind, unknown.detail.as_ref()),
        (Kind::Unknown, "the newest block is 3")
    );
    let wait = Duration::from_secs(2);
    let Submitted::Pending { id } = client
        .submit(Bytes::from_static(b"waiting"), wait)
        .await
        .unwrap()
    else {
        panic!("it is not final");
    };
    assert_eq!(server.memory.received.lock().unwrap()[0], (7, wait));
    assert_eq!(
        client.transaction(id).await.unwrap(),
        Transaction::Pending { id }
    );
    server.stop.send_replace(true);
    assert_eq!(server.done.await.unwrap(), 0);
}

#[tokio::test]
async fn no_http_at_all() {
    let server = Server::start(Memory::default(), short()).await;
    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"\0\0\0\0\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /v1/status HTTP/1.1\r\nno colon\r\n\r\n",
        b"POST /v1/transactions HTTP/1.1\r\ncontent-length: 1x\r\n\r\n",
        b"POST /v1/transactions HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
    ] {
        let answer = exchange(&server, garbage).await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 400"),
            "{answer}"
        );
    }
    assert!(
        HttpLedger::new(&server.url())
            .unwrap()
            .status()
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn headers_without_end() {
    let server = Server::start(Memory::default(), short()).await;
    let head = "GET /v1/status HTTP/1.1\r\nhost: x\r\nconnection: close\r\n";
    let huge = format!("{head}x-huge: {}\r\n\r\n", "x".repeat(20_000));
    let answer = exchange(&server, huge.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    assert!(
        answer.contains("urn:kusabi:problem:header-too-large"),
        "{answer}"
    );
    for huger in [
        format!("{head}x-huger: {}\r\n\r\n", "x".repeat(200_000)),
        format!("{head}{}\r\n", "x: y\r\n".repeat(300)),
    ] {
        let answer = exchange(&server, huger.as_bytes()).await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
            "{answer}"
        );
    }
    let long = format!(
        "GET /{} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        "y".repeat(5000)
    );
    let answer = exchange(&server, long.as_bytes()).await;
    assert!(
        answer.contains("urn:kusabi:problem:address-too-long"),
        "{answer}"
    );
}

#[tokio::test]
async fn slow_loris() {
    let server = Server::start(Memory::default(), short()).await;
    for begun in [
        &b""[..],
        b"GET /v1/sta",
        b"GET /v1/status HTTP/1.1\r\nhost: x\r\nx-y: ",
    ] {
        let start = Instant::now();
        exchange(&server, begun).await;
        assert!(start.elapsed() < Duration::from_secs(5), "{begun:?}");
    }
    // A connection that has been served and then says nothing.
    let start = Instant::now();
    let answer = exchange(&server, b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn slow_body() {
    let server = Server::start(Memory::default(), short()).await;
    let head = b"POST /v1/transactions HTTP/1.1\r\nhost: x\r\ncontent-type: application/cbor\r\ncontent-length: 100\r\n\r\nbeg";
    let answer = exchange(&server, head).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(
        answer.contains("urn:kusabi:problem:request-timeout"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_body_that_is_too_large_is_not_asked_for() {
    let server = Server::start(Memory::default(), short()).await;
    let head = format!(
        "POST /v1/transactions HTTP/1.1\r\nhost: x\r\ncontent-type: application/cbor\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        MAX_TRANSACTION + 1
    );
    let answer = exchange(&server, head.as_bytes()).await;
    assert!(
        answer.starts_with("HTTP/1.1 413"),
        "no \"100 Continue\" before it: {answer}"
    );
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_cut() {
    // Far more than the kernel holds for both ends.
    let memory = Memory {
        block_bytes: 24 << 20,
        ..Memory::default()
    };
    let server = Server::start(memory, short()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream
        .write_all(b"GET /v1/blocks/1 HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let client = HttpLedger::new(&server.url()).unwrap();
    let cut = async {
        loop {
            let page = reqwest_metrics(&client).await;
            if page.lines().any(|line| line == "kusabi_http_cut_total 1") {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), cut)
        .await
        .expect("the server holds on to it");
    drop(stream);
}

/// The metrics page, by hand: the typed client has no such call.
async fn reqwest_metrics(client: &HttpLedger) -> String {
    let address = client
        .address()
        .trim_start_matches("http://")
        .trim_end_matches('/');
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    read_all(&mut stream).await
}

#[tokio::test]
async fn connections_have_a_bound() {
    let server = Server::start(
        Memory::default(),
        Limits {
            connections: 1,
            ..short()
        },
    )
    .await;
    let idle = TcpStream::connect(server.address).await.unwrap();
    // The second one waits until the first is cut for saying nothing.
    let start = Instant::now();
    let answer = exchange(
        &server,
        b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(
        start.elapsed() >= Duration::from_millis(150),
        "it was served beside the first"
    );
    drop(idle);
}

#[tokio::test]
async fn requests_one_after_the_other_on_one_connection() {
    let server = Server::start(Memory::default(), Limits::default()).await;
    let request = "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
    let last = "GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let answer = exchange(&server, format!("{}{last}", request.repeat(49)).as_bytes()).await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 50);
}

#[tokio::test]
async fn stopping_lets_requests_end_and_breaks_off_the_rest() {
    let limits = Limits {
        header_time: Duration::from_secs(60),
        body_time: Duration::from_secs(60),
        ..short()
    };
    let server = Server::start(Memory::default(), limits).await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut first = [0; 12];
    idle.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");

    let head = "POST /v1/transactions HTTP/1.1\r\nhost: x\r\ncontent-type: application/cbor\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\n";
    let mut begun = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        // "100 Continue" says that the server waits for the body.
        stream.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"HTTP/1.1 100");
        begun.push(stream);
    }
    server.stop.send_replace(true);
    // The idle one ends at once, one of the two goes on and is served, the other one does not.
    assert!(!read_all(&mut idle).await.contains("HTTP/1.1"));
    begun[0].write_all(b"body").await.unwrap();
    let answer = read_all(&mut begun[0]).await;
    assert!(answer.contains("HTTP/1.1 200 OK"), "{answer}");
    let done = tokio::time::timeout(Duration::from_secs(20), server.done).await;
    assert_eq!(done.unwrap().unwrap(), 1);
    assert!(
        TcpStream::connect(server.address).await.is_err(),
        "it still listens"
    );
}
