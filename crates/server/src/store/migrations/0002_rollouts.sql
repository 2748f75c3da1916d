-- Releases to many devices in phases, and the lowest counters of channels.

CREATE TABLE rollouts (
    org {bytes} NOT NULL,
    id BIGINT NOT NULL,
    -- Grows with each change: who writes says which one was read.
    version BIGINT NOT NULL,
    -- What was asked for, as JSON.
    plan TEXT NOT NULL,
    release_digest {bytes} NOT NULL,
    state TEXT NOT NULL,
    reason TEXT,
    phase BIGINT NOT NULL,
    total BIGINT NOT NULL,
    released BIGINT NOT NULL,
    due BIGINT NOT NULL,
    mark_finished BIGINT NOT NULL,
    mark_failed BIGINT NOT NULL,
    -- Kept, not counted: they are looked at with each answer of a device.
    waiting BIGINT NOT NULL,
    ordered BIGINT NOT NULL,
    sent BIGINT NOT NULL,
    done BIGINT NOT NULL,
    failed BIGINT NOT NULL,
    skipped BIGINT NOT NULL,
    aborted BIGINT NOT NULL,
    created_ms BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    began_ms BIGINT,
    phase_ms BIGINT,
    -- When it is to be looked at again; NULL: when something happens.
    next_ms BIGINT,
    ended_ms BIGINT,
    PRIMARY KEY (org, id)
);
CREATE INDEX rollouts_by_time ON rollouts (org, next_ms);
CREATE INDEX rollouts_by_release ON rollouts (org, release_digest);

CREATE TABLE rollout_devices (
    org {bytes} NOT NULL,
    rollout BIGINT NOT NULL,
    device TEXT NOT NULL,
    -- From 0; NULL for who was skipped at the beginning.
    place BIGINT,
    state TEXT NOT NULL,
    reason TEXT,
    order_id BIGINT,
    -- When that order was given.
    ordered_ms BIGINT,
    attempts BIGINT NOT NULL,
    changed_ms BIGINT NOT NULL,
    -- 1 until it has its end.
    held BIGINT NOT NULL,
    PRIMARY KEY (org, rollout, device)
);
-- A device is in one rollout at a time.
CREATE UNIQUE INDEX rollout_devices_held ON rollout_devices (org, device) WHERE held = 1;
CREATE INDEX rollout_devices_by_state ON rollout_devices (org, rollout, state, place);
CREATE INDEX rollout_devices_by_age ON rollout_devices (org, rollout, state, ordered_ms);
CREATE INDEX rollout_devices_by_order ON rollout_devices (org, order_id, device);

CREATE TABLE channels (
    org {bytes} NOT NULL,
    channel TEXT NOT NULL,
    minimum BIGINT NOT NULL,
    changed_ms BIGINT NOT NULL,
    changed_by TEXT NOT NULL,
    PRIMARY KEY (org, channel)
);
