//! The client of the admin API against servers that refuse, repeat themselves, or speak of other things.

use kusabi_api::{
    Hex, Kind,
    admin::OrderCreate,
    client::{AdminClient, AdminToken, Limits, admin::Devices},
};
use std::{sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::Mutex,
};

/// A server that gives each connection the next of these answers, the last one again and again; and the requests that came.
async fn server(answers: Vec<(&'static str, String)>) -> (AdminClient, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let requests = Arc::new(Mutex::new(Vec::<String>::new()));
    let noted = Arc::clone(&requests);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut seen = Vec::new();
            let mut buffer = [0; 4096];
            while !seen.windows(4).any(|w| w == b"\r\n\r\n") {
                match stream.read(&mut buffer).await {
                    Ok(n @ 1..) => seen.extend(&buffer[..n]),
                    _ => break,
                }
            }
            let mut noted = noted.lock().await;
            let (status, body) = answers
                .get(noted.len())
                .or_else(|| answers.last())
                .cloned()
                .unwrap_or_default();
            noted.push(String::from_utf8_lossy(&seen).into_owned());
            drop(noted);
            let answer = format!(
                "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    let limits = Limits {
        request: Duration::from_secs(5),
        pause_max: Duration::from_millis(1),
        ..Limits::default()
    };
    let token = AdminToken::parse("kusabi_token_17\n").unwrap();
    let client = AdminClient::new(&address, token, None, limits).unwrap();
    (client, requests)
}

fn order() -> OrderCreate {
    serde_json::from_str(r#"{"kind":"report","target":{"device":"dev_0"}}"#).unwrap()
}

#[tokio::test]
async fn every_request_says_who_asks_and_where() {
    let page = r#"{"items":[]}"#;
    let (client, requests) = server(vec![("200 OK", page.into())]).await;
    let which = Devices {
        serial: Some("a&b ü".parse().unwrap()),
        ..Devices::default()
    };
    client.devices(&which, Some("dev_7"), 5).await.unwrap();
    let request = requests.lock().await[0].to_lowercase();
    assert!(
        request
            .starts_with("get /api/v1/devices?serial=a%26b+%c3%bc&cursor=dev_7&limit=5 http/1.1"),
        "{request}"
    );
    assert!(request.contains("authorization: bearer kusabi_token_17\r\n"));
}

#[tokio::test]
async fn a_command_is_repeated_under_its_key_and_a_refusal_is_not() {
    let busy = r#"{"type":"urn:kusabi:problem:too-many-requests","title":"","status":429,"detail":"later"}"#;
    let refused =
        r#"{"type":"urn:kusabi:problem:forbidden","title":"","status":403,"detail":"no"}"#;
    let answers = vec![("429 Busy", busy.into()), ("403 No", refused.into())];
    let (client, requests) = server(answers).await;
    let why = client.create_order(&order(), "key-1").await.unwrap_err();
    assert_eq!((why.kind, &*why.detail), (Kind::Forbidden, "no"));
    let requests = requests.lock().await;
    assert_eq!(requests.len(), 2);
    assert!(
        requests
            .iter()
            .all(|one| one.contains("idempotency-key: key-1\r\n"))
    );
}

#[tokio::test]
async fn a_list_that_goes_in_circles_ends() {
    let group = r#"{"items":[{"id":"grp_1","name":"a","created_ms":1}],"next":"grp_1"}"#;
    let (client, requests) = server(vec![("200 OK", group.into())]).await;
    assert_eq!(client.groups().await.unwrap().len(), 2);
    assert_eq!(requests.lock().await.len(), 2);
}

#[tokio::test]
async fn what_is_no_answer_of_a_server() {
    for body in ["<html>", "{}", "[1"] {
        let (client, _) = server(vec![("200 OK", body.into())]).await;
        let why = client.release(Hex([1; 32])).await.unwrap_err();
        assert_eq!(why.kind, Kind::BadAnswer, "{body}");
        assert!(why.detail.contains("server"), "{why}");
    }
    let nobody = AdminClient::new(
        "http://127.0.0.1:1",
        AdminToken::parse("t").unwrap(),
        None,
        Limits {
            pause_max: Duration::from_millis(1),
            ..Limits::default()
        },
    );
    let why = nobody.unwrap().server().await.unwrap_err();
    assert_eq!(why.kind, Kind::Unreachable);
}

#[cfg(feature = "tls")]
#[test]
fn authorities_that_are_none() {
    let token = AdminToken::parse("t").unwrap();
    let client = AdminClient::new("https://127.0.0.1:1", token, Some(b"x"), Limits::default());
    assert_eq!(client.unwrap_err().kind, Kind::BadParameter);
}
