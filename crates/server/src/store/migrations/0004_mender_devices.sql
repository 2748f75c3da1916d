-- Stock Mender devices: who they say they are, the keys that each identity came with, and the tokens of those that are accepted.

ALTER TABLE devices ADD COLUMN class TEXT NOT NULL DEFAULT 'kusabi';

CREATE TABLE mender_devices (
    org {bytes} NOT NULL,
    -- That of `devices`, where there is a row once a key of it was accepted.
    id TEXT NOT NULL,
    -- SHA-256 of the next one.
    identity {bytes} NOT NULL,
    -- JSON with sorted names: what the device says of itself.
    identity_data TEXT NOT NULL,
    -- The best of its auth sets.
    state TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    changed_ms BIGINT NOT NULL,
    -- What it reported last of itself, as JSON.
    attributes TEXT,
    attributes_ms BIGINT,
    PRIMARY KEY (org, id)
);
CREATE UNIQUE INDEX mender_devices_by_identity ON mender_devices (org, identity);
CREATE INDEX mender_devices_by_state ON mender_devices (org, state, id);

CREATE TABLE mender_auth_sets (
    org {bytes} NOT NULL,
    id TEXT NOT NULL,
    device TEXT NOT NULL,
    -- The ledger's entry: SubjectPublicKeyInfo (DER), handle and binding.
    spki {bytes} NOT NULL,
    spki_digest {bytes} NOT NULL,
    handle {bytes} NOT NULL,
    binding {bytes} NOT NULL,
    state TEXT NOT NULL,
    -- Where it came from first: an address or a subscriber's network; empty behind a proxy, or where a person made it.
    source TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    -- When it asked last, to the hour.
    asked_ms BIGINT NOT NULL,
    decided_ms BIGINT,
    decided_by TEXT,
    PRIMARY KEY (org, id)
);
CREATE UNIQUE INDEX mender_auth_sets_by_device ON mender_auth_sets (org, device, spki_digest);
CREATE UNIQUE INDEX mender_auth_sets_by_handle ON mender_auth_sets (org, handle);
CREATE INDEX mender_auth_sets_by_key ON mender_auth_sets (org, spki_digest);
CREATE INDEX mender_auth_sets_by_state ON mender_auth_sets (org, state, source);
CREATE INDEX mender_auth_sets_by_age ON mender_auth_sets (org, state, asked_ms);

CREATE TABLE mender_tokens (
    org {bytes} NOT NULL,
    -- SHA-256 of the token.
    hash {bytes} NOT NULL,
    auth_set TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL,
    PRIMARY KEY (org, hash)
);
CREATE INDEX mender_tokens_by_set ON mender_tokens (org, auth_set, created_ms);
