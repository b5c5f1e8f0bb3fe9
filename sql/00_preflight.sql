-- Refuses to install where somebody was here first. The schema is made by this script and by nobody else: whoever owns a schema
-- can drop, replace and shadow what others put into it.
\echo Use "CREATE EXTENSION identity_pgx" to load this file. \quit

-- Names and operators in what follows are PostgreSQL's own, whatever the installer's schemas hold.
SET LOCAL search_path = pg_catalog, pg_temp;

DO $preflight$
BEGIN
    IF pg_catalog.current_setting('server_encoding') OPERATOR(pg_catalog.<>) 'UTF8' THEN
        RAISE EXCEPTION 'identity_pgx needs a database with encoding UTF8'
            USING ERRCODE = '55000',
                  HINT = 'Create the database with ENCODING ''UTF8''.';
    END IF;
    PERFORM FROM pg_catalog.pg_namespace n WHERE n.nspname OPERATOR(pg_catalog.=) 'identity';
    IF FOUND THEN
        RAISE EXCEPTION 'schema "identity" already exists'
            USING ERRCODE = '42P06',
                  DETAIL = 'reason: schema_squatted',
                  HINT = 'Look at what it holds and who owns it, then drop or rename it: the extension makes its own.';
    END IF;
END
$preflight$;
