-- The functions in the catalog against the functions in the contract. `contract` is written from the contract's tables, not from sql/.
\set VERBOSITY default
\set SHOW_CONTEXT never
\pset format unaligned
\pset tuples_only on
SET search_path = pg_catalog, pg_temp;
CREATE TEMP TABLE contract (call text, result text, owner text, callers text);
INSERT INTO contract VALUES
  ('pii_resolve(candidate_id uuid, purpose text, fields text[], trace_id text DEFAULT NULL::text)', '(pii jsonb, generation integer, access_id bigint)', 'identity_reader', 'identity_gateway'),
  ('pii_register(purpose text, pii jsonb, attributes jsonb DEFAULT ''{}''::jsonb, request_id uuid DEFAULT NULL::uuid)', 'uuid', 'identity_keeper', 'identity_gateway'),
  ('pii_vertical(candidate_id uuid)', '(vertical text, consent_status text, route text, generation integer)', 'identity_keeper', 'identity_gateway'),
  ('pii_vertical_many(candidate_ids uuid[])', '(candidate_id uuid, vertical text, consent_status text, route text, generation integer)', 'identity_keeper', 'identity_gateway'),
  ('pii_resolve_many(candidate_ids uuid[], purpose text, fields text[], trace_id text DEFAULT NULL::text)', '(candidate_id uuid, status text, pii jsonb, generation integer, access_id bigint)', 'identity_reader', 'identity_gateway'),
  ('pii_register_many(purpose text, records jsonb)', '(ordinal integer, candidate_id uuid)', 'identity_keeper', 'identity_gateway'),
  ('pii_update(candidate_id uuid, purpose text, pii jsonb)', 'integer', 'identity_reader', 'identity_gateway'),
  ('subject_generations(candidate_ids uuid[])', '(candidate_id uuid, generation integer)', 'identity_keeper', 'identity_gateway'),
  ('subject_changes(since bigint, max integer DEFAULT 1000)', '(cursor bigint, candidate_id uuid, generation integer)', 'identity_keeper', 'identity_gateway'),
  ('identity_health()', 'jsonb', 'superuser', 'PUBLIC'),
  ('consent_record(candidate_id uuid, kind text, status text, version text, evidence jsonb DEFAULT ''{}''::jsonb)', 'void', 'identity_keeper', 'identity_gateway'),
  ('eu_record(candidate_id uuid, eu_resident boolean, lawful_basis text DEFAULT NULL::text, transfer_mechanism text DEFAULT NULL::text)', 'void', 'identity_keeper', 'identity_gateway'),
  ('interaction_record(candidate_id uuid, at timestamp with time zone DEFAULT NULL::timestamp with time zone)', 'void', 'identity_keeper', 'identity_gateway'),
  ('purpose_revoke(purpose text, reason text)', 'void', 'identity_keeper', 'identity_approver identity_dba identity_legal'),
  ('purpose_approve(purpose text, version integer)', 'void', 'identity_keeper', 'identity_approver'),
  ('my_purposes()', '(purpose text, fields text[], rate_limit_qps integer, daily_volume_cap integer)', 'identity_keeper', 'identity_gateway'),
  ('caller_revoke(role name, reason text)', 'void', 'identity_keeper', 'identity_dba identity_legal'),
  ('caller_reinstate(role name)', 'void', 'identity_keeper', 'identity_dba identity_legal'),
  ('text_observe(candidate_id uuid, source text, content text)', 'text', 'identity_keeper', 'identity_gateway'),
  ('vertical_review(candidate_id uuid, vertical text, note text)', 'void', 'identity_keeper', 'identity_reviewer'),
  ('review_forecast()', '(length bigint, oldest timestamp with time zone, per_day double precision, projected_end timestamp with time zone)', 'identity_keeper', 'identity_auditor identity_reviewer'),
  ('erasure_request(candidate_id uuid, reason text)', 'uuid', 'identity_keeper', 'identity_gateway'),
  ('erasure_authorise(request_id uuid, authority text)', 'jsonb', 'identity_keeper', 'identity_worker'),
  ('erasure_status(candidate_id uuid)', '(state text, requested_at timestamp with time zone, due_at timestamp with time zone, done_at timestamp with time zone, scrubbed_at timestamp with time zone, residual_in_backups_until timestamp with time zone)', 'identity_keeper', 'identity_auditor identity_gateway identity_legal'),
  ('erasure_receipt(candidate_id uuid)', 'jsonb', 'identity_keeper', 'identity_auditor identity_gateway identity_legal'),
  ('forget_register(relation regclass, subject_column name, action text, columns name[] DEFAULT NULL::name[])', 'void', 'identity_keeper', 'identity_dba'),
  ('forget_unregister(relation regclass)', 'void', 'identity_keeper', 'identity_dba'),
  ('initialize()', 'uuid', 'superuser', ''),
  ('dev_unlock()', 'void', 'identity_keeper', 'identity_worker'),
  ('key_status()', '(kind text, version integer, state text, provider text, created_at timestamp with time zone, due_at timestamp with time zone, rows bigint, loaded boolean)', 'identity_keeper', 'identity_auditor identity_worker'),
  ('key_wipe_all()', 'void', 'identity_keeper', 'identity_worker'),
  ('key_challenge()', '(public_key bytea, epoch uuid, system_identifier text)', 'identity_keeper', 'identity_worker'),
  ('key_load(kind text, version integer, sealed bytea)', 'void', 'identity_keeper', 'identity_worker'),
  ('key_enrol(kind text, version integer, wrapped bytea, kek_uri text, check_value bytea)', 'void', 'identity_keeper', 'identity_worker'),
  ('key_rotate(kind text, reason text DEFAULT ''scheduled''::text, witness text DEFAULT NULL::text)', 'integer', 'identity_keeper', 'identity_worker'),
  ('tombstones(from_leaf bigint, to_leaf bigint)', '(leaf_index bigint, kind text, tombstone bytea)', 'identity_keeper', 'identity_worker'),
  ('restored_subjects(tombstones bytea[])', '(candidate_id uuid, kind text)', 'identity_keeper', 'identity_worker'),
  ('restored_erase(tombstones bytea[])', 'jsonb', 'identity_keeper', 'identity_worker'),
  ('anchor_record(checkpoint text, uri text, version_id text, lock_until timestamp with time zone)', 'bigint', 'identity_keeper', 'identity_worker'),
  ('incarnation_declare(document text)', 'bigint', 'identity_keeper', 'identity_worker'),
  ('reencrypt(max_rows integer DEFAULT 1000)', 'jsonb', 'identity_keeper', 'identity_worker'),
  ('outbox_serve(channels text[])', 'bigint', 'identity_keeper', 'identity_worker'),
  ('outbox_take(channel text, max integer DEFAULT 100)', '(access_id bigint, payload jsonb, attempts integer)', 'identity_keeper', 'identity_worker'),
  ('outbox_delivered(channel text, access_ids bigint[])', 'bigint', 'identity_keeper', 'identity_worker'),
  ('outbox_failed(channel text, access_ids bigint[], error text, wait_seconds integer DEFAULT 0)', 'bigint', 'identity_keeper', 'identity_worker'),
  ('outbox_retry(channel text DEFAULT NULL::text, access_id bigint DEFAULT NULL::bigint)', 'bigint', 'identity_keeper', 'identity_worker'),
  ('identity_status()', '(item text, state text, since timestamp with time zone, hint text)', 'identity_keeper', 'identity_auditor identity_worker'),
  ('metrics()', '(name text, labels jsonb, value double precision)', 'identity_keeper', 'identity_auditor identity_worker'),
  ('ledger_verify("full" boolean DEFAULT false)', '(check_name text, ok boolean, detail text)', 'identity_keeper', 'identity_auditor identity_worker'),
  ('ledger_expire()', 'jsonb', 'identity_keeper', 'identity_worker'),
  ('retention_sweep(max_subjects integer DEFAULT 1000, dry_run boolean DEFAULT false)', 'jsonb', 'identity_keeper', 'identity_worker'),
  ('biometric_sweep(max_subjects integer DEFAULT 1000, dry_run boolean DEFAULT false)', 'jsonb', 'identity_keeper', 'identity_worker'),
  ('consent_sweep(max_subjects integer DEFAULT 1000, dry_run boolean DEFAULT false)', 'jsonb', 'identity_keeper', 'identity_worker'),
  ('biometric_attach(candidate_id uuid, data_path text, template_hash text)', '(retention_until timestamp with time zone, consent_version text)', 'identity_keeper', 'identity_gateway'),
  ('biometric_classify(candidate_id uuid, classifications jsonb)', 'void', 'identity_keeper', 'identity_gateway'),
  ('biometric_erase(candidate_id uuid, reason text)', 'jsonb', 'identity_keeper', 'identity_legal identity_worker'),
  ('erasure_scrub(max_pages integer DEFAULT 10000)', 'jsonb', 'identity_keeper', 'identity_worker'),
  ('ledger_seal()', '(tree_size bigint, root bytea)', 'identity_keeper', 'identity_worker'),
  ('ledger_checkpoint()', 'text', 'identity_keeper', 'identity_worker'),
  ('ledger_proof(access_id bigint)', 'jsonb', 'identity_keeper', 'identity_auditor identity_legal identity_worker'),
  ('ledger_consistency(old_size bigint, new_size bigint)', 'bytea[]', 'identity_keeper', 'identity_auditor identity_legal identity_worker'),
  ('ledger_salts(access_ids bigint[], chain_version integer)', 'bytea[]', 'identity_keeper', 'identity_auditor identity_legal identity_worker'),
  ('ledger_seal_salts(leaf_indexes bigint[], chain_version integer)', 'bytea[]', 'identity_keeper', 'identity_auditor identity_legal identity_worker');

