-- The ledger: what seals made of the log. Rows of the log are folded, cut by cut, into one RFC 6962 tree that only grows: `ledger_seal` alone appends.
-- Trust: the database is not trusted to be consistent with yesterday. Whoever can write here can make proofs fail, but not succeed for what was never
-- sealed; what was anchored outside shows a tree that was rewritten. Everything here is recomputed from the log by `ledger_verify(true)`.

-- One row for each batch: the rows of one month that a cut took in. `leaf` holds the exact bytes of its leaf in the tree.
CREATE TABLE identity.ledger_seals (
    batch      bigint           NOT NULL PRIMARY KEY,
    cut        bigint           NOT NULL,
    leaf_index bigint           NOT NULL UNIQUE,
    partition  text COLLATE "C" NOT NULL,
    batch_rows bigint           NOT NULL,
    batch_root bytea            NOT NULL,
    sealed_at  timestamptz      NOT NULL,
    leaf       text COLLATE "C" NOT NULL,
    UNIQUE (cut, partition)
);
SELECT pg_catalog.pg_extension_config_dump('identity.ledger_seals', '');

-- How far each lane had come: a row for each lane that moved in a cut. The smallest head that a row does not lie beyond is of the row's cut.
CREATE TABLE identity.ledger_heads (
    lane int    NOT NULL,
    seq  bigint NOT NULL,
    mac  bytea  NOT NULL,
    cut  bigint NOT NULL,
    PRIMARY KEY (lane, seq)
);
CREATE INDEX ledger_heads_cut ON identity.ledger_heads (cut, lane);
SELECT pg_catalog.pg_extension_config_dump('identity.ledger_heads', '');

-- The batches' own trees, as tiles of up to 256 hashes: level 0 holds the leaf hashes of rows, level 1 the roots of full tiles of level 0, and so on.
-- Hashes do not compress, so they lie beside the row as they are.
CREATE TABLE identity.ledger_tiles (
    batch      bigint   NOT NULL,
    level      smallint NOT NULL,
    tile       bigint   NOT NULL,
    access_ids bigint[] CHECK ((level = 0) = (access_ids IS NOT NULL)),
    hashes     bytea    NOT NULL,
    PRIMARY KEY (batch, level, tile)
);
ALTER TABLE identity.ledger_tiles ALTER COLUMN hashes SET STORAGE EXTERNAL;
-- Finds the tile of a row: the last one of its batch whose first row is not beyond it.
CREATE INDEX ledger_tiles_first ON identity.ledger_tiles (batch, (access_ids[1])) WHERE level = 0;
SELECT pg_catalog.pg_extension_config_dump('identity.ledger_tiles', '');

-- What each leaf of the tree is: a row of the log of the Merkle class, or, without an access_id, a seal.
CREATE TABLE identity.ledger_leaves (
    leaf_index bigint NOT NULL PRIMARY KEY,
    access_id  bigint UNIQUE
);
SELECT pg_catalog.pg_extension_config_dump('identity.ledger_leaves', '');

-- The tree's complete subtrees: `index` counts those of one level, level 0 holds the leaf hashes. A node never changes once it is there, so every
-- size that the tree ever had can still be proven.
CREATE TABLE identity.ledger_nodes (
    level smallint NOT NULL,
    index bigint   NOT NULL,
    hash  bytea    NOT NULL,
    PRIMARY KEY (level, index)
);
SELECT pg_catalog.pg_extension_config_dump('identity.ledger_nodes', '');

-- Signed checkpoints that lie outside, under a lock that nobody can lift. `checkpoint` is the signed note.
CREATE TABLE identity.anchor_commits (
    commit_id      bigint      NOT NULL PRIMARY KEY,
    chain_kind     text        NOT NULL,
    checkpoint_at  timestamptz NOT NULL,
    last_access_id bigint,
    root_hash      bytea       NOT NULL,
    s3_object_uri  text,
    s3_lock_until  timestamptz,
    version_id     text,
    tree_size      bigint      NOT NULL,
    checkpoint     text        NOT NULL
);
CREATE INDEX anchor_commits_size ON identity.anchor_commits (tree_size);
SELECT pg_catalog.pg_extension_config_dump('identity.anchor_commits', '');

-- How often the log became shorter than what was anchored of it, and went on under another name because both parties had signed that it may.
-- `declaration` is the signed note.
CREATE TABLE identity.ledger_incarnations (
    incarnation bigint      NOT NULL PRIMARY KEY,
    access_id   bigint      NOT NULL UNIQUE,
    kept_size   bigint      NOT NULL,
    kept_root   bytea       NOT NULL,
    last_size   bigint      NOT NULL,
    last_root   bytea       NOT NULL,
    written_at  timestamptz NOT NULL,
    reason      text        NOT NULL,
    declaration text        NOT NULL,
    declared_at timestamptz NOT NULL
);
SELECT pg_catalog.pg_extension_config_dump('identity.ledger_incarnations', '');

-- Months of the log that were dropped because their time was over: sealed, anchored, and recorded under this access_id.
CREATE TABLE identity.ledger_expired (
    partition  text COLLATE "C" NOT NULL PRIMARY KEY,
    access_id  bigint           NOT NULL UNIQUE,
    rows       bigint           NOT NULL,
    last_batch bigint           NOT NULL,
    tree_size  bigint           NOT NULL,
    expired_at timestamptz      NOT NULL
);
SELECT pg_catalog.pg_extension_config_dump('identity.ledger_expired', '');
