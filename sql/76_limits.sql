CREATE FUNCTION identity.metrics() RETURNS TABLE (name text, labels jsonb, value double precision)
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', 'metrics';

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON identity.volume_notices
    FOR EACH STATEMENT EXECUTE FUNCTION identity._append_only();
ALTER TABLE identity.volume_notices ENABLE ALWAYS TRIGGER append_only;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON identity.notifications
    FOR EACH STATEMENT EXECUTE FUNCTION identity._append_only();
ALTER TABLE identity.notifications ENABLE ALWAYS TRIGGER append_only;
