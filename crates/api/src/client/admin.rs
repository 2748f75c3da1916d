//! A server's admin API ([`crate::admin`]) as a typed client.
//!
//! Every request carries a token, so the address is `https://`, or `http://` to this machine: a token in clear on a network is
//! anybody's. What changes something and is safe to repeat (the server says so of each) is repeated while that can help; the
//! others carry an idempotency key of the caller's, and are as safe.

use super::{Limits, http::Http};
use crate::{
    admin::{
        Alarm, AuthSetState, Channel, ChannelSet, ComponentPage, Content, Device, DeviceDetail,
        DeviceEvent, DeviceImport, DeviceInventory, DeviceState, Enrolment, EnrolmentLabels,
        EnrolmentState, EnrolmentTokenCreate, EnrolmentTokenCreated, Group, GroupCreate,
        MenderDevice, MenderDeviceDetail, MenderPreauthorize, Order, OrderCreate, OrderLog,
        PAGE_MAX, Page, Rebuilt, Receipt, Release, Rollout, RolloutCreate, RolloutDevice,
        RolloutDeviceState, Server, Text, TokenCreate, TokenCreated,
    },
    hex::Hex32,
    media,
    problem::{Kind, Problem},
};
use bytes::Bytes;
use core::{fmt, future::Future, time::Duration};
use reqwest::{
    Method, RequestBuilder, Url,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue},
};
use serde::{Serialize, de::DeserializeOwned};

/// Longest answer: a page of the longest devices fits.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// Longest wait for a rebuild.
const REBUILD_TIME: Duration = Duration::from_secs(60 * 60);

/// Media type of a signed manifest.
const MANIFEST: &str = "application/kusabi+cbor";

/// An API token: a secret. Neither printed nor sent anywhere but to the server that it is for.
#[derive(Clone)]
pub struct AdminToken(HeaderValue);

impl AdminToken {
    /// A token as it stands in its file; space and line end around it do not count.
    ///
    /// # Errors
    /// It is none; the text is not quoted.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let token = text.trim();
        let printable = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
        let header = printable
            .then(|| HeaderValue::from_str(&format!("Bearer {token}")).ok())
            .flatten();
        let mut header = header.ok_or_else(|| {
            Problem::new(
                Kind::BadParameter,
                "this is no token: a token is one line of visible characters",
            )
        })?;
        header.set_sensitive(true);
        Ok(Self(header))
    }
}

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminToken")
    }
}

/// Which devices a list shows: those for which all that is said holds.
#[derive(Clone, Debug, Default)]
pub struct Devices {
    /// In this group (its ID).
    pub group: Option<String>,
    /// Of this type.
    pub device_type: Option<Text>,
    /// In this state.
    pub state: Option<DeviceState>,
    /// With this serial.
    pub serial: Option<Text>,
}

/// Which components are looked for: those for which all that is said holds, and something is.
#[derive(Clone, Debug, Default)]
pub struct Components {
    /// With this name, in the escaped form of inventories.
    pub name: Option<String>,
    /// With a name that begins so.
    pub prefix: Option<String>,
    /// With this version.
    pub version: Option<String>,
    /// With this content.
    pub digest: Option<Hex32>,
    /// With this package URL, or one of which it leaves out the version and what is behind it.
    pub purl: Option<String>,
}

/// A server's admin API.
#[derive(Clone, Debug)]
pub struct AdminClient {
    http: Http,
    token: AdminToken,
}

