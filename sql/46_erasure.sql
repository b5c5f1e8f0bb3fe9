-- Who is to be erased, and who was: one row a request, and one for each subject that a sweep erased without anybody having asked. Rows stay for good:
-- they hold no personal data, and are what verification compares erased subjects and the chain with. `authorised`, `held` and `refused` are the legal
-- tier's. `forgotten` says how many rows of which application tables went along. Trust: whoever can write here can hide that a request is late, or claim
-- a scrub that did not happen; the digests of request and erasure are on the chain, those of a scrub are not.
CREATE TABLE identity.erasure_requests (
    request_id         uuid        NOT NULL PRIMARY KEY,
    candidate_id       uuid        NOT NULL,
    reason             text COLLATE "C" NOT NULL CHECK (reason IN ('rtbf_request', 'consent_withdrawn', 'candidate_request', 'retention_expired')),
    state              text COLLATE "C" NOT NULL CHECK (state IN ('requested', 'authorised', 'held', 'done', 'refused')),
    requested_at       timestamptz NOT NULL,
    requested_by       name        NOT NULL,
    due_at             timestamptz NOT NULL,
    authority          text COLLATE "C",
    authorised_by      name,
    done_at            timestamptz,
    scrubbed_at        timestamptz,
    scrubbed_lsn       pg_lsn,
    -- a promise: by the setting as it was when the pages were scrubbed
    residual_in_backups_until timestamptz,
    generation         int,
    erasure_generation int,
    forgotten          text,
    request_access_id  bigint,
    access_id          bigint,
    CHECK ((state = 'done') = (done_at IS NOT NULL AND access_id IS NOT NULL)),
    CHECK (state = 'done' OR scrubbed_at IS NULL),
    CHECK ((scrubbed_at IS NULL) = (scrubbed_lsn IS NULL) AND (scrubbed_at IS NULL) = (residual_in_backups_until IS NULL))
);
-- One that stands per subject: whoever asks again is told of it.
CREATE UNIQUE INDEX erasure_requests_candidate ON identity.erasure_requests (candidate_id) WHERE state <> 'refused';
CREATE INDEX erasure_requests_open ON identity.erasure_requests (requested_at) WHERE state IN ('requested', 'authorised', 'held');
CREATE INDEX erasure_requests_unscrubbed ON identity.erasure_requests (done_at) WHERE state = 'done' AND scrubbed_at IS NULL;
SELECT pg_catalog.pg_extension_config_dump('identity.erasure_requests', '');
