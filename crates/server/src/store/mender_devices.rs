//! Stock Mender devices: identities, auth sets and tokens.

use super::{On, StoreError, bytes, column, int, is_id, number, optional_number, unreadable, word};
use kusabi_api::admin::{AuthSet, AuthSetState, MenderDevice, MenderIdentity};
use kusabi_core::{
    id::{Binding, Handle},
    suite::{ForeignAlgorithm, Purpose},
    tx::Entry,
};
use kusabi_mender::DeviceKey;
use sqlx::{AssertSqlSafe, any::AnyRow};

/// An auth set, with the entry that the ledger holds or will hold of it.
#[derive(Clone, Debug)]
pub(crate) struct Set {
    pub(crate) id: String,
    pub(crate) device: String,
    pub(crate) key: DeviceKey,
    pub(crate) entry: Entry,
    pub(crate) state: AuthSetState,
    pub(crate) created_ms: u64,
    pub(crate) asked_ms: u64,
    pub(crate) decided_ms: Option<u64>,
    pub(crate) decided_by: Option<String>,
}

impl Set {
    pub(crate) fn shown(self) -> AuthSet {
        AuthSet {
            id: self.id,
            state: self.state,
            key: self.key.to_pem(),
            fingerprint: digest(self.key.spki()).into(),
            handle: self.entry.handle().to_bytes().into(),
            created_ms: self.created_ms,
            decided_ms: self.decided_ms,
            decided_by: self.decided_by,
        }
    }
}

/// Who has a token.
#[derive(Clone, Debug)]
pub(crate) struct Holder {
    pub(crate) device: String,
    pub(crate) set: String,
    pub(crate) device_type: Option<String>,
}

const SET: &str = "s.id, s.device, s.spki, s.handle, s.binding, s.state, s.created_ms, s.asked_ms, \
                   s.decided_ms, s.decided_by";

/// For a question about auth sets `s`: their keys `k` of devices.
const KEY: &str = "JOIN device_keys k ON k.org = s.org AND k.handle = s.handle";

/// The auth sets whose key was revoked on the ledger, of the organisation and with the digest that follow.
fn revoked(org: &str, digest: &str) -> String {
    format!(
        "SELECT o.id FROM mender_auth_sets o JOIN device_keys r ON r.org = o.org AND r.handle = o.handle \
         WHERE o.org = {org} AND o.spki_digest = {digest} AND r.status = 'revoked'"
    )
}

/// Whether an auth set `s` with its key `k` is served: it is accepted, and the ledger has not ended its key, under whatever identity that
/// was accepted.
fn served() -> String {
    format!(
        "s.state = '{}' AND k.status = 'active' AND k.ended IS NULL AND NOT EXISTS ({})",
        AuthSetState::Accepted.name(),
        revoked("s.org", "s.spki_digest")
    )
}

const DEVICE: &str = "id, identity_data, state, created_ms, changed_ms";

/// The ID of the device with this identity.
pub(crate) async fn with_identity(
    on: On<'_>,
    identity: [u8; 32],
) -> Result<Option<String>, StoreError> {
    sqlx::query_scalar("SELECT id FROM mender_devices WHERE org = $1 AND identity = $2")
        .bind(on.org)
        .bind(identity.to_vec())
        .fetch_optional(on.connection)
        .await
        .map_err(StoreError::of("find a Mender device by its identity"))
}

/// A new device; its state follows with its first set.
pub(crate) async fn insert(
    on: On<'_>,
    id: &str,
    identity: [u8; 32],
    data: &str,
    at_ms: u64,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO mender_devices (org, id, identity, identity_data, state, created_ms, changed_ms) \
         VALUES ($1, $2, $3, $4, $5, $6, $6)",
    )
    .bind(on.org)
    .bind(id.to_owned())
    .bind(identity.to_vec())
    .bind(data.to_owned())
    .bind(AuthSetState::Pending.name())
    .bind(int(at_ms))
    .execute(on.connection)
    .await
    .map_err(StoreError::of("insert a Mender device"))?;
    Ok(())
}

