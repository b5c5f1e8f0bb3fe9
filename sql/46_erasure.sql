-- Who is to be erased, and who was: one row a request, and one for each subject that was erased without anybody having asked: by a sweep,
-- or because it was erased before and came back with a backup. Rows stay for good:
-- they hold no personal data, and are what verification compares erased subjects and the chain with. `authorised`, `held` and `refused` are the legal
-- tier's. `forgotten` says how many rows of which application tables went along. Trust: whoever can write here can hide that a request is late, or claim
-- a scrub that did not happen; the digests of request and erasure are on the chain, those of a scrub are not.
-- A pass marks rows by the hundred thousand. No index depends on what it sets, and half of each page is left for the marked rows: so it writes nothing but
-- them. Which requests a pass is due for stands in scrub_waits.
CREATE TABLE identity.erasure_requests (
    request_id         uuid        NOT NULL PRIMARY KEY,
    candidate_id       uuid        NOT NULL,
    reason             text COLLATE "C" NOT NULL CHECK (reason IN ('rtbf_request', 'consent_withdrawn', 'candidate_request', 'retention_expired', 'restored')),
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
    CHECK (state = 'done' OR scrubbed_at IS NULL)
) WITH (fillfactor = 45);
-- One that stands per subject: whoever asks again is told of it.
CREATE UNIQUE INDEX erasure_requests_candidate ON identity.erasure_requests (candidate_id) WHERE state <> 'refused';
CREATE INDEX erasure_requests_open ON identity.erasure_requests (requested_at) WHERE state IN ('requested', 'authorised', 'held');
SELECT pg_catalog.pg_extension_config_dump('identity.erasure_requests', '');