impl AdminClient {
    /// A client for the server at `address`, like `http://127.0.0.1:7042`. `authorities`: certificates (PEM) that its TLS certificate
    /// may come from, instead of those that the operating system trusts. Opens no connection yet.
    ///
    /// # Errors
    /// The address is none, or would carry the token over a network in clear; a certificate that is none.
    pub fn new(
        address: &str,
        token: AdminToken,
        authorities: Option<&[u8]>,
        limits: Limits,
    ) -> Result<Self, Problem> {
        #[cfg(feature = "tls")]
        let certificates = match authorities.map(reqwest::Certificate::from_pem_bundle) {
            None => None,
            Some(Ok(certificates)) if !certificates.is_empty() => Some(certificates),
            Some(_) => {
                return Err(Problem::new(
                    Kind::BadParameter,
                    "there is no certificate in PEM form among the authorities",
                ));
            }
        };
        #[cfg(not(feature = "tls"))]
        if authorities.is_some() {
            return Err(without_tls());
        }
        let http = Http::new(address, &["https", "http"], limits, "server", |builder| {
            #[cfg(feature = "tls")]
            if let Some(certificates) = certificates {
                return builder.tls_certs_only(certificates);
            }
            builder
        })?;
        match http.base().scheme() {
            "http" if !is_this_machine(http.base()) => Err(Problem::new(
                Kind::BadParameter,
                format!(
                    "{address} would carry the token over a network in clear: use https://, or a tunnel to this machine"
                ),
            )),
            #[cfg(not(feature = "tls"))]
            "https" => Err(without_tls()),
            _ => Ok(Self { http, token }),
        }
    }

    /// The address that requests go to.
    #[must_use]
    pub fn address(&self) -> &str {
        self.http.base().as_str()
    }

    /// What the server says of itself.
    ///
    /// # Errors
    /// No answer, or no acceptable one.
    pub async fn server(&self) -> Result<Server, Problem> {
        self.get(&["server"], &[]).await
    }

    /// One page of the devices, by ID.
    ///
    /// # Errors
    /// As [`server`](Self::server), or the server's refusal.
    pub async fn devices(
        &self,
        which: &Devices,
        cursor: Option<&str>,
        limit: u16,
    ) -> Result<Page<Device>, Problem> {
        let limit = limit.to_string();
        let query = [
            ("group", which.group.as_deref()),
            ("type", which.device_type.as_ref().map(Text::as_str)),
            ("state", which.state.map(DeviceState::name)),
            ("serial", which.serial.as_ref().map(Text::as_str)),
            ("cursor", cursor),
            ("limit", Some(&*limit)),
        ];
        self.get(&["devices"], &query).await
    }

    /// One device.
    ///
    /// # Errors
    /// As [`devices`](Self::devices).
    pub async fn device(&self, id: &str) -> Result<DeviceDetail, Problem> {
        self.get(&["devices", id], &[]).await
    }

    /// Makes a device known. A repeat changes nothing.
    ///
    /// # Errors
    /// As [`devices`](Self::devices).
    pub async fn import_device(&self, import: &DeviceImport) -> Result<Device, Problem> {
        self.send(Method::POST, &["devices"], import, None).await
    }

    /// All groups.
    ///
    /// # Errors
    /// As [`devices`](Self::devices).
    pub async fn groups(&self) -> Result<Vec<Group>, Problem> {
        self.all(async |cursor| self.list(&["groups"], cursor.as_deref(), &[]).await)
            .await
    }

    /// Makes a group.
    ///
    /// # Errors
    /// As [`devices`](Self::devices).
    pub async fn create_group(&self, create: &GroupCreate) -> Result<Group, Problem> {
        // Of the same name there cannot be two: a repeat is refused as such, which the caller can tell.
        self.send(Method::POST, &["groups"], create, None).await
    }

    /// Puts a device into a group. A repeat changes nothing.
    ///
    /// # Errors
    /// As [`devices`](Self::devices).
    pub async fn add_to_group(&self, group: &str, device: &str) -> Result<(), Problem> {
        self.act(Method::PUT, &["groups", group, "devices", device], None)
            .await
            .map(drop)
    }

    /// One page of the orders, the newest first.
    ///
    /// # Errors
    /// As [`devices`](Self::devices).
    pub async fn orders(&self, cursor: Option<&str>, limit: u16) -> Result<Page<Order>, Problem> {
        let limit = limit.to_string();
        self.list(&["orders"], cursor, &[("limit", Some(&*limit))])
            .await
    }

    /// Gives an order, once under one idempotency key.
    ///
    /// # Errors
    /// As [`devices`](Self::devices).
    pub async fn create_order(&self, create: &OrderCreate, key: &str) -> Result<Order, Problem> {
        self.send(Method::POST, &["orders"], create, Some(key))
            .await
    }

