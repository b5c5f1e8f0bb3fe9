-- Everything closed first, then each right with its reason.
DO $closed$
DECLARE
    statement text;
BEGIN
    PERFORM identity._close(c.oid) FROM pg_catalog.pg_class c
      WHERE c.relnamespace OPERATOR(pg_catalog.=) 'identity'::pg_catalog.regnamespace AND c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p,v}');
    FOR statement IN
        SELECT DISTINCT pg_catalog.format('REVOKE ALL ON %s FROM %s CASCADE', o.object,
                 CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.format('%I', pg_catalog.pg_get_userbyid(a.grantee)) END)
          FROM (SELECT 'FUNCTION ' OPERATOR(pg_catalog.||) p.oid::pg_catalog.regprocedure::text, p.proowner,
                       COALESCE(p.proacl, pg_catalog.acldefault('f', p.proowner))
                  FROM pg_catalog.pg_proc p WHERE p.pronamespace OPERATOR(pg_catalog.=) 'identity'::pg_catalog.regnamespace
                UNION ALL
                SELECT 'SCHEMA identity', n.nspowner, n.nspacl
                  FROM pg_catalog.pg_namespace n WHERE n.nspname OPERATOR(pg_catalog.=) 'identity') AS o (object, owner, acl),
               pg_catalog.aclexplode(o.acl) AS a
         WHERE a.grantee OPERATOR(pg_catalog.<>) o.owner
    LOOP
        EXECUTE statement;
    END LOOP;
END
$closed$;

-- Names of functions must resolve for whoever may call one; PUBLIC may ask for health.
GRANT USAGE ON SCHEMA identity TO PUBLIC;
GRANT EXECUTE ON FUNCTION identity.identity_health() TO PUBLIC;

-- What the functions that return PII read.
GRANT SELECT ON identity.subjects, identity.installation TO identity_reader;
GRANT EXECUTE ON FUNCTION identity._zone_sees(text) TO identity_reader;

-- What the functions that return none read and write. The log is appended to below SQL, so nobody holds INSERT on it.
GRANT SELECT, INSERT, UPDATE ON identity.subjects TO identity_keeper;
GRANT SELECT, INSERT ON identity.purpose_versions TO identity_keeper;
GRANT UPDATE (superseded_at) ON identity.purpose_versions TO identity_keeper;
GRANT SELECT, INSERT, UPDATE ON identity.purpose_revocations TO identity_keeper;
GRANT SELECT ON identity.purpose_definitions, identity.installation, identity.pii_access_log, identity.settings_history TO identity_keeper;
GRANT SELECT, INSERT ON identity.keyring TO identity_keeper;

-- A DBA writes purposes and sees what became of them; none of these tables names a subject.
GRANT SELECT, INSERT, UPDATE ON identity.purpose_definitions TO identity_dba;
GRANT SELECT ON identity.purpose_versions, identity.purpose_revocations TO identity_dba, identity_approver, identity_auditor;
GRANT SELECT ON identity.purpose_definitions TO identity_approver, identity_auditor;
GRANT SELECT ON identity.settings_history TO identity_auditor;

-- The service tier.
GRANT EXECUTE ON FUNCTION identity.pii_resolve(uuid, text, text[], text),
                          identity.pii_register(text, jsonb, jsonb, uuid),
                          identity.pii_vertical(uuid),
                          identity.pii_vertical_many(uuid[]) TO identity_gateway;

-- Stopping a purpose is open to everyone with a duty to.
GRANT EXECUTE ON FUNCTION identity.purpose_revoke(text, text) TO identity_dba, identity_approver, identity_legal;

-- Operations.
GRANT EXECUTE ON FUNCTION identity.dev_unlock(), identity.key_wipe_all() TO identity_worker;
GRANT EXECUTE ON FUNCTION identity.key_status(), identity.identity_status(), identity.ledger_verify(boolean) TO identity_auditor, identity_worker;

-- Consent. A DBA writes what a template says; who wrote it, when, and what it supersedes are the trigger's to say.
GRANT SELECT ON identity.consent_versions TO identity_dba, identity_approver, identity_auditor, identity_keeper;
GRANT INSERT (version, kind, valid_for, effective_at, template_hash, template_path) ON identity.consent_versions TO identity_dba;
GRANT UPDATE (superseded_at) ON identity.consent_versions TO identity_keeper;
GRANT SELECT, INSERT ON identity.consent_history, identity.eu_history, identity.subject_texts TO identity_keeper;
GRANT EXECUTE ON FUNCTION identity.consent_record(uuid, text, text, text, jsonb),
                          identity.eu_record(uuid, boolean, text, text),
                          identity.interaction_record(uuid, timestamptz) TO identity_gateway;

-- Approval: the second person, who is no DBA (the function sees to that).
GRANT EXECUTE ON FUNCTION identity.purpose_approve(text, int) TO identity_approver;
GRANT UPDATE (approved_by, approved_at) ON identity.purpose_versions TO identity_keeper;

