-- Row-level security on every table, forced on its owner too: a role that may write every table (pg_write_all_data) writes none of these.
-- On tables that name a subject, policies express the zone and nothing else:
-- consent, erasure and holds are decided in code, or an erase would violate its own WITH CHECK.
ALTER TABLE identity.subjects       ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE identity.pii_access_log ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;

CREATE POLICY reader_sees_zone ON identity.subjects FOR SELECT TO identity_reader USING (identity._zone_sees(vertical));
CREATE POLICY keeper_reads     ON identity.subjects FOR SELECT TO identity_keeper USING (true);
CREATE POLICY keeper_adds      ON identity.subjects FOR INSERT TO identity_keeper WITH CHECK (true);
CREATE POLICY keeper_changes   ON identity.subjects FOR UPDATE TO identity_keeper USING (true) WITH CHECK (true);
CREATE POLICY keeper_reads     ON identity.pii_access_log FOR SELECT TO identity_keeper USING (true);

ALTER TABLE identity.installation        ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE identity.settings_history    ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE identity.purpose_definitions ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE identity.purpose_versions    ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE identity.purpose_revocations ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE identity.keyring             ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;

CREATE POLICY service_reads ON identity.installation        FOR SELECT TO identity_reader, identity_keeper USING (true);
CREATE POLICY auditor_reads ON identity.settings_history    FOR SELECT TO identity_auditor, identity_keeper USING (true);
CREATE POLICY policy_reads  ON identity.purpose_definitions FOR SELECT TO identity_dba, identity_approver, identity_auditor, identity_keeper USING (true);
CREATE POLICY dba_adds      ON identity.purpose_definitions FOR INSERT TO identity_dba WITH CHECK (true);
CREATE POLICY dba_changes   ON identity.purpose_definitions FOR UPDATE TO identity_dba USING (true) WITH CHECK (true);
CREATE POLICY policy_reads  ON identity.purpose_versions    FOR SELECT TO identity_dba, identity_approver, identity_auditor, identity_keeper USING (true);
CREATE POLICY keeper_adds   ON identity.purpose_versions    FOR INSERT TO identity_keeper WITH CHECK (true);
CREATE POLICY keeper_closes ON identity.purpose_versions    FOR UPDATE TO identity_keeper USING (true) WITH CHECK (true);
CREATE POLICY policy_reads  ON identity.purpose_revocations FOR SELECT TO identity_dba, identity_approver, identity_auditor, identity_keeper USING (true);
CREATE POLICY keeper_adds   ON identity.purpose_revocations FOR INSERT TO identity_keeper WITH CHECK (true);
CREATE POLICY keeper_renews ON identity.purpose_revocations FOR UPDATE TO identity_keeper USING (true) WITH CHECK (true);
CREATE POLICY keeper_reads  ON identity.keyring             FOR SELECT TO identity_keeper USING (true);
CREATE POLICY keeper_enrols ON identity.keyring             FOR INSERT TO identity_keeper WITH CHECK (true);

-- Consent templates are policy. The histories and the texts beside them name subjects; nobody but the keeper's functions sees them.
ALTER TABLE identity.consent_versions ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE identity.consent_history  ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE identity.eu_history       ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE identity.subject_texts    ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY policy_reads  ON identity.consent_versions FOR SELECT TO identity_dba, identity_approver, identity_auditor, identity_keeper USING (true);
CREATE POLICY dba_adds      ON identity.consent_versions FOR INSERT TO identity_dba WITH CHECK (true);
CREATE POLICY keeper_closes ON identity.consent_versions FOR UPDATE TO identity_keeper USING (true) WITH CHECK (true);
CREATE POLICY keeper_reads  ON identity.consent_history  FOR SELECT TO identity_keeper USING (true);
CREATE POLICY keeper_adds   ON identity.consent_history  FOR INSERT TO identity_keeper WITH CHECK (true);
CREATE POLICY keeper_reads  ON identity.eu_history       FOR SELECT TO identity_keeper USING (true);
CREATE POLICY keeper_adds   ON identity.eu_history       FOR INSERT TO identity_keeper WITH CHECK (true);
CREATE POLICY keeper_reads  ON identity.subject_texts    FOR SELECT TO identity_keeper USING (true);
CREATE POLICY keeper_adds   ON identity.subject_texts    FOR INSERT TO identity_keeper WITH CHECK (true);

