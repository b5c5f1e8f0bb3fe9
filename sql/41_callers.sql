-- Logins that were revoked, and let in again: a row for each, beside the access_id of its row in the log, which holds the digest. `revocation` is the
-- access_id of the revocation that the row is, or that it undoes. A login is out as long as one of its revocations is not undone. A reinstatement
-- names what it undoes, so it undoes no revocation that its author had not seen, and neither ever waits for the other.
-- Read in every call, by role (collation "C": see 40_purposes.sql). Trust: whoever can write here can let a login in again; the log has the digests.
CREATE TABLE identity.caller_revocations (
    role       text COLLATE "C" NOT NULL,
    revocation bigint           NOT NULL,
    reinstated boolean          NOT NULL,
    access_id  bigint           NOT NULL,
    changed_at timestamptz      NOT NULL,
    changed_by name             NOT NULL,
    reason     text,
    PRIMARY KEY (role, revocation, reinstated),
    CHECK (reinstated = (reason IS NULL)),
    CHECK (reinstated OR revocation = access_id)
);
SELECT pg_catalog.pg_extension_config_dump('identity.caller_revocations', '');