-- A function with OUT parameters and one with RETURNS TABLE answer with the same columns.
CREATE TEMP VIEW catalog AS
SELECT p.oid, p.proname, p.prosecdef, p.provolatile, p.proparallel, p.proisstrict, p.proleakproof, p.proconfig, p.proretset, o.rolsuper AS superuser_owned,
       format('%I(%s)', p.proname, (SELECT string_agg(item, ', ') FROM unnest(string_to_array(pg_get_function_arguments(p.oid), ', ')) AS item WHERE item NOT LIKE 'OUT %')) AS call,
       COALESCE((SELECT '(' || string_agg(name || ' ' || format_type(type, NULL), ', ' ORDER BY place) || ')'
                   FROM unnest(p.proargmodes, p.proargnames, p.proallargtypes) WITH ORDINALITY AS a (mode, name, type, place) WHERE mode IN ('o', 't')),
                format_type(p.prorettype, NULL)) AS result,
       CASE WHEN o.rolsuper THEN 'superuser' ELSE o.rolname::text END AS owner,
       COALESCE((SELECT string_agg(name, ' ' ORDER BY name COLLATE "C")
                   FROM aclexplode(COALESCE(p.proacl, acldefault('f', p.proowner))) AS a,
                        LATERAL (SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee)::text END) AS grantee (name)
                  WHERE a.grantee <> p.proowner), '') AS callers
  FROM pg_proc p JOIN pg_roles o ON o.oid = p.proowner
 WHERE p.pronamespace = 'identity'::regnamespace;