    /// One page of the rollouts, the newest first.
    ///
    /// # Errors
    /// As [`devices`](Self::devices).
    pub async fn rollouts(
        &self,
        cursor: Option<&str>,
        limit: u16,
    ) -> Result<Page<Rollout>, Problem> {
        let limit = limit.to_string();
        self.list(&["rollouts"], cursor, &[("limit", Some(&*limit))])
            .await
    }

    /// One rollout.
    ///
    /// # Errors
    /// As [`devices`](Self::devices).
    pub async fn rollout(&self, id: u64) -> Result<Rollout, Problem> {
        self.get(&["rollouts", &id.to_string()], &[]).await
    }

    /// One page of a rollout's devices, by ID; those in this state.
    ///
    /// # Errors
    /// As [`devices`](Self::devices).
    pub async fn rollout_devices(
        &self,
        id: u64,
        state: Option<RolloutDeviceState>,
        cursor: Option<&str>,
        limit: u16,
    ) -> Result<Page<RolloutDevice>, Problem> {
        let limit = limit.to_string();
        let query = [
            ("state", state.map(RolloutDeviceState::name)),
            ("limit", Some(&*limit)),
        ];
        let path = ["rollouts", &id.to_string(), "devices"];
        self.list(&path, cursor, &query).await
    }

    /// Rolls a release out, once under one idempotency key.
    ///
    /// # Errors
    /// As [`devices`](Self::devices).
    pub async fn create_rollout(
        &self,
        create: &RolloutCreate,
        key: &str,
    ) -> Result<Rollout, Problem> {
        self.send(Method::POST, &["rollouts"], create, Some(key))
            .await
    }

    /// Holds a rollout. A repeat changes nothing.
    ///
    /// # Errors
    /// As [`devices`](Self::devices).
    pub async fn pause_rollout(&self, id: u64, key: &str) -> Result<Rollout, Problem> {
        self.command(&["rollouts", &id.to_string(), "pause"], Some(key))
            .await
    }

    /// Lets a rollout go on. A repeat changes nothing.
    ///
    /// # Errors
    /// As [`devices`](Self::devices).
    pub async fn resume_rollout(&self, id: u64, key: &str) -> Result<Rollout, Problem> {
        self.command(&["rollouts", &id.to_string(), "resume"], Some(key))
            .await
    }

    /// Begins a rollout's next phase, once under one idempotency key.
    ///
    /// # Errors
    /// As [`devices`](Self::devices).
    pub async fn begin_phase(&self, id: u64, key: &str) -> Result<Rollout, Problem> {
        self.command(&["rollouts", &id.to_string(), "next"], Some(key))
            .await
    }

    /// Ends a rollout. A repeat changes nothing.
    ///
    /// # Errors
    /// As [`devices`](Self::devices).
    pub async fn abort_rollout(&self, id: u64, key: &str) -> Result<Rollout, Problem> {
        self.command(&["rollouts", &id.to_string(), "abort"], Some(key))
            .await
    }

    /// The channels for which a lowest counter was set.
    ///
    /// # Errors
    /// As [`devices`](Self::devices).
    pub async fn channels(&self) -> Result<Vec<Channel>, Problem> {
        self.all(async |cursor| self.list(&["channels"], cursor.as_deref(), &[]).await)
            .await
    }

    /// Sets a channel's lowest counter. A repeat changes nothing.
    ///
    /// # Errors
    /// As [`devices`](Self::devices).
    pub async fn set_channel(&self, name: &str, set: ChannelSet) -> Result<Channel, Problem> {
        self.send(Method::PUT, &["channels", name], &set, None)
            .await
    }

    /// One page of the alarms, the newest first.
    ///
    /// # Errors
    /// As [`devices`](Self::devices).
    pub async fn alarms(
        &self,
        open: bool,
        cursor: Option<&str>,
        limit: u16,
    ) -> Result<Page<Alarm>, Problem> {
        let limit = limit.to_string();
        let query = [("open", open.then_some("true")), ("limit", Some(&*limit))];
        self.list(&["alarms"], cursor, &query).await
    }

