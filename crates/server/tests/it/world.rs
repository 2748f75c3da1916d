//! A server for one test: router, database in a temporary directory, ledger in memory, a clock that moves when told.

use crate::ledger::Memory;
use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Method, Request, StatusCode},
};
use bytes::Bytes;
use kusabi_api::{Hex32, Kind, Ledger, VerifyingLedger, admin::Role};
use kusabi_core::{id::OrgId, suite::Purpose};
use kusabi_ledger::testing::TestKey;
use kusabi_server::{
    App, Blobs, Edge, Store,
    app::{By, Caller},
    serve::ServerKey,
};
use object_store::ObjectStore;
use serde_json::{Value, json};
use sqlx::Connection as _;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::SeqCst},
};
use tower_service::Service;

/// The clock and the "random" bytes of a test.
pub(crate) struct Told {
    pub(crate) now_ms: AtomicU64,
    drawn: AtomicU64,
}

impl Told {
    pub(crate) const fn new() -> Self {
        Self {
            now_ms: AtomicU64::new(1_764_000_000_000),
            drawn: AtomicU64::new(0),
        }
    }
}

impl Told {
    /// What the next IDs that are drawn end with.
    pub(crate) fn next_ids(&self, count: u64) -> Vec<String> {
        let next = self.drawn.load(SeqCst);
        let id = |number| kusabi_api::Hex::<16>(drawn(number)[..16].try_into().unwrap());
        let ids = (next..next + count).map(|number| id(number).to_string());
        ids.collect()
    }
}

fn drawn(number: u64) -> [u8; 32] {
    kusabi_core::crypto::sha256(&[b"test random", &number.to_be_bytes()])
}

impl Edge for Told {
    fn now_ms(&self) -> u64 {
        self.now_ms.load(SeqCst)
    }

    fn random(&self) -> std::io::Result<[u8; 32]> {
        let number = self.drawn.fetch_add(1, SeqCst);
        Ok(drawn(number))
    }
}

pub(crate) struct World {
    pub(crate) router: Router,
    pub(crate) ledger: Arc<Memory>,
    pub(crate) edge: Arc<Told>,
    pub(crate) viewer: String,
    pub(crate) operator: String,
    pub(crate) admin: String,
    pub(crate) database: Database,
    pub(crate) firmware: tempfile::TempDir,
    /// What firmware lies in, where it is no directory.
    pub(crate) store: Option<Arc<dyn ObjectStore>>,
    /// Whether its servers have keys.
    pub(crate) keyed: bool,
}

/// Number of the server's key.
pub(crate) const PS: u64 = 3;

pub(crate) enum Database {
    Sqlite(tempfile::TempDir),
    Postgres(String),
}

impl Database {
    pub(crate) async fn new() -> Self {
        let Ok(server) = std::env::var("KUSABI_TEST_POSTGRES") else {
            return Self::Sqlite(tempfile::tempdir().unwrap());
        };
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let (process, number) = (std::process::id(), NUMBER.fetch_add(1, SeqCst));
        let name = format!("kusabi_test_{process}_{number}");
        let mut connection = administrator(&server).await;
        let version: String = sqlx::query_scalar("SHOW server_version_num")
            .fetch_one(&mut connection)
            .await
            .unwrap();
        // Where it can be had, texts sort as people sort them: as unlike SQLite as may be.
        let sorted = match version.parse::<u32>() {
            Ok(150_000..) => "LOCALE_PROVIDER icu ICU_LOCALE 'en-US'",
            _ => "",
        };
        execute(
            &mut connection,
            &format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' {sorted}"),
        )
        .await
        .unwrap();
        Self::Postgres(format!("{server}/{name}"))
    }

    pub(crate) async fn store(&self, org: OrgId) -> Store {
        match self {
            Self::Sqlite(directory) => {
                let path = directory.path().join("server #1?.sqlite");
                Store::sqlite(&path, org).await.unwrap()
            }
            Self::Postgres(url) => Store::postgres(url, org).await.unwrap(),
        }
    }
}

impl Database {
    /// Into it, past the server.
    pub(crate) async fn connection(&self) -> sqlx::AnyConnection {
        let url = match self {
            Self::Sqlite(directory) => {
                let directory = directory.path().display();
                format!("sqlite://{directory}/server%20%231%3F.sqlite")
            }
            Self::Postgres(url) => url.clone(),
        };
        sqlx::AnyConnection::connect(&url).await.unwrap()
    }
}

impl Drop for Database {
    /// A database of PostgreSQL goes with its test, whoever still has it open.
    fn drop(&mut self) {
        let Self::Postgres(url) = self else {
            return;
        };
        let Some((server, name)) = url.rsplit_once('/') else {
            return;
        };
        let (server, drop) = (
            server.to_owned(),
            format!("DROP DATABASE {name} WITH (FORCE)"),
        );
        // On a runtime of its own: the test's may be the one that is ending.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.unwrap().block_on(async {
                let mut connection = administrator(&server).await;
                execute(&mut connection, &drop).await
            })
        });
        if !matches!(dropping.join(), Ok(Ok(()))) {
            eprintln!("{url} is left");
        }
    }
}

