-- Who owns what. Owner roles need USAGE on the schema to reach what they own or were granted, and nothing may be created in it by them.
ALTER TABLE identity.installation             OWNER TO identity_owner;
ALTER TABLE identity.settings_history         OWNER TO identity_owner;
ALTER TABLE identity.subjects                 OWNER TO identity_owner;
ALTER TABLE identity.purpose_definitions      OWNER TO identity_owner;
ALTER TABLE identity.purpose_versions         OWNER TO identity_owner;
ALTER TABLE identity.purpose_revocations      OWNER TO identity_owner;
ALTER TABLE identity.pii_access_log           OWNER TO identity_owner;
ALTER TABLE identity.keyring                  OWNER TO identity_owner;
ALTER TABLE identity.consent_versions         OWNER TO identity_owner;
ALTER TABLE identity.consent_history          OWNER TO identity_owner;
ALTER TABLE identity.eu_history               OWNER TO identity_owner;
ALTER TABLE identity.subject_texts            OWNER TO identity_owner;
ALTER TABLE identity.caller_revocations       OWNER TO identity_owner;
ALTER TABLE identity.volume_notices           OWNER TO identity_owner;
ALTER TABLE identity.notifications            OWNER TO identity_owner;
ALTER TABLE identity.subject_changes_pending  OWNER TO identity_owner;
ALTER TABLE identity.subject_changes          OWNER TO identity_owner;
ALTER TABLE identity.change_epochs            OWNER TO identity_owner;
ALTER TABLE identity.vertical_patterns        OWNER TO identity_owner;
ALTER TABLE identity.vertical_pattern_changes OWNER TO identity_owner;
ALTER TABLE identity.vertical_history         OWNER TO identity_owner;
ALTER TABLE identity.ledger_seals             OWNER TO identity_owner;
ALTER TABLE identity.ledger_heads             OWNER TO identity_owner;
ALTER TABLE identity.ledger_tiles             OWNER TO identity_owner;
ALTER TABLE identity.ledger_leaves            OWNER TO identity_owner;
ALTER TABLE identity.ledger_nodes             OWNER TO identity_owner;
ALTER TABLE identity.anchor_commits           OWNER TO identity_owner;
ALTER TABLE identity.ledger_expired           OWNER TO identity_owner;
ALTER TABLE identity.ledger_incarnations      OWNER TO identity_owner;

-- reader: returns PII, sees by the caller's zone. keeper: returns none, sees every row.
ALTER FUNCTION identity.pii_resolve(uuid, text, text[], text)             OWNER TO identity_reader;
ALTER FUNCTION identity.pii_register(text, jsonb, jsonb, uuid)            OWNER TO identity_keeper;
ALTER FUNCTION identity.pii_vertical(uuid)                                OWNER TO identity_keeper;
ALTER FUNCTION identity.pii_vertical_many(uuid[])                         OWNER TO identity_keeper;
ALTER FUNCTION identity.purpose_revoke(text, text)                        OWNER TO identity_keeper;
ALTER FUNCTION identity._purpose_changed()                                OWNER TO identity_keeper;
ALTER FUNCTION identity._append_only()                                    OWNER TO identity_keeper;
ALTER FUNCTION identity.dev_unlock()                                      OWNER TO identity_keeper;
ALTER FUNCTION identity.key_status()                                      OWNER TO identity_keeper;
ALTER FUNCTION identity.key_wipe_all()                                    OWNER TO identity_keeper;
ALTER FUNCTION identity.identity_status()                                 OWNER TO identity_keeper;
ALTER FUNCTION identity.ledger_verify(boolean)                            OWNER TO identity_keeper;
ALTER FUNCTION identity._import_subject(uuid, jsonb, text, text, jsonb)   OWNER TO identity_keeper;
ALTER FUNCTION identity.consent_record(uuid, text, text, text, jsonb)     OWNER TO identity_keeper;
ALTER FUNCTION identity.eu_record(uuid, boolean, text, text)              OWNER TO identity_keeper;
ALTER FUNCTION identity.interaction_record(uuid, timestamptz)             OWNER TO identity_keeper;
ALTER FUNCTION identity._consent_version_checked()                        OWNER TO identity_keeper;
ALTER FUNCTION identity._consent_version_recorded()                       OWNER TO identity_keeper;

