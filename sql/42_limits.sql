-- Who came near the daily cap of which purpose, or reached it: once for each caller, purpose, day (UTC) and threshold. The readable form of what the
-- log holds a digest of. Trust: whoever can write here can keep a notice from being sent; the counters, and so the refusals, do not look here.
CREATE TABLE identity.volume_notices (
    access_id     bigint NOT NULL PRIMARY KEY,
    accessor_role name   NOT NULL,
    purpose_token text   COLLATE "C" NOT NULL,
    day           date   NOT NULL,
    percent       int    NOT NULL CHECK (percent IN (50, 100)),
    daily_cap     int    NOT NULL,
    UNIQUE (accessor_role, purpose_token, day, percent)
);
SELECT pg_catalog.pg_extension_config_dump('identity.volume_notices', '');

-- The outbox: what is told to the outside, which learns that something happened and how to find it in the log, and nothing more. Only the payload
-- is sent. Trust: as above; a line that is missing here is missed by comparing with the log.
CREATE TABLE identity.notifications (
    access_id bigint NOT NULL PRIMARY KEY,
    payload   jsonb  NOT NULL CHECK (payload ?& '{event_kind,timestamp,accessor_kind,integrity_hash}'::text[]
                                     AND payload - '{event_kind,timestamp,accessor_kind,integrity_hash}'::text[] = '{}')
);
SELECT pg_catalog.pg_extension_config_dump('identity.notifications', '');