/// Which devices a list shows.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Which {
    All,
    /// The best of whose sets stands so.
    Of(AuthSetState),
    /// Who has a key that nobody has decided, perhaps beside one that is accepted.
    Asking,
}

/// The devices from there on, at most `count`, by ID.
pub(crate) async fn list(
    on: On<'_>,
    which: Which,
    skip: Skip<'_>,
    count: u16,
) -> Result<Vec<MenderDevice>, StoreError> {
    let error = StoreError::of("list Mender devices");
    let On { connection, org } = on;
    let (after, offset) = match skip {
        Skip::After(id) => (id.to_owned(), 0),
        Skip::Count(count) => (String::new(), count),
    };
    let (filter, state) = match which {
        Which::All => ("", None),
        Which::Of(state) => ("AND state = $5", Some(state)),
        Which::Asking => (
            "AND id IN (SELECT device FROM mender_auth_sets WHERE org = $1 AND state = $5)",
            Some(AuthSetState::Pending),
        ),
    };
    let sql = format!(
        "SELECT {DEVICE} FROM mender_devices WHERE org = $1 AND id > $2 {filter} ORDER BY id LIMIT $3 OFFSET $4"
    );
    let mut query = sqlx::query(AssertSqlSafe(sql))
        .bind(org.clone())
        .bind(after)
        .bind(i64::from(count))
        .bind(int(offset));
    if let Some(state) = state {
        query = query.bind(state.name());
    }
    let rows = query.fetch_all(&mut *connection).await.map_err(error)?;
    let mut devices: Vec<MenderDevice> = rows
        .iter()
        .map(read)
        .collect::<Result<_, _>>()
        .map_err(error)?;
    let ids: Vec<String> = devices.iter().map(|device| device.id.clone()).collect();
    let on = On { connection, org };
    let question = "SELECT s.id, s.device, s.spki, s.handle, s.binding, s.state, s.created_ms, s.asked_ms, \
                    s.decided_ms, s.decided_by FROM mender_auth_sets s WHERE s.org = $1 AND s.device IN";
    let rows = super::among(on, question, &ids).await.map_err(error)?;
    let sets: Vec<Set> = rows
        .iter()
        .map(read_set)
        .collect::<Result<_, _>>()
        .map_err(error)?;
    for set in sets {
        if let Ok(at) = devices.binary_search_by(|one| one.id.cmp(&set.device))
            && let Some(device) = devices.get_mut(at)
        {
            device.auth_sets.push(set.shown());
        }
    }
    for device in &mut devices {
        let age = |set: &AuthSet| (set.created_ms, set.id.clone());
        device.auth_sets.sort_unstable_by_key(age);
    }
    Ok(devices)
}

/// Where a list begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Skip<'a> {
    /// After the device of this ID.
    After(&'a str),
    /// After so many devices.
    Count(u64),
}

/// How many devices there are, or of this state.
pub(crate) async fn count(on: On<'_>, state: Option<AuthSetState>) -> Result<u64, StoreError> {
    let filter = match state {
        Some(_) => "AND state = $2",
        None => "",
    };
    let sql = format!("SELECT COUNT(*) FROM mender_devices WHERE org = $1 {filter}");
    let mut query = sqlx::query_scalar(AssertSqlSafe(sql)).bind(on.org);
    if let Some(state) = state {
        query = query.bind(state.name());
    }
    let count: i64 = query
        .fetch_one(on.connection)
        .await
        .map_err(StoreError::of("count Mender devices"))?;
    Ok(count.unsigned_abs())
}

/// One device.
pub(crate) async fn find(on: On<'_>, id: &str) -> Result<Option<MenderDevice>, StoreError> {
    let error = StoreError::of("find a Mender device");
    if !is_id(id) {
        return Ok(None);
    }
    let On { connection, org } = on;
    let sql = format!("SELECT {DEVICE} FROM mender_devices WHERE org = $1 AND id = $2");
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(org.clone())
        .bind(id.to_owned())
        .fetch_optional(&mut *connection)
        .await
        .map_err(error)?;
    let Some(mut device) = row.as_ref().map(read).transpose().map_err(error)? else {
        return Ok(None);
    };
    let sets = sets(On { connection, org }, id).await?;
    device.auth_sets = sets.into_iter().map(Set::shown).collect();
    Ok(Some(device))
}

