-- Records that biometrics of a subject were collected: where they lie, and what their template hashes to.
CREATE FUNCTION identity.biometric_attach(
    candidate_id uuid, data_path text, template_hash text, OUT retention_until timestamptz, OUT consent_version text) RETURNS record
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', 'biometric_attach';

CREATE FUNCTION identity.biometric_classify(candidate_id uuid, classifications jsonb) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', 'biometric_classify';

-- Destroys the biometrics of a subject, who stays.
CREATE FUNCTION identity.biometric_erase(candidate_id uuid, reason text) RETURNS jsonb
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', 'biometric_erase';

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON identity.biometric_history
    FOR EACH STATEMENT EXECUTE FUNCTION identity._append_only();
ALTER TABLE identity.biometric_history ENABLE ALWAYS TRIGGER append_only;
-- What is put down is tried and taken away by the row.
CREATE TRIGGER append_only BEFORE TRUNCATE ON identity.files_to_destroy
    FOR EACH STATEMENT EXECUTE FUNCTION identity._append_only();
ALTER TABLE identity.files_to_destroy ENABLE ALWAYS TRIGGER append_only;