-- A gateway asks what it may use.
GRANT EXECUTE ON FUNCTION identity.my_purposes() TO identity_gateway;

-- Stopping a login, and letting it in again, is for those who answer for it.
GRANT EXECUTE ON FUNCTION identity.caller_revoke(name, text), identity.caller_reinstate(name) TO identity_dba, identity_legal;
GRANT SELECT, INSERT ON identity.caller_revocations TO identity_keeper;
GRANT SELECT ON identity.caller_revocations TO identity_dba, identity_legal, identity_auditor;

-- Who sends notices, and who watches that they are sent.
GRANT SELECT ON identity.volume_notices, identity.notifications TO identity_worker, identity_auditor;
GRANT EXECUTE ON FUNCTION identity.metrics() TO identity_worker, identity_auditor;

-- Verticals. A DBA writes patterns, but neither who added one nor when; gateways bring texts, reviewers decide. The queue and the forecast
-- show no personal data, and are what a reviewer works from.
GRANT SELECT, INSERT ON identity.vertical_pattern_changes, identity.vertical_history TO identity_keeper;
GRANT SELECT ON identity.vertical_patterns TO identity_keeper;
GRANT SELECT, DELETE, INSERT (pattern, kind, enabled), UPDATE (kind, enabled) ON identity.vertical_patterns TO identity_dba;
GRANT SELECT ON identity.vertical_patterns TO identity_approver, identity_auditor, identity_reviewer;
GRANT SELECT ON identity.vertical_pattern_changes TO identity_dba, identity_approver, identity_auditor, identity_reviewer;
GRANT SELECT ON identity.vertical_review_queue TO identity_reviewer, identity_auditor;
GRANT EXECUTE ON FUNCTION identity.text_observe(uuid, text, text) TO identity_gateway;
GRANT EXECUTE ON FUNCTION identity.vertical_review(uuid, text, text) TO identity_reviewer;
GRANT EXECUTE ON FUNCTION identity.review_forecast() TO identity_reviewer, identity_auditor;

-- Batches, updates and changes, for gateways. An update writes these columns and no other: not vertical, consent or what an erasure sets.
GRANT EXECUTE ON FUNCTION identity.pii_resolve_many(uuid[], text, text[], text),
                          identity.pii_register_many(text, jsonb),
                          identity.pii_update(uuid, text, jsonb),
                          identity.subject_generations(uuid[]),
                          identity.subject_changes(bigint, int) TO identity_gateway;
GRANT UPDATE (name_ct, email_ct, phone_ct, address_ct, ssn_ct, dob_ct, dek_version, generation, updated_at) ON identity.subjects TO identity_reader;
-- A change loses its pending row when it gets its cursor.
GRANT SELECT, INSERT, DELETE ON identity.subject_changes_pending TO identity_keeper;
GRANT SELECT, INSERT, UPDATE ON identity.subject_changes, identity.change_epochs TO identity_keeper;

-- The ledger is read and appended to by its functions.
GRANT SELECT, INSERT ON identity.ledger_seals, identity.ledger_heads, identity.ledger_tiles, identity.ledger_leaves, identity.ledger_nodes,
                        identity.anchor_commits, identity.ledger_expired, identity.ledger_incarnations TO identity_keeper;
GRANT EXECUTE ON FUNCTION identity.ledger_seal(), identity.ledger_checkpoint(), identity.ledger_expire() TO identity_worker;
-- Who brought the checkpoint out says so.
GRANT EXECUTE ON FUNCTION identity.anchor_record(text, text, text, timestamptz), identity._seal_occasions() TO identity_worker;
-- Who looks at the signatures declares; whoever checks the log sees that it became shorter, and who agreed.
GRANT EXECUTE ON FUNCTION identity.incarnation_declare(text) TO identity_worker;
GRANT SELECT ON identity.ledger_incarnations TO identity_worker, identity_auditor, identity_legal;
-- Who proves to others, and who checks what was proven.
GRANT EXECUTE ON FUNCTION identity.ledger_proof(bigint),
                          identity.ledger_consistency(bigint, bigint),
                          identity.ledger_salts(bigint[], int),
                          identity.ledger_seal_salts(bigint[], int) TO identity_auditor, identity_worker, identity_legal;

-- Tables of applications are put on the register by a DBA who also owns them; the functions see to the second half.
GRANT EXECUTE ON FUNCTION identity.forget_register(regclass, name, text, name[]), identity.forget_unregister(regclass) TO identity_dba;
GRANT SELECT, INSERT, DELETE ON identity.forget_tables TO identity_keeper;
GRANT SELECT, INSERT ON identity.forget_history TO identity_keeper;
GRANT SELECT ON identity.forget_tables, identity.forget_history TO identity_dba, identity_auditor;

-- The scrub keeps its progress and marks the requests it is done with; the worker has it run.
GRANT SELECT, INSERT, DELETE ON identity.scrub_waits TO identity_keeper;
GRANT SELECT, INSERT, UPDATE, DELETE ON identity.scrub_passes, identity.scrub_progress TO identity_keeper;
GRANT EXECUTE ON FUNCTION identity.erasure_scrub(int) TO identity_worker;