/// A device's sets, the first one first.
pub(crate) async fn sets(on: On<'_>, device: &str) -> Result<Vec<Set>, StoreError> {
    let error = StoreError::of("list the auth sets of a device");
    let sql = format!(
        "SELECT {SET} FROM mender_auth_sets s WHERE s.org = $1 AND s.device = $2 ORDER BY s.created_ms, s.id"
    );
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(on.org)
        .bind(device.to_owned())
        .fetch_all(on.connection)
        .await
        .map_err(error)?;
    rows.iter()
        .map(read_set)
        .collect::<Result<_, _>>()
        .map_err(error)
}

/// The set of this ID.
pub(crate) async fn set(on: On<'_>, id: &str) -> Result<Option<Set>, StoreError> {
    let error = StoreError::of("find an auth set");
    if !is_id(id) {
        return Ok(None);
    }
    let sql = format!("SELECT {SET} FROM mender_auth_sets s WHERE s.org = $1 AND s.id = $2");
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(on.org)
        .bind(id.to_owned())
        .fetch_optional(on.connection)
        .await
        .map_err(error)?;
    row.as_ref().map(read_set).transpose().map_err(error)
}

/// The set of a device with this key, by SHA-256 of its SPKI.
pub(crate) async fn set_of(
    on: On<'_>,
    identity: [u8; 32],
    key: [u8; 32],
) -> Result<Option<Set>, StoreError> {
    let error = StoreError::of("find an auth set by its key");
    let sql = format!(
        "SELECT {SET} FROM mender_devices d JOIN mender_auth_sets s ON s.org = d.org AND s.device = d.id \
         WHERE d.org = $1 AND d.identity = $2 AND s.spki_digest = $3"
    );
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(on.org)
        .bind(identity.to_vec())
        .bind(key.to_vec())
        .fetch_optional(on.connection)
        .await
        .map_err(error)?;
    row.as_ref().map(read_set).transpose().map_err(error)
}

/// A device that is let in with this key, by SHA-256 of its SPKI.
pub(crate) async fn let_in_with(on: On<'_>, key: [u8; 32]) -> Result<Option<String>, StoreError> {
    sqlx::query_scalar(
        "SELECT device FROM mender_auth_sets WHERE org = $1 AND spki_digest = $2 AND state IN ($3, $4) \
         ORDER BY device LIMIT 1",
    )
    .bind(on.org)
    .bind(key.to_vec())
    .bind(AuthSetState::Accepted.name())
    .bind(AuthSetState::Preauthorized.name())
    .fetch_optional(on.connection)
    .await
    .map_err(StoreError::of("find a device by its key"))
}

/// The device whose set has this handle.
pub(crate) async fn with_handle(
    on: On<'_>,
    handle: [u8; 32],
) -> Result<Option<String>, StoreError> {
    sqlx::query_scalar("SELECT device FROM mender_auth_sets WHERE org = $1 AND handle = $2")
        .bind(on.org)
        .bind(handle.to_vec())
        .fetch_optional(on.connection)
        .await
        .map_err(StoreError::of("find an auth set by its handle"))
}

/// A new set.
pub(crate) async fn insert_set(on: On<'_>, set: &Set, source: &str) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO mender_auth_sets (org, id, device, spki, spki_digest, handle, binding, state, source, \
         created_ms, asked_ms, decided_ms, decided_by) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
    )
    .bind(on.org)
    .bind(set.id.clone())
    .bind(set.device.clone())
    .bind(set.key.spki().to_vec())
    .bind(digest(set.key.spki()).to_vec())
    .bind(set.entry.handle().to_bytes().to_vec())
    .bind(set.entry.binding().to_bytes().to_vec())
    .bind(set.state.name())
    .bind(source.to_owned())
    .bind(int(set.created_ms))
    .bind(int(set.asked_ms))
    .bind(set.decided_ms.map(int))
    .bind(set.decided_by.clone())
    .execute(on.connection)
    .await
    .map_err(StoreError::of("insert an auth set"))?;
    Ok(())
}

