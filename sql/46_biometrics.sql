-- What became of subjects' biometrics, one row an event; its digest is the event_digest of the access row with the same access_id. Path and hash are
-- free texts about a subject: their salted digest stands here, they themselves in subject_texts until an erasure takes them.
-- `file` says what becomes of the uploaded file: `waiting` (ours to destroy, and not yet destroyed), `elsewhere` (the application's to destroy); of an
-- event of kind `file`, which follows on the erasure `erasure`: `destroyed`, or `missing` when it was not there any more.
-- Trust: subjects holds what is collected, this is how it came about; verification compares the two.
CREATE TABLE identity.biometric_history (
    access_id        bigint      NOT NULL PRIMARY KEY,
    candidate_id     uuid        NOT NULL,
    kind             text        NOT NULL CHECK (kind IN ('attach', 'classify', 'erase', 'file')),
    consent_version  text COLLATE "C",
    schedule_version text COLLATE "C",
    retention_until  timestamptz,
    reason           text,
    file             text        CHECK (file IN ('waiting', 'elsewhere', 'destroyed', 'missing')),
    erasure          bigint,
    generation       int         NOT NULL,
    recorded_by      name        NOT NULL,
    recorded_at      timestamptz NOT NULL,
    text_digest      bytea
);
CREATE INDEX biometric_history_candidate ON identity.biometric_history (candidate_id);
SELECT pg_catalog.pg_extension_config_dump('identity.biometric_history', '');

-- Uploaded files that are to be destroyed once the erasure that put them here has committed; gone from here when they are gone. `trouble` is a word of
-- ours, never the path. Trust: whoever can write here can have files under identity_pgx.biometric_directory destroyed that carry a subject's id.
CREATE TABLE identity.files_to_destroy (
    access_id    bigint      NOT NULL PRIMARY KEY,
    candidate_id uuid        NOT NULL,
    path         text        NOT NULL,
    queued_at    timestamptz NOT NULL,
    tried_at     timestamptz,
    trouble      text
);
ALTER TABLE identity.files_to_destroy ALTER COLUMN path SET STORAGE MAIN, ALTER COLUMN path SET STATISTICS 0;
CREATE INDEX files_to_destroy_candidate ON identity.files_to_destroy (candidate_id);
SELECT pg_catalog.pg_extension_config_dump('identity.files_to_destroy', '');

-- Who has biometrics: few among many.
CREATE INDEX subjects_biometric ON identity.subjects (candidate_id) WHERE biometric_collected_at IS NOT NULL;

-- Whose biometrics have to be destroyed, and why: the one definition. They may be kept as long as the consent to them stands, and no longer than was
-- promised when they were collected. As whoever asks: with its owner's rights a reader of all data (pg_read_all_data) would pass the policies of subjects.
CREATE VIEW identity.biometrics_due WITH (security_barrier = true, security_invoker = true) AS
    SELECT s.candidate_id,
           CASE WHEN s.biometric_consent_status OPERATOR(pg_catalog.=) 'withdrawn' THEN 'consent_withdrawn'
                WHEN s.biometric_consent_status OPERATOR(pg_catalog.=) 'given'
                     AND COALESCE(s.biometric_consent_valid_until OPERATOR(pg_catalog.>) pg_catalog.clock_timestamp(), true) THEN 'retention_expired'
                ELSE 'consent_expired' END AS reason
      FROM identity.subjects s
     WHERE s.biometric_collected_at IS NOT NULL AND s.erased_at IS NULL
       AND (s.biometric_consent_status OPERATOR(pg_catalog.<>) 'given'
            OR s.biometric_consent_valid_until OPERATOR(pg_catalog.<=) pg_catalog.clock_timestamp()
            OR COALESCE(s.biometric_retention_until OPERATOR(pg_catalog.<=) pg_catalog.clock_timestamp(), true));
