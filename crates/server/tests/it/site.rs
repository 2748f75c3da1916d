//! A server with its device door for one test, and devices of core's own that speak to it through the real router.

use crate::{
    chain::Chain,
    world::{Database, Got, Told, call},
};
use arrayvec::{ArrayString, ArrayVec};
use axum::{
    Router,
    body::Body,
    http::{Method, Request, StatusCode},
};
use kusabi_api::{Hex, Ledger, VerifyingLedger, admin::Role};
use kusabi_core::{
    device::{
        Event, Input, Kept, KeyOrigin, Server as KnownServer, Settings, SignedReceipt, Trust,
    },
    genesis::Genesis,
    id::{Digest, Handle, OrgId},
    keystore::SoftKey,
    protocol::{
        Time,
        frame::{AnswerFrame, Problem},
        reply::{Order, SealedProblem, Task},
        request::Facts,
    },
    suite::Purpose,
    tx::Action,
};
use kusabi_ledger::testing::TestKey;
use kusabi_server::{
    App, Blobs,
    app::{By, Caller},
    device::{Bounds, Door, DoorKey, Successors},
    http,
    serve::ServerKey,
};
use kusabi_sim::{
    random::Random,
    unit::{Disk, Done, Faults, Unit},
};
use serde_json::{Value, json};
use std::{
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};
use tokio::{sync::watch, task::JoinHandle};

/// Number of the server's key.
const PS: u64 = 500;

/// Everything that one organisation has.
pub(crate) struct Site {
    pub(crate) chain: Arc<Chain>,
    pub(crate) edge: Arc<Told>,
    pub(crate) database: Arc<Database>,
    pub(crate) blobs: Arc<tempfile::TempDir>,
    pub(crate) server: Server,
    next: AtomicU64,
}

/// One server process.
pub(crate) struct Server {
    pub(crate) app: Arc<App>,
    pub(crate) door: Arc<Door>,
    pub(crate) device: Router,
    pub(crate) admin: Router,
    pub(crate) operator: String,
    stop: watch::Sender<bool>,
    follower: JoinHandle<()>,
}

/// With which keys and bounds a server runs.
#[derive(Clone)]
pub(crate) struct How {
    pub(crate) bounds: Bounds,
    /// Where devices of other organisations are sent.
    pub(crate) successors: Successors,
    pub(crate) writes: bool,
    /// Whose server it is; the ledger's organisation's, when not said.
    pub(crate) org: Option<OrgId>,
    /// Number of its key.
    pub(crate) ps: u64,
}

impl Default for How {
    fn default() -> Self {
        Self {
            bounds: Bounds::default(),
            successors: Successors::new(),
            writes: true,
            org: None,
            ps: PS,
        }
    }
}

fn soft(number: u64, purpose: Purpose) -> (Handle, Arc<SoftKey>) {
    let TestKey { handle, key, .. } = TestKey::new(number, purpose);
    (handle, Arc::new(key))
}

impl Site {
    pub(crate) async fn new() -> Self {
        Self::of(How::default()).await
    }

    pub(crate) async fn of(how: How) -> Self {
        let chain = Arc::new(Chain::new());
        chain.commit(|world| world.grant(&TestKey::new(PS, Purpose::Ps)));
        Self::over(Arc::new(Database::new().await), chain, how).await
    }

    async fn over(database: Arc<Database>, chain: Arc<Chain>, how: How) -> Self {
        let edge = Arc::new(Told::new());
        let blobs = Arc::new(tempfile::tempdir().unwrap());
        let server = Server::start(&database, &chain, &edge, &blobs, how).await;
        Self {
            chain,
            edge,
            database,
            blobs,
            server,
            next: AtomicU64::new(1000),
        }
    }

    /// Another process over the same database and ledger.
    pub(crate) async fn another(&self, how: How) -> Server {
        Server::start(&self.database, &self.chain, &self.edge, &self.blobs, how).await
    }

    /// The server's process ends, and another one begins over the same database.
    pub(crate) async fn restart(&mut self) {
        self.restart_as(How::default()).await;
    }