    /// Takes note of an alarm. A repeat changes nothing.
    ///
    /// # Errors
    /// As [`devices`](Self::devices).
    pub async fn acknowledge_alarm(&self, id: u64) -> Result<Alarm, Problem> {
        let id = id.to_string();
        self.command(&["alarms", &id, "acknowledgement"], None)
            .await
    }

    /// Makes a token, once under one idempotency key.
    ///
    /// # Errors
    /// As [`devices`](Self::devices).
    pub async fn create_token(
        &self,
        create: &TokenCreate,
        key: &str,
    ) -> Result<TokenCreated, Problem> {
        self.send(Method::POST, &["tokens"], create, Some(key))
            .await
    }

    /// Keeps a device apart: it gets no orders but repair and rotate.
    ///
    /// # Errors
    /// As [`devices`](Self::devices).
    pub async fn quarantine_device(&self, id: &str, key: &str) -> Result<Device, Problem> {
        self.command(&["devices", id, "quarantine"], Some(key))
            .await
    }

    /// Takes a device back, and re-keys it.
    ///
    /// # Errors
    /// As [`devices`](Self::devices).
    pub async fn readmit_device(&self, id: &str, key: &str) -> Result<Device, Problem> {
        self.command(&["devices", id, "readmit"], Some(key)).await
    }

    /// Says what the inventory of a type's devices is as they leave the factory: canonical bytes (spec/firmware.md).
    ///
    /// # Errors
    /// As [`devices`](Self::devices).
    pub async fn expect_inventory(
        &self,
        device_type: &str,
        inventory: Bytes,
    ) -> Result<(), Problem> {
        let path = address(&["types", device_type, "expected"], &[]);
        self.send_bytes(Method::POST, &path, media::OCTETS, inventory, None)
            .await
            .map(drop)
    }

    /// One page of the releases that the server has.
    ///
    /// # Errors
    /// As [`devices`](Self::devices).
    pub async fn releases(
        &self,
        cursor: Option<&str>,
        limit: u16,
    ) -> Result<Page<Release>, Problem> {
        let limit = limit.to_string();
        self.list(&["releases"], cursor, &[("limit", Some(&*limit))])
            .await
    }

    /// One release.
    ///
    /// # Errors
    /// As [`devices`](Self::devices).
    pub async fn release(&self, digest: Hex32) -> Result<Release, Problem> {
        self.get(&["releases", &digest.to_string()], &[]).await
    }

    /// Hands a signed manifest in; the ledger lists it already. A repeat changes nothing.
    ///
    /// # Errors
    /// As [`devices`](Self::devices).
    pub async fn upload_release(&self, digest: Hex32, signed: Bytes) -> Result<Release, Problem> {
        let path = address(&["releases", &digest.to_string()], &[]);
        self.answer(self.send_bytes(Method::PUT, &path, MANIFEST, signed, None))
            .await
    }

    /// How much of a content that a release names is there.
    ///
    /// # Errors
    /// As [`devices`](Self::devices).
    pub async fn content(&self, digest: Hex32) -> Result<Content, Problem> {
        self.get(&["contents", &digest.to_string()], &[]).await
    }

    /// Hands in a piece of a content, from a byte on at which the server has come or which it has passed. Whether it is the content
    /// is checked when its last byte is there.
    ///
    /// # Errors
    /// As [`devices`](Self::devices).
    pub async fn upload_piece(
        &self,
        digest: Hex32,
        offset: u64,
        piece: Bytes,
    ) -> Result<Content, Problem> {
        let offset = offset.to_string();
        let path = address(
            &["contents", &digest.to_string()],
            &[("offset", Some(&*offset))],
        );
        self.answer(self.send_bytes(Method::PUT, &path, media::OCTETS, piece, None))
            .await
    }

    /// Follows the ledger from its beginning again, and brings back what it knows.
    ///
    /// # Errors
    /// As [`devices`](Self::devices).
    pub async fn rebuild(&self) -> Result<Rebuilt, Problem> {
        // Minutes, on a large ledger; broken off, the server goes on by itself.
        let request = self
            .request(Method::POST, &address(&["rebuild"], &[]))?
            .timeout(REBUILD_TIME);
        self.answer(self.http.receive(request, ANSWER_BYTES_MAX))
            .await
    }

