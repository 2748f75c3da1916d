//! Every page and every refusal, without a socket.

use super::world::{GENESIS, HANDLE, Memory, Router, WAITS_FOR, id_of};
use axum::{body::Body, http::Request};
use bytes::Bytes;
use futures::stream;
use kusabi_api::{
    Kind, Problem,
    ledger::{MAX_TRANSACTION, Submitted},
};
use kusabi_core::id::{ChainId, Handle, Nonce, StateKey};
use kusabi_node::http::Limits;
use std::{convert::Infallible, time::Duration};

fn key_address() -> String {
    format!("/v1/keys/{}", Handle::new(HANDLE))
}

#[tokio::test]
async fn a_key_is_a_proof() {
    let router = Router::default();
    let state = format!("/v1/state/{}", StateKey::record(&Handle::new(HANDLE)));
    for address in [key_address(), state] {
        let got = router.get(&address, &[]).await;
        assert_eq!(
            (got.status.as_u16(), &got.body[..]),
            (200, &b"proof of presence"[..])
        );
        assert_eq!(got.header("content-type"), "application/vnd.kusabi.proof");
        assert_eq!(got.header("cache-control"), "no-store");
    }
}

#[tokio::test]
async fn an_unknown_key_is_a_proof_too() {
    let got = Router::default()
        .get(&format!("/v1/keys/{}", Handle::new([1; 32])), &[])
        .await;
    assert_eq!(
        (got.status.as_u16(), &got.body[..]),
        (200, &b"proof of absence"[..])
    );
}

#[tokio::test]
async fn addresses_that_are_none() {
    let router = Router::default();
    let upper = key_address().replace("ab", "AB");
    let escaped = key_address().replacen("ab", "%61%62", 1);
    for (address, kind) in [
        ("/", Kind::Unknown),
        ("/v2/keys/00", Kind::Unknown),
        ("/v1/keys", Kind::Unknown),
        ("/v1/keys/", Kind::Unknown),
        ("/v1/keys/00/11", Kind::Unknown),
        ("/v1/keys/..", Kind::BadParameter),
        ("/v1/keys/00", Kind::BadParameter),
        (&upper, Kind::BadParameter),
        (&escaped, Kind::BadParameter),
        ("/v1/keys/%ff%00%fe", Kind::BadParameter),
        ("/v1/state/zz", Kind::BadParameter),
        ("/v1/transactions/1", Kind::BadParameter),
        ("/v1/blocks/-1", Kind::BadParameter),
        ("/v1/blocks/+1", Kind::BadParameter),
        ("/v1/blocks/01", Kind::BadParameter),
        ("/v1/blocks/281474976710656", Kind::BadParameter),
        ("/v1/blocks/99999999999999999999999", Kind::BadParameter),
        ("/v1/blocks/0", Kind::Unknown),
        ("/v1/blocks/4", Kind::Unknown),
        ("/v1/walk/x", Kind::BadParameter),
        ("/v1/checkpoint?at_least=", Kind::BadParameter),
        ("/v1/checkpoint?at_least=-1", Kind::BadParameter),
        (
            "/v1/checkpoint?at_least=281474976710656",
            Kind::BadParameter,
        ),
        ("/v1/checkpoint?at_most=1", Kind::BadParameter),
        ("/v1/events?after=x", Kind::BadParameter),
        ("/v1/events?before=1", Kind::BadParameter),
    ] {
        let got = router.get(address, &[]).await;
        assert_eq!(got.problem(), kind, "{address}");
    }
}

#[tokio::test]
async fn methods_that_a_page_does_not_take() {
    let router = Router::default();
    for (method, address, allow) in [
        ("POST", key_address(), "GET,HEAD"),
        ("DELETE", "/v1/status".into(), "GET,HEAD"),
        ("GET", "/v1/transactions".into(), "POST"),
        ("BREW", "/metrics".into(), "GET,HEAD"),
    ] {
        let request = Request::builder()
            .method(method)
            .uri(&address)
            .body(Body::empty())
            .unwrap();
        let got = router.send(request).await;
        assert_eq!(got.problem(), Kind::MethodNotAllowed, "{method} {address}");
        assert_eq!(got.header("allow"), allow);
    }
}

#[tokio::test]
async fn addresses_and_headers_have_bounds() {
    let router = Router::default();
    let long = format!("/v1/keys/{}", "a".repeat(1100));
    assert_eq!(router.get(&long, &[]).await.problem(), Kind::AddressTooLong);
    let huge = "x".repeat(9000);
    let got = router.get("/v1/status", &[("x-huge", &huge)]).await;
    assert_eq!(got.problem(), Kind::HeaderTooLarge);
}

