//! A whole server behind its listeners, asked over sockets.

use crate::world::{Database as Held, PS, World};
use kusabi_api::{Ledger, verify::Trust};
use kusabi_core::suite::Purpose;
use kusabi_ledger::testing::{TestKey, WRITER};
use kusabi_server::{
    Running, Setup, StartError,
    device::Successors,
    serve::{Database, ForMender, ServerKey, TlsError, TlsFiles},
    start,
};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore, crypto::ring},
};

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

fn key(number: u64, purpose: Purpose) -> ServerKey {
    let key = TestKey::new(number, purpose);
    ServerKey {
        handle: key.handle,
        key: Arc::new(key.key),
    }
}

impl World {
    fn setup(&self, admin_tls: Option<TlsFiles>) -> Setup {
        let (org, chain, document) = {
            let world = self.ledger.world.lock().unwrap();
            (world.org, world.chain, world.document.clone())
        };
        Setup {
            org,
            chain,
            trust: Trust::found(&chain, &document).unwrap(),
            database: match &self.database {
                Held::Sqlite(directory) => {
                    Database::Sqlite(directory.path().join("server #1?.sqlite"))
                }
                Held::Postgres(url) => Database::Postgres(url.clone()),
            },
            firmware: self.firmware.path().to_str().unwrap().to_owned(),
            incoming: self.firmware.path().join("incoming"),
            device_listen: ANY,
            admin_listen: ANY,
            admin_tls,
            device_urls: vec![String::from("http://192.0.2.1")],
            successors: Successors::new(),
            ps: key(PS, Purpose::Ps),
            writer: Some(key(WRITER, Purpose::Writer)),
            mender: None,
        }
    }

    async fn start(&self, setup: Setup) -> Result<Running, StartError> {
        let ledger: Arc<dyn Ledger> = Arc::<crate::ledger::Memory>::clone(&self.ledger);
        start(setup, ledger, Arc::<crate::world::Told>::clone(&self.edge)).await
    }
}

/// Sends a request over a stream and reads the answer to its end.
async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let reading = stream.read_to_end(&mut answer);
    let read = tokio::time::timeout(Duration::from_secs(30), reading).await;
    // A peer that closes without a word of TLS has said all that it has to say.
    let _ = read.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

async fn get(address: SocketAddr, path: &str, more: &str) -> String {
    let stream = TcpStream::connect(address).await.unwrap();
    ask(
        stream,
        &format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{more}\r\n"),
    )
    .await
}

#[tokio::test]
async fn both_listeners_serve_and_a_stop_answers_what_is_in_flight() {
    let world = World::keyed().await;
    world.art_policy();
    let made = world.make(&[10, 11], 100_000, |_| {});
    world.publish(made.digest, 4);
    world.upload(&made).await.json();
    let running = world.start(world.setup(None)).await.unwrap();
    let (device, admin) = (running.device_address(), running.admin_address());
    assert!(get(admin, "/healthz", "").await.starts_with("HTTP/1.1 200"));
    assert!(
        get(device, &format!("/device/v1/releases/{}", made.digest), "")
            .await
            .starts_with("HTTP/1.1 200")
    );
    // Devices are told nothing of the admin API, and the other way round.
    assert!(
        get(device, "/api/v1/devices", "")
            .await
            .starts_with("HTTP/1.1 404")
    );
    assert!(
        get(admin, "/device/v1/releases/x", "")
            .await
            .starts_with("HTTP/1.1 404")
    );
    assert!(
        get(admin, "/api/v1/devices", "")
            .await
            .starts_with("HTTP/1.1 401")
    );
    let token = format!("authorization: Bearer {}\r\n", world.viewer);
    assert!(
        get(admin, "/api/v1/devices", &token)
            .await
            .starts_with("HTTP/1.1 200")
    );

    // Half of an upload is under way when the server is told to stop.
    let digest = crate::releases::of(&made.payload);
    let mut upload = TcpStream::connect(admin).await.unwrap();
    let head = format!(
        "PUT /api/v1/contents/{digest} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: 100000\r\n\r\n",
        world.operator
    );
    upload.write_all(head.as_bytes()).await.unwrap();
    upload.write_all(&made.payload[..50_000]).await.unwrap();
    let app = Arc::clone(running.app());
    while app.content(digest).await.unwrap().received == 0 {
        tokio::task::yield_now().await;
    }
    let stopping = tokio::spawn(running.stop());
    // Once it listens no more, it has begun to stop.
    while TcpStream::connect(admin).await.is_ok() {
        tokio::task::yield_now().await;
    }
    upload.write_all(&made.payload[50_000..]).await.unwrap();
    let answer = ask(upload, "").await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains(r#""complete":true"#),
        "{answer}"
    );
    stopping.await.unwrap();

    // The log's head was put on the ledger before the end, and the next start finds all of it.
    let running = world.start(world.setup(None)).await.unwrap();
    let head = running.app().audit_head().await.unwrap();
    assert!(
        head.anchored
            .is_some_and(|anchored| anchored.seq + 1 >= head.seq),
        "{head:?}"
    );
    assert!(running.app().content(digest).await.unwrap().complete);
    running.stop().await;
}

