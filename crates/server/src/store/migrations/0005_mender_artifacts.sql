-- The organisation's release keys as the ledger was seen to hold them. Whether one counts is proven with each use.
CREATE TABLE art_keys (
    org {bytes} NOT NULL,
    handle {bytes} NOT NULL,
    suite BIGINT NOT NULL,
    -- SubjectPublicKeyInfo of a foreign key, DER, which stands whole in the transaction only; empty for others.
    spki {bytes} NOT NULL,
    PRIMARY KEY (org, handle)
);

-- Mender artifacts that were read to their end. The bytes are a content of this digest.
CREATE TABLE mender_artifacts (
    org {bytes} NOT NULL,
    digest {bytes} NOT NULL,
    -- As Mender's API names it; follows from the digest.
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    size BIGINT NOT NULL,
    -- The release key that signed it; NULL: none that counted when it came.
    signer {bytes},
    description TEXT NOT NULL,
    -- Types, provides, depends, what is cleared, payloads, as JSON.
    facts TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    PRIMARY KEY (org, digest)
);
CREATE UNIQUE INDEX mender_artifacts_by_id ON mender_artifacts (org, id);
CREATE INDEX mender_artifacts_by_name ON mender_artifacts (org, name);
CREATE INDEX mender_artifacts_by_age ON mender_artifacts (org, created_ms);

-- Addresses under which artifacts are fetched, by the SHA-256 of the secret in them.
CREATE TABLE mender_downloads (
    org {bytes} NOT NULL,
    hash {bytes} NOT NULL,
    digest {bytes} NOT NULL,
    -- For whom: a device and its order, or a person (then the order is 0).
    holder TEXT NOT NULL,
    order_id BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL,
    PRIMARY KEY (org, hash)
);
CREATE INDEX mender_downloads_by_holder ON mender_downloads (org, holder, expires_ms);
CREATE INDEX mender_downloads_by_age ON mender_downloads (org, expires_ms);

-- Orders that stock Mender clients were given, and what they said of them: signed by nobody.
CREATE TABLE mender_deployments (
    org {bytes} NOT NULL,
    -- As devices name it; follows from order and device.
    id TEXT NOT NULL,
    device TEXT NOT NULL,
    order_id BIGINT NOT NULL,
    digest {bytes} NOT NULL,
    status TEXT NOT NULL,
    handed_ms BIGINT NOT NULL,
    changed_ms BIGINT NOT NULL,
    -- The device's log, if it sent one.
    log TEXT,
    PRIMARY KEY (org, id)
);
CREATE INDEX mender_deployments_by_device ON mender_deployments (org, device, order_id);

-- What a stock Mender client says that its device has.
CREATE TABLE mender_provides (
    org {bytes} NOT NULL,
    device TEXT NOT NULL,
    provides TEXT NOT NULL,
    changed_ms BIGINT NOT NULL,
    PRIMARY KEY (org, device)
);
