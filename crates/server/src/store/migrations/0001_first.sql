-- {bytes} is BLOB on SQLite and BYTEA on PostgreSQL, where each TEXT is sorted by its bytes; everything else is valid on both. Times are milliseconds since 1970.

CREATE TABLE devices (
    org {bytes} NOT NULL,
    id TEXT NOT NULL,
    state TEXT NOT NULL,
    type TEXT,
    serial TEXT,
    name TEXT,
    firmware {bytes},
    inventory TEXT NOT NULL,
    freshness TEXT NOT NULL,
    last_contact_ms BIGINT,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (org, id)
);
-- Where the serial is NULL the index holds nothing back: NULLs are distinct.
CREATE UNIQUE INDEX devices_by_serial ON devices (org, serial);
CREATE INDEX devices_by_type ON devices (org, type, id);
CREATE INDEX devices_by_state ON devices (org, state, id);

CREATE TABLE device_keys (
    org {bytes} NOT NULL,
    handle {bytes} NOT NULL,
    device TEXT NOT NULL,
    purpose TEXT NOT NULL,
    predecessor {bytes},
    registered BIGINT NOT NULL,
    -- As far as the ledger was followed.
    status TEXT NOT NULL,
    ended BIGINT,
    PRIMARY KEY (org, handle)
);
CREATE INDEX device_keys_by_device ON device_keys (org, device, registered);

CREATE TABLE device_groups (
    org {bytes} NOT NULL,
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (org, id)
);
CREATE UNIQUE INDEX device_groups_by_name ON device_groups (org, name);

CREATE TABLE group_members (
    org {bytes} NOT NULL,
    device_group TEXT NOT NULL,
    device TEXT NOT NULL,
    PRIMARY KEY (org, device_group, device)
);
CREATE INDEX group_members_by_device ON group_members (org, device, device_group);

CREATE TABLE orders (
    org {bytes} NOT NULL,
    id BIGINT NOT NULL,
    kind TEXT NOT NULL,
    release_digest {bytes},
    nonce {bytes},
    target_kind TEXT NOT NULL,
    target TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    -- Kept, not counted: a list of orders must not read a row for each device of each order.
    devices BIGINT NOT NULL,
    waiting BIGINT NOT NULL,
    PRIMARY KEY (org, id)
);

CREATE TABLE device_orders (
    org {bytes} NOT NULL,
    order_id BIGINT NOT NULL,
    device TEXT NOT NULL,
    state TEXT NOT NULL,
    changed_ms BIGINT NOT NULL,
    -- What the device signed of its outcome: signer 32, server 32, height u64, signature 64.
    receipt {bytes},
    PRIMARY KEY (org, order_id, device)
);
CREATE INDEX device_orders_by_device ON device_orders (org, device, state, order_id);

CREATE TABLE alarms (
    org {bytes} NOT NULL,
    id BIGINT NOT NULL,
    device TEXT NOT NULL,
    kind TEXT NOT NULL,
    detail TEXT NOT NULL,
    raised_ms BIGINT NOT NULL,
    acknowledged_ms BIGINT,
    acknowledged_by TEXT,
    PRIMARY KEY (org, id)
);

CREATE INDEX alarms_open ON alarms (org, acknowledged_ms, id);

CREATE TABLE users (
    org {bytes} NOT NULL,
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (org, id)
);
CREATE UNIQUE INDEX users_by_name ON users (org, name);

CREATE TABLE tokens (
    org {bytes} NOT NULL,
    id TEXT NOT NULL,
    user_id TEXT,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    hash {bytes} NOT NULL,
    created_ms BIGINT NOT NULL,
    revoked_ms BIGINT,
    PRIMARY KEY (org, id)
);
CREATE UNIQUE INDEX tokens_by_hash ON tokens (org, hash);

-- At most one for each organisation: the link that makes the first admin.
CREATE TABLE first_admin_links (
    org {bytes} NOT NULL PRIMARY KEY,
    hash {bytes} NOT NULL,
    expires_ms BIGINT NOT NULL
);

