CREATE FUNCTION identity._append_only() RETURNS trigger
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', '_append_only';

-- ALWAYS: session_replication_role = replica must not open the log.
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON identity.pii_access_log
    FOR EACH STATEMENT EXECUTE FUNCTION identity._append_only();
ALTER TABLE identity.pii_access_log ENABLE ALWAYS TRIGGER append_only;

CREATE TRIGGER append_only BEFORE DELETE OR TRUNCATE ON identity.purpose_versions
    FOR EACH STATEMENT EXECUTE FUNCTION identity._append_only();
-- Two changes are let through, each once and each alone: the moment a version is superseded, and its approval. No part of the condition can be
-- NULL: a trigger whose condition is NULL does not fire.
CREATE TRIGGER supersede_only BEFORE UPDATE ON identity.purpose_versions FOR EACH ROW
    WHEN (NOT (OLD.superseded_at IS NULL AND NEW.superseded_at IS NOT NULL
               AND (pg_catalog.to_jsonb(NEW) OPERATOR(pg_catalog.-) 'superseded_at') OPERATOR(pg_catalog.=) (pg_catalog.to_jsonb(OLD) OPERATOR(pg_catalog.-) 'superseded_at')
            OR OLD.needs_approval AND OLD.approved_by IS NULL AND OLD.approved_at IS NULL AND NEW.approved_by IS NOT NULL AND NEW.approved_at IS NOT NULL
               AND (pg_catalog.to_jsonb(NEW) OPERATOR(pg_catalog.-) '{approved_by,approved_at}'::pg_catalog.text[])
                   OPERATOR(pg_catalog.=) (pg_catalog.to_jsonb(OLD) OPERATOR(pg_catalog.-) '{approved_by,approved_at}'::pg_catalog.text[])))
    EXECUTE FUNCTION identity._append_only();
ALTER TABLE identity.purpose_versions ENABLE ALWAYS TRIGGER append_only;
ALTER TABLE identity.purpose_versions ENABLE ALWAYS TRIGGER supersede_only;

CREATE TRIGGER append_only BEFORE DELETE OR TRUNCATE ON identity.purpose_revocations
    FOR EACH STATEMENT EXECUTE FUNCTION identity._append_only();
ALTER TABLE identity.purpose_revocations ENABLE ALWAYS TRIGGER append_only;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON identity.settings_history
    FOR EACH STATEMENT EXECUTE FUNCTION identity._append_only();
ALTER TABLE identity.settings_history ENABLE ALWAYS TRIGGER append_only;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON identity.caller_revocations
    FOR EACH STATEMENT EXECUTE FUNCTION identity._append_only();
ALTER TABLE identity.caller_revocations ENABLE ALWAYS TRIGGER append_only;

-- Checks a purpose, writes its next version when its content changed, and records that. Derives nothing while keys are locked,
-- which is when a restore runs: the versions come along with the dump.
CREATE FUNCTION identity._purpose_changed() RETURNS trigger
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', '_purpose_changed';

CREATE TRIGGER purpose_changed AFTER INSERT OR UPDATE ON identity.purpose_definitions
    FOR EACH ROW EXECUTE FUNCTION identity._purpose_changed();
ALTER TABLE identity.purpose_definitions ENABLE ALWAYS TRIGGER purpose_changed;
CREATE TRIGGER append_only BEFORE DELETE OR TRUNCATE ON identity.purpose_definitions
    FOR EACH STATEMENT EXECUTE FUNCTION identity._append_only();
ALTER TABLE identity.purpose_definitions ENABLE ALWAYS TRIGGER append_only;