-- Who may revoke a login sees who was; so does who checks.
ALTER TABLE identity.caller_revocations  ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY policy_reads  ON identity.caller_revocations  FOR SELECT TO identity_dba, identity_legal, identity_auditor, identity_keeper USING (true);
CREATE POLICY keeper_adds   ON identity.caller_revocations  FOR INSERT TO identity_keeper WITH CHECK (true);

-- Written by the maintenance process alone, which is a superuser.
ALTER TABLE identity.volume_notices ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE identity.notifications  ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY watch_reads ON identity.volume_notices FOR SELECT TO identity_worker, identity_auditor USING (true);
CREATE POLICY watch_reads ON identity.notifications  FOR SELECT TO identity_worker, identity_auditor USING (true);

-- Patterns are policy: the DBA writes them, who checks sees them. The history names subjects; nobody but the keeper's functions sees it.
ALTER TABLE identity.vertical_patterns        ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE identity.vertical_pattern_changes ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE identity.vertical_history         ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY policy_reads ON identity.vertical_patterns        FOR SELECT TO identity_dba, identity_approver, identity_auditor, identity_reviewer, identity_keeper USING (true);
CREATE POLICY dba_adds     ON identity.vertical_patterns        FOR INSERT TO identity_dba WITH CHECK (true);
CREATE POLICY dba_changes  ON identity.vertical_patterns        FOR UPDATE TO identity_dba USING (true) WITH CHECK (true);
CREATE POLICY dba_removes  ON identity.vertical_patterns        FOR DELETE TO identity_dba USING (true);
CREATE POLICY policy_reads ON identity.vertical_pattern_changes FOR SELECT TO identity_dba, identity_approver, identity_auditor, identity_reviewer, identity_keeper USING (true);
CREATE POLICY keeper_adds  ON identity.vertical_pattern_changes FOR INSERT TO identity_keeper WITH CHECK (true);
CREATE POLICY keeper_reads ON identity.vertical_history         FOR SELECT TO identity_keeper USING (true);
CREATE POLICY keeper_adds  ON identity.vertical_history         FOR INSERT TO identity_keeper WITH CHECK (true);

-- An update by a gateway: what its zone does not see it cannot change, and nothing it changes can leave its zone.
CREATE POLICY reader_changes_zone ON identity.subjects FOR UPDATE TO identity_reader
    USING (identity._zone_sees(vertical)) WITH CHECK (identity._zone_sees(vertical));

-- Changes: put down by the trigger, numbered by the maintenance process, answered by subject_changes, all as the keeper.
ALTER TABLE identity.subject_changes_pending ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE identity.subject_changes         ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE identity.change_epochs           ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY keeper_reads   ON identity.subject_changes_pending FOR SELECT TO identity_keeper USING (true);
CREATE POLICY keeper_adds    ON identity.subject_changes_pending FOR INSERT TO identity_keeper WITH CHECK (true);
CREATE POLICY keeper_takes   ON identity.subject_changes_pending FOR DELETE TO identity_keeper USING (true);
CREATE POLICY keeper_reads   ON identity.subject_changes FOR SELECT TO identity_keeper USING (true);
CREATE POLICY keeper_adds    ON identity.subject_changes FOR INSERT TO identity_keeper WITH CHECK (true);
CREATE POLICY keeper_changes ON identity.subject_changes FOR UPDATE TO identity_keeper USING (true) WITH CHECK (true);
CREATE POLICY keeper_reads   ON identity.change_epochs   FOR SELECT TO identity_keeper USING (true);
CREATE POLICY keeper_adds    ON identity.change_epochs   FOR INSERT TO identity_keeper WITH CHECK (true);
CREATE POLICY keeper_changes ON identity.change_epochs   FOR UPDATE TO identity_keeper USING (true) WITH CHECK (true);