    /// The same, and the next one runs like this.
    pub(crate) async fn restart_as(&mut self, how: How) {
        let next = self.another(how).await;
        std::mem::replace(&mut self.server, next).stop().await;
    }

    /// What the ledger has done is written, and the door knows it.
    pub(crate) async fn settled(&self) {
        let height = self.chain.lock().height().get();
        self.server.door.reached(height).await;
    }

    /// A factory key on the ledger; the device that holds it, as it leaves the factory.
    pub(crate) async fn provision(&self, settings: Settings) -> Client {
        let pre = TestKey::new(self.next.fetch_add(1, SeqCst), Purpose::Pre);
        self.chain.commit(|world| world.register(&[&pre]));
        self.settled().await;
        let device = self.server.import(&pre, &json!({ "type": "camera" })).await;
        let kept = Kept::provisioned(
            self.trust(),
            self.chain.lock().world.org,
            &self.known_servers(),
            pre.handle,
            Purpose::Pre,
        );
        let mut client = self.ship(&kept.unwrap(), pre, settings);
        client.id = device;
        client
    }

    /// A device that has activated, and of which the database knows it: the ledger's events come to it by themselves.
    pub(crate) async fn active(&self) -> Client {
        // A device is large, and so is each future that holds one.
        Box::pin(async {
            let mut client = self.provision(Settings::default()).await;
            client.activate(&self.server).await;
            let id = client.id.clone();
            let active = async || self.server.state(&id).await == "active";
            self.server.until(active).await;
            client
        })
        .await
    }

    pub(crate) fn ship(&self, kept: &Kept, key: TestKey, settings: Settings) -> Client {
        let mut bytes = vec![0; Kept::LEN_MAX];
        let len = kept.encode(&mut bytes).unwrap();
        bytes.truncate(len);
        let mut disk = Disk {
            kept: bytes,
            ..Disk::default()
        };
        disk.slots[0] = Some(Rc::new((key.id, key.key)));
        Client::start(disk, settings, self.next.fetch_add(1, SeqCst))
    }

    pub(crate) fn trust(&self) -> Trust {
        Trust::from_genesis(&Genesis::decode(&self.chain.lock().world.document).unwrap()).unwrap()
    }

    pub(crate) fn known_servers(&self) -> Vec<KnownServer> {
        let key = TestKey::new(PS, Purpose::Ps);
        vec![KnownServer {
            handle: key.handle,
            keys: key.public_keys(),
        }]
    }

    /// An officer revokes a key.
    pub(crate) fn revoke(&self, handle: Handle) {
        self.chain.commit(|world| {
            let record = world.record(&handle).unwrap();
            let action = Action::Revoke {
                org: world.org,
                targets: vec![kusabi_core::tx::Named {
                    handle,
                    version: record.version(),
                }],
                reason: kusabi_core::row::Reason::Compromised,
                compromised_since: None,
                signers: 1,
            };
            world.sign(action, &[&world.officer])
        });
    }
}

impl Server {
    async fn start(
        database: &Database,
        chain: &Arc<Chain>,
        edge: &Arc<Told>,
        blobs: &tempfile::TempDir,
        how: How,
    ) -> Self {
        let (id, org) = {
            let ledger = chain.lock();
            (ledger.world.chain, how.org.unwrap_or(ledger.world.org))
        };
        let ledger: Arc<dyn Ledger> = Arc::<Chain>::clone(chain);
        let ledger = VerifyingLedger::found(ledger, &id).await.unwrap();
        let (ps, key) = soft(how.ps, Purpose::Ps);
        let place = blobs.path().to_str().unwrap();
        let mut app = App::new(database.store(org).await, ledger, Arc::<Told>::clone(edge))
            .with_blobs(Blobs::open(place, &blobs.path().join("incoming")).unwrap());
        if how.writes {
            let (handle, key) = soft(kusabi_ledger::testing::WRITER, Purpose::Writer);
            app = app.with_keys(None, Some(ServerKey { handle, key }));
        }
        let app = Arc::new(app);
        let (stop, stopping) = watch::channel(false);
        let following = Arc::clone(&app);
        let follower = tokio::spawn(async move { following.follow(stopping).await });
        let greets = DoorKey {
            chain: id,
            handle: ps,
            key,
        };
        let door = Door::start(Arc::clone(&app), greets, how.bounds, how.successors).unwrap();
        door.reached(1).await;
        let create = serde_json::from_value(json!({ "name": "operator", "role": Role::Operator }));
        let by = By::only(Caller::server());
        let operator = app.create_token(&by, create.unwrap()).await.unwrap().secret;
        Self {
            device: http::device::router(Arc::clone(&door)),
            admin: http::router(Arc::clone(&app)),
            app,
            door,
            operator,
            stop,
            follower,
        }
    }

