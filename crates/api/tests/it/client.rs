//! The client against nodes that are slow, rude, gone or endless.

use kusabi_api::{
    HttpLedger, Kind, Ledger, Problem,
    client::Limits,
    ledger::{MAX_FRESHNESS, MAX_PROOF, MAX_TRANSACTION},
};
use kusabi_core::id::{Epoch, Height, Nonce, StateKey};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// A node that gives each connection, one after the other, the next of these answers and closes. The last one is repeated.
async fn node(answers: Vec<Vec<u8>>) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let n = counter.fetch_add(1, Ordering::SeqCst);
            let answer = answers
                .get(n)
                .or_else(|| answers.last())
                .cloned()
                .unwrap_or_default();
            tokio::spawn(async move {
                read_request(&mut stream).await;
                let _ = stream.write_all(&answer).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    (address, count)
}

async fn read_request(stream: &mut TcpStream) {
    let mut seen: Vec<u8> = Vec::new();
    let mut buffer = [0; 1024];
    while !seen.windows(4).any(|w| w == b"\r\n\r\n") {
        match stream.read(&mut buffer).await {
            Ok(n @ 1..) => seen.extend(&buffer[..n]),
            _ => return,
        }
    }
}

fn http(status: &str, headers: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into()
}

fn quick(address: &str) -> HttpLedger {
    let limits = Limits {
        request: Duration::from_millis(300),
        silence: Duration::from_millis(300),
        pause_max: Duration::from_millis(1),
        ..Limits::default()
    };
    HttpLedger::with_limits(address, limits).unwrap()
}

#[test]
fn addresses_that_are_none() {
    for bad in [
        "",
        "127.0.0.1:7040",
        "https://ledger.example",
        "http://",
        "http://u:p@host",
        "http://host?x",
        "http://host#x",
        "file:///etc",
    ] {
        assert_eq!(
            HttpLedger::new(bad).unwrap_err().kind,
            Kind::BadParameter,
            "{bad}"
        );
    }
    assert_eq!(
        HttpLedger::new("http://host:1/ledger").unwrap().address(),
        "http://host:1/ledger/"
    );
}

#[tokio::test]
async fn a_question_is_asked_again_when_that_can_help() {
    let behind = http("503 Service Unavailable", "retry-after: 1\r\n", "");
    let (address, count) = node(vec![behind, Vec::new(), http("200 OK", "", "proof")]).await;
    assert_eq!(
        quick(&address)
            .lookup(StateKey::ledger(), Height::ZERO)
            .await
            .unwrap(),
        "proof"
    );
    assert_eq!(count.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_nonce_is_sent_again_when_that_can_help() {
    let unvouched = Problem::new(Kind::Unvouched, "1 of 2 validators").to_json();
    let unvouched = String::from_utf8(unvouched).unwrap();
    let unvouched = http("503 Service Unavailable", "retry-after: 1\r\n", &unvouched);
    let (address, count) = node(vec![unvouched.clone(), http("200 OK", "", "receipt")]).await;
    let receipt = quick(&address).freshness(Nonce::new([1; 32])).await;
    assert_eq!(receipt.unwrap(), "receipt");
    assert_eq!(count.load(Ordering::SeqCst), 2);
    let (address, count) = node(vec![unvouched]).await;
    let problem = quick(&address).freshness(Nonce::new([1; 32])).await;
    let problem = problem.unwrap_err();
    assert_eq!(
        (
            problem.kind,
            problem.detail.as_ref(),
            count.load(Ordering::SeqCst)
        ),
        (Kind::Unvouched, "1 of 2 validators", 3)
    );
}

#[tokio::test]
async fn a_question_is_not_asked_for_ever_nor_in_vain() {
    for (answer, kind, asked) in [
        (http("503 Service Unavailable", "", ""), Kind::Behind, 3),
        (
            http("429 Too Many Requests", "", ""),
            Kind::TooManyRequests,
            3,
        ),
        (http("404 Not Found", "", ""), Kind::Unknown, 1),
        (
            http("500 Internal Server Error", "", "<html>"),
            Kind::Internal,
            1,
        ),
        (
            http("302 Found", "location: http://127.0.0.1:1/\r\n", ""),
            Kind::BadAnswer,
            1,
        ),
        (b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(), Kind::Unreachable, 3),
    ] {
        let (address, count) = node(vec![answer]).await;
        let problem = quick(&address).checkpoint(Height::ZERO).await.unwrap_err();
        assert_eq!(
            (problem.kind, count.load(Ordering::SeqCst)),
            (kind, asked),
            "{problem}"
        );
    }
}

#[tokio::test]
async fn a_submission_that_may_have_arrived_is_not_sent_again() {
    let (address, count) = node(vec![Vec::new()]).await;
    let problem = quick(&address)
        .submit("bytes".into(), Duration::ZERO)
        .await
        .unwrap_err();
    assert_eq!(
        (problem.kind, count.load(Ordering::SeqCst)),
        (Kind::Unreachable, 1)
    );
    assert!(problem.detail.contains("ask for it by its ID"), "{problem}");
}

#[tokio::test]
async fn nobody_there() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let client = quick(&address);
    let asked = client.genesis().await.unwrap_err();
    assert_eq!(asked.kind, Kind::Unreachable);
    assert!(asked.detail.contains("refused"), "{asked}");
    let sent = client
        .submit("bytes".into(), Duration::ZERO)
        .await
        .unwrap_err();
    assert!(
        !sent.detail.contains("not known"),
        "it cannot have arrived: {sent}"
    );
}

#[tokio::test]
async fn a_node_that_does_not_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let problem = quick(&address).status().await.unwrap_err();
    assert_eq!(
        (problem.kind, problem.detail.as_ref()),
        (Kind::Unreachable, "the ledger node did not answer in time")
    );
    let silent = quick(&address).events(Height::ZERO).await;
    assert_eq!(silent.err().map(|p| p.kind), Some(Kind::Unreachable));
    drop(listener);
}

#[tokio::test]
async fn answers_have_bounds() {
    let announced = http("200 OK", "", &"x".repeat(MAX_PROOF + 1));
    let endless = {
        let mut answer =
            b"HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
        for _ in 0..64 {
            answer.extend(format!("1000\r\n{}\r\n", "x".repeat(0x1000)).bytes());
        }
        answer
    };
    for answer in [announced, endless] {
        let (address, _) = node(vec![answer]).await;
        let problem = quick(&address)
            .lookup(StateKey::ledger(), Height::ZERO)
            .await
            .unwrap_err();
        assert_eq!(problem.kind, Kind::BadAnswer);
    }
    let receipt = http("200 OK", "", &"x".repeat(MAX_FRESHNESS + 1));
    let (address, _) = node(vec![receipt]).await;
    let asked = quick(&address).freshness(Nonce::new([1; 32])).await;
    assert_eq!(asked.unwrap_err().kind, Kind::BadAnswer);
    let too_large = vec![0; MAX_TRANSACTION + 1];
    let problem = quick("http://127.0.0.1:1")
        .submit(too_large.into(), Duration::ZERO)
        .await
        .unwrap_err();
    assert_eq!(problem.kind, Kind::TooLarge);
}

#[tokio::test]
async fn answers_of_the_wrong_form() {
    for body in [
        "",
        "null",
        "[]",
        "{\"state\":\"final\"}",
        "{\"state\":\"final\",\"id\":\"zz\",\"height\":1,\"index\":0}",
    ] {
        let (address, _) = node(vec![http("200 OK", "", body)]).await;
        let client = quick(&address);
        assert_eq!(
            client
                .submit("x".into(), Duration::ZERO)
                .await
                .unwrap_err()
                .kind,
            Kind::BadAnswer,
            "{body}"
        );
        assert_eq!(
            client.status().await.unwrap_err().kind,
            Kind::BadAnswer,
            "{body}"
        );
        assert_eq!(
            client.block(Height::ZERO).await.unwrap_err().kind,
            Kind::BadAnswer,
            "{body}"
        );
    }
    let steps: Vec<_> = (0..100)
        .map(|_| r#"{"kind":"handover","bytes":"AAAA"}"#)
        .collect();
    let (address, _) = node(vec![http("200 OK", "", &format!("[{}]", steps.join(",")))]).await;
    assert_eq!(
        quick(&address).walk(Epoch::ZERO).await.unwrap_err().kind,
        Kind::BadAnswer
    );
}