#[tokio::test]
async fn forms() {
    let router = Router::default();
    let got = router.get(&key_address(), &[("accept", "text/html")]).await;
    assert_eq!(got.problem(), Kind::NotAcceptable);
    let got = router
        .get(&key_address(), &[("accept", "application/octet-stream")])
        .await;
    assert_eq!(&got.body[..], b"proof of presence");
}

#[tokio::test]
async fn blocks_and_genesis_are_kept_for_ever() {
    let router = Router::default();
    for address in ["/v1/blocks/2", "/v1/genesis"] {
        let got = router.get(address, &[]).await;
        assert_eq!(got.status.as_u16(), 200);
        assert_eq!(
            got.header("cache-control"),
            "public, max-age=31536000, immutable"
        );
        let tag = got.header("etag").to_owned();
        let again = router.get(address, &[("if-none-match", &tag)]).await;
        assert_eq!((again.status.as_u16(), again.body.len()), (304, 0));
        assert_eq!(again.header("etag"), tag);
        let other = router.get(address, &[("if-none-match", "\"other\"")]).await;
        assert_eq!(other.status.as_u16(), 200);
    }
    let genesis = router.get("/v1/genesis", &[]).await;
    assert_eq!(&genesis.body[..], GENESIS);
    assert_eq!(
        genesis.header("etag"),
        format!("\"{}\"", ChainId::of(GENESIS))
    );
}

#[tokio::test]
async fn a_large_block_comes_whole_and_gives_its_slot_back() {
    let memory = Memory {
        block_bytes: 300_000,
        ..Memory::default()
    };
    let router = Router::new(
        memory,
        Limits {
            blocks: 1,
            ..Limits::default()
        },
    );
    for _ in 0..3 {
        let got = router.get("/v1/blocks/1", &[]).await;
        let block = kusabi_api::Block::decode(got.body).unwrap();
        assert_eq!(block.transactions[0].len(), 300_000);
    }
}

#[tokio::test(start_paused = true)]
async fn blocks_have_a_bound() {
    let limits = Limits {
        blocks: 1,
        ..Limits::default()
    };
    let router = Router::new(Memory::default(), limits);
    let held = router
        .api
        .call(Request::get("/v1/blocks/1").body(Body::empty()).unwrap())
        .await;
    assert_eq!(
        router.get("/v1/blocks/1", &[]).await.problem(),
        Kind::TooManyRequests
    );
    drop(held);
    assert_eq!(router.get("/v1/blocks/1", &[]).await.status.as_u16(), 200);
}

#[tokio::test]
async fn a_transaction_is_final() {
    let router = Router::default();
    let got = router.post("some bytes", &[]).await;
    assert_eq!(got.status.as_u16(), 200);
    let expected = serde_json::json!({
        "state": "final", "id": id_of(b"some bytes").to_string(), "height": 7, "index": 0,
        "proof": "cHJvb2Ygb2YgcHJlc2VuY2U=",
    });
    assert_eq!(got.json(), expected);
    let wait = Limits::default().wait_default;
    assert_eq!(*router.memory.received.lock().unwrap(), [(10, wait)]);
}

#[tokio::test]
async fn a_transaction_can_be_waited_for() {
    let memory = Memory {
        submit: Box::new(|bytes, _| Ok(Submitted::Pending { id: id_of(bytes) })),
        ..Memory::default()
    };
    let router = Router::new(memory, Limits::default());
    for (prefer, wait) in [("wait=3", 3), ("respond-async", 0), ("wait=100000", 60)] {
        let got = router.post("waiting", &[("prefer", prefer)]).await;
        assert_eq!(got.status.as_u16(), 202);
        assert_eq!(got.header("preference-applied"), format!("wait={wait}"));
        assert_eq!(got.header("retry-after"), "1");
        let waited = router.memory.received.lock().unwrap().pop().unwrap().1;
        assert_eq!(waited, Duration::from_secs(wait));
        let location = got.header("location").to_owned();
        assert_eq!(location, format!("/v1/transactions/{}", id_of(b"waiting")));
        let later = router.get(&location, &[]).await;
        assert_eq!(later.json()["state"], "pending");
    }
    let unknown = format!("/v1/transactions/{}", id_of(b"other"));
    assert_eq!(router.get(&unknown, &[]).await.problem(), Kind::Unknown);
}

