-- The access log: one row a read, refusal, rolled-back read or event. `integrity_hash` chains the row to the one before it in its lane.
-- Trust: the database is not trusted to be consistent with yesterday; verification recomputes every leaf and MAC from these columns.
-- The parent carries no index: attaching a restored partition would make the index a second time. Each partition has its own.
-- The order of the columns is the order in which src/ledger/insert.rs forms a tuple.
CREATE TABLE identity.pii_access_log (
    access_id           bigint      NOT NULL,
    lane                int         NOT NULL,
    seq                 bigint      NOT NULL,
    accessed_at         timestamptz NOT NULL,
    candidate_id        uuid,
    accessor_kind       text        NOT NULL,
    accessor_id         text        NOT NULL,
    accessor_role       name        NOT NULL,
    accessor_outer      name        NOT NULL,
    cert_fingerprint    bytea,
    application_name    text,
    purpose_token       text,
    purpose_version     int,
    fields_accessed     text[]      NOT NULL,
    phi_fields          text[]      NOT NULL,
    request_trace_id    text,
    chain_kind          text        NOT NULL,
    is_legal_tier_event boolean     NOT NULL,
    outcome             text        NOT NULL,
    denial              text,
    repeats             int         NOT NULL,
    consent_status      text,
    vertical            text,
    zone                text        NOT NULL,
    generation          int,
    key_version         int,
    chain_version       int         NOT NULL,
    event_digest        bytea,
    integrity_hash      bytea       NOT NULL
) PARTITION BY RANGE (accessed_at);
SELECT pg_catalog.pg_extension_config_dump('identity.pii_access_log', '');

-- Makes the partition of one month if it is not there; superusers and the maintenance process only. CREATE LIKE and ATTACH, not
-- PARTITION OF: that locks the parent against every reader and writer.
CREATE FUNCTION identity._make_partition(month date) RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET row_security = on SET lock_timeout = '2s' AS
$make_partition$
DECLARE
    first CONSTANT date := date_trunc('month', month::timestamp)::date;
    child CONSTANT text := 'pii_access_log_' || to_char(first, '"y"YYYY"m"MM');
BEGIN
    IF to_regclass(format('identity.%I', child)) IS NOT NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE identity.%I (LIKE identity.pii_access_log INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE)', child);
    EXECUTE format('ALTER TABLE identity.%I OWNER TO identity_owner', child);
    EXECUTE format('ALTER TABLE identity.%I ADD CONSTRAINT %I PRIMARY KEY (access_id)', child, child || '_pkey');
    EXECUTE format('CREATE INDEX %I ON identity.%I (candidate_id)', child || '_candidate', child);
    EXECUTE format('ALTER TABLE identity.%I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', child);
    EXECUTE format('CREATE POLICY keeper_reads ON identity.%I FOR SELECT TO identity_keeper USING (true)', child);
    PERFORM identity._close(format('identity.%I', child)::regclass);
    EXECUTE format('GRANT SELECT ON identity.%I TO identity_keeper', child);
    EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON identity.%I FOR EACH STATEMENT EXECUTE FUNCTION identity._append_only()', child);
    EXECUTE format('ALTER TABLE identity.%I ENABLE ALWAYS TRIGGER append_only', child);
    EXECUTE format('ALTER TABLE identity.pii_access_log ATTACH PARTITION identity.%I FOR VALUES FROM (%L) TO (%L)',
                   child, first::text || ' 00:00:00+00', (first + interval '1 month')::date::text || ' 00:00:00+00');
    RETURN true;
END
$make_partition$;

-- This month (UTC) and the three after it.
CREATE FUNCTION identity._make_partitions() RETURNS int
LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET row_security = on AS
$make_partitions$
    SELECT count(*) FILTER (WHERE identity._make_partition((date_trunc('month', now() AT TIME ZONE 'UTC') + make_interval(months => ahead))::date))::int
      FROM generate_series(0, 3) AS ahead
$make_partitions$;