    pub(crate) async fn stop(self) {
        self.door.stop().await;
        self.stop.send_replace(true);
        self.follower.await.unwrap();
    }

    /// A frame through the router.
    pub(crate) async fn post(&self, frame: &[u8]) -> Vec<u8> {
        let got = self
            .post_as("application/kusabi+cbor", frame.to_vec())
            .await;
        assert_eq!(got.status, StatusCode::OK, "{:?}", got.body);
        assert_eq!(got.header("content-type"), "application/kusabi+cbor");
        got.body.to_vec()
    }

    /// A frame from this address.
    pub(crate) async fn post_from(&self, source: &str, frame: &[u8]) -> Vec<u8> {
        let peer = std::net::SocketAddr::new(source.parse().unwrap(), 5000);
        let request = Request::builder()
            .method(Method::POST)
            .uri("/device/v1")
            .header("content-type", "application/kusabi+cbor")
            .extension(axum::extract::ConnectInfo(peer))
            .body(Body::from(frame.to_vec()));
        let got = call(&self.device, request.unwrap()).await;
        assert_eq!(got.status, StatusCode::OK, "{:?}", got.body);
        got.body.to_vec()
    }

    pub(crate) async fn post_as(&self, media_type: &str, body: Vec<u8>) -> Got {
        let request = Request::builder()
            .method(Method::POST)
            .uri("/device/v1")
            .header("content-type", media_type)
            .body(Body::from(body));
        call(&self.device, request.unwrap()).await
    }

    /// A request of the operator.
    pub(crate) async fn ask(&self, method: Method, address: &str, body: &Value) -> Got {
        let request = Request::builder()
            .method(method)
            .uri(address)
            .header("authorization", format!("Bearer {}", self.operator));
        let request = match body {
            Value::Null => request.body(Body::empty()),
            body => request
                .header("content-type", "application/json")
                .body(Body::from(body.to_string())),
        };
        call(&self.admin, request.unwrap()).await
    }

    pub(crate) async fn get(&self, address: &str) -> Value {
        self.ask(Method::GET, address, &Value::Null).await.json()
    }

    pub(crate) async fn do_post(&self, address: &str, body: Value) -> Value {
        self.ask(Method::POST, address, &body).await.json()
    }

    async fn import(&self, key: &TestKey, more: &Value) -> String {
        let mut body = more.clone();
        body["handle"] = json!(Hex(key.handle.to_bytes()));
        let made = self.do_post("/api/v1/devices", body).await;
        made["id"].as_str().unwrap().to_owned()
    }

    /// Gives a device an order; its number.
    pub(crate) async fn order(&self, device: &str, kind: &str) -> u64 {
        let order = json!({ "kind": kind, "target": { "device": device } });
        let made = self.do_post("/api/v1/orders", order).await;
        made["id"].as_u64().unwrap()
    }

    /// The kinds of a device's timeline, the oldest first.
    pub(crate) async fn timeline(&self, device: &str) -> Vec<String> {
        let page = self
            .get(&format!("/api/v1/devices/{device}/events?limit=200"))
            .await;
        let kinds = page["items"].as_array().unwrap().iter().rev();
        kinds
            .map(|event| event["kind"].as_str().unwrap().to_owned())
            .collect()
    }

