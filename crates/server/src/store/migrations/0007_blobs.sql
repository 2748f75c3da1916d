-- Bytes of contents in the firmware store that no content wants: not yet, or never again. What a content wants that is complete is the
-- first generation of its digest that was not retired.
CREATE TABLE blobs (
    org {bytes} NOT NULL,
    digest {bytes} NOT NULL,
    -- How many of this digest were retired before.
    generation BIGINT NOT NULL,
    -- 1: retired. Such a row stays, for its name is never used again. 0: announced, and perhaps on its way.
    retired BIGINT NOT NULL,
    -- When it was announced or retired.
    since_ms BIGINT NOT NULL,
    -- When it is to be looked at again; NULL: never.
    due_ms BIGINT,
    PRIMARY KEY (org, digest, generation)
);
CREATE INDEX blobs_by_time ON blobs (org, due_ms);
