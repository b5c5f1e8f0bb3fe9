CREATE FUNCTION identity.consent_record(candidate_id uuid, kind text, status text, version text, evidence jsonb DEFAULT '{}') RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', 'consent_record';

CREATE FUNCTION identity.eu_record(
    candidate_id uuid, eu_resident boolean, lawful_basis text DEFAULT NULL, transfer_mechanism text DEFAULT NULL) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', 'eu_record';

CREATE FUNCTION identity.interaction_record(candidate_id uuid, at timestamptz DEFAULT NULL) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', 'interaction_record';

-- Checks a consent version and says who wrote it, when, and after which others; then supersedes those and records it. Both leave alone what a
-- restore loads while keys are locked.
CREATE FUNCTION identity._consent_version_checked() RETURNS trigger
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', '_consent_version_checked';

CREATE FUNCTION identity._consent_version_recorded() RETURNS trigger
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', '_consent_version_recorded';

CREATE TRIGGER checked BEFORE INSERT ON identity.consent_versions
    FOR EACH ROW EXECUTE FUNCTION identity._consent_version_checked();
ALTER TABLE identity.consent_versions ENABLE ALWAYS TRIGGER checked;
CREATE TRIGGER recorded AFTER INSERT ON identity.consent_versions
    FOR EACH ROW EXECUTE FUNCTION identity._consent_version_recorded();
ALTER TABLE identity.consent_versions ENABLE ALWAYS TRIGGER recorded;

CREATE TRIGGER append_only BEFORE DELETE OR TRUNCATE ON identity.consent_versions
    FOR EACH STATEMENT EXECUTE FUNCTION identity._append_only();
ALTER TABLE identity.consent_versions ENABLE ALWAYS TRIGGER append_only;
-- A version that is to end next month may have to end today; none comes back.
CREATE TRIGGER supersede_only BEFORE UPDATE ON identity.consent_versions FOR EACH ROW
    WHEN (NEW.superseded_at IS NULL OR NEW.superseded_at OPERATOR(pg_catalog.>=) OLD.superseded_at
          OR (pg_catalog.to_jsonb(NEW) OPERATOR(pg_catalog.-) 'superseded_at') OPERATOR(pg_catalog.<>) (pg_catalog.to_jsonb(OLD) OPERATOR(pg_catalog.-) 'superseded_at'))
    EXECUTE FUNCTION identity._append_only();
ALTER TABLE identity.consent_versions ENABLE ALWAYS TRIGGER supersede_only;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON identity.consent_history
    FOR EACH STATEMENT EXECUTE FUNCTION identity._append_only();
ALTER TABLE identity.consent_history ENABLE ALWAYS TRIGGER append_only;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON identity.eu_history
    FOR EACH STATEMENT EXECUTE FUNCTION identity._append_only();
ALTER TABLE identity.eu_history ENABLE ALWAYS TRIGGER append_only;
-- Not against DELETE: an erasure takes the texts away.
CREATE TRIGGER append_only BEFORE UPDATE OR TRUNCATE ON identity.subject_texts
    FOR EACH STATEMENT EXECUTE FUNCTION identity._append_only();
ALTER TABLE identity.subject_texts ENABLE ALWAYS TRIGGER append_only;
