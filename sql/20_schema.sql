CREATE SCHEMA identity;

-- Takes every right on a relation from everybody but its owner. What a superuser once wrote into ALTER DEFAULT PRIVILEGES would otherwise
-- come with each new table.
CREATE FUNCTION identity._close(relation regclass) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET row_security = on AS
$close$
DECLARE
    grantee text;
BEGIN
    FOR grantee IN
        SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE format('%I', pg_get_userbyid(a.grantee)) END
          FROM pg_class c, aclexplode(c.relacl) a
         WHERE c.oid = relation AND a.grantee <> c.relowner
    LOOP
        EXECUTE format('REVOKE ALL ON TABLE %s FROM %s CASCADE', relation, grantee);
    END LOOP;
END
$close$;

-- Which installation this is. One row, made by initialize(): field ciphertexts and lanes are bound to it, so what was copied from
-- another installation does not open here. Trust: the database is not trusted to name itself; a false id opens nothing.
CREATE TABLE identity.installation (
    one             boolean     NOT NULL DEFAULT true PRIMARY KEY CHECK (one),
    installation_id uuid        NOT NULL,
    created_at      timestamptz NOT NULL
);
SELECT pg_catalog.pg_extension_config_dump('identity.installation', '');

-- The settings in force at each start and after each change, in clear; the log holds their digest.
CREATE TABLE identity.settings_history (
    access_id   bigint      NOT NULL PRIMARY KEY,
    recorded_at timestamptz NOT NULL,
    settings    jsonb       NOT NULL
);
SELECT pg_catalog.pg_extension_config_dump('identity.settings_history', '');