-- Approval and revocation of logins: none returns PII.
ALTER FUNCTION identity.purpose_approve(text, int)                        OWNER TO identity_keeper;
ALTER FUNCTION identity.my_purposes()                                     OWNER TO identity_keeper;
ALTER FUNCTION identity.caller_revoke(name, text)                         OWNER TO identity_keeper;
ALTER FUNCTION identity.caller_reinstate(name)                            OWNER TO identity_keeper;
ALTER FUNCTION identity.metrics()                                         OWNER TO identity_keeper;

-- Verticals. The view reads as the keeper, who sees every row.
ALTER VIEW identity.vertical_review_queue                                 OWNER TO identity_keeper;
ALTER FUNCTION identity.text_observe(uuid, text, text)                    OWNER TO identity_keeper;
ALTER FUNCTION identity.vertical_review(uuid, text, text)                 OWNER TO identity_keeper;
ALTER FUNCTION identity.review_forecast()                                 OWNER TO identity_keeper;
ALTER FUNCTION identity._pattern_changed()                                OWNER TO identity_keeper;

-- Batches, updates and changes. pii_update returns no PII, but changes what the caller's zone sees, so it sees as the reader does.
ALTER FUNCTION identity.pii_resolve_many(uuid[], text, text[], text)      OWNER TO identity_reader;
ALTER FUNCTION identity.pii_update(uuid, text, jsonb)                     OWNER TO identity_reader;
ALTER FUNCTION identity.pii_register_many(text, jsonb)                    OWNER TO identity_keeper;
ALTER FUNCTION identity.subject_generations(uuid[])                       OWNER TO identity_keeper;
ALTER FUNCTION identity.subject_changes(bigint, int)                      OWNER TO identity_keeper;
ALTER FUNCTION identity._subjects_changed()                               OWNER TO identity_keeper;

-- The ledger: seals, checkpoints and proofs are hashes.
ALTER FUNCTION identity.ledger_seal()                                     OWNER TO identity_keeper;
ALTER FUNCTION identity.ledger_checkpoint()                               OWNER TO identity_keeper;
ALTER FUNCTION identity.ledger_proof(bigint)                              OWNER TO identity_keeper;
ALTER FUNCTION identity.ledger_consistency(bigint, bigint)                OWNER TO identity_keeper;
ALTER FUNCTION identity.ledger_salts(bigint[], int)                       OWNER TO identity_keeper;
ALTER FUNCTION identity.ledger_seal_salts(bigint[], int)                  OWNER TO identity_keeper;
ALTER FUNCTION identity.ledger_expire()                                   OWNER TO identity_keeper;
ALTER FUNCTION identity.anchor_record(text, text, text, timestamptz)      OWNER TO identity_keeper;
ALTER FUNCTION identity._seal_occasions()                                 OWNER TO identity_keeper;
ALTER FUNCTION identity.incarnation_declare(text)                         OWNER TO identity_keeper;

-- Registered tables of applications: cleaned as their owners.
ALTER TABLE identity.forget_tables                                        OWNER TO identity_owner;
ALTER TABLE identity.forget_history                                       OWNER TO identity_owner;
ALTER FUNCTION identity.forget_register(regclass, name, text, name[])     OWNER TO identity_keeper;
ALTER FUNCTION identity.forget_unregister(regclass)                       OWNER TO identity_keeper;

-- The scrub.
ALTER TABLE identity.scrub_waits                                          OWNER TO identity_owner;
ALTER TABLE identity.scrub_passes                                         OWNER TO identity_owner;
ALTER TABLE identity.scrub_progress                                       OWNER TO identity_owner;
ALTER FUNCTION identity.erasure_scrub(int)                                OWNER TO identity_keeper;