#[tokio::test]
async fn what_the_ledger_refuses_is_passed_on() {
    let cases: [(Problem, u16); 6] = [
        (Problem::new(Kind::Malformed, "no CBOR").with_code(1), 400),
        (
            Problem::new(Kind::Conflict, "the key has ended").with_code(2),
            409,
        ),
        (
            Problem::new(Kind::WrongChain, "for another ledger").with_code(3),
            422,
        ),
        (Problem::new(Kind::Rejected, "over quota").with_code(4), 422),
        (
            Problem::new(Kind::PoolFull, "full").with_retry_after(2),
            429,
        ),
        (
            Problem::new(Kind::Stopping, "stopping").with_retry_after(5),
            503,
        ),
    ];
    for (problem, status) in cases {
        let refused = problem.clone();
        let submit = Box::new(move |_: &Bytes, _| Err(refused.clone()));
        let router = Router::new(
            Memory {
                submit,
                ..Memory::default()
            },
            Limits::default(),
        );
        let got = router.post("x", &[]).await;
        assert_eq!((got.problem(), got.status.as_u16()), (problem.kind, status));
        let retry_after = problem
            .retry_after_s
            .map_or(String::new(), |s| s.to_string());
        assert_eq!(got.header("retry-after"), retry_after);
        assert_eq!(got.json()["code"].as_u64(), problem.code.map(u64::from));
        assert_eq!(got.json()["detail"], problem.detail.as_ref());
    }
}

#[tokio::test]
async fn a_fault_of_the_node_tells_nothing() {
    let submit =
        Box::new(|_: &Bytes, _| Err(Problem::new(Kind::Internal, "disk /dev/sda3 says no")));
    let router = Router::new(
        Memory {
            submit,
            ..Memory::default()
        },
        Limits::default(),
    );
    let got = router.post("x", &[]).await;
    assert_eq!(got.problem(), Kind::Internal);
    assert!(!got.json().to_string().contains("sda3"));
}

#[tokio::test]
async fn bodies_of_another_type_are_not_read() {
    let router = Router::default();
    for media_type in ["", "application/json", "text/plain", "application/cborx"] {
        let request = Request::post("/v1/transactions")
            .header("content-type", media_type)
            .body(Body::from("x"))
            .unwrap();
        assert_eq!(
            router.send(request).await.problem(),
            Kind::UnsupportedMediaType,
            "{media_type}"
        );
    }
    let request = Request::post("/v1/transactions")
        .body(Body::from("x"))
        .unwrap();
    assert_eq!(
        router.send(request).await.problem(),
        Kind::UnsupportedMediaType
    );
    assert!(router.memory.received.lock().unwrap().is_empty());
    let got = router
        .post("x", &[("content-type", "application/cbor; charset=none")])
        .await;
    assert_eq!(
        got.status.as_u16(),
        200,
        "a second header of the same name is not looked at"
    );
}

