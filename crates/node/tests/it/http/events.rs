//! The event stream.

use super::world::{Memory, Router, Server, block_events};
use axum::body::HttpBody;
use axum::{
    body::Body,
    http::{Request, Response},
};
use futures::StreamExt;
use kusabi_api::{HttpLedger, Kind, Ledger};
use kusabi_core::id::Height;
use kusabi_node::http::Limits;
use std::{future::poll_fn, pin::Pin, time::Duration};

async fn open(router: &Router, address: &str, last: Option<&str>) -> Response<Body> {
    let mut request = Request::get(address);
    if let Some(last) = last {
        request = request.header("last-event-id", last);
    }
    router.api.call(request.body(Body::empty()).unwrap()).await
}

/// The next message or comment of a stream.
async fn next(response: &mut Response<Body>) -> Option<String> {
    let frame = poll_fn(|cx| Pin::new(response.body_mut()).poll_frame(cx)).await?;
    let data = frame.unwrap().into_data().unwrap();
    Some(String::from_utf8(data.to_vec()).unwrap())
}

fn block(height: u64) -> String {
    let data = serde_json::to_string(&block_events(height)).unwrap();
    format!("id: {height}\nevent: block\ndata: {data}\n\n")
}

#[tokio::test]
async fn a_stream_begins_where_it_is_told() {
    let router = Router::default();
    for (address, last, first) in [
        ("/v1/events?after=0", None, 1),
        ("/v1/events?after=1", None, 2),
        ("/v1/events", Some("2"), 3),
        ("/v1/events?after=0", Some("2"), 3),
    ] {
        let mut stream = open(&router, address, last).await;
        assert_eq!(stream.headers()["content-type"], "text/event-stream");
        assert_eq!(
            next(&mut stream).await.unwrap(),
            block(first),
            "{address} {last:?}"
        );
    }
    let mut newest = open(&router, "/v1/events", None).await;
    router.memory.height.send_replace(4);
    assert_eq!(next(&mut newest).await.unwrap(), block(4));
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_shows_that_it_lives() {
    let router = Router::default();
    let mut stream = open(&router, "/v1/events?after=3", None).await;
    let before = tokio::time::Instant::now();
    assert_eq!(next(&mut stream).await.unwrap(), ": heartbeat\n\n");
    assert_eq!(before.elapsed(), Limits::default().heartbeat);
    router.memory.height.send_replace(4);
    assert_eq!(next(&mut stream).await.unwrap(), block(4));
}

#[tokio::test]
async fn a_lagging_reader_is_told_and_cut() {
    let router = Router::new(
        Memory {
            lagging_from: 2,
            ..Memory::default()
        },
        Limits::default(),
    );
    let mut stream = open(&router, "/v1/events?after=0", None).await;
    assert_eq!(next(&mut stream).await.unwrap(), block(1));
    let last = next(&mut stream).await.unwrap();
    assert!(
        last.starts_with("event: problem\ndata: {\"type\":\"urn:kusabi:problem:lagging\""),
        "{last}"
    );
    assert_eq!(next(&mut stream).await, None);
}

#[tokio::test]
async fn subscribers_have_a_bound() {
    let router = Router::new(
        Memory::default(),
        Limits {
            subscribers: 2,
            ..Limits::default()
        },
    );
    let first = open(&router, "/v1/events", None).await;
    let _second = open(&router, "/v1/events", None).await;
    let third = router.get("/v1/events", &[]).await;
    assert_eq!(
        (third.problem(), third.header("retry-after")),
        (Kind::TooManyRequests, "30")
    );
    drop(first);
    assert_eq!(
        open(&router, "/v1/events", None).await.status().as_u16(),
        200
    );
}

#[tokio::test]
async fn stopping_ends_streams() {
    let router = Router::default();
    let mut stream = open(&router, "/v1/events", None).await;
    router.stop.send_replace(true);
    let last = next(&mut stream).await.unwrap();
    assert!(last.contains("urn:kusabi:problem:stopping"), "{last}");
    assert_eq!(next(&mut stream).await, None);
}

#[tokio::test]
async fn a_client_resumes_where_it_was() {
    let server = Server::start(Memory::default(), Limits::default()).await;
    let client = HttpLedger::new(&server.url()).unwrap();
    let mut stream = client.events(Height::ZERO).await.unwrap();
    for height in 1..=3 {
        assert_eq!(stream.next().await.unwrap().unwrap(), block_events(height));
    }
    drop(stream);
    server.memory.height.send_replace(5);
    let mut stream = client.events(Height::new(3).unwrap()).await.unwrap();
    for height in 4..=5 {
        assert_eq!(stream.next().await.unwrap().unwrap(), block_events(height));
    }
    server.stop.send_replace(true);
    assert_eq!(
        stream.next().await.unwrap().unwrap_err().kind,
        Kind::Stopping
    );
    assert!(stream.next().await.is_none());
    tokio::time::timeout(Duration::from_secs(10), server.done)
        .await
        .unwrap()
        .unwrap();
}
