-- The texts that subjects agree to, by version. What a DBA writes is kept as it is: a row is never changed but for the moment it is superseded, and
-- that moves to an earlier one only. Trust: whoever can write here can make old consents good for a new text; the digest of each version is on the chain.
CREATE TABLE identity.consent_versions (
    version       text COLLATE "C" NOT NULL PRIMARY KEY,
    kind          text        NOT NULL CHECK (kind IN ('general', 'biometric', 'retention_schedule')),
    valid_for     interval,
    effective_at  timestamptz NOT NULL,
    superseded_at timestamptz,
    template_hash text        NOT NULL,
    template_path text        NOT NULL,
    -- the order of writing within a kind: clocks step back, and then time does not tell which of two versions is the later
    ordinal       int         NOT NULL,
    changed_by    name        NOT NULL,
    changed_at    timestamptz NOT NULL,
    UNIQUE (kind, ordinal)
);
SELECT pg_catalog.pg_extension_config_dump('identity.consent_versions', '');

-- What was recorded of a subject's consent, one row an event; its digest is the event_digest of the access row with the same access_id.
-- Trust: subjects holds the state that reads are decided by, this is how it came about; verification compares the two.
CREATE TABLE identity.consent_history (
    access_id       bigint      NOT NULL PRIMARY KEY,
    candidate_id    uuid        NOT NULL,
    kind            text        NOT NULL CHECK (kind IN ('general', 'biometric')),
    status          text        NOT NULL CHECK (status IN ('pending', 'given', 'withdrawn', 'expired')),
    version         text COLLATE "C",
    valid_until     timestamptz,
    generation      int         NOT NULL,
    recorded_by     name        NOT NULL,
    recorded_at     timestamptz NOT NULL,
    evidence_digest bytea
);
CREATE INDEX consent_history_candidate ON identity.consent_history (candidate_id);
SELECT pg_catalog.pg_extension_config_dump('identity.consent_history', '');

-- The same for where a subject lives. The basis and the mechanism are free texts, so only their digest stands here.
CREATE TABLE identity.eu_history (
    access_id    bigint      NOT NULL PRIMARY KEY,
    candidate_id uuid        NOT NULL,
    eu_resident  boolean     NOT NULL,
    recorded_by  name        NOT NULL,
    recorded_at  timestamptz NOT NULL,
    text_digest  bytea
);
CREATE INDEX eu_history_candidate ON identity.eu_history (candidate_id);
SELECT pg_catalog.pg_extension_config_dump('identity.eu_history', '');

-- Free text about a subject, with the salt of its digest. Rows are never changed, and gone when the subject is erased: the digest on the chain then
-- tells nothing any more. MAIN keeps a text in its row: texts are bounded, and what never goes to a TOAST table need not be scrubbed from one.
CREATE TABLE identity.subject_texts (
    access_id    bigint NOT NULL PRIMARY KEY,
    candidate_id uuid   NOT NULL,
    kind         text   NOT NULL,
    salt         bytea  NOT NULL,
    content      text   NOT NULL
);
ALTER TABLE identity.subject_texts ALTER COLUMN content SET STORAGE MAIN;
CREATE INDEX subject_texts_candidate ON identity.subject_texts (candidate_id);
SELECT pg_catalog.pg_extension_config_dump('identity.subject_texts', '');
