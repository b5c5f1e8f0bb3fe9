-- The service tier: what a gateway calls.

CREATE FUNCTION identity.pii_resolve(
    candidate_id uuid, purpose text, fields text[], trace_id text DEFAULT NULL,
    OUT pii jsonb, OUT generation int, OUT access_id bigint) RETURNS record
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', 'pii_resolve';

CREATE FUNCTION identity.pii_register(
    purpose text, pii jsonb, attributes jsonb DEFAULT '{}', request_id uuid DEFAULT NULL) RETURNS uuid
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', 'pii_register';

CREATE FUNCTION identity.pii_vertical(
    candidate_id uuid, OUT vertical text, OUT consent_status text, OUT route text, OUT generation int) RETURNS record
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', 'pii_vertical';

CREATE FUNCTION identity.pii_vertical_many(candidate_ids uuid[])
    RETURNS TABLE (candidate_id uuid, vertical text, consent_status text, route text, generation int)
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', 'pii_vertical_many';

CREATE FUNCTION identity.identity_health() RETURNS jsonb
LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', 'identity_health';
