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
-- What is not complete may have been written, and nobody said so: it is looked at with the first round.
INSERT INTO blobs (org, digest, generation, retired, since_ms, due_ms)
    SELECT org, digest, 0, 0, 0, 0 FROM contents WHERE complete_ms IS NULL;
-- Which releases name a content is asked while others wait to write.
CREATE INDEX release_contents_by_digest ON release_contents (org, digest, release_id);
