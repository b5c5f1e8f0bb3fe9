//! Are the guards of tables and roles in place? A superuser can switch them off, and before PostgreSQL 16 any role with CREATEROLE can make
//! itself a member of ours; then it shows.

use crate::query::Statement;

static UNGUARDED: Statement = Statement::read(
    c"WITH log AS (
          SELECT 'identity.pii_access_log'::pg_catalog.regclass::pg_catalog.oid AS oid
          UNION ALL SELECT i.inhrelid FROM pg_catalog.pg_inherits i WHERE i.inhparent = 'identity.pii_access_log'::pg_catalog.regclass),
      guarded (oid, append_only) AS (
          SELECT oid, true FROM log
          UNION ALL
          SELECT ('identity.' || t.name)::pg_catalog.regclass::pg_catalog.oid, t.append_only
            FROM (VALUES ('purpose_versions', true), ('purpose_definitions', true), ('purpose_revocations', true), ('subjects', false),
                         ('installation', false), ('settings_history', true), ('keyring', true), ('key_history', true), ('caller_revocations', true),
                         ('erasure_requests', true), ('consent_versions', true), ('consent_history', true), ('eu_history', true), ('subject_texts', true),
                         ('vertical_patterns', true), ('vertical_pattern_changes', true), ('vertical_history', true),
                         ('subject_changes_pending', false), ('subject_changes', false), ('change_epochs', false),
                         ('volume_notices', true), ('notifications', true), ('outbox_channels', false), ('outbox_deliveries', false), ('ledger_seals', true), ('ledger_heads', true),
                         ('ledger_tiles', true), ('ledger_leaves', true), ('ledger_nodes', true), ('anchor_commits', true), ('ledger_expired', true),
                         ('scrub_waits', false), ('scrub_passes', false), ('scrub_progress', false),
                         ('retention_policies', true), ('retention_policy_changes', true),
                         ('sweep_progress', false), ('forget_tables', true), ('forget_history', true),
                         ('biometric_history', true), ('files_to_destroy', true)) AS t (name, append_only))
      SELECT c.relname::text
        FROM guarded g JOIN pg_catalog.pg_class c ON c.oid = g.oid
       WHERE g.append_only AND NOT EXISTS (
                SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid = c.oid AND t.tgname = 'append_only' AND t.tgenabled = 'A')
          OR c.relname = 'purpose_versions' AND NOT EXISTS (
                SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid = c.oid AND t.tgname = 'supersede_only' AND t.tgenabled = 'A')
          OR c.relname IN ('erasure_requests', 'keyring') AND NOT EXISTS (
                SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid = c.oid AND t.tgname = 'forward_only' AND t.tgenabled = 'A')
          OR c.relname = 'retention_policies' AND (
                SELECT pg_catalog.count(*) FROM pg_catalog.pg_trigger t WHERE t.tgrelid = c.oid AND t.tgname IN ('checked', 'recorded') AND t.tgenabled = 'A') <> 2
          OR NOT (c.relrowsecurity AND c.relforcerowsecurity)
          OR EXISTS (SELECT FROM pg_catalog.pg_policy p WHERE p.polrelid = c.oid
                        AND (NOT p.polpermissive OR p.polname = 'keeper_reads' AND pg_catalog.pg_get_expr(p.polqual, p.polrelid) <> 'true'))
       ORDER BY 1",
    &[],
);

/// The tables without the append-only trigger, or the forced row-level security, that they were made with. Runs inside a call's snapshot.
pub fn unguarded() -> Vec<String> {
    let rows = UNGUARDED.run(&mut []);
    (0..rows.count).filter_map(|row| rows.get(row, 1)).collect()
}

static OPENED: Statement = Statement::read(
    c"SELECT r.rolname::text
        FROM pg_catalog.pg_roles r
       WHERE r.rolname IN ('identity_owner', 'identity_reader', 'identity_keeper')
         AND (r.rolsuper OR r.rolbypassrls OR r.rolcanlogin OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication
              OR EXISTS (SELECT FROM pg_catalog.pg_auth_members m WHERE m.roleid = r.oid OR m.member = r.oid))
       ORDER BY 1",
    &[],
);

/// The owner roles that somebody can be, or that can do more than own. Runs inside a call's snapshot.
pub fn opened_roles() -> Vec<String> {
    let rows = OPENED.run(&mut []);
    (0..rows.count).filter_map(|row| rows.get(row, 1)).collect()
}
