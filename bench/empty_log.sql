-- Empties the logs of a throwaway cluster, the guards switched off by its superuser. For measurements only.
CREATE TEMP TABLE guard AS
  SELECT tgrelid::regclass AS relation, tgname
    FROM pg_trigger
   WHERE NOT tgisinternal
     AND tgrelid IN (SELECT 'identity.pii_access_log'::regclass UNION ALL SELECT inhrelid FROM pg_inherits WHERE inhparent = 'identity.pii_access_log'::regclass);
SELECT format('ALTER TABLE %s DISABLE TRIGGER %I', relation, tgname) FROM guard \gexec
TRUNCATE identity.pii_access_log, public.floor_log;
SELECT format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', relation, tgname) FROM guard \gexec