    /// Whether its database and its ledger answer.
    ///
    /// # Errors
    /// What does not.
    pub async fn ready(&self) -> Result<(), Problem> {
        self.http
            .get("readyz", "text/plain", ANSWER_BYTES_MAX)
            .await
            .map(drop)
    }

    /// How a device's signed inventory differs from the expected one.
    ///
    /// # Errors
    /// As [`devices`](Self::devices).
    pub async fn inventory(&self, device: &str) -> Result<DeviceInventory, Problem> {
        self.get(&["devices", device, "inventory"], &[]).await
    }

    /// One page of the devices that hold a component.
    ///
    /// # Errors
    /// As [`devices`](Self::devices).
    pub async fn components(
        &self,
        which: &Components,
        cursor: Option<&str>,
        limit: u16,
    ) -> Result<ComponentPage, Problem> {
        let limit = limit.to_string();
        let digest = which.digest.map(|digest| digest.to_string());
        let query = [
            ("name", which.name.as_deref()),
            ("prefix", which.prefix.as_deref()),
            ("version", which.version.as_deref()),
            ("digest", digest.as_deref()),
            ("purl", which.purl.as_deref()),
            ("cursor", cursor),
            ("limit", Some(&*limit)),
        ];
        self.get(&["components"], &query).await
    }

    /// What became of an order, signed by the device.
    ///
    /// # Errors
    /// As [`devices`](Self::devices).
    pub async fn order_receipt(&self, device: &str, order: u64) -> Result<Receipt, Problem> {
        let order = order.to_string();
        self.get(&["devices", device, "orders", &order, "receipt"], &[])
            .await
    }

    /// What a stock Mender client logged of an order that failed.
    ///
    /// # Errors
    /// As [`devices`](Self::devices).
    pub async fn order_log(&self, device: &str, order: u64) -> Result<OrderLog, Problem> {
        let order = order.to_string();
        self.get(&["devices", device, "orders", &order, "log"], &[])
            .await
    }

    /// One page of what happened to a device, the newest first.
    ///
    /// # Errors
    /// As [`devices`](Self::devices).
    pub async fn timeline(
        &self,
        device: &str,
        cursor: Option<&str>,
        limit: u16,
    ) -> Result<Page<DeviceEvent>, Problem> {
        let limit = limit.to_string();
        let path = ["devices", device, "events"];
        self.list(&path, cursor, &[("limit", Some(&*limit))]).await
    }

    /// Makes a token with which devices ask to be enrolled, once under one idempotency key.
    ///
    /// # Errors
    /// As [`devices`](Self::devices).
    pub async fn create_enrolment_token(
        &self,
        create: &EnrolmentTokenCreate,
        key: &str,
    ) -> Result<EnrolmentTokenCreated, Problem> {
        self.send(Method::POST, &["enrolment-tokens"], create, Some(key))
            .await
    }

    /// One page of the devices that ask, or asked, to be enrolled.
    ///
    /// # Errors
    /// As [`devices`](Self::devices).
    pub async fn enrolments(
        &self,
        state: Option<EnrolmentState>,
        cursor: Option<&str>,
        limit: u16,
    ) -> Result<Page<Enrolment>, Problem> {
        let limit = limit.to_string();
        let query = [
            ("state", state.map(EnrolmentState::name)),
            ("limit", Some(&*limit)),
        ];
        self.list(&["enrolments"], cursor, &query).await
    }

    /// Lets a device in.
    ///
    /// # Errors
    /// As [`devices`](Self::devices).
    pub async fn accept_enrolment(&self, id: &str, key: &str) -> Result<Enrolment, Problem> {
        self.command(&["enrolments", id, "accept"], Some(key)).await
    }

    /// Keeps a device out.
    ///
    /// # Errors
    /// As [`devices`](Self::devices).
    pub async fn refuse_enrolment(&self, id: &str, key: &str) -> Result<Enrolment, Problem> {
        self.command(&["enrolments", id, "refuse"], Some(key)).await
    }