    /// The kinds of the alarms about a device, the oldest first.
    pub(crate) async fn alarms(&self, device: &str) -> Vec<String> {
        let page = self.get("/api/v1/alarms?limit=200").await;
        let alarms = page["items"].as_array().unwrap().iter().rev();
        alarms
            .filter(|alarm| alarm["device"] == device)
            .map(|alarm| alarm["kind"].as_str().unwrap().to_owned())
            .collect()
    }

    pub(crate) async fn state(&self, device: &str) -> String {
        let device = self.get(&format!("/api/v1/devices/{device}")).await;
        device["state"].as_str().unwrap().to_owned()
    }

    /// How a device stands to its orders: kind and state, the oldest first.
    pub(crate) async fn orders(&self, device: &str) -> Vec<(String, String)> {
        let page = self
            .get(&format!("/api/v1/devices/{device}/orders?limit=200"))
            .await;
        let orders = page["items"].as_array().unwrap().iter().rev();
        let word = |order: &Value, name| order[name].as_str().unwrap().to_owned();
        orders
            .map(|order| (word(order, "kind"), word(order, "state")))
            .collect()
    }

    /// Waits until something that is written a moment later is there.
    pub(crate) async fn until<F: Future<Output = bool>>(&self, mut holds: impl FnMut() -> F) {
        let mut live = self.app.live();
        // However much happens meanwhile, only time without it counts.
        let mut ticks = 0;
        for _ in 0..10_000 {
            if holds().await {
                return;
            }
            let tick = std::time::Duration::from_millis(100);
            let heard = tokio::time::timeout(tick, live.recv()).await;
            ticks += u32::from(heard.is_err());
            if ticks == 200 {
                break;
            }
        }
        panic!("it does not come to that");
    }
}

/// A device: core's state machine, its disk, its own clock.
pub(crate) struct Client {
    pub(crate) id: String,
    pub(crate) unit: Unit,
    pub(crate) now: Time,
    rng: Random,
    pub(crate) events: Vec<Event>,
    pub(crate) receipts: Vec<SignedReceipt>,
    pub(crate) hints: Vec<String>,
    pub(crate) installs: Vec<(u64, Digest)>,
    /// Requests that were sent, the last one at the end.
    pub(crate) sent: Vec<Vec<u8>>,
    /// To which of its addresses that one goes.
    pub(crate) address: usize,
    /// The answer to the last one.
    pub(crate) answer: Vec<u8>,
}

/// Most requests of one test step.
const REQUESTS_MAX: usize = 60;

impl Client {
    pub(crate) fn start(disk: Disk, settings: Settings, seed: u64) -> Self {
        Self {
            id: String::new(),
            unit: Unit::start(disk, settings, Time::from_ms(0)),
            now: Time::from_ms(0),
            rng: Random::new(seed),
            events: Vec::new(),
            receipts: Vec::new(),
            hints: Vec::new(),
            installs: Vec::new(),
            sent: Vec::new(),
            address: 0,
            answer: Vec::new(),
        }
    }

    /// The reports that were ordered of it, each time that it heard of one.
    pub(crate) fn wanted(&self) -> Vec<Order> {
        let wanted = |event: &Event| match event {
            Event::ReportWanted { order, nonce } => Some(Order {
                id: *order,
                task: Task::ReportInventory(*nonce),
            }),
            _ => None,
        };
        self.events.iter().filter_map(wanted).collect()
    }

    /// A copy of its disk in another device: a clone.
    pub(crate) fn copy(&self, seed: u64) -> Self {
        let mut copy = Self::start(self.unit.disk.clone(), self.unit.settings.clone(), seed);
        copy.id = self.id.clone();
        copy.now = self.now;
        copy
    }

    pub(crate) fn current(&self) -> Handle {
        self.unit.device.kept().current().handle
    }

    pub(crate) fn purpose(&self) -> Purpose {
        self.unit.device.kept().current().purpose
    }

