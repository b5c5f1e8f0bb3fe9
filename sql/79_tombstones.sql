-- Erasures that the leaves from one up to another record, that one excluded: what the worker publishes of them.
CREATE FUNCTION identity.tombstones(from_leaf bigint, to_leaf bigint) RETURNS TABLE (leaf_index bigint, kind text, tombstone bytea)
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', 'tombstones';

-- Who of those that were erased is there, as after a restore from an older backup.
CREATE FUNCTION identity.restored_subjects(tombstones bytea[]) RETURNS TABLE (candidate_id uuid, kind text)
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', 'restored_subjects';

-- Erases exactly those again.
CREATE FUNCTION identity.restored_erase(tombstones bytea[]) RETURNS jsonb
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', 'restored_erase';

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON identity.tombstones
    FOR EACH STATEMENT EXECUTE FUNCTION identity._append_only();
ALTER TABLE identity.tombstones ENABLE ALWAYS TRIGGER append_only;
