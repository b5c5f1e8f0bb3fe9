-- Checks a retention policy and says who set it and when; then numbers the change and records it. Both leave alone what a restore loads while keys
-- are locked.
CREATE FUNCTION identity._retention_policy_checked() RETURNS trigger
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', '_retention_policy_checked';

CREATE FUNCTION identity._retention_policy_recorded() RETURNS trigger
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', '_retention_policy_recorded';

CREATE TRIGGER checked BEFORE INSERT OR UPDATE ON identity.retention_policies
    FOR EACH ROW EXECUTE FUNCTION identity._retention_policy_checked();
ALTER TABLE identity.retention_policies ENABLE ALWAYS TRIGGER checked;
CREATE TRIGGER recorded AFTER INSERT OR UPDATE OR DELETE ON identity.retention_policies
    FOR EACH ROW EXECUTE FUNCTION identity._retention_policy_recorded();
ALTER TABLE identity.retention_policies ENABLE ALWAYS TRIGGER recorded;
-- A TRUNCATE fires no row trigger: it would leave no record.
CREATE TRIGGER append_only BEFORE TRUNCATE ON identity.retention_policies
    FOR EACH STATEMENT EXECUTE FUNCTION identity._append_only();
ALTER TABLE identity.retention_policies ENABLE ALWAYS TRIGGER append_only;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON identity.retention_policy_changes
    FOR EACH STATEMENT EXECUTE FUNCTION identity._append_only();
ALTER TABLE identity.retention_policy_changes ENABLE ALWAYS TRIGGER append_only;

-- One batch each. Subjects whose retention is over are erased; consents that ran out are recorded as such; biometrics that are due are destroyed.
CREATE FUNCTION identity.retention_sweep(max_subjects int DEFAULT 1000, dry_run boolean DEFAULT false) RETURNS jsonb
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', 'retention_sweep';

CREATE FUNCTION identity.consent_sweep(max_subjects int DEFAULT 1000, dry_run boolean DEFAULT false) RETURNS jsonb
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', 'consent_sweep';

CREATE FUNCTION identity.biometric_sweep(max_subjects int DEFAULT 1000, dry_run boolean DEFAULT false) RETURNS jsonb
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', 'biometric_sweep';

-- What a worker has to do of this night, by the server's clock: sweeps that are not over, and whether a scrub is due.
CREATE FUNCTION identity._night_due() RETURNS jsonb
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', '_night_due';