CREATE TABLE audit_log (
    org {bytes} NOT NULL,
    seq BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    actor TEXT NOT NULL,
    act TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail TEXT NOT NULL,
    hash {bytes} NOT NULL,
    PRIMARY KEY (org, seq)
);

CREATE TABLE idempotency_keys (
    org {bytes} NOT NULL,
    token TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    request {bytes} NOT NULL,
    -- NULL: the answer held a secret and is not kept.
    answer TEXT,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (org, token, idempotency_key)
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (org, created_ms);

-- What devices say, and what happened to them.

CREATE TABLE device_events (
    org {bytes} NOT NULL,
    device TEXT NOT NULL,
    seq BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    kind TEXT NOT NULL,
    detail TEXT NOT NULL,
    PRIMARY KEY (org, device, seq)
);

-- The clone tripwire (spec/device-protocol.md): one row for each device, replaced whole, by version.
CREATE TABLE device_links (
    org {bytes} NOT NULL,
    device TEXT NOT NULL,
    confirmed_seq BIGINT NOT NULL,
    confirmed_tag {bytes} NOT NULL,
    pending_seq BIGINT NOT NULL,
    pending_tag {bytes} NOT NULL,
    -- At most four values, each seq (8 bytes, big-endian) and tag.
    displaced {bytes} NOT NULL,
    version BIGINT NOT NULL,
    PRIMARY KEY (org, device)
);

-- What a device says of itself in its polls; the release stands with the device.
CREATE TABLE device_facts (
    org {bytes} NOT NULL,
    device TEXT NOT NULL,
    inventory {bytes},
    counter BIGINT NOT NULL,
    PRIMARY KEY (org, device)
);

-- Inventories by their digest: a fleet has few different ones.
CREATE TABLE inventories (
    org {bytes} NOT NULL,
    digest {bytes} NOT NULL,
    bytes {bytes} NOT NULL,
    PRIMARY KEY (org, digest)
);

-- The newest signed inventory of each device.
CREATE TABLE device_inventories (
    org {bytes} NOT NULL,
    device TEXT NOT NULL,
    digest {bytes} NOT NULL,
    -- The signed statement, to be verified by whoever asks.
    statement {bytes} NOT NULL,
    signer {bytes} NOT NULL,
    at_ms BIGINT NOT NULL,
    -- What it was compared with; NULL: nothing was expected.
    expected {bytes},
    missing BIGINT NOT NULL,
    unexpected BIGINT NOT NULL,
    changed BIGINT NOT NULL,
    -- The differences, the first thousand, as JSON.
    differences TEXT NOT NULL,
    PRIMARY KEY (org, device)
);
CREATE INDEX device_inventories_by_digest ON device_inventories (org, digest);

CREATE INDEX alarms_by_device ON alarms (org, device, id);

-- What follows by itself, for each type of device.
CREATE TABLE type_policies (
    org {bytes} NOT NULL,
    type TEXT NOT NULL,
    repair TEXT NOT NULL,
    fork TEXT NOT NULL,
    PRIMARY KEY (org, type)
);

-- Tokens with which devices in the field ask to be enrolled, by the SHA-256 of their secrets.
CREATE TABLE enrolment_tokens (
    org {bytes} NOT NULL,
    id TEXT NOT NULL,
    name TEXT,
    hash {bytes} NOT NULL,
    type TEXT,
    device_group TEXT,
    -- How many devices may still ask with it; NULL: any number.
    uses_left BIGINT,
    expires_ms BIGINT,
    created_ms BIGINT NOT NULL,
    revoked_ms BIGINT,
    PRIMARY KEY (org, id)
);
CREATE UNIQUE INDEX enrolment_tokens_by_hash ON enrolment_tokens (org, hash);

CREATE TABLE enrolments (
    org {bytes} NOT NULL,
    id TEXT NOT NULL,
    handle {bytes} NOT NULL,
    token TEXT NOT NULL,
    label TEXT,
    suite BIGINT NOT NULL,
    public_keys {bytes} NOT NULL,
    binding {bytes} NOT NULL,
    state TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    decided_ms BIGINT,
    decided_by TEXT,
    PRIMARY KEY (org, id)
);
CREATE UNIQUE INDEX enrolments_by_handle ON enrolments (org, handle);
CREATE INDEX enrolments_by_state ON enrolments (org, state, id);
CREATE INDEX enrolments_by_token ON enrolments (org, token, state);

-- Serials and the like: who asks with one of these and a good token is accepted.
CREATE TABLE enrolment_labels (
    org {bytes} NOT NULL,
    label TEXT NOT NULL,
    PRIMARY KEY (org, label)
);

-- Releases, what they are made of, and what was followed of the ledger.

-- How far the ledger was followed; a rebuild begins again at 0.
CREATE TABLE ledger_position (
    org {bytes} NOT NULL PRIMARY KEY,
    height BIGINT NOT NULL,
    skipped BIGINT NOT NULL
);

-- The newest anchor that was verified, and its validator set. It outlives a rebuild: what was seen once is never unseen.
CREATE TABLE ledger_trust (
    org {bytes} NOT NULL PRIMARY KEY,
    anchor {bytes} NOT NULL,
    epoch_set {bytes} NOT NULL
);

-- Releases as the ledger was seen to list them, whether or not their manifest is here.
CREATE TABLE ledger_releases (
    org {bytes} NOT NULL,
    digest {bytes} NOT NULL,
    published BIGINT NOT NULL,
    withdrawn BIGINT,
    PRIMARY KEY (org, digest)
);

-- Signed manifests.
CREATE TABLE releases (
    org {bytes} NOT NULL,
    id BIGINT NOT NULL,
    digest {bytes} NOT NULL,
    signed {bytes} NOT NULL,
    created_ms BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    PRIMARY KEY (org, id)
);
CREATE UNIQUE INDEX releases_by_digest ON releases (org, digest);

-- What may be uploaded: named by a manifest or by a type. The bytes lie in the object store.
CREATE TABLE contents (
    org {bytes} NOT NULL,
    digest {bytes} NOT NULL,
    size BIGINT NOT NULL,
    -- Whether it must be a canonical inventory.
    inventory BIGINT NOT NULL,
    -- NULL: not all of it has arrived.
    complete_ms BIGINT,
    PRIMARY KEY (org, digest)
);

CREATE TABLE release_contents (
    org {bytes} NOT NULL,
    release_id BIGINT NOT NULL,
    -- Its place in the manifest.
    place BIGINT NOT NULL,
    digest {bytes} NOT NULL,
    PRIMARY KEY (org, release_id, place)
);

CREATE TABLE device_types (
    org {bytes} NOT NULL,
    type TEXT NOT NULL,
    expected {bytes} NOT NULL,
    size BIGINT NOT NULL,
    components BIGINT NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (org, type)
);

-- Heads of the audit log that stand on the ledger.
CREATE TABLE audit_anchors (
    org {bytes} NOT NULL,
    seq BIGINT NOT NULL,
    hash {bytes} NOT NULL,
    height BIGINT NOT NULL,
    PRIMARY KEY (org, seq)
);

-- Console. A session is a browser that showed a token once; its secret is stored as a hash.
CREATE TABLE console_sessions (
    org {bytes} NOT NULL,
    hash {bytes} NOT NULL,
    id TEXT NOT NULL,
    token TEXT NOT NULL,
    csrf {bytes} NOT NULL,
    created_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL,
    PRIMARY KEY (org, hash)
);
CREATE INDEX console_sessions_by_token ON console_sessions (org, token, created_ms);
CREATE INDEX console_sessions_by_age ON console_sessions (org, expires_ms);
CREATE INDEX devices_by_inventory ON devices (org, inventory, id);