/// A connection of who may make databases.
async fn administrator(server: &str) -> sqlx::AnyConnection {
    sqlx::any::install_default_drivers();
    sqlx::AnyConnection::connect(&format!("{server}/postgres"))
        .await
        .unwrap()
}

async fn execute(connection: &mut sqlx::AnyConnection, sql: &str) -> Result<(), sqlx::Error> {
    let sql = sqlx::AssertSqlSafe(sql.to_owned());
    sqlx::query(sql).execute(connection).await.map(|_| ())
}

pub(crate) struct Got {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Got {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        assert!(self.status.is_success(), "{}: {:?}", self.status, self.body);
        assert_eq!(self.header("content-type"), "application/json");
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Kind and sentence, after checking that this is a whole problem document.
    #[track_caller]
    pub(crate) fn problem(&self) -> (Kind, String) {
        assert_eq!(
            self.header("content-type"),
            "application/problem+json",
            "{:?}",
            self.body
        );
        let document: Value = serde_json::from_slice(&self.body).unwrap();
        let kind = Kind::from_uri(document["type"].as_str().unwrap()).unwrap();
        assert_eq!(document["status"], self.status.as_u16());
        assert_eq!(self.status.as_u16(), kind.status());
        assert_eq!(document["title"], kind.title());
        (kind, document["detail"].as_str().unwrap().to_owned())
    }

    #[track_caller]
    pub(crate) fn kind(&self) -> Kind {
        self.problem().0
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::on(Arc::new(Memory::new()), false).await
    }

    /// A server that has a key of its own and a writer's.
    pub(crate) async fn keyed() -> Self {
        Self::on(Arc::new(Memory::new()), true).await
    }

    /// A server whose firmware lies in this store.
    pub(crate) async fn over(store: Arc<dyn ObjectStore>) -> Self {
        Self::of(Arc::new(Memory::new()), false, Some(store)).await
    }

    /// A server with a new database, above this ledger.
    pub(crate) async fn on(ledger: Arc<Memory>, keyed: bool) -> Self {
        Self::of(ledger, keyed, None).await
    }

    async fn of(ledger: Arc<Memory>, keyed: bool, store: Option<Arc<dyn ObjectStore>>) -> Self {
        let database = Database::new().await;
        let edge = Arc::new(Told::new());
        if keyed {
            let grant = {
                let world = ledger.world.lock().unwrap();
                world.grant(&TestKey::new(PS, Purpose::Ps))
            };
            ledger.commit(grant).unwrap();
        }
        let firmware = tempfile::tempdir().unwrap();
        let app = app(&database, &ledger, &edge).await;
        let app = equipped(app, blobs(firmware.path(), store.as_ref()), keyed);
        let mut tokens = Vec::new();
        for role in [Role::Viewer, Role::Operator, Role::Admin] {
            let create = serde_json::from_value(json!({ "name": role.name(), "role": role }));
            let by = By::only(Caller::server());
            let created = app.create_token(&by, create.unwrap()).await.unwrap();
            tokens.push(created.secret);
        }
        let [viewer, operator, admin] = tokens.try_into().unwrap();
        Self {
            router: kusabi_server::http::router(Arc::new(app)),
            ledger,
            edge,
            viewer,
            operator,
            admin,
            database,
            firmware,
            store,
            keyed,
        }
    }

    /// Another server on the same database: what a restart finds.
    pub(crate) async fn app(&self) -> App {
        let app = app(&self.database, &self.ledger, &self.edge).await;
        let blobs = blobs(self.firmware.path(), self.store.as_ref());
        equipped(app, blobs, self.keyed)
    }

    /// What a device fetches.
    pub(crate) async fn fetch(&self, address: &str, headers: &[(&str, &str)]) -> Got {
        let router = kusabi_server::http::firmware::router(Arc::new(self.app().await));
        let mut request = Request::builder().uri(address);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = router.clone().call(request.body(Body::empty()).unwrap());
        got(answer.await.unwrap()).await
    }

