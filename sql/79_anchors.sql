-- Notes that a checkpoint of this tree, signed, lies outside under a lock.
CREATE FUNCTION identity.anchor_record(checkpoint text, uri text, version_id text, lock_until timestamptz) RETURNS bigint
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', 'anchor_record';

-- How often there was something to seal soon, since the server started. Anybody may NOTIFY identity_seal_due; this number only a commit moves.
CREATE FUNCTION identity._seal_occasions() RETURNS bigint
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', '_seal_occasions';

-- The log goes on although it is shorter than what was anchored, because both parties have signed that it may.
CREATE FUNCTION identity.incarnation_declare(document text) RETURNS bigint
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', 'incarnation_declare';