#[tokio::test]
async fn a_body_has_a_bound() {
    let router = Router::default();
    let got = router.post(vec![0; MAX_TRANSACTION], &[]).await;
    assert_eq!(got.status.as_u16(), 200);

    // Announced: refused before the first byte, which would never come here.
    let never = Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
    let length = (MAX_TRANSACTION + 1).to_string();
    let got = router.post(never, &[("content-length", &length)]).await;
    assert_eq!(got.problem(), Kind::TooLarge);

    // In chunks: refused as soon as it is too much.
    let chunk = Bytes::from(vec![0; 64 * 1024]);
    let endless = stream::repeat_with(move || Ok::<_, Infallible>(chunk.clone()));
    assert_eq!(
        router.post(Body::from_stream(endless), &[]).await.problem(),
        Kind::TooLarge
    );
    assert_eq!(router.memory.received.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_body_has_time() {
    let router = Router::default();
    let never = Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
    assert_eq!(
        router.post(never, &[]).await.problem(),
        Kind::RequestTimeout
    );
}

#[tokio::test]
async fn a_body_that_breaks_off_is_malformed() {
    let router = Router::default();
    let broken = stream::iter([
        Ok(Bytes::from_static(b"x")),
        Err(std::io::Error::other("gone")),
    ]);
    assert_eq!(
        router.post(Body::from_stream(broken), &[]).await.problem(),
        Kind::Malformed
    );
}

#[tokio::test]
async fn all_bodies_together_have_a_bound() {
    let limits = Limits {
        receiving_bytes: 1000,
        ..Limits::default()
    };
    let router = Router::new(Memory::default(), limits);
    assert_eq!(
        router
            .post(vec![0; 1001], &[("content-length", "1001")])
            .await
            .problem(),
        Kind::TooManyRequests
    );
    assert_eq!(
        router
            .post(vec![0; 1000], &[("content-length", "1000")])
            .await
            .status
            .as_u16(),
        200
    );
}

#[tokio::test]
async fn a_nonce_has_32_bytes_and_gets_a_receipt() {
    let router = Router::default();
    let ask = async |nonce: &[u8], media_type: Option<&str>| {
        let mut request = Request::post("/v1/freshness");
        if let Some(media_type) = media_type {
            request = request.header("content-type", media_type);
        }
        let body = Body::from(nonce.to_vec());
        router.send(request.body(body).unwrap()).await
    };
    let octets = Some("application/octet-stream");
    let got = ask(&[7; 32], octets).await;
    assert_eq!((got.status.as_u16(), &got.body[..]), (200, &b"receipt"[..]));
    assert_eq!(
        got.header("content-type"),
        "application/vnd.kusabi.freshness"
    );
    assert_eq!(got.header("cache-control"), "no-store");
    assert_eq!(*router.memory.nonces.lock().unwrap(), [Nonce::new([7; 32])]);
    for (nonce, media_type, kind) in [
        (&[][..], octets, Kind::Malformed),
        (&[7; 31], octets, Kind::Malformed),
        (&[7; 33], octets, Kind::TooLarge),
        (&[7; 100_000], octets, Kind::TooLarge),
        (
            &[7; 32],
            Some("application/cbor"),
            Kind::UnsupportedMediaType,
        ),
        (&[7; 32], None, Kind::UnsupportedMediaType),
    ] {
        assert_eq!(ask(nonce, media_type).await.problem(), kind);
    }
    let got = router.get("/v1/freshness", &[]).await;
    assert_eq!(got.problem(), Kind::MethodNotAllowed);
    assert_eq!(router.memory.nonces.lock().unwrap().len(), 1);
    let page = router.get("/metrics", &[]).await.body;
    let page = String::from_utf8(page.to_vec()).unwrap();
    assert!(page.contains("kusabi_freshness_receipts_total 1\n"));
}

/// A body that never comes.
#[tokio::test(start_paused = true)]
async fn a_nonce_is_waited_for_only_so_long() {
    let router = Router::default();
    let never = stream::pending::<Result<Bytes, Infallible>>();
    let request = Request::post("/v1/freshness").header("content-type", "application/octet-stream");
    let request = request.body(Body::from_stream(never)).unwrap();
    assert_eq!(router.send(request).await.problem(), Kind::RequestTimeout);
}

#[tokio::test]
async fn health_readiness_status_metrics() {
    let router = Router::default();
    assert_eq!(&router.get("/healthz", &[]).await.body[..], b"ok\n");
    assert_eq!(&router.get("/readyz", &[]).await.body[..], b"ready\n");
    assert_eq!(router.get("/v1/status", &[]).await.json()["height"], 3);
    assert_eq!(
        router.get("/v1/walk/0", &[]).await.json()[0]["kind"],
        "recovery"
    );
    router.get(&key_address(), &[]).await;
    router.get("/nowhere", &[]).await;
    let page = String::from_utf8(router.get("/metrics", &[]).await.body.to_vec()).unwrap();
    for line in [
        "kusabi_height 3",
        "kusabi_lookups_total 1",
        "kusabi_http_answers_total{class=\"2xx\"} 5",
        "kusabi_http_answers_total{class=\"4xx\"} 1",
        "kusabi_transactions_waiting_max 4096",
        "kusabi_ready 1",
        "kusabi_validators 1",
        "kusabi_view 7",
        "kusabi_block_age_ms 1500",
        "kusabi_peers_connected 1",
        "kusabi_view_time_ms 52",
        "kusabi_epoch_age_seconds 2678400",
        "kusabi_epoch_overdue 1",
        "kusabi_votes_counted 40",
        "kusabi_votes_missed 11",
        "kusabi_validator_votes_missed{vote_key=\"abababababababababababababababababababababababababababababababab\",address=\"a.example:7043\"} 29",
        "# TYPE kusabi_height gauge",
    ] {
        assert!(
            page.lines().any(|l| l == line),
            "{line} is missing in\n{page}"
        );
    }

    let behind = Router::new(
        Memory {
            ready: false,
            ..Memory::default()
        },
        Limits::default(),
    );
    let answer = behind.get("/readyz", &[]).await;
    assert_eq!(answer.json()["detail"], WAITS_FOR);
    assert_eq!(answer.problem(), Kind::Behind);
    let status = behind.get("/v1/status", &[]).await.json();
    assert_eq!(
        (&status["ready"], &status["waits_for"]),
        (&false.into(), &WAITS_FOR.into())
    );
    assert_eq!(status["peers"]["connected"], 1);
    router.stop.send_replace(true);
    assert_eq!(router.get("/readyz", &[]).await.problem(), Kind::Stopping);
    assert_eq!(router.get("/healthz", &[]).await.status.as_u16(), 200);
}

#[tokio::test]
async fn head_is_get_without_body() {
    let router = Router::default();
    let request = Request::head(key_address()).body(Body::empty()).unwrap();
    let got = router.send(request).await;
    assert_eq!((got.status.as_u16(), got.body.len()), (200, 0));
    assert_eq!(got.header("content-length"), "17");
}