    /// Bytes from the operator.
    pub(crate) async fn put(&self, address: &str, body: impl Into<Body>) -> Got {
        let request = Request::put(address)
            .header("authorization", format!("Bearer {}", self.operator))
            .header("content-type", "application/octet-stream");
        self.send(request.body(body.into()).unwrap()).await
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Got {
        got(self.router.clone().call(request).await.unwrap()).await
    }

    /// A request with a token and, where `body` is not null, a body of JSON.
    pub(crate) async fn ask(
        &self,
        token: &str,
        method: Method,
        address: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Got {
        let mut request = Request::builder()
            .method(method)
            .uri(address)
            .header("authorization", format!("Bearer {token}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = match body {
            Value::Null => Body::empty(),
            body => {
                request = request.header("content-type", "application/json");
                Body::from(body.to_string())
            }
        };
        self.send(request.body(body).unwrap()).await
    }

    /// A question of the viewer.
    pub(crate) async fn get(&self, address: &str) -> Got {
        self.ask(&self.viewer, Method::GET, address, &[], &Value::Null)
            .await
    }

    /// A command of the operator.
    pub(crate) async fn post(&self, address: &str, body: Value) -> Got {
        self.ask(&self.operator, Method::POST, address, &[], &body)
            .await
    }

    /// A key of this number on the ledger; its handle.
    pub(crate) fn register(&self, number: u64, purpose: Purpose) -> Hex32 {
        let key = TestKey::new(number, purpose);
        let register = self.ledger.world.lock().unwrap().register(&[&key]);
        self.ledger.commit(register).unwrap();
        Hex32::from(key.handle.to_bytes())
    }

    /// A device of this number, imported; its ID.
    pub(crate) async fn device(&self, number: u64, more: Value) -> String {
        let mut body = more;
        body["handle"] = json!(self.register(number, Purpose::Pre));
        let got = self.post("/api/v1/devices", body).await;
        assert_eq!(got.status, StatusCode::CREATED, "{:?}", got.body);
        got.json()["id"].as_str().unwrap().to_owned()
    }

    /// All pages of a list, and how many there were.
    pub(crate) async fn pages(&self, token: &str, address: &str) -> (Vec<Value>, usize) {
        let mut items = Vec::new();
        let mut next = address.to_owned();
        for pages in 1..=1000 {
            let page = self
                .ask(token, Method::GET, &next, &[], &Value::Null)
                .await
                .json();
            items.extend(page["items"].as_array().unwrap().iter().cloned());
            let Some(cursor) = page["next"].as_str() else {
                return (items, pages);
            };
            let and = if address.contains('?') { '&' } else { '?' };
            next = format!("{address}{and}cursor={cursor}");
        }
        panic!("the list has no end");
    }
}

async fn got(answer: axum::response::Response) -> Got {
    let (parts, body) = answer.into_parts();
    Got {
        status: parts.status,
        headers: parts.headers,
        body: axum::body::to_bytes(body, 1 << 24).await.unwrap(),
    }
}

fn blobs(firmware: &std::path::Path, store: Option<&Arc<dyn ObjectStore>>) -> Blobs {
    match store {
        None => Blobs::open(firmware.to_str().unwrap(), firmware).unwrap(),
        Some(store) => Blobs::over(Arc::clone(store), firmware).unwrap(),
    }
}

fn equipped(app: App, blobs: Blobs, keyed: bool) -> App {
    let key = |number, purpose| {
        let key = TestKey::new(number, purpose);
        ServerKey {
            handle: key.handle,
            key: Arc::new(key.key),
        }
    };
    let ps = keyed.then(|| key(PS, Purpose::Ps));
    let writer = keyed.then(|| key(kusabi_ledger::testing::WRITER, Purpose::Writer));
    app.with_blobs(blobs).with_keys(ps, writer)
}

async fn app(database: &Database, ledger: &Arc<Memory>, edge: &Arc<Told>) -> App {
    let org = ledger.world.lock().unwrap().org;
    app_of(org, database, ledger, edge).await
}

/// The server of another organisation than the ledger's one, perhaps.
pub(crate) async fn app_of(
    org: OrgId,
    database: &Database,
    ledger: &Arc<Memory>,
    edge: &Arc<Told>,
) -> App {
    let chain = ledger.world.lock().unwrap().chain;
    let ledger: Arc<dyn Ledger> = Arc::<Memory>::clone(ledger);
    let ledger = VerifyingLedger::found(ledger, &chain).await.unwrap();
    App::new(database.store(org).await, ledger, Arc::<Told>::clone(edge))
}

/// A request through a router.
pub(crate) async fn call(router: &Router, request: Request<Body>) -> Got {
    got(router.clone().call(request).await.unwrap()).await
}

/// All of them, at once.
pub(crate) async fn at_once<F: Future>(all: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut running: Vec<_> = all.map(|one| (Box::pin(one), None)).collect();
    std::future::poll_fn(|context| {
        let mut waiting = false;
        for (one, done) in &mut running {
            if done.is_none() {
                match one.as_mut().poll(context) {
                    std::task::Poll::Ready(value) => *done = Some(value),
                    std::task::Poll::Pending => waiting = true,
                }
            }
        }
        if waiting {
            return std::task::Poll::Pending;
        }
        std::task::Poll::Ready(())
    })
    .await;
    running.into_iter().filter_map(|(_, done)| done).collect()
}
