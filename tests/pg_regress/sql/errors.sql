-- Each refusal: message, reason, hint, SQLSTATE. No message holds a value that went in.
\set VERBOSITY default
\set SHOW_CONTEXT never
\set grace '''0190a000-0000-7000-8000-000000000001'''
\set ada '''0190a000-0000-7000-8000-000000000002'''
\set alan '''0190a000-0000-7000-8000-000000000003'''
\set yamada '''0190a000-0000-7000-8000-000000000004'''
\set absent '''0190a000-0000-7000-8000-0000000000ff'''
SET SESSION AUTHORIZATION rg_onbox;

-- 22004 null_argument
SELECT * FROM identity.pii_resolve(NULL, 'rg.contact', '{name}');
\echo :SQLSTATE
SELECT * FROM identity.pii_resolve(:grace, 'rg.contact', '{name,NULL}');
\echo :SQLSTATE
SELECT identity.pii_register('rg.contact', NULL);
\echo :SQLSTATE
-- 22023 unknown_purpose, unknown_field, bad_argument, too_many
SELECT * FROM identity.pii_resolve(:grace, 'SECRET', '{name}');
\echo :SQLSTATE
SELECT * FROM identity.pii_resolve(:grace, 'rg.contact', '{SECRET}');
\echo :SQLSTATE
SELECT * FROM identity.pii_resolve(:grace, 'rg.contact', '{}');
\echo :SQLSTATE
SELECT * FROM identity.pii_resolve(:grace, 'rg.contact', '{name,name}');
\echo :SQLSTATE
SELECT * FROM identity.pii_resolve(:grace, 'rg.contact', '{{name},{email}}');
\echo :SQLSTATE
SELECT * FROM identity.pii_resolve(:grace, 'rg.contact', '{name,email,phone,address,ssn,dob,name}');
\echo :SQLSTATE
SELECT * FROM identity.pii_resolve(:grace, 'rg.contact', '{name}', 'SECRET with spaces');
\echo :SQLSTATE
SELECT identity.pii_register('rg.contact', '["SECRET"]');
\echo :SQLSTATE
SELECT identity.pii_register('rg.contact', '{"name": 900123456}');
\echo :SQLSTATE
SELECT identity.pii_register('rg.contact', '{"SECRET": "x"}');
\echo :SQLSTATE
SELECT identity.pii_register('rg.contact', '{"name": "x"}', '{"SECRET": 1}');
\echo :SQLSTATE
SELECT identity.pii_register('rg.contact', '{"name": "x"}', '{"vertical": "general"}');
\echo :SQLSTATE
SELECT identity.pii_register('rg.contact', jsonb_build_object('name', repeat('SECRET', 200)));
\echo :SQLSTATE
-- 42501 field_not_allowed, purpose_role, purpose_revoked, purpose_unapproved, tier, consent, phi_access
SELECT * FROM identity.pii_resolve(:grace, 'rg.contact', '{name,ssn}');
\echo :SQLSTATE
SELECT identity.pii_register('rg.contact', '{"ssn": "SECRET"}');
\echo :SQLSTATE
SELECT * FROM identity.pii_resolve(:grace, 'rg.nobody', '{name}');
\echo :SQLSTATE
SELECT * FROM identity.pii_resolve(:grace, 'rg.gone', '{name}');
\echo :SQLSTATE
SELECT * FROM identity.pii_resolve(:grace, 'rg.pending', '{name}');
\echo :SQLSTATE
SELECT * FROM identity.pii_resolve(:grace, 'rg.legal', '{name}');
\echo :SQLSTATE
SELECT * FROM identity.pii_resolve(:alan, 'rg.contact', '{name}');
\echo :SQLSTATE
SELECT * FROM identity.pii_resolve(:ada, 'rg.contact', '{name}');
\echo :SQLSTATE
SELECT * FROM identity.pii_resolve(:yamada, 'rg.clinic', '{name}');
\echo :SQLSTATE
-- P0002 subject_unavailable: absent and invisible look the same
SELECT * FROM identity.pii_resolve(:absent, 'rg.contact', '{name}');
\echo :SQLSTATE
SET SESSION AUTHORIZATION rg_cloud;
SELECT * FROM identity.pii_resolve(:ada, 'rg.clinic', '{name}');
\echo :SQLSTATE
SET SESSION AUTHORIZATION rg_onbox;
-- 42501 authority, P0002 subject_erased
RESET SESSION AUTHORIZATION;
INSERT INTO identity.consent_versions (version, kind, template_hash, template_path) VALUES ('rg.schedule', 'retention_schedule', repeat('a', 64), 'x');
INSERT INTO identity.retention_policies (vertical, kind, days, schedule_version) SELECT vertical, 'general', 730, 'rg.schedule' FROM identity.subjects WHERE candidate_id = :yamada;
SELECT identity.erasure_authorise(identity.erasure_request(:yamada, 'rtbf_request'), 'rg.another');
\echo :SQLSTATE
SELECT identity.erasure_authorise(identity.erasure_request(:yamada, 'rtbf_request'), 'rg.schedule') ->> 'reason' AS reason;
SET SESSION AUTHORIZATION rg_onbox;
SELECT * FROM identity.pii_resolve(:yamada, 'rg.clinic', '{name}');
\echo :SQLSTATE
-- XX001 ciphertext
RESET SESSION AUTHORIZATION;
UPDATE identity.subjects SET name_ct = ssn_ct WHERE candidate_id = :grace;
SET SESSION AUTHORIZATION rg_onbox;
SELECT * FROM identity.pii_resolve(:grace, 'rg.contact', '{name}');
\echo :SQLSTATE
-- 25006 read_only
BEGIN READ ONLY;
SELECT * FROM identity.pii_resolve(:grace, 'rg.contact', '{email}');
\echo :SQLSTATE
ROLLBACK;
-- 55000 locked
RESET SESSION AUTHORIZATION;
SELECT identity.key_wipe_all();
SET SESSION AUTHORIZATION rg_onbox;
SELECT * FROM identity.pii_resolve(:grace, 'rg.contact', '{email}');
\echo :SQLSTATE
SELECT identity.identity_health();
\echo :SQLSTATE
RESET SESSION AUTHORIZATION;
SELECT identity.dev_unlock();
-- 42501 append_only
UPDATE identity.pii_access_log SET outcome = 'committed';
\echo :SQLSTATE
DELETE FROM identity.purpose_versions;
\echo :SQLSTATE
TRUNCATE identity.pii_access_log;
\echo :SQLSTATE
-- Approval and revocation of logins: role_conflict, caller_revoked, and arguments that name nothing
SET SESSION AUTHORIZATION rg_approver;
SELECT identity.purpose_approve('rg.pending', NULL);
\echo :SQLSTATE
SELECT identity.purpose_approve('rg.pending', 9);
\echo :SQLSTATE
SELECT identity.purpose_approve('SECRET', 1);
\echo :SQLSTATE
SELECT identity.purpose_approve('rg.gone', 1);
\echo :SQLSTATE
RESET SESSION AUTHORIZATION;
SELECT identity.purpose_approve('rg.pending', 1);
\echo :SQLSTATE
SET SESSION AUTHORIZATION rg_dba;
SELECT identity.caller_revoke('identity_gateway', 'a group');
\echo :SQLSTATE
SELECT identity.caller_revoke('rg_onbox', NULL);
\echo :SQLSTATE
SELECT identity.caller_reinstate('rg_onbox');
\echo :SQLSTATE
SELECT identity.caller_revoke('rg_cloud', 'a test');
SET SESSION AUTHORIZATION rg_cloud;
SELECT * FROM identity.pii_resolve(:grace, 'rg.contact', '{email}');
\echo :SQLSTATE
SELECT * FROM identity.my_purposes();
\echo :SQLSTATE
SET SESSION AUTHORIZATION rg_dba;
SELECT identity.caller_reinstate('rg_cloud');
-- A purpose that makes no sense
SET SESSION AUTHORIZATION rg_dba;
INSERT INTO identity.purpose_definitions (purpose_token, description, allowed_fields, allowed_roles) VALUES ('rg.bad', 'x', '{SECRET}', '{identity_gateway}');
\echo :SQLSTATE
INSERT INTO identity.purpose_definitions (purpose_token, description, allowed_fields, allowed_roles) VALUES ('rg.bad', 'x', '{name}', '{SECRET}');
\echo :SQLSTATE
INSERT INTO identity.purpose_definitions (purpose_token, description, allowed_fields, allowed_roles) VALUES ('Not A Token', 'x', '{name}', '{identity_gateway}');
\echo :SQLSTATE
-- What PostgreSQL refuses before us keeps its own words
SET SESSION AUTHORIZATION rg_nobody;
SELECT * FROM identity.pii_resolve(:grace, 'rg.contact', '{name}');
\echo :SQLSTATE
SELECT count(*) FROM identity.subjects;
\echo :SQLSTATE
RESET SESSION AUTHORIZATION;

-- Each of the refusals above is on record; identical ones are folded, so what is counted is repeats.
SELECT pg_sleep(1);
SELECT denial, accessor_kind, sum(repeats) FROM identity.pii_access_log WHERE outcome = 'denied' AND accessor_role LIKE 'rg\_%' GROUP BY 1, 2 ORDER BY 1, 2;
SELECT bool_and(ok) FROM identity.ledger_verify(true);