-- The ledger. Hashes, but how many rows a lane has, and which, is nobody's to see: the functions answer for them.
ALTER TABLE identity.ledger_seals   ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE identity.ledger_heads   ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE identity.ledger_tiles   ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE identity.ledger_leaves  ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE identity.ledger_nodes   ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE identity.anchor_commits ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE identity.ledger_expired ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY keeper_reads ON identity.ledger_seals   FOR SELECT TO identity_keeper USING (true);
CREATE POLICY keeper_adds  ON identity.ledger_seals   FOR INSERT TO identity_keeper WITH CHECK (true);
CREATE POLICY keeper_reads ON identity.ledger_heads   FOR SELECT TO identity_keeper USING (true);
CREATE POLICY keeper_adds  ON identity.ledger_heads   FOR INSERT TO identity_keeper WITH CHECK (true);
CREATE POLICY keeper_reads ON identity.ledger_tiles   FOR SELECT TO identity_keeper USING (true);
CREATE POLICY keeper_adds  ON identity.ledger_tiles   FOR INSERT TO identity_keeper WITH CHECK (true);
CREATE POLICY keeper_reads ON identity.ledger_leaves  FOR SELECT TO identity_keeper USING (true);
CREATE POLICY keeper_adds  ON identity.ledger_leaves  FOR INSERT TO identity_keeper WITH CHECK (true);
CREATE POLICY keeper_reads ON identity.ledger_nodes   FOR SELECT TO identity_keeper USING (true);
CREATE POLICY keeper_adds  ON identity.ledger_nodes   FOR INSERT TO identity_keeper WITH CHECK (true);
CREATE POLICY keeper_reads ON identity.anchor_commits FOR SELECT TO identity_keeper USING (true);
CREATE POLICY keeper_adds  ON identity.anchor_commits FOR INSERT TO identity_keeper WITH CHECK (true);
CREATE POLICY keeper_reads ON identity.ledger_expired FOR SELECT TO identity_keeper USING (true);
CREATE POLICY keeper_adds  ON identity.ledger_expired FOR INSERT TO identity_keeper WITH CHECK (true);

-- That the log became shorter once is for everybody who checks it.
ALTER TABLE identity.ledger_incarnations ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY keeper_reads  ON identity.ledger_incarnations FOR SELECT TO identity_keeper USING (true);
CREATE POLICY keeper_adds   ON identity.ledger_incarnations FOR INSERT TO identity_keeper WITH CHECK (true);
CREATE POLICY watch_reads   ON identity.ledger_incarnations FOR SELECT TO identity_worker, identity_auditor, identity_legal USING (true);

-- Which tables are cleaned names no subject: the DBA and who checks see it.
ALTER TABLE identity.forget_tables  ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE identity.forget_history ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY policy_reads   ON identity.forget_tables  FOR SELECT TO identity_dba, identity_auditor, identity_keeper USING (true);
CREATE POLICY keeper_adds    ON identity.forget_tables  FOR INSERT TO identity_keeper WITH CHECK (true);
CREATE POLICY keeper_removes ON identity.forget_tables  FOR DELETE TO identity_keeper USING (true);
CREATE POLICY policy_reads   ON identity.forget_history FOR SELECT TO identity_dba, identity_auditor, identity_keeper USING (true);
CREATE POLICY keeper_adds    ON identity.forget_history FOR INSERT TO identity_keeper WITH CHECK (true);

