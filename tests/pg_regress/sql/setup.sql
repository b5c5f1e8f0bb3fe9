-- Logins, purposes and people for the files after this one.
\set VERBOSITY default
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE ROLE rg_onbox LOGIN;
CREATE ROLE rg_cloud LOGIN;
CREATE ROLE rg_dba LOGIN;
CREATE ROLE rg_approver LOGIN;
CREATE ROLE rg_auditor LOGIN;
CREATE ROLE rg_nobody LOGIN;
GRANT identity_gateway, identity_zone_onbox TO rg_onbox;
GRANT identity_gateway, identity_zone_cloud TO rg_cloud;
GRANT identity_dba TO rg_dba;
GRANT identity_approver TO rg_approver;
GRANT identity_auditor TO rg_auditor;
SET SESSION AUTHORIZATION rg_dba;
INSERT INTO identity.purpose_definitions (purpose_token, description, allowed_fields, auth_tier, allowed_roles, phi_access, daily_volume_cap)
VALUES ('rg.contact', 'reach a person', '{name,email,phone}', 'service', '{identity_gateway}', false, 1000),
       ('rg.clinic', 'treat a person', '{name,dob,ssn}', 'service', '{identity_gateway}', true, 1000),
       ('rg.pending', 'bill a person', '{name,ssn}', 'service', '{identity_gateway}', false, 1000),
       ('rg.legal', 'answer a subject', '{name}', 'legal', '{identity_gateway}', false, 1000),
       ('rg.gone', 'no longer', '{name}', 'service', '{identity_gateway}', false, 1000),
       ('rg.nobody', 'for nobody', '{name}', 'service', '{}', false, 1000);
SELECT identity.purpose_revoke('rg.gone', 'a test');
SET SESSION AUTHORIZATION rg_approver;
SELECT identity.purpose_approve('rg.clinic', 1);
RESET SESSION AUTHORIZATION;
SELECT identity._import_subject('0190a000-0000-7000-8000-000000000001', '{"name": "Grace Hopper", "email": "grace@example.org", "ssn": "900-11-0001"}', 'general', 'given');
SELECT identity._import_subject('0190a000-0000-7000-8000-000000000002', '{"name": "Ada Lovelace", "dob": "1815-12-10"}', 'healthcare', 'given');
SELECT identity._import_subject('0190a000-0000-7000-8000-000000000003', '{"name": "Alan Turing"}', 'general', 'withdrawn');
SELECT identity._import_subject('0190a000-0000-7000-8000-000000000004', '{"name": "山田 太郎"}', 'unknown', 'pending_first_contact');