\echo == in the contract, not in the catalog
SELECT call, result, owner, callers FROM contract EXCEPT SELECT call, result, owner, callers FROM catalog ORDER BY 1;
\echo == in the catalog, not in the contract; a name that begins with _ is internal
SELECT call, result, owner, callers FROM catalog WHERE proname NOT LIKE '\_%' EXCEPT SELECT call, result, owner, callers FROM contract ORDER BY 1;
\echo == one row for one subject, a set for many
SELECT proname, proretset FROM catalog WHERE proname ~ '^(pii|subject)_' ORDER BY 1;
\echo == internal functions: who may execute them besides their owner
SELECT call, owner, callers FROM catalog WHERE proname LIKE '\_%' ORDER BY call COLLATE "C";
\echo == not volatile, not parallel unsafe, strict, or leakproof
SELECT call FROM catalog WHERE provolatile <> 'v' OR proparallel <> 'u' OR proisstrict OR proleakproof;
\echo == without a pinned search_path and row_security; the one that is named runs no SQL
SELECT call FROM catalog WHERE NOT COALESCE(proconfig @> ARRAY['search_path=pg_catalog, pg_temp', 'row_security=on'], false);
\echo == SECURITY DEFINER and owned by a superuser
SELECT call FROM catalog WHERE prosecdef AND superuser_owned;
\echo == owned by reader or keeper and not SECURITY DEFINER
SELECT call FROM catalog WHERE NOT superuser_owned AND NOT prosecdef;
\echo == what PUBLIC can execute
SELECT call FROM catalog WHERE callers ~ 'PUBLIC';
\echo == in the schema, not a member of the extension; partitions are made by initialize()
SELECT proname FROM catalog c WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = c.oid AND d.deptype = 'e');
SELECT relname FROM pg_class c WHERE c.relnamespace = 'identity'::regnamespace AND c.relkind <> 'i' AND relname NOT LIKE 'pii\_access\_log\_y%'
   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e') ORDER BY 1;
\echo == tables that pg_dump would leave out
SELECT relname FROM pg_class WHERE relnamespace = 'identity'::regnamespace AND relkind IN ('r', 'p', 'S') AND relname NOT LIKE 'pii\_access\_log\_y%'
   AND NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'identity_pgx' AND pg_class.oid = ANY (extconfig));
\echo == who may do what with which table
SELECT relname, pg_get_userbyid(grantee), string_agg(privilege_type, ' ' ORDER BY privilege_type)
  FROM pg_class, aclexplode(COALESCE(relacl, acldefault('r', relowner)))
 WHERE relnamespace = 'identity'::regnamespace AND relkind IN ('r', 'p', 'v') AND relname NOT LIKE 'pii\_access\_log\_y%' AND grantee <> relowner
 GROUP BY relname, grantee ORDER BY 1, pg_get_userbyid(grantee);
\echo == columns granted singly
SELECT attrelid::regclass, attname, pg_get_userbyid(grantee), privilege_type FROM pg_attribute, aclexplode(attacl)
 WHERE attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'identity'::regnamespace) ORDER BY 1, 2, 3, 4;
\echo == policies
SELECT polrelid::regclass, polname, polcmd, pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid), (SELECT string_agg(pg_get_userbyid(r), ' ') FROM unnest(polroles) r)
  FROM pg_policy WHERE polrelid IN ('identity.subjects'::regclass, 'identity.pii_access_log'::regclass, 'identity.vertical_history'::regclass, 'identity.subject_texts'::regclass) ORDER BY 1, 2;
\echo == ciphertext columns kept in their row
SELECT attname, attstorage FROM pg_attribute WHERE attrelid = 'identity.subjects'::regclass AND attname LIKE '%\_ct' ORDER BY attnum;
\echo == settings
SELECT name, context, boot_val FROM pg_settings WHERE name LIKE 'identity\_pgx.%' ORDER BY 1;