-- Erasing: none returns PII.
ALTER TABLE identity.erasure_requests                                     OWNER TO identity_owner;
ALTER FUNCTION identity.erasure_request(uuid, text)                       OWNER TO identity_keeper;
ALTER FUNCTION identity.erasure_authorise(uuid, text)                     OWNER TO identity_keeper;
ALTER FUNCTION identity.erasure_status(uuid)                              OWNER TO identity_keeper;
ALTER FUNCTION identity.erasure_receipt(uuid)                             OWNER TO identity_keeper;

-- Sweeps.
ALTER TABLE identity.sweep_progress                                       OWNER TO identity_owner;
ALTER FUNCTION identity.retention_sweep(int, boolean)                     OWNER TO identity_keeper;
ALTER FUNCTION identity.consent_sweep(int, boolean)                       OWNER TO identity_keeper;
ALTER FUNCTION identity.biometric_sweep(int, boolean)                     OWNER TO identity_keeper;
ALTER FUNCTION identity._night_due()                                      OWNER TO identity_keeper;

-- Biometrics. The view reads as the keeper, who sees every row.
ALTER TABLE identity.biometric_history                                    OWNER TO identity_owner;
ALTER TABLE identity.files_to_destroy                                     OWNER TO identity_owner;
ALTER VIEW identity.erasure_queue                                         OWNER TO identity_keeper;
ALTER VIEW identity.biometrics_due                                        OWNER TO identity_keeper;
ALTER FUNCTION identity.biometric_attach(uuid, text, text)                OWNER TO identity_keeper;
ALTER FUNCTION identity.biometric_classify(uuid, jsonb)                   OWNER TO identity_keeper;
ALTER FUNCTION identity.biometric_erase(uuid, text)                       OWNER TO identity_keeper;

-- Retention.
ALTER TABLE identity.retention_policies                                   OWNER TO identity_owner;
ALTER TABLE identity.retention_policy_changes                             OWNER TO identity_owner;
ALTER FUNCTION identity._retention_policy_checked()                       OWNER TO identity_keeper;
ALTER FUNCTION identity._retention_policy_recorded()                      OWNER TO identity_keeper;

-- Keys from a key service. The view reads as the keeper, who sees every row.
ALTER TABLE identity.key_history                                          OWNER TO identity_owner;
ALTER TABLE identity.key_wrappings                                        OWNER TO identity_owner;
ALTER VIEW identity.key_rotations                                         OWNER TO identity_keeper;
ALTER FUNCTION identity.key_challenge()                                   OWNER TO identity_keeper;
ALTER FUNCTION identity.key_load(text, int, bytea)                        OWNER TO identity_keeper;
ALTER FUNCTION identity.key_enrol(text, int, bytea, text, bytea)          OWNER TO identity_keeper;
ALTER FUNCTION identity.key_rotate(text, text, text)                      OWNER TO identity_keeper;
ALTER FUNCTION identity.reencrypt(int)                                    OWNER TO identity_keeper;

-- Tombstones.
ALTER TABLE identity.tombstones                                           OWNER TO identity_owner;
ALTER FUNCTION identity.tombstones(bigint, bigint)                        OWNER TO identity_keeper;
ALTER FUNCTION identity.restored_subjects(bytea[])                        OWNER TO identity_keeper;
ALTER FUNCTION identity.restored_erase(bytea[])                           OWNER TO identity_keeper;

-- The outbox.
ALTER TABLE identity.outbox_channels                                      OWNER TO identity_owner;
ALTER TABLE identity.outbox_deliveries                                    OWNER TO identity_owner;
ALTER FUNCTION identity.outbox_serve(text[])                              OWNER TO identity_keeper;
ALTER FUNCTION identity.outbox_take(text, int)                            OWNER TO identity_keeper;
ALTER FUNCTION identity.outbox_delivered(text, bigint[])                  OWNER TO identity_keeper;
ALTER FUNCTION identity.outbox_failed(text, bigint[], text, int)          OWNER TO identity_keeper;
ALTER FUNCTION identity.outbox_retry(text, bigint)                        OWNER TO identity_keeper;