-- What the scrub waits for, and its progress, are the scrub's own.
ALTER TABLE identity.scrub_waits    ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE identity.scrub_passes   ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE identity.scrub_progress ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY keeper_reads   ON identity.scrub_waits    FOR SELECT TO identity_keeper USING (true);
CREATE POLICY keeper_adds    ON identity.scrub_waits    FOR INSERT TO identity_keeper WITH CHECK (true);
CREATE POLICY keeper_takes   ON identity.scrub_waits    FOR DELETE TO identity_keeper USING (true);
CREATE POLICY keeper_reads   ON identity.scrub_passes   FOR SELECT TO identity_keeper USING (true);
CREATE POLICY keeper_adds    ON identity.scrub_passes   FOR INSERT TO identity_keeper WITH CHECK (true);
CREATE POLICY keeper_changes ON identity.scrub_passes   FOR UPDATE TO identity_keeper USING (true) WITH CHECK (true);
CREATE POLICY keeper_takes   ON identity.scrub_passes   FOR DELETE TO identity_keeper USING (true);
CREATE POLICY keeper_reads   ON identity.scrub_progress FOR SELECT TO identity_keeper USING (true);
CREATE POLICY keeper_adds    ON identity.scrub_progress FOR INSERT TO identity_keeper WITH CHECK (true);
CREATE POLICY keeper_changes ON identity.scrub_progress FOR UPDATE TO identity_keeper USING (true) WITH CHECK (true);
CREATE POLICY keeper_takes   ON identity.scrub_progress FOR DELETE TO identity_keeper USING (true);

-- Erasing. Who was erased, and why, is nobody's to read in bulk: the functions answer for one subject. Texts about subjects go with them, or with their
-- biometrics.
ALTER TABLE identity.erasure_requests ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY keeper_reads   ON identity.erasure_requests FOR SELECT TO identity_keeper USING (true);
CREATE POLICY keeper_adds    ON identity.erasure_requests FOR INSERT TO identity_keeper WITH CHECK (true);
CREATE POLICY keeper_changes ON identity.erasure_requests FOR UPDATE TO identity_keeper USING (true) WITH CHECK (true);
CREATE POLICY keeper_removes ON identity.subject_texts    FOR DELETE TO identity_keeper USING (true);

-- Biometrics. What is collected of whom, and which files are on the list, is nobody's to read.
ALTER TABLE identity.biometric_history ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE identity.files_to_destroy  ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY keeper_reads   ON identity.biometric_history FOR SELECT TO identity_keeper USING (true);
CREATE POLICY keeper_adds    ON identity.biometric_history FOR INSERT TO identity_keeper WITH CHECK (true);
CREATE POLICY keeper_reads   ON identity.files_to_destroy  FOR SELECT TO identity_keeper USING (true);
CREATE POLICY keeper_adds    ON identity.files_to_destroy  FOR INSERT TO identity_keeper WITH CHECK (true);
CREATE POLICY keeper_changes ON identity.files_to_destroy  FOR UPDATE TO identity_keeper USING (true) WITH CHECK (true);
CREATE POLICY keeper_takes   ON identity.files_to_destroy  FOR DELETE TO identity_keeper USING (true);

-- Retention is policy: the DBA writes it, who checks sees it.
ALTER TABLE identity.retention_policies       ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE identity.retention_policy_changes ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY policy_reads ON identity.retention_policies       FOR SELECT TO identity_dba, identity_approver, identity_auditor, identity_worker, identity_keeper USING (true);
CREATE POLICY dba_adds     ON identity.retention_policies       FOR INSERT TO identity_dba WITH CHECK (true);
CREATE POLICY dba_changes  ON identity.retention_policies       FOR UPDATE TO identity_dba USING (true) WITH CHECK (true);
CREATE POLICY dba_removes  ON identity.retention_policies       FOR DELETE TO identity_dba USING (true);
CREATE POLICY policy_reads ON identity.retention_policy_changes FOR SELECT TO identity_dba, identity_approver, identity_auditor, identity_worker, identity_keeper USING (true);
CREATE POLICY keeper_adds  ON identity.retention_policy_changes FOR INSERT TO identity_keeper WITH CHECK (true);