/// How many pending sets there are, or of a source, or of a device: no more than `most` are counted.
pub(crate) async fn pending(on: On<'_>, of: Of<'_>, most: u64) -> Result<u64, StoreError> {
    let (filter, value) = match of {
        Of::All => ("", None),
        Of::Source(source) => ("AND source = $4", Some(source)),
        Of::Device(device) => ("AND device = $4", Some(device)),
    };
    let sql = format!(
        "SELECT COUNT(*) FROM (SELECT 1 FROM mender_auth_sets WHERE org = $1 AND state = $2 {filter} LIMIT $3) AS counted"
    );
    let mut query = sqlx::query_scalar(AssertSqlSafe(sql))
        .bind(on.org)
        .bind(AuthSetState::Pending.name())
        .bind(int(most));
    if let Some(value) = value {
        query = query.bind(value.to_owned());
    }
    let count: i64 = query
        .fetch_one(on.connection)
        .await
        .map_err(StoreError::of("count pending auth sets"))?;
    Ok(count.unsigned_abs())
}

/// Which pending sets are counted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Of<'a> {
    All,
    Source(&'a str),
    Device(&'a str),
}

/// Pending sets that did not ask since then, at most `count`: their IDs and devices.
pub(crate) async fn silent(
    on: On<'_>,
    since_ms: u64,
    count: u16,
) -> Result<Vec<(String, String)>, StoreError> {
    let error = StoreError::of("look for auth sets that fell silent");
    let rows = sqlx::query(
        "SELECT id, device FROM mender_auth_sets WHERE org = $1 AND state = $2 AND asked_ms < $3 ORDER BY asked_ms LIMIT $4",
    )
    .bind(on.org)
    .bind(AuthSetState::Pending.name())
    .bind(int(since_ms))
    .bind(i64::from(count))
    .fetch_all(on.connection)
    .await
    .map_err(error)?;
    let read = |row: &AnyRow| Ok((column(row, "id")?, column(row, "device")?));
    rows.iter()
        .map(read)
        .collect::<Result<_, _>>()
        .map_err(error)
}

/// A pending set asks again.
pub(crate) async fn asked(on: On<'_>, id: &str, at_ms: u64) -> Result<(), StoreError> {
    sqlx::query("UPDATE mender_auth_sets SET asked_ms = $3 WHERE org = $1 AND id = $2")
        .bind(on.org)
        .bind(id.to_owned())
        .bind(int(at_ms))
        .execute(on.connection)
        .await
        .map_err(StoreError::of("note that an auth set asks again"))?;
    Ok(())
}

/// Decides a set; the device's own state is put right, and a set that is not accepted has no tokens.
pub(crate) async fn decide(
    on: On<'_>,
    set: &Set,
    state: AuthSetState,
    by: &str,
    at_ms: u64,
) -> Result<(), StoreError> {
    let error = StoreError::of("decide an auth set");
    let On { connection, org } = on;
    sqlx::query(
        "UPDATE mender_auth_sets SET state = $3, decided_by = $4, decided_ms = $5 WHERE org = $1 AND id = $2",
    )
    .bind(org.clone())
    .bind(set.id.clone())
    .bind(state.name())
    .bind(by.to_owned())
    .bind(int(at_ms))
    .execute(&mut *connection)
    .await
    .map_err(error)?;
    if state != AuthSetState::Accepted {
        sqlx::query("DELETE FROM mender_tokens WHERE org = $1 AND auth_set = $2")
            .bind(org.clone())
            .bind(set.id.clone())
            .execute(&mut *connection)
            .await
            .map_err(error)?;
    }
    settle(On { connection, org }, &set.device, at_ms).await
}

/// Puts a device's state right: that of the best of its sets. One that has none left is forgotten.
pub(crate) async fn settle(on: On<'_>, device: &str, at_ms: u64) -> Result<(), StoreError> {
    let error = StoreError::of("note how a Mender device stands");
    let On { connection, org } = on;
    let sets = sets(
        On {
            connection: &mut *connection,
            org: org.clone(),
        },
        device,
    )
    .await?;
    let best = [
        AuthSetState::Accepted,
        AuthSetState::Preauthorized,
        AuthSetState::Pending,
        AuthSetState::Rejected,
    ]
    .into_iter()
    .find(|state| sets.iter().any(|set| set.state == *state));
    let query = match best {
        Some(state) => sqlx::query(
            "UPDATE mender_devices SET changed_ms = $3, state = $4 WHERE org = $1 AND id = $2",
        )
        .bind(org)
        .bind(device.to_owned())
        .bind(int(at_ms))
        .bind(state.name()),
        None => sqlx::query("DELETE FROM mender_devices WHERE org = $1 AND id = $2")
            .bind(org)
            .bind(device.to_owned()),
    };
    query.execute(connection).await.map_err(error)?;
    Ok(())
}

/// Forgets a set that was never accepted.
pub(crate) async fn forget(
    on: On<'_>,
    id: &str,
    device: &str,
    at_ms: u64,
) -> Result<(), StoreError> {
    let On { connection, org } = on;
    sqlx::query("DELETE FROM mender_auth_sets WHERE org = $1 AND id = $2")
        .bind(org.clone())
        .bind(id.to_owned())
        .execute(&mut *connection)
        .await
        .map_err(StoreError::of("forget an auth set"))?;
    settle(On { connection, org }, device, at_ms).await
}

/// Whether a key was revoked on the ledger, under whatever identity it came.
pub(crate) async fn is_revoked(on: On<'_>, key: [u8; 32]) -> Result<bool, StoreError> {
    let sql = format!("{} LIMIT 1", revoked("$1", "$2"));
    let found: Option<String> = sqlx::query_scalar(AssertSqlSafe(sql))
        .bind(on.org)
        .bind(key.to_vec())
        .fetch_optional(on.connection)
        .await
        .map_err(StoreError::of("ask whether a key was revoked"))?;
    Ok(found.is_some())
}

/// A new token; of the set's only the newest `keep` stay, and none that are over.
pub(crate) async fn insert_token(
    on: On<'_>,
    hash: [u8; 32],
    set: &str,
    now_ms: u64,
    expires_ms: u64,
    keep: u16,
) -> Result<(), StoreError> {
    let error = StoreError::of("make a Mender device's token");
    let On { connection, org } = on;
    sqlx::query(
        "DELETE FROM mender_tokens WHERE org = $1 AND auth_set = $2 AND (expires_ms <= $3 OR hash NOT IN ( \
             SELECT hash FROM mender_tokens WHERE org = $1 AND auth_set = $2 \
             ORDER BY created_ms DESC, hash LIMIT $4))",
    )
    .bind(org.clone())
    .bind(set.to_owned())
    .bind(int(now_ms))
    .bind(i64::from(keep.saturating_sub(1)))
    .execute(&mut *connection)
    .await
    .map_err(error)?;
    sqlx::query(
        "INSERT INTO mender_tokens (org, hash, auth_set, created_ms, expires_ms) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(org)
    .bind(hash.to_vec())
    .bind(set.to_owned())
    .bind(int(now_ms))
    .bind(int(expires_ms))
    .execute(connection)
    .await
    .map_err(error)?;
    Ok(())
}

/// Who has the token with this hash, if it is not over, its set is accepted, and the ledger has not ended its key, under whatever
/// identity that was accepted.
pub(crate) async fn holder(
    on: On<'_>,
    hash: [u8; 32],
    now_ms: u64,
) -> Result<Option<Holder>, StoreError> {
    let error = StoreError::of("find a Mender device by its token");
    let sql = format!(
        "SELECT s.id, k.device, d.type FROM mender_tokens t \
         JOIN mender_auth_sets s ON s.org = t.org AND s.id = t.auth_set {KEY} \
         JOIN devices d ON d.org = k.org AND d.id = k.device \
         WHERE t.org = $1 AND t.hash = $2 AND t.expires_ms > $3 AND {}",
        served()
    );
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(on.org)
        .bind(hash.to_vec())
        .bind(int(now_ms))
        .fetch_optional(on.connection)
        .await
        .map_err(error)?;
    let read = |row: &AnyRow| {
        Ok(Holder {
            device: column(row, "device")?,
            set: column(row, "id")?,
            device_type: column(row, "type")?,
        })
    };
    row.as_ref().map(read).transpose().map_err(error)
}

/// Whether a device is served: one of its sets is accepted, and the ledger has not ended the key of it.
pub(crate) async fn is_served(on: On<'_>, device: &str) -> Result<bool, StoreError> {
    let sql = format!(
        "SELECT s.id FROM mender_auth_sets s {KEY} WHERE s.org = $1 AND k.device = $2 AND {} LIMIT 1",
        served()
    );
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(on.org)
        .bind(device.to_owned())
        .fetch_optional(on.connection)
        .await
        .map_err(StoreError::of("ask whether a Mender device is served"))?;
    Ok(row.is_some())
}

/// What a device reported of itself last, as JSON, and when.
pub(crate) async fn attributes(
    on: On<'_>,
    device: &str,
) -> Result<Option<(String, u64)>, StoreError> {
    let error = StoreError::of("read what a Mender device reported");
    let row = sqlx::query(
        "SELECT attributes, attributes_ms FROM mender_devices WHERE org = $1 AND id = $2 AND attributes IS NOT NULL",
    )
    .bind(on.org)
    .bind(device.to_owned())
    .fetch_optional(on.connection)
    .await
    .map_err(error)?;
    let read = |row: &AnyRow| Ok((column(row, "attributes")?, number(row, "attributes_ms")?));
    row.as_ref().map(read).transpose().map_err(error)
}

/// Keeps what a device reports of itself.
pub(crate) async fn set_attributes(
    on: On<'_>,
    device: &str,
    attributes: &str,
    at_ms: u64,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE mender_devices SET attributes = $3, attributes_ms = $4 WHERE org = $1 AND id = $2",
    )
    .bind(on.org)
    .bind(device.to_owned())
    .bind(attributes.to_owned())
    .bind(int(at_ms))
    .execute(on.connection)
    .await
    .map_err(StoreError::of("keep what a Mender device reports"))?;
    Ok(())
}

fn read(row: &AnyRow) -> Result<MenderDevice, sqlx::Error> {
    let identity: String = column(row, "identity_data")?;
    let identity: MenderIdentity =
        serde_json::from_str(&identity).map_err(|_| unreadable("identity_data"))?;
    Ok(MenderDevice {
        id: column(row, "id")?,
        identity,
        state: word(row, "state", AuthSetState::from_name)?,
        created_ms: number(row, "created_ms")?,
        changed_ms: number(row, "changed_ms")?,
        auth_sets: Vec::new(),
    })
}

fn read_set(row: &AnyRow) -> Result<Set, sqlx::Error> {
    let spki: Vec<u8> = column(row, "spki")?;
    let key = DeviceKey::from_spki(&spki).map_err(|_| unreadable("spki"))?;
    let entry = entry(
        Handle::new(bytes(row, "handle")?),
        key.algorithm(),
        &spki,
        Binding::new(bytes(row, "binding")?),
    );
    Ok(Set {
        id: column(row, "id")?,
        device: column(row, "device")?,
        entry: entry.map_err(|_| unreadable("handle"))?,
        key,
        state: word(row, "state", AuthSetState::from_name)?,
        created_ms: number(row, "created_ms")?,
        asked_ms: number(row, "asked_ms")?,
        decided_ms: optional_number(row, "decided_ms")?,
        decided_by: column(row, "decided_by")?,
    })
}

/// What a key is compared by.
pub(crate) fn digest(spki: &[u8]) -> [u8; 32] {
    kusabi_core::crypto::sha256(&[spki])
}

/// The ledger's entry of a device's key.
pub(crate) fn entry(
    handle: Handle,
    algorithm: ForeignAlgorithm,
    spki: &[u8],
    binding: Binding,
) -> Result<Entry, kusabi_core::tx::TxError> {
    Entry::foreign(handle, Purpose::Act, algorithm, spki, binding, None)
}