    /// Adds labels (serials) of devices that are accepted by themselves; how many were new.
    ///
    /// # Errors
    /// As [`devices`](Self::devices).
    pub async fn add_enrolment_labels(&self, labels: &EnrolmentLabels) -> Result<u64, Problem> {
        self.send(Method::PUT, &["enrolment-labels"], labels, None)
            .await
    }

    /// One page of the stock Mender devices, as they ask; those that stand so, or that have a key which is pending.
    ///
    /// # Errors
    /// As [`devices`](Self::devices).
    pub async fn mender_devices(
        &self,
        state: Option<AuthSetState>,
        cursor: Option<&str>,
        limit: u16,
    ) -> Result<Page<MenderDevice>, Problem> {
        let limit = limit.to_string();
        let query = [
            ("state", state.map(AuthSetState::name)),
            ("limit", Some(&*limit)),
        ];
        self.list(&["mender", "devices"], cursor, &query).await
    }

    /// A stock Mender device, with what it reports of itself.
    ///
    /// # Errors
    /// As [`devices`](Self::devices).
    pub async fn mender_device(&self, id: &str) -> Result<MenderDeviceDetail, Problem> {
        self.get(&["mender", "devices", id], &[]).await
    }

    /// Vouches for a key before its device is heard, once under one idempotency key.
    ///
    /// # Errors
    /// As [`devices`](Self::devices).
    pub async fn preauthorize(
        &self,
        create: &MenderPreauthorize,
        key: &str,
    ) -> Result<MenderDevice, Problem> {
        let path = ["mender", "devices"];
        self.send(Method::POST, &path, create, Some(key)).await
    }

    /// Accepts a key of a stock Mender device.
    ///
    /// # Errors
    /// As [`devices`](Self::devices).
    pub async fn accept_auth_set(&self, id: &str, key: &str) -> Result<MenderDevice, Problem> {
        let path = ["mender", "auth-sets", id, "accept"];
        self.command(&path, Some(key)).await
    }

    /// Rejects a key of a stock Mender device.
    ///
    /// # Errors
    /// As [`devices`](Self::devices).
    pub async fn reject_auth_set(&self, id: &str, key: &str) -> Result<MenderDevice, Problem> {
        let path = ["mender", "auth-sets", id, "reject"];
        self.command(&path, Some(key)).await
    }

    /// Every item of a list, page by page.
    async fn all<T>(
        &self,
        page: impl AsyncFn(Option<String>) -> Result<Page<T>, Problem>,
    ) -> Result<Vec<T>, Problem> {
        let mut items = Vec::new();
        let mut cursor = None;
        loop {
            let page = page(cursor.clone()).await?;
            let came = page.items.len();
            items.extend(page.items);
            // A server that goes in circles is left.
            match page.next {
                Some(next) if came > 0 && cursor.as_ref() != Some(&next) => cursor = Some(next),
                _ => return Ok(items),
            }
        }
    }

    async fn list<T: DeserializeOwned>(
        &self,
        path: &[&str],
        cursor: Option<&str>,
        query: &[(&str, Option<&str>)],
    ) -> Result<Page<T>, Problem> {
        let most = PAGE_MAX.to_string();
        let mut all = query.to_vec();
        all.push(("cursor", cursor));
        if !query.iter().any(|(name, _)| *name == "limit") {
            all.push(("limit", Some(&most)));
        }
        self.get(path, &all).await
    }

