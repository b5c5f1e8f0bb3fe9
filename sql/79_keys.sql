-- Keys from a key service: the worker brings them, sealed to this run of this server.
CREATE FUNCTION identity.key_challenge(OUT public_key bytea, OUT epoch uuid, OUT system_identifier text) RETURNS record
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', 'key_challenge';

CREATE FUNCTION identity.key_load(kind text, version int, sealed bytea) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', 'key_load';

CREATE FUNCTION identity.key_enrol(kind text, version int, wrapped bytea, kek_uri text, check_value bytea) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', 'key_enrol';

-- Answers with the version that is active once this commits.
CREATE FUNCTION identity.key_rotate(kind text, reason text DEFAULT 'scheduled', witness text DEFAULT NULL) RETURNS int
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', 'key_rotate';

-- One batch of subjects whose fields an older key encrypts.
CREATE FUNCTION identity.reencrypt(max_rows int DEFAULT 1000) RETURNS jsonb
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', 'reencrypt';

CREATE TRIGGER append_only BEFORE DELETE OR TRUNCATE ON identity.keyring
    FOR EACH STATEMENT EXECUTE FUNCTION identity._append_only();
ALTER TABLE identity.keyring ENABLE ALWAYS TRIGGER append_only;
-- A key never becomes another one, and never goes back to an earlier state; where it is wrapped may change. No part of the condition can be NULL.
CREATE TRIGGER forward_only BEFORE UPDATE ON identity.keyring FOR EACH ROW
    WHEN ((NEW.kind, NEW.version, NEW.check_value, NEW.created_at, NEW.enrolled_by, NEW.provider OPERATOR(pg_catalog.=) 'development')
              IS DISTINCT FROM (OLD.kind, OLD.version, OLD.check_value, OLD.created_at, OLD.enrolled_by, OLD.provider OPERATOR(pg_catalog.=) 'development')
          OR NOT (NEW.state OPERATOR(pg_catalog.=) OLD.state
                  OR (OLD.state OPERATOR(pg_catalog.||) '>' OPERATOR(pg_catalog.||) NEW.state)
                     OPERATOR(pg_catalog.=) ANY ('{enrolled>active,active>verify_only,verify_only>retired}'::pg_catalog.text[])))
    EXECUTE FUNCTION identity._append_only();
ALTER TABLE identity.keyring ENABLE ALWAYS TRIGGER forward_only;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON identity.key_history
    FOR EACH STATEMENT EXECUTE FUNCTION identity._append_only();
ALTER TABLE identity.key_history ENABLE ALWAYS TRIGGER append_only;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON identity.key_wrappings
    FOR EACH STATEMENT EXECUTE FUNCTION identity._append_only();
ALTER TABLE identity.key_wrappings ENABLE ALWAYS TRIGGER append_only;
