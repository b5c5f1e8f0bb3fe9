-- Locks the keys and forgets every lane's head: what initialize() needs when the tables under a running server are new.
CREATE FUNCTION identity._forget() RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', '_forget';

-- Once after CREATE EXTENSION, by a superuser: the installation id, the default purposes, the first partitions. Keys are still
-- locked then, so the versions of the default purposes are written here; the first unlock puts their digest on the chain.
CREATE FUNCTION identity.initialize() RETURNS uuid
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET row_security = on AS
$initialize$
DECLARE
    made uuid;
BEGIN
    PERFORM identity._make_partitions();
    INSERT INTO identity.installation (installation_id, created_at) VALUES (gen_random_uuid(), clock_timestamp())
        ON CONFLICT DO NOTHING RETURNING installation_id INTO made;
    IF made IS NULL THEN
        RETURN (SELECT i.installation_id FROM identity.installation i);
    END IF;
    PERFORM identity._forget();
    INSERT INTO identity.purpose_definitions (purpose_token, description, allowed_fields, auth_tier, allowed_roles, rate_limit_qps, daily_volume_cap) VALUES
        ('fill_validation', 'Show the name on a fill, so that a person can confirm it', '{name}', 'service', '{identity_gateway}', 100, 10000),
        ('audit_subject_response', 'Answer a subject''s audit request', '{name,email,phone,address,ssn,dob}', 'legal', '{identity_legal}', NULL, NULL),
        ('biometric_collection', 'Record of the system collecting biometrics', '{}', 'service', '{}', NULL, NULL),
        ('biometric_erasure', 'Record of the system erasing biometrics', '{}', 'service', '{}', NULL, NULL),
        ('retention_expired', 'Record of an erasure because retention expired', '{}', 'service', '{}', NULL, NULL),
        ('rtbf_request', 'Record of an erasure because the subject asked', '{}', 'service', '{}', NULL, NULL);
    -- They come with the extension, which a superuser has decided to install: nobody needs to approve them.
    INSERT INTO identity.purpose_versions (purpose_token, version, effective_at, description, allowed_fields, auth_tier,
                                           rate_limit_qps, daily_volume_cap, allowed_roles, accepted_consent, phi_access, changed_by, changed_at,
                                           needs_approval, revocations_seen)
    SELECT d.purpose_token, 1, now(), d.description, d.allowed_fields, d.auth_tier,
           d.rate_limit_qps, d.daily_volume_cap, d.allowed_roles, d.accepted_consent, d.phi_access, session_user, now(), false, 0
      FROM identity.purpose_definitions d;
    PERFORM identity._seed_patterns();
    RETURN made;
END
$initialize$;

CREATE FUNCTION identity.dev_unlock() RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', 'dev_unlock';

CREATE FUNCTION identity.key_status()
    RETURNS TABLE (kind text, version int, state text, provider text, created_at timestamptz, due_at timestamptz, rows bigint, loaded boolean)
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', 'key_status';

CREATE FUNCTION identity.key_wipe_all() RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', 'key_wipe_all';

CREATE FUNCTION identity.identity_status() RETURNS TABLE (item text, state text, since timestamptz, hint text)
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', 'identity_status';

CREATE FUNCTION identity.ledger_verify("full" boolean DEFAULT false) RETURNS TABLE (check_name text, ok boolean, detail text)
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', 'ledger_verify';

-- How the playground's loader sets what the service tier may not: vertical and consent. Superusers only.
CREATE FUNCTION identity._import_subject(
    candidate_id uuid, pii jsonb, vertical text, consent_status text, attributes jsonb DEFAULT '{}') RETURNS int
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', '_import_subject';
