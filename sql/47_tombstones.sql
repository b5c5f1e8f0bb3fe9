-- What is published of an erasure: a keyed hash, under the access_id of its event. The order in which they are published is that of the events' leaves.
-- Trust: whoever can write here can keep an erasure from being published, and then nobody finds who comes back with a backup; verification finds that.
-- What is added here by somebody who has no chain key is nobody's tombstone.
CREATE TABLE identity.tombstones (
    access_id bigint           NOT NULL PRIMARY KEY,
    kind      text COLLATE "C" NOT NULL CHECK (kind IN ('subject', 'biometric')),
    tombstone bytea            NOT NULL CHECK (pg_catalog.octet_length(tombstone) OPERATOR(pg_catalog.=) 32)
);
SELECT pg_catalog.pg_extension_config_dump('identity.tombstones', '');