-- Erasing: gateways ask, the worker authorises under a retention policy, and whoever answers to a subject or a court is told how things stand.
GRANT EXECUTE ON FUNCTION identity.erasure_request(uuid, text) TO identity_gateway;
GRANT EXECUTE ON FUNCTION identity.erasure_authorise(uuid, text) TO identity_worker;
GRANT SELECT ON identity.erasure_queue TO identity_worker, identity_auditor, identity_legal;
GRANT EXECUTE ON FUNCTION identity.erasure_status(uuid), identity.erasure_receipt(uuid) TO identity_gateway, identity_auditor, identity_legal;
GRANT SELECT, INSERT ON identity.erasure_requests TO identity_keeper;
GRANT UPDATE (state, authority, authorised_by, done_at, scrubbed_at, scrubbed_lsn, residual_in_backups_until, generation, erasure_generation,
              forgotten, access_id)
    ON identity.erasure_requests TO identity_keeper;
GRANT DELETE ON identity.subject_texts TO identity_keeper;

-- Sweeps keep where they have come to; the worker has them run.
GRANT SELECT, INSERT, UPDATE ON identity.sweep_progress TO identity_keeper;
GRANT EXECUTE ON FUNCTION identity.retention_sweep(int, boolean), identity.consent_sweep(int, boolean), identity.biometric_sweep(int, boolean), identity._night_due()
    TO identity_worker;

-- Biometrics: a gateway collects, whoever answers for their end destroys. A file on the list is tried, and taken off it when it is gone.
GRANT EXECUTE ON FUNCTION identity.biometric_attach(uuid, text, text), identity.biometric_classify(uuid, jsonb) TO identity_gateway;
GRANT EXECUTE ON FUNCTION identity.biometric_erase(uuid, text) TO identity_worker, identity_legal;
GRANT SELECT, INSERT ON identity.biometric_history TO identity_keeper;
GRANT SELECT, INSERT, DELETE, UPDATE (tried_at, trouble) ON identity.files_to_destroy TO identity_keeper;

-- Retention. A DBA says how long and by which schedule; who changed it and when are the trigger's to say. A worker sees what it sweeps by.
GRANT SELECT, DELETE, INSERT (vertical, kind, days, schedule_version), UPDATE (days, schedule_version) ON identity.retention_policies TO identity_dba;
GRANT SELECT ON identity.retention_policies TO identity_keeper;
GRANT SELECT ON identity.retention_policies, identity.retention_policy_changes TO identity_approver, identity_auditor, identity_worker;
GRANT SELECT ON identity.retention_policy_changes TO identity_dba;
GRANT SELECT, INSERT ON identity.retention_policy_changes TO identity_keeper;

-- Keys from a key service: the worker brings them and rotates them. What is wrapped is the worker's alone to see.
GRANT UPDATE (state, provider, kek_uri, wrapped, retired_at) ON identity.keyring TO identity_keeper;
GRANT SELECT, INSERT ON identity.key_history TO identity_keeper;
GRANT SELECT, INSERT ON identity.key_wrappings TO identity_keeper;
GRANT SELECT ON identity.keyring, identity.key_wrappings, identity.installation TO identity_worker;
GRANT SELECT (kind, version, state, provider, kek_uri, check_value, created_at, retired_at, enrolled_by) ON identity.keyring TO identity_auditor;
GRANT SELECT ON identity.key_history, identity.key_rotations TO identity_worker, identity_auditor;
GRANT EXECUTE ON FUNCTION identity.key_challenge(),
                          identity.key_load(text, int, bytea),
                          identity.key_enrol(text, int, bytea, text, bytea),
                          identity.key_rotate(text, text, text),
                          identity.reencrypt(int) TO identity_worker;

-- The worker publishes what was erased; after a restore it has those erased again who came back.
GRANT SELECT, INSERT ON identity.tombstones TO identity_keeper;
GRANT EXECUTE ON FUNCTION identity.tombstones(bigint, bigint),
                          identity.restored_subjects(bytea[]),
                          identity.restored_erase(bytea[]) TO identity_worker;

-- The outbox: an event adds its notice, the worker brings it and says what became of it, who checks sees that.
GRANT SELECT, INSERT ON identity.notifications, identity.outbox_channels, identity.outbox_deliveries TO identity_keeper;
GRANT DELETE ON identity.outbox_channels TO identity_keeper;
GRANT UPDATE (attempts, next_at, last_error, delivered_at, dead_at) ON identity.outbox_deliveries TO identity_keeper;
GRANT SELECT ON identity.outbox_channels, identity.outbox_deliveries TO identity_worker, identity_auditor;
GRANT EXECUTE ON FUNCTION identity.outbox_serve(text[]),
                          identity.outbox_take(text, int),
                          identity.outbox_delivered(text, bigint[]),
                          identity.outbox_failed(text, bigint[], text, int),
                          identity.outbox_retry(text, bigint) TO identity_worker;
