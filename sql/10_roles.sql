-- Cluster-wide group roles: made if absent, checked if present. A role that somebody prepared beforehand with a way in (or a way up)
-- stops the install.
DO $roles$
DECLARE
    owners  CONSTANT pg_catalog.name[] := '{identity_owner,identity_reader,identity_keeper}';
    callers CONSTANT pg_catalog.name[] := '{identity_gateway,identity_zone_onbox,identity_zone_cloud,identity_dba,identity_approver,identity_reviewer,identity_legal,identity_worker,identity_auditor}';
    wanted  pg_catalog.name;
    existing   pg_catalog.pg_authid%ROWTYPE;
    fault   pg_catalog.text;
BEGIN
    FOREACH wanted IN ARRAY owners OPERATOR(pg_catalog.||) callers LOOP
        SELECT a.* INTO existing FROM pg_catalog.pg_authid a WHERE a.rolname OPERATOR(pg_catalog.=) wanted;
        IF NOT FOUND THEN
            EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN NOSUPERUSER NOBYPASSRLS NOCREATEROLE NOCREATEDB NOREPLICATION', wanted);
            CONTINUE;
        END IF;
        fault := CASE
            WHEN existing.rolsuper THEN 'SUPERUSER'
            WHEN existing.rolbypassrls THEN 'BYPASSRLS'
            WHEN existing.rolcanlogin THEN 'LOGIN'
            WHEN existing.rolcreaterole THEN 'CREATEROLE'
            WHEN existing.rolcreatedb THEN 'CREATEDB'
            WHEN existing.rolreplication THEN 'REPLICATION'
        END;
        IF fault IS NULL AND EXISTS (SELECT FROM pg_catalog.pg_auth_members m WHERE m.member OPERATOR(pg_catalog.=) existing.oid) THEN
            fault := 'membership in another role';
        END IF;
        -- A restore brings the members of the callers' groups along, granted by a superuser. Nobody is ever a member of an owner role.
        IF fault IS NULL AND EXISTS (
            SELECT FROM pg_catalog.pg_auth_members m
              LEFT JOIN pg_catalog.pg_authid g ON g.oid OPERATOR(pg_catalog.=) m.grantor
             WHERE m.roleid OPERATOR(pg_catalog.=) existing.oid
               AND (wanted OPERATOR(pg_catalog.=) ANY (owners) OR m.admin_option OR NOT COALESCE(g.rolsuper, false))) THEN
            fault := 'members that no superuser granted';
        END IF;
        IF fault IS NOT NULL THEN
            RAISE EXCEPTION 'role "%" exists already and has %', wanted, fault
                USING ERRCODE = '42501',
                      DETAIL = 'reason: role_conflict',
                      HINT = 'Find out who made it. Drop it, or take that away from it, then install again.';
        END IF;
    END LOOP;
END
$roles$;
