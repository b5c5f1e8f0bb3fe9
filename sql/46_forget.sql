-- Tables of applications that are cleaned when a subject is erased: one row each, by oid, so that it stays the same table when it is renamed and no
-- other when it is dropped and made again. Trust: whoever can write here can keep a table from being cleaned, or have another one cleaned; the
-- digest of each registration is on the chain, and verification compares.
CREATE TABLE identity.forget_tables (
    relation       regclass    NOT NULL PRIMARY KEY,
    subject_column name        NOT NULL,
    action         text        NOT NULL CHECK (action IN ('delete', 'null_columns')),
    columns        name[],
    registered_by  name        NOT NULL,
    registered_at  timestamptz NOT NULL,
    access_id      bigint      NOT NULL UNIQUE,
    CHECK ((action = 'null_columns') = (columns IS NOT NULL))
);
-- Not with a table that is gone: elsewhere its oid is something else's.
SELECT pg_catalog.pg_extension_config_dump('identity.forget_tables', 'WHERE EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) relation)');

-- What was registered and taken off again, one row an event; its digest is the event_digest of the access row with the same access_id.
CREATE TABLE identity.forget_history (
    access_id      bigint      NOT NULL PRIMARY KEY,
    -- the access_id of the registration that this row is, or ends
    registration   bigint      NOT NULL,
    -- its name then; the oid of a table that was gone
    relation       text        NOT NULL,
    relation_oid   oid         NOT NULL,
    subject_column name        NOT NULL,
    action         text        NOT NULL CHECK (action IN ('delete', 'null_columns')),
    columns        name[],
    changed_by     name        NOT NULL,
    changed_at     timestamptz NOT NULL
);
SELECT pg_catalog.pg_extension_config_dump('identity.forget_history', '');
