CREATE FUNCTION identity.erasure_request(candidate_id uuid, reason text) RETURNS uuid
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', 'erasure_request';

CREATE FUNCTION identity.erasure_authorise(request_id uuid, authority text) RETURNS jsonb
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', 'erasure_authorise';

CREATE FUNCTION identity.erasure_status(
    candidate_id uuid, OUT state text, OUT requested_at timestamptz, OUT due_at timestamptz, OUT done_at timestamptz,
    OUT scrubbed_at timestamptz, OUT residual_in_backups_until timestamptz) RETURNS record
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', 'erasure_status';

CREATE FUNCTION identity.erasure_receipt(candidate_id uuid) RETURNS jsonb
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', 'erasure_receipt';

-- The requests that wait, and under which schedule each may be fulfilled; NULL: under none. Whose they are it does not say: the worker need not know.
CREATE VIEW identity.erasure_queue WITH (security_barrier = true) AS
    SELECT r.request_id, r.reason, r.requested_at, r.due_at,
           (SELECT p.schedule_version
              FROM identity.retention_policies p JOIN identity.consent_versions v ON v.version OPERATOR(pg_catalog.=) p.schedule_version
             WHERE p.vertical OPERATOR(pg_catalog.=) s.vertical AND p.kind OPERATOR(pg_catalog.=) 'general'
               AND v.effective_at OPERATOR(pg_catalog.<=) pg_catalog.clock_timestamp()
               AND COALESCE(v.superseded_at OPERATOR(pg_catalog.>) pg_catalog.clock_timestamp(), true)) AS authority
      FROM identity.erasure_requests r JOIN identity.subjects s ON s.candidate_id OPERATOR(pg_catalog.=) r.candidate_id
     WHERE r.state OPERATOR(pg_catalog.=) 'requested'
     ORDER BY r.due_at, r.request_id;

CREATE TRIGGER append_only BEFORE DELETE OR TRUNCATE ON identity.erasure_requests
    FOR EACH STATEMENT EXECUTE FUNCTION identity._append_only();
ALTER TABLE identity.erasure_requests ENABLE ALWAYS TRIGGER append_only;
-- What was asked is never changed; what was done only by a scrub, once. AFTER, and columns are compared one by one: a night's scrub changes
-- rows by the hundred thousand, and a trigger that comes before locks each of them first, in the log too.
CREATE TRIGGER forward_only AFTER UPDATE ON identity.erasure_requests FOR EACH ROW
    WHEN ((NEW.request_id, NEW.candidate_id, NEW.reason, NEW.requested_at, NEW.requested_by, NEW.due_at, NEW.request_access_id)
              IS DISTINCT FROM (OLD.request_id, OLD.candidate_id, OLD.reason, OLD.requested_at, OLD.requested_by, OLD.due_at, OLD.request_access_id)
          OR OLD.state OPERATOR(pg_catalog.=) 'refused'
          OR OLD.state OPERATOR(pg_catalog.=) 'done'
             AND ((NEW.state, NEW.authority, NEW.authorised_by, NEW.done_at, NEW.generation, NEW.erasure_generation, NEW.forgotten, NEW.access_id)
                      IS DISTINCT FROM (OLD.state, OLD.authority, OLD.authorised_by, OLD.done_at, OLD.generation, OLD.erasure_generation, OLD.forgotten, OLD.access_id)
                  OR OLD.scrubbed_at IS NOT NULL OR NEW.scrubbed_at IS NULL OR NEW.scrubbed_lsn IS NULL OR NEW.residual_in_backups_until IS NULL))
    EXECUTE FUNCTION identity._append_only();
ALTER TABLE identity.erasure_requests ENABLE ALWAYS TRIGGER forward_only;
