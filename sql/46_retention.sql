-- How long data is kept, by vertical: a DBA sets, changes and removes it by plain DML. Only a policy whose schedule (a consent version of kind
-- retention_schedule) is in effect has any. Trust: whoever can write here can have subjects erased before their time, or kept beyond it; each change
-- is on the chain, and verification compares this table with the changes.
CREATE TABLE identity.retention_policies (
    vertical         text COLLATE "C" NOT NULL CHECK (vertical IN ('unknown', 'general', 'healthcare', 'finance', 'other')),
    kind             text COLLATE "C" NOT NULL CHECK (kind IN ('general', 'biometric')),
    -- biometrics: three years at most, whatever the schedule says
    days             int              NOT NULL CHECK (days BETWEEN 1 AND CASE kind WHEN 'biometric' THEN 1095 ELSE 36500 END),
    schedule_version text COLLATE "C" NOT NULL,
    changed_by       name             NOT NULL,
    changed_at       timestamptz      NOT NULL,
    PRIMARY KEY (vertical, kind)
);
SELECT pg_catalog.pg_extension_config_dump('identity.retention_policies', '');

-- What became of each policy, in the order in which it was committed; its digest is the event_digest of the access row with the same access_id.
CREATE TABLE identity.retention_policy_changes (
    change_no        int         NOT NULL PRIMARY KEY,
    access_id        bigint      NOT NULL UNIQUE,
    vertical         text COLLATE "C" NOT NULL,
    kind             text COLLATE "C" NOT NULL,
    state            text        NOT NULL CHECK (state IN ('set', 'removed')),
    days             int,
    schedule_version text COLLATE "C",
    changed_by       name        NOT NULL,
    changed_at       timestamptz NOT NULL,
    CHECK ((state = 'removed') = (days IS NULL) AND (days IS NULL) = (schedule_version IS NULL))
);
SELECT pg_catalog.pg_extension_config_dump('identity.retention_policy_changes', '');

-- How far each sweep has come: a row for each, made by its first batch. Trust: whoever can write here can make a sweep pass subjects over until the next
-- night, and nothing else.
CREATE TABLE identity.sweep_progress (
    sweep    text COLLATE "C" NOT NULL PRIMARY KEY CHECK (sweep IN ('consent', 'biometric', 'retention')),
    -- the last subject of the batch before; NULL = the pass is over
    cursor   uuid,
    -- the policies that the pass goes by; under others it begins anew
    policies text        NOT NULL,
    began_at timestamptz NOT NULL,
    -- when a pass was last over
    ended_at timestamptz,
    -- of this pass, or of the last one
    done     bigint      NOT NULL,
    busy     bigint      NOT NULL,
    failed   bigint      NOT NULL
);
SELECT pg_catalog.pg_extension_config_dump('identity.sweep_progress', '');