    fn take(&mut self, mut done: Done) -> Option<Vec<u8>> {
        self.events.append(&mut done.events);
        self.receipts.append(&mut done.receipts);
        self.hints.append(&mut done.hints);
        self.installs.append(&mut done.installs);
        // Of several requests the last one is waited for.
        self.sent
            .extend(done.sent.iter().map(|sent| sent.request.clone()));
        let last = done.sent.pop()?;
        self.address = last.server;
        Some(last.request)
    }

    /// Gives the device an input; the request that it wants to send.
    pub(crate) fn input(&mut self, input: Input<'_>) -> Option<Vec<u8>> {
        let faults = Faults::default();
        let done = self
            .unit
            .run(self.now, input, &mut self.rng, faults, |_| {});
        self.take(done)
    }

    /// Gives it an answer; the request that it wants to send next.
    pub(crate) fn answered(&mut self, answer: &[u8]) -> Option<Vec<u8>> {
        self.answer = answer.to_vec();
        let mut bytes = answer.to_vec();
        self.input(Input::Answer(&mut bytes))
    }

    /// Lets it speak until it has nothing more to say now.
    pub(crate) async fn speak(&mut self, server: &Server, input: Input<'_>) {
        let mut request = self.input(input);
        for _ in 0..REQUESTS_MAX {
            let Some(sent) = request else { return };
            let answer = server.post(&sent).await;
            request = self.answered(&answer);
        }
        panic!("the device does not come to rest: {:?}", self.events);
    }

    /// Time passes, so much that whatever it waits for is over.
    pub(crate) fn later(&mut self, secs: u64) {
        self.now = self.now.plus_ms(secs * 1000);
    }

    /// Lets time pass until this holds.
    pub(crate) async fn until(&mut self, server: &Server, holds: impl Fn(&Self) -> bool) {
        for _ in 0..40 {
            self.speak(server, Input::Tick).await;
            if holds(self) {
                return;
            }
            self.later(60);
        }
        panic!("it does not come to that: {:?}", self.events);
    }

    pub(crate) async fn activate(&mut self, server: &Server) {
        self.until(server, |client| client.purpose() == Purpose::Act)
            .await;
        self.speak(server, Input::Tick).await;
    }

    /// Polls now.
    pub(crate) async fn poll(&mut self, server: &Server) {
        self.later(3);
        self.speak(server, Input::Poll).await;
    }

    /// A new session, with a poll in it.
    pub(crate) async fn poll_anew(&mut self, server: &Server) {
        self.later(2 * u64::from(self.unit.settings.session_secs));
        self.speak(server, Input::Poll).await;
    }

    /// What it says of itself from now on.
    pub(crate) fn says(&mut self, facts: Facts) {
        assert!(self.input(Input::Facts(facts)).is_none());
    }

    /// The power goes and comes back.
    pub(crate) fn power_cut(&mut self) {
        self.unit.restart(self.now);
    }

    pub(crate) fn saw(&self, event: &Event) -> bool {
        self.events.contains(event)
    }

    /// The problems that it was told in sessions.
    pub(crate) fn problems(&self) -> Vec<SealedProblem> {
        let all = self.events.iter();
        all.filter_map(|event| match event {
            Event::SealedProblem(problem) => Some(*problem),
            _ => None,
        })
        .collect()
    }
}

/// The problem that an answer is.
pub(crate) fn problem(answer: &[u8]) -> Option<Problem> {
    match AnswerFrame::decode(answer).unwrap() {
        AnswerFrame::Problem { problem, .. } => Some(problem),
        _ => None,
    }
}

/// How a device in the field behaves.
pub(crate) fn enrolling(token: &str, label: &str) -> Settings {
    Settings {
        token: ArrayVec::try_from(token.as_bytes()).unwrap(),
        label: ArrayString::from(label).unwrap(),
        ..Settings::default()
    }
}

pub(crate) fn server_made() -> Settings {
    Settings {
        key_origin: KeyOrigin::Server,
        ..Settings::default()
    }
}

pub(crate) fn held(secs: u16) -> Settings {
    Settings {
        hold_secs: secs,
        ..Settings::default()
    }
}
