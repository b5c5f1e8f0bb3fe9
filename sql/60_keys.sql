-- Which keys exist. Never a key: `wrapped` is what the key service wrapped, `check_value` tells a right key from a wrong one.
-- `enrolled`: there, not yet in use; `active`: encrypts, chains, signs; `verify_only`: still opens and verifies; `retired`: nothing refers to it.
-- Trust: whoever can write here can keep keys from being loaded, but not have another key used: a rotation and its check values are on the chain.
CREATE TABLE identity.keyring (
    kind        text        NOT NULL CHECK (kind IN ('dek', 'chain', 'index', 'signing')),
    version     int         NOT NULL CHECK (version >= 1),
    state       text        NOT NULL CHECK (state IN ('enrolled', 'active', 'verify_only', 'retired')),
    provider    text        NOT NULL CHECK (provider IN ('development', 'vault', 'aws', 'file')),
    kek_uri     text,
    wrapped     bytea,
    check_value bytea       NOT NULL CHECK (length(check_value) = 32),
    created_at  timestamptz NOT NULL,
    retired_at  timestamptz,
    enrolled_by name,
    PRIMARY KEY (kind, version)
);
CREATE UNIQUE INDEX keyring_one_active ON identity.keyring (kind) WHERE state = 'active';
SELECT pg_catalog.pg_extension_config_dump('identity.keyring', '');

-- How keys were wrapped before: a worker's login can replace a wrapping, by one that nothing unwraps too; whatever it does, the earlier ones stay.
-- Trust: none of it is believed; what one unwraps to is told by the check value.
CREATE TABLE identity.key_wrappings (
    kind        text        NOT NULL,
    version     int         NOT NULL,
    digest      bytea       NOT NULL,
    provider    text        NOT NULL,
    kek_uri     text        NOT NULL,
    wrapped     bytea       NOT NULL,
    replaced_at timestamptz NOT NULL,
    PRIMARY KEY (kind, version, digest)
);
SELECT pg_catalog.pg_extension_config_dump('identity.key_wrappings', '');

-- What became of keys, one row an event; its digest is the event_digest of the access row with the same access_id. No event of a development key.
-- Trust: a record to read; verification compares it with the chain, and the keyring with it.
CREATE TABLE identity.key_history (
    access_id       bigint      NOT NULL PRIMARY KEY,
    event           text        NOT NULL CHECK (event IN ('key_enrol', 'key_rewrap', 'key_rotation', 'key_retire')),
    kind            text        NOT NULL,
    version         int         NOT NULL,
    check_value     bytea       NOT NULL,
    old_version     int,
    old_check_value bytea,
    provider        text        NOT NULL,
    kek_uri         text,
    wrapped_digest  bytea,
    reason          text,
    witness         text,
    operator        name        NOT NULL,
    recorded_at     timestamptz NOT NULL
);
SELECT pg_catalog.pg_extension_config_dump('identity.key_history', '');

-- Rotations, as they are asked for.
CREATE VIEW identity.key_rotations WITH (security_barrier = true) AS
    SELECT h.access_id, h.recorded_at, h.kind, h.old_version, h.old_check_value, h.version AS new_version, h.check_value AS new_check_value,
           h.operator, h.reason, h.witness
      FROM identity.key_history h WHERE h.event OPERATOR(pg_catalog.=) 'key_rotation';

-- Whose fields wait to be encrypted with a newer key. The second part of the condition keeps it to those who ask for just that: as an index of all who
-- are not erased it would be taken for sweeps, which then sort what they have in order already.
CREATE INDEX subjects_dek_version ON identity.subjects (dek_version, candidate_id) WHERE erased_at IS NULL AND dek_version > 0;
