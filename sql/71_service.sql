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

CREATE FUNCTION identity.pii_resolve_many(candidate_ids uuid[], purpose text, fields text[], trace_id text DEFAULT NULL)
    RETURNS TABLE (candidate_id uuid, status text, pii jsonb, generation int, access_id bigint)
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', 'pii_resolve_many';

CREATE FUNCTION identity.pii_register_many(purpose text, records jsonb) RETURNS TABLE (ordinal int, candidate_id uuid)
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', 'pii_register_many';

CREATE FUNCTION identity.pii_update(candidate_id uuid, purpose text, pii jsonb) RETURNS int
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', 'pii_update';

CREATE FUNCTION identity.subject_generations(candidate_ids uuid[]) RETURNS TABLE (candidate_id uuid, generation int)
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', 'subject_generations';

CREATE FUNCTION identity.subject_changes(since bigint, max int DEFAULT 1000) RETURNS TABLE (cursor bigint, candidate_id uuid, generation int)
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', 'subject_changes';

CREATE FUNCTION identity.identity_health() RETURNS jsonb
LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', 'identity_health';
