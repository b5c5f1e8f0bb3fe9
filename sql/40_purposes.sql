-- Tokens have collation "C": an index whose order follows the operating system's locale is wrong after that is upgraded, and a purpose
-- that is not found where it is looked for is a purpose whose revocation is not found either.

-- What a DBA edits. Reads never look here: they look at the versions, which the trigger below writes from it.
CREATE TABLE identity.purpose_definitions (
    purpose_token    text COLLATE "C" NOT NULL PRIMARY KEY,
    description      text    NOT NULL,
    allowed_fields   text[]  NOT NULL,
    auth_tier        text    NOT NULL DEFAULT 'service',
    rate_limit_qps   int,
    daily_volume_cap int,
    allowed_roles    name[]  NOT NULL,
    accepted_consent text[]  NOT NULL DEFAULT '{given}',
    phi_access       boolean NOT NULL DEFAULT false,
    effective_at     timestamptz -- from when on its newest version holds; NULL or past = at once
);
SELECT pg_catalog.pg_extension_config_dump('identity.purpose_definitions', '');

-- What a read is decided by: the newest version in effect that needs no approval or has it. Append-only but for the moment a version is superseded,
-- and the one in which it is approved. Trust: whoever can write here can widen a purpose; the digest of each version's content
-- is on the chain (event_digest of its purpose_change row), and so is that of each approval (purpose_approve).
CREATE TABLE identity.purpose_versions (
    purpose_token    text COLLATE "C" NOT NULL,
    version          int         NOT NULL CHECK (version >= 1),
    effective_at     timestamptz NOT NULL,
    superseded_at    timestamptz,
    description      text        NOT NULL,
    allowed_fields   text[]      NOT NULL,
    auth_tier        text        NOT NULL CHECK (auth_tier IN ('service', 'legal')),
    rate_limit_qps   int,
    daily_volume_cap int,
    allowed_roles    name[]      NOT NULL,
    accepted_consent text[]      NOT NULL,
    phi_access       boolean     NOT NULL,
    changed_by       name        NOT NULL,
    approved_by      name,
    changed_at       timestamptz NOT NULL,
    needs_approval   boolean     NOT NULL,
    approved_at      timestamptz,
    -- How often the purpose had been revoked when this version was written. A revocation that its author did not see holds for it too:
    -- otherwise a version kept ready in an open transaction would undo the next revocation.
    revocations_seen int         NOT NULL,
    PRIMARY KEY (purpose_token, version),
    CHECK ((approved_by IS NULL) = (approved_at IS NULL)),
    CHECK (approved_by <> changed_by)
);
SELECT pg_catalog.pg_extension_config_dump('identity.purpose_versions', '');

-- A purpose is revoked up to and including revoked_version; a later version whose author saw all the revocations reinstates it.
CREATE TABLE identity.purpose_revocations (
    purpose_token   text COLLATE "C" NOT NULL PRIMARY KEY,
    revoked_at      timestamptz NOT NULL,
    revoked_by      name        NOT NULL,
    reason          text        NOT NULL,
    revoked_version int         NOT NULL,
    revocations     int         NOT NULL CHECK (revocations >= 1)
);
SELECT pg_catalog.pg_extension_config_dump('identity.purpose_revocations', '');
