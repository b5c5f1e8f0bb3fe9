-- Which keys exist. Never a key: `wrapped` is what the key service wrapped, `check_value` tells a right key from a wrong one.
CREATE TABLE identity.keyring (
    kind        text        NOT NULL CHECK (kind IN ('dek', 'chain')),
    version     int         NOT NULL CHECK (version >= 1),
    state       text        NOT NULL CHECK (state IN ('active', 'verify_only', 'retired')),
    provider    text        NOT NULL,
    kek_uri     text,
    wrapped     bytea,
    check_value bytea       NOT NULL CHECK (length(check_value) = 32),
    created_at  timestamptz NOT NULL,
    retired_at  timestamptz,
    PRIMARY KEY (kind, version)
);
CREATE UNIQUE INDEX keyring_one_active ON identity.keyring (kind) WHERE state = 'active';
SELECT pg_catalog.pg_extension_config_dump('identity.keyring', '');
