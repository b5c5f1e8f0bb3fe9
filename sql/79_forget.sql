CREATE FUNCTION identity.forget_register(relation regclass, subject_column name, action text, columns name[] DEFAULT NULL) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', 'forget_register';

CREATE FUNCTION identity.forget_unregister(relation regclass) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', 'forget_unregister';

-- A row is added and taken away, never changed.
CREATE TRIGGER append_only BEFORE UPDATE OR TRUNCATE ON identity.forget_tables
    FOR EACH STATEMENT EXECUTE FUNCTION identity._append_only();
ALTER TABLE identity.forget_tables ENABLE ALWAYS TRIGGER append_only;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON identity.forget_history
    FOR EACH STATEMENT EXECUTE FUNCTION identity._append_only();
ALTER TABLE identity.forget_history ENABLE ALWAYS TRIGGER append_only;