    async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, Option<&str>)],
    ) -> Result<T, Problem> {
        let path = address(path, query);
        let request = || self.request(Method::GET, &path);
        self.answer(self.http.repeated(request, ANSWER_BYTES_MAX))
            .await
    }

    /// A command without a body whose answer is JSON.
    async fn command<T: DeserializeOwned>(
        &self,
        path: &[&str],
        key: Option<&str>,
    ) -> Result<T, Problem> {
        self.answer(self.act(Method::POST, path, key)).await
    }

    async fn act(
        &self,
        method: Method,
        path: &[&str],
        key: Option<&str>,
    ) -> Result<Bytes, Problem> {
        let path = address(path, &[]);
        let request = || Ok(with_key(self.request(method.clone(), &path)?, key));
        self.http.repeated(request, ANSWER_BYTES_MAX).await
    }

    /// A command with a body of JSON whose answer is JSON.
    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        body: &impl Serialize,
        key: Option<&str>,
    ) -> Result<T, Problem> {
        let body = serde_json::to_vec(body).map_err(|e| {
            Problem::new(Kind::Internal, format!("a request has no JSON form: {e}"))
        })?;
        self.answer(self.send_bytes(method, &address(path, &[]), media::JSON, body.into(), key))
            .await
    }

    async fn send_bytes(
        &self,
        method: Method,
        path: &str,
        media_type: &str,
        body: Bytes,
        key: Option<&str>,
    ) -> Result<Bytes, Problem> {
        let request = || {
            let request = self
                .request(method.clone(), path)?
                .header(CONTENT_TYPE, media_type)
                .body(body.clone());
            Ok(with_key(request, key))
        };
        self.http.repeated(request, ANSWER_BYTES_MAX).await
    }

    fn request(&self, method: Method, path: &str) -> Result<RequestBuilder, Problem> {
        let request = self.http.request(method, path, media::JSON)?;
        Ok(request.header(AUTHORIZATION, self.token.0.clone()))
    }

    async fn answer<T: DeserializeOwned>(
        &self,
        bytes: impl Future<Output = Result<Bytes, Problem>>,
    ) -> Result<T, Problem> {
        self.http.read_json(&bytes.await?)
    }
}

fn with_key(request: RequestBuilder, key: Option<&str>) -> RequestBuilder {
    match key {
        Some(key) => request.header("idempotency-key", key),
        None => request,
    }
}

#[cfg(not(feature = "tls"))]
fn without_tls() -> Problem {
    Problem::new(
        Kind::BadParameter,
        "this program was built without TLS, so it cannot speak https://",
    )
}

/// Whether requests to this address leave the machine.
fn is_this_machine(url: &Url) -> bool {
    match url.host_str() {
        Some("localhost") => true,
        Some(host) => host
            .trim_matches(['[', ']'])
            .parse::<core::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback()),
        None => false,
    }
}

/// `api/v1/…` with its parts and its query escaped.
fn address(path: &[&str], query: &[(&str, Option<&str>)]) -> String {
    // A valid address, and one that can have segments.
    let Ok(mut url) = Url::parse("http://localhost/api/v1") else {
        return String::new();
    };
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.extend(path);
    }
    let said: Vec<_> = query
        .iter()
        .filter_map(|(name, value)| Some((name, (*value)?)))
        .collect();
    if !said.is_empty() {
        url.query_pairs_mut().extend_pairs(said);
    }
    let mut address = url.path().trim_start_matches('/').to_owned();
    if let Some(query) = url.query() {
        address.push('?');
        address.push_str(query);
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> AdminToken {
        AdminToken::parse("kusabi_token_00\n").unwrap()
    }

    #[test]
    fn a_token_goes_over_no_network_in_clear() {
        let open = |address| AdminClient::new(address, token(), None, Limits::default());
        for good in [
            "http://127.0.0.1:7042",
            "http://localhost:1",
            "http://[::1]:7042/x",
        ] {
            assert!(open(good).is_ok(), "{good}");
        }
        for bad in [
            "http://192.0.2.1:7042",
            "http://server.example",
            "ftp://127.0.0.1",
        ] {
            assert_eq!(open(bad).unwrap_err().kind, Kind::BadParameter, "{bad}");
        }
    }

    #[test]
    fn a_token_is_one_line_and_is_never_shown() {
        for bad in ["", " \n", "a b", "a\nb", "ä", "a\u{7}"] {
            let why = AdminToken::parse(bad).unwrap_err();
            assert!(bad.trim().is_empty() || !why.detail.contains(bad.trim()));
        }
        let client = AdminClient::new("http://127.0.0.1:1", token(), None, Limits::default());
        assert!(!format!("{:?}", client.unwrap()).contains("kusabi_token"));
    }

    #[test]
    fn addresses_are_escaped() {
        assert_eq!(
            address(
                &["types", "a/b?c"],
                &[("serial", Some("a&b=ü")), ("cursor", None)]
            ),
            "api/v1/types/a%2Fb%3Fc?serial=a%26b%3D%C3%BC"
        );
    }
}