-- Where a sweep has come to is the id of a subject: nobody's to see but the keeper's functions.
ALTER TABLE identity.sweep_progress ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY keeper_reads   ON identity.sweep_progress FOR SELECT TO identity_keeper USING (true);
CREATE POLICY keeper_adds    ON identity.sweep_progress FOR INSERT TO identity_keeper WITH CHECK (true);
CREATE POLICY keeper_changes ON identity.sweep_progress FOR UPDATE TO identity_keeper USING (true) WITH CHECK (true);

-- The worker reads what the key service wrapped, to have it unwrapped,
ALTER TABLE identity.key_history ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
-- and which installation it is wrapped for.
CREATE POLICY worker_reads   ON identity.installation FOR SELECT TO identity_worker USING (true);
CREATE POLICY worker_reads   ON identity.keyring     FOR SELECT TO identity_worker, identity_auditor USING (true);
CREATE POLICY keeper_changes ON identity.keyring     FOR UPDATE TO identity_keeper USING (true) WITH CHECK (true);
CREATE POLICY keeper_reads   ON identity.key_history FOR SELECT TO identity_keeper USING (true);
CREATE POLICY keeper_adds    ON identity.key_history FOR INSERT TO identity_keeper WITH CHECK (true);
CREATE POLICY worker_reads   ON identity.key_history FOR SELECT TO identity_worker, identity_auditor USING (true);

-- Tombstones tell nothing to whoever has no key, but when and how many: the worker's function answers for them.
ALTER TABLE identity.tombstones ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY keeper_reads   ON identity.tombstones FOR SELECT TO identity_keeper USING (true);
CREATE POLICY keeper_adds    ON identity.tombstones FOR INSERT TO identity_keeper WITH CHECK (true);

-- The outbox names no subject. A notice is added beside its event; what became of it is the worker's to say, through the functions.
ALTER TABLE identity.outbox_channels   ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE identity.outbox_deliveries ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY keeper_reads   ON identity.notifications     FOR SELECT TO identity_keeper USING (true);
CREATE POLICY keeper_adds    ON identity.notifications     FOR INSERT TO identity_keeper WITH CHECK (true);
CREATE POLICY keeper_reads   ON identity.outbox_channels   FOR SELECT TO identity_keeper USING (true);
CREATE POLICY keeper_adds    ON identity.outbox_channels   FOR INSERT TO identity_keeper WITH CHECK (true);
CREATE POLICY keeper_takes   ON identity.outbox_channels   FOR DELETE TO identity_keeper USING (true);
CREATE POLICY keeper_reads   ON identity.outbox_deliveries FOR SELECT TO identity_keeper USING (true);
CREATE POLICY keeper_adds    ON identity.outbox_deliveries FOR INSERT TO identity_keeper WITH CHECK (true);
CREATE POLICY keeper_changes ON identity.outbox_deliveries FOR UPDATE TO identity_keeper USING (true) WITH CHECK (true);
CREATE POLICY watch_reads    ON identity.outbox_channels   FOR SELECT TO identity_worker, identity_auditor USING (true);
CREATE POLICY watch_reads    ON identity.outbox_deliveries FOR SELECT TO identity_worker, identity_auditor USING (true);

-- Wrapped keys of before: the worker reads them, as it does the keyring.
ALTER TABLE identity.key_wrappings ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY keeper_reads   ON identity.key_wrappings FOR SELECT TO identity_keeper USING (true);
CREATE POLICY keeper_adds    ON identity.key_wrappings FOR INSERT TO identity_keeper WITH CHECK (true);
CREATE POLICY worker_reads   ON identity.key_wrappings FOR SELECT TO identity_worker USING (true);
