-- {bytes} is BLOB on SQLite and BYTEA on PostgreSQL; everything else is valid on both. Times are milliseconds since 1970.

CREATE TABLE devices (
    org {bytes} NOT NULL,
    id TEXT NOT NULL,
    state TEXT NOT NULL,
    type TEXT,
    serial TEXT,
    name TEXT,
    firmware {bytes},
    inventory TEXT NOT NULL,
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