#[tokio::test]
async fn stock_mender_devices_have_a_listener_of_their_own_and_nothing_else_is_on_it() {
    let world = World::keyed().await;
    let setup = Setup {
        mender: Some(ForMender {
            listen: ANY,
            url: String::from("https://mender.example"),
            tls: None,
        }),
        ..world.setup(None)
    };
    let running = world.start(setup).await.unwrap();
    let mender = running.mender_address().unwrap();
    let attributes = "/api/devices/v1/inventory/device/attributes";
    let token = "authorization: Bearer kusabi_mender_0\r\n";
    let asked = format!(
        "PUT {attributes} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{token}transfer-encoding: chunked\r\n\r\n\
         2\r\n[]\r\n0\r\n\r\n"
    );
    let stream = TcpStream::connect(mender).await.unwrap();
    let refused = ask(stream, &asked).await;
    assert!(refused.starts_with("HTTP/1.1 401"), "{refused}");
    let (head, body) = refused.split_once("\r\n\r\n").unwrap();
    assert!(
        head.contains("content-length: 0") && body.is_empty(),
        "{refused}"
    );
    for elsewhere in [
        "/api/v1/devices",
        "/api/management/v2/devauth/devices",
        "/healthz",
        "/device/v1/releases/x",
    ] {
        let got = get(mender, elsewhere, "").await;
        assert!(got.starts_with("HTTP/1.1 404"), "{elsewhere}: {got}");
        assert!(got.contains("\"request_id\""), "{got}");
    }
    for address in [running.device_address(), running.admin_address()] {
        let got = get(address, attributes, "").await;
        assert!(!got.starts_with("HTTP/1.1 200"), "{got}");
    }
    let got = get(
        running.admin_address(),
        "/api/management/v2/devauth/devices",
        "",
    )
    .await;
    assert!(
        got.starts_with("HTTP/1.1 401") && got.contains("\"request_id\""),
        "{got}"
    );
    running.stop().await;
    assert!(TcpStream::connect(mender).await.is_err());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let setup = Setup {
        mender: Some(ForMender {
            listen: taken.local_addr().unwrap(),
            url: String::from("https://mender.example"),
            tls: None,
        }),
        ..world.setup(None)
    };
    let why = world.start(setup).await.unwrap_err().to_string();
    assert!(why.contains("stock Mender devices"), "{why}");
}

#[tokio::test]
async fn the_admin_listener_speaks_tls_by_file() {
    let world = World::keyed().await;
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| -> PathBuf {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let files = TlsFiles {
        chain: file("chain.pem", &made.cert.pem()),
        key: file("key.pem", &made.signing_key.serialize_pem()),
    };
    let running = world.start(world.setup(Some(files.clone()))).await.unwrap();

    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(&files.chain).unwrap())
        .unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    let stream = TcpStream::connect(running.admin_address()).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = connector.connect(name, stream).await.unwrap();
    let answer = ask(
        stream,
        "GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    // Without TLS there is no answer.
    let plain = get(running.admin_address(), "/healthz", "").await;
    assert!(!plain.starts_with("HTTP"), "{plain}");
    running.stop().await;

    let refused = async |chain: PathBuf, key: PathBuf| {
        let setup = world.setup(Some(TlsFiles { chain, key }));
        match world.start(setup).await {
            Err(StartError::Tls(why)) => why,
            other => panic!("{other:?}"),
        }
    };
    let nothing = file("empty.pem", "no certificate\n");
    let missing = directory.path().join("missing.pem");
    let foreign = file("other.pem", &other.signing_key.serialize_pem());
    let why = refused(missing.clone(), files.key.clone()).await;
    assert!(matches!(why, TlsError::Chain { .. }), "{why}");
    let why = refused(nothing.clone(), files.key.clone()).await;
    assert!(matches!(why, TlsError::Empty(_)), "{why}");
    let why = refused(files.chain.clone(), nothing).await;
    assert!(matches!(why, TlsError::Key { .. }), "{why}");
    let why = refused(files.chain.clone(), foreign).await;
    assert!(matches!(why, TlsError::Unfit { .. }), "{why}");
}

#[tokio::test]
async fn what_does_not_fit_is_told_at_the_start() {
    let world = World::keyed().await;
    // Nobody else may have the port.
    let taken = tokio::net::TcpListener::bind(ANY).await.unwrap();
    let mut setup = world.setup(None);
    setup.device_listen = taken.local_addr().unwrap();
    let why = world.start(setup).await.unwrap_err();
    assert!(
        why.to_string().contains("cannot listen for devices"),
        "{why}"
    );

    let mut setup = world.setup(None);
    setup.chain = kusabi_core::id::ChainId::ZERO;
    assert!(matches!(
        world.start(setup).await,
        Err(StartError::Trust(_))
    ));

    let mut setup = world.setup(None);
    setup.firmware = world
        .firmware
        .path()
        .join("file")
        .to_str()
        .unwrap()
        .to_owned();
    std::fs::write(&setup.firmware, "").unwrap();
    assert!(matches!(
        world.start(setup).await,
        Err(StartError::Firmware(_))
    ));
    let mut setup = world.setup(None);
    setup.firmware = String::from("ftp://somewhere/else");
    assert!(matches!(
        world.start(setup).await,
        Err(StartError::Firmware(_))
    ));
}
